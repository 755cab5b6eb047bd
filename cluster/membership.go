package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sluice-dev/sluice/fsm/command"
)

// MembershipPolicy says when the leader changes who votes.
type MembershipPolicy struct {
	// Stable is how long a new node must be healthy before it gets a vote. Default 10 s.
	Stable time.Duration
	// MaxTrailing is how many entries a healthy node may be behind. Default 1000.
	MaxTrailing uint64
	// RemoveDeadAfter takes nodes out that were silent for so long. 0: never. Danger: nodes that come back after a long outage
	// find themselves out and must join again.
	RemoveDeadAfter time.Duration
	// MinVoters is the number of voters below which no dead node is removed. Default 3.
	MinVoters int
}

func (p *MembershipPolicy) defaults() {
	or(&p.Stable, 10*time.Second)
	or(&p.MaxTrailing, 1000)
	or(&p.MinVoters, 3)
}

// condition is what the leader knows about one server.
type condition struct {
	alive   bool   // it answered lately
	addr    string // its address as it says itself; "" unknown
	healthy bool   // it follows this leader, and closely
	since   time.Time
	silent  time.Time // since when it does not answer; zero when it does
	strayed bool      // its state is none of this history

	problem  bool // it says that something is wrong with it
	last     uint64
	versions command.Versions // that it supports
	noted    Checkpoint
}

type changeKind int

const (
	changeAddress changeKind = iota + 1
	changePromote
	changeRemove
)

// change is one step of the Raft configuration.
type change struct {
	kind changeKind
	id   string
	addr string
	why  string
}

// plan returns the next change of the configuration, nil when it is as it should be. One at a time: each rests on the outcome of the
// one before.
func plan(servers []raft.Server, leader string, conditions map[string]condition, policy MembershipPolicy, now time.Time) *change {
	voters, unhealthy := 0, 0
	for _, s := range servers {
		if s.Suffrage == raft.Voter {
			voters++
			if string(s.ID) != leader && !conditions[string(s.ID)].healthy {
				unhealthy++
			}
		}
	}
	for _, s := range servers {
		if c := conditions[string(s.ID)]; c.alive && c.addr != "" && c.addr != string(s.Address) {
			return &change{changeAddress, string(s.ID), c.addr, fmt.Sprintf("it moved from %s", s.Address)}
		}
	}
	for _, s := range servers {
		if c := conditions[string(s.ID)]; s.Suffrage != raft.Voter && c.healthy && now.Sub(c.since) >= policy.Stable {
			return &change{changePromote, string(s.ID), string(s.Address), "it is healthy and has caught up"}
		}
	}
	if policy.RemoveDeadAfter > 0 {
		for _, s := range servers {
			c := conditions[string(s.ID)]
			if string(s.ID) == leader || c.alive || c.silent.IsZero() || now.Sub(c.silent) < policy.RemoveDeadAfter {
				continue
			}
			// The others must all be well: taking out one of several that are ill may take out the wrong one, step by step down
			// to one voter.
			if s.Suffrage == raft.Voter && (voters-1 < policy.MinVoters || unhealthy > 1) {
				continue
			}
			return &change{changeRemove, string(s.ID), "", fmt.Sprintf("it has been silent since %s", c.silent.UTC().Format(time.RFC3339))}
		}
	}
	return nil
}

// reconciler is what the leader does about the membership in one epoch.
type reconciler struct {
	n          *Node
	run        *run
	term       uint64
	conditions map[string]condition
	told       bool // that this node should not lead and no other can
	seen       map[string]MemberView

	checkpointed time.Time // when the last checkpoint was proposed
	dispute      string    // as logged last
}

// reconcileEvery is how often the leader looks at the members.
const reconcileEvery = time.Second

// loop looks at the members until ctx ends. A failed change is planned again in the next round, if it is still wanted.
func (c *reconciler) loop(ctx context.Context) {
	every := min(reconcileEvery, max(c.n.cfg.Membership.Stable/4, 10*time.Millisecond))
	tick := time.NewTicker(every)
	defer tick.Stop()
	defer c.n.views.Store(nil)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		servers := c.n.servers()
		c.look(ctx, servers)
		if c.n.leading() == nil || ctx.Err() != nil {
			continue
		}
		c.raiseVersion(ctx, servers)
		c.compare(ctx, servers)
		if len(servers) < 2 {
			continue
		}
		for id, is := range c.conditions {
			if is.strayed {
				c.n.shedLog(ctx, c.run, id)
			}
		}
		if views := c.n.views.Load(); views != nil && ctx.Err() == nil {
			c.giveWay(ctx, *views)
		}
		next := plan(servers, c.n.id, c.conditions, c.n.cfg.Membership, time.Now())
		if next == nil || ctx.Err() != nil {
			continue
		}
		if err := c.n.changeMembership(ctx, c.run, func([]raft.Server) (*change, error) { return next, nil }); err != nil {
			c.n.log.Warn("the membership could not be changed", "member", next.id, "error", err)
		}
	}
}

