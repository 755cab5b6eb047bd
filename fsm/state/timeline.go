package state

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/sluice-dev/sluice/fsm/kv"
	"github.com/sluice-dev/sluice/fsm/row"
)

// timeline declares that the rows of a table are summed up in buckets by their expected start: one bucket per second, minute and
// hour, for all states together. Like an index it is building until every row is in it. While it is, exactly the rows up to the one
// that was filled in last are in it: sums, unlike index keys, must not be written twice.
type timeline[R any] struct {
	number byte
	name   string
	since  uint64
	of     func(r R) runFacts
}

// runFacts is what of a run is summed up. A run without an expected start is in no bucket.
type runFacts struct {
	expected, start int64
	runTime         int64 // in former states
	since           int64 // when it took its present state
	kind            row.StateType
	name            string
}

// finestUnit is the shortest bucket, in µs.
const finestUnit = 1_000_000

// The levels of buckets, coarsest first, and their units in µs.
var timelineUnits = [...]int64{3600 * finestUnit, 60 * finestUnit, finestUnit}

func (f runFacts) startedLate() int64 {
	if f.start == 0 {
		return 0
	}
	return max(0, f.start-f.expected)
}

func (f runFacts) waits() bool {
	return f.start == 0 && f.kind != row.StateType_COMPLETED && f.kind != row.StateType_FAILED && f.kind != row.StateType_CANCELLED
}

func timelineKey(number, level byte, begin int64) []byte {
	return appendTime(append(prefix(kindBucket, number), level), begin)
}

// floor returns the begin of the bucket that holds t.
func floor(t, unit int64) int64 {
	rest := t % unit
	if rest < 0 {
		rest += unit
	}
	return t - rest
}

// timelineState says how far a timeline is filled, as read once per transaction.
type timelineState struct {
	ready bool
	last  []byte // the row filled in last
}

func (s timelineState) holds(rowKey []byte) bool {
	return s.ready || len(s.last) > 0 && bytes.Compare(rowKey, s.last) <= 0
}

func (v *View) timelineState(number byte) (timelineState, error) {
	value, err := v.r.Get(systemKey(sysIndex, number))
	if errors.Is(err, kv.ErrNotFound) || err == nil && len(value) == 0 {
		return timelineState{}, nil
	}
	if err != nil {
		return timelineState{}, fmt.Errorf("read the state of timeline %d: %w", number, err)
	}
	return timelineState{ready: IndexState(value[0]) == IndexReady, last: value[1:]}, nil
}

// timelineState is View.timelineState, remembered.
func (tx *Tx) timelineState(number byte) (timelineState, error) {
	if s, known := tx.timelines[number]; known {
		return s, nil
	}
	s, err := tx.View.timelineState(number)
	if err == nil {
		tx.timelines[number] = s
	}
	return s, err
}

// sum adds the run to the changes of its buckets, or takes it out again (times −1).
func (tx *Tx) sum(number byte, f runFacts, times int64) {
	if f.expected == 0 {
		return
	}
	at := sumSpot{number, floor(f.expected, finestUnit), f.kind, f.name}
	delta := tx.sums[at]
	if delta == nil {
		delta = &bucketSums{}
		tx.sums[at] = delta
	}
	delta.add(f, at.begin, times)
}

// flushSums writes the buckets that changed.
func (tx *Tx) flushSums() error {
	if len(tx.sums) == 0 {
		return nil
	}
	changed := bucketChanges{}
	for _, at := range slices.SortedFunc(maps.Keys(tx.sums), sumSpot.compare) {
		changed.add(at, *tx.sums[at])
	}
	clear(tx.sums)
	for _, key := range slices.Sorted(maps.Keys(changed)) {
		var stored bucket
		value, err := tx.batch.Get([]byte(key))
		if err == nil {
			stored, err = decodeBucket(value)
		} else if errors.Is(err, kv.ErrNotFound) {
			err = nil
		}
		if err != nil {
			return fmt.Errorf("read a bucket of a timeline: %w", err)
		}
		for _, delta := range changed[key] {
			stored.add(delta.state, delta.bucketSums)
		}
		if value = stored.encode(); len(value) == 0 {
			err = tx.batch.Delete([]byte(key))
		} else {
			err = tx.batch.Set([]byte(key), value)
		}
		if err != nil {
			return fmt.Errorf("write a bucket of a timeline: %w", err)
		}
	}
	return nil
}

// retime moves the row from its old buckets to its new ones.
func (e *Edit[S, R]) retime(deleted bool) error {
	t := e.table.timeline
	if t == nil {
		return nil
	}
	var now runFacts
	if !deleted {
		now = t.of(e.Row)
	}
	old := e.oldFacts
	e.oldFacts = now
	if now == old {
		return nil
	}
	version, err := e.tx.ClusterVersion()
	if err != nil || t.since > version {
		return err
	}
	state, err := e.tx.timelineState(t.number)
	if err != nil || !state.holds(e.key) {
		return err
	}
	e.tx.sum(t.number, old, -1)
	e.tx.sum(t.number, now, 1)
	return nil
}

// declaredTimeline lets BuildIndex fill a timeline.
func (t *table[S, R]) declaredTimeline() []declaredIndex {
	if t.timeline == nil {
		return nil
	}
	line := t.timeline
	return []declaredIndex{{line.number, t.name + "." + line.name, line.since, func(tx *Tx, from []byte, limit int) ([]byte, error) {
		rows := 0
		last, err := t.chunk(tx, from, limit, func(r R, _ []byte) {
			rows++
			tx.sum(line.number, line.of(r), 1)
		})
		if err != nil || rows < limit {
			return nil, err
		}
		return last, nil
	}}}
}

// chunk hands out up to limit rows after the row key `from` and returns the last one's key.
func (t *table[S, R]) chunk(tx *Tx, from []byte, limit int, fn func(r R, rowKey []byte)) (last []byte, err error) {
	under := prefix(kindRow, t.number)
	lower := under
	if len(from) != 0 {
		lower = append(bytes.Clone(from), 0)
	}
	rows := 0
	err = walk(tx.batch, lower, after(under), false, func(key, value []byte) (bool, error) {
		r, err := t.decode(value)
		if err != nil {
			return false, err
		}
		last = bytes.Clone(key)
		fn(r, last)
		rows++
		return rows < limit, nil
	})
	return last, err
}
