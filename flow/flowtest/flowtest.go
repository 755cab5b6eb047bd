// Package flowtest runs flows without a server: their runs are recorded in memory, under the server's own rules for states, retries
// and caching. In a bubble of testing/synctest, backoff and timeouts take no time.
//
//	func TestHello(t *testing.T) {
//		synctest.Test(t, func(t *testing.T) {
//			h := flowtest.New(t, flowtest.Fake(fetch, func(ctx context.Context, url string) (Page, error) { ... }))
//			got, err := hello.Run(h.Context(), Params{Name: "Leo"})
//			if err != nil || h.Attempts("fetch") != 3 { ... }
//		})
//	}
package flowtest

import (
	"bytes"
	"context"
	"slices"
	"testing"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/flow"
	"github.com/sluice-dev/sluice/flow/internal/engine"
)

// Harness records the runs of one test.
type Harness struct {
	t      testing.TB
	ctx    context.Context
	end    context.CancelCauseFunc
	memory *memory
}

// New returns a harness. The lines of runs are shown as those of the test.
func New(t testing.TB, fakes ...Replacement) *Harness {
	h := &Harness{t: t, memory: newMemory()}
	ctx, end := context.WithCancelCause(t.Context())
	h.end = end
	h.ctx = engine.Connect(ctx, engine.Connection{Recorder: h.memory, Console: lines{t}, Fakes: func(d *engine.Definition) func(context.Context, any) (any, error) {
		for _, f := range slices.Backward(fakes) {
			if f.name == d.Name {
				return f.call
			}
		}
		return nil
	}})
	return h
}

// lines shows lines of runs in a test's output.
type lines struct{ t testing.TB }

func (l lines) Write(p []byte) (int, error) {
	l.t.Log(string(bytes.TrimSuffix(p, []byte("\n"))))
	return len(p), nil
}

// Context is the context to run flows in.
func (h *Harness) Context() context.Context { return h.ctx }

// Cancel cancels the runs, as somebody would with the command line.
func (h *Harness) Cancel() { h.end(flow.ErrCancelled) }

// Replacement takes the place of a flow's or task's function.
type Replacement struct {
	name string
	call func(context.Context, any) (any, error)
}

// named is a flow or task with these types.
type named[I, O any] interface {
	Name() string
	Run(ctx context.Context, in I, options ...flow.CallOption) (O, error)
}

// Fake replaces the function of a task: retries, timeouts, caching and recording stay.
func Fake[I, O any](task named[I, O], fn func(ctx context.Context, in I) (O, error)) Replacement {
	return Replacement{task.Name(), untyped(fn)}
}

// FakeFlow replaces the function of a flow.
func FakeFlow[I, O any](f *flow.Flow[I, O], fn func(ctx context.Context, in I) (O, error)) Replacement {
	return Replacement{f.Name(), untyped(fn)}
}

func untyped[I, O any](fn func(context.Context, I) (O, error)) func(context.Context, any) (any, error) {
	return func(ctx context.Context, in any) (any, error) {
		typed, _ := in.(I) // the caller is typed; nil is the zero value
		return fn(ctx, typed)
	}
}

// Run is what was recorded of a flow run or task run.
type Run struct {
	Name   string      // of the run
	Of     string      // name of the flow or task
	Tags   []string    //
	States []api.State // oldest first
}

// State is the last one.
func (r Run) State() api.State { return r.States[len(r.States)-1] }

// StateNames are the names of the states, oldest first.
func (r Run) StateNames() []string {
	var names []string
	for _, s := range r.States {
		names = append(names, s.Name)
	}
	return names
}

// FlowRuns returns the runs of a flow in the order of their creation.
func (h *Harness) FlowRuns(flow string) []Run { return h.memory.runs(engine.FlowRuns, flow) }

// TaskRuns returns the runs of a task in the order of their creation.
func (h *Harness) TaskRuns(task string) []Run { return h.memory.runs(engine.TaskRuns, task) }

// Attempts is how often a task was begun, in all its runs.
func (h *Harness) Attempts(task string) int {
	n := 0
	for _, r := range h.TaskRuns(task) {
		for _, s := range r.States {
			if s.Type == api.Running {
				n++
			}
		}
	}
	return n
}

// Artifacts are what runs have shown under a key, oldest first.
func (h *Harness) Artifacts(key string) []api.ArtifactCreate { return h.memory.artifacts(key) }

// Logs are the messages that runs have logged, in their order.
func (h *Harness) Logs() []string { return h.memory.messages() }
