package snapshot

import (
	"errors"
	"fmt"
	"io"
	"syscall"

	"github.com/hashicorp/raft"
)

// errCancelled ends the decoding of a transfer that is given up.
var errCancelled = errors.New("the snapshot's transfer was cancelled")

// sink is Raft's end of a new snapshot: of this node's database, when persist is called, or of one that is received,
// when bytes are written. Raft uses it from one goroutine.
type sink struct {
	h     *Holder
	store *Store
	meta  raft.SnapshotMeta

	persisted bool
	ended     bool

	// Receiving: a decoder reads what is written, in its own goroutine, which ends before Close or Cancel return.
	dir     string
	pipe    *io.PipeWriter
	decoded chan error

	// staged is the operator's snapshot that this sink took over instead of receiving bytes.
	staged *Staged
}

// ID implements raft.SnapshotSink.
func (s *sink) ID() string { return s.meta.ID }

func (s *sink) persist(hd *Handle) error {
	if s.pipe != nil || s.staged != nil || s.ended {
		return errors.New("persist: the sink is receiving a snapshot or closed")
	}
	if err := s.h.recordWitness(hd, s.meta); err != nil {
		return fmt.Errorf("persist: %w", err)
	}
	s.persisted = true
	s.meta.ID = liveID
	return nil
}

// Write implements raft.SnapshotSink: it receives the next bytes of another node's snapshot.
func (s *sink) Write(p []byte) (int, error) {
	if s.persisted || s.staged != nil || s.ended {
		return 0, errors.New("receive snapshot: the sink is closed")
	}
	if s.pipe == nil {
		s.receive()
	}
	s.h.c.step("transfer")
	n, err := s.pipe.Write(p)
	if err != nil {
		return n, fmt.Errorf("receive snapshot: %w", err)
	}
	return n, nil
}

func (s *sink) receive() {
	s.dir = s.h.path(incomingName, s.meta.ID)
	r, w := io.Pipe()
	s.pipe, s.decoded = w, make(chan error, 1)
	go func() {
		_, err := decodeInto(r, s.h.fs, s.dir+tempSuffix, s.accept)
		if err == nil {
			// A writer blocked on bytes nobody reads would wait forever.
			err = r.Close()
		} else {
			_ = r.CloseWithError(err)
		}
		s.decoded <- err
	}()
}

// accept refuses a stream that is not the snapshot Raft announced.
func (s *sink) accept(m manifest) error {
	if m.Index != s.meta.Index || m.Term != s.meta.Term {
		return fmt.Errorf("the snapshot is of index %d (term %d), announced was %d (term %d)", m.Index, m.Term, s.meta.Index,
			s.meta.Term)
	}
	return s.h.c.AdmitInfo(m.Info)
}

// Close implements raft.SnapshotSink. A received snapshot is complete and verified when it returns nil.
func (s *sink) Close() error {
	if s.ended {
		return nil
	}
	s.ended = true
	if s.persisted {
		return nil
	}
	var err error
	switch {
	case s.staged != nil:
		err = s.h.reposition(s.dir+tempSuffix, s.meta)
	case s.pipe != nil:
		_ = s.pipe.Close()
		err = <-s.decoded
	default:
		return errors.New("close snapshot: nothing was written to it")
	}
	if err == nil {
		s.h.c.step("sink received")
		err = s.verify()
	}
	if err == nil && s.pipe != nil {
		err = s.h.admit(s.dir + tempSuffix)
	}
	if err == nil {
		s.h.c.step("sink verified")
		err = s.finish()
	}
	if err != nil {
		return fmt.Errorf("receive snapshot: %w", errors.Join(err, removeAll(s.h.fs, s.dir+tempSuffix)))
	}
	s.h.c.step("sink closed")
	return nil
}

// verify opens the received database and looks whether it is what was announced.
func (s *sink) verify() error {
	m, err := s.h.inspect(s.dir + tempSuffix)
	if errors.Is(err, syscall.ENOSPC) {
		return err
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if index, term := m.Last(); index != s.meta.Index || term != s.meta.Term {
		return fmt.Errorf("%w: the database in it stands at %d (term %d), announced was %d (term %d)", ErrCorrupt, index, term,
			s.meta.Index, s.meta.Term)
	}
	return nil
}

func (s *sink) finish() error {
	if err := s.h.fs.Rename(s.dir+tempSuffix, s.dir); err != nil {
		return err
	}
	if err := syncDir(s.h.fs, s.h.path(incomingName)); err != nil {
		return errors.Join(err, removeAll(s.h.fs, s.dir))
	}
	s.store.received(&incoming{h: s.h, meta: s.meta, dir: s.dir})
	return nil
}

// Cancel implements raft.SnapshotSink.
func (s *sink) Cancel() error {
	if s.ended {
		return nil
	}
	s.ended = true
	if s.staged != nil {
		return removeAll(s.h.fs, s.dir+tempSuffix)
	}
	if s.pipe == nil {
		return nil
	}
	_ = s.pipe.CloseWithError(errCancelled)
	<-s.decoded
	return removeAll(s.h.fs, s.dir+tempSuffix)
}
