package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"

	"github.com/sluice-dev/sluice/cluster/logstore"
	"github.com/sluice-dev/sluice/fsm/command"
)

var errDiskFull = errors.New("no space left on device")

// faultyLog is the real log file with writes that can fail or hang.
type faultyLog struct {
	*raftboltdb.BoltStore
	mu   sync.Mutex
	fail error
	hang chan struct{}
}

func newFaultyLog(t *testing.T, dir string) *faultyLog {
	t.Helper()
	b, err := raftboltdb.NewBoltStore(filepath.Join(dir, "log.db"))
	if err != nil {
		t.Fatal(err)
	}
	return &faultyLog{BoltStore: b}
}

func (f *faultyLog) set(fail error, hang chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail, f.hang = fail, hang
}

func (f *faultyLog) fault() error {
	f.mu.Lock()
	fail, hang := f.fail, f.hang
	f.mu.Unlock()
	if hang != nil {
		<-hang
	}
	return fail
}

func (f *faultyLog) StoreLogs(l []*raft.Log) error {
	if err := f.fault(); err != nil {
		return err
	}
	return f.BoltStore.StoreLogs(l)
}

func (f *faultyLog) SetUint64(k []byte, v uint64) error {
	if err := f.fault(); err != nil {
		return err
	}
	return f.BoltStore.SetUint64(k, v)
}

func (f *faultyLog) Set(k, v []byte) error {
	if err := f.fault(); err != nil {
		return err
	}
	return f.BoltStore.Set(k, v)
}

