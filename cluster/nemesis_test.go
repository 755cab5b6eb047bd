package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/internal/history"
)

// eachSeed runs a test for SLUICE_SEEDS seeds, from SLUICE_SEED on; each is printed. Every fourth has five nodes, the others three.
func eachSeed(t *testing.T, test func(t *testing.T, seed uint64, size int)) {
	base := uint64(time.Now().UnixNano()) &^ 3
	if v, err := strconv.ParseUint(os.Getenv("SLUICE_SEED"), 10, 64); err == nil {
		base = v
	}
	for i := range envInt("SLUICE_SEEDS", 3) {
		seed := base + uint64(i)
		size := 3
		if seed%4 == 0 {
			size = 5
		}
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel() // a seed mostly waits
			t.Logf("repeat with SLUICE_SEED=%d SLUICE_SEEDS=1", seed)
			test(t, seed, size)
		})
	}
}

// rage makes faults, with a pause after each, and mends them all.
func (f *fleet) rage(rng *rand.Rand, strikes int, pause func()) {
	minority := (len(f.members) - 1) / 2
	some := func() []*member {
		var out []*member
		for _, i := range rng.Perm(len(f.members))[:1+rng.IntN(minority)] {
			out = append(out, f.members[i])
		}
		return out
	}
	for range strikes {
		switch rng.IntN(9) {
		case 0:
			f.isolate(some()...)
		case 1:
			if l := f.reachable(); len(l) == len(f.members) {
				f.isolate(f.leader())
			}
		case 2:
			f.isolate()
		case 3, 4:
			down := some()
			for _, m := range down {
				if rng.IntN(2) == 0 {
					f.crash(m, rng)
				} else {
					f.down(m)
				}
			}
			pause()
			for _, m := range down {
				if !underRace && rng.IntN(3) == 0 { // see skipMoves
					f.move(m)
				} else {
					f.up(m)
				}
			}
		case 5:
			f.compact(f.members...)
		case 6:
			if n := f.nodeOf(f.members[rng.IntN(len(f.members))]); n != nil {
				if r := n.run.Load(); r != nil {
					_ = n.handOver(testContext(f.t), r) // refused by a follower
				}
			}
		case 7:
			for range 1 + rng.IntN(len(f.members)) {
				if from, to := f.members[rng.IntN(len(f.members))], f.members[rng.IntN(len(f.members))]; from != to {
					f.cutOneWay(from, to)
				}
			}
		case 8: // whoever comes back must get a snapshot
			away := some()
			f.isolate(away...)
			pause()
			f.compact(f.reachable()...)
			f.isolate()
		}
		pause()
		f.readdress()
	}
	f.isolate()
	f.mu.Lock()
	f.faults = nil
	f.mu.Unlock()
	until(f.t, "the configuration has all addresses", f.readdress)
	f.leader()
	pause()
}

// pacer lets some acknowledged writes pass between faults, or some time when none can.
func pacer(rng *rand.Rand, acks *atomic.Int64) func() {
	return func() {
		goal := acks.Load() + int64(5+rng.IntN(40))
		deadline := time.Now().Add(time.Duration(50+rng.IntN(300)) * time.Millisecond)
		for acks.Load() < goal && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond) // a poll interval
		}
	}
}

// TestNemesis lets writers and readers work while links and nodes fail, and checks that nothing acknowledged is lost, nothing is
// doubled, nothing refused is applied, and that reads and writes of registers are linearizable.
func TestNemesis(t *testing.T) {
	t.Parallel()
	eachSeed(t, nemesis)
}

