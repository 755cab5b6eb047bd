package httpapi

import (
	"compress/gzip"
	"encoding/base64"
	"encoding/binary"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
	"github.com/sluice-dev/sluice/http/internal/body"
)

const (
	// longestPattern bounds what is searched for. Go's regular expressions take time in proportion to the text, whatever they are.
	longestPattern = 500
	// linesPerPage bounds how many lines a page looks at, so that a rare word does not read a whole log in one request.
	linesPerPage = 20_000
	// mostLogLines bounds the limit: whoever follows a log reads much at a time.
	mostLogLines = 2000
)

// logPlace is a line of a run's log: its batch and its number in it.
type logPlace struct {
	index   uint64
	ordinal uint32
	line    uint32
}

const logCursorVersion = 1

func (p logPlace) String() string {
	b := append(make([]byte, 0, 24), logCursorVersion)
	b = binary.AppendUvarint(b, p.index)
	b = binary.AppendUvarint(b, uint64(p.ordinal))
	b = binary.AppendUvarint(b, uint64(p.line))
	return base64.RawURLEncoding.EncodeToString(b)
}

// parseLogPlace reads what String wrote.
func parseLogPlace(text string) (p logPlace, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) == 0 || b[0] != logCursorVersion {
		return p, false
	}
	var values [3]uint64
	rest := b[1:]
	for i := range values {
		v, width := binary.Uvarint(rest)
		if width <= 0 {
			return p, false
		}
		values[i], rest = v, rest[width:]
	}
	if len(rest) > 0 || values[1] > 1<<32-1 || values[2] > 1<<32-1 {
		return p, false
	}
	return logPlace{values[0], uint32(values[1]), uint32(values[2])}, true
}

// logSearch selects lines of one run.
type logSearch struct {
	text         string // contained, regardless of case; "" is anything
	pattern      *regexp.Regexp
	level        int64
	since, until int64 // µs; 0: open
	task         *api.ID
	limit        int
	reverse      bool
	after        *logPlace
	// including says that the walk begins with the line at the place, and not behind it.
	including bool
}

func (f *logSearch) matches(l *row.Log) bool {
	switch {
	case int64(l.Level) < f.level, f.since != 0 && l.Timestamp < f.since, f.until != 0 && l.Timestamp > f.until,
		f.task != nil && string(l.TaskRunId) != string(f.task[:]),
		f.text != "" && !strings.Contains(strings.ToLower(l.Message), f.text),
		f.pattern != nil && !f.pattern.MatchString(l.Message):
		return false
	}
	return true
}

// readLogSearch reads the criteria from the query.
func (x *exchange) readLogSearch() (*logSearch, error) {
	f := &logSearch{limit: api.MaxPage}
	q := x.r.URL.Query()
	var findings []body.Error
	wrong := func(name, text string) {
		findings = append(findings, body.Error{Loc: []any{"query", name}, Msg: text, Type: "value_error"})
	}
	f.text = strings.ToLower(q.Get("search"))
	if len(f.text) > longestPattern {
		wrong("search", "ensure this value has at most 500 bytes")
	}
	if text := q.Get("regex"); text != "" {
		var err error
		switch f.pattern, err = regexp.Compile(text); {
		case len(text) > longestPattern:
			wrong("regex", "ensure this value has at most 500 bytes")
		case err != nil:
			wrong("regex", err.Error())
		}
	}
	f.level = number(q, "level", 0, 1<<31-1, wrong)
	if q.Has("limit") {
		f.limit = int(number(q, "limit", 0, mostLogLines, wrong))
	}
	f.since, f.until = moment(q, "since", wrong), moment(q, "until", wrong)
	if text := q.Get("task_run_id"); text != "" {
		id, ok := body.ParseUUID(text)
		if !ok {
			wrong("task_run_id", "value is not a valid uuid")
		}
		task := api.ID(id)
		f.task = &task
	}
	switch q.Get("order") {
	case "", "asc":
	case "desc":
		f.reverse = true
	default:
		wrong("order", "unexpected value; permitted: 'asc', 'desc'")
	}
	for _, name := range []string{"cursor", "at"} {
		text := q.Get(name)
		if text == "" {
			continue
		}
		place, ok := parseLogPlace(text)
		switch {
		case !ok:
			wrong(name, "no cursor that this list gave out; begin anew without one")
		case f.after != nil:
			wrong(name, "either cursor or at, not both")
		}
		f.after, f.including = &place, name == "at"
	}
	if findings != nil {
		return nil, unprocessable(findings)
	}
	return f, nil
}

