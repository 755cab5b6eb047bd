package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/cluster"
	"github.com/sluice-dev/sluice/cluster/link"
	"github.com/sluice-dev/sluice/fsm"
	"github.com/sluice-dev/sluice/fsm/kv"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/snapshot"
	"github.com/sluice-dev/sluice/fsm/state"
	httpapi "github.com/sluice-dev/sluice/http"
)

// What nodes ask the leader about an operator's restore. Chunks name their place, so that one that comes twice does no harm.
const (
	methodStage   = "snapshot-stage"
	methodRestore = "snapshot-restore"
	methodDiscard = "snapshot-discard"
)

const (
	// stageChunk is how much of a snapshot one request between nodes carries.
	stageChunk = 1 << 20
	// stagedLife is how long a staged snapshot waits to be restored: it takes space on the leader's disk.
	stagedLife = 15 * time.Minute
	// foreignLead keeps the tokens of leases and the indexes that another cluster gave out after its snapshot from meaning something in
	// this one: entries of this one begin so far above the snapshot's. It is days of the highest load.
	foreignLead = 1 << 30
)

// describeState is what a snapshot of this node's state says of it.
func (n *Node) describeState(r kv.Reader) (snapshot.Info, error) {
	info, err := describe(r)
	info.ClusterName, info.NodeID, info.Version = n.config.ClusterName, n.dataDir.NodeID(), n.config.Version
	info.Time = n.config.Clock.Now().UTC()
	if info.ClusterName == "" {
		info.ClusterName = cluster.DefaultName
	}
	return info, err
}

// describe reads what a state says of itself.
func describe(r kv.Reader) (info snapshot.Info, err error) {
	v := state.NewView(r, 0, nil)
	var last int64
	var errs [5]error
	info.ClusterID, errs[0] = v.ClusterID()
	info.Schema, errs[1] = v.SchemaVersion()
	info.Incarnation, errs[2] = v.Incarnation()
	info.ClusterVersion, errs[3] = v.ClusterVersion()
	last, errs[4] = v.LastTime()
	info.StateTime = time.UnixMicro(last).UTC()
	return info, errors.Join(errs[:]...)
}

// snapshots saves this node's state to files and, with the leader, replaces the cluster's by one.
type snapshots struct {
	node  *Node
	store *snapshot.Store

	mu      sync.Mutex // guards what follows; never held over I/O
	staging *staging
	stopped bool
}

func newSnapshots(n *Node) *snapshots { return &snapshots{node: n, store: snapshot.NewStore(n.holder)} }

var _ httpapi.Snapshots = (*snapshots)(nil)

func (s *snapshots) serve() map[string]cluster.Serve {
	return map[string]cluster.Serve{methodStage: s.serveStage, methodRestore: s.serveRestore, methodDiscard: s.serveDiscard}
}

// Save implements httpapi.Snapshots.
func (s *snapshots) Save(ctx context.Context, consistency httpapi.Consistency) (httpapi.SavedSnapshot, error) {
	if consistency == httpapi.Linearizable {
		if _, err := s.node.cluster.Read(ctx); err != nil {
			return httpapi.SavedSnapshot{}, &api.Error{Kind: api.KindUnavailable, Message: "this node does not know whether its state is the newest: " + err.Error(),
				Hint: "sluice snapshot save --stale takes its state as it is"}
		}
	}
	meta, stream, err := s.store.Open("live")
	if err != nil {
		return httpapi.SavedSnapshot{}, &api.Error{Kind: api.KindUnavailable, Message: "no snapshot can be taken now: " + err.Error()}
	}
	return httpapi.SavedSnapshot{Stream: stream, Bytes: meta.Size, Index: meta.Index}, nil
}

// stageQuestion is the head of a chunk; the bytes follow it.
type stageQuestion struct {
	ID      api.ID `json:"id"`
	Offset  int64  `json:"offset"`
	Last    bool   `json:"last,omitempty"`
	Foreign bool   `json:"foreign,omitempty"`
	Size    int64  `json:"size"` // of the whole, -1: unknown
}

// snapshotAnswer is the leader's answer to all three questions. Fields are only added.
type snapshotAnswer struct {
	Failure  *snapshotFailure      `json:"failure,omitempty"`
	Staged   *api.StagedSnapshot   `json:"staged,omitempty"`
	Restored *api.RestoredSnapshot `json:"restored,omitempty"`
}

type snapshotFailure struct {
	Kind    api.Kind `json:"kind"`
	Message string   `json:"message"`
	Hint    string   `json:"hint,omitempty"`
}

