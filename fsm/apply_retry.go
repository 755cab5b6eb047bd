package fsm

import (
	"slices"

	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/orchestration"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
)

// retryFlowRun has a run that failed, crashed or was cancelled tried again.
func (a *applier) retryFlowRun(c *command.RetryFlowRun) (*command.Result, error) {
	e, err := a.tx.EditFlowRun(c.Id)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return notFound("Flow run"), nil
	}
	if problem := mayRetry(e.Row); problem != nil {
		return problem, nil
	}
	e.Row.Retries++
	e.Row.CrashRetries = 0
	return a.newAttempt(e, c.Message, c.ScheduledTime)
}

// mayRetry says why a run cannot be tried again.
func mayRetry(run *row.FlowRun) *command.Result {
	current := run.State
	switch {
	case current.GetType() == row.StateType_COMPLETED:
		return failed(command.Result_TERMINAL, "the flow run has completed: only one that failed, crashed or was cancelled is tried again")
	case !orchestration.TerminalType(current.GetType()):
		return failed(command.Result_CONFLICT, "the flow run is "+current.GetName()+": only one that has ended is tried again")
	case len(run.ParentTaskRunId) != 0:
		return failed(command.Result_CONFLICT, "the flow run is part of another one, which must be tried again instead")
	case len(run.DeploymentId) == 0:
		return failed(command.Result_CONFLICT, "the flow run belongs to no deployment, so no agent could take it")
	}
	return nil
}

// newAttempt schedules a run that has ended once more. Its former owner lost its lease with the run's end. Task runs that completed
// and whose result is stored keep it; the others begin anew when the new attempt comes to them, see takeUp.
func (a *applier) newAttempt(e *state.FlowRunEdit, message string, scheduled int64) (*command.Result, error) {
	p := &command.ProposedState{Type: row.StateType_SCHEDULED, Name: orchestration.NameAwaitingRetry, Details: &row.StateDetails{ScheduledTime: scheduled}}
	if message != "" {
		p.Message = &message
	}
	s := a.newState(p, e.Row.State.GetTimestamp())
	e.Row.AttemptBegan = s.Timestamp
	if err := a.recordFlowRunState(e, s); err != nil {
		return nil, err
	}
	return stateResult(e.Row.Id, s), nil
}

// takeUp readies a task run that an attempt of its flow run meets and an earlier attempt has left without a result.
func (a *applier) takeUp(flowRun *row.FlowRun, stored *row.TaskRun) error {
	s := stored.State
	if flowRun.AttemptBegan == 0 || s.GetTimestamp() >= flowRun.AttemptBegan || s.GetType() == row.StateType_COMPLETED && s.Data != nil {
		return nil
	}
	e, err := a.tx.EditTaskRun(stored.Id)
	if err != nil {
		return err
	}
	e.Row.RunsBefore = e.Row.RunCount
	return a.recordTaskRunState(e, a.newState(&command.ProposedState{Type: row.StateType_PENDING}, s.GetTimestamp()))
}

// rerunFlowRun makes a new run like another one, from its deployment.
func (a *applier) rerunFlowRun(c *command.RerunFlowRun) (*command.Result, error) {
	of, err := a.tx.FlowRun(id16(c.Of))
	if err != nil {
		return nil, err
	}
	taken, err := a.tx.FlowRun(id16(c.Id))
	switch {
	case err != nil:
		return nil, err
	case of == nil:
		return notFound("Flow run"), nil
	case taken != nil:
		return conflict("a flow run with this id exists"), nil
	case len(of.DeploymentId) == 0:
		return conflict("the flow run belongs to no deployment, so no agent could take another one"), nil
	}
	if c.IdempotencyKey != nil {
		stored, err := a.tx.FlowRunByIdempotencyKey(id16(of.FlowId), *c.IdempotencyKey)
		if err != nil {
			return nil, err
		}
		if stored != nil {
			return ok(stored.Id), nil
		}
	}
	parameters, err := command.Overlay(of.ParametersJson, c.ParametersJson)
	if err != nil {
		return failed(command.Result_INVALID, "parameters must be a JSON object: "+err.Error()), nil
	}
	run := &row.FlowRun{
		Id: c.Id, Created: a.now, Updated: a.now, Name: c.Name, FlowId: of.FlowId, DeploymentId: of.DeploymentId, FlowVersion: of.FlowVersion,
		ParametersJson: parameters, IdempotencyKey: c.IdempotencyKey, ContextJson: of.ContextJson,
		Tags:       slices.DeleteFunc(slices.Clone(of.Tags), func(tag string) bool { return tag == autoScheduledTag }),
		FlowRunner: of.FlowRunner, RerunOf: of.Id,
	}
	d, err := a.tx.Deployment(id16(of.DeploymentId))
	if err != nil {
		return nil, err
	}
	if again := unchecked(d, c.CheckedRevision); again != nil {
		return again, nil
	}
	run.Policy = runPolicy(d, nil)
	s := a.newState(&command.ProposedState{Type: row.StateType_SCHEDULED, Details: &row.StateDetails{ScheduledTime: c.ScheduledTime}}, 0)
	if err := a.recordFlowRunState(a.tx.NewFlowRun(run), s); err != nil {
		return nil, err
	}
	return created(c.Id), nil
}
