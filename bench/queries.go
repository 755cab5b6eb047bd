package bench

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// QueryResult is how long one query of the UI's list took, at one number of stored runs.
type QueryResult struct {
	Name   string  `json:"name"`
	Bytes  int     `json:"bytes"` // of the answer
	Median float64 `json:"p50_ms"`
	P99    float64 `json:"p99_ms"`
	// Target is what P99 should be at most with a million runs; 0 where the cost follows what matches.
	Target float64 `json:"target_ms,omitempty"`
}

// query is one query. Its body may name {deployment}, {flow}, {run}, {task}, {name}, {day}, {week} and {days}: ids and times of the data.
type query struct {
	name, path, body string
	target           float64
}

const (
	listTarget  = 10
	countTarget = 5
)

// uiQueries are the queries that the pages of the UI make.
var uiQueries = []query{
	{"runs: newest made", "flow_runs/filter", `{}`, listTarget},
	{"runs: newest made, offset 10,000", "flow_runs/filter", `{"offset":10000}`, listTarget},
	{"runs: latest start", "flow_runs/filter", `{"sort":"EXPECTED_START_TIME_DESC"}`, listTarget},
	{"runs: latest start, offset 10,000", "flow_runs/filter", `{"sort":"EXPECTED_START_TIME_DESC","offset":10000}`, listTarget},
	{"runs: earliest start", "flow_runs/filter", `{"sort":"EXPECTED_START_TIME_ASC"}`, listTarget},
	{"runs: by name", "flow_runs/filter", `{"sort":"NAME_ASC"}`, listTarget},
	{"runs: by name, offset 10,000", "flow_runs/filter", `{"sort":"NAME_DESC","offset":10000}`, listTarget},
	{"runs: latest end", "flow_runs/filter", `{"sort":"END_TIME_DESC"}`, listTarget},
	{"runs: latest end, offset 10,000", "flow_runs/filter", `{"sort":"END_TIME_DESC","offset":10000}`, listTarget},
	{"runs: failed, latest start", "flow_runs/filter", `{"sort":"EXPECTED_START_TIME_DESC","flow_runs":{"state":{"type":{"any_":["FAILED"]}}}}`, listTarget},
	{"runs: failed, newest made", "flow_runs/filter", `{"flow_runs":{"state":{"type":{"any_":["FAILED"]}}}}`, listTarget},
	{"runs: failed or cancelled, offset 10,000", "flow_runs/filter", `{"sort":"EXPECTED_START_TIME_DESC","offset":10000,"flow_runs":{"state":{"type":{"any_":["FAILED","CANCELLED"]}}}}`, listTarget},
	{"runs: failed, latest end", "flow_runs/filter", `{"sort":"END_TIME_DESC","flow_runs":{"state":{"type":{"any_":["FAILED"]}}}}`, 0},
	{"runs: failed, by name", "flow_runs/filter", `{"sort":"NAME_ASC","flow_runs":{"state":{"type":{"any_":["FAILED"]}}}}`, 0},
	{"runs: crashed", "flow_runs/filter", `{"sort":"EXPECTED_START_TIME_DESC","flow_runs":{"state":{"name":{"any_":["Crashed"]}}}}`, listTarget},
	{"runs: late", "flow_runs/filter", `{"sort":"EXPECTED_START_TIME_DESC","flow_runs":{"state":{"name":{"any_":["Late"]}}}}`, listTarget},
	{"runs: running or pending", "flow_runs/filter", `{"sort":"EXPECTED_START_TIME_DESC","flow_runs":{"state":{"type":{"any_":["RUNNING","PENDING"]}}}}`, listTarget},
	{"runs: upcoming", "flow_runs/filter", `{"sort":"NEXT_SCHEDULED_START_TIME_ASC","flow_runs":{"state":{"type":{"any_":["SCHEDULED"]}}}}`, listTarget},
	{"runs: expected in the last day", "flow_runs/filter", `{"sort":"EXPECTED_START_TIME_DESC","flow_runs":{"expected_start_time":{"after_":"{day}"}}}`, listTarget},
	{"runs: failed, expected in the last week", "flow_runs/filter", `{"sort":"EXPECTED_START_TIME_DESC","flow_runs":{"state":{"type":{"any_":["FAILED"]}},"expected_start_time":{"after_":"{week}"}}}`, listTarget},
	{"runs: started in the last day", "flow_runs/filter", `{"sort":"EXPECTED_START_TIME_DESC","flow_runs":{"start_time":{"after_":"{day}"}}}`, 0},
	{"runs: of a deployment, latest start", "flow_runs/filter", `{"sort":"EXPECTED_START_TIME_DESC","flow_runs":{"deployment_id":{"any_":["{deployment}"]}}}`, listTarget},
	{"runs: of a deployment, newest made", "flow_runs/filter", `{"flow_runs":{"deployment_id":{"any_":["{deployment}"]}}}`, listTarget},
	{"runs: of a deployment, the last 20", "flow_runs/filter", `{"sort":"EXPECTED_START_TIME_DESC","limit":20,"flow_runs":{"deployment_id":{"any_":["{deployment}"]}}}`, listTarget},
	{"runs: of a deployment, offset 10,000", "flow_runs/filter", `{"sort":"EXPECTED_START_TIME_DESC","offset":10000,"flow_runs":{"deployment_id":{"any_":["{deployment}"]}}}`, listTarget},
	{"runs: of a deployment, failed", "flow_runs/filter", `{"sort":"EXPECTED_START_TIME_DESC","flow_runs":{"deployment_id":{"any_":["{deployment}"]},"state":{"type":{"any_":["FAILED"]}}}}`, listTarget},
	{"runs: of deployments with a tag", "flow_runs/filter", `{"sort":"EXPECTED_START_TIME_DESC","deployments":{"tags":{"all_":["ml"]}}}`, 0},
	{"runs: of a flow", "flow_runs/filter", `{"sort":"EXPECTED_START_TIME_DESC","flows":{"id":{"any_":["{flow}"]}}}`, listTarget},
	{"runs: of a flow, completed, offset 10,000", "flow_runs/filter", `{"sort":"EXPECTED_START_TIME_DESC","offset":10000,"flows":{"id":{"any_":["{flow}"]}},"flow_runs":{"state":{"type":{"any_":["COMPLETED"]}}}}`, listTarget},
	{"runs: tagged", "flow_runs/filter", `{"sort":"EXPECTED_START_TIME_DESC","flow_runs":{"tags":{"all_":["staging"]}}}`, listTarget},
	{"runs: tagged, failed", "flow_runs/filter", `{"sort":"EXPECTED_START_TIME_DESC","flow_runs":{"tags":{"all_":["staging"]},"state":{"type":{"any_":["FAILED"]}}}}`, listTarget},
	{"runs: tagged, offset 10,000", "flow_runs/filter", `{"sort":"EXPECTED_START_TIME_DESC","offset":10000,"flow_runs":{"tags":{"all_":["prod"]}}}`, listTarget},
	{"runs: with two tags", "flow_runs/filter", `{"sort":"EXPECTED_START_TIME_DESC","flow_runs":{"tags":{"all_":["prod","team-data"]}}}`, 0},
	{"runs: of a name", "flow_runs/filter", `{"sort":"EXPECTED_START_TIME_DESC","flow_runs":{"name":{"any_":["{name}"]}}}`, listTarget},
	{"runs: no subflows", "flow_runs/filter", `{"sort":"EXPECTED_START_TIME_DESC","flow_runs":{"parent_task_run_id":{"is_null_":true}}}`, listTarget},
	{"runs: subflows of a task run", "flow_runs/filter", `{"flow_runs":{"parent_task_run_id":{"any_":["{task}"]}}}`, listTarget},
	{"count: all runs", "flow_runs/count", `{}`, countTarget},
	{"count: failed", "flow_runs/count", `{"flow_runs":{"state":{"type":{"any_":["FAILED"]}}}}`, countTarget},
	{"count: late", "flow_runs/count", `{"flow_runs":{"state":{"name":{"any_":["Late"]}}}}`, countTarget},
	{"count: crashed", "flow_runs/count", `{"flow_runs":{"state":{"type":{"any_":["FAILED"]},"name":{"any_":["Crashed"]}}}}`, countTarget},
	{"count: of a deployment", "flow_runs/count", `{"flow_runs":{"deployment_id":{"any_":["{deployment}"]}}}`, countTarget},
	{"count: of a deployment, failed", "flow_runs/count", `{"flow_runs":{"deployment_id":{"any_":["{deployment}"]},"state":{"type":{"any_":["FAILED"]}}}}`, countTarget},
	{"count: of a flow", "flow_runs/count", `{"flows":{"id":{"any_":["{flow}"]}}}`, countTarget},
	{"count: of a work queue", "flow_runs/count", `{"flow_runs":{"work_queue_id":{"any_":["{queue}"]}}}`, countTarget},
	{"count: tagged", "flow_runs/count", `{"flow_runs":{"tags":{"all_":["prod"]}}}`, countTarget},
	{"count: failed, expected in the last week", "flow_runs/count", `{"flow_runs":{"state":{"type":{"any_":["FAILED"]}},"expected_start_time":{"after_":"{week}"}}}`, 0},
	{"count: expected in the last day", "flow_runs/count", `{"flow_runs":{"expected_start_time":{"after_":"{day}"}}}`, 0},
	{"history: all, by day", "flow_runs/history", `{"history_start":"{days}","history_end":"{now}","history_interval_seconds":86400}`, countTarget},
	{"history: the last day, by 15 minutes", "flow_runs/history", `{"history_start":"{day}","history_end":"{now}","history_interval_seconds":900}`, countTarget},
	{"history: failed in the last week", "flow_runs/history", `{"history_start":"{week}","history_end":"{now}","history_interval_seconds":3600,"flow_runs":{"state":{"type":{"any_":["FAILED"]}}}}`, 0},
	{"flows", "flows/filter", `{}`, listTarget},
	{"flows: with failed runs", "flows/filter", `{"flow_runs":{"state":{"type":{"any_":["FAILED"]}}}}`, listTarget},
	{"flows: with running runs", "flows/filter", `{"flow_runs":{"state":{"type":{"any_":["RUNNING"]}}}}`, listTarget},
	{"deployments", "deployments/filter", `{}`, listTarget},
	{"deployments: with late runs", "deployments/filter", `{"flow_runs":{"state":{"name":{"any_":["Late"]}}}}`, listTarget},
	{"task runs: newest made", "task_runs/filter", `{}`, listTarget},
	{"task runs: latest start, offset 10,000", "task_runs/filter", `{"sort":"EXPECTED_START_TIME_DESC","offset":10000}`, listTarget},
	{"task runs: failed", "task_runs/filter", `{"sort":"EXPECTED_START_TIME_DESC","task_runs":{"state":{"type":{"any_":["FAILED"]}}}}`, listTarget},
	{"task runs: tagged", "task_runs/filter", `{"sort":"EXPECTED_START_TIME_DESC","task_runs":{"tags":{"all_":["load"]}}}`, listTarget},
	{"task runs: of a run", "task_runs/filter", `{"sort":"EXPECTED_START_TIME_DESC","flow_runs":{"id":{"any_":["{run}"]}}}`, listTarget},
	{"count: task runs", "task_runs/count", `{}`, countTarget},
	{"count: task runs, failed", "task_runs/count", `{"task_runs":{"state":{"type":{"any_":["FAILED"]}}}}`, countTarget},
	{"logs: of a run", "logs/filter", `{"logs":{"flow_run_id":{"any_":["{run}"]}}}`, listTarget},
}