// ask sends the leader a question about a restore.
func (s *snapshots) ask(ctx context.Context, method string, question []byte) (a snapshotAnswer, err error) {
	data, err := s.node.cluster.AskLeader(ctx, method, func() ([]byte, error) { return question, nil })
	if err == nil {
		err = json.Unmarshal(data, &a)
	}
	switch {
	case err == nil && a.Failure != nil:
		return a, &api.Error{Kind: a.Failure.Kind, Message: a.Failure.Message, Hint: a.Failure.Hint}
	case err == nil:
		return a, nil
	case method == methodRestore && !errors.Is(err, cluster.ErrNoLeader) && !errors.Is(err, cluster.ErrNotDone):
		return a, unknownRestore(err)
	case errors.Is(err, link.ErrUnknownMethod):
		return a, &api.Error{Kind: api.KindUnavailable, Message: "the leader runs a version that cannot restore snapshots", Hint: "upgrade every node first"}
	}
	return a, &api.Error{Kind: api.KindUnavailable, Message: "the leader did not take the snapshot: " + err.Error(), Hint: "repeat the command"}
}

func unknownRestore(err error) error {
	return &api.Error{Kind: api.KindUnknownOutcome, Message: "the restore may or may not have happened: " + err.Error(),
		Hint: "sluice cluster status -o json shows the incarnation of the state, which a restore raises"}
}

// Stage implements httpapi.Snapshots.
func (s *snapshots) Stage(ctx context.Context, r io.Reader, size int64, foreign bool) (api.StagedSnapshot, error) {
	q := stageQuestion{ID: api.NewID(), Foreign: foreign, Size: size}
	buffer := make([]byte, stageChunk)
	for {
		n, err := io.ReadFull(r, buffer)
		switch {
		case err == nil:
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF) && (size < 0 || q.Offset+int64(n) == size):
			q.Last = true
		default:
			_ = s.Discard(context.WithoutCancel(ctx), q.ID) // what broke off is given up by itself, too
			return api.StagedSnapshot{}, &api.Error{Kind: api.KindInvalid, Message: "the upload of the snapshot broke off: " + err.Error()}
		}
		head, err := json.Marshal(q)
		if err != nil {
			return api.StagedSnapshot{}, fmt.Errorf("encode a chunk: %w", err)
		}
		a, err := s.ask(ctx, methodStage, slices.Concat(head, []byte{'\n'}, buffer[:n]))
		if err != nil {
			return api.StagedSnapshot{}, err
		}
		q.Offset += int64(n)
		if q.Last {
			if a.Staged == nil {
				return api.StagedSnapshot{}, &api.Error{Kind: api.KindInternal, Message: "the leader's answer to a snapshot cannot be read"}
			}
			return *a.Staged, nil
		}
	}
}

type restoreQuestion struct {
	ID     api.ID `json:"id"`
	Missed string `json:"missed,omitempty"`
}

// Restore implements httpapi.Snapshots.
func (s *snapshots) Restore(ctx context.Context, id api.ID, missed string) (api.RestoredSnapshot, error) {
	question, err := json.Marshal(restoreQuestion{id, missed})
	if err != nil {
		return api.RestoredSnapshot{}, fmt.Errorf("encode a restore: %w", err)
	}
	a, err := s.ask(ctx, methodRestore, question)
	if err != nil {
		return api.RestoredSnapshot{}, err
	}
	if a.Restored == nil {
		return api.RestoredSnapshot{}, unknownRestore(errors.New("the leader's answer cannot be read"))
	}
	return *a.Restored, nil
}

// Discard implements httpapi.Snapshots.
func (s *snapshots) Discard(ctx context.Context, id api.ID) error {
	question, err := json.Marshal(restoreQuestion{ID: id})
	if err != nil {
		return fmt.Errorf("encode a question: %w", err)
	}
	_, err = s.ask(ctx, methodDiscard, question)
	return err
}

// answer encodes what the leader says. Errors of the cluster stay errors, so that the question goes to the next leader; others are for
// the operator.
func answer(a snapshotAnswer, err error) ([]byte, error) {
	if err != nil {
		known, ok := errors.AsType[*api.Error](err)
		if !ok {
			return nil, err
		}
		a = snapshotAnswer{Failure: &snapshotFailure{known.Kind, known.Message, known.Hint}}
	}
	return json.Marshal(a)
}

func (s *snapshots) serveStage(_ context.Context, data []byte) ([]byte, error) {
	head, rest, found := bytes.Cut(data, []byte{'\n'})
	var q stageQuestion
	if err := json.Unmarshal(head, &q); err != nil || !found {
		return nil, fmt.Errorf("decode a chunk of a snapshot: %w", err)
	}
	st, err := s.stagingFor(q)
	if err != nil {
		return answer(snapshotAnswer{}, err)
	}
	staged, err := st.take(q, rest)
	return answer(snapshotAnswer{Staged: staged}, err)
}

