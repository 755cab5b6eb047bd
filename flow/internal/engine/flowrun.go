package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/sluice-dev/sluice/api"
)

// FlowRun is one flow run that this process executes.
type FlowRun struct {
	ID         api.ID
	Name       string
	Deployment *api.ID

	flow   *Flow
	conn   connection
	parent *FlowRun
	lease  string
	log    *slog.Logger
	slots  chan struct{} // one element per task run that executes
	ctx    context.Context
	end    context.CancelCauseFunc

	mu      sync.Mutex
	state   *api.ID // the last one seen
	tasks   map[*Future]struct{}
	ignored []*Future // ended, and nobody has asked for their results
	made    int       // task runs and subflow runs
	lost    bool      // one of them has not completed
	calls   map[string]int
	ending  bool
}

// Start says how a flow run comes about.
type Start struct {
	Name       string // "" for one made up
	Tags       []string
	Parameters json.RawMessage
}

// lastWords bounds what a run that was ended from outside still reports.
const lastWords = 5 * time.Second

// Run executes a flow: in a flow run of its own if ctx belongs to a flow run or has a recorder, otherwise as the function it is.
func (f *Flow) Run(ctx context.Context, in any, s Start) (any, error) {
	if TaskRunOf(ctx) != nil {
		return nil, fmt.Errorf("flow %q was called within a task: call it from the flow", f.Name)
	}
	parent := FlowRunOf(ctx)
	conn, recorded := connected(ctx)
	if !recorded {
		return f.Call(ctx, in)
	}
	r := &FlowRun{flow: f, conn: conn, parent: parent}
	if err := r.create(ctx, in, s); err != nil {
		return nil, err
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	token, release, err := conn.Lease(ctx, r.ID, end)
	if err != nil {
		return nil, fmt.Errorf("own flow run %s: %w", r.Name, err)
	}
	defer release()
	r.lease = token
	out, err := r.execute(ctx, end, in)
	if parent != nil && err != nil {
		parent.mu.Lock()
		parent.lost = true
		parent.mu.Unlock()
	}
	return out, err
}

// RunGranted executes a flow run that an agent was granted. warning, unless "", comes into its log first. The error is that of the
// flow, or says why it was not executed.
func (f *Flow) RunGranted(ctx context.Context, run *api.FlowRun, lease, warning string, decode func(parameters []byte) (any, error)) (any, error) {
	conn, recorded := connected(ctx)
	if !recorded {
		return nil, errors.New("there is no recorder")
	}
	r := &FlowRun{flow: f, conn: conn, lease: lease}
	r.adopt(run)
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	if f.Version != "" && (run.FlowVersion == nil || *run.FlowVersion != f.Version) {
		if err := conn.SetVersion(ctx, run.ID, f.Version); err != nil {
			r.log.Warn("The version of the flow was not reported: " + err.Error())
		}
	}
	if warning != "" {
		r.log.Warn(warning)
	}
	in, err := decode(run.Parameters)
	if err != nil {
		r.ctx, r.end = ctx, end
		r.log.Error("Flow run received invalid parameters: " + err.Error())
		return nil, errors.Join(err, r.finish(api.NewState(api.Failed, "Flow run received invalid parameters: "+err.Error()), false))
	}
	return r.execute(ctx, end, in)
}

// create makes the run, and the task run that stands for it in its parent.
func (r *FlowRun) create(ctx context.Context, in any, s Start) error {
	f := r.flow
	if s.Parameters == nil {
		var err error
		if s.Parameters, err = parametersOf(in); err != nil {
			return fmt.Errorf("parameters of flow %q: %w", f.Name, err)
		}
	}
	name, key := s.Name, api.NewID().String()
	if name == "" {
		name = api.RunName(rand.Uint64())
	}
	body := api.FlowRunCreate{Name: &name, Parameters: s.Parameters, IdempotencyKey: &key, Tags: slices.Concat(f.Tags, s.Tags), State: &api.StateCreate{Type: api.Pending}}
	if f.Version != "" {
		body.FlowVersion = &f.Version
	}
	if p := r.parent; p != nil {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		stand := api.TaskRunCreate{FlowRunID: p.ID, TaskKey: digest([]byte(f.Name)), DynamicKey: p.dynamicKey("flow " + f.Name), Name: &f.Name, Tags: f.Tags, State: &api.StateCreate{Type: api.Pending}}
		task, err := r.conn.CreateTaskRun(ctx, stand)
		if err != nil {
			return fmt.Errorf("create subflow run of %q: %w", f.Name, err)
		}
		body.ParentTaskRunID = &task.ID
		p.mu.Lock()
		p.made++
		p.mu.Unlock()
	}
	run, err := r.conn.CreateFlowRun(ctx, f.Name, body)
	if err != nil {
		return fmt.Errorf("create a run of flow %q: %w", f.Name, err)
	}
	r.adopt(run)
	if r.parent != nil {
		r.parent.log.Info(fmt.Sprintf("Created subflow run '%s' for flow '%s'", run.Name, f.Name))
	} else {
		r.log.Log(context.WithValue(ctx, quietKey{}, true), slog.LevelInfo, fmt.Sprintf("Created flow run '%s' for flow '%s'", run.Name, f.Name))
	}
	return nil
}

func (r *FlowRun) adopt(run *api.FlowRun) {
	r.ID, r.Name, r.Deployment, r.state = run.ID, run.Name, run.DeploymentID, run.StateID
	r.tasks, r.calls = map[*Future]struct{}{}, map[string]int{}
	most := r.flow.MaxTasks
	if most <= 0 {
		most = DefaultMaxTasks
	}
	r.slots = make(chan struct{}, most)
	r.log = slog.New(&handler{conn: r.conn, run: r.ID, who: "Flow run '" + r.Name + "'", name: "sluice.flow_runs"})
}

// parametersOf is the input as the server stores it: an object; an input of another kind stands under "input".
func parametersOf(in any) (json.RawMessage, error) {
	data, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	if len(data) > 0 && data[0] == '{' {
		return data, nil
	}
	if string(data) == "null" {
		return json.RawMessage("{}"), nil
	}
	return json.Marshal(map[string]json.RawMessage{"input": data})
}

// dynamicKey numbers the calls of one thing in this run.
func (r *FlowRun) dynamicKey(of string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.calls[of]
	r.calls[of]++
	return fmt.Sprint(n)
}

// execute takes the run from Pending to its final state.
func (r *FlowRun) execute(ctx context.Context, end context.CancelCauseFunc, in any) (out any, err error) {
	r.ctx, r.end = ctx, end
	if err := r.begin(ctx); err != nil {
		return nil, errors.Join(err, r.endedFromOutside(err))
	}
	inside := context.WithValue(ctx, flowRunKey, r)
	limited, cancel := inside, func() {}
	var limit *TimedOut
	if t := r.flow.Timeout; t > 0 {
		limit = &TimedOut{What: "Flow run", Limit: t.String()}
		limited, cancel = context.WithTimeoutCause(inside, t, limit)
	}
	defer cancel()
	o, left := await(limited, apart(limited, r.conn.call(&r.flow.Definition), in), func(cause error) bool {
		return r.conn.killed && cause != error(limit)
	})
	if out, err = o.out, o.err; left {
		r.log.Error(fmt.Sprintf("The flow goes on %s after its context has ended; it is left behind.", grace))
	}
	if p, ok := errors.AsType[*Panicked](err); ok {
		r.log.Error("Encountered a panic during execution: " + p.Error() + "\n" + p.Stack)
	}
	settled := false // the tasks have said themselves why they failed
	if err == nil {
		err = r.settle(limited)
		settled = true
	}
	switch cause := context.Cause(limited); {
	case cause != nil && cause == context.Cause(ctx): // from outside
		r.abandon(cause)
		return nil, errors.Join(cause, r.endedFromOutside(cause))
	case limit != nil && cause == error(limit) && (err != nil):
		r.abandon(limit)
		r.log.Error(limit.Error())
		return nil, errors.Join(limit, r.finish(api.NewState(api.Failed, limit.Error()).Named(api.NameTimedOut), false))
	case err != nil:
		r.abandon(ErrEnded)
		if _, panicked := errors.AsType[*Panicked](err); !panicked && !settled {
			r.log.Error("Encountered an error during execution: " + err.Error())
		}
		return nil, errors.Join(err, r.finish(api.NewState(api.Failed, err.Error()), false))
	}
	state := api.StateCreate{Type: api.Completed}
	r.mu.Lock()
	all := r.made > 0 && !r.lost
	r.mu.Unlock()
	if all {
		state = api.NewState(api.Completed, "All states completed.")
	}
	document, err := r.conn.result(ctx, &r.flow.Definition, out)
	if err != nil {
		err = fmt.Errorf("store the result of flow %q: %w", r.flow.Name, err)
		r.log.Error(err.Error())
		return nil, errors.Join(err, r.finish(api.NewState(api.Failed, err.Error()), false))
	}
	state.Data = document
	return out, r.finish(state, false)
}

// begin reports Running, waiting where the server says so.
func (r *FlowRun) begin(ctx context.Context) error {
	for {
		answer, err := r.propose(ctx, api.StateCreate{Type: api.Running}, false)
		if err != nil {
			return err
		}
		switch answer.Status {
		case api.Wait:
			if err := sleep(ctx, time.Duration(answer.Details.DelaySeconds)*time.Second); err != nil {
				return err
			}
		case api.Abort:
			return &refused{"flow run " + r.Name, answer.Reason()}
		default:
			return nil
		}
	}
}

// settle waits for all task runs. One that failed and whose future nobody looked at fails the flow.
func (r *FlowRun) settle(ctx context.Context) error {
	for {
		r.mu.Lock()
		var one *Future
		for one = range r.tasks {
			break
		}
		made, ignored := r.made, r.ignored
		if one == nil {
			r.ending = true
		}
		r.mu.Unlock()
		if one != nil {
			if err := one.wait(ctx); err != nil {
				return err
			}
			continue
		}
		var failed []error
		for _, f := range ignored {
			if f.err != nil && !f.looked.Load() && !f.detached {
				failed = append(failed, fmt.Errorf("%s: %w", f.name, f.err))
			}
		}
		if failed == nil {
			return nil
		}
		return fmt.Errorf("%d/%d states failed: %w", len(failed), made, errors.Join(failed...))
	}
}

// abandon ends what is left of the run's tasks and waits for them: nothing reports after the run's own end.
func (r *FlowRun) abandon(cause error) {
	r.mu.Lock()
	r.ending = true
	left := slices.Collect(maps.Keys(r.tasks))
	r.mu.Unlock()
	for _, f := range left {
		f.cancel(cause)
	}
	for _, f := range left {
		<-f.done
	}
}

// endedFromOutside reports the end of a run that did not end by itself.
func (r *FlowRun) endedFromOutside(cause error) error {
	if errors.Is(cause, ErrLeaseLost) {
		r.log.Error("Stopped: another process may own this flow run; nothing more is reported.")
		return nil
	}
	if _, was := errors.AsType[*refused](cause); was {
		r.log.Error(cause.Error())
		return nil
	}
	state := api.NewState(api.Failed, "Flow run process ended: "+cause.Error()).Named(api.NameCrashed)
	signal, terminated := errors.AsType[*Terminated](cause)
	if terminated {
		state = api.NewState(api.Failed, "Flow run process was terminated by "+signal.Signal+".").Named(api.NameCrashed)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), lastWords)
	defer cancel()
	if now, err := r.conn.State(ctx, FlowRuns, r.ID); err == nil && now.Name == api.NameCancelling || errors.Is(cause, ErrCancelled) {
		state = api.NewState(api.Cancelled, "Flow run was cancelled.")
	} else {
		r.log.Error("Crash detected! " + *state.Message)
	}
	return r.finish(state, state.Type == api.Failed)
}

