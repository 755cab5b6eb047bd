package scheduler

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/orchestration"
	"github.com/sluice-dev/sluice/fsm/row"
)

// limited is a policy with a concurrency limit.
func limited(limit int32, conflict row.Policy_Conflict) *row.Policy {
	return &row.Policy{ConcurrencyLimit: &limit, OnConflict: conflict}
}

func (r *rig) withPolicy(p *row.Policy) api.ID {
	r.t.Helper()
	return r.deployment(func(c *command.PutDeployment) { c.HasPolicy, c.Policy = true, p })
}

func (r *rig) want(run api.ID, t row.StateType, name string) *row.State {
	r.t.Helper()
	s := r.flowRun(run).State
	if s.Type != t || s.Name != name {
		r.t.Fatalf("run %s is %s %q (%s), want %s %q", run, s.Type, s.Name, s.GetMessage(), t, name)
	}
	return s
}

func (r *rig) scheduleNow(deployment api.ID, scheduled bool) api.ID {
	r.t.Helper()
	if !scheduled {
		return r.submit(deployment, 0)
	}
	v := r.view()
	defer v.Close()
	d, err := v.Deployment(deployment)
	if err != nil {
		r.t.Fatal(err)
	}
	id := api.NewID()
	at := time.Now().UnixMicro()
	r.do(&command.Envelope{Command: &command.Envelope_ScheduleRuns{ScheduleRuns: &command.ScheduleRuns{DeploymentId: deployment[:], ScheduleRevision: d.ScheduleRevision,
		Fires: []*command.ScheduleRuns_Fire{{Time: at, FlowRunId: id[:], Name: "scheduled"}}}}})
	<-time.After(time.Microsecond)
	return id
}

// beat lets time pass in which all leases are renewed.
func (r *rig) beat(agent api.ID, d time.Duration) {
	r.t.Helper()
	for ; d > 0; d -= 4 * time.Second {
		r.pass(min(d, 4*time.Second))
		v := r.view()
		var held []HeldLease
		err := v.LeasedFlowRuns(func(run *row.FlowRun) (bool, error) {
			held = append(held, HeldLease{FlowRunID: id16(run.Id), Token: Token{run.Lease.TokenIndex, run.Lease.TokenOrdinal}})
			return true, nil
		})
		v.Close()
		if err != nil {
			r.t.Fatal(err)
		}
		r.renew(agent, held...)
	}
}

// sometimes is a schedule that never comes: runs are made by hand.
var sometimes = []byte(`{"cron": "0 0 1 1 *", "timezone": null, "day_or": true}`)

