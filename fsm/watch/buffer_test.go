package watch

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/sluice-dev/sluice/fsm/row"
)

func event(index uint64, ordinal uint32, topic Topic) Event {
	return Event{Cursor: Cursor{Index: index, Ordinal: ordinal}, Topic: topic, FlowRun: &row.FlowRun{}}
}

func next(t *testing.T, s *Subscription) Event {
	t.Helper()
	e, err := s.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestListenersGetTheirTopicsInOrder(t *testing.T) {
	t.Parallel()
	b := NewBuffer(100, 1<<20, 0, 0)
	runs, all := b.Subscribe(TopicFlowRun), b.Subscribe(TopicFlowRun|TopicLogs)
	b.Publish([]Event{event(1, 1, TopicFlowRun), event(1, 2, TopicLogs), event(2, 1, TopicFlowRun)})
	if a, c := next(t, runs), next(t, runs); a.Cursor.Index != 1 || c.Cursor.Index != 2 {
		t.Fatalf("got %v, %v", a.Cursor, c.Cursor)
	}
	next(t, all)
	if e := next(t, all); e.Topic != TopicLogs {
		t.Fatalf("got %v", e)
	}
}

func TestAListenerWaitsForTheNextEvent(t *testing.T) {
	t.Parallel()
	b := NewBuffer(100, 1<<20, 0, 0)
	s := b.Subscribe(TopicFlowRun)
	got := make(chan Event)
	go func() {
		e, _ := s.Next(context.Background())
		got <- e
	}()
	b.Publish([]Event{event(7, 1, TopicFlowRun)})
	if e := <-got; e.Cursor.Index != 7 {
		t.Fatalf("got %v", e.Cursor)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
}

func TestAStreamResumesAfterItsCursor(t *testing.T) {
	t.Parallel()
	b := NewBuffer(100, 1<<20, 0, 5)
	b.Publish([]Event{event(6, 1, TopicFlowRun), event(6, 2, TopicFlowRun), event(8, 1, TopicFlowRun)})
	c, err := ParseCursor(Cursor{Index: 6, Ordinal: 1}.String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := b.SubscribeAfter(TopicFlowRun, c)
	if err != nil {
		t.Fatal(err)
	}
	if e := next(t, s); e.Cursor.Index != 6 || e.Cursor.Ordinal != 2 {
		t.Fatalf("got %v", e.Cursor)
	}
	// A cursor of a time without events of its own: everything after it.
	if s, err = b.SubscribeAfter(TopicFlowRun, Cursor{Index: 7}); err != nil {
		t.Fatal(err)
	}
	if e := next(t, s); e.Cursor.Index != 8 {
		t.Fatalf("got %v", e.Cursor)
	}
}

func TestAStreamThatGoesOnAtANodeThatIsBehindRepeatsNothing(t *testing.T) {
	t.Parallel()
	b := NewBuffer(100, 1<<20, 0, 5)
	b.Publish([]Event{event(6, 1, TopicFlowRun)})
	s, err := b.SubscribeAfter(TopicFlowRun, Cursor{Index: 8, Ordinal: 1})
	if err != nil {
		t.Fatal(err)
	}
	b.Publish([]Event{event(7, 1, TopicFlowRun), event(8, 1, TopicFlowRun), event(8, 2, TopicFlowRun)})
	if e := next(t, s); e.Cursor.Index != 8 || e.Cursor.Ordinal != 2 {
		t.Errorf("the first event after 8-1 is %v", e.Cursor)
	}
}

func TestAStreamThatSawNothingYetGoesOnAtAnotherNodeWhereItBegan(t *testing.T) {
	t.Parallel()
	here, there := NewBuffer(100, 1<<20, 0, 5), NewBuffer(100, 1<<20, 0, 3)
	for i := uint64(4); i < 8; i++ {
		if i > 5 {
			here.Publish([]Event{event(i, 1, TopicLogs)})
		}
		there.Publish([]Event{event(i, 1, TopicLogs)})
	}
	began := here.Subscribe(TopicFlowRun).After()
	there.Publish([]Event{event(8, 1, TopicFlowRun)})
	s, err := there.SubscribeAfter(TopicFlowRun, began)
	if err != nil {
		t.Fatal(err)
	}
	there.Publish([]Event{event(9, 1, TopicFlowRun)})
	if e := next(t, s); e.Cursor.Index != 8 {
		t.Errorf("the first event is %v", e.Cursor)
	}
	if _, err = NewBuffer(100, 1<<20, 0, 9).SubscribeAfter(TopicFlowRun, Cursor{Index: 9, Ordinal: ^uint32(0)}); err != nil {
		t.Errorf("where a buffer begins: %v", err)
	}
}

func TestWhoMissedEventsIsTold(t *testing.T) {
	t.Parallel()
	b := NewBuffer(3, 1<<20, 0, 0)
	slow := b.Subscribe(TopicFlowRun)
	for i := range uint64(5) {
		b.Publish([]Event{event(i+1, 1, TopicFlowRun)})
	}
	if _, err := slow.Next(t.Context()); !errors.Is(err, ErrReset) {
		t.Fatalf("a listener beyond the buffer got %v", err)
	}
	if _, err := b.SubscribeAfter(TopicFlowRun, Cursor{Index: 1, Ordinal: 1}); !errors.Is(err, ErrReset) {
		t.Fatalf("an old cursor got %v", err)
	}
	if _, err := b.SubscribeAfter(TopicFlowRun, Cursor{Index: 2, Ordinal: 1}); err != nil {
		t.Fatalf("the cursor of the newest event that is gone got %v", err)
	}
	waiting := b.Subscribe(TopicFlowRun)
	old := Cursor{Index: 5, Ordinal: 1}
	b.Reset(1, 9)
	if _, err := waiting.Next(t.Context()); !errors.Is(err, ErrReset) {
		t.Fatalf("a listener to a state that was replaced got %v", err)
	}
	if _, err := b.SubscribeAfter(TopicFlowRun, old); !errors.Is(err, ErrReset) {
		t.Fatalf("a cursor into a state that was replaced got %v", err)
	}
	if _, err := b.SubscribeAfter(TopicFlowRun, Cursor{Index: 20, Ordinal: 1}); !errors.Is(err, ErrReset) {
		t.Fatalf("a cursor into a state that was replaced by an older one got %v", err)
	}
	b.Publish([]Event{event(10, 1, TopicFlowRun)})
	if e := next(t, b.subscribeFirst(TopicFlowRun)); e.Cursor.Incarnation != 1 {
		t.Fatalf("got %v", e.Cursor)
	}
}

// subscribeFirst listens from the oldest event that is kept.
func (b *Buffer) subscribeFirst(topics Topic) *Subscription {
	b.mu.Lock()
	defer b.mu.Unlock()
	return &Subscription{at: b.first, topics: topics, buffer: b}
}

func TestEventsAreKeptByBytesToo(t *testing.T) {
	t.Parallel()
	b := NewBuffer(100, 1000, 0, 0)
	for i := range uint64(10) {
		e := event(i+1, 1, TopicLogs)
		e.Size = 400
		b.Publish([]Event{e})
	}
	if _, err := b.SubscribeAfter(TopicLogs, Cursor{Index: 7, Ordinal: 1}); !errors.Is(err, ErrReset) {
		t.Fatalf("more than 1000 bytes are kept: %v", err)
	}
	if _, err := b.SubscribeAfter(TopicLogs, Cursor{Index: 8, Ordinal: 1}); err != nil {
		t.Fatalf("less than 1000 bytes are kept: %v", err)
	}
}

func TestMalformedCursorsAreRefused(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "1", "1-2", "1-2-3-4", "a-b-c", "1-2-99999999999", "-1-2-3"} {
		if c, err := ParseCursor(s); !errors.Is(err, ErrBadCursor) {
			t.Errorf("%q is %v, %v", s, c, err)
		}
	}
}

func TestManyListenersAndOneWriter(t *testing.T) {
	t.Parallel()
	const events, listeners = 2000, 8
	b := NewBuffer(events, 1<<20, 0, 0)
	var all sync.WaitGroup
	for range listeners {
		s := b.Subscribe(TopicFlowRun)
		all.Go(func() {
			for want := range uint64(events) {
				e, err := s.Next(t.Context())
				if err != nil || e.Cursor.Index != want+1 {
					t.Errorf("got %v, %v; want %d", e.Cursor, err, want+1)
					return
				}
			}
		})
	}
	for i := range uint64(events) {
		b.Publish([]Event{event(i+1, 1, TopicFlowRun)})
	}
	all.Wait()
}
