package scheduler

import (
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
)

func TestStats(t *testing.T) {
	t.Parallel()
	// reason is that of the only queue with due runs.
	reason := func(r *rig) Waiting {
		r.t.Helper()
		for _, q := range r.services.Stats().Queues {
			if q.Ready > 0 {
				return q.Reason
			}
		}
		return ""
	}
	for name, test := range map[string]func(r *rig){
		"a run that no queue matches is alone until one does": func(r *rig) {
			d := r.deployment(nil)
			r.submit(d, 0)
			r.submit(d, time.Hour)
			r.pass(time.Minute)
			s := r.services.Stats()
			if s.Due != 1 || s.Alone != 1 || time.Since(s.OldestDue).Round(time.Second) != time.Minute {
				r.t.Errorf("%+v", s)
			}
			q := r.queue(nil)
			r.pass(0)
			if s = r.services.Stats(); s.Due != 1 || s.Alone != 0 || s.Queues[0].Ready != 1 {
				r.t.Errorf("with a queue: %+v", s)
			}
			r.do(&command.Envelope{Command: &command.Envelope_DeleteWorkQueue{DeleteWorkQueue: &command.Delete{Id: q[:]}}})
			r.pass(0)
			if s = r.services.Stats(); s.Due != 1 || s.Alone != 1 {
				r.t.Errorf("without it again: %+v", s)
			}
		},
		"a run that is gone counts nowhere": func(r *rig) {
			d := r.deployment(nil)
			gone, stays := r.submit(d, -time.Hour), r.submit(d, -time.Minute)
			r.pass(0)
			if s := r.services.Stats(); s.Due != 2 || s.Alone != 2 || time.Since(s.OldestDue) < time.Hour {
				r.t.Errorf("%+v", s)
			}
			r.do(&command.Envelope{Command: &command.Envelope_DeleteFlowRun{DeleteFlowRun: &command.Delete{Id: gone[:]}}})
			r.pass(0)
			if s := r.services.Stats(); s.Due != 1 || s.Alone != 1 || time.Since(s.OldestDue).Round(time.Second) != time.Minute {
				r.t.Errorf("with one left: %+v", s)
			}
			r.do(&command.Envelope{Command: &command.Envelope_DeleteFlowRun{DeleteFlowRun: &command.Delete{Id: stays[:]}}})
			r.pass(0)
			if s := r.services.Stats(); s.Due != 0 || s.Alone != 0 || !s.OldestDue.IsZero() {
				r.t.Errorf("with none left: %+v", s)
			}
		},
		"the reason why a queue's runs wait": func(r *rig) {
			d, one := r.deployment(nil), int32(1)
			q := r.queue(func(c *command.CreateWorkQueue) { c.ConcurrencyLimit = &one })
			first := r.submit(d, 0)
			r.submit(d, 0)
			r.pass(0)
			if got := reason(r); got != WaitsForAgent {
				r.t.Errorf("without an agent: %q", got)
			}
			a := r.agent()
			if got := reason(r); got != WaitsForAgent {
				r.t.Errorf("with an agent that does not ask for the queue: %q", got)
			}
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Limit: 1, Wait: time.Second}).want(r.t, first)
			if got := reason(r); got != WaitsForBusy {
				r.t.Errorf("with a busy agent: %q", got)
			}
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Limit: 1, Wait: 5 * time.Second})
			r.pass(0)
			if got := reason(r); got != WaitsForSlot {
				r.t.Errorf("with the limit reached: %q", got)
			}
			r.updateQueue(q, func(c *command.UpdateWorkQueue) { c.HasIsPaused, c.IsPaused = true, true })
			r.pass(0)
			if got := reason(r); got != WaitsForResume || !r.services.Stats().Queues[0].Paused {
				r.t.Errorf("paused: %q", got)
			}
			r.updateQueue(q, func(c *command.UpdateWorkQueue) { c.HasIsPaused = true })
			r.pass(13 * time.Second)
			if got := reason(r); got != WaitsForAgent {
				r.t.Errorf("with a silent agent: %q", got)
			}
		},
		"a busy agent serves its queue also after a failover": func(r *rig) {
			d, q, a := r.deployment(nil), r.queue(nil), r.agent()
			first := r.submit(d, 0)
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Limit: 1, Wait: time.Second}).want(r.t, first)
			r.submit(d, 0)
			r.pass(0)
			if s := r.services.Stats(); s.Agents != 1 || s.LiveAgents != 1 || s.Queues[0].LiveAgents != 1 {
				r.t.Errorf("%+v", s)
			}
			r.stop()
			r.start()
			if s := r.services.Stats(); s.Agents != 1 || s.LiveAgents != 0 || s.Queues[0].LiveAgents != 0 {
				r.t.Errorf("before it was heard: %+v", s)
			}
			r.renew(a, r.held(first))
			if s := r.services.Stats(); s.LiveAgents != 1 || s.Queues[0].LiveAgents != 1 || s.Queues[0].Reason != WaitsForBusy {
				r.t.Errorf("%+v", s)
			}
			r.deleteAgent(a)
			r.pass(0)
			if s := r.services.Stats(); s.Agents != 0 || s.Queues[0].LiveAgents != 0 {
				r.t.Errorf("without it: %+v", s)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			within(t, func(r *rig) {
				r.start()
				test(r)
			})
		})
	}
}
