package fsm

import (
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/kv"
	"github.com/sluice-dev/sluice/fsm/kv/pebblekv"
	"github.com/sluice-dev/sluice/fsm/state"
)

// both is the range of a binary that knows the version after the newest.
var both = command.Versions{Min: command.MinVersion, Max: command.MaxVersion + 1}

func memoryStore(t testing.TB) kv.Store {
	t.Helper()
	store, err := pebblekv.Open("", pebblekv.Options{FS: vfs.NewMem(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// reopen opens a machine over a store as a node's start does.
func reopen(t testing.TB, store kv.Store, options ...Option) (*machine, error) {
	t.Helper()
	f, err := New(memory{store}, new(sync.Mutex), slog.New(slog.DiscardHandler), options...)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = f.Close() })
	return &machine{t: t, fsm: f, store: store, index: f.AppliedIndex(), stamp: 1_700_000_000_000_000}, nil
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func newFlow(name string, version uint32) *command.Envelope {
	return &command.Envelope{Version: version, Command: &command.Envelope_CreateFlow{CreateFlow: &command.CreateFlow{Id: command.DeriveID([]byte("a flow's own seed"), uint32(len(name))), Name: name}}}
}

func raise(version uint32) *command.Envelope {
	return &command.Envelope{Command: &command.Envelope_RaiseVersion{RaiseVersion: &command.RaiseVersion{Version: version}}}
}

func TestTheClusterVersionDecidesWhatAnEntryMayDo(t *testing.T) {
	t.Parallel()
	var raised []uint64
	m := must[*machine](t)(reopen(t, memoryStore(t), WithVersions(both), WithOnVersion(func(v uint64) { raised = append(raised, v) })))
	m.do(leaderEpoch(1))
	early := m.do(newFlow("early", 2))[0]
	if early.Code != command.Result_UNSUPPORTED || early.Message != "this needs cluster version 2, the cluster is at version 1" {
		t.Fatalf("before the cluster is raised: %v", early)
	}
	if f, err := m.view().FlowByName("early"); f != nil || err != nil {
		t.Fatalf("a refused command left %v, %v", f, err)
	}
	// In one entry: what comes before the raise is of the old version, what comes after of the new.
	results := m.do(newFlow("before", 2), raise(2), newFlow("afterwards", 2), raise(1))
	for i, want := range []command.Result_Code{command.Result_UNSUPPORTED, command.Result_OK, command.Result_OK, command.Result_OK} {
		if results[i].Code != want {
			t.Errorf("command %d answers %v", i, results[i])
		}
	}
	if v := m.fsm.ClusterVersion(); v != 2 {
		t.Fatalf("the cluster version is %d", v)
	}
	if len(raised) != 2 || raised[0] != 1 || raised[1] != 2 {
		t.Errorf("told were %v", raised)
	}
}

func TestAClusterBeginsAtTheLowestVersionOfItsFounder(t *testing.T) {
	t.Parallel()
	m := must[*machine](t)(reopen(t, memoryStore(t), WithVersions(command.Versions{Min: 2, Max: 3})))
	epoch := leaderEpoch(1)
	epoch.GetLeaderEpoch().ClusterId, epoch.GetLeaderEpoch().ClusterVersion = "c", 2
	m.do(epoch)
	if v := m.fsm.ClusterVersion(); v != 2 {
		t.Fatalf("it begins at %d", v)
	}
	epoch = leaderEpoch(2)
	epoch.GetLeaderEpoch().ClusterId, epoch.GetLeaderEpoch().ClusterVersion = "c", 3
	m.do(epoch)
	if v := m.fsm.ClusterVersion(); v != 2 {
		t.Fatalf("another leader made it %d", v)
	}
}

func TestABinaryThatIsTooOldOrTooNewRefusesTheState(t *testing.T) {
	t.Parallel()
	store := memoryStore(t)
	m := must[*machine](t)(reopen(t, store, WithVersions(both)))
	m.do(leaderEpoch(1), raise(2))
	_, err := reopen(t, store)
	if want := "the cluster version is not supported: the state belongs to a cluster of version 2, this binary supports 1: " +
		"start it with the release that the other nodes run, or a newer one; there is no way back to an older one"; err == nil || err.Error() != want || !errors.Is(err, ErrVersion) {
		t.Errorf("an older binary: %v", err)
	}
	_, err = reopen(t, store, WithVersions(command.Versions{Min: 3, Max: 4}))
	if want := "the cluster version is not supported: the state belongs to a cluster of version 2, this binary supports 3 to 4: " +
		"upgrade the cluster by way of a release that supports both versions"; err == nil || err.Error() != want {
		t.Errorf("a much newer binary: %v", err)
	}
	if _, err = reopen(t, store, WithVersions(both)); err != nil {
		t.Errorf("the binary that wrote it: %v", err)
	}
}

func TestARaiseBeyondTheBinaryHaltsItBeforeAnythingChanges(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.do(leaderEpoch(1))
	answer := m.fsm.Apply(m.log(m.envelope(newFlow("lost", 0)), m.envelope(raise(2)))).(*command.EntryResult)
	if h := m.fsm.Halt(); h == nil || h.Reason != ReasonUnknown || h.Index != 2 || !errors.Is(answer.Err, command.ErrHalted) ||
		!strings.Contains(h.Error(), "the cluster is raised to version 2, this binary supports 1; start this node with the release that the other nodes run") {
		t.Fatalf("halted %v, answered %v", h, answer.Err)
	}
	if v := m.fsm.ClusterVersion(); v != 1 {
		t.Errorf("the cluster version is %d", v)
	}
	if f, err := m.view().FlowByName("lost"); f != nil || err != nil {
		t.Errorf("half an entry was applied: %v, %v", f, err)
	}
}

// poisoned returns entries that no binary of today can apply.
func poisoned(t *testing.T, m *machine) map[Reason]*raft.Log {
	t.Helper()
	wrap := func(data []byte) *raft.Log {
		return &raft.Log{Term: 1, Type: raft.LogCommand, Data: command.AppendEntry(nil, command.Entry{Batches: []command.Batch{{Commands: [][]byte{data}}}})}
	}
	newer := must[[]byte](t)(proto.Marshal(m.envelope(newFlow("newer", 77))))
	return map[Reason]*raft.Log{ReasonUnknown: wrap(newer), ReasonMalformed: wrap([]byte{0xff, 0xff, 0xff})}
}

func TestAPoisonedEntryIsRememberedOverARestart(t *testing.T) {
	t.Parallel()
	for _, reason := range []Reason{ReasonUnknown, ReasonMalformed, ReasonPanic} {
		t.Run(string(reason), func(t *testing.T) {
			t.Parallel()
			store := memoryStore(t)
			m := must[*machine](t)(reopen(t, store, WithRelease("1.0")))
			good := m.log(leaderEpoch(1), m.envelope(newFlow("good", 0)))
			bad := poisoned(t, m)[reason]
			if reason == ReasonPanic { // raft's decoder panics
				bad = &raft.Log{Term: 1, Type: raft.LogConfiguration, Data: []byte("no configuration")}
			}
			m.index++
			bad.Index = m.index
			after := m.log(m.envelope(newFlow("after", 0)))
			answers := m.fsm.ApplyBatch([]*raft.Log{good, bad, after})
			if err := answers[0].(*command.EntryResult).Err; err != nil {
				t.Errorf("what came before the poisoned entry: %v", err)
			}
			if err := answers[2].(*command.EntryResult).Err; !errors.Is(err, command.ErrHalted) {
				t.Errorf("what comes after the poisoned entry is answered %v", err)
			}
			h := m.fsm.Halt()
			if h == nil || h.Index != 2 || h.Reason != reason || h.Marked || m.fsm.AppliedIndex() != 1 {
				t.Fatalf("halted by %+v at %d", h, m.fsm.AppliedIndex())
			}
			// The same release says the same, before anything reaches it.
			again := must[*machine](t)(reopen(t, store, WithRelease("1.0")))
			if g := again.fsm.Halt(); g == nil || g.Error() != h.Error() || !g.Marked {
				t.Fatalf("after a restart: %v, before: %v", g, h)
			}
			if err := again.fsm.Apply(good).(*command.EntryResult).Err; !errors.Is(err, command.ErrHalted) {
				t.Errorf("it applies after a restart: %v", err)
			}
			// Another release tries again, and goes on when it can.
			fixed := must[*machine](t)(reopen(t, store, WithRelease("1.1"), WithVersions(command.Versions{Min: 1, Max: 77})))
			if h := fixed.fsm.Halt(); h != nil {
				t.Fatalf("another release: %v", h)
			}
			fixed.index++
			if answer := fixed.fsm.Apply(fixed.log(fixed.envelope(newFlow("fixed", 0)))).(*command.EntryResult); answer.Err != nil {
				t.Errorf("another release: %v", answer.Err)
			}
			if last := must[*machine](t)(reopen(t, store, WithRelease("1.0"))); last.fsm.Halt() != nil {
				t.Errorf("the mark outlives its entry: %v", last.fsm.Halt())
			}
		})
	}
}

func TestAFailedStoreLeavesNoMark(t *testing.T) {
	t.Parallel()
	store := memoryStore(t)
	m := must[*machine](t)(reopen(t, failing{store}))
	answer := m.fsm.Apply(m.log(leaderEpoch(1))).(*command.EntryResult)
	if h := m.fsm.Halt(); h == nil || h.Reason != ReasonStorage || !errors.Is(answer.Err, pebblekv.ErrFailed) {
		t.Fatalf("halted by %v", h)
	}
	if again := must[*machine](t)(reopen(t, store)); again.fsm.Halt() != nil {
		t.Errorf("a disk that works again: %v", again.fsm.Halt())
	}
}

// failing is a store whose commits fail.
type failing struct{ kv.Store }

func (failing) Commit(kv.Batch, bool) error { return pebblekv.ErrFailed }

func TestCheckpointsNoteTheHashOfTheirEntry(t *testing.T) {
	t.Parallel()
	checkpoint := func() *command.Envelope {
		return &command.Envelope{Command: &command.Envelope_Checkpoint{Checkpoint: &command.Checkpoint{}}}
	}
	entries := func(m *machine) []*raft.Log {
		return []*raft.Log{m.log(leaderEpoch(1)), m.log(m.envelope(newFlow("a", 0)), checkpoint(), m.envelope(newFlow("bb", 0))), m.log(m.envelope(newFlow("ccc", 0)))}
	}
	// Grouped in whatever way, replicas note the same.
	one, other := newMachine(t), newMachine(t)
	one.fsm.ApplyBatch(entries(one))
	for _, l := range entries(other) {
		other.fsm.Apply(l)
	}
	i, h, err := one.view().Checkpoint()
	j, g, oerr := other.view().Checkpoint()
	if err != nil || oerr != nil || i != 2 || j != 2 || h != g || h == (state.Hash{}) {
		t.Fatalf("one noted %s at %d (%v), the other %s at %d (%v)", h, i, err, g, j, oerr)
	}
	if now, err := one.view().Hash(); err != nil || now == h {
		t.Errorf("the hash did not go on: %s, %v", now, err)
	}
}
