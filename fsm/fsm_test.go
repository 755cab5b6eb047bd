package fsm

import (
	"errors"
	"io"
	"log/slog"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/kv"
	"github.com/sluice-dev/sluice/fsm/kv/pebblekv"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
)

// memory is a state in memory that is never replaced: what most tests of the machine need of Storage.
type memory struct{ kv.Store }

func (m memory) Current() kv.Store                         { return m.Store }
func (m memory) Acquire() (store kv.Store, release func()) { return m.Store, func() {} }
func (m memory) Snapshot() (raft.FSMSnapshot, error)       { return nil, errors.ErrUnsupported }
func (m memory) Restore(io.ReadCloser) error               { return errors.ErrUnsupported }
func (m memory) OnInstall(func(kv.Store))                  {}

// machine is a state machine with the log in a test's hands.
type machine struct {
	t     testing.TB
	fsm   *FSM
	store kv.Store
	index uint64
	stamp int64 // µs; moves by one second per entry unless a test moves it
	seed  uint64
}

func newMachine(t testing.TB) *machine {
	t.Helper()
	store, err := pebblekv.Open("", pebblekv.Options{FS: vfs.NewMem(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return openMachine(t, store)
}

func openMachine(t testing.TB, store kv.Store) *machine {
	t.Helper()
	f, err := New(memory{store}, new(sync.Mutex), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return &machine{t: t, fsm: f, store: store, index: f.AppliedIndex(), stamp: 1_700_000_000_000_000}
}

// id mints the next id of a test: the same in every run.
func (m *machine) id() []byte {
	m.seed++
	return command.DeriveID([]byte("0123456789abcdef"), uint32(m.seed))
}

func (m *machine) envelope(c *command.Envelope) *command.Envelope {
	c.Seed = m.id()
	if c.Actor == "" {
		c.Actor = "tester"
	}
	return c
}

// log encodes commands as one entry.
func (m *machine) log(commands ...*command.Envelope) *raft.Log {
	m.t.Helper()
	m.index++
	m.stamp += 1_000_000
	batch := command.Batch{}
	for _, c := range commands {
		data, err := command.Encode(c)
		if err != nil {
			m.t.Fatal(err)
		}
		batch.Commands = append(batch.Commands, data)
	}
	entry := command.AppendEntry(nil, command.Entry{Stamp: m.stamp, Batches: []command.Batch{batch}})
	return &raft.Log{Index: m.index, Term: 1, Type: raft.LogCommand, Data: entry}
}

// do applies commands as one entry and returns their results.
func (m *machine) do(commands ...*command.Envelope) []*command.Result {
	m.t.Helper()
	for _, c := range commands {
		m.envelope(c)
	}
	answer := m.fsm.Apply(m.log(commands...)).(*command.EntryResult)
	if answer.Err != nil {
		m.t.Fatal(answer.Err)
	}
	results := make([]*command.Result, len(commands))
	for i, data := range answer.Batches[0].Results {
		r, err := command.DecodeResult(data)
		if err != nil {
			m.t.Fatal(err)
		}
		results[i] = r
	}
	return results
}

// one applies one command that must succeed.
func (m *machine) one(c *command.Envelope) *command.Result {
	m.t.Helper()
	r := m.do(c)[0]
	if r.Code != command.Result_OK {
		m.t.Fatalf("%T: %s %s", c.Command, r.Code, r.Message)
	}
	return r
}

func (m *machine) view() *state.View {
	m.t.Helper()
	v, err := m.fsm.View()
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = v.Close() })
	return v
}

// Builders of commands.

func leaderEpoch(term uint64) *command.Envelope {
	return &command.Envelope{Command: &command.Envelope_LeaderEpoch{LeaderEpoch: &command.LeaderEpoch{Term: term, NodeId: "n1", ClusterId: "c1"}}}
}

func (m *machine) flow(name string) []byte {
	return m.one(&command.Envelope{Command: &command.Envelope_CreateFlow{CreateFlow: &command.CreateFlow{Id: m.id(), Name: name}}}).Id
}

func (m *machine) deployment(flow []byte, name string, tags ...string) []byte {
	return m.one(&command.Envelope{Command: &command.Envelope_PutDeployment{PutDeployment: &command.PutDeployment{
		Id: m.id(), Name: name, FlowId: flow, FlowData: &row.Data{Encoding: "sluice-store", Blob: "k"}, IsScheduleActive: true,
		ParametersJson: []byte(`{"name":"Leo"}`), Tags: tags}}}).Id
}

func (m *machine) queue(name string, limit *int32, tags ...string) []byte {
	filter := &row.QueueFilter{HasTags: len(tags) > 0, Tags: tags}
	return m.one(&command.Envelope{Command: &command.Envelope_CreateWorkQueue{CreateWorkQueue: &command.CreateWorkQueue{
		Id: m.id(), Name: name, Filter: filter, ConcurrencyLimit: limit}}}).Id
}

func (m *machine) run(deployment []byte, state *command.ProposedState) []byte {
	return m.one(&command.Envelope{Command: &command.Envelope_CreateFlowRun{CreateFlowRun: &command.CreateFlowRun{
		Id: m.id(), Name: "tan-lion", DeploymentId: deployment, FromDeployment: true, State: state}}}).Id
}

func (m *machine) agent(name string) []byte {
	return m.one(&command.Envelope{Command: &command.Envelope_RegisterAgent{RegisterAgent: &command.RegisterAgent{Id: m.id(), Name: name, Hostname: "host"}}}).Id
}

// claim wishes for runs from a queue in one command and returns what was granted.
func (m *machine) claim(claimID, agent, queue []byte, runs ...[]byte) []*row.Grant {
	wish := &command.ClaimRuns_Wish{ClaimId: claimID, AgentId: agent}
	for _, r := range runs {
		wish.Picks = append(wish.Picks, &command.ClaimRuns_Pick{FlowRunId: r, WorkQueueId: queue})
	}
	return m.one(&command.Envelope{Command: &command.Envelope_ClaimRuns{ClaimRuns: &command.ClaimRuns{Ttl: 12_000_000, Wishes: []*command.ClaimRuns_Wish{wish}}}}).Grants
}

func (m *machine) report(run []byte, t row.StateType, token *row.Grant) *command.StateResult {
	set := &command.SetState{Id: run, State: &command.ProposedState{Type: t}}
	if token != nil {
		set.HasToken, set.TokenIndex, set.TokenOrdinal = true, token.TokenIndex, token.TokenOrdinal
	}
	return m.one(&command.Envelope{Command: &command.Envelope_SetFlowRunState{SetFlowRunState: set}}).State
}

func (m *machine) flowRun(id []byte) *row.FlowRun {
	m.t.Helper()
	r, err := m.view().FlowRun(api.ID(id))
	if err != nil {
		m.t.Fatal(err)
	}
	return r
}

var scheduledNow = &command.ProposedState{Type: row.StateType_SCHEDULED}