// until polls a condition for which there is no event.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
		time.Sleep(2 * time.Millisecond) // a poll interval, nothing depends on its length
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	t.Run("a full disk refuses writes as not done, says why, and the node recovers by itself", func(t *testing.T) {
		t.Parallel()
		s := newSingle(t)
		disk := newFaultyLog(t, s.dir)
		n := s.start(t, func(c *Config) { c.LogBackend, c.LeaderHold = disk, 200*time.Millisecond })
		defer s.stop(t)
		mustPropose(t, n, "before")
		disk.set(errDiskFull, nil)
		_, _, err := n.Propose(testContext(t), [][]byte{[]byte("lost")})
		if !errors.Is(err, ErrNotDone) || !errors.Is(err, errDiskFull) {
			t.Fatalf("got %v, want ErrNotDone with the disk's error", err)
		}
		until(t, "the node stops leading", func() bool { return !n.Status().Leading })
		if p := strings.Join(n.Status().Problems, "\n"); !strings.Contains(p, errDiskFull.Error()) {
			t.Errorf("problems are %q", p)
		}
		_, _, err = n.Propose(testContext(t), [][]byte{[]byte("lost")})
		if !errors.Is(err, ErrNotDone) || !errors.Is(err, ErrNoLeader) || !strings.Contains(err.Error(), errDiskFull.Error()) {
			t.Errorf("got %v, want no leader because of the disk", err)
		}
		disk.set(nil, nil)
		if err := n.WaitLeader(testContext(t)); err != nil {
			t.Fatal(err)
		}
		mustPropose(t, n, "after")
		if got := strings.Join(s.toy.words(), " "); got != "before after" {
			t.Errorf("state is %q", got)
		}
		if p := n.Status().Problems; len(p) != 0 {
			t.Errorf("problems after recovery: %q", p)
		}
	})
	t.Run("a node with a full disk can be stopped", func(t *testing.T) {
		t.Parallel()
		s := newSingle(t)
		disk := newFaultyLog(t, s.dir)
		n := s.start(t, func(c *Config) { c.LogBackend, c.Heartbeat, c.Lease = disk, 50*time.Millisecond, 30*time.Millisecond })
		disk.set(errDiskFull, nil)
		if _, _, err := n.Propose(testContext(t), [][]byte{[]byte("lost")}); !errors.Is(err, ErrNotDone) {
			t.Fatalf("got %v, want ErrNotDone", err)
		}
		until(t, "raft waits for the disk in an election", func() bool { return n.Status().State == "candidate" })
		s.stop(t)
	})
	t.Run("a hanging disk costs leadership, and the write in it is applied once after raft restarted", func(t *testing.T) {
		t.Parallel()
		s := newSingle(t)
		disk := newFaultyLog(t, s.dir)
		n := s.start(t, func(c *Config) {
			c.LogBackend, c.WriteTimeout, c.LeaderHold = disk, 50*time.Millisecond, patience
		})
		defer s.stop(t)
		release := make(chan struct{})
		disk.set(nil, release)
		answer := make(chan error, 1)
		go func() {
			_, _, err := n.Propose(testContext(t), [][]byte{[]byte("slow")})
			answer <- err
		}()
		until(t, "the watchdog latches", func() bool { return n.Status().Latched })
		until(t, "the node stops leading", func() bool { return !n.Status().Leading })
		if p := strings.Join(n.Status().Problems, "\n"); !strings.Contains(p, "has not returned within 50ms") {
			t.Errorf("problems are %q", p)
		}
		disk.set(nil, nil)
		close(release)
		if err := <-answer; err != nil {
			t.Errorf("the write failed after the disk had come back: %v", err)
		}
		if c := s.toy.count("slow"); c != 1 {
			t.Errorf("the write was applied %d times", c)
		}
		until(t, "the restart of raft is counted", func() bool { return n.Status().Restarts == 1 })
	})
	t.Run("a hanging disk that does not come back leaves the outcome unknown", func(t *testing.T) {
		t.Parallel()
		s := newSingle(t)
		disk := newFaultyLog(t, s.dir)
		n := s.start(t, func(c *Config) {
			c.LogBackend, c.WriteTimeout, c.LeaderHold = disk, 50*time.Millisecond, 100*time.Millisecond
		})
		release := make(chan struct{})
		disk.set(nil, release)
		_, _, err := n.Propose(testContext(t), [][]byte{[]byte("slow")})
		if !errors.Is(err, ErrUnknownOutcome) || errors.Is(err, ErrNotDone) {
			t.Errorf("got %v, want ErrUnknownOutcome alone", err)
		}
		disk.set(nil, nil)
		close(release)
		s.stop(t)
	})
	t.Run("a halted state machine refuses all, keeps its log and says which entry", func(t *testing.T) {
		t.Parallel()
		s := newSingle(t)
		n := s.start(t)
		defer s.stop(t)
		mustPropose(t, n, "good")
		_, _, err := n.Propose(testContext(t), [][]byte{[]byte("poison")})
		if !errors.Is(err, ErrUnknownOutcome) || !errors.Is(err, ErrHalted) {
			t.Errorf("got %v, want ErrUnknownOutcome with ErrHalted: the entry is in the log", err)
		}
		_, _, err = n.Propose(testContext(t), [][]byte{[]byte("x")})
		if !errors.Is(err, ErrNotDone) || !errors.Is(err, ErrHalted) {
			t.Errorf("got %v, want ErrNotDone with ErrHalted", err)
		}
		if err := n.run.Load().raft.Snapshot().Error(); !errors.Is(err, ErrHalted) && !strings.Contains(err.Error(), "halted") {
			t.Errorf("a halted node compacts its log: %v", err)
		}
		if st := n.Status(); st.Halted == nil || st.Leading || !strings.Contains(strings.Join(st.Problems, "\n"), "entry ") {
			t.Errorf("status is %+v", st)
		}
	})
	t.Run("a panic in the state machine halts the node and not the process", func(t *testing.T) {
		t.Parallel()
		s := newSingle(t)
		n := s.start(t)
		defer s.stop(t)
		s.toy.mu.Lock()
		s.toy.s.Index = 1 << 40 // the toy panics on an index that does not grow
		s.toy.mu.Unlock()
		_, _, err := n.Propose(testContext(t), [][]byte{[]byte("x")})
		if !errors.Is(err, ErrHalted) || !strings.Contains(err.Error(), "panic") {
			t.Errorf("got %v, want ErrHalted naming the panic", err)
		}
	})
}

