package httpapi

import (
	"bytes"
	"cmp"
	"math"
	"slices"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
)

// taskRunParts are the parts of a time index that hold the task runs of the types and the rarest tag that are asked for.
type taskRunParts struct {
	ranges []state.TimeRange
	// matching is how many keys they have, total how many task runs there are.
	matching, total int64
	// covered says that the filter asks for nothing else.
	covered bool
}

func (s *taskRunParts) walk(m *matcher, reverse bool, fn func(*row.TaskRun) (bool, error)) error {
	return m.view.EachRunTime(s.ranges, reverse, func(_ int64, id api.ID) (bool, error) {
		r, err := m.view.TaskRun(id)
		if err != nil || r == nil {
			return true, m.next(err)
		}
		return fn(r)
	})
}

// taskRunParts is nil when the filter names task runs or asks for something about their flow runs: these lead to few of them.
func (m *matcher) taskRunParts() (*taskRunParts, error) {
	if m.flows != nil || m.flowRuns != nil || m.deployments != nil {
		return nil, nil
	}
	var f taskRunFilter
	if m.taskRuns != nil {
		f = *m.taskRuns
	}
	if f.id.any != nil {
		return nil, nil
	}
	total, err := sum(everyType, m.view.CountTaskRuns)
	if err != nil {
		return nil, err
	}
	types := everyType
	if f.state.typed {
		types = slices.Compact(slices.Sorted(slices.Values(f.state.types)))
	}
	tags := slices.Compact(slices.Sorted(slices.Values(f.tags.all)))
	s := &taskRunParts{matching: math.MaxInt64, total: total}
	rest := f
	rest.state.types, rest.state.typed = nil, false
	if len(tags) <= 1 {
		rest.tags.all = nil
	}
	s.covered = rest.restrictsNothing()
	if len(tags) == 0 {
		s.matching = 0
		for _, t := range types {
			n, err := m.view.CountTaskRuns(t)
			if err != nil {
				return nil, err
			}
			s.matching += n
			s.ranges = append(s.ranges, state.TaskRunsOfTypeExpected(t))
		}
		return s, nil
	}
	for _, tag := range tags {
		n, err := sum(types, func(t row.StateType) (int64, error) { return m.view.CountTaskRunsTagged(tag, t) })
		if err != nil {
			return nil, err
		}
		if n >= s.matching {
			continue
		}
		s.matching, s.ranges = n, nil
		for _, t := range types {
			s.ranges = append(s.ranges, state.TaskRunsTaggedExpected(tag, t))
		}
	}
	return s, nil
}

// planTaskRuns returns the parts of an index by which the list is made, nil when all task runs are looked at, newest first, or those of
// the flow runs.
func (m *matcher) planTaskRuns(q *query) (*taskRunParts, error) {
	s, err := m.taskRunParts()
	if err != nil || s == nil {
		return nil, err
	}
	o := runOrders[q.sort]
	if o.by == byExpected {
		return s, nil
	}
	looked := float64(s.matching) * costOfRow
	if o.by == byID && s.covered {
		looked = float64(s.matching) * costOfKey
	}
	all := float64(s.total)
	if o.by == byID {
		all = min(all, float64(q.want())*float64(s.total)/float64(max(1, s.matching)))
	}
	if looked < all*costOfRow {
		return s, nil
	}
	return nil, nil
}

// plannedTaskRuns walks parts of an index in their order, or collects what they hold.
func (m *matcher) plannedTaskRuns(q *query, s *taskRunParts) (runs []*row.TaskRun, err error) {
	o := runOrders[q.sort]
	fetch := func(id api.ID) (bool, error) {
		if s.covered && q.skipped < q.offset {
			q.skipped++
			return true, m.alive()
		}
		r, err := m.view.TaskRun(id)
		if err != nil || r == nil {
			return true, m.next(err)
		}
		good, err := m.taskRun(r)
		if err != nil || !good {
			return true, m.next(err)
		}
		return takeFrom(&q.page, &runs, r), m.alive()
	}
	switch {
	case o.by == byExpected:
		err = m.view.EachRunTime(s.ranges, o.reverse, func(_ int64, id api.ID) (bool, error) { return fetch(id) })
		return runs, err
	case o.by == byID && s.covered:
		var ids []api.ID
		err = m.view.EachRunTime(s.ranges, false, func(_ int64, id api.ID) (bool, error) {
			ids = append(ids, id)
			return true, m.alive()
		})
		slices.SortFunc(ids, func(a, b api.ID) int { return bytes.Compare(b[:], a[:]) })
		for _, id := range ids {
			more, ferr := fetch(id)
			if err = ferr; err != nil || !more {
				break
			}
		}
		return runs, err
	}
	t := top[*row.TaskRun]{want: q.want(), order: taskRunOrder(q.sort)}
	err = s.walk(m, false, func(r *row.TaskRun) (bool, error) {
		good, err := m.taskRun(r)
		if good {
			t.add(r)
		}
		return true, m.next(err)
	})
	t.trim()
	return cut(&q.page, t.rows), err
}

