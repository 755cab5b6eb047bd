package cluster

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sluice-dev/sluice/cluster/link"
	"github.com/sluice-dev/sluice/fsm/command"
)

func TestNextVersion(t *testing.T) {
	t.Parallel()
	type members map[string]condition
	is := func(low, high uint64) condition {
		return condition{alive: true, versions: command.Versions{Min: low, Max: high}}
	}
	for name, c := range map[string]struct {
		now     uint64
		members members
		want    uint64
	}{
		"all support the next":                               {1, members{"a": is(1, 2), "b": is(1, 2), "c": is(1, 2)}, 2},
		"one voter does not":                                 {1, members{"a": is(1, 2), "b": is(1, 2), "c": is(1, 1)}, 1},
		"one without a vote does not":                        {1, members{"a": is(1, 2), "b": is(1, 2), "learner": is(1, 1)}, 1},
		"one that does not answer may come back as anything": {1, members{"a": is(1, 2), "b": is(1, 2), "c": {versions: command.Versions{Min: 1, Max: 2}}}, 1},
		"it never falls":                                     {2, members{"a": is(1, 2), "b": is(1, 1), "c": is(1, 2)}, 2},
		"as far as all go":                                   {1, members{"a": is(1, 4), "b": is(2, 3), "c": is(1, 5)}, 3},
		"not to where one is left behind":                    {2, members{"a": is(2, 2), "b": is(3, 4)}, 2},
		"a node alone":                                       {1, members{"a": is(1, 3)}, 3},
		"nobody":                                             {1, nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var servers []raft.Server
			for id := range c.members {
				s := raft.Server{ID: raft.ServerID(id)}
				if id == "learner" {
					s.Suffrage = raft.Nonvoter
				}
				servers = append(servers, s)
			}
			if got := nextVersion(c.now, servers, c.members); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}

// mixedFleet is a fleet whose nodes may support different versions.
type mixedFleet struct {
	*tcpFleet
	mu       sync.Mutex // guards supports
	supports map[string]command.Versions
}

func newMixedFleet(t *testing.T, size, expect int) *mixedFleet {
	f := &mixedFleet{tcpFleet: newTCPFleet(t, size, expect), supports: map[string]command.Versions{}}
	f.change = func(c *Config) {
		f.mu.Lock()
		defer f.mu.Unlock()
		c.Versions = f.supports[c.InternalAddr]
		c.Version = fmt.Sprint("release ", max(1, c.Versions.Max))
		c.Name = "n-" + c.InternalAddr
		c.EncodeVersion = func(v uint64) []byte { return fmt.Append(nil, "raise ", v) }
		c.EncodeCheckpoint = func() []byte { return []byte("checkpoint") }
	}
	return f
}

func (f *mixedFleet) release(m *tcpNode, low, high uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.supports[m.addr] = command.Versions{Min: low, Max: high}
}

func (f *mixedFleet) all(version uint64) bool {
	for _, m := range f.running() {
		if m.node.Status().ClusterVersion != version {
			return false
		}
	}
	return true
}

// looked waits until the leader has looked at all members twice more.
func (f *mixedFleet) looked() {
	f.t.Helper()
	for range 2 {
		before := f.leader().node.crew.Load()
		until(f.t, "the leader looks at the members", func() bool {
			crew := f.leader().node.crew.Load()
			return crew != nil && crew != before
		})
	}
}

func TestVersionGate(t *testing.T) {
	t.Parallel()
	f := newMixedFleet(t, 4, 3)
	founders, late := f.members[:3], f.members[3]
	for _, m := range founders {
		f.release(m, 1, 1)
	}
	f.up(founders...)
	f.agree("old")
	f.voters(3)
	for i, m := range founders {
		if i > 0 {
			// As long as one is of the old release, all stays as it is, and it is named.
			f.looked()
			err := f.leader().node.CheckVersion(testContext(t), 2)
			want := fmt.Sprintf("the cluster version is too low: version 2 is needed, the cluster is at version 1: node n-%s (%s) at %s (sluice release 1) supports 1", founders[i].addr, founders[i].node.ID(), founders[i].addr)
			if i == 1 {
				want = ""
			}
			if !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), want) || !f.all(1) {
				t.Errorf("after %d of 3: %v\nwant %s", i, err, want)
			}
		}
		f.down(m)
		f.release(m, 1, 2)
		f.up(m)
		f.agree(fmt.Sprint("upgraded", i, "-"))
	}
	until(t, "the cluster version is raised", func() bool { return f.all(2) })
	if err := f.leader().node.CheckVersion(testContext(t), 2); err != nil {
		t.Error(err)
	}
	for _, m := range f.leader().node.Members() {
		if m.MinVersion != 1 || m.MaxVersion != 2 {
			t.Errorf("by gossip node %s supports %d to %d", m.ID, m.MinVersion, m.MaxVersion)
		}
	}

	// An old node is not taken in, by its own insight and by the leader's.
	f.release(late, 1, 1)
	f.up(late)
	text := "refused: the cluster is at version 2, this node (sluice release 1) supports 1: start it with the release that the other nodes run, or a newer one; there is no way back to an older one"
	until(t, "the old node says why it is not taken in", func() bool {
		return strings.Contains(strings.Join(late.node.Status().Problems, "\n"), text)
	})
	lead := f.leader()
	err := late.node.askJSON(testContext(t), Peer{ID: lead.node.ID(), Addr: lead.addr}.target(), methodJoin,
		joinRequest{Peer: Peer{ID: late.node.ID(), Addr: late.addr}, ClusterID: lead.node.Status().ClusterID, Version: "release 1"}, nil)
	want := "the cluster is at version 2, node " + late.node.ID() + " (sluice release 1) supports 1: start it with"
	if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), want) {
		t.Errorf("the leader answers an old node that asks nevertheless: %v", err)
	}
	if n := len(f.leader().node.servers()); n != 3 {
		t.Errorf("there are %d members", n)
	}
	f.down(late)
	f.release(late, 2, 3)
	f.up(late)
	f.voters(4)
	f.agree("grown")

	// A member that comes back as an old release, without having seen the raise, hears nothing of it by Raft and is told why.
	back := f.follower()
	f.down(back)
	f.release(back, 1, 1)
	back.toy.mu.Lock()
	back.toy.s.Version = 1
	back.toy.mu.Unlock()
	applied := back.toy.AppliedIndex()
	f.up(back)
	until(t, "the old member says why it takes no part", func() bool {
		return strings.Contains(strings.Join(back.node.Status().Problems, "\n"), text)
	})
	mustPropose(t, f.leader().node, "without it")
	lead = f.leader()
	peer := link.Identity{NodeID: back.node.ID(), ClusterID: lead.node.Status().ClusterID}
	want = "refused: the cluster is at version 2, node " + back.node.ID() + " supports 1: start it with"
	if err := lead.node.admit(link.Raft, peer); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("a member admits Raft with an old node: %v", err)
	}
	if err := lead.node.admit(link.RPC, peer); err != nil {
		t.Errorf("an old node cannot even ask: %v", err)
	}
	f.looked()
	if now := back.toy.AppliedIndex(); now != applied {
		t.Errorf("the old member went on from %d to %d", applied, now)
	}
}

