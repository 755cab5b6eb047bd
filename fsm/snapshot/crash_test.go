package snapshot

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// crasher cuts the power of one node at the steps it passes, each time on a copy of its disk, and looks at what starts
// from it.
type crasher struct {
	t    *testing.T
	seed uint64
	rng  *rand.Rand
	hist *history
	fs   *vfs.MemFS
	name string

	// floor is the index that must survive: Raft may have dropped its log up to there. pending becomes the floor when
	// the step named by commits is passed.
	floor, pending uint64
	// chance of a crash is one in this.
	oneIn int
	mu    sync.Mutex
	seen  map[string]int
}

func (c *crasher) step(name string) {
	switch name {
	case "persist ends", "CURRENT synced":
		c.floor = max(c.floor, c.pending)
	}
	if c.rng.IntN(c.oneIn) > 0 {
		return
	}
	c.mu.Lock()
	c.seen[name]++
	c.mu.Unlock()
	// In its own goroutine, waited for: a failure ends that one, not the install it interrupts with its locks held.
	var wg sync.WaitGroup
	wg.Go(func() { c.crash(name) })
	wg.Wait()
}

func (c *crasher) crash(where string) {
	t := c.t
	unsynced := []int{0, 100, c.rng.IntN(101)}[c.rng.IntN(3)]
	clone := c.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: unsynced, RNG: c.rng})
	what := fmt.Sprintf("seed %d, %s crashed at %q with %d%% of unsynced data", c.seed, c.name, where, unsynced)
	n := &node{t: t, fs: clone, hist: c.hist}
	h, err := Open(config(clone, &n.lock))
	if err != nil {
		t.Fatalf("%s: does not start: %v", what, err)
	}
	n.h, n.store = h, NewStore(h)
	defer func() {
		if err := h.Close(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}()
	if n.index = n.check(what); n.index < c.floor {
		t.Fatalf("%s: stands at %d, but Raft's log may begin after %d", what, n.index, c.floor)
	}
	n.checkDir(what)
	// Raft applies again what came after.
	n.apply(n.index + 10)
	n.check(what + ", went on")
}

// Two nodes apply the same history; one sends its state to the other now and then. Power is cut at every step.
func TestACrashAtAnyStepLeavesAStateOfTheHistory(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	seen := map[string]int{}
	t.Run("seeds", func(t *testing.T) {
		for _, seed := range seeds(t) {
			t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
				t.Parallel()
				steps := crashRun(t, seed)
				mu.Lock()
				defer mu.Unlock()
				for name, n := range steps {
					seen[name] += n
				}
			})
		}
	})
	if t.Failed() {
		return
	}
	for _, step := range []string{
		"first database made", "first database named", "CURRENT.tmp written", "CURRENT renamed", "CURRENT synced",
		"applied", "persist begins", "persist ends", "checkpoint taken", "transfer", "sink received", "sink verified",
		"sink closed", "install begins", "new database named", "new database opened", "swapped", "old database removed",
	} {
		if seen[step] == 0 {
			t.Errorf("no seed crashed at %q; crashes were at %v", step, seen)
		}
	}
}

func crashRun(t *testing.T, seed uint64) map[string]int {
	hist := newHistory(seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	seen := map[string]int{}
	start := func(name string) (*node, *crasher) {
		c := &crasher{
			t: t, seed: seed, rng: rng, hist: hist, fs: vfs.NewCrashableMem(), name: name, oneIn: 4, seen: seen,
		}
		return newNode(t, c.fs, hist, c.step), c
	}
	leader, atLeader := start("leader")
	follower, atFollower := start("follower")
	advance := func(n *node, c *crasher, to uint64) {
		n.apply(to)
		c.step("applied")
	}
	persist := func(n *node, c *crasher) {
		if n.index == 0 {
			return
		}
		c.pending = n.index
		n.persist()
	}
	for range 25 {
		switch rng.IntN(6) {
		case 0, 1:
			advance(leader, atLeader, leader.index+uint64(rng.IntN(40)))
		case 2:
			if behind := leader.index - follower.index; behind > 0 {
				advance(follower, atFollower, follower.index+rng.Uint64N(behind))
			}
		case 3:
			persist(leader, atLeader)
		case 4:
			persist(follower, atFollower)
		case 5:
			m, err := leader.h.Meta()
			leader.must(err)
			if index, _ := m.Last(); index == 0 || index < follower.index {
				continue
			}
			meta, stream := leader.stream()
			atFollower.pending = meta.Index
			id, err := follower.receive(meta, bytes.NewReader(stream))
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if err := follower.restore(id); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if got := follower.check("installed"); got != meta.Index {
				t.Fatalf("seed %d: stands at %d after installing %d", seed, got, meta.Index)
			}
			follower.checkDir("installed")
		}
	}
	return seen
}
