package scheduler

import (
	"container/list"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/orchestration"
	"github.com/sluice-dev/sluice/fsm/row"
)

const (
	// claimPicks bounds the picks of one proposal.
	claimPicks = 1000
	// refusedPause is how long a run rests that the state machine did not grant although it looked ready.
	refusedPause = 250 * time.Millisecond
)

// dispatcher matches due runs with the demands of agents. Only due runs are in memory; a run becomes due by the cursor on the
// due index or by an event. All matching is optimistic: the state machine checks every pick again.
//
// Invariant: a run that is neither gone nor claimed stands in the ready-list of each queue in run.queues; a demand that is
// neither flying nor finished stands in the waiting list of each of its queues.
type dispatcher struct {
	core   *core
	leases *leases

	mu      sync.Mutex // guards what follows
	cursor  dueCursor
	runs    map[api.ID]*dueRun
	queues  map[api.ID]*readyQueue
	demands map[api.ID]*demand // by claim id
	oldest  dueHeap
	alone   int // runs that no queue matches
	dirty   []*readyQueue
	// gates are those of deployments that have any; conflicts are deployments whose due runs are to be decided about.
	gates     map[api.ID][]*gate
	conflicts map[api.ID]struct{}
	freed     []*gate // may have room again
	refused   []*dueRun
	retryAt   time.Time     // when the refused ones are tried again
	round     chan struct{} // closed when the next round has ended
	over      bool
	wake      signal
}

func newDispatcher(c *core, l *leases) *dispatcher {
	return &dispatcher{core: c, leases: l, cursor: newDueCursor(), runs: map[api.ID]*dueRun{}, queues: map[api.ID]*readyQueue{},
		demands: map[api.ID]*demand{}, gates: map[api.ID][]*gate{}, conflicts: map[api.ID]struct{}{}, round: make(chan struct{}), wake: newSignal()}
}