func TestFoundersMustBeginAtOneVersion(t *testing.T) {
	t.Parallel()
	f := newMixedFleet(t, 2, 2)
	f.release(f.members[0], 1, 2)
	f.release(f.members[1], 2, 3)
	f.up(f.members...)
	id := f.members[0].node.ID()
	_, err := f.members[1].node.servePledge(testContext(t), id, []byte(`{"cluster_id":"x","begins":1}`))
	want := "refused: node " + id + " would begin a cluster at version 1, node " + f.members[1].node.ID() + " (sluice release 3) at version 2: found a cluster with one release of sluice, and upgrade it then"
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

// lastEntry is the newest entry of a node's log.
func lastEntry(m *tcpNode) uint64 { return m.node.Status().LastIndex }

func TestAPoisonedNode(t *testing.T) {
	t.Parallel()
	for _, who := range []string{"a follower", "the leader"} {
		t.Run(who+" halts, the others go on, and it never leads", func(t *testing.T) {
			t.Parallel()
			f := newMixedFleet(t, 3, 3)
			f.up(f.members...)
			f.agree("good")
			f.voters(3)
			f.looked()
			victim := f.leader()
			if who == "a follower" {
				victim = f.follower()
			}
			id := victim.node.ID()
			victim.toy.mu.Lock()
			victim.toy.victim = id
			victim.toy.mu.Unlock()
			_, _, err := f.leader().node.Propose(testContext(t), [][]byte{[]byte("poison " + id)})
			if who == "the leader" && !errors.Is(err, ErrUnknownOutcome) || who == "a follower" && err != nil {
				t.Errorf("the poisoned write ends with %v", err)
			}
			healthy := func() *tcpNode {
				var found *tcpNode
				until(t, "a healthy node leads", func() bool {
					for _, m := range f.members {
						if m != victim && m.node.leading() != nil {
							found = m
							return true
						}
					}
					return false
				})
				return found
			}
			mustPropose(t, healthy().node, "after")
			check := func(when string) {
				t.Helper()
				until(t, when+" the poisoned node says so", func() bool { return victim.node.Status().Halted != nil })
				if s := victim.node.Status(); !strings.Contains(strings.Join(s.Problems, "\n"), "halted at entry ") || s.Leading || s.Leader.ID == id {
					t.Errorf("%s: %+v", when, s)
				}
				until(t, when+" the others see it halted", func() bool {
					for _, m := range healthy().node.Roll(testContext(t)) {
						if m.ID == id {
							return m.Alive && strings.Contains(m.Halted, "halted at entry ") && m.Problem == m.Halted && !m.Leader
						}
					}
					return false
				})
			}
			check("at once")
			// It still stores and votes, so it counts for a quorum, but raft's choice never falls on it.
			for i := range 4 {
				lead := healthy()
				ctx, cancel := context.WithTimeout(testContext(t), 10*time.Second)
				until(t, "the leader knows how the members are", func() bool {
					crew := lead.node.crew.Load()
					return lead.node.leading() == nil || crew != nil && crew.conditions[id].problem
				})
				err := lead.node.TransferLeadership(ctx, "")
				if errors.Is(err, raft.ErrLeadershipTransferInProgress) || errors.Is(err, raft.ErrEnqueueTimeout) {
					t.Errorf("transfer %d: raft was asked for two: %v", i, err)
				} else if err != nil && lead.node.leading() != nil {
					t.Logf("transfer %d: %v", i, err) // a busy machine may miss raft's deadline
				}
				cancel()
				if mustPropose(t, healthy().node, fmt.Sprint("transfer ", i)); victim.node.leading() != nil {
					t.Fatal("the poisoned node leads")
				}
			}
			last := lastEntry(healthy())
			until(t, "the poisoned node has the log", func() bool { return lastEntry(victim) >= last })
			if got := victim.toy.count("after"); got != 0 {
				t.Error("the poisoned node applied what came later")
			}
			// Asked to lead by name, it does not.
			_ = healthy().node.TransferLeadership(testContext(t), id)
			mustPropose(t, healthy().node, "asked")
			if s := victim.node.Status(); s.Leading || s.Leader.ID == id {
				t.Errorf("it leads when asked to: %+v", s)
			}
			f.down(victim)
			f.up(victim)
			check("after a restart")
			mustPropose(t, healthy().node, "restarted")
			// A state from the others is past the entry: the node takes part again.
			f.down(victim)
			snapshot := healthy().toy.copy()
			victim.toy.mu.Lock()
			victim.toy.s, victim.toy.halt = snapshot.s, nil
			victim.toy.mu.Unlock()
			f.up(victim)
			mustPropose(t, healthy().node, "healed")
			until(t, "the healed node applies", func() bool { return victim.toy.count("healed") == 1 })
		})
	}
}

func TestAgree(t *testing.T) {
	t.Parallel()
	servers := []raft.Server{{ID: "a"}, {ID: "b"}, {ID: "c"}, {ID: "l", Suffrage: raft.Nonvoter}}
	at := func(index uint64, hash string) Checkpoint { return Checkpoint{index, hash} }
	for name, c := range map[string]struct {
		servers []raft.Server
		noted   map[string]Checkpoint
		agreed  Checkpoint
		dispute string
	}{
		"none yet":                       {servers, nil, Checkpoint{}, ""},
		"all the same":                   {servers, map[string]Checkpoint{"a": at(5, "x"), "b": at(5, "x"), "c": at(5, "x")}, at(5, "x"), ""},
		"one differs":                    {servers, map[string]Checkpoint{"a": at(5, "x"), "b": at(5, "y"), "c": at(5, "x")}, at(5, "x"), ""},
		"one lags":                       {servers, map[string]Checkpoint{"a": at(5, "x"), "b": at(2, "y"), "c": at(5, "x")}, at(5, "x"), ""},
		"one is ahead":                   {servers, map[string]Checkpoint{"a": at(5, "x"), "b": at(9, "y"), "c": at(5, "x")}, at(5, "x"), ""},
		"too few at one entry":           {servers, map[string]Checkpoint{"a": at(5, "x"), "b": at(9, "y"), "c": at(7, "z")}, Checkpoint{}, ""},
		"those without a vote are right": {servers, map[string]Checkpoint{"a": at(5, "x"), "l": at(5, "x")}, Checkpoint{}, ""},
		"a node alone agrees":            {servers[:1], map[string]Checkpoint{"a": at(5, "x")}, at(5, "x"), ""},
		"of two both may be right": {servers[:2], map[string]Checkpoint{"a": at(5, "y"), "b": at(5, "x")}, Checkpoint{},
			"the nodes' states differ at entry 5 and no majority says which is right: x on b, y on a"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if agreed, dispute := agree(c.servers, c.noted); agreed != c.agreed || dispute != c.dispute {
				t.Errorf("got %v and %q, want %v and %q", agreed, dispute, c.agreed, c.dispute)
			}
		})
	}
}

