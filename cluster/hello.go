package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sluice-dev/sluice/cluster/link"
	"github.com/sluice-dev/sluice/fsm/command"
)

// hello is what two nodes tell each other when one asks the other who it is.
type hello struct {
	NodeID     string `json:"id"`
	Name       string `json:"name,omitempty"`
	Addr       string `json:"addr"` // of the internal port
	GossipAddr string `json:"gossip,omitempty"`
	HTTPAddr   string `json:"http,omitempty"`
	Version    string `json:"version,omitempty"`
	// Versions are the cluster versions that the node supports, ClusterVersion the one its state has.
	Versions       command.Versions `json:"versions,omitzero"`
	ClusterVersion uint64           `json:"cluster_version,omitempty"`
	// Seq grows with every hello of a node, also over its restarts as far as its clock does.
	Seq int64 `json:"seq"`

	// ClusterID is known to a node that has applied something: it belongs to a cluster that exists.
	ClusterID string `json:"cluster_id,omitempty"`
	// Stateless is a node that has never taken part in Raft: it may found or join.
	Stateless bool `json:"stateless,omitempty"`
	// Founding is the id of the cluster that the node is about to found.
	Founding string `json:"founding,omitempty"`
	// PledgedTo is the node with which it has promised to found a cluster.
	PledgedTo string `json:"pledged_to,omitempty"`
	Expect    int    `json:"expect,omitempty"`
	// Candidates is the set of founders that the node sees, sorted.
	Candidates []string `json:"candidates,omitempty"`
	// Seen are the addresses of the stateless nodes it knows.
	Seen []Peer `json:"seen,omitempty"`

	Leader    Peer     `json:"leader,omitzero"`
	Members   []string `json:"members,omitempty"` // ids in its Raft configuration
	Term      uint64   `json:"term,omitempty"`
	LastIndex uint64   `json:"last,omitempty"`
	Applied   uint64   `json:"applied,omitempty"`
	Problem   string   `json:"problem,omitempty"`
	// StateIndex and StateTerm are where the state stands in the log.
	StateIndex uint64 `json:"state_index,omitempty"`
	StateTerm  uint64 `json:"state_term,omitempty"`
	// Now is the node's clock in µs when it said this; 0 of versions that did not say.
	Now int64 `json:"now,omitempty"`
	// Halted is why the node applies nothing more; Problem says it too.
	Halted string `json:"halted,omitempty"`
	// Noted is the node's last checkpoint. Agreed is what a majority noted, from a leader only.
	Noted    Checkpoint `json:"noted,omitzero"`
	Agreed   Checkpoint `json:"agreed,omitzero"`
	Diverged bool       `json:"diverged,omitempty"`
	// Common are its settings that should be the same on all nodes.
	Common map[string]string `json:"common,omitempty"`
}

func (h hello) peer() Peer { return Peer{ID: h.NodeID, Addr: h.Addr} }

// askHello tells a node who this one is and returns who that is.
func (n *Node) askHello(ctx context.Context, to link.Target) (hello, error) {
	var answer hello
	err := n.askJSON(ctx, to, methodHello, n.hello(), &answer)
	if err == nil {
		n.acquaint(answer)
	}
	return answer, err
}

func (n *Node) serveHello(_ context.Context, from string, body []byte) ([]byte, error) {
	var h hello
	if err := json.Unmarshal(body, &h); err != nil {
		return nil, fmt.Errorf("decode hello: %w", err)
	}
	n.former.hear(h)
	n.heardFrom(h)
	n.acquaint(h)
	n.noteVersion(h)
	if leader, self, known := n.leader(); known && !self && leader.ID == from && h.ClusterID == n.cfg.DataDir.ClusterID() && h.Agreed.Index != 0 {
		n.compareWith(h.Agreed)
	}
	return json.Marshal(n.hello())
}

