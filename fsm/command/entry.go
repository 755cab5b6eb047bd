// Package command is the encoding of everything that changes the replicated state: entries (what one Raft log entry
// holds), envelopes and the commands inside. It knows no storage and no clock. Encodings are append-only.
package command

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// EntryVersion is the newest entry format this binary reads and the one it writes.
const EntryVersion = 1

// MaxEntryBytes is the size at which a proposer stops packing further batches into one entry.
const MaxEntryBytes = 256 << 10

// SessionID names one incarnation of a node that proposes writes. The zero session is never deduplicated.
type SessionID [16]byte

// Batch is what one node handed to the leader in one piece. (Session, Seq) identifies it: the state machine applies it
// at most once and answers a repetition with the stored results. Seq starts at 1 and grows by one per batch.
type Batch struct {
	Session  SessionID
	Seq      uint64
	Commands [][]byte // encoded Envelopes; opaque to the cluster
}

// Entry is the payload of one Raft log entry. Stamp is the leader's clock when it appended, in µs since the epoch.
type Entry struct {
	Stamp   int64
	Batches []Batch
}

// ErrEntryTooNew is returned for an entry written by a newer binary: the node must stop applying, never skip.
var ErrEntryTooNew = errors.New("entry was written by a newer version of sluice")

// ErrMalformedEntry is returned for bytes that are no entry at all.
var ErrMalformedEntry = errors.New("malformed entry")

// AppendEntry appends the encoding of e to dst.
func AppendEntry(dst []byte, e Entry) []byte {
	dst = append(dst, EntryVersion)
	dst = binary.BigEndian.AppendUint64(dst, uint64(e.Stamp))
	dst = binary.AppendUvarint(dst, uint64(len(e.Batches)))
	for _, b := range e.Batches {
		dst = append(dst, b.Session[:]...)
		dst = binary.AppendUvarint(dst, b.Seq)
		dst = binary.AppendUvarint(dst, uint64(len(b.Commands)))
		for _, c := range b.Commands {
			dst = binary.AppendUvarint(dst, uint64(len(c)))
			dst = append(dst, c...)
		}
	}
	return dst
}

// DecodeEntry decodes data. The commands alias data.
func DecodeEntry(data []byte) (Entry, error) {
	var e Entry
	if len(data) < 9 {
		return e, fmt.Errorf("%w: %d bytes", ErrMalformedEntry, len(data))
	}
	if data[0] > EntryVersion {
		return e, fmt.Errorf("%w: format %d, this binary reads up to %d", ErrEntryTooNew, data[0], EntryVersion)
	}
	e.Stamp = int64(binary.BigEndian.Uint64(data[1:9]))
	r := reader{data[9:], nil}
	// Every batch takes at least 18 bytes and every command one, so a count larger than what is left is a lie.
	nb := r.count(18)
	e.Batches = make([]Batch, 0, nb)
	for range nb {
		var b Batch
		copy(b.Session[:], r.take(len(b.Session)))
		b.Seq = r.uvarint()
		nc := r.count(1)
		b.Commands = make([][]byte, 0, nc)
		for range nc {
			b.Commands = append(b.Commands, r.take(r.count(1)))
		}
		e.Batches = append(e.Batches, b)
	}
	if r.err == nil && len(r.data) != 0 {
		r.err = fmt.Errorf("%d bytes after the last batch", len(r.data))
	}
	if r.err != nil {
		return Entry{}, fmt.Errorf("%w: %w", ErrMalformedEntry, r.err)
	}
	return e, nil
}

// reader consumes data; after the first error every call returns zero values.
type reader struct {
	data []byte
	err  error
}

func (r *reader) uvarint() uint64 {
	if r.err != nil {
		return 0
	}
	v, n := binary.Uvarint(r.data)
	if n <= 0 {
		r.err = errors.New("bad varint")
		return 0
	}
	r.data = r.data[n:]
	return v
}

// count reads a number of things that take at least size bytes each.
func (r *reader) count(size int) int {
	v := r.uvarint()
	if v > uint64(len(r.data)/size) {
		if r.err == nil {
			r.err = fmt.Errorf("count %d exceeds the %d bytes left", v, len(r.data))
		}
		return 0
	}
	return int(v)
}

func (r *reader) take(n int) []byte {
	if r.err == nil && n > len(r.data) {
		r.err = fmt.Errorf("%d bytes wanted, %d left", n, len(r.data))
	}
	if r.err != nil {
		return nil
	}
	b := r.data[:n:n]
	r.data = r.data[n:]
	return b
}
