package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/sluice-dev/sluice/cluster"
	"github.com/sluice-dev/sluice/fsm"
	"github.com/sluice-dev/sluice/fsm/kv"
	"github.com/sluice-dev/sluice/fsm/kv/pebblekv"
	"github.com/sluice-dev/sluice/fsm/snapshot"
	"github.com/sluice-dev/sluice/fsm/state"
)

// Recover makes a cluster of one of the node whose data directory this is, which must not run: what is left to do when the quorum of its
// cluster is lost for good. approve gets the plan and may refuse it.
func Recover(ctx context.Context, dir string, log *slog.Logger, approve func(cluster.Recovery) error) (r cluster.Recovery, err error) {
	if _, err := os.Stat(filepath.Join(dir, "node.json")); err != nil {
		return r, fmt.Errorf("%s is no data directory of a node: %w", dir, err)
	}
	data, err := cluster.OpenDataDir(dir)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, data.Close()) }()
	lock := new(sync.Mutex)
	holder, err := snapshot.Open(snapshot.Config{DataDir: dir, KV: pebblekv.Options{Logger: log}, ApplyLock: lock, Logger: log})
	if err != nil {
		return r, fmt.Errorf("open the state: %w", err)
	}
	defer func() { err = errors.Join(err, holder.Close()) }()
	machine, err := fsm.New(stateStorage{holder}, lock, log)
	if err != nil {
		return r, fmt.Errorf("open the state machine: %w", err)
	}
	defer func() { err = errors.Join(err, machine.Close()) }()
	return cluster.Recover(ctx, cluster.RecoveryConfig{DataDir: data, Snapshots: snapshot.NewStore(holder), Machine: machine, Logger: log,
		Reposition: func(index, term uint64, conf raft.Configuration, clusterID string) error {
			return holder.Reposition(index, term, conf, func(b kv.Batch) error { return continueAs(b, clusterID) })
		}}, approve)
}

// continueAs makes a state that of a cluster which continues the one it belonged to.
func continueAs(b kv.Batch, clusterID string) error {
	tx := state.NewTx(b)
	former, err := tx.ClusterID()
	if err != nil {
		return err
	}
	lineage, err := tx.Lineage()
	if err != nil {
		return err
	}
	if former != "" {
		lineage = append(lineage, former)
	}
	incarnation, err := tx.Incarnation()
	if err != nil {
		return err
	}
	return errors.Join(tx.SetClusterID(clusterID), tx.SetLineage(lineage), tx.SetIncarnation(incarnation+1), tx.ForgetCheckpoint())
}
