package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sluice-dev/sluice/fsm/command"
)

// StateMachine is the replicated state. Its ApplyBatch answers every raft.LogCommand with a *command.EntryResult and
// also gets configuration entries. Index and term of the last entry are stored with the data.
type StateMachine interface {
	raft.BatchingFSM
	// AppliedIndex is the index of the last entry given to ApplyBatch, or of the snapshot restored since.
	AppliedIndex() uint64
	// WaitApplied returns when AppliedIndex is at least index.
	WaitApplied(ctx context.Context, index uint64) error
	// Halted returns why the machine applies nothing more, also when that was before the process began; nil while it works.
	Halted() error
	// ClusterVersion is the version of the cluster as far as it was applied, at least 1.
	ClusterVersion() uint64
	// Checkpoint is the hash of the state that was noted last, and at which entry; 0 for none.
	Checkpoint() (index uint64, hash string)
	// ClusterID is the id that the cluster's first epoch command stored, "" before that.
	ClusterID() string
}

// machine stands between raft and the StateMachine: it stops applying for good when the state machine halts, and tells
// the node about restored snapshots.
type machine struct {
	inner    StateMachine
	restored func()   // a snapshot has replaced the state
	applied  func()   // a batch was applied
	observer Observer // may be nil
	halt     atomic.Pointer[error]
	halts    chan struct{} // capacity 1, signalled once
	installs atomic.Uint64 // snapshots of other nodes that replaced the state
	compacts atomic.Uint64
	compact  atomic.Int64 // when the last snapshot was recorded, Unix µs
}

func newMachine(inner StateMachine, restored, applied func()) *machine {
	m := &machine{inner: inner, restored: restored, applied: applied, halts: make(chan struct{}, 1)}
	if err := inner.Halted(); err != nil {
		m.stop(err)
	}
	return m
}

// halted returns why the state machine applies nothing more, or nil.
func (m *machine) halted() error {
	if err := m.halt.Load(); err != nil {
		return *err
	}
	return nil
}

func (m *machine) stop(err error) {
	err = fmt.Errorf("%w: %w", ErrHalted, err)
	if m.halt.CompareAndSwap(nil, &err) {
		select {
		case m.halts <- struct{}{}:
		default: // a halt that passed was not looked at yet
		}
	}
}

func (m *machine) Apply(l *raft.Log) any { return m.ApplyBatch([]*raft.Log{l})[0] }

func (m *machine) ApplyBatch(logs []*raft.Log) (out []any) {
	refuse := func(err error) []any {
		out := make([]any, len(logs))
		for i := range out {
			out[i] = &command.EntryResult{Err: err}
		}
		return out
	}
	if err := m.halted(); err != nil {
		return refuse(err)
	}
	defer func() {
		// A panic would kill the process and be replayed at every start; a halted node can be asked what is wrong.
		if p := recover(); p != nil {
			m.stop(fmt.Errorf("panic while applying entries %d to %d: %v", logs[0].Index, logs[len(logs)-1].Index, p))
			out = refuse(m.halted())
		}
	}()
	begin := time.Now()
	out = m.inner.ApplyBatch(logs)
	if m.observer != nil {
		m.observer.Apply(time.Since(begin), len(logs))
	}
	if err := m.inner.Halted(); err != nil {
		m.stop(err)
	}
	for i, o := range out {
		if r, ok := o.(*command.EntryResult); ok && r.Err != nil {
			m.stop(fmt.Errorf("entry %d: %w", logs[i].Index, r.Err))
			break
		}
	}
	m.applied()
	return out
}

// Snapshot refuses when halted: raft would compact away entries that were never applied.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	if err := m.halted(); err != nil {
		return nil, err
	}
	inner, err := m.inner.Snapshot()
	if err != nil {
		return nil, err
	}
	return &compaction{inner, m}, nil
}

// compaction tells the machine when a snapshot is recorded, upon which raft compacts its log.
type compaction struct {
	raft.FSMSnapshot
	machine *machine
}

// Persist implements raft.FSMSnapshot.
func (c *compaction) Persist(sink raft.SnapshotSink) error {
	if err := c.FSMSnapshot.Persist(sink); err != nil {
		return err
	}
	c.machine.compact.Store(time.Now().UnixMicro())
	c.machine.compacts.Add(1)
	return nil
}

// compactions returns when the last one was and how many there were.
func (m *machine) compactions() (last time.Time, count uint64) {
	if count = m.compacts.Load(); count > 0 {
		last = time.UnixMicro(m.compact.Load())
	}
	return last, count
}

func (m *machine) Restore(rc io.ReadCloser) error {
	if err := m.inner.Restore(rc); err != nil {
		return err
	}
	m.installs.Add(1)
	// What halted the machine may lie behind the new state.
	if m.inner.Halted() == nil {
		m.halt.Store(nil)
	}
	m.restored()
	return nil
}

// position returns index and term of the state, as the snapshot store reads them from the open database.
func position(snaps raft.SnapshotStore) (index, term uint64, err error) {
	list, err := snaps.List()
	if err != nil {
		return 0, 0, fmt.Errorf("read the state's position: %w", err)
	}
	if len(list) == 0 {
		return 0, 0, nil
	}
	return list[0].Index, list[0].Term, nil
}

var errBadResponse = errors.New("the state machine answered something other than an entry result")
