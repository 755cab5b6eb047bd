// Package snapshot owns the state directory of a node: which database is current, how it is replaced by another node's
// snapshot, and what Raft is told about both. See DESIGN.md.
package snapshot

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sluice-dev/sluice/fsm/kv"
	"github.com/sluice-dev/sluice/fsm/kv/pebblekv"
)

const (
	currentName  = "CURRENT"
	incomingName = "incoming"
	outgoingName = "outgoing"
	tempSuffix   = ".tmp"

	defaultStreamIdle = 30 * time.Second
)

var dbName = regexp.MustCompile(`^db-([1-9][0-9]{0,17})$`)

// ErrUnsettled is returned after an install whose commit could not be made durable: after a power cut either database
// may be the current one. The node must restart to find out.
var ErrUnsettled = errors.New("it is unknown which database is current; restart this node")

// Config of a Holder.
type Config struct {
	// DataDir is the node's data directory; the state is in its folder state.
	DataDir string
	// KV are the options of every database that is opened; KV.FS is the file system of everything here, nil is the disk.
	KV pebblekv.Options
	// ApplyLock is held by the state machine while it applies a batch. Here it is taken to take a checkpoint and to
	// replace the database.
	ApplyLock sync.Locker
	// StreamIdle is how long a snapshot being sent may go unread before it is given up, because it keeps disk space;
	// default 30 s.
	StreamIdle time.Duration
	// Describe says whose state it is, for the header of a snapshot being sent; nil says nothing.
	Describe func(kv.Reader) (Info, error)
	// Admit refuses a database, the node's own before anything in it is changed, or one that was received, before it is installed; nil
	// takes all. AdmitInfo does so by what a snapshot that another node sends says of itself, before its bulk.
	Admit     func(kv.Reader) error
	AdmitInfo func(Info) error
	// Logger is told what is removed and installed; nil discards it.
	Logger *slog.Logger

	// step, in tests, is told each point at which a crash is interesting.
	step func(string)
}

// Holder owns the current database. Readers acquire it; an install replaces it while they finish on the old one.
type Holder struct {
	c   Config
	fs  vfs.FS
	dir string

	current atomic.Pointer[Handle]
	// open counts databases that are not closed yet.
	open sync.WaitGroup

	// mu guards what follows.
	mu        sync.Mutex
	closed    bool
	unsettled error
	onInstall []func(kv.Store)
	streams   map[*outgoing]struct{}
	// sequence names directories; it only grows.
	sequence uint64

	// witness is held while Raft's snapshot is recorded and while a checkpoint is taken, which must agree on it.
	witness sync.Mutex
}

// ErrDamaged is returned by Open when the directory does not say which database is the current one.
var ErrDamaged = errors.New("the state directory is damaged")