func nemesis(t *testing.T, seed uint64, size int) {
	rng := rand.New(rand.NewPCG(seed, 0))
	f := newFleet(t, size, func(c *Config) { c.LeaderHold = 400 * time.Millisecond })
	f.leader()
	f.mu.Lock()
	f.faults = rand.New(rand.NewPCG(seed, 1))
	f.mu.Unlock()

	var (
		stop     = make(chan struct{})
		acks     atomic.Int64
		mu       sync.Mutex
		acked    = map[string]bool{}
		unknowns = map[string]bool{}
		refusedW = map[string]bool{}
		work     sync.WaitGroup
		log      = history.NewLog()
	)
	pick := func(r *rand.Rand) (*Node, *toy) {
		f.mu.Lock()
		defer f.mu.Unlock()
		m := f.members[r.IntN(len(f.members))]
		return m.node, m.toy
	}
	// propose writes a word and keeps what is known of it.
	propose := func(n *Node, word string) error {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		_, _, err := n.Propose(ctx, [][]byte{[]byte(word)})
		cancel()
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err == nil:
			acked[word] = true
			acks.Add(1)
		case errors.Is(err, ErrUnknownOutcome):
			unknowns[word] = true
		case errors.Is(err, ErrNotDone):
			refusedW[word] = true
		default:
			t.Errorf("an error without certainty: %v", err)
		}
		return err
	}
	worker := func(number uint64, act func(r *rand.Rand, i int)) {
		r := rand.New(rand.NewPCG(seed, number))
		work.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					act(r, i)
				}
			}
		})
	}
	for w := range 3 {
		worker(uint64(10+w), func(r *rand.Rand, i int) {
			if n, _ := pick(r); n != nil {
				_ = propose(n, fmt.Sprintf("w%d-%d", w, i)) // counted
			}
		})
	}
	// A register's value is that of the last word "KEY=VALUE".
	for c := range 4 {
		client := log.Client()
		worker(uint64(20+c), func(r *rand.Rand, i int) {
			n, state := pick(r)
			if n == nil {
				return
			}
			// Registers follow one another, so that the order of each can be searched for.
			key := fmt.Sprintf("r%d-%d", r.IntN(2), i/40)
			if r.IntN(2) == 0 {
				value := fmt.Sprintf("%d-%d", c, i)
				call := client.Begin(history.Input{Key: key, Kind: history.Write, Value: value})
				switch err := propose(n, key+"="+value); {
				case err == nil:
					call.Answered(history.Output{})
				case errors.Is(err, ErrNotDone):
					call.NotDone()
				default:
					call.Unknown()
				}
				return
			}
			call := client.Begin(history.Input{Key: key, Kind: history.Read})
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			_, err := n.Read(ctx)
			cancel()
			if err != nil {
				call.Unknown()
				return
			}
			call.Answered(history.Output{Value: state.last(key + "=")})
		})
	}
	f.rage(rng, 25, pacer(rng, &acks))
	close(stop)
	work.Wait()
	f.converge()
	applied := map[string]int{}
	for _, w := range f.members[0].toy.words() {
		applied[w]++
	}
	for w := range acked {
		if applied[w] != 1 {
			t.Errorf("acknowledged %s was applied %d times", w, applied[w])
		}
	}
	for w := range unknowns {
		if applied[w] > 1 {
			t.Errorf("%s of unknown outcome was applied %d times", w, applied[w])
		}
	}
	for w := range refusedW {
		if applied[w] != 0 {
			t.Errorf("%s was refused as not done and applied %d times", w, applied[w])
		}
	}
	f.checkHistory(log)
	restarts := uint64(0)
	for _, m := range f.members {
		restarts += m.node.Status().Restarts
	}
	t.Logf("%d nodes: %d acknowledged, %d unknown, %d refused, %d operations on registers, %d restarts of raft in place",
		size, len(acked), len(unknowns), len(refusedW), log.Len(), restarts)
	if len(acked) == 0 {
		t.Error("nothing was acknowledged at all")
	}
}

// checkHistory leaves a picture of a history that is not accepted where it survives the test.
func (f *fleet) checkHistory(log *history.Log) {
	f.t.Helper()
	dir, err := os.MkdirTemp("", "sluice-history-")
	if err != nil {
		f.t.Fatal(err)
	}
	if err := log.Check(dir); err != nil {
		f.t.Error(err)
		return
	}
	if err := os.Remove(dir); err != nil {
		f.t.Error(err)
	}
}

// last returns what follows the prefix in the last word that has it.
func (t *toy) last(prefix string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := len(t.s.Words) - 1; i >= 0; i-- {
		if rest, ok := strings.CutPrefix(t.s.Words[i].Word, prefix); ok {
			return rest
		}
	}
	return ""
}
