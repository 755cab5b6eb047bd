package scheduler

import (
	"bytes"
	"cmp"
	"container/heap"
	"container/list"
	"slices"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/orchestration"
	"github.com/sluice-dev/sluice/fsm/row"
)

// dueRun is a run whose time has come and that nobody has taken yet. It stands in the ready-list of every queue that
// matches it.
type dueRun struct {
	id      api.ID
	due     int64 // µs; when it may start
	expects int64 // µs; expected start time: with the priority the order within a queue
	// priority is 1 for what goes first.
	priority int32
	shape    *row.FlowRun // only what queues and gates look at
	queues   []*readyQueue
	gates    []*gate
	parked   *gate // stops it; nil: none
	claimed  bool  // in a proposal under way
	gone     bool  // taken, deleted or no longer due: its places in ready-lists are void
}

// readyQueue is a work queue with its due runs and the demands that wait for them.
type readyQueue struct {
	row   *row.WorkQueue
	id    api.ID
	ready readyList
	depth int // due runs that are not gone
	// claimed counts the picks from this queue in the proposal under way: they will occupy slots that the state does not show.
	claimed int
	waiting list.List // of *demand, oldest first
	dirty   bool      // to be matched in the next round
	full    bool      // its limit left no room when runs were last matched with demands
	// agents are those that asked for the queue's work or hold some of it, in this epoch.
	agents map[api.ID]struct{}
}

// matches reports whether the queue takes a run.
func (q *readyQueue) matches(r *row.FlowRun) bool { return orchestration.Matches(q.row.Filter, r) }

// head is the next run to hand out, nil when there is none.
func (q *readyQueue) head() *dueRun {
	for len(q.ready) > 0 {
		if r := q.ready[0]; r.stands() {
			return r
		}
		heap.Pop(&q.ready) // a run that is not granted in the end is pushed again
	}
	return nil
}

// stands reports whether a run's place in a ready-list is not void.
func (r *dueRun) stands() bool { return !r.gone && !r.claimed && r.parked == nil }

func (q *readyQueue) push(r *dueRun) {
	q.trim()
	heap.Push(&q.ready, r)
}

// left follows that a run of the queue is gone.
func (q *readyQueue) left() {
	q.depth--
	q.trim()
}

// trim removes void places when they are most of the list: behind a live head that nobody takes they would stay. Each costs
// O(log n) on average.
func (q *readyQueue) trim() {
	if len(q.ready) <= 2*q.depth+64 {
		return
	}
	live := slices.DeleteFunc(q.ready, func(r *dueRun) bool { return !r.stands() })
	slices.SortFunc(live, compareRuns)
	q.ready = slices.Compact(live) // a run that was offered again may stand in it twice; a sorted list is a heap
	clear(live[len(q.ready):])
}

// oldest is when the longest waiting run was due, 0 when none waits.
func (q *readyQueue) oldest() int64 {
	if r := q.head(); r != nil {
		return r.due
	}
	return 0
}

// readyList is a heap by priority, expected start time and id.
type readyList []*dueRun

func (l readyList) Len() int           { return len(l) }
func (l readyList) Less(i, j int) bool { return compareRuns(l[i], l[j]) < 0 }
func (l readyList) Swap(i, j int)      { l[i], l[j] = l[j], l[i] }

func compareRuns(a, b *dueRun) int {
	return cmp.Or(cmp.Compare(a.priority, b.priority), cmp.Compare(a.expects, b.expects), bytes.Compare(a.id[:], b.id[:]))
}

// Push and Pop are for container/heap.
func (l *readyList) Push(x any) { *l = append(*l, x.(*dueRun)) }

// Pop removes the last one.
func (l *readyList) Pop() any {
	old := *l
	r := old[len(old)-1]
	old[len(old)-1] = nil
	*l = old[:len(old)-1]
	return r
}

// shapeOf is the part of a run that queues and gates look at.
func shapeOf(r *row.FlowRun) *row.FlowRun {
	shape := &row.FlowRun{Id: r.Id, DeploymentId: r.DeploymentId, Tags: r.Tags, AutoScheduled: r.AutoScheduled}
	if r.FlowRunner != nil {
		shape.FlowRunner = &row.FlowRunner{Type: r.FlowRunner.Type}
	}
	return shape
}
