// Package fsm is the replicated state machine: it applies Raft entries to the state, one batch at a time, and hands out
// consistent views of it. See DESIGN.md.
package fsm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/kv"
	"github.com/sluice-dev/sluice/fsm/snapshot"
	"github.com/sluice-dev/sluice/fsm/state"
	"github.com/sluice-dev/sluice/fsm/watch"
)

// EventsKept is how many events a listener may lie behind before it must read the state anew.
const EventsKept = 16384

// EventBytesKept bounds the memory they take.
const EventBytesKept = 32 << 20

// Storage is where the state lives; *snapshot.Holder is one.
type Storage interface {
	// Current returns the open store, for the state machine's goroutine.
	Current() kv.Store
	// Acquire returns the open store and keeps it open until release, even when another one is installed meanwhile.
	Acquire() (store kv.Store, release func())
	// Snapshot and Restore do for raft.FSM's what the store's side of them is.
	Snapshot() (raft.FSMSnapshot, error)
	Restore(r io.ReadCloser) error
	// OnInstall registers a function that Restore calls, under the apply lock, once the new store is the current one.
	OnInstall(func(kv.Store))
}

// FSM is the state machine of one node. Raft's goroutine is its only writer; views may be taken from any goroutine.
type FSM struct {
	storage Storage
	log     *slog.Logger
	events  *watch.Buffer

	// apply is held while a batch is applied and committed, and by whoever needs the store to stand still.
	apply *sync.Mutex
	cache cache // guarded by apply

	versions  command.Versions
	release   string
	onVersion func(uint64)

	applied atomic.Uint64
	version atomic.Uint64 // of the cluster, as applied
	// tokenChanges grows with every change of a token; tokens are those of one such number.
	tokenChanges atomic.Uint64
	tokens       atomic.Pointer[tokenSet]
	noted        atomic.Pointer[checkpoint]
	halted       atomic.Pointer[Halt]

	mu      sync.Mutex
	advance chan struct{} // closed when applied grows or the machine halts; guarded by mu

	// building is set while an index is being filled that readers need.
	building atomic.Bool

	// shared is the newest view's snapshot, handed to every reader until the next batch; both are guarded by shareMu.
	shareMu sync.Mutex
	shared  *sharedSnapshot
	closed  bool
}

// New opens the state machine over a store. Lock is the lock that the snapshot package takes to make the store stand still.
func New(storage Storage, lock *sync.Mutex, log *slog.Logger, options ...Option) (*FSM, error) {
	f := &FSM{storage: storage, log: log, apply: lock, advance: make(chan struct{}), versions: command.Supported()}
	for _, o := range options {
		o(f)
	}
	if err := CheckState(storage.Current(), f.versions); err != nil {
		return nil, err
	}
	if err := f.checkIndexes(state.NewView(storage.Current(), 0, nil)); err != nil {
		return nil, err
	}
	meta, err := snapshot.ReadMeta(storage.Current())
	if err != nil {
		return nil, err
	}
	index, _ := meta.Last()
	f.applied.Store(index)
	incarnation, err := state.NewView(storage.Current(), 0, nil).Incarnation()
	if err != nil {
		return nil, err
	}
	f.events = watch.NewBuffer(EventsKept, EventBytesKept, incarnation, index)
	if err := errors.Join(f.learn(storage.Current(), true), f.recall()); err != nil {
		return nil, err
	}
	storage.OnInstall(f.installed)
	return f, nil
}

// Events returns the buffer of what changes on this node.
func (f *FSM) Events() *watch.Buffer { return f.events }

// AppliedIndex returns the index of the newest entry whose effect views show.
func (f *FSM) AppliedIndex() uint64 { return f.applied.Load() }

// Building reports whether an index that readers need is still being filled: what they would list is not complete.
func (f *FSM) Building() bool { return f.building.Load() }

func (f *FSM) checkIndexes(view *state.View) error {
	numbers, err := view.BuildingIndexes()
	if err != nil {
		return err
	}
	version, err := view.SchemaVersion()
	// An empty state has no index yet and nothing to list either.
	f.building.Store(version != 0 && len(numbers) > 0)
	return err
}

// ClusterID returns the id that the cluster's first leader stored, "" before that or when the state cannot be read.
func (f *FSM) ClusterID() string {
	view, err := f.View()
	if err != nil {
		return ""
	}
	defer view.Close()
	id, err := view.ClusterID()
	if err != nil {
		f.log.Error("read the cluster's id", "error", err)
	}
	return id
}

