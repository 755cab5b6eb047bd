package node

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/cluster"
	"github.com/sluice-dev/sluice/cluster/link"
	"github.com/sluice-dev/sluice/fsm/row"
	httpapi "github.com/sluice-dev/sluice/http"
)

// members is the membership for the API's operators.
type members struct{ node *Node }

var _ httpapi.Cluster = members{}

// Describe implements httpapi.Cluster.
func (m members) Describe(ctx context.Context) api.Cluster {
	s := m.node.cluster.Status()
	c := api.Cluster{ClusterID: s.ClusterID, NodeID: s.NodeID, Leader: s.Leader.ID, Term: s.Term, Members: []api.ClusterMember{}, Leaders: []api.ClusterLeader{},
		Problems:       append([]string{}, s.Problems...),
		ClusterVersion: s.ClusterVersion}
	if s.Dispute != "" {
		c.Problems = append(c.Problems, s.Dispute)
	}
	if view, err := m.node.fsm.View(); err == nil {
		c.Incarnation, _ = view.Incarnation() // 0 is what a state that cannot be read has to say
		if err := view.EachReign(func(r *row.Reign) (bool, error) {
			c.Leaders = append(c.Leaders, api.ClusterLeader{ID: r.NodeId, Name: r.NodeName, Term: r.Term, Epoch: r.Epoch, Since: time.UnixMicro(r.Since).UTC()})
			return true, nil
		}); err != nil {
			c.Problems = append(c.Problems, err.Error())
		}
		_ = view.Close()
	}
	voters, alive := 0, 0
	for _, r := range m.node.cluster.Roll(ctx) {
		c.Members = append(c.Members, api.ClusterMember{ID: r.ID, Name: r.Name, Address: r.Address, HTTPAddress: r.HTTPAddr, Version: r.Version,
			Voter: r.Voter, Leader: r.Leader, Alive: r.Alive, AppliedIndex: r.Applied, Problem: r.Problem,
			Supports: api.VersionRange(r.Supports), Halted: r.Halted, Diverged: r.Diverged, Checkpoint: api.Checkpoint(r.Noted)})
		if r.Voter {
			voters++
			if r.Alive && r.Problem == "" {
				alive++
			}
		}
	}
	slices.SortStableFunc(c.Members, func(a, b api.ClusterMember) int {
		return cmp.Compare(cmp.Or(a.Name, a.ID), cmp.Or(b.Name, b.ID))
	})
	c.Quorum = voters/2 + 1
	c.LossesLeft = alive - c.Quorum
	return c
}

// TransferLeadership implements httpapi.Cluster.
func (m members) TransferLeadership(ctx context.Context, to string) error {
	return membershipError(m.node.cluster.TransferLeadership(ctx, to))
}

// RemoveMember implements httpapi.Cluster.
func (m members) RemoveMember(ctx context.Context, id string) error {
	return membershipError(m.node.cluster.RemoveMember(ctx, id))
}

// Leave implements httpapi.Cluster.
func (m members) Leave(ctx context.Context) error {
	if err := m.node.cluster.Leave(ctx); err != nil {
		return membershipError(err)
	}
	m.node.leaveOnce.Do(func() { close(m.node.left) })
	return nil
}

// membershipError says in the API's words why the membership was not changed.
func membershipError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, cluster.ErrRefused):
		return &api.Error{Kind: api.KindConflict, Message: err.Error(), Hint: "sluice cluster members shows who is there"}
	case errors.Is(err, cluster.ErrNoLeader), errors.Is(err, cluster.ErrNotLeader), errors.Is(err, cluster.ErrStopped), errors.Is(err, link.ErrNotSent):
		return &api.Error{Kind: api.KindUnavailable, Message: err.Error(), Hint: "repeat the request when there is a leader"}
	}
	return &api.Error{Kind: api.KindUnknownOutcome, Message: err.Error(), Hint: "sluice cluster members shows whether it happened"}
}
