package logstore

import (
	"bytes"
	"runtime"
	"time"
)

// retryPause is how long a failed write of term or vote waits before it is tried again.
const retryPause = 200 * time.Millisecond

// Stable is the raft.StableStore (term and vote) for one run of raft. Raft panics when its term cannot be saved, so a
// failing write is retried until it succeeds; meanwhile raft's main loop stands still and the node takes part in nothing.
type Stable struct {
	store     *Store
	interrupt chan struct{}
	direct    bool // report errors instead of trying again
}

// Stable returns the stable store for the next run of raft.
func (s *Store) Stable() *Stable { return &Stable{store: s, interrupt: make(chan struct{})} }

// Direct returns a stable store that reports errors, for use without a running raft.
func (s *Store) Direct() *Stable {
	return &Stable{store: s, interrupt: make(chan struct{}), direct: true}
}

// Interrupt ends the goroutine of every caller that waits in Set, so that a run of raft with a failing disk can be shut
// down. Returning an error instead would make raft panic, returning success would let it vote twice in a term. Call once.
func (t *Stable) Interrupt() { close(t.interrupt) }

// Get implements raft.StableStore.
func (t *Stable) Get(key []byte) ([]byte, error) { return t.store.backend.Get(key) }

// GetUint64 implements raft.StableStore.
func (t *Stable) GetUint64(key []byte) (uint64, error) { return t.store.backend.GetUint64(key) }

// Set implements raft.StableStore; it returns only when the value is durable.
func (t *Stable) Set(key, value []byte) error {
	if old, err := t.store.backend.Get(key); err == nil && bytes.Equal(old, value) {
		return nil
	}
	return t.persist(func() error { return t.store.backend.Set(key, value) })
}

// SetUint64 implements raft.StableStore; it returns only when the value is durable.
func (t *Stable) SetUint64(key []byte, value uint64) error {
	if old, err := t.store.backend.GetUint64(key); err == nil && old == value {
		return nil // raft saves its term again at every start
	}
	return t.persist(func() error { return t.store.backend.SetUint64(key, value) })
}

func (t *Stable) persist(write func() error) error {
	s := t.store
	for {
		select {
		case <-t.interrupt:
			runtime.Goexit()
		default:
		}
		err := s.writer.wait(write, t.interrupt)
		s.mu.Lock()
		if err == nil {
			s.noteSuccess()
			s.mu.Unlock()
			return nil
		}
		if err != errInterrupted {
			s.noteFailure(err)
		}
		s.mu.Unlock()
		if t.direct {
			return err
		}
		select {
		case <-t.interrupt:
			runtime.Goexit()
		case <-time.After(retryPause):
		}
	}
}
