package flow_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/flow"
	"github.com/sluice-dev/sluice/flow/flowtest"
)

// in runs a test in a bubble, where waiting takes no time.
func in(t *testing.T, name string, test func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { t.Parallel(); synctest.Test(t, test) })
}

type none = struct{}

func add(_ context.Context, xs []int) (int, error) {
	n := 0
	for _, x := range xs {
		n += x
	}
	return n, nil
}

// wantStates compares the names of a run's states.
func wantStates(t *testing.T, r flowtest.Run, want ...string) {
	t.Helper()
	if got := r.StateNames(); !slices.Equal(got, want) {
		t.Errorf("%s went through %v, not %v", r.Name, got, want)
	}
}

func TestAFlow(t *testing.T) {
	t.Parallel()
	in(t, "records itself, its tasks, its subflows and what they return", func(t *testing.T) {
		h := flowtest.New(t)
		square := flow.NewTask("square", func(ctx context.Context, x int) (int, error) {
			flow.Log(ctx).Info("squaring", "x", x)
			return x * x, nil
		})
		sum := flow.New("sum", add)
		main := flow.New("main", func(ctx context.Context, xs []int) (int, error) {
			squares, err := square.Map(ctx, slices.Values(xs)).Results(ctx)
			if err != nil {
				return 0, err
			}
			return sum.Run(ctx, squares)
		})
		got, err := main.Run(h.Context(), []int{1, 2, 3})
		if err != nil || got != 14 {
			t.Fatal(got, err)
		}
		wantStates(t, h.FlowRuns("main")[0], "Pending", "Running", "Completed")
		wantStates(t, h.FlowRuns("sum")[0], "Pending", "Running", "Completed")
		if last := h.FlowRuns("main")[0].State(); last.Data.Blob != "14" || last.Data.Encoding != "json" {
			t.Errorf("the result is recorded as %+v", last.Data)
		}
		runs := h.TaskRuns("square")
		if len(runs) != 3 {
			t.Fatalf("%d task runs", len(runs))
		}
		for _, r := range runs {
			wantStates(t, r, "Pending", "Running", "Completed")
		}
		if !slices.Contains(h.Logs(), "squaring x=3") {
			t.Errorf("logs are %q", h.Logs())
		}
	})
	in(t, "says that all states completed only if they did", func(t *testing.T) {
		h := flowtest.New(t)
		fails := func(context.Context, none) (none, error) { return none{}, errors.New("broken") }
		bad, part := flow.NewTask("bad", fails), flow.New("part", fails)
		good := flow.NewTask("good", func(context.Context, none) (none, error) { return none{}, nil })
		for _, c := range []struct {
			name, want string
			of         func(ctx context.Context) error
		}{
			{"empty", "", func(context.Context) error { return nil }},
			{"whole", "All states completed.", func(ctx context.Context) error { _, err := good.Run(ctx, none{}); return err }},
			{"without-a-task", "", func(ctx context.Context) error { _, _ = bad.Run(ctx, none{}); return nil }},
			{"without-a-subflow", "", func(ctx context.Context) error { _, _ = part.Run(ctx, none{}); return nil }},
		} {
			f := flow.New(c.name, func(ctx context.Context, _ none) (none, error) { return none{}, c.of(ctx) })
			if _, err := f.Run(h.Context(), none{}); err != nil {
				t.Error(c.name, err)
			}
			message := ""
			if m := h.FlowRuns(c.name)[0].State().Message; m != nil {
				message = *m
			}
			if message != c.want {
				t.Errorf("%s says %q, not %q", c.name, message, c.want)
			}
		}
	})
	in(t, "tells the id of a task run that has ended", func(t *testing.T) {
		h := flowtest.New(t)
		var inside api.ID
		task := flow.NewTask("task", func(ctx context.Context, _ none) (none, error) {
			info, _ := flow.Current(ctx)
			inside = info.TaskRunID
			return none{}, nil
		})
		f := flow.New("ids", func(ctx context.Context, _ none) (none, error) {
			future := task.Go(ctx, none{})
			<-future.Done()
			if future.RunID() != inside || inside.IsNil() {
				t.Errorf("the id is %s, not %s", future.RunID(), inside)
			}
			return none{}, nil
		})
		if _, err := f.Run(h.Context(), none{}); err != nil {
			t.Error(err)
		}
	})
	in(t, "outside of a run is the function that it is", func(t *testing.T) {
		double := flow.NewTask("double", func(ctx context.Context, x int) (int, error) {
			if _, inside := flow.Current(ctx); inside {
				return 0, errors.New("there is a run")
			}
			return 2 * x, nil
		})
		f := flow.New("f", func(ctx context.Context, x int) (int, error) { return double.Run(ctx, x) })
		if got, err := f.Run(t.Context(), 4); got != 8 || err != nil {
			t.Error(got, err)
		}
	})
	in(t, "that returns an error has failed with it", func(t *testing.T) {
		h := flowtest.New(t)
		broken := errors.New("broken")
		f := flow.New("f", func(context.Context, none) (none, error) { return none{}, broken })
		if _, err := f.Run(h.Context(), none{}); !errors.Is(err, broken) {
			t.Error(err)
		}
		run := h.FlowRuns("f")[0]
		wantStates(t, run, "Pending", "Running", "Failed")
		if *run.State().Message != "broken" {
			t.Errorf("the message is %q", *run.State().Message)
		}
	})
	in(t, "that panics has failed, with the stack in its log", func(t *testing.T) {
		h := flowtest.New(t)
		f := flow.New("f", func(context.Context, none) (none, error) { panic("oh") })
		_, err := f.Run(h.Context(), none{})
		if p, ok := errors.AsType[*flow.Panicked](err); !ok || p.Value != "oh" {
			t.Error(err)
		}
		wantStates(t, h.FlowRuns("f")[0], "Pending", "Running", "Failed")
		if log := strings.Join(h.Logs(), "\n"); !strings.Contains(log, "flow_test.go") {
			t.Errorf("the log is %s", log)
		}
	})
	in(t, "that takes too long is TimedOut, and so are its tasks left behind", func(t *testing.T) {
		h := flowtest.New(t)
		wait := flow.NewTask("wait", func(ctx context.Context, _ none) (none, error) {
			<-ctx.Done()
			return none{}, ctx.Err()
		})
		f := flow.New("f", func(ctx context.Context, _ none) (none, error) { return wait.Run(ctx, none{}) }, flow.Timeout(time.Minute))
		_, err := f.Run(h.Context(), none{})
		if late, ok := errors.AsType[*flow.TimedOut](err); !ok || late.Error() != "Flow run exceeded timeout of 1m0s" {
			t.Error(err)
		}
		wantStates(t, h.FlowRuns("f")[0], "Pending", "Running", "TimedOut")
		wantStates(t, h.TaskRuns("wait")[0], "Pending", "Running", "Crashed")
	})
	in(t, "that is cancelled ends with its tasks", func(t *testing.T) {
		h := flowtest.New(t)
		wait := flow.NewTask("wait", func(ctx context.Context, _ none) (none, error) {
			h.Cancel()
			<-ctx.Done()
			return none{}, context.Cause(ctx)
		})
		f := flow.New("f", func(ctx context.Context, _ none) (none, error) { return wait.Run(ctx, none{}) })
		if _, err := f.Run(h.Context(), none{}); !errors.Is(err, flow.ErrCancelled) {
			t.Error(err)
		}
		wantStates(t, h.FlowRuns("f")[0], "Pending", "Running", "Cancelled")
		wantStates(t, h.TaskRuns("wait")[0], "Pending", "Running", "Cancelled")
	})
	in(t, "waits for what it began, and fails with what nobody looked at", func(t *testing.T) {
		h := flowtest.New(t)
		var ended atomic.Bool
		slow := flow.NewTask("slow", func(ctx context.Context, _ none) (none, error) {
			time.Sleep(time.Hour)
			ended.Store(true)
			return none{}, errors.New("too late")
		})
		f := flow.New("f", func(ctx context.Context, _ none) (none, error) {
			slow.Go(ctx, none{})
			return none{}, nil
		})
		_, err := f.Run(h.Context(), none{})
		if !ended.Load() || err == nil || !strings.Contains(err.Error(), "1/1 states failed: slow-") {
			t.Error(ended.Load(), err)
		}
	})
	in(t, "completes though a detached task fails, or one whose error was looked at", func(t *testing.T) {
		h := flowtest.New(t)
		fails := flow.NewTask("fails", func(context.Context, none) (none, error) { return none{}, errors.New("no") })
		f := flow.New("f", func(ctx context.Context, _ none) (string, error) {
			fails.Go(ctx, none{}, flow.Detach())
			if _, err := fails.Run(ctx, none{}); err == nil {
				return "", errors.New("it did not fail")
			}
			return "fine", nil
		})
		if got, err := f.Run(h.Context(), none{}); got != "fine" || err != nil {
			t.Error(got, err)
		}
	})
	in(t, "runs no more tasks at once than it may", func(t *testing.T) {
		h := flowtest.New(t)
		var now, most atomic.Int32
		task := flow.NewTask("t", func(context.Context, int) (none, error) {
			most.Store(max(most.Load(), now.Add(1)))
			time.Sleep(time.Second)
			now.Add(-1)
			return none{}, nil
		})
		f := flow.New("f", func(ctx context.Context, n int) (none, error) {
			_, err := task.Map(ctx, func(yield func(int) bool) {
				for i := range n {
					if !yield(i) {
						return
					}
				}
			}).Results(ctx)
			return none{}, err
		}, flow.MaxConcurrentTasks(3))
		began := time.Now()
		if _, err := f.Run(h.Context(), 30); err != nil {
			t.Fatal(err)
		}
		if most.Load() != 3 || time.Since(began) != 10*time.Second {
			t.Errorf("%d at once, %s in all", most.Load(), time.Since(began))
		}
	})
	in(t, "shows tables, texts and links, of itself and of its tasks", func(t *testing.T) {
		h := flowtest.New(t)
		type page struct {
			URL string `json:"url"`
		}
		task := flow.NewTask("t", func(ctx context.Context, _ none) (none, error) {
			return none{}, flow.Artifact(ctx, "pages", flow.Table([]page{{"x"}}))
		})
		f := flow.New("f", func(ctx context.Context, _ none) (none, error) {
			if _, err := task.Run(ctx, none{}); err != nil {
				return none{}, err
			}
			return none{}, errors.Join(flow.Artifact(ctx, "report", flow.Markdown("# done").Described("the end")), flow.Artifact(ctx, "home", flow.Link("https://x.example", "")))
		})
		if _, err := f.Run(h.Context(), none{}); err != nil {
			t.Fatal(err)
		}
		if a := h.Artifacts("pages"); len(a) != 1 || string(a[0].Data) != `[{"url":"x"}]` || a[0].TaskRunID == nil {
			t.Errorf("pages: %+v", a)
		}
		if a := h.Artifacts("report"); len(a) != 1 || string(a[0].Data) != `"# done"` || a[0].TaskRunID != nil || a[0].Description != "the end" {
			t.Errorf("report: %+v", a)
		}
		if a := h.Artifacts("home"); len(a) != 1 || string(a[0].Data) != `{"text":"https://x.example","url":"https://x.example"}` {
			t.Errorf("home: %+v", a)
		}
		if err := flow.Artifact(t.Context(), "x", flow.Markdown("outside of a run")); err != nil {
			t.Error(err)
		}
		if err := flow.Artifact(t.Context(), "x", flow.Markdown(strings.Repeat("x", 300_000))); err == nil || !strings.Contains(err.Error(), "limit") {
			t.Error(err)
		}
	})
	in(t, "called within a task is refused", func(t *testing.T) {
		h := flowtest.New(t)
		inner := flow.New("inner", add)
		task := flow.NewTask("t", func(ctx context.Context, xs []int) (int, error) { return inner.Run(ctx, xs) })
		f := flow.New("f", func(ctx context.Context, xs []int) (int, error) { return task.Run(ctx, xs) })
		if _, err := f.Run(h.Context(), []int{1}); err == nil || !strings.Contains(err.Error(), `flow "inner" was called within a task`) {
			t.Error(err)
		}
	})
}

