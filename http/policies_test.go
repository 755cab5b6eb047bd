package httpapi

import (
	"strings"
	"testing"
	"time"
)

// policied makes a deployment of a flow of its own.
func (s *stack) policied(body object) object {
	s.t.Helper()
	flow := s.do("POST", "/api/flows/", object{"name": "f"}).object(s.t)
	body["name"], body["flow_id"], body["flow_data"] = "d", flow["id"], object{"encoding": "x", "blob": ""}
	return s.do("POST", "/api/deployments/", body).object(s.t)
}

func TestPoliciesAreStoredShownAndChanged(t *testing.T) { everywhere(t, checkPolicies) }

func checkPolicies(t *testing.T, at place) {
	s := newStack(t, at)
	d := s.policied(object{"concurrency_limit": 2, "on_conflict": "skip", "overlap": "queue", "dst": object{"skipped": "skip"},
		"on_crash": object{"retries": 3, "delay_seconds": 10}, "run_timeout_seconds": 3600, "priority": 7})
	path := "/api/deployments/" + d["id"].(string)
	if d["concurrency_limit"] != 2.0 || d["on_conflict"] != "skip" || d["overlap"] != "queue" || d["run_timeout_seconds"] != 3600.0 || d["queue_timeout_seconds"] != nil ||
		d["priority"] != 7.0 || d["dst"].(object)["skipped"] != "skip" || d["dst"].(object)["repeated"] != "last" || d["on_crash"].(object)["retries"] != 3.0 {
		t.Errorf("stored as %v", d)
	}
	changed := s.must(200, "PATCH", path, object{"concurrency_limit": nil, "queue_timeout_seconds": 60, "if_revision": d["revision"]})
	if changed["concurrency_limit"] != nil || changed["queue_timeout_seconds"] != 60.0 || changed["on_conflict"] != "skip" || changed["revision"] == d["revision"] {
		t.Errorf("changed to %v", changed)
	}
	if a := s.do("PATCH", path, object{"priority": 1, "if_revision": d["revision"]}); a.status != 409 || !strings.Contains(a.text, "revision") {
		t.Errorf("a stale revision is answered %d %s", a.status, a.text)
	}
	again := s.must(200, "PATCH", path, object{"queue_timeout_seconds": 60})
	if again["revision"] != changed["revision"] || again["updated"] != changed["updated"] {
		t.Errorf("a change that changes nothing: %v", again)
	}
	run := s.must(201, "POST", path+"/create_flow_run", object{"state": object{"type": "SCHEDULED"}, "priority": 3})
	if run["priority"] != 3.0 || run["queue_timeout_seconds"] != 60.0 || run["crash_retries_max"] != 3.0 || run["deadline"] == nil {
		t.Errorf("a run of it is %v", run)
	}
	for field, wrong := range map[string]any{"concurrency_limit": -1, "on_conflict": "wait", "overlap": true, "priority": 0, "run_timeout_seconds": 0,
		"queue_timeout_seconds": "soon", "on_crash": object{"retries": -1}, "dst": object{"skipped": "both"}, "if_revision": "x", "catchup": "some"} {
		if a := s.do("PATCH", path, object{field: wrong}); a.status != 422 || !strings.Contains(a.text, `"`+field+`"`) {
			t.Errorf("%s %v is answered %d %s", field, wrong, a.status, a.text)
		}
	}
	if now := s.must(200, "GET", path, nil); now["revision"] != changed["revision"] {
		t.Errorf("wrong values changed it to %v", now)
	}
}

func TestADeploymentHasSeveralSchedules(t *testing.T) { everywhere(t, checkSchedules) }

func checkSchedules(t *testing.T, at place) {
	s := newStack(t, at)
	d := s.policied(object{})
	path := "/api/deployments/" + d["id"].(string)
	daily := object{"schedule": object{"cron": "0 9 * * *", "timezone": "Europe/Berlin"}}
	first := s.must(201, "POST", path+"/schedules", daily)
	second := s.must(201, "POST", path+"/schedules", object{"schedule": object{"interval": 3600}, "active": false})
	if first["id"] != d["id"] || second["id"] == d["id"] || second["active"] != false || len(second["next"].([]any)) != 5 {
		t.Errorf("made %v and %v", first, second)
	}
	now := s.must(200, "GET", path, nil)
	if now["schedule"].(object)["cron"] != "0 9 * * *" || len(now["schedules"].([]any)) != 2 {
		t.Errorf("the deployment is %v", now)
	}
	resumed := s.must(200, "PATCH", path+"/schedules/"+second["id"].(string), object{"active": true})
	if resumed["active"] != true {
		t.Errorf("resumed: %v", resumed)
	}
	if a := s.do("PATCH", path+"/schedules/"+nobody, object{"active": true}); a.status != 404 {
		t.Errorf("an unknown schedule is answered %d %s", a.status, a.text)
	}
	if a := s.do("POST", path+"/schedules", object{"schedule": object{"cron": "61 * * * *"}}); a.status != 422 || !strings.Contains(a.text, "cron") {
		t.Errorf("a wrong schedule is answered %d %s", a.status, a.text)
	}
	s.must(204, "DELETE", path+"/schedules/"+second["id"].(string), nil)
	s.must(204, "DELETE", path+"/schedules", nil)
	if now := s.must(200, "GET", path, nil); now["schedule"] != nil || len(now["schedules"].([]any)) != 0 {
		t.Errorf("without schedules the deployment is %v", now)
	}
}

