package httpapi

import (
	"math"
	"slices"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
)

// asked is a set of criteria.
type asked uint32

const (
	askID asked = 1 << iota
	askName
	askTags
	askDeployment
	askQueue
	askType
	askStateName
	askStart
	askExpected
	askNext
	askParent
	askFlows       // anything about the flow
	askDeployments // anything about the deployment
	askTasks       // anything about task runs
	askOther       // what no index knows
)

// asks says which criteria a flow run has to meet.
func (m *matcher) asks() (a asked) {
	a = m.flowRuns.asks()
	if m.flows != nil {
		a |= askFlows
	}
	if m.deployments != nil {
		a |= askDeployments
	}
	if m.taskRuns != nil {
		a |= askTasks
	}
	return a
}

// asks says which of the filter's criteria there are; f may be nil.
func (f *flowRunFilter) asks() (a asked) {
	if f == nil {
		return 0
	}
	add := func(restricts bool, c asked) {
		if restricts {
			a |= c
		}
	}
	ids := func(c idCriterion, what asked) {
		add(c.any != nil, what)
		add(c.not != nil || c.null != nil, askOther)
	}
	times := func(c timeCriterion, what asked) {
		add(c.before != nil || c.after != nil, what)
		add(c.null != nil, askOther)
	}
	ids(f.id, askID)
	ids(f.deploymentID, askDeployment)
	ids(f.workQueueID, askQueue)
	ids(f.parent, askParent)
	times(f.start, askStart)
	times(f.expected, askExpected)
	times(f.next, askNext)
	add(f.name.any != nil, askName)
	add(len(f.tags.all) > 0, askTags)
	add(f.tags.null != nil || f.flowVersion.any != nil || f.runnerType.any != nil || f.parameters.any != nil, askOther)
	add(f.state.typed, askType)
	add(f.state.names.any != nil, askStateName)
	return a
}

// wantedTypes are the state types that the filter lets pass; f may be nil.
func (f *flowRunFilter) wantedTypes() []row.StateType {
	if f == nil || !f.state.typed {
		return everyType
	}
	return slices.Compact(slices.Sorted(slices.Values(f.state.types)))
}

// order is what a source is sorted by.
type order byte

const (
	unordered order = iota
	byID
	byExpected
	byName
	byEnd
	byNext
)

// runSource is a way to find candidates among the flow runs.
type runSource struct {
	name   string // of the index, as in DESIGN.md
	cost   int64  // rows it will hand out, about
	exact  bool   // cost is no estimate
	covers asked  // criteria that all of them meet
	order  order
	// ids hands out what the index holds: the id, and the time it is sorted by.
	ids func(reverse bool, fn func(at int64, id api.ID) (bool, error)) error
	// beyond is ids behind a place; nil without an order.
	beyond func(p sortPlace, reverse bool, fn func(at int64, id api.ID) (bool, error)) error
	// count counts them.
	count func() (int64, error)
}

// walk hands the rows out.
func (s *runSource) walk(m *matcher, reverse bool, fn func(*row.FlowRun) (bool, error)) error {
	return s.ids(reverse, func(_ int64, id api.ID) (bool, error) {
		r, err := m.view.FlowRun(id)
		if err != nil || r == nil {
			return true, m.next(err)
		}
		return fn(r)
	})
}

const (
	// mergeable is how many parts of an index are walked side by side; of more, one after the other.
	mergeable = 48
	// resolvable is how many flows or deployments are looked at to learn which ones a filter means.
	resolvable = 2000
	// guess is how many keys are counted where no counter says.
	guess = 1000
)

// flowRunSources are all indexes that could answer the filter; the first is that of everything.
func (m *matcher) flowRunSources() ([]runSource, error) {
	total, err := m.countAll()
	if err != nil {
		return nil, err
	}
	var f flowRunFilter
	if m.flowRuns != nil {
		f = *m.flowRuns
	}
	span := state.Always()
	if f.expected.after != nil {
		span.From = *f.expected.after
	}
	if f.expected.before != nil {
		span.Until = *f.expected.before
	}
	p := &sources{m: m, total: total, types: f.wantedTypes(), span: span, ranged: f.expected.after != nil || f.expected.before != nil}
	for _, offer := range []func(*flowRunFilter) error{p.everything, p.ofTypes, p.ofIDs, p.ofNames, p.ofDeployments, p.ofFlows, p.ofTags, p.ofQueues, p.ofStateNames, p.started, p.due} {
		if err := offer(&f); err != nil {
			return nil, err
		}
	}
	return p.all, nil
}

