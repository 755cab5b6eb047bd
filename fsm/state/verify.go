package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/sluice-dev/sluice/fsm/kv"
)

// Verify reads the whole state and reports every place where what is derived (indexes, counters, the hash) differs from
// the rows; an index that is being built is not looked at. It is for tests and diagnosis: it holds all index keys in memory.
func (v *View) Verify() error {
	version, err := v.ClusterVersion()
	if err != nil {
		return err
	}
	var building []byte
	if schema, err := v.SchemaVersion(); err != nil {
		return err
	} else if schema != 0 {
		if building, err = v.BuildingIndexes(); err != nil {
			return err
		}
	}
	c := checker{r: v.r, version: version, building: building, indexes: map[string][]byte{}, counters: map[string]int64{}, sums: bucketChanges{}, tx: &Tx{batch: readOnly{Reader: v.r}}}
	for _, check := range []func() error{
		func() error { return verifyTable(&c, flows) }, func() error { return verifyTable(&c, flowRuns) },
		func() error { return verifyTable(&c, flowRunStates) }, func() error { return verifyTable(&c, taskRuns) },
		func() error { return verifyTable(&c, taskRunStates) }, func() error { return verifyTable(&c, deployments) },
		func() error { return verifyTable(&c, workQueues) }, func() error { return verifyTable(&c, agents) },
		func() error { return verifyTable(&c, blockSpecs) }, func() error { return verifyTable(&c, blocks) },
		func() error { return verifyTable(&c, limits) }, func() error { return verifyTable(&c, slots) },
		func() error { return verifyTable(&c, cacheEntries) }, func() error { return verifyTable(&c, logSegments) },
		func() error { return verifyTable(&c, logProducers) }, func() error { return verifyTable(&c, logUsages) },
		func() error { return verifyTable(&c, savedSearches) },
		func() error { return verifyTable(&c, claims) }, func() error { return verifyTable(&c, blobs) },
		func() error { return verifyTable(&c, blobChunks) }, func() error { return verifyTable(&c, jobs) },
		func() error { return verifyTable(&c, outcomes) },
		func() error { return verifyTable(&c, tokens) }, func() error { return verifyTable(&c, audits) },
		func() error { return verifyTable(&c, retentionPolicy) }, func() error { return verifyTable(&c, reigns) },
		func() error { return verifyTable(&c, webhooks) }, func() error { return verifyTable(&c, artifacts) }, func() error { return verifyTable(&c, deliveries) },
	} {
		if err := check(); err != nil {
			return err
		}
	}
	stored, err := v.Hash()
	if err != nil {
		return err
	}
	var problems []error
	if stored != c.hash {
		problems = append(problems, fmt.Errorf("the state hash is %s, the rows say %s", stored, c.hash))
	}
	return errors.Join(append(problems, c.compareIndexes(), c.compareCounters(), c.compareSums())...)
}

type checker struct {
	r        kv.Reader
	version  uint64
	building []byte // numbers of indexes
	hash     Hash
	indexes  map[string][]byte // index key → row key, as the rows say
	counters map[string]int64
	sums     bucketChanges // buckets as the rows say
	tx       *Tx           // knows how far indexes are filled
}

// readOnly is a batch for reading alone.
type readOnly struct {
	kv.Reader
	kv.Batch
}

func (r readOnly) Get(key []byte) ([]byte, error)                { return r.Reader.Get(key) }
func (r readOnly) Iter(lower, upper []byte) (kv.Iterator, error) { return r.Reader.Iter(lower, upper) }

func verifyTable[S any, R message[S]](c *checker, t *table[S, R]) error {
	under := prefix(kindRow, t.number)
	var filled timelineState
	if t.timeline != nil && t.timeline.since <= c.version {
		var err error
		if filled, err = NewView(c.r, 0, nil).timelineState(t.timeline.number); err != nil {
			return err
		}
	}
	return walk(c.r, under, after(under), false, func(key, value []byte) (bool, error) {
		c.hash.add(key, value)
		r, err := t.decode(value)
		if err != nil {
			return false, err
		}
		if own := t.key(prefix(kindRow, t.number), r); !bytes.Equal(own, key) {
			return false, fmt.Errorf("table %s: the row under key %x belongs under %x", t.name, key, own)
		}
		keys, counters := t.derived(r, c.version)
		if counters, err = t.countedOf(c.tx, key, r, counters); err != nil {
			return false, err
		}
		for _, k := range keys {
			if !c.isBuilding(k.key) {
				c.indexes[string(k.key)] = bytes.Clone(key)
			}
		}
		for _, name := range counters {
			c.counters[string(name)]++
		}
		if filled.holds(key) {
			c.sum(t.timeline.number, t.timeline.of(r))
		}
		return true, nil
	})
}

// isBuilding reports whether an index key belongs to an index that is being built.
func (c *checker) isBuilding(key []byte) bool {
	return len(c.building) > 0 && bytes.IndexByte(c.building, key[2]) >= 0
}

func (c *checker) compareIndexes() error {
	var problems []error
	under := []byte{namespaceDefault, kindIndex}
	seen := 0
	err := walk(c.r, under, after(under), false, func(key, rowKey []byte) (bool, error) {
		if c.isBuilding(key) {
			return true, nil
		}
		seen++
		if want, known := c.indexes[string(key)]; !known || !bytes.Equal(want, rowKey) {
			problems = append(problems, fmt.Errorf("index key %x points to %x, the rows say %x", key, rowKey, want))
		}
		return len(problems) < 10, nil
	})
	if err == nil && len(problems) == 0 && seen != len(c.indexes) {
		problems = append(problems, fmt.Errorf("there are %d index keys, the rows have %d", seen, len(c.indexes)))
	}
	return errors.Join(append(problems, err)...)
}

func (c *checker) compareCounters() error {
	var problems []error
	under := []byte{namespaceDefault, kindCounter}
	seen := 0
	err := walk(c.r, under, after(under), false, func(key, value []byte) (bool, error) {
		seen++
		if n := int64(binary.BigEndian.Uint64(value)); n != c.counters[string(key)] {
			problems = append(problems, fmt.Errorf("counter %x is %d, the rows say %d", key, n, c.counters[string(key)]))
		}
		return true, nil
	})
	if err == nil && len(problems) == 0 && seen != len(c.counters) {
		problems = append(problems, fmt.Errorf("there are %d counters, the rows have %d", seen, len(c.counters)))
	}
	return errors.Join(append(problems, err)...)
}

func (c *checker) sum(number byte, f runFacts) {
	if f.expected == 0 {
		return
	}
	at := sumSpot{number, floor(f.expected, finestUnit), f.kind, f.name}
	var sums bucketSums
	sums.add(f, at.begin, 1)
	c.sums.add(at, sums)
}

func (c *checker) compareSums() error {
	var problems []error
	under := []byte{namespaceDefault, kindBucket}
	seen := 0
	err := walk(c.r, under, after(under), false, func(key, value []byte) (bool, error) {
		seen++
		if want := c.sums[string(key)]; want == nil || !bytes.Equal(value, want.encode()) {
			problems = append(problems, fmt.Errorf("bucket %x is %x, the rows say %+v", key, value, want))
		}
		return len(problems) < 10, nil
	})
	if err == nil && len(problems) == 0 && seen != len(c.sums) {
		problems = append(problems, fmt.Errorf("there are %d buckets, the rows have %d", seen, len(c.sums)))
	}
	return errors.Join(append(problems, err)...)
}
