package pebblekv

import (
	"bytes"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"github.com/sluice-dev/sluice/fsm/kv"
)

func get(r pebble.Reader, key []byte) ([]byte, error) {
	v, closer, err := r.Get(key)
	if err != nil {
		if errors.Is(err, pebble.ErrNotFound) {
			return nil, kv.ErrNotFound
		}
		return nil, err
	}
	c := make([]byte, len(v))
	copy(c, v)
	if err := closer.Close(); err != nil {
		return nil, err
	}
	return c, nil
}

// iter opens an iterator. Empty bounds are open like nil ones; a range that ends where it begins or before is empty.
func iter(r pebble.Reader, lower, upper []byte) (kv.Iterator, error) {
	if len(lower) == 0 {
		lower = nil
	}
	if len(upper) == 0 {
		upper = nil
	}
	if lower != nil && upper != nil && bytes.Compare(lower, upper) > 0 {
		upper = lower
	}
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, err
	}
	return iterator{it}, nil
}

type iterator struct{ *pebble.Iterator }

func (i iterator) Value() ([]byte, error) { return i.ValueAndErr() }

// Get implements kv.Reader.
func (s *Store) Get(key []byte) ([]byte, error) { return get(s.db, key) }

// Iter implements kv.Reader.
func (s *Store) Iter(lower, upper []byte) (kv.Iterator, error) { return iter(s.db, lower, upper) }

// Snapshot implements kv.Store.
func (s *Store) Snapshot() kv.Snapshot { return snapshot{s.db.NewSnapshot()} }

type snapshot struct{ sn *pebble.Snapshot }

func (s snapshot) Get(key []byte) ([]byte, error) { return get(s.sn, key) }

func (s snapshot) Iter(lower, upper []byte) (kv.Iterator, error) { return iter(s.sn, lower, upper) }

func (s snapshot) Close() error { return s.sn.Close() }

// NewBatch implements kv.Store. The batch is indexed: reads through it see its own writes.
func (s *Store) NewBatch() kv.Batch { return &batch{b: s.db.NewIndexedBatch()} }

type batch struct{ b *pebble.Batch }

func (b *batch) Get(key []byte) ([]byte, error) { return get(b.b, key) }

func (b *batch) Iter(lower, upper []byte) (kv.Iterator, error) { return iter(b.b, lower, upper) }

func (b *batch) Set(key, value []byte) error { return b.b.Set(key, value, nil) }

func (b *batch) Delete(key []byte) error { return b.b.Delete(key, nil) }

func (b *batch) DeleteRange(lower, upper []byte) error { return b.b.DeleteRange(lower, upper, nil) }

// Len returns the number of writes in the batch.
func (b *batch) Len() int { return int(b.b.Count()) }

func (b *batch) Close() error { return b.b.Close() }
