package scheduler

import (
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
)

// held returns the lease of a run as its owner knows it.
func (r *rig) held(run api.ID) HeldLease {
	r.t.Helper()
	stored := r.flowRun(run)
	if stored.Lease == nil {
		r.t.Fatalf("nobody holds run %s: %v", run, stored.State)
	}
	return HeldLease{FlowRunID: run, Token: Token{stored.Lease.TokenIndex, stored.Lease.TokenOrdinal}}
}

// granted makes a run that an agent holds, Pending.
func (r *rig) granted() (run, agent, queue api.ID) {
	r.t.Helper()
	d, q, a := r.deployment(nil), r.queue(nil), r.agent()
	run = r.submit(d, 0)
	r.claim(Demand{AgentID: a, Queues: []api.ID{q}, Wait: time.Second}).want(r.t, run)
	return run, a, q
}

func (r *rig) renew(agent api.ID, held ...HeldLease) Renewed {
	r.t.Helper()
	answer, err := r.services.Renew(r.t.Context(), agent, held)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer
}

func TestLeases(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(*testing.T, *rig){
		"a run whose agent fell silent before it began waits again": func(t *testing.T, r *rig) {
			run, _, q := r.granted()
			r.pass(11 * time.Second)
			if s := r.flowRun(run).State; s.Type != row.StateType_PENDING {
				t.Fatalf("after 11 s: %v", s)
			}
			r.pass(2 * time.Second)
			if s := r.flowRun(run).State; s.Type != row.StateType_SCHEDULED {
				t.Fatalf("after 13 s: %v", s)
			}
			r.claim(Demand{AgentID: r.agent(), Queues: []api.ID{q}, Wait: time.Second}).want(t, run)
		},
		"a run whose agent fell silent under way has crashed, naming it": func(t *testing.T, r *rig) {
			run, _, _ := r.granted()
			r.report(run, row.StateType_RUNNING)
			r.pass(14 * time.Second)
			s := r.flowRun(run).State
			if s.Type != row.StateType_FAILED || s.Name != "Crashed" || !strings.Contains(s.GetMessage(), "agent 'a' on h was last heard from") {
				t.Errorf("%v", s)
			}
			if r.observed.expired != 1 {
				t.Errorf("%d expiries observed", r.observed.expired)
			}
		},
		"renewing keeps a lease": func(t *testing.T, r *rig) {
			run, a, _ := r.granted()
			held := r.held(run)
			for range 20 {
				r.pass(4 * time.Second)
				if answer := r.renew(a, held); len(answer.Lost)+len(answer.Cancelling) != 0 {
					t.Fatalf("%+v", answer)
				}
			}
			p, err := r.services.Presence(t.Context(), run)
			if err != nil || !p.Agents[a].Live || !p.Renewed[run].Equal(time.Now()) {
				t.Errorf("%+v %v", p, err)
			}
			r.pass(13 * time.Second)
			if p, _ = r.services.Presence(t.Context()); p.Agents[a].Live {
				t.Error("an agent silent for 13 s counts as live")
			}
		},
		"who lost a lease is told why": func(t *testing.T, r *rig) {
			run, a, q := r.granted()
			old := r.held(run)
			r.pass(14 * time.Second)
			if lost := r.renew(a, old).Lost; len(lost) != 1 || !strings.Contains(lost[0].Reason, "Scheduled") && !strings.Contains(lost[0].Reason, "Late") {
				t.Errorf("%+v", lost)
			}
			r.claim(Demand{AgentID: r.agent(), Queues: []api.ID{q}, Wait: time.Second}).want(t, run)
			if lost := r.renew(a, old).Lost; len(lost) != 1 || !strings.Contains(lost[0].Reason, "executed by") {
				t.Errorf("%+v", lost)
			}
			if lost := r.renew(a, HeldLease{FlowRunID: api.NewID()}).Lost; len(lost) != 1 || !strings.Contains(lost[0].Reason, "deleted") {
				t.Errorf("%+v", lost)
			}
		},
		"who is to cancel is told": func(t *testing.T, r *rig) {
			run, a, _ := r.granted()
			r.report(run, row.StateType_RUNNING)
			r.do(&command.Envelope{Command: &command.Envelope_CancelFlowRun{CancelFlowRun: &command.CancelFlowRun{Id: run[:]}}})
			r.pass(0)
			if answer := r.renew(a, r.held(run)); len(answer.Cancelling) != 1 || answer.Cancelling[0] != run {
				t.Errorf("%+v", answer)
			}
			r.pass(14 * time.Second)
			if s := r.flowRun(run).State; s.Type != row.StateType_CANCELLED {
				t.Errorf("the owner fell silent while cancelling: %v", s)
			}
		},
		"a new leader gives every owner time to find it": func(t *testing.T, r *rig) {
			run, a, _ := r.granted()
			r.report(run, row.StateType_RUNNING)
			r.pass(11 * time.Second)
			r.stop()
			r.start()
			r.pass(15 * time.Second)
			if s := r.flowRun(run).State; s.Type != row.StateType_RUNNING {
				t.Fatalf("crashed before TTL and beat: %v", s)
			}
			r.renew(a, r.held(run))
			r.pass(11 * time.Second)
			if s := r.flowRun(run).State; s.Type != row.StateType_RUNNING {
				t.Fatalf("crashed in spite of its renewal: %v", s)
			}
			r.pass(2 * time.Second)
			if s := r.flowRun(run).State; s.Type != row.StateType_FAILED {
				t.Errorf("not crashed: %v", s)
			}
		},
		"the lease of a process that no agent started expires too": func(t *testing.T, r *rig) {
			run := r.submit(api.ID{}, 0)
			r.report(run, row.StateType_RUNNING)
			r.do(&command.Envelope{Command: &command.Envelope_StartLease{StartLease: &command.StartLease{FlowRunId: run[:], Owner: "python leo_flow.py", Ttl: (12 * time.Second).Microseconds()}}})
			held := r.held(run)
			r.pass(10 * time.Second)
			r.renew(api.ID{}, held)
			r.pass(10 * time.Second)
			if s := r.flowRun(run).State; s.Type != row.StateType_RUNNING {
				t.Fatalf("%v", s)
			}
			r.pass(4 * time.Second)
			if s := r.flowRun(run).State; s.Name != "Crashed" || !strings.Contains(s.GetMessage(), "python leo_flow.py") {
				t.Errorf("%v", s)
			}
		},
		"the size of an owner's name stops no expiry": func(t *testing.T, r *rig) {
			var runs []api.ID
			for i := range 300 { // together more than a command may hold
				run := r.submit(api.ID{}, 0)
				r.report(run, row.StateType_RUNNING)
				owner := strings.Repeat("x", i%2) + strings.Repeat("é", 2500)
				r.do(&command.Envelope{Command: &command.Envelope_StartLease{StartLease: &command.StartLease{FlowRunId: run[:], Owner: owner, Ttl: (12 * time.Second).Microseconds()}}})
				runs = append(runs, run)
			}
			r.pass(14 * time.Second)
			for _, run := range runs {
				if s := r.flowRun(run).State; s.Name != "Crashed" || !strings.Contains(s.GetMessage(), "éé… was last heard from") || len(s.GetMessage()) > 300 {
					t.Fatalf("%v", s)
				}
			}
		},
		"more than one command of expiries": func(t *testing.T, r *rig) {
			var runs []api.ID
			for range expireBatch { // few enough by number, too many by size
				run := r.submit(api.ID{}, 0)
				r.report(run, row.StateType_RUNNING)
				r.do(&command.Envelope{Command: &command.Envelope_StartLease{StartLease: &command.StartLease{FlowRunId: run[:], Owner: strings.Repeat("x", ownerInReason), Ttl: (12 * time.Second).Microseconds()}}})
				runs = append(runs, run)
			}
			commands := 0
			r.interpose(func(e *command.Envelope, apply func()) {
				if c := e.GetExpireLeases(); c != nil {
					commands++
					if size := proto.Size(c); size > 2*expireBytes {
						t.Errorf("a command of %d bytes", size)
					}
				}
				apply()
			})
			r.pass(14 * time.Second)
			for _, run := range runs {
				if s := r.flowRun(run).State; s.Name != "Crashed" {
					t.Fatalf("%v", s)
				}
			}
			if commands < 2 || r.observed.expired != len(runs) {
				t.Errorf("%d commands, %d expiries observed", commands, r.observed.expired)
			}
		},
		"an agent that is not registered is refused and not remembered": func(t *testing.T, r *rig) {
			_, a, _ := r.granted()
			stranger := api.NewID()
			beat := func(id api.ID) error {
				_, err := r.services.Renew(t.Context(), id, nil)
				return err
			}
			if err := beat(stranger); !errors.Is(err, ErrUnknownAgent) {
				t.Errorf("a stranger's heartbeat: %v", err)
			}
			if err := beat(a); err != nil {
				t.Errorf("a heartbeat: %v", err)
			}
			p, err := r.services.Presence(t.Context())
			if err != nil || len(p.Agents) != 1 || !p.Agents[a].Live {
				t.Errorf("%+v %v", p, err)
			}
			r.stop()
			r.start()
			if p, err = r.services.Presence(t.Context()); err != nil || len(p.Agents) != 0 {
				t.Errorf("a new leader has heard from %+v %v", p, err)
			}
			if err := beat(a); err != nil {
				t.Errorf("a heartbeat to a new leader: %v", err)
			}
			r.deleteAgent(a)
			r.pass(0)
			if err := beat(a); !errors.Is(err, ErrUnknownAgent) {
				t.Errorf("a deleted agent's heartbeat: %v", err)
			}
		},
		"a run nobody holds is never expired": func(t *testing.T, r *rig) {
			run := r.submit(r.deployment(nil), 0)
			r.report(run, row.StateType_PENDING)
			r.report(run, row.StateType_RUNNING)
			r.pass(time.Hour)
			if s := r.flowRun(run).State; s.Type != row.StateType_RUNNING {
				t.Errorf("%v", s)
			}
		},
		"an expiry that failed is tried again": func(t *testing.T, r *rig) {
			run, _, _ := r.granted()
			fail := 3
			r.inject(func(e *command.Envelope) fault {
				if e.GetExpireLeases() == nil || fail == 0 {
					return none
				}
				fail--
				return refused
			})
			r.pass(20 * time.Second)
			if s := r.flowRun(run).State; s.Type != row.StateType_SCHEDULED || fail != 0 {
				t.Errorf("%v, %d faults left", s, fail)
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

func TestTheConfiguredTTLCountsEverywhere(t *testing.T) {
	t.Parallel()
	within(t, func(r *rig) {
		r.leaseTTL = 3 * time.Second
		r.start()
		run, a, _ := r.granted()
		r.report(run, row.StateType_RUNNING)
		r.pass(2500 * time.Millisecond)
		if p, err := r.services.Presence(r.t.Context()); err != nil || !p.Agents[a].Live {
			r.t.Errorf("after 2.5 s: %+v %v", p, err)
		}
		r.pass(time.Second)
		if p, err := r.services.Presence(r.t.Context()); err != nil || p.Agents[a].Live {
			r.t.Errorf("after 3.5 s: %+v %v", p, err)
		}
		r.pass(time.Second)
		if s := r.flowRun(run).State; s.Name != "Crashed" {
			r.t.Errorf("after 4.5 s: %v", s)
		}
		run, _, _ = r.granted()
		r.stop()
		r.start()
		r.pass(3500 * time.Millisecond) // a TTL and a beat are four seconds
		if s := r.flowRun(run).State; s.Type != row.StateType_PENDING {
			r.t.Errorf("3.5 s into the epoch: %v", s)
		}
		r.pass(2 * time.Second)
		if s := r.flowRun(run).State; s.Type != row.StateType_SCHEDULED {
			r.t.Errorf("5.5 s into the epoch: %v", s)
		}
	})
}

func TestLateRuns(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(*testing.T, *rig){
		"a run that nobody took for five seconds is late, not before": func(t *testing.T, r *rig) {
			run, bare := r.submit(r.deployment(nil), 10*time.Second), r.submit(api.ID{}, 10*time.Second)
			expected := r.flowRun(run).NextScheduledStartTime
			r.pass(14900 * time.Millisecond)
			if got := r.flowRun(run).State.Name; got != "Scheduled" {
				t.Errorf("after 4.9 s it is %s", got)
			}
			r.pass(200 * time.Millisecond)
			for _, id := range []api.ID{run, bare} {
				if s := r.flowRun(id); s.State.Name != "Late" || s.State.Type != row.StateType_SCHEDULED || s.State.Message != nil {
					t.Errorf("after 5.1 s it is %v", s.State)
				}
			}
			if got := r.flowRun(run).NextScheduledStartTime; got != expected {
				t.Errorf("its time moved from %d to %d", expected, got)
			}
		},
		"a late run is still handed out": func(t *testing.T, r *rig) {
			run := r.submit(r.deployment(nil), 0)
			r.pass(6 * time.Second)
			r.claim(Demand{AgentID: r.agent(), Queues: []api.ID{r.queue(nil)}, Wait: time.Second}).want(t, run)
		},
		"a run made for the past is late at once": func(t *testing.T, r *rig) {
			run := r.submit(r.deployment(nil), -time.Hour)
			r.pass(time.Millisecond)
			if got := r.flowRun(run).State.Name; got != "Late" {
				t.Errorf("it is %s", got)
			}
		},
		"a run that was late while nobody led is found": func(t *testing.T, r *rig) {
			run := r.submit(r.deployment(nil), time.Second)
			r.stop()
			r.pass(time.Minute)
			r.start()
			if got := r.flowRun(run).State.Name; got != "Late" {
				t.Errorf("it is %s", got)
			}
		},
		"a failed marking is repeated": func(t *testing.T, r *rig) {
			fail := 2
			r.inject(func(e *command.Envelope) fault {
				if e.GetMarkLate() == nil || fail == 0 {
					return none
				}
				fail--
				return refused
			})
			run := r.submit(r.deployment(nil), 0)
			r.pass(8 * time.Second)
			if got := r.flowRun(run).State.Name; got != "Late" {
				t.Errorf("it is %s", got)
			}
		},
		"more runs than one command holds": func(t *testing.T, r *rig) {
			d := r.deployment(nil)
			var all []api.ID
			for range lateBatch + 20 {
				all = append(all, r.submit(d, 0))
			}
			r.pass(6 * time.Second)
			for _, id := range all {
				if got := r.flowRun(id).State.Name; got != "Late" {
					t.Fatalf("one is %s", got)
				}
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
