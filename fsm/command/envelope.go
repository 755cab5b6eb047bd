package command

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"
)

// Version is the newest envelope version this binary applies and the one it writes. A command that an older binary would
// apply differently or not know needs a new version, and the cluster's version gate before it may be proposed.
const Version = 1

// ErrUnknownCommand is returned for a command this binary does not know: the node must stop applying, never skip.
var ErrUnknownCommand = errors.New("unknown command")

// MaxBytes is the size above which a command is refused before it is proposed. Larger things are split by their proposer.
const MaxBytes = 1 << 20

// ErrTooLarge is returned by Encode for a command beyond MaxBytes.
var ErrTooLarge = errors.New("command is too large")

// Encode returns the bytes of a command, with the version filled in.
func Encode(e *Envelope) ([]byte, error) {
	e.Version = Version
	data, err := proto.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode command: %w", err)
	}
	if len(data) > MaxBytes {
		return nil, fmt.Errorf("%w: %d bytes exceed the limit of %d", ErrTooLarge, len(data), MaxBytes)
	}
	return data, nil
}

// Decode returns the command in data. ErrUnknownCommand when it comes from a newer binary.
func Decode(data []byte) (*Envelope, error) {
	e := new(Envelope)
	if err := proto.Unmarshal(data, e); err != nil {
		return nil, fmt.Errorf("decode command: %w", err)
	}
	if e.Version > Version {
		return nil, fmt.Errorf("%w: version %d, this binary applies up to %d", ErrUnknownCommand, e.Version, Version)
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
