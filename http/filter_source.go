package httpapi

import (
	"cmp"
	"slices"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/row"
)

// runSource is a way to find candidates among the flow runs.
type runSource struct {
	cost    int64 // rows it will hand out, about
	ordered bool  // by id, either way
	walk    func(reverse bool, fn func(*row.FlowRun) (bool, error)) error
}

// A run name or a parent leads to few runs.
const (
	runsPerName   = 16
	runsPerParent = 2
)

// flowRunSource chooses the index that hands out the fewest candidates.
func (m *matcher) flowRunSource() (runSource, error) {
	all, err := m.countAll()
	if err != nil {
		return runSource{}, err
	}
	best := runSource{cost: all + 1, ordered: true, walk: m.view.EachFlowRun}
	offer := func(s runSource) {
		if s.cost < best.cost {
			best = s
		}
	}
	if f := m.flowRuns; f != nil {
		if f.id.any != nil {
			offer(m.runsByID(f.id.any))
		}
		if f.name.any != nil {
			offer(m.runsByName(f.name.any))
		}
		if f.parent.any != nil {
			offer(m.runsByParent(f.parent.any))
		}
		if f.deploymentID.any != nil {
			if err := m.offerDeployments(f.deploymentID.any, offer); err != nil {
				return best, err
			}
		}
		if f.state.typed {
			if err := m.offerStates(f.state.types, offer); err != nil {
				return best, err
			}
		}
	}
	if m.deployments != nil && m.deployments.id.any != nil {
		if err := m.offerDeployments(m.deployments.id.any, offer); err != nil {
			return best, err
		}
	}
	if m.flows != nil {
		if err := m.offerFlows(offer); err != nil {
			return best, err
		}
	}
	if m.taskRuns != nil && m.taskRuns.id.any != nil {
		parents, err := m.parentsOfTaskRuns()
		if err != nil {
			return best, err
		}
		s := &idSet{}
		for id := range parents {
			s.list = append(s.list, id)
		}
		offer(m.runsByID(s))
	}
	return best, nil
}

func (m *matcher) countAll() (int64, error) {
	var all int64
	for t := row.StateType_STATE_TYPE_NONE; t <= row.StateType_CANCELLED; t++ {
		n, err := m.view.CountFlowRuns(t)
		if err != nil {
			return 0, err
		}
		all += n
	}
	return all, nil
}

func (m *matcher) runsByID(s *idSet) runSource {
	return runSource{cost: int64(len(s.list)), walk: func(_ bool, fn func(*row.FlowRun) (bool, error)) error {
		for _, id := range s.list {
			r, err := m.view.FlowRun(id)
			if err != nil {
				return err
			}
			if r == nil {
				continue
			}
			if more, err := fn(r); err != nil || !more {
				return err
			}
		}
		return nil
	}}
}

// several walks one source after the other; a single one keeps its order.
func several[K any](keys []K, walk func(key K, reverse bool, fn func(*row.FlowRun) (bool, error)) error) func(bool, func(*row.FlowRun) (bool, error)) error {
	return func(reverse bool, fn func(*row.FlowRun) (bool, error)) error {
		stopped := false
		for _, key := range keys {
			err := walk(key, reverse, func(r *row.FlowRun) (bool, error) {
				more, err := fn(r)
				stopped = !more
				return more, err
			})
			if err != nil || stopped {
				return err
			}
		}
		return nil
	}
}

func (m *matcher) runsByName(s *textSet) runSource {
	return runSource{cost: int64(len(s.list)) * runsPerName, walk: several(s.list,
		func(name string, _ bool, fn func(*row.FlowRun) (bool, error)) error {
			return m.view.FlowRunsByName(name, fn)
		})}
}

func (m *matcher) runsByParent(s *idSet) runSource {
	return runSource{cost: int64(len(s.list)) * runsPerParent, walk: several(s.list,
		func(id api.ID, _ bool, fn func(*row.FlowRun) (bool, error)) error {
			return m.view.FlowRunsOfTaskRun(id, fn)
		})}
}

func (m *matcher) offerDeployments(s *idSet, offer func(runSource)) error {
	var cost int64
	for _, id := range s.list {
		for t := row.StateType_STATE_TYPE_NONE; t <= row.StateType_CANCELLED; t++ {
			n, err := m.view.CountFlowRunsOfDeployment(id, t)
			if err != nil {
				return err
			}
			cost += n
		}
	}
	offer(runSource{cost: cost, ordered: len(s.list) == 1, walk: several(s.list,
		func(id api.ID, reverse bool, fn func(*row.FlowRun) (bool, error)) error {
			return m.view.FlowRunsOfDeployment(id, reverse, fn)
		})})
	return nil
}

