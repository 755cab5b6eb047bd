package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/sluice-dev/sluice/cluster/link"
	"github.com/sluice-dev/sluice/fsm/command"
)

// Peer names another node.
type Peer struct {
	ID   string `json:"id"`
	Addr string `json:"addr"` // Raft address
}

// Forwarder carries requests to the leader in one hop. An error that is neither ErrNotDone nor ErrUnknownOutcome counts
// as unknown.
type Forwarder interface {
	// ForwardBatch calls AcceptBatch on the leader.
	ForwardBatch(ctx context.Context, leader Peer, b command.Batch, bulk bool) (command.BatchResult, uint64, error)
	// ForwardReadIndex calls LeaderReadIndex on the leader.
	ForwardReadIndex(ctx context.Context, leader Peer) (uint64, error)
}

// AcceptBatch appends a batch that another node formed. It never forwards: at a node that does not lead it fails with
// ErrNotDone wrapping ErrNotLeader.
func (n *Node) AcceptBatch(ctx context.Context, b command.Batch, bulk bool) (command.BatchResult, uint64, error) {
	return n.proposer.accept(ctx, b, bulk)
}

// LeaderReadIndex answers ReadIndex for another node. It never forwards.
func (n *Node) LeaderReadIndex(ctx context.Context) (uint64, error) {
	return n.reader.confirm(ctx)
}

// What a node asks another over the internal port.
const (
	methodBatch     = "batch"
	methodReadIndex = "read-index"
	methodHello     = "hello"
	methodPledge    = "pledge"
	methodRelease   = "release"
	methodJoin      = "join"
	methodRemove    = "remove"
	methodTransfer  = "transfer"
	// applicationPrefix stands before the methods of Config.Serve.
	applicationPrefix = "app/"
)

// wireErrors keep their identity between nodes. Append only.
var wireErrors = link.Errors{ErrNotDone, ErrUnknownOutcome, ErrNoLeader, ErrNotLeader, ErrStopped, ErrHalted, ErrOverloaded, ErrTooLarge,
	link.ErrBusy, link.ErrUnknownMethod, ErrRefused}

// overPort is the Forwarder over the internal port.
type overPort struct{ n *Node }

// ForwardBatch implements Forwarder.
func (f overPort) ForwardBatch(ctx context.Context, leader Peer, b command.Batch, bulk bool) (command.BatchResult, uint64, error) {
	ctx, done := f.n.whileLeads(ctx, leader.ID)
	defer done()
	body := command.AppendEntry([]byte{byte(laneNumber(bulk))}, command.Entry{Batches: []command.Batch{b}})
	answer, err := f.n.client.Call(ctx, leader.target(), methodBatch, body)
	if err != nil {
		return command.BatchResult{}, 0, forwardError(err)
	}
	result, index, err := decodeBatchResult(answer)
	if err != nil {
		return command.BatchResult{}, 0, unknown(err)
	}
	return result, index, nil
}

// ForwardReadIndex implements Forwarder.
func (f overPort) ForwardReadIndex(ctx context.Context, leader Peer) (uint64, error) {
	ctx, done := f.n.whileLeads(ctx, leader.ID)
	defer done()
	answer, err := f.n.client.Call(ctx, leader.target(), methodReadIndex, nil)
	if err != nil {
		return 0, err
	}
	index, n := binary.Uvarint(answer)
	if n <= 0 {
		return 0, errBadAnswer
	}
	return index, nil
}

var errBadAnswer = errors.New("the other node's answer cannot be read; do the nodes run versions that belong together?")

// forwardError says in this package's words what is known about a batch that was sent to the leader.
func forwardError(err error) error {
	switch {
	case errors.Is(err, ErrNotDone), errors.Is(err, ErrUnknownOutcome):
		return err
	case errors.Is(err, link.ErrNotSent):
		return notDone(fmt.Errorf("%w: %w", ErrNoLeader, err))
	case errors.Is(err, link.ErrBusy):
		return notDone(fmt.Errorf("%w: %w", ErrOverloaded, err))
	case errors.Is(err, link.ErrUnknownMethod):
		return notDone(err)
	}
	return unknown(err)
}

func (p Peer) target() link.Target {
	_, addr := link.SplitAddress(p.Addr)
	return link.Target{ID: p.ID, Addr: addr}
}

