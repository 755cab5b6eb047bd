package scheduler

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/orchestration"
	"github.com/sluice-dev/sluice/fsm/row"
)

// Policies where one thing meets another: a change of leaders, a pause, a change of the policy, a run that is late.

func (r *rig) patch(deployment api.ID, change func(*command.PatchDeployment)) {
	r.t.Helper()
	c := &command.PatchDeployment{Id: deployment[:]}
	change(c)
	r.do(&command.Envelope{Command: &command.Envelope_PatchDeployment{PatchDeployment: c}})
	synctest.Wait()
}

// onePerFire checks that each fire time of a schedule in [from, to] has one run, and none is between them. It returns them.
func (r *rig) onePerFire(deployment api.ID, from, to, step time.Duration) (runs []*row.FlowRun) {
	r.t.Helper()
	begin := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	var got, want []string
	for _, run := range r.runs(deployment) {
		if at := time.UnixMicro(run.ExpectedStartTime).Sub(begin); run.AutoScheduled && at >= from && at <= to {
			runs, got = append(runs, run), append(got, at.String())
		}
	}
	for at := from; at <= to; at += step {
		want = append(want, at.String())
	}
	if !slices.Equal(got, want) {
		r.t.Fatalf("runs at %v, want %v", got, want)
	}
	return runs
}

func (r *rig) names(runs []*row.FlowRun) (all []string) {
	for _, run := range runs {
		all = append(all, run.State.Name)
	}
	return all
}

func withSchedule(seconds string, p *row.Policy) func(*command.PutDeployment) {
	return func(c *command.PutDeployment) {
		every(seconds)(c)
		c.HasPolicy, c.Policy = p != nil, p
	}
}

// planned is a deployment whose schedule has made its runs.
func (r *rig) planned(change func(*command.PutDeployment)) api.ID {
	r.t.Helper()
	defer synctest.Wait()
	return r.deployment(change)
}

// away is a time without a leader.
func (r *rig) away(d time.Duration) {
	r.t.Helper()
	r.stop()
	r.pass(d)
	r.start()
}

