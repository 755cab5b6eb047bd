package httpapi

import (
	"context"
	"errors"
	"sync"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/orchestration"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/watch"
)

// news tells heartbeats that wait what their senders must know at once: which runs to stop, and that an agent drains. One
// listener serves them all, for as long as any waits. It listens to the events of this node, so that a heartbeat may wait on any.
type news struct {
	events Events
	work   sync.WaitGroup

	mu     sync.Mutex // guards what follows
	agents map[api.ID]map[*listener]struct{}
	runs   map[api.ID]map[*listener]struct{}
	all    map[*listener]struct{}
	end    context.CancelFunc // of the listener; nil while there is none
}

// listener is one heartbeat that waits.
type listener struct {
	agent api.ID // nil: of a process without one
	runs  []api.ID
	known map[api.ID]bool // runs whose cancellation the sender knows of
	woken chan struct{}   // capacity 1

	// What there is to tell; guarded by news.mu.
	cancelling []api.ID
	lost       []LostLease
}

func newNews(events Events) *news {
	return &news{events: events, agents: map[api.ID]map[*listener]struct{}{}, runs: map[api.ID]map[*listener]struct{}{}, all: map[*listener]struct{}{}}
}

// wait begins to listen for a heartbeat: whatever happens from now on wakes it.
func (n *news) wait(agent api.ID, runs []api.ID, known map[api.ID]bool) *listener {
	w := &listener{agent: agent, runs: runs, known: known, woken: make(chan struct{}, 1)}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all[w] = struct{}{}
	if !agent.IsNil() {
		enter(n.agents, agent, w)
	}
	for _, id := range runs {
		enter(n.runs, id, w)
	}
	if n.end == nil {
		ctx, end := context.WithCancel(context.Background())
		n.end = end
		listen := n.events.Subscribe(watch.TopicFlowRun | watch.TopicAgent)
		n.work.Go(func() { n.follow(ctx, listen) })
	}
	return w
}

// leave ends the waiting and returns what there is to tell.
func (n *news) leave(w *listener) (cancelling []api.ID, lost []LostLease) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.all, w)
	withdraw(n.agents, w.agent, w)
	for _, id := range w.runs {
		withdraw(n.runs, id, w)
	}
	if len(n.all) == 0 && n.end != nil {
		n.end()
		n.end = nil
	}
	return w.cancelling, w.lost
}

func enter(m map[api.ID]map[*listener]struct{}, id api.ID, w *listener) {
	if m[id] == nil {
		m[id] = map[*listener]struct{}{}
	}
	m[id][w] = struct{}{}
}

func withdraw(m map[api.ID]map[*listener]struct{}, id api.ID, w *listener) {
	if delete(m[id], w); len(m[id]) == 0 {
		delete(m, id)
	}
}

// stop returns when nothing listens any more. Heartbeats that wait must have ended.
func (n *news) stop() { n.work.Wait() }

// follow hands out the events until ctx ends.
func (n *news) follow(ctx context.Context, listen *watch.Subscription) {
	for {
		e, err := listen.Next(ctx)
		switch {
		case errors.Is(err, watch.ErrReset):
			listen = n.events.Subscribe(watch.TopicFlowRun | watch.TopicAgent)
			n.mu.Lock()
			for w := range n.all {
				w.wake() // what was missed is in the state
			}
			n.mu.Unlock()
		case err != nil:
			return
		case e.Topic == watch.TopicAgent:
			n.mu.Lock()
			for w := range n.agents[idOf(e.Agent.Id)] {
				w.wake()
			}
			n.mu.Unlock()
		default:
			n.flowRun(e.FlowRun, e.Deleted)
		}
	}
}

// flowRun tells of a run that is being cancelled, or was taken from its holder. How runs end otherwise their holders know.
func (n *news) flowRun(run *row.FlowRun, deleted bool) {
	cancelling := !deleted && run.Lease != nil && run.GetState().GetName() == orchestration.NameCancelling
	if !cancelling && !deleted && (run.Lease != nil || run.GetState().GetType() != row.StateType_CANCELLED) {
		return
	}
	id := idOf(run.Id)
	n.mu.Lock()
	defer n.mu.Unlock()
	tell := func(w *listener) {
		if w.known[id] {
			return
		}
		if w.known == nil {
			w.known = map[api.ID]bool{}
		}
		w.known[id] = true // is told once
		switch {
		case cancelling:
			w.cancelling = append(w.cancelling, id)
		case deleted:
			w.lost = append(w.lost, LostLease{id, "The flow run was deleted."})
		default:
			w.lost = append(w.lost, LostLease{id, "The flow run was cancelled."})
		}
		w.wake()
	}
	for w := range n.runs[id] {
		tell(w)
	}
	if cancelling && run.Lease.Kind == row.Lease_AGENT { // perhaps granted since its heartbeat
		for w := range n.agents[idOf(run.Lease.OwnerId)] {
			tell(w)
		}
	}
}

func (w *listener) wake() {
	select {
	case w.woken <- struct{}{}:
	default:
	}
}
