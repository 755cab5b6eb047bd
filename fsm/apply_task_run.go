package fsm

import (
	"errors"

	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/orchestration"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
	"github.com/sluice-dev/sluice/fsm/watch"
)

func (a *applier) createTaskRun(c *command.CreateTaskRun) (*command.Result, error) {
	proposed := c.State
	if proposed == nil {
		proposed = &command.ProposedState{Type: row.StateType_PENDING}
	}
	if problem := badState(proposed); problem != nil {
		return problem, nil
	}
	flowRun, err := a.tx.FlowRun(id16(c.FlowRunId))
	if err != nil {
		return nil, err
	}
	if flowRun == nil {
		return conflict("flow_run_id names no flow run"), nil
	}
	stored, err := a.tx.TaskRunByDynamicKey(c.FlowRunId, c.TaskKey, c.DynamicKey)
	if err != nil {
		return nil, err
	}
	if stored != nil {
		return ok(stored.Id), a.takeUp(flowRun, stored)
	}
	taken, err := a.tx.TaskRun(id16(c.Id))
	if err != nil {
		return nil, err
	}
	if taken != nil {
		return conflict("a task run with this id exists"), nil
	}
	run := &row.TaskRun{
		Id: c.Id, Created: a.now, Updated: a.now, Name: c.Name, FlowRunId: c.FlowRunId, TaskKey: c.TaskKey, DynamicKey: c.DynamicKey,
		CacheKey: c.CacheKey, CacheExpiration: c.CacheExpiration, TaskVersion: c.TaskVersion, MaxRetries: c.MaxRetries,
		RetryDelaySeconds: c.RetryDelaySeconds, Tags: c.Tags, TaskInputsJson: c.TaskInputsJson,
	}
	if err := a.recordTaskRunState(a.tx.NewTaskRun(run), a.newState(proposed, 0)); err != nil {
		return nil, err
	}
	return created(c.Id), nil
}

func (a *applier) setTaskRunState(c *command.SetState) (*command.Result, error) {
	e, err := a.tx.EditTaskRun(c.Id)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return notFound("Task run"), nil
	}
	if problem := badState(c.State); problem != nil {
		return problem, nil
	}
	run := orchestration.Run{State: e.Row.State, RunCount: e.Row.RunCount, RunsBefore: e.Row.RunsBefore, MaxRetries: e.Row.MaxRetries, RetryDelay: e.Row.RetryDelaySeconds, TokenShown: c.HasToken}
	if c.HasToken {
		flowRun, err := a.tx.FlowRun(id16(e.Row.FlowRunId))
		if err != nil {
			return nil, err
		}
		run.TokenIsGood = holdsLease(flowRun, c)
	}
	p := orchestration.Proposal{State: a.newState(c.State, e.Row.State.GetTimestamp()), Force: c.Force, ReplaceTerminal: c.ReplaceTerminal}
	var cached *row.State
	var limits []orchestration.Limit
	if p.State.Type == row.StateType_RUNNING && !c.Force {
		if key := p.State.Details.GetCacheKey(); key != "" {
			if cached, err = a.tx.CachedState(key, a.now); err != nil {
				return nil, err
			}
		}
		if limits, err = a.limitsOf(e.Row); err != nil {
			return nil, err
		}
	}
	d := orchestration.DecideTaskRun(run, p, cached, limits)
	if d.Status == orchestration.Accept || d.Status == orchestration.Reject {
		if err := a.recordTaskRunState(e, d.State); err != nil {
			return nil, err
		}
	}
	if key := d.State.GetDetails().GetCacheKey(); d.Status == orchestration.Accept && d.State.Type == row.StateType_COMPLETED && key != "" && !c.Force {
		err := a.tx.AddCacheEntry(&row.CacheEntry{Key: key, TaskRunId: e.Row.Id, StateId: d.State.Id, StateTimestamp: d.State.Timestamp,
			Expiration: d.State.Details.CacheExpiration})
		if err != nil {
			return nil, err
		}
	}
	return decided(c.Id, d), nil
}

