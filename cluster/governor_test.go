package cluster

import (
	"strconv"
	"testing"
	"time"
)

// compacted returns the last index of the snapshot after which raft last compacted its log.
func compacted(t *testing.T, n *Node) uint64 {
	t.Helper()
	index, err := strconv.ParseUint(n.run.Load().raft.Stats()["last_snapshot_index"], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return index
}

func TestTheLogGovernorKeepsWhatFollowersNeed(t *testing.T) {
	t.Parallel()
	const trailing = 100
	begin := func(t *testing.T) (n *Node, write func(count int)) {
		s := newSingle(t)
		n = s.start(t, func(c *Config) {
			c.TrailingLogs, c.SnapshotThreshold, c.SnapshotInterval = trailing, 10, 5*time.Millisecond
		})
		t.Cleanup(func() { s.stop(t) })
		return n, func(count int) {
			t.Helper()
			for range count {
				if _, _, err := n.Propose(testContext(t), [][]byte{[]byte("word")}); err != nil {
					t.Fatal(err)
				}
			}
			last := n.Status().LastIndex
			until(t, "raft has compacted its log", func() bool { return compacted(t, n)+10 >= last })
		}
	}
	t.Run("a log within its budget keeps its trailing entries, also one that began empty", func(t *testing.T) {
		t.Parallel()
		n, write := begin(t)
		write(trailing / 2)
		if st := n.Status(); st.FirstIndex != 1 {
			t.Errorf("the log begins at %d, it has %d entries and may have %d", st.FirstIndex, st.LastIndex, trailing)
		}
		write(3 * trailing)
		until(t, "no more are kept", func() bool { st := n.Status(); return st.FirstIndex+trailing >= st.LastIndex-20 })
	})
	t.Run("nothing is compacted during a transfer", func(t *testing.T) {
		t.Parallel()
		n, write := begin(t)
		write(3 * trailing)
		_, stream, err := n.snaps.Open("live") // as raft does for a follower
		if err != nil {
			t.Fatal(err)
		}
		write(3 * trailing) // a compaction that had begun before has ended
		held := n.Status().FirstIndex
		write(3 * trailing)
		if first := n.Status().FirstIndex; first != held {
			t.Errorf("the log was compacted from %d to %d", held, first)
		}
		if err := stream.Close(); err != nil {
			t.Fatal(err)
		}
		until(t, "the log is short again", func() bool {
			write(20)
			return n.Status().FirstIndex > held
		})
	})
	t.Run("the budget stays raised until the receiver has caught up", func(t *testing.T) {
		t.Parallel()
		n, write := begin(t)
		write(trailing)
		g := newGovernor(n) // one that the node's leader tells nothing
		usual, entries := g.budget()
		if entries != trailing {
			t.Errorf("%d entries are kept, want %d", entries, trailing)
		}
		raised := func(when string, want bool) {
			t.Helper()
			if bytes, entries := g.budget(); (bytes > usual) != want || (entries > trailing) != want {
				t.Errorf("%s the budget is %d bytes and %d entries", when, bytes, entries)
			}
		}
		one, other := g.hold(), g.hold()
		raised("during the transfers", true)
		one()
		g.reached(n.Status().LastIndex)
		raised("during the other transfer", true)
		other()
		g.reached(n.Status().LastIndex - 1)
		raised("one entry short", true)
		g.reached(n.Status().LastIndex)
		raised("when all have caught up", false)
		g.hold()()
		g.until = time.Now()
		raised("when a receiver does not catch up at all", false)
	})
}
