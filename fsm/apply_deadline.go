package fsm

import (
	"fmt"
	"strings"
	"time"

	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/orchestration"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
)

// enforceDeadlines ends runs that waited or ran longer than their policy allows. A run whose deadline has moved meanwhile is
// left alone.
func (a *applier) enforceDeadlines(c *command.EnforceDeadlines) (*command.Result, error) {
	result := &command.Result{}
	for _, id := range c.FlowRunIds {
		e, err := a.tx.EditFlowRun(id)
		if err != nil {
			return nil, err
		}
		if e == nil || e.Row.Deadline == 0 || e.Row.Deadline > min(c.Before, a.now) {
			continue
		}
		if err := a.enforceDeadline(e); err != nil {
			return nil, err
		}
		result.Count++
	}
	return result, nil
}

func (a *applier) enforceDeadline(e *state.FlowRunEdit) error {
	run := e.Row
	p := timeoutState(run)
	tell := run.State.Type == row.StateType_RUNNING && run.Lease != nil && run.State.Name != orchestration.NameCancelling
	if tell {
		// Its owner stops the process and says so; one that does not has the run taken from it at the next deadline.
		p = &command.ProposedState{Type: row.StateType_RUNNING, Name: orchestration.NameCancelling, Message: p.Message}
		run.TimingOut = true
	}
	s := a.newState(p, run.State.Timestamp)
	if tell {
		run.Deadline = s.Timestamp + orchestration.StopGrace // kept: the run is Running as before
	}
	if err := a.recordFlowRunState(e, s); err != nil {
		return err
	}
	if orchestration.TerminalType(s.Type) {
		return a.endTaskRuns(run.Id, &command.ProposedState{Type: s.Type, Name: s.Name, Message: s.Message})
	}
	return nil
}

// timeoutState is the end of a run that passed its deadline.
func timeoutState(run *row.FlowRun) *command.ProposedState {
	var message string
	p := &command.ProposedState{Type: row.StateType_CANCELLED, Name: orchestration.NameTimedOut, Message: &message}
	switch {
	case run.State.Type == row.StateType_RUNNING && (run.TimingOut || run.State.Name != orchestration.NameCancelling):
		p.Type = row.StateType_FAILED
		message = fmt.Sprintf("The run took longer than its run timeout of %s.", micros(run.GetPolicy().GetRunTimeout()))
	case run.State.Type == row.StateType_RUNNING:
		p.Name = ""
		message = "The run was being cancelled, and its owner did not stop it in time."
	default:
		message = fmt.Sprintf("The run did not start within its queue timeout of %s.", micros(run.GetPolicy().GetQueueTimeout()))
	}
	return p
}

func micros(d int64) time.Duration { return time.Duration(d) * time.Microsecond }

// timedOut changes the end that the owner of a run reports whom the run timeout told to stop. Work that was finished in the
// last moment counts.
func timedOut(run *row.FlowRun, d orchestration.Decision) orchestration.Decision {
	if !run.TimingOut || d.Status != orchestration.Accept || d.State.Type != row.StateType_FAILED && d.State.Type != row.StateType_CANCELLED {
		return d
	}
	p := timeoutState(run)
	d.State.Type, d.State.Name, d.State.Message = p.Type, p.Name, p.Message
	return d
}

// retryCrashed makes a run that has just crashed wait for its next attempt, if its policy grants it one, and returns the new
// state; nil when it does not. least (µs) is the least delay.
func (a *applier) retryCrashed(e *state.FlowRunEdit, least int64) (*row.State, error) {
	run := e.Row
	at, ok := orchestration.CrashRetry(run, least)
	if !ok {
		return nil, nil
	}
	run.CrashRetries++
	message := fmt.Sprintf("Attempt %d of %d follows.", run.CrashRetries+1, run.Policy.CrashRetries+1)
	if reason := run.State.GetMessage(); reason != "" {
		message = "Crashed: " + strings.TrimSuffix(reason, ".") + ". " + message
	}
	if _, err := a.newAttempt(e, message, at); err != nil {
		return nil, err
	}
	return run.State, nil
}
