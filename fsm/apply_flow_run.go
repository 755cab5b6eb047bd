package fsm

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/orchestration"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
	"github.com/sluice-dev/sluice/fsm/watch"
)

func (a *applier) createFlowRun(c *command.CreateFlowRun) (*command.Result, error) {
	proposed := c.State
	if proposed == nil {
		proposed = &command.ProposedState{Type: row.StateType_PENDING}
	}
	if problem := badState(proposed); problem != nil {
		return problem, nil
	}
	taken, err := a.tx.FlowRun(id16(c.Id))
	if err != nil {
		return nil, err
	}
	if taken != nil {
		return conflict("a flow run with this id exists"), nil
	}
	run := &row.FlowRun{
		Id: c.Id, Created: a.now, Updated: a.now, Name: c.Name, FlowId: c.FlowId, DeploymentId: c.DeploymentId, FlowVersion: c.FlowVersion,
		ParametersJson: c.ParametersJson, IdempotencyKey: c.IdempotencyKey, ContextJson: c.ContextJson, Tags: c.Tags,
		ParentTaskRunId: c.ParentTaskRunId, FlowRunner: c.FlowRunner,
	}
	run.Policy = runPolicy(nil, c.Policy)
	var deployment *row.Deployment
	if len(c.DeploymentId) != 0 {
		d, err := a.tx.Deployment(id16(c.DeploymentId))
		if err != nil {
			return nil, err
		}
		deployment = d
		run.Policy = runPolicy(d, c.Policy)
		switch {
		case d == nil && c.FromDeployment:
			return notFound("Deployment"), nil
		case d == nil:
			return conflict("deployment_id names no deployment"), nil
		case c.FromDeployment:
			if problem := fromDeployment(run, d); problem != nil {
				return problem, nil
			}
		}
	}
	flow, err := a.tx.Flow(id16(run.FlowId))
	if err != nil {
		return nil, err
	}
	if flow == nil {
		return conflict("flow_id names no flow"), nil
	}
	if run.IdempotencyKey != nil {
		stored, err := a.tx.FlowRunByIdempotencyKey(id16(run.FlowId), *run.IdempotencyKey)
		if err != nil {
			return nil, err
		}
		if stored != nil {
			return ok(stored.Id), nil
		}
	}
	if again := unchecked(deployment, c.CheckedRevision); again != nil {
		return again, nil
	}
	if len(c.ParentTaskRunId) != 0 {
		parent, err := a.tx.TaskRun(id16(c.ParentTaskRunId))
		if err != nil {
			return nil, err
		}
		if parent == nil {
			return conflict("parent_task_run_id names no task run"), nil
		}
	}
	if proposed.Type == row.StateType_RUNNING {
		g, err := a.closedGate(run)
		if err != nil {
			return nil, err
		}
		if g != nil {
			return conflict(gateText(*g) + ", which is reached: create the run with a state of type SCHEDULED"), nil
		}
	}
	e := a.tx.NewFlowRun(run)
	if err := a.recordFlowRunState(e, a.newState(proposed, 0)); err != nil {
		return nil, err
	}
	return created(c.Id), nil
}

// fromDeployment fills a run with what its deployment says; the request's parameters lie over the deployment's.
func fromDeployment(run *row.FlowRun, d *row.Deployment) *command.Result {
	run.FlowId = d.FlowId
	parameters, err := command.Overlay(d.ParametersJson, run.ParametersJson)
	if err != nil {
		return failed(command.Result_INVALID, "parameters must be a JSON object: "+err.Error())
	}
	run.ParametersJson = parameters
	tags := slices.Clone(d.Tags)
	for _, tag := range run.Tags {
		if !slices.Contains(tags, tag) {
			tags = append(tags, tag)
		}
	}
	run.Tags = tags
	if run.FlowRunner == nil {
		run.FlowRunner = d.FlowRunner
	}
	return nil
}