// Queries measures each query of the UI's list, one after the other from one caller, until it was sent times times or patience is over.
// until is the end of the data.
func Queries(ctx context.Context, host string, until time.Time, times int, patience time.Duration) ([]QueryResult, error) {
	c, err := dial(host)
	if err != nil {
		return nil, err
	}
	defer c.close()
	facts, err := facts(c, until)
	if err != nil {
		return nil, err
	}
	var results []QueryResult
	for _, q := range uiQueries {
		body := []byte(facts.Replace(q.body))
		r := QueryResult{Name: q.name, Target: q.target}
		var spent samples
		for begin := time.Now(); len(spent) < times && (len(spent) < 3 || time.Since(begin) < patience) && ctx.Err() == nil; {
			sent := time.Now()
			status, answer, err := c.post("/api/"+q.path, body)
			if err != nil {
				return nil, err
			}
			if status != 200 {
				return nil, fmt.Errorf("%s: %s %s answered %d: %s", q.name, q.path, body, status, answer)
			}
			spent = append(spent, time.Since(sent))
			r.Bytes = len(answer)
		}
		r.Median, r.P99 = milliseconds(spent.quantile(0.5)), milliseconds(spent.quantile(0.99))
		results = append(results, r)
	}
	return results, ctx.Err()
}

