package cluster

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

func TestPlan(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_000_000, 0)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	voter := func(id string) raft.Server {
		return raft.Server{ID: raft.ServerID(id), Address: raft.ServerAddress("at-" + id), Suffrage: raft.Voter}
	}
	learner := func(id string) raft.Server {
		s := voter(id)
		s.Suffrage = raft.Nonvoter
		return s
	}
	well := func(id string, d time.Duration) condition {
		return condition{alive: true, addr: "at-" + id, healthy: true, since: ago(d)}
	}
	dead := func(d time.Duration) condition { return condition{silent: ago(d)} }
	policy := MembershipPolicy{Stable: 10 * time.Second, MinVoters: 3}
	remove := policy
	remove.RemoveDeadAfter = time.Hour
	type in struct {
		servers    []raft.Server
		conditions map[string]condition
		policy     MembershipPolicy
	}
	five := []raft.Server{voter("l"), voter("b"), voter("c"), voter("d"), voter("e")}
	for name, c := range map[string]struct {
		in   in
		want string // kind and id
	}{
		"all is well":                                    {in{five[:3], map[string]condition{"b": well("b", time.Hour), "c": well("c", time.Hour)}, remove}, ""},
		"a moved voter gets its address":                 {in{five[:3], map[string]condition{"b": {alive: true, addr: "elsewhere"}}, policy}, "address b"},
		"a silent one keeps its address":                 {in{five[:3], map[string]condition{"b": {addr: "elsewhere"}}, policy}, ""},
		"a moved leader gets its address":                {in{five[:3], map[string]condition{"l": {alive: true, addr: "new", healthy: true}}, policy}, "address l"},
		"a new node waits until it was well for a while": {in{[]raft.Server{voter("l"), learner("b")}, map[string]condition{"b": well("b", 9*time.Second)}, policy}, ""},
		"a new node that was well gets a vote":           {in{[]raft.Server{voter("l"), learner("b")}, map[string]condition{"b": well("b", 10*time.Second)}, policy}, "promote b"},
		"a new node that lags gets none":                 {in{[]raft.Server{voter("l"), learner("b")}, map[string]condition{"b": {alive: true, addr: "at-b", since: ago(time.Hour)}}, policy}, ""},
		"addresses come before votes":                    {in{[]raft.Server{voter("l"), learner("b"), voter("c")}, map[string]condition{"b": well("b", time.Hour), "c": {alive: true, addr: "new"}}, policy}, "address c"},
		"the dead stay by default":                       {in{five, map[string]condition{"b": dead(100 * time.Hour), "c": well("c", 0), "d": well("d", 0), "e": well("e", 0)}, policy}, ""},
		"the dead stay for a while":                      {in{five, map[string]condition{"b": dead(59 * time.Minute), "c": well("c", 0), "d": well("d", 0), "e": well("e", 0)}, remove}, ""},
		"one dead of five goes":                          {in{five, map[string]condition{"b": dead(time.Hour), "c": well("c", 0), "d": well("d", 0), "e": well("e", 0)}, remove}, "remove b"},
		"of two dead none goes":                          {in{five, map[string]condition{"b": dead(time.Hour), "c": dead(time.Hour), "d": well("d", 0), "e": well("e", 0)}, remove}, ""},
		"while another is ill none goes":                 {in{five, map[string]condition{"b": dead(time.Hour), "c": {alive: true, addr: "at-c"}, "d": well("d", 0), "e": well("e", 0)}, remove}, ""},
		"of three voters none goes":                      {in{five[:3], map[string]condition{"b": dead(time.Hour), "c": well("c", 0)}, remove}, ""},
		"a dead node without a vote goes":                {in{[]raft.Server{voter("l"), voter("b"), learner("c")}, map[string]condition{"b": well("b", 0), "c": dead(time.Hour)}, remove}, "remove c"},
		"the leader never goes":                          {in{five, map[string]condition{"l": dead(time.Hour), "b": well("b", 0), "c": well("c", 0), "d": well("d", 0), "e": well("e", 0)}, remove}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := ""
			if p := plan(c.in.servers, "l", c.in.conditions, c.in.policy, now); p != nil {
				got = map[changeKind]string{changeAddress: "address ", changePromote: "promote ", changeRemove: "remove "}[p.kind] + p.id
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// skipMoves leaves out, under the race detector, what changes the address of a member: raft v1.8.0 replaces its record of a peer
// under a lock and reads the id in it without (see DESIGN.md, "Moved members").
func skipMoves(t *testing.T) {
	t.Helper()
	if underRace {
		t.Skip("raft has a known race when an address changes")
	}
}

func TestMembership(t *testing.T) {
	t.Parallel()
	t.Run("any node serves while a minority is dead", func(t *testing.T) {
		t.Parallel()
		f := newTCPFleet(t, 3, 3)
		f.up(f.members...)
		f.agree("before")
		dead := f.leader()
		f.down(dead)
		f.agree("without")
		f.up(dead)
		f.agree("after")
	})
	t.Run("a node that moved is found and its address is kept", func(t *testing.T) {
		t.Parallel()
		skipMoves(t)
		f := newTCPFleet(t, 3, 3)
		f.up(f.members...)
		f.agree("before")
		moved := f.follower()
		f.down(moved)
		moved.addr = freeAddress(t)
		f.up(moved)
		until(t, "the configuration has the new address: "+f.states(), func() bool {
			for _, s := range f.leader().node.servers() {
				if string(s.ID) == moved.node.ID() {
					return string(s.Address) == moved.addr && s.Suffrage == raft.Voter
				}
			}
			return false
		})
		f.agree("after")
	})
	t.Run("all nodes may move at once", func(t *testing.T) {
		t.Parallel()
		skipMoves(t)
		f := newTCPFleet(t, 3, 3)
		f.up(f.members...)
		f.agree("before")
		var all []string
		for _, m := range f.members {
			f.down(m)
			m.addr = freeAddress(t)
			all = append(all, m.addr)
		}
		for _, m := range f.members {
			m.join = all
		}
		f.up(f.members...)
		f.agree("after")
	})
	t.Run("leadership goes where it should, asked on any node", func(t *testing.T) {
		t.Parallel()
		f := newTCPFleet(t, 3, 3)
		f.up(f.members...)
		f.agree("before")
		to := f.follower()
		until(t, "the follower knows the leader", func() bool { _, _, known := to.node.leader(); return known })
		if err := to.node.TransferLeadership(testContext(t), to.node.ID()); err != nil {
			t.Fatal(err)
		}
		until(t, "the follower leads", func() bool { return to.node.leading() != nil })
		if err := to.node.TransferLeadership(testContext(t), "nobody"); !errors.Is(err, ErrRefused) {
			t.Errorf("got %v", err)
		}
		f.agree("after")
	})
	t.Run("a removed node is out, and in again when it is started", func(t *testing.T) {
		t.Parallel()
		f := newTCPFleet(t, 3, 3)
		f.up(f.members...)
		f.agree("before")
		out := f.follower()
		f.down(out)
		id := out.data.NodeID()
		if err := f.follower().node.RemoveMember(testContext(t), id); err != nil {
			t.Fatal(err)
		}
		f.voters(2)
		f.up(out)
		f.voters(3)
		f.agree("after")
	})
	t.Run("a leader that leaves hands over first", func(t *testing.T) {
		t.Parallel()
		f := newTCPFleet(t, 3, 3)
		f.up(f.members...)
		f.voters(3)
		f.agree("before")
		out := f.leader()
		if err := out.node.Leave(testContext(t)); err != nil {
			t.Fatal(err)
		}
		f.down(out)
		f.voters(2)
		f.agree("after")
	})
	t.Run("who is needed for a quorum stays", func(t *testing.T) {
		t.Parallel()
		f := newTCPFleet(t, 3, 3)
		f.up(f.members...)
		f.agree("before")
		f.down(f.follower())
		lead := f.leader()
		other := f.follower()
		err := lead.node.RemoveMember(testContext(t), other.node.ID())
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "of the 2 voters left only 1 answer") {
			t.Errorf("got %v", err)
		}
		if err := lead.node.RemoveMember(testContext(t), lead.node.ID()); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "of the 2 voters left only 1 answer") {
			t.Errorf("the leader's own removal: %v", err)
		}
		f.agree("after")
	})
	t.Run("the roll says who is there", func(t *testing.T) {
		t.Parallel()
		f := newTCPFleet(t, 3, 3)
		f.up(f.members...)
		f.agree("before")
		dead := f.follower()
		f.down(dead)
		lead := f.leader()
		alive := 0
		for _, m := range lead.node.Roll(testContext(t)) {
			switch {
			case m.ID == dead.data.NodeID() && (m.Alive || m.Problem == ""):
				t.Errorf("the dead node is shown as %+v", m)
			case m.Alive:
				alive++
			}
			if m.Leader != (m.ID == lead.node.ID()) || !m.Voter {
				t.Errorf("shown as %+v", m)
			}
		}
		if alive != 2 {
			t.Errorf("%d alive", alive)
		}
	})
}
