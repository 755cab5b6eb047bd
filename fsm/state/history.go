package state

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/sluice-dev/sluice/fsm/kv"
	"github.com/sluice-dev/sluice/fsm/row"
)

// RunSums are the sums over runs of one state type and name. Times are in µs.
type RunSums struct {
	Type     row.StateType
	Name     string
	Runs     int64
	RunTime  int64 // estimated: until the moment of the History for running runs
	Lateness int64 // estimated: until that moment for runs that are still waited for
}

// History sums up runs by the interval of their expected start, as of one moment.
type History struct {
	edges []int64
	now   int64
	bins  [][]RunSums
}

// NewHistory makes a History of the intervals between successive edges (µs, ascending, at least two), as of now.
func NewHistory(edges []int64, now int64) *History {
	return &History{edges: edges, now: now, bins: make([][]RunSums, len(edges)-1)}
}

// Intervals returns how many intervals there are.
func (h *History) Intervals() int { return len(h.bins) }

// Interval returns the begin and the end of an interval, and its sums by type, then name.
func (h *History) Interval(i int) (from, until int64, sums []RunSums) {
	slices.SortFunc(h.bins[i], func(a, b RunSums) int { return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Name, b.Name)) })
	return h.edges[i], h.edges[i+1], h.bins[i]
}

// AddFlowRun counts a flow run in its interval, if it has one.
func (h *History) AddFlowRun(r *row.FlowRun) { h.add(flowRuns.timeline.of(r)) }

// AddTaskRun counts a task run in its interval, if it has one.
func (h *History) AddTaskRun(r *row.TaskRun) { h.add(taskRuns.timeline.of(r)) }

func (h *History) add(f runFacts) {
	i, exact := slices.BinarySearch(h.edges, f.expected)
	if !exact {
		i--
	}
	if f.expected == 0 || i < 0 || i >= len(h.bins) {
		return
	}
	s := h.sums(i, f.kind, f.name)
	s.Runs++
	s.RunTime += f.runTime
	if f.kind == row.StateType_RUNNING {
		s.RunTime += max(0, h.now-f.since)
	}
	s.Lateness += f.startedLate()
	if f.waits() {
		s.Lateness += max(0, h.now-f.expected)
	}
}

func (h *History) sums(i int, kind row.StateType, name string) *RunSums {
	bin := h.bins[i]
	for k := range bin {
		if bin[k].Type == kind && bin[k].Name == name {
			return &bin[k]
		}
	}
	h.bins[i] = append(bin, RunSums{Type: kind, Name: name})
	return &h.bins[i][len(bin)]
}

// FlowRunHistory sums up all flow runs. It answers from buckets, at a cost that follows the intervals and not the runs; false when the
// buckets are still being built.
func (v *View) FlowRunHistory(h *History) (bool, error) {
	return fillHistory(v, h, flowRuns, idxRunExpectedStart)
}

// TaskRunHistory sums up all task runs, as FlowRunHistory does.
func (v *View) TaskRunHistory(h *History) (bool, error) {
	return fillHistory(v, h, taskRuns, idxTaskRunExpectedStart)
}

func fillHistory[S any, R message[S]](v *View, h *History, t *table[S, R], byExpected byte) (bool, error) {
	line, err := v.timelineState(t.timeline.number)
	if err != nil || !line.ready {
		return false, err
	}
	index, err := v.IndexState(byExpected)
	if err != nil || index != IndexReady {
		return false, err
	}
	first, last := h.edges[0], h.edges[len(h.edges)-1]
	w := historyWalk{History: h}
	open := func(lower, upper []byte) forward {
		if w.err != nil {
			return forward{}
		}
		it, err := v.r.Iter(lower, upper)
		w.err = err
		return forward{Iterator: it}
	}
	number := t.timeline.number
	for level, unit := range timelineUnits {
		w.prefix[level] = timelineKey(number, byte(level), 0)[:4]
		w.buckets[level] = open(timelineKey(number, byte(level), floor(first, unit)), timelineKey(number, byte(level), last))
	}
	w.rows = open(appendTime(indexKey(byExpected), first), appendTime(indexKey(byExpected), last))
	w.rowPrefix = indexKey(byExpected)
	w.facts = func(rowKey []byte) (runFacts, error) {
		r, err := t.get(v.r, rowKey)
		if err == nil && r == nil {
			err = fmt.Errorf("table %s: index points to a row that is not there", t.name)
		}
		if err != nil {
			return runFacts{}, err
		}
		return t.timeline.of(r), nil
	}
	for i := range h.bins {
		from, until := h.edges[i], h.edges[i+1]
		// On one side of the moment every run in a bucket that is waited for is late, on the other none is.
		w.cover(i, 0, from, min(until, h.now))
		w.cover(i, 0, max(from, h.now), until)
	}
	return true, w.close()
}

