package logstore

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// crashing clones the disk before and after each deletion, as a crash there would leave it: one deletion is one transaction.
type crashing struct {
	*faulty
	t      *testing.T
	clones []*faulty
}

func (c *crashing) DeleteRange(a, b uint64) error {
	c.clone()
	defer c.clone()
	return c.faulty.DeleteRange(a, b)
}

func (c *crashing) clone() {
	c.t.Helper()
	first, _ := c.FirstIndex()
	last, _ := c.LastIndex()
	disk := newFaulty()
	for i := first; i <= last && last > 0; i++ {
		var l raft.Log
		if err := c.GetLog(i, &l); err != nil {
			c.t.Errorf("entry %d of %d to %d: %v", i, first, last, err)
			return
		}
		if err := disk.InmemStore.StoreLog(&l); err != nil {
			c.t.Error(err)
		}
	}
	c.clones = append(c.clones, disk)
}

// Whatever is lost of a deletion, the log that is found at the next start fits the state after Reconcile: what follows the state is there
// without a gap, and nothing is that contradicts it.
func TestACrashAtAnyStepOfADeletion(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		index, term uint64 // where the state stands
		install     bool   // it was installed, and the log is purged; else the log is compacted up to there
		last        uint64 // what must be left of the log, from index+1 on; 0 is nothing at all
	}{
		{"compaction after a snapshot of its own", 4500, 1, false, 5000},
		{"a purge when the installed state is ahead of the log", 7000, 2, true, 0},
		{"a purge when the log disagrees with the installed state", 3000, 2, true, 0},
		{"a purge when the log agrees with the installed state", 4500, 1, true, 5000},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			disk := &crashing{faulty: newFaulty(), t: t}
			s, err := Open(Options{Backend: disk, WriteTimeout: time.Minute, OnSuspect: func(string) {}, OnPurged: func() {}})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if err := s.StoreLogs(entries(1, 5000, 1)); err != nil {
				t.Fatal(err)
			}
			high := min(c.index, 5000)
			if c.install {
				s.Restored(c.index, c.term)
				high = 5000
			}
			if err := s.DeleteRange(1, high); err != nil {
				t.Fatal(err)
			}
			if len(disk.clones) < 2 {
				t.Fatalf("only %d crashes: nothing was deleted", len(disk.clones))
			}
			for i, left := range disk.clones {
				f := open(t, left, time.Minute)
				if err := f.Reconcile(c.index, c.term); err != nil {
					t.Fatalf("crash %d: %v", i, err)
				}
				first, last := f.extent()
				if last != c.last || last > 0 && first > c.index+1 {
					t.Errorf("crash %d: the log is %d to %d, want up to %d from at most %d", i, first, last, c.last, c.index+1)
				}
			}
		})
	}
}
