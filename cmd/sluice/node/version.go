package node

import (
	"errors"
	"fmt"

	"github.com/sluice-dev/sluice/fsm"
	"github.com/sluice-dev/sluice/fsm/kv"
	"github.com/sluice-dev/sluice/fsm/snapshot"
	"github.com/sluice-dev/sluice/fsm/state"
)

// admitState refuses a state that this node must not open or take over: of a cluster version or schema it does not support, or of
// another cluster.
func (n *Node) admitState(r kv.Reader) error {
	if err := fsm.CheckState(r, n.config.Versions); err != nil {
		return err
	}
	id, err := state.NewView(r, 0, nil).ClusterID()
	if err != nil {
		return err
	}
	return n.admitCluster(id)
}

// admitInfo is admitState for what a snapshot says of itself.
func (n *Node) admitInfo(info snapshot.Info) error {
	if err := n.admitCluster(info.ClusterID); err != nil {
		return err
	}
	if info.Schema > state.SchemaVersion {
		return fmt.Errorf("%w: schema %d, this binary reads up to %d: run the newer binary", state.ErrSchemaTooNew, info.Schema, state.SchemaVersion)
	}
	if info.ClusterVersion == 0 {
		return nil
	}
	return fsm.CheckVersion(info.ClusterVersion, n.config.Versions)
}

func (n *Node) admitCluster(id string) error {
	if own := n.dataDir.ClusterID(); own != "" && id != "" && id != own {
		return fmt.Errorf("%w: it is of cluster %s, this node belongs to cluster %s", errForeignState, id, own)
	}
	return nil
}

var errForeignState = errors.New("the state belongs to another cluster")

// raiseFormat lets the files on disk follow the cluster version. Failing, they stay in the older format, which is always readable.
func (n *Node) raiseFormat(version uint64) {
	if err := n.holder.RaiseFormat(version); err != nil {
		n.log.Error("the on-disk format could not be raised, a restart tries again", "cluster_version", version, "error", err)
	}
}