// unchecked asks for the parameters of a run to be checked against the schema of the deployment that there is now; nil: they were.
func unchecked(d *row.Deployment, checked *uint64) *command.Result {
	if checked == nil || d == nil || !command.HasSchema(d) || *checked == d.Revision {
		return nil
	}
	return failed(command.Result_UNCHECKED, "the deployment has changed since the parameters were checked")
}

// badState says what is wrong with a proposed state, nil when nothing is.
func badState(p *command.ProposedState) *command.Result {
	if p == nil || orchestration.DefaultName(p.Type) == "" {
		return failed(command.Result_INVALID, "a state needs one of the six types")
	}
	return nil
}

// newState builds the state a proposal asks for. previous is the time of the run's state before it, 0 for none: no two
// states of a run have the same time.
func (a *applier) newState(p *command.ProposedState, previous int64) *row.State {
	s := &row.State{Id: a.newID(), Type: p.Type, Name: p.Name, Timestamp: max(a.now, previous+1), Message: p.Message, Data: p.Data, Actor: a.env.Actor}
	if s.Name == "" {
		s.Name = orchestration.DefaultName(s.Type)
	}
	if p.Details != nil {
		s.Details = proto.Clone(p.Details).(*row.StateDetails)
	} else {
		s.Details = &row.StateDetails{}
	}
	if s.Type == row.StateType_SCHEDULED && s.Details.ScheduledTime == 0 {
		s.Details.ScheduledTime = s.Timestamp
	}
	return s
}

func (a *applier) setFlowRunState(c *command.SetState) (*command.Result, error) {
	e, err := a.tx.EditFlowRun(c.Id)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return notFound("Flow run"), nil
	}
	if problem := badState(c.State); problem != nil {
		return problem, nil
	}
	run := orchestration.Run{State: e.Row.State, RunCount: e.Row.RunCount, HasLease: e.Row.Lease != nil, TokenShown: c.HasToken, TokenIsGood: holdsLease(e.Row, c)}
	d := orchestration.DecideFlowRun(run, orchestration.Proposal{
		State: a.newState(c.State, e.Row.State.GetTimestamp()), Force: c.Force, ReplaceTerminal: c.ReplaceTerminal,
	})
	if d.Status == orchestration.Accept && !c.Force {
		if d, err = a.atGate(e.Row, d); err != nil {
			return nil, err
		}
		d = timedOut(e.Row, d)
	}
	if d.Status == orchestration.Accept || d.Status == orchestration.Reject {
		stopped := e.Row.TimingOut
		if err := a.recordFlowRunState(e, d.State); err != nil {
			return nil, err
		}
		if err := a.endAbandoned(c.Id, d.State, stopped); err != nil {
			return nil, err
		}
	}
	// Who forces Crashed from outside wants it so; of a run's owner it is the crash that the policy is for.
	if d.Status == orchestration.Accept && (!c.Force || run.TokenIsGood) && e.Row.State.Name == orchestration.NameCrashed {
		retry, err := a.retryCrashed(e, 0)
		if err != nil {
			return nil, err
		}
		if retry != nil {
			d = orchestration.Decision{Status: orchestration.Reject, Reason: orchestration.ReasonRetrying, State: retry}
		}
	}
	return decided(c.Id, d), nil
}

// endAbandoned ends what a crashed or cancelled flow run has left open: its process, which would have, is gone. A run that
// completed or failed in its own words has seen to its task runs; stopped says that it did not end by itself.
func (a *applier) endAbandoned(flowRunID []byte, s *row.State, stopped bool) error {
	crashed := s.Type == row.StateType_FAILED && (s.Name == orchestration.NameCrashed || stopped)
	if s.Type != row.StateType_CANCELLED && !crashed {
		return nil
	}
	return a.endTaskRuns(flowRunID, &command.ProposedState{Type: s.Type, Name: s.Name, Message: s.Message})
}

