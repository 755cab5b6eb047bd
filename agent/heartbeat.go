package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sluice-dev/sluice/api"
)

// What the server says at registration replaces these.
const (
	defaultTTL  = 12 * time.Second
	defaultBeat = 4 * time.Second
)

// beatSlack is what a server that has a heartbeat wait may take on top; beatPause is the least time between two heartbeats.
const (
	beatSlack = 2 * time.Second
	beatPause = 20 * time.Millisecond
)

// heartbeatLoop keeps the leases alive until ctx ends, through outages too. The server holds a heartbeat for as long as there is
// nothing to tell, up to the time of the next: so the agent hears at once of what is cancelled.
func (a *Agent) heartbeatLoop(ctx context.Context) {
	for ctx.Err() == nil {
		sent := a.config.Clock.Now()
		pause := beatPause
		told, err := a.beatAndFence(ctx)
		if err != nil && ctx.Err() == nil {
			if api.IsNotFound(err) {
				err = a.register(ctx)
			}
			if err != nil {
				a.unreachable(err)
			}
		}
		if err != nil || !told { // it may have come back at once
			pause = max(pause, a.beatInterval()-a.config.Clock.Now().Sub(sent))
		}
		select {
		case <-a.config.Clock.After(pause):
		case <-ctx.Done():
		}
		a.fence()
	}
}

// beatAndFence makes one heartbeat and looks after the leases while the server does not answer.
func (a *Agent) beatAndFence(ctx context.Context) (told bool, err error) {
	answered := make(chan struct{})
	a.beats.Go(func() {
		defer close(answered)
		told, err = a.heartbeat(ctx)
	})
	for {
		select {
		case <-answered:
			a.fence()
			return told, err
		case <-a.config.Clock.After(a.beatInterval()):
			a.fence()
		}
	}
}

// heartbeat renews every lease once. It reports whether the server had something to tell.
func (a *Agent) heartbeat(ctx context.Context) (told bool, err error) {
	running := slices.DeleteFunc(a.running(), func(e *execution) bool { return e.doubted.Load() })
	beat := api.Heartbeat{Leases: make([]api.HeldLease, 0, len(running)), WaitSeconds: api.Duration(a.beatInterval()), Draining: a.isDraining()}
	for _, e := range running {
		held := api.HeldLease{FlowRunID: e.id, Token: e.grant.Token, Cancelling: errors.Is(context.Cause(e.stop), ErrCancelled)}
		beat.Leases = append(beat.Leases, held)
	}
	// An unanswered beat must not keep the next one waiting.
	ctx, cancel := context.WithTimeout(ctx, a.beatInterval()+beatSlack)
	defer cancel()
	sent := a.config.Clock.Now()
	answer, err := a.config.API.Heartbeat(ctx, a.id, beat)
	if err != nil {
		return false, err
	}
	a.reachable()
	a.setIntervals(0, answer.HeartbeatSeconds.Std())
	a.setDraining(answer.Draining)
	told = answer.Draining != beat.Draining
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
			told = true
			if !e.doubted.Swap(true) && !e.over() {
				a.beats.Go(func() { e.leaseEnded(reason) })
			}
			continue
		}
		e.renew(sent)
	}
	for _, e := range a.running() { // also what was granted since
		if cancelling[e.id] && e.cancel() {
			told = true
		}
	}
	return told, nil
}

// isDraining reports whether the agent is to claim nothing.
func (a *Agent) isDraining() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.calledBack != nil
}

// setDraining follows the server's word that the agent is to claim nothing, or again.
func (a *Agent) setDraining(draining bool) {
	a.mu.Lock()
	changed := draining != (a.calledBack != nil)
	if changed && draining {
		a.calledBack = make(chan struct{})
	} else if changed {
		close(a.calledBack)
		a.calledBack = nil
	}
	running := len(a.executions)
	a.mu.Unlock()
	switch {
	case !changed:
	case draining && running == 0:
		a.log.Info(drained)
	case draining:
		a.log.Info(fmt.Sprintf("Draining: claiming no more flow runs; %d go on", running))
	default:
		a.log.Info("Called back: claiming flow runs again")
	}
}

// drained is told when a draining agent executes nothing any more.
const drained = "Drained: no flow run is left, and none is claimed until the agent is called back"

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
