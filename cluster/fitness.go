package cluster

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// A leader's clock stamps everything and its disk is every write's first, so a node of which either is wrong should not lead.

// leaderClock is what a node that does not lead knows of its leader's clock.
type leaderClock struct {
	ahead time.Duration // how far this node's clock is ahead of the leader's
	at    time.Time
}

// leaderClockTTL is how long that counts: the leader says hello every second.
const leaderClockTTL = 10 * time.Second

// fitness is why this node should not lead.
type fitness struct {
	leader atomic.Pointer[leaderClock]
	clock  atomic.Value // string: how a majority's clocks differ from this node's, "" when they do not

	mu   sync.Mutex // guards what follows
	wall time.Time  // what the clock said when it was followed last, without a monotonic reading; zero: follow it
	at   time.Time  // when that was
	told bool       // of a jump
}

// follow makes stamp trust the clock again: it was found right, or nobody can tell.
func (n *Node) follow() {
	n.fitness.mu.Lock()
	defer n.fitness.mu.Unlock()
	n.fitness.wall, n.fitness.told = time.Time{}, false
}

// jumped reports whether the clock is not followed at present.
func (n *Node) jumped() bool {
	n.fitness.mu.Lock()
	defer n.fitness.mu.Unlock()
	return n.fitness.told
}

// stamp is the time for what this leader appends. A clock that jumps by more than Config.MaxClockSkew is not followed until the others
// have been asked who is right: their time never goes back.
func (n *Node) stamp() time.Time {
	now := n.cfg.Clock.Now().Round(0)
	f := &n.fitness
	f.mu.Lock()
	defer f.mu.Unlock()
	elapsed := f.wall.Add(time.Since(f.at))
	if f.wall.IsZero() || !n.cfg.skewed(now.Sub(elapsed)) || n.client == nil || len(n.servers()) < 2 {
		f.wall, f.at = now, time.Now()
		return now
	}
	if !f.told {
		f.told = true
		n.log.Warn("this leader's clock jumped; it is not followed until the other nodes were asked", "by", now.Sub(elapsed).Round(time.Second))
	}
	return elapsed
}

// skewed reports whether a clock that is ahead by so much is too wrong.
func (c *Config) skewed(ahead time.Duration) bool {
	return ahead > c.MaxClockSkew || -ahead > c.MaxClockSkew
}

// aheadOf says how far a clock is ahead of another.
func aheadOf(ahead time.Duration) string {
	if ahead < 0 {
		return (-ahead).Round(time.Second).String() + " behind"
	}
	return ahead.Round(time.Second).String() + " ahead of"
}

// setClock is what to do about a wrong clock.
const setClock = "set the machine's clock (is a time service like chrony running?)"

type clockVerdict int

const (
	clockUnknown clockVerdict = iota // no majority agrees on a time
	clockRight                       // this node's clock is a majority's
	clockWrong                       // a majority agrees on another time
)

// judgeClock compares this voter's clock with those of other voters, given as how far each is ahead of it. others is how far the
// majority is ahead when it is this clock that is wrong.
func judgeClock(voters int, ahead []time.Duration, limit time.Duration) (v clockVerdict, others time.Duration) {
	quorum := voters/2 + 1
	ahead = slices.Sorted(slices.Values(append([]time.Duration{0}, ahead...)))
	largest := 0 // how many agree on this node's time
	for i := range ahead {
		j := i
		for j < len(ahead) && ahead[j]-ahead[i] <= limit {
			j++
		}
		if ahead[i] <= 0 && ahead[j-1] >= 0 {
			largest = max(largest, j-i)
		} else if j-i >= quorum {
			others = ahead[i+(j-i)/2]
		}
	}
	switch {
	case largest >= quorum:
		return clockRight, 0
	case others != 0:
		return clockWrong, others
	}
	return clockUnknown, 0
}

// clockAnswers bounds how long a new leader waits for a majority's clocks: while it does, nobody leads. A majority that agrees with
// this node answers in a round trip.
const clockAnswers = 300 * time.Millisecond

// checkClock returns an error when a majority of the voters agrees on another time than this node's. It is asked before the epoch
// begins: a single stamp of a clock that is ahead would make the cluster's time stand still until the right clocks have reached it.
func (n *Node) checkClock(ctx context.Context) error {
	if n.client == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, clockAnswers)
	defer cancel()
	answers := make(chan *MemberView)
	var all sync.WaitGroup
	voters := 0
	for _, s := range n.servers() {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters++
		if string(s.ID) == n.id {
			continue
		}
		all.Go(func() {
			v := new(MemberView)
			_, _ = n.askTimed(ctx, n.target(s), v)
			select {
			case answers <- v:
			case <-ctx.Done():
			}
		})
	}
	defer all.Wait()
	defer cancel()
	var ahead []time.Duration
	for heard := 1; heard < voters; heard++ {
		select {
		case v := <-answers:
			if v.ClockKnown {
				ahead = append(ahead, v.ClockOffset)
			}
		case <-ctx.Done():
			heard = voters
		}
		switch verdict, others := judgeClock(voters, ahead, n.cfg.MaxClockSkew); verdict {
		case clockRight:
			n.noteClock("")
			return nil
		case clockWrong:
			return fmt.Errorf("%w: %s", ErrUnfit, n.noteClock(n.wrongClock(others)))
		case clockUnknown:
		}
	}
	return nil
}

