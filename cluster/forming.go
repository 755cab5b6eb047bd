package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/raft"

	"github.com/sluice-dev/sluice/cluster/link"
)

const (
	// formEvery is how often a node without a cluster looks around.
	formEvery = 200 * time.Millisecond
	// companyEvery is how often a member looks whether gossip has lost somebody.
	companyEvery = 5 * time.Second
	// candidateTTL is how long a candidate counts after it was heard last.
	candidateTTL = 3 * time.Second
	// foundingPatience is how long a founder waits for one who has gone before it chooses again.
	foundingPatience = 10 * time.Second
)

// former finds or founds this node's cluster, and keeps it in touch with the others afterwards.
type former struct {
	n *Node

	trying string    // the cluster that this node tries to found, for loop alone
	since  time.Time // since when
	turned string    // the last refusal of a member's greeting that was told, for loop alone
	// refused is the cluster that did not take this node in at the last attempt, for loop alone.
	refused string
	// removed is a member that has no leader and of which others say that it is none.
	removed atomic.Bool

	mu    sync.Mutex // guards what follows
	seq   int64
	heard map[string]heard // stateless nodes, by id
	text  string           // what it waits for
}

type heard struct {
	hello
	at    time.Time
	ahead time.Duration // how far its clock is ahead of this node's
}

func newFormer(n *Node) *former { return &former{n: n, heard: map[string]heard{}} }

func (f *former) nextSeq() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seq = max(f.seq+1, time.Now().UnixNano())
	return f.seq
}

// hear takes note of what a node says of itself.
func (f *former) hear(h hello) {
	f.mu.Lock()
	if old, ok := f.heard[h.NodeID]; !ok || old.Seq < h.Seq {
		if h.Stateless && h.NodeID != f.n.id {
			is := heard{hello: h, at: time.Now()}
			if h.Now != 0 {
				is.ahead = time.UnixMicro(h.Now).Sub(f.n.cfg.Clock.Now())
			}
			f.heard[h.NodeID] = is
		} else {
			delete(f.heard, h.NodeID)
		}
	}
	f.mu.Unlock()
	// The message that releases this node may have been lost: the founder shows by what it is that it founds no more.
	p := f.n.cfg.DataDir.pledge()
	if p != nil && p.Founder == h.NodeID && h.Seq > p.Seq && h.Founding != p.ClusterID && (h.Stateless || h.ClusterID != "" && h.ClusterID != p.ClusterID) {
		f.release(p.ClusterID)
	}
}

func (f *former) release(clusterID string) {
	if err := f.n.cfg.DataDir.release(clusterID); err != nil {
		f.n.log.Error("the promise to found a cluster could not be withdrawn", "error", err)
	}
}

// fresh returns the stateless nodes heard of lately.
func (f *former) fresh() (out []hello) {
	for _, h := range f.recent() {
		out = append(out, h.hello)
	}
	return out
}

func (f *former) recent() []heard {
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.DeleteFunc(f.heard, func(_ string, h heard) bool { return time.Since(h.at) > candidateTTL })
	return slices.SortedFunc(maps.Values(f.heard), func(a, b heard) int { return strings.Compare(a.NodeID, b.NodeID) })
}

// view is what this node tells of the candidates it sees.
func (f *former) view() (chosen []string, seen []Peer) {
	others := f.fresh()
	for _, h := range others {
		seen = append(seen, h.peer())
	}
	return choose(f.n.id, f.n.cfg.BootstrapExpect, others), seen
}

// choose returns the ids that should found a cluster as one node sees it: the lowest, as many as are expected; nil while there are
// too few.
func choose(self string, expect int, others []hello) []string {
	ids := []string{self}
	for _, h := range others {
		if h.Expect == expect {
			ids = append(ids, h.NodeID)
		}
	}
	if expect < 2 || len(ids) < expect {
		return nil
	}
	slices.Sort(ids)
	return ids[:expect]
}

// surroundings is everything a node without a cluster decides upon.
type surroundings struct {
	self   string
	expect int
	pledge *Pledge
	others []hello // stateless nodes heard of lately
	skewed []heard // those whose clocks differ too much from this node's
	formed []hello // members of clusters that exist
}

type move int

const (
	moveWait move = iota
	moveJoin
	moveFound
)

