package httpapi

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/sluice-dev/sluice/api"
)

// scheduled are a deployment's schedules as name, id and whether they are active, by name.
func scheduled(t *testing.T, d object) map[string]api.ScheduleEntry {
	t.Helper()
	encoded, err := json.Marshal(d["schedules"])
	if err != nil {
		t.Fatal(err)
	}
	var entries []api.ScheduleEntry
	if err := json.Unmarshal(encoded, &entries); err != nil {
		t.Fatal(err)
	}
	by := map[string]api.ScheduleEntry{}
	for _, e := range entries {
		by[e.Name] = e
	}
	return by
}

func TestADeploymentIsPutWithAllItsSchedules(t *testing.T) { everywhere(t, checkPutSchedules) }

func checkPutSchedules(t *testing.T, at place) {
	s := newStack(t, at)
	nightly, hourly := object{"name": "nightly", "schedule": object{"cron": "0 3 * * *"}}, object{"name": "hourly", "schedule": object{"interval": 3600}}
	body := object{"schedules": []any{nightly, hourly}}
	d := s.policied(body)
	path := "/api/deployments/" + d["id"].(string)
	first := scheduled(t, d)
	if first["nightly"].ID.String() != d["id"] || d["schedule"].(object)["cron"] != "0 3 * * *" || !first["hourly"].Active {
		t.Fatalf("%v", d["schedules"])
	}
	// The same again changes nothing, whatever was paused meanwhile.
	s.must(200, "PATCH", path+"/schedules/"+first["hourly"].ID.String(), object{"active": false})
	paused := s.must(200, "GET", path, nil)
	again := s.must(200, "POST", "/api/deployments/", body)
	if again["revision"] != paused["revision"] || scheduled(t, again)["hourly"].Active {
		t.Errorf("put again: %v", again)
	}
	// Without a word about them they stay; a plan shows what becomes of them.
	weekly := object{"schedule": object{"rrule": "FREQ=WEEKLY;BYDAY=MO"}, "active": false}
	hourly["schedule"], hourly["active"] = object{"interval": 1800}, true
	body["schedules"] = []any{nightly, hourly, weekly}
	plan := s.must(200, "POST", "/api/deployments/plan", body)
	fields := ""
	for _, c := range plan["changes"].([]any) {
		fields += c.(object)["field"].(string) + " "
	}
	if plan["action"] != "update" || fields != "schedules " || strings.Contains(s.do("POST", "/api/deployments/plan", body).text, first["hourly"].ID.String()) {
		t.Errorf("the plan is %v", plan)
	}
	after := scheduled(t, s.must(200, "POST", "/api/deployments/", body))
	if len(after) != 3 || after["hourly"].ID != first["hourly"].ID || !after["hourly"].Active || after["hourly"].Schedule.Interval.Interval.Std().Minutes() != 30 || after[""].Active {
		t.Errorf("then: %v", after)
	}
	if plan := s.must(200, "POST", "/api/deployments/plan", body); plan["action"] != "unchanged" {
		t.Errorf("the plan of what is there is %v", plan)
	}
	delete(body, "schedules")
	body["schedule"] = object{"cron": "0 4 * * *"}
	if kept := scheduled(t, s.must(200, "POST", "/api/deployments/", body)); len(kept) != 3 || kept["nightly"].Schedule.Cron.Cron != "0 4 * * *" {
		t.Errorf("a put that does not speak of them leaves %v", kept)
	}
	for name, wrong := range map[string]object{
		"Two schedules are called":        {"schedules": []any{nightly, nightly}},
		"Both schedule and schedules":     {"schedules": []any{nightly}, "schedule": object{"interval": 60}},
		"exactly 5 or 6 columns|schedule": {"schedules": []any{object{"schedule": object{"cron": "x"}}}},
	} {
		for key, value := range body {
			if wrong[key] == nil && key != "schedule" {
				wrong[key] = value
			}
		}
		a := s.do("POST", "/api/deployments/", wrong)
		known := false
		for part := range strings.SplitSeq(name, "|") {
			known = known || strings.Contains(a.text, part)
		}
		if a.status/100 != 4 || !known {
			t.Errorf("%s: %d %s", name, a.status, a.text)
		}
	}
	if a := s.do("POST", path+"/schedules", object{"name": "hourly", "schedule": object{"interval": 60}}); a.status != 409 {
		t.Errorf("a name that is taken: %d %s", a.status, a.text)
	}
	delete(body, "schedule")
	body["schedules"] = []any{}
	if none := s.must(200, "POST", "/api/deployments/", body); len(none["schedules"].([]any)) != 0 || none["schedule"] != nil {
		t.Errorf("none: %v", none["schedules"])
	}
}

func TestTheRetentionOfADeploymentIsChanged(t *testing.T) { everywhere(t, checkPatchRetention) }

func checkPatchRetention(t *testing.T, at place) {
	s := newStack(t, at)
	d := s.policied(object{"retention": object{"runs": object{"max_age": "30d"}}})
	path := "/api/deployments/" + d["id"].(string)
	d = s.must(200, "PATCH", path, object{"retention": object{"runs": object{"max_age": "7d", "max_count": 100}, "logs": object{"max_age": "forever"}}})
	encoded, err := json.Marshal(d["retention"])
	if err != nil || string(encoded) != `{"logs":{"max_age":"forever"},"runs":{"max_age":"7d","max_count":100}}` {
		t.Errorf("%s %v", encoded, err)
	}
	if again := s.must(200, "PATCH", path, object{"tags": []any{"x"}}); again["retention"] == nil {
		t.Error("a change of something else takes the retention away")
	}
	if a := s.do("PATCH", path, object{"retention": object{"runs": object{"max_age": "soon"}}}); a.status != 422 || !strings.Contains(a.text, "max_age") {
		t.Errorf("%d %s", a.status, a.text)
	}
	if d = s.must(200, "PATCH", path, object{"retention": nil}); d["retention"] != nil {
		t.Errorf("%v", d["retention"])
	}
}
