// Package logstore keeps Raft's log and vote on disk and makes the storage underneath safe to use with hashicorp/raft:
// it refuses gaps, removes what a failed write may have left behind, bounds every write by a watchdog, reports honestly
// whether a failed append can still be on disk, and reconciles the log with the state machine at start.
package logstore

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// FileName is the file inside the data directory that holds the log and the vote.
const FileName = "raft.db"

// deleteChunk is how many entries one delete transaction covers, so that compaction never holds up appends for long.
const deleteChunk = 2048

var (
	// ErrNotStored wraps the cause of an append that is certainly not on disk.
	ErrNotStored = errors.New("entries were not written to the log")
	// ErrUncertain wraps the cause of an append that failed but may be on disk.
	ErrUncertain = errors.New("entries may or may not have been written to the log")
	// ErrLatched is returned for every write after the watchdog fired, until Rearm.
	ErrLatched = errors.New("a log write exceeded its time limit; writes are refused until it returns and raft restarts from disk")
	// ErrGap is returned for an append that would leave a hole in the log.
	ErrGap = errors.New("append would leave a gap in the log")
	// ErrDamaged is returned by Open for a file that is no log, or no longer one.
	ErrDamaged = errors.New("the raft log is damaged")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("log store is closed")
)

// Backend is the storage underneath. *raftboltdb.BoltStore is one.
type Backend interface {
	raft.LogStore
	raft.StableStore
	Close() error
}

// Options configure Open.
type Options struct {
	// Dir is the data directory; the file FileName is created in it. Unused when Backend is set.
	Dir string
	// Backend replaces the bbolt file, for fault injection.
	Backend Backend
	// WriteTimeout latches the store when one write takes longer. Default 10 s. Too short: a slow disk costs the node its
	// leadership; too long: a hung disk freezes the cluster for that time.
	WriteTimeout time.Duration
	// CacheBytes bounds the entries kept in memory for replication. Default 8 MiB.
	CacheBytes int
	// OnAppend is called after each successful append with its duration. It must not block.
	OnAppend func(d time.Duration, entries, bytes int)
	// OnSuspect is called, on any goroutine and without locks held, when raft's memory and the disk may differ and raft
	// has to be restarted from disk. It must not block.
	OnSuspect func(reason string)
	// OnPurged is called after raft deleted its log because of an installed snapshot. It must not block or call raft in
	// a way that waits for its main loop.
	OnPurged func()
	Logger   *slog.Logger
}

// Store is a raft.LogStore and, through Stable, a raft.StableStore.
type Store struct {
	opts    Options
	backend Backend
	log     *slog.Logger
	writer  *writer

	// appends serialises StoreLogs and DeleteRange against each other's view of [first, last].
	appends sync.Mutex

	mu          sync.Mutex // guards what follows
	first, last uint64     // the log is [first, last]; both 0 when it is empty
	next        extent     // where an empty log may continue; the zero extent = anywhere
	dirty       bool       // a failed write may have left entries above last
	truncated   bool       // a suffix was cut and nothing appended since: raft's memory still names the old end
	restored    position   // snapshot installed but log not yet purged
	sizes       sizes
	cache       cache
	failed      error // last write error, nil after the next success
	failedAt    time.Time
	suspect     string // why raft has to restart; "" when healthy

	lastAppend atomic.Int64 // ns, duration of the last append
}

type position struct{ index, term uint64 }

type extent struct{ low, high uint64 }

// Open opens or creates the log.
func Open(o Options) (*Store, error) {
	if o.WriteTimeout <= 0 {
		o.WriteTimeout = 10 * time.Second
	}
	if o.CacheBytes <= 0 {
		o.CacheBytes = 8 << 20
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	b := o.Backend
	if b == nil {
		// NoFreelistSync and the map freelist keep an append from rewriting the list of free pages.
		bolt, err := raftboltdb.New(raftboltdb.Options{
			Path: filepath.Join(o.Dir, FileName),
			BoltOptions: &bbolt.Options{
				NoFreelistSync: true,
				FreelistType:   bbolt.FreelistMapType,
				Timeout:        2 * time.Second,
			},
		})
		if errors.Is(err, berrors.ErrInvalid) || errors.Is(err, berrors.ErrChecksum) || errors.Is(err, berrors.ErrVersionMismatch) {
			err = fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		if err != nil {
			return nil, fmt.Errorf("open raft log %s: %w", filepath.Join(o.Dir, FileName), err)
		}
		b = bolt
	}
	s := &Store{opts: o, backend: b, log: o.Logger, cache: cache{limit: o.CacheBytes}}
	if err := s.loadChecked(); err != nil {
		return nil, errors.Join(fmt.Errorf("open raft log %s: %w", filepath.Join(o.Dir, FileName), err), b.Close())
	}
	s.writer = newWriter(o.WriteTimeout, s.stuckReturned)
	return s, nil
}

// loadChecked is load of a file that nothing vouches for: bbolt panics at pages that make no sense.
func (s *Store) loadChecked() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, p)
		}
	}()
	return s.load()
}

