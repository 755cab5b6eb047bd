package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sluice-dev/sluice/api"
)

// errLeaseNotRenewed ends reports that only make sense under a living lease.
var errLeaseNotRenewed = errors.New("the lease was not renewed in time")

// report proposes a state until the server has answered. It returns an error when
// ctx ended, when the server refuses the request itself, or when keepOn (nil:
// always) says that it is too late.
func (e *execution) report(ctx context.Context, state api.StateCreate, keepOn func() bool) (*api.OrchestrationResult, error) {
	pauses := backoff{clock: e.agent.config.Clock}
	for {
		result, err := e.agent.config.API.SetFlowRunState(ctx, e.id, api.SetState{State: state}, e.grant.Token)
		if err == nil && result.Status == api.Wait {
			if err := sleep(ctx, e.agent.config.Clock, time.Duration(max(1, result.Details.DelaySeconds))*time.Second); err != nil {
				return nil, err
			}
		} else if err == nil {
			return result, nil
		} else if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		} else if !passing(err) {
			return nil, err
		} else {
			e.log.Debug("Cannot report a state yet", "state", state.Type, "error", err)
			if err := pauses.pause(ctx); err != nil {
				return nil, err
			}
		}
		if keepOn != nil && !keepOn() {
			return nil, errLeaseNotRenewed
		}
		// A proposal whose answer was lost may have been accepted; a second Running
		// would count as a second start.
		if err != nil && !state.Type.Terminal() {
			if done := e.already(ctx, state.Type); done != nil {
				return done, nil
			}
		}
	}
}

// already answers the acceptance that got lost, if the run is in the state.
func (e *execution) already(ctx context.Context, wanted api.StateType) *api.OrchestrationResult {
	run, err := e.agent.config.API.FlowRun(ctx, e.id)
	if err != nil || run.StateType == nil || *run.StateType != wanted {
		return nil
	}
	return &api.OrchestrationResult{State: run.State, Status: api.Accept, Details: api.ResultDetails{Type: api.AcceptDetails}}
}

// reportFinal reports how a run has ended. That somebody else reported an end
// first, or took the run over, is as good.
func (e *execution) reportFinal(ctx context.Context, state api.StateCreate) {
	result, err := e.report(ctx, state, nil)
	switch {
	case err != nil:
		e.log.Error(fmt.Sprintf("Cannot report that flow run '%s' is %s; it becomes Crashed when its lease ends", e.id, state.Type), "error", err)
	case result.Status == api.Abort:
		e.log.Debug("The server has another end for a flow run", "reported", state.Type, "reason", result.Reason())
	default:
		e.log.Debug("Reported the end of a flow run", "state", state.Type, "status", result.Status)
	}
}

func sleep(ctx context.Context, clock Clock, d time.Duration) error {
	select {
	case <-clock.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
