package cluster

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// settable is a clock that somebody sets while it runs.
type settable struct{ ahead atomic.Int64 }

func (s *settable) Now() time.Time { return time.Now().Round(0).Add(time.Duration(s.ahead.Load())) }

func TestJudgeClock(t *testing.T) {
	t.Parallel()
	const limit = 30 * time.Second
	for name, c := range map[string]struct {
		voters int
		ahead  []time.Duration
		want   clockVerdict
		others time.Duration
	}{
		"alone nobody can tell and nobody needs to":     {1, nil, clockRight, 0},
		"who agrees with a majority is right":           {3, []time.Duration{time.Second}, clockRight, 0},
		"also beside one who is wrong":                  {3, []time.Duration{time.Hour, -time.Second}, clockRight, 0},
		"who differs from a majority is wrong":          {3, []time.Duration{time.Hour, time.Hour + time.Second}, clockWrong, time.Hour + time.Second},
		"also when it is ahead":                         {3, []time.Duration{-time.Hour, -time.Hour + time.Second}, clockWrong, -time.Hour + time.Second},
		"one against one is open":                       {3, []time.Duration{time.Hour}, clockUnknown, 0},
		"three different times are open":                {3, []time.Duration{time.Hour, -time.Hour}, clockUnknown, 0},
		"of five, three that agree are right":           {5, []time.Duration{time.Hour, time.Hour, time.Second, 0}, clockRight, 0},
		"of five, three others that agree are right":    {5, []time.Duration{time.Hour, time.Hour, time.Hour, 0}, clockWrong, time.Hour},
		"of five, two others are not enough":            {5, []time.Duration{time.Hour, time.Hour}, clockUnknown, 0},
		"those between which this one lies do not meet": {3, []time.Duration{20 * time.Second, -20 * time.Second}, clockRight, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if v, others := judgeClock(c.voters, c.ahead, limit); v != c.want || others != c.others {
				t.Errorf("got %d, %s", v, others)
			}
		})
	}
}

// clocked is a fleet whose nodes' clocks can be set, by address.
func clocked(t *testing.T, size, expect int) (*tcpFleet, func(*tcpNode) *settable) {
	f := newTCPFleet(t, size, expect)
	clocks := map[string]*settable{}
	for _, m := range f.members {
		clocks[m.addr] = new(settable)
	}
	f.change = func(c *Config) { c.Clock = clocks[c.InternalAddr] }
	return f, func(m *tcpNode) *settable { return clocks[m.addr] }
}

func problems(m *tcpNode) string { return strings.Join(m.node.Status().Problems, "; ") }

func (t *toy) lastStamp() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return time.UnixMicro(t.s.LastStamp)
}