func TestPoliciesAtTheSeams(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(*testing.T, *rig){
		"a change of the policy keeps the runs that are due and wait": func(t *testing.T, r *rig) {
			q := r.queue(func(c *command.CreateWorkQueue) { c.IsPaused = true })
			d := r.planned(withSchedule("60", limited(1, row.Policy_QUEUE)))
			r.pass(150 * time.Second) // 0:00, 1:00 and 2:00 are due
			before := r.onePerFire(d, 0, 2*time.Minute, time.Minute)
			r.patch(d, func(c *command.PatchDeployment) {
				c.HasConcurrencyLimit, c.HasPriority, c.Policy = true, true, &row.Policy{Run: &row.RunPolicy{Priority: 7}}
			})
			after := r.onePerFire(d, 0, 20*time.Minute, time.Minute)
			for i, run := range after {
				if i < len(before) && !bytes.Equal(run.Id, before[i].Id) {
					t.Errorf("the run of minute %d is another one", i)
				}
				want := int32(orchestration.DefaultPriority) // kept from when it was made
				if i >= len(before) {
					want = 7
				}
				if got := orchestration.PriorityOf(run); got != want {
					t.Errorf("the run of minute %d has priority %d, want %d", i, got, want)
				}
			}
			r.updateQueue(q, func(c *command.UpdateWorkQueue) { c.HasIsPaused = true })
			r.claim(Demand{AgentID: r.agent(), Queues: []api.ID{q}, Limit: 9, Wait: time.Second}).
				want(t, id16(before[0].Id), id16(before[1].Id), id16(before[2].Id))
		},
		"a schedule that gets another name keeps its runs": func(t *testing.T, r *rig) {
			d := r.planned(withSchedule("60", nil))
			r.pass(90 * time.Second)
			before := r.onePerFire(d, 0, 20*time.Minute, time.Minute)
			r.do(&command.Envelope{Command: &command.Envelope_PutSchedule{PutSchedule: &command.PutSchedule{DeploymentId: d[:], ScheduleId: d[:], HasName: true, Name: "minutely"}}})
			r.pass(time.Second)
			for i, run := range r.onePerFire(d, 0, 20*time.Minute, time.Minute) {
				if !bytes.Equal(run.Id, before[i].Id) {
					t.Fatalf("the run of minute %d is another one", i)
				}
			}
		},
		"a change of the policy before a new leader has planned costs nothing that was missed": func(t *testing.T, r *rig) {
			d := r.planned(func(c *command.PutDeployment) { withSchedule("60", nil)(c); c.Catchup = row.Deployment_ALL })
			synctest.Wait() // 100 runs, up to 1:39:00
			r.stop()
			r.pass(2*time.Hour + 30*time.Second)
			for range 2 {
				r.patch(d, func(c *command.PatchDeployment) {
					c.HasPriority, c.Policy = true, &row.Policy{Run: &row.RunPolicy{Priority: int32(time.Now().Second() + 1)}}
				})
				r.pass(time.Second)
			}
			r.start()
			r.onePerFire(d, 0, 2*time.Hour+20*time.Minute, time.Minute)
		},
		"another schedule takes the runs of the old one, due or not": func(t *testing.T, r *rig) {
			d := r.planned(withSchedule("60", nil))
			r.pass(90 * time.Second)
			r.patch(d, func(c *command.PatchDeployment) {
				c.HasSchedule, c.ScheduleJson = true, []byte(`{"interval":600,"anchor_date":"2000-01-01T00:00:00+00:00"}`)
			})
			r.onePerFire(d, 0, -1, time.Minute) // what was due under the old one is gone
			r.onePerFire(d, 10*time.Minute, time.Hour, 10*time.Minute)
		},
		"the clocks' policy changes while runs wait: what is due stays, what is to come follows it": func(t *testing.T, r *rig) {
			zone := "Europe/Berlin"
			d := r.planned(func(c *command.PutDeployment) {
				c.ScheduleJson = []byte(`{"cron":"30 2 * * *","timezone":"` + zone + `","day_or":true}`)
			})
			r.pass(3 * time.Hour) // 02:30 in Berlin has passed
			due := r.runs(d)[0]
			r.patch(d, func(c *command.PatchDeployment) {
				c.HasDst, c.Policy = true, &row.Policy{DstSkipped: row.Policy_SKIP_TIME}
			})
			runs := r.runs(d)
			if !bytes.Equal(runs[0].Id, due.Id) {
				t.Error("the run that was due is another one")
			}
			berlin, err := time.LoadLocation(zone)
			if err != nil {
				t.Fatal(err)
			}
			days := map[string]bool{}
			for _, run := range runs {
				days[time.UnixMicro(run.ExpectedStartTime).In(berlin).Format("01-02 15:04")] = true
			}
			if !days["03-25 02:30"] || days["03-26 03:30"] || days["03-26 02:30"] || !days["03-27 02:30"] || len(days) != len(runs) {
				t.Errorf("runs around the change of the clocks: %v", days)
			}
		},
		"on_conflict becomes skip while runs wait: they are skipped at once": func(t *testing.T, r *rig) {
			d, q, a := r.withPolicy(limited(1, row.Policy_QUEUE)), r.queue(nil), r.agent()
			one, two, later := r.submit(d, 0), r.submit(d, 0), r.submit(d, time.Hour)
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: time.Second}).want(t, one)
			r.patch(d, func(c *command.PatchDeployment) {
				c.HasOnConflict, c.Policy = true, &row.Policy{OnConflict: row.Policy_SKIP}
			})
			r.want(one, row.StateType_PENDING, "Pending")
			r.want(two, row.StateType_CANCELLED, "Skipped")
			r.want(later, row.StateType_SCHEDULED, "Scheduled")
		},
		"on_conflict becomes cancel-running while runs wait: the newest takes the place": func(t *testing.T, r *rig) {
			d, q, a := r.withPolicy(limited(1, row.Policy_QUEUE)), r.queue(nil), r.agent()
			one, two, three := r.submit(d, 0), r.submit(d, 0), r.submit(d, 0)
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: time.Second}).want(t, one)
			r.report(one, row.StateType_RUNNING)
			r.patch(d, func(c *command.PatchDeployment) {
				c.HasOnConflict, c.Policy = true, &row.Policy{OnConflict: row.Policy_CANCEL_RUNNING}
			})
			r.want(one, row.StateType_RUNNING, "Cancelling")
			r.want(two, row.StateType_CANCELLED, "Skipped")
			r.report(one, row.StateType_CANCELLED)
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: time.Second}).want(t, three)
		},
		"on_conflict becomes queue before runs are due: they wait": func(t *testing.T, r *rig) {
			d, q, a := r.withPolicy(limited(1, row.Policy_SKIP)), r.queue(nil), r.agent()
			one, two := r.submit(d, 0), r.submit(d, 10*time.Second)
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: time.Second}).want(t, one)
			r.report(one, row.StateType_RUNNING)
			r.patch(d, func(c *command.PatchDeployment) { c.HasOnConflict = true })
			r.beat(a, 20*time.Second)
			r.want(two, row.StateType_SCHEDULED, "Late")
			r.report(one, row.StateType_COMPLETED)
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: time.Second}).want(t, two)
		},
		"overlap is forbidden while a scheduled run is under way: the next one is skipped, a lower limit stops nobody": func(t *testing.T, r *rig) {
			d := r.planned(withSchedule("60", nil))
			q, a := r.queue(nil), r.agent()
			first := id16(r.runs(d)[0].Id)
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: time.Second}).want(t, first)
			r.report(first, row.StateType_RUNNING)
			r.patch(d, func(c *command.PatchDeployment) {
				c.HasOverlap, c.HasConcurrencyLimit, c.Policy = true, true, limited(0, row.Policy_QUEUE)
				c.Policy.Overlap = row.Policy_OVERLAP_SKIP
			})
			r.beat(a, 62*time.Second)
			r.want(first, row.StateType_RUNNING, "Running")
			if names := r.names(r.onePerFire(d, 0, 2*time.Minute, time.Minute)); !slices.Equal(names, []string{"Running", "Skipped", "Scheduled"}) {
				t.Errorf("the runs are %q", names)
			}
			r.patch(d, func(c *command.PatchDeployment) { c.HasOverlap, c.HasConcurrencyLimit = true, true })
			r.beat(a, 60*time.Second)
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: time.Second}).want(t, id16(r.runs(d)[2].Id))
		},
		"a leader comes between making a run and handing it out: queue": func(t *testing.T, r *rig) {
			d := r.planned(withSchedule("60", limited(1, row.Policy_QUEUE)))
			q, a := r.queue(nil), r.agent()
			r.away(130 * time.Second) // 0:00, 1:00 and 2:00 are due
			runs := r.onePerFire(d, 0, 2*time.Minute, time.Minute)
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Limit: 9, Wait: time.Second}).want(t, id16(runs[0].Id))
			r.report(id16(runs[0].Id), row.StateType_RUNNING)
			r.away(time.Second)
			waiting := r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Limit: 9, Wait: time.Second})
			waiting.want(t)
			r.report(id16(runs[0].Id), row.StateType_COMPLETED)
			waiting.want(t, id16(runs[1].Id))
		},
		"a leader comes between making a run and handing it out: cancel-running and overlap": func(t *testing.T, r *rig) {
			p := limited(5, row.Policy_QUEUE)
			p.Overlap = row.Policy_OVERLAP_CANCEL_RUNNING
			d := r.planned(withSchedule("60", p))
			q, a := r.queue(nil), r.agent()
			r.away(130 * time.Second)
			runs := r.onePerFire(d, 0, 2*time.Minute, time.Minute)
			if names := r.names(runs); !slices.Equal(names, []string{"Skipped", "Skipped", "Scheduled"}) && !slices.Equal(names, []string{"Skipped", "Skipped", "Late"}) {
				t.Errorf("the runs are %q", names)
			}
			newest := id16(runs[2].Id)
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Limit: 9, Wait: time.Second}).want(t, newest)
			r.report(newest, row.StateType_RUNNING)
			r.away(60 * time.Second) // what came due meanwhile wins; leases begin anew with the leader
			r.want(newest, row.StateType_RUNNING, "Cancelling")
			r.report(newest, row.StateType_CANCELLED)
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Limit: 9, Wait: time.Second}).want(t, id16(r.onePerFire(d, 0, 3*time.Minute, time.Minute)[3].Id))
		},
		"a claim in doubt is repeated at the next leader: the same run, and the place is taken once": func(t *testing.T, r *rig) {
			d, q, a, b := r.withPolicy(limited(1, row.Policy_SKIP)), r.queue(nil), r.agent(), r.agent()
			one := r.submit(d, 0)
			r.inject(func(e *command.Envelope) fault {
				if e.GetClaimRuns() != nil {
					return unknown
				}
				return none
			})
			demand := Demand{AgentID: a, ClaimID: api.NewID(), Queues: []api.ID{q}, Limit: 9, Wait: time.Second}
			if err := r.claim(demand).fails(t); err == nil {
				t.Error("the claim has no error")
			}
			two := r.submit(d, 0)
			r.inject(nil)
			r.away(time.Second)
			r.want(two, row.StateType_CANCELLED, "Skipped")
			r.claim(demand).want(t, one)
			other := r.claim(Demand{AgentID: b, Queues: []api.ID{q}, Limit: 9, Wait: time.Second})
			other.want(t)
		},
		"a queue timeout that passes without a leader is enforced by the next one, late or not": func(t *testing.T, r *rig) {
			d := r.planned(withSchedule("3600", &row.Policy{Run: &row.RunPolicy{QueueTimeout: 60e6}}))
			run := id16(r.runs(d)[0].Id)
			r.pass(10 * time.Second)
			r.want(run, row.StateType_SCHEDULED, "Late")
			r.away(time.Hour + 30*time.Second)
			r.want(run, row.StateType_CANCELLED, "TimedOut")
			second := r.onePerFire(d, 0, time.Hour, time.Hour)[1]
			r.pass(10 * time.Second)
			r.want(id16(second.Id), row.StateType_SCHEDULED, "Late") // 40 s of its 60 have passed
		},
		"a run timeout that passes without a leader stops the run under the next one": func(t *testing.T, r *rig) {
			d, q, a := r.withPolicy(&row.Policy{Run: &row.RunPolicy{RunTimeout: 30e6, CrashRetries: 3}}), r.queue(nil), r.agent()
			run := r.submit(d, 0)
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: time.Second}).want(t, run)
			r.report(run, row.StateType_RUNNING)
			r.away(time.Minute)
			r.want(run, row.StateType_RUNNING, "Cancelling")
			r.pass(time.Minute) // its owner is silent: it is not tried again
			r.want(run, row.StateType_FAILED, "TimedOut")
		},
		"a late run of high priority goes before one that is due longer": func(t *testing.T, r *rig) {
			slow, urgent, q := r.deployment(nil), r.withPolicy(&row.Policy{Run: &row.RunPolicy{Priority: 1}}), r.queue(nil)
			first, second := r.submit(slow, 0), r.submit(urgent, 3*time.Second)
			r.pass(time.Minute)
			r.want(first, row.StateType_SCHEDULED, "Late")
			r.want(second, row.StateType_SCHEDULED, "Late")
			r.away(time.Second)
			for _, run := range []api.ID{second, first} {
				r.claim(Demand{AgentID: r.agent(), Queues: []api.ID{q}, Wait: time.Second}).want(t, run)
			}
		},
		"a pause leaves a run that waits for another attempt, and one under way": func(t *testing.T, r *rig) {
			d := r.planned(withSchedule("60", &row.Policy{Run: &row.RunPolicy{CrashRetries: 1, CrashDelay: 20e6}}))
			q, a, b := r.queue(nil), r.agent(), r.agent()
			crashed := id16(r.runs(d)[0].Id)
			r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: time.Second}).want(t, crashed)
			r.report(crashed, row.StateType_RUNNING)
			r.pass(14 * time.Second)
			r.want(crashed, row.StateType_SCHEDULED, "AwaitingRetry")
			r.setActive(d, false)
			if runs := r.runs(d); len(runs) != 1 {
				t.Fatalf("%d runs are left", len(runs))
			}
			r.away(25 * time.Second)
			r.claim(Demand{AgentID: b, Queues: []api.ID{q}, Wait: time.Second}).want(t, crashed)
			r.report(crashed, row.StateType_RUNNING)
			r.setActive(d, true)
			r.patch(d, func(c *command.PatchDeployment) { c.HasOnCrash = true })
			r.pass(14 * time.Second)
			r.want(crashed, row.StateType_FAILED, "Crashed") // its one retry was used
			next := r.runs(d)[1]
			if next.GetPolicy().GetCrashRetries() != 0 {
				t.Errorf("the next run keeps %v", next.Policy)
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

// A run is due when its deployment is paused, and hours later the deployment goes on: whatever catchup says, the pause is nothing to be
// made up for, with the leader there all the time or another one after it.
func TestAPauseIsNotMadeUpFor(t *testing.T) {
	t.Parallel()
	for n, catchup := range []row.Deployment_Catchup{row.Deployment_SKIP, row.Deployment_LATEST, row.Deployment_ALL} {
		for k, by := range []string{"the deployment", "its schedule", "a patch"} {
			failover := (n+k)%2 == 1
			t.Run(fmt.Sprintf("%s, %s is paused, another leader %t", catchup, by, failover), func(t *testing.T) {
				t.Parallel()
				within(t, func(r *rig) {
					r.start()
					pauseAndGoOn(t, r, catchup, by, failover)
				})
			})
		}
	}
}

func pauseAndGoOn(t *testing.T, r *rig, catchup row.Deployment_Catchup, by string, failover bool) {
	d := r.planned(func(c *command.PutDeployment) { withSchedule("120", nil)(c); c.Catchup = catchup })
	turn := func(on bool) {
		switch by {
		case "the deployment":
			r.setActive(d, on)
		case "a patch":
			r.patch(d, func(c *command.PatchDeployment) { c.HasScheduleActive, c.IsScheduleActive = true, on })
		default:
			r.do(&command.Envelope{Command: &command.Envelope_PutSchedule{PutSchedule: &command.PutSchedule{DeploymentId: d[:], ScheduleId: d[:], HasActive: true, Active: on}}})
		}
		synctest.Wait()
	}
	r.pass(5 * time.Minute) // 0:00, 0:02 and 0:04 are due
	r.onePerFire(d, 0, 10*time.Minute, 2*time.Minute)
	turn(false)
	if runs := r.runs(d); len(runs) != 0 {
		t.Fatalf("%d runs are left in the pause", len(runs))
	}
	if failover {
		r.away(30*time.Minute + 10*time.Second)
	} else {
		r.pass(30*time.Minute + 10*time.Second)
	}
	if runs := r.runs(d); len(runs) != 0 {
		t.Fatalf("%d runs were made in the pause", len(runs))
	}
	turn(true) // at 0:35:10; 100 runs, up to 3:54
	if first := r.starts(d)[0]; first != 36*time.Minute {
		t.Errorf("the first run is of %v, want 0:36", first)
	}
	r.onePerFire(d, 36*time.Minute, 234*time.Minute, 2*time.Minute)
	r.away(230 * time.Minute) // an outage after the pause is one again; 4:24 is 70 s ago
	if catchup != row.Deployment_SKIP {
		from := map[row.Deployment_Catchup]time.Duration{row.Deployment_LATEST: 264, row.Deployment_ALL: 236}[catchup] * time.Minute
		r.onePerFire(d, from, 270*time.Minute, 2*time.Minute)
	}
	for _, at := range r.starts(d) {
		if at > 234*time.Minute && (catchup == row.Deployment_SKIP && at < 266*time.Minute || catchup == row.Deployment_LATEST && at < 264*time.Minute) {
			t.Errorf("a run of %v was made up for", at)
		}
	}
}

// More runs than one command decides about come due at once, as after an outage.
func TestManyDueRunsAreDecidedAbout(t *testing.T) {
	t.Parallel()
	const many = 2300
	for name, test := range map[string]struct {
		conflict row.Policy_Conflict
		limit    int32
		left     int
	}{
		"skip, nobody may start":           {row.Policy_SKIP, 0, 0},
		"cancel-running, one may start":    {row.Policy_CANCEL_RUNNING, 1, 1},
		"cancel-running, three may start":  {row.Policy_CANCEL_RUNNING, 3, 3},
		"cancel-running, nobody may start": {row.Policy_CANCEL_RUNNING, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			within(t, func(r *rig) {
				d := r.withPolicy(limited(test.limit, test.conflict))
				for range many {
					r.submit(d, 0)
				}
				r.start()
				r.pass(time.Second)
				waiting := 0
				for i, run := range r.runs(d) {
					if run.State.Type != row.StateType_SCHEDULED {
						continue
					}
					waiting++
					if i < many-test.left {
						t.Errorf("run %d of %d still waits", i, many)
					}
				}
				if waiting != test.left {
					t.Errorf("%d runs wait, want the newest %d", waiting, test.left)
				}
			})
		})
	}
}

