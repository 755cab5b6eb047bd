package logstore

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	berrors "go.etcd.io/bbolt/errors"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAppend(t *testing.T) {
	t.Parallel()
	t.Run("a gap is refused and raft must restart", func(t *testing.T) {
		t.Parallel()
		f := open(t, newFaulty(), time.Minute)
		f.mustStore(t, entries(1, 5, 1))
		if err := f.StoreLogs(entries(7, 7, 1)); !errors.Is(err, ErrGap) {
			t.Errorf("got %v, want ErrGap", err)
		}
		<-f.suspect
		if err := f.StoreLogs(entries(6, 6, 1)); !errors.Is(err, ErrLatched) {
			t.Errorf("a suspect store answered %v, want ErrLatched", err)
		}
		if err := f.Rearm(); err != nil {
			t.Fatal(err)
		}
		f.mustStore(t, entries(6, 6, 1))
		f.wantExtent(t, 1, 6)
	})
	t.Run("an overlapping append replaces the suffix", func(t *testing.T) {
		t.Parallel()
		f := open(t, newFaulty(), time.Minute)
		f.mustStore(t, entries(1, 9, 1))
		f.mustStore(t, entries(4, 5, 2))
		f.wantExtent(t, 1, 5)
	})
	t.Run("health tells the cause and not that the file is unmapped in consequence", func(t *testing.T) {
		t.Parallel()
		f := open(t, newFaulty(), time.Minute)
		f.mustStore(t, entries(1, 5, 1))
		for _, fails := range []error{errDisk, berrors.ErrInvalidMapping} {
			f.disk.set(fails, false, nil)
			if err := f.StoreLogs(entries(6, 6, 1)); !errors.Is(err, fails) {
				t.Fatalf("got %v, want %v", err, fails)
			}
		}
		if h := f.Health(); !errors.Is(h.Err, errDisk) {
			t.Errorf("health tells %v, not that %v", h.Err, errDisk)
		}
		f.disk.set(nil, false, nil)
	})
	t.Run("a write error means not stored and leaves nothing", func(t *testing.T) {
		t.Parallel()
		f := open(t, newFaulty(), time.Minute)
		f.mustStore(t, entries(1, 5, 1))
		f.disk.set(errDisk, false, nil)
		err := f.StoreLogs(entries(6, 8, 1))
		if !errors.Is(err, ErrNotStored) || !errors.Is(err, errDisk) {
			t.Errorf("got %v, want ErrNotStored with its cause", err)
		}
		if h := f.Health(); h.Err == nil {
			t.Error("health does not show the failed write")
		}
		f.disk.set(nil, false, nil)
		f.mustStore(t, entries(6, 6, 2))
		f.wantExtent(t, 1, 6)
		if h := f.Health(); h.Err != nil {
			t.Errorf("health still shows %v after a good write", h.Err)
		}
	})
	t.Run("a write that failed after it was done is uncertain, and its remains go before the next append", func(t *testing.T) {
		t.Parallel()
		f := open(t, newFaulty(), time.Minute)
		f.mustStore(t, entries(1, 5, 1))
		f.disk.set(errDisk, true, nil)
		if err := f.StoreLogs(entries(6, 9, 1)); !errors.Is(err, ErrUncertain) {
			t.Errorf("got %v, want ErrUncertain", err)
		}
		// As if the removal had been lost, too.
		f.disk.set(nil, false, nil)
		if err := f.disk.InmemStore.StoreLogs(entries(6, 9, 1)); err != nil {
			t.Fatal(err)
		}
		f.mustStore(t, entries(6, 6, 2))
		f.wantExtent(t, 1, 6)
	})
	t.Run("an append that fails after a truncation makes raft restart", func(t *testing.T) {
		t.Parallel()
		f := open(t, newFaulty(), time.Minute)
		f.mustStore(t, entries(1, 9, 1))
		if err := f.DeleteRange(6, 9); err != nil {
			t.Fatal(err)
		}
		f.disk.set(errDisk, false, nil)
		if err := f.StoreLogs(entries(6, 6, 2)); !errors.Is(err, ErrNotStored) {
			t.Errorf("got %v, want ErrNotStored", err)
		}
		<-f.suspect
	})
}