var everyType = []row.StateType{row.StateType_STATE_TYPE_NONE, row.StateType_SCHEDULED, row.StateType_PENDING, row.StateType_RUNNING, row.StateType_COMPLETED,
	row.StateType_FAILED, row.StateType_CANCELLED}

// flowRunSource is the index that hands out the fewest candidates.
func (m *matcher) flowRunSource() (runSource, error) {
	all, err := m.flowRunSources()
	if err != nil {
		return runSource{}, err
	}
	return slices.MinFunc(all, func(a, b runSource) int { return int(max(-1, min(1, a.cost-b.cost))) }), nil
}

func (m *matcher) countAll() (int64, error) { return sum(everyType, m.view.CountFlowRuns) }

func sum[K any](keys []K, count func(K) (int64, error)) (n int64, err error) {
	for _, key := range keys {
		k, err := count(key)
		if err != nil {
			return 0, err
		}
		n += k
	}
	return n, nil
}

// sources collects them.
type sources struct {
	m     *matcher
	total int64
	types []row.StateType
	span  state.Span
	// ranged says that span restricts; share is how large a part of all runs lies in it, once it was asked for.
	ranged bool
	share  float64
	all    []runSource
}

// idRanges is a source of keys (…, id).
func (p *sources) idRanges(s runSource, ranges []state.IDRange) {
	view := p.m.view
	s.order = byID
	s.ids = func(reverse bool, fn func(int64, api.ID) (bool, error)) error {
		return view.EachRunID(ranges, reverse, func(id api.ID) (bool, error) { return fn(0, id) })
	}
	s.beyond = func(p sortPlace, reverse bool, fn func(int64, api.ID) (bool, error)) error {
		rest := make([]state.IDRange, len(ranges))
		for i, r := range ranges {
			rest[i] = r.Beyond(p.id, reverse)
		}
		return view.EachRunID(rest, reverse, func(id api.ID) (bool, error) { return fn(0, id) })
	}
	if len(ranges) > mergeable {
		s.order, s.beyond = unordered, nil
		s.ids = func(reverse bool, fn func(int64, api.ID) (bool, error)) error {
			return oneByOne(ranges, func(r state.IDRange, fn func(int64, api.ID) (bool, error)) error {
				return view.EachRunID([]state.IDRange{r}, reverse, func(id api.ID) (bool, error) { return fn(0, id) })
			}, fn)
		}
	}
	s.count = func() (int64, error) { return view.CountRunIDs(ranges, math.MaxInt64) }
	p.all = append(p.all, s)
}

// timeRanges is a source of keys (…, time, id).
func (p *sources) timeRanges(s runSource, by order, ranges []state.TimeRange) {
	view := p.m.view
	s.order = by
	s.ids = func(reverse bool, fn func(int64, api.ID) (bool, error)) error {
		return view.EachRunTime(ranges, reverse, fn)
	}
	s.beyond = func(p sortPlace, reverse bool, fn func(int64, api.ID) (bool, error)) error {
		return view.EachRunTime(timesBeyond(ranges, p, reverse), reverse, fn)
	}
	if len(ranges) > mergeable {
		s.order, s.beyond = unordered, nil
		s.ids = func(reverse bool, fn func(int64, api.ID) (bool, error)) error {
			return oneByOne(ranges, func(r state.TimeRange, fn func(int64, api.ID) (bool, error)) error {
				return view.EachRunTime([]state.TimeRange{r}, reverse, fn)
			}, fn)
		}
	}
	s.count = func() (int64, error) { return view.CountRunTimes(ranges, math.MaxInt64) }
	p.all = append(p.all, s)
}

func timesBeyond(ranges []state.TimeRange, p sortPlace, reverse bool) []state.TimeRange {
	rest := make([]state.TimeRange, len(ranges))
	for i, r := range ranges {
		rest[i] = r.Beyond(p.at, p.id, reverse)
	}
	return rest
}

