package httpapi

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"net/http"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
	"github.com/sluice-dev/sluice/http/internal/body"
)

const (
	// logEntryBytes is how much of a batch goes into one command: bulk must not delay states for long.
	logEntryBytes = 60 << 10
	// longestMessage bounds one stored line; what is longer is stored as several.
	longestMessage = 56 << 10
	lineOverhead   = 64
)

// createLogs stores a batch of lines, of one or several flow runs.
func createLogs(s *Server, x *exchange) error {
	lines, findings := body.DecodeList(logKind, x.data)
	if findings != nil {
		return unprocessable(findings)
	}
	producer, sequence, err := x.logProducer()
	if err != nil {
		return err
	}
	for i, c := range splitLogs(lines) {
		c.Quota = s.logQuota
		if producer != nil {
			// A batch may become several commands; each has a number of its own, the same whenever the batch comes again.
			c.Producer, c.Sequence = producer, sequence<<16|uint64(i+1)
		}
		e := x.envelope()
		e.Command = &command.Envelope_WriteLogs{WriteLogs: c}
		r, index, err := x.proposeBulk(e)
		if err != nil {
			return err
		}
		if err := outcome(r, missing.flowRun, ""); err != nil {
			return err
		}
		x.at(index)
	}
	return x.null(http.StatusCreated)
}

func (x *exchange) proposeBulk(e *command.Envelope) (*command.Result, uint64, error) {
	results, index, err := x.order(func(ctx context.Context) ([]*command.Result, uint64, error) {
		return x.server.proposer.ProposeBulk(ctx, e)
	})
	if err != nil {
		return nil, 0, err
	}
	return results[0], index, nil
}

// logProducer reads the headers by which a native client makes repetition harmless.
func (x *exchange) logProducer() (producer []byte, sequence uint64, err error) {
	text := x.r.Header.Get(api.HeaderLogProducer)
	if text == "" {
		return nil, 0, nil
	}
	id, ok := body.ParseUUID(text)
	sequence, err = strconv.ParseUint(x.r.Header.Get(api.HeaderLogSequence), 10, 48)
	if !ok || err != nil || sequence == 0 {
		return nil, 0, &failure{
			status: http.StatusBadRequest, kind: api.KindInvalid,
			detail: api.HeaderLogProducer + " must be a UUID and " + api.HeaderLogSequence + " a whole number from 1.",
			hint:   "Send both headers or none.",
		}
	}
	return id[:], sequence, nil
}

// splitLogs groups lines by flow run, in order, into commands of bounded size.
func splitLogs(lines []*logLine) []*command.WriteLogs {
	var (
		commands []*command.WriteLogs
		current  *command.WriteLogs
		size     int
	)
	for _, line := range lines {
		for _, l := range splitLine(&line.log) {
			need := len(l.Message) + len(l.Name) + lineOverhead
			if current == nil || size+need > logEntryBytes {
				current, size = &command.WriteLogs{}, 0
				commands = append(commands, current)
			}
			size += need
			run := runOf(current, line.flowRunID[:])
			run.Logs = append(run.Logs, l)
		}
	}
	return commands
}

// splitLine cuts a line that is too long between characters.
func splitLine(l *row.Log) []*row.Log {
	if len(l.Message) <= longestMessage {
		return []*row.Log{l}
	}
	var parts []*row.Log
	for rest := l.Message; rest != ""; {
		n := min(len(rest), longestMessage)
		for n < len(rest) && n > 0 && !utf8.RuneStart(rest[n]) {
			n--
		}
		parts = append(parts, &row.Log{Name: l.Name, Level: l.Level, Message: rest[:n], Timestamp: l.Timestamp, TaskRunId: l.TaskRunId})
		rest = rest[n:]
	}
	return parts
}

func runOf(c *command.WriteLogs, id []byte) *command.WriteLogs_Run {
	for i := len(c.Runs) - 1; i >= 0; i-- {
		if bytes.Equal(c.Runs[i].FlowRunId, id) {
			return c.Runs[i]
		}
	}
	run := &command.WriteLogs_Run{FlowRunId: id}
	c.Runs = append(c.Runs, run)
	return run
}

