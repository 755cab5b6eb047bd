package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/sluice-dev/sluice/api"
)

// TaskRun is one task run that this process executes.
type TaskRun struct {
	ID      api.ID
	Name    string
	Attempt int // from 1

	task *Task
	flow *FlowRun
	key  string // dynamic
	log  *slog.Logger
	last *api.ID
}

// Call says how a task is called.
type Call struct {
	After  []*Future
	Key    string // "" for the number of the call
	Tags   []string
	Detach bool
}

// Go begins a task run of the flow run ctx belongs to; outside of one the function is called in a goroutine.
func (t *Task) Go(ctx context.Context, in any, c Call) *Future {
	f := &Future{name: t.Name, detached: c.Detach, done: make(chan struct{})}
	var inside context.Context
	inside, f.cancel = context.WithCancelCause(ctx)
	r := FlowRunOf(ctx)
	if r == nil {
		conn, _ := connected(ctx)
		go func() {
			defer f.end()
			if err := awaitAll(inside, c.After); err != nil {
				f.err = err
				return
			}
			o := <-apart(inside, conn.call(&t.Definition), in)
			f.out, f.err = o.out, o.err
		}()
		return f
	}
	fail := func(err error) *Future {
		f.err = err
		f.end()
		return f
	}
	if TaskRunOf(ctx) != nil {
		return fail(fmt.Errorf("task %q was called within a task: call it from the flow", t.Name))
	}
	run := &TaskRun{task: t, flow: r, key: c.Key}
	if run.key == "" {
		run.key = r.dynamicKey("task " + t.Key())
	}
	run.Name = fmt.Sprintf("%s-%s-%s", t.Name, t.Key()[:8], run.key)
	f.name = run.Name
	r.mu.Lock()
	if r.ending {
		r.mu.Unlock()
		return fail(ErrEnded)
	}
	r.tasks[f] = struct{}{}
	r.made++
	r.mu.Unlock()
	go func() {
		defer r.ended(f)
		f.out, f.err = run.whole(inside, in, c)
		f.id = run.ID
	}()
	return f
}

func (f *Future) end() {
	f.cancel(nil)
	close(f.done)
}

func (r *FlowRun) ended(f *Future) {
	f.end()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.tasks, f)
	if f.err != nil {
		r.ignored = append(r.ignored, f)
		r.lost = true
	}
}

// awaitAll waits for futures; one that failed makes the caller not ready.
func awaitAll(ctx context.Context, after []*Future) error {
	for _, f := range after {
		f.looked.Store(true)
		if err := f.wait(ctx); err != nil {
			return err
		}
		if f.err != nil {
			return &NotReady{Upstream: f.name, id: f.ID()}
		}
	}
	return nil
}

