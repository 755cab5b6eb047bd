package httpapi

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-dev/sluice/fsm/command"
)

func TestRetentionIsReadChangedAndForeseen(t *testing.T) {
	everywhere(t, checkRetentionIsReadChangedAndForeseen)
}

func checkRetentionIsReadChangedAndForeseen(t *testing.T, at place) {
	s := newStack(t, at)
	age := int64(90 * 24 * 3600 * 1_000_000)
	first := &command.Envelope{Seed: newID(), Command: &command.Envelope_SetRetention{SetRetention: &command.SetRetention{IfAbsent: true, RunsMaxAge: &age, LogsMaxAge: &age}}}
	if _, index, err := s.claims.proposer.Propose(t.Context(), first); err != nil || index == 0 {
		t.Fatal(err)
	}
	rules := s.must(200, "GET", "/api/retention", nil)
	if got := fmt.Sprint(rules["runs"], rules["logs"]); got != "map[max_age:90d max_count:0 max_total:0] map[max_age:90d max_count:0]" {
		t.Errorf("the rules of a new cluster are %s", got)
	}
	rules = s.must(200, "PATCH", "/api/retention", object{"runs": object{"max_count": 2}, "logs": object{"max_age": "1d12h"}})
	if got := fmt.Sprint(rules["runs"], rules["logs"]); got != "map[max_age:90d max_count:2 max_total:0] map[max_age:1d12h max_count:0]" {
		t.Errorf("after a change of two rules they are %s", got)
	}
	for body, want := range map[string]string{
		`{"runs":{"max_age":"yesterday"}}`: "an age is a number of days",
		`{"runs":{"max_count":-1}}`:        "greater than or equal to 0",
		`{"run":{}}`:                       "extra fields not permitted",
		`{"logs":{"max_total":1}}`:         "extra fields not permitted",
	} {
		if a := s.do("PATCH", "/api/retention", body, oddly...); a.status != 422 || !strings.Contains(a.text, want) {
			t.Errorf("%s: status %d: %s", body, a.status, a.text)
		}
	}

	flow := s.must(201, "POST", "/api/flows/", object{"name": "f"})["id"]
	deployment := s.must(201, "POST", "/api/deployments/", object{"name": "d", "flow_id": flow, "flow_data": object{"encoding": "x", "blob": "y"},
		"retention": object{"runs": object{"max_count": 1, "max_age": "forever"}}})
	if got := fmt.Sprint(deployment["retention"]); got != "map[runs:map[max_age:forever max_count:1]]" {
		t.Errorf("the deployment's own rules are %s", got)
	}
	for range 5 {
		run := s.must(201, "POST", "/api/deployments/"+deployment["id"].(string)+"/create_flow_run", object{})
		s.must(201, "POST", "/api/flow_runs/"+run["id"].(string)+"/set_state", object{"state": object{"type": "COMPLETED"}, "force": true})
		s.must(201, "POST", "/api/flow_runs/", object{"flow_id": flow, "state": object{"type": "CANCELLED"}})
	}
	preview := s.must(200, "GET", "/api/retention/preview", nil)
	if preview["runs"] != 7.0 || preview["logs"] != 0.0 || len(preview["deployments"].([]any)) != 2 {
		t.Errorf("what would go: %v; want four of the deployment's five runs and three of the other five", preview)
	}
	s.must(200, "PATCH", "/api/retention", object{"runs": object{"max_total": 1}})
	if preview := s.must(200, "GET", "/api/retention/preview", nil); preview["runs"] != 9.0 || preview["total"] != 2.0 {
		t.Errorf("with room for one run, what would go: %v; want nine runs, two of them for that bound", preview)
	}
	// An Orion client replaces the deployment: it knows no retention.
	s.must(200, "POST", "/api/deployments/", object{"name": "d", "flow_id": flow, "flow_data": object{"encoding": "x", "blob": "z"}}, strictly...)
	if got := s.must(200, "GET", "/api/deployments/"+deployment["id"].(string), nil)["retention"]; got == nil {
		t.Error("an Orion client's put took the rules away")
	}
}
