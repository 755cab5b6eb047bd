package api

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
	"time"
)

// ID is the UUID of an object. The zero value is the nil id, which no object has; optional ids are *ID.
type ID [16]byte

var errNotUUID = errors.New("value is not a valid uuid")

// NewID returns a new time-ordered id (UUIDv7).
func NewID() ID {
	var random [8]byte
	_, _ = rand.Read(random[:]) // crypto/rand.Read never fails since Go 1.24
	return NewIDAt(time.Now(), binary.BigEndian.Uint64(random[:]))
}

// NewIDAt returns the UUIDv7 of a moment with the given 62 random bits. The 12 bits after the milliseconds hold the fraction
// of the millisecond, so that ids of one process sort by time to about a quarter of a microsecond.
func NewIDAt(t time.Time, random uint64) ID {
	nanos := t.UnixNano()
	millis := nanos / 1_000_000
	fraction := (nanos % 1_000_000) * 4096 / 1_000_000
	var id ID
	binary.BigEndian.PutUint64(id[0:8], uint64(millis)<<16|0x7000|uint64(fraction))
	binary.BigEndian.PutUint64(id[8:16], random&0x3fffffffffffffff|0x8000000000000000)
	return id
}

// ParseID reads an id in any usual form: with or without dashes, in upper or lower case, in braces or as urn:uuid:.
func ParseID(s string) (ID, error) {
	var id ID
	return id, id.UnmarshalText([]byte(s))
}

// IsNil reports whether id is the zero id.
func (id ID) IsNil() bool { return id == ID{} }

// Time returns the moment inside a UUIDv7, to the millisecond; for other ids the result means nothing.
func (id ID) Time() time.Time {
	return time.UnixMilli(int64(binary.BigEndian.Uint64(id[0:8]) >> 16)).UTC()
}

// Ptr returns a pointer to a copy of id, nil for the nil id.
func (id ID) Ptr() *ID {
	if id.IsNil() {
		return nil
	}
	return &id
}

// Compare orders ids by their bytes.
func (id ID) Compare(other ID) int { return strings.Compare(string(id[:]), string(other[:])) }

// String returns the lower-case form with dashes.
func (id ID) String() string { return string(id.appendText(make([]byte, 0, 36))) }

func (id ID) appendText(b []byte) []byte {
	n := len(b)
	b = append(b, "00000000-0000-0000-0000-000000000000"...)
	text := b[n:]
	hex.Encode(text[0:8], id[0:4])
	hex.Encode(text[9:13], id[4:6])
	hex.Encode(text[14:18], id[6:8])
	hex.Encode(text[19:23], id[8:10])
	hex.Encode(text[24:36], id[10:16])
	return b
}

// MarshalText returns the form of String.
func (id ID) MarshalText() ([]byte, error) { return id.appendText(make([]byte, 0, 36)), nil }

// UnmarshalText accepts what ParseID accepts.
func (id *ID) UnmarshalText(text []byte) error {
	var digits [32]byte
	n := 0
	s := string(text)
	s = strings.TrimPrefix(strings.ToLower(s), "urn:uuid:")
	if strings.HasPrefix(s, "{") && strings.HasSuffix(s, "}") {
		s = s[1 : len(s)-1]
	}
	for i := range len(s) {
		if s[i] == '-' {
			continue
		}
		if n == len(digits) {
			return errNotUUID
		}
		digits[n] = s[i]
		n++
	}
	if n != len(digits) {
		return errNotUUID
	}
	var parsed ID
	if _, err := hex.Decode(parsed[:], digits[:]); err != nil {
		return errNotUUID
	}
	*id = parsed
	return nil
}