// look asks every server how it is.
func (c *reconciler) look(ctx context.Context, servers []raft.Server) {
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	term, last, jumped := c.run.raft.CurrentTerm(), c.run.raft.LastIndex(), c.n.jumped()
	var mu sync.Mutex
	var all sync.WaitGroup
	found := map[string]condition{}
	views := make([]MemberView, len(servers))
	least := last // what every member that answers has
	for i, s := range servers {
		id := string(s.ID)
		view := &views[i]
		*view = MemberView{ID: id, Voter: s.Suffrage == raft.Voter}
		if id == c.n.id {
			view.Alive, view.Name, view.Contact, view.ClockKnown, view.Problem = true, c.n.cfg.Name, time.Now(), true, c.n.trouble()
			mu.Lock()
			self := condition{alive: true, healthy: true, addr: c.n.port.Advertised(), since: c.conditions[id].since, versions: c.n.cfg.Versions}
			self.noted.Index, self.noted.Hash = c.n.machine.inner.Checkpoint()
			found[id] = self
			mu.Unlock()
			continue
		}
		all.Go(func() {
			h, err := c.n.askTimed(ctx, c.n.target(s), view)
			now, before := time.Now(), c.conditions[id]
			var is condition
			if err != nil {
				view.keep(c.seen[id])
				is.silent = before.silent
				if is.silent.IsZero() {
					is.silent = now
				}
			} else {
				is = condition{alive: true, addr: h.Addr, problem: h.Problem != "", last: h.LastIndex, versions: h.Versions.OrFirst(), noted: h.Noted, strayed: c.n.strayed(c.run, h)}
				is.healthy = !is.strayed && h.Leader.ID == c.n.id && h.Term == term && h.Problem == "" && (!view.ClockKnown || !c.n.cfg.skewed(view.ClockOffset)) && h.LastIndex+c.n.cfg.Membership.MaxTrailing >= last && h.Applied > 0
				if is.since = before.since; !before.healthy {
					is.since = now
				}
				if h.LastIndex < last {
					view.Lag = last - h.LastIndex
				}
			}
			mu.Lock()
			found[id] = is
			if is.alive {
				least = min(least, h.LastIndex)
			}
			mu.Unlock()
		})
	}
	all.Wait()
	c.judge(views, jumped)
	c.conditions, c.seen = found, make(map[string]MemberView, len(views))
	for _, v := range views {
		c.seen[v.ID] = v
	}
	if ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded) {
		c.n.views.Store(&views)
	}
	c.n.crew.Store(&crewList{servers, found})
	c.n.governor.reached(least)
}

// crewList is the configuration and how its servers were when the leader last looked.
type crewList struct {
	servers    []raft.Server
	conditions map[string]condition
}

// successor returns the voter that should lead next when raft's own choice, the one that is closest behind, might be one that must
// not lead; nil leaves it to raft.
func (l *crewList) successor(self string) *raft.Server {
	if l == nil {
		return nil
	}
	var best *raft.Server
	ill := false
	for i, s := range l.servers {
		c := l.conditions[string(s.ID)]
		switch {
		case string(s.ID) == self || s.Suffrage != raft.Voter:
		case !c.alive || c.problem:
			ill = true
		case best == nil || c.last > l.conditions[string(best.ID)].last:
			best = &l.servers[i]
		}
	}
	if !ill {
		return nil
	}
	return best
}

// transferAway has raft make another voter lead, one that is fit for it as far as this node knows. Raft takes one transfer at a time
// and begins it at once, so only one may be asked for.
func (n *Node) transferAway(r *run) raft.Future {
	if to := n.crew.Load().successor(n.id); to != nil {
		return r.raft.LeadershipTransferToServer(to.ID, to.Address)
	}
	return r.raft.LeadershipTransfer()
}