// load reads the log's extent and estimates the entries' sizes.
func (s *Store) load() error {
	first, err := s.backend.FirstIndex()
	if err != nil {
		return fmt.Errorf("read first index of the raft log: %w", err)
	}
	last, err := s.backend.LastIndex()
	if err != nil {
		return fmt.Errorf("read last index of the raft log: %w", err)
	}
	s.first, s.last = first, last
	s.sizes = sizes{}
	s.cache.clear()
	if last == 0 {
		return nil
	}
	return s.sizes.sample(s.backend, first, last)
}

// Before is the index that the log continues, 0 when nothing was ever removed from its front.
func (s *Store) Before() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.last != 0:
		return s.first - 1
	case s.next.high != 0:
		return s.next.high - 1
	}
	return 0
}

// IsMonotonic tells raft to delete the whole log when it installs a snapshot. Without it raft keeps a divergent suffix
// that was never committed and may later replicate it.
func (s *Store) IsMonotonic() bool { return true }

// FirstIndex implements raft.LogStore.
func (s *Store) FirstIndex() (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.first, nil
}

// LastIndex implements raft.LogStore.
func (s *Store) LastIndex() (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last, nil
}

// GetLog implements raft.LogStore. It keeps answering while writes are refused, because raft panics on a failed read.
func (s *Store) GetLog(index uint64, l *raft.Log) error {
	s.mu.Lock()
	if index < s.first || index > s.last || s.last == 0 {
		s.mu.Unlock()
		return raft.ErrLogNotFound
	}
	if c := s.cache.get(index); c != nil {
		*l = *c
		s.mu.Unlock()
		return nil
	}
	s.mu.Unlock()
	return s.backend.GetLog(index, l)
}

// StoreLog implements raft.LogStore.
func (s *Store) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore. A failure is ErrNotStored, ErrUncertain, ErrLatched, ErrGap or ErrClosed; all but
// ErrUncertain and ErrLatched mean that nothing of logs is on disk. After ErrLatched the write may still succeed.
func (s *Store) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	s.appends.Lock()
	defer s.appends.Unlock()
	if err := s.admit(logs); err != nil {
		return err
	}
	s.mu.Lock()
	tail, dirty := s.last, s.dirty
	s.mu.Unlock()

	start := time.Now()
	bytes := 0
	for _, l := range logs {
		bytes += entrySize(l)
	}
	err := s.writer.do(func() error {
		if dirty {
			if err := s.removeAbove(tail); err != nil {
				return fmt.Errorf("%w: remove the remains of a failed write: %w", ErrNotStored, err)
			}
		}
		err := s.backend.StoreLogs(logs)
		if err != nil {
			return s.settle(tail, err)
		}
		return nil
	})
	s.mu.Lock()
	if err != nil {
		s.noteFailure(err)
		s.dirty = true
		raise := s.truncated
		s.mu.Unlock()
		if raise && !errors.Is(err, ErrLatched) {
			s.raise("an append failed after conflicting entries were removed")
		}
		return err
	}
	s.noteSuccess()
	if s.last == 0 {
		s.first = logs[0].Index
	}
	s.last = logs[len(logs)-1].Index
	s.dirty, s.truncated = false, false
	for _, l := range logs {
		n := entrySize(l)
		s.sizes.push(l.Index, n)
		s.cache.push(l, n)
	}
	s.mu.Unlock()
	d := time.Since(start)
	s.lastAppend.Store(int64(d))
	if s.opts.OnAppend != nil {
		s.opts.OnAppend(d, len(logs), bytes)
	}
	return nil
}

