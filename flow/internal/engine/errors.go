package engine

import (
	"errors"
	"fmt"

	"github.com/sluice-dev/sluice/api"
)

// What ends a run from outside, as context.Cause tells it.
var (
	// ErrCancelled: somebody cancelled the run.
	ErrCancelled = errors.New("the flow run was cancelled")
	// ErrLeaseLost: another process may own the run now; nothing more may be reported.
	ErrLeaseLost = errors.New("the lease on this flow run was lost")
	// ErrEnded: the flow has returned; a task that goes on has nobody to report to.
	ErrEnded = errors.New("the flow run has ended")
)

// Terminated is the cause when the process was told to end by a signal.
type Terminated struct{ Signal string }

func (e *Terminated) Error() string { return "the process was terminated by " + e.Signal }

// Permanent is an error that no retry would cure.
type Permanent struct{ Err error }

func (e *Permanent) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Permanent) Unwrap() error { return e.Err }

// NotReady is the error of a task that did not run because one it comes after did not complete.
type NotReady struct {
	Upstream string // its name
	id       api.ID // nil when there is none
}

// message is that of the state, in the words of all SDKs.
func (e *NotReady) message() string {
	if e.id.IsNil() {
		return e.Error()
	}
	return fmt.Sprintf("Upstream task run '%s' did not reach a 'COMPLETED' state.", e.id)
}

func (e *NotReady) Error() string {
	return fmt.Sprintf("task run %q did not complete, so what comes after it did not run", e.Upstream)
}

// Panicked is the error of a flow or task that panicked.
type Panicked struct {
	Value any
	Stack string
}

func (e *Panicked) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// TimedOut is the error of a flow or an attempt of a task that ran too long.
type TimedOut struct{ What, Limit string }

func (e *TimedOut) Error() string { return fmt.Sprintf("%s exceeded timeout of %s", e.What, e.Limit) }

// refused is the error when the server does not let a run go on.
type refused struct{ run, reason string }

func (e *refused) Error() string { return fmt.Sprintf("%s may not run: %s", e.run, e.reason) }