func TestADivergedNodeIsQuarantined(t *testing.T) {
	t.Parallel()
	for _, who := range []string{"a follower", "the leader"} {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			f := newMixedFleet(t, 3, 3)
			change := f.change
			f.change = func(c *Config) { change(c); c.CheckpointEntries = 5 }
			f.up(f.members...)
			f.agree("good")
			f.voters(3)
			until(t, "states were compared and agree", func() bool {
				v := f.leader().node.agreed.Load()
				return v != nil && v.agreed.Index > 0
			})
			odd := f.leader()
			if who == "a follower" {
				odd = f.follower()
			}
			odd.toy.mu.Lock()
			odd.toy.s.Words = append(odd.toy.s.Words, toyWord{"which nobody wrote", 1})
			odd.toy.mu.Unlock()
			until(t, "the odd one is quarantined", func() bool {
				for _, m := range f.members { // writing is what makes checkpoints due
					_, _, _ = m.node.Propose(testContext(t), [][]byte{[]byte("more")})
				}
				return odd.node.Diverged() != ""
			})
			until(t, "another leads", func() bool {
				for _, m := range f.members {
					if m != odd && m.node.leading() != nil {
						return odd.node.leading() == nil
					}
				}
				return false
			})
			s := odd.node.Status()
			// Which entry it names depends on which comparison came first.
			said := regexp.MustCompile(`^the state of this node differs from the others': at entry (\d+) its hash is ([0-9a-f]{16}), a majority has ([0-9a-f]{16}); stop it`).FindStringSubmatch(s.Diverged)
			if said == nil || said[2] == said[3] {
				t.Fatalf("it says %q", s.Diverged)
			}
			if index, hash := odd.toy.Checkpoint(); said[1] == fmt.Sprint(index) && said[2] != hash {
				t.Errorf("it says %q, its hash at entry %d is %s", s.Diverged, index, hash)
			}
			if !strings.Contains(strings.Join(s.Problems, "\n"), s.Diverged) {
				t.Errorf("its problems are %q", s.Problems)
			}
			for _, m := range f.members {
				if m != odd && m.node.Diverged() != "" {
					t.Errorf("a healthy node is quarantined: %s", m.node.Diverged())
				}
			}
			until(t, "the others see it", func() bool {
				for _, m := range f.leader().node.Roll(testContext(t)) {
					if m.ID == odd.node.ID() {
						return m.Diverged && m.Problem != ""
					}
				}
				return false
			})
			if _, err := odd.node.Read(testContext(t)); err == nil || !strings.Contains(err.Error(), "the state of this node differs from the others'") {
				t.Errorf("reading its state ends with %v", err)
			}
			mustPropose(t, f.leader().node, "still")
			// With the right state again, it is let out by the next comparison.
			odd.toy.mu.Lock()
			odd.toy.s.Words = odd.toy.s.Words[:0]
			odd.toy.mu.Unlock()
			right := f.leader().toy
			until(t, "it has the others' words", func() bool {
				odd.toy.mu.Lock()
				defer odd.toy.mu.Unlock()
				copied := right.copy()
				if copied.s.Index != odd.toy.s.Index {
					return false
				}
				odd.toy.s.Words = copied.s.Words
				return true
			})
			until(t, "it is let out", func() bool {
				for _, m := range f.members {
					_, _, _ = m.node.Propose(testContext(t), [][]byte{[]byte("again")})
				}
				return odd.node.Diverged() == ""
			})
		})
	}
}
