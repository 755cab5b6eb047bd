package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/sluice-dev/sluice/fsm/kv"
	"github.com/sluice-dev/sluice/fsm/row"
)

// timeline declares that the rows of a table are summed up in buckets by their expected start: one bucket per second, minute and
// hour, state type and state name. Like an index it is building until every row is in it. While it is, exactly the rows up to the one
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

// The levels of buckets, coarsest first, and their units in µs.
var timelineUnits = [...]int64{3600 * 1_000_000, 60 * 1_000_000, 1_000_000}

// bucketSums are the sums of one bucket. Times that grow with the clock are kept as how many runs there are and their distances from
// the bucket's begin, so that the answer follows for every moment.
type bucketSums struct {
	runs     int64
	runTime  int64
	since    int64 // of running runs: present state's time less the bucket's begin
	late     int64 // of started runs: start less expected start, where positive
	waiting  int64 // runs that neither started nor ended
	expected int64 // of those: expected start less the bucket's begin
}

func (s *bucketSums) fields() [6]*int64 {
	return [...]*int64{&s.runs, &s.runTime, &s.since, &s.late, &s.waiting, &s.expected}
}

// add counts the run once, or takes it out again (times −1).
func (s *bucketSums) add(f runFacts, begin, times int64) {
	s.runs += times
	s.runTime += times * f.runTime
	if f.kind == row.StateType_RUNNING {
		s.since += times * (f.since - begin)
	}
	s.late += times * f.startedLate()
	if f.waits() {
		s.waiting += times
		s.expected += times * (f.expected - begin)
	}
}

func (f runFacts) startedLate() int64 {
	if f.start == 0 {
		return 0
	}
	return max(0, f.start-f.expected)
}

func (f runFacts) waits() bool {
	return f.start == 0 && f.kind != row.StateType_COMPLETED && f.kind != row.StateType_FAILED && f.kind != row.StateType_CANCELLED
}

func (s *bucketSums) encode() []byte {
	out := make([]byte, 0, 24)
	for _, v := range s.fields() {
		out = binary.AppendVarint(out, *v)
	}
	return out
}

func decodeSums(b []byte) (s bucketSums, err error) {
	for _, v := range s.fields() {
		n := 0
		if *v, n = binary.Varint(b); n <= 0 {
			return s, errors.New("a bucket of a timeline is malformed")
		}
		b = b[n:]
	}
	return s, nil
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

func (f runFacts) bucketKey(dst []byte, number, level byte, begin int64) []byte {
	dst = append(dst[:0], namespaceDefault, kindBucket, number, level)
	return appendText(append(appendTime(dst, begin), byte(f.kind)), f.name)
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

// sum adds the run to its buckets, or takes it out again.
func (tx *Tx) sum(number byte, f runFacts, times int64) {
	if f.expected == 0 {
		return
	}
	for level, unit := range timelineUnits {
		begin := floor(f.expected, unit)
		tx.scratch = f.bucketKey(tx.scratch, number, byte(level), begin)
		delta := tx.sums[string(tx.scratch)]
		if delta == nil {
			delta = &bucketSums{}
			tx.sums[string(tx.scratch)] = delta
		}
		delta.add(f, begin, times)
	}
}

// flushSums writes the buckets that changed.
func (tx *Tx) flushSums() error {
	for _, key := range slices.Sorted(maps.Keys(tx.sums)) {
		delta := tx.sums[key]
		if *delta == (bucketSums{}) {
			continue
		}
		var sums bucketSums
		value, err := tx.batch.Get([]byte(key))
		if err == nil {
			sums, err = decodeSums(value)
		} else if errors.Is(err, kv.ErrNotFound) {
			err = nil
		}
		if err != nil {
			return fmt.Errorf("read a bucket of a timeline: %w", err)
		}
		all := sums.fields()
		for i, v := range delta.fields() {
			*all[i] += *v
		}
		// Each key is written once, so the order of this map does not reach the store.
		if sums == (bucketSums{}) {
			err = tx.batch.Delete([]byte(key))
		} else {
			err = tx.batch.Set([]byte(key), sums.encode())
		}
		if err != nil {
			return fmt.Errorf("write a bucket of a timeline: %w", err)
		}
	}
	clear(tx.sums)
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
