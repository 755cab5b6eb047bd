package state

import (
	"cmp"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/sluice-dev/sluice/fsm/row"
)

// bucketSums are the sums over the runs of one state in one bucket. Times that grow with the clock are kept as how many runs there are and
// their distances from the bucket's begin, so that the answer follows for every moment.
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

// earlier are the sums as a bucket has them that begins so much earlier.
func (s bucketSums) earlier(kind row.StateType, by int64) bucketSums {
	if kind == row.StateType_RUNNING {
		s.since += s.runs * by
	}
	s.expected += s.waiting * by
	return s
}

func (s *bucketSums) plus(o bucketSums) {
	all := s.fields()
	for i, v := range o.fields() {
		*all[i] += *v
	}
}

// bucketStates are the states whose sums share one key of a bucket; a state's code is its place. Other names, which users choose and
// of which there may be any number, have keys of their own and code 0. Part of the stored format: append.
var bucketStates = [...]struct {
	kind row.StateType
	name string
}{
	1:  {row.StateType_STATE_TYPE_NONE, ""},
	2:  {row.StateType_SCHEDULED, "Scheduled"},
	3:  {row.StateType_PENDING, "Pending"},
	4:  {row.StateType_RUNNING, "Running"},
	5:  {row.StateType_COMPLETED, "Completed"},
	6:  {row.StateType_FAILED, "Failed"},
	7:  {row.StateType_CANCELLED, "Cancelled"},
	8:  {row.StateType_SCHEDULED, "Late"},
	9:  {row.StateType_SCHEDULED, "AwaitingRetry"},
	10: {row.StateType_PENDING, "NotReady"},
	11: {row.StateType_RUNNING, "Retrying"},
	12: {row.StateType_RUNNING, "Rerunning"},
	13: {row.StateType_RUNNING, "Cancelling"},
	14: {row.StateType_COMPLETED, "Cached"},
	15: {row.StateType_FAILED, "Crashed"},
	16: {row.StateType_FAILED, "TimedOut"},
	17: {row.StateType_CANCELLED, "TimedOut"},
	18: {row.StateType_CANCELLED, "Skipped"},
}

func stateCode(kind row.StateType, name string) byte {
	for code := 1; code < len(bucketStates); code++ {
		if s := &bucketStates[code]; s.kind == kind && s.name == name {
			return byte(code)
		}
	}
	return 0
}

// stateSums are the sums of the state with that code.
type stateSums struct {
	state byte
	bucketSums
}

// bucket is the value of one key: sums by state, none of them empty once encoded.
type bucket []stateSums

func (b *bucket) add(state byte, sums bucketSums) {
	for i := range *b {
		if (*b)[i].state == state {
			(*b)[i].plus(sums)
			return
		}
	}
	*b = append(*b, stateSums{state, sums})
}

func (b bucket) encode() []byte {
	slices.SortFunc(b, func(a, b stateSums) int { return cmp.Compare(a.state, b.state) })
	out := make([]byte, 0, 16*len(b))
	for i := range b {
		if b[i].bucketSums == (bucketSums{}) {
			continue
		}
		out = append(out, b[i].state)
		for _, v := range b[i].fields() {
			out = binary.AppendVarint(out, *v)
		}
	}
	return out
}

// next takes the first state's sums off an encoded bucket.
func (s *stateSums) next(b []byte) (rest []byte, err error) {
	if int(b[0]) >= len(bucketStates) {
		return nil, errors.New("a bucket of a timeline has a state of a newer version")
	}
	s.state, b = b[0], b[1:]
	for _, v := range s.fields() {
		n := 0
		if *v, n = binary.Varint(b); n <= 0 {
			return nil, errors.New("a bucket of a timeline is malformed")
		}
		b = b[n:]
	}
	return b, nil
}

func decodeBucket(b []byte) (all bucket, err error) {
	for len(b) > 0 {
		var s stateSums
		if b, err = s.next(b); err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// sumSpot is where a run is summed up: a bucket of the finest level and a state.
type sumSpot struct {
	timeline byte
	begin    int64
	kind     row.StateType
	name     string
}

func (a sumSpot) compare(b sumSpot) int {
	return cmp.Or(cmp.Compare(a.timeline, b.timeline), cmp.Compare(a.begin, b.begin), cmp.Compare(a.kind, b.kind), cmp.Compare(a.name, b.name))
}

// bucketChanges are what buckets of all levels change by, by key.
type bucketChanges map[string]bucket

func (c bucketChanges) add(at sumSpot, delta bucketSums) {
	if delta == (bucketSums{}) {
		return
	}
	code := stateCode(at.kind, at.name)
	var memory [64]byte
	for level, unit := range timelineUnits {
		begin := floor(at.begin, unit)
		key := append(memory[:0], namespaceDefault, kindBucket, at.timeline, byte(level))
		key = appendTime(key, begin)
		if code == 0 {
			key = appendText(append(key, byte(at.kind)), at.name)
		}
		b := c[string(key)]
		b.add(code, delta.earlier(at.kind, at.begin-begin))
		c[string(key)] = b
	}
}
