package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/cluster"
	"github.com/sluice-dev/sluice/fsm"
	"github.com/sluice-dev/sluice/fsm/kv"
	"github.com/sluice-dev/sluice/fsm/snapshot"
	"github.com/sluice-dev/sluice/fsm/state"
)

// staging is one snapshot on its way to become the state: received chunk by chunk, verified, waiting for the operator's word.
type staging struct {
	s       *snapshots
	id      api.ID
	foreign bool // of another cluster is allowed

	pipe     *io.PipeWriter
	received chan struct{} // closed when the receiver has ended
	staged   *snapshot.Staged
	err      error // of the receiver; read after received

	// mu is held while a chunk is taken and while the snapshot is restored, and guards what follows.
	mu       sync.Mutex
	offset   int64
	answer   *api.StagedSnapshot
	result   *api.RestoredSnapshot
	given    bool // up, or used
	life     *time.Timer
	busy     bool
	busyLock sync.Mutex // guards busy alone
}

var errGivenUp = errors.New("the upload was given up")

// newStaging starts the receiver, which ends with the stream or with discard.
func newStaging(s *snapshots, id api.ID, foreign bool) *staging {
	r, w := io.Pipe()
	st := &staging{s: s, id: id, foreign: foreign, pipe: w, received: make(chan struct{})}
	st.life = time.AfterFunc(stagedLife, func() {
		if err := st.discard(); err != nil {
			s.node.log.Warn("a staged snapshot could not be removed", "error", err)
		}
	})
	go func() {
		defer close(st.received)
		st.staged, st.err = s.node.holder.Stage(r, st.accept)
		_ = r.CloseWithError(errors.Join(st.err, io.ErrClosedPipe)) // who still writes must not wait for a reader
	}()
	return st
}

// accept refuses a snapshot by what it says of itself.
func (st *staging) accept(h snapshot.Header) error {
	own, lineage, _, empty, err := st.s.own()
	if err != nil {
		return err
	}
	if h.Index == 0 || h.ClusterID == "" {
		return fmt.Errorf("%w: it does not say of which cluster it is", snapshot.ErrCorrupt)
	}
	if h.ClusterVersion > st.s.node.fsm.ClusterVersion() {
		return fmt.Errorf("%w: the snapshot is of a cluster of version %d, this cluster has version %d: upgrade every node first", fsm.ErrVersion,
			h.ClusterVersion, st.s.node.fsm.ClusterVersion())
	}
	if h.ClusterID != own && !slices.Contains(lineage, h.ClusterID) && !empty && !st.foreign {
		return &api.Error{Kind: api.KindConflict, Message: fmt.Sprintf("the snapshot is of cluster %s (%s), this is cluster %s (%s), which has a state of its own",
			h.ClusterID, h.ClusterName, own, st.s.node.config.ClusterName),
			Hint: "point --api to the right cluster, or add --foreign to replace this one's state by another cluster's"}
	}
	return nil
}

// take takes a chunk. The last one's answer says what was received.
func (st *staging) take(q stageQuestion, data []byte) (*api.StagedSnapshot, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	switch {
	case st.given:
		return nil, &api.Error{Kind: api.KindUnavailable, Message: "the upload was given up: another took its place", Hint: "repeat the command"}
	case st.answer != nil:
		return st.answer, nil
	case q.Offset+int64(len(data)) <= st.offset && !q.Last:
		return nil, nil // it came twice
	case q.Offset > st.offset:
		return nil, &api.Error{Kind: api.KindUnavailable, Message: "a part of the snapshot is missing", Hint: "repeat the command"}
	}
	// The size may have been unknown, and others write too.
	if err := st.s.room(int64(len(data))); err != nil {
		_ = st.pipe.CloseWithError(errGivenUp)
		<-st.received
		return nil, errors.Join(err, st.giveUp())
	}
	data = data[st.offset-q.Offset:]
	st.life.Reset(stagedLife)
	if _, err := st.pipe.Write(data); err != nil {
		<-st.received
		return nil, st.failed()
	}
	st.offset += int64(len(data))
	if !q.Last {
		return nil, nil
	}
	_ = st.pipe.Close()
	<-st.received
	if st.err != nil {
		return nil, st.failed()
	}
	var err error
	if st.answer, err = st.describe(); err != nil {
		return nil, snapshotError(err)
	}
	return st.answer, nil
}

func (st *staging) failed() error {
	if st.err == nil {
		return snapshotError(fmt.Errorf("%w: bytes after its end", snapshot.ErrCorrupt))
	}
	return snapshotError(st.err)
}

