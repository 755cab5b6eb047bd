package scheduler

import (
	"context"
	"fmt"
	"time"

	"github.com/sluice-dev/sluice/fsm/command"
)

const (
	// agentsKept is how long an agent may be silent and stays registered. It registers again when it comes back.
	agentsKept  = 24 * time.Hour
	retireEvery = time.Hour
	retireBatch = 500
)

// retire forgets agents that were not heard from for agentsKept, counted from the beginning of the epoch at the earliest:
// agents that end without saying so would otherwise pile up.
type retire struct {
	core   *core
	leases *leases
	wake   signal // never set: time alone drives it
}

func newRetire(c *core, l *leases) *retire { return &retire{core: c, leases: l, wake: newSignal()} }

func (r *retire) run(ctx context.Context) error {
	return r.core.loop(ctx, r.wake, "forget silent agents", r.runOnce)
}

// runOnce walks the agents in memory and writes nothing when none is silent. That one is gone already is no error.
func (r *retire) runOnce(ctx context.Context) (time.Duration, error) {
	ids := r.leases.silent(agentsKept)
	for len(ids) > 0 {
		n := min(len(ids), retireBatch)
		commands := make([]*command.Envelope, n)
		for i := range commands {
			commands[i] = &command.Envelope{Command: &command.Envelope_DeleteAgent{DeleteAgent: &command.Delete{Id: ids[i][:]}}}
		}
		if _, _, err := r.core.propose(ctx, commands...); err != nil {
			return 0, fmt.Errorf("propose: %w", err)
		}
		r.core.log.Info("forgot agents that were silent for long", "agents", n, "for", agentsKept)
		ids = ids[n:]
	}
	return retireEvery, nil
}
