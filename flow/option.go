package flow

import (
	"slices"
	"time"

	"github.com/sluice-dev/sluice/flow/internal/engine"
)

// Option is an option of flows and of tasks.
type Option interface {
	FlowOption
	TaskOption
}

// FlowOption is an option of New.
type FlowOption interface{ applyFlow(*engine.Flow) }

// TaskOption is an option of NewTask.
type TaskOption interface{ applyTask(*engine.Task) }

type common func(*engine.Definition)

func (o common) applyFlow(f *engine.Flow) { o(&f.Definition) }
func (o common) applyTask(t *engine.Task) { o(&t.Definition) }

type flowOption func(*engine.Flow)

func (o flowOption) applyFlow(f *engine.Flow) { o(f) }

type taskOption func(*engine.Task)

func (o taskOption) applyTask(t *engine.Task) { o(t) }

// Describe says what a flow or task is for.
func Describe(text string) Option {
	return common(func(d *engine.Definition) { d.Description = text })
}

// Tags marks all runs of a flow or task. Concurrency limits are on tags of task runs.
func Tags(tags ...string) Option {
	return common(func(d *engine.Definition) { d.Tags = slices.Concat(d.Tags, tags) })
}

// Timeout ends the context of a flow run, or of each attempt of a task run, after d. The run becomes Failed with the name TimedOut; a
// task with retries runs again. Code that does not look at its context goes on for up to 5 s before it is left behind. Default: none.
func Timeout(d time.Duration) Option {
	return common(func(def *engine.Definition) { def.Timeout = d })
}

// NoResult keeps what is returned out of the server: it may be large, secret, or no JSON. A task run without a stored result runs
// again when its flow run is retried.
func NoResult() Option {
	return common(func(d *engine.Definition) { d.NoResult = true })
}

// Version names the code of a flow, for people. Default: the revision the program was built from.
func Version(v string) FlowOption {
	return flowOption(func(f *engine.Flow) { f.Version = v })
}

// MaxConcurrentTasks bounds how many task runs of a flow run execute at once. Default 128.
func MaxConcurrentTasks(n int) FlowOption {
	return flowOption(func(f *engine.Flow) { f.MaxTasks = n })
}

// Retries repeats a failed task up to n times after the first. An error wrapped by Stop is not repeated. Default: none.
func Retries(n int, between Backoff) TaskOption {
	return taskOption(func(t *engine.Task) { t.Retries, t.Backoff = n, between.b })
}

// Backoff is the time between the attempts of a task.
type Backoff struct{ b engine.Backoff }

// Fixed waits the same time before each attempt; the server keeps it.
func Fixed(d time.Duration) Backoff { return Backoff{engine.Backoff{Base: d}} }

// Exponential waits base before the second attempt and twice as long before each further, at most most, each changed by up to a fifth
// so that tasks that failed together do not come back together. The process keeps it.
func Exponential(base, most time.Duration) Backoff {
	return Backoff{engine.Backoff{Base: base, Max: most, Factor: 2, Jitter: 0.2}}
}

// Growing is Exponential with a factor (at least 1) and a jitter (0 to 1) of one's own.
func Growing(base, most time.Duration, factor, jitter float64) Backoff {
	return Backoff{engine.Backoff{Base: base, Max: most, Factor: max(factor, 1), Jitter: min(max(jitter, 0), 1)}}
}

// CacheByInput lets a task run take over the result of an earlier one, in any flow run, that had the same task and an input with the
// same JSON. ttl is how long a result is valid; 0 for ever.
func CacheByInput(ttl time.Duration) TaskOption {
	return taskOption(func(t *engine.Task) { t.CacheKey, t.CacheFor = t.InputHash, ttl })
}

// Cache is CacheByInput with a key of one's own: runs with the same key, of whatever task, share a result. "" is not cached.
func Cache[I any](key func(in I) string, ttl time.Duration) TaskOption {
	return taskOption(func(t *engine.Task) {
		t.CacheFor = ttl
		t.CacheKey = func(in any) (string, error) {
			typed, err := as[I](in)
			if err != nil {
				return "", err
			}
			return key(typed), nil
		}
	})
}

// CallOption is an option of one call of a task.
type CallOption interface{ applyCall(*engine.Call) }

type callOption func(*engine.Call)

func (o callOption) applyCall(c *engine.Call) { o(c) }

// Awaitable is what a task can come after: a Future, or the Futures of a Map.
type Awaitable interface{ futures() []*engine.Future }

// After begins a task only when others have completed. If one of them fails, the task run does not run: it stays Pending with the
// name NotReady, and its error is that of the other.
func After(others ...Awaitable) CallOption {
	return callOption(func(c *engine.Call) {
		for _, o := range others {
			c.After = append(c.After, o.futures()...)
		}
	})
}

// Key names one call of a task within its flow run. When a flow run is retried, a task run that completed is recalled by it. Default:
// the number of the call, which is the same each time as long as the calls come in the same order; with calls from several
// goroutines they may not.
func Key(key string) CallOption { return callOption(func(c *engine.Call) { c.Key = key }) }

// RunTags adds tags to one task run.
func RunTags(tags ...string) CallOption {
	return callOption(func(c *engine.Call) { c.Tags = slices.Concat(c.Tags, tags) })
}

// Detach lets the flow complete though this task run fails and nobody asked for its result.
func Detach() CallOption { return callOption(func(c *engine.Call) { c.Detach = true }) }

func callOf(options []CallOption) engine.Call {
	var c engine.Call
	for _, o := range options {
		o.applyCall(&c)
	}
	return c
}
