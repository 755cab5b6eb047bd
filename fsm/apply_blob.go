package fsm

import (
	"bytes"
	"fmt"

	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
)

// putBlobChunk stores a piece of a value of the built-in store. The last one makes the whole visible and drops the value it
// replaces; until then readers see the former.
func (a *applier) putBlobChunk(c *command.PutBlobChunk) (*command.Result, error) {
	if c.Ordinal >= c.Chunks {
		return failed(command.Result_INVALID, fmt.Sprintf("chunk %d of %d", c.Ordinal, c.Chunks)), nil
	}
	blob, err := a.tx.EditBlob(c.Key)
	if err != nil {
		return nil, err
	}
	if blob != nil && bytes.Compare(blob.Row.Version, c.Version) > 0 {
		// An upload that began later is complete already: this one was before it, and is replaced.
		return &command.Result{}, nil
	}
	last := c.Ordinal+1 == c.Chunks
	size := uint64(len(c.Data))
	for i := uint32(0); last && i < c.Ordinal; i++ {
		piece, err := a.tx.EditBlobChunk(c.Key, c.Version, i)
		if err != nil {
			return nil, err
		}
		if piece == nil {
			return failed(command.Result_INVALID, fmt.Sprintf("chunk %d of %d was not stored before the last one", i, c.Chunks)), nil
		}
		size += uint64(len(piece.Row.Data))
	}
	e, err := a.tx.EditBlobChunk(c.Key, c.Version, c.Ordinal)
	if err != nil {
		return nil, err
	}
	if e == nil {
		e = a.tx.NewBlobChunk(&row.BlobChunk{Key: c.Key, Version: c.Version, Ordinal: c.Ordinal})
	}
	e.Row.Data = c.Data
	if err := e.Save(); err != nil {
		return nil, err
	}
	if !last {
		return &command.Result{}, nil
	}
	if blob == nil {
		blob = a.tx.NewBlob(&row.Blob{Key: c.Key})
	}
	if err := a.tx.DeleteBlobChunks(c.Key, c.Version); err != nil {
		return nil, err
	}
	blob.Row.Created, blob.Row.Version, blob.Row.Chunks, blob.Row.Size = a.now, c.Version, c.Chunks, size
	return &command.Result{Created: true}, blob.Save()
}

func (a *applier) deleteBlob(key string) (*command.Result, error) {
	e, err := a.tx.EditBlob(key)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return notFound("value " + key), nil
	}
	if err := a.tx.DeleteBlobChunks(key, nil); err != nil {
		return nil, err
	}
	return &command.Result{}, e.Delete()
}
