package scheduler

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

const (
	jumpCheck = time.Second
	// jumpLimit is how far the wall clock may move against the monotonic one without being suspected.
	jumpLimit = 30 * time.Second
	// moveLimit is how far it may move without the timers being set anew: they run by the monotonic one.
	moveLimit = 100 * time.Millisecond
	// stallTime is how late a check may come before this process is known to have stood still.
	stallTime = 3 * time.Second
	// behindLimit is how far this node's clock may be behind the state's time for it to lead.
	behindLimit = 5 * time.Minute
	// behindPause is how soon a node that refused comes to lead again when no other node does better: then it serves.
	behindPause = time.Minute
)

// ErrClockBehind says that this node's clock is too far behind the time of the state: another node should lead.
var ErrClockBehind = errors.New("the clock of this node is behind the cluster's time")

// checkClock refuses an epoch for a clock that is far behind, once: if leadership comes back soon, all nodes' clocks are behind,
// or nobody else is there, and a leader whose time stands still is better than none.
func (s *Services) checkClock() error {
	view, err := s.cfg.View()
	if err != nil {
		return fmt.Errorf("open a view: %w", err)
	}
	defer view.Close()
	last, err := view.LastTime()
	if err != nil {
		return fmt.Errorf("read the state's time: %w", err)
	}
	behind := time.UnixMicro(last).Sub(s.cfg.Clock.Now())
	now := s.cfg.Elapsed()
	switch {
	case behind <= jumpLimit:
	case behind <= behindLimit:
		s.cfg.Logger.Warn("this node's clock is behind the former leader's", "by", behind)
	case s.refused != 0 && now-s.refused < behindPause:
		s.cfg.Logger.Error("this node's clock is behind the cluster's time and no other node leads: its time stands still until the clock is there; correct the clocks",
			"by", behind)
	default:
		s.refused = max(now, 1)
		return fmt.Errorf("%w by %s: correct it", ErrClockBehind, behind.Round(time.Second))
	}
	return nil
}

// jumps watches the wall clock against the monotonic one.
type jumps struct {
	clock    Clock
	elapsed  func() time.Duration
	observer Observer
	log      *slog.Logger
	grace    time.Duration // how long to hold back after a jump forward: the clock may be set back
	moved    func()        // has the timers set anew

	mu      sync.Mutex // guards what follows
	wall    time.Time  // at the last look, without the monotonic clock
	looked  time.Duration
	checked time.Duration
	until   time.Duration // hold back until then
	jumped  bool          // forward, since the last check
}

func newJumps(cfg Config, grace time.Duration) *jumps {
	now := cfg.Elapsed()
	return &jumps{clock: cfg.Clock, elapsed: cfg.Elapsed, observer: cfg.Observer, log: cfg.Logger, grace: grace,
		wall: cfg.Clock.Now().Round(0), looked: now, checked: now}
}

// look finds what the clock did since the last look, and returns the monotonic time. Holds mu.
func (j *jumps) look() time.Duration {
	now, wall := j.elapsed(), j.clock.Now().Round(0)
	jump := wall.Sub(j.wall) - (now - j.looked)
	j.looked, j.wall = now, wall
	if jump.Abs() > moveLimit {
		j.moved()
	}
	if jump > jumpLimit || jump < -jumpLimit {
		j.log.Warn("the wall clock jumped", "by", jump)
		j.observer.ClockJumped(jump)
		if jump > 0 {
			j.until, j.jumped = now+j.grace, true
		}
	}
	return now
}

// check reports whether deadlines that have passed say nothing about others: this process stood still, or the clock jumped.
// It is called every jumpCheck.
func (j *jumps) check() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := j.look()
	stood, jumped := now-j.checked, j.jumped
	j.checked, j.jumped = now, false
	if stood > stallTime {
		j.log.Warn("this process stood still", "for", stood)
	}
	return jumped || stood > stallTime
}

// hold is how long work that trusts the wall clock should still wait.
func (j *jumps) hold() time.Duration {
	j.mu.Lock()
	defer j.mu.Unlock()
	return max(0, j.until-j.look())
}