// historyWalk answers a History from buckets where whole ones fit, and from the rows at the edges. Each level has one iterator, which
// moves forward alone.
type historyWalk struct {
	*History
	buckets   [len(timelineUnits)]forward
	prefix    [len(timelineUnits)][]byte
	rows      forward
	rowPrefix []byte
	facts     func(rowKey []byte) (runFacts, error)
	key       []byte // memory
	err       error
}

func (w *historyWalk) close() error {
	for _, it := range append(w.buckets[:], w.rows) {
		if it.Iterator != nil {
			w.err = errors.Join(w.err, it.Error(), it.Close())
		}
	}
	return w.err
}

// cover adds the runs of [from, until) to an interval, from buckets of that level or finer.
func (w *historyWalk) cover(interval, level int, from, until int64) {
	if from >= until || w.err != nil {
		return
	}
	if level == len(timelineUnits) {
		w.addRows(from, until)
		return
	}
	unit := timelineUnits[level]
	a, b := floor(from+unit-1, unit), floor(until, unit)
	if a >= b {
		w.cover(interval, level+1, from, until)
		return
	}
	w.cover(interval, level+1, from, a)
	w.addBuckets(interval, level, a, b)
	w.cover(interval, level+1, b, until)
}

func (w *historyWalk) addBuckets(interval, level int, from, until int64) {
	if w.err != nil {
		return
	}
	head := w.prefix[level]
	w.key = appendTime(append(w.key[:0], head...), from)
	for it := w.buckets[level].from(w.key); it.valid; it.next() {
		key := it.Key()[len(head):]
		begin := timeOfKey(key)
		if begin >= until {
			return
		}
		value, err := it.Value()
		for err == nil && len(value) > 0 {
			var sums stateSums
			if value, err = sums.next(value); err == nil {
				w.addSums(interval, begin, key[8:], &sums)
			}
		}
		if err != nil {
			w.err = err
			return
		}
	}
}

// addSums adds what a bucket has of one state; a state without a code is named by the rest of the key.
func (w *historyWalk) addSums(interval int, begin int64, rest []byte, sums *stateSums) {
	var s *RunSums
	kind := bucketStates[sums.state].kind
	if sums.state != 0 {
		s = w.sums(interval, kind, bucketStates[sums.state].name)
	} else {
		kind = row.StateType(rest[0])
		s = w.sums(interval, kind, string(textOfKey(rest[1:])))
	}
	s.Runs += sums.runs
	s.RunTime += sums.runTime
	if kind == row.StateType_RUNNING {
		s.RunTime += sums.runs*(w.now-begin) - sums.since
	}
	s.Lateness += sums.late
	if begin < w.now {
		s.Lateness += sums.waiting*(w.now-begin) - sums.expected
	}
}

func (w *historyWalk) addRows(from, until int64) {
	if w.err != nil {
		return
	}
	w.key = appendTime(append(w.key[:0], w.rowPrefix...), from)
	for it := w.rows.from(w.key); it.valid; it.next() {
		if timeOfKey(it.Key()[len(w.rowPrefix):]) >= until {
			return
		}
		rowKey, err := it.Value()
		if err != nil {
			w.err = err
			return
		}
		facts, err := w.facts(rowKey)
		if err != nil {
			w.err = err
			return
		}
		w.add(facts)
	}
}

// forward is an iterator that only moves forward.
type forward struct {
	kv.Iterator
	begun, valid bool
}

// from moves to the first key from key on, unless it stands there: what lies between was passed.
func (f *forward) from(key []byte) *forward {
	if !f.begun || f.valid && bytes.Compare(f.Key(), key) < 0 {
		f.begun, f.valid = true, f.SeekGE(key)
	}
	return f
}

func (f *forward) next() { f.valid = f.Next() }

// timeOfKey reads what appendTime wrote.
func timeOfKey(b []byte) int64 { return int64(binary.BigEndian.Uint64(b) ^ (1 << 63)) }

// textOfKey reads what appendText wrote at the end of a key. The answer may alias b.
func textOfKey(b []byte) []byte {
	b = b[:len(b)-2]
	if !slices.Contains(b, 0) {
		return b
	}
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		out = append(out, b[i])
		if b[i] == 0 {
			i++ // the escape after it
		}
	}
	return out
}
