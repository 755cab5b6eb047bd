package scheduler

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/orchestration"
	"github.com/sluice-dev/sluice/fsm/row"
)

const (
	lateAfter = 5 * time.Second
	lateBatch = 500
)

// late renames runs to Late that are Scheduled and were due five seconds ago.
type late struct {
	core *core

	mu      sync.Mutex // guards what follows
	cursor  dueCursor  // on times lateAfter behind the clock
	overdue [][]byte   // ids of runs to be renamed
	wake    signal
}

func newLate(c *core) *late { return &late{core: c, cursor: newDueCursor(), wake: newSignal()} }

func (l *late) observe(r *row.FlowRun, deleted bool) {
	if deleted || !isOnTime(r) {
		return
	}
	l.mu.Lock()
	before := l.cursor.next
	if l.cursor.observe(r) {
		l.overdue = append(l.overdue, r.Id)
	}
	changed := len(l.overdue) > 0 || l.cursor.next != before
	l.mu.Unlock()
	if changed {
		l.wake.set()
	}
}

// isOnTime reports whether a run has the name that lateness changes: AwaitingRetry and Late keep theirs.
func isOnTime(r *row.FlowRun) bool {
	return waits(r) && r.State.Name == orchestration.DefaultName(row.StateType_SCHEDULED)
}

func (l *late) run(ctx context.Context) error {
	return l.core.loop(ctx, l.wake, "mark late runs", l.runOnce)
}

// runOnce marks what is late now and returns when the next run will be.
func (l *late) runOnce(ctx context.Context) (time.Duration, error) {
	if hold := l.core.jumps.hold(); hold > 0 {
		return hold, nil
	}
	before := l.core.now() - lateAfter.Microseconds()
	ids, err := l.collect(before)
	if err != nil {
		return 0, err
	}
	for len(ids) > 0 {
		n := min(len(ids), lateBatch)
		e := &command.Envelope{Command: &command.Envelope_MarkLate{MarkLate: &command.MarkLate{FlowRunIds: ids[:n], Before: before}}}
		if _, _, err := l.core.propose(ctx, e); err != nil {
			l.mu.Lock()
			l.overdue = append(l.overdue, ids...)
			l.mu.Unlock()
			return 0, fmt.Errorf("propose: %w", err)
		}
		ids = ids[n:]
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.overdue) > 0 {
		return 0, nil
	}
	return max(time.Millisecond, untilMicros(l.cursor.next, l.core.now()-lateAfter.Microseconds())), nil
}

func (l *late) collect(before int64) ([][]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if before >= l.cursor.next {
		view, err := l.core.view()
		if err != nil {
			return nil, err
		}
		defer view.Close()
		err = l.cursor.advance(view, before, func(r *row.FlowRun) {
			if isOnTime(r) {
				l.overdue = append(l.overdue, r.Id)
			}
		})
		if err != nil {
			return nil, err
		}
	}
	ids := l.overdue
	l.overdue = nil
	return ids, nil
}
