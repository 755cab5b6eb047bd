package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
)

// leavers counts the members that a node lost.
type leavers struct {
	*gossip
	n *atomic.Int32
}

func (l *leavers) NotifyLeave(n *memberlist.Node) {
	l.n.Add(1)
	l.gossip.NotifyLeave(n)
}

func TestGossip(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T, label string, m Member) *gossip {
		t.Helper()
		g, err := startGossip("127.0.0.1:0", label, nil, "", func() Member { return m }, testLogger(t))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := g.stop(time.Second); err != nil {
				t.Error(err)
			}
		})
		return g
	}
	join := func(a, b *gossip) error {
		_, err := a.list.Join([]string{b.list.LocalNode().Address()})
		return err
	}
	t.Run("nodes of one cluster learn each other's addresses", func(t *testing.T) {
		t.Parallel()
		a := start(t, "l", Member{ID: "a", Cluster: "c", RaftAddr: "10.0.0.1:1"})
		b := start(t, "l", Member{ID: "b", RaftAddr: "10.0.0.2:1"}) // knows no cluster yet
		if err := join(b, a); err != nil {
			t.Fatal(err)
		}
		until(t, "both know both", func() bool { return a.raftAddr("b") == "10.0.0.2:1" && b.raftAddr("a") == "10.0.0.1:1" })
	})
	t.Run("keys are replaced step by step while all hear all", func(t *testing.T) {
		t.Parallel()
		key := func(n byte) []byte { return bytes.Repeat([]byte{n}, 32) }
		var lost atomic.Int32
		var said [3]atomic.Int64
		all := make([]*gossip, 3)
		for i := range all {
			self := func() Member {
				return Member{ID: string(rune('a' + i)), Version: strconv.FormatInt(said[i].Load(), 10)}
			}
			g := &gossip{self: self, log: testLogger(t), known: map[string]Member{}, failed: map[string]string{}}
			c, err := g.config("127.0.0.1:0", "l", [][]byte{key(1)}, "")
			if err != nil {
				t.Fatal(err)
			}
			c.Events = &leavers{g, &lost}
			c.ProbeInterval, c.ProbeTimeout, c.GossipInterval, c.PushPullInterval = 50*time.Millisecond, 20*time.Millisecond, 10*time.Millisecond, 100*time.Millisecond
			if err := g.start(c); err != nil {
				t.Fatal(err)
			}
			all[i] = g
		}
		for _, g := range all[1:] {
			if err := join(g, all[0]); err != nil {
				t.Fatal(err)
			}
		}
		// heard waits until each node has heard news of each other.
		heard := func(after string) {
			t.Helper()
			for i, g := range all {
				said[i].Add(1)
				g.refresh()
			}
			until(t, "all have heard all after "+after, func() bool {
				for _, g := range all {
					for i, m := range g.members() {
						if len(g.members()) != 3 || m.Version != strconv.FormatInt(said[i].Load(), 10) {
							return false
						}
					}
				}
				return true
			})
		}
		heard("the start")
		for _, step := range []struct {
			what string
			keys [][]byte
		}{{"the new key was added", [][]byte{key(1), key(2)}}, {"it was made the first", [][]byte{key(2), key(1)}}, {"the old one was removed", [][]byte{key(2)}}} {
			for i, g := range all {
				if changed, err := g.replaceKeys(step.keys); err != nil || !changed {
					t.Fatalf("%s: %v, %v", step.what, changed, err)
				}
				heard(fmt.Sprint(step.what, " on ", i+1))
			}
			for _, g := range all {
				if changed, err := g.replaceKeys(step.keys); err != nil || changed {
					t.Errorf("again: %v, %v", changed, err)
				}
				if !slices.Equal(g.keyMarks(), all[0].keyMarks()) || len(g.keyMarks()) != len(step.keys) {
					t.Errorf("marks %v and %v", g.keyMarks(), all[0].keyMarks())
				}
			}
		}
		if n := lost.Load(); n != 0 {
			t.Errorf("%d members were lost on the way", n)
		}
		for _, bad := range [][][]byte{nil, {key(2)[:31]}} {
			if _, err := all[0].replaceKeys(bad); err == nil || len(all[0].keyMarks()) != 1 {
				t.Errorf("%d keys were taken: %v", len(bad), err)
			}
		}
		for _, g := range all {
			if err := g.stop(time.Second); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("keys fit when each side has the one that the other sends with", func(t *testing.T) {
		t.Parallel()
		for _, c := range []struct {
			a, b string
			fit  bool
		}{{"1", "1", true}, {"1 2", "1", true}, {"2 1", "1 2", true}, {"2 1", "1", false}, {"2", "1", false}, {"none", "1", false}, {"", "1", true}, {"none", "none", true}} {
			a, b := strings.Fields(c.a), strings.Fields(c.b)
			if hearEachOther(a, b) != c.fit || hearEachOther(b, a) != c.fit {
				t.Errorf("%q and %q fit: %v", c.a, c.b, !c.fit)
			}
		}
	})
	t.Run("a node of another cluster is refused and told why", func(t *testing.T) {
		t.Parallel()
		a := start(t, "l", Member{ID: "a", Cluster: "one"})
		b := start(t, "l", Member{ID: "b", Cluster: "two"})
		if err := join(b, a); err == nil || !strings.Contains(err.Error(), "belongs to cluster one, this node to two") {
			t.Errorf("got %v", err)
		}
		if n := len(a.members()); n != 1 {
			t.Errorf("%d members after a refused merge", n)
		}
	})
	t.Run("a node that cannot be met is told once for each reason", func(t *testing.T) {
		t.Parallel()
		var out bytes.Buffer
		g := &gossip{log: slog.New(slog.NewTextHandler(&out, nil)), failed: map[string]string{}}
		for _, text := range []string{"refused", "refused", "wrong key", "wrong key", ""} {
			var err error
			if text != "" {
				err = errors.New(text)
			}
			g.met("10.0.0.1:2", err)
		}
		g.met("10.0.0.1:2", errors.New("wrong key")) // after it was met
		if lines := strings.Count(out.String(), "\n"); lines != 3 {
			t.Errorf("%d lines:\n%s", lines, out.String())
		}
	})
	t.Run("another label is not heard", func(t *testing.T) {
		t.Parallel()
		if err := join(start(t, "x", Member{ID: "a"}), start(t, "y", Member{ID: "b"})); err == nil {
			t.Error("nodes with different cluster names met")
		}
	})
	t.Run("a node stops without an error when the others have gone unseen", func(t *testing.T) {
		t.Parallel()
		one := func(id string) *gossip { // it ends here, and only once
			g, err := startGossip("127.0.0.1:0", "l", nil, "", func() Member { return Member{ID: id} }, testLogger(t))
			if err != nil {
				t.Fatal(err)
			}
			return g
		}
		a, b := one("a"), one("b")
		if err := join(b, a); err != nil {
			t.Fatal(err)
		}
		until(t, "both know both", func() bool { return len(a.members()) == 2 && len(b.members()) == 2 })
		if err := b.list.Shutdown(); err != nil {
			t.Fatal(err)
		}
		if err := a.stop(time.Millisecond); err != nil {
			t.Error(err)
		}
	})
	t.Run("a node that was killed comes back at another address after a while", func(t *testing.T) {
		t.Parallel()
		// memberlist's own clock, three hundred times as fast
		start := func(m Member) *gossip {
			g := &gossip{self: func() Member { return m }, log: testLogger(t), known: map[string]Member{}}
			c, err := g.config("127.0.0.1:0", "l", nil, "")
			if err != nil {
				t.Fatal(err)
			}
			c.DeadNodeReclaimTime /= 300
			c.ProbeInterval, c.ProbeTimeout, c.GossipInterval, c.SuspicionMult, c.SuspicionMaxTimeoutMult = 20*time.Millisecond, 10*time.Millisecond, 5*time.Millisecond, 1, 1
			if err := g.start(c); err != nil {
				t.Fatal(err)
			}
			return g
		}
		a, b := start(Member{ID: "a"}), start(Member{ID: "b", RaftAddr: "10.0.0.2:1"})
		defer func() {
			if err := a.stop(time.Second); err != nil {
				t.Error(err)
			}
		}()
		if err := join(b, a); err != nil {
			t.Fatal(err)
		}
		until(t, "both know both", func() bool { return len(a.members()) == 2 && len(b.members()) == 2 })
		if err := b.list.Shutdown(); err != nil { // without a word to anybody
			t.Fatal(err)
		}
		until(t, "it is given up", func() bool { return a.raftAddr("b") == "" })
		again := start(Member{ID: "b", RaftAddr: "10.0.0.3:1"})
		defer func() {
			if err := again.stop(time.Second); err != nil {
				t.Error(err)
			}
		}()
		until(t, "it is known at its new address", func() bool {
			_ = join(again, a) // refused until then, as those do who keep in touch
			return a.raftAddr("b") == "10.0.0.3:1"
		})
	})
	t.Run("metadata fits memberlist's limit", func(t *testing.T) {
		t.Parallel()
		long := Member{ID: strings.Repeat("i", 36), Cluster: strings.Repeat("c", 36), RaftAddr: strings.Repeat("r", 250) + ":65535",
			HTTPAddr: strings.Repeat("h", 250), Version: "v1"}
		g := &gossip{self: func() Member { return long }, log: testLogger(t)}
		if b := g.NodeMeta(memberlist.MetaMaxSize); len(b) == 0 || len(b) > memberlist.MetaMaxSize || !strings.Contains(string(b), long.RaftAddr) {
			t.Errorf("metadata of %d bytes: %s", len(b), b)
		}
	})
}
