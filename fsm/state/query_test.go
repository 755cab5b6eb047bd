package state

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/orchestration"
	"github.com/sluice-dev/sluice/fsm/row"
)

// randomFacts makes or changes what time indexes and counters derive from.
func randomFacts(r *rand.Rand, run *row.FlowRun) {
	names := []string{"", "", "Late", "Crashed", "Odd"}
	t := row.StateType(1 + r.IntN(6))
	run.State = &row.State{Type: t, Name: cmp.Or(names[r.IntN(len(names))], DefaultStateName(t))}
	run.FlowId, run.DeploymentId, run.WorkQueueId = number(r.IntN(2)), nil, nil
	if r.IntN(2) == 0 {
		run.DeploymentId = number(r.IntN(3))
	}
	if r.IntN(2) == 0 {
		run.WorkQueueId = number(r.IntN(2))
	}
	run.Tags = nil
	for range r.IntN(4) {
		run.Tags = append(run.Tags, []string{"red", "green", "blue"}[r.IntN(3)]) // one may come twice
	}
	run.StartTime, run.EndTime = int64(r.IntN(5)), int64(r.IntN(5))
}

// A state of an older binary knows neither the time indexes nor the counters that came with them.
func TestIndexesAndTheirCountersAreBuiltWhileRunsChange(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	s := newStore(t)
	change(t, s, func(tx *Tx) error { return tx.InitSchema() })
	made := 0
	add := func(tx *Tx) error {
		made++
		run := &row.FlowRun{Id: number(made), Name: "n", ExpectedStartTime: int64(random.IntN(50))}
		randomFacts(random, run)
		task := &row.TaskRun{Id: number(made), FlowRunId: number(made), DynamicKey: fmt.Sprint(made), Tags: run.Tags, State: run.State}
		return errors.Join(tx.NewFlowRun(run).Save(), tx.NewTaskRun(task).Save())
	}
	for range 100 {
		change(t, s, add)
	}
	b := s.NewBatch()
	defer b.Close()
	var want []byte
	for _, n := range []byte{idxRunDeploymentTime, idxRunFlowTime, idxRunTypeTime, idxRunTagTime, idxRunQueueTime, idxRunStateName, idxRunEndTime, idxRunStartTime, idxTaskRunTypeTime, idxTaskRunTagTime} {
		want = append(want, n)
		if err := errors.Join(b.DeleteRange(indexKey(n), after(indexKey(n))), b.Delete(systemKey(sysIndex, n))); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []byte{countRunsByQueue, countRunsByStateName, countRunsByTag, countTaskRunsByState, countTaskRunsByTag} {
		if err := b.DeleteRange(counterKey(n), after(counterKey(n))); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Commit(b, false); err != nil {
		t.Fatal(err)
	}
	// The newer binary may write before it declares its indexes.
	change(t, s, add)
	change(t, s, func(tx *Tx) error { return tx.InitSchema() })
	building, err := NewView(s, 0, nil).BuildingIndexes()
	if err != nil || !slices.Equal(building, want) {
		t.Fatalf("building are %v, %v", building, err)
	}
	for _, n := range building {
		for done := false; !done; {
			change(t, s, func(tx *Tx) (err error) {
				if err := add(tx); err != nil {
					return err
				}
				e, err := tx.EditFlowRun(number(1 + random.IntN(made)))
				if err != nil || e == nil {
					return err
				}
				if random.IntN(4) == 0 {
					return e.Delete()
				}
				randomFacts(random, e.Row)
				return e.Save()
			})
			change(t, s, func(tx *Tx) (err error) {
				done, err = tx.BuildIndex(n, 17)
				return errors.Join(err, add(tx))
			})
		}
	}
	if err := NewView(s, 0, nil).Verify(); err != nil {
		t.Fatal(err)
	}
}

func TestPartsOfAnIndexAreWalkedInOneOrder(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	s := newStore(t)
	change(t, s, func(tx *Tx) error { return tx.InitSchema() })
	type entry struct {
		at int64
		id api.ID
	}
	var all []entry
	for i := range 200 {
		run := &row.FlowRun{Id: number(i * 7919 % 1009), ExpectedStartTime: int64(random.IntN(20) - 10)}
		randomFacts(random, run)
		run.Tags = []string{[]string{"a", "a\x00b", "ab"}[i%3]}
		change(t, s, func(tx *Tx) error { return tx.NewFlowRun(run).Save() })
		if run.Tags[0] == "a\x00b" && run.ExpectedStartTime >= -3 && run.ExpectedStartTime <= 5 {
			all = append(all, entry{run.ExpectedStartTime, api.ID(run.Id)})
		}
	}
	slices.SortFunc(all, func(a, b entry) int { return cmp.Or(cmp.Compare(a.at, b.at), bytes.Compare(a.id[:], b.id[:])) })
	var parts []TimeRange
	for t := row.StateType_SCHEDULED; t <= row.StateType_CANCELLED; t++ {
		parts = append(parts, RunsTaggedExpected("a\x00b", t, Span{-3, 5}))
	}
	v := NewView(s, 0, nil)
	for _, reverse := range []bool{false, true} {
		var got []entry
		if err := v.EachRunTime(parts, reverse, func(at int64, id api.ID) (bool, error) { got = append(got, entry{at, id}); return true, nil }); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, all) {
			t.Errorf("reverse %t: got %v, want %v", reverse, got, all)
		}
		slices.Reverse(all)
	}
	if n, err := v.CountRunTimes(parts, 1<<40); err != nil || n != int64(len(all)) {
		t.Errorf("%d keys, %v; want %d", n, err, len(all))
	}
}

func TestDefaultNamesOfStatesAreThoseOfTheRules(t *testing.T) {
	t.Parallel()
	for s := row.StateType(-1); s < 9; s++ {
		if DefaultStateName(s) != orchestration.DefaultName(s) {
			t.Errorf("type %d: %q here, %q by the rules", s, DefaultStateName(s), orchestration.DefaultName(s))
		}
	}
}