// handOver is transferAway and what becomes of it. Raft gives an attempt one election timeout, which a busy successor may miss, so it
// is made up to transferTries times.
func (n *Node) handOver(ctx context.Context, r *run) error {
	for tries := 1; ; tries++ {
		err := n.handOverOnce(ctx, r)
		if err == nil || tries == transferTries || ctx.Err() != nil || r.raft.State() != raft.Leader {
			return err
		}
	}
}

func (n *Node) handOverOnce(ctx context.Context, r *run) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return r.wait(ctx, n.transferAway(r))
}

// membershipTimeout bounds one change of the configuration.
const membershipTimeout = 5 * time.Second

// changeMembership has raft apply what decide makes of the present configuration; nil is nothing. Changes go one at a time, each
// only if nobody changed the configuration in between.
func (n *Node) changeMembership(ctx context.Context, r *run, decide func([]raft.Server) (*change, error)) error {
	n.changing.Lock()
	defer n.changing.Unlock()
	f := r.raft.GetConfiguration()
	if err := f.Error(); err != nil {
		return err
	}
	c, err := decide(f.Configuration().Servers)
	if err != nil || c == nil {
		return err
	}
	id, addr := raft.ServerID(c.id), raft.ServerAddress(c.addr)
	voter := slices.ContainsFunc(f.Configuration().Servers, func(s raft.Server) bool { return s.ID == id && s.Suffrage == raft.Voter })
	ctx, cancel := context.WithTimeout(ctx, membershipTimeout)
	defer cancel()
	var future raft.IndexFuture
	switch {
	case c.kind == changeRemove:
		future = r.raft.RemoveServer(id, f.Index(), membershipTimeout)
	case c.kind == changePromote, voter:
		future = r.raft.AddVoter(id, addr, f.Index(), membershipTimeout)
	default:
		future = r.raft.AddNonvoter(id, addr, f.Index(), membershipTimeout)
	}
	if err := r.wait(ctx, future); err != nil {
		if classify(err) == notAppended {
			return fmt.Errorf("%w: %w", ErrNotLeader, err)
		}
		return err
	}
	what := map[changeKind]string{changeAddress: "member has an address", changePromote: "member votes", changeRemove: "member removed"}[c.kind]
	n.log.Info(what, "member", c.id, "address", c.addr, "reason", c.why)
	return nil
}

type joinRequest struct {
	Peer
	ClusterID string           `json:"cluster_id"`
	Version   string           `json:"version"`
	Versions  command.Versions `json:"versions,omitzero"`
	// Now is the node's clock in µs; 0 of versions that do not say.
	Now int64 `json:"now,omitempty"`
	// GossipKeys tells whether each has the key that the other sends with; empty of a node without gossip.
	GossipKeys []string `json:"gossip_keys,omitempty"`
	// Common are the settings that must be the leader's.
	Common map[string]string `json:"common,omitempty"`
}

// serveJoin takes a node in, without a vote at first.
func (n *Node) serveJoin(ctx context.Context, from string, body []byte) ([]byte, error) {
	var q joinRequest
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, fmt.Errorf("decode join: %w", err)
	}
	t := n.leading()
	switch {
	case t == nil:
		return nil, ErrNotLeader
	case q.ID != from || q.Addr == "":
		return nil, fmt.Errorf("%w: node %s asks for node %q at %q", ErrRefused, from, q.ID, q.Addr)
	case q.ClusterID != n.cfg.DataDir.ClusterID():
		return nil, fmt.Errorf("%w: this is cluster %s, not %s", ErrRefused, n.cfg.DataDir.ClusterID(), q.ClusterID)
	}
	now := n.cfg.Clock.Now()
	err := n.changeMembership(ctx, t.run, func(servers []raft.Server) (*change, error) {
		if err := checkMember("node "+q.ID, q.Version, q.Versions.OrFirst(), n.entryVersion()); err != nil {
			return nil, err
		}
		if !hearEachOther(n.gossip.keyMarks(), q.GossipKeys) {
			return nil, fmt.Errorf("%w: node %s has another gossip key than this cluster, or only one of them has any: give it the cluster's --gossip-key-file", ErrRefused, q.ID)
		}
		for _, name := range differing(n.cfg.Common, q.Common) {
			return nil, fmt.Errorf("%w: node %s has %s %s and this cluster %s: start it with what the cluster has", ErrRefused, q.ID, name, q.Common[name], n.cfg.Common[name])
		}
		member := slices.ContainsFunc(servers, func(s raft.Server) bool { return string(s.ID) == q.ID })
		if asked := time.UnixMicro(q.Now); !member && q.Now != 0 && n.cfg.skewed(asked.Sub(now)) {
			return nil, fmt.Errorf("%w: the clock of node %s (%s) is %s the leader's (%s): %s; it joins then by itself", ErrRefused, q.ID,
				asked.UTC().Format(time.RFC3339), aheadOf(asked.Sub(now)), now.UTC().Format(time.RFC3339), setClock)
		}
		for _, s := range servers {
			if string(s.ID) != q.ID && string(s.Address) == q.Addr {
				// Raft refuses two servers at one address. Who answers there now is the node that asks: the other has moved or is lost.
				return nil, fmt.Errorf("%w: the address %s belongs to node %s in the cluster's configuration; if that node is lost: sluice cluster remove %s", ErrRefused, q.Addr, s.ID, s.ID)
			}
			if string(s.ID) == q.ID && string(s.Address) == q.Addr {
				return nil, nil
			}
		}
		return &change{changeAddress, q.ID, q.Addr, "it asked to join"}, nil
	})
	if err != nil {
		return nil, err
	}
	return []byte("{}"), nil
}

