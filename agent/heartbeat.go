package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sluice-dev/sluice/api"
)

// What the server says at registration replaces these.
const (
	defaultTTL  = 12 * time.Second
	defaultBeat = 4 * time.Second
)

// heartbeatLoop keeps the leases alive until ctx ends, through outages too.
func (a *Agent) heartbeatLoop(ctx context.Context) {
	for {
		select {
		case <-a.config.Clock.After(a.beatInterval()):
		case <-ctx.Done():
			return
		}
		a.fence() // the server may not answer for a while
		if err := a.heartbeat(ctx); err != nil && ctx.Err() == nil {
			if api.IsNotFound(err) {
				err = a.register(ctx)
			}
			if err != nil {
				a.unreachable(err)
			}
		}
		a.fence()
	}
}

// heartbeat renews every lease once.
func (a *Agent) heartbeat(ctx context.Context) error {
	running := a.running()
	beat := api.Heartbeat{Leases: make([]api.HeldLease, 0, len(running))}
	for _, e := range running {
		beat.Leases = append(beat.Leases, api.HeldLease{FlowRunID: e.id, Token: e.grant.Token})
	}
	// An unanswered beat must not keep the next one waiting.
	ctx, cancel := context.WithTimeout(ctx, a.beatInterval())
	defer cancel()
	sent := a.config.Clock.Now()
	answer, err := a.config.API.Heartbeat(ctx, a.id, beat)
	if err != nil {
		return err
	}
	a.reachable()
	a.setIntervals(0, answer.HeartbeatSeconds.Std())
	lost := map[api.ID]string{}
	for _, l := range answer.Lost {
		lost[l.FlowRunID] = l.Reason
	}
	cancelling := map[api.ID]bool{}
	for _, id := range answer.Cancelling {
		cancelling[id] = true
	}
	for _, e := range running {
		if reason, ok := lost[e.id]; ok {
			if !e.over() && !e.doubted.Swap(true) {
				a.beats.Go(func() { e.leaseEnded(reason) })
			}
			continue
		}
		e.renew(sent)
		if cancelling[e.id] {
			e.cancel()
		}
	}
	return nil
}

// fence stops what may be executed elsewhere by now, where that is forbidden.
func (a *Agent) fence() {
	for _, e := range a.running() {
		if e.exclusive() && !e.leased() && !e.over() {
			e.lose("the lease was not renewed for " + e.ttl().String())
		}
	}
}

// register makes the agent known to the server.
func (a *Agent) register(ctx context.Context) error {
	registered, err := a.config.API.RegisterAgent(ctx, a.registration)
	if err != nil {
		return fmt.Errorf("register the agent: %w", err)
	}
	a.setIntervals(registered.TTLSeconds.Std(), registered.HeartbeatSeconds.Std())
	a.reachable()
	return nil
}

// unreachable tells once that the server does not answer, and reachable once
// that it does again.
func (a *Agent) unreachable(err error) {
	a.mu.Lock()
	first := a.outage.IsZero()
	if first {
		a.outage = a.config.Clock.Now()
	}
	a.mu.Unlock()
	if first && !errors.Is(err, context.Canceled) {
		a.log.Warn("Cannot reach the server; flow runs go on, and their states and output are reported when it is back", "error", err)
	}
}

func (a *Agent) reachable() {
	a.mu.Lock()
	since := a.outage
	a.outage = time.Time{}
	a.mu.Unlock()
	if !since.IsZero() {
		a.log.Info(fmt.Sprintf("The server answers again after %s", a.config.Clock.Now().Sub(since).Round(time.Second)))
	}
}

func (a *Agent) beatInterval() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.beat
}

func (a *Agent) setIntervals(ttl, beat time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if ttl > 0 {
		a.ttl = ttl
	}
	if beat > 0 {
		a.beat = beat
	}
}
