package node

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluice-dev/sluice/api"
	httpapi "github.com/sluice-dev/sluice/http"
)

// diskGuard refuses writes before the disk is full, so that Raft always has room for what it accepted: below the low-water
// mark logs and values of the built-in store, below half of it new objects, below a quarter every write.
type diskGuard struct {
	dir  string
	low  int64 // bytes
	log  *slog.Logger
	left atomic.Int64
	// readOnly says that the file system takes no writes at all: so kernels answer errors of a disk.
	readOnly atomic.Bool
	// stopped reports whether a failed write has stopped the state for good; set before start.
	stopped  func() bool
	repaired chan struct{} // capacity 1
	done     chan struct{}
	wait     sync.WaitGroup
	once     sync.Once
}

// diskInterval is how often the free space is looked at. At 100 MB/s of writes half a second is 50 MB.
const diskInterval = 500 * time.Millisecond

// reopenRoom is what must be free before a state that a full disk has stopped is opened again: opening writes what was in
// memory to tables and sets space aside for the next log file. With less, a node that still answers reads would be given up.
const reopenRoom = 32 << 20

func newDiskGuard(dir string, low int64, log *slog.Logger) (*diskGuard, error) {
	g := &diskGuard{dir: dir, low: low, log: log, repaired: make(chan struct{}, 1), done: make(chan struct{})}
	now, err := g.room()
	if err != nil {
		return nil, err
	}
	g.left.Store(now.free)
	return g, nil
}

// room is what the file system has, in bytes.
type room struct {
	free, size int64
	readOnly   bool
}

func (g *diskGuard) room() (room, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(g.dir, &s); err != nil {
		return room{}, fmt.Errorf("look at the free space of %s: %w", g.dir, err)
	}
	return room{free: int64(s.Bavail) * s.Bsize, size: int64(s.Blocks) * s.Bsize, readOnly: s.Flags&unix.ST_RDONLY != 0}, nil
}

func (g *diskGuard) start() {
	g.wait.Go(func() {
		tick := time.NewTicker(diskInterval)
		defer tick.Stop()
		for {
			select {
			case <-g.done:
				return
			case <-tick.C:
			}
			now, err := g.room()
			if err != nil {
				g.log.Error("the free space of the data directory is unknown", "error", err)
				continue
			}
			if g.readOnly.Swap(now.readOnly) != now.readOnly {
				g.log.Warn("the file system of the data directory has changed", "dir", g.dir, "read_only", now.readOnly)
			}
			left := now.free
			before := g.left.Swap(left)
			if g.level(before) != g.level(left) {
				g.log.Warn("free space of the data directory", "dir", g.dir, "free_bytes", left, "refused", g.level(left).String())
			}
			if !now.readOnly && g.level(left) == diskFine && left >= reopenRoom && g.stopped() {
				select {
				case g.repaired <- struct{}{}:
				default:
				}
			}
		}
	})
}

func (g *diskGuard) stop() {
	g.once.Do(func() { close(g.done) })
	g.wait.Wait()
}

type diskLevel int

const (
	diskFine diskLevel = iota
	diskNoBulk
	diskNoNew
	diskNoWrites
	// diskNoRoom is the kind of what makes room, for which it needs some itself.
	diskNoRoom
	// diskNever is the kind of what is written to the last: it ends something or is a few bytes.
	diskNever
)

func (l diskLevel) String() string {
	return [...]string{"nothing", "logs and stored values", "logs, stored values and new runs", "every write", "every write, even of retention"}[l]
}

func (g *diskGuard) level(left int64) diskLevel {
	switch {
	case left >= g.low:
		return diskFine
	case left >= g.low/2:
		return diskNoBulk
	case left >= g.low/4:
		return diskNoNew
	case left >= g.low/8:
		return diskNoWrites
	default:
		return diskNoRoom
	}
}

// admit returns why a write of that kind is refused now, nil when it is not. kind is the level at which it is refused.
func (g *diskGuard) admit(kind diskLevel) error {
	if g.readOnly.Load() {
		return &api.Error{Kind: api.KindUnavailable, Message: fmt.Sprintf("the file system of %s is read-only, so this node refuses every write", g.dir),
			Hint: readOnlyHint}
	}
	left := g.left.Load()
	if g.level(left) < kind {
		return nil
	}
	return &api.Error{Kind: api.KindUnavailable, Message: fmt.Sprintf("the disk under %s is nearly full: %d MiB are free, and below %d MiB this node refuses %s",
		g.dir, left>>20, (g.low>>uint(kind-1))>>20, kind), Hint: "free some space there; the node accepts writes again by itself"}
}

// readOnlyHint is what to do about a file system that became read-only.
const readOnlyHint = "the kernel's log says why (dmesg); repair the disk and remount it writable, and the node accepts writes again by itself"

// unfit says why this node should not lead, "" when it may: what the leader cannot store, nobody can.
func (g *diskGuard) unfit() string {
	left := g.left.Load()
	switch {
	case g.readOnly.Load():
		return "the file system of " + g.dir + " is read-only"
	case g.level(left) >= diskNoNew:
		return fmt.Sprintf("the disk under %s is nearly full: %d MiB are free", g.dir, left>>20)
	}
	return ""
}

func (g *diskGuard) check() httpapi.Check {
	if g.readOnly.Load() {
		return httpapi.Check{Name: "disk", Text: "the file system of " + g.dir + " is read-only, refused: every write; " + readOnlyHint}
	}
	left := g.left.Load()
	level := g.level(left)
	return httpapi.Check{Name: "disk", OK: level < diskNoNew, Text: fmt.Sprintf("%d MiB free in %s, refused: %s", left>>20, g.dir, level)}
}
