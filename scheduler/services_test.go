package scheduler

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
)

func TestOldClaimsAreForgottenAndIdlenessWritesNothing(t *testing.T) {
	t.Parallel()
	within(t, func(r *rig) {
		r.start()
		d, q, a := r.deployment(nil), r.queue(nil), r.agent()
		demand := Demand{AgentID: a, ClaimID: api.NewID(), Queues: []api.ID{q}, Wait: time.Second}
		r.submit(d, 0)
		r.claim(demand).want(r.t, r.runIDs(d)...)
		known := func() bool {
			v := r.view()
			defer v.Close()
			claim, err := v.Claim(demand.ClaimID)
			if err != nil {
				r.t.Fatal(err)
			}
			return claim != nil
		}
		r.pass(9 * time.Minute)
		if !known() {
			r.t.Error("the claim was forgotten within 9 minutes")
		}
		r.pass(4 * time.Minute)
		if known() {
			r.t.Error("the claim is kept for 13 minutes")
		}
		index := r.machine.AppliedIndex()
		r.pass(30 * time.Minute)
		if got := r.machine.AppliedIndex(); got != index {
			r.t.Errorf("%d entries were written in half an hour without work", got-index)
		}
	})
}

// runIDs are the ids of a deployment's runs by expected start.
func (r *rig) runIDs(deployment api.ID) (ids []api.ID) {
	for _, run := range r.runs(deployment) {
		ids = append(ids, id16(run.Id))
	}
	return ids
}

func TestAgentsSilentForADayAreForgotten(t *testing.T) {
	t.Parallel()
	within(t, func(r *rig) {
		clock := &skewed{}
		r.clock = clock
		r.start()
		silent := r.agent()
		r.pass(0)
		known := func(id api.ID) bool {
			v := r.view()
			defer v.Close()
			a, err := v.Agent(id)
			if err != nil {
				r.t.Fatal(err)
			}
			return a != nil
		}
		r.stop()
		r.start() // its silence counts from now
		clock.by.Store(int64(12 * time.Hour))
		talking := r.agent()
		r.pass(retireEvery + time.Second)
		if !known(silent) {
			r.t.Error("an agent silent for half a day was forgotten")
		}
		r.renew(talking)
		clock.by.Store(int64(24 * time.Hour))
		index := r.machine.AppliedIndex()
		r.pass(retireEvery)
		if known(silent) || !known(talking) {
			r.t.Errorf("after a day: the silent one known %v, the other one %v", known(silent), known(talking))
		}
		if _, err := r.services.Renew(r.t.Context(), silent, nil); !errors.Is(err, ErrUnknownAgent) {
			r.t.Errorf("a heartbeat of a forgotten agent: %v", err)
		}
		if got := r.machine.AppliedIndex(); got != index+1 {
			r.t.Errorf("%d entries were written to forget one agent", got-index)
		}
	})
}

func TestRefusedWritesAreLoggedOncePerChange(t *testing.T) {
	t.Parallel()
	within(t, func(r *rig) {
		var text bytes.Buffer
		r.log = slog.New(slog.NewTextHandler(&text, nil))
		r.start()
		d, q, a := r.deployment(nil), r.queue(nil), r.agent()
		run := r.submit(d, 0)
		r.inject(func(e *command.Envelope) fault {
			if e.GetClaimRuns() == nil {
				return none
			}
			return unwelcome
		})
		for range 5 {
			if err := r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: time.Minute}).fails(t); !errors.Is(err, ErrUnwelcome) {
				r.t.Errorf("error %v", err)
			}
			r.pass(2 * unwelcomePause)
		}
		r.inject(nil)
		r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: time.Minute}).want(r.t, run)
		r.stop()
		if log := text.String(); strings.Count(log, "\n") != 2 || strings.Count(log, "command=claim_runs") != 2 || !strings.Contains(log, "accepted again") {
			r.t.Errorf("the log:\n%s", log)
		}
	})
}

func TestServicesStartAndStop(t *testing.T) {
	t.Parallel()
	within(t, func(r *rig) {
		if _, err := New(Config{LeaseTTL: -1}); err == nil || !strings.Contains(err.Error(), "LeaseTTL") || !strings.Contains(err.Error(), "View") || !strings.Contains(err.Error(), "Clock") {
			r.t.Errorf("an empty configuration gave %v", err)
		}
		r.start()
		s := r.services
		if err := s.Start(r.t.Context(), Epoch{Index: r.epoch, Proposer: leader{r, r.term}}); err == nil {
			r.t.Error("started twice")
		}
		s.Stop()
		s.Stop()
		if _, err := s.Renew(r.t.Context(), api.NewID(), nil); err != ErrEpochOver {
			r.t.Errorf("a stopped service answered a heartbeat: %v", err)
		}
		if s.Stats() != nil {
			r.t.Error("a stopped service has numbers")
		}
		if err := s.Start(r.t.Context(), Epoch{Index: r.machine.AppliedIndex() + 1, Proposer: leader{r, r.term}}); err == nil {
			r.t.Error("started before the epoch's command was applied")
		}
		if err := s.Start(r.t.Context(), Epoch{Index: r.epoch, Proposer: leader{r, r.term}}); err != nil {
			r.t.Error(err)
		}
		s.Stop()
	})
}
