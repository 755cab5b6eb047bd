package snapshot

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"

	"github.com/hashicorp/raft"

	"github.com/sluice-dev/sluice/fsm/kv"
	"github.com/sluice-dev/sluice/fsm/kv/pebblekv"
)

// Staged is a snapshot that an operator wants to restore: received and verified beside the current database, which it does not
// touch. Given to raft.Restore as the reader it is taken over by the sink as it is, so that Raft's main loop copies nothing.
type Staged struct {
	h      *Holder
	dir    string
	header Header

	mu    sync.Mutex // guards taken and is held while the directory is used
	taken bool       // the sink has it, or it is closed
}

// Stage receives a snapshot for an operator's restore and verifies all of it. accept may refuse it by its header, before the bulk;
// Admit is asked later, about what the owner has made of it: it may be another cluster's.
func (h *Holder) Stage(r io.Reader, accept func(Header) error) (*Staged, error) {
	s := &Staged{h: h, dir: h.path(incomingName, fmt.Sprintf("restore-%d%s", h.nextNumber(), tempSuffix))}
	c := &counter{r: r}
	m, err := decodeInto(c, h.fs, s.dir, func(m manifest) error { return accept(m.header(0)) })
	if err == nil {
		s.header = m.header(c.n)
		err = s.verify()
	}
	if err != nil {
		return nil, fmt.Errorf("receive the snapshot: %w", errors.Join(err, removeAll(h.fs, s.dir)))
	}
	h.c.step("restore staged")
	return s, nil
}

func (s *Staged) verify() error {
	m, err := s.h.inspect(s.dir)
	if errors.Is(err, syscall.ENOSPC) {
		return err
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if index, term := m.Last(); index != s.header.Index || term != s.header.Term {
		return fmt.Errorf("%w: the database in it stands at %d (term %d), its header says %d (term %d)", ErrCorrupt, index, term,
			s.header.Index, s.header.Term)
	}
	return nil
}

// Header returns what the snapshot says of itself.
func (s *Staged) Header() Header { return s.header }

// Look reads the staged database.
func (s *Staged) Look(fn func(kv.Reader) error) error {
	o := s.h.c.KV
	o.ReadOnly, o.OnFailure, o.Logger = true, nil, s.h.c.Logger
	return s.open(o, func(store *pebblekv.Store) error { return fn(store) })
}

// Edit changes the staged database. Its changes are durable when Edit returns nil; after an error the snapshot is of no use.
func (s *Staged) Edit(fn func(kv.Store) error) error {
	o := s.h.c.KV
	o.MustExist, o.OnFailure, o.Logger = true, nil, s.h.c.Logger
	err := s.open(o, func(store *pebblekv.Store) error { return errors.Join(fn(store), store.Sync()) })
	s.h.c.step("restore edited")
	return err
}

func (s *Staged) open(o pebblekv.Options, fn func(*pebblekv.Store) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken {
		return errors.New("the staged snapshot was restored or given up")
	}
	store, err := pebblekv.Open(s.dir, o)
	if err != nil {
		return fmt.Errorf("open the staged snapshot: %w", err)
	}
	return errors.Join(fn(store), store.Close())
}

// Meta is for raft.Restore, which numbers the state above both least and what the log holds.
func (s *Staged) Meta(least uint64) *raft.SnapshotMeta {
	return &raft.SnapshotMeta{
		Version: raft.SnapshotVersionMax, ID: liveID, Index: max(least, s.header.Index), Term: s.header.Term, Size: s.header.Bytes,
	}
}

// Read implements io.Reader for raft.Restore. It is never read: the sink takes the database over.
func (s *Staged) Read([]byte) (int, error) {
	return 0, errors.New("a staged snapshot is taken over by this node's snapshot store, not read")
}

// Close removes the snapshot unless it was taken over. It is idempotent.
func (s *Staged) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken {
		return nil
	}
	s.taken = true
	return removeAll(s.h.fs, s.dir)
}

// ReadFrom implements io.ReaderFrom, which io.Copy prefers: a staged snapshot is not copied but taken over.
func (s *sink) ReadFrom(r io.Reader) (int64, error) {
	staged, ok := r.(*Staged)
	if !ok {
		return io.Copy(struct{ io.Writer }{s}, r)
	}
	staged.mu.Lock()
	defer staged.mu.Unlock()
	switch {
	case staged.h != s.h:
		return 0, errors.New("take over a snapshot: it was staged by another node")
	case staged.taken:
		return 0, errors.New("take over a snapshot: it was restored or given up")
	case s.persisted || s.pipe != nil || s.staged != nil || s.ended:
		return 0, errors.New("take over a snapshot: the sink is in use or closed")
	}
	dir := s.h.path(incomingName, s.meta.ID)
	if err := s.h.fs.Rename(staged.dir, dir+tempSuffix); err != nil {
		return 0, fmt.Errorf("take over a snapshot: %w", err)
	}
	staged.taken, s.staged, s.dir = true, staged, dir
	s.h.c.step("restore taken over")
	return staged.header.Bytes, nil
}

// reposition makes a received database stand where Raft says: at another index than the one it was taken at, with this cluster's
// configuration.
func (h *Holder) reposition(path string, meta raft.SnapshotMeta) error {
	o := h.c.KV
	o.MustExist, o.OnFailure, o.Logger = true, nil, h.c.Logger
	store, err := pebblekv.Open(path, o)
	if err != nil {
		return fmt.Errorf("open the snapshot: %w", err)
	}
	if err := writePosition(store, meta, nil); err != nil {
		return errors.Join(err, store.Close())
	}
	h.c.step("restore repositioned")
	return store.Close()
}

// Reposition gives the current database, durably, another place in the Raft log and another configuration: the recovery after
// the loss of a quorum. Raft must not run. edit may add to what changes with it.
func (h *Holder) Reposition(index, term uint64, conf raft.Configuration, edit func(kv.Batch) error) error {
	h.c.ApplyLock.Lock()
	defer h.c.ApplyLock.Unlock()
	hd := h.Acquire()
	defer hd.Release()
	return writePosition(hd.store, raft.SnapshotMeta{Index: index, Term: term, Configuration: conf, ConfigurationIndex: index}, edit)
}

// writePosition replaces, durably, all that the database says of its place in the Raft log. The witness and the mark of
// a halt go: they are of another log, or of another stretch of it.
func writePosition(store kv.Store, meta raft.SnapshotMeta, edit func(kv.Batch) error) error {
	b := store.NewBatch()
	defer b.Close()
	err := errors.Join(WriteApplied(b, meta.Index, meta.Term), WriteConfiguration(b, meta.ConfigurationIndex, meta.Configuration),
		b.Delete(keyWitness), b.Delete(keyHalt))
	if err == nil && edit != nil {
		err = edit(b)
	}
	if err == nil {
		err = store.Commit(b, true)
	}
	if err != nil {
		return fmt.Errorf("write the position in the raft log: %w", err)
	}
	return nil
}
