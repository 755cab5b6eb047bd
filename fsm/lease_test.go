package fsm

import (
	"strings"
	"testing"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
)

func (m *machine) expire(run []byte, token *row.Grant) int32 {
	return m.one(&command.Envelope{Command: &command.Envelope_ExpireLeases{ExpireLeases: &command.ExpireLeases{Expired: []*command.ExpireLeases_Expired{
		{FlowRunId: run, TokenIndex: token.TokenIndex, TokenOrdinal: token.TokenOrdinal, Reason: "agent 'a' on host fell silent"}}}}}).Count
}

func TestARunIsGrantedOnce(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	d := m.deployment(m.flow("f"), "d", "tutorial")
	q, run := m.queue("q", nil, "tutorial"), m.run(d, scheduledNow)
	a, b := m.agent("a"), m.agent("b")
	claimA := m.id()
	first := m.claim(claimA, a, q, run)
	if len(first) != 1 {
		t.Fatalf("granted %v", first)
	}
	if again := m.claim(m.id(), b, q, run); len(again) != 0 {
		t.Fatalf("a second agent was granted %v", again)
	}
	if repeated := m.claim(claimA, a, q, run); len(repeated) != 0 {
		t.Fatalf("a repeated claim was granted anew: %v", repeated)
	}
	kept, err := m.view().Claim(api.ID(claimA))
	if err != nil || len(kept.GetGrants()) != 1 {
		t.Fatalf("the claim remembers %v, %v", kept, err)
	}
	r := m.flowRun(run)
	if r.State.Type != row.StateType_PENDING || r.AgentName != "a" || string(r.WorkQueueId) != string(q) {
		t.Fatalf("the run is %v", r)
	}
}

func TestAClaimTakesOnlyWhatIsDueMatchesAndHasRoom(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	d := m.deployment(m.flow("f"), "d", "tutorial")
	one := int32(1)
	q, other := m.queue("q", &one, "tutorial"), m.queue("other", nil, "dev")
	a := m.agent("a")
	later := m.run(d, &command.ProposedState{Type: row.StateType_SCHEDULED, Details: &row.StateDetails{ScheduledTime: m.stamp + 3_600_000_000}})
	if g := m.claim(m.id(), a, q, later); len(g) != 0 {
		t.Fatalf("a run that is not due was granted: %v", g)
	}
	x, y := m.run(d, scheduledNow), m.run(d, scheduledNow)
	if g := m.claim(m.id(), a, other, x); len(g) != 0 {
		t.Fatalf("a queue that does not match granted %v", g)
	}
	granted := m.claim(m.id(), a, q, x, y)
	if len(granted) != 1 {
		t.Fatalf("a limit of one granted %v", granted)
	}
	m.report(x, row.StateType_RUNNING, granted[0])
	if g := m.claim(m.id(), a, q, y); len(g) != 0 {
		t.Fatalf("a full queue granted %v", g)
	}
	m.report(x, row.StateType_COMPLETED, granted[0])
	if g := m.claim(m.id(), a, q, y); len(g) != 1 {
		t.Fatal("the freed slot was not granted")
	}
	m.one(&command.Envelope{Command: &command.Envelope_UpdateWorkQueue{UpdateWorkQueue: &command.UpdateWorkQueue{Id: q, HasIsPaused: true, IsPaused: true, HasConcurrencyLimit: true}}})
	if g := m.claim(m.id(), a, q, m.run(d, scheduledNow)); len(g) != 0 {
		t.Fatalf("a paused queue granted %v", g)
	}
}

func TestWhoLostTheLeaseChangesNothing(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	d := m.deployment(m.flow("f"), "d")
	q, a := m.queue("q", nil), m.agent("a")
	run := m.run(d, scheduledNow)
	old := m.claim(m.id(), a, q, run)[0]
	if n := m.expire(run, old); n != 1 {
		t.Fatalf("%d leases expired", n)
	}
	r := m.flowRun(run)
	if r.State.Type != row.StateType_SCHEDULED || r.Lease != nil {
		t.Fatalf("a run that had not begun is %v", r.State)
	}
	fresh := m.claim(m.id(), m.agent("b"), q, run)[0]
	if fresh.TokenIndex <= old.TokenIndex {
		t.Fatalf("token went from %v to %v", old, fresh)
	}
	for _, s := range []row.StateType{row.StateType_RUNNING, row.StateType_COMPLETED, row.StateType_FAILED} {
		if answer := m.report(run, s, old); answer.Status != command.StateResult_ABORT {
			t.Fatalf("the old owner reported %s: %v", s, answer)
		}
	}
	if n := m.expire(run, old); n != 0 {
		t.Fatal("the old lease expired the new one")
	}
	if answer := m.report(run, row.StateType_RUNNING, fresh); answer.Status != command.StateResult_ACCEPT {
		t.Fatalf("the owner was refused: %v", answer)
	}
}

