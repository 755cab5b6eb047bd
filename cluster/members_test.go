package cluster

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/cluster/link"
)

// shifted is a clock that is set wrong.
type shifted time.Duration

func (s shifted) Now() time.Time { return time.Now().Add(time.Duration(s)) }

func TestOffset(t *testing.T) {
	t.Parallel()
	asked := time.UnixMicro(1_000_000_000)
	for name, c := range map[string]struct {
		took          time.Duration
		peer          int64
		ahead, errors time.Duration
	}{
		"equal clocks, answered in the middle":   {20 * time.Millisecond, 1_000_010_000, 0, 10 * time.Millisecond},
		"equal clocks, answered at once":         {20 * time.Millisecond, 1_000_000_000, -10 * time.Millisecond, 10 * time.Millisecond},
		"an hour ahead":                          {20 * time.Millisecond, 1_000_010_000 + 3600e6, time.Hour, 10 * time.Millisecond},
		"an hour behind, the question took long": {time.Second, 1_000_500_000 - 3600e6, -time.Hour, 500 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if ahead, uncertain := offset(asked, c.took, c.peer); ahead != c.ahead || uncertain != c.errors {
				t.Errorf("got %s ± %s, want %s ± %s", ahead, uncertain, c.ahead, c.errors)
			}
		})
	}
}

func TestMemberViews(t *testing.T) {
	t.Parallel()
	f := newTCPFleet(t, 3, 3)
	shifts := map[string]time.Duration{f.members[0].addr: 0, f.members[1].addr: time.Hour, f.members[2].addr: -time.Minute}
	f.change = func(c *Config) {
		addr := c.InternalAddr
		c.Clock, c.Name, c.MaxClockSkew = shifted(shifts[addr]), "at "+addr, 24*time.Hour
		c.Serve = map[string]Serve{"who": func(_ context.Context, body []byte) ([]byte, error) { return append(body, addr...), nil }}
	}
	f.up(f.members...)
	f.agree("before")
	lead := f.leader()
	views := func() map[string]MemberView {
		all := map[string]MemberView{}
		for _, v := range lead.node.MemberViews() {
			all[v.ID] = v
		}
		return all
	}
	until(t, "the leader has heard of all", func() bool {
		for _, m := range f.members {
			if v := views()[m.node.ID()]; !v.Alive || v.Lag > 0 || !v.Voter {
				return false
			}
		}
		return true
	})
	for _, m := range f.members {
		v := views()[m.node.ID()]
		want := shifts[m.addr] - shifts[lead.addr]
		if off := v.ClockOffset - want; !v.ClockKnown || off > v.ClockError+time.Millisecond || -off > v.ClockError+time.Millisecond {
			t.Errorf("the clock of %s, %s ahead of the leader's, is seen as %s ± %s", m.addr, want, v.ClockOffset, v.ClockError)
		}
		if v.Name != "at "+m.addr || v.Contact.IsZero() || v.Problem != "" {
			t.Errorf("%s is seen as %+v", m.addr, v)
		}
		answer, err := lead.node.AskMember(testContext(t), m.node.ID(), "who", []byte("I am "))
		if string(answer) != "I am "+m.addr || err != nil {
			t.Errorf("%s answers %q, %v", m.addr, answer, err)
		}
	}
	if _, err := lead.node.AskMember(testContext(t), lead.node.ID(), "what", nil); !errors.Is(err, link.ErrUnknownMethod) {
		t.Errorf("a question nobody answers: %v", err)
	}
	if _, err := lead.node.AskMember(testContext(t), "nobody", "who", nil); !errors.Is(err, ErrRefused) {
		t.Errorf("a question to a stranger: %v", err)
	}
	dead := f.follower()
	id := dead.node.ID()
	if dead.node.MemberViews() != nil {
		t.Error("a follower knows what only the leader can")
	}
	if s := dead.node.Status(); s.Reigns == 0 {
		t.Error("a follower has counted no leader")
	}
	f.down(dead)
	until(t, "the leader misses one", func() bool { v := views()[id]; return v.ID != "" && !v.Alive })
	if v := views()[id]; v.Name != "at "+dead.addr || v.Contact.IsZero() || v.Problem == "" {
		t.Errorf("the dead one is seen as %+v", v)
	}
	for _, m := range lead.node.Roll(testContext(t)) {
		if m.ID == id && (m.Alive || m.Name != "at "+dead.addr || m.Version == "" || m.Problem == "") {
			t.Errorf("the roll shows the dead one as %+v", m)
		}
	}
}
