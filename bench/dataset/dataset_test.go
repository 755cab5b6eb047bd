package dataset

import (
	"crypto/sha256"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
)

func TestTheSameSeedMakesTheSameCommandsInTheOrderOfTheirTime(t *testing.T) {
	t.Parallel()
	c := Config{Runs: 2000, Seed: 3, Until: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC), Span: 5 * 24 * time.Hour}
	first, again := digest(t, c), digest(t, c)
	if first != again {
		t.Error("the same seed made other commands")
	}
	c.Seed++
	if digest(t, c) == first {
		t.Error("another seed made the same commands")
	}
}

func digest(t *testing.T, c Config) (sum [32]byte) {
	t.Helper()
	h := sha256.New()
	last := c.Until.Add(-c.Span)
	runs, states := 0, map[row.StateType]int{}
	err := c.Each(func(s Step) error {
		if s.At.Before(last) || s.At.After(c.Until.Add(3*time.Hour)) {
			t.Fatalf("a command at %s after one at %s, until %s", s.At, last, c.Until)
		}
		last = s.At
		switch e := s.Command.Command.(type) {
		case *command.Envelope_CreateFlowRun:
			runs++
		case *command.Envelope_SetFlowRunState:
			states[e.SetFlowRunState.State.Type]++
		}
		data, err := command.Encode(s.Command)
		h.Write(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if runs != c.Runs {
		t.Errorf("%d flow runs, want %d", runs, c.Runs)
	}
	if states[row.StateType_RUNNING] < c.Runs*9/10 || states[row.StateType_FAILED] < c.Runs/20 || states[row.StateType_CANCELLED] == 0 {
		t.Errorf("states that were set: %v", states)
	}
	h.Sum(sum[:0])
	return sum
}