func TestErrorsTellDoneFromUnknown(t *testing.T) {
	t.Parallel()
	t.Run("a context that ends in the queue means not done, one that ends in flight means unknown", func(t *testing.T) {
		t.Parallel()
		s := newSingle(t)
		disk := newFaultyLog(t, s.dir)
		n := s.start(t, func(c *Config) { c.LogBackend = disk })
		defer s.stop(t)
		release := make(chan struct{})
		disk.set(nil, release)
		ctx, cancel := context.WithCancel(testContext(t))
		answers := make(chan error, maxInFlight)
		for i := range maxInFlight { // one entry each, since each is proposed when the one before is in flight
			go func() {
				_, _, err := n.Propose(ctx, [][]byte{[]byte("flying")})
				answers <- err
			}()
			until(t, "the entry is in flight", func() bool {
				n.proposer.mu.Lock()
				defer n.proposer.mu.Unlock()
				return n.proposer.inFlight[0] == i+1
			})
		}
		queued := make(chan error, 1)
		qctx, qcancel := context.WithCancel(testContext(t))
		go func() {
			_, _, err := n.Propose(qctx, [][]byte{[]byte("queued")})
			queued <- err
		}()
		until(t, "a call waits", func() bool { return n.Status().Waiting == 1 })
		qcancel()
		if err := <-queued; !errors.Is(err, ErrNotDone) || !errors.Is(err, context.Canceled) {
			t.Errorf("queued call: got %v, want ErrNotDone", err)
		}
		cancel()
		for range maxInFlight {
			if err := <-answers; !errors.Is(err, ErrUnknownOutcome) || !errors.Is(err, context.Canceled) {
				t.Errorf("call in flight: got %v, want ErrUnknownOutcome", err)
			}
		}
		disk.set(nil, nil)
		close(release)
		mustPropose(t, n, "end")
		if c, q := s.toy.count("flying"), s.toy.count("queued"); c != maxInFlight || q != 0 {
			t.Errorf("%d calls in flight and %d queued ones were applied", c, q)
		}
	})
	t.Run("calls with nothing, too much, or at a stopped node are not done", func(t *testing.T) {
		t.Parallel()
		s := newSingle(t)
		n := s.start(t)
		big := [][]byte{make([]byte, MaxCommandBytes+1)}
		if _, _, err := n.Propose(testContext(t), big); !errors.Is(err, ErrNotDone) || !errors.Is(err, ErrTooLarge) {
			t.Errorf("too large: %v", err)
		}
		if _, _, err := n.ProposeBulk(testContext(t), [][]byte{make([]byte, MaxBulkBytes)}); !errors.Is(err, ErrTooLarge) {
			t.Errorf("too large for bulk: %v", err)
		}
		if _, _, err := n.Propose(testContext(t), nil); !errors.Is(err, ErrNotDone) {
			t.Errorf("nothing: %v", err)
		}
		s.stop(t)
		if _, _, err := n.Propose(testContext(t), [][]byte{[]byte("x")}); !errors.Is(err, ErrNotDone) || !errors.Is(err, ErrStopped) {
			t.Errorf("stopped: %v", err)
		}
		if _, err := n.ReadIndex(testContext(t)); !errors.Is(err, ErrStopped) {
			t.Errorf("read at a stopped node: %v", err)
		}
	})
}

func TestAnUnknownOutcomeIsNothingElse(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("wrapped: %w", unknown(notDone(fmt.Errorf("%w: dial", ErrNoLeader))))
	if !errors.Is(err, ErrUnknownOutcome) || errors.Is(err, ErrNotDone) || !errors.Is(err, ErrNoLeader) {
		t.Errorf("%v: unknown %t, not done %t, no leader %t", err, errors.Is(err, ErrUnknownOutcome), errors.Is(err, ErrNotDone), errors.Is(err, ErrNoLeader))
	}
	if again := unknown(err); again != err {
		t.Errorf("it is said twice: %v", again)
	}
	if want := "wrapped: outcome unknown: not done: no leader: dial"; err.Error() != want {
		t.Errorf("%q, not %q", err, want)
	}
	var none *os.PathError
	if errors.As(err, &none) {
		t.Error("it has a cause that it has not")
	}
	if err := unknown(&os.PathError{Op: "x"}); !errors.As(err, &none) {
		t.Error("its cause cannot be had")
	}
}

func TestSessions(t *testing.T) {
	t.Parallel()
	s := newSingle(t)
	n := s.start(t)
	defer s.stop(t)
	b := command.Batch{Session: command.SessionID{1}, Seq: 1, Commands: [][]byte{[]byte("once")}}
	first, i1, err := n.AcceptBatch(testContext(t), b, false)
	if err != nil {
		t.Fatal(err)
	}
	second, i2, err := n.AcceptBatch(testContext(t), b, false)
	if err != nil {
		t.Fatal(err)
	}
	if first.Replayed || !second.Replayed || i2 <= i1 || string(second.Results[0]) != "did once" {
		t.Errorf("first %+v at %d, second %+v at %d", first, i1, second, i2)
	}
	if c := s.toy.count("once"); c != 1 {
		t.Errorf("the batch was applied %d times", c)
	}
}