func (d *dispatcher) rebuild(v View) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := v.EachWorkQueue(func(q *row.WorkQueue) (bool, error) {
		d.putQueue(q)
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("read the work queues: %w", err)
	}
	err = v.EachGatedDeployment(func(r *row.Deployment) (bool, error) {
		d.gatesChanged(r)
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("read the limits of deployments: %w", err)
	}
	// An agent that is busy asks for nothing: what it holds tells which queues it serves.
	err = v.LeasedFlowRuns(func(r *row.FlowRun) (bool, error) {
		if q := d.queues[id16(r.Lease.WorkQueueId)]; q != nil && r.Lease.Kind == row.Lease_AGENT {
			q.agents[id16(r.Lease.OwnerId)] = struct{}{}
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("read the leases: %w", err)
	}
	return d.cursor.advance(v, d.core.now(), d.add)
}

// claim waits until something is granted to the demand or its wait has passed. Repeating a claim id answers the same grants.
func (d *dispatcher) claim(ctx context.Context, wanted Demand) (Granted, error) {
	dm, early, err := d.enlist(wanted)
	if err != nil {
		return early, err
	}
	d.leases.seen(wanted.AgentID)
	if dm == nil {
		return early, nil
	}
	var waited <-chan time.Time
	var round <-chan struct{}
	if wanted.Wait > 0 {
		timer := time.NewTimer(wanted.Wait)
		defer timer.Stop()
		waited = timer.C
	} else {
		round = d.nextRound()
	}
	d.wake.set()
	select {
	case <-dm.done:
		return dm.answer, dm.err
	case <-ctx.Done():
		_, _ = d.withdraw(dm)
		return Granted{}, ctx.Err()
	case <-waited:
	case <-round:
	}
	if answer, withdrawn := d.withdraw(dm); withdrawn {
		return answer, nil
	}
	// Its grants are being proposed: their answer is near.
	select {
	case <-dm.done:
		return dm.answer, dm.err
	case <-ctx.Done():
		return Granted{}, ctx.Err()
	}
}

// nextRound is closed when a round of matching has ended that began after this call and looked at all runs that are due,
// also those whose events are still on the way.
func (d *dispatcher) nextRound() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cursor.next = min(d.cursor.next, d.core.now())
	return d.round
}

// enlist puts a demand into the waiting lists, or answers it at once.
func (d *dispatcher) enlist(wanted Demand) (*demand, Granted, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over {
		return nil, Granted{}, ErrEpochOver
	}
	if known := d.demands[wanted.ClaimID]; known != nil {
		known.callers++
		return known, Granted{}, nil
	}
	// Under the lock: the answer to an earlier claim with this id is either in demands or in a view taken now, and the end
	// of an agent that is in it finds the demand.
	fresh, err := d.core.view()
	if err != nil {
		return nil, Granted{}, err
	}
	defer fresh.Close()
	agent, err := fresh.Agent(wanted.AgentID)
	if err != nil {
		return nil, Granted{}, fmt.Errorf("read the agent: %w", err)
	}
	if agent == nil {
		return nil, Granted{}, ErrUnknownAgent
	}
	claim, err := fresh.Claim(wanted.ClaimID)
	if err != nil {
		return nil, Granted{}, fmt.Errorf("read the claim: %w", err)
	}
	if claim != nil {
		return nil, Granted{Grants: claim.Grants, Index: fresh.Index()}, nil
	}
	if agent.Draining != 0 {
		return nil, Granted{Draining: true, Index: fresh.Index()}, nil
	}
	dm := &demand{Demand: wanted, places: map[*readyQueue]*list.Element{}, callers: 1, done: make(chan struct{})}
	dm.Limit = min(max(1, wanted.Limit), claimPicks)
	dm.answer.Index = fresh.Index()
	for _, id := range wanted.Queues {
		q := d.queues[id]
		if q == nil { // perhaps its event is still on the way
			stored, err := fresh.WorkQueue(id)
			if err != nil {
				d.unlist(dm)
				return nil, Granted{}, fmt.Errorf("read a work queue: %w", err)
			}
			if stored != nil {
				q = d.putQueue(stored)
			}
		}
		if q == nil {
			dm.answer.Missing = append(dm.answer.Missing, id)
		} else if dm.places[q] == nil {
			dm.places[q] = q.waiting.PushBack(dm)
			q.agents[wanted.AgentID] = struct{}{}
			d.touch(q)
		}
	}
	if len(dm.places) == 0 {
		return nil, dm.answer, nil
	}
	d.demands[wanted.ClaimID] = dm
	return dm, Granted{}, nil
}

// withdraw takes a demand back for one caller, with what there is to answer without grants. It reports false when the
// demand's grants are being proposed or answered.
func (d *dispatcher) withdraw(dm *demand) (Granted, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if dm.finished() {
		return Granted{}, false
	}
	dm.callers--
	if dm.flying {
		return Granted{}, false
	}
	if dm.callers <= 0 {
		d.unlist(dm)
		delete(d.demands, dm.ClaimID)
	}
	return Granted{Missing: slices.Clone(dm.answer.Missing), Index: dm.answer.Index}, true
}

// unlist takes a demand out of the waiting lists. Holds mu.
func (d *dispatcher) unlist(dm *demand) {
	for q, place := range dm.places {
		if place != nil {
			q.waiting.Remove(place)
			dm.places[q] = nil
		}
	}
}

// observeRun follows a run. Holds nothing.
func (d *dispatcher) observeRun(r *row.FlowRun, deleted bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	id := id16(r.Id)
	if !deleted && waits(r) {
		d.gateFreed(r) // its lease may have ended
		before := d.cursor.next
		if d.cursor.observe(r) {
			known := d.runs[id]
			switch {
			case known == nil:
			case known.claimed: // the proposal under way decides; its answer comes after this event
				return
			case known.due == r.NextScheduledStartTime && proto.Equal(known.shape, shapeOf(r)): // only its name changed
				return
			}
			d.drop(id)
			d.add(r)
		} else {
			d.drop(id)
		}
		if len(d.dirty) > 0 || len(d.conflicts) > 0 || d.cursor.next != before {
			d.wake.set()
		}
		return
	}
	d.drop(id)
	if !deleted && orchestration.HoldsQueueSlot(r.GetState().GetType()) {
		d.gateTaken(r)
		return
	}
	d.gateFreed(r)
	d.slotFreed(r)
}

// slotFreed has the limited queues looked at again that a run occupied; nil: any may have been. Holds mu.
func (d *dispatcher) slotFreed(r *row.FlowRun) {
	for _, q := range d.queues {
		if q.row.ConcurrencyLimit != nil && q.depth > 0 && q.waiting.Len() > 0 && (r == nil || q.matches(r)) {
			d.touch(q)
			d.wake.set()
		}
	}
}

// deploymentDeleted follows the end of a deployment: its runs in progress leave the queues without an event of their own.
func (d *dispatcher) deploymentDeleted() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.slotFreed(nil)
}

// agentDeleted answers what an agent still waits for: the state machine grants it nothing any more. A demand made after the
// index is one of an agent that registered again.
func (d *dispatcher) agentDeleted(agentID api.ID, index uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, q := range d.queues {
		delete(q.agents, agentID)
	}
	for id, dm := range d.demands {
		switch {
		case dm.AgentID != agentID || dm.answer.Index >= index:
		case dm.flying: // it may have been granted something before
			dm.orphaned = true
		default:
			delete(d.demands, id)
			d.unlist(dm)
			dm.finish(nil, 0, ErrUnknownAgent)
		}
	}
}

// agentDraining answers what an agent waits for that shall claim nothing. A demand made after the index knows it already.
func (d *dispatcher) agentDraining(agentID api.ID, index uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, q := range d.queues {
		delete(q.agents, agentID)
	}
	for id, dm := range d.demands {
		switch {
		case dm.AgentID != agentID || dm.answer.Index >= index:
		case dm.flying:
			dm.drained = true
		default:
			delete(d.demands, id)
			d.unlist(dm)
			dm.answer.Draining = true
			dm.finish(nil, dm.answer.Index, nil)
		}
	}
}

// observeQueue follows a work queue: its filter, pause or limit may have changed.
func (d *dispatcher) observeQueue(r *row.WorkQueue, deleted bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if deleted {
		d.removeQueue(id16(r.Id))
	} else {
		d.putQueue(r)
	}
	d.wake.set()
}

// putQueue takes over a queue as it is now and works out again which due runs it matches. Holds mu.
func (d *dispatcher) putQueue(r *row.WorkQueue) *readyQueue {
	q := d.queues[id16(r.Id)]
	if q == nil {
		q = &readyQueue{id: id16(r.Id), agents: map[api.ID]struct{}{}}
		d.queues[q.id] = q
	}
	q.row = r
	q.ready, q.depth = nil, 0
	for _, run := range d.runs {
		d.unqueue(run, q)
		if q.matches(run.shape) {
			d.enqueue(run, q)
			if run.stands() {
				q.push(run)
			}
		}
	}
	d.touch(q)
	return q
}

// enqueue and unqueue note that a queue does or does not match a run. They hold mu.
func (d *dispatcher) enqueue(run *dueRun, q *readyQueue) {
	if len(run.queues) == 0 {
		d.alone--
	}
	run.queues = append(run.queues, q)
	q.depth++
}

func (d *dispatcher) unqueue(run *dueRun, q *readyQueue) {
	before := len(run.queues)
	run.queues = slices.DeleteFunc(run.queues, func(other *readyQueue) bool { return other == q })
	if before > 0 && len(run.queues) == 0 {
		d.alone++
	}
}

// removeQueue drops a queue; who waits for it alone gets the answer that it is missing. Holds mu.
func (d *dispatcher) removeQueue(id api.ID) {
	q := d.queues[id]
	if q == nil {
		return
	}
	delete(d.queues, id)
	for _, run := range d.runs {
		d.unqueue(run, q)
	}
	q.ready, q.depth = nil, 0
	for _, dm := range d.demands {
		place, asked := dm.places[q]
		if !asked {
			continue
		}
		if place != nil {
			q.waiting.Remove(place)
		}
		delete(dm.places, q)
		dm.answer.Missing = append(dm.answer.Missing, id)
		if len(dm.places) == 0 && !dm.flying {
			delete(d.demands, dm.ClaimID)
			dm.finish(nil, dm.answer.Index, nil)
		}
	}
}

// add offers a due run to the queues that match it. Holds mu.
func (d *dispatcher) add(r *row.FlowRun) {
	if len(r.DeploymentId) == 0 {
		return // matches no queue
	}
	id := id16(r.Id)
	if d.runs[id] != nil {
		return
	}
	run := &dueRun{id: id, due: r.NextScheduledStartTime, expects: r.ExpectedStartTime, priority: orchestration.PriorityOf(r), shape: shapeOf(r)}
	d.runs[id] = run
	d.stand(run)
	d.alone++
	d.oldest.add(run, len(d.runs))
	for _, q := range d.queues {
		if q.matches(run.shape) {
			d.enqueue(run, q)
			q.push(run)
			d.touch(q)
		}
	}
	d.core.observer.Claimable(time.Duration(max(0, d.core.now()-run.due)) * time.Microsecond)
}

// drop forgets a run: it was taken, deleted or waits for a later time. Holds mu.
func (d *dispatcher) drop(id api.ID) {
	run := d.runs[id]
	if run == nil {
		return
	}
	delete(d.runs, id)
	run.gone = true
	if len(run.queues) == 0 {
		d.alone--
	}
	for _, q := range run.queues {
		q.left()
	}
	d.leaveGates(run)
}

// touch has a queue matched in the next round. Holds mu.
func (d *dispatcher) touch(q *readyQueue) {
	if !q.dirty {
		q.dirty = true
		d.dirty = append(d.dirty, q)
	}
}

func (d *dispatcher) run(ctx context.Context) error {
	defer d.end()
	return d.core.loop(ctx, d.wake, "hand out runs", d.runOnce)
}

// end answers everyone who still waits.
func (d *dispatcher) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.over = true
	for id, dm := range d.demands {
		delete(d.demands, id)
		d.unlist(dm)
		dm.finish(nil, 0, ErrEpochOver)
	}
}

