package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/raft"
)

// restoring is an operator's restore on its way to the loop that rules over the epochs.
type restoring struct {
	meta  *raft.SnapshotMeta
	from  io.Reader
	index uint64     // where the restored state stands, once done
	done  chan error // capacity 1
}

// restoreGrace is how long entries in flight may take to end before a restore aborts them, and how long its answer may take once
// leadership was lost.
const restoreGrace = time.Second

// restoreReminder is how often the log says that a restore waits for the other members.
const restoreReminder = 10 * time.Second

// Restore replaces the state of the whole cluster by a snapshot that Config.Snapshots can take over from the reader. Raft gives it a
// place above every entry there is and above meta.Index, which is returned. It is for the leader alone: elsewhere it fails with
// ErrNotLeader. It returns when a quorum has the state and a new epoch has begun. The error is ErrNotDone or ErrUnknownOutcome: a
// leader that fails before a quorum has the state leaves the decision to its successor.
func (n *Node) Restore(ctx context.Context, meta *raft.SnapshotMeta, from io.Reader) (uint64, error) {
	t := n.leading()
	if t == nil {
		return 0, notDone(ErrNotLeader)
	}
	q := &restoring{meta: meta, from: from, done: make(chan error, 1)}
	select {
	case t.run.restores <- q:
	case <-t.run.leadDone:
		return 0, notDone(ErrNotLeader)
	case <-ctx.Done():
		return 0, notDone(ctx.Err())
	}
	// From here on it runs to its end whoever waits.
	if err := <-q.done; err != nil {
		return 0, err
	}
	for {
		changed := n.changed.wait()
		switch {
		case n.leading() != nil:
			return q.index, nil
		case n.stopped.Load(), t.run.raft.State() != raft.Leader:
			return 0, unknown(fmt.Errorf("%w: leadership was lost right after the restore", ErrNotLeader))
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, unknown(ctx.Err())
		}
	}
}

// restore has raft replace the state. No epoch is under way: what a leader's services hold in memory is of the state that goes.
func (n *Node) restore(ctx context.Context, r *run, q *restoring) error {
	// Raft refuses while a change of the configuration is not committed.
	n.changing.Lock()
	defer n.changing.Unlock()
	idle, cancel := context.WithTimeout(ctx, restoreGrace)
	n.proposer.quiesce(idle)
	cancel()
	installs := n.machine.installs.Load()
	answer := make(chan error, 1)
	r.awaited.Add(1)
	go func() {
		defer r.awaited.Add(-1)
		answer <- r.raft.Restore(q.meta, q.from, 0)
	}()
	n.restoring.Store(true)
	err := n.awaitRestored(ctx, r, answer)
	n.restoring.Store(false)
	switch {
	case err == nil:
	case n.machine.installs.Load() != installs, errors.Is(err, raft.ErrLeadershipLost), ctx.Err() != nil:
		return unknown(fmt.Errorf("restore: %w", err))
	case errors.Is(err, raft.ErrNotLeader):
		return notDone(fmt.Errorf("restore: %w", ErrNotLeader))
	default:
		return notDone(fmt.Errorf("restore: %w", err))
	}
	q.index, _, err = position(n.cfg.Snapshots)
	if err != nil {
		return unknown(err)
	}
	n.log.Warn("the state was replaced by a restored snapshot", "index", q.index)
	return nil
}

// awaitRestored returns what becomes of raft's restore.
func (n *Node) awaitRestored(ctx context.Context, r *run, answer <-chan error) error {
	reminder := time.NewTicker(restoreReminder)
	defer reminder.Stop()
	for {
		select {
		case err := <-answer:
			return err
		case <-reminder.C:
			n.log.Warn("the restore waits until a majority has the state; nothing is written meanwhile (are the members' disks full?)")
		case <-r.raft.LeaderCh():
			select {
			case err := <-answer:
				return err
			case <-time.After(restoreGrace):
				return raft.ErrLeadershipLost
			}
		case <-r.down:
			return raft.ErrRaftShutdown
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// strayed reports whether a follower's state is none that this leader's log leads to. Only a restore can leave one: a leader that
// fails before others have the restored state keeps it, and no entry of the log would ever fit behind it.
func (n *Node) strayed(r *run, h hello) bool {
	if h.StateIndex == 0 || h.Leader.ID != n.id || h.Term != r.raft.CurrentTerm() {
		return false
	}
	if h.StateIndex > r.raft.LastIndex() {
		return h.StateTerm < h.Term
	}
	var l raft.Log
	if err := n.store.GetLog(h.StateIndex, &l); err != nil {
		return false // it is compacted, so a snapshot is sent anyway
	}
	return l.Term != h.StateTerm
}

// shedLog drops the log, so that raft sends its state to who cannot follow by it.
func (n *Node) shedLog(ctx context.Context, r *run, member string) {
	n.log.Warn("a member's state is none of this cluster's history, as after a restore that was not completed: it gets the state anew", "member", member)
	defer n.governor.poke() // it sets the length of the log again
	rc := r.raft.ReloadableConfig()
	rc.TrailingLogs = 0
	err := r.raft.ReloadConfig(rc)
	if err == nil {
		err = r.wait(ctx, r.raft.Snapshot())
	}
	if err != nil && ctx.Err() == nil {
		n.log.Warn("the log could not be dropped, trying again", "error", err)
	}
}
