package httpapi

import (
	"testing"
)

// What Orion's clients see and no recorded session shows.

func TestScheduledTimesKeepTheOffsetTheyCameWith(t *testing.T) { everywhere(t, checkScheduledTimes) }

func checkScheduledTimes(t *testing.T, at place) {
	s := newStack(t, at)
	flow := s.must(201, "POST", "/api/flows/", object{"name": "f"}, strictly...)
	scheduled := func(at string) object {
		return object{"type": "SCHEDULED", "state_details": object{"scheduled_time": at}}
	}
	shown := func(state any) any { return state.(map[string]any)["state_details"].(map[string]any)["scheduled_time"] }
	run := s.must(201, "POST", "/api/flow_runs/", object{"flow_id": flow["id"], "state": scheduled("2026-11-23T09:30:00-05:00")}, strictly...)
	if shown(run["state"]) != "2026-11-23T09:30:00-05:00" || run["expected_start_time"] != "2026-11-23T14:30:00+00:00" || run["next_scheduled_start_time"] != "2026-11-23T14:30:00+00:00" {
		t.Errorf("a new run: %v %v %v", shown(run["state"]), run["expected_start_time"], run["next_scheduled_start_time"])
	}
	result := s.must(201, "POST", "/api/flow_runs/"+run["id"].(string)+"/set_state", object{"force": true, "state": scheduled("2030-01-01T00:00:00.25+05:30")}, strictly...)
	state := result["state"].(map[string]any)
	if shown(state) != "2030-01-01T00:00:00.250000+05:30" {
		t.Errorf("a state: %v", shown(state))
	}
	if kept := s.must(200, "GET", "/api/flow_run_states/"+state["id"].(string), nil, strictly...); shown(kept) != shown(state) {
		t.Errorf("the state, read again: %v", shown(kept))
	}
	deployment := s.must(201, "POST", "/api/deployments/", object{"name": "d", "flow_id": flow["id"], "flow_data": object{"encoding": "x", "blob": ""},
		"schedule": object{"cron": "30 9 * * *", "timezone": "America/New_York"}}, strictly...)
	s.must(200, "POST", "/api/deployments/"+deployment["id"].(string)+"/schedule", object{"start_time": "2030-01-05T00:00:00Z", "max_runs": 1}, strictly...)
	runs := s.do("POST", "/api/flow_runs/filter", object{"deployments": object{"id": object{"any_": []any{deployment["id"]}}}}, strictly...).json(t).([]any)
	if len(runs) != 1 {
		t.Fatalf("%d runs of a schedule", len(runs))
	}
	made := runs[0].(map[string]any)
	if shown(made["state"]) != "2030-01-05T09:30:00-05:00" || made["expected_start_time"] != "2030-01-05T14:30:00+00:00" ||
		made["idempotency_key"] != "scheduled "+deployment["id"].(string)+" 2030-01-05T09:30:00-05:00" {
		t.Errorf("a run of a schedule in a time zone: %v %v %v", shown(made["state"]), made["expected_start_time"], made["idempotency_key"])
	}
}

// A NUL is no text for a database, a command line or an environment: refused where it would name something, replaced in what is reported.
func TestTheNULCharacterIsRefusedOrReplaced(t *testing.T) {
	t.Parallel()
	s := newStack(t, oneNode)
	flow := s.must(201, "POST", "/api/flows/", object{"name": "f"})
	for path, body := range map[string]object{
		"/api/flows/":           {"name": "a\x00b"},
		"/api/flow_runs/":       {"flow_id": flow["id"], "parameters": object{"x": []any{object{"y": "\x00"}}}},
		"/api/task_runs/":       {"flow_run_id": nobody, "task_key": "k\x00", "dynamic_key": "0"},
		"/api/flow_runs/filter": {"flow_runs": object{"tags": object{"all_": []any{"\x00"}}}},
		"/api/deployments/":     {"name": "d", "flow_id": flow["id"], "flow_data": object{"encoding": "x", "blob": "\x00"}},
	} {
		if a := s.do("POST", path, body); a.status != 422 || a.object(t)["kind"] != "invalid" {
			t.Errorf("%s: %d %s", path, a.status, a.text)
		}
	}
	run := s.must(201, "POST", "/api/flow_runs/", object{"flow_id": flow["id"]})
	failed := s.must(201, "POST", "/api/flow_runs/"+run["id"].(string)+"/set_state", object{"state": object{"type": "FAILED", "message": "it said \x00 and died"}})
	if got := failed["state"].(map[string]any)["message"]; got != "it said \uFFFD and died" {
		t.Errorf("a message: %q", got)
	}
	s.must(201, "POST", "/api/logs/", []any{object{"name": "n", "level": 20, "message": "\x00out", "timestamp": "2026-01-01T00:00:00Z", "flow_run_id": run["id"]}})
	lines := s.do("POST", "/api/logs/filter", object{}).json(t).([]any)
	if len(lines) != 1 || lines[0].(map[string]any)["message"] != "\uFFFDout" {
		t.Errorf("log lines: %v", lines)
	}
}
