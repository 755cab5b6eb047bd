package fsm

import (
	"bytes"
	"slices"
	"strings"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/orchestration"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
)

// mostPruned bounds what one Prune may ask for, in rows.
const mostPruned = 10_000

func (a *applier) setRetention(c *command.SetRetention) (*command.Result, error) {
	for _, v := range []*int64{c.RunsMaxAge, c.RunsMaxCount, c.LogsMaxAge, c.LogsMaxCount, c.MaxTotalRuns} {
		if v != nil && *v < 0 {
			return failed(command.Result_INVALID, "a bound of retention is not negative; 0 is none"), nil
		}
	}
	e, err := a.tx.EditRetentionPolicy()
	if err != nil {
		return nil, err
	}
	isNew := e == nil
	switch {
	case isNew:
		none := func() *row.RetentionRule { return &row.RetentionRule{MaxAge: new(int64), MaxCount: new(int64)} }
		e = a.tx.NewRetentionPolicy(&row.RetentionPolicy{Retention: &row.Retention{Runs: none(), Logs: none()}, Seen: a.now})
	case c.IfAbsent:
		return &command.Result{}, nil
	}
	p := e.Row
	set := func(to **int64, v *int64) {
		if v != nil {
			*to = v
		}
	}
	set(&p.Retention.Runs.MaxAge, c.RunsMaxAge)
	set(&p.Retention.Runs.MaxCount, c.RunsMaxCount)
	set(&p.Retention.Logs.MaxAge, c.LogsMaxAge)
	set(&p.Retention.Logs.MaxCount, c.LogsMaxCount)
	if c.MaxTotalRuns != nil {
		p.MaxTotalRuns = *c.MaxTotalRuns
	}
	if c.EndHold {
		p.Seen, p.HeldUntil, p.HeldGap = a.now, 0, 0
	}
	p.Updated = a.now
	return &command.Result{Created: isNew}, e.Save()
}

// noteRetentionTime notes that time passes, so that a jump of the state's time is seen: it is the leaders' clocks', and a wrong one
// must not cost what it makes look old.
func (a *applier) noteRetentionTime() (*command.Result, error) {
	e, err := a.tx.EditRetentionPolicy()
	if err != nil || e == nil {
		return &command.Result{}, err
	}
	p := e.Row
	if gap := a.now - p.Seen; gap > orchestration.RetentionGap {
		p.HeldUntil, p.HeldGap = a.now+orchestration.RetentionHold, gap
	} else if p.HeldUntil != 0 && a.now >= p.HeldUntil {
		p.HeldUntil, p.HeldGap = 0, 0
	}
	p.Seen = a.now
	return &command.Result{}, e.Save()
}

