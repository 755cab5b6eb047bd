package scheduler

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/orchestration"
	"github.com/sluice-dev/sluice/fsm/row"
)

const (
	// pruneRows is how many rows one command removes, a few milliseconds of applying.
	pruneRows = 500
	// pruneShare is how much longer retention rests after a command than the command took: what people do comes first.
	pruneShare = 3
	// pruneRest is the least rest between two commands.
	pruneRest = 2 * time.Millisecond
	// lookAgain is how soon a deployment is looked at again of which something must stay for now, or whose logs may have come later.
	lookAgain = time.Hour
	// lookAtAll is how often every deployment is looked at, without a reason.
	lookAtAll = 24 * time.Hour
	// totalAtOnce is how many runs are removed at once for the bound on all of them.
	totalAtOnce = 2000
	cacheLimit  = 500
)

// retention removes finished runs and logs that the rules no longer keep. What it costs follows what it removes: a deployment is looked
// at when the oldest it has may go, and when a run of it has finished; all of them are at the beginning of an epoch and once a day.
type retention struct {
	core  *core
	every time.Duration
	wake  signal // never set: time alone drives it

	mu      sync.Mutex          // guards what follows
	touched map[api.ID]struct{} // deployments of which a run finished or whose rules may have changed

	// What follows belongs to run's goroutine.
	due    map[api.ID]int64 // when the oldest that a deployment has may go, µs
	walked int64            // when all were looked at; 0: never
	policy int64            // when the rules that due was computed with were changed
}

func newRetention(c *core, every time.Duration) *retention {
	return &retention{core: c, every: every, wake: newSignal(), touched: map[api.ID]struct{}{}, due: map[api.ID]int64{}}
}

func (r *retention) observeRun(run *row.FlowRun, deleted bool) {
	if !deleted && orchestration.TerminalType(run.GetState().GetType()) {
		r.touch(id16(run.DeploymentId))
	}
}

// observeDeployment follows that rules may have changed; runs of a deleted deployment go on without one.
func (r *retention) observeDeployment(d *row.Deployment, deleted bool) {
	r.touch(id16(d.Id))
	if deleted {
		r.touch(api.ID{})
	}
}

func (r *retention) touch(id api.ID) {
	r.mu.Lock()
	r.touched[id] = struct{}{}
	r.mu.Unlock()
}

func (r *retention) run(ctx context.Context) error {
	// A new leader has more urgent things to do.
	first := time.NewTimer(r.every)
	defer first.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-first.C:
	}
	return r.core.loop(ctx, r.wake, "retention", r.runOnce)
}

func (r *retention) runOnce(ctx context.Context) (time.Duration, error) {
	if hold := r.core.jumps.hold(); hold > 0 {
		return hold, nil
	}
	policy, err := r.noteTime(ctx)
	if err != nil || policy == nil {
		return r.every, err
	}
	ids, err := r.candidates(policy)
	if err != nil {
		return 0, err
	}
	for i, id := range ids {
		if err := r.deployment(ctx, id); err != nil {
			for _, left := range ids[i:] {
				r.touch(left)
			}
			return 0, err
		}
	}
	if err := r.total(ctx); err != nil {
		return 0, err
	}
	if err := r.cache(ctx); err != nil {
		return 0, err
	}
	r.core.observer.RetentionSwept(orchestration.RetentionHeld(policy, r.core.now()))
	return r.every, nil
}

// noteTime has the state note that time passes, once an hour, and returns the rules after that.
func (r *retention) noteTime(ctx context.Context) (*row.RetentionPolicy, error) {
	read := func() (*row.RetentionPolicy, error) {
		view, err := r.core.view()
		if err != nil {
			return nil, err
		}
		policy, err := view.RetentionPolicy()
		if err = errors.Join(err, view.Close()); err != nil {
			return nil, fmt.Errorf("read the rules: %w", err)
		}
		return policy, nil
	}
	before, err := read()
	if err != nil || before == nil || r.core.now()-before.Seen < orchestration.RetentionNote {
		return before, err
	}
	e := &command.Envelope{Command: &command.Envelope_NoteRetentionTime{NoteRetentionTime: &command.NoteRetentionTime{}}}
	if _, _, err := r.core.propose(ctx, e); err != nil {
		return nil, fmt.Errorf("propose: %w", err)
	}
	after, err := read()
	if err == nil && after.GetHeldUntil() > before.HeldUntil {
		r.core.log.Warn("the cluster's time has jumped: nothing is removed for its age until it is clear that the clocks are right; "+
			"if they are, `sluice retention resume` ends the wait",
			"by", time.Duration(after.HeldGap)*time.Microsecond, "until", time.UnixMicro(after.HeldUntil).UTC())
	}
	return after, err
}

