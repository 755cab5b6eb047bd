package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime/debug"

	"github.com/sluice-dev/sluice/api"
)

// protect calls a function of the user; a panic becomes its error.
func protect(ctx context.Context, call func(context.Context, any) (any, error), in any) (out any, err error) {
	defer func() {
		if p := recover(); p != nil {
			out, err = nil, &Panicked{Value: p, Stack: string(debug.Stack())}
		}
	}()
	return call(ctx, in)
}

// inlineLimit is how many bytes a result may have that lies in its state.
const inlineLimit = 4096

// result is the document of what a function returned; nil when it is not stored.
func (c connection) result(ctx context.Context, d *Definition, out any) (*api.DataDocument, error) {
	if d.NoResult {
		return nil, nil
	}
	blob := []byte("null")
	if !d.Empty {
		var err error
		if blob, err = json.Marshal(out); err != nil {
			return nil, fmt.Errorf("%w; flow.NoResult() is for results that are not to be stored", err)
		}
	}
	inline := &api.DataDocument{Encoding: api.EncodingJSON, Blob: string(blob)}
	if d.Empty {
		return inline, nil
	}
	whole, err := json.Marshal(inline)
	if err != nil {
		return nil, err
	}
	stored, err := c.Store(ctx, whole, len(blob) <= inlineLimit)
	if err != nil || stored != nil {
		return stored, err
	}
	return inline, nil
}

// recall reads a stored result.
func (c connection) recall(ctx context.Context, d *Definition, document *api.DataDocument) (any, error) {
	if document == nil {
		return nil, fmt.Errorf("the result of %q was not stored", d.Name)
	}
	found := *document
	if found.Encoding == api.EncodingStore || found.Encoding == api.EncodingBlockStorage {
		data, err := c.Load(ctx, found)
		if err != nil {
			return nil, fmt.Errorf("read the result of %q: %w", d.Name, err)
		}
		if err := json.Unmarshal(data, &found); err != nil {
			return nil, fmt.Errorf("read the result of %q: %w", d.Name, err)
		}
	}
	if found.Encoding != api.EncodingJSON {
		return nil, fmt.Errorf("the result of %q is stored as %s, which only Python reads", d.Name, found.Encoding)
	}
	if d.Empty {
		return d.Decode([]byte("{}"))
	}
	return d.Decode([]byte(found.Blob))
}
