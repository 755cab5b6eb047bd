package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// reader answers at which index a linearizable read may be done. All reads that arrive while an answer is being found share
// the next one, on the leader as well as on a follower that asks it.
type reader struct {
	n      *Node
	local  shared // confirmations on this node, as the leader
	remote shared // questions to the leader
	rounds rounds
}

// rounds are the goroutines that answer. None begins once the node waits for their end.
type rounds struct {
	mu    sync.Mutex // guards ended, and that none is added while they are waited for
	ended bool
	work  sync.WaitGroup
}

// begin runs answer unless the node stops.
func (r *rounds) begin(answer func()) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return false
	}
	r.work.Go(answer)
	return true
}

// stop waits until none answers any more.
func (r *rounds) stop() {
	r.mu.Lock()
	r.ended = true
	r.mu.Unlock()
	r.work.Wait()
}

func newReader(n *Node) *reader {
	r := &reader{n: n}
	r.local.answer = func(reads int) (uint64, error) {
		start := time.Now()
		index, err := r.verify()
		if n.cfg.Observer != nil {
			n.cfg.Observer.ReadIndex(time.Since(start), reads)
		}
		return index, err
	}
	r.remote.answer = func(int) (uint64, error) {
		leader, self, known := n.leader()
		if !known || self {
			return 0, ErrNotLeader
		}
		ctx, cancel := context.WithTimeout(n.life, n.cfg.LeaderHold)
		defer cancel()
		return n.cfg.Forwarder.ForwardReadIndex(ctx, leader)
	}
	return r
}

// shared answers callers in rounds: who comes during a round gets the answer of the next.
type shared struct {
	answer func(reads int) (uint64, error)

	mu      sync.Mutex // guards what follows
	next    *readRound
	running bool
}

type readRound struct {
	reads int
	done  chan struct{}
	index uint64
	err   error
}

// ask returns the answer of a round that began after the call, ErrStopped when none can begin.
func (s *shared) ask(ctx context.Context, rounds *rounds) (uint64, error) {
	s.mu.Lock()
	round := s.next
	if round == nil {
		round = &readRound{done: make(chan struct{})}
		s.next = round
	}
	round.reads++
	if !s.running {
		if s.running = rounds.begin(s.loop); !s.running {
			s.next = nil
			s.mu.Unlock()
			return 0, ErrStopped
		}
	}
	s.mu.Unlock()
	select {
	case <-round.done:
		return round.index, round.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (s *shared) loop() {
	for {
		s.mu.Lock()
		round := s.next
		s.next = nil
		if round == nil {
			s.running = false
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		round.index, round.err = s.answer(round.reads)
		close(round.done)
	}
}

// confirm returns an index such that a state at least that new contains every write acknowledged before the call.
func (r *reader) confirm(ctx context.Context) (uint64, error) {
	t := r.n.leading()
	if t == nil {
		return 0, ErrNotLeader
	}
	// Every acknowledged write was applied here when no other node has a vote.
	if t.run.soleVoter(r.n.id) {
		return r.n.machine.inner.AppliedIndex(), nil
	}
	return r.local.ask(ctx, &r.rounds)
}

// verify takes the commit index first and confirms leadership afterwards. In a term whose epoch command is applied every
// later entry up to the commit index reaches the state machine, so the index can be waited for.
func (r *reader) verify() (uint64, error) {
	t := r.n.leading()
	if t == nil {
		return 0, ErrNotLeader
	}
	index := t.run.raft.CommitIndex()
	if err := t.run.wait(r.n.life, t.run.raft.VerifyLeader()); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrNotLeader, err)
	}
	if r.n.leading() != t {
		return 0, ErrNotLeader
	}
	return index, nil
}

// readIndex is confirm on whichever node leads, tried again until LeaderHold has passed.
func (r *reader) readIndex(ctx context.Context) (uint64, error) {
	if t := r.n.leading(); t != nil {
		if index, err := r.confirm(ctx); err == nil {
			return index, nil
		}
	}
	ctx, cancel := context.WithTimeout(ctx, r.n.cfg.LeaderHold)
	defer cancel()
	last := error(ErrNoLeader)
	for {
		changed := r.n.changed.wait()
		leader, self, known := r.n.leader()
		pause := time.Hour // until the leader changes
		switch {
		case r.n.stopped.Load():
			return 0, ErrStopped
		case r.n.halted() != nil:
			return 0, r.n.halted()
		case r.n.leading() != nil:
			index, err := r.confirm(ctx)
			if err == nil {
				return index, nil
			}
			last, pause = err, retryBackoff
		case known && !self && r.n.cfg.Forwarder == nil:
			return 0, fmt.Errorf("%w: node %s at %s leads and this node cannot forward to it", ErrNoLeader, leader.ID, leader.Addr)
		case known && !self:
			index, err := r.remote.ask(ctx, &r.rounds)
			if err == nil {
				return index, nil
			}
			last, pause = err, retryBackoff
		}
		timer := time.NewTimer(pause)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			if errors.Is(ctx.Err(), context.Canceled) {
				return 0, ctx.Err()
			}
			if errors.Is(last, ErrNoLeader) {
				return 0, last
			}
			return 0, fmt.Errorf("%w: %w", ErrNoLeader, last)
		}
		timer.Stop()
	}
}

// soleVoter says whether id is the only node with a vote in the newest configuration of this run's log.
func (r *run) soleVoter(id string) bool {
	f := r.raft.GetConfiguration()
	if f.Error() != nil {
		return false
	}
	sole := false
	for _, s := range f.Configuration().Servers {
		if s.Suffrage != raft.Voter {
			continue
		}
		if string(s.ID) != id {
			return false
		}
		sole = true
	}
	return sole
}