// prune removes what the rules no longer keep, as they stand now: whatever the leader saw, nothing goes that they keep.
func (a *applier) prune(c *command.Prune) (*command.Result, error) {
	ready, err := a.tx.RetentionReady()
	if err != nil {
		return nil, err
	}
	if !ready {
		return failed(command.Result_UNSUPPORTED, "the indexes that retention goes by are being built"), nil
	}
	policy, err := a.tx.RetentionPolicy()
	if err != nil {
		return nil, err
	}
	id := id16(c.DeploymentId)
	deployment, err := a.tx.Deployment(id)
	if err != nil {
		return nil, err
	}
	p := &pruner{applier: a, rows: int64(min(max(c.Rows, 1), mostPruned)), id: id, result: &command.Pruned{}}
	p.before, p.excess, err = a.pruneBounds(c, policy, orchestration.RetentionOf(policy, deployment), id)
	if err != nil {
		return nil, err
	}
	err = a.tx.EachActiveJob(func(job *row.Job) (bool, error) {
		if job.Action == row.Job_RETRY || job.Action == row.Job_SET_STATE {
			p.jobs = append(p.jobs, job)
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	counted := a.tx.CountRemoved()
	err = p.run(c)
	removed := counted()
	for _, n := range removed {
		p.result.Removed = append(p.result.Removed, &command.Pruned_Removed{Table: n.Table, Rows: n.Rows, Bytes: n.Bytes})
	}
	if err != nil {
		return nil, err
	}
	return &command.Result{Pruned: p.result}, a.countPruned(strings.ToLower(c.Reason.String()), removed)
}

// countPruned adds to what retention has removed since the cluster began: in the state, so that no change of leaders and no answer in
// doubt leaves a deletion out. A cluster that has no rules yet, which is one whose first leader has not begun, counts nothing.
func (a *applier) countPruned(reason string, removed []state.Removed) error {
	if len(removed) == 0 {
		return nil
	}
	e, err := a.tx.EditRetentionPolicy()
	if err != nil || e == nil {
		return err
	}
	for _, n := range removed {
		i := slices.IndexFunc(e.Row.Removed, func(r *row.RetentionRemoved) bool { return r.Table == n.Table && r.Reason == reason })
		if i < 0 {
			i = len(e.Row.Removed)
			e.Row.Removed = append(e.Row.Removed, &row.RetentionRemoved{Table: n.Table, Reason: reason})
		}
		e.Row.Removed[i].Rows += n.Rows
		e.Row.Removed[i].Bytes += n.Bytes
	}
	return e.Save()
}

// pruneBounds returns before which time what finished may go, and how much at most.
func (a *applier) pruneBounds(c *command.Prune, policy *row.RetentionPolicy, rules orchestration.Retention, id api.ID) (before, excess int64, err error) {
	rule := rules.Runs
	count := a.tx.CountFinishedRuns
	if c.What == command.Prune_LOGS {
		rule, count = rules.Logs, a.tx.CountRunsWithLogs
	}
	const noBound = int64(1) << 62
	switch c.Reason {
	case command.Prune_AGE:
		cutoff, some := orchestration.RetentionCutoff(policy, rule, a.now)
		if !some {
			return 0, 0, nil
		}
		return min(c.Before, cutoff), noBound, nil
	case command.Prune_COUNT:
		if rule.MaxCount <= 0 {
			return 0, 0, nil
		}
		n, err := count(id)
		return noBound, n - rule.MaxCount - c.Kept, err
	default: // the bound on all runs of the cluster
		total := int64(0)
		for _, t := range []row.StateType{row.StateType_COMPLETED, row.StateType_FAILED, row.StateType_CANCELLED} {
			n, err := a.tx.CountFlowRuns(t)
			if err != nil {
				return 0, 0, err
			}
			total += n
		}
		if policy.GetMaxTotalRuns() <= 0 || c.What != command.Prune_RUNS {
			return 0, 0, nil
		}
		return c.Before, total - policy.GetMaxTotalRuns() - c.Kept, nil
	}
}

// pruner removes for one command.
type pruner struct {
	*applier
	rows           int64 // after which it stops
	before, excess int64
	id             api.ID
	jobs           []*row.Job // that may have a finished run to do something with
	result         *command.Pruned
}

// dated is a place in an order of flow runs by time, then id.
type dated struct {
	time int64
	id   api.ID
}

// lookAhead is how many runs are found at a time.
const lookAhead = 64

func (p *pruner) run(c *command.Prune) error {
	at := dated{c.AfterTime, id16(c.AfterId)}
	walk, remove, shift := p.tx.FinishedRuns, p.removeRun, int64(0)
	if c.What == command.Prune_LOGS {
		walk, remove, shift = p.tx.RunsWithLogs, p.removeLogs, orchestration.LogsAge(0)
	}
	looked := 0
	for p.excess > 0 {
		var found []dated
		err := walk(p.id, at.time, at.id, func(time int64, id api.ID) (bool, error) {
			if time+shift >= p.before {
				return false, nil
			}
			found = append(found, dated{time, id})
			return len(found) < lookAhead, nil
		})
		if err != nil {
			return err
		}
		if len(found) == 0 {
			break
		}
		for _, d := range found {
			if p.excess <= 0 {
				break
			}
			// What stays for now costs as well.
			if p.tx.RemovedRows()+int64(looked) >= p.rows {
				p.result.More = true
				break
			}
			done, kept, err := remove(d.id)
			if err != nil {
				return err
			}
			if !done {
				p.result.More = true
				break
			}
			if kept {
				p.result.Kept++
				looked++
			}
			at = d
			p.excess--
		}
		if p.result.More {
			break
		}
	}
	p.result.AfterTime, p.result.AfterId = at.time, at.id[:]
	return nil
}

// room is how many rows may still be removed.
func (p *pruner) room() int { return int(p.rows - p.tx.RemovedRows()) }

// removeRun removes a finished run with all that belongs to it. Not done says that it was too much for this command; kept that the run
// must stay.
func (p *pruner) removeRun(id api.ID) (done, kept bool, err error) {
	run, err := p.tx.FlowRun(id)
	if err != nil || run == nil {
		return true, false, err
	}
	for _, job := range p.jobs {
		// Jobs go by id, which begins with the time of creation.
		if bytes.Compare(run.Id, job.Cursor) > 0 && run.Created <= job.Created {
			return true, true, nil
		}
	}
	var tasks [][]byte
	err = p.tx.TaskRunsOfFlowRun(id, false, func(t *row.TaskRun) (bool, error) {
		tasks = append(tasks, t.Id)
		return true, nil
	})
	if err != nil {
		return false, false, err
	}
	if kept, err = p.hasUnfinishedFamily(run, tasks); err != nil || kept {
		return true, kept, err
	}
	for _, t := range tasks {
		if p.room() <= 0 {
			return false, false, nil
		}
		if err := p.removeTaskRun(t); err != nil {
			return false, false, err
		}
	}
	if done, _, err := p.removeLogs(id); err != nil || !done {
		return false, false, err
	}
	return true, false, p.removeFlowRun(run.Id)
}

// hasUnfinishedFamily reports whether a run was started by one that has not finished, or has started one.
func (p *pruner) hasUnfinishedFamily(run *row.FlowRun, tasks [][]byte) (bool, error) {
	if len(run.ParentTaskRunId) != 0 {
		task, err := p.tx.TaskRun(id16(run.ParentTaskRunId))
		if err != nil {
			return false, err
		}
		if task != nil {
			parent, err := p.tx.FlowRun(id16(task.FlowRunId))
			if err != nil {
				return false, err
			}
			if parent != nil && !orchestration.TerminalType(parent.State.GetType()) {
				return true, nil
			}
		}
	}
	unfinished := false
	for _, t := range tasks {
		err := p.tx.FlowRunsOfTaskRun(id16(t), func(child *row.FlowRun) (bool, error) {
			unfinished = !orchestration.TerminalType(child.State.GetType())
			return !unfinished, nil
		})
		if err != nil || unfinished {
			return unfinished, err
		}
	}
	return false, nil
}

// removeLogs removes all logs of a run that has finished or is gone.
func (p *pruner) removeLogs(id api.ID) (done, kept bool, err error) {
	run, err := p.tx.FlowRun(id)
	if err != nil {
		return false, false, err
	}
	if run != nil && !orchestration.TerminalType(run.State.GetType()) {
		return true, true, nil
	}
	if p.room() <= 0 {
		return false, false, nil
	}
	if done, err := p.tx.DeleteLogSegments(id[:], p.room()); err != nil || !done {
		return false, false, err
	}
	if err := p.tx.DeleteLogProducers(id[:]); err != nil {
		return false, false, err
	}
	usage, err := p.tx.EditLogUsage(id[:])
	if err != nil || usage == nil {
		return true, false, err
	}
	return true, false, usage.Delete()
}

// pruneCache forgets expired entries of the task cache.
func (a *applier) pruneCache(c *command.PruneCache) (*command.Result, error) {
	limit := int(min(max(c.Limit, 1), mostPruned))
	counted := a.tx.CountRemoved()
	n, err := a.tx.DeleteExpiredCacheEntries(min(c.Before, a.now), limit)
	removed := counted()
	if err != nil {
		return nil, err
	}
	return &command.Result{Count: int32(n)}, a.countPruned("expired", removed)
}
