//go:build linux

package chaos

import (
	"context"
	"errors"
	"net/http/httptrace"
	"strings"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/state"
)

// expect fails the test unless exactly the problems that contain these texts were found, in this order.
func expect(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	bad := len(got) != len(want)
	for i := 0; !bad && i < len(want); i++ {
		bad = !strings.Contains(got[i], want[i])
	}
	if bad {
		t.Errorf("%s: found %q, not %q", what, got, want)
	}
}

func TestChecksFindWhatIsWrong(t *testing.T) {
	t.Parallel()
	t.Run("fires that are missing, doubled or invented", func(t *testing.T) {
		t.Parallel()
		at := func(seconds ...int) (all []time.Time) {
			for _, s := range seconds {
				all = append(all, time.Date(2026, 1, 1, 0, 0, s, 0, time.UTC))
			}
			return all
		}
		from, until := at(1)[0], at(9)[0]
		expect(t, "all there", checkFires(at(2, 4, 6, 8), 2*time.Second, from, until))
		expect(t, "missing", checkFires(at(2, 4, 8), 2*time.Second, from, until), "0 runs for the fire at 2026-01-01 00:00:06")
		expect(t, "the last is missing", checkFires(at(2, 4, 6), 2*time.Second, from, until), "0 runs")
		expect(t, "doubled", checkFires(at(2, 4, 4, 6, 8), 2*time.Second, from, until), "2 runs for the fire at 2026-01-01 00:00:04")
		expect(t, "invented", checkFires(at(2, 3, 4, 6, 8), 2*time.Second, from, until), "when it does not fire")
	})
	t.Run("things that are lost, doubled, or there although they were refused", func(t *testing.T) {
		t.Parallel()
		believed := map[string]verdict{"a": done, "b": notDone, "c": unknown, "d": refused}
		expect(t, "right", checkCounts(believed, map[string]int{"a": 1}))
		expect(t, "the unknown was done", checkCounts(believed, map[string]int{"a": 1, "c": 1}))
		expect(t, "lost", checkCounts(believed, nil), "a was acknowledged and is there 0 times")
		expect(t, "doubled", checkCounts(believed, map[string]int{"a": 2, "c": 2}), "a was acknowledged and is there 2 times", "c, of unknown outcome, is there 2 times")
		expect(t, "there all the same", checkCounts(believed, map[string]int{"a": 1, "b": 1, "d": 1}), "b was surely not done", "d was surely not done")
	})
	t.Run("states that no run may go through", func(t *testing.T) {
		t.Parallel()
		kinds := map[string]api.StateType{"Scheduled": api.Scheduled, "Late": api.Scheduled, "Pending": api.Pending, "Running": api.Running,
			"Completed": api.Completed, "Failed": api.Failed, "Crashed": api.Failed}
		states := func(path string) (all []api.State) {
			for i, name := range strings.Fields(path) {
				all = append(all, api.State{Type: kinds[name], Name: name, Timestamp: api.Time{Time: time.Unix(int64(i), 0)}})
			}
			return all
		}
		for _, path := range []string{"Scheduled Pending Running Completed", "Scheduled Late Pending Running Crashed",
			"Scheduled Pending Scheduled Pending Running Completed", "Scheduled Pending Scheduled Late Pending Running Completed"} {
			if problem := checkStates(states(path)); problem != "" {
				t.Errorf("%s: %s", path, problem)
			}
		}
		for _, path := range []string{"", "Scheduled Pending Running", "Scheduled Running Completed", "Scheduled Pending Running Running Completed",
			"Scheduled Pending Pending Running Completed", "Scheduled Pending Running Scheduled Pending Running Completed",
			"Scheduled Pending Running Completed Completed", "Scheduled Pending Running Failed", "Scheduled Pending Running Pending Running Completed"} {
			if checkStates(states(path)) == "" {
				t.Errorf("%q was accepted", path)
			}
		}
		back := states("Scheduled Pending Running Completed")
		back[2].Timestamp = back[1].Timestamp
		if !strings.Contains(checkStates(back), "time") {
			t.Error("two states of one moment were accepted")
		}
	})
	t.Run("runs that were begun twice", func(t *testing.T) {
		t.Parallel()
		expect(t, "once", checkBegins([]string{"begin r 1-0 a1", "begin s 1-1 a2", "end r 1-0 a1"}))
		expect(t, "under one lease", checkBegins([]string{"begin r 1-0 a1", "begin r 1-0 a1"}), "begun under 1-0 a1 and again under 1-0 a1")
		expect(t, "under two", checkBegins([]string{"begin r 1-0 a1", "begin r 2-0 a2", "end r 1-0 a1"}), "begun under 1-0 a1 and again under 2-0 a2")
		expect(t, "by somebody else", checkBegins([]string{"begin r 1-0 a1", "end r 2-0 a2"}), "ended under")
		expect(t, "garbled", checkBegins([]string{"begin r"}), "noted")
	})
	t.Run("states of nodes that differ", func(t *testing.T) {
		t.Parallel()
		expect(t, "equal", checkStored([]stored{{"n1", 5, state.Hash{1}}, {"n2", 5, state.Hash{1}}}))
		expect(t, "differing", checkStored([]stored{{"n1", 5, state.Hash{1}}, {"n2", 5, state.Hash{2}}}), "states differ")
		expect(t, "nothing to compare", checkStored([]stored{{"n1", 5, state.Hash{1}}, {"n2", 6, state.Hash{1}}}), "different indexes")
	})
	t.Run("what an error says of a write", func(t *testing.T) {
		t.Parallel()
		for _, c := range []struct {
			sent bool
			err  error
			want verdict
		}{
			{true, nil, done},
			{false, errors.New("dial"), notDone},
			{false, &api.Error{Kind: api.KindUnreachable}, notDone},
			{true, &api.Error{Kind: api.KindUnavailable}, notDone},
			{true, &api.Error{Kind: api.KindUnreachable}, unknown},
			{true, &api.Error{Kind: api.KindUnknownOutcome}, unknown},
			{true, context.DeadlineExceeded, unknown},
			{true, &api.Error{Kind: api.KindConflict}, refused},
		} {
			got, err := try(t.Context(), func(ctx context.Context) error {
				if c.sent {
					httptrace.ContextClientTrace(ctx).GotConn(httptrace.GotConnInfo{})
				}
				return c.err
			})
			if got != c.want || !errors.Is(err, c.err) {
				t.Errorf("%v, sent: %t: %v, not %v", c.err, c.sent, got, c.want)
			}
		}
	})
}
