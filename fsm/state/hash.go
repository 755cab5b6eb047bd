package state

import (
	"encoding/binary"
	"encoding/hex"

	"github.com/cespare/xxhash/v2"
)

// Hash identifies the content of all rows, whatever order they were written in: the sum, lane by lane, of a hash of each
// (key, value). Equal states have equal hashes; replicas are compared at equal index.
type Hash [4]uint64

func (h Hash) String() string { return hex.EncodeToString(h.encode()) }

func (h *Hash) add(key, value []byte) {
	lanes := mix(key, value)
	for i := range h {
		h[i] += lanes[i]
	}
}

func (h *Hash) remove(key, value []byte) {
	lanes := mix(key, value)
	for i := range h {
		h[i] -= lanes[i]
	}
}

func (h Hash) encode() []byte {
	out := make([]byte, 0, 32)
	for _, lane := range h {
		out = binary.BigEndian.AppendUint64(out, lane)
	}
	return out
}

func decodeHash(b []byte) (h Hash) {
	for i := range h {
		h[i] = binary.BigEndian.Uint64(b[i*8:])
	}
	return h
}

func mix(key, value []byte) (lanes [4]uint64) {
	k, v := xxhash.Sum64(key), xxhash.Sum64(value)
	// Key and value stay apart, and each lane mixes them its own way, so that swapping values between keys shows.
	x := k*0x9E3779B97F4A7C15 ^ v
	for i := range lanes {
		x += 0x9E3779B97F4A7C15 + k
		z := x
		z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
		z = (z ^ (z >> 27)) * 0x94D049BB133111EB
		lanes[i] = z ^ (z >> 31)
	}
	return lanes
}