// Open opens the current database of the data directory, creates the first one if there is none, and removes what
// unfinished transfers left.
func Open(c Config) (*Holder, error) {
	if c.KV.FS == nil {
		c.KV.FS = vfs.Default
	}
	if c.StreamIdle <= 0 {
		c.StreamIdle = defaultStreamIdle
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Describe == nil {
		c.Describe = func(kv.Reader) (Info, error) { return Info{}, nil }
	}
	if c.Admit == nil {
		c.Admit = func(kv.Reader) error { return nil }
	}
	if c.AdmitInfo == nil {
		c.AdmitInfo = func(Info) error { return nil }
	}
	if c.step == nil {
		c.step = func(string) {}
	}
	h := &Holder{c: c, fs: c.KV.FS, streams: map[*outgoing]struct{}{}}
	h.dir = h.fs.PathJoin(c.DataDir, "state")
	if err := makeDir(h.fs, h.dir); err != nil {
		return nil, fmt.Errorf("create the state directory: %w", err)
	}
	name, err := h.findCurrent()
	if err != nil {
		return nil, err
	}
	if err := h.admit(h.path(name)); err != nil {
		return nil, err
	}
	store, err := h.openDB(name)
	if err != nil {
		return nil, err
	}
	if err := h.reap(name); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	h.open.Add(1)
	h.current.Store(newHandle(h, store, name))
	return h, nil
}

func (h *Holder) path(elem ...string) string {
	return h.fs.PathJoin(append([]string{h.dir}, elem...)...)
}

func (h *Holder) openDB(name string) (*pebblekv.Store, error) {
	o := h.c.KV
	o.MustExist = true
	o.Logger = h.c.Logger
	return pebblekv.Open(h.path(name), o)
}

// inspect reads where a database stands that nobody has open, without changing it.
func (h *Holder) inspect(path string) (Meta, error) {
	o := h.c.KV
	o.ReadOnly, o.CacheBytes, o.OnFailure, o.Logger = true, 1<<20, nil, h.c.Logger
	s, err := pebblekv.Open(path, o)
	if err != nil {
		return Meta{}, err
	}
	m, err := ReadMeta(s)
	return m, errors.Join(err, s.Close())
}

// admit asks Admit about a database that nobody has open, without changing it.
func (h *Holder) admit(path string) error {
	o := h.c.KV
	o.ReadOnly, o.CacheBytes, o.OnFailure, o.Logger = true, 1<<20, nil, h.c.Logger
	s, err := pebblekv.Open(path, o)
	if err != nil {
		return err
	}
	return errors.Join(h.c.Admit(s), s.Close())
}

// RaiseFormat raises the on-disk format of the current database to that of a cluster version.
func (h *Holder) RaiseFormat(clusterVersion uint64) error {
	hd := h.Acquire()
	defer hd.Release()
	return hd.store.RaiseFormat(clusterVersion)
}

// databases returns the names of the database directories.
func (h *Holder) databases() ([]string, error) {
	names, err := list(h.fs, h.dir)
	if err != nil {
		return nil, err
	}
	var dbs []string
	for _, n := range names {
		if dbName.MatchString(n) {
			dbs = append(dbs, n)
		}
	}
	return dbs, nil
}

// findCurrent returns the name of the current database; on the first start it creates one.
func (h *Holder) findCurrent() (string, error) {
	b, err := readFile(h.fs, h.path(currentName))
	if err == nil {
		name := strings.TrimSuffix(string(b), "\n")
		if !dbName.MatchString(name) {
			return "", fmt.Errorf("%w: %s names %q, which is no database", ErrDamaged, h.path(currentName), name)
		}
		if _, err := h.fs.Stat(h.path(name)); err != nil {
			return "", fmt.Errorf("%w: %s names %s, which cannot be opened: %w", ErrDamaged, h.path(currentName), name, err)
		}
		return name, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("read which database is current: %w", err)
	}
	const first = "db-1"
	dbs, err := h.databases()
	if err != nil {
		return "", err
	}
	switch {
	case len(dbs) == 0:
		if err := h.createFirst(first); err != nil {
			return "", fmt.Errorf("create the first database: %w", err)
		}
	case len(dbs) == 1 && dbs[0] == first && h.isNew(first):
		// The last start was cut off just before the next line.
	default:
		return "", fmt.Errorf("%s is missing although there is data in %s; write the name of the newest database into it "+
			"if you know it to be complete, or move the state directory away and let the node join again",
			h.path(currentName), strings.Join(dbs, ", "))
	}
	if _, err := h.setCurrent(first); err != nil {
		return "", err
	}
	return first, nil
}

// createFirst makes an empty database under its final name only when it is complete.
func (h *Holder) createFirst(name string) error {
	temp := h.path(incomingName, name+tempSuffix)
	if err := removeAll(h.fs, temp); err != nil {
		return err
	}
	if err := makeDir(h.fs, temp); err != nil {
		return err
	}
	o := h.c.KV
	o.Logger = h.c.Logger
	s, err := pebblekv.Open(temp, o)
	if err != nil {
		return err
	}
	if err := errors.Join(s.Sync(), s.Close(), syncDir(h.fs, temp)); err != nil {
		return err
	}
	h.c.step("first database made")
	if err := h.fs.Rename(temp, h.path(name)); err != nil {
		return err
	}
	h.c.step("first database named")
	return syncDir(h.fs, h.dir)
}

// isNew tells whether a database exists in which nothing was ever applied.
func (h *Holder) isNew(name string) bool {
	m, err := h.inspect(h.path(name))
	index, _ := m.Last()
	return err == nil && index == 0
}

// setCurrent makes name the current database. Renamed tells whether the point of no return was passed although an error
// is returned.
func (h *Holder) setCurrent(name string) (renamed bool, err error) {
	temp := h.path(currentName + tempSuffix)
	if err := writeFile(h.fs, temp, []byte(name+"\n")); err != nil {
		return false, fmt.Errorf("write %s: %w", temp, err)
	}
	h.c.step("CURRENT.tmp written")
	if err := h.fs.Rename(temp, h.path(currentName)); err != nil {
		return false, fmt.Errorf("rename %s: %w", temp, err)
	}
	h.c.step("CURRENT renamed")
	if err := syncDir(h.fs, h.dir); err != nil {
		return true, fmt.Errorf("sync %s: %w", h.dir, err)
	}
	h.c.step("CURRENT synced")
	return true, nil
}

// reap removes every file that the current database does not need.
func (h *Holder) reap(current string) error {
	dbs, err := h.databases()
	if err != nil {
		return err
	}
	for _, name := range dbs {
		n, _ := strconv.ParseUint(dbName.FindStringSubmatch(name)[1], 10, 64)
		h.sequence = max(h.sequence, n)
		if name == current {
			continue
		}
		h.c.Logger.Info("removing a database that is not current", "dir", h.path(name))
		if err := removeAll(h.fs, h.path(name)); err != nil {
			return fmt.Errorf("remove an old database: %w", err)
		}
	}
	for _, name := range []string{incomingName, outgoingName, currentName + tempSuffix} {
		if err := removeAll(h.fs, h.path(name)); err != nil {
			return fmt.Errorf("remove unfinished transfers: %w", err)
		}
	}
	return nil
}

// nextNumber returns a number for a new directory.
func (h *Holder) nextNumber() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sequence++
	return h.sequence
}

