package httpapi

import (
	"slices"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
)

// runPlace is where a walk over matching flow runs by id goes on, and how far it may go.
type runPlace struct {
	after      *api.ID // nil: from the beginning
	reverse    bool
	before     int64 // only runs created at this time (µs) or earlier; 0: all
	most, rows int
}

// runsFrom returns the next matching flow runs from a place on, by id. It reads from the indexes that hand out the fewest
// candidates; all of them have their runs in the order of ids, so that a place means the same whichever is used.
func (m *matcher) runsFrom(p runPlace) (out Candidates, err error) {
	walks, named, err := m.walks()
	if err != nil {
		return out, err
	}
	found := placed{place: p}
	if named != nil {
		err = found.named(m, named)
	} else {
		for _, w := range walks {
			w.After, w.Reverse = p.after, p.reverse
			if err = found.walk(m, w, max(p.rows/len(walks), 1)); err != nil {
				break
			}
		}
	}
	if err != nil {
		return out, err
	}
	return found.answer(), nil
}

// walks returns the walks that together hand out every run that may match, once each; or, when the filter names runs, their ids.
func (m *matcher) walks() (walks []state.RunWalk, named *idSet, err error) {
	best, err := m.countAll()
	if err != nil {
		return nil, nil, err
	}
	walks = []state.RunWalk{{}}
	offer := func(cost int64, other []state.RunWalk) {
		if cost < best {
			best, walks = cost, other
		}
	}
	byDeployment := func(s *idSet) error {
		cost, err := costOf(s.list, m.view.CountFlowRunsOfDeployment)
		if err == nil && len(s.list) <= mostWalks {
			offer(cost, walksOf(s.list, func(id *api.ID) state.RunWalk { return state.RunWalk{Deployment: id} }))
		}
		return err
	}
	if f := m.flowRuns; f != nil {
		if f.id.any != nil {
			return nil, f.id.any, nil
		}
		if f.deploymentID.any != nil {
			if err := byDeployment(f.deploymentID.any); err != nil {
				return nil, nil, err
			}
		}
		if f.state.typed {
			types := slices.Compact(slices.Sorted(slices.Values(f.state.types)))
			var cost int64
			other := []state.RunWalk{}
			for _, t := range types {
				n, err := m.view.CountFlowRuns(t)
				if err != nil {
					return nil, nil, err
				}
				cost += n
				other = append(other, state.RunWalk{StateType: t})
			}
			offer(cost, other)
		}
	}
	if m.deployments != nil && m.deployments.id.any != nil {
		if err := byDeployment(m.deployments.id.any); err != nil {
			return nil, nil, err
		}
	}
	if m.flows != nil {
		flows, known, err := m.namedFlows()
		if err != nil {
			return nil, nil, err
		}
		if known && len(flows) <= mostWalks {
			cost, err := costOf(flows, m.view.CountFlowRunsOfFlow)
			if err != nil {
				return nil, nil, err
			}
			offer(cost, walksOf(flows, func(id *api.ID) state.RunWalk { return state.RunWalk{Flow: id} }))
		}
	}
	return walks, nil, nil
}

// mostWalks bounds how many indexes are read side by side.
const mostWalks = 50

func walksOf(list []api.ID, walk func(*api.ID) state.RunWalk) []state.RunWalk {
	walks := make([]state.RunWalk, len(list))
	for i := range list {
		walks[i] = walk(&list[i])
	}
	return walks
}

func costOf(list []api.ID, count func(api.ID, row.StateType) (int64, error)) (cost int64, err error) {
	for _, id := range list {
		for t := row.StateType_STATE_TYPE_NONE; t <= row.StateType_CANCELLED; t++ {
			n, err := count(id, t)
			if err != nil {
				return 0, err
			}
			cost += n
		}
	}
	return cost, nil
}

// namedFlows returns the flows that the filter names, and whether it does.
func (m *matcher) namedFlows() (flows []api.ID, known bool, err error) {
	switch {
	case m.flows.id.any != nil:
		return m.flows.id.any.list, true, nil
	case m.flows.name.any == nil:
		return nil, false, nil
	}
	for _, name := range m.flows.name.any.list {
		flow, err := m.view.FlowByName(name)
		if err != nil {
			return nil, false, err
		}
		if flow != nil {
			flows = append(flows, idOf(flow.Id))
		}
	}
	return flows, true, nil
}

// placed collects what several walks find. A walk that stops before its end says nothing of what lies behind, so nothing behind the
// nearest such stop counts.
type placed struct {
	place   runPlace
	runs    []*row.FlowRun
	looked  int64
	stop    *api.ID // the nearest
	reached *api.ID // the farthest that was looked at
}

// beyond reports whether a lies behind b in the direction of the walk.
func (f *placed) beyond(a, b api.ID) bool {
	if f.place.reverse {
		a, b = b, a
	}
	return slices.Compare(a[:], b[:]) > 0
}

func (f *placed) see(m *matcher, r *row.FlowRun) error {
	id := idOf(r.Id)
	f.looked++
	if f.reached == nil || f.beyond(id, *f.reached) {
		f.reached = &id
	}
	if f.place.before != 0 && r.Created > f.place.before {
		return m.alive()
	}
	good, err := m.flowRun(r)
	if good {
		f.runs = append(f.runs, r)
	}
	return m.next(err)
}

func (f *placed) walk(m *matcher, w state.RunWalk, rows int) error {
	looked, matched := 0, len(f.runs)
	var last api.ID
	return m.view.WalkFlowRuns(w, func(r *row.FlowRun) (bool, error) {
		if f.stop != nil && f.beyond(idOf(r.Id), *f.stop) {
			return false, nil
		}
		if looked == rows || len(f.runs)-matched == f.place.most {
			f.stop = &last
			return false, nil
		}
		looked++
		last = idOf(r.Id)
		return true, f.see(m, r)
	})
}

func (f *placed) named(m *matcher, s *idSet) error {
	list := slices.SortedFunc(slices.Values(s.list), func(a, b api.ID) int {
		if f.place.reverse {
			a, b = b, a
		}
		return slices.Compare(a[:], b[:])
	})
	for _, id := range list {
		if f.place.after != nil && !f.beyond(id, *f.place.after) {
			continue
		}
		if len(f.runs) == f.place.most {
			f.stop = f.reached
			return nil
		}
		r, err := m.view.FlowRun(id)
		if err != nil {
			return err
		}
		if r == nil {
			continue
		}
		if err := f.see(m, r); err != nil {
			return err
		}
	}
	return nil
}

func (f *placed) answer() Candidates {
	slices.SortFunc(f.runs, func(a, b *row.FlowRun) int {
		if f.place.reverse {
			a, b = b, a
		}
		return slices.Compare(a.Id, b.Id)
	})
	if f.stop != nil {
		f.runs = slices.DeleteFunc(f.runs, func(r *row.FlowRun) bool { return f.beyond(idOf(r.Id), *f.stop) })
	}
	if len(f.runs) > f.place.most {
		f.runs = f.runs[:f.place.most]
		last := idOf(f.runs[f.place.most-1].Id)
		f.stop = &last
	}
	out := Candidates{Runs: f.runs, LookedAt: f.looked, Done: f.stop == nil}
	switch {
	case f.stop != nil:
		out.To = *f.stop
	case f.reached != nil:
		out.To = *f.reached
	case f.place.after != nil:
		out.To = *f.place.after
	}
	return out
}