func TestWatchdog(t *testing.T) {
	t.Parallel()
	f := open(t, newFaulty(), 20*time.Millisecond)
	f.mustStore(t, entries(1, 5, 1))
	release := make(chan struct{})
	f.disk.set(nil, false, release)
	if err := f.StoreLogs(entries(6, 6, 1)); !errors.Is(err, ErrLatched) {
		t.Fatalf("a hanging write returned %v, want ErrLatched", err)
	}
	<-f.disk.hung
	f.disk.set(nil, false, nil)
	if err := f.StoreLogs(entries(6, 6, 1)); !errors.Is(err, ErrLatched) {
		t.Errorf("a write beside the hanging one returned %v, want ErrLatched", err)
	}
	if err := f.Rearm(); !errors.Is(err, ErrLatched) {
		t.Errorf("rearm beside the hanging write returned %v, want ErrLatched", err)
	}
	var l raft.Log
	if err := f.GetLog(3, &l); err != nil {
		t.Errorf("a read beside the hanging write failed: %v", err)
	}
	if !f.Health().Latched {
		t.Error("health does not show the latch")
	}
	close(release)
	if why := <-f.suspect; !strings.Contains(why, "limit 20ms") {
		t.Errorf("the reason is %q", why)
	}
	if err := f.StoreLogs(entries(7, 7, 1)); !errors.Is(err, ErrLatched) {
		t.Errorf("a write before raft restarted returned %v, want ErrLatched", err)
	}
	if err := f.Rearm(); err != nil {
		t.Fatal(err)
	}
	// The late write counts: raft starts from what is on disk.
	f.wantExtent(t, 1, 6)
	f.mustStore(t, entries(7, 7, 1))
}

func TestDelete(t *testing.T) {
	t.Parallel()
	t.Run("compaction ascends in chunks and the log goes on", func(t *testing.T) {
		t.Parallel()
		f := open(t, newFaulty(), time.Minute)
		f.mustStore(t, entries(1, 5000, 1))
		before := f.Bytes()
		if err := f.DeleteRange(1, 4500); err != nil {
			t.Fatal(err)
		}
		f.wantExtent(t, 4501, 5000)
		if len(f.disk.chunks) != 3 || f.disk.chunks[0][0] != 1 {
			t.Errorf("deleted in chunks %v", f.disk.chunks)
		}
		if got := f.Bytes(); got != before/10 {
			t.Errorf("%d of %d bytes left, want a tenth", got, before)
		}
		f.mustStore(t, entries(5001, 5001, 1))
	})
	t.Run("compaction up to the end continues behind it", func(t *testing.T) {
		t.Parallel()
		f := open(t, newFaulty(), time.Minute)
		f.mustStore(t, entries(1, 5000, 1))
		if err := f.DeleteRange(1, 5000); err != nil {
			t.Fatal(err)
		}
		f.wantExtent(t, 0, 0)
		if c := f.disk.chunks; c[0][1] != 5000 || c[len(c)-1][0] != 1 {
			t.Errorf("deletion up to the end did not descend: %v", c)
		}
		if err := f.StoreLogs(entries(5002, 5002, 1)); !errors.Is(err, ErrGap) {
			t.Errorf("a gap behind an emptied log returned %v", err)
		}
		<-f.suspect
		if err := f.Rearm(); err != nil {
			t.Fatal(err)
		}
		f.mustStore(t, entries(5001, 5001, 1))
	})
	t.Run("a hole is refused", func(t *testing.T) {
		t.Parallel()
		f := open(t, newFaulty(), time.Minute)
		f.mustStore(t, entries(1, 9, 1))
		f.appends.Lock()
		defer f.appends.Unlock()
		if err := f.deleteRange(3, 5); err == nil {
			t.Error("deleting the middle succeeded")
		}
	})
}

