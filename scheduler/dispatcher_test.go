package scheduler

import (
	"errors"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
)

func TestClaims(t *testing.T) {
	t.Parallel()
	const wait = 30 * time.Second
	for name, test := range map[string]func(*testing.T, *rig){
		"a run that is due is granted at once": func(t *testing.T, r *rig) {
			d, q, a := r.deployment(nil), r.queue(nil), r.agent()
			run := r.submit(d, 0)
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: wait}).want(t, run)
			if stored := r.flowRun(run); stored.State.Type != row.StateType_PENDING || id16(stored.AgentId) != a || id16(stored.WorkQueueId) != q {
				t.Errorf("the run is %v", stored)
			}
		},
		"a waiting claim gets a run when it is created": func(t *testing.T, r *rig) {
			d, q, a := r.deployment(nil), r.queue(nil), r.agent()
			claim := r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: wait})
			claim.want(t)
			claim.want(t, r.submit(d, 0))
		},
		"a waiting claim gets a run when it comes due, not before": func(t *testing.T, r *rig) {
			d, q, a := r.deployment(nil), r.queue(nil), r.agent()
			claim := r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: wait})
			run := r.submit(d, 10*time.Second)
			r.pass(9999 * time.Millisecond)
			claim.want(t)
			r.pass(time.Millisecond)
			claim.want(t, run)
			if late := r.observed.claimed; len(late) != 1 || late[0] > time.Microsecond {
				t.Errorf("lateness %v, want 0", late)
			}
		},
		"a claim that waits in vain is answered without grants": func(t *testing.T, r *rig) {
			q, a := r.queue(nil), r.agent()
			claim := r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: 5 * time.Second})
			r.pass(5 * time.Second)
			if ids, answered := claim.granted(t); !answered || len(ids) != 0 {
				t.Errorf("answered %v with %v", answered, ids)
			}
		},
		"a claim that does not wait takes what there is": func(t *testing.T, r *rig) {
			d, q, a := r.deployment(nil), r.queue(nil), r.agent()
			run := r.submit(d, 0)
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}}).want(t, run)
			if ids, answered := r.claim(Demand{AgentID: a, Queues: []api.ID{q}}).granted(t); !answered || len(ids) != 0 {
				t.Errorf("answered %v with %v", answered, ids)
			}
		},
		"runs are handed out by expected start, claims served in turn": func(t *testing.T, r *rig) {
			d, q, a := r.deployment(nil), r.queue(nil), r.agent()
			third, first, second := r.submit(d, 3*time.Second), r.submit(d, time.Second), r.submit(d, 2*time.Second)
			r.pass(5 * time.Second)
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Limit: 2, Wait: wait}).want(t, first, second)
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: wait}).want(t, third)
			one := r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: wait})
			two := r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: wait})
			fourth := r.submit(d, 0)
			one.want(t, fourth)
			two.want(t)
			two.want(t, r.submit(d, 0))
		},
		"an agent that is drained while its claim waits is told, and granted nothing until it is called back": func(t *testing.T, r *rig) {
			d, q, a, other := r.deployment(nil), r.queue(nil), r.agent(), r.agent()
			claim := r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: wait})
			claim.want(t)
			r.drain(a, true)
			claim.isToldToDrain(t)
			run := r.submit(d, 0)
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: wait}).isToldToDrain(t)
			r.services.Stop()
			r.start() // the next leader knows
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: wait}).isToldToDrain(t)
			r.claim(Demand{AgentID: other, Queues: []api.ID{q}, Wait: wait}).want(t, run)
			r.drain(a, false)
			next := r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: wait})
			next.want(t)
			next.want(t, r.submit(d, 0))
		},
		"an agent that is drained while its grants are decided gets none": func(t *testing.T, r *rig) {
			d, q, a := r.deployment(nil), r.queue(nil), r.agent()
			claim := r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: wait})
			r.interpose(func(e *command.Envelope, apply func()) {
				if e.GetClaimRuns() != nil {
					r.interpose(nil)
					r.drain(a, true)
				}
				apply()
			})
			run := r.submit(d, 0)
			claim.isToldToDrain(t)
			if got := r.flowRun(run).State.Type; got != row.StateType_SCHEDULED {
				t.Errorf("the run is %v", got)
			}
		},
		"a paused queue hands out nothing until it is resumed": func(t *testing.T, r *rig) {
			d, a := r.deployment(nil), r.agent()
			q := r.queue(func(c *command.CreateWorkQueue) { c.IsPaused = true })
			run := r.submit(d, 0)
			claim := r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: wait})
			r.pass(20 * time.Second)
			claim.want(t)
			r.updateQueue(q, func(c *command.UpdateWorkQueue) { c.HasIsPaused = true })
			claim.want(t, run)
		},
		"a full queue hands out nothing until a slot is free": func(t *testing.T, r *rig) {
			d, a := r.deployment(nil), r.agent()
			one := int32(1)
			q := r.queue(func(c *command.CreateWorkQueue) { c.ConcurrencyLimit = &one })
			first, second := r.submit(d, 0), r.submit(d, 0)
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Limit: 5, Wait: wait}).want(t, first)
			claim := r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Limit: 5, Wait: wait})
			claim.want(t)
			r.report(first, row.StateType_RUNNING)
			claim.want(t)
			r.report(first, row.StateType_COMPLETED)
			claim.want(t, second)
		},
		"a full queue does not hold up another one": func(t *testing.T, r *rig) {
			d, a := r.deployment(nil), r.agent()
			zero := int32(0)
			full, free := r.queue(func(c *command.CreateWorkQueue) { c.ConcurrencyLimit = &zero }), r.queue(nil)
			run := r.submit(d, 0)
			r.claim(Demand{AgentID: a, Queues: []api.ID{full, free}, Wait: wait}).want(t, run)
			if got := id16(r.flowRun(run).WorkQueueId); got != free {
				t.Errorf("claimed from %v, want %v", got, free)
			}
		},
		"a changed filter is applied to runs that wait already": func(t *testing.T, r *rig) {
			d, a := r.deployment(nil), r.agent()
			q := r.queue(func(c *command.CreateWorkQueue) { c.Filter = &row.QueueFilter{HasTags: true, Tags: []string{"dev"}} })
			run := r.submit(d, 0)
			claim := r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: wait})
			claim.want(t)
			r.updateQueue(q, func(c *command.UpdateWorkQueue) {
				c.HasFilter, c.Filter = true, &row.QueueFilter{HasTags: true, Tags: []string{"tutorial"}}
			})
			claim.want(t, run)
		},
		"a queue created later serves runs that wait already": func(t *testing.T, r *rig) {
			run := r.submit(r.deployment(nil), 0)
			q, a := r.queue(nil), r.agent()
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: wait}).want(t, run)
		},
		"a run without deployment matches no queue": func(t *testing.T, r *rig) {
			r.submit(api.ID{}, 0)
			q, a := r.queue(nil), r.agent()
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: wait}).want(t)
		},
		"repeating a claim id answers the same grants": func(t *testing.T, r *rig) {
			d, q, a := r.deployment(nil), r.queue(nil), r.agent()
			run := r.submit(d, 0)
			r.submit(d, 0)
			again := Demand{AgentID: a, Queues: []api.ID{q}, Wait: wait, ClaimID: api.NewID()}
			r.claim(again).want(t, run)
			r.claim(again).want(t, run)
			r.stop()
			r.start()
			r.claim(again).want(t, run)
		},
		"a claim repeated while it waits shares the answer": func(t *testing.T, r *rig) {
			d, q, a := r.deployment(nil), r.queue(nil), r.agent()
			again := Demand{AgentID: a, Queues: []api.ID{q}, Wait: wait, ClaimID: api.NewID()}
			first, second := r.claim(again), r.claim(again)
			first.cancel()
			run := r.submit(d, 0)
			second.want(t, run)
		},
		"a claim that is given up takes nothing": func(t *testing.T, r *rig) {
			d, q, a := r.deployment(nil), r.queue(nil), r.agent()
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: wait}).cancel()
			r.pass(0)
			run := r.submit(d, 0)
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: wait}).want(t, run)
		},
		"queues that do not exist are named": func(t *testing.T, r *rig) {
			a, gone := r.agent(), api.NewID()
			g, err := r.services.Claim(t.Context(), Demand{AgentID: a, ClaimID: api.NewID(), Queues: []api.ID{gone}, Limit: 1, Wait: wait})
			if err != nil || len(g.Missing) != 1 || g.Missing[0] != gone {
				t.Errorf("%+v %v", g, err)
			}
			q := r.queue(nil)
			claim := r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: wait})
			r.do(&command.Envelope{Command: &command.Envelope_DeleteWorkQueue{DeleteWorkQueue: &command.Delete{Id: q[:]}}})
			if ids, answered := claim.granted(t); !answered || len(ids) != 0 {
				t.Errorf("the queue is gone, the claim answered %v with %v", answered, ids)
			}
		},
		"an agent that is not registered is refused": func(t *testing.T, r *rig) {
			_, err := r.services.Claim(t.Context(), Demand{AgentID: api.NewID(), ClaimID: api.NewID(), Queues: []api.ID{r.queue(nil)}, Limit: 1})
			if !errors.Is(err, ErrUnknownAgent) {
				t.Errorf("error %v", err)
			}
		},
		"who waits when the epoch ends is told": func(t *testing.T, r *rig) {
			claim := r.claim(Demand{AgentID: r.agent(), Queues: []api.ID{r.queue(nil)}, Wait: wait})
			r.stop()
			if err := claim.fails(t); !errors.Is(err, ErrEpochOver) {
				t.Errorf("error %v", err)
			}
		},
		"a grant whose outcome is unknown is found by repeating the claim": func(t *testing.T, r *rig) {
			d, q, a := r.deployment(nil), r.queue(nil), r.agent()
			r.inject(func(e *command.Envelope) fault {
				if e.GetClaimRuns() == nil {
					return none
				}
				return unknown
			})
			run := r.submit(d, 0)
			again := Demand{AgentID: a, Queues: []api.ID{q}, Wait: wait, ClaimID: api.NewID()}
			if err := r.claim(again).fails(t); !errors.Is(err, errFault) {
				t.Errorf("error %v", err)
			}
			r.claim(again).want(t, run)
		},
		"a run whose claim was refused is handed out later": func(t *testing.T, r *rig) {
			d, q, a := r.deployment(nil), r.queue(nil), r.agent()
			fail := true
			r.inject(func(e *command.Envelope) fault {
				if e.GetClaimRuns() == nil || !fail {
					return none
				}
				fail = false
				return refused
			})
			run := r.submit(d, 0)
			if err := r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: wait}).fails(t); !errors.Is(err, errFault) {
				t.Errorf("error %v", err)
			}
			claim := r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: wait})
			r.pass(2 * time.Second)
			claim.want(t, run)
		},
		"claims that waited at a paused queue keep their turn": func(t *testing.T, r *rig) {
			d, q, a := r.deployment(nil), r.queue(nil), r.agent()
			var claims []*pending
			for range 3 {
				claims = append(claims, r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: wait}))
			}
			r.do(&command.Envelope{Command: &command.Envelope_UpdateWorkQueue{UpdateWorkQueue: &command.UpdateWorkQueue{Id: q[:], HasIsPaused: true, IsPaused: true}}})
			for range 3 {
				r.submit(d, 0)
			}
			r.updateQueue(q, func(c *command.UpdateWorkQueue) { c.HasIsPaused = true })
			for i, run := range r.runIDs(d) {
				claims[i].want(t, run)
			}
		},
		"who waits for an agent that is deleted is told": func(t *testing.T, r *rig) {
			q, a := r.queue(nil), r.agent()
			claim := r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: wait})
			r.deleteAgent(a)
			if err := claim.fails(t); !errors.Is(err, ErrUnknownAgent) {
				t.Errorf("error %v", err)
			}
		},
		"an agent deleted while its grants are proposed keeps what it got": func(t *testing.T, r *rig) {
			d, q, a := r.deployment(nil), r.queue(nil), r.agent()
			r.interpose(func(e *command.Envelope, apply func()) {
				apply()
				if e.GetClaimRuns() != nil {
					r.deleteAgent(a)
					<-time.After(time.Millisecond) // the event is followed
				}
			})
			claim := r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: wait})
			run := r.submit(d, 0)
			r.pass(time.Second)
			claim.want(t, run)
		},
		"an agent deleted before its grants were applied is told": func(t *testing.T, r *rig) {
			d, q, a := r.deployment(nil), r.queue(nil), r.agent()
			r.interpose(func(e *command.Envelope, apply func()) {
				if c := e.GetClaimRuns(); c != nil && id16(c.Wishes[0].AgentId) == a {
					r.deleteAgent(a)
					<-time.After(time.Millisecond) // the event is followed
				}
				apply()
			})
			claim := r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: wait})
			run := r.submit(d, 0)
			r.pass(time.Second)
			if err := claim.fails(t); !errors.Is(err, ErrUnknownAgent) {
				t.Errorf("error %v", err)
			}
			r.claim(Demand{AgentID: r.agent(), Queues: []api.ID{q}, Wait: wait}).want(t, run)
		},
		"a claim that is granted nothing lets the others go first": func(t *testing.T, r *rig) {
			d, q, a := r.deployment(nil), r.queue(nil), r.agent()
			first := r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: wait})
			second := r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: wait})
			refuse := true
			r.interpose(func(e *command.Envelope, apply func()) {
				if e.GetClaimRuns() == nil || !refuse {
					apply()
					return
				}
				refuse = false
				r.updateQueue(q, func(c *command.UpdateWorkQueue) { c.HasIsPaused, c.IsPaused = true, true })
				apply()
				r.updateQueue(q, func(c *command.UpdateWorkQueue) { c.HasIsPaused = true })
			})
			run := r.submit(d, 0)
			r.pass(time.Second)
			second.want(t, run)
			first.want(t)
			first.want(t, r.submit(d, 0))
		},
		"a run that waits again before its grant is answered is handed out again": func(t *testing.T, r *rig) {
			d, q, a := r.deployment(nil), r.queue(nil), r.agent()
			run := r.submit(d, 0)
			r.interpose(func(e *command.Envelope, apply func()) {
				apply()
				if e.GetClaimRuns() == nil {
					return
				}
				held := r.held(run)
				r.do(&command.Envelope{Command: &command.Envelope_ExpireLeases{ExpireLeases: &command.ExpireLeases{Expired: []*command.ExpireLeases_Expired{
					{FlowRunId: run[:], TokenIndex: held.Token.Index, TokenOrdinal: held.Token.Ordinal, Reason: "test"}}}}})
				<-time.After(time.Millisecond) // the events are followed
			})
			claim := r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: wait})
			r.pass(time.Second)
			claim.want(t, run)
			r.interpose(nil)
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: wait}).want(t, run)
		},
		"runs that are gone leave no trace behind one that stays": func(t *testing.T, r *rig) {
			d := r.deployment(nil)
			zero := int32(0)
			r.queue(func(c *command.CreateWorkQueue) { c.ConcurrencyLimit = &zero })
			r.submit(d, -time.Hour) // stays at the head
			for range 300 {
				run := r.submit(d, 0)
				r.do(&command.Envelope{Command: &command.Envelope_DeleteFlowRun{DeleteFlowRun: &command.Delete{Id: run[:]}}})
			}
			r.pass(0)
			dispatcher := r.services.session.Load().dispatcher
			dispatcher.mu.Lock()
			defer dispatcher.mu.Unlock()
			for _, q := range dispatcher.queues {
				if q.depth != 1 || len(q.ready) > 2+64 || q.head() == nil {
					t.Errorf("%d places for %d runs", len(q.ready), q.depth)
				}
			}
		},
		"the queues' numbers": func(t *testing.T, r *rig) {
			d, q := r.deployment(nil), r.queue(nil)
			r.submit(d, 0)
			r.submit(d, time.Second)
			r.submit(d, time.Hour)
			r.pass(3 * time.Second)
			r.pass(10 * time.Second) // they become late, which offers them no second time
			if n := len(r.observed.claimable); n != 2 {
				t.Errorf("%d runs were offered, want 2", n)
			}
			stats := r.services.Stats().Queues
			if len(stats) != 1 || stats[0].ID != q || stats[0].Ready != 2 || time.Since(stats[0].OldestDue).Round(time.Second) != 13*time.Second {
				t.Errorf("%+v", stats)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			within(t, func(r *rig) {
				r.start()
				test(r.t, r)
			})
		})
	}
}

