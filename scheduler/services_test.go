package scheduler

import (
	"strings"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
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

func TestServicesStartAndStop(t *testing.T) {
	t.Parallel()
	within(t, func(r *rig) {
		if _, err := New(Config{}); err == nil || !strings.Contains(err.Error(), "View") || !strings.Contains(err.Error(), "Clock") {
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
		if s.Queues() != nil {
			r.t.Error("a stopped service has queues")
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
