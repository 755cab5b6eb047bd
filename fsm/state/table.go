package state

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/sluice-dev/sluice/fsm/kv"
)

// message is a row type: a pointer to a protobuf struct.
type message[S any] interface {
	*S
	proto.Message
}

// table declares how rows of one kind are keyed, indexed and counted. Its number is part of every key: never reuse one.
type table[S any, R message[S]] struct {
	number  byte
	name    string
	key     func(dst []byte, row R) []byte
	indexes []index[R]
	// counters names what the row counts for; each name is a counter that equals the number of rows naming it.
	counters func(row R, add func(key []byte))
	// timeline sums the rows up over time; nil where nobody asks for it.
	timeline *timeline[R]
	// counted are counters that came after the table: what is stored already is counted while their index is filled.
	counted []counter[R]
}

// counter is counters of the rows that the index with that number has been filled with.
type counter[R any] struct {
	index byte
	keys  func(row R, add func(key []byte))
}

// index maps a row to the keys under which it is found. A unique index refuses a second row with the same key; the keys
// of the others must end with the row's primary key.
type index[R any] struct {
	number byte
	name   string
	unique bool
	// since is the first cluster version that has the index.
	since uint64
	keys  func(row R, add func(key []byte))
}

// first is the first cluster version.
const first = 1

// errNotUnique is returned by save when a unique index holds the key for another row.
var errNotUnique = errors.New("unique key is taken")

var marshal = proto.MarshalOptions{Deterministic: true}

func (t *table[S, R]) decode(value []byte) (R, error) {
	row := R(new(S))
	if err := proto.Unmarshal(value, row); err != nil {
		return nil, fmt.Errorf("decode row of table %s: %w", t.name, err)
	}
	return row, nil
}

// get returns the row under the full key, nil when there is none.
func (t *table[S, R]) get(r kv.Reader, key []byte) (R, error) {
	value, err := r.Get(key)
	if errors.Is(err, kv.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read table %s: %w", t.name, err)
	}
	return t.decode(value)
}

// byIndex returns the row to which the full index key points, nil when there is none.
func (t *table[S, R]) byIndex(r kv.Reader, indexKey []byte) (R, error) {
	rowKey, err := r.Get(indexKey)
	if errors.Is(err, kv.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read an index of table %s: %w", t.name, err)
	}
	row, err := t.get(r, rowKey)
	if err == nil && row == nil {
		err = fmt.Errorf("table %s: index points to a row that is not there", t.name)
	}
	return row, err
}

// each walks the rows whose full keys begin with lower's prefix, in key order, reverse when asked, until fn says stop.
func (t *table[S, R]) each(r kv.Reader, under []byte, reverse bool, fn func(row R) (bool, error)) error {
	return walk(r, under, after(under), reverse, func(_, value []byte) (bool, error) {
		row, err := t.decode(value)
		if err != nil {
			return false, err
		}
		return fn(row)
	})
}

// eachByIndex walks index keys in [lower, upper) and hands out the rows they point to.
func (t *table[S, R]) eachByIndex(r kv.Reader, lower, upper []byte, reverse bool, fn func(row R) (bool, error)) error {
	return walk(r, lower, upper, reverse, func(_, rowKey []byte) (bool, error) {
		row, err := t.get(r, rowKey)
		if err != nil {
			return false, err
		}
		if row == nil {
			return false, fmt.Errorf("table %s: index points to a row that is not there", t.name)
		}
		return fn(row)
	})
}

// walk iterates over [lower, upper). Keys and values are valid during the call only.
func walk(r kv.Reader, lower, upper []byte, reverse bool, fn func(key, value []byte) (bool, error)) error {
	it, err := r.Iter(lower, upper)
	if err != nil {
		return fmt.Errorf("open iterator: %w", err)
	}
	move := it.First
	next := it.Next
	if reverse {
		move, next = it.Last, it.Prev
	}
	for ok := move(); ok; ok = next() {
		value, err := it.Value()
		if err != nil {
			return errors.Join(err, it.Close())
		}
		more, err := fn(it.Key(), value)
		if err != nil || !more {
			return errors.Join(err, it.Close())
		}
	}
	return errors.Join(it.Error(), it.Close())
}
