package scheduler

import (
	"container/heap"
	"slices"
	"time"

	"github.com/sluice-dev/sluice/api"
)

// Waiting is why the due runs of a work queue have not started.
type Waiting string

// The reasons, each worth looking at only when none before it holds.
const (
	WaitsForQueue   Waiting = "no_queue" // no work queue matches the run
	WaitsForResume  Waiting = "paused"
	WaitsForAgent   Waiting = "no_agent" // no live agent serves the queue
	WaitsForBusy    Waiting = "agents_busy"
	WaitsForSlot    Waiting = "limit" // the concurrency limit of the queue, or of the runs' deployments, is reached
	WaitsForNothing Waiting = "ready" // handed out in the next round
)

// AllWaiting lists the reasons.
var AllWaiting = []Waiting{WaitsForQueue, WaitsForResume, WaitsForAgent, WaitsForBusy, WaitsForSlot, WaitsForNothing}

// Stats is how much waits, for metrics. What it costs grows with work queues and agents, not with runs.
type Stats struct {
	Queues []QueueStats
	// Due runs wait to be taken, Alone of them in no queue; OldestDue is zero when none waits.
	Due, Alone int
	OldestDue  time.Time
	// Agents are registered, LiveAgents of them were heard from within the lease TTL.
	Agents, LiveAgents int
}

// QueueStats is the state of one work queue.
type QueueStats struct {
	ID        api.ID
	Name      string
	Paused    bool
	Ready     int       // due runs that wait in it
	Reason    Waiting   // why they wait
	OldestDue time.Time // zero: none waits
	Waiting   int       // demands of agents that wait
	// LiveAgents asked for its work, or hold some of it, and were heard from within the lease TTL.
	LiveAgents int
}

// reason says why due runs of a queue wait that has that many live agents. Holds the dispatcher's lock.
func (q *readyQueue) reason(live int) Waiting {
	switch {
	case q.row.IsPaused:
		return WaitsForResume
	case live == 0:
		return WaitsForAgent
	case q.waiting.Len() == 0:
		return WaitsForBusy
	case q.full, q.depth > 0 && q.head() == nil: // all that wait are parked at gates of their deployments
		return WaitsForSlot
	}
	return WaitsForNothing
}

func (d *dispatcher) stats() Stats {
	registered, live := d.leases.liveAgents()
	d.mu.Lock()
	defer d.mu.Unlock()
	s := Stats{Queues: make([]QueueStats, 0, len(d.queues)), Due: len(d.runs), Alone: d.alone, Agents: registered, LiveAgents: len(live)}
	if r := d.oldest.head(); r != nil {
		s.OldestDue = time.UnixMicro(r.due)
	}
	for _, q := range d.queues {
		one := QueueStats{ID: q.id, Name: q.row.Name, Paused: q.row.IsPaused, Ready: q.depth, Waiting: q.waiting.Len()}
		for id := range q.agents {
			if live[id] {
				one.LiveAgents++
			}
		}
		one.Reason = q.reason(one.LiveAgents)
		if oldest := q.oldest(); oldest != 0 {
			one.OldestDue = time.UnixMicro(oldest)
		}
		s.Queues = append(s.Queues, one)
	}
	return s
}

// liveAgents returns how many agents are registered and which of them were heard from within the TTL.
func (l *leases) liveAgents() (registered int, live map[api.ID]bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.core.clock.Now()
	live = map[api.ID]bool{}
	for id, a := range l.agents {
		if !a.seen.IsZero() && now.Sub(a.seen) <= l.core.leaseTTL {
			live[id] = true
		}
	}
	return len(l.agents), live
}

// dueHeap finds the run that is due longest. Runs that are gone stay in it until they come to its head or are too many.
type dueHeap []*dueRun

// add takes a run in; alive is how many of all its runs are not gone. It costs O(log n) on average.
func (h *dueHeap) add(r *dueRun, alive int) {
	if len(*h) > 2*alive+64 {
		old := *h
		*h = slices.DeleteFunc(old, func(r *dueRun) bool { return r.gone })
		heap.Init(h)
	}
	heap.Push(h, r)
}

// head is the run that is due longest, nil when there is none.
func (h *dueHeap) head() *dueRun {
	for len(*h) > 0 && (*h)[0].gone {
		heap.Pop(h)
	}
	if len(*h) == 0 {
		return nil
	}
	return (*h)[0]
}

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].due < h[j].due }
func (h dueHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push and Pop are for container/heap.
func (h *dueHeap) Push(r any) { *h = append(*h, r.(*dueRun)) }

// Pop removes the last one.
func (h *dueHeap) Pop() any {
	old := *h
	r := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return r
}

// asking returns the agents that have a claim waiting. One that has none while runs are due is busy with others.
func (d *dispatcher) asking() map[api.ID]struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	agents := make(map[api.ID]struct{}, len(d.demands))
	for _, dm := range d.demands {
		if !dm.finished() {
			agents[dm.AgentID] = struct{}{}
		}
	}
	return agents
}