// Runs of random priorities come due, are late, are tried again and wait at limits, queues are paused, agents drained and leaders changed:
// what is handed out is always the first of what may start.
func TestTheFirstThatMayStartIsHandedOut(t *testing.T) {
	t.Parallel()
	for range 4 {
		seed := rand.Uint64()
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			within(t, func(r *rig) { randomOrder(t, r, seed) })
		})
	}
}

func randomOrder(t *testing.T, r *rig, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 9))
	r.start()
	q, a := r.queue(nil), r.agent()
	limits := map[api.ID]int{}
	var all []api.ID
	for i := range 4 {
		p := &row.Policy{Run: &row.RunPolicy{Priority: int32(1 + random.IntN(3)), CrashRetries: 1, CrashDelay: 5e6}}
		if i > 1 {
			p = limited(int32(i-1), row.Policy_QUEUE)
		}
		d := r.withPolicy(p)
		if all = append(all, d); i > 1 {
			limits[d] = i - 1
		}
	}
	paused, draining, handedOut := false, false, 0
	for range 300 {
		d := all[random.IntN(len(all))]
		switch random.IntN(9) {
		case 0, 1, 2:
			r.submit(d, time.Duration(random.IntN(10)-3)*time.Second)
		case 3:
			r.patch(d, func(c *command.PatchDeployment) { // of the runs that are made from now on
				c.HasPriority, c.Policy = true, &row.Policy{Run: &row.RunPolicy{Priority: int32(1 + random.IntN(3))}}
			})
		case 4:
			r.beat(a, time.Duration(1+random.IntN(8))*time.Second)
		case 5:
			switch random.IntN(4) {
			case 0:
				paused = !paused
				r.updateQueue(q, func(c *command.UpdateWorkQueue) { c.HasIsPaused, c.IsPaused = true, paused })
			case 1:
				draining = !draining
				r.drain(a, draining)
			case 2:
				r.away(time.Duration(random.IntN(3)) * time.Second)
			case 3:
				a, draining = r.agent(), false // the other one falls silent: its runs crash, some are tried again
				r.pass(20 * time.Second)
			}
		case 6:
			for _, run := range r.underWay(all) {
				if random.IntN(2) == 0 {
					r.report(id16(run.Id), row.StateType_RUNNING)
					r.report(id16(run.Id), row.StateType_COMPLETED)
				}
			}
		default:
			synctest.Wait()
			n := 1 + random.IntN(4)
			want := r.firstOf(all, limits, n)
			if paused || draining {
				want = nil
			}
			c := r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Limit: n})
			if draining {
				c.isToldToDrain(t)
				continue
			}
			got, _ := c.granted(t)
			c.cancel()
			synctest.Wait()
			if !slices.Equal(got, want) {
				t.Fatalf("handed out were %v, the first of %d that may start are %v", r.describe(got), n, r.describe(want))
			}
			handedOut += len(got)
		}
	}
	t.Logf("%d runs were handed out", handedOut)
	if handedOut == 0 {
		t.Error("that shows nothing")
	}
}

