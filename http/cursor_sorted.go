package httpapi

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/row"
)

// Lists by cursor in an order of the client's choice. A page ends at a place in that order, made of what the objects are sorted by and
// their ids, and the next one begins behind it. Objects that are made or change meanwhile may lie on either side; all others come once.

// sortPlace is a place in an order: the time (or number) or the name that it sorts by, and the id.
type sortPlace struct {
	at   int64
	name string
	id   api.ID
}

// longestSortedName is how much of a name a cursor holds; it travels in headers and addresses.
const longestSortedName = 512

func (p sortPlace) append(b []byte) []byte {
	b = append(b, p.id[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(p.at))
	name, cut := p.name, byte(0)
	if len(name) > longestSortedName {
		name, cut = name[:longestSortedName], 1
	}
	return append(append(b, cut), name...)
}

// parseSortPlace reads what append wrote. cut says that the name is the beginning of a longer one.
func parseSortPlace(b []byte) (p sortPlace, cut, ok bool) {
	const fixed = 16 + 8 + 1
	if len(b) < fixed || len(b) > fixed+longestSortedName || b[fixed-1] > 1 {
		return p, false, false
	}
	p.id = api.ID(b[:16])
	p.at = int64(binary.BigEndian.Uint64(b[16:]))
	p.name = string(b[fixed:])
	return p, b[fixed-1] == 1, true
}

// whole completes a name that was cut off by that of the object itself. When that is gone or has another name, the list goes on where
// names begin so, and may repeat some of them.
func (p *sortPlace) whole(name string) {
	if strings.HasPrefix(name, p.name) {
		p.name = name
	}
}

// sortedCursor reads the cursor of a list that is sorted: p is nil at the beginning. nameOf finds the name of an object that was cut off.
func (x *exchange) sortedCursor(list byte, pg *page, nameOf func(api.ID) (string, error)) (c cursor, p *sortPlace, err error) {
	c, key, err := x.cursorOf(list, pg)
	if err != nil || key == nil {
		return c, nil, err
	}
	place, cut, ok := parseSortPlace(key)
	if !ok {
		return c, nil, badCursor()
	}
	if cut {
		name, err := nameOf(place.id)
		if err != nil {
			return c, nil, err
		}
		place.whole(name)
	}
	return c, &place, nil
}

// placeOf is where a flow run lies in an order.
func (o runOrder) placeOf(r *row.FlowRun) sortPlace {
	p := sortPlace{id: idOf(r.Id)}
	switch o.by {
	case byExpected:
		p.at = r.ExpectedStartTime
	case byName:
		p.name = r.Name
	case byNext:
		p.at = r.NextScheduledStartTime
	case byEnd:
		p.at = r.EndTime
	}
	return p
}

// compare puts places in the order of the runs that lie there.
func (o runOrder) comparePlaces(a, b sortPlace) int {
	c := cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.name, b.name), bytes.Compare(a.id[:], b.id[:]))
	if o.reverse {
		return -c
	}
	return c
}

// sortedRuns answers a page of flow runs behind a place (nil: the first). next is where the list goes on, nil at its end.
func (m *matcher) sortedRuns(q *query, behind *sortPlace) (runs []*row.FlowRun, next *sortPlace, err error) {
	p, err := m.planRuns(q)
	if err != nil {
		return nil, nil, err
	}
	return m.executeSorted(q, p, behind)
}

func (m *matcher) executeSorted(q *query, p plan, behind *sortPlace) (runs []*row.FlowRun, next *sortPlace, err error) {
	o := p.order
	if !p.walked || p.source.beyond == nil {
		t := top[*row.FlowRun]{want: int(q.limit) + 1, order: o.compare}
		err = p.source.walk(m, false, func(r *row.FlowRun) (bool, error) {
			if behind != nil && o.comparePlaces(o.placeOf(r), *behind) <= 0 {
				return true, m.alive()
			}
			good, err := m.flowRun(r)
			if good {
				t.add(r)
			}
			return true, m.next(err)
		})
		t.trim()
		return pageOf(t.rows, q.limit), endOf(t.rows, q.limit, o.placeOf), err
	}
	looked := 0
	var last sortPlace
	look := func(_ int64, id api.ID) (bool, error) {
		r, err := m.view.FlowRun(id)
		if err != nil || r == nil {
			return true, m.next(err)
		}
		if looked == cursorRows || len(runs) == int(q.limit) {
			next = &last
			return false, nil
		}
		looked++
		last = o.placeOf(r)
		good, err := m.flowRun(r)
		if good {
			runs = append(runs, r)
		}
		return true, m.next(err)
	}
	if behind == nil {
		err = p.source.ids(o.reverse, look)
	} else {
		err = p.source.beyond(*behind, o.reverse, look)
	}
	return runs, next, err
}

// sortedRunsByCursor answers a page of flow runs in the order that is asked for.
func (x *exchange) sortedRunsByCursor(q *query) error {
	view, err := x.view()
	if err != nil {
		return err
	}
	defer view.Close()
	c, behind, err := x.sortedCursor(listFlowRuns, &q.page, func(id api.ID) (string, error) {
		r, err := view.FlowRun(id)
		return r.GetName(), err
	})
	if err != nil {
		return err
	}
	var runs []*row.FlowRun
	var next *sortPlace
	if q.limit > 0 {
		runs, next, err = newMatcher(x, view, q.filters).sortedRuns(q, behind)
	}
	if err != nil {
		return err
	}
	if next != nil {
		x.nextSorted(c, *next)
	}
	now := x.now()
	return list(x, runs, func(b []byte, r *row.FlowRun) ([]byte, error) {
		return x.showFlowRun(r, now).AppendJSON(b), nil
	})
}

