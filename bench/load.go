package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-dev/sluice/api"
)

// inParallel calls do for 0 to n-1 from so many callers at once, each with a connection of its own.
func inParallel(ctx context.Context, callers, n int, do func(c *conn, i int) error, host string) error {
	var next atomic.Int64
	failures := make([]error, callers)
	var all sync.WaitGroup
	for k := range callers {
		all.Go(func() {
			failures[k] = func() error {
				c, err := dial(host)
				if err != nil {
					return err
				}
				defer c.close()
				for ctx.Err() == nil {
					i := int(next.Add(1)) - 1
					if i >= n {
						return nil
					}
					if err := do(c, i); err != nil {
						return err
					}
				}
				return ctx.Err()
			}()
		})
	}
	all.Wait()
	return errors.Join(failures...)
}

// ManyPolls is what so many waiting claims cost.
type ManyPolls struct {
	Polls      int     `json:"polls"`
	MiB        float64 `json:"rss_anon_mib"`
	CPUPercent float64 `json:"cpu_percent_of_a_core"`
}

// measurePolls has n claims wait on connections of their own.
func measurePolls(ctx context.Context, s *Server, n int) (*ManyPolls, error) {
	idle, err := s.anonymous()
	if err != nil {
		return nil, err
	}
	c, err := dial(s.host)
	if err != nil {
		return nil, err
	}
	defer c.close()
	_, answer, err := c.post("/api/work_queues/", []byte(`{"name":"bench-polls"}`))
	if err != nil {
		return nil, err
	}
	queue, agent := field(answer, "id"), api.NewID().String()
	if status, answer, err := c.post("/api/agents/", []byte(`{"id":"`+agent+`","name":"polls"}`)); err != nil || status != 201 {
		return nil, fmt.Errorf("register an agent: %d %s %w", status, answer, err)
	}
	waiting := make([]*conn, n)
	var ended sync.WaitGroup
	defer ended.Wait()
	defer func() {
		for _, w := range waiting {
			if w != nil {
				w.close()
			}
		}
	}()
	var answered atomic.Int64
	for i := range waiting {
		w, err := dial(s.host)
		if err != nil {
			return nil, err
		}
		waiting[i] = w
		ended.Go(func() {
			// It ends with the connection, or with an empty answer when its time is over.
			body := `{"work_queue_ids":["` + queue + `"],"limit":1,"wait_seconds":30,"claim_id":"` + api.NewID().String() + `"}`
			if _, _, err := w.post("/api/agents/"+agent+"/claim", []byte(body)); err == nil {
				answered.Add(1)
			}
		})
	}
	if err := sleepUntil(ctx, time.Now().Add(4*time.Second)); err != nil {
		return nil, err
	}
	is, err := s.anonymous()
	if err != nil {
		return nil, err
	}
	before, err := s.cpu()
	if err != nil {
		return nil, err
	}
	const watched = 10 * time.Second
	if err := sleepUntil(ctx, time.Now().Add(watched)); err != nil {
		return nil, err
	}
	after, err := s.cpu()
	if err != nil {
		return nil, err
	}
	if k := answered.Load(); k > 0 {
		return nil, fmt.Errorf("%d of %d claims did not wait", k, n)
	}
	return &ManyPolls{Polls: n, MiB: is - idle, CPUPercent: 100 * float64(after-before) / float64(watched)}, nil
}

// FloodResult is what a flood of logs does to lives.
type FloodResult struct {
	Alone   LivesResult `json:"alone"`
	Flooded LivesResult `json:"flooded"`
	// LogMBPerMinute is how much of it was accepted; Ratio is a request's p99 with it over that without, each the lower one of two.
	LogMBPerMinute float64 `json:"log_mb_per_minute"`
	Ratio          float64 `json:"p99_ratio"`
}

// floodRate is 500 MB a minute.
const floodRate = 500_000_000 / 60

// Flood runs lives without and with a flood of logs, twice in turn.
func Flood(ctx context.Context, host string, duration time.Duration) (*FloodResult, error) {
	r := &FloodResult{}
	flow, err := createFlow(host, "bench-flood")
	if err != nil {
		return nil, err
	}
	better := func(into *LivesResult, l LivesResult) {
		if into.Lives == 0 || l.Request99 < into.Request99 {
			*into = l
		}
	}
	for range 2 {
		alone, err := Lives(ctx, LivesConfig{Hosts: []string{host}, Callers: 64, Duration: duration})
		if err != nil {
			return nil, err
		}
		better(&r.Alone, alone)
		flooding, stop := context.WithCancel(ctx)
		var sent int64
		var failure error
		var flood sync.WaitGroup
		flood.Go(func() { sent, failure = pour(flooding, host, flow) })
		begin := time.Now()
		flooded, err := Lives(ctx, LivesConfig{Hosts: []string{host}, Callers: 64, Duration: duration})
		stop()
		flood.Wait()
		if err := errors.Join(err, failure); err != nil {
			return nil, err
		}
		better(&r.Flooded, flooded)
		r.LogMBPerMinute = max(r.LogMBPerMinute, float64(sent)/1e6/time.Since(begin).Minutes())
	}
	r.Ratio = float64(r.Flooded.Request99) / float64(r.Alone.Request99)
	return r, nil
}

// pour writes logs at floodRate, or as fast as they are accepted, each run's quota at most, until ctx ends.
func pour(ctx context.Context, host, flow string) (sent int64, err error) {
	c, err := dial(host)
	if err != nil {
		return 0, err
	}
	defer c.close()
	line := strings.Repeat("all work and no play makes a log line of ordinary length; ", 3)
	begin := time.Now()
	run, inRun := "", 0
	for ctx.Err() == nil {
		if run == "" || inRun > 5_000_000 {
			_, answer, err := c.post("/api/flow_runs/", []byte(`{"flow_id":"`+flow+`","state":{"type":"RUNNING"}}`))
			if err != nil {
				return sent, err
			}
			run, inRun = field(answer, "id"), 0
		}
		one := `{"name":"flood","level":20,"message":"` + line + `","timestamp":"` + time.Now().UTC().Format("2006-01-02T15:04:05.000000+00:00") + `","flow_run_id":"` + run + `"}`
		body := "[" + strings.Repeat(one+",", 999) + one + "]"
		status, answer, err := c.post("/api/logs/", []byte(body))
		switch {
		case err != nil:
			return sent, err
		case status != 201:
			return sent, fmt.Errorf("write logs: %d %s", status, answer)
		}
		sent += int64(1000 * len(line))
		inRun += 1000 * len(line)
		// Who is behind does not wait.
		_ = sleepUntil(ctx, begin.Add(time.Duration(float64(sent)/floodRate*float64(time.Second))))
	}
	return sent, nil
}