// describe says what restoring it would mean. Holds mu.
func (st *staging) describe() (*api.StagedSnapshot, error) {
	own, lineage, incarnation, empty, err := st.s.own()
	if err != nil {
		return nil, err
	}
	h := st.staged.Header()
	var gap fsm.Gap
	var used keyUsage
	err = st.staged.Look(func(r kv.Reader) (err error) {
		if err := fsm.CheckRestore(r, st.s.node.fsm.ClusterVersion()); err != nil {
			return err
		}
		if gap, err = fsm.InspectGap(r, st.s.node.config.Clock.Now()); err != nil {
			return err
		}
		used, err = countKeys(state.NewView(r, 0, nil))
		return err
	})
	if err != nil {
		return nil, err
	}
	return &api.StagedSnapshot{ID: st.id.String(), Snapshot: SnapshotInfo(h), Foreign: h.ClusterID != own && !slices.Contains(lineage, h.ClusterID), Empty: empty,
		Due: gap.Due, Schedules: gap.Schedules, Leased: gap.Leased, SecretKeys: append([]string{}, used.needed()...), MissingKeys: used.missing(st.s.node.secrets.keys.current()), Incarnation: max(incarnation, h.Incarnation) + 1}, nil
}

// SnapshotInfo is a snapshot's header for the API.
func SnapshotInfo(h snapshot.Header) api.SnapshotInfo {
	return api.SnapshotInfo{ClusterID: h.ClusterID, ClusterName: h.ClusterName, NodeID: h.NodeID, Version: h.Version, ClusterVersion: h.ClusterVersion,
		Schema: h.Schema, Incarnation: h.Incarnation, Index: h.Index, Term: h.Term, Time: api.At(h.Time), StateTime: api.At(h.StateTime), Bytes: h.Bytes}
}

func (st *staging) inUse() bool {
	st.busyLock.Lock()
	defer st.busyLock.Unlock()
	return st.busy
}

func (st *staging) use(busy bool) {
	st.busyLock.Lock()
	st.busy = busy
	st.busyLock.Unlock()
}

// restore makes the snapshot the state of the cluster. Asked again, it answers what was done.
func (st *staging) restore(ctx context.Context, missed string) (*api.RestoredSnapshot, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	switch {
	case st.result != nil:
		return st.result, nil
	case st.given || st.answer == nil:
		return nil, &api.Error{Kind: api.KindNotFound, Message: "the snapshot was given up, or was not received completely", Hint: "repeat the command"}
	case missed == "" && st.answer.Due > 0:
		return nil, &api.Error{Kind: api.KindInvalid, Message: fmt.Sprintf("%d scheduled runs fell due since the snapshot was taken", st.answer.Due),
			Hint: "say whether they are to run now or not: missed is run or skip"}
	}
	st.use(true)
	defer st.use(false)
	st.life.Stop()
	st.given = true
	n := st.s.node
	own, lineage, incarnation, _, err := st.s.own()
	if err != nil {
		return nil, errors.Join(snapshotError(err), st.staged.Close())
	}
	least, seed := uint64(0), api.NewID()
	// A cluster that this one was restored from once may have gone on beside it ever since.
	if h := st.staged.Header(); h.ClusterID != own {
		least = h.Index + foreignLead
	}
	var done fsm.Restored
	err = st.staged.Edit(func(s kv.Store) (err error) {
		done, err = fsm.PrepareRestore(s, fsm.Restoration{ClusterID: own, Lineage: lineage, Incarnation: incarnation, ClusterVersion: n.fsm.ClusterVersion(),
			Now: n.config.Clock.Now(), SkipMissed: missed == api.MissedSkip, Seed: seed[:]})
		return err
	})
	if err != nil {
		return nil, errors.Join(snapshotError(err), st.staged.Close())
	}
	n.log.Warn("the state of the cluster is being replaced by a snapshot", "snapshot_cluster", st.answer.Snapshot.ClusterID, "snapshot_index", st.answer.Snapshot.Index,
		"snapshot_time", st.answer.Snapshot.StateTime.String(), "incarnation", done.Incarnation, "missed", missed)
	// It must not be left half done because the one who asked has gone.
	index, err := n.cluster.Restore(context.WithoutCancel(ctx), st.staged.Meta(least), st.staged)
	if err != nil {
		if cerr := st.staged.Close(); cerr != nil {
			n.log.Warn("a staged snapshot could not be removed", "error", cerr)
		}
		if errors.Is(err, cluster.ErrUnknownOutcome) {
			return nil, unknownRestore(err)
		}
		return nil, &api.Error{Kind: api.KindUnavailable, Message: "the snapshot was not restored: " + err.Error(), Hint: "repeat the command"}
	}
	st.result = &api.RestoredSnapshot{Index: index, Incarnation: done.Incarnation, Ended: done.Ended, Skipped: done.Skipped}
	return st.result, nil
}

// discard ends the receiver and removes what it has. It is idempotent and waits for a restore that is under way.
func (st *staging) discard() error {
	_ = st.pipe.CloseWithError(errGivenUp) // before mu: a chunk may be waiting for the receiver
	<-st.received
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.giveUp()
}

// giveUp removes what the receiver, which has ended, has left. Holds mu.
func (st *staging) giveUp() error {
	if st.given {
		return nil
	}
	st.given = true
	st.life.Stop()
	if st.staged == nil {
		return nil
	}
	return st.staged.Close()
}