// holdsLease reports whether the reporter showed the token of the run's lease.
func holdsLease(run *row.FlowRun, c *command.SetState) bool {
	return c.HasToken && run.GetLease() != nil && run.Lease.TokenIndex == c.TokenIndex && run.Lease.TokenOrdinal == c.TokenOrdinal
}

func decided(id []byte, d orchestration.Decision) *command.Result {
	r := &command.StateResult{Status: command.StateResult_Status(d.Status), Reason: d.Reason, DelaySeconds: d.DelaySeconds}
	if d.State != nil {
		r.StateId, r.Timestamp = d.State.Id, d.State.Timestamp
	}
	return &command.Result{Id: id, State: r}
}

// recordFlowRunState makes s the run's state: history, bookkeeping, lease, slots, the parent's mirror, the event.
func (a *applier) recordFlowRunState(e *state.FlowRunEdit, s *row.State) error {
	run := e.Row
	s.Details.FlowRunId, s.Details.TaskRunId = run.Id, run.ParentTaskRunId
	old, held := run.GetState().GetType(), orchestration.HoldsGate(run)
	p := orchestration.Progress{State: run.State, RunCount: run.RunCount, ExpectedStartTime: run.ExpectedStartTime,
		NextScheduledStartTime: run.NextScheduledStartTime, StartTime: run.StartTime, EndTime: run.EndTime, TotalRunTime: run.TotalRunTime}.Record(s)
	run.State, run.RunCount, run.ExpectedStartTime, run.NextScheduledStartTime = p.State, p.RunCount, p.ExpectedStartTime, p.NextScheduledStartTime
	run.StartTime, run.EndTime, run.TotalRunTime = p.StartTime, p.EndTime, p.TotalRunTime
	run.Updated = a.now
	run.Deadline = orchestration.Deadline(run.Policy, s, run.NextScheduledStartTime, run.Deadline, old)
	if !orchestration.HoldsQueueSlot(s.Type) {
		run.Lease, run.TimingOut = nil, false
	}
	if err := a.tx.NewFlowRunState(s).Save(); err != nil {
		return err
	}
	if err := e.Save(); err != nil {
		return err
	}
	if orchestration.HoldsQueueSlot(old) != orchestration.HoldsQueueSlot(s.Type) || held != orchestration.HoldsGate(run) {
		if err := a.updateQueueSlots(run); err != nil {
			return err
		}
	}
	a.emit(watch.Event{Topic: watch.TopicFlowRun, FlowRun: run})
	if err := a.tellWebhooks(run); err != nil {
		return err
	}
	if len(run.ParentTaskRunId) != 0 {
		return a.mirrorSubflow(run, s)
	}
	return nil
}

// updateQueueSlots makes the run hold a slot in exactly the queues that match it while its state occupies one, and in the
// gates of its deployment.
func (a *applier) updateQueueSlots(run *row.FlowRun) error {
	held, err := a.tx.SlotsOfRun(run.Id)
	if err != nil {
		return err
	}
	for _, slot := range held {
		if err := slot.Delete(); err != nil {
			return err
		}
	}
	if !orchestration.HoldsQueueSlot(run.State.Type) {
		return nil
	}
	queues, err := a.workQueues()
	if err != nil {
		return err
	}
	for _, q := range queues {
		if !orchestration.Matches(q.Filter, run) {
			continue
		}
		if err := a.tx.NewSlot(&row.Slot{LimitId: q.Id, RunId: run.Id}).Save(); err != nil {
			return err
		}
	}
	return a.gateSlots(run)
}

// mirrorSubflow forces a subflow's state on the task run that stands for it in the parent.
func (a *applier) mirrorSubflow(run *row.FlowRun, s *row.State) error {
	parent, err := a.tx.EditTaskRun(run.ParentTaskRunId)
	if err != nil || parent == nil {
		return err
	}
	details := proto.Clone(s.Details).(*row.StateDetails)
	details.ChildFlowRunId = run.Id
	mirror := &row.State{Id: a.newID(), Type: s.Type, Name: s.Name, Timestamp: max(s.Timestamp, parent.Row.State.GetTimestamp()+1),
		Message: s.Message, Data: s.Data, Details: details, Actor: s.Actor}
	return a.recordTaskRunState(parent, mirror)
}

