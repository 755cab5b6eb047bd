//go:build linux

package e2e

import (
	"syscall"
	"testing"
)

func TestRemovingANode(t *testing.T) {
	t.Parallel()
	t.Run("that is the last is refused", func(t *testing.T) {
		t.Parallel()
		s := startServer(t)
		shell := newClient(t, s)
		r := shell.run("cluster", "leave")
		if r.code == 0 {
			t.Error("it left")
		}
		contains(t, r.stderr, "it is the last voter")
		r = shell.run("cluster", "remove", "nobody")
		if r.code != 3 {
			t.Errorf("exit code %d", r.code)
		}
		contains(t, r.stderr, "no node 'nobody'", "one of these: ")
	})
	t.Run("that runs makes it say so and what to do", func(t *testing.T) {
		t.Parallel()
		c := startNodes(t, 3, "--insecure")
		out := c.followers()[0]
		out.waitFor("this node is a member of its cluster")
		newClient(t, c.leader()).ok("cluster", "remove", clusterOf(t, out).NodeID)
		out.says("this node was removed from its cluster", "wiping its data directory", "--join")
		if n := len(clusterOf(t, c.leader()).Members); n != 2 {
			t.Errorf("%d members are left", n)
		}
	})
	t.Run("whom nothing told of it finds out and says so", func(t *testing.T) {
		t.Parallel()
		c := startNodes(t, 3, "--insecure")
		lead, out := c.leader(), c.followers()[0]
		id := clusterOf(t, out).NodeID
		// Before that, it would take the removal for one from before its start, and join again.
		out.waitFor("this node is a member of its cluster")
		out.signal(syscall.SIGSTOP)
		newClient(t, lead).ok("cluster", "remove", id)
		out.signal(syscall.SIGCONT)
		out.says("this node was removed from its cluster", "wiping its data directory", "--join")
	})
}
