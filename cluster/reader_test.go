package cluster

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

func TestReads(t *testing.T) {
	t.Parallel()
	t.Run("who asks during a round gets the answer of the next", func(t *testing.T) {
		t.Parallel()
		asked, answer := make(chan int, 8), make(chan uint64)
		s := &shared{answer: func(reads int) (uint64, error) {
			asked <- reads
			return <-answer, nil
		}}
		var work rounds
		defer work.stop()
		defer close(answer)
		got := make(chan uint64, 8)
		ask := func() {
			index, err := s.ask(testContext(t), &work)
			if err != nil {
				t.Error(err)
			}
			got <- index
		}
		go ask()
		if reads := <-asked; reads != 1 {
			t.Errorf("%d reads share the first round", reads)
		}
		go ask()
		go ask()
		until(t, "both wait for the next round", func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.next != nil && s.next.reads == 2
		})
		answer <- 1
		if index := <-got; index != 1 {
			t.Errorf("the first read is answered %d", index)
		}
		if reads := <-asked; reads != 2 {
			t.Errorf("%d reads share the second round", reads)
		}
		answer <- 2
		for range 2 {
			if index := <-got; index != 2 {
				t.Errorf("a read that began during the first round is answered %d", index)
			}
		}
	})
	t.Run("a leader that nobody hears confirms nothing, though it still believes that it leads", func(t *testing.T) {
		t.Parallel()
		f := newFleet(t, 3, func(c *Config) { c.Heartbeat, c.Lease = 500*time.Millisecond, 500*time.Millisecond })
		lead := f.leader()
		f.isolate(lead)
		var err error
		for range 3 { // a heartbeat to each follower may be under way and confirm one
			_, err = lead.node.reader.verify()
		}
		if err == nil {
			t.Error("it confirmed its leadership without anybody")
		}
	})
	t.Run("a read right after an election waits for nothing that the state machine never sees", func(t *testing.T) {
		t.Parallel()
		f := newFleet(t, 3, nil)
		f.leader()
		for _, m := range f.members { // nothing was written: the last entries are raft's own and the epoch command
			if _, err := m.node.Read(testContext(t)); err != nil {
				t.Errorf("node %s: %v", m.id, err)
			}
		}
	})
	t.Run("a new leader answers no read before it has applied what its predecessors acknowledged", func(t *testing.T) {
		t.Parallel()
		s := newSingle(t)
		n := s.start(t)
		early := s.toy.copy() // as after a power loss
		mustPropose(t, n, "acknowledged")
		s.stop(t)
		s.toy = early
		hold := make(chan struct{})
		s.toy.onApply = func() { <-hold }
		if err := s.tryStart(t); err != nil {
			t.Fatal(err)
		}
		defer s.stop(t)
		release := sync.OnceFunc(func() { close(hold) })
		defer release()
		until(t, "raft leads", func() bool { return s.node.run.Load().raft.State() == raft.Leader })
		ctx, cancel := context.WithTimeout(testContext(t), 300*time.Millisecond) // it can only fail
		defer cancel()
		if index, err := s.node.Read(ctx); err == nil {
			t.Errorf("a read at %d was answered without what was acknowledged", index)
		}
		release()
		if _, err := s.node.Read(testContext(t)); err != nil || s.toy.count("acknowledged") != 1 {
			t.Errorf("%v, state %q", err, s.toy.words())
		}
	})
}

func TestNoReadBeginsOnceTheEndOfThemIsAwaited(t *testing.T) {
	t.Parallel()
	for range 100 {
		var all rounds
		var over atomic.Bool
		s := &shared{answer: func(int) (uint64, error) {
			if over.Load() {
				t.Error("a read was answered after the node had stopped")
			}
			return 1, nil
		}}
		var callers sync.WaitGroup
		for range 4 {
			callers.Go(func() {
				for {
					_, err := s.ask(t.Context(), &all)
					if errors.Is(err, ErrStopped) {
						return
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		all.stop()
		over.Store(true)
		callers.Wait()
	}
}