// RemoveMember takes a node out of the cluster, asked on any node. The node, if it still runs, stops taking part; started again it
// joins anew. Removing a voter that is needed for a quorum is refused.
func (n *Node) RemoveMember(ctx context.Context, id string) error {
	_, err := n.askLeader(ctx, methodRemove, func() ([]byte, error) { return []byte(id), nil }, n.removeHere)
	if err != nil {
		return fmt.Errorf("remove node %s: %w", id, err)
	}
	return nil
}

func (n *Node) removeHere(ctx context.Context, body []byte) ([]byte, error) {
	id := string(body)
	t := n.leading()
	if t == nil {
		return nil, ErrNotLeader
	}
	alive := n.aliveVoters(ctx)
	if id == n.id && !t.run.soleVoter(id) {
		if _, err := removal(n.servers(), id, alive); err != nil {
			return nil, err
		}
		// Somebody else removes it: a leader that removes itself leaves the others to an election.
		if err := n.handOver(ctx, t.run); err != nil {
			return nil, fmt.Errorf("hand leadership over before leaving: %w", err)
		}
		return nil, ErrNotLeader
	}
	err := n.changeMembership(ctx, t.run, func(servers []raft.Server) (*change, error) { return removal(servers, id, alive) })
	return nil, err
}

// removal is the change that takes a node out, nil when it is out already. It refuses to leave less than a quorum alive.
func removal(servers []raft.Server, id string, alive map[string]bool) (*change, error) {
	left, living, found := 0, 0, false
	for _, s := range servers {
		if string(s.ID) == id {
			found = true
			continue
		}
		if s.Suffrage == raft.Voter {
			left++
			if alive[string(s.ID)] {
				living++
			}
		}
	}
	switch {
	case !found:
		return nil, nil
	case left == 0:
		return nil, fmt.Errorf("%w: it is the last voter", ErrRefused)
	case living < left/2+1:
		return nil, fmt.Errorf("%w: of the %d voters left only %d answer, which is no quorum", ErrRefused, left, living)
	}
	return &change{changeRemove, id, "", "asked for"}, nil
}

// aliveVoters asks all servers whether they are there.
func (n *Node) aliveVoters(ctx context.Context) map[string]bool {
	alive := map[string]bool{n.id: true}
	for _, m := range n.roll(ctx) {
		if m.Alive {
			alive[m.ID] = true
		}
	}
	return alive
}

// Leave takes this node out of its cluster, handing leadership over first. The node should be stopped afterwards.
func (n *Node) Leave(ctx context.Context) error {
	n.leaving.Store(true)
	err := n.RemoveMember(ctx, n.id)
	if errors.Is(err, ErrRefused) {
		n.leaving.Store(false)
	}
	return err
}

// TransferLeadership makes another voter lead, the one with the given id or, with "", the one that is closest behind. It may be asked
// on any node.
func (n *Node) TransferLeadership(ctx context.Context, to string) error {
	leader, self, known := n.leader()
	ctx, cancel := context.WithTimeout(ctx, 2*membershipTimeout)
	defer cancel()
	var err error
	switch {
	case !known:
		err = ErrNoLeader
	case self:
		_, err = n.transferHere(ctx, []byte(to))
	case n.client == nil:
		err = fmt.Errorf("%w: node %s leads and this node cannot ask it", ErrNoLeader, leader.ID)
	default:
		// Not tried again: it may have happened, and then the next leader would be asked to go.
		_, err = n.client.Call(ctx, leader.target(), methodTransfer, []byte(to))
	}
	if err != nil {
		return fmt.Errorf("transfer leadership: %w", err)
	}
	return nil
}