// candidates returns the deployments of which something may go.
func (r *retention) candidates(policy *row.RetentionPolicy) ([]api.ID, error) {
	now := r.core.now()
	r.mu.Lock()
	touched := r.touched
	r.touched = map[api.ID]struct{}{}
	r.mu.Unlock()
	if r.walked == 0 || now-r.walked > lookAtAll.Microseconds() || policy.Updated != r.policy {
		view, err := r.core.view()
		if err != nil {
			return nil, err
		}
		clear(r.due)
		err = view.DeploymentsWithHistory(func(id api.ID) (bool, error) {
			touched[id] = struct{}{}
			return true, nil
		})
		if err = errors.Join(err, view.Close()); err != nil {
			return nil, fmt.Errorf("look for deployments with runs or logs: %w", err)
		}
		r.walked, r.policy = now, policy.Updated
	}
	for id, at := range r.due {
		if at <= now {
			touched[id] = struct{}{}
		}
	}
	return slices.SortedFunc(maps.Keys(touched), func(a, b api.ID) int { return slices.Compare(a[:], b[:]) }), nil
}

// deployment removes what goes of one deployment and notes when to look at it again.
func (r *retention) deployment(ctx context.Context, id api.ID) error {
	plan, due, err := r.plan(id)
	if err != nil {
		return err
	}
	if len(plan) > 0 {
		for _, c := range plan {
			if _, _, err := r.prune(ctx, c); err != nil {
				return err
			}
		}
		var left []*command.Prune
		if left, due, err = r.plan(id); err != nil {
			return err
		}
		if len(left) > 0 { // it must stay for now
			due = min(due, r.core.now()+lookAgain.Microseconds())
		}
	}
	if due == math.MaxInt64 {
		delete(r.due, id)
	} else {
		r.due[id] = due
	}
	return nil
}

func (r *retention) plan(id api.ID) ([]*command.Prune, int64, error) {
	view, err := r.core.view()
	if err != nil {
		return nil, 0, err
	}
	plan, due, err := planRetention(view, id, r.core.now())
	if err = errors.Join(err, view.Close()); err != nil {
		return nil, 0, fmt.Errorf("plan for deployment %s: %w", id, err)
	}
	return plan, due, nil
}

// planRetention says what of a deployment's finished runs and logs goes now, as the first of what may be several commands, and when to
// look again, MaxInt64 for not without a reason.
func planRetention(v View, id api.ID, now int64) (plan []*command.Prune, due int64, err error) {
	due = math.MaxInt64
	policy, err := v.RetentionPolicy()
	if err != nil || policy == nil {
		return nil, due, err
	}
	d, err := v.Deployment(id)
	if err != nil {
		return nil, due, err
	}
	rules := orchestration.RetentionOf(policy, d)
	for _, kind := range []struct {
		what  command.Prune_What
		rule  orchestration.Rule
		walk  func(api.ID, int64, api.ID, func(int64, api.ID) (bool, error)) error
		count func(api.ID) (int64, error)
		shift int64
	}{
		{command.Prune_RUNS, rules.Runs, v.FinishedRuns, v.CountFinishedRuns, 0},
		{command.Prune_LOGS, rules.Logs, v.RunsWithLogs, v.CountRunsWithLogs, orchestration.LogsAge(0)},
	} {
		if kind.rule.MaxCount > 0 {
			n, err := kind.count(id)
			if err != nil {
				return nil, due, err
			}
			if n > kind.rule.MaxCount {
				plan = append(plan, &command.Prune{DeploymentId: id[:], What: kind.what, Reason: command.Prune_COUNT, Rows: pruneRows})
			}
		}
		if kind.rule.MaxAge <= 0 {
			continue
		}
		oldest, found := int64(0), false
		err := kind.walk(id, 0, api.ID{}, func(at int64, _ api.ID) (bool, error) {
			oldest, found = at+kind.shift, true
			return false, nil
		})
		if err != nil {
			return nil, due, err
		}
		before, some := orchestration.RetentionCutoff(policy, kind.rule, now)
		switch {
		case !found && kind.what == command.Prune_LOGS:
			due = min(due, now+lookAgain.Microseconds()) // logs come a little later than the end of their run
		case !found:
		case some && oldest < before:
			plan = append(plan, &command.Prune{DeploymentId: id[:], What: kind.what, Reason: command.Prune_AGE, Before: before, Rows: pruneRows})
		case !some: // the time is in doubt
			due = min(due, now+lookAgain.Microseconds())
		default:
			due = min(due, oldest+kind.rule.MaxAge+1)
		}
	}
	return plan, due, nil
}