func TestClocks(t *testing.T) {
	t.Parallel()
	t.Run("a node whose clock is an hour off does not join until it is right", func(t *testing.T) {
		t.Parallel()
		f, clock := clocked(t, 4, 3)
		late := f.members[3]
		clock(late).ahead.Store(int64(-time.Hour))
		f.up(f.members[:3]...)
		f.agree("three")
		f.up(late)
		until(t, "the node says why it is not taken in", func() bool { return strings.Contains(problems(late), "1h0m0s behind the leader's") })
		if p := problems(late); !strings.Contains(p, "refused") || !strings.Contains(p, "set the machine's clock") {
			t.Errorf("it says %q", p)
		}
		if n := len(f.leader().node.servers()); n != 3 {
			t.Errorf("there are %d servers", n)
		}
		clock(late).ahead.Store(0)
		f.voters(4)
	})
	t.Run("nodes whose clocks differ by an hour found no cluster until they agree", func(t *testing.T) {
		t.Parallel()
		f, clock := clocked(t, 3, 3)
		clock(f.members[1]).ahead.Store(int64(time.Hour))
		f.up(f.members...)
		for _, m := range f.members {
			until(t, "the node says why it waits", func() bool { return strings.Contains(problems(m), "1h0m0s") })
		}
		clock(f.members[1]).ahead.Store(0)
		f.agree("founded")
	})
	t.Run("a leader whose clock jumps leads no more and stamps nothing with the wrong time", func(t *testing.T) {
		t.Parallel()
		f, clock := clocked(t, 3, 3)
		f.up(f.members...)
		f.voters(3)
		f.agree("before")
		wrong := f.leader()
		clock(wrong).ahead.Store(int64(time.Hour))
		for i := 0; wrong.node.leading() != nil; i++ {
			_, _, _ = wrong.node.Propose(testContext(t), [][]byte{fmt.Appendf(nil, "meanwhile %d", i)})
		}
		lead := f.leader()
		until(t, "the node that led says what is wrong", func() bool { return strings.Contains(problems(wrong), "1h0m0s ahead of the leader's") })
		f.agree("after")
		for _, m := range f.members {
			if ahead := time.Until(m.toy.lastStamp()); ahead > time.Minute {
				t.Errorf("the state's time at %s is %s ahead", m.addr, ahead)
			}
		}
		until(t, "the leader tells of it", func() bool {
			for _, v := range lead.node.MemberViews() {
				if v.ID == wrong.node.ID() && strings.Contains(v.Problem, "its clock is 1h0m0s ahead of the leader's") {
					return true
				}
			}
			return lead.node.leading() == nil
		})
	})
	t.Run("a node with a wrong clock that is elected gives way before it has written anything", func(t *testing.T) {
		t.Parallel()
		f, clock := clocked(t, 3, 3)
		f.up(f.members...)
		f.voters(3)
		f.agree("before")
		lead, wrong := f.leader(), f.follower()
		clock(wrong).ahead.Store(int64(time.Hour))
		if err := lead.node.TransferLeadership(testContext(t), wrong.node.ID()); err != nil {
			t.Fatal(err)
		}
		until(t, "another leads", func() bool {
			for _, m := range f.members {
				if m != wrong && m.node.leading() != nil {
					return true
				}
			}
			return false
		})
		f.agree("after")
		for _, m := range f.members {
			if ahead := time.Until(m.toy.lastStamp()); ahead > time.Minute {
				t.Errorf("the state's time at %s is %s ahead", m.addr, ahead)
			}
		}
	})
	t.Run("a leader whose clock was wrong all along follows it when the others say it is right now", func(t *testing.T) {
		t.Parallel()
		f, clock := clocked(t, 3, 3)
		for _, m := range f.members {
			clock(m).ahead.Store(int64(-time.Hour))
		}
		f.up(f.members...)
		f.voters(3)
		f.agree("before")
		for _, m := range f.members {
			clock(m).ahead.Store(0)
		}
		until(t, "the stamps follow", func() bool {
			lead := f.leader()
			mustPropose(t, lead.node, "later")
			return time.Since(lead.toy.lastStamp()) < time.Minute
		})
	})
}

func TestANodeThatShouldNotLead(t *testing.T) {
	t.Parallel()
	f := newTCPFleet(t, 3, 3)
	sick := map[string]*atomic.Bool{}
	for _, m := range f.members {
		sick[m.addr] = new(atomic.Bool)
	}
	f.change = func(c *Config) {
		ill := sick[c.InternalAddr]
		c.Unfit = func() string {
			if ill.Load() {
				return "its disk is nearly full"
			}
			return ""
		}
	}
	f.up(f.members...)
	f.voters(3)
	f.agree("before")
	for range 2 {
		lead := f.leader()
		sick[lead.addr].Store(true)
		until(t, "another leads", func() bool { return lead.node.leading() == nil && !sick[f.leader().addr].Load() })
	}
	// One that cannot do better keeps what nobody else can have.
	last := f.leader()
	sick[last.addr].Store(true)
	f.agree("nobody is well")
	if now := f.leader(); now != last {
		t.Errorf("leadership went from %s to %s, which is no better", last.addr, now.addr)
	}
}
