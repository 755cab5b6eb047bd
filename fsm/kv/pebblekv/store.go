// Package pebblekv is the kv.Store on Pebble.
package pebblekv

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sluice-dev/sluice/fsm/kv"
)

// FormatMajor is the on-disk format every store is created with. Opening a store never raises it: a node that upgrades alone would
// write files that the others cannot read, and that its own older binary cannot. RaiseFormat does, once the cluster version says that
// all nodes can.
const FormatMajor = pebble.FormatTableFormatV6

// FormatAt is the on-disk format of a cluster version.
func FormatAt(uint64) pebble.FormatMajorVersion { return FormatMajor }

// NewestReadableFormat is the newest on-disk format this version can open.
const NewestReadableFormat = pebble.FormatNewest

const (
	defaultCacheBytes    = 32 << 20
	defaultMemtableBytes = 8 << 20
	// Writers wait while this many memtables' worth of bytes wait for their flush, or level 0 is this deep. The waiting
	// is done here and not in Pebble, whose wait cannot be ended by a failed disk.
	stallMemtables = 4
	stallL0        = 24
	// never is a threshold Pebble does not reach.
	never = 1 << 20
)

var (
	// ErrDamaged is returned by Open for files that are no database, or no longer one.
	ErrDamaged = errors.New("the state is damaged")
	// ErrFailed wraps the cause once a write has failed (disk full, I/O error, corruption). The store then refuses every
	// write; what was on disk stays as it was at that moment. Close it and open it again when the cause is gone.
	ErrFailed = errors.New("the store stopped after a failed write; free space or repair the disk, then reopen")
	// ErrClosed is returned by writes after Close.
	ErrClosed = errors.New("the store is closed")
)

// Options of a store. The zero value is usable.
type Options struct {
	// FS is the file system; nil is the disk.
	FS vfs.FS
	// CacheBytes bounds the block cache, memtables included; default 32 MiB. Each open store has its own.
	CacheBytes int64
	// MemtableBytes is the size of one memtable; default 8 MiB. Up to four may wait for their flush.
	MemtableBytes uint64
	// ReadOnly refuses writes and leaves the database's files as they are.
	ReadOnly bool
	// MustExist makes Open fail for a directory without a database, instead of creating one.
	MustExist bool
	// FormatAt is the on-disk format of a cluster version; default the function of that name.
	FormatAt func(clusterVersion uint64) pebble.FormatMajorVersion
	// Logger gets Pebble's events that matter; nil discards them.
	Logger *slog.Logger
	// OnFailure is called once, when the store stops as ErrFailed says. It must not call the store and must not block.
	OnFailure func(error)
}

// Store implements kv.Store. Writes are safe for concurrent use and are serialised.
type Store struct {
	db       *pebble.DB
	dir      string
	fence    *fence
	logger   *slog.Logger
	memtable uint64
	formatAt func(uint64) pebble.FormatMajorVersion

	// commitMu serialises writes and guards closed and broken. Broken is set by a panic of Pebble, which leaves its locks
	// held: then its Close would wait forever.
	commitMu sync.Mutex
	closed   bool
	broken   bool
	lock     *pebble.Lock

	// pressure is set when the number of waiting memtables or the depth of level 0 may have grown; the next commit
	// looks. relieved wakes a commit that waits.
	pressure atomic.Bool
	relieved chan struct{}
	stalls   atomic.Int64
}

var _ kv.Store = (*Store)(nil)

