package httpapi

import (
	"sync"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
)

// slotTurns says when a task run that waits for a place of a tag's limit should ask again. Orion's clients are told 30 s, always.
// Others are told sooner where places change hands quickly: after a quarter of the time that those who have one have had it. However
// many wait, they ask this node at most turnsPerSecond times a second for each tag, because each question goes through the log.
type slotTurns struct {
	mu   sync.Mutex
	last map[string]time.Time // by tag: the last turn that was given
}

const (
	turnsPerSecond = 20
	slotsLookedAt  = 16 // of each limit
)

// delay returns the whole seconds until a task run should ask again, at most most, which is what Orion's clients are told.
func (s *slotTurns) delay(view *state.View, run api.ID, now time.Time, most int64) (int64, error) {
	task, err := view.TaskRun(run)
	if err != nil || task == nil {
		return most, err
	}
	tag, held, err := fullestTag(view, task, now)
	if err != nil || tag == "" {
		return most, err
	}
	turn := s.turn(tag, now, now.Add(held/4), now.Add(time.Duration(most)*time.Second))
	return min(max(int64((turn.Sub(now)+time.Second-1)/time.Second), 1), most), nil
}

// turn gives the next turn of a tag, between two times.
func (s *slotTurns) turn(tag string, now, earliest, latest time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil {
		s.last = map[string]time.Time{}
	}
	for other, at := range s.last { // there are few tags with limits
		if at.Before(now) {
			delete(s.last, other)
		}
	}
	turn := earliest
	if next := s.last[tag].Add(time.Second / turnsPerSecond); next.After(turn) {
		turn = next
	}
	if turn.After(latest) {
		turn = latest
	}
	s.last[tag] = turn
	return turn
}

// fullestTag is the full tag of a task run whose places are held for the longest time, and that time.
func fullestTag(view *state.View, task *row.TaskRun, now time.Time) (full string, held time.Duration, err error) {
	for _, tag := range task.Tags {
		limit, err := view.ConcurrencyLimitByTag(tag)
		if err != nil {
			return "", 0, err
		}
		if limit == nil {
			continue
		}
		used, err := view.SlotsInUse(idOf(limit.Id))
		if err != nil {
			return "", 0, err
		}
		if used < int(limit.Limit) {
			continue
		}
		mean, err := meanHold(view, limit, now)
		if err != nil {
			return "", 0, err
		}
		if full == "" || mean > held {
			full, held = tag, mean
		}
	}
	return full, held, nil
}

// meanHold is how long the places of a limit have been held, looking at some of them.
func meanHold(view *state.View, limit *row.ConcurrencyLimit, now time.Time) (time.Duration, error) {
	var sum time.Duration
	seen := 0
	err := view.EachSlot(idOf(limit.Id), nil, func(slot *row.Slot) (bool, error) {
		run, err := view.TaskRun(idOf(slot.RunId))
		if err != nil {
			return false, err
		}
		if run != nil {
			seen++
			sum += max(now.Sub(time.UnixMicro(run.GetState().GetTimestamp())), 0)
		}
		return seen < slotsLookedAt, nil
	})
	if err != nil || seen == 0 {
		return 0, err
	}
	return sum / time.Duration(seen), nil
}