func TestLeaderEpochs(t *testing.T) {
	t.Parallel()
	t.Run("leader services get one epoch at a time and their commands end with it", func(t *testing.T) {
		t.Parallel()
		s := newSingle(t)
		epochs := make(chan Epoch, 8)
		ended := make(chan Epoch, 8)
		disk := newFaultyLog(t, s.dir)
		n := s.start(t, func(c *Config) {
			c.LogBackend = disk
			c.Lead = func(ctx context.Context, e Epoch) error {
				epochs <- e
				<-ctx.Done()
				ended <- e
				return ctx.Err()
			}
		})
		e := <-epochs
		if s.toy.copy().s.Epoch != e.Number {
			t.Errorf("services began epoch %d before the state had it", e.Number)
		}
		if _, _, err := n.ProposeAsLeader(testContext(t), e, [][]byte{[]byte("mine")}); err != nil {
			t.Fatal(err)
		}
		disk.set(errDiskFull, nil) // makes the node step down
		if _, _, err := n.ProposeAsLeader(testContext(t), e, [][]byte{[]byte("lost")}); !errors.Is(err, ErrNotDone) {
			t.Errorf("got %v", err)
		}
		if got := <-ended; got != e {
			t.Errorf("epoch %v ended, want %v", got, e)
		}
		if _, _, err := n.ProposeAsLeader(testContext(t), e, [][]byte{[]byte("lost")}); !errors.Is(err, ErrNotLeader) || !errors.Is(err, ErrNotDone) {
			t.Errorf("got %v, want ErrNotDone with ErrNotLeader", err)
		}
		disk.set(nil, nil)
		next := <-epochs
		if next.Number <= e.Number || next.Index <= e.Index {
			t.Errorf("epoch %+v follows %+v", next, e)
		}
		if _, _, err := n.ProposeAsLeader(testContext(t), e, [][]byte{[]byte("lost")}); !errors.Is(err, ErrNotLeader) {
			t.Errorf("a command of the old epoch: got %v, want ErrNotLeader", err)
		}
		s.stop(t)
		if got := <-ended; got != next {
			t.Errorf("stopping ended epoch %v, want %v", got, next)
		}
		if s.toy.count("lost") != 0 {
			t.Error("a command of an ended epoch was applied")
		}
	})
	t.Run("leader services that fail are started again in the same epoch of a sole voter", func(t *testing.T) {
		t.Parallel()
		s := newSingle(t)
		calls := make(chan Epoch, 8)
		n := s.start(t, func(c *Config) {
			c.EpochRetry = time.Millisecond
			c.Lead = func(ctx context.Context, e Epoch) error {
				calls <- e
				if len(calls) < 3 {
					return errors.New("cannot rebuild")
				}
				<-ctx.Done()
				return nil
			}
		})
		defer s.stop(t)
		until(t, "three attempts were made", func() bool { return len(calls) == 3 })
		if err := n.WaitLeader(testContext(t)); err != nil {
			t.Fatal(err)
		}
	})
}

// services are leader services that the test lets begin, fail and end.
type services struct {
	began  chan Epoch
	fail   func(nodeID string) bool
	linger chan struct{} // they take until it is closed to end; nil for no time
}

func (s *services) of(c *Config) {
	id := c.DataDir.NodeID()
	c.Lead = func(ctx context.Context, e Epoch) error {
		if s.fail != nil && s.fail(id) {
			return errors.New("cannot rebuild")
		}
		s.began <- e
		<-ctx.Done()
		if s.linger != nil {
			<-s.linger
		}
		return ctx.Err()
	}
}