// WaitApplied blocks until views show the entry at index.
func (f *FSM) WaitApplied(ctx context.Context, index uint64) error {
	for f.applied.Load() < index {
		f.mu.Lock()
		advance := f.advance
		f.mu.Unlock()
		if f.applied.Load() >= index {
			return nil
		}
		if err := f.Halted(); err != nil {
			return err
		}
		select {
		case <-advance:
		case <-ctx.Done():
			return fmt.Errorf("wait for index %d, applied %d: %w", index, f.applied.Load(), ctx.Err())
		}
	}
	return nil
}

func (f *FSM) wake() {
	f.mu.Lock()
	close(f.advance)
	f.advance = make(chan struct{})
	f.mu.Unlock()
}

// Apply implements raft.FSM.
func (f *FSM) Apply(l *raft.Log) any { return f.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch implements raft.BatchingFSM: all entries of the call, the applied index and the configuration reach the store
// in one atomic batch. For a command it answers a *command.EntryResult.
func (f *FSM) ApplyBatch(logs []*raft.Log) []any {
	f.apply.Lock()
	defer f.apply.Unlock()
	answers := make([]any, len(logs))
	if f.building.Load() {
		defer func() {
			if err := f.checkIndexes(state.NewView(f.storage.Current(), 0, nil)); err != nil {
				f.log.Error("look for indexes that are being built", "error", err)
			}
		}()
	}
	if err := f.Halted(); err != nil {
		return refuse(answers, logs, err)
	}
	if first, applied := logs[0].Index, f.applied.Load(); first <= applied {
		return refuse(answers, logs, f.halt(first, fmt.Errorf("%w: entry %d comes after entry %d was applied", errOrder, first, applied)))
	}
	bad, err := f.commit(logs, answers)
	if err == nil {
		return answers
	}
	if bad > 0 && reasonOf(err) != ReasonStorage {
		// What comes before the poisoned entry is good, and its callers wait.
		if before, berr := f.commit(logs[:bad], answers); berr != nil {
			bad, err = before, berr
		}
	}
	if reasonOf(err) == ReasonStorage {
		bad = 0
	}
	refuse(answers[bad:], logs[bad:], f.halt(logs[bad].Index, err))
	return answers
}

// commit applies logs as one batch. When it fails nothing is changed, and bad is the entry that stopped it.
func (f *FSM) commit(logs []*raft.Log, answers []any) (bad int, err error) {
	store := f.storage.Current()
	batch := store.NewBatch()
	defer batch.Close()
	tx := state.NewTx(batch)
	done, bad, err := f.applyAll(tx, logs, answers)
	if err == nil {
		if err = tx.Flush(); err == nil {
			err = store.Commit(batch, false)
		}
	}
	if err != nil {
		f.cache.reset()
		return bad, err
	}
	if done.system {
		if err := f.learn(store, false); err != nil {
			f.log.Error("read the cluster version", "error", err)
		}
	}
	// In this order: who waited for an index must not be given the view of before it.
	f.dropShared()
	f.applied.Store(logs[len(logs)-1].Index)
	if done.access {
		f.tokenChanges.Add(1)
	}
	f.events.Publish(done.events)
	f.wake()
	return 0, nil
}

// consequences of entries, beside what they write.
type consequences struct {
	events []watch.Event
	system bool // version or checkpoint changed
	access bool // tokens changed
}

// applyAll returns what the entries cause; or why the entry with the place bad could not be applied.
func (f *FSM) applyAll(tx *state.Tx, logs []*raft.Log, answers []any) (done consequences, bad int, err error) {
	defer f.recovered(&err)
	now, err := tx.LastTime()
	if err != nil {
		return done, 0, err
	}
	for i, l := range logs {
		bad = i
		switch l.Type {
		case raft.LogCommand:
			entry, err := command.DecodeEntry(l.Data)
			if err != nil {
				return consequences{}, bad, err
			}
			now = max(now, entry.Stamp)
			a := &applier{tx: tx, cache: &f.cache, supported: f.versions, index: l.Index, now: now}
			result, err := a.applyEntry(entry)
			if err != nil {
				return consequences{}, bad, err
			}
			answers[i] = result
			done.events = append(done.events, a.events...)
			done.system, done.access = done.system || a.system, done.access || a.access
		case raft.LogConfiguration:
			if err := snapshot.WriteConfiguration(tx.Batch(), l.Index, raft.DecodeConfiguration(l.Data)); err != nil {
				return consequences{}, bad, err
			}
		}
	}
	last := logs[len(logs)-1]
	return done, bad, errors.Join(tx.SetLastTime(now), snapshot.WriteApplied(tx.Batch(), last.Index, last.Term))
}

// applyEntry applies the batches of an entry, each at most once.
func (a *applier) applyEntry(entry command.Entry) (*command.EntryResult, error) {
	result := &command.EntryResult{Batches: make([]command.BatchResult, len(entry.Batches))}
	for i, b := range entry.Batches {
		numbered := b.Session != command.SessionID{} && b.Seq != 0
		if numbered {
			results, known, err := a.tx.SessionResults(b.Session, b.Seq)
			if err != nil {
				return nil, err
			}
			if known {
				result.Batches[i] = command.BatchResult{Results: results, Replayed: true}
				continue
			}
		}
		results := make([][]byte, len(b.Commands))
		for j, c := range b.Commands {
			encoded, err := a.apply(c)
			if err != nil {
				return nil, err
			}
			results[j] = encoded
		}
		if numbered {
			if err := a.tx.PutSessionResults(b.Session, b.Seq, results, a.now); err != nil {
				return nil, err
			}
		}
		result.Batches[i] = command.BatchResult{Results: results}
	}
	return result, nil
}

func refuse(answers []any, logs []*raft.Log, err error) []any {
	for i, l := range logs {
		answers[i] = nil
		if l.Type == raft.LogCommand {
			answers[i] = &command.EntryResult{Err: err}
		}
	}
	return answers
}

// Snapshot implements raft.FSM.
func (f *FSM) Snapshot() (raft.FSMSnapshot, error) { return f.storage.Snapshot() }

// Restore implements raft.FSM: the state is replaced by a snapshot's, and every listener starts over.
func (f *FSM) Restore(r io.ReadCloser) error { return f.storage.Restore(r) }

// installed takes over a store that has replaced the one before. The apply lock is held, so no view pairs the old index
// with the new store.
func (f *FSM) installed(store kv.Store) {
	f.cache.reset()
	f.dropShared()
	meta, err := snapshot.ReadMeta(store)
	if err != nil {
		f.halt(0, fmt.Errorf("read where the installed state stands: %w", err))
		return
	}
	stored := state.NewView(store, 0, nil)
	incarnation, err := stored.Incarnation()
	if err = errors.Join(err, f.checkIndexes(stored)); err != nil {
		f.halt(0, err)
		return
	}
	index, _ := meta.Last()
	f.applied.Store(index)
	f.tokenChanges.Add(1)
	if err := f.learn(store, true); err != nil {
		f.halt(0, err)
		return
	}
	// What halted the machine was an entry of the state that is gone, or one that the new state is past.
	if h := f.halted.Load(); h != nil && h.Index <= index {
		f.log.Info("the state was replaced by one that is past what halted this node", "index", h.Index, "installed", index)
		f.halted.Store(nil)
	}
	f.events.Reset(incarnation, index)
	f.wake()
}

// View returns a consistent view of everything applied so far. The caller closes it.
func (f *FSM) View() (*state.View, error) {
	s, err := f.share()
	if err != nil {
		return nil, err
	}
	return state.NewView(s.reader, s.index, s.release), nil
}

// sharedSnapshot is one store snapshot used by many views.
type sharedSnapshot struct {
	reader  kv.Reader
	index   uint64       // everything up to it is in the view
	refs    atomic.Int64 // views, plus one while it is the newest
	closeFn func() error
}

func (s *sharedSnapshot) release() error {
	if s.refs.Add(-1) == 0 {
		return s.closeFn()
	}
	return nil
}

// ErrClosed is returned by View after Close.
var ErrClosed = errors.New("the state machine is closed")

// share returns the snapshot of the newest state with one reference for the caller.
func (f *FSM) share() (*sharedSnapshot, error) {
	f.shareMu.Lock()
	defer f.shareMu.Unlock()
	if f.closed {
		return nil, ErrClosed
	}
	if f.shared == nil {
		index := f.applied.Load()
		store, release := f.storage.Acquire()
		snap := store.Snapshot()
		s := &sharedSnapshot{reader: snap, index: index}
		s.closeFn = func() error {
			err := snap.Close()
			release()
			return err
		}
		s.refs.Store(1)
		f.shared = s
	}
	f.shared.refs.Add(1)
	return f.shared, nil
}

func (f *FSM) dropShared() {
	f.shareMu.Lock()
	old := f.shared
	f.shared = nil
	f.shareMu.Unlock()
	if old != nil {
		if err := old.release(); err != nil {
			f.log.Error("close a snapshot of the state", "error", err)
		}
	}
}

// Close releases what the machine keeps open. Nothing may be applied afterwards.
func (f *FSM) Close() error {
	f.apply.Lock()
	defer f.apply.Unlock()
	f.shareMu.Lock()
	f.closed = true
	f.shareMu.Unlock()
	f.dropShared()
	return nil
}
