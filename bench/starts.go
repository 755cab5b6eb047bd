package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// StartsResult is how long runs took from their creation to Running and to their end, one after the other.
type StartsResult struct {
	Runs      int     `json:"runs"`
	Start50ms float64 `json:"start_p50_ms"`
	Start99ms float64 `json:"start_p99_ms"`
	End50ms   float64 `json:"end_p50_ms"`
}

// BurstResult is how long a number of runs took that were created at once.
type BurstResult struct {
	Runs    int     `json:"runs"`
	Seconds float64 `json:"seconds"`
}

// state is one of a run's states as the API answers it.
type state struct {
	Type      string    `json:"type"`
	Name      string    `json:"name"`
	Timestamp time.Time `json:"timestamp"`
	Message   *string   `json:"message"`
}

// Starts creates n runs of a deployment, each when the one before has ended, with an agent at work.
func Starts(ctx context.Context, api, deployment string, n int) (StartsResult, error) {
	var starts, ends samples
	c, err := dial(HostOf(api))
	if err != nil {
		return StartsResult{}, err
	}
	defer c.close()
	for range n {
		begin := time.Now()
		run, err := create(c, deployment)
		if err != nil {
			return StartsResult{}, err
		}
		states, err := waitEnd(ctx, c, run)
		if err != nil {
			return StartsResult{}, err
		}
		for _, s := range states {
			switch s.Type {
			case "RUNNING":
				starts = append(starts, s.Timestamp.Sub(begin))
			case "COMPLETED":
				ends = append(ends, s.Timestamp.Sub(begin))
			}
		}
	}
	return StartsResult{Runs: n, Start50ms: milliseconds(starts.quantile(0.5)), Start99ms: milliseconds(starts.quantile(0.99)), End50ms: milliseconds(ends.quantile(0.5))}, nil
}

// Burst creates n runs at once and waits until all have completed.
func Burst(ctx context.Context, api, deployment string, n int) (BurstResult, error) {
	c, err := dial(HostOf(api))
	if err != nil {
		return BurstResult{}, err
	}
	defer c.close()
	begin := time.Now()
	var runs []string
	for range n {
		run, err := create(c, deployment)
		if err != nil {
			return BurstResult{}, err
		}
		runs = append(runs, run)
	}
	last := begin
	for _, run := range runs {
		states, err := waitEnd(ctx, c, run)
		if err != nil {
			return BurstResult{}, err
		}
		if end := states[len(states)-1].Timestamp; end.After(last) {
			last = end
		}
	}
	return BurstResult{Runs: n, Seconds: last.Sub(begin).Seconds()}, nil
}

// Due creates n runs that are due at one moment, later, and says how long after it the last has ended: what who executes them can do,
// without the time of creating them.
func Due(ctx context.Context, api, deployment string, n int) (BurstResult, error) {
	c, err := dial(HostOf(api))
	if err != nil {
		return BurstResult{}, err
	}
	defer c.close()
	due := time.Now().Add(2*time.Second + time.Duration(n)*3*time.Millisecond)
	var runs []string
	for range n {
		run, err := createAt(c, deployment, due)
		if err != nil {
			return BurstResult{}, err
		}
		runs = append(runs, run)
	}
	if late := time.Since(due); late > 0 {
		return BurstResult{}, fmt.Errorf("creating %d runs took %s too long: measure on a machine that is less busy", n, late)
	}
	time.Sleep(time.Until(due)) // looking earlier would take from the machine
	last := due
	for _, run := range slices.Backward(runs) {
		states, err := waitEnd(ctx, c, run)
		if err != nil {
			return BurstResult{}, err
		}
		if end := states[len(states)-1].Timestamp; end.After(last) {
			last = end
		}
	}
	return BurstResult{Runs: n, Seconds: last.Sub(due).Seconds()}, nil
}

func create(c *conn, deployment string) (string, error) { return createAt(c, deployment, time.Time{}) }

// createAt creates a run that is due at a time; the zero one is now.
func createAt(c *conn, deployment string, due time.Time) (string, error) {
	body := `{"state":{"type":"SCHEDULED"}}`
	if !due.IsZero() {
		body = fmt.Sprintf(`{"state":{"type":"SCHEDULED","state_details":{"scheduled_time":%q}}}`, due.UTC().Format(time.RFC3339Nano))
	}
	status, answer, err := c.post("/api/deployments/"+deployment+"/create_flow_run", []byte(body))
	if err != nil {
		return "", err
	}
	if status != 201 {
		return "", fmt.Errorf("create a run: %d %s", status, answer)
	}
	return field(answer, "id"), nil
}

// poll is the pause between looks at a run: it takes little from the machine, and no figure depends on it, for the states
// carry their own times.
const poll = 10 * time.Millisecond

// waitEnd returns the states of a run once it has completed.
func waitEnd(ctx context.Context, c *conn, run string) ([]state, error) {
	for {
		_, answer, err := c.do("GET", "/api/flow_run_states/?flow_run_id="+run, nil)
		if err != nil {
			return nil, err
		}
		var states []state
		if err := json.Unmarshal(answer, &states); err != nil {
			return nil, fmt.Errorf("read the states of run %s: %w: %s", run, err, answer)
		}
		if len(states) > 0 {
			switch last := states[len(states)-1]; last.Type {
			case "COMPLETED":
				return states, nil
			case "FAILED", "CANCELLED":
				message := ""
				if last.Message != nil {
					message = *last.Message
				}
				return nil, fmt.Errorf("run %s ended %s: %s", run, last.Name, strings.TrimSpace(message))
			}
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(poll):
		}
	}
}
