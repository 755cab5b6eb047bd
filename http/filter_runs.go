package httpapi

import (
	"cmp"
	"slices"

	"github.com/sluice-dev/sluice/fsm/row"
)

func filterFlowRuns(_ *Server, x *exchange) error {
	q, err := x.query(flowRunsQuerySpec, "ID_DESC")
	if err != nil {
		return err
	}
	view, err := x.view()
	if err != nil {
		return err
	}
	defer view.Close()
	runs, err := newMatcher(x, view, q.filters).listFlowRuns(q)
	if err != nil {
		return err
	}
	now := x.now()
	return list(x, runs, func(b []byte, r *row.FlowRun) ([]byte, error) {
		return flowRunObject(r, now, x.strict).AppendJSON(b), nil
	})
}

// listFlowRuns walks an index in the order asked for and stops when the page is full, or, when that would look at more rows,
// walks the most selective index and sorts.
func (m *matcher) listFlowRuns(q *query) ([]*row.FlowRun, error) {
	if q.limit == 0 {
		return nil, nil
	}
	source, err := m.flowRunSource()
	if err != nil {
		return nil, err
	}
	if sorted := m.sortedRuns(q.sort); sorted != nil {
		if q.sort == "ID_DESC" && source.ordered {
			return m.pageOfRuns(q, func(fn func(*row.FlowRun) (bool, error)) error { return source.walk(true, fn) })
		}
		all, err := m.countAll()
		if err != nil {
			return nil, err
		}
		// Matches lie evenly among all rows, as far as anybody knows.
		if float64(q.want())*float64(all) <= float64(source.cost)*float64(source.cost) || q.sort == "NEXT_SCHEDULED_START_TIME_ASC" && source.cost > int64(q.want()) {
			return m.pageOfRuns(q, sorted)
		}
	}
	t := top[*row.FlowRun]{want: q.want(), order: flowRunOrder(q.sort)}
	err = source.walk(true, func(r *row.FlowRun) (bool, error) {
		good, err := m.flowRun(r)
		if good {
			t.add(r)
		}
		return true, m.next(err)
	})
	if err != nil {
		return nil, err
	}
	t.trim()
	return cut(&q.page, t.rows), nil
}

func (m *matcher) pageOfRuns(q *query, walk func(func(*row.FlowRun) (bool, error)) error) (runs []*row.FlowRun, err error) {
	err = walk(func(r *row.FlowRun) (bool, error) {
		good, err := m.flowRun(r)
		if err != nil || !good {
			return true, m.next(err)
		}
		return takeFrom(&q.page, &runs, r), m.alive()
	})
	return runs, err
}

var countFlowRuns = counts((*matcher).countFlowRuns)

func (m *matcher) countFlowRuns() (int64, error) {
	if n, known, err := m.countersOfRuns(); err != nil || known {
		return n, err
	}
	source, err := m.flowRunSource()
	if err != nil {
		return 0, err
	}
	var n int64
	err = source.walk(false, func(r *row.FlowRun) (bool, error) {
		good, err := m.flowRun(r)
		if good {
			n++
		}
		return true, m.next(err)
	})
	return n, err
}

// countersOfRuns answers from counters what asks for state types, and one of deployments or flows by id, only.
func (m *matcher) countersOfRuns() (n int64, known bool, err error) {
	if m.taskRuns != nil || m.deployments != nil {
		return 0, false, nil
	}
	types := []row.StateType{0, 1, 2, 3, 4, 5, 6}
	var deployments, flows *idSet
	if f := m.flowRuns; f != nil {
		rest := *f
		if f.state.typed {
			types = slices.Compact(slices.Sorted(slices.Values(f.state.types)))
		}
		deployments = f.deploymentID.any
		rest.state.types, rest.state.typed, rest.deploymentID.any = nil, false, nil
		if !rest.restrictsNothing() {
			return 0, false, nil
		}
	}
	if f := m.flows; f != nil {
		if f.id.any == nil || f.name.any != nil || len(f.tags.all) > 0 || f.tags.null != nil || deployments != nil {
			return 0, false, nil
		}
		flows = f.id.any
	}
	for _, t := range types {
		switch {
		case deployments != nil:
			for _, id := range deployments.list {
				k, err := m.view.CountFlowRunsOfDeployment(id, t)
				if err != nil {
					return 0, false, err
				}
				n += k
			}
		case flows != nil:
			for _, id := range flows.list {
				k, err := m.view.CountFlowRunsOfFlow(id, t)
				if err != nil {
					return 0, false, err
				}
				n += k
			}
		default:
			k, err := m.view.CountFlowRuns(t)
			if err != nil {
				return 0, false, err
			}
			n += k
		}
	}
	return n, true, nil
}

func (f *flowRunFilter) restrictsNothing() bool {
	ids := func(c idCriterion) bool { return c.any == nil && c.not == nil && c.null == nil }
	times := func(c timeCriterion) bool { return c.before == nil && c.after == nil && c.null == nil }
	return ids(f.id) && ids(f.deploymentID) && ids(f.parent) && times(f.start) && times(f.expected) && times(f.next) &&
		f.name.any == nil && f.flowVersion.any == nil && f.runnerType.any == nil && len(f.tags.all) == 0 && f.tags.null == nil &&
		!f.state.typed && f.state.names.any == nil
}

func filterTaskRuns(_ *Server, x *exchange) error {
	q, err := x.query(taskRunsQuerySpec, "ID_DESC")
	if err != nil {
		return err
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
		return all, true, nil
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
		return source.walk(true, func(r *row.FlowRun) (bool, error) {
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
			c = byTime(a.ExpectedStartTime, b.ExpectedStartTime)
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
