package fsm

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/orchestration"
	"github.com/sluice-dev/sluice/fsm/row"
)

// Deployments limit how many of their runs are under way. Such a limit is a gate: a run passes it when it is claimed or taken,
// or when it becomes Running; its place is a slot row, written with the state that holds it.

// policiesCached bounds how many deployments' policies are kept in memory.
const policiesCached = 10_000

// policyOf returns a deployment's policy, nil without one.
func (a *applier) policyOf(deploymentID []byte) (*row.Policy, error) {
	id := id16(deploymentID)
	if p, known := a.cache.policies[id]; known {
		return p, nil
	}
	d, err := a.tx.Deployment(id)
	if err != nil {
		return nil, err
	}
	if a.cache.policies == nil || len(a.cache.policies) >= policiesCached {
		a.cache.policies = map[api.ID]*row.Policy{}
	}
	a.cache.policies[id] = d.GetPolicy()
	return d.GetPolicy(), nil
}

// gatesOf returns the gates that a run must pass.
func (a *applier) gatesOf(run *row.FlowRun) ([]orchestration.Gate, error) {
	if len(run.DeploymentId) == 0 {
		return nil, nil
	}
	p, err := a.policyOf(run.DeploymentId)
	if err != nil || p == nil {
		return nil, err
	}
	gates := orchestration.Gates(run.DeploymentId, p)
	kept := gates[:0]
	for _, g := range gates {
		if g.Concerns(run) {
			kept = append(kept, g)
		}
	}
	return kept, nil
}

// closedGate returns the first gate that a run which holds no place cannot pass now, nil when there is none.
func (a *applier) closedGate(run *row.FlowRun) (*orchestration.Gate, error) {
	gates, err := a.gatesOf(run)
	if err != nil {
		return nil, err
	}
	for _, g := range gates {
		inUse, err := a.tx.SlotsInUse(g.ID)
		if err != nil {
			return nil, err
		}
		if inUse >= g.Limit {
			return &g, nil
		}
	}
	return nil, nil
}

// gateSlots gives a run its slots in the gates of its deployment.
func (a *applier) gateSlots(run *row.FlowRun) error {
	if !orchestration.HoldsGate(run) {
		return nil
	}
	gates, err := a.gatesOf(run)
	if err != nil {
		return err
	}
	for _, g := range gates {
		if err := a.tx.NewSlot(&row.Slot{LimitId: g.ID[:], RunId: run.Id}).Save(); err != nil {
			return err
		}
	}
	return nil
}

// changeGates follows a change of a deployment's policy: a gate that is new gets a slot for each run under way, O(runs in
// progress); one that is gone loses its slots.
func (a *applier) changeGates(deploymentID []byte, before, now *row.Policy) error {
	delete(a.cache.policies, id16(deploymentID))
	old, next := orchestration.Gates(deploymentID, before), orchestration.Gates(deploymentID, now)
	for _, g := range old {
		if !hasGate(next, g.ID) {
			if err := a.dropSlots(g.ID[:]); err != nil {
				return err
			}
		}
	}
	for _, g := range next {
		if hasGate(old, g.ID) {
			continue
		}
		runs, err := a.runsUnderWay(deploymentID, g)
		if err != nil {
			return err
		}
		for _, run := range runs {
			if err := a.tx.NewSlot(&row.Slot{LimitId: g.ID[:], RunId: run}).Save(); err != nil {
				return err
			}
		}
	}
	return nil
}

func hasGate(gates []orchestration.Gate, id [16]byte) bool {
	for _, g := range gates {
		if g.ID == id {
			return true
		}
	}
	return false
}

func (a *applier) runsUnderWay(deploymentID []byte, g orchestration.Gate) (runs [][]byte, err error) {
	for _, t := range []row.StateType{row.StateType_PENDING, row.StateType_RUNNING} {
		err := a.tx.FlowRunsByState(t, false, func(r *row.FlowRun) (bool, error) {
			if string(r.DeploymentId) == string(deploymentID) && g.Concerns(r) && orchestration.HoldsGate(r) {
				runs = append(runs, r.Id)
			}
			return true, nil
		})
		if err != nil {
			return nil, err
		}
	}
	return runs, nil
}

// holders returns the runs that occupy a gate.
func (a *applier) holders(g orchestration.Gate) ([]*row.FlowRun, error) {
	ids, err := a.tx.Slots(g.ID)
	if err != nil {
		return nil, err
	}
	runs := make([]*row.FlowRun, 0, len(ids))
	for _, id := range ids {
		run, err := a.tx.FlowRun(id)
		if err != nil {
			return nil, err
		}
		if run == nil {
			return nil, fmt.Errorf("a slot of limit %x is held by a flow run that is not there: %s", g.ID, id)
		}
		runs = append(runs, run)
	}
	return runs, nil
}

// resolveBatch bounds how many runs of one deployment a command skips.
const resolveBatch = 1000

// resolveConflicts decides about the due runs of deployments whose gates are closed. The count is of runs that it changed.
func (a *applier) resolveConflicts(c *command.ResolveConflicts) (*command.Result, error) {
	result := &command.Result{}
	for _, id := range c.DeploymentIds {
		n, err := a.resolve(id)
		if err != nil {
			return nil, err
		}
		result.Count += int32(n)
	}
	return result, nil
}

