package flow

import (
	"context"
	"log/slog"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/flow/internal/engine"
)

// Flow is a function from one input to one output whose runs are recorded. Its input is a struct, whose fields are the parameters of
// a deployment and the flags of a command line.
type Flow[I, O any] struct{ flow *engine.Flow }

// New makes a function a flow. A panic of fn is an error of its run.
func New[I, O any](name string, fn func(ctx context.Context, in I) (O, error), options ...FlowOption) *Flow[I, O] {
	f := &engine.Flow{Definition: define(name, fn)}
	for _, o := range options {
		o.applyFlow(f)
	}
	return &Flow[I, O]{f}
}

// Name is the flow's.
func (f *Flow[I, O]) Name() string { return f.flow.Name }

// Run runs the flow: in a flow run of its own in a context of Connect, in a subflow run within another flow, otherwise as the function
// it is.
func (f *Flow[I, O]) Run(ctx context.Context, in I) (O, error) {
	out, err := f.flow.Run(ctx, in, engine.Start{})
	if err != nil {
		var none O
		return none, err
	}
	return as[O](out)
}

// Log returns the logger of the run ctx belongs to: its lines go to the run's log on the server and to standard error. Outside of a
// run it is slog.Default().
func Log(ctx context.Context) *slog.Logger { return engine.Logger(ctx) }

// Info is what a function can learn of the run it is in.
type Info struct {
	FlowRunID    api.ID
	FlowRunName  string
	DeploymentID *api.ID // nil when the run belongs to no deployment
	TaskRunID    api.ID  // zero in the flow itself
	TaskRunName  string
	Attempt      int // of the task run, from 1
}

// Current returns what is known of the run ctx belongs to; false outside of one.
func Current(ctx context.Context) (Info, bool) {
	r := engine.FlowRunOf(ctx)
	if r == nil {
		return Info{}, false
	}
	info := Info{FlowRunID: r.ID, FlowRunName: r.Name, DeploymentID: r.Deployment}
	if t := engine.TaskRunOf(ctx); t != nil {
		info.TaskRunID, info.TaskRunName, info.Attempt = t.ID, t.Name, t.Attempt
	}
	return info, true
}

// What ends a run from outside; context.Cause tells it.
var (
	// ErrCancelled is the cause when the flow run was cancelled.
	ErrCancelled = engine.ErrCancelled
	// ErrLeaseLost is the cause when another process may own the run, because this one was not heard of for too long.
	ErrLeaseLost = engine.ErrLeaseLost
)

// Stop marks an error that no retry would cure: the task run fails at once.
func Stop(err error) error {
	if err == nil {
		return nil
	}
	return &engine.Permanent{Err: err}
}

// NotReady is the error of a task that did not run because one it comes after did not complete.
type NotReady = engine.NotReady

// Panicked is the error of a flow or task that panicked.
type Panicked = engine.Panicked

// TimedOut is the error of a flow, or of an attempt of a task, that took longer than its Timeout.
type TimedOut = engine.TimedOut
