package engine

import (
	"context"
	"sync/atomic"

	"github.com/sluice-dev/sluice/api"
)

// Future is a task run that has been called.
type Future struct {
	name     string
	detached bool
	done     chan struct{}
	cancel   context.CancelCauseFunc
	looked   atomic.Bool // somebody has asked for the outcome: whether it fails the flow is up to them

	id  api.ID // set before done is closed; nil when there is no task run
	out any
	err error
}

// Name is that of the task run.
func (f *Future) Name() string { return f.name }

// Done is closed when the task run has ended.
func (f *Future) Done() <-chan struct{} { return f.done }

// ID is that of the task run; nil before Done, and without a recorder.
func (f *Future) ID() api.ID {
	select {
	case <-f.done:
		return f.id
	default:
		return api.ID{}
	}
}

// Result waits for the outcome.
func (f *Future) Result(ctx context.Context) (any, error) {
	f.looked.Store(true)
	if err := f.wait(ctx); err != nil {
		return nil, err
	}
	return f.out, f.err
}

func (f *Future) wait(ctx context.Context) error {
	select {
	case <-f.done:
		return nil
	default:
	}
	select {
	case <-f.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
