package storage

import (
	"context"
	"fmt"

	"github.com/sluice-dev/sluice/api"
)

// Source is the part of the API client that reading a reference needs.
type Source interface {
	Values
	Block(ctx context.Context, id api.ID) (*api.Block, error)
}

// Load reads what a data document refers to, in the built-in store or through its block.
func Load(ctx context.Context, from Source, document api.DataDocument, places Places) ([]byte, error) {
	reference, err := ParseReference(document)
	if err != nil {
		return nil, err
	}
	if reference.BlockID == nil {
		return BuiltIn(from).Read(ctx, reference.Key)
	}
	block, err := from.Block(ctx, *reference.BlockID)
	if err != nil {
		return nil, fmt.Errorf("read the storage block: %w", err)
	}
	store, err := Open(block, places)
	if err != nil {
		return nil, err
	}
	return store.Read(ctx, reference.Key)
}
