package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/kv"
	"github.com/sluice-dev/sluice/fsm/row"
)

// IDRange is a part of an index whose keys end with the id of a run and are in the order of the ids.
type IDRange struct{ keys keyRange }

// TimeRange is a part of an index whose keys end with (time, id) of a run and are in their order.
type TimeRange struct{ keys keyRange }

type keyRange struct{ lower, upper []byte }

func idsUnder(prefix []byte) IDRange { return IDRange{keyRange{prefix, after(prefix)}} }

// timesUnder is the part of an index below prefix whose times lie in [from, until].
func timesUnder(prefix []byte, from, until int64) TimeRange {
	lower := appendTime(prefix[:len(prefix):len(prefix)], from)
	upper := after(prefix)
	if until != math.MaxInt64 {
		upper = after(appendTime(prefix[:len(prefix):len(prefix)], until))
	}
	return TimeRange{keyRange{lower, upper}}
}

// Span is a range of times, both ends included (µs).
type Span struct{ From, Until int64 }

// Always is every time.
func Always() Span { return Span{math.MinInt64, math.MaxInt64} }

// Flow runs by id: of a state type, a deployment, a flow, a name, a parent.

func RunsOfType(t row.StateType) IDRange { return idsUnder(append(indexKey(idxRunStateType), byte(t))) }
func RunsOfDeployment(id api.ID) IDRange {
	return idsUnder(appendID(indexKey(idxRunDeployment), id[:]))
}
func RunsOfFlow(id api.ID) IDRange   { return idsUnder(appendID(indexKey(idxRunFlow), id[:])) }
func RunsOfName(name string) IDRange { return idsUnder(appendText(indexKey(idxRunName), name)) }
func RunsOfParent(id api.ID) IDRange { return idsUnder(appendID(indexKey(idxRunParentTask), id[:])) }

// Flow runs by expected start time: all, or those whose state is of one type, of everything or of a deployment, a flow, a tag, a
// work queue, a state name of its own.

func RunsExpected(s Span) TimeRange {
	return timesUnder(indexKey(idxRunExpectedStart), s.From, s.Until)
}
func RunsOfTypeExpected(t row.StateType, s Span) TimeRange {
	return timesUnder(append(indexKey(idxRunTypeTime), byte(t)), s.From, s.Until)
}
func RunsOfDeploymentExpected(id api.ID, t row.StateType, s Span) TimeRange {
	return timesUnder(append(appendID(indexKey(idxRunDeploymentTime), id[:]), byte(t)), s.From, s.Until)
}
func RunsOfFlowExpected(id api.ID, t row.StateType, s Span) TimeRange {
	return timesUnder(append(appendID(indexKey(idxRunFlowTime), id[:]), byte(t)), s.From, s.Until)
}
func RunsTaggedExpected(tag string, t row.StateType, s Span) TimeRange {
	return timesUnder(append(appendText(indexKey(idxRunTagTime), tag), byte(t)), s.From, s.Until)
}
func RunsOfQueueExpected(id api.ID, t row.StateType, s Span) TimeRange {
	return timesUnder(append(appendID(indexKey(idxRunQueueTime), id[:]), byte(t)), s.From, s.Until)
}
func RunsOfStateNameExpected(name string, t row.StateType, s Span) TimeRange {
	return timesUnder(append(appendText(indexKey(idxRunStateName), name), byte(t)), s.From, s.Until)
}

// RunsOfDeploymentStateName and RunsOfFlowStateName are of state names of their own too.

func RunsOfDeploymentStateName(id api.ID, name string, t row.StateType, s Span) TimeRange {
	return timesUnder(append(appendText(appendID(indexKey(idxRunDeploymentStateName), id[:]), name), byte(t)), s.From, s.Until)
}
func RunsOfFlowStateName(id api.ID, name string, t row.StateType, s Span) TimeRange {
	return timesUnder(append(appendText(appendID(indexKey(idxRunFlowStateName), id[:]), name), byte(t)), s.From, s.Until)
}

// RunsStarted are the flow runs that started in a span, RunsEnded those that ended in it (0: those that have not), RunsDue those of type
// SCHEDULED whose time lies in it, each by that time.

func RunsStarted(s Span) TimeRange { return timesUnder(indexKey(idxRunStartTime), s.From, s.Until) }
func RunsEnded(s Span) TimeRange   { return timesUnder(indexKey(idxRunEndTime), s.From, s.Until) }
func RunsDue(s Span) TimeRange     { return timesUnder(indexKey(idxRunDue), s.From, s.Until) }

// Task runs by expected start time: of a state type, or of it and a tag.

func TaskRunsOfTypeExpected(t row.StateType) TimeRange {
	return timesUnder(append(indexKey(idxTaskRunTypeTime), byte(t)), math.MinInt64, math.MaxInt64)
}
func TaskRunsTaggedExpected(tag string, t row.StateType) TimeRange {
	return timesUnder(append(appendText(indexKey(idxTaskRunTagTime), tag), byte(t)), math.MinInt64, math.MaxInt64)
}

