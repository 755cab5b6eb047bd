package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/raft"

	"github.com/sluice-dev/sluice/cluster/logstore"
	"github.com/sluice-dev/sluice/fsm/command"
)

// recoveryGap is how far a recovered state stands above the survivor's log. The nodes that are lost may have had entries that it
// lacks, with leases whose tokens were made of their indexes and reads that were answered at them: none of these comes again.
const recoveryGap = 1 << 30

// RecoveryConfig says what is to be recovered. The node must not run.
type RecoveryConfig struct {
	DataDir   *DataDir
	Snapshots raft.SnapshotStore
	Machine   StateMachine
	// Reposition gives the open state, durably and at once, a place in the log, a configuration and the id of a cluster.
	Reposition func(index, term uint64, conf raft.Configuration, clusterID string) error
	// LogBackend replaces the log's file, for fault injection.
	LogBackend logstore.Backend
	Logger     *slog.Logger
}

// Recovery is what Recover found and did.
type Recovery struct {
	NodeID    string `json:"node_id"`
	ClusterID string `json:"cluster_id"` // as it was
	// Lost are the other members of the cluster, Answering those of them at whose address something answers.
	Lost      []Peer `json:"lost"`
	Answering []Peer `json:"answering"`
	// Applied is the newest entry that certainly was committed. Entries above it, up to Last, are in doubt: they are in this node's log,
	// and whether a majority had them nobody can tell any more. They are kept.
	Applied         uint64 `json:"applied_index"`
	Last            uint64 `json:"last_index"`
	Term            uint64 `json:"term"`
	CommandsInDoubt int    `json:"commands_in_doubt"`
	// NewClusterID and NewIndex are what it has become; zero for a plan.
	NewClusterID string `json:"new_cluster_id,omitempty"`
	NewIndex     uint64 `json:"new_index,omitempty"`
}

// ErrNothingToRecover is returned for a node that needs no other to work, or has never worked.
var ErrNothingToRecover = errors.New("there is nothing to recover")

// Recover makes a cluster of one of a node whose cluster has lost its quorum for good. approve gets the plan and may refuse it; nothing
// has changed then. The cluster gets a new id: members that were believed lost and come back are strangers, and cannot mix their
// log with this one. Broken off, it is done again from the beginning.
func Recover(ctx context.Context, c RecoveryConfig, approve func(Recovery) error) (r Recovery, err error) {
	store, err := logstore.Open(logstore.Options{Dir: c.DataDir.Path(), Backend: c.LogBackend, Logger: c.Logger})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	index, term, err := position(c.Snapshots)
	if err != nil {
		return r, err
	}
	if err := store.Reconcile(index, term); err != nil {
		return r, err
	}
	p := &recovery{c: c, store: store, stands: index}
	r = Recovery{NodeID: c.DataDir.NodeID(), ClusterID: c.DataDir.ClusterID(), Applied: index, Last: index, Term: term, Lost: []Peer{}, Answering: []Peer{}}
	if err := p.read(&r); err != nil {
		return r, err
	}
	if id := c.Machine.ClusterID(); id != "" && id != r.ClusterID && len(r.Lost) == 0 {
		// A recovery was broken off after the state was rewritten.
		r.NewClusterID, r.NewIndex = id, index
		return r, c.DataDir.adopt(id)
	}
	if len(r.Lost) == 0 {
		return r, fmt.Errorf("%w: node %s is the only member of its cluster; start it", ErrNothingToRecover, r.NodeID)
	}
	r.Answering = reachable(ctx, r.Lost)
	if err := approve(r); err != nil {
		return r, err
	}
	if err := p.replay(); err != nil {
		return r, err
	}
	r.NewClusterID, r.NewIndex = uuid.NewString(), r.Last+recoveryGap
	conf := raft.Configuration{Servers: []raft.Server{p.self}}
	if err := c.Reposition(r.NewIndex, r.Term, conf, r.NewClusterID); err != nil {
		return r, fmt.Errorf("write the new configuration: %w", err)
	}
	if err := store.Reconcile(r.NewIndex, r.Term); err != nil { // deletes the log
		return r, err
	}
	return r, c.DataDir.adopt(r.NewClusterID)
}

// recovery is one run of Recover.
type recovery struct {
	c      RecoveryConfig
	store  *logstore.Store
	stands uint64 // of the state, at first
	self   raft.Server
}

// read fills in what log and state say.
func (p *recovery) read(r *Recovery) error {
	metas, err := p.c.Snapshots.List()
	if err != nil {
		return err
	}
	var conf raft.Configuration
	if len(metas) > 0 {
		conf = metas[0].Configuration
	}
	err = p.each(func(l *raft.Log) error {
		r.Last, r.Term = l.Index, l.Term
		switch l.Type {
		case raft.LogCommand:
			r.CommandsInDoubt++
		case raft.LogConfiguration:
			conf = raft.DecodeConfiguration(l.Data)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if r.Last == 0 {
		return fmt.Errorf("%w: this node has never been part of a cluster", ErrNothingToRecover)
	}
	// The term of the last vote may be above that of the last entry.
	if voted, err := p.store.Direct().GetUint64([]byte("CurrentTerm")); err == nil {
		r.Term = max(r.Term, voted)
	}
	for _, s := range conf.Servers {
		if string(s.ID) == r.NodeID {
			p.self = raft.Server{Suffrage: raft.Voter, ID: s.ID, Address: s.Address}
			continue
		}
		r.Lost = append(r.Lost, Peer{ID: string(s.ID), Addr: string(s.Address)})
	}
	if p.self.ID == "" {
		return fmt.Errorf("%w: node %s is not in the configuration it has: it was removed from its cluster, and others went on", ErrNothingToRecover, r.NodeID)
	}
	return nil
}

// each walks the entries above the state.
func (p *recovery) each(fn func(*raft.Log) error) error {
	first, err := p.store.FirstIndex()
	if err != nil {
		return err
	}
	last, err := p.store.LastIndex()
	if err != nil {
		return err
	}
	for i := max(first, p.stands+1); i <= last && last > 0; i++ {
		var l raft.Log
		if err := p.store.GetLog(i, &l); err != nil {
			return fmt.Errorf("read entry %d of the raft log: %w", i, err)
		}
		if err := fn(&l); err != nil {
			return err
		}
	}
	return nil
}

// replay applies the entries above the state.
func (p *recovery) replay() error {
	return p.each(func(l *raft.Log) error {
		if l.Type != raft.LogCommand && l.Type != raft.LogConfiguration {
			return nil
		}
		out := p.c.Machine.ApplyBatch([]*raft.Log{l})
		if res, ok := out[0].(*command.EntryResult); ok && res.Err != nil {
			return fmt.Errorf("apply entry %d: %w", l.Index, res.Err)
		}
		return nil
	})
}

// reachable returns the members at whose address something accepts a connection.
func reachable(ctx context.Context, members []Peer) []Peer {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var mu sync.Mutex
	var all sync.WaitGroup
	out := []Peer{}
	for _, m := range members {
		all.Go(func() {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", m.target().Addr)
			if err != nil {
				return
			}
			_ = conn.Close() // it answered
			mu.Lock()
			out = append(out, m)
			mu.Unlock()
		})
	}
	all.Wait()
	return out
}
