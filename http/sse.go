package httpapi

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/sluice-dev/sluice/fsm/watch"
)

// sse writes server-sent events. One goroutine uses it.
type sse struct {
	x       *exchange
	control *http.ResponseController
}

// sseWriteTimeout is how long a client may leave an event unread before it is dropped.
const sseWriteTimeout = 30 * time.Second

func (x *exchange) sse() *sse {
	h := x.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // a proxy must not hold events back
	x.WriteHeader(http.StatusOK)
	return &sse{x: x, control: http.NewResponseController(x.ResponseWriter)}
}

// event appends one event; flush sends what was appended.
func (s *sse) event(name, id string, appendData func([]byte) []byte) {
	b := append(s.x.out, "event: "...)
	b = append(b, name...)
	if id != "" {
		b = append(b, "\nid: "...)
		b = append(b, id...)
	}
	b = append(b, "\ndata: "...)
	b = appendData(b) // JSON without line ends
	s.x.out = append(b, "\n\n"...)
}

// position tells the client where its stream is without an event: what happens from here on is not lost to a client that
// has seen nothing yet when it must go on at another node.
func (s *sse) position(id string) {
	s.x.out = append(append(append(s.x.out, "id: "...), id...), "\n\n"...)
}

func (s *sse) flush() error {
	if len(s.x.out) == 0 {
		return nil
	}
	_ = s.control.SetWriteDeadline(time.Now().Add(sseWriteTimeout)) // not every writer has one
	_, err := s.x.Write(s.x.out)
	s.x.out = s.x.out[:0]
	if err != nil {
		return err
	}
	return s.control.Flush()
}

func (s *sse) comment() error {
	s.x.out = append(s.x.out, ": \n\n"...)
	return s.flush()
}

// streamContext ends with the request and when the node drains.
func (x *exchange) streamContext() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(x.r.Context())
	stop := context.AfterFunc(x.server.patience(), cancel)
	return ctx, func() { stop(); cancel() }
}

// reconnectMillis is how soon the client of a stream that this node ends should connect again. Its stream goes on elsewhere.
const reconnectMillis = "100"

// goodbye tells the client of a stream, when this node ends it, to connect again soon: browsers would wait for seconds.
func (s *sse) goodbye() {
	if s.x.server.isDraining() {
		s.x.out = append(s.x.out[:0], ": this node is shutting down\nretry: "+reconnectMillis+"\n\n"...)
		_ = s.flush() // the last thing there is to say
	}
}

// resumeFrom is the cursor of the last event the client got, "" for none.
func (x *exchange) resumeFrom() string {
	if id := x.r.Header.Get("Last-Event-ID"); id != "" {
		return id
	}
	return x.r.URL.Query().Get("from")
}

// subscribe resumes after cursor. missed says that events in between are gone; the subscription then begins now.
func (s *Server) subscribe(cursor string, topics watch.Topic) (subscription *watch.Subscription, missed bool) {
	if cursor == "" {
		return s.events.Subscribe(topics), false
	}
	at, err := watch.ParseCursor(cursor)
	if err == nil {
		if subscription, err = s.events.SubscribeAfter(topics, at); err == nil {
			return subscription, false
		}
	}
	return s.events.Subscribe(topics), true
}

// next waits for an event and sends a comment whenever that takes long.
func (x *exchange) next(ctx context.Context, subscription *watch.Subscription, out *sse) (watch.Event, error) {
	for {
		wait, cancel := context.WithTimeout(ctx, x.server.streamPing)
		e, err := subscription.Next(wait)
		cancel()
		if err := x.recheck(); err != nil {
			return e, err // it shows nothing more to somebody whose token is over
		}
		if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return e, err
		}
		if err := out.comment(); err != nil {
			return e, err
		}
	}
}