// runOnce takes in what came due, matches, and returns when the next run is due.
func (d *dispatcher) runOnce(ctx context.Context) (time.Duration, error) {
	d.mu.Lock()
	round := d.round
	d.round = make(chan struct{})
	d.mu.Unlock()
	defer close(round)
	for {
		if err := d.takeDue(); err != nil {
			return 0, err
		}
		if err := d.resolve(ctx); err != nil {
			return 0, err
		}
		more, err := d.match(ctx)
		if err != nil {
			return 0, err
		}
		if !more {
			break
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	next := untilMicros(d.cursor.next, d.core.now())
	if len(d.refused) > 0 {
		next = min(next, max(0, d.retryAt.Sub(d.core.clock.Now())))
	}
	return next, nil
}

func (d *dispatcher) takeDue() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.refused) > 0 && !d.core.clock.Now().Before(d.retryAt) {
		for _, run := range d.refused {
			d.offerAgain(run)
		}
		d.refused = nil
	}
	now := d.core.now()
	if now < d.cursor.next {
		return nil
	}
	view, err := d.core.view()
	if err != nil {
		return err
	}
	defer view.Close()
	return d.cursor.advance(view, now, d.add)
}

// offerAgain puts a run back into its ready-lists. Holds mu.
func (d *dispatcher) offerAgain(run *dueRun) {
	run.claimed = false
	if !run.stands() {
		return
	}
	for _, q := range run.queues {
		q.push(run)
		d.touch(q)
	}
}