// Open opens the database in dir and creates it if there is none.
func Open(dir string, o Options) (*Store, error) {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.CacheBytes <= 0 {
		o.CacheBytes = defaultCacheBytes
	}
	if o.MemtableBytes == 0 {
		o.MemtableBytes = defaultMemtableBytes
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.FormatAt == nil {
		o.FormatAt = FormatAt
	}
	s := &Store{dir: dir, formatAt: o.FormatAt, logger: o.Logger, memtable: o.MemtableBytes, relieved: make(chan struct{}, 1)}
	s.pressure.Store(true)
	s.fence = newFence(o.FS, dir, func(cause error) {
		s.logger.Error("state store stopped", "dir", dir, "error", cause)
		if o.OnFailure != nil {
			o.OnFailure(fmt.Errorf("%w: %w", ErrFailed, cause))
		}
	})
	if !o.ReadOnly {
		if err := o.FS.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("create state directory: %w", err)
		}
	}
	lock, err := pebble.LockDirectory(dir, o.FS)
	if err != nil {
		return nil, fmt.Errorf("open state in %s, is another process using it?: %w", dir, err)
	}
	s.lock = lock
	po := s.pebbleOptions(o)
	if err := keepFormat(po, dir); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	po.Lock = lock
	db, err := pebble.Open(dir, po)
	s.fence.opening.Store(false)
	if err == nil {
		if err = s.fence.failure(); err != nil {
			s.fence.unblock()
			_ = db.Close()
		}
	}
	if err != nil {
		_ = lock.Close()
		if pebble.IsCorruptionError(err) {
			err = fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		return nil, fmt.Errorf("open state in %s: %w", dir, err)
	}
	s.db = db
	return s, nil
}

func (s *Store) pebbleOptions(o Options) *pebble.Options {
	po := &pebble.Options{
		FS:                          s.fence,
		CacheSize:                   o.CacheBytes,
		MemTableSize:                o.MemtableBytes,
		MemTableStopWritesThreshold: never,
		L0StopWritesThreshold:       never,
		L0CompactionThreshold:       4,
		LBaseMaxBytes:               64 << 20,
		// One compaction at a time: the machine's two cores belong to requests.
		CompactionConcurrencyRange: func() (int, int) { return 1, 1 },
		MaxOpenFiles:               512,
		FormatMajorVersion:         FormatMajor,
		BytesPerSync:               512 << 10,
		WALBytesPerSync:            512 << 10,
		ReadOnly:                   o.ReadOnly,
		ErrorIfNotExists:           o.MustExist || o.ReadOnly,
		Logger:                     pebbleLogger{s},
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) { s.fence.freeze(fmt.Errorf("background work: %w", err)) },
			DataCorruption: func(info pebble.DataCorruptionInfo) {
				s.fence.freeze(fmt.Errorf("corrupt file %s: %w", info.Path, info.Details))
			},
			WALCreated:    func(pebble.WALCreateInfo) { s.pressure.Store(true) },
			FlushEnd:      func(pebble.FlushInfo) { s.relieve() },
			CompactionEnd: func(pebble.CompactionInfo) { s.relieve() },
		},
	}
	if o.ReadOnly {
		// A copy of another version's database is examined as it is.
		po.FormatMajorVersion = pebble.FormatMinSupported
	}
	for i := range po.Levels {
		po.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		po.Levels[i].FilterType = pebble.TableFilter
		po.Levels[i].BlockSize = 16 << 10
		po.Levels[i].IndexBlockSize = 64 << 10
	}
	// Nearly all data is in the last level; its filters would cost memory for the keys that are there anyway.
	po.Levels[len(po.Levels)-1].FilterPolicy = pebble.NoFilterPolicy
	return po
}

// ErrNewerFormat is returned for a database that only a newer version can open. It was not touched.
var ErrNewerFormat = errors.New("the state was written by a newer version of sluice")

// keepFormat has a database opened in the format that it has.
func keepFormat(po *pebble.Options, dir string) error {
	desc, err := pebble.Peek(dir, po.FS)
	if errors.Is(err, os.ErrNotExist) || err == nil && !desc.Exists || po.ReadOnly && err == nil && desc.FormatMajorVersion <= NewestReadableFormat {
		return nil
	}
	// Pebble does not describe what it cannot read, it fails with the number.
	if err != nil && !strings.Contains(err.Error(), "format major version") {
		return fmt.Errorf("look at the on-disk format of %s: %w", dir, err)
	}
	if err != nil {
		return fmt.Errorf("%w: %s: this version reads on-disk formats up to %d: %w", ErrNewerFormat, dir, NewestReadableFormat, err)
	}
	if desc.FormatMajorVersion > NewestReadableFormat {
		return fmt.Errorf("%w: %s has on-disk format %d, this version reads up to %d: start the version that wrote it", ErrNewerFormat, dir, desc.FormatMajorVersion, NewestReadableFormat)
	}
	po.FormatMajorVersion = desc.FormatMajorVersion
	return nil
}

// RaiseFormat raises the on-disk format to that of a cluster version. There is no way back.
func (s *Store) RaiseFormat(clusterVersion uint64) (err error) {
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	to := s.formatAt(clusterVersion)
	if s.closed {
		return ErrClosed
	}
	if err := s.Err(); err != nil || s.db.FormatMajorVersion() >= to {
		return err
	}
	defer s.guard(&err)
	if err := s.db.RatchetFormatMajorVersion(to); err != nil {
		return fmt.Errorf("raise the on-disk format to %d: %w", to, err)
	}
	s.logger.Info("on-disk format raised", "dir", s.dir, "format", uint64(to), "cluster_version", clusterVersion)
	return nil
}

// pebbleLogger passes on what matters. Its Fatalf stops the store, never the process.
type pebbleLogger struct{ s *Store }

func (l pebbleLogger) Infof(string, ...any) {}

func (l pebbleLogger) Errorf(format string, args ...any) {
	l.s.logger.Error("state store", "dir", l.s.dir, "error", fmt.Sprintf(format, args...))
}

func (l pebbleLogger) Fatalf(format string, args ...any) {
	l.s.fence.freeze(fmt.Errorf(format, args...))
}

func (s *Store) relieve() {
	s.pressure.Store(true)
	select {
	case s.relieved <- struct{}{}:
	default:
	}
}

