package httpapi

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"net/http"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
	"github.com/sluice-dev/sluice/http/internal/body"
)

// Lists by cursor go by id unless they are asked for another order, which is by when objects were made, the newest first: an order that
// no change of an object and no new object disturbs, and in which every index has its runs. A page says where it ends, also when it is
// empty because its rows were looked at in vain.

// cursor is where a list goes on: behind an object. It belongs to one list with one filter.
type cursor struct {
	list byte
	// filter is a hash of what was asked for, page and cursor aside.
	filter uint32
	key    string // the id of the object, or a sortPlace
}

const (
	cursorVersion = 2
	cursorBytes   = 1 + 1 + 4 // before the key
)

// The lists that have cursors; the numbers are in cursors that clients hold.
const (
	listFlowRuns    = 1
	listTaskRuns    = 2
	listFlows       = 3
	listDeployments = 4
	listWorkQueues  = 5
	listAgents      = 6
	listJobs        = 7
	listLogs        = 8
	listBlocks      = 9
	listBlockSpecs  = 10
	listSearches    = 11
	listLimits      = 12
)

func (c cursor) String() string {
	b := append(make([]byte, 0, cursorBytes+len(c.key)), cursorVersion, c.list)
	b = binary.BigEndian.AppendUint32(b, c.filter)
	return base64.RawURLEncoding.EncodeToString(append(b, c.key...))
}

// parseCursor reads what String wrote.
func parseCursor(text string) (c cursor, ok bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) < cursorBytes || b[0] != cursorVersion {
		return c, false
	}
	c.list, c.filter, c.key = b[1], binary.BigEndian.Uint32(b[2:]), string(b[cursorBytes:])
	return c, true
}

// byCursor reports whether the client pages by cursor: it sends one, empty for the beginning.
func (x *exchange) byCursor() bool {
	return x.r.URL.RawQuery != "" && x.r.URL.Query().Has("cursor")
}

// idCursor reads the client's cursor for a list in the order of ids: after is nil at the beginning.
func (x *exchange) idCursor(list byte, p *page) (c cursor, after *api.ID, err error) {
	c, key, err := x.cursorOf(list, p)
	if err != nil || key == nil {
		return c, nil, err
	}
	if len(key) != 16 {
		return c, nil, badCursor()
	}
	id := api.ID(key)
	return c, &id, nil
}

// cursorOf reads the key in the client's cursor for a list: nil at the beginning.
func (x *exchange) cursorOf(list byte, p *page) (c cursor, key []byte, err error) {
	if p.offset != 0 {
		return c, nil, unprocessable([]body.Error{{Loc: []any{"body", "offset"}, Msg: "a page is found by its offset or by a cursor, not by both", Type: "value_error"}})
	}
	c = cursor{list: list, filter: filterHash(x.data)}
	text := x.r.URL.Query().Get("cursor")
	if text == "" {
		return c, nil, nil
	}
	given, ok := parseCursor(text)
	if !ok || given.list != list {
		return c, nil, badCursor()
	}
	if given.filter != c.filter {
		return c, nil, unprocessable([]body.Error{{Loc: []any{"query", "cursor"}, Msg: "the cursor belongs to another filter; begin anew without one", Type: "value_error"}})
	}
	return c, []byte(given.key), nil
}

// filterHash is a hash of a body without what may differ from page to page. Members may stand in any order.
func filterHash(data []byte) uint32 {
	var members map[string]json.RawMessage
	if json.Unmarshal(data, &members) != nil {
		return 0 // empty: the body was validated before
	}
	delete(members, "limit")
	delete(members, "offset")
	if len(members) == 0 {
		return 0
	}
	text, err := json.Marshal(members)
	if err != nil {
		return 0 // cannot happen: it was JSON
	}
	return uint32(xxhash.Sum64(text))
}

// nextCursor tells the client where the list goes on.
func (x *exchange) nextCursor(c cursor, after api.ID) {
	c.key = string(after[:])
	x.setCursor(c)
}

// nextSorted tells the client where a sorted list goes on.
func (x *exchange) nextSorted(c cursor, p sortPlace) {
	c.key = string(p.append(nil))
	x.setCursor(c)
}

func (x *exchange) setCursor(c cursor) {
	x.Header()[http.CanonicalHeaderKey(api.HeaderNextCursor)] = []string{c.String()}
}

// cursorRows is how many rows a page looks at.
const cursorRows = 20_000

// flowRunsByCursor answers a page of flow runs.
func (x *exchange) flowRunsByCursor(q *query) error {
	if q.sort != "ID_DESC" {
		return x.sortedRunsByCursor(q)
	}
	c, after, err := x.idCursor(listFlowRuns, &q.page)
	if err != nil {
		return err
	}
	view, err := x.view()
	if err != nil {
		return err
	}
	defer view.Close()
	found := Candidates{Done: true}
	if q.limit > 0 {
		found, err = newMatcher(x, view, q.filters).runsFrom(runPlace{after: after, reverse: true, most: int(q.limit), rows: cursorRows})
	}
	if err != nil {
		return err
	}
	if !found.Done {
		x.nextCursor(c, found.To)
	}
	now := x.now()
	return list(x, found.Runs, func(b []byte, r *row.FlowRun) ([]byte, error) {
		return x.showFlowRun(r, now).AppendJSON(b), nil
	})
}

// taskRunsByCursor answers a page of task runs: of the flow run that the filter names, or of all.
func (x *exchange) taskRunsByCursor(q *query) error {
	if q.sort != "ID_DESC" {
		return x.sortedTaskRunsByCursor(q)
	}
	c, after, err := x.idCursor(listTaskRuns, &q.page)
	if err != nil {
		return err
	}
	view, err := x.view()
	if err != nil {
		return err
	}
	defer view.Close()
	var of *api.ID
	if f := q.flowRuns; f != nil && f.id.any != nil && len(f.id.any.list) == 1 {
		of = &f.id.any.list[0]
	}
	m := newMatcher(x, view, q.filters)
	var page []*row.TaskRun
	looked, more := 0, false
	var last api.ID
	err = view.WalkTaskRuns(state.TaskRunWalk{FlowRun: of, After: after, Reverse: true}, func(r *row.TaskRun) (bool, error) {
		if looked == cursorRows || len(page) == int(q.limit) {
			more = true
			return false, nil
		}
		looked++
		last = idOf(r.Id)
		good, err := m.taskRun(r)
		if good {
			page = append(page, r)
		}
		return true, m.next(err)
	})
	if err != nil {
		return err
	}
	if more && looked > 0 {
		x.nextCursor(c, last)
	}
	now := x.now()
	return list(x, page, func(b []byte, r *row.TaskRun) ([]byte, error) {
		return taskRunObject(r, now, x.strict).AppendJSON(b), nil
	})
}

// pageByCursor cuts the page behind the client's cursor out of a list of few objects, the newest first.
func pageByCursor[R any](x *exchange, kind byte, p *page, rows []R, id func(R) api.ID) ([]R, error) {
	c, after, err := x.idCursor(kind, p)
	if err != nil {
		return nil, err
	}
	newest := func(a, b api.ID) int { return slices.Compare(b[:], a[:]) }
	slices.SortFunc(rows, func(a, b R) int { return newest(id(a), id(b)) })
	if after != nil {
		rows = slices.DeleteFunc(rows, func(r R) bool { return newest(id(r), *after) <= 0 })
	}
	if int64(len(rows)) <= p.limit {
		return rows, nil
	}
	rows = rows[:p.limit]
	if len(rows) > 0 {
		x.nextCursor(c, id(rows[len(rows)-1]))
	}
	return rows, nil
}
