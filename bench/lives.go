package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// LivesConfig says how to load a server with run lives.
type LivesConfig struct {
	// Hosts are host:port of the nodes; callers are spread over them.
	Hosts    []string
	Callers  int
	Duration time.Duration
	// Progress is called about once a second with the lives so far; may be nil.
	Progress func(lives int64)
}

// LivesResult is what a load of run lives measured.
type LivesResult struct {
	Lives      int64         `json:"lives"`
	Requests   int64         `json:"requests"`
	Elapsed    time.Duration `json:"elapsed_ns"`
	LivesRate  float64       `json:"lives_per_second"`
	Request50  time.Duration `json:"request_p50_ns"`
	Request99  time.Duration `json:"request_p99_ns"`
	RequestMax time.Duration `json:"request_max_ns"`
}

// Lives runs whole lives of flow runs from many callers at once: create, Pending, Running, one task run with Running and
// Completed, two log lines, Completed. Eight requests each, the next sent when the one before was answered.
func Lives(ctx context.Context, c LivesConfig) (LivesResult, error) {
	flow, err := createFlow(c.Hosts[0], "bench-lives")
	if err != nil {
		return LivesResult{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.Duration)
	defer cancel()
	var lives atomic.Int64
	spent := make([]samples, c.Callers)
	failures := make([]error, c.Callers)
	begin := time.Now()
	var callers sync.WaitGroup
	for i := range c.Callers {
		callers.Go(func() {
			failures[i] = live(ctx, c.Hosts[i%len(c.Hosts)], flow, &lives, &spent[i])
			if failures[i] != nil {
				cancel()
			}
		})
	}
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if c.Progress != nil {
					c.Progress(lives.Load())
				}
			}
		}
	}()
	callers.Wait()
	cancel()
	<-watched
	r := LivesResult{Lives: lives.Load(), Elapsed: time.Since(begin)}
	var all samples
	for _, s := range spent {
		all = append(all, s...)
	}
	r.Requests = int64(len(all))
	r.LivesRate = float64(r.Lives) / r.Elapsed.Seconds()
	r.Request50, r.Request99, r.RequestMax = all.quantile(0.5), all.quantile(0.99), all.quantile(1)
	return r, errors.Join(failures...)
}

func live(ctx context.Context, host, flow string, lives *atomic.Int64, spent *samples) error {
	c, err := dial(host)
	if err != nil {
		return err
	}
	defer c.close()
	pending := []byte(`{"state":{"type":"PENDING"}}`)
	running := []byte(`{"state":{"type":"RUNNING","name":"Running"}}`)
	completed := []byte(`{"state":{"type":"COMPLETED","message":"All states completed.","data":{"encoding":"json","blob":"null"}}}`)
	request := func(path, body string, raw []byte, want int) ([]byte, error) {
		if raw == nil {
			raw = []byte(body)
		}
		begin := time.Now()
		status, answer, err := c.post(path, raw)
		if err != nil {
			return nil, err
		}
		*spent = append(*spent, time.Since(begin))
		if status != want {
			return nil, fmt.Errorf("%s answered %d: %s", path, status, answer)
		}
		return answer, nil
	}
	for ctx.Err() == nil {
		answer, err := request("/api/flow_runs/", `{"flow_id":"`+flow+`","name":"lively-bench","parameters":{"name":"Leo"},"tags":["bench"],"state":{"type":"SCHEDULED"}}`, nil, 201)
		if err != nil {
			return err
		}
		run := field(answer, "id")
		states := "/api/flow_runs/" + run + "/set_state"
		if _, err = request(states, "", pending, 201); err != nil {
			return err
		}
		if _, err = request(states, "", running, 201); err != nil {
			return err
		}
		answer, err = request("/api/task_runs/", `{"flow_run_id":"`+run+`","task_key":"dd6ef374ccaac2674d1d062f15f49501","dynamic_key":"0","name":"log_message-dd6ef374-0","task_inputs":{"name":[]}}`, nil, 201)
		if err != nil {
			return err
		}
		task := "/api/task_runs/" + field(answer, "id") + "/set_state"
		if _, err = request(task, "", running, 201); err != nil {
			return err
		}
		if _, err = request(task, "", completed, 201); err != nil {
			return err
		}
		now := time.Now().UTC().Format("2006-01-02T15:04:05.000000+00:00")
		line := `{"name":"sluice.flow_runs","level":20,"message":"Hello Leo! This is a line of ordinary length.","timestamp":"` + now + `","flow_run_id":"` + run + `"}`
		if _, err = request("/api/logs/", "["+line+","+line+"]", nil, 201); err != nil {
			return err
		}
		if _, err = request(states, "", completed, 201); err != nil {
			return err
		}
		lives.Add(1)
	}
	return nil
}

// HostOf returns host:port of an API address like http://127.0.0.1:4200/api.
func HostOf(address string) string {
	host := strings.TrimPrefix(address, "http://")
	host, _, _ = strings.Cut(host, "/")
	return host
}
