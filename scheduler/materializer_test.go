package scheduler

import (
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
)

// every is a deployment's schedule of one run per so many seconds.
func every(seconds string) func(*command.PutDeployment) {
	return func(c *command.PutDeployment) { c.ScheduleJson = []byte(`{"interval":` + seconds + `}`) }
}

// starts are the expected start times of a deployment's runs, relative to the beginning of the bubble's time.
func (r *rig) starts(deployment api.ID) (all []time.Duration) {
	r.t.Helper()
	for _, run := range r.runs(deployment) {
		all = append(all, time.UnixMicro(run.ExpectedStartTime).Sub(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)))
	}
	return all
}

func (r *rig) setActive(deployment api.ID, active bool) {
	r.t.Helper()
	r.do(&command.Envelope{Command: &command.Envelope_SetScheduleActive{SetScheduleActive: &command.SetScheduleActive{Id: deployment[:], Active: active}}})
	synctest.Wait()
}

// wantEvery checks that runs start at each step from first to last and, beyond it, only in the same rhythm.
func wantEvery(t *testing.T, starts []time.Duration, first, last, step time.Duration) {
	t.Helper()
	want := first
	for _, at := range starts {
		if at != want {
			t.Fatalf("a run starts at %v, want %v; all: %v", at, want, starts)
		}
		want += step
	}
	if want <= last {
		t.Fatalf("runs end before %v, want them until %v", want, last)
	}
}

