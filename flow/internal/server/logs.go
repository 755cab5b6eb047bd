package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/sluice-dev/sluice/agent/spool"
	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

// Spool says where log lines wait on disk for their delivery, so that those of a process that is killed, or calls os.Exit, are delivered
// by another: by the agent that started it, or by the next program of this user.
type Spool struct {
	Folder string // "" keeps none
	// Of is the flow run this process was started for, or "script".
	Of string
	// Addresses are those of the server the lines are for, as the Python SDK writes them; "" for the server that comes and goes.
	Addresses string
	// Orphans: lines that other processes have left in the folder are delivered as well. Under an agent that is the agent's task.
	Orphans bool
}

// shipper sends log lines in their order, each once, and never makes their writer wait for the network. A batch is tried until it is
// stored, through outages of any length; what is kept meanwhile is bounded by dropping new lines, with one line that says how many.
type shipper struct {
	client   *client.Client
	producer api.ID
	place    Spool

	mu      sync.Mutex
	disk    *spool.SDKWriter // nil before the first line, and where none can be made: then the lines are in memory only
	lines   []pending
	bytes   int
	dropped int
	idle    *sync.Cond // all lines were sent, or given up

	wake chan struct{} // capacity 1
	hush context.CancelFunc
	done chan struct{} // nil until the first line
}

// pending is a line that was not delivered yet.
type pending struct {
	line api.LogCreate
	disk int64 // how many bytes it takes of the file; 0 for a line that is in memory only
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

func newShipper(c *client.Client, place Spool) *shipper {
	s := &shipper{client: c, producer: api.NewID(), place: place, wake: make(chan struct{}, 1)}
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
		s.dropped = 0
		s.keep(mark)
	}
	s.keep(line)
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

// keep queues a line, on disk too unless one before it is in memory only: those of a file are the oldest.
func (s *shipper) keep(line api.LogCreate) {
	if s.done == nil && s.place.Folder != "" {
		s.disk, _ = spool.CreateSDK(s.place.Folder, s.place.Of, s.place.Addresses, s.producer) // memory serves as well
	}
	p := pending{line: line}
	if s.disk != nil && (len(s.lines) == 0 || s.lines[len(s.lines)-1].disk > 0) {
		if text, err := json.Marshal(line); err == nil {
			p.disk, _ = s.disk.Append(text) // on a full disk
		}
	}
	s.lines, s.bytes = append(s.lines, p), s.bytes+len(line.Message)+lineBytes
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
			batch := s.batch()
			if len(batch) == 0 {
				break
			}
			if sequence = s.send(ctx, sequence, batch); ctx.Err() != nil {
				return
			}
		}
	}
}

func (s *shipper) batch() []pending {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, bytes := 0, 0
	for n < min(len(s.lines), batchLines) && (n == 0 || bytes < batchBytes) {
		bytes += len(s.lines[n].line.Message) + lineBytes
		n++
	}
	return s.lines[:n:n]
}

// announce notes on disk which lines are about to be sent under a number: who takes over repeats exactly these.
func (s *shipper) announce(sequence uint64, batch []pending) []api.LogCreate {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines, disk := make([]api.LogCreate, len(batch)), int64(0)
	for i, p := range batch {
		lines[i] = p.line
		disk += p.disk
	}
	if s.disk != nil && disk > 0 {
		_ = s.disk.Announce(sequence, disk) // where it fails, a batch may come twice after a crash
	}
	return lines
}

// sent forgets the oldest lines.
func (s *shipper) sent(batch []pending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	disk := int64(0)
	for _, p := range batch {
		s.bytes -= len(p.line.Message) + lineBytes
		disk += p.disk
	}
	if s.disk != nil && disk > 0 {
		_ = s.disk.Done(disk) // a file that could not be cut goes on to grow
	}
	s.lines = s.lines[len(batch):]
	if len(s.lines) == 0 {
		s.lines = nil
		s.idle.Broadcast()
	}
}

// send returns the next number. A batch that is too large for the server, or something in front of it, is sent in halves; another that
// is refused is given up.
func (s *shipper) send(ctx context.Context, sequence uint64, batch []pending) uint64 {
	err := s.client.CreateLogs(ctx, s.producer, sequence, s.announce(sequence, batch))
	if ctx.Err() != nil {
		return sequence
	}
	if api.KindOf(err) == api.KindTooLarge && len(batch) > 1 {
		half := len(batch) / 2
		return s.send(ctx, s.send(ctx, sequence+1, batch[:half]), batch[half:])
	}
	s.sent(batch)
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

// stop sends what is left, until ctx ends. What is not delivered then stays on disk.
func (s *shipper) stop(ctx context.Context) error {
	s.flush(ctx)
	s.mu.Lock()
	done := s.done
	s.mu.Unlock()
	if done != nil {
		s.hush()
		<-done
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	left := len(s.lines)
	if s.disk != nil {
		kept := left > 0 && s.lines[left-1].disk > 0
		if err := s.disk.Close(); err == nil && kept {
			return fmt.Errorf("%d log lines could not be delivered now; they are kept, and delivered when a flow runs here again", left)
		}
		s.disk = nil
	}
	if left > 0 {
		return fmt.Errorf("%d log lines were not delivered", left)
	}
	return nil
}

// adopt delivers the lines that processes have left which are no more.
func (s *shipper) adopt(ctx context.Context) {
	files, _ := spool.AdoptScripts(s.place.Folder, s.place.Addresses) // what cannot be read is left as it is
	for _, file := range files {
		for {
			batch, err := file.Next()
			if errors.Is(err, io.EOF) {
				_ = file.Remove() // else its last batch is sent again, which the server recognizes
			}
			if err != nil {
				break
			}
			_ = s.client.CreateLogs(ctx, batch.Producer, batch.Sequence, batch.Logs) // repeated until ctx ends; what is refused is refused for good
			if ctx.Err() != nil {
				break
			}
		}
		_ = file.Close()
	}
}
