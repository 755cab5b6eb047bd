//go:build linux

package e2e

import "testing"

func TestAServerKeepsItsAddressAndItsDataThroughKillAndRestart(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	client := newClient(t, s)
	client.ok("work-queue", "create", "--tag", "tutorial", "tutorial_queue")
	s.kill9()
	s.restart()
	contains(t, client.ok("work-queue", "ls"), "tutorial_queue")
	s.stop()
	s.restart()
	contains(t, client.shown("work-queue", "ls"), "│ tutorial_queue │")
}