func TestMissedEventsMakeTheServicesStartOver(t *testing.T) {
	t.Parallel()
	within(t, func(r *rig) {
		r.start()
		d, q, a := r.deployment(every("3600")), r.queue(nil), r.agent()
		claim := r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: 30 * time.Second})
		first := r.runs(d)[0]
		claim.want(r.t, id16(first.Id))
		claim = r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: 30 * time.Second})
		r.machine.Events().Reset(0, r.machine.AppliedIndex())
		if err := claim.fails(r.t); !errors.Is(err, ErrEpochOver) {
			r.t.Errorf("error %v", err)
		}
		r.renew(a, r.held(id16(first.Id)))
		run := r.submit(d, time.Second)
		claim = r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: 30 * time.Second})
		r.pass(time.Second)
		claim.want(r.t, run)
	})
}

func TestManyClaimsNeverShareARun(t *testing.T) {
	t.Parallel()
	within(t, func(r *rig) {
		r.start()
		d, q, a := r.deployment(nil), r.queue(nil), r.agent()
		var claims []*pending
		for range 150 {
			claims = append(claims, r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Limit: 3, Wait: 30 * time.Second}))
		}
		for i := range 150 {
			r.submit(d, time.Duration(i%7)*time.Second)
		}
		r.pass(10 * time.Second) // less than a lease lives
		seen := map[api.ID]bool{}
		for _, c := range claims {
			ids, _ := c.granted(r.t)
			for _, id := range ids {
				if seen[id] {
					r.t.Errorf("%v was granted twice", id)
				}
				seen[id] = true
			}
		}
		if len(seen) != 150 {
			r.t.Errorf("%d of 150 runs were granted", len(seen))
		}
	})
}
