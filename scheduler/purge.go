package scheduler

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/sluice-dev/sluice/fsm/command"
)

const (
	// claimsKept is how long a claim id may be repeated and still answers its grants.
	claimsKept = 10 * time.Minute
	purgeEvery = time.Minute
	purgeLimit = 1000
)

// purge forgets old claims. It proposes nothing while nothing is claimed.
type purge struct {
	core *core
	// open says that there may be claims to forget: after a rebuild, and since runs were granted.
	open atomic.Bool
	wake signal
}

func newPurge(c *core) *purge {
	p := &purge{core: c, wake: newSignal()}
	p.open.Store(true)
	return p
}

func (p *purge) run(ctx context.Context) error {
	return p.core.loop(ctx, p.wake, "forget old claims", p.runOnce)
}

func (p *purge) runOnce(ctx context.Context) (time.Duration, error) {
	if !p.open.Swap(false) {
		return purgeEvery, nil
	}
	c := &command.PurgeClaims{Before: p.core.now() - claimsKept.Microseconds(), Limit: purgeLimit}
	results, _, err := p.core.propose(ctx, &command.Envelope{Command: &command.Envelope_PurgeClaims{PurgeClaims: c}})
	if err != nil {
		p.open.Store(true)
		return 0, fmt.Errorf("propose: %w", err)
	}
	if results[0].Count >= purgeLimit {
		p.open.Store(true)
		return 0, nil
	}
	return purgeEvery, nil
}