func filterTaskRuns(_ *Server, x *exchange) error {
	q, err := x.query(taskRunsQuerySpec, "ID_DESC")
	if err != nil {
		return err
	}
	if x.byCursor() {
		return x.taskRunsByCursor(q)
	}
	view, err := x.view()
	if err != nil {
		return err
	}
	defer view.Close()
	m := newMatcher(x, view, q.filters)
	runs, err := m.listTaskRuns(q)
	if err != nil {
		return err
	}
	now := x.now()
	return list(x, runs, func(b []byte, r *row.TaskRun) ([]byte, error) {
		return taskRunObject(r, now, x.strict).AppendJSON(b), nil
	})
}

func (m *matcher) listTaskRuns(q *query) ([]*row.TaskRun, error) {
	if q.limit == 0 {
		return nil, nil
	}
	if p, err := m.planTaskRuns(q); err != nil || p != nil {
		if err != nil {
			return nil, err
		}
		return m.plannedTaskRuns(q, p)
	}
	walk, ordered, err := m.taskRunSource()
	if err != nil {
		return nil, err
	}
	var page []*row.TaskRun
	t := top[*row.TaskRun]{want: q.want(), order: taskRunOrder(q.sort)}
	stream := ordered && q.sort == "ID_DESC"
	err = walk(func(r *row.TaskRun) (bool, error) {
		good, err := m.taskRun(r)
		if err != nil || !good {
			return true, m.next(err)
		}
		if stream {
			return takeFrom(&q.page, &page, r), m.alive()
		}
		t.add(r)
		return true, m.alive()
	})
	if err != nil || stream {
		return page, err
	}
	t.trim()
	return cut(&q.page, t.rows), nil
}

// taskRunSource goes through the flow runs when the filter says something about them, else through all task runs, newest first.
func (m *matcher) taskRunSource() (walk func(func(*row.TaskRun) (bool, error)) error, ordered bool, err error) {
	if m.taskRuns != nil && m.taskRuns.id.any != nil {
		return func(fn func(*row.TaskRun) (bool, error)) error {
			for _, id := range m.taskRuns.id.any.list {
				t, err := m.view.TaskRun(id)
				if err != nil {
					return err
				}
				if t == nil {
					continue
				}
				if more, err := fn(t); err != nil || !more {
					return err
				}
			}
			return nil
		}, false, nil
	}
	all := func(fn func(*row.TaskRun) (bool, error)) error { return m.view.EachTaskRun(true, fn) }
	if m.flowRuns == nil && m.flows == nil && m.deployments == nil {
		s, err := m.taskRunParts()
		if err != nil || s == nil || s.matching > s.total/4 {
			return all, true, err
		}
		return func(fn func(*row.TaskRun) (bool, error)) error { return s.walk(m, false, fn) }, false, nil
	}
	total, err := m.countAll()
	if err != nil {
		return nil, false, err
	}
	source, err := m.flowRunSource()
	if err != nil {
		return nil, false, err
	}
	if source.cost > 100 && source.cost > total/4 {
		return all, true, nil
	}
	one := m.flowRuns != nil && m.flowRuns.id.any != nil && len(m.flowRuns.id.any.list) == 1
	return func(fn func(*row.TaskRun) (bool, error)) error {
		stopped := false
		return source.walk(m, true, func(r *row.FlowRun) (bool, error) {
			if good, err := m.runWithoutTasks(r); err != nil || !good {
				return true, m.next(err)
			}
			err := m.view.TaskRunsOfFlowRun(idOf(r.Id), true, func(t *row.TaskRun) (bool, error) {
				more, err := fn(t)
				stopped = !more
				return more, err
			})
			return !stopped, err
		})
	}, one, nil
}

func taskRunOrder(sort string) func(a, b *row.TaskRun) int {
	return func(a, b *row.TaskRun) int {
		c := 0
		switch sort {
		case "EXPECTED_START_TIME_ASC":
			c = cmp.Or(byTime(a.ExpectedStartTime, b.ExpectedStartTime), slices.Compare(a.Id, b.Id))
		case "EXPECTED_START_TIME_DESC":
			c = byTime(b.ExpectedStartTime, a.ExpectedStartTime)
		case "NEXT_SCHEDULED_START_TIME_ASC":
			c = byTime(a.NextScheduledStartTime, b.NextScheduledStartTime)
		case "END_TIME_DESC":
			c = byTime(b.EndTime, a.EndTime)
		}
		return cmp.Or(c, newestFirst(a.Id, b.Id))
	}
}

var countTaskRuns = counts((*matcher).countTaskRuns)

func (m *matcher) countTaskRuns() (n int64, err error) {
	if s, err := m.taskRunParts(); err != nil || s != nil && s.covered {
		if err != nil {
			return 0, err
		}
		return s.matching, nil
	}
	walk, _, err := m.taskRunSource()
	if err != nil {
		return 0, err
	}
	err = walk(func(r *row.TaskRun) (bool, error) {
		good, err := m.taskRun(r)
		if good {
			n++
		}
		return true, m.next(err)
	})
	return n, err
}