// logFilter selects log lines.
type logFilter struct {
	level struct{ ge, le *int64 }
	time  timeCriterion
	run   idCriterion
	task  idCriterion
}

type logQuery struct {
	page
	filter *logFilter
	sort   string
}

func intRef(d *body.Decoder, n int) (*int64, bool) {
	v, ok := body.Int(d, n)
	return &v, ok
}

type levelRange = struct{ ge, le *int64 }

var logFilterSpec = body.Strict(
	body.Nullable("level", body.Strict(
		body.Nullable("ge_", intRef, func(v *levelRange) **int64 { return &v.ge }),
		body.Nullable("le_", intRef, func(v *levelRange) **int64 { return &v.le }),
	).Kind(), func(v *logFilter) *levelRange { return &v.level }),
	body.Nullable("timestamp", timeRangeSpec.Kind(), func(v *logFilter) *timeCriterion { return &v.time }),
	body.Nullable("flow_run_id", idAnySpec.Kind(), func(v *logFilter) *idCriterion { return &v.run }),
	body.Nullable("task_run_id", idAnySpec.Kind(), func(v *logFilter) *idCriterion { return &v.task }),
)

var logsQuerySpec = body.Parameters(
	body.Optional("limit", body.Int, func(v *logQuery) *int64 { return &v.limit }),
	body.Optional("offset", offset, func(v *logQuery) *int64 { return &v.offset }),
	body.Optional("logs", logFilterSpec.Ref(), func(v *logQuery) **logFilter { return &v.filter }),
	body.Optional("sort", body.Words("TIMESTAMP_ASC", "TIMESTAMP_DESC", "LEVEL_ASC", "LEVEL_DESC", "FLOW_RUN_ID_ASC", "FLOW_RUN_ID_DESC",
		"TASK_RUN_ID_ASC", "TASK_RUN_ID_DESC"), func(v *logQuery) *string { return &v.sort }),
)

// foundLog is a line with the place that makes its id. place keeps lines of equal rank in the order they came.
type foundLog struct {
	*row.Log
	segment *row.LogSegment
	at      int
}

func (f *logFilter) matches(segment *row.LogSegment, l *row.Log) bool {
	switch {
	case f == nil:
		return true
	case f.level.ge != nil && int64(l.Level) < *f.level.ge, f.level.le != nil && int64(l.Level) > *f.level.le:
		return false
	}
	return f.time.matches(l.Timestamp) && f.run.matches(segment.FlowRunId) && f.task.matches(l.TaskRunId)
}

func filterLogs(_ *Server, x *exchange) error {
	q := &logQuery{page: newPage(), sort: "TIMESTAMP_ASC"}
	if err := decode(x, logsQuerySpec, q); err != nil {
		return err
	}
	if err := q.check(); err != nil {
		return err
	}
	view, err := x.view()
	if err != nil {
		return err
	}
	defer view.Close()
	var logs []foundLog
	if x.byCursor() {
		logs, err = x.logsByCursor(view, q)
	} else {
		logs, err = q.find(x.ctx, view)
	}
	if err != nil {
		return err
	}
	return list(x, logs, func(b []byte, l foundLog) ([]byte, error) { return logObject(l.segment, l.at).AppendJSON(b), nil })
}

// find reads the segments of the runs the filter names, or of all.
func (q *logQuery) find(ctx context.Context, view *state.View) ([]foundLog, error) {
	if q.limit == 0 {
		return nil, nil
	}
	t := top[foundLog]{want: q.want(), order: logOrder(q.sort)}
	if err := q.each(ctx, view, t.add); err != nil {
		return nil, err
	}
	t.trim()
	return cut(&q.page, t.rows), nil
}

// each hands out the lines that match.
func (q *logQuery) each(ctx context.Context, view *state.View, found func(foundLog)) error {
	take := func(segment *row.LogSegment) (bool, error) {
		for i, l := range segment.Logs {
			if q.filter.matches(segment, l) {
				found(foundLog{l, segment, i})
			}
		}
		return true, ctx.Err()
	}
	if q.filter == nil || q.filter.run.any == nil {
		return view.EachLogSegment(take)
	}
	for _, id := range q.filter.run.any.list {
		if err := view.LogSegments(id, take); err != nil {
			return err
		}
	}
	return nil
}

