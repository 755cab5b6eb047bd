//go:build linux

package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// nemesis makes faults, the same ones from the same seed. Three sequences run side by side: what happens to nodes (at most a
// minority at a time, and now and then all of them), to agents, and to the quality of the network.
type nemesis struct {
	system *system
	seed   uint64

	mu     sync.Mutex // guards counts
	counts map[string]int
}

// strike is a fault: do makes it and returns what it hit and how to undo it.
type strike struct {
	name   string
	weight int
	hold   time.Duration // at most
	do     func(ctx context.Context, r *rand.Rand) (what string, undo func())
}

func (n *nemesis) run(ctx context.Context) {
	var lanes sync.WaitGroup
	lanes.Go(func() { n.lane(ctx, 1, 1500*time.Millisecond, n.onNodes()) })
	lanes.Go(func() { n.lane(ctx, 2, 4*time.Second, n.onAgents()) })
	lanes.Go(func() { n.lane(ctx, 3, 4*time.Second, n.onQuality()) })
	lanes.Wait()
}

// lane strikes one blow after the other until ctx ends, and undoes each.
func (n *nemesis) lane(ctx context.Context, number uint64, pause time.Duration, strikes []strike) {
	r := rand.New(rand.NewPCG(n.seed, number))
	total := 0
	for _, s := range strikes {
		total += s.weight
	}
	wait := func(d time.Duration) {
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
	}
	for {
		wait(time.Duration(r.Int64N(int64(pause))))
		if ctx.Err() != nil {
			return
		}
		at := r.IntN(total)
		i := slices.IndexFunc(strikes, func(s strike) bool { at -= s.weight; return at < 0 })
		s := strikes[i]
		hold := time.Duration(r.Int64N(int64(s.hold) + 1))
		what, undo := s.do(ctx, r)
		n.system.note("%s %s for %s", s.name, what, hold.Round(time.Millisecond))
		n.mu.Lock()
		n.counts[s.name]++
		n.mu.Unlock()
		wait(hold)
		if undo != nil {
			undo()
			n.system.note("%s %s is over", s.name, what)
		}
	}
}

// victims chooses up to a minority of the nodes, the leader half of the time among them.
func (n *nemesis) victims(ctx context.Context, r *rand.Rand) []*machine {
	nodes := n.system.nodes
	order := r.Perm(len(nodes))
	lead, count := r.IntN(2) == 0, 1+r.IntN(max(1, (len(nodes)-1)/2))
	var out []*machine
	if lead {
		if l := n.system.leader(ctx); l != nil {
			out = append(out, l)
		}
	}
	for _, i := range order {
		if len(out) < count && !slices.Contains(out, nodes[i]) {
			out = append(out, nodes[i])
		}
	}
	return out
}

func names(ms []*machine) string {
	var all []string
	for _, m := range ms {
		all = append(all, m.name)
	}
	return strings.Join(all, " ")
}

func (n *nemesis) onNodes() []strike {
	s := n.system
	others := func(ms []*machine) []*host {
		var out []*host
		for _, m := range s.nodes {
			if !slices.Contains(ms, m) {
				out = append(out, m.host)
			}
		}
		return out
	}
	// sever cuts the directions asked for between victims and others.
	sever := func(ms []*machine, from []*host, out, in bool) func() {
		each := func(cut bool) {
			for _, m := range ms {
				for _, o := range from {
					if out {
						s.net.cutLink(m.host, o, cut)
					}
					if in {
						s.net.cutLink(o, m.host, cut)
					}
				}
			}
		}
		each(true)
		return func() { each(false) }
	}
	return []strike{
		{"kill", 6, 6 * time.Second, func(ctx context.Context, r *rand.Rand) (string, func()) {
			ms := n.victims(ctx, r)
			for _, m := range ms {
				m.kill()
			}
			return names(ms), func() {
				for _, m := range ms {
					m.start()
				}
			}
		}},
		{"kill while starting", 2, 2 * time.Second, func(ctx context.Context, r *rand.Rand) (string, func()) {
			m := n.victims(ctx, r)[0]
			m.kill()
			for range 1 + r.IntN(3) {
				m.start()
				time.Sleep(time.Duration(r.IntN(600)) * time.Millisecond) // the point of the kill
				m.kill()
			}
			return m.name, m.start
		}},
		{"kill all", 1, 2 * time.Second, func(_ context.Context, r *rand.Rand) (string, func()) {
			order := r.Perm(len(s.nodes))
			for _, i := range order {
				s.nodes[i].kill()
			}
			return fmt.Sprint("in the order ", order), func() {
				for _, m := range s.nodes {
					m.start()
				}
			}
		}},
		{"stop and start", 3, 2 * time.Second, func(ctx context.Context, r *rand.Rand) (string, func()) {
			m := n.victims(ctx, r)[0]
			m.stop()
			return m.name, m.start
		}},
		{"freeze", 5, 8 * time.Second, func(ctx context.Context, r *rand.Rand) (string, func()) {
			ms := n.victims(ctx, r)
			for _, m := range ms {
				m.signal(syscall.SIGSTOP)
			}
			return names(ms), func() {
				for _, m := range ms {
					m.signal(syscall.SIGCONT)
				}
			}
		}},
		{"isolate from nodes", 4, 8 * time.Second, func(ctx context.Context, r *rand.Rand) (string, func()) {
			ms := n.victims(ctx, r)
			return names(ms), sever(ms, others(ms), true, true)
		}},
		{"isolate from everybody", 3, 8 * time.Second, func(ctx context.Context, r *rand.Rand) (string, func()) {
			ms := n.victims(ctx, r)
			from := append(others(ms), s.client)
			for _, a := range s.agents {
				from = append(from, a.host)
			}
			return names(ms), sever(ms, from, true, true)
		}},
		{"mute", 3, 8 * time.Second, func(ctx context.Context, r *rand.Rand) (string, func()) {
			ms := n.victims(ctx, r)
			return names(ms), sever(ms, others(ms), true, false)
		}},
		{"deafen", 3, 8 * time.Second, func(ctx context.Context, r *rand.Rand) (string, func()) {
			ms := n.victims(ctx, r)
			return names(ms), sever(ms, others(ms), false, true)
		}},
		{"break a link", 3, 10 * time.Second, func(_ context.Context, r *rand.Rand) (string, func()) {
			order, both := r.Perm(len(s.nodes)), r.IntN(2) == 0
			a, b := s.nodes[order[0]], s.nodes[order[1]]
			what := " to "
			if both {
				what = " and "
			}
			return a.name + what + b.name, sever([]*machine{a}, []*host{b.host}, true, both)
		}},
		{"flap", 2, time.Second, func(ctx context.Context, r *rand.Rand) (string, func()) {
			ms := n.victims(ctx, r)
			times := 2 + r.IntN(6)
			for range times {
				heal := sever(ms, others(ms), true, true)
				time.Sleep(time.Duration(100+r.IntN(900)) * time.Millisecond) // the length of the cut
				heal()
				time.Sleep(time.Duration(100+r.IntN(900)) * time.Millisecond) // the time between two cuts
			}
			return fmt.Sprint(names(ms), " ", times, " times"), nil
		}},
		{"transfer leadership", 4, time.Second, func(ctx context.Context, r *rand.Rand) (string, func()) {
			asked := s.nodes[r.IntN(len(s.nodes))]
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			err := s.connect(0, 5*time.Second, asked).TransferLeadership(ctx, "")
			return fmt.Sprintf("asking %s: %v", asked.name, err), nil
		}},
	}
}

