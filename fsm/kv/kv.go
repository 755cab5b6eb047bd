// Package kv is the narrow interface between the state machine and its ordered key-value store. The implementation on
// Pebble is in pebblekv; nothing above this package names it.
package kv

import "errors"

// ErrNotFound is returned by Get for a key that is not there.
var ErrNotFound = errors.New("key not found")

// Reader reads a consistent state. It is safe for concurrent use unless an implementation says otherwise.
type Reader interface {
	// Get returns a copy of the value, or ErrNotFound.
	Get(key []byte) ([]byte, error)
	// Iter returns an iterator over [lower, upper); nil bounds are open. It starts before the first key; Close it.
	Iter(lower, upper []byte) (Iterator, error)
}

// Iterator walks keys in order. Key and Value are valid until the next move.
type Iterator interface {
	First() bool
	Last() bool
	Next() bool
	Prev() bool
	SeekGE(key []byte) bool
	SeekLT(key []byte) bool
	Key() []byte
	Value() ([]byte, error)
	// Error returns what stopped the walk, if it was not the end.
	Error() error
	Close() error
}

// Batch collects writes; reads through it see the store with these writes on top. It is not safe for concurrent use.
type Batch interface {
	Reader
	Set(key, value []byte) error
	Delete(key []byte) error
	// DeleteRange deletes [lower, upper).
	DeleteRange(lower, upper []byte) error
	// Len returns the number of writes in the batch.
	Len() int
	Close() error
}

// Snapshot is a Reader of the moment it was taken; it keeps old files alive until closed.
type Snapshot interface {
	Reader
	Close() error
}

// Store is one open database.
type Store interface {
	Reader
	NewBatch() Batch
	// Commit applies the batch atomically, once. Unsynced commits survive a crash up to a prefix; the Raft log is their
	// durability. After an error the store is failed for good: it is unknown whether readers see the batch, every later
	// write is refused, and the store must be reopened.
	Commit(b Batch, sync bool) error
	// Sync makes every earlier commit durable.
	Sync() error
	Snapshot() Snapshot
	// Checkpoint writes a complete, synced copy (hard links where possible) into dir, which must not exist.
	Checkpoint(dir string) error
	Close() error
}