func (m *matcher) offerStates(types []row.StateType, offer func(runSource)) error {
	types = slices.Compact(slices.Sorted(slices.Values(types)))
	var cost int64
	for _, t := range types {
		n, err := m.view.CountFlowRuns(t)
		if err != nil {
			return err
		}
		cost += n
	}
	offer(runSource{cost: cost, ordered: len(types) == 1, walk: several(types,
		func(t row.StateType, reverse bool, fn func(*row.FlowRun) (bool, error)) error {
			return m.view.FlowRunsByState(t, reverse, fn)
		})})
	return nil
}

// offerFlows serves when the flow filter names its flows.
func (m *matcher) offerFlows(offer func(runSource)) error {
	var flows []api.ID
	switch {
	case m.flows.id.any != nil:
		flows = m.flows.id.any.list
	case m.flows.name.any != nil:
		for _, name := range m.flows.name.any.list {
			flow, err := m.view.FlowByName(name)
			if err != nil {
				return err
			}
			if flow != nil {
				flows = append(flows, idOf(flow.Id))
			}
		}
	default:
		return nil
	}
	var cost int64
	for _, id := range flows {
		for t := row.StateType_STATE_TYPE_NONE; t <= row.StateType_CANCELLED; t++ {
			n, err := m.view.CountFlowRunsOfFlow(id, t)
			if err != nil {
				return err
			}
			cost += n
		}
	}
	offer(runSource{cost: cost, ordered: len(flows) == 1, walk: several(flows,
		func(id api.ID, reverse bool, fn func(*row.FlowRun) (bool, error)) error {
			return m.view.FlowRunsOfFlow(id, reverse, fn)
		})})
	return nil
}

// sortedRuns returns an index that hands flow runs out in the order asked for, if there is one.
func (m *matcher) sortedRuns(sort string) func(fn func(*row.FlowRun) (bool, error)) error {
	switch sort {
	case "ID_DESC":
		return func(fn func(*row.FlowRun) (bool, error)) error { return m.view.EachFlowRun(true, fn) }
	case "EXPECTED_START_TIME_ASC", "EXPECTED_START_TIME_DESC":
		from, until := int64(minTime), int64(maxTime)
		if m.flowRuns != nil {
			if t := m.flowRuns.expected.after; t != nil {
				from = *t
			}
			if t := m.flowRuns.expected.before; t != nil {
				until = *t
			}
		}
		return func(fn func(*row.FlowRun) (bool, error)) error {
			return m.view.FlowRunsByExpectedStartBetween(from, until, sort == "EXPECTED_START_TIME_DESC", fn)
		}
	case "NEXT_SCHEDULED_START_TIME_ASC":
		// Only runs of type SCHEDULED have this time; the others would come first, so all must be excluded.
		f := m.flowRuns
		if f == nil {
			return nil
		}
		scheduled := f.state.typed && !slices.ContainsFunc(f.state.types, func(t row.StateType) bool { return t != row.StateType_SCHEDULED })
		if !scheduled && f.next.after == nil && f.next.before == nil {
			return nil
		}
		from, until := int64(minTime), int64(maxTime)
		if f.next.after != nil {
			from = *f.next.after
		}
		if f.next.before != nil {
			until = *f.next.before + 1
		}
		return func(fn func(*row.FlowRun) (bool, error)) error { return m.view.ScheduledFlowRuns(from, until, fn) }
	}
	return nil
}

// byTime orders times; a missing one (0) comes first.
func byTime(a, b int64) int { return cmp.Compare(a, b) }

func newestFirst(a, b []byte) int { return slices.Compare(b, a) }

// flowRunOrder compares flow runs; ties go by id, newest first.
func flowRunOrder(sort string) func(a, b *row.FlowRun) int {
	return func(a, b *row.FlowRun) int {
		c := 0
		switch sort {
		case "EXPECTED_START_TIME_ASC":
			c = cmp.Or(byTime(a.ExpectedStartTime, b.ExpectedStartTime), slices.Compare(a.Id, b.Id))
		case "EXPECTED_START_TIME_DESC":
			c = byTime(b.ExpectedStartTime, a.ExpectedStartTime)
		case "NAME_ASC":
			c = cmp.Compare(a.Name, b.Name)
		case "NAME_DESC":
			c = cmp.Compare(b.Name, a.Name)
		case "NEXT_SCHEDULED_START_TIME_ASC":
			c = cmp.Or(byTime(a.NextScheduledStartTime, b.NextScheduledStartTime), slices.Compare(a.Id, b.Id))
		case "END_TIME_DESC":
			c = byTime(b.EndTime, a.EndTime)
		}
		return cmp.Or(c, newestFirst(a.Id, b.Id))
	}
}

// top keeps the first rows of an order while all rows pass by.
type top[R any] struct {
	want  int
	order func(a, b R) int
	rows  []R
}

func (t *top[R]) add(r R) {
	t.rows = append(t.rows, r)
	if len(t.rows) >= 2*t.want+1024 {
		t.trim()
	}
}

func (t *top[R]) trim() {
	slices.SortFunc(t.rows, t.order)
	if len(t.rows) > t.want {
		clear(t.rows[t.want:])
		t.rows = t.rows[:t.want]
	}
}