// stagingFor finds the receiver of a chunk; the first chunk makes one, in the place of what was staged before.
func (s *snapshots) stagingFor(q stageQuestion) (*staging, error) {
	if !s.node.cluster.Status().Leading {
		return nil, cluster.ErrNotLeader
	}
	s.mu.Lock()
	if st := s.staging; st != nil && st.id == q.ID {
		s.mu.Unlock()
		return st, nil
	}
	before := s.staging
	switch {
	case s.stopped:
		s.mu.Unlock()
		return nil, cluster.ErrNotLeader
	case q.Offset != 0:
		s.mu.Unlock()
		return nil, &api.Error{Kind: api.KindUnavailable, Message: "the upload was interrupted: leadership moved, or another upload took its place", Hint: "repeat the command"}
	case before != nil && before.inUse():
		s.mu.Unlock()
		return nil, &api.Error{Kind: api.KindConflict, Message: "a snapshot is being restored right now"}
	}
	if err := s.room(max(q.Size, 0)); err != nil {
		s.mu.Unlock()
		return nil, err
	}
	st := newStaging(s, q.ID, q.Foreign)
	s.staging = st
	s.mu.Unlock()
	if before != nil {
		if err := before.discard(); err != nil {
			s.node.log.Warn("a staged snapshot could not be removed", "error", err)
		}
	}
	return st, nil
}

// room refuses so many bytes more when they would leave the leader's disk too little for what the cluster writes.
func (s *snapshots) room(bytes int64) error {
	left, low := s.node.disk.left.Load(), s.node.config.DiskLowWater
	if left-bytes >= low {
		return nil
	}
	return &api.Error{Kind: api.KindUnavailable, Message: fmt.Sprintf("the leader has %d MiB free, and with the snapshot beside its state it would have less than %d MiB", left>>20, low>>20),
		Hint: "free some space under its data directory"}
}

func (s *snapshots) find(id api.ID) *staging {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.staging; st != nil && st.id == id {
		return st
	}
	return nil
}

func (s *snapshots) serveRestore(ctx context.Context, data []byte) ([]byte, error) {
	var q restoreQuestion
	if err := json.Unmarshal(data, &q); err != nil {
		return nil, fmt.Errorf("decode a restore: %w", err)
	}
	if !s.node.cluster.Status().Leading {
		return nil, cluster.ErrNotLeader
	}
	st := s.find(q.ID)
	if st == nil {
		return answer(snapshotAnswer{}, &api.Error{Kind: api.KindNotFound, Message: "the leader has no such snapshot: leadership has moved since it was sent, or it waited too long",
			Hint: "look at the incarnation with sluice cluster status -o json, then repeat the command"})
	}
	restored, err := st.restore(ctx, q.Missed)
	return answer(snapshotAnswer{Restored: restored}, err)
}

func (s *snapshots) serveDiscard(_ context.Context, data []byte) ([]byte, error) {
	var q restoreQuestion
	if err := json.Unmarshal(data, &q); err != nil {
		return nil, fmt.Errorf("decode a question: %w", err)
	}
	var err error
	if st := s.find(q.ID); st != nil {
		err = st.discard()
	}
	return answer(snapshotAnswer{}, err)
}

// stop gives up what is staged.
func (s *snapshots) stop() error {
	s.mu.Lock()
	s.stopped = true
	st := s.staging
	s.mu.Unlock()
	if st == nil {
		return nil
	}
	return st.discard()
}

// own reads what a snapshot is compared with: this cluster's identity, and whether it holds anything.
func (s *snapshots) own() (id string, lineage []string, incarnation uint32, empty bool, err error) {
	v, err := s.node.fsm.View()
	if err != nil {
		return "", nil, 0, false, err
	}
	defer v.Close()
	empty = true
	var errs [7]error
	id, errs[0] = v.ClusterID()
	lineage, errs[1] = v.Lineage()
	incarnation, errs[2] = v.Incarnation()
	errs[3] = v.EachFlow(func(*row.Flow) (bool, error) { empty = false; return false, nil })
	errs[4] = v.EachDeployment(func(*row.Deployment) (bool, error) { empty = false; return false, nil })
	errs[5] = v.EachWorkQueue(func(*row.WorkQueue) (bool, error) { empty = false; return false, nil })
	errs[6] = v.EachBlock(func(*row.Block) (bool, error) { empty = false; return false, nil })
	return id, lineage, incarnation, empty, errors.Join(errs[:]...)
}

// snapshotError says in the API's words why a snapshot was not received.
func snapshotError(err error) error {
	if known, ok := errors.AsType[*api.Error](err); ok {
		return known
	}
	switch {
	case errors.Is(err, snapshot.ErrForeign), errors.Is(err, snapshot.ErrNewer), errors.Is(err, snapshot.ErrCorrupt), errors.Is(err, fsm.ErrVersion),
		errors.Is(err, state.ErrSchemaTooNew):
		return &api.Error{Kind: api.KindInvalid, Message: err.Error(), Hint: "sluice snapshot inspect FILE tells what a file holds"}
	case errors.Is(err, syscall.ENOSPC):
		return &api.Error{Kind: api.KindUnavailable, Message: "the leader's disk is full: " + err.Error(), Hint: "free some space under its data directory"}
	}
	return &api.Error{Kind: api.KindInternal, Message: err.Error()}
}
