package httpapi

import (
	"bytes"
	"math"
	"slices"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/row"
)

func filterFlowRuns(_ *Server, x *exchange) error {
	q, err := x.query(flowRunsQuerySpec, "ID_DESC")
	if err != nil {
		return err
	}
	if x.byCursor() {
		return x.flowRunsByCursor(q)
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
		return x.showFlowRun(r, now).AppendJSON(b), nil
	})
}

// How long it takes, in tenths of a microsecond, to read a key of an index and to fetch and decode a row.
const (
	costOfKey = 3
	costOfRow = 60
)

// plan is how a list is made: by walking source in the order asked for until the page is full, or by looking at all that it hands out.
type plan struct {
	source *runSource
	order  runOrder
	walked bool
	// covered says that whatever the source hands out matches.
	covered bool
}

// planRuns chooses the cheapest way to list flow runs. Matches are taken to lie evenly in every order.
func (m *matcher) planRuns(q *query) (plan, error) {
	all, err := m.flowRunSources()
	if err != nil {
		return plan{}, err
	}
	asks, o := m.asks(), runOrders[q.sort]
	matches := all[0].cost
	for i := range all {
		matches = min(matches, all[i].cost)
	}
	best, least := plan{}, float64(0)
	offer := func(p plan, cost float64) {
		if best.source == nil || cost < least {
			best, least = p, cost
		}
	}
	want, limit := float64(q.want()), float64(q.limit)
	for i := range all {
		s := &all[i]
		covered := asks&^s.covers == 0
		n := float64(s.cost)
		if s.order == o.by {
			if covered {
				offer(plan{s, o, true, true}, min(want, n)*costOfKey+min(limit, n)*costOfRow)
			} else {
				offer(plan{s, o, true, false}, min(n, want*n/max(1, float64(matches)))*costOfRow)
			}
		}
		if covered && o.by == byID {
			offer(plan{s, o, false, true}, n*costOfKey+min(limit, n)*costOfRow)
		} else {
			offer(plan{s, o, false, covered}, n*costOfRow)
		}
	}
	return best, nil
}

// listFlowRuns answers a list.
func (m *matcher) listFlowRuns(q *query) ([]*row.FlowRun, error) {
	if q.limit == 0 {
		return nil, nil
	}
	p, err := m.planRuns(q)
	if err != nil {
		return nil, err
	}
	return m.executeRuns(q, p)
}

func (m *matcher) executeRuns(q *query, p plan) ([]*row.FlowRun, error) {
	switch {
	case p.walked:
		return m.walkRuns(q, p)
	case p.covered && p.order.by == byID:
		return m.collectIDs(q, p)
	}
	t := top[*row.FlowRun]{want: q.want(), order: p.order.compare}
	err := p.source.walk(m, false, func(r *row.FlowRun) (bool, error) {
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

// walkRuns walks a source in its own order until the page is full. Where everything matches, what is skipped is not even read.
func (m *matcher) walkRuns(q *query, p plan) (runs []*row.FlowRun, err error) {
	err = p.source.ids(p.order.reverse, func(_ int64, id api.ID) (bool, error) {
		if p.covered && q.skipped < q.offset {
			q.skipped++
			return true, m.alive()
		}
		r, err := m.view.FlowRun(id)
		if err != nil || r == nil {
			return true, m.next(err)
		}
		good, err := m.flowRun(r)
		if err != nil || !good {
			return true, m.next(err)
		}
		return takeFrom(&q.page, &runs, r), m.alive()
	})
	return runs, err
}

// collectIDs sorts what a source hands out by id and reads the rows of the page alone.
func (m *matcher) collectIDs(q *query, p plan) ([]*row.FlowRun, error) {
	var ids []api.ID
	err := p.source.ids(false, func(_ int64, id api.ID) (bool, error) {
		ids = append(ids, id)
		return true, m.alive()
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(ids, func(a, b api.ID) int { return bytes.Compare(b[:], a[:]) })
	var runs []*row.FlowRun
	// The ids that a filter names may be of no run.
	for _, id := range ids {
		if q.skipped < q.offset && p.source.count != nil {
			q.skipped++
			continue
		}
		r, err := m.view.FlowRun(id)
		if err != nil {
			return nil, err
		}
		if r != nil && !takeFrom(&q.page, &runs, r) {
			break
		}
	}
	return runs, nil
}

var countFlowRuns = counts((*matcher).countFlowRuns)

// countFlowRuns answers from counters, by counting the keys of an index that holds what matches and nothing else, or by looking at
// the rows of the one that holds the fewest.
func (m *matcher) countFlowRuns() (n int64, err error) {
	asks := m.asks()
	if asks&^(askType|askStateName) == 0 && asks&askStateName != 0 {
		return sum(m.flowRuns.wantedTypes(), func(t row.StateType) (int64, error) {
			return sum(m.flowRuns.state.names.any.list, func(name string) (int64, error) { return m.view.CountFlowRunsNamed(t, name) })
		})
	}
	all, err := m.flowRunSources()
	if err != nil {
		return 0, err
	}
	best, least := &all[0], int64(math.MaxInt64)
	for i := range all {
		s := &all[i]
		if covered := asks&^s.covers == 0; covered && s.exact && s.count != nil {
			return s.cost, nil
		} else if cost := s.cost * costOfRow; covered && s.count != nil && s.cost*costOfKey < least {
			best, least = s, s.cost*costOfKey
		} else if cost < least {
			best, least = s, cost
		}
	}
	if asks&^best.covers == 0 && best.count != nil {
		return best.count()
	}
	err = best.walk(m, false, func(r *row.FlowRun) (bool, error) {
		good, err := m.flowRun(r)
		if good {
			n++
		}
		return true, m.next(err)
	})
	return n, err
}