// underWay are the runs of deployments that agents hold.
func (r *rig) underWay(deployments []api.ID) (all []*row.FlowRun) {
	for _, d := range deployments {
		for _, run := range r.runs(d) {
			if run.Lease != nil {
				all = append(all, run)
			}
		}
	}
	return all
}

// firstOf says which runs may start now, the first n of them in order.
func (r *rig) firstOf(deployments []api.ID, limits map[api.ID]int, n int) (ids []api.ID) {
	room, now := map[api.ID]int{}, time.Now().UnixMicro()
	var due []*row.FlowRun
	for _, d := range deployments {
		room[d] = 1 << 30
		if limit, limited := limits[d]; limited {
			room[d] = limit
		}
		for _, run := range r.runs(d) {
			switch run.State.Type {
			case row.StateType_SCHEDULED:
				if run.NextScheduledStartTime <= now {
					due = append(due, run)
				}
			case row.StateType_PENDING, row.StateType_RUNNING:
				room[d]--
			}
		}
	}
	slices.SortFunc(due, func(x, y *row.FlowRun) int {
		return cmp.Or(cmp.Compare(orchestration.PriorityOf(x), orchestration.PriorityOf(y)), cmp.Compare(x.ExpectedStartTime, y.ExpectedStartTime), bytes.Compare(x.Id, y.Id))
	})
	for _, run := range due {
		if d := id16(run.DeploymentId); len(ids) < n && room[d] > 0 {
			room[d]--
			ids = append(ids, id16(run.Id))
		}
	}
	return ids
}

func (r *rig) describe(ids []api.ID) (all []string) {
	for _, id := range ids {
		run := r.flowRun(id)
		all = append(all, fmt.Sprintf("%s %s priority %d due %d", id, run.State.Name, orchestration.PriorityOf(run), run.ExpectedStartTime))
	}
	return all
}