// admit refuses appends that are not the continuation of the log and, before an overlap, cuts the old suffix.
func (s *Store) admit(logs []*raft.Log) error {
	for i := 1; i < len(logs); i++ {
		if logs[i].Index != logs[i-1].Index+1 {
			return fmt.Errorf("%w: entry %d follows %d in one append", ErrGap, logs[i].Index, logs[i-1].Index)
		}
	}
	first := logs[0].Index
	s.mu.Lock()
	if s.suspect != "" {
		defer s.mu.Unlock()
		return fmt.Errorf("%w (%s)", ErrLatched, s.suspect)
	}
	want, last := s.next, s.last
	if last != 0 {
		want = extent{s.first, last + 1}
	}
	s.mu.Unlock()
	if want == (extent{}) || first == want.high {
		return nil
	}
	if first > want.high || first < want.low {
		reason := fmt.Sprintf("raft appended entry %d where the log continues at %d", first, want.high)
		s.raise(reason)
		return fmt.Errorf("%w: %s", ErrGap, reason)
	}
	if last == 0 {
		return nil
	}
	if err := s.deleteRange(first, last); err != nil {
		return fmt.Errorf("%w: remove the entries replaced: %w", ErrNotStored, err)
	}
	return nil
}

// settle finds out, on the writer's goroutine, whether a failed append left something on disk.
func (s *Store) settle(tail uint64, cause error) error {
	last, err := s.backend.LastIndex()
	if err == nil && last <= tail {
		return fmt.Errorf("%w: %w", ErrNotStored, cause)
	}
	if err == nil {
		err = s.removeAbove(tail)
	}
	if err == nil {
		return fmt.Errorf("%w: %w", ErrNotStored, cause)
	}
	return fmt.Errorf("%w: %w", ErrUncertain, cause)
}

// removeAbove deletes what the backend holds above tail, the last acknowledged index. Writer goroutine only.
func (s *Store) removeAbove(tail uint64) error {
	last, err := s.backend.LastIndex()
	if err != nil {
		return err
	}
	if last <= tail {
		return nil
	}
	return s.backend.DeleteRange(tail+1, last)
}

// DeleteRange implements raft.LogStore: compaction from the front, truncation at the end, or the purge after a snapshot
// was installed. A purge keeps the entries behind the snapshot when the log agrees with it (they may be committed).
func (s *Store) DeleteRange(low, high uint64) error {
	if _, last := s.extent(); high < last {
		return s.compact(low, high)
	}
	s.appends.Lock()
	defer s.appends.Unlock()
	s.mu.Lock()
	if s.suspect != "" {
		defer s.mu.Unlock()
		return fmt.Errorf("%w (%s)", ErrLatched, s.suspect)
	}
	purge := s.restored.index != 0 && low <= s.first && high >= s.last
	at := s.restored
	s.mu.Unlock()
	if !purge {
		return s.deleteRange(low, high)
	}
	if err := s.purge(at); err != nil {
		// Raft logs this error and carries on with the divergent suffix in place: only a restart is safe.
		s.raise("the log could not be purged after a snapshot was installed: " + err.Error())
		return err
	}
	if s.opts.OnPurged != nil {
		s.opts.OnPurged()
	}
	return nil
}