// facts looks for objects that the queries name: the deployment with most runs, its flow, a queue, a subflow's parent, a run with task runs.
func facts(c *conn, until time.Time) (*strings.Replacer, error) {
	ask := func(path, body, name string) (string, error) {
		status, answer, err := c.post("/api/"+path, []byte(body))
		if err == nil && status != 200 {
			err = fmt.Errorf("%s answered %d: %s", path, status, answer)
		}
		return field(answer, name), err
	}
	found := map[string]string{}
	for _, f := range []struct{ fact, path, body, field string }{
		{"deployment", "deployments/filter", `{"deployments":{"name":{"any_":["prod-0"]}}}`, "id"},
		{"flow", "deployments/filter", `{"deployments":{"name":{"any_":["prod-0"]}}}`, "flow_id"},
		{"queue", "work_queues/filter", `{"limit":1}`, "id"},
		{"name", "flow_runs/filter", `{"limit":1}`, "name"},
		{"run", "task_runs/filter", `{"limit":1}`, "flow_run_id"},
		{"task", "flow_runs/filter", `{"limit":1,"flow_runs":{"parent_task_run_id":{"is_null_":false}}}`, "parent_task_run_id"},
	} {
		value, err := ask(f.path, f.body, f.field)
		if err != nil {
			return nil, err
		}
		if value == "" {
			return nil, fmt.Errorf("there is no %s in what the server has: fill a data directory with sluice bench seed --data-dir", f.fact)
		}
		found[f.fact] = value
	}
	at := func(days int) string {
		return until.Add(-time.Duration(days) * 24 * time.Hour).UTC().Format(time.RFC3339)
	}
	return strings.NewReplacer("{deployment}", found["deployment"], "{flow}", found["flow"], "{queue}", found["queue"], "{name}", found["name"], "{run}", found["run"],
		"{task}", found["task"], "{now}", at(0), "{day}", at(1), "{week}", at(7), "{days}", at(80)), nil
}