// match forms one proposal of all that fits now and delivers its grants. It reports whether there may be more to match.
func (d *dispatcher) match(ctx context.Context) (more bool, err error) {
	wishes, failed := d.pick()
	if len(wishes) == 0 {
		return false, failed
	}
	c := &command.ClaimRuns{Ttl: d.core.leaseTTL.Microseconds()}
	for _, dm := range wishes {
		w := &command.ClaimRuns_Wish{ClaimId: dm.ClaimID[:], AgentId: dm.AgentID[:]}
		for _, p := range dm.picks {
			w.Picks = append(w.Picks, &command.ClaimRuns_Pick{FlowRunId: p.run.id[:], WorkQueueId: p.queue.id[:]})
		}
		c.Wishes = append(c.Wishes, w)
	}
	results, index, err := d.core.propose(ctx, &command.Envelope{Command: &command.Envelope_ClaimRuns{ClaimRuns: c}})
	if err != nil {
		d.settle(wishes, nil, 0, err)
		return false, fmt.Errorf("propose: %w", err)
	}
	d.settle(wishes, results[0].Grants, index, nil)
	return true, failed
}

// pick gives due runs to waiting demands, oldest demand and earliest run first, in every queue where something changed. What
// was picked before an error counts.
func (d *dispatcher) pick() (wishes []*demand, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var view View
	defer func() {
		if view != nil {
			view.Close()
		}
	}()
	if len(d.freed) > 0 {
		if view, err = d.core.view(); err != nil {
			return nil, err
		}
		if err = d.reopen(view); err != nil {
			return nil, err
		}
	}
	picks := 0
	for len(d.dirty) > 0 && picks < claimPicks {
		q := d.dirty[0]
		if d.queues[q.id] != q || q.row.IsPaused || q.waiting.Len() == 0 || q.head() == nil {
			d.clean(q)
			continue
		}
		room := claimPicks - picks
		if q.row.ConcurrencyLimit != nil {
			if view == nil {
				if view, err = d.core.view(); err != nil {
					break
				}
			}
			var inUse int
			if inUse, err = view.SlotsInUse(q.id); err != nil {
				err = fmt.Errorf("read the slots of a work queue: %w", err)
				break
			}
			room = min(room, int(*q.row.ConcurrencyLimit)-inUse-q.claimed)
		}
		q.full = room <= 0
		for ; room > 0 && q.waiting.Len() > 0; room-- {
			var run *dueRun
			if run, view, err = d.open(q, view); err != nil || run == nil {
				break
			}
			dm := q.waiting.Front().Value.(*demand)
			if len(dm.picks) == 0 {
				wishes = append(wishes, dm)
			}
			dm.picks = append(dm.picks, pick{run, q, run.gates})
			run.claimed = true
			for _, g := range run.gates {
				g.claimed++
			}
			q.claimed++
			picks++
			if len(dm.picks) >= dm.Limit {
				d.unlist(dm)
			}
		}
		if err != nil {
			break
		}
		if picks < claimPicks {
			d.clean(q)
		}
	}
	for _, dm := range wishes {
		dm.flying = true
		d.unlist(dm)
	}
	return wishes, err
}

