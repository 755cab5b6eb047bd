package state

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/sluice-dev/sluice/fsm/kv"
	"github.com/sluice-dev/sluice/fsm/row"
)

const (
	testSecond = int64(1_000_000)
	testNow    = int64(1_790_000_000) * testSecond
)

// randomRun is a run somewhere around testNow, densely and sparsely by turns.
func randomRun(random *rand.Rand, id int) *row.FlowRun {
	spread := []int64{10 * testSecond, 3600 * testSecond, 90 * 86400 * testSecond}[random.IntN(3)]
	expected := testNow - spread/2 + random.Int64N(spread)
	if random.IntN(5) == 0 {
		expected -= expected % testSecond
	}
	kind := row.StateType(1 + random.IntN(6))
	name := []string{"", "Late", "Crashed", "a\x00b", "Ä", DefaultStateName(kind), DefaultStateName(kind)}[random.IntN(7)]
	r := &row.FlowRun{Id: number(id), FlowId: number(1), ExpectedStartTime: expected, TotalRunTime: random.Int64N(100 * testSecond),
		State: &row.State{Type: kind, Name: name, Timestamp: testNow - random.Int64N(1000*testSecond)}}
	if random.IntN(3) > 0 {
		r.StartTime = expected + random.Int64N(20*testSecond) - 5*testSecond
	}
	if random.IntN(50) == 0 {
		r.ExpectedStartTime = 0
	}
	return r
}

func storeRun(tx *Tx, r *row.FlowRun) error {
	e, err := tx.EditFlowRun(r.Id)
	if err != nil {
		return err
	}
	if e == nil {
		return tx.NewFlowRun(r).Save()
	}
	e.Row = r
	return e.Save()
}

// histories compares what buckets and what rows say for random intervals.
func compareHistories(t *testing.T, s kv.Store, random *rand.Rand, rounds int) {
	t.Helper()
	v := NewView(s, 0, nil)
	for range rounds {
		step := []int64{testSecond, 7*testSecond + 13, 60 * testSecond, 3600 * testSecond, 86400 * testSecond, 1_000_003 * testSecond}[random.IntN(6)]
		start := testNow - random.Int64N(50*step) - random.Int64N(3)
		if random.IntN(3) == 0 {
			start -= start % step
		}
		var edges []int64
		for i := range 1 + random.Int64N(60) {
			edges = append(edges, start+i*step)
		}
		edges = append(edges, edges[len(edges)-1]+step)
		want, got := NewHistory(edges, testNow), NewHistory(edges, testNow)
		err := v.EachFlowRun(false, func(r *row.FlowRun) (bool, error) {
			want.AddFlowRun(r)
			return true, nil
		})
		ready, err2 := v.FlowRunHistory(got)
		if err = errors.Join(err, err2); err != nil || !ready {
			t.Fatalf("ready %t, %v", ready, err)
		}
		for i := range want.Intervals() {
			from, until, a := want.Interval(i)
			_, _, b := got.Interval(i)
			if !reflect.DeepEqual(a, b) {
				t.Fatalf("interval [%d, %d) of step %d:\nrows    %v\nbuckets %v", from, until, step, a, b)
			}
		}
	}
}

func TestHistoryOfBucketsEqualsThatOfRows(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	s := newStore(t)
	change(t, s, func(tx *Tx) error { return tx.InitSchema() })
	for range 60 {
		change(t, s, func(tx *Tx) error {
			for range 50 {
				id := random.IntN(2000)
				if random.IntN(8) == 0 {
					if e, err := tx.EditFlowRun(number(id)); err != nil || e != nil {
						if err = errors.Join(err, e.Delete()); err != nil {
							return err
						}
					}
					continue
				}
				if err := storeRun(tx, randomRun(random, id)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := NewView(s, 0, nil).Verify(); err != nil {
		t.Fatal(err)
	}
	compareHistories(t, s, random, 200)
}

// A newer binary declares a timeline that the stored state has never heard of.
func TestATimelineIsBuiltInChunks(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	s := newStore(t)
	change(t, s, func(tx *Tx) error { return tx.InitSchema() })
	for i := range 100 {
		change(t, s, func(tx *Tx) error { return storeRun(tx, randomRun(random, i)) })
	}
	b := s.NewBatch()
	defer b.Close()
	under := prefix(kindBucket, idxFlowRunTimeline)
	if err := errors.Join(b.DeleteRange(under, after(under)), b.Delete(systemKey(sysIndex, idxFlowRunTimeline)), s.Commit(b, false)); err != nil {
		t.Fatal(err)
	}
	// Before the state has heard of it, nothing is summed up.
	change(t, s, func(tx *Tx) error { return storeRun(tx, randomRun(random, 50)) })
	change(t, s, func(tx *Tx) error { return tx.InitSchema() })
	building, err := NewView(s, 0, nil).BuildingIndexes()
	if err != nil || !slices.Equal(building, []byte{idxFlowRunTimeline}) {
		t.Fatalf("building are %v, %v", building, err)
	}
	if ready, err := NewView(s, 0, nil).FlowRunHistory(NewHistory([]int64{0, 1}, 1)); ready || err != nil {
		t.Fatalf("a timeline that is being built answers: %t, %v", ready, err)
	}
	for done, i := false, 100; !done; i++ {
		change(t, s, func(tx *Tx) (err error) {
			if err := storeRun(tx, randomRun(random, i)); err != nil {
				return err
			}
			if err := storeRun(tx, randomRun(random, random.IntN(i))); err != nil {
				return err
			}
			if done, err = tx.BuildIndex(idxFlowRunTimeline, 7); err != nil {
				return err
			}
			// In the same transaction the rows that were just filled in change.
			if e, err := tx.EditFlowRun(number(random.IntN(i))); err != nil || e == nil {
				return err
			} else if random.IntN(3) == 0 {
				return e.Delete()
			}
			return storeRun(tx, randomRun(random, random.IntN(i)))
		})
		if err := NewView(s, 0, nil).Verify(); err != nil {
			t.Fatal(fmt.Errorf("while it is built: %w", err))
		}
	}
	compareHistories(t, s, random, 50)
}
