package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/sluice-dev/sluice/api"
)

// outcome is what a function of the user returned.
type outcome struct {
	out any
	err error
}

// errGoexit is the error of a function that has ended its goroutine, as testing's FailNow does.
var errGoexit = errors.New("the function ended its goroutine with runtime.Goexit instead of returning")

// apart calls a function of the user in a goroutine of its own, which may be left behind. A panic becomes its error.
func apart(ctx context.Context, call func(context.Context, any) (any, error), in any) <-chan outcome {
	returned := make(chan outcome, 1)
	go func() {
		o := outcome{err: errGoexit}
		defer func() {
			if p := recover(); p != nil {
				o = outcome{err: &Panicked{Value: p, Stack: string(debug.Stack())}}
			}
			returned <- o
		}()
		o.out, o.err = call(ctx, in)
	}()
	return returned
}

// grace is how long a function may go on after its context has ended, before it is given up and left behind.
const grace = 5 * time.Second

// await waits for what was called apart. left says that it goes on although its context has ended; the error is why that ended.
func await(ctx context.Context, returned <-chan outcome, unhurried func(cause error) bool) (o outcome, left bool) {
	select {
	case o = <-returned:
		return o, false
	case <-ctx.Done():
	}
	if unhurried != nil && unhurried(context.Cause(ctx)) {
		return <-returned, false
	}
	patience := time.NewTimer(grace)
	defer patience.Stop()
	select {
	case o = <-returned:
		return o, false
	case <-patience.C:
		return outcome{err: context.Cause(ctx)}, true
	}
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
