package cluster

import (
	"context"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// logOf is where a log begins, and the term of the state there.
type logOf struct{ index, term uint64 }

func (l logOf) logBase() uint64        { return l.index }
func (l logOf) baseTerm(uint64) uint64 { return l.term }

func TestMessagesFitALogThatWasCompacted(t *testing.T) {
	t.Parallel()
	entries := func(from, to uint64) (all []*raft.Log) {
		for i := from; i <= to; i++ {
			all = append(all, &raft.Log{Index: i, Term: 3})
		}
		return all
	}
	const begin = 10
	for what, c := range map[string]struct {
		prev, from, to, commit uint64 // no entries when to is 0
		wantPrev, wantFrom     uint64 // no entries left when wantFrom is 0
		wantCommit             uint64
	}{
		"what follows an entry of the log stays":              {12, 13, 15, 14, 12, 13, 14},
		"what follows the entry before the log needs no look": {10, 11, 15, 12, 0, 11, 12},
		"what begins before the log loses what is committed":  {7, 8, 15, 15, 0, 11, 15},
		"what is committed already is accepted":               {4, 5, 9, 9, 0, 0, 9},
		"the leader's whole log is accepted":                  {0, 1, 15, 12, 0, 11, 12},
		"a question without entries is answered":              {10, 0, 0, 30, 0, 0, 10},
		"a heartbeat stays":                                   {0, 0, 0, 0, 0, 0, 0},
		"only what a message vouches for is committed":        {12, 13, 15, 30, 12, 13, 15},
		"an empty message vouches for what it follows":        {12, 0, 0, 30, 12, 0, 12},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			m := &raft.AppendEntriesRequest{Term: 7, PrevLogEntry: c.prev, LeaderCommitIndex: c.commit}
			if c.prev > 0 {
				m.PrevLogTerm = 3
			}
			if c.to > 0 {
				m.Entries = entries(c.from, c.to)
			}
			before := *m
			if known := fit(m, logOf{begin, 3}); !reflect.DeepEqual(known, fit(m, logOf{begin, 0})) {
				t.Errorf("of a state of the same term it is made %+v", known)
			}
			if c.prev <= begin && max(c.prev, c.to) >= begin {
				if other := fit(m, logOf{begin, 2}); other.PrevLogEntry != m.PrevLogEntry || len(other.Entries) != len(m.Entries) {
					t.Errorf("to a state that is of another entry it is made %+v", other)
				}
			}
			got := fit(m, logOf{begin, 0})
			if !reflect.DeepEqual(*m, before) {
				t.Error("the sender's message was changed")
			}
			var first uint64
			if len(got.Entries) > 0 {
				first = got.Entries[0].Index
			}
			if got.PrevLogEntry != c.wantPrev || first != c.wantFrom || got.LeaderCommitIndex != c.wantCommit || got.Term != 7 || (got.PrevLogTerm == 0) != (c.wantPrev == 0) {
				t.Errorf("%+v", got)
			}
			if same := fit(m, logOf{0, 0}); same.PrevLogEntry != c.prev || len(same.Entries) != len(m.Entries) {
				t.Errorf("a log that has everything: %+v", same)
			}
		})
	}
}

// A leader is cut off with entries that it cannot commit, and compacts all others. The next leader has its whole log and so no reason
// to send a snapshot.
func TestANodeThatCompactedUpToWhatOthersReplaceCatchesUp(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3, nil)
	old := f.leader()
	for i := range 20 {
		f.put(old, fmt.Sprint("before ", i))
	}
	f.converge()
	f.isolate(old)
	ctx, cancel := context.WithTimeout(testContext(t), 200*time.Millisecond) // they can only fail
	defer cancel()
	if _, _, err := old.node.Propose(ctx, [][]byte{[]byte("perhaps")}); err == nil {
		t.Fatal("an isolated leader acknowledged a write")
	}
	f.compact(old)
	status := old.node.Status()
	if status.FirstIndex <= 1 || status.FirstIndex > status.LastIndex {
		t.Fatalf("the log of the isolated leader is [%d, %d]: nothing is left to be replaced", status.FirstIndex, status.LastIndex)
	}
	for i := range 5 {
		f.put(f.leader(), fmt.Sprint("after ", i))
	}
	f.isolate()
	f.converge()
	// Its node goes on trying under the batch's number.
	if n := old.toy.count("perhaps"); n > 1 {
		t.Errorf("what was of unknown outcome was applied %d times", n)
	}
}