func TestChangesOfLeaders(t *testing.T) {
	t.Parallel()
	t.Run("a node whose services cannot begin hands leadership to another", func(t *testing.T) {
		t.Parallel()
		var ill atomic.Pointer[string]
		s := &services{began: make(chan Epoch, 64), fail: func(id string) bool { return ill.CompareAndSwap(nil, &id) || *ill.Load() == id }}
		newFleet(t, 3, s.of)
		select {
		case <-s.began:
		case <-testContext(t).Done():
			t.Fatal("the node that cannot lead keeps leading")
		}
	})
	t.Run("services begin when those of the last epoch have ended, and no command is taken before", func(t *testing.T) {
		t.Parallel()
		s := &services{began: make(chan Epoch, 64), linger: make(chan struct{})}
		one := newSingle(t)
		disk := newFaultyLog(t, one.dir)
		n := one.start(t, func(c *Config) { s.of(c); c.LogBackend = disk })
		defer one.stop(t)
		first := <-s.began
		disk.set(errDiskFull, nil) // makes the node step down
		if _, _, err := n.ProposeAsLeader(testContext(t), first, [][]byte{[]byte("lost")}); !errors.Is(err, ErrNotDone) {
			t.Errorf("got %v", err)
		}
		until(t, "it leads no more", func() bool { return n.gate.Load() == nil })
		disk.set(nil, nil)
		until(t, "raft leads again", func() bool { r := n.run.Load().raft; return r.State() == raft.Leader && r.CurrentTerm() > first.Number })
		ctx, cancel := context.WithTimeout(testContext(t), 300*time.Millisecond) // it can only fail
		defer cancel()
		if _, _, err := n.Propose(ctx, [][]byte{[]byte("early")}); err == nil {
			t.Error("a command was taken while services of the last epoch still ran")
		}
		select {
		case e := <-s.began:
			t.Errorf("epoch %+v began while services of epoch %+v still ran", e, first)
		default:
		}
		close(s.linger)
		select {
		case next := <-s.began:
			if next.Number <= first.Number {
				t.Errorf("epoch %+v follows %+v", next, first)
			}
		case <-testContext(t).Done():
			t.Error("no epoch began after the last")
		}
	})
	t.Run("what a leader that was replaced still wants goes nowhere", func(t *testing.T) {
		t.Parallel()
		var mu sync.Mutex
		epochs := map[string]Epoch{}
		f := newFleet(t, 3, func(c *Config) {
			id := c.DataDir.NodeID()
			c.Lead = func(ctx context.Context, e Epoch) error {
				mu.Lock()
				epochs[id] = e
				mu.Unlock()
				<-ctx.Done()
				return ctx.Err()
			}
		})
		epoch := func(m *member) (e Epoch, ok bool) {
			mu.Lock()
			defer mu.Unlock()
			e, ok = epochs[m.id]
			return e, ok
		}
		old := f.leader()
		until(t, "its services have begun", func() bool { _, ok := epoch(old); return ok })
		over, _ := epoch(old)
		f.isolate(old)
		f.leader()
		f.isolate()
		until(t, "the old leader knows the new one", func() bool { p, self, ok := old.node.leader(); return ok && !self && p.ID != old.id })
		if _, _, err := old.node.ProposeAsLeader(testContext(t), over, [][]byte{[]byte("late")}); !errors.Is(err, ErrNotDone) || !errors.Is(err, ErrNotLeader) {
			t.Errorf("got %v, want ErrNotDone with ErrNotLeader", err)
		}
		f.converge()
		if n := old.toy.count("late"); n != 0 {
			t.Errorf("it was applied %d times", n)
		}
	})
}

func TestLanes(t *testing.T) {
	t.Parallel()
	s := newSingle(t)
	n := s.start(t, func(c *Config) { c.BulkBytesPerSecond = 256 << 10 })
	defer s.stop(t)
	gate := make(chan struct{})
	s.toy.mu.Lock()
	s.toy.onApply = func() { <-gate }
	s.toy.mu.Unlock()
	// Everything below waits behind the entries in flight, so the order of applying shows the priorities.
	var wg sync.WaitGroup
	for i := range maxInFlight {
		wg.Go(func() { mustPropose(t, n, "first") })
		until(t, "the entry is in flight", func() bool {
			n.proposer.mu.Lock()
			defer n.proposer.mu.Unlock()
			return n.proposer.inFlight[0] == i+1
		})
	}
	const bulks = 3
	for range bulks {
		wg.Go(func() {
			word := "bulk" + strings.Repeat("x", 40<<10)
			if _, _, err := n.ProposeBulk(testContext(t), [][]byte{[]byte(word)}); err != nil {
				t.Error(err)
			}
		})
	}
	for range 5 {
		wg.Go(func() { mustPropose(t, n, "state") })
	}
	until(t, "all wait", func() bool { return n.Status().Waiting+n.proposer.inFlight1() == bulks+5 })
	close(gate)
	wg.Wait()
	words := s.toy.s.Words
	entries := map[uint64]int{}
	lastState, seenBulk := 0, 0
	for i, w := range words {
		if w.Word == "state" {
			lastState = i
		}
		if strings.HasPrefix(w.Word, "bulk") {
			seenBulk++
			entries[w.Index]++
			if entries[w.Index] > 1 {
				t.Error("two bulk calls of 40 KiB share one entry")
			}
		}
	}
	if seenBulk != bulks {
		t.Errorf("%d bulk commands applied", seenBulk)
	}
	early := 0
	for _, w := range words[:lastState] {
		if strings.HasPrefix(w.Word, "bulk") {
			early++
		}
	}
	if early > 1 { // one may have been in flight when the first state command arrived
		t.Errorf("%d bulk entries went before a waiting state command", early)
	}
}

