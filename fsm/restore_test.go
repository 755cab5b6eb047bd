package fsm

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
	"github.com/sluice-dev/sluice/fsm/watch"
)

// snapshotOfWork is a state as a snapshot may find it: runs that wait, that an agent has, and that are to come.
type snapshotOfWork struct {
	*machine
	taken, begun, waiting, soon, later, deployment []byte
}

func newSnapshotOfWork(t *testing.T) *snapshotOfWork {
	m := newMachine(t)
	m.one(&command.Envelope{Command: &command.Envelope_LeaderEpoch{LeaderEpoch: &command.LeaderEpoch{Term: 1, ClusterId: "old"}}})
	d := m.deployment(m.flow("f"), "d", "tutorial")
	q, a := m.queue("q", nil, "tutorial"), m.agent("a")
	at := func(after time.Duration) *command.ProposedState {
		return &command.ProposedState{Type: row.StateType_SCHEDULED, Details: &row.StateDetails{ScheduledTime: m.stamp + after.Microseconds()}}
	}
	s := &snapshotOfWork{machine: m, deployment: d}
	s.taken, s.begun, s.waiting = m.run(d, scheduledNow), m.run(d, scheduledNow), m.run(d, scheduledNow)
	s.soon, s.later = m.run(d, at(30*time.Minute)), m.run(d, at(3*time.Hour))
	grants := m.claim(m.id(), a, q, s.taken, s.begun)
	m.report(s.begun, row.StateType_RUNNING, grants[1])
	b := m.store.NewBatch()
	tx := state.NewTx(b)
	e, err := tx.EditDeployment(d)
	if err != nil {
		t.Fatal(err)
	}
	e.Row.ScheduleJson, e.Row.IsScheduleActive, e.Row.NextFire = []byte(`{"interval": 60}`), true, m.stamp+1
	if err := e.Save(); err != nil {
		t.Fatal(err)
	}
	if err := tx.PutSessionResults([16]byte{1}, 1, [][]byte{{1}}, m.stamp); err != nil {
		t.Fatal(err)
	}
	if err := tx.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := m.store.Commit(b, false); err != nil {
		t.Fatal(err)
	}
	return s
}

// restore makes the state another cluster's, an hour after its time.
func (s *snapshotOfWork) restore(skip bool) Restored {
	s.t.Helper()
	now := time.UnixMicro(s.stamp).Add(time.Hour)
	gap, err := InspectGap(s.store, now)
	if err != nil {
		s.t.Fatal(err)
	}
	if gap.Due != 1 || gap.Leased != 2 || gap.Schedules != 1 {
		s.t.Errorf("the gap is %+v", gap)
	}
	done, err := PrepareRestore(s.store, Restoration{ClusterID: "new", Lineage: []string{"older"}, Incarnation: 4, ClusterVersion: 1, Now: now, SkipMissed: skip, Seed: s.id()})
	if err != nil {
		s.t.Fatal(err)
	}
	// What was written by other means than entries is not in the machine's memory.
	s.machine = openMachine(s.t, s.store)
	s.machine.stamp = now.UnixMicro()
	if err := s.view().Verify(); err != nil {
		s.t.Errorf("rows and what derives from them differ: %v", err)
	}
	return done
}

func (s *snapshotOfWork) wantState(what string, run []byte, kind row.StateType, message string) {
	s.t.Helper()
	r := s.flowRun(run)
	if r.State.Type != kind || !strings.Contains(r.State.GetMessage(), message) || r.Lease != nil {
		s.t.Errorf("%s is %v, lease %v; want %v with %q", what, r.State, r.Lease, kind, message)
	}
}

func TestARestoredStateIsFreeOfItsOwners(t *testing.T) {
	t.Parallel()
	for name, skip := range map[string]bool{"skipping what was missed": true, "running what was missed": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSnapshotOfWork(t)
			done := s.restore(skip)
			if done.Incarnation != 5 || done.Ended != 2 {
				t.Errorf("done was %+v", done)
			}
			s.wantState("the run an agent had not begun", s.taken, row.StateType_SCHEDULED, "")
			s.wantState("the run under way", s.begun, row.StateType_FAILED, "restored from a snapshot")
			s.wantState("the run that waited", s.waiting, row.StateType_SCHEDULED, "")
			s.wantState("the run to come", s.later, row.StateType_SCHEDULED, "")
			d, err := s.view().Deployment(api.ID(s.deployment))
			if err != nil {
				t.Fatal(err)
			}
			if skip {
				s.wantState("the run in the gap", s.soon, row.StateType_CANCELLED, "skipped: it was due between")
				if done.Skipped != 1 || d.NextFire < s.stamp {
					t.Errorf("%d runs were skipped, the schedule goes on from %d", done.Skipped, d.NextFire)
				}
			} else {
				s.wantState("the run in the gap", s.soon, row.StateType_SCHEDULED, "")
				if done.Skipped != 0 || d.NextFire >= s.stamp {
					t.Errorf("%d runs were skipped, the schedule goes on from %d", done.Skipped, d.NextFire)
				}
			}
			v := s.view()
			id, _ := v.ClusterID()
			lineage, _ := v.Lineage()
			incarnation, _ := v.Incarnation()
			if id != "new" || strings.Join(lineage, " ") != "old older" || incarnation != 5 {
				t.Errorf("it is cluster %q of %q, incarnation %d", id, lineage, incarnation)
			}
			if _, known, err := v.SessionResults([16]byte{1}, 1); known || err != nil {
				t.Errorf("a session is remembered: %v", err)
			}
			s.one(&command.Envelope{Command: &command.Envelope_LeaderEpoch{LeaderEpoch: &command.LeaderEpoch{Term: 9, ClusterId: "new"}}})
		})
	}
}

func TestAReplacedStateHasListenersReadAgain(t *testing.T) {
	t.Parallel()
	m, sent := newMachine(t), newMachine(t)
	m.flow("f")
	for _, name := range []string{"f", "g", "h"} {
		sent.flow(name)
	}
	listener := m.fsm.Events().Subscribe(watch.TopicFlowRun)
	m.fsm.apply.Lock()
	m.fsm.installed(sent.store)
	m.fsm.apply.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := listener.Next(ctx); !errors.Is(err, watch.ErrReset) {
		t.Errorf("a listener got %v", err)
	}
	if got := m.fsm.AppliedIndex(); got != sent.index {
		t.Errorf("the machine is at %d, the state at %d", got, sent.index)
	}
}

func TestALeaderOfBeforeARestoreIsOver(t *testing.T) {
	t.Parallel()
	s := newSnapshotOfWork(t)
	epoch, err := s.view().Epoch()
	if err != nil || epoch == 0 {
		t.Fatalf("epoch %d, %v", epoch, err)
	}
	s.restore(false)
	r := s.do(&command.Envelope{Epoch: epoch, Command: &command.Envelope_MarkLate{MarkLate: &command.MarkLate{FlowRunIds: [][]byte{s.waiting}, Before: s.stamp}}})[0]
	if r.Code != command.Result_STALE_EPOCH {
		t.Errorf("a command of the reign before the restore: %v", r)
	}
}
