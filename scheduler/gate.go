package scheduler

import (
	"container/heap"
	"context"
	"fmt"
	"slices"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/orchestration"
	"github.com/sluice-dev/sluice/fsm/row"
)

// gate is a limit of a deployment with the due runs that it stops. They wait here and not in the ready-lists of queues, where
// they would take the places of others.
//
// Invariant: a parked run is in parked of the gate it names; it stands in ready-lists only as a void place.
type gate struct {
	orchestration.Gate
	deployment api.ID
	parked     readyList
	waiting    int  // parked runs that are not gone
	due        int  // due runs that must pass it, parked or not
	claimed    int  // picks in the proposal under way: they will occupy slots that the state does not show
	freed      bool // may have room since it was last looked at
}

// gatesChanged takes over the gates of a deployment as they are now; nil: it has none. Holds mu.
func (d *dispatcher) gatesChanged(deployment *row.Deployment) {
	id := id16(deployment.Id)
	old, now := d.gates[id], orchestration.Gates(deployment.Id, deployment.Policy)
	if len(old) == 0 && len(now) == 0 {
		return
	}
	var gates []*gate
	for _, g := range now {
		// A gate that goes on existing keeps what it counts of the proposal under way.
		i := slices.IndexFunc(old, func(o *gate) bool { return o.ID == g.ID })
		if i < 0 {
			gates = append(gates, &gate{Gate: g, deployment: id})
			continue
		}
		old[i].Gate = g
		gates = append(gates, old[i])
	}
	if d.gates[id] = gates; len(gates) == 0 {
		delete(d.gates, id)
	}
	for _, g := range old {
		d.unpark(g, g.waiting)
	}
	for _, g := range gates {
		g.due = 0
		d.free(g)
	}
	for _, run := range d.runs {
		if id16(run.shape.DeploymentId) == id {
			d.stand(run)
		}
	}
	d.wake.set()
}

// stand notes which gates a due run must pass, and has it decided about where it must not wait. Holds mu.
func (d *dispatcher) stand(run *dueRun) {
	run.gates = nil // not to be written to: a pick keeps the gates it was counted at
	for _, g := range d.gates[id16(run.shape.DeploymentId)] {
		if !g.Concerns(run.shape) {
			continue
		}
		run.gates = append(run.gates, g)
		g.due++
		if g.Conflict != row.Policy_QUEUE {
			d.conflicts[g.deployment] = struct{}{}
		}
	}
}

// leaveGates forgets a run that is not due any more. Holds mu.
func (d *dispatcher) leaveGates(run *dueRun) {
	for _, g := range run.gates {
		g.due--
	}
	if g := run.parked; g != nil {
		run.parked = nil
		g.waiting--
		g.trim()
	}
}

// trim removes void places when they are most of the list.
func (g *gate) trim() {
	if len(g.parked) <= 2*g.waiting+64 {
		return
	}
	g.parked = slices.DeleteFunc(g.parked, func(r *dueRun) bool { return r.parked != g })
	heap.Init(&g.parked)
}

// closed returns the first gate that has no room for a run, nil when the run may start. Holds mu.
func (d *dispatcher) closed(v View, run *dueRun) (*gate, error) {
	for _, g := range run.gates {
		inUse, err := v.SlotsInUse(g.ID)
		if err != nil {
			return nil, fmt.Errorf("read the slots of a deployment: %w", err)
		}
		if inUse+g.claimed >= g.Limit {
			return g, nil
		}
	}
	return nil, nil
}

// park has a run wait at a gate. Holds mu.
func (d *dispatcher) park(run *dueRun, g *gate) {
	run.parked = g
	g.waiting++
	heap.Push(&g.parked, run)
}

// unpark lets up to n runs go on to their queues. Holds mu.
func (d *dispatcher) unpark(g *gate, n int) {
	for n > 0 && len(g.parked) > 0 {
		run := heap.Pop(&g.parked).(*dueRun)
		if run.parked != g {
			continue // gone
		}
		run.parked = nil
		g.waiting--
		n--
		d.offerAgain(run)
	}
}

// free notes that a gate may have room. Holds mu.
func (d *dispatcher) free(g *gate) {
	if !g.freed {
		g.freed = true
		d.freed = append(d.freed, g)
	}
}

// reopen lets runs through the gates that may have room now. Holds mu.
func (d *dispatcher) reopen(v View) error {
	for len(d.freed) > 0 {
		g := d.freed[0]
		if g.waiting > 0 {
			inUse, err := v.SlotsInUse(g.ID)
			if err != nil {
				return fmt.Errorf("read the slots of a deployment: %w", err)
			}
			d.unpark(g, g.Limit-inUse-g.claimed)
		}
		g.freed = false
		d.freed = d.freed[1:]
	}
	return nil
}

// gateFreed follows that a run of a deployment may have left its gates. Holds mu.
func (d *dispatcher) gateFreed(r *row.FlowRun) {
	for _, g := range d.gates[id16(r.DeploymentId)] {
		if g.waiting > 0 {
			d.free(g)
			d.wake.set()
		}
	}
}

// gateTaken follows that a run of a deployment is under way: where due runs must not wait, they are decided about. Holds mu.
func (d *dispatcher) gateTaken(r *row.FlowRun) {
	for _, g := range d.gates[id16(r.DeploymentId)] {
		if g.Conflict == row.Policy_SKIP && g.due > 0 {
			d.conflicts[g.deployment] = struct{}{}
			d.wake.set()
		}
	}
}

// observeDeployment follows the policy of a deployment.
func (d *dispatcher) observeDeployment(r *row.Deployment, deleted bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if deleted {
		r = &row.Deployment{Id: r.Id}
	}
	d.gatesChanged(r)
}

const (
	// conflictBatch bounds the deployments of one command.
	conflictBatch = 200
	// conflictMost is from how many changed runs on a command may have left some to the next one.
	conflictMost = 1000
)

// resolve has the state machine decide about due runs that must not wait at a closed gate.
func (d *dispatcher) resolve(ctx context.Context) error {
	for {
		d.mu.Lock()
		c := &command.ResolveConflicts{}
		for id := range d.conflicts {
			if len(c.DeploymentIds) == conflictBatch {
				break
			}
			c.DeploymentIds = append(c.DeploymentIds, id[:])
			delete(d.conflicts, id)
		}
		d.mu.Unlock()
		if len(c.DeploymentIds) == 0 {
			return nil
		}
		results, _, err := d.core.propose(ctx, &command.Envelope{Command: &command.Envelope_ResolveConflicts{ResolveConflicts: c}})
		if err != nil || results[0].Count >= conflictMost {
			d.mu.Lock()
			for _, id := range c.DeploymentIds {
				d.conflicts[id16(id)] = struct{}{}
			}
			d.mu.Unlock()
		}
		if err != nil {
			return fmt.Errorf("propose: %w", err)
		}
	}
}