// decide says what a node without a cluster does next: join what exists; found only when it is the lowest of an identical set of
// candidates that all of them see; else wait. text says for what.
func decide(s surroundings) (m move, join hello, found []hello, text string) {
	founderPledge := s.pledge != nil && s.pledge.Founder != ""
	for _, c := range s.formed {
		if c.ClusterID != s.formed[0].ClusterID {
			return moveWait, hello{}, nil, fmt.Sprintf("the addresses to join lead to two clusters, %s (node %s at %s) and %s (node %s at %s): correct --join",
				s.formed[0].ClusterID, s.formed[0].NodeID, s.formed[0].Addr, c.ClusterID, c.NodeID, c.Addr)
		}
	}
	if len(s.formed) > 0 {
		c := s.formed[0]
		if founderPledge && s.pledge.ClusterID != c.ClusterID {
			return moveWait, hello{}, nil, fmt.Sprintf("this node has promised node %s to found a cluster with it and that node has not taken it back; "+
				"if that node is lost, start this one with an empty data directory", s.pledge.Founder)
		}
		for _, h := range s.formed {
			if h.Leader.ID != "" {
				return moveJoin, h, nil, "joining cluster " + h.ClusterID
			}
		}
		return moveWait, hello{}, nil, fmt.Sprintf("cluster %s has no leader to join", c.ClusterID)
	}
	if founderPledge {
		return moveWait, hello{}, nil, fmt.Sprintf("waiting for node %s to found the cluster; if it is lost, start this node with an empty data directory", s.pledge.Founder)
	}
	if s.expect < 2 {
		return moveWait, hello{}, nil, "no cluster answers at the addresses to join, and this node may not found one (--bootstrap-expect)"
	}
	for _, h := range s.others {
		if h.Expect > 1 && h.Expect != s.expect {
			return moveWait, hello{}, nil, fmt.Sprintf("node %s at %s expects %d founders, this node %d: start all with the same --bootstrap-expect", h.NodeID, h.Addr, h.Expect, s.expect)
		}
	}
	for _, h := range s.skewed {
		if h.Expect == s.expect {
			return moveWait, hello{}, nil, fmt.Sprintf("the clock of node %s at %s is %s this node's: set the clocks of both machines right, then they found the cluster", h.NodeID, h.Addr, aheadOf(h.ahead))
		}
	}
	chosen := choose(s.self, s.expect, s.others)
	switch {
	case chosen == nil:
		count := 1
		for _, h := range s.others {
			if h.Expect == s.expect {
				count++
			}
		}
		return moveWait, hello{}, nil, fmt.Sprintf("%d of %d nodes are here to found the cluster", count, s.expect)
	case chosen[0] != s.self:
		return moveWait, hello{}, nil, "waiting for node " + chosen[0] + " to found the cluster"
	}
	for _, h := range s.others {
		if !slices.Contains(chosen, h.NodeID) {
			continue
		}
		switch {
		case !slices.Equal(h.Candidates, chosen):
			return moveWait, hello{}, nil, "waiting for node " + h.NodeID + " to see the same nodes as this one"
		case h.PledgedTo != "" && h.PledgedTo != s.self:
			return moveWait, hello{}, nil, "node " + h.NodeID + " founds with node " + h.PledgedTo
		case h.Founding != "":
			return moveWait, hello{}, nil, "node " + h.NodeID + " founds a cluster itself"
		}
		found = append(found, h)
	}
	return moveFound, hello{}, found, "founding the cluster"
}

