package fsm

import (
	"testing"
	"time"

	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
)

func (m *machine) named(key, request byte, c *command.Envelope) *command.Result {
	c.Idempotency = &command.Idempotency{Key: []byte{15: key}, Request: []byte{15: request}, Ordinal: 1}
	return m.do(c)[0]
}

func TestARequestWithAKeyIsDoneOnce(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	d := m.deployment(m.flow("f"), "d")
	create := func() *command.Envelope {
		return &command.Envelope{Command: &command.Envelope_CreateFlowRun{CreateFlowRun: &command.CreateFlowRun{Id: m.id(), Name: "n", DeploymentId: d, FromDeployment: true, State: scheduledNow}}}
	}
	first, again := m.named(1, 1, create()), m.named(1, 1, create())
	if !first.Created || first.Replayed || !again.Created || !again.Replayed || string(first.Id) != string(again.Id) {
		t.Fatalf("first %v, then %v", first, again)
	}
	if n, err := m.view().CountFlowRuns(row.StateType_SCHEDULED); n != 1 || err != nil {
		t.Fatalf("%d runs, %v", n, err)
	}
	if r := m.named(1, 2, create()); r.Code != command.Result_KEY_REUSED {
		t.Fatalf("the key with another request: %v", r)
	}
	if r := m.named(2, 1, create()); !r.Created || r.Replayed {
		t.Fatalf("another key: %v", r)
	}
	m.stamp += (outcomeKept + time.Second).Microseconds()
	if r := m.named(1, 2, create()); !r.Created || r.Replayed {
		t.Fatalf("the key a day later: %v", r)
	}
	if err := m.view().Verify(); err != nil {
		t.Fatal(err)
	}
}

func TestARefusalIsNotKept(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	run := m.run(m.deployment(m.flow("f"), "d"), scheduledNow)
	retry := func() *command.Result {
		return m.named(1, 1, &command.Envelope{Command: &command.Envelope_RetryFlowRun{RetryFlowRun: &command.RetryFlowRun{Id: run}}})
	}
	if r := retry(); r.Code != command.Result_CONFLICT {
		t.Fatal(r)
	}
	m.report(run, row.StateType_FAILED, nil)
	if r := retry(); r.Code != command.Result_OK || r.Replayed {
		t.Fatalf("once it is possible: %v", r)
	}
	if r := retry(); r.Code != command.Result_OK || !r.Replayed {
		t.Fatalf("repeated: %v", r)
	}
}

func TestOutcomesAreBounded(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	flow := &command.Envelope{Command: &command.Envelope_CreateFlow{CreateFlow: &command.CreateFlow{Id: m.id(), Name: "f"}}}
	for n := range 20 {
		m.named(byte(n), 1, flow)
	}
	b := m.store.NewBatch()
	defer b.Close()
	tx := state.NewTx(b)
	if err := tx.DropOldOutcomes(0, 5); err != nil {
		t.Fatal(err)
	}
	if n, err := tx.CountOutcomes(); n != 12 || err != nil {
		t.Fatalf("%d outcomes are left, %v: a few go at a time", n, err)
	}
	for range 3 {
		if err := tx.DropOldOutcomes(0, 5); err != nil {
			t.Fatal(err)
		}
	}
	n, err := tx.CountOutcomes()
	if n != 5 || err != nil {
		t.Fatalf("%d outcomes are left, %v", n, err)
	}
	if newest, err := tx.EditOutcome([]byte{15: 19}, 1); newest == nil || err != nil {
		t.Fatal("the newest went")
	}
}