func TestATask(t *testing.T) {
	t.Parallel()
	// flaky fails until its nth attempt.
	flaky := func(n int, options ...flow.TaskOption) *flow.Task[none, int] {
		tries := 0
		return flow.NewTask("flaky", func(ctx context.Context, _ none) (int, error) {
			if tries++; tries < n {
				return 0, fmt.Errorf("attempt %d", tries)
			}
			info, _ := flow.Current(ctx)
			return info.Attempt, nil
		}, options...)
	}
	one := func(task *flow.Task[none, int], options ...flow.CallOption) *flow.Flow[none, int] {
		return flow.New("f", func(ctx context.Context, _ none) (int, error) { return task.Run(ctx, none{}, options...) })
	}
	in(t, "is tried again after its delay, as often as it may", func(t *testing.T) {
		h := flowtest.New(t)
		began := time.Now()
		got, err := one(flaky(3, flow.Retries(2, flow.Fixed(10*time.Second)))).Run(h.Context(), none{})
		if got != 3 || err != nil || time.Since(began) != 20*time.Second {
			t.Error(got, err, time.Since(began))
		}
		wantStates(t, h.TaskRuns("flaky")[0], "Pending", "Running", "AwaitingRetry", "Retrying", "AwaitingRetry", "Retrying", "Completed")
		if h.Attempts("flaky") != 3 {
			t.Errorf("%d attempts", h.Attempts("flaky"))
		}
	})
	in(t, "waits longer each time with exponential backoff", func(t *testing.T) {
		h := flowtest.New(t)
		began := time.Now()
		_, err := one(flaky(5, flow.Retries(4, flow.Growing(time.Second, 3*time.Second, 2, 0)))).Run(h.Context(), none{})
		if err != nil || time.Since(began) != (1+2+3+3)*time.Second {
			t.Error(err, time.Since(began))
		}
	})
	in(t, "has failed when its retries are used up", func(t *testing.T) {
		h := flowtest.New(t)
		_, err := one(flaky(9, flow.Retries(1, flow.Fixed(0)))).Run(h.Context(), none{})
		if err == nil || err.Error() != "attempt 2" {
			t.Error(err)
		}
		wantStates(t, h.TaskRuns("flaky")[0], "Pending", "Running", "AwaitingRetry", "Retrying", "Failed")
	})
	in(t, "is not tried again after Stop", func(t *testing.T) {
		h := flowtest.New(t)
		final := errors.New("no such thing")
		task := flow.NewTask("t", func(context.Context, none) (int, error) { return 0, flow.Stop(final) }, flow.Retries(5, flow.Fixed(0)))
		if _, err := one(task).Run(h.Context(), none{}); !errors.Is(err, final) {
			t.Error(err)
		}
		wantStates(t, h.TaskRuns("t")[0], "Pending", "Running", "Failed")
	})
	in(t, "that takes too long is tried again, and left behind when it does not look at its context", func(t *testing.T) {
		h := flowtest.New(t)
		release := make(chan none)
		defer close(release)
		task := flow.NewTask("t", func(context.Context, none) (int, error) {
			<-release
			return 0, nil
		}, flow.Timeout(time.Second), flow.Retries(1, flow.Fixed(0)))
		_, err := one(task).Run(h.Context(), none{})
		if late, ok := errors.AsType[*flow.TimedOut](err); !ok || late.Error() != "Task run exceeded timeout of 1s" {
			t.Error(err)
		}
		wantStates(t, h.TaskRuns("t")[0], "Pending", "Running", "AwaitingRetry", "Retrying", "TimedOut")
	})
	in(t, "takes a result from the cache until that expires", func(t *testing.T) {
		h := flowtest.New(t)
		calls := 0
		task := flow.NewTask("t", func(_ context.Context, x int) (int, error) {
			calls++
			return x + 1, nil
		}, flow.CacheByInput(time.Minute))
		f := flow.New("f", func(ctx context.Context, x int) (int, error) { return task.Run(ctx, x) })
		for range 2 {
			if got, err := f.Run(h.Context(), 1); got != 2 || err != nil {
				t.Fatal(got, err)
			}
		}
		if got, err := f.Run(h.Context(), 2); got != 3 || err != nil {
			t.Fatal(got, err)
		}
		time.Sleep(2 * time.Minute)
		if got, err := f.Run(h.Context(), 1); got != 2 || err != nil {
			t.Fatal(got, err)
		}
		if calls != 3 {
			t.Errorf("%d calls", calls)
		}
		wantStates(t, h.TaskRuns("t")[1], "Pending", "Cached")
	})
	in(t, "shares results under a key of its own", func(t *testing.T) {
		h := flowtest.New(t)
		task := flow.NewTask("t", func(_ context.Context, name string) (string, error) { return name, nil }, flow.Cache(strings.ToLower, 0))
		f := flow.New("f", func(ctx context.Context, name string) (string, error) { return task.Run(ctx, name) })
		first, _ := f.Run(h.Context(), "Leo")
		second, err := f.Run(h.Context(), "LEO")
		if first != "Leo" || second != "Leo" || err != nil {
			t.Error(first, second, err)
		}
	})
	in(t, "comes after others, and does not run when one of them failed", func(t *testing.T) {
		h := flowtest.New(t)
		var order []string
		step := flow.NewTask("step", func(_ context.Context, name string) (none, error) {
			time.Sleep(time.Second)
			order = append(order, name)
			if name == "b" {
				return none{}, errors.New("no")
			}
			return none{}, nil
		})
		f := flow.New("f", func(ctx context.Context, _ none) (none, error) {
			a := step.Go(ctx, "a")
			b := step.Go(ctx, "b", flow.After(a))
			_, err := step.Run(ctx, "c", flow.After(b))
			if blocked, ok := errors.AsType[*flow.NotReady](err); !ok || blocked.Upstream != b.RunName() {
				t.Errorf("c ended with %v", err)
			}
			return none{}, nil
		})
		if _, err := f.Run(h.Context(), none{}); err != nil {
			t.Error(err)
		}
		if !slices.Equal(order, []string{"a", "b"}) {
			t.Errorf("the order was %v", order)
		}
		wantStates(t, h.TaskRuns("step")[2], "Pending", "NotReady")
	})
	in(t, "called within a task is refused", func(t *testing.T) {
		h := flowtest.New(t)
		inner := flow.NewTask("inner", add)
		outer := flow.NewTask("outer", func(ctx context.Context, xs []int) (int, error) { return inner.Run(ctx, xs) })
		f := flow.New("f", func(ctx context.Context, xs []int) (int, error) { return outer.Run(ctx, xs) })
		if _, err := f.Run(h.Context(), []int{1}); err == nil || !strings.Contains(err.Error(), `task "inner" was called within a task`) {
			t.Error(err)
		}
	})
	in(t, "has its function replaced by a fake, and nothing else", func(t *testing.T) {
		n := 0
		task := flow.NewTask("fetch", func(context.Context, string) (int, error) { panic("not in a test") }, flow.Retries(2, flow.Fixed(time.Hour)))
		h := flowtest.New(t, flowtest.Fake(task, func(context.Context, string) (int, error) {
			if n++; n < 3 {
				return 0, errors.New("flaky")
			}
			return 7, nil
		}))
		f := flow.New("f", func(ctx context.Context, url string) (int, error) { return task.Run(ctx, url) })
		if got, err := f.Run(h.Context(), "x"); got != 7 || err != nil || h.Attempts("fetch") != 3 {
			t.Error(got, err, h.Attempts("fetch"))
		}
	})
	in(t, "may return much, or what is no JSON if it is not stored", func(t *testing.T) {
		h := flowtest.New(t)
		long := flow.NewTask("long", func(context.Context, none) (string, error) { return strings.Repeat("x", 10_000), nil })
		channel := flow.NewTask("channel", func(context.Context, none) (chan int, error) { return make(chan int), nil }, flow.NoResult())
		bad := flow.NewTask("bad", func(context.Context, none) (chan int, error) { return nil, nil }, flow.Retries(3, flow.Fixed(0)))
		f := flow.New("f", func(ctx context.Context, _ none) (string, error) {
			if c, err := channel.Run(ctx, none{}); c == nil || err != nil {
				t.Error(c, err)
			}
			if _, err := bad.Run(ctx, none{}); err == nil || !strings.Contains(err.Error(), "flow.NoResult()") {
				t.Error(err)
			}
			return long.Run(ctx, none{})
		})
		if got, err := f.Run(h.Context(), none{}); len(got) != 10_000 || err != nil {
			t.Error(len(got), err)
		}
		if d := h.TaskRuns("long")[0].State().Data; d.Encoding != api.EncodingStore {
			t.Errorf("the result is recorded as %s", d.Encoding)
		}
		wantStates(t, h.TaskRuns("bad")[0], "Pending", "Running", "Failed")
	})
}