func TestASilentOwnersRunCrashesWithItsTasksAndSubflows(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	flow := m.flow("f")
	d := m.deployment(flow, "d")
	one := int32(1)
	q, a := m.queue("q", &one), m.agent("a")
	m.one(&command.Envelope{Command: &command.Envelope_PutConcurrencyLimit{PutConcurrencyLimit: &command.PutConcurrencyLimit{Id: m.id(), Tag: "db", Limit: 1}}})
	run := m.run(d, scheduledNow)
	token := m.claim(m.id(), a, q, run)[0]
	m.report(run, row.StateType_RUNNING, token)
	task := m.one(&command.Envelope{Command: &command.Envelope_CreateTaskRun{CreateTaskRun: &command.CreateTaskRun{Id: m.id(), FlowRunId: run, TaskKey: "t", DynamicKey: "0", Tags: []string{"db"}}}}).Id
	setTask := func(id []byte) *command.StateResult {
		return m.one(&command.Envelope{Command: &command.Envelope_SetTaskRunState{SetTaskRunState: &command.SetState{Id: id, State: &command.ProposedState{Type: row.StateType_RUNNING}}}}).State
	}
	setTask(task)
	parent := m.one(&command.Envelope{Command: &command.Envelope_CreateTaskRun{CreateTaskRun: &command.CreateTaskRun{Id: m.id(), FlowRunId: run, TaskKey: "sub", DynamicKey: "0"}}}).Id
	child := m.one(&command.Envelope{Command: &command.Envelope_CreateFlowRun{CreateFlowRun: &command.CreateFlowRun{Id: m.id(), Name: "child", FlowId: flow, ParentTaskRunId: parent,
		State: &command.ProposedState{Type: row.StateType_RUNNING}}}}).Id

	m.expire(run, token)

	v := m.view()
	for _, id := range [][]byte{run, child} {
		if s := m.flowRun(id).State; s.Type != row.StateType_FAILED || s.Name != "Crashed" || !strings.Contains(s.GetMessage(), "agent 'a'") {
			t.Fatalf("a flow run is %v", s)
		}
	}
	for _, id := range [][]byte{task, parent} {
		r, err := v.TaskRun(api.ID(id))
		if err != nil || r.State.Type != row.StateType_FAILED || r.State.Name != "Crashed" {
			t.Fatalf("a task run is %v, %v", r, err)
		}
	}
	limit, err := v.ConcurrencyLimitByTag("db")
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range [][]byte{q, limit.Id} {
		if n, err := v.SlotsInUse(api.ID(id)); n != 0 || err != nil {
			t.Fatalf("%d slots are in use, %v", n, err)
		}
	}
}

func TestCancelling(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	d := m.deployment(m.flow("f"), "d")
	q, a := m.queue("q", nil), m.agent("a")
	cancel := func(run []byte) *command.Result {
		return m.do(&command.Envelope{Command: &command.Envelope_CancelFlowRun{CancelFlowRun: &command.CancelFlowRun{Id: run, Message: "not needed"}}})[0]
	}
	waiting := m.run(d, &command.ProposedState{Type: row.StateType_SCHEDULED, Details: &row.StateDetails{ScheduledTime: m.stamp + 3_600_000_000}})
	cancel(waiting)
	if s := m.flowRun(waiting).State; s.Type != row.StateType_CANCELLED || s.GetMessage() != "not needed" {
		t.Fatalf("a waiting run is %v", s)
	}
	if r := cancel(waiting); r.Code != command.Result_TERMINAL {
		t.Fatalf("cancelling twice: %v", r)
	}
	owned := m.run(d, scheduledNow)
	token := m.claim(m.id(), a, q, owned)[0]
	m.report(owned, row.StateType_RUNNING, token)
	cancel(owned)
	r := m.flowRun(owned)
	if r.State.Type != row.StateType_RUNNING || r.State.Name != "Cancelling" || r.RunCount != 1 || r.Lease == nil {
		t.Fatalf("an owned run is %v", r)
	}
	if answer := m.report(owned, row.StateType_CANCELLED, token); answer.Status != command.StateResult_ACCEPT {
		t.Fatalf("the owner could not report the end: %v", answer)
	}
	dead := m.run(d, scheduledNow)
	token = m.claim(m.id(), a, q, dead)[0]
	m.report(dead, row.StateType_RUNNING, token)
	cancel(dead)
	m.expire(dead, token)
	if s := m.flowRun(dead).State; s.Type != row.StateType_CANCELLED {
		t.Fatalf("a run being cancelled whose owner died is %v", s)
	}
}

