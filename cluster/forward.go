package cluster

import (
	"context"

	"github.com/sluice-dev/sluice/fsm/command"
)

// Peer names another node.
type Peer struct {
	ID   string
	Addr string // Raft address
}

// Forwarder carries requests to the leader in one hop. An error that is neither ErrNotDone nor ErrUnknownOutcome counts
// as unknown.
type Forwarder interface {
	// ForwardBatch calls AcceptBatch on the leader.
	ForwardBatch(ctx context.Context, leader Peer, b command.Batch, bulk bool) (command.BatchResult, uint64, error)
	// ForwardReadIndex calls LeaderReadIndex on the leader.
	ForwardReadIndex(ctx context.Context, leader Peer) (uint64, error)
}

// AcceptBatch appends a batch that another node formed. It never forwards: at a node that does not lead it fails with
// ErrNotDone wrapping ErrNotLeader.
func (n *Node) AcceptBatch(ctx context.Context, b command.Batch, bulk bool) (command.BatchResult, uint64, error) {
	return n.proposer.accept(ctx, b, bulk)
}

// LeaderReadIndex answers ReadIndex for another node. It never forwards.
func (n *Node) LeaderReadIndex(ctx context.Context) (uint64, error) {
	return n.reader.confirm(ctx)
}
