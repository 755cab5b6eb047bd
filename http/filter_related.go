package httpapi

import (
	"context"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
)

// matcher evaluates filters in one view. A criterion on another kind of object demands that a related object matches; what it
// finds about flows, deployments and flow runs it remembers, since many rows share them.
type matcher struct {
	ctx  context.Context
	view *state.View
	filters

	rows            int // looked at so far
	flowsSeen       map[api.ID]bool
	deploymentsSeen map[api.ID]bool
	runs            map[api.ID]bool
	// related holds the flows and deployments of all matching flow runs, when these are few enough to list.
	related *relatedRuns
	// manyRuns says that they are not.
	manyRuns bool
	// taskParents holds the flow runs of the task runs that the task run filter names by id.
	taskParents map[api.ID]bool
}

type relatedRuns struct{ flows, deployments map[api.ID]bool }

func newMatcher(x *exchange, view *state.View, f filters) *matcher {
	return &matcher{
		ctx: x.ctx, view: view, filters: f,
		flowsSeen: map[api.ID]bool{}, deploymentsSeen: map[api.ID]bool{}, runs: map[api.ID]bool{},
	}
}

// alive ends a walk whose client went away or whose time is over.
func (m *matcher) alive() error {
	m.rows++
	if m.rows%256 == 0 {
		return m.ctx.Err()
	}
	return nil
}

// flow reports whether a flow fits all criteria.
func (m *matcher) flow(r *row.Flow) (bool, error) {
	if m.flows != nil && !m.flows.matches(r) {
		return false, nil
	}
	if m.deployments != nil {
		found, err := m.anyDeploymentOf(r.Id)
		if err != nil || !found {
			return false, err
		}
	}
	if m.flowRuns == nil && m.taskRuns == nil {
		return true, nil
	}
	if known, found, err := m.anyRunInState(func(t row.StateType) (int64, error) { return m.view.CountFlowRunsOfFlow(idOf(r.Id), t) },
		func(t row.StateType, name string) (int64, error) {
			return m.view.CountFlowRunsOfFlowNamed(idOf(r.Id), t, name)
		}); err != nil || known {
		return found, err
	}
	if related, err := m.fewRuns(); err != nil || related != nil {
		return err == nil && related.flows[idOf(r.Id)], err
	}
	return m.anyRun(filters{flows: &flowFilter{id: only(r.Id)}})
}

func (m *matcher) anyDeploymentOf(flowID []byte) (found bool, err error) {
	err = m.view.EachDeployment(func(d *row.Deployment) (bool, error) {
		found = string(d.FlowId) == string(flowID) && m.deployments.matches(d)
		return !found, m.alive()
	})
	return found, err
}

// deployment reports whether a deployment fits all criteria.
func (m *matcher) deployment(r *row.Deployment) (bool, error) {
	if m.deployments != nil && !m.deployments.matches(r) {
		return false, nil
	}
	if good, err := m.flowMatches(r.FlowId); err != nil || !good {
		return false, err
	}
	if m.flowRuns == nil && m.taskRuns == nil {
		return true, nil
	}
	if known, found, err := m.anyRunInState(func(t row.StateType) (int64, error) { return m.view.CountFlowRunsOfDeployment(idOf(r.Id), t) },
		func(t row.StateType, name string) (int64, error) {
			return m.view.CountFlowRunsOfDeploymentNamed(idOf(r.Id), t, name)
		}); err != nil || known {
		return found, err
	}
	if related, err := m.fewRuns(); err != nil || related != nil {
		return err == nil && related.deployments[idOf(r.Id)], err
	}
	return m.anyRun(filters{deployments: &deploymentFilter{id: only(r.Id)}})
}

// anyRunInState answers from the counters of a flow or deployment whether it has a run that fits, when nothing but the state is asked of runs.
func (m *matcher) anyRunInState(count func(row.StateType) (int64, error), countNamed func(row.StateType, string) (int64, error)) (known, found bool, err error) {
	if m.taskRuns != nil || m.flowRuns.asks()&^(askType|askStateName) != 0 {
		return false, false, nil
	}
	n, err := sum(m.flowRuns.wantedTypes(), func(t row.StateType) (int64, error) {
		if m.flowRuns == nil || m.flowRuns.state.names.any == nil {
			return count(t)
		}
		return sum(m.flowRuns.state.names.any.list, func(name string) (int64, error) { return countNamed(t, name) })
	})
	return true, n > 0, err
}

// only is the criterion that names one id.
func only(id []byte) idCriterion { return idCriterion{any: &idSet{list: []api.ID{idOf(id)}}} }

// anyRun reports whether a flow run of the flow or deployment that of names fits the criteria on flow runs and on their task runs.
func (m *matcher) anyRun(of filters) (found bool, err error) {
	narrow := *m
	narrow.filters = filters{flows: of.flows, deployments: of.deployments, flowRuns: m.flowRuns, taskRuns: m.taskRuns}
	source, err := narrow.flowRunSource()
	if err != nil {
		return false, err
	}
	covered := narrow.asks()&^source.covers == 0 && source.count != nil
	err = source.ids(true, func(_ int64, id api.ID) (bool, error) {
		if covered {
			found = true
			return false, nil
		}
		r, err := m.view.FlowRun(id)
		if err != nil || r == nil {
			return true, m.next(err)
		}
		if of.flows != nil && !of.flows.id.matches(r.FlowId) || of.deployments != nil && !of.deployments.id.matches(r.DeploymentId) {
			return true, m.alive()
		}
		found, err = m.runItself(r)
		return !found, m.next(err)
	})
	return found, err
}

// fewRows is how many flow runs are looked at once for all flows or deployments, instead of for each of them.
const fewRows = 5000