// waitForRoom blocks while flushes or compactions are too far behind, until the store fails.
func (s *Store) waitForRoom() {
	stalled := false
	for s.pressure.Swap(false) {
		m := s.db.Metrics()
		if m.MemTable.Size < stallMemtables*s.memtable && m.Levels[0].Sublevels < stallL0 {
			return
		}
		if !stalled {
			stalled = true
			s.stalls.Add(1)
			s.logger.Warn("state store writes wait for flush and compaction", "dir", s.dir,
				"memtable_bytes", m.MemTable.Size, "l0_sublevels", m.Levels[0].Sublevels)
		}
		s.pressure.Store(true)
		// The events come before Pebble updates every count they change, hence the second, slow look.
		look := time.NewTimer(50 * time.Millisecond)
		select {
		case <-s.relieved:
		case <-look.C:
		case <-s.fence.frozen:
		}
		look.Stop()
		if s.fence.failure() != nil {
			return
		}
	}
}

// Err returns nil, or the error every write returns since the store failed.
func (s *Store) Err() error {
	if err := s.fence.failure(); err != nil {
		return fmt.Errorf("%w: %w", ErrFailed, err)
	}
	return nil
}

// begin is the common start of writes; commitMu is held.
func (s *Store) begin() error {
	if s.closed {
		return ErrClosed
	}
	if err := s.Err(); err != nil {
		return err
	}
	s.waitForRoom()
	return s.Err()
}

// guard turns a panic of Pebble into a failure of the store. commitMu is held.
func (s *Store) guard(err *error) {
	if p := recover(); p != nil {
		s.broken = true
		cause, ok := p.(error)
		if !ok {
			cause = fmt.Errorf("%v", p)
		}
		s.fence.freeze(fmt.Errorf("pebble: %w", cause))
		*err = s.Err()
	}
}

// Commit implements kv.Store. After an error it is unknown whether readers see the batch, and the store has failed: it
// must be reopened. A batch is committed once.
func (s *Store) Commit(b kv.Batch, sync bool) (err error) {
	pb, ok := b.(*batch)
	if !ok {
		return fmt.Errorf("commit: a %T is not a batch of this store", b)
	}
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	if err := s.begin(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	defer s.guard(&err)
	wo := pebble.NoSync
	if sync {
		wo = pebble.Sync
	}
	if err := s.db.Apply(pb.b, wo); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	if sync && pb.b.Empty() {
		// Pebble ignores empty batches altogether.
		if err := s.db.LogData(nil, pebble.Sync); err != nil {
			return fmt.Errorf("commit: %w", err)
		}
	}
	return s.Err()
}

// Sync implements kv.Store.
func (s *Store) Sync() (err error) {
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	if err := s.begin(); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	defer s.guard(&err)
	if err := s.db.LogData(nil, pebble.Sync); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return s.Err()
}

// Checkpoint implements kv.Store. It contains every commit that returned before the call. When it fails for lack of space
// in dir alone, the store goes on.
func (s *Store) Checkpoint(dir string) (err error) {
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	if err := s.begin(); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	switch _, err := s.fence.Stat(dir); {
	case err == nil:
		return fmt.Errorf("checkpoint: %s exists already", dir)
	case !errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("checkpoint: %w", err)
	}
	defer s.guard(&err)
	if err = s.checkpoint(dir); err == nil {
		err = s.Err()
	}
	if err != nil {
		if rm := s.fence.RemoveAll(dir); rm != nil && !errors.Is(rm, os.ErrNotExist) {
			err = errors.Join(err, rm)
		}
		return fmt.Errorf("checkpoint: %w", err)
	}
	return nil
}

// checkpoint turns the panic with which Pebble answers a failed sync of the new directory into an error. Pebble holds no
// lock there.
func (s *Store) checkpoint(dir string) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case error:
			err = p
		default:
			panic(p)
		}
	}()
	return s.db.Checkpoint(dir, pebble.WithFlushedWAL())
}

// Close implements kv.Store. Iterators, batches and snapshots must be closed before; it is idempotent. After a failure it
// returns nil if the files could be let go of, because the failure was reported already.
func (s *Store) Close() (err error) {
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	failed := s.fence.failure() != nil
	s.fence.unblock()
	if s.broken {
		// The fence keeps what is left of it from writing. Pebble's reference to the lock is released with ours.
		return errors.Join(s.lock.Close(), s.lock.Close())
	}
	defer s.guard(&err)
	err = errors.Join(s.db.Close(), s.lock.Close())
	if err != nil && failed {
		s.logger.Warn("closing a failed state store", "dir", s.dir, "error", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("close state in %s: %w", s.dir, err)
	}
	return nil
}

// Dir returns the directory the store was opened in.
func (s *Store) Dir() string { return s.dir }

// FormatMajor returns the on-disk format of this database.
func (s *Store) FormatMajor() uint64 { return uint64(s.db.FormatMajorVersion()) }
