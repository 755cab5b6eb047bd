package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/raft"

	"github.com/sluice-dev/sluice/fsm/command"
)

// Epoch is one leader's reign. Both fields grow from leader to leader.
type Epoch struct {
	Number uint64 // the Raft term, as given to Config.EncodeEpoch
	Index  uint64 // of the epoch command's entry: what leader-made commands carry and the state compares
}

// term is a term in which this node leads and its epoch command is applied.
type term struct {
	run    *run
	number uint64
}

// reign is a running epoch.
type reign struct {
	cancel context.CancelFunc
	done   chan error // receives once, when everything started for the epoch has ended
}

// reigns counts the leaders that this node came to know.
type reigns struct {
	count  atomic.Uint64
	leader string // only the observer of the present run touches the last
	term   uint64
}

func (r *reigns) observe(leader string, term uint64) {
	if leader != r.leader || term != r.term {
		r.leader, r.term = leader, term
		r.count.Add(1)
	}
}

// leadLoop follows this node's gains and losses of leadership in one run of raft, one at a time. A second gain in a row
// means lost and regained.
func (n *Node) leadLoop(ctx context.Context, r *run) {
	defer close(r.leadDone)
	var now *reign
	var retry <-chan time.Time
	end := func() {
		if now != nil {
			n.closeGate()
			now.cancel()
			<-now.done
			now = nil
		}
		retry = nil
	}
	begin := func() {
		ectx, cancel := context.WithCancel(ctx)
		now = &reign{cancel: cancel, done: make(chan error, 1)}
		go func(done chan<- error) { done <- n.reign(ectx, r) }(now.done)
	}
	for {
		var ended <-chan error
		if now != nil {
			ended = now.done
		}
		select {
		case gained := <-r.raft.LeaderCh():
			end()
			if gained {
				begin()
			} else {
				n.log.Info("leadership lost")
			}
			n.notify()
		case err := <-ended:
			n.closeGate()
			now.cancel()
			now = nil
			if r.raft.State() != raft.Leader || ctx.Err() != nil {
				continue
			}
			n.log.Error("epoch failed, giving up leadership", "error", err)
			if terr := n.handOver(ctx, r); terr != nil {
				n.log.Warn("leadership could not be handed over, trying again", "error", terr, "after", n.cfg.EpochRetry)
				retry = time.After(n.cfg.EpochRetry)
			}
		case <-retry:
			retry = nil
			if r.raft.State() == raft.Leader && now == nil {
				begin()
			}
		case q := <-r.restores:
			end()
			err := n.restore(ctx, r, q)
			if r.raft.State() == raft.Leader && ctx.Err() == nil {
				begin()
			}
			q.done <- err
		case <-ctx.Done():
			end()
			return
		}
	}
}

// reign begins an epoch and stays until ctx ends or something fails.
func (n *Node) reign(ctx context.Context, r *run) error {
	if err := n.unfit(); err != nil {
		return err
	}
	if err := n.checkClock(ctx); err != nil {
		return err
	}
	number := r.raft.CurrentTerm()
	clusterID := n.cfg.DataDir.ClusterID()
	if clusterID == "" {
		if clusterID = n.machine.inner.ClusterID(); clusterID == "" {
			// All founders have promised the same, whichever of them leads first.
			if clusterID = n.cfg.DataDir.allegiance(); clusterID == "" {
				clusterID = uuid.NewString()
			}
		}
	}
	n.follow()
	e := command.Entry{Stamp: n.stamp().UnixMicro(),
		Batches: []command.Batch{{Commands: [][]byte{n.cfg.EncodeEpoch(number, n.id, clusterID)}}}}
	f := r.raft.ApplyLog(raft.Log{Data: command.AppendEntry(nil, e)}, 0)
	if err := r.wait(ctx, f); err != nil {
		return fmt.Errorf("propose epoch %d: %w", number, err)
	}
	res, ok := f.Response().(*command.EntryResult)
	if !ok {
		return fmt.Errorf("propose epoch %d: %w", number, errBadResponse)
	}
	if res.Err != nil {
		return fmt.Errorf("propose epoch %d: %w", number, res.Err)
	}
	if r.raft.CurrentTerm() != number || ctx.Err() != nil {
		return fmt.Errorf("epoch %d: %w", number, ErrNotLeader)
	}
	n.gate.Store(&term{run: r, number: number})
	n.log.Info("leadership gained", "epoch", number, "index", f.Index())
	n.notify()
	if n.port != nil {
		var work sync.WaitGroup
		defer work.Wait()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		n.raising.Store(0)
		n.agreed.Store(nil)
		n.crew.Store(nil)
		c := &reconciler{n: n, run: r, term: number, checkpointed: time.Now()}
		work.Go(func() { c.loop(ctx) })
	}
	if n.cfg.Lead != nil {
		err := n.cfg.Lead(ctx, Epoch{Number: number, Index: f.Index()})
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("leader services of epoch %d: %w", number, err)
		}
	}
	<-ctx.Done()
	return errors.New("epoch ended")
}

func (n *Node) closeGate() {
	n.gate.Store(nil)
	n.proposer.poke()
}

// leading returns the term in which this node leads and accepts commands, or nil.
func (n *Node) leading() *term {
	t := n.gate.Load()
	if t == nil || t.run.raft.State() != raft.Leader || t.run.raft.CurrentTerm() != t.number || n.machine.halted() != nil {
		return nil
	}
	return t
}

// leader returns the leader that raft knows.
func (n *Node) leader() (p Peer, self, ok bool) {
	r := n.run.Load()
	if r == nil {
		return Peer{}, false, false
	}
	addr, id := r.raft.LeaderWithID()
	// A sole voter always wins its election; that does not make it lead.
	if id == "" || string(id) == n.id && n.unfit() != nil {
		return Peer{}, false, false
	}
	return Peer{ID: string(id), Addr: string(addr)}, string(id) == n.id, true
}

func (n *Node) halted() error { return n.machine.halted() }

// unfit returns why this node must not lead, nil when it may.
func (n *Node) unfit() error {
	if err := n.machine.halted(); err != nil {
		return err
	}
	if text := n.Diverged(); text != "" {
		return errors.New(text)
	}
	return nil
}

// trouble says what is known to keep this node from its work, "" for nothing.
func (n *Node) trouble() string {
	if !n.up.Load() {
		return "the node is starting"
	}
	if n.restoring.Load() {
		return "the cluster's state is being replaced by a snapshot, and a majority does not have it yet"
	}
	if text := n.Diverged(); text != "" {
		return text
	}
	if err := n.outdated.Load(); err != nil {
		return (*err).Error()
	}
	if h := n.store.Health(); h.Latched {
		return fmt.Sprintf("a write to the raft log has not returned within %s", n.cfg.WriteTimeout)
	} else if h.Err != nil {
		return fmt.Sprintf("the raft log cannot be written: %v", h.Err)
	}
	return ""
}

// notify wakes all that wait for a leader.
func (n *Node) notify() {
	n.changed.fire()
	n.proposer.poke()
}