// whole takes the run from its creation to its final state.
func (r *TaskRun) whole(ctx context.Context, in any, c Call) (any, error) {
	ready := awaitAll(ctx, c.After)
	blocked, upstream := errors.AsType[*NotReady](ready)
	if ready != nil && !upstream {
		return nil, ready
	}
	select {
	case r.flow.slots <- struct{}{}:
		defer func() { <-r.flow.slots }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	stored, err := r.create(ctx, c)
	if err != nil {
		return nil, err
	}
	if stored != nil && stored.Type == api.Completed { // by an earlier attempt of the flow run
		return r.flow.conn.recall(ctx, &r.task.Definition, stored.Data)
	}
	if blocked != nil {
		_, err := r.propose(ctx, api.NewState(api.Pending, blocked.message()).Named(api.NameNotReady), false)
		return nil, errors.Join(ready, err)
	}
	out, err := r.attempts(context.WithValue(ctx, taskRunKey, r), in)
	if cause := context.Cause(ctx); cause != nil && err != nil && !errors.Is(cause, ErrLeaseLost) {
		r.interrupted(ctx, cause)
	}
	return out, err
}

// create makes the task run; the state it has, if it is an older one.
func (r *TaskRun) create(ctx context.Context, c Call) (*api.State, error) {
	t := r.task
	body := api.TaskRunCreate{FlowRunID: r.flow.ID, TaskKey: t.Key(), DynamicKey: r.key, Name: &r.Name, Tags: slices.Concat(t.Tags, c.Tags),
		EmpiricalPolicy: &api.TaskRunPolicy{MaxRetries: t.Retries}, State: &api.StateCreate{Type: api.Pending}}
	if t.Backoff.Fixed() {
		body.EmpiricalPolicy.RetryDelaySeconds = api.Duration(t.Backoff.Base)
	}
	inputs := map[string][]api.TaskInput{}
	for _, f := range c.After {
		if id := f.ID(); !id.IsNil() {
			inputs["wait_for"] = append(inputs["wait_for"], api.TaskInput{InputType: api.InputTaskRun, ID: &id})
		}
	}
	var err error
	if body.TaskInputs, err = json.Marshal(inputs); err != nil {
		return nil, err
	}
	stored, err := r.flow.conn.CreateTaskRun(ctx, body)
	if err != nil {
		return nil, fmt.Errorf("create task run %s: %w", r.Name, err)
	}
	r.ID, r.last = stored.ID, stored.StateID
	r.log = slog.New(&handler{conn: r.flow.conn, run: r.flow.ID, task: &r.ID, who: "Task run '" + r.Name + "'", name: "sluice.task_runs"})
	r.flow.log.Info(fmt.Sprintf("Created task run '%s' for task '%s'", r.Name, t.Name))
	return stored.State, nil
}

// attempts runs the task's function until its outcome is final.
func (r *TaskRun) attempts(ctx context.Context, in any) (any, error) {
	var key string
	if r.task.CacheKey != nil {
		var err error
		if key, err = r.task.CacheKey(in); err != nil {
			r.log.Error(err.Error())
			_, reported := r.propose(ctx, api.NewState(api.Failed, err.Error()), true)
			return nil, errors.Join(err, reported)
		}
	}
	for r.Attempt = 1; ; r.Attempt++ {
		cached, err := r.begin(ctx, key)
		if err != nil {
			return nil, err
		}
		if cached != nil {
			out, err := r.flow.conn.recall(ctx, &r.task.Definition, cached.Data)
			r.say(cached)
			return out, err
		}
		out, failure := r.attempt(ctx, in)
		if cause := context.Cause(ctx); cause != nil && failure != nil {
			return nil, cause
		}
		if failure == nil {
			failure = r.succeed(ctx, key, out)
			if failure == nil {
				return out, nil
			}
		}
		again, err := r.fail(ctx, failure)
		if err != nil {
			return nil, errors.Join(failure, err)
		}
		if !again {
			return nil, failure
		}
		if err := sleep(ctx, r.task.Backoff.Before(r.Attempt)); err != nil {
			return nil, err
		}
	}
}

// begin reports Running, waiting where the server says so: for a slot of a tag's limit, or for the time of a retry. A state is
// returned when the outcome was in the cache.
func (r *TaskRun) begin(ctx context.Context, key string) (*api.State, error) {
	for {
		state := api.StateCreate{Type: api.Running}
		if key != "" {
			state.StateDetails = &api.StateDetails{CacheKey: &key}
		}
		answer, err := r.propose(ctx, state, false)
		if err != nil {
			return nil, err
		}
		switch {
		case answer.Status == api.Wait:
			if err := sleep(ctx, max(time.Duration(answer.Details.DelaySeconds)*time.Second, 50*time.Millisecond)); err != nil {
				return nil, err
			}
		case answer.Status == api.Abort:
			return nil, &refused{"task run " + r.Name, answer.Reason()}
		case answer.State != nil && answer.State.Type == api.Completed:
			return answer.State, nil
		default:
			return nil, nil
		}
	}
}

// attempt calls the function once.
func (r *TaskRun) attempt(ctx context.Context, in any) (any, error) {
	var limit *TimedOut
	if d := r.task.Timeout; d > 0 {
		limit = &TimedOut{What: "Task run", Limit: d.String()}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, d, limit)
		defer cancel()
	}
	o, left := await(ctx, apart(ctx, r.flow.conn.call(&r.task.Definition), in), nil)
	if left {
		r.log.Error(fmt.Sprintf("The task goes on %s after its context has ended; it is left behind.", grace))
	}
	switch p, panicked := errors.AsType[*Panicked](o.err); {
	case o.err == nil:
		return o.out, nil
	case limit != nil && context.Cause(ctx) == error(limit):
		r.log.Error(limit.Error())
		return nil, limit
	case panicked:
		r.log.Error("Encountered a panic during execution: " + p.Error() + "\n" + p.Stack)
	case context.Cause(ctx) == nil:
		r.log.Error("Encountered an error during execution: " + o.err.Error())
	}
	return nil, o.err
}