// Beyond is what lies beyond id, in the direction of the walk.
func (r IDRange) Beyond(id api.ID, reverse bool) IDRange {
	return IDRange{r.keys.beyond(appendID(slices.Clip(r.keys.lower), id[:]), reverse)}
}

// Beyond is what lies beyond (at, id), in the direction of the walk. It may be asked of a whole range only, not of what Beyond returned.
func (r TimeRange) Beyond(at int64, id api.ID, reverse bool) TimeRange {
	under := slices.Clip(r.keys.lower[:len(r.keys.lower)-8])
	return TimeRange{r.keys.beyond(appendID(appendTime(under, at), id[:]), reverse)}
}

func (r keyRange) beyond(key []byte, reverse bool) keyRange {
	if reverse {
		if r.upper == nil || bytes.Compare(key, r.upper) < 0 {
			r.upper = key
		}
		if bytes.Compare(r.upper, r.lower) < 0 {
			r.upper = r.lower
		}
		return r
	}
	if key = after(key); key != nil && bytes.Compare(key, r.lower) > 0 {
		r.lower = key
	}
	if r.upper != nil && bytes.Compare(r.lower, r.upper) > 0 {
		r.lower = r.upper
	}
	return r
}

// EachRunID walks the ids in ranges, in the order of the ids; the ranges must have none in common.
func (v *View) EachRunID(ranges []IDRange, reverse bool, fn func(id api.ID) (bool, error)) error {
	keys := make([]keyRange, len(ranges))
	for i, r := range ranges {
		keys[i] = r.keys
	}
	return v.merge(keys, 16, reverse, func(end []byte) (bool, error) { return fn(api.ID(end)) })
}

// EachRunTime walks the ids in ranges with their times, in the order of (time, id); the ranges must have none in common.
func (v *View) EachRunTime(ranges []TimeRange, reverse bool, fn func(at int64, id api.ID) (bool, error)) error {
	keys := make([]keyRange, len(ranges))
	for i, r := range ranges {
		keys[i] = r.keys
	}
	return v.merge(keys, 24, reverse, func(end []byte) (bool, error) { return fn(timeOf(end), api.ID(end[8:])) })
}

// EachRunByName walks the ids of all flow runs by name, then id.
func (v *View) EachRunByName(reverse bool, fn func(id api.ID) (bool, error)) error {
	return v.eachRunByName(func(all keyRange) keyRange { return all }, reverse, fn)
}

// EachRunByNameBeyond is EachRunByName of what lies beyond (name, id), in the direction of the walk.
func (v *View) EachRunByNameBeyond(name string, id api.ID, reverse bool, fn func(id api.ID) (bool, error)) error {
	place := appendID(appendText(indexKey(idxRunName), name), id[:])
	return v.eachRunByName(func(all keyRange) keyRange { return all.beyond(place, reverse) }, reverse, fn)
}

func (v *View) eachRunByName(part func(keyRange) keyRange, reverse bool, fn func(id api.ID) (bool, error)) error {
	under := indexKey(idxRunName)
	return v.merge([]keyRange{part(keyRange{under, after(under)})}, 16, reverse, func(end []byte) (bool, error) { return fn(api.ID(end)) })
}

func timeOf(b []byte) int64 { return int64(binary.BigEndian.Uint64(b) ^ 1<<63) }

