package command

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"
)

// ErrUnknownCommand is returned for a command this binary does not know: the node must stop applying, never skip.
var ErrUnknownCommand = errors.New("unknown command")

// MaxBytes is the size above which a command is refused before it is proposed. Larger things are split by their proposer.
const MaxBytes = 1 << 20

// ErrTooLarge is returned by Encode for a command beyond MaxBytes.
var ErrTooLarge = errors.New("command is too large")

// Encode returns the bytes of a command, with the cluster version that it needs filled in.
func Encode(e *Envelope) ([]byte, error) {
	e.Version = uint32(Requires(e))
	data, err := proto.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode command: %w", err)
	}
	if len(data) > MaxBytes {
		return nil, fmt.Errorf("%w: %d bytes exceed the limit of %d", ErrTooLarge, len(data), MaxBytes)
	}
	return data, nil
}

// Decode returns the command in data for a node that supports the versions. ErrUnknownCommand when it comes from a newer binary,
// ErrMalformedEntry when it is no command at all.
func Decode(data []byte, supported Versions) (*Envelope, error) {
	e := new(Envelope)
	if err := proto.Unmarshal(data, e); err != nil {
		return nil, fmt.Errorf("%w: decode command: %w", ErrMalformedEntry, err)
	}
	if uint64(e.Version) > supported.Max {
		return nil, fmt.Errorf("%w: it needs cluster version %d, this binary supports %s", ErrUnknownCommand, e.Version, supported)
	}
	if e.Command == nil {
		return nil, fmt.Errorf("%w: no known command in it", ErrUnknownCommand)
	}
	return e, nil
}

// DecodeResult returns the result in data.
func DecodeResult(data []byte) (*Result, error) {
	r := new(Result)
	if err := proto.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("decode result: %w", err)
	}
	return r, nil
}
