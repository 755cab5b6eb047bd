package httpapi

import (
	"encoding/json"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
	"github.com/sluice-dev/sluice/http/internal/body"
)

// historyQuery is the body of /history.
type historyQuery struct {
	query
	start, end, step int64
}

const (
	// mostIntervals bounds a history, as Orion does: what lies after them is left out.
	mostIntervals = 500
	shortestStep  = 1_000_000
)

var historySpec = body.Parameters(
	body.Required("history_start", body.Time, func(v *historyQuery) *int64 { return &v.start }),
	body.Required("history_end", body.Time, func(v *historyQuery) *int64 { return &v.end }),
	body.Required("history_interval_seconds", body.Duration, func(v *historyQuery) *int64 { return &v.step }),
	body.Optional("flows", flowFilterSpec.Ref(), func(v *historyQuery) **flowFilter { return &v.flows }),
	body.Optional("flow_runs", flowRunFilterSpec.Ref(), func(v *historyQuery) **flowRunFilter { return &v.flowRuns }),
	body.Optional("task_runs", taskRunFilterSpec.Ref(), func(v *historyQuery) **taskRunFilter { return &v.taskRuns }),
	body.Optional("deployments", deploymentFilterSpec.Ref(), func(v *historyQuery) **deploymentFilter { return &v.deployments }),
)

// edges are the limits of the intervals from the start until the end is covered; the last one is whole.
func (q *historyQuery) edges() []int64 {
	edges := []int64{q.start, q.start + q.step}
	for len(edges) <= mostIntervals && edges[len(edges)-1] < q.end {
		edges = append(edges, edges[len(edges)-1]+q.step)
	}
	return edges
}

var (
	flowRunHistory = histories((*matcher).fillFlowRuns)
	taskRunHistory = histories((*matcher).fillTaskRuns)
)

// histories is the handler that sums up runs by interval and state.
func histories(fill func(*matcher, *state.History, *historyQuery) error) handler {
	return func(_ *Server, x *exchange) error {
		q := &historyQuery{}
		if err := decode(x, historySpec, q); err != nil {
			return err
		}
		if q.step < shortestStep {
			return invalid("History interval must not be less than 1 second.", "")
		}
		view, err := x.view()
		if err != nil {
			return err
		}
		defer view.Close()
		last, err := view.LastTime()
		if err != nil {
			return err
		}
		// No state lies in the future of the state machine, whatever this node's clock says.
		h := state.NewHistory(q.edges(), max(x.now(), last))
		if err := fill(newMatcher(x, view, q.filters), h, q); err != nil {
			return err
		}
		answer := make([]api.HistoryInterval, h.Intervals())
		for i := range answer {
			answer[i] = historyInterval(h.Interval(i))
		}
		return x.sendJSON(200, answer)
	}
}

func historyInterval(from, until int64, sums []state.RunSums) api.HistoryInterval {
	in := api.HistoryInterval{IntervalStart: timeOf(from), IntervalEnd: timeOf(until)}
	for _, s := range sums {
		in.States = append(in.States, api.HistoryState{
			StateType: stateTypeOf(s.Type), StateName: s.Name, CountRuns: int(s.Runs),
			SumEstimatedRunTime: durationOf(s.RunTime), SumEstimatedLateness: durationOf(s.Lateness),
		})
	}
	return in
}

// fillFlowRuns answers from the buckets when every run counts, else from the fewest candidates.
func (m *matcher) fillFlowRuns(h *state.History, q *historyQuery) error {
	if m.flows == nil && m.taskRuns == nil && m.deployments == nil && (m.flowRuns.asks() == 0) {
		if done, err := m.view.FlowRunHistory(h); err != nil || done {
			return err
		}
	}
	edges := q.edges()
	from, until := edges[0], edges[len(edges)-1]
	// What starts outside of the chart is no candidate.
	last, ranged := until-1, flowRunFilter{}
	if m.flowRuns != nil {
		ranged = *m.flowRuns
	}
	if t := ranged.expected.after; t == nil || *t < from {
		ranged.expected.after = &from
	}
	if t := ranged.expected.before; t == nil || *t > last {
		ranged.expected.before = &last
	}
	narrow := *m
	narrow.flowRuns = &ranged
	source, err := narrow.flowRunSource()
	if err != nil {
		return err
	}
	return source.walk(m, false, func(r *row.FlowRun) (bool, error) {
		if r.ExpectedStartTime < from || r.ExpectedStartTime >= until {
			return true, m.alive()
		}
		good, err := m.flowRun(r)
		if good {
			h.AddFlowRun(r)
		}
		return true, m.next(err)
	})
}

func (m *matcher) fillTaskRuns(h *state.History, _ *historyQuery) error {
	if m.flows == nil && m.flowRuns == nil && m.deployments == nil && (m.taskRuns == nil || m.taskRuns.restrictsNothing()) {
		if done, err := m.view.TaskRunHistory(h); err != nil || done {
			return err
		}
	}
	walk, _, err := m.taskRunSource()
	if err != nil {
		return err
	}
	return walk(func(r *row.TaskRun) (bool, error) {
		good, err := m.taskRun(r)
		if good {
			h.AddTaskRun(r)
		}
		return true, m.next(err)
	})
}

func (f *taskRunFilter) restrictsNothing() bool {
	return f.id.any == nil && f.name.any == nil && len(f.tags.all) == 0 && f.tags.null == nil && !f.state.typed && f.state.names.any == nil &&
		f.start.before == nil && f.start.after == nil && f.start.null == nil && f.subflow == nil
}

// mostDots bounds the UI's list of runs, and is its default.
const mostDots = 1000

var dotsSpec = body.Parameters(filterFields([]body.Field[query]{
	sortField(flowRunSorts...),
	body.Optional("limit", body.IntBetween(0, mostDots), func(v *query) *int64 { return &v.limit }),
	offsetField,
})...)

// dots lists runs with the little that the UI's chart shows of each.
func dots(_ *Server, x *exchange) error {
	q := &query{page: newPage(), sort: "EXPECTED_START_TIME_DESC"}
	q.limit = mostDots
	if err := decode(x, dotsSpec, q); err != nil {
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
		p := flowProgress(r, now)
		at := r.StartTime
		if at == 0 {
			at = r.ExpectedStartTime
		}
		return appendJSON(b, api.SimpleFlowRun{
			ID: idOf(r.Id), StateType: stateTypeOf(r.State.GetType()), Timestamp: timeOf(at), Duration: p.estimatedRunTime(), Lateness: p.estimatedStartTimeDelta(),
		})
	})
}

// sendJSON answers what has no encoder of its own.
func (x *exchange) sendJSON(status int, v any) error {
	out, err := json.Marshal(v)
	if err != nil {
		return err
	}
	x.out = append(x.out, out...)
	return x.send(status)
}
