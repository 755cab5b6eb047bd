package httpapi

import (
	"cmp"
	"slices"

	"github.com/sluice-dev/sluice/fsm/row"
)

// byTime orders times; a missing one (0) comes first.
func byTime(a, b int64) int { return cmp.Compare(a, b) }

func newestFirst(a, b []byte) int { return slices.Compare(b, a) }

// runOrder is a sort order of flow runs: by what, and which way. Ties go by id, the same way.
type runOrder struct {
	by      order
	reverse bool
}

var runOrders = map[string]runOrder{
	"ID_DESC":                       {byID, true},
	"EXPECTED_START_TIME_ASC":       {byExpected, false},
	"EXPECTED_START_TIME_DESC":      {byExpected, true},
	"NAME_ASC":                      {byName, false},
	"NAME_DESC":                     {byName, true},
	"NEXT_SCHEDULED_START_TIME_ASC": {byNext, false},
	"END_TIME_DESC":                 {byEnd, true},
}

func (o runOrder) compare(a, b *row.FlowRun) int {
	c := 0
	switch o.by {
	case byExpected:
		c = byTime(a.ExpectedStartTime, b.ExpectedStartTime)
	case byName:
		c = cmp.Compare(a.Name, b.Name)
	case byNext:
		c = byTime(a.NextScheduledStartTime, b.NextScheduledStartTime)
	case byEnd:
		c = byTime(a.EndTime, b.EndTime)
	}
	c = cmp.Or(c, slices.Compare(a.Id, b.Id))
	if o.reverse {
		return -c
	}
	return c
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
