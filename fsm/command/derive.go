package command

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

// DeriveID returns the ordinal-th further id of a command with that seed: the seed's time, other random bits. Every
// replica derives the same.
func DeriveID(seed []byte, ordinal uint32) []byte {
	id := make([]byte, 16)
	copy(id, seed)
	var buf [20]byte
	copy(buf[:16], seed)
	binary.BigEndian.PutUint32(buf[16:], ordinal)
	h := xxhash.Sum64(buf[:])
	binary.BigEndian.PutUint64(id[8:], h&0x3fffffffffffffff|0x8000000000000000)
	return id
}
