package cluster

import (
	"github.com/hashicorp/raft"
)

// arrivals passes on to raft what its transport receives, and makes AppendEntries say what raft v1.8.0 misreads otherwise:
//
// A message may begin at or before the entry where this node's log does, after a compaction or an installed snapshot. Raft cannot
// read the entry that the message follows and refuses it; the leader then goes back one entry at a time, until it sends the first of
// its log, which raft cannot compare either. If the leader still has that entry it never thinks of sending a snapshot, and this node
// hears the same for ever. But what is compacted is committed, so it is the same on every leader: it needs no comparing. The exception
// is a state that an operator's restore has put there and nobody else has: a leader that failed right then must be refused what
// follows another entry, and not go on from its own state.
//
// Raft also takes as committed whatever it has up to the leader's commit index, though a message only vouches for the log up to its
// own last entry.
type arrivals struct {
	in   <-chan raft.RPC
	out  chan raft.RPC
	base base
}

// base is where a node's log begins.
type base interface {
	// logBase is the index below and at which this node has committed everything and has nothing in its log.
	logBase() uint64
	// baseTerm is the term of the entry at that index, as far as the state tells; 0: it does not.
	baseTerm(index uint64) uint64
}

func newArrivals(in <-chan raft.RPC, base base) *arrivals {
	return &arrivals{in: in, out: make(chan raft.RPC), base: base}
}

// loop ends when quit is closed. A message in hand is dropped then; its sender's call ends with the transport.
func (a *arrivals) loop(quit <-chan struct{}) {
	for {
		select {
		case rpc := <-a.in:
			if m, ok := rpc.Command.(*raft.AppendEntriesRequest); ok {
				rpc.Command = fit(m, a.base)
			}
			select {
			case a.out <- rpc:
			case <-quit:
				return
			}
		case <-quit:
			return
		}
	}
}

// fit returns the message as it means the same to a log that begins after the base. The message itself, which a sender in this process
// shares, is left alone.
func fit(m *raft.AppendEntriesRequest, to base) *raft.AppendEntriesRequest {
	vouched := m.PrevLogEntry
	if n := len(m.Entries); n > 0 {
		vouched = m.Entries[n-1].Index
	}
	base := to.logBase()
	before := base > 0 && m.PrevLogEntry <= base && (m.PrevLogEntry > 0 || len(m.Entries) > 0) && !contradicts(m, base, to.baseTerm)
	if m.LeaderCommitIndex <= vouched && !before {
		return m
	}
	c := *m
	c.LeaderCommitIndex = min(c.LeaderCommitIndex, vouched)
	if before {
		for len(c.Entries) > 0 && c.Entries[0].Index <= base {
			c.Entries = c.Entries[1:]
		}
		c.PrevLogEntry, c.PrevLogTerm = 0, 0 // raft's words for: nothing to compare
	}
	return &c
}

// contradicts reports whether the sender has another entry at the base than this node's state is of.
func contradicts(m *raft.AppendEntriesRequest, base uint64, term func(uint64) uint64) bool {
	theirs := uint64(0)
	if m.PrevLogEntry == base {
		theirs = m.PrevLogTerm
	} else if i := base - m.PrevLogEntry - 1; i < uint64(len(m.Entries)) && m.Entries[i].Index == base {
		theirs = m.Entries[i].Term
	}
	if theirs == 0 {
		return false
	}
	own := term(base)
	return own != 0 && own != theirs
}

// logBase implements base. An empty log may also have lost entries that never were committed, so what was applied bounds it.
func (n *Node) logBase() uint64 { return min(n.store.Before(), n.machine.inner.AppliedIndex()) }

// baseTerm implements base. A state that has gone on from there was confirmed by a majority.
func (n *Node) baseTerm(index uint64) uint64 {
	if at, term, err := position(n.cfg.Snapshots); err == nil && at == index {
		return term
	}
	return 0
}
