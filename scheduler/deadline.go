package scheduler

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
)

const deadlineBatch = 500

// deadlines ends runs that wait or run longer than their policy allows. Only the time of the next deadline is in memory: runs
// whose deadline is enforced leave the index.
type deadlines struct {
	core *core

	mu   sync.Mutex // guards next
	next int64      // µs; no deadline is before it
	wake signal
}

func newDeadlines(c *core) *deadlines { return &deadlines{core: c, wake: newSignal()} }

func (l *deadlines) observe(r *row.FlowRun, deleted bool) {
	if deleted || r.Deadline == 0 {
		return
	}
	l.mu.Lock()
	sooner := r.Deadline < l.next
	if sooner {
		l.next = r.Deadline
	}
	l.mu.Unlock()
	if sooner {
		l.wake.set()
	}
}

func (l *deadlines) run(ctx context.Context) error {
	return l.core.loop(ctx, l.wake, "enforce deadlines", l.runOnce)
}

// runOnce enforces what has passed and returns when the next deadline is.
func (l *deadlines) runOnce(ctx context.Context) (time.Duration, error) {
	if hold := l.core.jumps.hold(); hold > 0 {
		return hold, nil
	}
	for {
		now := l.core.now()
		ids, next, err := l.passed(now)
		if err != nil {
			return 0, err
		}
		if len(ids) == 0 {
			return max(time.Millisecond, untilMicros(next, now)), nil
		}
		e := &command.Envelope{Command: &command.Envelope_EnforceDeadlines{EnforceDeadlines: &command.EnforceDeadlines{FlowRunIds: ids, Before: now}}}
		results, _, err := l.core.propose(ctx, e)
		if err != nil {
			return 0, fmt.Errorf("propose: %w", err)
		}
		if results[0].Count == 0 {
			// What was read had changed before it was enforced, and the events tell; but nothing must turn in a circle.
			return retryPause, nil
		}
	}
}

// passed returns runs whose deadline is not after now, and when the next one is if there are none.
func (l *deadlines) passed(now int64) (ids [][]byte, next int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next > now {
		return nil, l.next, nil
	}
	view, err := l.core.view()
	if err != nil {
		return nil, 0, err
	}
	defer view.Close()
	next = never
	err = view.FlowRunsByDeadline(func(r *row.FlowRun) (bool, error) {
		if r.Deadline > now {
			next = r.Deadline
			return false, nil
		}
		ids = append(ids, r.Id)
		return len(ids) < deadlineBatch, nil
	})
	if err != nil {
		return nil, 0, fmt.Errorf("read the deadlines: %w", err)
	}
	if len(ids) == 0 {
		l.next = next
	}
	return ids, next, nil
}