// logsByCursor answers a page behind a line: what it is sorted by, then the place that makes its id.
func (x *exchange) logsByCursor(view *state.View, q *logQuery) ([]foundLog, error) {
	c, behind, err := x.sortedCursor(listLogs, &q.page, noNames)
	if err != nil || q.limit == 0 {
		return nil, err
	}
	order := logOrder(q.sort)
	t := top[foundLog]{want: int(q.limit) + 1, order: order}
	err = q.each(x.ctx, view, func(l foundLog) {
		if behind == nil || order(l, q.lineAt(*behind)) > 0 {
			t.add(l)
		}
	})
	if err != nil {
		return nil, err
	}
	t.trim()
	if next := endOf(t.rows, q.limit, q.placeOf); next != nil {
		x.nextSorted(c, *next)
	}
	return pageOf(t.rows, q.limit), nil
}

func (q *logQuery) placeOf(l foundLog) sortPlace {
	p := sortPlace{}
	binary.BigEndian.PutUint64(p.id[:], l.segment.Index)
	binary.BigEndian.PutUint32(p.id[8:], l.segment.Ordinal)
	binary.BigEndian.PutUint32(p.id[12:], uint32(l.at))
	switch q.sort {
	case "TIMESTAMP_ASC", "TIMESTAMP_DESC":
		p.at = l.Timestamp
	case "LEVEL_ASC", "LEVEL_DESC":
		p.at = int64(l.Level)
	case "FLOW_RUN_ID_ASC", "FLOW_RUN_ID_DESC":
		p.name = string(l.segment.FlowRunId)
	case "TASK_RUN_ID_ASC", "TASK_RUN_ID_DESC":
		p.name = string(l.TaskRunId)
	}
	return p
}

// lineAt is a line that lies at a place.
func (q *logQuery) lineAt(p sortPlace) foundLog {
	return foundLog{
		&row.Log{Timestamp: p.at, Level: int32(p.at), TaskRunId: []byte(p.name)},
		&row.LogSegment{FlowRunId: []byte(p.name), Index: binary.BigEndian.Uint64(p.id[:]), Ordinal: binary.BigEndian.Uint32(p.id[8:])},
		int(binary.BigEndian.Uint32(p.id[12:])),
	}
}

// logOrder keeps lines of equal rank in the order they were accepted.
func logOrder(sort string) func(a, b foundLog) int {
	return func(a, b foundLog) int {
		c := 0
		switch sort {
		case "TIMESTAMP_ASC":
			c = byTime(a.Timestamp, b.Timestamp)
		case "TIMESTAMP_DESC":
			c = byTime(b.Timestamp, a.Timestamp)
		case "LEVEL_ASC":
			c = cmp.Compare(a.Level, b.Level)
		case "LEVEL_DESC":
			c = cmp.Compare(b.Level, a.Level)
		case "FLOW_RUN_ID_ASC":
			c = slices.Compare(a.segment.FlowRunId, b.segment.FlowRunId)
		case "FLOW_RUN_ID_DESC":
			c = slices.Compare(b.segment.FlowRunId, a.segment.FlowRunId)
		case "TASK_RUN_ID_ASC":
			c = slices.Compare(a.TaskRunId, b.TaskRunId)
		case "TASK_RUN_ID_DESC":
			c = slices.Compare(b.TaskRunId, a.TaskRunId)
		}
		return cmp.Or(c, cmp.Compare(a.segment.Index, b.segment.Index), cmp.Compare(a.segment.Ordinal, b.segment.Ordinal), cmp.Compare(a.at, b.at))
	}
}

func logObject(segment *row.LogSegment, i int) *api.Log {
	l := segment.Logs[i]
	return &api.Log{
		ID: idOf(command.DeriveID(segment.Seed, uint32(i))), Created: timeOf(segment.Created), Updated: timeOf(segment.Created),
		Name: l.Name, Level: int(l.Level), Message: l.Message, Timestamp: timeOf(l.Timestamp), FlowRunID: idOf(segment.FlowRunId),
		TaskRunID: idRef(l.TaskRunId),
	}
}