// Current returns the database for the one writer, the state machine while it holds the apply lock. Others Acquire.
func (h *Holder) Current() kv.Store { return h.current.Load().Store }

// Acquire returns the current database, which stays open until the handle is released. It must not be called after
// Close.
func (h *Holder) Acquire() *Handle {
	for {
		hd := h.current.Load()
		if hd == nil {
			panic("snapshot: the state was read after it was closed")
		}
		if hd.acquire() {
			return hd
		}
	}
}

// OnInstall registers a function that is called after each install with the new database, before the apply lock is
// released: for what caches the state or waits for its changes. It must not fail and must not take the apply lock.
func (h *Holder) OnInstall(f func(kv.Store)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.onInstall = append(h.onInstall, f)
}

// Metrics returns the numbers of the current database.
func (h *Holder) Metrics() pebblekv.Metrics {
	hd := h.Acquire()
	defer hd.Release()
	return hd.store.Metrics()
}

// Meta returns where the current database stands.
func (h *Holder) Meta() (Meta, error) {
	hd := h.Acquire()
	defer hd.Release()
	return hd.meta()
}

// settled returns an error when the holder cannot promise anything about the future of the current database.
func (h *Holder) settled() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.unsettled
}

// Close ends the snapshots being sent, waits until every handle is released, and closes the database. Raft must have
// been shut down. It is idempotent.
func (h *Holder) Close() error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		h.open.Wait()
		return nil
	}
	h.closed = true
	var streams []*outgoing
	for s := range h.streams {
		streams = append(streams, s)
	}
	h.mu.Unlock()
	for _, s := range streams {
		_ = s.Close()
	}
	hd := h.current.Swap(nil)
	err := hd.store.Sync()
	if hd.store.Err() != nil {
		// It was reported when it happened, and what is on disk is what a restart needs.
		err = nil
	}
	hd.Release()
	h.open.Wait()
	return errors.Join(err, hd.closeErr)
}

// Handle is one database in use.
type Handle struct {
	// Store may be read until Release. Writing is for the state machine alone.
	Store kv.Store

	h     *Holder
	store *pebblekv.Store
	name  string
	// refs counts users, plus one while the database is current. At 0 it is closed; it never rises from 0.
	refs     atomic.Int64
	obsolete atomic.Bool
	closeErr error
}

func newHandle(h *Holder, s *pebblekv.Store, name string) *Handle {
	hd := &Handle{Store: s, h: h, store: s, name: name}
	hd.refs.Store(1)
	return hd
}

func (hd *Handle) acquire() bool {
	for {
		n := hd.refs.Load()
		if n == 0 {
			return false
		}
		if hd.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Release gives the database back, once per Acquire. The last user of a replaced database closes and removes it.
func (hd *Handle) Release() {
	switch n := hd.refs.Add(-1); {
	case n > 0:
		return
	case n < 0:
		panic("snapshot: a handle was released twice")
	}
	defer hd.h.open.Done()
	hd.closeErr = hd.store.Close()
	if !hd.obsolete.Load() {
		return
	}
	// The directory goes whatever Close said: it is not current any more. What stays is reaped at the next start.
	if err := errors.Join(hd.closeErr, removeAll(hd.h.fs, hd.h.path(hd.name))); err != nil {
		hd.h.c.Logger.Warn("removing a replaced database", "dir", hd.h.path(hd.name), "error", err)
	}
	hd.h.c.step("old database removed")
}

// meta reads where the database stands, while it may be written to.
func (hd *Handle) meta() (Meta, error) {
	sn := hd.store.Snapshot()
	m, err := ReadMeta(sn)
	return m, errors.Join(err, sn.Close())
}
