package link

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"
)

// Handler answers a request of the node with the given id. ctx ends when the caller has gone or its time is over.
type Handler func(ctx context.Context, from string, body []byte) ([]byte, error)

// maxRequests bounds what one connection may have in progress; long polls of agents are most of it.
const maxRequests = 16 << 10

// Server answers the requests of a port.
type Server struct {
	handlers map[string]Handler
	errors   Errors
	log      *slog.Logger
}

// NewServer makes a server. The handlers do not change any more.
func NewServer(handlers map[string]Handler, known Errors, log *slog.Logger) *Server {
	return &Server{handlers: handlers, errors: known, log: log}
}

// serve answers one connection until it ends, and returns when its handlers have.
func (s *Server) serve(conn net.Conn, peer Identity) {
	f := newFramer(conn)
	life, end := context.WithCancel(context.Background())
	var work sync.WaitGroup
	defer func() {
		end()
		_ = conn.Close()
		work.Wait()
	}()
	var mu sync.Mutex // guards running
	running := map[uint64]context.CancelFunc{}
	for {
		_ = conn.SetReadDeadline(time.Now().Add(readTimeout))
		t, id, payload, err := f.read()
		if err != nil {
			return
		}
		switch t {
		case framePing:
			if f.write(framePong, id) != nil {
				return
			}
		case frameCancel:
			mu.Lock()
			cancel := running[id]
			mu.Unlock()
			if cancel != nil {
				cancel()
			}
		case frameRequest:
			limit, method, body, err := parseRequest(payload)
			if err != nil {
				s.log.Warn("internal connection closed: unreadable request", "node", peer.NodeID, "error", err)
				return
			}
			mu.Lock()
			busy := len(running) >= maxRequests
			ctx, cancel := life, context.CancelFunc(func() {})
			if !busy {
				if limit > 0 {
					ctx, cancel = context.WithTimeout(life, limit)
				} else {
					ctx, cancel = context.WithCancel(life)
				}
				running[id] = cancel
			}
			mu.Unlock()
			if busy {
				if f.write(frameFailure, id, s.errors.encode(fmt.Errorf("%w: %d requests of one node are in progress", ErrBusy, maxRequests))) != nil {
					return
				}
				continue
			}
			work.Go(func() {
				answer, err := s.handle(ctx, peer.NodeID, method, body)
				cancel()
				mu.Lock()
				delete(running, id)
				mu.Unlock()
				if err == nil && len(answer) > MaxBody {
					err = fmt.Errorf("the answer to %s is too large: %w", method, errTooLarge)
				}
				if err != nil {
					err = f.write(frameFailure, id, s.errors.encode(err))
				} else {
					err = f.write(frameAnswer, id, answer)
				}
				if err != nil {
					_ = conn.Close() // the reader ends
				}
			})
		}
	}
}

func (s *Server) handle(ctx context.Context, from, method string, body []byte) ([]byte, error) {
	h := s.handlers[method]
	if h == nil {
		return nil, fmt.Errorf("%w: %q; the asking node may be newer", ErrUnknownMethod, method)
	}
	return h(ctx, from, body)
}

func appendRequest(limit time.Duration, method string) []byte {
	head := binary.AppendUvarint(nil, uint64((limit+time.Millisecond-1)/time.Millisecond))
	head = binary.AppendUvarint(head, uint64(len(method)))
	return append(head, method...)
}

func parseRequest(payload []byte) (limit time.Duration, method string, body []byte, err error) {
	ms, n := binary.Uvarint(payload)
	if n <= 0 || ms > uint64(24*time.Hour/time.Millisecond) {
		return 0, "", nil, fmt.Errorf("bad time limit")
	}
	payload = payload[n:]
	size, n := binary.Uvarint(payload)
	if n <= 0 || size > uint64(len(payload)-n) {
		return 0, "", nil, fmt.Errorf("bad method")
	}
	payload = payload[n:]
	return time.Duration(ms) * time.Millisecond, string(payload[:size]), payload[size:], nil
}
