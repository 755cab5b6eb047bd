package snapshot

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/sluice-dev/sluice/fsm/kv"
)

// incoming is a received and verified database in incoming/, what Raft hands to Restore. Its bytes are on disk already,
// so there is nothing to read.
type incoming struct {
	h    *Holder
	meta raft.SnapshotMeta
	dir  string
	// done is called by Close, once.
	done func(*incoming)
	once sync.Once
}

func (in *incoming) Read([]byte) (int, error) {
	return 0, errors.New("a received snapshot is installed, not read")
}

// Close forgets the received database; what was not installed is removed.
func (in *incoming) Close() error {
	var err error
	in.once.Do(func() {
		in.done(in)
		err = removeAll(in.h.fs, in.dir)
	})
	return err
}

// unwrap looks through the readers that Raft puts around ours.
func unwrap(rc io.ReadCloser) io.ReadCloser {
	for {
		w, ok := rc.(raft.ReadCloserWrapper)
		if !ok {
			return rc
		}
		rc = w.WrappedReadCloser()
	}
}

// Restore implements the method of raft.FSM for a reader that came from this holder's Store. It takes the apply lock.
func (h *Holder) Restore(rc io.ReadCloser) error {
	switch r := unwrap(rc).(type) {
	case *incoming:
		if r.h != h {
			return errors.New("restore: the snapshot was received by another node")
		}
		return h.install(r)
	case *outgoing:
		if r.h != h {
			return errors.New("restore: the snapshot belongs to another node")
		}
		// Raft restores from what it believes to be its newest snapshot; that is the database as it is.
		m, err := h.Meta()
		if err != nil {
			return err
		}
		if index, _ := m.Last(); index != r.meta.Index {
			return fmt.Errorf("restore: the state went on to %d from the snapshot at %d", index, r.meta.Index)
		}
		return nil
	default:
		return fmt.Errorf("restore: a %T does not come from this node's snapshot store", rc)
	}
}

// install makes a received database the current one. When it returns an error, the old one still is, and ErrUnsettled
// says when that may not outlast a restart.
func (h *Holder) install(in *incoming) error {
	h.c.ApplyLock.Lock()
	defer h.c.ApplyLock.Unlock()
	if err := h.settled(); err != nil {
		return fmt.Errorf("install snapshot: %w", err)
	}
	name := fmt.Sprintf("db-%d", h.nextNumber())
	h.c.step("install begins")
	if err := h.fs.Rename(in.dir, h.path(name)); err != nil {
		return fmt.Errorf("install snapshot: %w", err)
	}
	discard := func(err error) error {
		return fmt.Errorf("install snapshot: %w", errors.Join(err, removeAll(h.fs, h.path(name))))
	}
	if err := syncDir(h.fs, h.dir); err != nil {
		return discard(err)
	}
	h.c.step("new database named")
	store, err := h.openDB(name)
	if err != nil {
		return discard(err)
	}
	m, err := ReadMeta(store)
	if index, term := m.Last(); err == nil && (index != in.meta.Index || term != in.meta.Term) {
		err = fmt.Errorf("the database stands at %d (term %d), the snapshot at %d (term %d)", index, term, in.meta.Index,
			in.meta.Term)
	}
	if err != nil {
		return discard(errors.Join(err, store.Close()))
	}
	h.c.step("new database opened")
	if renamed, err := h.setCurrent(name); err != nil {
		err = errors.Join(err, store.Close())
		if !renamed {
			return discard(err)
		}
		// Either may be current after a power cut, so both stay, and nothing may rely on the old one any more.
		err = fmt.Errorf("%w: %w", ErrUnsettled, err)
		h.mu.Lock()
		h.unsettled = err
		h.mu.Unlock()
		if h.c.KV.OnFailure != nil {
			h.c.KV.OnFailure(err)
		}
		return fmt.Errorf("install snapshot: %w", err)
	}
	// From here on nothing may fail.
	h.mu.Lock()
	callbacks := append([]func(kv.Store){}, h.onInstall...)
	h.mu.Unlock()
	h.open.Add(1)
	old := h.current.Swap(newHandle(h, store, name))
	old.obsolete.Store(true)
	h.c.step("swapped")
	for _, f := range callbacks {
		f(store)
	}
	old.Release()
	h.c.Logger.Info("snapshot installed", "index", in.meta.Index, "term", in.meta.Term, "dir", h.path(name))
	return nil
}

// Snapshot implements the method of raft.FSM. It costs nothing: the database is the snapshot.
func (h *Holder) Snapshot() (raft.FSMSnapshot, error) {
	if err := h.settled(); err != nil {
		return nil, err
	}
	return &live{hd: h.Acquire()}, nil
}

// live is the database as a snapshot that Raft takes.
type live struct{ hd *Handle }

// Persist makes the database durable up to the snapshot's index, which is what allows Raft to drop its log; it writes no
// copy. It may run while entries are applied.
func (l *live) Persist(to raft.SnapshotSink) error {
	s, ok := to.(*sink)
	if !ok || s.h != l.hd.h {
		return fmt.Errorf("persist: a %T does not belong to this node's snapshot store", to)
	}
	return s.persist(l.hd)
}

func (l *live) Release() { l.hd.Release() }

// recordWitness syncs the database and records the snapshot Raft takes of it.
func (h *Holder) recordWitness(hd *Handle, meta raft.SnapshotMeta) error {
	h.witness.Lock()
	defer h.witness.Unlock()
	if err := h.settled(); err != nil {
		return err
	}
	if h.current.Load() != hd {
		return errors.New("the database was replaced while the snapshot was taken")
	}
	m, err := hd.meta()
	if err != nil {
		return err
	}
	h.c.step("persist begins")
	if meta.Index <= m.WitnessIndex {
		err = hd.store.Sync()
	} else {
		b := hd.store.NewBatch()
		defer b.Close()
		if err = writeWitness(b, meta.Index, meta.Term, meta.ConfigurationIndex, meta.Configuration); err == nil {
			err = hd.store.Commit(b, true)
		}
	}
	h.c.step("persist ends")
	return err
}
