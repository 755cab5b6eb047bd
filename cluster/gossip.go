package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// Member is what a node tells about itself by gossip, at most 512 bytes as JSON. Gossip is a hint: it never changes who
// may vote.
type Member struct {
	ID         string `json:"id"`
	Cluster    string `json:"c,omitempty"`
	RaftAddr   string `json:"r"`
	HTTPAddr   string `json:"h,omitempty"`
	Version    string `json:"v"`
	MinVersion uint64 `json:"lo,omitempty"` // the cluster versions it supports
	MaxVersion uint64 `json:"hi,omitempty"`
	GossipAddr string `json:"-"` // host:port as memberlist knows it
}

// gossip runs memberlist. What others tell is copied in memberlist's callbacks: the nodes that its Members returns change
// without a lock that we could take.
type gossip struct {
	self func() Member
	log  *slog.Logger
	list *memberlist.Memberlist
	keys *memberlist.Keyring // nil: plain text
	own  string              // host:port where others reach it; memberlist's own node changes without a lock that we could take

	mu     sync.Mutex // guards what follows
	known  map[string]Member
	failed map[string]string // why addresses could not be met, as the log has it
}

func startGossip(addr, label string, keys [][]byte, advertise string, self func() Member, logger *slog.Logger) (*gossip, error) {
	g := &gossip{self: self, log: logger, known: map[string]Member{}, failed: map[string]string{}}
	c, err := g.config(addr, label, keys, advertise)
	if err != nil {
		return nil, err
	}
	return g, g.start(c)
}

// config is what memberlist gets.
func (g *gossip) config(addr, label string, keys [][]byte, advertise string) (*memberlist.Config, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("gossip address %q: %w", addr, err)
	}
	p, err := strconv.Atoi(port)
	if err != nil {
		return nil, fmt.Errorf("gossip address %q: port: %w", addr, err)
	}
	c := memberlist.DefaultLANConfig()
	c.Name = g.self().ID
	if host != "" {
		c.BindAddr = host
	}
	c.BindPort, c.AdvertisePort = p, p
	if ip := net.ParseIP(c.BindAddr); ip == nil || ip.IsUnspecified() {
		c.AdvertiseAddr = advertise
	}
	c.Label = label
	if len(keys) > 0 {
		if g.keys, err = memberlist.NewKeyring(keys, keys[0]); err != nil {
			return nil, fmt.Errorf("the keys of gossip: %w", err)
		}
		c.Keyring = g.keys
	}
	// A node that comes back with another address is refused for ever by default.
	c.DeadNodeReclaimTime = 30 * time.Second
	c.Delegate = g
	c.Merge = g
	c.Events = g
	c.Logger = log.New(&calmWriter{out: lineWriter{g.log}, now: time.Now}, "", 0)
	return c, nil
}

func (g *gossip) start(c *memberlist.Config) (err error) {
	if g.list, err = memberlist.Create(c); err != nil {
		return fmt.Errorf("start gossip on %s: %w", net.JoinHostPort(c.BindAddr, strconv.Itoa(c.BindPort)), err)
	}
	g.own = g.list.LocalNode().Address()
	return nil
}

// NodeMeta implements memberlist.Delegate.
func (g *gossip) NodeMeta(limit int) []byte {
	m := g.self()
	b, err := json.Marshal(m)
	if err == nil && len(b) > limit {
		m.HTTPAddr, m.Version = "", ""
		b, err = json.Marshal(m)
	}
	if err != nil || len(b) > limit {
		g.log.Error("gossip metadata does not fit and is left out", "bytes", len(b), "limit", limit, "error", err)
		return nil
	}
	return b
}

// NotifyMsg, GetBroadcasts, LocalState and MergeRemoteState implement memberlist.Delegate; only metadata is gossiped.
func (g *gossip) NotifyMsg([]byte)                {}
func (g *gossip) GetBroadcasts(int, int) [][]byte { return nil }
func (g *gossip) LocalState(bool) []byte          { return nil }
func (g *gossip) MergeRemoteState([]byte, bool)   {}

// NotifyMerge implements memberlist.MergeDelegate: two clusters must not become one by a wrong address.
func (g *gossip) NotifyMerge(peers []*memberlist.Node) error {
	own := g.self().Cluster
	for _, p := range peers {
		var m Member
		if len(p.Meta) == 0 {
			continue
		}
		if err := json.Unmarshal(p.Meta, &m); err != nil {
			return fmt.Errorf("node %s at %s sends unreadable metadata: %w", p.Name, p.Address(), err)
		}
		if own != "" && m.Cluster != "" && m.Cluster != own {
			return fmt.Errorf("node %s at %s belongs to cluster %s, this node to %s", p.Name, p.Address(), m.Cluster, own)
		}
	}
	return nil
}

// NotifyJoin, NotifyUpdate and NotifyLeave implement memberlist.EventDelegate.
func (g *gossip) NotifyJoin(n *memberlist.Node)   { g.heard(n) }
func (g *gossip) NotifyUpdate(n *memberlist.Node) { g.heard(n) }

func (g *gossip) NotifyLeave(n *memberlist.Node) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.known, n.Name)
}

func (g *gossip) heard(n *memberlist.Node) {
	var m Member
	if err := json.Unmarshal(n.Meta, &m); err != nil {
		g.log.Warn("a member sends unreadable metadata", "member", n.Name, "error", err)
		return
	}
	m.GossipAddr = n.Address()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.known[n.Name] = m
}

// addr is where others reach this node's gossip.
func (g *gossip) addr() string { return g.own }

// meet makes nodes known that gossip has not heard of. A nil gossip meets nobody.
func (g *gossip) meet(addrs []string) {
	if g == nil {
		return
	}
	known := map[string]bool{"": true}
	for _, m := range g.members() {
		known[m.GossipAddr] = true
	}
	for _, a := range addrs {
		if known[a] {
			continue
		}
		known[a] = true
		_, err := g.list.Join([]string{a})
		g.met(a, err)
	}
}

// met says that an address could not be met: once for each reason, as it is tried several times a second.
func (g *gossip) met(addr string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err == nil {
		delete(g.failed, addr)
		return
	}
	if inner := errors.Unwrap(err); inner != nil { // of memberlist's list of one, which takes several lines
		err = inner
	}
	if text := err.Error(); g.failed[addr] != text {
		g.failed[addr] = text
		g.log.Warn("a node cannot be reached by gossip; trying again", "address", addr, "error", text)
	}
}

// members lists the living nodes by id.
func (g *gossip) members() []Member {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.SortedFunc(maps.Values(g.known), func(a, b Member) int { return strings.Compare(a.ID, b.ID) })
}

func (g *gossip) raftAddr(id string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.known[id].RaftAddr
}

// refresh gossips changed metadata.
func (g *gossip) refresh() {
	if err := g.list.UpdateNode(time.Second); err != nil {
		g.log.Warn("gossip metadata could not be spread", "error", err)
	}
}

// stop tells the others and ends. That nobody was there to be told is no failure: all nodes may stop at once.
func (g *gossip) stop(timeout time.Duration) error {
	if err := g.list.Leave(timeout); err != nil {
		g.log.Debug("the others were not told that this node's gossip ends", "error", err)
	}
	if err := g.list.Shutdown(); err != nil {
		return fmt.Errorf("stop gossip: %w", err)
	}
	return nil
}