// finish reports the final state, after the lines before it.
func (r *FlowRun) finish(state api.StateCreate, force bool) error {
	ctx, cancel := context.WithoutCancel(r.ctx), func() {}
	if r.ctx.Err() != nil {
		ctx, cancel = context.WithTimeout(ctx, lastWords)
	}
	defer cancel()
	if r.parent == nil {
		flushing, done := context.WithTimeout(ctx, 2*time.Second)
		r.conn.Flush(flushing)
		done()
	}
	answer, err := r.propose(ctx, state, force)
	if err != nil {
		return fmt.Errorf("report the end of flow run %s: %w", r.Name, err)
	}
	if answer.State == nil {
		r.log.Warn(fmt.Sprintf("The end of the flow was not recorded: %s", answer.Reason()))
		return nil
	}
	level := slog.LevelInfo
	if answer.State.Type != api.Completed {
		level = slog.LevelError
	}
	r.consoleOnly(level, "Finished in state "+answer.State.String())
	return nil
}

func (r *FlowRun) consoleOnly(level slog.Level, text string) {
	r.log.Log(context.WithValue(r.ctx, quietKey{}, true), level, text)
}

// propose reports a state of the run.
func (r *FlowRun) propose(ctx context.Context, state api.StateCreate, force bool) (*api.OrchestrationResult, error) {
	state.StateDetails = &api.StateDetails{FlowRunID: &r.ID}
	r.mu.Lock()
	before := r.state
	r.mu.Unlock()
	answer, err := r.conn.SetState(ctx, Proposal{Kind: FlowRuns, ID: r.ID, State: state, Force: force, Lease: r.lease, Before: before})
	if err != nil {
		return nil, err
	}
	if answer.Status == api.Abort && answer.Reason() == api.ReasonLeaseLost {
		r.end(ErrLeaseLost)
		return nil, ErrLeaseLost
	}
	if answer.State != nil {
		r.mu.Lock()
		r.state = &answer.State.ID
		r.mu.Unlock()
	}
	return answer, nil
}

// sleep waits, or returns why ctx ended.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
