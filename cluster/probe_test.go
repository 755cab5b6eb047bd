package cluster

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/sluice-dev/sluice/cluster/logstore"
)

// TestStaleSuffix replays what is unsafe in raft with a plain log store. Of five nodes the leader A is isolated and
// appends entries that never commit; the others go on and compact; A rejoins by InstallSnapshot.
//
// With A's stale entries ending below the snapshot, A then leads and a node C that had been away rejoins: raft alone
// replicates the stale entries to it, and C applies what was never committed. With them ending above the snapshot, raft
// alone never lets A catch up, because it remembers entries that are gone.
func TestStaleSuffix(t *testing.T) {
	t.Parallel()
	for i := range envInt("SLUICE_PROBES", 2) {
		t.Run(fmt.Sprintf("entries below the snapshot are never applied %d", i), func(t *testing.T) {
			t.Parallel()
			staleSuffix(t, 400)
		})
		t.Run(fmt.Sprintf("entries above the snapshot do not keep the node from catching up %d", i), func(t *testing.T) {
			t.Parallel()
			staleSuffix(t, 20)
		})
	}
}

func staleSuffix(t *testing.T, later int) {
	const stale = 200
	f := newFleet(t, 5, func(c *Config) { c.LogBackend = &memoryLog{raft.NewInmemStore()} })
	// put proposes one word per entry, so that the logs get as long as the scenario needs.
	put := func(what string, n int) *member {
		m := f.leader()
		for i := range n {
			for {
				_, _, err := f.nodeOf(m).Propose(testContext(t), [][]byte{fmt.Appendf(nil, "%s%d", what, i)})
				if err == nil {
					break
				}
				if !errors.Is(err, ErrNotDone) {
					t.Fatal(err)
				}
				m = f.leader()
			}
		}
		return f.leader()
	}
	a := put("x", 20)
	f.isolate(a)
	r := a.node.run.Load().raft
	for i := range stale {
		r.Apply(fmt.Appendf(nil, "STALE%d", i), 0)
	}
	until(t, "A gives up", func() bool { return r.State() != raft.Leader })
	staleEnd := r.LastIndex()
	b := put("good", 80)
	var c *member
	for _, m := range f.members {
		if m != a && m != b {
			c = m
		}
	}
	if err := c.toy.WaitApplied(testContext(t), b.toy.AppliedIndex()); err != nil {
		t.Fatal(err)
	}
	f.isolate(a, c)
	b = put("later", later)
	rest := f.reachable()
	for _, m := range rest { // so that all compact up to the same end
		if err := m.toy.WaitApplied(testContext(t), b.toy.AppliedIndex()); err != nil {
			t.Fatal(err)
		}
	}
	f.compact(rest...)
	end := b.toy.AppliedIndex()
	if below := staleEnd < end; below != (later > stale) {
		t.Fatalf("the stale entries end at %d and the snapshot at %d: not the scenario wanted", staleEnd, end)
	}
	f.isolate(c)
	if err := a.toy.WaitApplied(testContext(t), end); err != nil {
		t.Fatalf("A did not get the snapshot: %v; %+v", err, a.node.Status())
	}
	if restarts := a.node.Status().Restarts; later > stale && restarts > 0 {
		t.Fatalf("A restarted raft %d times: the snapshot left in its log what never was committed", restarts)
	}
	if later < stale {
		until(t, "A restarts raft", func() bool { return a.node.Status().Restarts > 0 })
	}
	b = put("y", 3) // the snapshot is not enough: A must take entries again
	if err := a.toy.WaitApplied(testContext(t), b.toy.AppliedIndex()); err != nil {
		t.Fatalf("A did not catch up: %v; %+v", err, a.node.Status())
	}
	for f.leader() != a {
		lead := f.leader().node.run.Load()
		_ = lead.wait(testContext(t), lead.raft.LeadershipTransferToServer(raft.ServerID(a.id), a.addr)) // tried until it works
	}
	f.isolate()
	put("z", 3)
	f.converge()
	for _, m := range f.members {
		for _, w := range m.toy.words() {
			if strings.HasPrefix(w, "STALE") {
				t.Fatalf("node %s applied %s, which was never committed", m.id, w)
			}
		}
	}
}

// memoryLog is a log backend in memory.
type memoryLog struct{ *raft.InmemStore }

var _ logstore.Backend = (*memoryLog)(nil)

func (memoryLog) Close() error { return nil }

// TestRestartInPlace restarts raft in place under load; the transport and the node stay.
func TestRestartInPlace(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3, nil)
	lead := f.leader()
	f.put(lead, "before")
	lead.node.store.Suspect("a test wants it")
	until(t, "raft restarted", func() bool { return lead.node.Status().Restarts == 1 })
	f.put(lead, "after") // by whoever leads now
	f.converge()
	for _, m := range f.members {
		if got := strings.Join(m.toy.words(), " "); got != "before after last word" {
			t.Errorf("node %s has %q", m.id, got)
		}
	}
}