func TestABackfillMakesEachPastRunOnce(t *testing.T) { everywhere(t, checkBackfill) }

func checkBackfill(t *testing.T, at place) {
	s := newStack(t, at)
	d := s.policied(object{"schedule": object{"interval": 3600, "anchor_date": "2020-01-01T00:00:00+00:00"}, "is_schedule_active": false})
	path := "/api/deployments/" + d["id"].(string) + "/backfill"
	span := func(more object) object {
		body := object{"start_time": "2021-01-01T00:00:00+00:00", "end_time": "2021-01-01T09:30:00+00:00"}
		for k, v := range more {
			body[k] = v
		}
		return body
	}
	dry := s.must(200, "POST", path, span(object{"dry_run": true, "limit": 4}))
	if dry["matched"] != 10.0 || dry["created"] != 4.0 || dry["remaining"] != 6.0 || dry["runs"].([]any)[0].(object)["flow_run_id"] != nil {
		t.Errorf("a dry run answers %v", dry)
	}
	made := s.must(200, "POST", path, span(object{"limit": 4}))
	again := s.must(200, "POST", path, span(nil))
	if made["created"] != 4.0 || made["existing"] != 0.0 || again["created"] != 6.0 || again["existing"] != 4.0 {
		t.Errorf("made %v, then %v", made, again)
	}
	run := s.must(200, "GET", "/api/flow_runs/"+made["runs"].([]any)[0].(object)["flow_run_id"].(string), nil)
	if run["backfill"] != true || run["priority"] != 900.0 || run["tags"].([]any)[0] != "backfill" || run["auto_scheduled"] != false ||
		run["expected_start_time"] != "2021-01-01T00:00:00+00:00" {
		t.Errorf("a run is %v", run)
	}
	future := span(object{"end_time": time.Now().Add(24 * time.Hour * 365).UTC().Format(time.RFC3339)})
	for name, body := range map[string]object{"end_time": future, "limit": span(object{"limit": 0}), "start_time": {"end_time": "2021-01-01T00:00:00Z"}} {
		if a := s.do("POST", path, body); a.status != 422 || !strings.Contains(a.text, `"`+name+`"`) {
			t.Errorf("a wrong %s is answered %d %s", name, a.status, a.text)
		}
	}
	if a := s.do("POST", path, span(object{"schedule_id": nobody})); a.status != 404 {
		t.Errorf("an unknown schedule is answered %d %s", a.status, a.text)
	}
}

func TestAPlanSaysWhatWouldChange(t *testing.T) { everywhere(t, checkPlan) }

func checkPlan(t *testing.T, at place) {
	s := newStack(t, at)
	d := s.policied(object{"tags": []string{"a"}, "schedule": object{"interval": 3600}})
	body := object{"name": "d", "flow_id": d["flow_id"], "flow_data": object{"encoding": "x", "blob": ""}, "tags": []string{"a"}, "schedule": object{"interval": 3600}}
	same := s.must(200, "POST", "/api/deployments/plan", body)
	if same["action"] != "unchanged" || len(same["changes"].([]any)) != 0 || same["revision"] != d["revision"] {
		t.Errorf("nothing to change: %v", same)
	}
	body["concurrency_limit"], body["tags"] = 1, []string{"b"}
	plan := s.must(200, "POST", "/api/deployments/plan", body)
	var fields []string
	for _, c := range plan["changes"].([]any) {
		fields = append(fields, c.(object)["field"].(string))
	}
	if plan["action"] != "update" || strings.Join(fields, " ") != "concurrency_limit tags" {
		t.Errorf("planned %v", plan)
	}
	if now := s.must(200, "GET", "/api/deployments/"+d["id"].(string), nil); now["revision"] != d["revision"] {
		t.Errorf("planning changed it to %v", now)
	}
	body["if_revision"] = plan["revision"]
	s.must(200, "POST", "/api/deployments/", body)
	if a := s.do("POST", "/api/deployments/", body); a.status != 409 {
		t.Errorf("applying a plan twice is answered %d %s", a.status, a.text)
	}
	body["name"] = "new"
	delete(body, "if_revision")
	if plan := s.must(200, "POST", "/api/deployments/plan", body); plan["action"] != "create" || plan["revision"] != "0" {
		t.Errorf("planned %v", plan)
	}
}
