package httpapi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
	"github.com/sluice-dev/sluice/fsm/watch"
	"github.com/sluice-dev/sluice/http/internal/body"
)

// streamPlace is how far a client has read a flow run's stream: the time of the last state, and the last log line as batch and
// number of lines of it. It points into the stored objects, so any node can go on from it.
type streamPlace struct {
	state   int64
	index   uint64
	ordinal uint32
	lines   int
}

func (p streamPlace) String() string {
	return strings.Join([]string{
		strconv.FormatInt(p.state, 36), strconv.FormatUint(p.index, 36), strconv.FormatUint(uint64(p.ordinal), 36), strconv.Itoa(p.lines),
	}, ".")
}

var errBadPlace = errors.New("malformed cursor")

func parsePlace(s string) (p streamPlace, err error) {
	parts := strings.Split(s, ".")
	if len(parts) != 4 {
		return p, errBadPlace
	}
	var err1, err2, err3, err4 error
	var ordinal uint64
	p.state, err1 = strconv.ParseInt(parts[0], 36, 64)
	p.index, err2 = strconv.ParseUint(parts[1], 36, 64)
	ordinal, err3 = strconv.ParseUint(parts[2], 36, 32)
	p.lines, err4 = strconv.Atoi(parts[3])
	if errors.Join(err1, err2, err3, err4) != nil || p.lines < 0 {
		return p, errBadPlace
	}
	p.ordinal = uint32(ordinal)
	return p, nil
}

// streamItem is one thing to send, with the place after it.
type streamItem struct {
	time  int64
	state *row.State
	log   *api.Log
	after func(streamPlace) streamPlace
}

const (
	// lateLogs is how long after a run's end its last log lines are waited for: Orion's clients send them after the final
	// state. Our agents and our SDK send them before it; the little while is for a report that overtook its lines.
	lateLogs       = 2 * time.Second
	lateLogsOfOurs = 100 * time.Millisecond
	// itemsPerRead bounds what one view holds in memory.
	itemsPerRead = 2000
)

// streamFlowRun sends the states and logs of a run from the beginning, or from where the client left off, until it has ended.
func streamFlowRun(s *Server, x *exchange) error {
	id, err := x.pathID("id")
	if err != nil {
		return err
	}
	var place streamPlace
	if from := x.resumeFrom(); from != "" {
		if place, err = parsePlace(from); err != nil {
			return unprocessable([]body.Error{{Loc: []any{"query", "from"}, Msg: "no cursor this server gave out", Type: "value_error"}})
		}
	}
	ctx, cancel := x.streamContext()
	defer cancel()
	run := &runStream{x: x, ctx: ctx, id: id, place: place, logs: x.r.URL.Query().Get("logs") != "false"}
	// Listen first and read then: nothing falls between.
	run.listen()
	if err := run.exists(); err != nil {
		return err
	}
	run.out = x.sse()
	run.serve()
	if ctx.Err() != nil {
		run.out.goodbye()
	}
	return nil
}

// runStream sends one run's items. Events only wake it up: what is sent is read from the state.
type runStream struct {
	x            *exchange
	ctx          context.Context
	id           api.ID
	logs         bool
	place        streamPlace
	ours         bool // an agent of ours executed the run
	subscription *watch.Subscription
	out          *sse
}

func (r *runStream) listen() {
	r.subscription = r.x.server.events.Subscribe(watch.TopicFlowRun | watch.TopicLogs)
}

func (r *runStream) exists() error {
	defer r.x.until(ordinary)()
	view, err := r.x.view()
	if err != nil {
		return err
	}
	defer view.Close()
	run, err := view.FlowRun(r.id)
	if err == nil && run == nil {
		err = notFound(missing.flowRun)
	}
	return err
}

// serve ends with the run, the client or the node.
func (r *runStream) serve() {
	for r.ctx.Err() == nil {
		end, more, err := r.read()
		if err != nil {
			r.x.logFailure(failureOf(fmt.Errorf("stream flow run %s: %w", r.id, err)))
			return
		}
		if err := r.out.flush(); err != nil {
			return
		}
		if more {
			continue
		}
		if end == nil {
			if r.wait(r.ctx) != nil {
				return
			}
			continue
		}
		if r.waitForLateLogs(end) {
			continue
		}
		r.out.event(api.EventEnd, r.place.String(), stateObject(end, r.x.strict).AppendJSON)
		_ = r.out.flush() // the last thing there is to say
		return
	}
}

