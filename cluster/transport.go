package cluster

import (
	"fmt"
	"net"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sluice-dev/sluice/cluster/link"
)

// transport is what raft gets. It hides Close, because raft would close the transport with every run and the node
// outlives its runs.
type transport struct {
	raft.Transport
	raft.WithPreVote
	unfit    func() error // why this node must not lead
	arrivals *arrivals
}

// Consumer implements raft.Transport.
func (t transport) Consumer() <-chan raft.RPC { return t.arrivals.out }

// RequestVote implements raft.Transport: a node that must not lead asks nobody for a vote. It still gives its own.
func (t transport) RequestVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	if err := t.unfit(); err != nil {
		return fmt.Errorf("this node must not lead: %w", err)
	}
	return t.Transport.RequestVote(id, target, args, resp)
}

// RequestPreVote implements raft.WithPreVote.
func (t transport) RequestPreVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	if err := t.unfit(); err != nil {
		return fmt.Errorf("this node must not lead: %w", err)
	}
	return t.WithPreVote.RequestPreVote(id, target, args, resp)
}

// AppendEntriesPipeline implements raft.Transport: without pipelining, whatever the transport. Raft's pipeline can
// deadlock and starve one follower for good.
func (transport) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

func keepOpen(t raft.Transport, unfit func() error, base base) (transport, error) {
	pv, ok := t.(raft.WithPreVote)
	if !ok {
		return transport{}, fmt.Errorf("transport %T does not support pre-vote", t)
	}
	return transport{t, pv, unfit, newArrivals(t.Consumer(), base)}, nil
}

// ioTimeout bounds a message of raft, and a dial.
const ioTimeout = 10 * time.Second

// raftOver runs raft's messages over the internal port.
func raftOver(s *link.Stream, addresses raft.ServerAddressProvider, logger *hlogger) *raft.NetworkTransport {
	return raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		ServerAddressProvider: addresses,
		Logger:                logger,
		Stream:                streamLayer{s},
		MaxPool:               3,
		MaxRPCsInFlight:       1, // no pipelining, see transport
		Timeout:               ioTimeout,
	})
}

type streamLayer struct{ *link.Stream }

// Dial implements raft.StreamLayer.
func (s streamLayer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	return s.Stream.Dial(string(address), timeout)
}

// addressBook resolves node ids: configured first, then as gossip heard, then as raft's configuration says. What it returns names
// the node too, so that another node that took over the address is not mistaken for it: its answers would count as the other's.
type addressBook struct{ n *Node }

// ServerAddr implements raft.ServerAddressProvider.
func (b addressBook) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	if b.n.cfg.Addresses != nil {
		if a, err := b.n.cfg.Addresses.ServerAddr(id); err == nil {
			return a, nil
		}
	}
	if string(id) == b.n.id {
		return b.n.trans.LocalAddr(), nil
	}
	if g := b.n.gossip; g != nil {
		if a := g.raftAddr(string(id)); a != "" {
			return raft.ServerAddress(link.Address(string(id), a)), nil
		}
	}
	for _, s := range b.n.servers() {
		if s.ID == id {
			return raft.ServerAddress(link.Address(string(id), string(s.Address))), nil
		}
	}
	return "", fmt.Errorf("address of node %s is not known", id)
}
