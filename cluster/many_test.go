package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

func TestThreeNodes(t *testing.T) {
	t.Parallel()
	t.Run("commands given to any node are applied on all and every node reads them", func(t *testing.T) {
		t.Parallel()
		f := newFleet(t, 3, nil)
		f.leader()
		var wg sync.WaitGroup
		for i, m := range f.members {
			for c := range 4 {
				wg.Go(func() {
					for j := range 10 {
						word := fmt.Sprintf("%d-%d-%d", i, c, j)
						index := mustPropose(t, m.node, word)
						for _, other := range f.members {
							at, err := other.node.Read(testContext(t))
							if err != nil {
								t.Error(err)
								return
							}
							if at < index || other.toy.count(word) != 1 {
								t.Errorf("node %d read at %d does not see what was written at %d", i, at, index)
							}
						}
					}
				})
			}
		}
		wg.Wait()
		f.converge()
		id := f.members[0].node.Status().ClusterID
		for _, m := range f.members {
			if got := m.node.Status().ClusterID; got == "" || got != id {
				t.Errorf("cluster id of node %s is %q, of the first %q", m.id, got, id)
			}
		}
	})
	t.Run("an answer lost on the way back does not apply a batch twice", func(t *testing.T) {
		t.Parallel()
		f := newFleet(t, 3, nil)
		lead := f.leader()
		f.faults = rand.New(rand.NewPCG(1, 2))
		var words []string
		for _, m := range f.members {
			if m == lead {
				continue
			}
			for i := range 30 {
				word := fmt.Sprintf("%s-%d", m.id, i)
				f.put(m, word)
				words = append(words, word)
			}
		}
		// Only now: whoever led at the start may have lost leadership and lag.
		f.converge()
		for _, m := range f.members {
			for _, word := range words {
				if c := m.toy.count(word); c != 1 {
					t.Errorf("node %s applied %s %d times", m.id, word, c)
				}
			}
		}
	})
	t.Run("without a forwarder a follower names the leader", func(t *testing.T) {
		t.Parallel()
		f := newFleet(t, 3, func(c *Config) { c.Forwarder = nil })
		lead := f.leader()
		for _, m := range f.members {
			if m == lead {
				continue
			}
			if err := m.node.WaitLeader(testContext(t)); err != nil {
				t.Fatal(err)
			}
			_, _, err := m.node.Propose(testContext(t), [][]byte{[]byte("x")})
			want := fmt.Sprintf("%v: %v: node %s at %s leads", ErrNotDone, ErrNoLeader, lead.id, lead.addr)
			if !errors.Is(err, ErrNoLeader) || len(err.Error()) < len(want) || err.Error()[:len(want)] != want {
				t.Errorf("got %v", err)
			}
		}
	})
	t.Run("an isolated leader acknowledges nothing and reads nothing", func(t *testing.T) {
		t.Parallel()
		f := newFleet(t, 3, nil)
		old := f.leader()
		f.put(old, "before")
		f.isolate(old)
		ctx, cancel := context.WithTimeout(testContext(t), 300*time.Millisecond) // both calls can only fail
		defer cancel()
		_, _, err := old.node.Propose(ctx, [][]byte{[]byte("isolated")})
		if err == nil {
			t.Error("an isolated leader acknowledged a write")
		}
		if !errors.Is(err, ErrUnknownOutcome) && !errors.Is(err, ErrNotDone) {
			t.Errorf("an error without certainty: %v", err)
		}
		ctx, cancel = context.WithTimeout(testContext(t), 300*time.Millisecond)
		defer cancel()
		if _, err := old.node.Read(ctx); err == nil {
			t.Error("an isolated leader allowed a read")
		}
		next := f.leader()
		f.put(next, "after")
		f.isolate()
		f.converge()
	})
	t.Run("a stopping leader hands over", func(t *testing.T) {
		t.Parallel()
		f := newFleet(t, 3, nil)
		lead := f.leader()
		old, r := lead.node.Status().Epoch, lead.node.run.Load()
		if err := lead.node.Stop(testContext(t)); err != nil {
			t.Fatal(err)
		}
		f.mu.Lock()
		lead.node = nil
		f.mu.Unlock()
		wantAllAnswered(t, r)
		next := f.leader()
		if e := next.node.Status().Epoch; e <= old {
			t.Errorf("epoch %d follows %d", e, old)
		}
		f.put(next, "after")
	})
}
