package scheduler

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
)

// skewed is a clock that a test sets; the monotonic clock of the bubble stays.
type skewed struct{ by atomic.Int64 }

func (c *skewed) Now() time.Time { return time.Now().Add(time.Duration(c.by.Load())) }

func (c *skewed) set(by time.Duration) { c.by.Store(int64(by)) }

func TestAProcessThatStoodStillExpiresNothing(t *testing.T) {
	t.Parallel()
	within(t, func(r *rig) {
		clock := &skewed{}
		began := time.Now()
		r.clock, r.elapsed = clock, func() time.Duration { return clock.Now().Sub(began) }
		r.start()
		run, a, _ := r.granted()
		r.report(run, row.StateType_RUNNING)
		r.pass(5 * time.Second)
		clock.set(time.Minute) // to the services: a minute without running
		r.pass(10 * time.Second)
		if s := r.flowRun(run).State; s.Type != row.StateType_RUNNING {
			r.t.Fatalf("the agent had no chance to renew: %v", s)
		}
		r.renew(a, r.held(run))
		r.pass(14 * time.Second)
		if s := r.flowRun(run).State; s.Type != row.StateType_FAILED {
			r.t.Errorf("%v", s)
		}
		if len(r.observed.jumps) != 0 {
			r.t.Errorf("jumps of the clock observed: %v", r.observed.jumps)
		}
	})
}

func TestTheWallClockJumps(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(*testing.T, *rig, *skewed){
		"forward, and neither leases expire nor runs are late for a grace period": func(t *testing.T, r *rig, clock *skewed) {
			run, a, _ := r.granted()
			r.report(run, row.StateType_RUNNING)
			waits := r.submit(r.deployment(nil), 30*time.Minute)
			r.pass(2 * time.Second)
			clock.set(time.Hour)
			r.pass(15 * time.Second)
			if s := r.flowRun(run).State; s.Type != row.StateType_RUNNING {
				t.Errorf("15 s after the jump: %v", s)
			}
			if s := r.flowRun(waits).State; s.Name != "Scheduled" {
				t.Errorf("15 s after the jump, the run of half an hour later: %v", s)
			}
			if len(r.observed.jumps) != 1 || r.observed.jumps[0].Round(time.Second) != time.Hour {
				t.Errorf("jumps observed: %v", r.observed.jumps)
			}
			r.renew(a, r.held(run))
			r.pass(2 * time.Second)
			if s := r.flowRun(waits).State; s.Name != "Late" {
				t.Errorf("17 s after the jump, the run of half an hour later: %v", s)
			}
			r.pass(12 * time.Second)
			if s := r.flowRun(run).State; s.Name != "Crashed" {
				t.Errorf("its agent is silent, but: %v", s)
			}
		},
		"forward and back within the grace period, and no run was called late": func(t *testing.T, r *rig, clock *skewed) {
			waits := r.submit(r.deployment(nil), 30*time.Minute)
			r.pass(2 * time.Second)
			clock.set(time.Hour)
			r.pass(5 * time.Second)
			clock.set(0)
			r.pass(5 * time.Second)
			if s := r.flowRun(waits).State; s.Name != "Scheduled" {
				t.Errorf("%v", s)
			}
			if len(r.observed.jumps) != 2 || r.observed.jumps[1].Round(time.Second) != -time.Hour {
				t.Errorf("jumps observed: %v", r.observed.jumps)
			}
		},
		"back, and time stands still until the clock is there again": func(t *testing.T, r *rig, clock *skewed) {
			next := r.submit(r.deployment(nil), 10*time.Second)
			r.pass(2 * time.Second)
			clock.set(-time.Minute)
			r.pass(50 * time.Second)
			if s := r.flowRun(next).State; s.Name != "Scheduled" {
				t.Errorf("in frozen time: %v", s)
			}
			r.pass(26 * time.Second) // 78 s real, 18 s by the clock
			if s := r.flowRun(next).State; s.Name != "Late" {
				t.Errorf("after it: %v", s)
			}
		},
		"a little, and nothing is made of it but that timers are set anew": func(t *testing.T, r *rig, clock *skewed) {
			next := r.submit(r.deployment(nil), 10*time.Second)
			r.pass(2 * time.Second)
			clock.set(20 * time.Second)
			r.pass(2 * time.Second)
			if s := r.flowRun(next).State; s.Name != "Late" || len(r.observed.jumps) != 0 {
				t.Errorf("%v, jumps %v", s, r.observed.jumps)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			within(t, func(r *rig) {
				clock := &skewed{}
				r.clock = clock
				r.start()
				test(r.t, r, clock)
			})
		})
	}
}

// stampedAhead moves the state's time forward, as a former leader's clock did.
func (r *rig) stampedAhead(by time.Duration) {
	r.ahead = by
	r.apply(&command.Envelope{Command: &command.Envelope_LeaderEpoch{LeaderEpoch: &command.LeaderEpoch{Term: r.term, NodeId: "n1", ClusterId: "c"}}})
	r.ahead = 0
}

func TestALeaderWhoseClockIsBehind(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(*testing.T, *rig){
		"a little goes on from the state's time": func(t *testing.T, r *rig) {
			run := r.submit(r.deployment(nil), 2*time.Minute)
			r.stampedAhead(3 * time.Minute)
			r.start()
			r.claim(Demand{AgentID: r.agent(), Queues: []api.ID{r.queue(nil)}, Wait: time.Second}).want(t, run)
		},
		"by more than five minutes refuses to lead": func(t *testing.T, r *rig) {
			r.stampedAhead(6 * time.Minute)
			if err := r.lead(); !errors.Is(err, ErrClockBehind) {
				t.Fatalf("got %v", err)
			}
			// Nobody did better: a leader whose time stands still is better than none.
			r.pass(20 * time.Second)
			if err := r.lead(); err != nil {
				t.Errorf("the second time: %v", err)
			}
		},
		"refuses again when others have led for a while": func(t *testing.T, r *rig) {
			r.stampedAhead(time.Hour)
			for range 2 {
				if err := r.lead(); !errors.Is(err, ErrClockBehind) {
					t.Fatalf("got %v", err)
				}
				r.pass(2 * time.Minute)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			within(t, func(r *rig) {
				r.start()
				r.services.Stop()
				test(r.t, r)
			})
		})
	}
}