// waitForLateLogs reports whether something more came after the run's end.
func (r *runStream) waitForLateLogs(end *row.State) bool {
	patience := lateLogs
	if r.ours {
		patience = lateLogsOfOurs
	}
	left := patience - r.x.server.now().Sub(time.UnixMicro(end.Timestamp))
	if !r.logs || left <= 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(r.ctx, left)
	defer cancel()
	return r.wait(ctx) == nil
}

// wait returns when the run changed.
func (r *runStream) wait(ctx context.Context) error {
	for {
		e, err := r.x.next(ctx, r.subscription, r.out)
		switch {
		case errors.Is(err, watch.ErrReset):
			r.listen()
			return nil
		case err != nil:
			return err
		case e.FlowRun != nil && idOf(e.FlowRun.Id) == r.id, e.Logs != nil && idOf(e.Logs.FlowRunId) == r.id:
			return nil
		}
	}
}

// read appends what came after the place. end is the state the run ended in, if it did; more says that not all was read.
func (r *runStream) read() (end *row.State, more bool, err error) {
	ctx, cancel := context.WithTimeout(r.ctx, ordinary)
	defer cancel()
	view, _, err := r.x.server.reader.View(ctx, Stale, 0)
	if err != nil {
		return nil, false, err
	}
	defer view.Close()
	run, err := view.FlowRun(r.id)
	if err != nil {
		return nil, false, err
	}
	items, more, err := r.items(view)
	if err != nil {
		return nil, false, err
	}
	for _, it := range items {
		r.place = it.after(r.place)
		if it.state != nil {
			r.out.event(api.EventState, r.place.String(), stateObject(it.state, r.x.strict).AppendJSON)
		} else {
			r.out.event(api.EventLog, r.place.String(), it.log.AppendJSON)
		}
	}
	switch {
	case run == nil: // deleted meanwhile
		return &row.State{Type: row.StateType_CANCELLED, Name: "Deleted"}, false, nil
	case terminal(run.GetState().GetType()):
		r.ours = len(run.AgentId) != 0
		return run.State, more, nil
	}
	return nil, more, nil
}

// items are the states and log lines after the place, by time; each kind keeps its own order.
func (r *runStream) items(view *state.View) (items []streamItem, more bool, err error) {
	states, err := view.FlowRunStates(r.id)
	if err != nil {
		return nil, false, err
	}
	var lines []streamItem
	if r.logs {
		if lines, more, err = r.lines(view); err != nil {
			return nil, false, err
		}
	}
	for _, s := range states {
		if s.Timestamp <= r.place.state {
			continue
		}
		// What is cut off by the bound may have come before later states: they wait for the next read.
		if more && len(lines) > 0 && s.Timestamp > lines[len(lines)-1].time {
			break
		}
		items = append(items, streamItem{time: s.Timestamp, state: s, after: func(p streamPlace) streamPlace {
			p.state = s.Timestamp
			return p
		}})
	}
	return merge(items, lines), more, nil
}

// merge keeps the order within a and within b.
func merge(a, b []streamItem) []streamItem {
	out := make([]streamItem, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if a[0].time <= b[0].time {
			out, a = append(out, a[0]), a[1:]
		} else {
			out, b = append(out, b[0]), b[1:]
		}
	}
	return slices.Concat(out, a, b)
}

func (r *runStream) lines(view *state.View) (lines []streamItem, more bool, err error) {
	take := func(segment *row.LogSegment) (bool, error) {
		if len(lines) >= itemsPerRead {
			more = true
			return false, nil
		}
		skip := 0
		if segment.Index == r.place.index && segment.Ordinal == r.place.ordinal {
			skip = r.place.lines
		}
		for i := skip; i < len(segment.Logs); i++ {
			lines = append(lines, streamItem{time: segment.Logs[i].Timestamp, log: logObject(segment, i), after: func(p streamPlace) streamPlace {
				p.index, p.ordinal, p.lines = segment.Index, segment.Ordinal, i+1
				return p
			}})
		}
		return true, nil
	}
	if r.place.index == 0 {
		err = view.LogSegments(r.id, take)
	} else {
		// From the batch the place is in: some of its lines may not have been sent.
		err = view.LogSegmentsFrom(r.id, r.place.index, r.place.ordinal, take)
	}
	return lines, more, err
}