// oneByOne walks one part after the other.
func oneByOne[R any](parts []R, walk func(R, func(int64, api.ID) (bool, error)) error, fn func(int64, api.ID) (bool, error)) error {
	stopped := false
	for _, r := range parts {
		err := walk(r, func(at int64, id api.ID) (bool, error) {
			more, err := fn(at, id)
			stopped = !more
			return more, err
		})
		if err != nil || stopped {
			return err
		}
	}
	return nil
}

// expected offers a time index of something whose runs are counted by state type.
func expected[K any](p *sources, name string, covers asked, keys []K, part func(K, row.StateType, state.Span) state.TimeRange, count func(K, row.StateType) (int64, error)) error {
	var ranges []state.TimeRange
	var n int64
	for _, key := range keys {
		for _, t := range p.types {
			k, err := count(key, t)
			if err != nil {
				return err
			}
			if n += k; k != 0 {
				ranges = append(ranges, part(key, t, p.span))
			}
		}
	}
	return p.offerExpected(runSource{name: name, covers: covers | askType, cost: n, exact: true}, ranges)
}

// offerExpected offers a source by expected start, of as many runs without the criterion on it.
func (p *sources) offerExpected(s runSource, ranges []state.TimeRange) error {
	if s.covers |= askExpected; p.ranged {
		share, err := p.within()
		if err != nil {
			return err
		}
		s.cost, s.exact = int64(math.Ceil(float64(s.cost)*share)), false
	}
	p.timeRanges(s, byExpected, ranges)
	return nil
}

// within estimates which part of all runs lies in the span: they are taken to lie evenly between the first and the last.
func (p *sources) within() (float64, error) {
	if p.share == 0 {
		share, err := p.m.shareOf(state.RunsExpected(state.Always()), p.span)
		if err != nil {
			return 0, err
		}
		p.share = share
	}
	return p.share, nil
}

func (m *matcher) shareOf(all state.TimeRange, span state.Span) (float64, error) {
	ends, ok, err := m.view.Ends(all)
	if err != nil || !ok || ends.From == ends.Until {
		return 1, err
	}
	from, until := max(span.From, ends.From), min(span.Until, ends.Until)
	return max(1e-6, float64(until-from)/float64(ends.Until-ends.From)), nil
}

func (p *sources) everything(*flowRunFilter) error {
	ranges := make([]state.IDRange, len(everyType))
	for i, t := range everyType {
		ranges[i] = state.RunsOfType(t)
	}
	p.idRanges(runSource{name: "state_type", cost: p.total, exact: true}, ranges)
	view := p.m.view
	p.all = append(p.all, runSource{name: "name", cost: p.total, exact: true, order: byName, ids: func(reverse bool, fn func(int64, api.ID) (bool, error)) error {
		return view.EachRunByName(reverse, func(id api.ID) (bool, error) { return fn(0, id) })
	}, beyond: func(p sortPlace, reverse bool, fn func(int64, api.ID) (bool, error)) error {
		return view.EachRunByNameBeyond(p.name, p.id, reverse, func(id api.ID) (bool, error) { return fn(0, id) })
	}})
	p.timeRanges(runSource{name: "end_time", cost: p.total, exact: true}, byEnd, []state.TimeRange{state.RunsEnded(state.Always())})
	p.nextScheduled()
	return p.offerExpected(runSource{name: "expected_start", cost: p.total, exact: true}, []state.TimeRange{state.RunsExpected(p.span)})
}

// nextScheduled hands out the runs of the types by the time they are scheduled for: first, by id, those that have none, which are those of
// all types but SCHEDULED.
func (p *sources) nextScheduled() {
	view := p.m.view
	var others []state.IDRange
	scheduled := []state.TimeRange{}
	for _, t := range p.types {
		if t == row.StateType_SCHEDULED {
			scheduled = append(scheduled, state.RunsDue(state.Always()))
		} else {
			others = append(others, state.RunsOfType(t))
		}
	}
	walk := func(others []state.IDRange, scheduled []state.TimeRange, fn func(int64, api.ID) (bool, error)) error {
		stopped := false
		err := view.EachRunID(others, false, func(id api.ID) (bool, error) {
			more, err := fn(0, id)
			stopped = !more
			return more, err
		})
		if err != nil || stopped {
			return err
		}
		return view.EachRunTime(scheduled, false, fn)
	}
	p.all = append(p.all, runSource{name: "state_type, due", covers: askType, cost: p.total, order: byNext, ids: func(_ bool, fn func(int64, api.ID) (bool, error)) error {
		return walk(others, scheduled, fn)
	}, beyond: func(p sortPlace, _ bool, fn func(int64, api.ID) (bool, error)) error {
		if p.at != 0 {
			return walk(nil, timesBeyond(scheduled, p, false), fn)
		}
		rest := make([]state.IDRange, len(others))
		for i, r := range others {
			rest[i] = r.Beyond(p.id, false)
		}
		return walk(rest, scheduled, fn)
	}})
}