// whileLeads returns a context that ends with ctx and when a node other than id is known to lead: a request to a leader that
// hangs must not wait for its timeout when there is a new one. done must be called.
func (n *Node) whileLeads(ctx context.Context, id string) (_ context.Context, done func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			changed := n.changed.wait()
			if leader, _, known := n.leader(); known && leader.ID != id || n.stopped.Load() {
				cancel(fmt.Errorf("%w: node %s leads now", ErrNotLeader, leader.ID))
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	return ctx, func() { cancel(nil); <-ended }
}

// serveBatch answers ForwardBatch.
func (n *Node) serveBatch(ctx context.Context, _ string, body []byte) ([]byte, error) {
	if len(body) == 0 {
		return nil, notDone(errBadAnswer)
	}
	e, err := command.DecodeEntry(body[1:])
	if err == nil && len(e.Batches) != 1 {
		err = fmt.Errorf("%d batches", len(e.Batches))
	}
	if err != nil {
		return nil, notDone(fmt.Errorf("forwarded batch: %w", err))
	}
	r, index, err := n.AcceptBatch(ctx, e.Batches[0], body[0] == 1)
	if err != nil {
		return nil, err
	}
	return encodeBatchResult(r, index), nil
}

// serveReadIndex answers ForwardReadIndex.
func (n *Node) serveReadIndex(ctx context.Context, _ string, _ []byte) ([]byte, error) {
	index, err := n.LeaderReadIndex(ctx)
	if err != nil {
		return nil, err
	}
	return binary.AppendUvarint(nil, index), nil
}

func encodeBatchResult(r command.BatchResult, index uint64) []byte {
	size := 24
	for _, b := range r.Results {
		size += len(b) + 4
	}
	out := binary.AppendUvarint(make([]byte, 0, size), index)
	replayed := byte(0)
	if r.Replayed {
		replayed = 1
	}
	out = append(out, replayed)
	for _, b := range r.Results {
		out = binary.AppendUvarint(out, uint64(len(b)))
		out = append(out, b...)
	}
	return out
}

func decodeBatchResult(data []byte) (r command.BatchResult, index uint64, err error) {
	index, n := binary.Uvarint(data)
	if n <= 0 || len(data) == n {
		return r, 0, errBadAnswer
	}
	r.Replayed, data = data[n] == 1, data[n+1:]
	for len(data) > 0 {
		size, n := binary.Uvarint(data)
		if n <= 0 || size > uint64(len(data)-n) {
			return r, 0, errBadAnswer
		}
		end := n + int(size)
		r.Results = append(r.Results, data[n:end:end])
		data = data[end:]
	}
	return r, index, nil
}

// Serve answers a request that another node sent with AskLeader. At a node that does not lead it fails with ErrNotLeader.
type Serve func(ctx context.Context, body []byte) ([]byte, error)

// AskLeader sends a request to whichever node leads, which may be this one, where Config.Serve answers it. It is asked again,
// with a new body, when the leader changes or cannot be reached, until there was none for LeaderHold. So requests must be
// harmless to repeat. An error of the handler other than ErrNotLeader ends it.
func (n *Node) AskLeader(ctx context.Context, method string, body func() ([]byte, error)) ([]byte, error) {
	serve := n.cfg.Serve[method]
	if serve == nil {
		return nil, fmt.Errorf("%w: %q", link.ErrUnknownMethod, method)
	}
	return n.askLeader(ctx, applicationPrefix+method, body, serve)
}

func (n *Node) askLeader(ctx context.Context, method string, body func() ([]byte, error), serve Serve) ([]byte, error) {
	var failing time.Time // since when nothing but failures
	for {
		changed := n.changed.wait()
		leader, self, known := n.leader()
		start := time.Now()
		err := error(ErrNoLeader)
		switch {
		case n.stopped.Load():
			return nil, ErrStopped
		case n.halted() != nil:
			return nil, n.halted()
		case self || known && n.client != nil:
			request, berr := body()
			if berr != nil {
				return nil, berr
			}
			asking, done := n.whileLeads(ctx, leader.ID)
			var answer []byte
			if self {
				answer, err = serve(asking, request)
			} else {
				answer, err = n.client.Call(asking, leader.target(), method, request)
			}
			moved := asking.Err() != nil && ctx.Err() == nil
			done()
			if err == nil {
				return answer, nil
			}
			if !moved && !errors.Is(err, ErrNotLeader) && !errors.Is(err, ErrStopped) && !errors.Is(err, link.ErrNotSent) && !errors.Is(err, link.ErrBroken) {
				return nil, err
			}
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if now := time.Now(); failing.IsZero() || now.Sub(start) > time.Second {
			failing = now
		} else if now.Sub(failing) >= n.cfg.LeaderHold {
			if errors.Is(err, ErrNoLeader) {
				return nil, fmt.Errorf("%w within %s", err, n.cfg.LeaderHold)
			}
			return nil, fmt.Errorf("%w within %s: %w", ErrNoLeader, n.cfg.LeaderHold, err)
		}
		pause := retryBackoff * 5
		if !known {
			pause = max(n.cfg.LeaderHold-time.Since(failing), retryBackoff) // until the leader changes
		}
		timer := time.NewTimer(pause)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}
