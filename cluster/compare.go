package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"
)

// Checkpoint is the hash of a state at an entry; the zero value is none.
type Checkpoint struct {
	Index uint64 `json:"index,omitempty"`
	Hash  string `json:"hash,omitempty"`
}

// agree compares what the voters noted, at the newest entry of which a majority of them noted something: agreed is what a majority
// noted there, and dispute says who noted what if two differ and neither has a majority.
func agree(servers []raft.Server, noted map[string]Checkpoint) (agreed Checkpoint, dispute string) {
	voters := 0
	at := map[uint64]map[string][]string{} // index → hash → voters
	for _, s := range servers {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters++
		c := noted[string(s.ID)]
		if c.Index == 0 {
			continue
		}
		if at[c.Index] == nil {
			at[c.Index] = map[string][]string{}
		}
		at[c.Index][c.Hash] = append(at[c.Index][c.Hash], string(s.ID))
	}
	quorum := voters/2 + 1
	newest := uint64(0)
	for index, hashes := range at {
		count := 0
		for _, ids := range hashes {
			count += len(ids)
		}
		if count >= quorum {
			newest = max(newest, index)
		}
	}
	var sides []string
	for hash, ids := range at[newest] {
		if len(ids) >= quorum {
			return Checkpoint{newest, hash}, ""
		}
		sides = append(sides, hash+" on "+strings.Join(ids, " and "))
	}
	if newest == 0 {
		return Checkpoint{}, ""
	}
	slices.Sort(sides)
	return Checkpoint{}, fmt.Sprintf("the nodes' states differ at entry %d and no majority says which is right: %s", newest, strings.Join(sides, ", "))
}

// compare has checkpoints made while there is something new to compare, and finds out what a majority noted at the last one.
func (c *reconciler) compare(ctx context.Context, servers []raft.Server) {
	n := c.n
	noted := map[string]Checkpoint{}
	for id, is := range c.conditions {
		noted[id] = is.noted
	}
	agreed, dispute := agree(servers, noted)
	n.agreed.Store(&verdict{agreed: agreed, dispute: dispute})
	if agreed.Index != 0 {
		n.compareWith(agreed)
	}
	if dispute != "" && dispute != c.dispute {
		n.log.Error("the nodes' states differ", "error", dispute)
	}
	c.dispute = dispute
	applied, last := n.machine.inner.AppliedIndex(), noted[n.id].Index
	due := applied >= last+n.cfg.CheckpointEntries || applied > last && time.Since(c.checkpointed) >= n.cfg.CheckpointInterval
	if !due || n.cfg.EncodeCheckpoint == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, membershipTimeout)
	defer cancel()
	if _, _, err := n.proposer.propose(ctx, [][]byte{n.cfg.EncodeCheckpoint()}, false, c.term); err != nil {
		n.log.Warn("no checkpoint of the state could be made", "error", err)
		return
	}
	c.checkpointed = time.Now()
}

// verdict is what the leader makes of the members' checkpoints.
type verdict struct {
	agreed  Checkpoint
	dispute string
}

// compareWith quarantines this node when it noted something other than a majority did, and lets it out when the same.
func (n *Node) compareWith(agreed Checkpoint) {
	index, hash := n.machine.inner.Checkpoint()
	if index != agreed.Index {
		return
	}
	if hash == agreed.Hash {
		n.diverged.Store(nil)
		return
	}
	text := fmt.Sprintf("the state of this node differs from the others': at entry %d its hash is %s, a majority has %s; "+
		"stop it, move its data directory away and start it with --join, so that it takes the state from them", index, hash, agreed.Hash)
	if n.diverged.Swap(&text) == nil {
		n.log.Error("this node is quarantined: it serves no reads and does not lead", "error", text)
		n.unfitNow()
	}
}

// Diverged returns how this node's state is known to differ from the other nodes', "" when it is not. Then it must not be read.
func (n *Node) Diverged() string {
	if p := n.diverged.Load(); p != nil {
		return *p
	}
	return ""
}