func (p *proposer) inFlight1() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.inFlight[1]
}

func TestTokenBucket(t *testing.T) {
	t.Parallel()
	b := newTokenBucket(8000)
	now := time.Unix(0, 0)
	sent := 0
	for range 10_000 { // ten seconds in steps of a millisecond
		for b.wait(now) == 0 {
			b.spend(500)
			sent += 500
		}
		now = now.Add(time.Millisecond)
	}
	if sent < 80_000 || sent > 82_000 {
		t.Errorf("%d bytes went in ten seconds at 8000 a second with a burst of 1000", sent)
	}
}

func TestStartRefusals(t *testing.T) {
	t.Parallel()
	t.Run("a second process on one data directory is told who holds it", func(t *testing.T) {
		t.Parallel()
		s := newSingle(t)
		s.start(t)
		defer s.stop(t)
		_, err := OpenDataDir(s.dir)
		if !errors.Is(err, ErrDataDirInUse) || !strings.Contains(err.Error(), fmt.Sprintf("by the process with pid %d", os.Getpid())) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a state older than the log is refused", func(t *testing.T) {
		t.Parallel()
		s := newSingle(t)
		n := s.start(t)
		for range 5 {
			mustPropose(t, n, "a")
		}
		rc := n.run.Load().raft.ReloadableConfig()
		rc.TrailingLogs = 1
		if err := n.run.Load().raft.ReloadConfig(rc); err != nil {
			t.Fatal(err)
		}
		if err := n.run.Load().raft.Snapshot().Error(); err != nil {
			t.Fatal(err)
		}
		s.stop(t)
		s.toy = newToy()
		if err := s.tryStart(t); !errors.Is(err, logstore.ErrStateOlder) {
			t.Errorf("got %v, want ErrStateOlder", err)
		}
	})
	t.Run("a data directory of another cluster is refused", func(t *testing.T) {
		t.Parallel()
		s := newSingle(t)
		s.start(t)
		s.stop(t)
		s.toy.s.Cluster = "another"
		if err := s.tryStart(t); err == nil || !strings.Contains(err.Error(), "mixes two clusters") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("without bootstrap an empty node does not found a cluster", func(t *testing.T) {
		t.Parallel()
		s := newSingle(t)
		err := s.tryStart(t, func(c *Config) { c.BootstrapExpect = 0 })
		if err == nil || !strings.Contains(err.Error(), "--bootstrap-expect 1") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("all problems of a configuration are reported at once", func(t *testing.T) {
		t.Parallel()
		err := Config{InternalAddr: "nonsense", Heartbeat: time.Microsecond, BootstrapExpect: 3, Multiplier: 99}.Validate()
		for _, want := range []string{"DataDir", "Snapshots", "EncodeEpoch", "InternalAddr", "Heartbeat", "BootstrapExpect", "Multiplier"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s is not mentioned in: %v", want, err)
			}
		}
	})
}

func TestAShortLogDoesNotShortenWhatIsKept(t *testing.T) {
	t.Parallel()
	s := newSingle(t)
	n := s.start(t)
	defer s.stop(t)
	n.governor.check(testContext(t))
	if kept := n.run.Load().raft.ReloadableConfig().TrailingLogs; kept != n.cfg.TrailingLogs {
		t.Errorf("%d entries are kept for slow followers, not %d", kept, n.cfg.TrailingLogs)
	}
}

func TestLogGovernor(t *testing.T) {
	t.Parallel()
	s := newSingle(t)
	const budget = 2 << 20
	n := s.start(t, func(c *Config) { c.LogBytes = budget })
	defer s.stop(t)
	word := make([]byte, 100<<10)
	for range 60 {
		if _, _, err := n.Propose(testContext(t), [][]byte{word}); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "the log is within its bytes", func() bool { st := n.Status(); return st.FirstIndex > 1 && st.LogBytes <= budget })
	release := n.HoldLog()
	held := n.Status().FirstIndex
	for range 30 {
		if _, _, err := n.Propose(testContext(t), [][]byte{word}); err != nil {
			t.Fatal(err)
		}
	}
	if st := n.Status(); st.FirstIndex != held || st.LogBytes <= budget {
		t.Errorf("the log was compacted from %d to %d (%d bytes) while a transfer runs", held, st.FirstIndex, st.LogBytes)
	}
	release()
	until(t, "the log is within its bytes again", func() bool { return n.Status().LogBytes <= budget })
}
