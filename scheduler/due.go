package scheduler

import (
	"fmt"
	"math"
	"time"

	"github.com/sluice-dev/sluice/fsm/row"
)

// dueCursor walks the due index of the state once, following the time: what lies behind it was handed out, what lies before
// it is not in memory. Only the time of the next run is kept.
type dueCursor struct {
	until int64 // µs; runs due at or before it were handed out
	next  int64 // µs; no run is due in (until, next)
}

const never = math.MaxInt64

func newDueCursor() dueCursor { return dueCursor{until: math.MinInt64, next: math.MinInt64} }

// advance hands out the runs that came due up to now (µs) and finds when the next one is due.
func (c *dueCursor) advance(v View, now int64, fn func(*row.FlowRun)) error {
	if now < c.next || now < c.until {
		return nil
	}
	next := int64(never)
	err := v.ScheduledFlowRuns(after(c.until), never, func(r *row.FlowRun) (bool, error) {
		if r.NextScheduledStartTime > now {
			next = r.NextScheduledStartTime
			return false, nil
		}
		fn(r)
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("read the due runs: %w", err)
	}
	c.until, c.next = now, next
	return nil
}

// observe learns of a run that waits for its time. It reports whether the cursor has passed that time already, so that the
// caller must take the run itself.
func (c *dueCursor) observe(r *row.FlowRun) (passed bool) {
	at := r.NextScheduledStartTime
	if at <= c.until {
		return true
	}
	c.next = min(c.next, at)
	return false
}

func after(t int64) int64 {
	if t == math.MinInt64 {
		return t
	}
	return t + 1
}

// waits reports whether a run is in the due index.
func waits(r *row.FlowRun) bool {
	return r.GetState().GetType() == row.StateType_SCHEDULED && r.NextScheduledStartTime != 0
}

// untilMicros is how long it takes from now until a time in µs, never less than zero and at most an hour: a timer that
// fires early only looks again.
func untilMicros(at, now int64) time.Duration {
	if at <= now {
		return 0
	}
	if at-now > int64(time.Hour/time.Microsecond) {
		return time.Hour
	}
	return time.Duration(at-now) * time.Microsecond
}