// open returns the first run of a queue that no gate stops, nil when there is none. The view is opened when it is needed.
// Holds mu.
func (d *dispatcher) open(q *readyQueue, view View) (*dueRun, View, error) {
	for {
		run := q.head()
		if run == nil || len(run.gates) == 0 {
			return run, view, nil
		}
		if view == nil {
			var err error
			if view, err = d.core.view(); err != nil {
				return nil, nil, err
			}
		}
		g, err := d.closed(view, run)
		if g == nil || err != nil {
			return run, view, err
		}
		d.park(run, g)
	}
}

// clean takes the first queue off the dirty ones. Holds mu.
func (d *dispatcher) clean(q *readyQueue) {
	q.dirty = false
	d.dirty = d.dirty[1:]
}

// settle delivers what came of a proposal. Demands that got nothing wait on behind the others, so that one which cannot be
// served does not keep them from being.
func (d *dispatcher) settle(wishes []*demand, grants []*row.Grant, index uint64, failed error) {
	granted := make(map[api.ID]*row.Grant, len(grants))
	for _, g := range grants {
		granted[id16(g.FlowRunId)] = g
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.core.now()
	for _, dm := range wishes {
		var got []*row.Grant
		for _, p := range dm.picks {
			p.queue.claimed--
			for _, g := range p.gates {
				g.claimed--
				d.free(g) // its room was reckoned without knowing which picks are granted
			}
			if p.queue.row.ConcurrencyLimit != nil {
				d.touch(p.queue) // its room was reckoned without knowing which picks are granted
			}
			if g := granted[p.run.id]; g != nil {
				got = append(got, g)
				d.core.observer.Claimed(time.Duration(max(0, now-p.run.due)) * time.Microsecond)
				if d.runs[p.run.id] == p.run { // else it waits again already, as another entry
					d.drop(p.run.id)
				}
				continue
			}
			d.refuse(p.run)
		}
		dm.picks, dm.flying = nil, false
		switch {
		case dm.finished(): // the epoch ended meanwhile
		case failed != nil:
			// Perhaps it was granted: only repeating the claim tells.
			delete(d.demands, dm.ClaimID)
			dm.finish(nil, 0, failed)
		case len(got) == 0 && dm.orphaned:
			delete(d.demands, dm.ClaimID)
			dm.finish(nil, 0, ErrUnknownAgent)
		case len(got) == 0 && dm.drained:
			delete(d.demands, dm.ClaimID)
			dm.answer.Draining = true
			dm.finish(nil, index, nil)
		case len(got) > 0 || dm.callers <= 0 || len(dm.places) == 0:
			delete(d.demands, dm.ClaimID)
			dm.finish(got, index, nil)
		default:
			for q := range dm.places {
				dm.places[q] = q.waiting.PushBack(dm)
				d.touch(q)
			}
		}
	}
}

// refuse lets a run rest that was not granted. If it is really gone, an event says so meanwhile. Holds mu.
func (d *dispatcher) refuse(run *dueRun) {
	if run.gone {
		run.claimed = false
		return
	}
	if len(d.refused) == 0 {
		d.retryAt = d.core.clock.Now().Add(refusedPause)
	}
	d.refused = append(d.refused, run)
}
