package server

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

// shipper sends log lines in their order, each once, and never makes their writer wait. A batch is tried until it is stored, through
// outages of any length; what is kept meanwhile is bounded by dropping new lines, with one line that says how many.
type shipper struct {
	client   *client.Client
	producer api.ID

	mu      sync.Mutex
	lines   []api.LogCreate
	bytes   int
	dropped int
	idle    *sync.Cond // all lines were sent, or given up

	wake chan struct{} // capacity 1
	hush context.CancelFunc
	done chan struct{} // nil until the first line
}

// Bytes are estimates of the JSON that is sent; the server takes 8 MiB at once.
const (
	batchLines  = 1000
	batchBytes  = 1_000_000
	messageMax  = 1_000_000
	bufferBytes = 64_000_000
	batchDelay  = 250 * time.Millisecond // a line is on its way after at most this
	lineBytes   = 200                    // of a line beside its message
)

func newShipper(c *client.Client) *shipper {
	s := &shipper{client: c, producer: api.NewID(), wake: make(chan struct{}, 1)}
	s.idle = sync.NewCond(&s.mu)
	return s
}

func (s *shipper) add(line api.LogCreate) {
	if len(line.Message) > messageMax {
		line.Message = fmt.Sprintf("%s... (%d bytes more)", line.Message[:messageMax], len(line.Message)-messageMax)
	}
	size := len(line.Message) + lineBytes
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bytes+size > bufferBytes {
		s.dropped++
		return
	}
	if s.dropped > 0 {
		mark := line
		mark.Level, mark.Message = 30, fmt.Sprintf("%d log lines were dropped: the server could not be reached.", s.dropped)
		s.lines, s.dropped, s.bytes = append(s.lines, mark), 0, s.bytes+len(mark.Message)+lineBytes
	}
	s.lines, s.bytes = append(s.lines, line), s.bytes+size
	if s.done == nil {
		var ctx context.Context
		ctx, s.hush = context.WithCancel(context.Background())
		s.done = make(chan struct{})
		go s.run(ctx)
	}
	if len(s.lines) >= batchLines || s.bytes >= batchBytes {
		s.hurry()
	}
}

// hurry has the next batch sent at once.
func (s *shipper) hurry() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *shipper) run(ctx context.Context) {
	defer close(s.done)
	for sequence := uint64(1); ; {
		select {
		case <-s.wake:
		case <-time.After(batchDelay):
		case <-ctx.Done():
			return
		}
		for {
			batch, bytes := s.batch()
			if len(batch) == 0 {
				break
			}
			sequence = s.send(ctx, sequence, batch)
			if ctx.Err() != nil {
				return
			}
			s.sent(len(batch), bytes)
		}
	}
}

func (s *shipper) batch() ([]api.LogCreate, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, bytes := 0, 0
	for n < min(len(s.lines), batchLines) && (n == 0 || bytes < batchBytes) {
		bytes += len(s.lines[n].Message) + lineBytes
		n++
	}
	return s.lines[:n:n], bytes
}

func (s *shipper) sent(n, bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines, s.bytes = s.lines[n:], s.bytes-bytes
	if len(s.lines) == 0 {
		s.lines = nil
		s.idle.Broadcast()
	}
}

// send returns the next number. A batch that is too large for the server, or something in front of it, is sent in halves; another that
// is refused is given up.
func (s *shipper) send(ctx context.Context, sequence uint64, batch []api.LogCreate) uint64 {
	err := s.client.CreateLogs(ctx, s.producer, sequence, batch)
	if api.KindOf(err) == api.KindTooLarge && len(batch) > 1 {
		half := len(batch) / 2
		return s.send(ctx, s.send(ctx, sequence+1, batch[:half]), batch[half:])
	}
	return sequence + 1
}

func (s *shipper) flush(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.idle.Broadcast()
	})
	defer stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.lines) > 0 && ctx.Err() == nil {
		s.hurry()
		s.idle.Wait()
	}
}

// stop sends what is left, until ctx ends.
func (s *shipper) stop(ctx context.Context) error {
	s.flush(ctx)
	s.mu.Lock()
	left, done := len(s.lines), s.done
	s.mu.Unlock()
	if done != nil {
		s.hush()
		<-done
	}
	if left > 0 {
		return fmt.Errorf("%d log lines were not delivered", left)
	}
	return nil
}