func (p *sources) ofTypes(f *flowRunFilter) error {
	if !f.state.typed {
		return nil
	}
	ranges := make([]state.IDRange, len(p.types))
	for i, t := range p.types {
		ranges[i] = state.RunsOfType(t)
	}
	n, err := sum(p.types, p.m.view.CountFlowRuns)
	if err != nil {
		return err
	}
	p.idRanges(runSource{name: "state_type", covers: askType, cost: n, exact: true}, ranges)
	return expected(p, "state_type_time", askType, []struct{}{{}},
		func(_ struct{}, t row.StateType, s state.Span) state.TimeRange { return state.RunsOfTypeExpected(t, s) },
		func(_ struct{}, t row.StateType) (int64, error) { return p.m.view.CountFlowRuns(t) })
}

// ofIDs serves when the filter names flow runs, their parents or their task runs.
func (p *sources) ofIDs(f *flowRunFilter) error {
	if f.id.any != nil {
		p.ids("id", askID, f.id.any.list)
	}
	if f.parent.any != nil {
		ranges := make([]state.IDRange, len(f.parent.any.list))
		for i, id := range f.parent.any.list {
			ranges[i] = state.RunsOfParent(id)
		}
		n, err := p.m.view.CountRunIDs(ranges, guess)
		if err != nil {
			return err
		}
		p.idRanges(runSource{name: "parent_task_run", covers: askParent, cost: n, exact: n < guess}, ranges)
	}
	if p.m.taskRuns != nil && p.m.taskRuns.id.any != nil {
		parents, err := p.m.parentsOfTaskRuns()
		if err != nil {
			return err
		}
		ids := make([]api.ID, 0, len(parents))
		for id := range parents {
			ids = append(ids, id)
		}
		p.ids("task run's id", askTasks, ids)
	}
	return nil
}

// ids is a source of given ids. Some may be of no run.
func (p *sources) ids(name string, covers asked, ids []api.ID) {
	p.all = append(p.all, runSource{name: name, covers: covers, cost: int64(len(ids)), ids: func(_ bool, fn func(int64, api.ID) (bool, error)) error {
		for _, id := range ids {
			if more, err := fn(0, id); err != nil || !more {
				return err
			}
		}
		return nil
	}})
}

func (p *sources) ofNames(f *flowRunFilter) error {
	if f.name.any == nil {
		return nil
	}
	ranges := make([]state.IDRange, len(f.name.any.list))
	for i, name := range f.name.any.list {
		ranges[i] = state.RunsOfName(name)
	}
	n, err := p.m.view.CountRunIDs(ranges, guess)
	if err != nil {
		return err
	}
	if n == guess {
		n = max(n, p.total/2)
	}
	p.idRanges(runSource{name: "name", covers: askName, cost: n, exact: n < guess}, ranges)
	return nil
}

// ofDeployments serves the criterion on the run's deployment and what is asked of deployments.
func (p *sources) ofDeployments(f *flowRunFilter) error {
	offer := func(covers asked, ids []api.ID) error {
		ranges := make([]state.IDRange, len(ids))
		for i, id := range ids {
			ranges[i] = state.RunsOfDeployment(id)
		}
		n, err := sum(ids, func(id api.ID) (int64, error) {
			return sum(everyType, func(t row.StateType) (int64, error) { return p.m.view.CountFlowRunsOfDeployment(id, t) })
		})
		if err != nil {
			return err
		}
		p.idRanges(runSource{name: "deployment", covers: covers, cost: n, exact: true}, ranges)
		if err := named(p, "deployment_state_name", covers, ids, runsInState[api.ID]{
			p.m.view.CountFlowRunsOfDeployment, p.m.view.CountFlowRunsOfDeploymentNamed, state.RunsOfDeploymentExpected, state.RunsOfDeploymentStateName}); err != nil {
			return err
		}
		return expected(p, "deployment_time", covers, ids, state.RunsOfDeploymentExpected, p.m.view.CountFlowRunsOfDeployment)
	}
	if f.deploymentID.any != nil {
		if err := offer(askDeployment, f.deploymentID.any.list); err != nil {
			return err
		}
	}
	if p.m.deployments == nil {
		return nil
	}
	ids, known, err := p.m.deploymentsMeant()
	if err != nil || !known {
		return err
	}
	return offer(askDeployments, ids)
}

