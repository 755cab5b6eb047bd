package fsm

import (
	"bytes"
	"fmt"
	"reflect"

	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
)

// modelSearch is a saved search as anybody would write it down.
type modelSearch struct {
	id, filters []byte
	created     int64
}

// search puts or deletes a saved search.
func (s *script) search() {
	t := s.m.t
	if s.random.IntN(3) == 0 {
		name := pick(s, s.model.searches)
		known, exists := s.model.searches[name]
		r := s.do(&command.Envelope{Command: &command.Envelope_DeleteSavedSearch{DeleteSavedSearch: &command.Delete{Id: known.id}}})
		if exists != (r.Code == command.Result_OK) {
			t.Fatalf("deleting saved search %q: known %t, answer %v", name, exists, r)
		}
		delete(s.model.searches, name)
		return
	}
	name, filters := fmt.Sprintf("search-%d", s.random.IntN(4)), fmt.Appendf(nil, "[%d]", s.random.IntN(1000))
	known, exists := s.model.searches[name]
	r := s.do(&command.Envelope{Command: &command.Envelope_PutSavedSearch{PutSavedSearch: &command.PutSavedSearch{Id: s.m.id(), Name: name, FiltersJson: filters}}})
	if r.Created == exists || exists && !bytes.Equal(r.Id, known.id) {
		t.Fatalf("saved search %q: known %t, answer %v", name, exists, r)
	}
	if !exists {
		known = modelSearch{id: r.Id, created: s.m.stamp}
	}
	known.filters = filters
	s.model.searches[name] = known
}

func (s *script) compareSearches(v *state.View) {
	t := s.m.t
	t.Helper()
	seen := 0
	err := v.EachSavedSearch(func(r *row.SavedSearch) (bool, error) {
		seen++
		want, known := s.model.searches[r.Name]
		if !known || !bytes.Equal(r.Id, want.id) || !bytes.Equal(r.FiltersJson, want.filters) || r.Created != want.created || r.Updated < r.Created {
			t.Fatalf("saved search is %v, the model says %v", r, want)
		}
		return true, nil
	})
	if err != nil || seen != len(s.model.searches) {
		t.Fatalf("%d saved searches, the model has %d (%v)", seen, len(s.model.searches), err)
	}
}

// compareHistory sums the model's runs up in a few intervals around their times.
func (s *script) compareHistory(v *state.View) {
	t := s.m.t
	t.Helper()
	const second = 1_000_000
	now := s.m.stamp + 5*second
	step := []int64{second, 61 * second, 3600 * second}[s.random.IntN(3)]
	edges := []int64{now - 20*step - s.random.Int64N(step)}
	for range 40 {
		edges = append(edges, edges[len(edges)-1]+step)
	}
	want, got := state.NewHistory(edges, now), state.NewHistory(edges, now)
	for id := range s.model.runs {
		p := s.model.runs[id].progress
		want.AddFlowRun(&row.FlowRun{ExpectedStartTime: p.ExpectedStartTime, StartTime: p.StartTime, TotalRunTime: p.TotalRunTime, State: p.State})
	}
	if ready, err := v.FlowRunHistory(got); err != nil || !ready {
		t.Fatalf("the history is ready: %t, %v", ready, err)
	}
	for i := range want.Intervals() {
		from, _, a := want.Interval(i)
		_, _, b := got.Interval(i)
		if !reflect.DeepEqual(a, b) {
			t.Fatalf("from %d: the model says %v, the machine %v", from, a, b)
		}
	}
}
