package scheduler

import (
	"container/list"
	"errors"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/row"
)

// ErrUnknownAgent is returned by Claim for an agent that is not registered (any more): it must register again.
var ErrUnknownAgent = errors.New("agent is not registered")

// ErrEpochOver is returned when this node does not lead: ask the leader. A claim that was under way may have been granted;
// repeating it with the same claim id tells.
var ErrEpochOver = errors.New("this node is not the leader")

// Demand is what one agent asks for.
type Demand struct {
	AgentID api.ID
	ClaimID api.ID
	Queues  []api.ID
	Limit   int
	Wait    time.Duration
}

// Granted is the answer to a demand.
type Granted struct {
	Grants  []*row.Grant
	Missing []api.ID // queues that do not exist
	// Draining says that nothing is granted to the agent until it is called back.
	Draining bool
	// Index is where the grants can be read.
	Index uint64
}

// demand is one waiting Claim.
type demand struct {
	Demand
	places  map[*readyQueue]*list.Element
	picks   []pick
	callers int           // claims with this id that wait for the answer
	done    chan struct{} // closed when answer or err is set
	answer  Granted
	err     error
	flying  bool // in a proposal under way
	// orphaned says that the agent was deleted while flying, drained that it was told to claim nothing.
	orphaned, drained bool
}

type pick struct {
	run   *dueRun
	queue *readyQueue
	gates []*gate // at which it is counted
}

func (d *demand) finish(grants []*row.Grant, index uint64, err error) {
	d.answer.Grants, d.answer.Index, d.err = grants, index, err
	close(d.done)
}

// finished reports whether the demand was answered. The dispatcher's lock is held.
func (d *demand) finished() bool {
	select {
	case <-d.done:
		return true
	default:
		return false
	}
}