func (n *nemesis) onAgents() []strike {
	s := n.system
	pick := func(r *rand.Rand) *machine { return s.agents[r.IntN(len(s.agents))] }
	return []strike{
		{"kill agent", 4, 4 * time.Second, func(_ context.Context, r *rand.Rand) (string, func()) {
			a := pick(r)
			a.kill()
			return a.name, a.start
		}},
		{"stop and start agent", 2, time.Second, func(_ context.Context, r *rand.Rand) (string, func()) {
			a := pick(r)
			a.stop()
			return a.name, a.start
		}},
		{"freeze agent", 3, 20 * time.Second, func(_ context.Context, r *rand.Rand) (string, func()) {
			a := pick(r)
			a.signal(syscall.SIGSTOP)
			return a.name, func() { a.signal(syscall.SIGCONT) }
		}},
		{"isolate agent", 3, 20 * time.Second, func(_ context.Context, r *rand.Rand) (string, func()) {
			a := pick(r)
			each := func(cut bool) {
				for _, m := range s.nodes {
					s.net.cutLink(a.host, m.host, cut)
					s.net.cutLink(m.host, a.host, cut)
				}
			}
			each(true)
			return a.name, func() { each(false) }
		}},
		{"agent hears nothing", 2, 15 * time.Second, func(_ context.Context, r *rand.Rand) (string, func()) {
			a := pick(r)
			each := func(cut bool) {
				for _, m := range s.nodes {
					s.net.cutLink(m.host, a.host, cut)
				}
			}
			each(true)
			return a.name, func() { each(false) }
		}},
	}
}

func (n *nemesis) onQuality() []strike {
	s := n.system
	all := func(f func(*fault)) {
		for i, a := range s.net.hosts {
			for _, b := range s.net.hosts[:i] {
				s.net.change(a, b, f)
			}
		}
	}
	good := func(f *fault) { f.loss, f.delay, f.jitter = 0, 0, 0 }
	return []strike{
		{"lose packets", 3, 8 * time.Second, func(_ context.Context, r *rand.Rand) (string, func()) {
			loss := 0.01 + 0.2*r.Float64()
			all(func(f *fault) { f.loss = loss })
			return fmt.Sprintf("%.0f %%", loss*100), func() { all(good) }
		}},
		{"delay packets", 3, 8 * time.Second, func(_ context.Context, r *rand.Rand) (string, func()) {
			delay, jitter := time.Duration(1+r.IntN(60))*time.Millisecond, time.Duration(r.IntN(40))*time.Millisecond
			all(func(f *fault) { f.delay, f.jitter = delay, jitter })
			return fmt.Sprintf("%s to %s", delay, delay+jitter), func() { all(good) }
		}},
		{"lose and delay packets of a node", 3, 8 * time.Second, func(_ context.Context, r *rand.Rand) (string, func()) {
			m := s.nodes[r.IntN(len(s.nodes))]
			loss, delay := 0.3*r.Float64(), time.Duration(r.IntN(300))*time.Millisecond
			each := func(f func(*fault)) {
				for _, o := range s.net.hosts {
					if o != m.host {
						s.net.change(m.host, o, f)
					}
				}
			}
			each(func(f *fault) { f.loss, f.delay, f.jitter = loss, delay, delay/4 })
			return fmt.Sprintf("%s: %.0f %%, %s", m.name, loss*100, delay), func() { each(good) }
		}},
	}
}
