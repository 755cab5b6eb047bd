package flow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"runtime"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/flow/internal/engine"
)

// Task is a step of flows: a function from one input to one output whose runs are recorded, retried and cached.
type Task[I, O any] struct{ task *engine.Task }

// NewTask makes a function a task. A panic of fn is an error of its run.
func NewTask[I, O any](name string, fn func(ctx context.Context, in I) (O, error), options ...TaskOption) *Task[I, O] {
	t := &engine.Task{Definition: define(name, fn), Function: functionName(fn)}
	for _, o := range options {
		o.applyTask(t)
	}
	return &Task[I, O]{t}
}

// define takes the types off a function.
func define[I, O any](name string, fn func(context.Context, I) (O, error)) engine.Definition {
	if name == "" || fn == nil {
		panic("flow: a flow and a task need a name and a function")
	}
	return engine.Definition{
		Name:  name,
		Empty: reflect.TypeFor[O]() == reflect.TypeFor[struct{}](),
		Call: func(ctx context.Context, in any) (any, error) {
			typed, err := as[I](in)
			if err != nil {
				return nil, err
			}
			return fn(ctx, typed)
		},
		Decode: func(data []byte) (any, error) {
			var out O
			err := json.Unmarshal(data, &out)
			return out, err
		},
	}
}

// as takes a value that has passed the untyped engine back to its type; nil is the zero value of interfaces and pointers.
func as[T any](v any) (T, error) {
	if typed, ok := v.(T); ok || v == nil {
		return typed, nil
	}
	var zero T
	return zero, fmt.Errorf("got a %T instead of a %T", v, zero)
}

func functionName(fn any) string {
	if f := runtime.FuncForPC(reflect.ValueOf(fn).Pointer()); f != nil {
		return f.Name()
	}
	return ""
}

// Name is the task's.
func (t *Task[I, O]) Name() string { return t.task.Name }

// Run runs the task and waits for its result.
func (t *Task[I, O]) Run(ctx context.Context, in I, options ...CallOption) (O, error) {
	return t.Go(ctx, in, options...).Result(ctx)
}

// Go begins a run of the task and returns at once. A flow waits at its end for what it began; if such a task run fails and nobody
// asks for its result, the flow fails.
func (t *Task[I, O]) Go(ctx context.Context, in I, options ...CallOption) *Future[O] {
	return &Future[O]{t.task.Go(ctx, in, callOf(options))}
}

// Map begins a run of the task for each input. At most MaxConcurrentTasks of them execute at once.
func (t *Task[I, O]) Map(ctx context.Context, inputs iter.Seq[I], options ...CallOption) *Futures[O] {
	all := &Futures[O]{}
	for in := range inputs {
		c := callOf(options)
		if c.Key != "" {
			c.Key = fmt.Sprintf("%s-%d", c.Key, len(all.all))
		}
		all.all = append(all.all, &Future[O]{t.task.Go(ctx, in, c)})
	}
	return all
}

// Future is a task run that was begun with Go or Map.
type Future[O any] struct{ f *engine.Future }

// Result waits until the task run has ended, retries included, and returns what its last attempt did.
func (f *Future[O]) Result(ctx context.Context) (O, error) {
	out, err := f.f.Result(ctx)
	if err != nil {
		var none O
		return none, err
	}
	return as[O](out)
}

// Done is closed when the task run has ended.
func (f *Future[O]) Done() <-chan struct{} { return f.f.Done() }

// RunName is the name of the task run.
func (f *Future[O]) RunName() string { return f.f.Name() }

// RunID is the id of the task run: zero before Done is closed, and outside of a recorded run.
func (f *Future[O]) RunID() api.ID { return f.f.ID() }

func (f *Future[O]) futures() []*engine.Future { return []*engine.Future{f.f} }

// Futures are the task runs of a Map, in the order of its inputs.
type Futures[O any] struct{ all []*Future[O] }

// Results waits for all. The results of those that failed are zero; the error joins their errors.
func (f *Futures[O]) Results(ctx context.Context) ([]O, error) {
	results, failures := make([]O, len(f.all)), []error(nil)
	for i, future := range f.all {
		var err error
		if results[i], err = future.Result(ctx); err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", future.RunName(), err))
		}
	}
	return results, errors.Join(failures...)
}

// All are the futures one by one.
func (f *Futures[O]) All() []*Future[O] { return f.all }

func (f *Futures[O]) futures() []*engine.Future {
	all := make([]*engine.Future, len(f.all))
	for i, future := range f.all {
		all[i] = future.f
	}
	return all
}
