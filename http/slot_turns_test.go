package httpapi

import (
	"testing"
	"time"
)

func TestTurnsOfATagAreSpread(t *testing.T) {
	t.Parallel()
	var s slotTurns
	now := time.Unix(1000, 0)
	for i := range 100 {
		if got, want := s.turn("a", now, now, now.Add(3*time.Second)).Sub(now), min(time.Duration(i)*time.Second/turnsPerSecond, 3*time.Second); got != want {
			t.Fatalf("turn %d is after %s, not %s", i, got, want)
		}
	}
	if got := s.turn("b", now, now.Add(7*time.Second), now.Add(time.Minute)).Sub(now); got != 7*time.Second {
		t.Errorf("a place that is held for long is asked for after %s", got)
	}
	later := now.Add(time.Hour)
	if got := s.turn("a", later, later, later.Add(time.Minute)); !got.Equal(later) || len(s.last) != 1 {
		t.Errorf("an hour later the turn is %s after that, and %d tags are known", got.Sub(later), len(s.last))
	}
}