// loop finds or founds a cluster, then keeps company, until ctx ends.
func (f *former) loop(ctx context.Context) {
	welcome := false // this node has been seen in its cluster's configuration
	for {
		pause := formEvery
		if f.n.cfg.DataDir.ClusterID() == "" {
			f.look(ctx)
		} else {
			f.say("")
			before := welcome
			if welcome = f.company(ctx, welcome); welcome && !before && len(f.n.servers()) > 1 {
				f.n.log.Info("this node is a member of its cluster", "cluster", f.n.cfg.DataDir.ClusterID())
			}
			if _, _, known := f.n.leader(); known && welcome {
				pause = companyEvery
			}
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// say records what the node waits for.
func (f *former) say(text string) {
	f.mu.Lock()
	changed := f.text != text
	f.text = text
	f.mu.Unlock()
	// A node that is to be alone waits for itself only.
	if changed && text != "" && f.n.cfg.BootstrapExpect != 1 {
		f.n.log.Info("no cluster yet", "state", text)
	}
}

func (f *former) waitsFor() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.text
}

// look is one round of a node without a cluster.
func (f *former) look(ctx context.Context) {
	n := f.n
	addrs, problem := resolve(ctx, n.cfg.Join)
	for _, h := range f.fresh() {
		addrs = append(addrs, h.Addr)
		for _, p := range h.Seen {
			addrs = append(addrs, p.Addr)
		}
	}
	slices.Sort(addrs)
	answers, unreachable := n.greetAll(ctx, slices.Compact(addrs))
	if ctx.Err() != nil {
		return
	}
	var formed []hello
	var gossips []string
	for _, h := range answers {
		f.hear(h)
		if h.ClusterID != "" {
			formed = append(formed, h)
		}
		gossips = append(gossips, h.GossipAddr)
	}
	n.gossip.meet(gossips)
	if r := n.run.Load(); r == nil || r.raft.CurrentTerm() > 0 || r.raft.LastIndex() > 0 {
		f.say("waiting for the cluster's first entries")
		return
	}
	if mine := n.cfg.DataDir.founding(); mine != nil {
		f.found(ctx, *mine)
		return
	}
	around := surroundings{self: n.id, expect: n.cfg.BootstrapExpect, pledge: n.cfg.DataDir.pledge(), formed: formed}
	for _, h := range f.recent() {
		around.others = append(around.others, h.hello)
		if n.cfg.skewed(h.ahead) {
			around.skewed = append(around.skewed, h)
		}
	}
	m, join, found, text := decide(around)
	if m == moveWait {
		if problem = errors.Join(problem, unreachable); problem != nil && len(answers) == 0 {
			text += ": " + strings.ReplaceAll(problem.Error(), "\n", "; ")
		}
	}
	// What keeps it out stays in sight while it tries again.
	if m != moveJoin || f.refused != join.ClusterID {
		f.say(text)
	}
	f.refused = ""
	switch m {
	case moveJoin:
		if err := f.join(ctx, join); err != nil {
			f.refused = join.ClusterID
			f.say(fmt.Sprintf("cluster %s was not joined: %v", join.ClusterID, err))
		}
	case moveFound:
		plan := Founding{ClusterID: uuid.NewString(), Voters: []Peer{{ID: n.id, Addr: n.port.Advertised()}}}
		for _, h := range found {
			plan.Voters = append(plan.Voters, h.peer())
		}
		if err := n.cfg.DataDir.setFounding(&plan); err != nil {
			f.say(err.Error())
			return
		}
		f.found(ctx, plan)
	}
}

// pledgeRequest asks a node to found a cluster with the sender.
type pledgeRequest struct {
	ClusterID string `json:"cluster_id"`
	Seq       int64  `json:"seq"`
	// Begins is the version at which the cluster would begin.
	Begins uint64 `json:"begins,omitempty"`
}

// found asks all chosen nodes for their promise and founds the cluster when it has every one. It goes on with the next round, also
// after a restart, and gives up when one refuses or is gone.
func (f *former) found(ctx context.Context, plan Founding) {
	n := f.n
	if f.trying != plan.ClusterID {
		f.trying, f.since = plan.ClusterID, time.Now()
	}
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	problems := make([]error, len(plan.Voters))
	var all sync.WaitGroup
	for i, p := range plan.Voters {
		if p.ID != n.id {
			all.Go(func() {
				problems[i] = n.askJSON(ctx, p.target(), methodPledge, pledgeRequest{plan.ClusterID, f.nextSeq(), n.cfg.Versions.Min}, nil)
			})
		}
	}
	all.Wait()
	problem := errors.Join(problems...)
	if problem == nil {
		voters := make([]raft.Server, len(plan.Voters))
		for i, p := range plan.Voters {
			voters[i] = raft.Server{ID: raft.ServerID(p.ID), Address: raft.ServerAddress(p.Addr)}
		}
		r := n.run.Load()
		if r == nil {
			return
		}
		if err := r.wait(ctx, r.raft.BootstrapCluster(raft.Configuration{Servers: voters})); err != nil {
			n.log.Error("the cluster could not be founded", "error", err)
			return
		}
		n.log.Info("founded a new cluster", "cluster", plan.ClusterID, "voters", len(voters))
		return
	}
	alive := map[string]bool{n.id: true}
	for _, h := range f.fresh() {
		alive[h.NodeID] = true
	}
	gone := slices.ContainsFunc(plan.Voters, func(p Peer) bool { return !alive[p.ID] })
	if !errors.Is(problem, ErrRefused) && (!gone || time.Since(f.since) < foundingPatience) {
		f.say("founding the cluster: " + problem.Error())
		return
	}
	// First for good on this disk: from here on this cluster will never be.
	n.log.Info("founding given up", "cluster", plan.ClusterID, "reason", problem)
	if err := n.cfg.DataDir.setFounding(nil); err != nil {
		n.log.Error("founding could not be given up", "error", err)
		return
	}
	ctx, cancel = context.WithTimeout(n.life, helloTimeout)
	defer cancel()
	for _, p := range plan.Voters {
		if p.ID != n.id {
			all.Go(func() { // whom it does not reach learns it from the next hello
				_ = n.askJSON(ctx, p.target(), methodRelease, pledgeRequest{ClusterID: plan.ClusterID}, nil)
			})
		}
	}
	all.Wait()
}

func (n *Node) servePledge(_ context.Context, from string, body []byte) ([]byte, error) {
	var q pledgeRequest
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, fmt.Errorf("decode pledge: %w", err)
	}
	// Whichever of the founders leads first decides where the cluster begins, so it must be the same for all.
	if begins := max(1, q.Begins); begins != n.cfg.Versions.Min {
		return nil, fmt.Errorf("%w: node %s would begin a cluster at version %d, node %s (sluice %s) at version %d: found a cluster with one release of sluice, and upgrade it then",
			ErrRefused, from, begins, n.id, n.cfg.Version, n.cfg.Versions.Min)
	}
	r := n.run.Load()
	if r == nil {
		return nil, ErrStopped
	}
	if r.raft.CurrentTerm() > 0 || r.raft.LastIndex() > 0 {
		if p := n.cfg.DataDir.pledge(); p != nil && p.ClusterID == q.ClusterID {
			return []byte("{}"), nil
		}
		return nil, fmt.Errorf("%w: node %s takes part in a cluster already", ErrRefused, n.id)
	}
	if err := n.cfg.DataDir.setPledge(Pledge{ClusterID: q.ClusterID, Founder: from, Seq: q.Seq}); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return []byte("{}"), nil
}

func (n *Node) serveRelease(_ context.Context, from string, body []byte) ([]byte, error) {
	var q pledgeRequest
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, fmt.Errorf("decode release: %w", err)
	}
	if p := n.cfg.DataDir.pledge(); p != nil && p.Founder == from && p.ClusterID == q.ClusterID {
		n.former.release(q.ClusterID)
	}
	return []byte("{}"), nil
}