func TestPurge(t *testing.T) {
	t.Parallel()
	t.Run("a log that disagrees with the snapshot is deleted and continues behind it", func(t *testing.T) {
		t.Parallel()
		f := open(t, newFaulty(), time.Minute)
		f.mustStore(t, entries(1, 20, 1))
		if f.Restored(10, 2) {
			t.Error("the log is not empty")
		}
		if err := f.DeleteRange(1, 20); err != nil {
			t.Fatal(err)
		}
		<-f.purged
		f.wantExtent(t, 0, 0)
		if err := f.StoreLogs(entries(21, 21, 2)); !errors.Is(err, ErrGap) {
			t.Errorf("appending where raft's stale memory ends returned %v, want ErrGap", err)
		}
		<-f.suspect
		if err := f.Rearm(); err != nil {
			t.Fatal(err)
		}
		if err := f.Reconcile(10, 2); err != nil {
			t.Fatal(err)
		}
		f.mustStore(t, entries(11, 12, 2))
	})
	t.Run("entries behind a snapshot that the log agrees with are kept", func(t *testing.T) {
		t.Parallel()
		f := open(t, newFaulty(), time.Minute)
		f.mustStore(t, entries(1, 20, 1))
		f.Restored(10, 1)
		if err := f.DeleteRange(1, 20); err != nil {
			t.Fatal(err)
		}
		f.wantExtent(t, 11, 20)
	})
	t.Run("a purge that fails makes raft restart", func(t *testing.T) {
		t.Parallel()
		f := open(t, newFaulty(), time.Minute)
		f.mustStore(t, entries(1, 20, 1))
		f.Restored(10, 2)
		f.disk.set(errDisk, false, nil)
		if err := f.DeleteRange(1, 20); !errors.Is(err, errDisk) {
			t.Errorf("got %v", err)
		}
		<-f.suspect
	})
}

func TestReconcile(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name                string
		index, term         uint64
		first, last         uint64
		wantErr             error
		wantFirst, wantLast uint64
	}{
		{"an empty log fits any state", 7, 2, 0, 0, nil, 0, 0},
		{"a log that contains the state is kept", 5, 1, 1, 9, nil, 1, 9},
		{"a log that continues the state is kept", 5, 1, 6, 9, nil, 6, 9},
		{"a log that ends below the state is deleted", 12, 1, 1, 9, nil, 0, 0},
		{"a log with another term at the state's index is deleted", 5, 2, 1, 9, nil, 0, 0},
		{"a log that begins above the state is an error", 5, 1, 7, 9, ErrStateOlder, 7, 9},
		{"a log without any state must begin at one", 0, 0, 1, 3, nil, 1, 3},
		{"a lost state is an error", 0, 0, 4, 9, ErrStateOlder, 4, 9},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			disk := newFaulty()
			if c.last > 0 {
				if err := disk.InmemStore.StoreLogs(entries(c.first, c.last, 1)); err != nil {
					t.Fatal(err)
				}
			}
			f := open(t, disk, time.Minute)
			if err := f.Reconcile(c.index, c.term); !errors.Is(err, c.wantErr) {
				t.Fatalf("got %v, want %v", err, c.wantErr)
			}
			f.wantExtent(t, c.wantFirst, c.wantLast)
		})
	}
}

