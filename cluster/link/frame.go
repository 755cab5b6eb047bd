package link

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// A frame is its length (4 bytes, of what follows), a type, the request's number (8 bytes) and a payload.
type frameType byte

const (
	frameRequest frameType = iota + 1 // milliseconds (uvarint, 0 is no limit), length of the method (uvarint), method, body
	frameAnswer                       // body
	frameFailure                      // known errors (uvarint bits), message
	frameCancel
	framePing
	framePong
)

const (
	frameHead = 4 + 1 + 8
	// MaxBody bounds requests and answers: the largest batch of commands, and room.
	MaxBody = 8 << 20
	// writeTimeout is how long a peer may take nothing before its connection is given up.
	writeTimeout = 5 * time.Second
	// readTimeout is how long a client may be silent: it pings several times within.
	readTimeout = 30 * time.Second
)

// errTooLarge says that a request or answer exceeds MaxBody.
var errTooLarge = fmt.Errorf("more than %d bytes", MaxBody)

// framer writes frames from many goroutines and reads them in one.
type framer struct {
	conn net.Conn
	r    *bufio.Reader
	mu   sync.Mutex // held while writing
}

func newFramer(conn net.Conn) *framer {
	return &framer{conn: conn, r: bufio.NewReaderSize(conn, 64<<10)}
}

func (f *framer) write(t frameType, id uint64, payload ...[]byte) error {
	size := frameHead - 4
	for _, p := range payload {
		size += len(p)
	}
	if size > MaxBody+1024 {
		return errTooLarge
	}
	frame := make([]byte, 0, size+4)
	frame = binary.BigEndian.AppendUint32(frame, uint32(size))
	frame = append(frame, byte(t))
	frame = binary.BigEndian.AppendUint64(frame, id)
	for _, p := range payload {
		frame = append(frame, p...)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = f.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, err := f.conn.Write(frame)
	return err
}

func (f *framer) read() (t frameType, id uint64, payload []byte, err error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(f.r, head[:]); err != nil {
		return 0, 0, nil, err
	}
	size := binary.BigEndian.Uint32(head[:4])
	if size < frameHead-4 || size > MaxBody+1024 {
		return 0, 0, nil, fmt.Errorf("frame of %d bytes: %w", size, errTooLarge)
	}
	payload = make([]byte, size-(frameHead-4))
	if _, err := io.ReadFull(f.r, payload); err != nil {
		return 0, 0, nil, err
	}
	return frameType(head[4]), binary.BigEndian.Uint64(head[5:]), payload, nil
}

// Errors are the errors that keep their identity (errors.Is) across the wire. Both sides list the same, in the same order, at most
// 60; new ones go to the end.
type Errors []error

func (known Errors) encode(err error) []byte {
	bits := uint64(0)
	for i, k := range append(known[:len(known):len(known)], context.Canceled, context.DeadlineExceeded) {
		if errors.Is(err, k) {
			bits |= 1 << i
		}
	}
	return append(binary.AppendUvarint(nil, bits), err.Error()...)
}

func (known Errors) decode(from string, payload []byte) error {
	bits, n := binary.Uvarint(payload)
	if n <= 0 {
		return fmt.Errorf("node %s answers an unreadable error", from)
	}
	e := &remoteError{text: string(payload[n:])}
	for i, k := range known {
		if bits&(1<<i) != 0 {
			e.is = append(e.is, k)
		}
	}
	return e
}

// remoteError is what a handler answered. The caller's own context decides about its end, so context errors of the other side are
// not passed on as such.
type remoteError struct {
	text string
	is   []error
}

func (e *remoteError) Error() string   { return e.text }
func (e *remoteError) Unwrap() []error { return e.is }