func TestPolicies(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(*testing.T, *rig){
		"queue: a full deployment's runs wait and take nobody's place": func(t *testing.T, r *rig) {
			d, free, q, a := r.withPolicy(limited(1, row.Policy_QUEUE)), r.deployment(nil), r.queue(nil), r.agent()
			one, two, three := r.submit(d, 0), r.submit(d, 0), r.submit(d, 0)
			other := r.submit(free, 0)
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Limit: 2, Wait: time.Second}).want(t, one, other)
			more := r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Limit: 5, Wait: 20 * time.Second})
			r.pass(time.Second)
			more.want(t)
			if stats := r.services.Stats(); stats.Queues[0].Reason != WaitsForSlot || stats.Queues[0].Ready != 2 {
				t.Errorf("%+v", stats.Queues[0])
			}
			r.report(one, row.StateType_RUNNING)
			r.pass(time.Second)
			more.want(t)
			r.report(one, row.StateType_COMPLETED)
			more.want(t, two)
			r.report(two, row.StateType_RUNNING)
			r.report(two, row.StateType_FAILED)
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: time.Second}).want(t, three)
		},
		"queue: a lease that expires frees the place": func(t *testing.T, r *rig) {
			d, q, a, b := r.withPolicy(limited(1, row.Policy_QUEUE)), r.queue(nil), r.agent(), r.agent()
			one, two := r.submit(d, 0), r.submit(d, 0)
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: time.Second}).want(t, one)
			r.report(one, row.StateType_RUNNING)
			waiting := r.claim(Demand{AgentID: b, Queues: []api.ID{q}, Wait: 29 * time.Second})
			r.pass(14 * time.Second)
			r.want(one, row.StateType_FAILED, "Crashed")
			waiting.want(t, two)
		},
		"queue: raising and removing the limit lets runs go": func(t *testing.T, r *rig) {
			d, q, a := r.withPolicy(limited(0, row.Policy_QUEUE)), r.queue(nil), r.agent()
			one, two, three := r.submit(d, 0), r.submit(d, 0), r.submit(d, 0)
			waiting := r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Limit: 5, Wait: 20 * time.Second})
			waiting.want(t)
			r.do(&command.Envelope{Command: &command.Envelope_PatchDeployment{PatchDeployment: &command.PatchDeployment{Id: d[:], HasConcurrencyLimit: true, Policy: limited(1, 0)}}})
			waiting.want(t, one)
			waiting = r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Limit: 5, Wait: 20 * time.Second})
			waiting.want(t)
			r.do(&command.Envelope{Command: &command.Envelope_PatchDeployment{PatchDeployment: &command.PatchDeployment{Id: d[:], HasConcurrencyLimit: true}}})
			waiting.want(t, two, three)
		},
		"queue: a limit set while runs are under way counts them": func(t *testing.T, r *rig) {
			d, q, a := r.deployment(nil), r.queue(nil), r.agent()
			one := r.submit(d, 0)
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: time.Second}).want(t, one)
			r.do(&command.Envelope{Command: &command.Envelope_PatchDeployment{PatchDeployment: &command.PatchDeployment{Id: d[:], HasConcurrencyLimit: true, Policy: limited(1, 0)}}})
			two := r.submit(d, 0)
			waiting := r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: 20 * time.Second})
			waiting.want(t)
			r.report(one, row.StateType_RUNNING)
			r.report(one, row.StateType_COMPLETED)
			waiting.want(t, two)
		},
		"skip: what comes due beside a running one is skipped at once, naming it": func(t *testing.T, r *rig) {
			d, q, a := r.withPolicy(limited(1, row.Policy_SKIP)), r.queue(nil), r.agent()
			one, later := r.submit(d, 0), r.submit(d, 5*time.Second)
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: time.Second}).want(t, one)
			r.report(one, row.StateType_RUNNING)
			r.want(later, row.StateType_SCHEDULED, "Scheduled")
			r.pass(5 * time.Second)
			if s := r.want(later, row.StateType_CANCELLED, "Skipped"); !strings.Contains(s.GetMessage(), one.String()) {
				t.Errorf("the reason is %q", s.GetMessage())
			}
			r.report(one, row.StateType_COMPLETED)
			two := r.submit(d, 0)
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: time.Second}).want(t, two)
		},
		"skip: late runs do not pile up behind an agent that was away": func(t *testing.T, r *rig) {
			d, q := r.withPolicy(limited(1, row.Policy_SKIP)), r.queue(nil)
			one, two, three := r.submit(d, 0), r.submit(d, time.Minute), r.submit(d, 2*time.Minute)
			r.pass(10 * time.Minute)
			r.want(three, row.StateType_SCHEDULED, "Late")
			r.claim(Demand{AgentID: r.agent(), Queues: []api.ID{q}, Limit: 9, Wait: time.Second}).want(t, one)
			r.want(two, row.StateType_CANCELLED, "Skipped")
			r.want(three, row.StateType_CANCELLED, "Skipped")
		},
		"skip: a new leader decides about what came due while there was none": func(t *testing.T, r *rig) {
			d, q, a := r.withPolicy(limited(1, row.Policy_SKIP)), r.queue(nil), r.agent()
			one, two := r.submit(d, 0), r.submit(d, 5*time.Second)
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: time.Second}).want(t, one)
			r.report(one, row.StateType_RUNNING)
			r.stop()
			r.pass(10 * time.Second)
			r.want(two, row.StateType_SCHEDULED, "Scheduled")
			r.start()
			r.want(two, row.StateType_CANCELLED, "Skipped")
		},
		"cancel-running: the oldest holder is told to stop and the new run takes its place": func(t *testing.T, r *rig) {
			d, q, a := r.withPolicy(limited(2, row.Policy_CANCEL_RUNNING)), r.queue(nil), r.agent()
			one, two := r.submit(d, 0), r.submit(d, 0)
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Limit: 2, Wait: time.Second}).want(t, one, two)
			r.report(one, row.StateType_RUNNING)
			r.report(two, row.StateType_RUNNING)
			waiting := r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Limit: 2, Wait: 20 * time.Second})
			three := r.submit(d, 0)
			r.pass(time.Second)
			r.want(one, row.StateType_RUNNING, "Cancelling")
			r.want(two, row.StateType_RUNNING, "Running")
			waiting.want(t)
			r.report(one, row.StateType_CANCELLED)
			waiting.want(t, three)
		},
		"cancel-running: of those that wait only the newest stay": func(t *testing.T, r *rig) {
			d, q := r.withPolicy(limited(1, row.Policy_CANCEL_RUNNING)), r.queue(nil)
			one, two, three := r.submit(d, 0), r.submit(d, time.Second), r.submit(d, 2*time.Second)
			r.pass(3 * time.Second)
			r.want(one, row.StateType_CANCELLED, "Skipped")
			if s := r.want(two, row.StateType_CANCELLED, "Skipped"); !strings.Contains(s.GetMessage(), three.String()) {
				t.Errorf("the reason is %q", s.GetMessage())
			}
			r.claim(Demand{AgentID: r.agent(), Queues: []api.ID{q}, Limit: 9, Wait: time.Second}).want(t, three)
		},
		"overlap: scheduled runs do not overlap, runs made by hand do": func(t *testing.T, r *rig) {
			d := r.deployment(func(c *command.PutDeployment) {
				c.ScheduleJson, c.HasPolicy, c.Policy = sometimes, true, &row.Policy{Overlap: row.Policy_OVERLAP_SKIP}
			})
			q, a := r.queue(nil), r.agent()
			one := r.scheduleNow(d, true)
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: time.Second}).want(t, one)
			byHand := r.scheduleNow(d, false)
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: time.Second}).want(t, byHand)
			two := r.scheduleNow(d, true)
			r.pass(time.Second)
			r.want(two, row.StateType_CANCELLED, "Skipped")
		},
		"overlap and a limit: a run must pass both": func(t *testing.T, r *rig) {
			p := limited(2, row.Policy_QUEUE)
			p.Overlap = row.Policy_OVERLAP_QUEUE
			d := r.deployment(func(c *command.PutDeployment) { c.ScheduleJson, c.HasPolicy, c.Policy = sometimes, true, p })
			q, a := r.queue(nil), r.agent()
			one, two := r.scheduleNow(d, true), r.scheduleNow(d, true)
			byHand, more := r.scheduleNow(d, false), r.scheduleNow(d, false)
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Limit: 9, Wait: time.Second}).want(t, one, byHand)
			r.report(byHand, row.StateType_RUNNING)
			r.report(byHand, row.StateType_COMPLETED)
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Limit: 9, Wait: time.Second}).want(t, more)
			r.report(one, row.StateType_RUNNING)
			r.report(one, row.StateType_COMPLETED)
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Limit: 9, Wait: time.Second}).want(t, two)
		},
		"priority goes before the time of being due": func(t *testing.T, r *rig) {
			urgent := r.withPolicy(&row.Policy{Run: &row.RunPolicy{Priority: 1}})
			low := r.withPolicy(&row.Policy{Run: &row.RunPolicy{Priority: 900}})
			normal, q, a := r.deployment(nil), r.queue(nil), r.agent()
			d, b, c, e := r.submit(low, 0), r.submit(normal, 0), r.submit(normal, 0), r.submit(urgent, 0)
			for _, run := range []api.ID{e, b, c, d} {
				r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: time.Second}).want(t, run)
			}
		},
		"a run that does not start in time is cancelled, paused queue or not": func(t *testing.T, r *rig) {
			d := r.withPolicy(&row.Policy{Run: &row.RunPolicy{QueueTimeout: 60e6}})
			q := r.queue(func(c *command.CreateWorkQueue) { c.IsPaused = true })
			run := r.submit(d, 10*time.Second)
			r.pass(69 * time.Second)
			r.want(run, row.StateType_SCHEDULED, "Late")
			r.pass(2 * time.Second)
			r.want(run, row.StateType_CANCELLED, "TimedOut")
			started := r.submit(d, 0)
			r.updateQueue(q, func(c *command.UpdateWorkQueue) { c.HasIsPaused = true })
			a := r.agent()
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: time.Second}).want(t, started)
			r.report(started, row.StateType_RUNNING)
			r.beat(a, 2*time.Minute)
			r.want(started, row.StateType_RUNNING, "Running")
		},
		"a run that takes too long is stopped by its agent and has timed out": func(t *testing.T, r *rig) {
			d, q, a := r.withPolicy(&row.Policy{Run: &row.RunPolicy{RunTimeout: 30e6}}), r.queue(nil), r.agent()
			run := r.submit(d, 0)
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: time.Second}).want(t, run)
			r.report(run, row.StateType_RUNNING)
			r.beat(a, 28*time.Second)
			r.want(run, row.StateType_RUNNING, "Running")
			r.beat(a, 4*time.Second)
			r.want(run, row.StateType_RUNNING, "Cancelling")
			if answer := r.renew(a, r.held(run)); !slices.Contains(answer.Cancelling, run) {
				t.Errorf("the agent is told %+v", answer)
			}
			r.report(run, row.StateType_CANCELLED)
			if s := r.want(run, row.StateType_FAILED, "TimedOut"); !strings.Contains(s.GetMessage(), "30s") {
				t.Errorf("the reason is %q", s.GetMessage())
			}
		},
		"a run whose agent does not stop it in time is taken from it": func(t *testing.T, r *rig) {
			d, q, a := r.withPolicy(&row.Policy{Run: &row.RunPolicy{RunTimeout: 30e6}}), r.queue(nil), r.agent()
			run := r.submit(d, 0)
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: time.Second}).want(t, run)
			r.report(run, row.StateType_RUNNING)
			held := r.held(run)
			r.beat(a, 84*time.Second)
			r.want(run, row.StateType_RUNNING, "Cancelling")
			r.stop() // the deadline outlives the leader
			r.start()
			r.beat(a, 8*time.Second)
			r.want(run, row.StateType_FAILED, "TimedOut")
			if answer := r.renew(a, held); len(answer.Lost) != 1 {
				t.Errorf("the agent is told %+v", answer)
			}
		},
		"a crashed run is tried again elsewhere, as often as its policy says": func(t *testing.T, r *rig) {
			d, q := r.withPolicy(&row.Policy{Run: &row.RunPolicy{CrashRetries: 2, CrashDelay: 20e6}}), r.queue(nil)
			run := r.submit(d, 0)
			for attempt := range int32(3) {
				a := r.agent()
				r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: time.Second}).want(t, run)
				old := r.held(run)
				r.report(run, row.StateType_RUNNING)
				if n := r.flowRun(run).RunCount; n != attempt+1 {
					t.Errorf("attempt %d has run count %d", attempt, n)
				}
				r.pass(14 * time.Second)
				if attempt == 2 {
					break
				}
				r.want(run, row.StateType_SCHEDULED, "AwaitingRetry")
				late := &command.SetState{Id: run[:], State: &command.ProposedState{Type: row.StateType_COMPLETED}, HasToken: true, TokenIndex: old.Token.Index, TokenOrdinal: old.Token.Ordinal}
				if result := r.do(&command.Envelope{Command: &command.Envelope_SetFlowRunState{SetFlowRunState: late}}); result.State.Status != command.StateResult_ABORT {
					t.Errorf("the dead agent's report is answered %v", result.State)
				}
				early := r.claim(Demand{AgentID: r.agent(), Queues: []api.ID{q}, Wait: time.Second})
				r.pass(2 * time.Second)
				if ids, _ := early.granted(t); len(ids) != 0 {
					t.Errorf("claimed %v before its delay", ids)
				}
				r.stop() // what waits is in the state
				r.start()
				r.pass(20 * time.Second)
			}
			r.want(run, row.StateType_FAILED, "Crashed")
		},
		"a run is not tried again in the moment its lease ends": func(t *testing.T, r *rig) {
			d, q, a := r.withPolicy(&row.Policy{Run: &row.RunPolicy{CrashRetries: 1}}), r.queue(nil), r.agent()
			run := r.submit(d, 0)
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: time.Second}).want(t, run)
			r.report(run, row.StateType_RUNNING)
			r.pass(14 * time.Second)
			stored := r.flowRun(run)
			if wait := stored.NextScheduledStartTime - stored.State.Timestamp; wait < (3999 * time.Millisecond).Microseconds() {
				t.Errorf("the next attempt is due after %d µs", wait)
			}
		},
		"a crash that the agent reports is tried again as the policy says": func(t *testing.T, r *rig) {
			d, q, a := r.withPolicy(&row.Policy{Run: &row.RunPolicy{CrashRetries: 1, CrashDelay: 1e6}}), r.queue(nil), r.agent()
			run := r.submit(d, 0)
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: time.Second}).want(t, run)
			r.report(run, row.StateType_RUNNING)
			held := r.held(run)
			crash := &command.SetState{Id: run[:], State: &command.ProposedState{Type: row.StateType_FAILED, Name: "Crashed"}, HasToken: true, TokenIndex: held.Token.Index, TokenOrdinal: held.Token.Ordinal}
			result := r.do(&command.Envelope{Command: &command.Envelope_SetFlowRunState{SetFlowRunState: crash}})
			if result.State.Status != command.StateResult_REJECT {
				t.Errorf("answered %v", result.State)
			}
			r.want(run, row.StateType_SCHEDULED, "AwaitingRetry")
			r.pass(2 * time.Second)
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: time.Second}).want(t, run)
		},
		"several schedules fire each by itself, and pausing one leaves the other": func(t *testing.T, r *rig) {
			hourly := []byte(`{"interval": 3600.0, "timezone": null, "anchor_date": "2000-01-01T00:00:00+00:00"}`)
			half := []byte(`{"interval": 3600.0, "timezone": null, "anchor_date": "2000-01-01T00:30:00+00:00"}`)
			d := r.deployment(func(c *command.PutDeployment) { c.ScheduleJson = hourly })
			second := api.NewID()
			put := func(c *command.PutSchedule) {
				c.DeploymentId, c.ScheduleId = d[:], second[:]
				r.do(&command.Envelope{Command: &command.Envelope_PutSchedule{PutSchedule: c}})
				r.pass(time.Millisecond)
			}
			put(&command.PutSchedule{Create: true, HasSchedule: true, ScheduleJson: half})
			count := func(furthest time.Duration) (first, further int) {
				until := time.Now().Add(furthest).UnixMicro()
				for _, run := range r.runs(d) {
					if run.ExpectedStartTime <= until && len(run.ScheduleId) == 0 {
						first++
					} else if run.ExpectedStartTime <= until {
						further++
					}
				}
				return first, further
			}
			if a, b := count(12 * time.Hour); a < 12 || b < 12 || a > 13 || b > 13 {
				t.Errorf("%d and %d runs in the next 12 hours", a, b)
			}
			put(&command.PutSchedule{HasActive: true})
			if a, b := count(12 * time.Hour); a < 12 || b != 0 {
				t.Errorf("%d and %d runs when the second is paused", a, b)
			}
			r.stop()
			r.start()
			put(&command.PutSchedule{HasActive: true, Active: true})
			if a, b := count(12 * time.Hour); a < 12 || b < 12 {
				t.Errorf("%d and %d runs when the second goes on", a, b)
			}
			r.do(&command.Envelope{Command: &command.Envelope_SetScheduleActive{SetScheduleActive: &command.SetScheduleActive{Id: d[:]}}})
			if a, b := count(12 * time.Hour); a+b != 0 {
				t.Errorf("%d and %d runs when the deployment is paused", a, b)
			}
			r.do(&command.Envelope{Command: &command.Envelope_DeleteSchedule{DeleteSchedule: &command.DeleteSchedule{DeploymentId: d[:], ScheduleId: d[:]}}})
			r.do(&command.Envelope{Command: &command.Envelope_SetScheduleActive{SetScheduleActive: &command.SetScheduleActive{Id: d[:], Active: true}}})
			r.pass(time.Millisecond)
			if a, b := count(12 * time.Hour); a != 0 || b < 12 {
				t.Errorf("%d and %d runs when the first is deleted", a, b)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			within(t, func(r *rig) {
				r.start()
				test(t, r)
			})
		})
	}
}