// deploymentsMeant lists the deployments that the filter on them lets pass, when that is soon done.
func (m *matcher) deploymentsMeant() (ids []api.ID, known bool, err error) {
	take := func(d *row.Deployment) {
		if m.deployments.matches(d) {
			ids = append(ids, idOf(d.Id))
		}
	}
	if m.deployments.id.any != nil {
		for _, id := range m.deployments.id.any.list {
			d, err := m.view.Deployment(id)
			if err != nil {
				return nil, false, err
			}
			if d != nil {
				take(d)
			}
		}
		return ids, true, nil
	}
	looked := 0
	err = m.view.EachDeployment(func(d *row.Deployment) (bool, error) {
		looked++
		take(d)
		return looked <= resolvable, nil
	})
	return ids, looked <= resolvable, err
}

// ofFlows serves what is asked of flows.
func (p *sources) ofFlows(*flowRunFilter) error {
	if p.m.flows == nil {
		return nil
	}
	ids, known, err := p.m.flowsMeant()
	if err != nil || !known {
		return err
	}
	ranges := make([]state.IDRange, len(ids))
	for i, id := range ids {
		ranges[i] = state.RunsOfFlow(id)
	}
	n, err := sum(ids, func(id api.ID) (int64, error) {
		return sum(everyType, func(t row.StateType) (int64, error) { return p.m.view.CountFlowRunsOfFlow(id, t) })
	})
	if err != nil {
		return err
	}
	p.idRanges(runSource{name: "flow", covers: askFlows, cost: n, exact: true}, ranges)
	if err := named(p, "flow_state_name", askFlows, ids, runsInState[api.ID]{
		p.m.view.CountFlowRunsOfFlow, p.m.view.CountFlowRunsOfFlowNamed, state.RunsOfFlowExpected, state.RunsOfFlowStateName}); err != nil {
		return err
	}
	return expected(p, "flow_time", askFlows, ids, state.RunsOfFlowExpected, p.m.view.CountFlowRunsOfFlow)
}

// flowsMeant lists the flows that the filter on them lets pass, when that is soon done.
func (m *matcher) flowsMeant() (ids []api.ID, known bool, err error) {
	take := func(f *row.Flow, err error) error {
		if err == nil && f != nil && m.flows.matches(f) {
			ids = append(ids, idOf(f.Id))
		}
		return err
	}
	switch {
	case m.flows.id.any != nil:
		for _, id := range m.flows.id.any.list {
			if err := take(m.view.Flow(id)); err != nil {
				return nil, false, err
			}
		}
		return ids, true, nil
	case m.flows.name.any != nil:
		for _, name := range m.flows.name.any.list {
			if err := take(m.view.FlowByName(name)); err != nil {
				return nil, false, err
			}
		}
		return ids, true, nil
	}
	looked := 0
	err = m.view.EachFlow(func(f *row.Flow) (bool, error) {
		looked++
		return looked <= resolvable, take(f, nil)
	})
	return ids, looked <= resolvable, err
}

// ofTags goes by the rarest of the tags.
func (p *sources) ofTags(f *flowRunFilter) error {
	tags := slices.Compact(slices.Sorted(slices.Values(f.tags.all)))
	covers := asked(0)
	if len(tags) == 1 {
		covers = askTags
	}
	rarest, least := "", int64(math.MaxInt64)
	for _, tag := range tags {
		n, err := sum(p.types, func(t row.StateType) (int64, error) { return p.m.view.CountFlowRunsTagged(tag, t) })
		if err != nil {
			return err
		}
		if n < least {
			rarest, least = tag, n
		}
	}
	if len(tags) == 0 {
		return nil
	}
	return expected(p, "tag_time", covers, []string{rarest}, state.RunsTaggedExpected, p.m.view.CountFlowRunsTagged)
}

