package cluster

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sluice-dev/sluice/cluster/logstore"
)

// restartPause is the wait before another attempt to restart raft.
const restartPause = time.Second

// run is one run of raft. A node has several when raft's memory and the disk came to differ.
type run struct {
	raft     *raft.Raft
	stable   *logstore.Stable
	endLead  context.CancelFunc
	leadDone chan struct{}
	down     chan struct{} // closed when raft has ended
	awaited  atomic.Int64  // futures that raft has not answered
	restores chan *restoring

	observer *raft.Observer
	observed chan raft.Observation
	watched  chan struct{}
}

// startRun starts raft from what is on disk.
func (n *Node) startRun() error {
	index, at, err := position(n.cfg.Snapshots)
	if err != nil {
		return err
	}
	if err := n.store.Reconcile(index, at); err != nil {
		return err
	}
	r := &run{stable: n.store.Stable(), leadDone: make(chan struct{}), down: make(chan struct{}), watched: make(chan struct{}), restores: make(chan *restoring),
		observed: make(chan raft.Observation, 16)}
	rc := n.cfg.raftConfig(raft.ServerID(n.id), newHLogger(n.log, "raft"))
	if r.raft, err = raft.NewRaft(rc, n.machine, n.store, r.stable, n.snaps, n.trans); err != nil {
		return fmt.Errorf("start raft: %w", err)
	}
	r.observer = raft.NewObserver(r.observed, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	})
	r.raft.RegisterObserver(r.observer)
	n.run.Store(r)
	ctx, cancel := context.WithCancel(n.life)
	r.endLead = cancel
	go n.leadLoop(ctx, r)
	go func() {
		defer close(r.watched)
		for o := range r.observed {
			if l, ok := o.Data.(raft.LeaderObservation); ok && l.LeaderID != "" {
				n.reigns.observe(string(l.LeaderID), r.raft.CurrentTerm())
			}
			n.notify()
		}
	}()
	n.problem.Store("")
	if r.soleVoter(n.id) {
		// Nobody can object, so there is nothing to wait for.
		req := &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: rc.ProtocolVersion, ID: []byte(n.id),
			Addr: n.trans.EncodePeer(raft.ServerID(n.id), n.trans.LocalAddr())}}
		var resp raft.TimeoutNowResponse
		if err := n.trans.TimeoutNow(raft.ServerID(n.id), n.trans.LocalAddr(), req, &resp); err != nil {
			n.log.Info("the sole voter waits for its election timeout", "error", err)
		}
	}
	return nil
}

// shutdown ends the run and all its goroutines.
func (r *run) shutdown() {
	r.endLead()
	r.stable.Interrupt()
	_ = r.raft.Shutdown().Error() // always nil
	close(r.down)
	<-r.leadDone
	r.raft.DeregisterObserver(r.observer)
	close(r.observed)
	<-r.watched
}

// wait returns what f ends with. Raft never answers what it has queued when it is shut down, and nothing while its main
// loop waits for the disk, so the end of the run and of ctx count as well; the goroutine left behind in these cases ends
// with the process.
func (r *run) wait(ctx context.Context, f raft.Future) error {
	answer := make(chan error, 1)
	r.awaited.Add(1)
	go func() {
		defer r.awaited.Add(-1)
		answer <- f.Error()
	}()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-r.down:
	}
	select {
	case err := <-answer:
		return err
	default:
		return raft.ErrRaftShutdown
	}
}

// suspectLog asks the supervisor to restart raft from disk.
func (n *Node) suspectLog() {
	select {
	case n.suspect <- struct{}{}:
	default:
	}
}

// stateRestored runs on raft's apply goroutine after a snapshot has replaced the state.
func (n *Node) stateRestored() {
	n.diverged.Store(nil)
	index, at, err := position(n.cfg.Snapshots)
	if err != nil {
		n.store.Suspect("the position of the restored state could not be read: " + err.Error())
		return
	}
	if n.store.Restored(index, at) {
		n.checkStaleMemory()
	}
	n.stateApplied()
}

// checkStaleMemory finds the livelock that an installed snapshot can leave behind: the log is empty, but raft remembers
// entries above the snapshot that it had and lost, and refuses what the leader sends. Raft's main loop stands still
// during the call, so nothing is appended meanwhile.
func (n *Node) checkStaleMemory() {
	r := n.run.Load()
	if r == nil {
		return
	}
	last, err := n.store.LastIndex()
	if err != nil || last != 0 {
		return
	}
	index, _, err := position(n.cfg.Snapshots)
	if err != nil {
		return
	}
	if known := r.raft.LastIndex(); known > index {
		n.store.Suspect(fmt.Sprintf("raft remembers entry %d, but its log is empty and the installed snapshot ends at %d", known, index))
	}
}

// supervise restarts raft when its memory and the disk may differ, and gives up leadership when the state machine halts.
func (n *Node) supervise(ctx context.Context) {
	for {
		select {
		case <-n.suspect:
			n.restart(ctx)
		case <-n.learned:
			if n.gossip != nil {
				n.gossip.refresh()
			}
		case <-n.machine.halts:
			err := n.machine.halted()
			if err == nil {
				continue // a snapshot has ended it already
			}
			n.log.Error("state machine halted; this node applies nothing more", "error", err)
			n.proposer.failAll(err)
			n.stepDown(ctx)
			n.notify()
		case <-n.deposed:
			n.stepDown(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// stepDown ends the leadership of a node that must not lead. Raft knows no other way to give up leadership than to hand it over; when
// nobody takes it, a restart makes this node a follower.
func (n *Node) stepDown(ctx context.Context) {
	r := n.run.Load()
	if r == nil || r.raft.State() != raft.Leader || r.soleVoter(n.id) || n.unfit() == nil {
		return
	}
	err := n.handOver(ctx, r)
	if err != nil && ctx.Err() == nil && r.raft.State() == raft.Leader {
		n.log.Warn("leadership could not be handed over, raft restarts", "error", err)
		n.restart(ctx)
	}
}

// unfitNow has the supervisor end this node's leadership.
func (n *Node) unfitNow() {
	select {
	case n.deposed <- struct{}{}:
	default:
	}
}

// restart stops raft and starts it again from disk, trying until it works or ctx ends.
func (n *Node) restart(ctx context.Context) {
	why := n.store.Health().Suspect
	if r := n.run.Load(); r != nil {
		r.endLead()
		<-r.leadDone // no entry of this run is proposed any more
		// Raft forgets entries it has queued when it is shut down; let it answer them first.
		idle, cancel := context.WithTimeout(ctx, restartPause)
		n.proposer.quiesce(idle)
		cancel()
		n.run.Store(nil)
		r.shutdown()
	}
	for {
		err := n.store.Rearm()
		if err == nil {
			err = n.startRun()
		}
		if err == nil {
			n.restarts.Add(1)
			n.log.Warn("raft restarted from disk", "reason", why)
			n.notify()
			return
		}
		n.problem.Store("raft could not be restarted: " + err.Error())
		n.log.Error("raft could not be restarted, trying again", "error", err, "after", restartPause)
		select {
		case <-time.After(restartPause):
		case <-ctx.Done():
			return
		}
	}
}