// resolve decides about the due runs of one deployment.
func (a *applier) resolve(deploymentID []byte) (changed int, err error) {
	p, err := a.policyOf(deploymentID)
	if err != nil {
		return 0, err
	}
	for _, g := range orchestration.Gates(deploymentID, p) {
		if g.Conflict == row.Policy_QUEUE {
			continue
		}
		// Where the newest win, so many stay.
		most := resolveBatch
		if g.Conflict == row.Policy_CANCEL_RUNNING {
			most += g.Limit
		}
		var due []*row.FlowRun
		err := a.tx.ScheduledFlowRunsOfDeployment(id16(deploymentID), false, func(r *row.FlowRun) (bool, error) {
			if r.NextScheduledStartTime > a.now {
				return false, nil
			}
			if g.Concerns(r) {
				due = append(due, r)
			}
			return len(due) < most, nil
		})
		if err != nil {
			return changed, err
		}
		if len(due) == 0 {
			continue
		}
		n, err := a.resolveGate(g, due)
		changed += n
		if err != nil {
			return changed, err
		}
	}
	return changed, nil
}

// resolveGate carries out what is to become of the runs that want to pass a gate.
func (a *applier) resolveGate(g orchestration.Gate, due []*row.FlowRun) (changed int, err error) {
	holders, err := a.holders(g)
	if err != nil {
		return 0, err
	}
	r := orchestration.Resolve(g, holders, due)
	by := holders
	if g.Conflict == row.Policy_CANCEL_RUNNING {
		by = []*row.FlowRun{slices.MinFunc(due, orchestration.Newest)}
	}
	for _, run := range r.Skip {
		e, err := a.tx.EditFlowRun(run.Id)
		if err != nil {
			return changed, err
		}
		if err := a.recordFlowRunState(e, a.skipped(g, by, run.State.Timestamp)); err != nil {
			return changed, err
		}
		changed++
	}
	for _, run := range r.Cancel {
		message := "Cancelled to make room for a newer run: " + gateText(g) + "."
		if _, err := a.cancelFlowRun(&command.CancelFlowRun{Id: run.Id, Message: message}); err != nil {
			return changed, err
		}
		changed++
	}
	return changed, nil
}

// skipped is the state of a run that must not wait at a closed gate.
func (a *applier) skipped(g orchestration.Gate, by []*row.FlowRun, previous int64) *row.State {
	message := "Skipped: " + gateText(g)
	if g.Conflict == row.Policy_CANCEL_RUNNING {
		message += "; superseded by " + named(by) + "."
	} else {
		message += ", which " + named(by) + " occupied."
	}
	return a.newState(&command.ProposedState{Type: row.StateType_CANCELLED, Name: orchestration.NameSkipped, Message: &message}, previous)
}

func gateText(g orchestration.Gate) string {
	if g.Overlap {
		return "scheduled runs of the deployment must not overlap"
	}
	return fmt.Sprintf("the deployment's concurrency limit is %d", g.Limit)
}

// named lists runs for people, at most three of them.
func named(runs []*row.FlowRun) string {
	const most = 3
	var names []string
	for _, r := range runs[:min(len(runs), most)] {
		names = append(names, "'"+r.Name+"' ("+id16(r.Id).String()+")")
	}
	text := strings.Join(names, ", ")
	switch {
	case len(runs) == 0:
		return "nothing"
	case len(runs) > most:
		text += fmt.Sprintf(" and %d more", len(runs)-most)
	}
	return text
}

// gateWaitSeconds is how long an owner that was not let through a gate waits before it asks again.
const gateWaitSeconds = 10

// atGate decides about a state that a run's owner may take by all other rules: entering a slot-holding state, it must pass
// the gates of its deployment. Agents' claims were let through before.
func (a *applier) atGate(run *row.FlowRun, d orchestration.Decision) (orchestration.Decision, error) {
	after := &row.FlowRun{Id: run.Id, Created: run.Created, State: d.State}
	if orchestration.HoldsGate(run) || !orchestration.HoldsGate(after) {
		return d, nil
	}
	g, err := a.closedGate(run)
	if err != nil || g == nil {
		return d, err
	}
	holders, err := a.holders(*g)
	if err != nil {
		return d, err
	}
	switch g.Conflict {
	case row.Policy_SKIP:
		s := a.skipped(*g, holders, run.State.GetTimestamp())
		return orchestration.Decision{Status: orchestration.Reject, Reason: s.GetMessage(), State: s}, nil
	case row.Policy_CANCEL_RUNNING:
		for _, h := range orchestration.Resolve(*g, holders, []*row.FlowRun{run}).Cancel {
			message := "Cancelled to make room for a newer run: " + gateText(*g) + "."
			if _, err := a.cancelFlowRun(&command.CancelFlowRun{Id: h.Id, Message: message}); err != nil {
				return d, err
			}
		}
	}
	return orchestration.Decision{Status: orchestration.Wait, DelaySeconds: gateWaitSeconds,
		Reason: "Waiting: " + gateText(*g) + ", which " + named(holders) + " occupied."}, nil
}

// runPolicy is what a new run keeps: the request's wishes over its deployment's policy; nil when there is nothing to keep.
func runPolicy(d *row.Deployment, wished *row.RunPolicy) *row.RunPolicy {
	p := &row.RunPolicy{}
	if own := d.GetPolicy().GetRun(); own != nil {
		p = proto.Clone(own).(*row.RunPolicy)
	}
	if wished.GetPriority() != 0 {
		p.Priority = wished.Priority
	}
	if wished.GetQueueTimeout() != 0 {
		p.QueueTimeout = wished.QueueTimeout
	}
	if wished.GetRunTimeout() != 0 {
		p.RunTimeout = wished.RunTimeout
	}
	if wished.GetCrashRetries() != 0 {
		p.CrashRetries, p.CrashDelay = wished.CrashRetries, wished.CrashDelay
	}
	if proto.Size(p) == 0 {
		return nil
	}
	return p
}