// askJSON sends a question and decodes the answer; either may be nil.
func (n *Node) askJSON(ctx context.Context, to link.Target, method string, question, answer any) error {
	body, err := json.Marshal(question)
	if err != nil {
		return fmt.Errorf("encode %s: %w", method, err)
	}
	got, err := n.client.Call(ctx, to, method, body)
	if err != nil {
		return err
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(got, answer); err != nil {
		return fmt.Errorf("decode the answer to %s: %w", method, err)
	}
	return nil
}

// hello describes this node as it is now.
func (n *Node) hello() hello {
	d := n.cfg.DataDir
	h := hello{NodeID: n.id, Name: n.cfg.Name, HTTPAddr: n.cfg.HTTPAddr, Version: n.cfg.Version, ClusterID: d.ClusterID(), Expect: n.cfg.BootstrapExpect,
		Seq: n.former.nextSeq(), Applied: n.machine.inner.AppliedIndex(), Versions: n.cfg.Versions, ClusterVersion: n.machine.inner.ClusterVersion(),
		Diverged: n.Diverged() != "", Now: n.cfg.Clock.Now().UnixMicro(), Common: n.common()}
	h.Noted.Index, h.Noted.Hash = n.machine.inner.Checkpoint()
	if v := n.agreed.Load(); v != nil && n.leading() != nil {
		h.Agreed = v.agreed
	}
	if n.port != nil {
		h.Addr = n.port.Advertised()
	}
	if n.gossip != nil {
		h.GossipAddr = n.gossip.addr()
	}
	if f := d.founding(); f != nil {
		h.Founding = f.ClusterID
	}
	if p := d.pledge(); p != nil {
		h.PledgedTo = p.Founder
	}
	if r := n.run.Load(); r != nil {
		h.Term, h.LastIndex = r.raft.CurrentTerm(), r.raft.LastIndex()
		h.Stateless = h.Term == 0 && h.LastIndex == 0 && h.Applied == 0
	}
	h.Leader, _, _ = n.leader()
	if index, at, err := position(n.cfg.Snapshots); err == nil {
		h.StateIndex, h.StateTerm = index, at
	}
	for _, s := range n.servers() {
		h.Members = append(h.Members, string(s.ID))
	}
	if err := n.machine.halted(); err != nil {
		h.Problem, h.Halted = err.Error(), err.Error()
	} else if h.Problem = n.trouble(); h.Problem == "" && n.cfg.Unfit != nil {
		h.Problem = n.cfg.Unfit()
	}
	if h.Stateless {
		h.Candidates, h.Seen = n.former.view()
	}
	return h
}

// servers is the newest Raft configuration that this node has, nil without one.
func (n *Node) servers() []raft.Server {
	r := n.run.Load()
	if r == nil {
		return nil
	}
	f := r.raft.GetConfiguration()
	if f.Error() != nil {
		return nil
	}
	return f.Configuration().Servers
}

// resolve returns host:port for every address that the targets stand for: a name may have several, and a target without a port has
// the usual one. Problems with one target do not hide the others.
func resolve(ctx context.Context, targets []string) (addrs []string, err error) {
	var problems []error
	for _, t := range targets {
		host, port, serr := net.SplitHostPort(t)
		if serr != nil {
			host, port = strings.Trim(t, "[]"), DefaultInternalPort
		}
		if net.ParseIP(host) != nil {
			addrs = append(addrs, net.JoinHostPort(host, port))
			continue
		}
		ips, lerr := net.DefaultResolver.LookupHost(ctx, host)
		if lerr != nil {
			problems = append(problems, fmt.Errorf("resolve %s: %w", t, lerr))
		}
		for _, ip := range ips {
			addrs = append(addrs, net.JoinHostPort(ip, port))
		}
	}
	slices.Sort(addrs)
	return slices.Compact(addrs), errors.Join(problems...)
}

// DefaultInternalPort is the internal port where an address names none.
const DefaultInternalPort = "4201"

// helloTimeout bounds one question of who somebody is.
const helloTimeout = time.Second

// greetAll says hello to all addresses at once and returns the answers, this node's own left out, and why
// others gave none: in the order of the addresses, so that rounds that end alike say the same.
func (n *Node) greetAll(ctx context.Context, addrs []string) (answers []hello, problem error) {
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	problems := make([]error, len(addrs))
	var mu sync.Mutex
	var all sync.WaitGroup
	for i, a := range addrs {
		if a == n.port.Advertised() {
			continue
		}
		all.Go(func() {
			h, err := n.askHello(ctx, link.Target{Addr: a})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				problems[i] = err
			case h.NodeID != n.id:
				answers = append(answers, h)
			}
		})
	}
	all.Wait()
	slices.SortFunc(answers, func(a, b hello) int { return strings.Compare(a.NodeID, b.NodeID) })
	return slices.CompactFunc(answers, func(a, b hello) bool { return a.NodeID == b.NodeID }), errors.Join(problems...)
}