// CountRunIDs returns how many keys there are in ranges, at most limit.
func (v *View) CountRunIDs(ranges []IDRange, limit int64) (n int64, err error) {
	for _, r := range ranges {
		if err := v.countKeys(r.keys, limit, &n); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// CountRunTimes is CountRunIDs for time ranges.
func (v *View) CountRunTimes(ranges []TimeRange, limit int64) (n int64, err error) {
	for _, r := range ranges {
		if err := v.countKeys(r.keys, limit, &n); err != nil {
			return 0, err
		}
	}
	return n, nil
}

func (v *View) countKeys(r keyRange, limit int64, n *int64) error {
	it, err := v.r.Iter(r.lower, r.upper)
	if err != nil {
		return fmt.Errorf("open iterator: %w", err)
	}
	for ok := it.First(); ok && *n < limit; ok = it.Next() {
		*n++
	}
	return errors.Join(it.Error(), it.Close())
}

// Ends returns the first and the last time in a range; ok is false when it is empty.
func (v *View) Ends(r TimeRange) (s Span, ok bool, err error) {
	it, err := v.r.Iter(r.keys.lower, r.keys.upper)
	if err != nil {
		return s, false, fmt.Errorf("open iterator: %w", err)
	}
	if ok = it.First(); ok {
		s.From = timeOf(it.Key()[len(it.Key())-24:])
		it.Last()
		s.Until = timeOf(it.Key()[len(it.Key())-24:])
	}
	return s, ok, errors.Join(it.Error(), it.Close())
}

// merge walks keys of several ranges in the order of their last bytes, which fn gets; they are valid during the call only.
func (v *View) merge(ranges []keyRange, suffix int, reverse bool, fn func(end []byte) (bool, error)) (err error) {
	heads := make([]head, 0, len(ranges))
	defer func() {
		for _, h := range heads {
			err = errors.Join(err, h.it.Error(), h.it.Close())
		}
	}()
	for _, r := range ranges {
		it, err := v.r.Iter(r.lower, r.upper)
		if err != nil {
			return fmt.Errorf("open iterator: %w", err)
		}
		h := head{it: it}
		if reverse {
			h.take(it.Last(), suffix)
		} else {
			h.take(it.First(), suffix)
		}
		if h.end == nil {
			if err := errors.Join(it.Error(), it.Close()); err != nil {
				return err
			}
			continue
		}
		heads = append(heads, h)
	}
	for {
		best := -1
		for i := range heads {
			if heads[i].end == nil {
				continue
			}
			if best < 0 {
				best = i
			} else if c := bytes.Compare(heads[i].end, heads[best].end); c < 0 && !reverse || c > 0 && reverse {
				best = i
			}
		}
		if best < 0 {
			return nil
		}
		if more, err := fn(heads[best].end); err != nil || !more {
			return err
		}
		if reverse {
			heads[best].take(heads[best].it.Prev(), suffix)
		} else {
			heads[best].take(heads[best].it.Next(), suffix)
		}
	}
}

// head is where one range of a merge stands; end is nil at its end.
type head struct {
	it  kv.Iterator
	end []byte
}

func (h *head) take(ok bool, suffix int) {
	if !ok {
		h.end = nil
		return
	}
	key := h.it.Key()
	h.end = key[len(key)-suffix:]
}

// CountFlowRunsOfQueue returns how many runs that were last claimed from a work queue are in a state of that type.
func (v *View) CountFlowRunsOfQueue(id api.ID, t row.StateType) (int64, error) {
	return v.count(append(appendID(counterKey(countRunsByQueue), id[:]), byte(t)))
}

// CountFlowRunsTagged returns how many runs with a tag are in a state of that type.
func (v *View) CountFlowRunsTagged(tag string, t row.StateType) (int64, error) {
	return v.count(append(appendText(counterKey(countRunsByTag), tag), byte(t)))
}

// CountFlowRunsNamed returns how many runs are in a state of that type and name.
func (v *View) CountFlowRunsNamed(t row.StateType, name string) (int64, error) {
	return v.countNamed(append(counterKey(countRunsByStateName), byte(t)), t, name, v.CountFlowRuns)
}

// CountFlowRunsOfDeploymentNamed returns how many runs of a deployment are in a state of that type and name.
func (v *View) CountFlowRunsOfDeploymentNamed(id api.ID, t row.StateType, name string) (int64, error) {
	return v.countNamed(append(appendID(counterKey(countRunsByDeploymentStateName), id[:]), byte(t)), t, name,
		func(t row.StateType) (int64, error) { return v.CountFlowRunsOfDeployment(id, t) })
}

// CountFlowRunsOfFlowNamed returns how many runs of a flow are in a state of that type and name.
func (v *View) CountFlowRunsOfFlowNamed(id api.ID, t row.StateType, name string) (int64, error) {
	return v.countNamed(append(appendID(counterKey(countRunsByFlowStateName), id[:]), byte(t)), t, name,
		func(t row.StateType) (int64, error) { return v.CountFlowRunsOfFlow(id, t) })
}

// countNamed counts states of a name by the counters of names below a key. Those that have their type's name have none: they are what
// the others leave of the type.
func (v *View) countNamed(under []byte, t row.StateType, name string, ofType func(row.StateType) (int64, error)) (int64, error) {
	if name != DefaultStateName(t) {
		return v.count(appendText(under, name))
	}
	n, err := ofType(t)
	if err != nil || n == 0 {
		return 0, err
	}
	err = walk(v.r, under, after(under), false, func(_, value []byte) (bool, error) {
		n -= int64(binary.BigEndian.Uint64(value))
		return true, nil
	})
	return n, err
}

// CountTaskRuns returns how many task runs are in a state of that type.
func (v *View) CountTaskRuns(t row.StateType) (int64, error) {
	return v.count(append(counterKey(countTaskRunsByState), byte(t)))
}

// CountTaskRunsTagged returns how many task runs with a tag are in a state of that type.
func (v *View) CountTaskRunsTagged(tag string, t row.StateType) (int64, error) {
	return v.count(append(appendText(counterKey(countTaskRunsByTag), tag), byte(t)))
}