// prune repeats a command until nothing is left to remove. It returns how many rows went, and how many of what it looked at must stay.
func (r *retention) prune(ctx context.Context, c *command.Prune) (removed, kept int64, err error) {
	for {
		began := time.Now()
		results, _, err := r.core.propose(ctx, &command.Envelope{Command: &command.Envelope_Prune{Prune: c}})
		if err != nil {
			return removed, kept, fmt.Errorf("propose: %w", err)
		}
		took := time.Since(began)
		done := results[0].Pruned
		if results[0].Code != command.Result_OK || done == nil {
			return removed, kept, fmt.Errorf("refused: %s", results[0].Message)
		}
		for _, n := range done.Removed {
			removed += n.Rows
		}
		kept += int64(done.Kept)
		if !done.More {
			return removed, kept, nil
		}
		c.AfterTime, c.AfterId, c.Kept = done.AfterTime, done.AfterId, kept
		if err := rest(ctx, max(pruneRest, pruneShare*took)); err != nil {
			return removed, kept, err
		}
	}
}

func rest(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// total removes the oldest finished runs of all while there are more than the cluster may have.
func (r *retention) total(ctx context.Context) error {
	for {
		view, err := r.core.view()
		if err != nil {
			return err
		}
		plan, err := planTotal(view)
		if err = errors.Join(err, view.Close()); err != nil {
			return fmt.Errorf("plan for all runs: %w", err)
		}
		all := int64(0)
		for _, c := range plan {
			removed, _, err := r.prune(ctx, c)
			if err != nil {
				return err
			}
			all += removed
		}
		if all == 0 { // there are not too many, or the oldest must stay for now
			return nil
		}
	}
}

// planTotal names the deployments that have the oldest finished runs, and until when those are too many.
func planTotal(v View) ([]*command.Prune, error) {
	policy, err := v.RetentionPolicy()
	if err != nil || policy.GetMaxTotalRuns() <= 0 {
		return nil, err
	}
	excess := -policy.MaxTotalRuns
	for _, t := range []row.StateType{row.StateType_COMPLETED, row.StateType_FAILED, row.StateType_CANCELLED} {
		n, err := v.CountFlowRuns(t)
		if err != nil {
			return nil, err
		}
		excess += n
	}
	if excess <= 0 {
		return nil, nil
	}
	excess = min(excess, totalAtOnce)
	// The oldest of all are among the `excess` oldest of each; a heap of the newest of them forgets the others.
	var oldest newestFirst
	err = v.DeploymentsWithHistory(func(id api.ID) (bool, error) {
		return true, v.FinishedRuns(id, 0, api.ID{}, func(at int64, _ api.ID) (bool, error) {
			if int64(len(oldest)) < excess {
				heap.Push(&oldest, ended{at, id})
				return true, nil
			}
			if at >= oldest[0].at {
				return false, nil
			}
			oldest[0] = ended{at, id}
			heap.Fix(&oldest, 0)
			return true, nil
		})
	})
	if err != nil || len(oldest) == 0 {
		return nil, err
	}
	before := oldest[0].at + 1
	var plan []*command.Prune
	seen := map[api.ID]bool{}
	for _, e := range oldest {
		if !seen[e.deployment] {
			seen[e.deployment] = true
			plan = append(plan, &command.Prune{DeploymentId: e.deployment[:], Reason: command.Prune_TOTAL, Before: before, Rows: pruneRows})
		}
	}
	slices.SortFunc(plan, func(a, b *command.Prune) int { return slices.Compare(a.DeploymentId, b.DeploymentId) })
	return plan, nil
}

// ended is when a run of a deployment finished.
type ended struct {
	at         int64
	deployment api.ID
}

// newestFirst is a heap.
type newestFirst []ended

func (h newestFirst) Len() int           { return len(h) }
func (h newestFirst) Less(i, j int) bool { return h[i].at > h[j].at }
func (h newestFirst) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *newestFirst) Push(x any)        { *h = append(*h, x.(ended)) }
func (h *newestFirst) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// cache forgets expired entries of the task cache.
func (r *retention) cache(ctx context.Context) error {
	before := r.core.now()
	view, err := r.core.view()
	if err != nil {
		return err
	}
	some, err := view.ExpiredCacheEntries(before)
	if err = errors.Join(err, view.Close()); err != nil {
		return fmt.Errorf("look for expired cache entries: %w", err)
	}
	for some {
		began := time.Now()
		results, _, err := r.core.propose(ctx, &command.Envelope{Command: &command.Envelope_PruneCache{PruneCache: &command.PruneCache{Before: before, Limit: cacheLimit}}})
		if err != nil {
			return fmt.Errorf("propose: %w", err)
		}
		some = results[0].Count >= cacheLimit
		if some {
			if err := rest(ctx, max(pruneRest, pruneShare*time.Since(began))); err != nil {
				return err
			}
		}
	}
	return nil
}