func TestMaterializedRuns(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(*testing.T, *rig){
		"a new deployment gets its next hundred runs at once": func(t *testing.T, r *rig) {
			d := r.deployment(every("60"))
			synctest.Wait()
			runs := r.runs(d)
			if len(runs) != 100 {
				t.Fatalf("%d runs", len(runs))
			}
			wantEvery(t, r.starts(d), 0, 99*time.Minute, time.Minute)
			run := runs[1]
			if want := "scheduled " + d.String() + " 2000-01-01T00:01:00+00:00"; run.GetIdempotencyKey() != want {
				t.Errorf("key %q, want %q", run.GetIdempotencyKey(), want)
			}
			if !run.AutoScheduled || run.Tags[0] != "auto-scheduled" || run.State.GetMessage() != "Flow run scheduled" || run.Name == "" {
				t.Errorf("%v", run)
			}
		},
		"runs are topped up as time goes on, each fire time once": func(t *testing.T, r *rig) {
			d := r.deployment(every("20"))
			r.pass(3 * time.Hour)
			wantEvery(t, r.starts(d), 0, 3*time.Hour+16*time.Minute, 20*time.Second)
		},
		"a rare schedule is made a hundred days ahead": func(t *testing.T, r *rig) {
			d := r.deployment(func(c *command.PutDeployment) { c.ScheduleJson = []byte(`{"cron":"0 0 1 * *"}`) })
			synctest.Wait()
			if got := len(r.runs(d)); got != 4 { // January to April
				t.Errorf("%d runs", got)
			}
		},
		"a schedule rarer than that has its next run made": func(t *testing.T, r *rig) {
			d := r.deployment(func(c *command.PutDeployment) { c.ScheduleJson = []byte(`{"cron":"0 12 29 2 *"}`) })
			yearly := r.deployment(func(c *command.PutDeployment) { c.ScheduleJson = []byte(`{"cron":"0 0 1 12 *"}`) })
			synctest.Wait()
			if a, b := len(r.runs(d)), len(r.runs(yearly)); a != 1 || b != 1 {
				t.Errorf("%d and %d runs, want 1 and 1", a, b)
			}
		},
		"a schedule that never fires makes nothing": func(t *testing.T, r *rig) {
			d := r.deployment(func(c *command.PutDeployment) { c.ScheduleJson = []byte(`{"cron":"0 0 31 2 *"}`) })
			r.pass(time.Hour)
			if got := len(r.runs(d)); got != 0 {
				t.Errorf("%d runs", got)
			}
		},
		"a schedule that ends makes its last run and no more": func(t *testing.T, r *rig) {
			d := r.deployment(func(c *command.PutDeployment) { c.ScheduleJson = []byte(`{"rrule":"FREQ=MINUTELY;COUNT=250"}`) })
			r.pass(6 * time.Hour)
			if got := r.starts(d); len(got) != 250 || got[249] != 249*time.Minute {
				t.Errorf("%d runs, the last at %v", len(got), got[len(got)-1])
			}
		},
		"an inactive schedule makes nothing until it is switched on": func(t *testing.T, r *rig) {
			d := r.deployment(func(c *command.PutDeployment) { every("60")(c); c.IsScheduleActive = false })
			r.pass(90 * time.Second)
			if got := len(r.runs(d)); got != 0 {
				t.Fatalf("%d runs while inactive", got)
			}
			r.setActive(d, true)
			wantEvery(t, r.starts(d), 2*time.Minute, 90*time.Minute, time.Minute)
			r.setActive(d, false)
			if got := len(r.runs(d)); got != 0 {
				t.Errorf("%d runs are left after switching off", got)
			}
		},
		"a change replaces the waiting runs at once": func(t *testing.T, r *rig) {
			var put *command.PutDeployment
			d := r.deployment(func(c *command.PutDeployment) { every("60")(c); put = c })
			r.pass(30 * time.Second)
			put.ParametersJson = []byte(`{"name":"Marvin"}`)
			r.do(&command.Envelope{Command: &command.Envelope_PutDeployment{PutDeployment: put}})
			synctest.Wait()
			runs := r.runs(d)
			if len(runs) != 100 || string(runs[0].ParametersJson) != `{"name":"Marvin"}` {
				t.Fatalf("%d runs, the first with %s", len(runs), runs[0].ParametersJson)
			}
			wantEvery(t, r.starts(d), time.Minute, 99*time.Minute, time.Minute)
		},
		"a broken schedule does not stop the others": func(t *testing.T, r *rig) {
			broken := r.deployment(func(c *command.PutDeployment) { c.ScheduleJson = []byte(`{"rrule":"garbage"}`) })
			d := r.deployment(every("3600"))
			synctest.Wait()
			if a, b := len(r.runs(broken)), len(r.runs(d)); a != 0 || b != 100 {
				t.Errorf("%d and %d runs, want 0 and 100", a, b)
			}
		},
		"a deleted deployment is forgotten": func(t *testing.T, r *rig) {
			d := r.deployment(every("60"))
			synctest.Wait()
			r.do(&command.Envelope{Command: &command.Envelope_DeleteDeployment{DeleteDeployment: &command.Delete{Id: d[:]}}})
			r.pass(3 * time.Hour)
			if got := len(r.runs(d)); got != 0 {
				t.Errorf("%d runs", got)
			}
		},
		"the offset of the zone is in the key": func(t *testing.T, r *rig) {
			d := r.deployment(func(c *command.PutDeployment) {
				c.ScheduleJson = []byte(`{"cron":"0 9 * * *","timezone":"America/New_York"}`)
			})
			synctest.Wait()
			if key := r.runs(d)[0].GetIdempotencyKey(); !strings.HasSuffix(key, " 2000-01-01T09:00:00-05:00") {
				t.Errorf("key %q", key)
			}
		},
		"a failed proposal is repeated": func(t *testing.T, r *rig) {
			fail := 2
			r.inject(func(e *command.Envelope) fault {
				if e.GetScheduleRuns() == nil || fail == 0 {
					return none
				}
				fail--
				return []fault{unknown, refused}[fail]
			})
			d := r.deployment(every("60"))
			r.pass(5 * time.Second)
			wantEvery(t, r.starts(d), 0, 99*time.Minute, time.Minute)
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

// Otherwise the first runs of the last ones would be made late.
func TestManyNewSchedulesAllGetTheirNextRunsFirst(t *testing.T) {
	t.Parallel()
	within(t, func(r *rig) {
		var made []api.ID
		for range 50 {
			made = append(made, r.deployment(every("60")))
		}
		proposals := 0
		r.inject(func(e *command.Envelope) fault {
			if e.GetScheduleRuns() == nil {
				return none
			}
			if proposals++; proposals > 1 {
				return refused
			}
			return none
		})
		r.start()
		synctest.Wait()
		for i, d := range made {
			if n := len(r.runs(d)); n < 2 {
				t.Fatalf("deployment %d has %d runs after the first proposal, want 2 or more", i, n)
			}
		}
		r.inject(nil)
		r.pass(time.Hour)
		for _, d := range made {
			wantEvery(t, r.starts(d), 0, 2*time.Hour, time.Minute)
		}
	})
}

func TestFireTimesMissedWithoutALeader(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		catchup row.Deployment_Catchup
		limit   int32
		want    []time.Duration // of what follows the 100 runs made before, until the leader returned
	}{
		// The last run made before ends at 1h39m; the leader is away from 0h00 to 5h00m30s.
		"skip makes none that is older than a change of leaders takes": {catchup: row.Deployment_SKIP, want: []time.Duration{300 * time.Minute}},
		"latest makes the newest":                                      {catchup: row.Deployment_LATEST, want: []time.Duration{300 * time.Minute}},
		"all makes the newest up to its limit":                         {catchup: row.Deployment_ALL, limit: 3, want: []time.Duration{298 * time.Minute, 299 * time.Minute, 300 * time.Minute}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			within(t, func(r *rig) {
				r.start()
				d := r.deployment(func(c *command.PutDeployment) {
					every("60")(c)
					c.Catchup, c.CatchupLimit = test.catchup, test.limit
				})
				synctest.Wait()
				r.stop()
				r.pass(300*time.Minute + 30*time.Second)
				r.start()
				starts := r.starts(d)
				wantEvery(r.t, starts[:100], 0, 99*time.Minute, time.Minute)
				wantEvery(r.t, starts[100:], test.want[0], 301*time.Minute, time.Minute)
				if n := len(starts) - 100 - len(test.want); n != 100 {
					r.t.Errorf("%d future runs, want 100", n)
				}
			})
		})
	}
}

// Leaders come and go at any moment, proposals fail or end in doubt; every fire time gets exactly one run.
func TestNoFireTimeIsMissedOrDoubledByChangesOfLeaders(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for n := range uint64(4) {
		within(t, func(r *rig) {
			random := rand.New(rand.NewPCG(seed, n))
			r.inject(randomly(seed, n))
			var all []api.ID
			for range 3 {
				all = append(all, r.deployment(every("0.5"))) // 100 runs cover 50 s
			}
			for range 12 {
				r.start()
				r.pass(time.Duration(random.IntN(60_000)) * time.Millisecond)
				if random.IntN(2) == 0 { // deposed before it notices
					r.mu.Lock()
					r.term++
					r.mu.Unlock()
					r.pass(time.Duration(random.IntN(3000)) * time.Millisecond)
				}
				r.stop()
				r.pass(time.Duration(random.IntN(2000)) * time.Millisecond)
			}
			r.inject(nil)
			r.start()
			elapsed := time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC))
			for _, d := range all {
				wantEvery(r.t, r.starts(d), 0, elapsed, time.Second/2)
			}
		})
	}
}

