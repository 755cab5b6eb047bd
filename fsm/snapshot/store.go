package snapshot

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sluice-dev/sluice/fsm/kv"
)

// liveID is the one snapshot there is: the current database.
const liveID = "live"

// maxStreams bounds the snapshots being sent at a time; each may keep as much disk space as the database.
const maxStreams = 8

// Store is Raft's view of the databases. It keeps no copies: the only snapshot it lists is the current database.
type Store struct {
	h *Holder

	// mu guards pending: what was received and not yet installed, by id.
	mu      sync.Mutex
	pending map[string]*incoming
}

var _ raft.SnapshotStore = (*Store)(nil)

// NewStore returns the snapshot store over a holder.
func NewStore(h *Holder) *Store { return &Store{h: h, pending: map[string]*incoming{}} }

// Create implements raft.SnapshotStore.
func (s *Store) Create(version raft.SnapshotVersion, index, term uint64, conf raft.Configuration, confIndex uint64,
	_ raft.Transport,
) (raft.SnapshotSink, error) {
	if version != raft.SnapshotVersionMax {
		return nil, fmt.Errorf("create snapshot: version %d of Raft's snapshots is not supported", version)
	}
	return &sink{h: s.h, store: s, meta: raft.SnapshotMeta{
		Version: version, ID: fmt.Sprintf("%d-%d-%d", term, index, s.h.nextNumber()), Index: index, Term: term,
		Configuration: conf, ConfigurationIndex: confIndex,
	}}, nil
}

// List implements raft.SnapshotStore: the current database, or nothing when it is new. Its size is known only once it is
// opened.
func (s *Store) List() ([]*raft.SnapshotMeta, error) {
	m, err := s.h.Meta()
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	if index, _ := m.Last(); index == 0 {
		return nil, nil
	}
	meta := m.raft()
	return []*raft.SnapshotMeta{&meta}, nil
}

func (m Meta) raft() raft.SnapshotMeta {
	index, term := m.Last()
	return raft.SnapshotMeta{
		Version: raft.SnapshotVersionMax, ID: liveID, Index: index, Term: term,
		Configuration: m.Configuration, ConfigurationIndex: m.ConfigurationIndex,
	}
}

// Open implements raft.SnapshotStore. "live" is a stream of the current database as it is now, for another node or a
// backup; any other id is what a sink received, for Restore.
func (s *Store) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	if id == liveID {
		out, err := s.h.send()
		if err != nil {
			return nil, nil, fmt.Errorf("open snapshot: %w", err)
		}
		meta := out.meta
		return &meta, out, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	in, ok := s.pending[id]
	if !ok {
		return nil, nil, fmt.Errorf("open snapshot: there is none with the id %q", id)
	}
	meta := in.meta
	return &meta, in, nil
}

func (s *Store) received(in *incoming) {
	in.done = func(in *incoming) {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.pending, in.meta.ID)
	}
	s.mu.Lock()
	// Raft receives one snapshot at a time: what is still here was given up without being opened.
	var stale []*incoming
	for _, p := range s.pending {
		stale = append(stale, p)
	}
	s.pending[in.meta.ID] = in
	s.mu.Unlock()
	for _, p := range stale {
		if err := p.Close(); err != nil {
			s.h.c.Logger.Warn("removing a snapshot that was never installed", "error", err)
		}
	}
}

// Transfers returns how many snapshots are being read now. While it is above 0 the Raft log should be kept, or the
// receiver cannot go on from its snapshot.
func (s *Store) Transfers() int {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	return len(s.h.streams)
}

// outgoing is a snapshot being sent: a checkpoint directory and its encoder.
type outgoing struct {
	h    *Holder
	meta raft.SnapshotMeta
	info Info
	dir  string
	idle *time.Timer

	// mu is held while reading, and guards closed.
	mu     sync.Mutex
	enc    *encoder
	closed error
}

var errSendClosed = errors.New("send snapshot: closed, or given up because nobody read it")

// send takes a checkpoint and starts a stream of it.
func (h *Holder) send() (*outgoing, error) {
	h.mu.Lock()
	err := h.unsettled
	if err == nil && h.closed {
		err = errSendClosed
	}
	if err == nil && len(h.streams) >= maxStreams {
		err = fmt.Errorf("%d snapshots are being sent already", len(h.streams))
	}
	out := &outgoing{h: h}
	if err == nil {
		h.streams[out] = struct{}{}
	}
	h.mu.Unlock()
	if err != nil {
		return nil, err
	}
	out.dir = h.path(outgoingName, fmt.Sprintf("%d", h.nextNumber()))
	out.mu.Lock()
	defer out.mu.Unlock()
	if err := h.checkpoint(out); err != nil {
		out.closed = err
		return nil, errors.Join(err, out.remove())
	}
	out.idle = time.AfterFunc(h.c.StreamIdle, func() { _ = out.Close() })
	h.c.step("checkpoint taken")
	return out, nil
}

// checkpoint freezes the database for the time of the hard links.
func (h *Holder) checkpoint(out *outgoing) error {
	if err := makeDir(h.fs, h.path(outgoingName)); err != nil {
		return err
	}
	hd := h.Acquire()
	defer hd.Release()
	var frozen kv.Snapshot
	m, err := func() (Meta, error) {
		h.c.ApplyLock.Lock()
		defer h.c.ApplyLock.Unlock()
		h.witness.Lock()
		defer h.witness.Unlock()
		if h.current.Load() != hd {
			return Meta{}, errors.New("the database was replaced meanwhile")
		}
		if err := hd.store.Checkpoint(out.dir); err != nil {
			return Meta{}, err
		}
		frozen = hd.store.Snapshot()
		return ReadMeta(frozen)
	}()
	if frozen != nil {
		defer frozen.Close()
	}
	if err != nil {
		return err
	}
	info, err := h.c.Describe(frozen)
	if err != nil {
		return fmt.Errorf("describe the state: %w", err)
	}
	out.info = info
	out.meta = m.raft()
	if out.meta.Index == 0 {
		return errors.New("nothing was applied yet")
	}
	out.enc, err = newEncoder(h.fs, out.dir, manifest{
		PebbleFormat: hd.store.FormatMajor(), Index: out.meta.Index, Term: out.meta.Term, Info: info,
	})
	if err != nil {
		return err
	}
	out.meta.Size = out.enc.size
	return nil
}

func (o *outgoing) Read(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed != nil {
		return 0, o.closed
	}
	o.idle.Reset(o.h.c.StreamIdle)
	return o.enc.Read(p)
}

// Close ends the stream and removes the checkpoint. It is idempotent.
func (o *outgoing) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed != nil {
		return nil
	}
	o.closed = errSendClosed
	o.idle.Stop()
	err := errors.Join(o.enc.Close(), o.remove())
	o.h.c.step("stream closed")
	return err
}

func (o *outgoing) remove() error {
	o.h.mu.Lock()
	delete(o.h.streams, o)
	o.h.mu.Unlock()
	return removeAll(o.h.fs, o.dir)
}
