package agent

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/sluice-dev/sluice/api"
)

const (
	claimWait = 25 * time.Second // the contract allows 30 s
	// claimSlack covers what a server without leader holds a claim, and more.
	claimSlack = 8 * time.Second
	// settleTimeout bounds the question what an interrupted claim has brought.
	settleTimeout = 2 * time.Second
)

// claimLoop takes work until the agent stops. An error means that there is
// nothing left to take work from.
func (a *Agent) claimLoop(ctx context.Context) error {
	for {
		if a.waitToBeCalledBack(ctx) != nil {
			return nil
		}
		free, err := a.waitForFreeSlot(ctx)
		if err != nil {
			return nil
		}
		claim := api.Claim{WorkQueueIDs: a.config.WorkQueueIDs, Limit: free, WaitSeconds: api.Duration(claimWait), ClaimID: api.NewID()}
		claimed, err := a.claim(ctx, claim)
		if ctx.Err() != nil {
			a.settle(claim, claimed)
			return nil
		}
		if err != nil {
			return err
		}
		a.warnOfMissing(claimed.MissingQueues)
		for _, grant := range claimed.Grants {
			a.execute(grant)
		}
		if claimed.Draining {
			a.setDraining(true)
		}
	}
}

// waitToBeCalledBack waits while the agent drains; heartbeats tell when it may claim again.
func (a *Agent) waitToBeCalledBack(ctx context.Context) error {
	a.mu.Lock()
	calledBack := a.calledBack
	a.mu.Unlock()
	if calledBack == nil {
		return nil
	}
	select {
	case <-calledBack:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// claim repeats one claim, always with the same id, until the server has
// answered: what an unheard answer granted is in the next one.
func (a *Agent) claim(ctx context.Context, claim api.Claim) (*api.Claimed, error) {
	pauses := backoff{clock: a.config.Clock}
	for {
		claimed, err := a.askForWork(ctx, claim)
		if err == nil {
			a.reachable()
			return claimed, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		switch {
		case api.IsNotFound(err) && strings.Contains(err.Error(), "work queue"):
			return nil, fmt.Errorf("none of the agent's work queues exists any more: %w", err)
		case api.IsNotFound(err):
			// A server that does not know us, after a restore for example.
			if err := a.register(ctx); err != nil && !passing(err) {
				return nil, err
			}
		case !passing(err):
			return nil, fmt.Errorf("claim work: %w", err)
		default:
			a.unreachable(err)
		}
		if err := pauses.pause(ctx); err != nil {
			return nil, err
		}
	}
}

// askForWork makes one attempt. It gives up on a server that should have answered
// by now, so that the next attempt may reach another one.
func (a *Agent) askForWork(ctx context.Context, claim api.Claim) (*api.Claimed, error) {
	ctx, cancel := context.WithTimeout(ctx, claim.WaitSeconds.Std()+claimSlack)
	defer cancel()
	return a.config.API.Claim(ctx, a.id, claim)
}

// settle gives back what the last claim brought while the agent began to stop.
func (a *Agent) settle(claim api.Claim, claimed *api.Claimed) {
	if claimed == nil {
		ctx, cancel := context.WithTimeout(a.reporting, settleTimeout)
		defer cancel()
		claim.WaitSeconds = 0
		var err error
		if claimed, err = a.config.API.Claim(ctx, a.id, claim); err != nil {
			a.log.Debug("Cannot learn whether the last claim brought work; it would be scheduled again when its lease ends", "error", err)
			return
		}
	}
	for _, grant := range claimed.Grants {
		a.execute(grant) // which gives it back
	}
}

func (a *Agent) warnOfMissing(queues []api.ID) {
	for _, id := range queues {
		if !a.missing[id] {
			a.missing[id] = true
			a.log.Warn(fmt.Sprintf("Work queue '%s' does not exist any more; going on with the others", id), "work_queue_id", id.String())
		}
	}
}

// waitForFreeSlot answers how many more runs the agent may execute, at least 1.
func (a *Agent) waitForFreeSlot(ctx context.Context) (int, error) {
	for {
		a.mu.Lock()
		free := a.config.Limit - len(a.executions)
		a.mu.Unlock()
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		if free > 0 {
			return free, nil
		}
		select {
		case <-a.freed:
		case <-ctx.Done():
		}
	}
}