// succeed reports Completed.
func (r *TaskRun) succeed(ctx context.Context, key string, out any) error {
	document, err := r.flow.conn.result(ctx, &r.task.Definition, out)
	if err != nil {
		err = &Permanent{fmt.Errorf("store the result of task %q: %w", r.task.Name, err)}
		r.log.Error(err.Error())
		return err
	}
	state := api.StateCreate{Type: api.Completed, Data: document}
	if key != "" && document != nil {
		state.StateDetails = &api.StateDetails{CacheKey: &key}
		if r.task.CacheFor > 0 {
			state.StateDetails.CacheExpiration = &api.Time{Time: time.Now().Add(r.task.CacheFor)}
		}
	}
	answer, err := r.propose(ctx, state, false)
	if err != nil {
		return &Permanent{err}
	}
	r.say(answer.State)
	return nil
}

// fail reports Failed; again says that the server lets the task run once more.
func (r *TaskRun) fail(ctx context.Context, failure error) (again bool, err error) {
	state := api.NewState(api.Failed, failure.Error())
	if _, late := errors.AsType[*TimedOut](failure); late {
		state = state.Named(api.NameTimedOut)
	}
	_, permanent := errors.AsType[*Permanent](failure)
	answer, err := r.propose(ctx, state, permanent)
	if err != nil {
		return false, err
	}
	if answer.State != nil && answer.State.Type == api.Scheduled {
		r.consoleOnly(slog.LevelInfo, fmt.Sprintf("Received non-final state '%s' when proposing final state '%s' and will attempt to run again...", answer.State.Name, "Failed"))
		return true, nil
	}
	r.say(answer.State)
	return false, nil
}

// interrupted reports a run that did not end by itself; the flow run's own report comes after it.
func (r *TaskRun) interrupted(ctx context.Context, cause error) {
	state := api.NewState(api.Failed, "Task run ended with its flow run: "+cause.Error()).Named(api.NameCrashed)
	if errors.Is(cause, ErrCancelled) {
		state = api.NewState(api.Cancelled, "Task run was cancelled with its flow run.")
	}
	reporting, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer cancel()
	if _, err := r.propose(reporting, state, true); err != nil {
		r.log.Warn("The end of the task run was not reported: " + err.Error())
	}
}

func (r *TaskRun) say(state *api.State) {
	if state == nil {
		return
	}
	level := slog.LevelInfo
	if state.Type != api.Completed {
		level = slog.LevelError
	}
	r.consoleOnly(level, "Finished in state "+state.String())
}

func (r *TaskRun) consoleOnly(level slog.Level, text string) {
	r.log.Log(context.WithValue(context.Background(), quietKey{}, true), level, text)
}

// propose reports a state of the run.
func (r *TaskRun) propose(ctx context.Context, state api.StateCreate, force bool) (*api.OrchestrationResult, error) {
	if state.StateDetails == nil {
		state.StateDetails = &api.StateDetails{}
	}
	state.StateDetails.TaskRunID = &r.ID
	answer, err := r.flow.conn.SetState(ctx, Proposal{Kind: TaskRuns, ID: r.ID, State: state, Force: force, Lease: r.flow.lease, Before: r.last})
	if err != nil {
		return nil, err
	}
	if answer.Status == api.Abort && answer.Reason() == api.ReasonLeaseLost {
		r.flow.end(ErrLeaseLost)
		return nil, ErrLeaseLost
	}
	if answer.State != nil {
		r.last = &answer.State.ID
	}
	return answer, nil
}
