package pebblekv_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/sluice-dev/sluice/fsm/kv"
	"github.com/sluice-dev/sluice/fsm/kv/pebblekv"
)

// fullDisk fails writes with ENOSPC from the nth write on, to files whose path the filter accepts.
type fullDisk struct {
	left  atomic.Int64
	match func(path string) bool
	space atomic.Bool
}

func (d *fullDisk) String() string { return "full disk" }

func (d *fullDisk) MaybeError(op errorfs.Op) error {
	switch op.Kind {
	case errorfs.OpCreate, errorfs.OpFileWrite, errorfs.OpFileWriteAt, errorfs.OpFilePreallocate, errorfs.OpFileSync,
		errorfs.OpFileSyncData, errorfs.OpFileSyncTo, errorfs.OpFileFlush, errorfs.OpReuseForWrite, errorfs.OpLink:
	default:
		return nil
	}
	if d.space.Load() || !d.match(op.Path) || d.left.Add(-1) >= 0 {
		return nil
	}
	return syscall.ENOSPC
}

func TestAFullDisk(t *testing.T) {
	t.Parallel()
	kinds := map[string]func(string) bool{
		"everywhere":      func(string) bool { return true },
		"for the log":     func(p string) bool { return strings.HasSuffix(p, ".log") },
		"for tables":      func(p string) bool { return strings.HasSuffix(p, ".sst") },
		"in the manifest": func(p string) bool { return strings.Contains(p, "MANIFEST") },
	}
	for name, match := range kinds {
		for _, seed := range seeds(t) {
			t.Run(fmt.Sprintf("%s makes commits fail and reopening recovers, seed %d", name, seed), func(t *testing.T) {
				t.Parallel()
				fillDisk(t, seed, match)
			})
		}
	}
}

func fillDisk(t *testing.T, seed int64, match func(string) bool) {
	rng := rand.New(rand.NewPCG(uint64(seed), 0))
	mem := vfs.NewMem()
	disk := &fullDisk{match: match}
	disk.space.Store(true)
	fs := errorfs.Wrap(mem, disk)
	failed := make(chan error, 1)
	s, err := pebblekv.Open("db", pebblekv.Options{
		FS: fs, MemtableBytes: 64 << 10, OnFailure: func(err error) { failed <- err },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	disk.left.Store(int64(rng.IntN(60)))
	disk.space.Store(false)
	value := bytes.Repeat([]byte("v"), 2000)
	last, synced := 0, 0
	var refused error
	for i := 1; refused == nil; i++ {
		b := s.NewBatch()
		for _, k := range []string{fmt.Sprintf("k%06d", i), "step"} {
			if err := b.Set([]byte(k), append(fmt.Appendf(nil, "%06d", i), value...)); err != nil {
				t.Fatal(err)
			}
		}
		sync := rng.IntN(10) == 0
		refused = s.Commit(b, sync)
		b.Close()
		if refused == nil {
			last = i
			if sync {
				synced = i
			}
		}
		if i > 1_000_000 {
			t.Fatalf("seed %d: the full disk never showed", seed)
		}
	}
	if !errors.Is(refused, pebblekv.ErrFailed) || !errors.Is(refused, syscall.ENOSPC) {
		t.Errorf("seed %d: commit failed with %q, want ErrFailed and the disk's error", seed, refused)
	}
	if err := <-failed; !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("seed %d: reported %v", seed, err)
	}
	if err := s.Sync(); !errors.Is(err, pebblekv.ErrFailed) {
		t.Errorf("seed %d: Sync of a failed store says %v", seed, err)
	}
	if err := s.Checkpoint("copy"); !errors.Is(err, pebblekv.ErrFailed) {
		t.Errorf("seed %d: Checkpoint of a failed store says %v", seed, err)
	}
	if _, err := s.Get([]byte("nothing")); !errors.Is(err, kv.ErrNotFound) {
		t.Errorf("seed %d: reads stopped: %v", seed, err)
	}
	// Space returns, but the failed store must not write again: it would leave a hole.
	disk.space.Store(true)
	if err := s.Commit(s.NewBatch(), false); !errors.Is(err, pebblekv.ErrFailed) {
		t.Errorf("seed %d: the store came back by itself: %v", seed, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, mem, "db")
	got := dump(t, again, []byte("k"), []byte("l"))
	if len(got) < synced || len(got) > last+1 {
		t.Fatalf("seed %d: %d commits after reopening, %d were synced and %d tried", seed, len(got), synced, last+1)
	}
	for i, kv := range got {
		if !strings.HasPrefix(kv, fmt.Sprintf("k%06d=", i+1)) {
			t.Fatalf("seed %d: commit %d is missing before %.10s", seed, i+1, kv)
		}
	}
	put(t, again, "k", "works")
}

func TestConcurrentCommitsOnAFailingDiskAllReturn(t *testing.T) {
	t.Parallel()
	disk := &fullDisk{match: func(string) bool { return true }}
	disk.left.Store(1 << 40)
	fs := errorfs.Wrap(vfs.NewMem(), disk)
	s := open(t, fs, "db")
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := 0; ; i++ {
				b := s.NewBatch()
				_ = b.Set(fmt.Appendf(nil, "%d-%d", g, i), make([]byte, 1000))
				err := s.Commit(b, i%8 == 0)
				b.Close()
				if err != nil {
					return
				}
				if g == 0 && i == 100 {
					disk.left.Store(0)
				}
			}
		}()
	}
	wg.Wait()
}