// fewRuns lists the flows and deployments of the matching flow runs if these are few, else nil.
func (m *matcher) fewRuns() (*relatedRuns, error) {
	if m.related != nil || m.manyRuns {
		return m.related, nil
	}
	found := &relatedRuns{flows: map[api.ID]bool{}, deployments: map[api.ID]bool{}}
	narrow := *m
	narrow.filters = filters{flowRuns: m.flowRuns, taskRuns: m.taskRuns}
	source, err := narrow.flowRunSource()
	if err != nil {
		return nil, err
	}
	if m.manyRuns = source.cost > fewRows; m.manyRuns {
		return nil, nil
	}
	err = source.walk(m, true, func(r *row.FlowRun) (bool, error) {
		good, err := m.runItself(r)
		if good {
			found.flows[idOf(r.FlowId)] = true
			found.deployments[idOf(r.DeploymentId)] = true
		}
		return true, m.next(err)
	})
	m.related = found
	return found, err
}

// runItself looks at a flow run and its task runs, not at its flow and deployment.
func (m *matcher) runItself(r *row.FlowRun) (bool, error) {
	if m.flowRuns != nil && !m.flowRuns.matches(r) {
		return false, nil
	}
	if m.taskRuns == nil {
		return true, nil
	}
	return m.anyTaskRunOf(r.Id)
}

func (m *matcher) anyTaskRunOf(flowRunID []byte) (found bool, err error) {
	if parents, err := m.parentsOfTaskRuns(); err != nil || parents != nil {
		return err == nil && parents[idOf(flowRunID)], err
	}
	err = m.view.TaskRunsOfFlowRun(idOf(flowRunID), false, func(t *row.TaskRun) (bool, error) {
		good, err := m.taskItself(t)
		if err != nil {
			return false, err
		}
		found = good
		return !good, m.alive()
	})
	return found, err
}

func (m *matcher) parentsOfTaskRuns() (map[api.ID]bool, error) {
	if m.taskParents != nil || m.taskRuns.id.any == nil {
		return m.taskParents, nil
	}
	parents := map[api.ID]bool{}
	for _, id := range m.taskRuns.id.any.list {
		t, err := m.view.TaskRun(id)
		if err != nil {
			return nil, err
		}
		if t == nil {
			continue
		}
		if good, err := m.taskItself(t); err != nil || !good {
			if err != nil {
				return nil, err
			}
			continue
		}
		parents[idOf(t.FlowRunId)] = true
	}
	m.taskParents = parents
	return parents, nil
}

// taskItself looks at a task run and the subflow it may stand for.
func (m *matcher) taskItself(t *row.TaskRun) (bool, error) {
	if m.taskRuns == nil {
		return true, nil
	}
	if !m.taskRuns.matches(t) {
		return false, nil
	}
	if m.taskRuns.subflow == nil {
		return true, nil
	}
	found := false
	err := m.view.FlowRunsOfTaskRun(idOf(t.Id), func(*row.FlowRun) (bool, error) {
		found = true
		return false, nil
	})
	return found == *m.taskRuns.subflow, err
}

// flowRun reports whether a flow run fits all criteria.
func (m *matcher) flowRun(r *row.FlowRun) (bool, error) {
	if m.flowRuns != nil && !m.flowRuns.matches(r) {
		return false, nil
	}
	if good, err := m.flowMatches(r.FlowId); err != nil || !good {
		return false, err
	}
	if good, err := m.deploymentMatches(r.DeploymentId); err != nil || !good {
		return false, err
	}
	if m.taskRuns == nil {
		return true, nil
	}
	return m.anyTaskRunOf(r.Id)
}

func (m *matcher) flowMatches(id []byte) (bool, error) {
	if m.flows == nil {
		return true, nil
	}
	if good, known := m.flowsSeen[idOf(id)]; known {
		return good, nil
	}
	flow, err := m.view.Flow(idOf(id))
	if err != nil {
		return false, err
	}
	good := flow != nil && m.flows.matches(flow)
	m.flowsSeen[idOf(id)] = good
	return good, nil
}

func (m *matcher) deploymentMatches(id []byte) (bool, error) {
	if m.deployments == nil {
		return true, nil
	}
	if len(id) == 0 {
		return false, nil
	}
	if good, known := m.deploymentsSeen[idOf(id)]; known {
		return good, nil
	}
	d, err := m.view.Deployment(idOf(id))
	if err != nil {
		return false, err
	}
	good := d != nil && m.deployments.matches(d)
	m.deploymentsSeen[idOf(id)] = good
	return good, nil
}

// taskRun reports whether a task run fits all criteria; those on other objects look at its flow run.
func (m *matcher) taskRun(t *row.TaskRun) (bool, error) {
	if good, err := m.taskItself(t); err != nil || !good {
		return false, err
	}
	if m.flows == nil && m.flowRuns == nil && m.deployments == nil {
		return true, nil
	}
	if good, known := m.runs[idOf(t.FlowRunId)]; known {
		return good, nil
	}
	r, err := m.view.FlowRun(idOf(t.FlowRunId))
	if err != nil {
		return false, err
	}
	good := false
	if r != nil {
		if good, err = m.runWithoutTasks(r); err != nil {
			return false, err
		}
	}
	if len(m.runs) < 10_000 {
		m.runs[idOf(t.FlowRunId)] = good
	}
	return good, nil
}

func (m *matcher) runWithoutTasks(r *row.FlowRun) (bool, error) {
	tasks := m.taskRuns
	m.taskRuns = nil
	defer func() { m.taskRuns = tasks }()
	return m.flowRun(r)
}

// next is alive after a row that was looked at with err.
func (m *matcher) next(err error) error {
	if err != nil {
		return err
	}
	return m.alive()
}
