package state

import (
	"encoding/binary"

	"github.com/sluice-dev/sluice/api"
)

// Layout of a key: namespace, kind, number of the table or index, then the parts. See DESIGN.md.
const (
	// namespaceDefault is the only namespace there is; other values are reserved. 0x00 belongs to fsm/snapshot.
	namespaceDefault = 0x01

	kindRow     = 't'
	kindIndex   = 'x'
	kindCounter = 'c'
	kindSystem  = 's'
	kindBucket  = 'b'
	kindSession = 'd'
	// kindSessionTime holds when each session was last heard of.
	kindSessionTime = 'u'
)

func prefix(kind, number byte) []byte {
	return append(make([]byte, 0, 64), namespaceDefault, kind, number)
}

// appendText appends s such that order is kept and no encoded text is a prefix of another.
func appendText(dst []byte, s string) []byte {
	for i := range len(s) {
		dst = append(dst, s[i])
		if s[i] == 0 {
			dst = append(dst, 0xFF)
		}
	}
	return append(dst, 0, 1)
}

// appendTime appends t (µs, may be negative) in order-keeping form.
func appendTime(dst []byte, t int64) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(t)^(1<<63))
}

func appendUint64(dst []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(dst, v) }

// appendID appends a 16-byte id; an empty one counts as all zero, so that keys keep their width.
func appendID(dst, id []byte) []byte {
	if len(id) == 16 {
		return append(dst, id...)
	}
	var padded [16]byte
	copy(padded[:], id)
	return append(dst, padded[:]...)
}

// after returns the first key that is greater than every key with the given prefix; nil when there is none.
func after(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] != 0xFF {
			end[i]++
			return end[:i+1]
		}
	}
	return nil
}

// id16 reads an id from a row; one of the wrong length is padded, as in keys.
func id16(b []byte) (id api.ID) {
	copy(id[:], b)
	return id
}