func number(q url.Values, name string, low, high int64, wrong func(name, text string)) int64 {
	text := q.Get(name)
	if text == "" {
		return low
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < low || n > high {
		wrong(name, "value is not a number from "+strconv.FormatInt(low, 10)+" to "+strconv.FormatInt(high, 10))
		return low
	}
	return n
}

func moment(q url.Values, name string, wrong func(name, text string)) int64 {
	text := q.Get(name)
	if text == "" {
		return 0
	}
	t, err := api.ParseTime(text)
	if err != nil {
		wrong(name, "invalid datetime format")
		return 0
	}
	return t.UnixMicro()
}

// walk hands out the lines behind the place, in the order in which they were accepted, until fn says stop.
func (f *logSearch) walk(view *state.View, id api.ID, fn func(*row.LogSegment, int, logPlace) (bool, error)) error {
	take := func(segment *row.LogSegment) (bool, error) {
		n := len(segment.Logs)
		for k := range n {
			i := k
			if f.reverse {
				i = n - 1 - k
			}
			place := logPlace{segment.Index, segment.Ordinal, uint32(i)}
			if f.after != nil && !f.behind(place) {
				continue
			}
			if more, err := fn(segment, i, place); err != nil || !more {
				return false, err
			}
		}
		return true, nil
	}
	if f.after == nil {
		return view.WalkLogSegments(id, nil, f.reverse, take)
	}
	return view.WalkLogSegments(id, &state.LogPlace{Index: f.after.index, Ordinal: f.after.ordinal}, f.reverse, take)
}

// behind reports whether a line comes after the cursor in the direction of the walk, or is the one to begin with.
func (f *logSearch) behind(p logPlace) bool {
	a := *f.after
	if p == a {
		return f.including
	}
	if f.reverse {
		a, p = p, a
	}
	switch {
	case p.index != a.index:
		return p.index > a.index
	case p.ordinal != a.ordinal:
		return p.ordinal > a.ordinal
	}
	return p.line > a.line
}

// searchLogs answers one page of a run's lines.
func searchLogs(_ *Server, x *exchange) error {
	id, err := x.pathID("id")
	if err != nil {
		return err
	}
	f, err := x.readLogSearch()
	if err != nil {
		return err
	}
	view, err := x.view()
	if err != nil {
		return err
	}
	defer view.Close()
	if _, err := existing(view.FlowRun(id)); err != nil {
		return err
	}
	x.out = append(x.out, `{"logs":[`...)
	lines, looked := 0, 0
	var last logPlace
	more := false
	err = f.walk(view, id, func(segment *row.LogSegment, i int, place logPlace) (bool, error) {
		if lines == f.limit || looked == linesPerPage {
			more = true
			return false, x.ctx.Err()
		}
		looked++
		last = place
		if f.matches(segment.Logs[i]) {
			if lines > 0 {
				x.out = append(x.out, ',')
			}
			lines++
			x.out = logObject(segment, i).AppendJSON(x.out)
			x.out = append(append(append(x.out[:len(x.out)-1], `,"cursor":"`...), place.String()...), `"}`...)
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	place := "null"
	switch {
	case looked > 0:
		place = `"` + last.String() + `"`
	case f.after != nil:
		place = `"` + f.after.String() + `"`
	}
	next := "null"
	if more {
		next = place
	}
	x.out = append(append(append(append(append(x.out, `],"next_cursor":`...), next...), `,"end":`...), place...), '}')
	return x.send(http.StatusOK)
}

// existing makes a flow run that is not there an error.
func existing(run *row.FlowRun, err error) (*row.FlowRun, error) {
	if err == nil && run == nil {
		err = notFound(missing.flowRun)
	}
	return run, err
}

// downloadChunk is how much of a download is written at a time.
const downloadChunk = 64 << 10

// downloadLogs streams all matching lines of a run, as text or as one JSON object a line.
func downloadLogs(_ *Server, x *exchange) error {
	id, err := x.pathID("id")
	if err != nil {
		return err
	}
	f, err := x.readLogSearch()
	if err != nil {
		return err
	}
	format := or(x.r.URL.Query().Get("format"), "text")
	if format != "text" && format != "ndjson" {
		return unprocessable([]body.Error{{Loc: []any{"query", "format"}, Msg: "unexpected value; permitted: 'text', 'ndjson'", Type: "value_error"}})
	}
	stop := x.until(ordinary)
	view, err := x.view()
	stop()
	if err != nil {
		return err
	}
	defer view.Close()
	run, err := existing(view.FlowRun(id))
	if err != nil {
		return err
	}
	out := x.download(run.Name, format)
	line := func(b []byte, l *api.Log) []byte { return append(l.AppendJSON(b), '\n') }
	if format == "text" {
		line = appendLogText
	}
	failed := f.walk(view, id, func(segment *row.LogSegment, i int, _ logPlace) (bool, error) {
		if !f.matches(segment.Logs[i]) {
			return true, nil
		}
		x.out = line(x.out, logObject(segment, i))
		if len(x.out) < downloadChunk {
			return true, nil
		}
		return true, out.flush()
	})
	if failed == nil {
		failed = out.close()
	}
	if failed != nil && x.r.Context().Err() == nil {
		// The status is sent: only an answer that breaks off tells that it is not whole.
		x.logFailure(failureOf(failed))
		panic(http.ErrAbortHandler)
	}
	return nil
}

// appendLogText writes a line for people: when, how grave, who, what.
func appendLogText(b []byte, l *api.Log) []byte {
	b = l.Timestamp.UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z")
	b = append(append(append(b, ' '), api.LevelName(l.Level)...), ' ')
	b = append(append(append(b, l.Name...), " - "...), l.Message...)
	return append(b, '\n')
}

// download is an answer that is written bit by bit, compressed if the client takes that.
type download struct {
	x      *exchange
	writer io.Writer
	zip    *gzip.Writer
}

func (x *exchange) download(name, format string) *download {
	h := x.Header()
	kind, suffix := "text/plain; charset=utf-8", ".log"
	if format == "ndjson" {
		kind, suffix = "application/x-ndjson", ".ndjson"
	}
	h.Set("Content-Type", kind)
	h.Set("Content-Disposition", `attachment; filename="`+fileName(name)+suffix+`"`)
	h.Set("Vary", "Accept-Encoding")
	d := &download{x: x, writer: x}
	if acceptsGzip(x.r) {
		h.Set("Content-Encoding", "gzip")
		d.zip = gzip.NewWriter(x)
		d.writer = d.zip
	}
	x.WriteHeader(http.StatusOK)
	return d
}

func (d *download) flush() error {
	_ = http.NewResponseController(d.x.ResponseWriter).SetWriteDeadline(time.Now().Add(sseWriteTimeout)) // not every writer has one
	_, err := d.writer.Write(d.x.out)
	d.x.out = d.x.out[:0]
	return err
}

func (d *download) close() error {
	err := d.flush()
	if d.zip != nil && err == nil {
		err = d.zip.Close()
	}
	return err
}

// fileName keeps of a name what is harmless in a header and on every file system.
func fileName(name string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x80 && (r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '-' || r == '_') {
			return r
		}
		return '_'
	}, name)
}

// acceptsGzip reports whether the client takes gzip: it names it, and not with the weight 0.
func acceptsGzip(r *http.Request) bool {
	for _, header := range r.Header.Values("Accept-Encoding") {
		for part := range strings.SplitSeq(header, ",") {
			coding, weight, _ := strings.Cut(strings.TrimSpace(part), ";")
			if strings.EqualFold(strings.TrimSpace(coding), "gzip") {
				q, err := strconv.ParseFloat(strings.TrimPrefix(strings.ReplaceAll(weight, " ", ""), "q="), 64)
				return weight == "" || err == nil && q > 0
			}
		}
	}
	return false
}