func (n *Node) wrongClock(others time.Duration) string {
	return fmt.Sprintf("this node's clock (%s) is %s a majority's: %s", n.cfg.Clock.Now().UTC().Format(time.RFC3339), aheadOf(-others), setClock)
}

// noteClock remembers what is wrong with the clock, as the majority sees it.
func (n *Node) noteClock(text string) string {
	n.fitness.clock.Store(text)
	return text
}

// heardFrom takes note of the leader's clock. A hello took a moment to come, which makes the leader's clock look later than it was.
func (n *Node) heardFrom(h hello) {
	leader, self, known := n.leader()
	if !known || self || leader.ID != h.NodeID || h.Now == 0 {
		return
	}
	is := leaderClock{ahead: n.cfg.Clock.Now().Sub(time.UnixMicro(h.Now)), at: time.Now()}
	before := n.fitness.leader.Swap(&is)
	if n.cfg.skewed(is.ahead) && (before == nil || !n.cfg.skewed(before.ahead)) {
		n.log.Warn("the clocks of this node and of the leader differ", "this_node", aheadOf(is.ahead)+" the leader's", "leader", h.NodeID)
	}
}

// unsuitable says why this node should rather not lead, "" when it may.
func (n *Node) unsuitable() string {
	if text, _ := n.fitness.clock.Load().(string); text != "" {
		return text
	}
	if n.cfg.Unfit != nil {
		return n.cfg.Unfit()
	}
	return ""
}

// clockProblem says how this node's clock is wrong as far as it knows.
func (n *Node) clockProblem() string {
	if _, self, _ := n.leader(); self {
		text, _ := n.fitness.clock.Load().(string)
		return text
	}
	c := n.fitness.leader.Load()
	if c == nil || time.Since(c.at) > leaderClockTTL || !n.cfg.skewed(c.ahead) {
		return ""
	}
	return fmt.Sprintf("this node's clock (%s) is %s the leader's: %s", n.cfg.Clock.Now().UTC().Format(time.RFC3339), aheadOf(c.ahead), setClock)
}

// judge tells of members whose clocks are wrong and finds out whether this leader's is. views are of one look at all members; jumped
// says that this clock was known to have jumped when it began, so that the answers are about the clock as it is now.
func (c *reconciler) judge(views []MemberView, jumped bool) {
	var ahead []time.Duration
	voters := 0
	for _, v := range views {
		if v.Voter {
			voters++
			if v.ID != c.n.id && v.Alive && v.ClockKnown {
				ahead = append(ahead, v.ClockOffset)
			}
		}
	}
	verdict, others := judgeClock(voters, ahead, c.n.cfg.MaxClockSkew)
	if verdict == clockWrong {
		c.n.noteClock(c.n.wrongClock(others))
		return
	}
	c.n.noteClock("")
	if jumped {
		c.n.follow()
	}
	for i := range views {
		v := &views[i]
		if v.ID == c.n.id || !v.Alive || !v.ClockKnown || !c.n.cfg.skewed(v.ClockOffset) {
			continue
		}
		if before := c.seen[v.ID]; !before.ClockKnown || !c.n.cfg.skewed(before.ClockOffset) {
			c.n.log.Warn("the clock of a member is wrong", "member", v.ID, "name", v.Name, "clock", aheadOf(v.ClockOffset)+" the leader's")
		}
		if v.Problem == "" {
			v.Problem = fmt.Sprintf("its clock is %s the leader's: %s", aheadOf(v.ClockOffset), setClock)
		}
	}
}

// giveWay hands leadership to the member that is closest behind, when this node should not lead and somebody else may.
func (c *reconciler) giveWay(ctx context.Context, views []MemberView) {
	why := c.n.unsuitable()
	if why == "" {
		c.told = false
		return
	}
	wrong, _ := c.n.fitness.clock.Load().(string)
	var to *MemberView
	for i := range views {
		v := &views[i]
		if v.ID == c.n.id || !v.Voter || !v.Alive || v.Problem != "" || v.Lag > c.n.cfg.Membership.MaxTrailing || c.conditions[v.ID].strayed {
			continue
		}
		if wrong != "" && !c.n.cfg.skewed(v.ClockOffset) {
			continue // it is as wrong as this node
		}
		if to == nil || v.Lag < to.Lag {
			to = v
		}
	}
	if to == nil {
		if !c.told {
			c.n.log.Error("this node should not lead, but no other node can", "reason", why)
		}
		c.told = true
		return
	}
	c.n.log.Warn("this node gives up leadership", "reason", why, "to", to.ID)
	if _, err := c.n.transferHere(ctx, []byte(to.ID)); err != nil && ctx.Err() == nil {
		c.n.log.Warn("leadership could not be handed over", "to", to.ID, "error", err)
	}
}