// Agents claim, run and die while leaders come and go: no run has two owners at a time, and each is finished in the end.
func TestEveryRunIsExecutedThroughChangesOfLeaders(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for n := range uint64(8) {
		within(t, func(r *rig) {
			random := rand.New(rand.NewPCG(seed, n))
			r.start()
			d, q, a := r.deployment(nil), r.queue(nil), r.agent()
			var runs []api.ID
			for range 40 {
				runs = append(runs, r.submit(d, time.Duration(random.IntN(60))*time.Second))
			}
			r.inject(randomly(seed, n))
			demand := Demand{AgentID: a, ClaimID: api.NewID(), Queues: []api.ID{q}, Limit: 5, Wait: 3 * time.Second}
			done := map[api.ID]bool{}
			for round := 0; len(done) < len(runs); round++ {
				if round == 1000 {
					r.t.Fatalf("%d of %d runs were executed", len(done), len(runs))
				}
				granted, err := r.services.Claim(r.t.Context(), demand)
				if err == nil {
					for _, g := range granted.Grants {
						run := id16(g.FlowRunId)
						if stored := r.flowRun(run); stored.Lease == nil || stored.Lease.TokenIndex != g.TokenIndex || stored.Lease.TokenOrdinal != g.TokenOrdinal || random.IntN(4) == 0 {
							continue // lost meanwhile, or the agent drops it: it comes again when its lease expires
						}
						if done[run] {
							r.t.Fatalf("%s is executed again", run)
						}
						r.report(run, row.StateType_RUNNING)
						r.report(run, row.StateType_COMPLETED)
						done[run] = true
					}
					demand.ClaimID = api.NewID()
				}
				if random.IntN(5) == 0 {
					r.stop()
					r.pass(time.Duration(random.IntN(2000)) * time.Millisecond)
					r.start()
				}
				r.pass(time.Duration(random.IntN(500)) * time.Millisecond)
			}
		})
	}
}