func TestAProcessLease(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	flow := m.flow("f")
	run := m.one(&command.Envelope{Command: &command.Envelope_CreateFlowRun{CreateFlowRun: &command.CreateFlowRun{Id: m.id(), Name: "script", FlowId: flow}}}).Id
	start := func(owner string) *command.Result {
		return m.do(&command.Envelope{Command: &command.Envelope_StartLease{StartLease: &command.StartLease{FlowRunId: run, Owner: owner, OwnerId: []byte(owner), Ttl: 12_000_000}}})[0]
	}
	token := start("process-16-bytes").Grants[0]
	if again := start("process-16-bytes"); again.Code != command.Result_OK || again.Grants[0].TokenIndex != token.TokenIndex {
		t.Fatalf("the same process got %v", again)
	}
	if other := start("another-16-bytes"); other.Code != command.Result_LEASED {
		t.Fatalf("another process got %v", other)
	}
	m.report(run, row.StateType_RUNNING, token)
	m.expire(run, token)
	if s := m.flowRun(run).State; s.Name != "Crashed" {
		t.Fatalf("the run of a silent process is %v", s)
	}
}

func TestACrashedOrCancelledRunKeepsNoSlots(t *testing.T) {
	t.Parallel()
	for _, end := range []*command.ProposedState{{Type: row.StateType_FAILED, Name: "Crashed"}, {Type: row.StateType_CANCELLED}} {
		t.Run(end.Type.String(), func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			limit := m.one(&command.Envelope{Command: &command.Envelope_PutConcurrencyLimit{PutConcurrencyLimit: &command.PutConcurrencyLimit{Id: m.id(), Tag: "db", Limit: 1}}}).Id
			run := m.run(m.deployment(m.flow("f"), "d"), scheduledNow)
			token := m.claim(m.id(), m.agent("a"), m.queue("q", nil), run)[0]
			m.report(run, row.StateType_RUNNING, token)
			task := m.one(&command.Envelope{Command: &command.Envelope_CreateTaskRun{CreateTaskRun: &command.CreateTaskRun{Id: m.id(), FlowRunId: run, TaskKey: "t", DynamicKey: "0",
				Tags: []string{"db"}, State: &command.ProposedState{Type: row.StateType_RUNNING}}}}).Id
			if n, err := m.view().SlotsInUse(api.ID(limit)); n != 1 || err != nil {
				t.Fatalf("%d slots are in use before the end, %v", n, err)
			}
			m.one(&command.Envelope{Command: &command.Envelope_SetFlowRunState{SetFlowRunState: &command.SetState{Id: run, State: end,
				HasToken: true, TokenIndex: token.TokenIndex, TokenOrdinal: token.TokenOrdinal}}})
			if n, err := m.view().SlotsInUse(api.ID(limit)); n != 0 || err != nil {
				t.Fatalf("%d slots are in use after the end, %v", n, err)
			}
			if r, err := m.view().TaskRun(api.ID(task)); err != nil || r.State.Type != end.Type {
				t.Fatalf("the task run is %v, %v", r, err)
			}
		})
	}
}

func TestALimitCountsWhatRunsAlready(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.one(leaderEpoch(1))
	run := m.run(m.deployment(m.flow("f"), "d"), nil) // Pending: Orion's engine may begin tasks before it reports Running
	m.one(&command.Envelope{Command: &command.Envelope_CreateTaskRun{CreateTaskRun: &command.CreateTaskRun{Id: m.id(), FlowRunId: run, TaskKey: "t", DynamicKey: "0",
		Tags: []string{"db"}, State: &command.ProposedState{Type: row.StateType_RUNNING}}}})
	limit := m.one(&command.Envelope{Command: &command.Envelope_PutConcurrencyLimit{PutConcurrencyLimit: &command.PutConcurrencyLimit{Id: m.id(), Tag: "db", Limit: 1}}}).Id
	if n, err := m.view().SlotsInUse(api.ID(limit)); n != 1 || err != nil {
		t.Fatalf("%d slots are in use, %v", n, err)
	}
}

func TestTheTaskCacheHoldsWhatMayStillBeFound(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	run := m.run(m.deployment(m.flow("f"), "d"), nil)
	key := "k"
	tasks := 0
	complete := func(expiration int64) {
		tasks++
		id := m.one(&command.Envelope{Command: &command.Envelope_CreateTaskRun{CreateTaskRun: &command.CreateTaskRun{Id: m.id(), FlowRunId: run, TaskKey: "t", DynamicKey: string(rune('a' + tasks))}}}).Id
		set := func(t row.StateType, expiration int64) *command.StateResult {
			return m.one(&command.Envelope{Command: &command.Envelope_SetTaskRunState{SetTaskRunState: &command.SetState{Id: id,
				State: &command.ProposedState{Type: t, Details: &row.StateDetails{CacheKey: &key, CacheExpiration: expiration}}}}}).State
		}
		if set(row.StateType_RUNNING, 0).Status == command.StateResult_ACCEPT {
			set(row.StateType_COMPLETED, expiration)
		}
	}
	count := func() (n int) {
		if err := m.view().EachCacheEntry(key, func(*row.CacheEntry) (bool, error) { n++; return true, nil }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for range 5 {
		complete(m.stamp + 1) // expired before the next one is asked for
	}
	if n := count(); n != 1 {
		t.Fatalf("%d entries are kept of which one can be found", n)
	}
	if err := m.view().Verify(); err != nil {
		t.Fatal(err)
	}
}