func (n *Node) transferHere(ctx context.Context, body []byte) ([]byte, error) {
	t := n.leading()
	if t == nil {
		return nil, ErrNotLeader
	}
	to := string(body)
	ctx, cancel := context.WithTimeout(ctx, membershipTimeout)
	defer cancel()
	var future raft.Future
	switch {
	case to == n.id:
		return nil, nil
	case t.run.soleVoter(n.id):
		return nil, fmt.Errorf("%w: there is no other voter", ErrRefused)
	case to == "":
		future = n.transferAway(t.run)
	default:
		servers := n.servers()
		i := slices.IndexFunc(servers, func(s raft.Server) bool { return string(s.ID) == to && s.Suffrage == raft.Voter })
		if i < 0 {
			return nil, fmt.Errorf("%w: node %s is no voter of this cluster", ErrRefused, to)
		}
		future = t.run.raft.LeadershipTransferToServer(servers[i].ID, servers[i].Address)
	}
	if err := t.run.wait(ctx, future); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return nil, nil
}

// MemberStatus is one row of the cluster's roll: what the configuration says of a node and what the node says of itself.
type MemberStatus struct {
	ID       string `json:"id"`
	Name     string `json:"name,omitempty"`
	Address  string `json:"address"`
	HTTPAddr string `json:"http_address,omitempty"`
	Version  string `json:"version,omitempty"`
	Voter    bool   `json:"voter"`
	Leader   bool   `json:"leader"`
	Alive    bool   `json:"alive"`
	Applied  uint64 `json:"applied_index,omitempty"`
	Last     uint64 `json:"last_index,omitempty"`
	Problem  string `json:"problem,omitempty"`
	// Halted is why it applies nothing more; Problem says it too. Diverged says that its state differs from the others'.
	Halted   string           `json:"halted,omitempty"`
	Diverged bool             `json:"diverged,omitempty"`
	Supports command.Versions `json:"supports"`
	// ClusterVersion and Noted are what its state says.
	ClusterVersion uint64     `json:"cluster_version,omitempty"`
	Noted          Checkpoint `json:"noted,omitzero"`
}

// Roll asks all members how they are. A member that does not answer within a second is not alive.
func (n *Node) Roll(ctx context.Context) []MemberStatus { return n.roll(ctx) }

func (n *Node) roll(ctx context.Context) []MemberStatus {
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	leader, _, _ := n.leader()
	servers := n.servers()
	out := make([]MemberStatus, len(servers))
	var all sync.WaitGroup
	for i, s := range servers {
		m := &out[i]
		*m = MemberStatus{ID: string(s.ID), Address: string(s.Address), Voter: s.Suffrage == raft.Voter, Leader: leader.ID == string(s.ID)}
		all.Go(func() {
			var h hello
			err := errors.New("this node has no internal port")
			switch {
			case m.ID == n.id:
				h, err = n.hello(), nil
			case n.client != nil:
				h, err = n.askHello(ctx, n.target(s))
			}
			if err != nil {
				m.Problem = err.Error()
				h = n.met.of(m.ID)
				m.Name, m.HTTPAddr, m.Version = h.Name, h.HTTPAddr, h.Version
				return
			}
			m.Alive, m.Name, m.HTTPAddr, m.Version, m.Applied, m.Last, m.Problem = true, h.Name, h.HTTPAddr, h.Version, h.Applied, h.LastIndex, h.Problem
			m.Halted, m.Diverged, m.Supports, m.ClusterVersion, m.Noted = h.Halted, h.Diverged, h.Versions.OrFirst(), h.ClusterVersion, h.Noted
		})
	}
	all.Wait()
	for _, v := range n.MemberViews() { // what the leader knows of a member and the member does not: that its clock is wrong
		for i := range out {
			if m := &out[i]; m.ID == v.ID && m.Alive && m.Problem == "" && v.ClockKnown && n.cfg.skewed(v.ClockOffset) {
				m.Problem = v.Problem
			}
		}
	}
	slices.SortFunc(out, func(a, b MemberStatus) int { return strings.Compare(a.ID, b.ID) })
	return out
}
