package logstore

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

var errDisk = errors.New("no space left on device")

// faulty is a backend in memory whose writes can fail, hang, or fail after having been done.
type faulty struct {
	*raft.InmemStore
	mu     sync.Mutex
	fail   error
	late   bool          // fail after the write took place
	hang   chan struct{} // writes wait until it is closed
	hung   chan struct{} // receives when a write begins to wait
	chunks [][2]uint64   // DeleteRange calls
	writes int
	reads  atomic.Int64
}

func newFaulty() *faulty {
	return &faulty{InmemStore: raft.NewInmemStore(), hung: make(chan struct{}, 16)}
}

func (f *faulty) set(fail error, late bool, hang chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail, f.late, f.hang = fail, late, hang
}

func (f *faulty) write(do func() error) error {
	f.mu.Lock()
	fail, late, hang := f.fail, f.late, f.hang
	f.writes++
	f.mu.Unlock()
	if hang != nil {
		f.hung <- struct{}{}
		<-hang
	}
	if fail != nil && !late {
		return fail
	}
	if err := do(); err != nil {
		return err
	}
	return fail
}

func (f *faulty) StoreLogs(l []*raft.Log) error {
	return f.write(func() error { return f.InmemStore.StoreLogs(l) })
}
func (f *faulty) GetLog(index uint64, l *raft.Log) error {
	f.reads.Add(1)
	return f.InmemStore.GetLog(index, l)
}
func (f *faulty) DeleteRange(a, b uint64) error {
	f.chunks = append(f.chunks, [2]uint64{a, b})
	return f.write(func() error { return f.InmemStore.DeleteRange(a, b) })
}
func (f *faulty) Set(k, v []byte) error {
	return f.write(func() error { return f.InmemStore.Set(k, v) })
}
func (f *faulty) SetUint64(k []byte, v uint64) error {
	return f.write(func() error { return f.InmemStore.SetUint64(k, v) })
}
func (f *faulty) Close() error { return nil }

// entries makes logs from to to with one term.
func entries(from, to, term uint64) []*raft.Log {
	var out []*raft.Log
	for i := from; i <= to; i++ {
		out = append(out, &raft.Log{Index: i, Term: term, Type: raft.LogCommand, Data: make([]byte, 100)})
	}
	return out
}

type fixture struct {
	*Store
	disk    *faulty
	suspect chan string
	purged  chan struct{}
}

func open(t *testing.T, disk *faulty, limit time.Duration) *fixture {
	t.Helper()
	f := &fixture{disk: disk, suspect: make(chan string, 8), purged: make(chan struct{}, 8)}
	s, err := Open(Options{Backend: disk, WriteTimeout: limit, OnSuspect: func(r string) { f.suspect <- r },
		OnPurged: func() { f.purged <- struct{}{} }})
	if err != nil {
		t.Fatal(err)
	}
	f.Store = s
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func (f *fixture) mustStore(t *testing.T, logs []*raft.Log) {
	t.Helper()
	if err := f.StoreLogs(logs); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) wantExtent(t *testing.T, first, last uint64) {
	t.Helper()
	a, _ := f.FirstIndex()
	b, _ := f.LastIndex()
	if a != first || b != last {
		t.Errorf("log is %d to %d, want %d to %d", a, b, first, last)
	}
	da, _ := f.disk.FirstIndex()
	db, _ := f.disk.LastIndex()
	if last == 0 {
		// The in-memory backend does not reset its bounds when it becomes empty.
		var l raft.Log
		for i := da; i <= db && i > 0; i++ {
			if f.disk.GetLog(i, &l) == nil {
				t.Errorf("entry %d is still on disk", i)
			}
		}
		return
	}
	if da != first || db != last {
		t.Errorf("disk is %d to %d, want %d to %d", da, db, first, last)
	}
}