// compact deletes from the front in chunks and lets appends in between them.
func (s *Store) compact(low, high uint64) error {
	first, _ := s.extent()
	for low = max(low, first); low <= high; low += deleteChunk {
		s.appends.Lock()
		s.mu.Lock()
		suspect := s.suspect
		s.mu.Unlock()
		var err error
		if suspect != "" {
			err = fmt.Errorf("%w (%s)", ErrLatched, suspect)
		} else {
			err = s.deleteRange(low, min(high, low+deleteChunk-1))
		}
		s.appends.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// purge makes the log fit the installed snapshot at.
func (s *Store) purge(at position) error {
	first, last := s.extent()
	keep := false
	if last != 0 && first <= at.index && at.index <= last {
		var l raft.Log
		if err := s.GetLog(at.index, &l); err != nil {
			return fmt.Errorf("read entry %d: %w", at.index, err)
		}
		keep = l.Term == at.term
	}
	high := last
	if keep {
		high = at.index
	}
	if last != 0 {
		if err := s.deleteRange(first, high); err != nil {
			return err
		}
	}
	s.mu.Lock()
	s.restored = position{}
	if s.last == 0 {
		s.next = extent{at.index + 1, at.index + 1}
	}
	s.truncated = false
	s.mu.Unlock()
	return nil
}

func (s *Store) extent() (first, last uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.first, s.last
}

// deleteRange deletes [low, high]. A range that reaches the end is deleted in descending chunks, so that a crash between
// them leaves no hole and a crash in a purge leaves a log that Reconcile still recognises as stale. Holds appends.
func (s *Store) deleteRange(low, high uint64) error {
	first, last := s.extent()
	low, high = max(low, first), min(high, last)
	if last == 0 || low > high {
		return nil
	}
	if high < last && low > first {
		return fmt.Errorf("delete entries %d to %d: would leave a hole in the log %d to %d", low, high, first, last)
	}
	for b := high; b >= low; {
		a := low
		if high == last && b-low >= deleteChunk {
			a = b - deleteChunk + 1
		}
		if err := s.writer.do(func() error { return s.backend.DeleteRange(a, b) }); err != nil {
			s.mu.Lock()
			s.noteFailure(err)
			s.mu.Unlock()
			return fmt.Errorf("delete entries %d to %d: %w", a, b, err)
		}
		s.deleted(a, b)
		b = a - 1
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == 0 {
		// Either compaction up to the end, which continues behind it, or a truncation whose replacement begins inside.
		s.next = extent{low, high + 1}
	}
	return nil
}

// deleted records that [a, b] is gone.
func (s *Store) deleted(a, b uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noteSuccess()
	if a == s.first {
		s.sizes.dropFront(b)
		s.cache.dropFront(b)
		s.first = b + 1
	} else {
		s.sizes.dropBack(a)
		s.cache.dropBack(a)
		s.truncated = true
		s.last = a - 1
	}
	if s.first > s.last {
		s.first, s.last = 0, 0
		s.sizes = sizes{}
		s.cache.clear()
	}
}

// Restored tells the store that the state machine was replaced by a snapshot at (index, term). The log that raft deletes
// next is purged accordingly. It returns whether the log is empty already, in which case raft deletes nothing.
func (s *Store) Restored(index, term uint64) (empty bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == 0 {
		s.next = extent{index + 1, index + 1}
		return true
	}
	s.restored = position{index, term}
	return false
}

func (s *Store) raise(reason string) {
	s.mu.Lock()
	if s.suspect == "" {
		s.suspect = reason
	}
	s.mu.Unlock()
	s.log.Error("raft log and memory may differ; raft restarts from disk", "reason", reason)
	if s.opts.OnSuspect != nil {
		s.opts.OnSuspect(reason)
	}
}

// Suspect makes the store refuse writes until Rearm and asks for a restart of raft.
func (s *Store) Suspect(reason string) { s.raise(reason) }

// stuckReturned is called by the writer when a write that had exceeded its limit came back.
func (s *Store) stuckReturned(after time.Duration, err error) {
	s.raise(fmt.Sprintf("a log write took %s (limit %s, result: %v)", after.Round(time.Millisecond), s.opts.WriteTimeout, err))
}

// noteFailure keeps why a write failed. That the file is not mapped any more only follows from the failure before.
func (s *Store) noteFailure(err error) {
	if s.failed == nil || !errors.Is(err, berrors.ErrInvalidMapping) {
		s.failed = err
	}
	s.failedAt = time.Now()
}

func (s *Store) noteSuccess() { s.failed = nil }

// Rearm reloads the log's extent from disk after raft was stopped and accepts writes again. It fails while a write is
// still stuck.
func (s *Store) Rearm() error {
	s.appends.Lock()
	defer s.appends.Unlock()
	if err := s.writer.rearm(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.load(); err != nil {
		return err
	}
	s.suspect, s.dirty, s.truncated, s.restored, s.next = "", false, false, position{}, extent{}
	return nil
}

// Health describes the store for operators.
type Health struct {
	First, Last uint64
	Bytes       int64         // of all entries in the log, estimated for entries older than the process
	LastAppend  time.Duration // how long the last successful append took, fsync included
	Latched     bool          // the watchdog has fired and writes are refused
	Suspect     string        // why raft has to restart; "" when it has not
	Err         error         // last write error, nil once a later write succeeded
	ErrAt       time.Time
}

// Health returns the present state.
func (s *Store) Health() Health {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Health{First: s.first, Last: s.last, Bytes: s.sizes.total, LastAppend: time.Duration(s.lastAppend.Load()),
		Latched: s.writer.latched(), Suspect: s.suspect, Err: s.failed, ErrAt: s.failedAt}
}

// Bytes is the size of all entries in the log.
func (s *Store) Bytes() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sizes.total
}

// TrailingWithin returns how many of the newest entries fit into budget bytes. While all do there is no bound, math.MaxUint64: entries
// to come may fit as well.
func (s *Store) TrailingWithin(budget int64) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sizes.trailing(budget)
}

// Close waits for a running write and closes the file.
func (s *Store) Close() error {
	s.writer.close()
	return s.backend.Close()
}