// limitsOf returns the limits whose tags a task run carries, as they stand now.
func (a *applier) limitsOf(run *row.TaskRun) ([]orchestration.Limit, error) {
	if len(run.Tags) == 0 {
		return nil, nil
	}
	byTag, err := a.tagLimits()
	if err != nil || len(byTag) == 0 {
		return nil, err
	}
	var limits []orchestration.Limit
	for _, tag := range run.Tags {
		l, limited := byTag[tag]
		if !limited {
			continue
		}
		inUse, err := a.tx.SlotsInUse(id16(l.Id))
		if err != nil {
			return nil, err
		}
		held, err := a.tx.EditSlot(l.Id, run.Id)
		if err != nil {
			return nil, err
		}
		limits = append(limits, orchestration.Limit{Tag: tag, Limit: int(l.Limit), InUse: inUse, Holds: held != nil})
	}
	return limits, nil
}

// recordTaskRunState makes s the run's state: history, bookkeeping, slots, the event.
func (a *applier) recordTaskRunState(e *state.TaskRunEdit, s *row.State) error {
	run := e.Row
	s.Details.FlowRunId, s.Details.TaskRunId = run.FlowRunId, run.Id
	old := run.GetState().GetType()
	p := orchestration.Progress{State: run.State, RunCount: run.RunCount, ExpectedStartTime: run.ExpectedStartTime,
		NextScheduledStartTime: run.NextScheduledStartTime, StartTime: run.StartTime, EndTime: run.EndTime, TotalRunTime: run.TotalRunTime}.Record(s)
	run.State, run.RunCount, run.ExpectedStartTime, run.NextScheduledStartTime = p.State, p.RunCount, p.ExpectedStartTime, p.NextScheduledStartTime
	run.StartTime, run.EndTime, run.TotalRunTime = p.StartTime, p.EndTime, p.TotalRunTime
	run.Updated = a.now
	if err := a.tx.NewTaskRunState(s).Save(); err != nil {
		return err
	}
	if err := e.Save(); err != nil {
		return err
	}
	if orchestration.HoldsTagSlot(old) != orchestration.HoldsTagSlot(s.Type) {
		if err := a.updateTagSlots(run); err != nil {
			return err
		}
	}
	a.emit(watch.Event{Topic: watch.TopicTaskRun, TaskRun: run})
	return nil
}

// updateTagSlots makes the task run hold a slot in exactly the limits of its tags while its state occupies one.
func (a *applier) updateTagSlots(run *row.TaskRun) error {
	if len(run.Tags) == 0 {
		return nil
	}
	held, err := a.tx.SlotsOfRun(run.Id)
	if err != nil {
		return err
	}
	for _, slot := range held {
		if err := slot.Delete(); err != nil {
			return err
		}
	}
	if !orchestration.HoldsTagSlot(run.State.Type) {
		return nil
	}
	byTag, err := a.tagLimits()
	if err != nil {
		return err
	}
	for _, tag := range run.Tags {
		l, limited := byTag[tag]
		if !limited {
			continue
		}
		// Save refuses a second slot of the same limit: a tag named twice holds one.
		if err := a.tx.NewSlot(&row.Slot{LimitId: l.Id, RunId: run.Id}).Save(); err != nil && !errors.Is(err, state.ErrNotUnique) {
			return err
		}
	}
	return nil
}

func (a *applier) deleteTaskRun(id []byte) (*command.Result, error) {
	e, err := a.tx.EditTaskRun(id)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return notFound("Task"), nil
	}
	return ok(id), a.removeTaskRun(id)
}

// removeTaskRun removes a task run with its states and slots; a subflow run it stood for keeps living without a parent.
func (a *applier) removeTaskRun(id []byte) error {
	e, err := a.tx.EditTaskRun(id)
	if err != nil || e == nil {
		return err
	}
	var children [][]byte
	err = a.tx.FlowRunsOfTaskRun(id16(id), func(r *row.FlowRun) (bool, error) {
		children = append(children, r.Id)
		return true, nil
	})
	if err != nil {
		return err
	}
	for _, child := range children {
		c, err := a.tx.EditFlowRun(child)
		if err != nil {
			return err
		}
		c.Row.ParentTaskRunId = nil
		if err := c.Save(); err != nil {
			return err
		}
	}
	held, err := a.tx.SlotsOfRun(id)
	if err != nil {
		return err
	}
	for _, slot := range held {
		if err := slot.Delete(); err != nil {
			return err
		}
	}
	if err := a.tx.DeleteTaskRunStates(id); err != nil {
		return err
	}
	run := e.Row
	if err := e.Delete(); err != nil {
		return err
	}
	a.emit(watch.Event{Topic: watch.TopicTaskRun, TaskRun: run, Deleted: true})
	return nil
}