// join asks the leader of an existing cluster to take this node in.
func (f *former) join(ctx context.Context, member hello) error {
	n := f.n
	if member.ClusterVersion != 0 {
		if err := checkMember("this node", n.cfg.Version, n.cfg.Versions, member.ClusterVersion); err != nil {
			return err
		}
	}
	if n.cfg.DataDir.allegiance() != member.ClusterID {
		if err := n.cfg.DataDir.setPledge(Pledge{ClusterID: member.ClusterID}); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, n.cfg.LeaderHold)
	defer cancel()
	return n.askJSON(ctx, link.Target{ID: member.Leader.ID, Addr: member.Leader.target().Addr}, methodJoin,
		joinRequest{Peer: Peer{ID: n.id, Addr: n.port.Advertised()}, ClusterID: member.ClusterID, Version: n.cfg.Version, Versions: n.cfg.Versions, Now: n.cfg.Clock.Now().UnixMicro(),
			GossipKeys: n.gossip.keyMarks(), Common: n.cfg.Common}, nil)
}

// company makes gossip meet whom it has lost, and lets a member that was taken out while it was down join again. It returns whether
// this node is in its cluster's configuration.
func (f *former) company(ctx context.Context, welcome bool) bool {
	n := f.n
	addrs, _ := resolve(ctx, n.cfg.Join) // a name that does not resolve now matters to nobody who is a member
	known := map[string]bool{n.id: true}
	for _, m := range n.Members() {
		known[m.ID] = true
	}
	lonely := !welcome
	for _, s := range n.servers() {
		if !known[string(s.ID)] {
			lonely = true
			addrs = append(addrs, string(s.Address))
		}
	}
	if _, _, led := n.leader(); led && !lonely {
		return true
	}
	slices.Sort(addrs)
	answers, problem := n.greetAll(ctx, slices.Compact(addrs))
	if refused, ok := errors.AsType[*link.RefusedError](problem); ok && refused.Error() != f.turned {
		f.turned = refused.Error()
		n.log.Warn("an address to join is not of this node's cluster: correct --join", "error", problem)
	}
	var gossips []string
	out := false
	for _, h := range answers {
		gossips = append(gossips, h.GossipAddr)
		n.noteVersion(h)
		if h.ClusterID != n.cfg.DataDir.ClusterID() || h.Leader.ID == "" || n.leaving.Load() {
			continue
		}
		switch in := slices.Contains(h.Members, n.id); {
		case welcome:
			// Raft need not have told this node of its removal. Who has applied as much as it knows.
			out = out || !in && h.Applied >= n.machine.inner.AppliedIndex()
		case in:
			welcome = true
		default:
			if err := f.join(ctx, h); err != nil {
				n.log.Warn("this node is not in its cluster's configuration and was not taken in", "error", err)
			}
		}
	}
	n.gossip.meet(gossips)
	_, _, led := n.leader()
	if led && n.configured() {
		welcome, out = true, false
	}
	if out = out && !led; f.removed.Swap(out) != out && out {
		n.log.Error(removedText)
	}
	return welcome
}