// sortedTaskRunsByCursor answers a page of task runs in the order that is asked for.
func (x *exchange) sortedTaskRunsByCursor(q *query) error {
	c, behind, err := x.sortedCursor(listTaskRuns, &q.page, noNames)
	if err != nil {
		return err
	}
	view, err := x.view()
	if err != nil {
		return err
	}
	defer view.Close()
	var runs []*row.TaskRun
	var next *sortPlace
	if q.limit > 0 {
		runs, next, err = newMatcher(x, view, q.filters).sortedTaskRuns(q, behind)
	}
	if err != nil {
		return err
	}
	if next != nil {
		x.nextSorted(c, *next)
	}
	now := x.now()
	return list(x, runs, func(b []byte, r *row.TaskRun) ([]byte, error) {
		return taskRunObject(r, now, x.strict).AppendJSON(b), nil
	})
}

// pageOf and endOf are the page in a sorted list of which one row more is known, and the place where it ends, nil if nothing follows.
func pageOf[R any](rows []R, limit int64) []R { return rows[:min(int(limit), len(rows))] }

func endOf[R any](rows []R, limit int64, placeOf func(R) sortPlace) *sortPlace {
	if len(rows) <= int(limit) || limit == 0 {
		return nil
	}
	p := placeOf(rows[limit-1])
	return &p
}

// sortedTaskRuns is sortedRuns of task runs.
func (m *matcher) sortedTaskRuns(q *query, behind *sortPlace) ([]*row.TaskRun, *sortPlace, error) {
	o := taskRunOrder(q.sort)
	placeOf := func(r *row.TaskRun) sortPlace { return taskRunPlace(q.sort, r) }
	var from *row.TaskRun
	if behind != nil {
		from = taskRunAt(*behind)
	}
	t := top[*row.TaskRun]{want: int(q.limit) + 1, order: o}
	looked, stopped := 0, false
	var last sortPlace
	look := func(r *row.TaskRun) (bool, error) {
		if from != nil && o(r, from) <= 0 {
			return true, m.alive()
		}
		good, err := m.taskRun(r)
		if good {
			t.add(r)
		}
		return true, m.next(err)
	}
	parts, err := m.planTaskRuns(q)
	if err != nil {
		return nil, nil, err
	}
	by := runOrders[q.sort]
	switch {
	case parts != nil && by.by == byExpected:
		ranges := parts.ranges
		if behind != nil {
			ranges = timesBeyond(ranges, *behind, by.reverse)
		}
		err = m.view.EachRunTime(ranges, by.reverse, func(_ int64, id api.ID) (bool, error) {
			if looked == cursorRows || len(t.rows) > int(q.limit) {
				stopped = true
				return false, nil
			}
			looked++
			r, err := m.view.TaskRun(id)
			if err != nil || r == nil {
				return true, m.next(err)
			}
			last = placeOf(r)
			return look(r)
		})
		if next := endOf(t.rows, q.limit, placeOf); next != nil || !stopped || err != nil {
			return pageOf(t.rows, q.limit), next, err
		}
		return t.rows, &last, nil
	case parts != nil:
		err = parts.walk(m, false, look)
	default:
		var walk func(func(*row.TaskRun) (bool, error)) error
		if walk, _, err = m.taskRunSource(); err == nil {
			err = walk(look)
		}
	}
	t.trim()
	return pageOf(t.rows, q.limit), endOf(t.rows, q.limit, placeOf), err
}

func taskRunPlace(sort string, r *row.TaskRun) sortPlace {
	p := sortPlace{id: idOf(r.Id)}
	switch runOrders[sort].by {
	case byExpected:
		p.at = r.ExpectedStartTime
	case byNext:
		p.at = r.NextScheduledStartTime
	case byEnd:
		p.at = r.EndTime
	}
	return p
}

// taskRunAt is a task run that lies at a place.
func taskRunAt(p sortPlace) *row.TaskRun {
	return &row.TaskRun{Id: p.id[:], ExpectedStartTime: p.at, NextScheduledStartTime: p.at, EndTime: p.at}
}

// listOrder is an order of a list of few objects.
type listOrder[R any] struct {
	compare func(a, b R) int
	placeOf func(R) sortPlace
	// at is an object that lies at a place.
	at func(sortPlace) R
}

// sortedPage cuts the page behind the client's cursor out of a list of few objects.
func sortedPage[R any](x *exchange, kind byte, p *page, rows []R, o listOrder[R], nameOf func(api.ID) (string, error)) ([]R, error) {
	c, behind, err := x.sortedCursor(kind, p, nameOf)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(rows, o.compare)
	if behind != nil {
		place := o.at(*behind)
		rows = slices.DeleteFunc(rows, func(r R) bool { return o.compare(r, place) <= 0 })
	}
	if next := endOf(rows, p.limit, o.placeOf); next != nil {
		x.nextSorted(c, *next)
	}
	return pageOf(rows, p.limit), nil
}

// noNames is for orders that names have no part in.
func noNames(api.ID) (string, error) { return "", nil }
