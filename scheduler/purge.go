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

// purge forgets old claims. It proposes nothing once the last one must be forgotten.
type purge struct {
	core *core
	// newest is when the newest claim may have been granted, in µs.
	newest atomic.Int64
	wake   signal // never set: time alone drives it
}

func newPurge(c *core) *purge {
	p := &purge{core: c, wake: newSignal()}
	p.granted() // by a former leader
	return p
}

func (p *purge) granted() { p.newest.Store(p.core.now()) }

func (p *purge) run(ctx context.Context) error {
	return p.core.loop(ctx, p.wake, "forget old claims", p.runOnce)
}

func (p *purge) runOnce(ctx context.Context) (time.Duration, error) {
	now := p.core.now()
	if now-p.newest.Load() > (claimsKept + 2*purgeEvery).Microseconds() {
		return purgeEvery, nil
	}
	c := &command.PurgeClaims{Before: now - claimsKept.Microseconds(), Limit: purgeLimit}
	results, _, err := p.core.propose(ctx, &command.Envelope{Command: &command.Envelope_PurgeClaims{PurgeClaims: c}})
	if err != nil {
		return 0, fmt.Errorf("propose: %w", err)
	}
	if results[0].Count >= purgeLimit {
		return 0, nil
	}
	return purgeEvery, nil
}
