package httpapi

import (
	"cmp"
	"slices"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/orchestration"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
)

// situation gathers what decides whether a run goes on.
func (s *Server) situation(view *state.View, id api.ID, presence Presence) (situation, error) {
	run, err := view.FlowRun(id)
	if err != nil {
		return situation{}, err
	}
	if run == nil {
		return situation{}, notFound(missing.flowRun)
	}
	in := situation{run: run, now: s.now(), renewed: presence.Renewed[id]}
	switch {
	case terminal(run.GetState().GetType()):
		return in, nil
	case run.GetState().GetType() == row.StateType_RUNNING:
		in.tags, err = fullTags(view, id)
		return in, err
	}
	held := map[api.ID]int{}
	err = view.LeasedFlowRuns(func(r *row.FlowRun) (bool, error) {
		held[idOf(r.Lease.OwnerId)]++
		return true, nil
	})
	if err != nil {
		return in, err
	}
	serving, draining := map[api.ID][]*row.Agent{}, map[api.ID][]string{}
	err = view.EachAgent(func(a *row.Agent) (bool, error) {
		switch {
		case !presence.Agents[idOf(a.Id)].Live:
		case a.Draining != 0:
			for _, q := range a.WorkQueueIds {
				draining[idOf(q)] = append(draining[idOf(q)], a.Name)
			}
		default:
			for _, q := range a.WorkQueueIds {
				serving[idOf(q)] = append(serving[idOf(q)], a)
			}
		}
		return true, nil
	})
	if err != nil {
		return in, err
	}
	err = view.EachWorkQueue(func(q *row.WorkQueue) (bool, error) {
		used, err := view.SlotsInUse(idOf(q.Id))
		one := queueSituation{queue: q, inUse: used, draining: draining[idOf(q.Id)]}
		for _, a := range serving[idOf(q.Id)] {
			one.liveAgents = append(one.liveAgents, a.Name)
			one.busy += held[idOf(a.Id)]
			// One that neither asks nor executes anything is between two questions.
			one.free = one.free || presence.Agents[idOf(a.Id)].Asking || held[idOf(a.Id)] == 0
		}
		if err == nil && q.ConcurrencyLimit != nil && !orchestration.HasRoom(q, used) {
			one.holders, err = runsHolding(view, idOf(q.Id))
		}
		in.queues = append(in.queues, one)
		return true, err
	})
	if err != nil {
		return in, err
	}
	in.deployment, err = deploymentLimit(view, run)
	return in, err
}

// runsHolding names some of the flow runs that occupy a limit.
func runsHolding(view *state.View, limit api.ID) ([]api.ExplainHolder, error) {
	holders := []api.ExplainHolder{}
	err := view.EachSlot(limit, nil, func(slot *row.Slot) (bool, error) {
		run, err := view.FlowRun(idOf(slot.RunId))
		if err == nil && run != nil {
			holders = append(holders, api.ExplainHolder{ID: idOf(run.Id), Name: run.Name})
		}
		return len(holders) < mostNamed, err
	})
	return holders, err
}

// deploymentLimit is the limit of the run's deployment that keeps it, nil when none does.
func deploymentLimit(view *state.View, run *row.FlowRun) (*api.ExplainLimit, error) {
	if len(run.DeploymentId) == 0 {
		return nil, nil
	}
	d, err := view.Deployment(idOf(run.DeploymentId))
	if err != nil || d == nil {
		return nil, err
	}
	for _, g := range orchestration.Gates(d.Id, d.Policy) {
		if g.Overlap && !run.AutoScheduled {
			continue
		}
		used, err := view.SlotsInUse(g.ID)
		if err != nil {
			return nil, err
		}
		if used >= g.Limit {
			holders, err := runsHolding(view, g.ID)
			kind := api.LimitDeployment
			if g.Overlap {
				kind = api.LimitOverlap
			}
			return &api.ExplainLimit{Kind: kind, Name: d.Name, Limit: g.Limit, InUse: used, Holders: holders}, err
		}
	}
	return nil, nil
}

// mostTaskRuns bounds how many task runs of a run are looked at.
const mostTaskRuns = 500

// fullTags finds the full limits that task runs of a run wait for.
func fullTags(view *state.View, id api.ID) ([]api.ExplainLimit, error) {
	full := map[string]*api.ExplainLimit{}
	err := view.EachConcurrencyLimit(func(l *row.ConcurrencyLimit) (bool, error) {
		used, err := view.SlotsInUse(idOf(l.Id))
		if err == nil && used >= int(l.Limit) {
			full[l.Tag] = &api.ExplainLimit{Kind: api.LimitTag, Name: l.Tag, Limit: int(l.Limit), InUse: used, Holders: []api.ExplainHolder{}}
			err = view.EachSlot(idOf(l.Id), nil, func(slot *row.Slot) (bool, error) {
				task, err := view.TaskRun(idOf(slot.RunId))
				if err == nil && task != nil {
					full[l.Tag].Holders = append(full[l.Tag].Holders, api.ExplainHolder{ID: idOf(task.Id), Name: task.Name})
				}
				return len(full[l.Tag].Holders) < mostNamed, err
			})
		}
		return true, err
	})
	if err != nil || len(full) == 0 {
		return nil, err
	}
	var found []api.ExplainLimit
	looked := 0
	err = view.TaskRunsOfFlowRun(id, true, func(t *row.TaskRun) (bool, error) {
		looked++
		if t.GetState().GetType() == row.StateType_PENDING {
			for _, tag := range t.Tags {
				if l := full[tag]; l != nil && l.TaskRun == nil {
					l.TaskRun = &api.ExplainHolder{ID: idOf(t.Id), Name: t.Name}
					found = append(found, *l)
				}
			}
		}
		return looked < mostTaskRuns, nil
	})
	slices.SortFunc(found, func(a, b api.ExplainLimit) int { return cmp.Compare(a.Name, b.Name) })
	return found, err
}
