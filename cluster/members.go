package cluster

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sluice-dev/sluice/cluster/link"
)

// MemberView is what the leader learned of a member when it last asked it, once a second.
type MemberView struct {
	ID, Name string
	Voter    bool
	Alive    bool // it answered the last question
	// Contact is when the last answer came; zero: none in this epoch.
	Contact time.Time
	// Lag is how many entries its log was behind the leader's at the last answer.
	Lag uint64
	// ClockOffset is how far its clock was ahead of the leader's at the last answer, wrong by ClockError at most: half of the time
	// that question and answer took. ClockKnown is false for versions that do not tell their time.
	ClockOffset, ClockError time.Duration
	ClockKnown              bool
	Problem                 string // in its own words, or why it did not answer
}

// offset returns how far a peer's clock is ahead of this node's, when it read peer (µs) between asked and asked + took on this
// node's clock, and by how much that may be wrong.
func offset(asked time.Time, took time.Duration, peer int64) (ahead, uncertain time.Duration) {
	uncertain = took / 2
	return time.UnixMicro(peer).Sub(asked.Add(uncertain)), uncertain
}

// askTimed is askHello with what the answer says of the peer's clock.
func (n *Node) askTimed(ctx context.Context, to link.Target, into *MemberView) (hello, error) {
	asked, began := n.cfg.Clock.Now(), time.Now()
	h, err := n.askHello(ctx, to)
	took := time.Since(began)
	if err != nil {
		into.Problem = err.Error()
		return h, err
	}
	into.Alive, into.Name, into.Problem, into.Contact = true, h.Name, h.Problem, time.Now()
	if h.Now != 0 {
		into.ClockKnown = true
		into.ClockOffset, into.ClockError = offset(asked, took, h.Now)
	}
	return h, nil
}

// keep takes over what an earlier answer said, when there was none now.
func (v *MemberView) keep(before MemberView) {
	v.Name, v.Contact, v.Lag = before.Name, before.Contact, before.Lag
	v.ClockOffset, v.ClockError, v.ClockKnown = before.ClockOffset, before.ClockError, before.ClockKnown
}

// acquaintances remembers what the members last said of themselves: to name those that do not answer any more, and to compare settings.
type acquaintances struct {
	mu   sync.Mutex // guards byID
	byID map[string]hello
}

// note keeps what a member said, and tells whether it has other settings now than it had; what strangers say is not kept.
func (a *acquaintances) note(h hello, members []raft.Server) (changed bool) {
	if !slices.ContainsFunc(members, func(s raft.Server) bool { return string(s.ID) == h.NodeID }) {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.byID == nil {
		a.byID = map[string]hello{}
	}
	changed = !maps.Equal(a.byID[h.NodeID].Common, h.Common)
	a.byID[h.NodeID] = hello{Name: h.Name, HTTPAddr: h.HTTPAddr, Version: h.Version, Common: h.Common}
	return changed
}

// acquaint notes what a node said of itself.
func (n *Node) acquaint(h hello) {
	if !n.met.note(h, n.servers()) || h.NodeID == n.id {
		return
	}
	if names := differing(n.common(), h.Common); len(names) > 0 {
		n.log.Warn("a member has other settings than this node; they should be the same on all nodes", "member", cmp.Or(h.Name, h.NodeID), "settings", strings.Join(names, ", "))
	}
}

func (a *acquaintances) of(id string) hello {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.byID[id]
}

// target is where a server of the configuration is asked: gossip knows first when it has moved.
func (n *Node) target(s raft.Server) link.Target {
	to := link.Target{ID: string(s.ID), Addr: string(s.Address)}
	if n.gossip != nil {
		if heard := n.gossip.raftAddr(to.ID); heard != "" {
			to.Addr = heard
		}
	}
	return to
}

// MemberViews is what this node, as the leader, last learned of all members, itself included, by id. It is nil on other nodes and
// until the first look of an epoch.
func (n *Node) MemberViews() []MemberView {
	views := n.views.Load()
	if views == nil || n.leading() == nil {
		return nil
	}
	return *views
}

// Margin counts the voters that answer and name no problem, and how many more of them may fail before no quorum is left; negative
// when one is lost already.
func Margin(members []MemberView) (live, tolerated int) {
	voters := 0
	for _, m := range members {
		if m.Voter {
			voters++
			if m.Alive && m.Problem == "" {
				live++
			}
		}
	}
	return live, live - (voters/2 + 1)
}

// AskMember sends a request to one member, which may be this node, where Config.Serve answers it. It is not repeated.
func (n *Node) AskMember(ctx context.Context, id, method string, body []byte) ([]byte, error) {
	serve := n.cfg.Serve[method]
	switch {
	case serve == nil:
		return nil, fmt.Errorf("%w: %q", link.ErrUnknownMethod, method)
	case id == n.id:
		return serve(ctx, body)
	case n.client == nil:
		return nil, fmt.Errorf("%w: this node has no internal port", link.ErrNotSent)
	}
	servers := n.servers()
	i := slices.IndexFunc(servers, func(s raft.Server) bool { return string(s.ID) == id })
	if i < 0 {
		return nil, fmt.Errorf("%w: node %s is no member of this cluster", ErrRefused, id)
	}
	return n.client.Call(ctx, n.target(servers[i]), applicationPrefix+method, body)
}
