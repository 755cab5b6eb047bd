package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
)

// BenchmarkLife measures one flow run's whole life, 8 requests, from 64 callers: create, Pending, Running, a task run with two
// states, two log lines, Completed. The client runs in the same process.
func BenchmarkLife(b *testing.B) {
	s := newStack(b, oneNode)
	flow := s.must(201, "POST", "/api/flows/", `{"name":"life"}`)["id"].(string)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 128, DialContext: (&net.Dialer{}).DialContext}}
	post := func(path, body string) (map[string]any, error) {
		r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, s.http.URL+path, bytes.NewReader([]byte(body)))
		if err != nil {
			return nil, err
		}
		res, err := client.Do(r)
		if err != nil {
			return nil, err
		}
		defer res.Body.Close()
		data, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != 201 {
			return nil, fmt.Errorf("%s: status %d: %s: %w", path, res.StatusCode, data, err)
		}
		if !bytes.HasSuffix([]byte(path), []byte("_runs/")) {
			return nil, nil
		}
		var id struct{ ID string }
		err = json.Unmarshal(data, &id)
		return map[string]any{"id": id.ID}, err
	}
	life := func() error {
		run, err := post("/api/flow_runs/", `{"flow_id":"`+flow+`","name":"life","parameters":{"name":"Leo"},"state":{"type":"SCHEDULED"}}`)
		if err != nil {
			return err
		}
		id := run["id"].(string)
		for _, t := range []string{"PENDING", "RUNNING"} {
			if _, err := post("/api/flow_runs/"+id+"/set_state", `{"state":{"type":"`+t+`"}}`); err != nil {
				return err
			}
		}
		task, err := post("/api/task_runs/", `{"flow_run_id":"`+id+`","task_key":"k","dynamic_key":"0"}`)
		if err != nil {
			return err
		}
		taskID := task["id"].(string)
		for _, t := range []string{"RUNNING", "COMPLETED"} {
			if _, err := post("/api/task_runs/"+taskID+"/set_state", `{"state":{"type":"`+t+`"}}`); err != nil {
				return err
			}
		}
		line := `{"name":"prefect.flow_runs","level":20,"message":"Hello Leo!","timestamp":"2026-11-23T00:23:12.329636+00:00","flow_run_id":"` + id + `"}`
		if _, err := post("/api/logs/", "["+line+","+line+"]"); err != nil {
			return err
		}
		_, err = post("/api/flow_runs/"+id+"/set_state", `{"state":{"type":"COMPLETED","message":"All states completed."}}`)
		return err
	}
	var workers sync.WaitGroup
	work := make(chan struct{})
	for range 64 {
		workers.Go(func() {
			for range work {
				if err := life(); err != nil {
					b.Error(err)
				}
			}
		})
	}
	b.ResetTimer()
	for range b.N {
		work <- struct{}{}
	}
	close(work)
	workers.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lives/s")
}