func TestStable(t *testing.T) {
	t.Parallel()
	key := []byte("CurrentTerm")
	t.Run("a failing write waits for the disk", func(t *testing.T) {
		t.Parallel()
		f := open(t, newFaulty(), time.Minute)
		f.disk.set(errDisk, false, nil)
		done := make(chan error)
		go func() { done <- f.Stable().SetUint64(key, 7) }()
		for f.Health().Err == nil { // no event tells of the failure
			time.Sleep(time.Millisecond) // a poll interval, nothing depends on its length
		}
		f.disk.set(nil, false, nil)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if v, err := f.disk.GetUint64(key); v != 7 || err != nil {
			t.Errorf("term on disk is %d, %v", v, err)
		}
	})
	t.Run("an interrupted write ends its goroutine and stores nothing", func(t *testing.T) {
		t.Parallel()
		f := open(t, newFaulty(), time.Minute)
		f.disk.set(errDisk, false, nil)
		s := f.Stable()
		returned, ended := false, make(chan struct{})
		go func() {
			defer close(ended)
			_ = s.SetUint64(key, 7)
			returned = true
		}()
		s.Interrupt()
		<-ended
		if returned {
			t.Error("an interrupted write returned to raft")
		}
	})
	t.Run("an unchanged value is not written", func(t *testing.T) {
		t.Parallel()
		f := open(t, newFaulty(), time.Minute)
		s := f.Stable()
		for range 3 {
			if err := s.SetUint64(key, 7); err != nil {
				t.Fatal(err)
			}
		}
		if f.disk.writes != 1 {
			t.Errorf("%d writes, want 1", f.disk.writes)
		}
	})
}

func TestBoltFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := Open(Options{Dir: dir, WriteTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.StoreLogs(entries(1, 6000, 3)); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteRange(1, 3000); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteRange(5001, 6000); err != nil {
		t.Fatal(err)
	}
	bytes := s.Bytes()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(Options{Dir: dir, WriteTimeout: time.Minute}); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	first, _ := s.FirstIndex()
	last, _ := s.LastIndex()
	if first != 3001 || last != 5000 {
		t.Errorf("log is %d to %d, want 3001 to 5000", first, last)
	}
	for i := first; i <= last; i++ {
		var l raft.Log
		if err := s.GetLog(i, &l); err != nil || l.Index != i || l.Term != 3 {
			t.Fatalf("entry %d: %+v, %v", i, l, err)
		}
	}
	if s.Bytes() != bytes {
		t.Errorf("%d bytes after reopening, %d before", s.Bytes(), bytes)
	}
	if n := s.TrailingWithin(164 * 10); n != 10 {
		t.Errorf("%d entries fit into the size of ten", n)
	}
}

func TestTheLogFileIsSyncedAndKeepsItsFreePagesInMemory(t *testing.T) {
	t.Parallel()
	s, err := Open(Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	// What bbolt does, not what it was told: nothing else shows it but the speed of a fragmented file and a power cut.
	db := reflect.ValueOf(s.backend).Elem().FieldByName("conn").Elem()
	if kind := db.FieldByName("freelist").Elem().Type().String(); !strings.Contains(kind, "hashMap") {
		t.Errorf("free pages are kept in a %s", kind)
	}
	if !db.FieldByName("NoFreelistSync").Bool() {
		t.Error("every append writes the list of free pages")
	}
	if db.FieldByName("NoSync").Bool() {
		t.Error("appends are not synced")
	}
}

func TestOpeningALongLogReadsFewOfItsEntries(t *testing.T) {
	t.Parallel()
	disk := newFaulty()
	if err := disk.InmemStore.StoreLogs(entries(1, 20*sampleLimit, 1)); err != nil {
		t.Fatal(err)
	}
	f := open(t, disk, time.Minute)
	if n := disk.reads.Load(); n > sampleLimit {
		t.Errorf("%d of %d entries were read", n, 20*sampleLimit)
	}
	if want := int64(20 * sampleLimit * 164); f.Bytes() != want {
		t.Errorf("the log has %d bytes, want %d", f.Bytes(), want)
	}
}

func TestCacheStaysWithinItsBytes(t *testing.T) {
	t.Parallel()
	c := cache{limit: 1000}
	for _, l := range entries(1, 100, 1) {
		c.push(l, entrySize(l))
	}
	if c.bytes > 1000 || len(c.entries) != 6 {
		t.Errorf("%d entries with %d bytes", len(c.entries), c.bytes)
	}
	if c.get(94) != nil || c.get(95) == nil || c.get(100).Index != 100 || c.get(101) != nil {
		t.Error("the cache does not hold exactly the newest six")
	}
	c.dropBack(98)
	if c.get(98) != nil || c.get(97) == nil {
		t.Error("a truncated entry is still cached")
	}
}