func (p *sources) ofQueues(f *flowRunFilter) error {
	if f.workQueueID.any == nil {
		return nil
	}
	return expected(p, "queue_time", askQueue, f.workQueueID.any.list, state.RunsOfQueueExpected, p.m.view.CountFlowRunsOfQueue)
}

// ofStateNames goes by the names of states.
func (p *sources) ofStateNames(*flowRunFilter) error {
	v := p.m.view
	return named(p, "state_name", 0, []struct{}{{}}, runsInState[struct{}]{
		func(_ struct{}, t row.StateType) (int64, error) { return v.CountFlowRuns(t) },
		func(_ struct{}, t row.StateType, name string) (int64, error) { return v.CountFlowRunsNamed(t, name) },
		func(_ struct{}, t row.StateType, s state.Span) state.TimeRange { return state.RunsOfTypeExpected(t, s) },
		func(_ struct{}, name string, t row.StateType, s state.Span) state.TimeRange {
			return state.RunsOfStateNameExpected(name, t, s)
		},
	})
}

// runsInState are the counters and the time indexes of something, by state type, and by name for names that are not the type's.
type runsInState[K any] struct {
	count      func(K, row.StateType) (int64, error)
	countNamed func(K, row.StateType, string) (int64, error)
	part       func(K, row.StateType, state.Span) state.TimeRange
	partNamed  func(K, string, row.StateType, state.Span) state.TimeRange
}

// named offers the indexes of state names, of everything or of some flows or deployments. States that have their type's name are found
// by the type, among others.
func named[K any](p *sources, name string, covers asked, keys []K, of runsInState[K]) error {
	if p.m.flowRuns == nil || p.m.flowRuns.state.names.any == nil {
		return nil
	}
	names := p.m.flowRuns.state.names.any
	var ranges []state.TimeRange
	total, all := int64(0), askStateName
	add := func(r state.TimeRange, n int64) {
		if total += n; n != 0 {
			ranges = append(ranges, r)
		}
	}
	for _, key := range keys {
		for _, t := range p.types {
			if own := state.DefaultStateName(t); names.has(own) {
				n, err := of.count(key, t)
				if err != nil {
					return err
				}
				its, err := of.countNamed(key, t, own)
				if err != nil {
					return err
				}
				if add(of.part(key, t, p.span), n); its != n {
					all = 0 // the type has states with other names
				}
				continue
			}
			for _, name := range names.list {
				n, err := of.countNamed(key, t, name)
				if err != nil {
					return err
				}
				add(of.partNamed(key, name, t, p.span), n)
			}
		}
	}
	return p.offerExpected(runSource{name: name, covers: covers | all | askType, cost: total, exact: true}, ranges)
}

func (p *sources) started(f *flowRunFilter) error {
	if f.start.after == nil && f.start.before == nil {
		return nil
	}
	span := state.Always()
	if f.start.after != nil {
		span.From = *f.start.after
	}
	if f.start.before != nil {
		span.Until = *f.start.before
	}
	share, err := p.m.shareOf(state.RunsStarted(state.Always()), span)
	if err != nil {
		return err
	}
	p.timeRanges(runSource{name: "start_time", covers: askStart, cost: int64(math.Ceil(float64(p.total) * share))}, unordered, []state.TimeRange{state.RunsStarted(span)})
	return nil
}

// due serves when only runs of type SCHEDULED can match: the others have no such time.
func (p *sources) due(f *flowRunFilter) error {
	scheduled := f.state.typed && !slices.ContainsFunc(p.types, func(t row.StateType) bool { return t != row.StateType_SCHEDULED })
	ranged := f.next.after != nil || f.next.before != nil
	if !scheduled && !ranged || f.state.typed && !slices.Contains(p.types, row.StateType_SCHEDULED) {
		return nil
	}
	span := state.Always()
	if f.next.after != nil {
		span.From = *f.next.after
	}
	if f.next.before != nil {
		span.Until = *f.next.before
	}
	n, err := p.m.view.CountFlowRuns(row.StateType_SCHEDULED)
	if err != nil {
		return err
	}
	share := 1.0
	if ranged {
		if share, err = p.m.shareOf(state.RunsDue(state.Always()), span); err != nil {
			return err
		}
	}
	p.timeRanges(runSource{name: "due", covers: askNext | askType, cost: int64(math.Ceil(float64(n) * share)), exact: !ranged}, byNext, []state.TimeRange{state.RunsDue(span)})
	return nil
}
