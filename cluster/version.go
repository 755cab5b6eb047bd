package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/raft"

	"github.com/sluice-dev/sluice/cluster/link"
	"github.com/sluice-dev/sluice/fsm/command"
)

// nextVersion returns the highest cluster version that every server of the configuration supports, and never less than now. A server
// that does not answer may come back as anything, so it holds the version back.
func nextVersion(now uint64, servers []raft.Server, conditions map[string]condition) uint64 {
	if len(servers) == 0 {
		return now
	}
	next := ^uint64(0)
	for _, s := range servers {
		c := conditions[string(s.ID)]
		if !c.alive {
			return now
		}
		next = min(next, c.versions.Max)
	}
	for _, s := range servers {
		if !conditions[string(s.ID)].versions.Contains(next) {
			return now
		}
	}
	return max(next, now)
}

// raiseVersion has the cluster version raised as far as all members support it.
func (c *reconciler) raiseVersion(ctx context.Context, servers []raft.Server) {
	n := c.n
	now := n.machine.inner.ClusterVersion()
	next := nextVersion(now, servers, c.conditions)
	if next == now || n.cfg.EncodeVersion == nil {
		return
	}
	// Nobody joins meanwhile; and who asks later is judged by the version that may have been raised, whatever became of the command.
	n.changing.Lock()
	defer n.changing.Unlock()
	f := c.run.raft.GetConfiguration()
	if f.Error() != nil || !slices.Equal(f.Configuration().Servers, servers) {
		return
	}
	c.n.raising.Store(next)
	ctx, cancel := context.WithTimeout(ctx, membershipTimeout)
	defer cancel()
	if _, _, err := n.proposer.propose(ctx, [][]byte{n.cfg.EncodeVersion(next)}, false, c.term); err != nil {
		n.log.Warn("the cluster version could not be raised", "from", now, "to", next, "error", err)
		return
	}
	n.log.Info("cluster version raised", "from", now, "to", next)
}

// entryVersion is the cluster version that a node must support to be taken in.
func (n *Node) entryVersion() uint64 {
	return max(n.machine.inner.ClusterVersion(), n.raising.Load())
}

// checkMember refuses a node whose range does not include the cluster's version.
func checkMember(what, release string, v command.Versions, version uint64) error {
	if v.Contains(version) {
		return nil
	}
	if release != "" {
		what += " (sluice " + release + ")"
	}
	return fmt.Errorf("%w: the cluster is at version %d, %s supports %s: %s", ErrRefused, version, what, v, v.Remedy(version))
}

// versions is the range that a peer told in its greeting.
func versions(id link.Identity) command.Versions {
	return command.Versions{Min: id.MinVersion, Max: id.MaxVersion}.OrFirst()
}

// noteVersion keeps in mind that this node can no longer take part, when a member says so.
func (n *Node) noteVersion(h hello) {
	if h.ClusterVersion == 0 || h.ClusterID == "" || h.ClusterID != n.cfg.DataDir.ClusterID() || n.cfg.Versions.Contains(h.ClusterVersion) {
		return
	}
	err := checkMember("this node", n.cfg.Version, n.cfg.Versions, h.ClusterVersion)
	if n.outdated.Swap(&err) == nil {
		n.log.Error("this node cannot take part in its cluster any more", "error", err)
	}
}

// ErrVersion says that the cluster version is too low for what was asked.
var ErrVersion = errors.New("the cluster version is too low")

// CheckVersion refuses what needs a higher cluster version than the cluster has, and says which members hold it back.
func (n *Node) CheckVersion(ctx context.Context, needed uint64) error {
	now := n.machine.inner.ClusterVersion()
	if needed <= now {
		return nil
	}
	var holders []string
	for _, m := range n.roll(ctx) {
		name := m.ID
		if m.Name != "" {
			name = m.Name + " (" + m.ID + ")"
		}
		switch {
		case !m.Alive:
			holders = append(holders, fmt.Sprintf("node %s at %s does not answer", name, m.Address))
		case m.Supports.Max < needed:
			holders = append(holders, fmt.Sprintf("node %s at %s (sluice %s) supports %s", name, m.Address, m.Version, m.Supports))
		}
	}
	why := "all members support it, it is being raised"
	if len(holders) > 0 {
		why = strings.Join(holders, ", ")
	}
	return fmt.Errorf("%w: version %d is needed, the cluster is at version %d: %s", ErrVersion, needed, now, why)
}