// Agents that claim, crash and finish at random, leaders that change and proposals that fail: never are more runs of a deployment
// under way than its limit allows, and in the end every place is free.
func TestALimitHoldsWhateverHappens(t *testing.T) {
	t.Parallel()
	for n := range uint64(6) {
		seed := rand.Uint64()
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			within(t, func(r *rig) { randomLives(t, r, seed, row.Policy_Conflict(n%3)) })
		})
	}
}

func randomLives(t *testing.T, r *rig, seed uint64, conflict row.Policy_Conflict) {
	random := rand.New(rand.NewPCG(seed, 7))
	r.start()
	p := limited(2, conflict)
	p.Run = &row.RunPolicy{CrashRetries: 1, RunTimeout: 40e6, QueueTimeout: 120e6}
	d, q := r.withPolicy(p), r.queue(nil)
	agents := []api.ID{r.agent(), r.agent(), r.agent()}
	r.inject(randomly(seed, 3))
	var runs []api.ID
	check := func() {
		t.Helper()
		underWay := 0
		for _, run := range r.runs(d) {
			if orchestration.HoldsGate(run) {
				underWay++
			}
		}
		if underWay > 2 {
			t.Fatalf("%d runs are under way, the limit is 2", underWay)
		}
	}
	for range 150 {
		switch random.IntN(8) {
		case 0, 1:
			runs = append(runs, r.submit(d, time.Duration(random.IntN(3))*time.Second))
		case 2, 3:
			c := r.claim(Demand{AgentID: agents[random.IntN(3)], Queues: []api.ID{q}, Limit: 1 + random.IntN(3), Wait: time.Second})
			<-c.answerOrError()
		case 4, 5:
			if len(runs) == 0 {
				continue
			}
			run := runs[random.IntN(len(runs))]
			stored := r.flowRun(run)
			set := &command.SetState{Id: run[:], State: &command.ProposedState{Type: []row.StateType{row.StateType_RUNNING, row.StateType_COMPLETED, row.StateType_FAILED, row.StateType_PENDING}[random.IntN(4)]}}
			if stored.Lease != nil && random.IntN(4) > 0 {
				set.HasToken, set.TokenIndex, set.TokenOrdinal = true, stored.Lease.TokenIndex, stored.Lease.TokenOrdinal
			}
			r.do(&command.Envelope{Command: &command.Envelope_SetFlowRunState{SetFlowRunState: set}})
		case 6:
			r.pass(time.Duration(random.IntN(20)) * time.Second) // leases may expire
		case 7:
			if random.IntN(4) == 0 {
				r.stop()
				r.start()
			}
		}
		check()
	}
	r.inject(nil)
	r.pass(10 * time.Minute)
	check()
	v := r.view()
	defer v.Close()
	if err := v.Verify(); err != nil {
		t.Fatal(err)
	}
	holders, err := v.Slots(d)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range holders {
		if run := r.flowRun(id); !orchestration.HoldsGate(run) {
			t.Errorf("run %s holds a place and is %s", id, run.State.Name)
		}
	}
}

// answerOrError is closed when the claim has ended one way or the other.
func (p *pending) answerOrError() <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-p.answer:
		case <-p.err:
		}
	}()
	return done
}
