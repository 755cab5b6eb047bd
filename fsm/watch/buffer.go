// Package watch hands out what the state machine changed, in the order of the log, to whoever listens on this node: long
// polls, SSE streams, the scheduler. It keeps a bounded number of events; a listener that falls behind is told to read the
// state again instead of being fed a gap.
package watch

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/sluice-dev/sluice/fsm/row"
)

// Topic says what kind of object an event is about.
type Topic uint16

// Topics.
const (
	TopicFlowRun Topic = 1 << iota
	TopicTaskRun
	TopicDeployment
	TopicWorkQueue
	TopicAgent
	TopicLogs
	TopicJob
	// TopicWebhook is about webhooks and what is to be delivered to them.
	TopicWebhook
)

// Event is one change. Exactly one of the rows is set; it is shared by all listeners and must not be changed.
type Event struct {
	Cursor  Cursor
	Topic   Topic
	Deleted bool
	// Size is roughly what the event holds in memory, in bytes.
	Size int

	FlowRun    *row.FlowRun // as it is after the change; before it, when Deleted
	TaskRun    *row.TaskRun
	Deployment *row.Deployment
	WorkQueue  *row.WorkQueue
	Agent      *row.Agent
	Logs       *row.LogSegment
	Webhook    *row.Webhook // or Delivery, of TopicWebhook
	Delivery   *row.Delivery
	Job        *row.Job
}

// Cursor is the place of an event: the log index, the ordinal within the entry, and the incarnation of the state they
// belong to (it changes when an operator restores a snapshot). Opaque to clients.
type Cursor struct {
	Incarnation uint32
	Index       uint64
	Ordinal     uint32
}

func (c Cursor) String() string { return fmt.Sprintf("%d-%d-%d", c.Incarnation, c.Index, c.Ordinal) }

// ErrBadCursor is returned by ParseCursor.
var ErrBadCursor = errors.New("malformed cursor")

// ParseCursor reads what String wrote.
func ParseCursor(s string) (Cursor, error) {
	parts := strings.Split(s, "-")
	if len(parts) != 3 {
		return Cursor{}, ErrBadCursor
	}
	incarnation, err1 := strconv.ParseUint(parts[0], 10, 32)
	index, err2 := strconv.ParseUint(parts[1], 10, 64)
	ordinal, err3 := strconv.ParseUint(parts[2], 10, 32)
	if errors.Join(err1, err2, err3) != nil {
		return Cursor{}, ErrBadCursor
	}
	return Cursor{uint32(incarnation), index, uint32(ordinal)}, nil
}

// Before reports whether c comes before o in the log.
func (c Cursor) Before(o Cursor) bool {
	return c.Index < o.Index || c.Index == o.Index && c.Ordinal < o.Ordinal
}

// ErrReset is returned by Subscription.Next when events were lost to the listener: it fell behind the buffer, resumed at a
// cursor that is too old, or the state was replaced. It must subscribe again and read the state anew.
var ErrReset = errors.New("events were missed: read the state again")

// Buffer keeps the newest events in a linked list, so that a listener holds only its place.
type Buffer struct {
	mu          sync.Mutex // guards everything below
	incarnation uint32
	first, last *node // first is the oldest kept; last is an empty node that the next event fills
	size, limit int
	bytes       int // of the kept events, roughly
	maxBytes    int
	// floor is the cursor of the newest event that is no longer kept: resuming before it is impossible.
	floor Cursor
	// newest is the cursor of the newest event, or where the buffer began.
	newest Cursor
}

// node is one link: ready is closed when event and next are set, or when dropped is.
type node struct {
	ready   chan struct{}
	event   Event
	next    *node
	dropped bool // set before ready is closed: the buffer was reset
}

// NewBuffer returns a buffer that keeps at most limit events, and at most maxBytes of them, of a state of that incarnation. Events up to
// and including (start, all ordinals) count as missed.
func NewBuffer(limit, maxBytes int, incarnation uint32, start uint64) *Buffer {
	n := &node{ready: make(chan struct{})}
	began := Cursor{Incarnation: incarnation, Index: start, Ordinal: ^uint32(0)}
	return &Buffer{first: n, last: n, limit: limit, maxBytes: maxBytes, incarnation: incarnation, floor: began, newest: began}
}

// Publish appends events, which are in log order. Called by the state machine only, after the commit.
func (b *Buffer) Publish(events []Event) {
	if len(events) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range events {
		e.Cursor.Incarnation = b.incarnation
		next := &node{ready: make(chan struct{})}
		filled := b.last
		filled.event, filled.next = e, next
		b.last = next
		b.newest = e.Cursor
		close(filled.ready)
		b.size++
		b.bytes += e.Size
		for b.size > b.limit || b.bytes > b.maxBytes && b.size > 1 {
			b.floor = b.first.event.Cursor
			b.bytes -= b.first.event.Size
			b.first = b.first.next
			b.size--
		}
	}
}

// Reset forgets all events and makes every listener start over: the state was replaced as of index, by another node's or, in
// a new incarnation, by an operator's.
func (b *Buffer) Reset(incarnation uint32, index uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.incarnation = incarnation
	old := b.last
	n := &node{ready: make(chan struct{})}
	b.first, b.last, b.size, b.bytes = n, n, 0, 0
	b.floor = Cursor{Incarnation: b.incarnation, Index: index, Ordinal: ^uint32(0)}
	b.newest = b.floor
	old.dropped = true
	close(old.ready)
}

// Subscription is one listener's place. One goroutine uses it. It needs no closing.
type Subscription struct {
	at     *node
	topics Topic
	buffer *Buffer
	after  Cursor // events up to here are not for this listener
}

// After is where the subscription began: resuming after it, on any node, brings every event since then.
func (s *Subscription) After() Cursor { return s.after }

// Subscribe listens to events from now on.
func (b *Buffer) Subscribe(topics Topic) *Subscription {
	b.mu.Lock()
	defer b.mu.Unlock()
	return &Subscription{at: b.last, topics: topics, buffer: b, after: b.newest}
}

// SubscribeAfter listens to the events after the cursor, ErrReset if some of them are gone. The cursor may be ahead of this node.
func (b *Buffer) SubscribeAfter(topics Topic, c Cursor) (*Subscription, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.Incarnation != b.incarnation || c.Before(b.floor) {
		return nil, ErrReset
	}
	at := b.first
	for at != b.last && !c.Before(at.event.Cursor) {
		at = at.next
	}
	return &Subscription{at: at, topics: topics, buffer: b, after: c}, nil
}

// Next returns the next event of the subscribed topics, waiting for it. The error is ErrReset or the context's.
func (s *Subscription) Next(ctx context.Context) (Event, error) {
	for {
		select {
		case <-s.at.ready:
		default:
			select {
			case <-s.at.ready:
			case <-ctx.Done():
				return Event{}, ctx.Err()
			}
		}
		if s.at.dropped {
			return Event{}, ErrReset
		}
		e := s.at.event
		s.at = s.at.next
		if !s.buffer.kept(e.Cursor) {
			return Event{}, ErrReset
		}
		if e.Topic&s.topics != 0 && s.after.Before(e.Cursor) {
			return e, nil
		}
	}
}

// kept bounds how far a listener may lie behind: without it a stuck one would keep every later event alive.
func (b *Buffer) kept(c Cursor) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return c.Incarnation == b.incarnation && b.floor.Before(c)
}
