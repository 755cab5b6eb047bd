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

// Lists by cursor go by id, which is by when objects were made, the newest first: an order that no change of an object and no new object
// disturbs, and in which every index has its runs. A page says where it ends, also when it is empty because its rows were looked at in
// vain.

// cursor is where a list goes on: behind an object. It belongs to one list with one filter.
type cursor struct {
	list byte
	// filter is a hash of what was asked for, page and cursor aside.
	filter uint32
	after  api.ID
}

const (
	cursorVersion = 1
	cursorBytes   = 1 + 1 + 4 + 16
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
)

func (c cursor) String() string {
	b := append(make([]byte, 0, cursorBytes), cursorVersion, c.list)
	b = binary.BigEndian.AppendUint32(b, c.filter)
	return base64.RawURLEncoding.EncodeToString(append(b, c.after[:]...))
}

// parseCursor reads what String wrote.
func parseCursor(text string) (c cursor, ok bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) != cursorBytes || b[0] != cursorVersion {
		return c, false
	}
	c.list, c.filter = b[1], binary.BigEndian.Uint32(b[2:])
	copy(c.after[:], b[6:])
	return c, true
}

// byCursor reports whether the client pages by cursor: it sends one, empty for the beginning.
func (x *exchange) byCursor() bool {
	return x.r.URL.RawQuery != "" && x.r.URL.Query().Has("cursor")
}

// cursorOf reads the client's cursor for a list: after is nil at the beginning.
func (x *exchange) cursorOf(list byte, p *page) (c cursor, after *api.ID, err error) {
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
	return c, &given.after, nil
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
	c.after = after
	x.Header()[http.CanonicalHeaderKey(api.HeaderNextCursor)] = []string{c.String()}
}

// cursorRows is how many rows a page looks at.
const cursorRows = 20_000

// onlyByID refuses orders that a cursor does not know.
func (q *query) onlyByID(natural string) error {
	if q.sort == natural || q.sort == "ID_DESC" {
		return nil
	}
	return unprocessable([]body.Error{{Loc: []any{"body", "sort"}, Msg: "a list by cursor is in the order of ids, the newest first; leave the sort out, or page by offset", Type: "value_error"}})
}

// flowRunsByCursor answers a page of flow runs.
func (x *exchange) flowRunsByCursor(q *query) error {
	if err := q.onlyByID("ID_DESC"); err != nil {
		return err
	}
	c, after, err := x.cursorOf(listFlowRuns, &q.page)
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
		return flowRunObject(r, now, x.strict).AppendJSON(b), nil
	})
}

// taskRunsByCursor answers a page of task runs: of the flow run that the filter names, or of all.
func (x *exchange) taskRunsByCursor(q *query) error {
	if err := q.onlyByID("ID_DESC"); err != nil {
		return err
	}
	c, after, err := x.cursorOf(listTaskRuns, &q.page)
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
	c, after, err := x.cursorOf(kind, p)
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