func (a *applier) updateFlowRun(c *command.UpdateFlowRun) (*command.Result, error) {
	e, err := a.tx.EditFlowRun(c.Id)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return notFound("Flow run"), nil
	}
	if c.HasFlowVersion {
		e.Row.FlowVersion = c.FlowVersion
	}
	if c.HasParameters {
		e.Row.ParametersJson = c.ParametersJson
	}
	if c.HasName {
		e.Row.Name = c.Name
	}
	e.Row.Updated = a.now
	if c.HasFlowRunner {
		e.Row.FlowRunner = c.FlowRunner
		// Queues filter by the runner's type.
		if err := a.updateQueueSlots(e.Row); err != nil {
			return nil, err
		}
	}
	if err := e.Save(); err != nil {
		return nil, err
	}
	a.emit(watch.Event{Topic: watch.TopicFlowRun, FlowRun: e.Row})
	return ok(c.Id), nil
}

func (a *applier) deleteFlowRun(id []byte) (*command.Result, error) {
	e, err := a.tx.EditFlowRun(id)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return notFound("Flow run"), nil
	}
	return ok(id), a.removeFlowRun(id)
}

// removeFlowRun removes a flow run with its states, slots and task runs. Its logs stay, as Orion's do, until retention takes them.
func (a *applier) removeFlowRun(id []byte) error {
	e, err := a.tx.EditFlowRun(id)
	if err != nil || e == nil {
		return err
	}
	if err := a.tx.DeleteLogProducers(id); err != nil {
		return err
	}
	if err := a.tx.DeleteArtifactsOfRun(id); err != nil {
		return err
	}
	var tasks [][]byte
	err = a.tx.TaskRunsOfFlowRun(id16(id), false, func(t *row.TaskRun) (bool, error) {
		tasks = append(tasks, t.Id)
		return true, nil
	})
	if err != nil {
		return err
	}
	for _, t := range tasks {
		if err := a.removeTaskRun(t); err != nil {
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
	if err := a.tx.DeleteFlowRunStates(id); err != nil {
		return err
	}
	run := e.Row
	if err := e.Delete(); err != nil {
		return err
	}
	a.emit(watch.Event{Topic: watch.TopicFlowRun, FlowRun: run, Deleted: true})
	return nil
}

// cancelFlowRun ends a run that nobody executes at once, and tells the owner of one that is executed.
func (a *applier) cancelFlowRun(c *command.CancelFlowRun) (*command.Result, error) {
	e, err := a.tx.EditFlowRun(c.Id)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return notFound("Flow run"), nil
	}
	current := e.Row.State
	if orchestration.TerminalType(current.GetType()) {
		return failed(command.Result_TERMINAL, "the flow run is "+current.GetName()+" already"), nil
	}
	if current.GetName() == orchestration.NameCancelling {
		return stateResult(c.Id, current), nil
	}
	p := &command.ProposedState{Type: row.StateType_CANCELLED}
	if e.Row.Lease != nil && current.Type == row.StateType_RUNNING {
		p = &command.ProposedState{Type: row.StateType_RUNNING, Name: orchestration.NameCancelling}
	}
	if c.Message != "" {
		p.Message = &c.Message
	}
	s := a.newState(p, current.GetTimestamp())
	if err := a.recordFlowRunState(e, s); err != nil {
		return nil, err
	}
	if err := a.endAbandoned(c.Id, s, false); err != nil {
		return nil, err
	}
	return stateResult(c.Id, s), nil
}

// stateResult says which state a run is in now.
func stateResult(id []byte, s *row.State) *command.Result {
	return &command.Result{Id: id, State: &command.StateResult{StateId: s.Id, Timestamp: s.Timestamp}}
}
