package httpapi

import (
	"strings"
	"testing"
)

var greetingSchema = object{"type": "object", "required": []any{"name"}, "additionalProperties": false,
	"properties": object{"name": object{"type": "string"}, "times": object{"type": "integer", "minimum": 1}}}

func TestParametersFitTheSchemaAtEveryEntrance(t *testing.T) { everywhere(t, checkParameters) }

func checkParameters(t *testing.T, at place) {
	s := newStack(t, at)
	d := s.policied(object{"parameter_schema": greetingSchema, "parameters": object{"times": 2}})
	path := "/api/deployments/" + d["id"].(string)
	cron := object{"cron": "0 9 * * *"}
	refused := func(what, wants string, a answer) {
		t.Helper()
		if a.status != 422 || !strings.Contains(a.text, wants) {
			t.Errorf("%s is answered %d %s", what, a.status, a.text)
		}
	}
	missing, wrong := `"loc":["body","parameters","name"],"msg":"field required"`, `"loc":["body","parameters","times"],"msg":"value is not a valid integer"`
	refused("a run without a required parameter", missing, s.do("POST", path+"/create_flow_run", object{}))
	refused("the same from Orion's client", missing, s.do("POST", path+"/create_flow_run", object{}, strictly...))
	refused("a run with a wrong parameter", wrong, s.do("POST", path+"/create_flow_run", object{"parameters": object{"name": "Leo", "times": "x"}}))
	refused("a run with a parameter there is not", `"nmae"],"msg":"extra fields not permitted"`, s.do("POST", path+"/create_flow_run", object{"parameters": object{"name": "Leo", "nmae": "x"}}))
	refused("a run made by hand", missing, s.do("POST", "/api/flow_runs/", object{"flow_id": d["flow_id"], "deployment_id": d["id"], "parameters": object{"times": 1}}))
	refused("a change of the deployment's parameters", wrong, s.do("PATCH", path, object{"parameters": object{"times": "x"}}))
	refused("a schedule for parameters that are not enough", missing, s.do("PATCH", path, object{"schedule": cron}))
	refused("a further schedule", missing, s.do("POST", path+"/schedules", object{"schedule": cron}))
	refused("a backfill", missing, s.do("POST", path+"/backfill", object{"start_time": "2026-01-01T00:00:00Z", "end_time": "2026-01-02T00:00:00Z"}))
	body := object{"name": "e", "flow_id": d["flow_id"], "flow_data": object{"encoding": "x", "blob": ""}, "parameter_schema": greetingSchema, "parameters": object{"times": 0}}
	refused("a deployment", `"times"],"msg":"minimum: got 0, want 1"`, s.do("POST", "/api/deployments/", body))
	refused("the plan of one", `"times"]`, s.do("POST", "/api/deployments/plan", body))
	body["parameters"], body["schedule"] = object{}, cron
	refused("a scheduled deployment", missing, s.do("POST", "/api/deployments/", body))
	body["schedule"], body["parameter_schema"] = nil, object{"type": "strin"}
	refused("a schema that is none", `["body","parameter_schema"]`, s.do("POST", "/api/deployments/", body))
	if runs := s.do("POST", "/api/flow_runs/count", object{}); runs.text != "0" {
		t.Errorf("%s runs were made nonetheless", runs.text)
	}
	if now := s.must(200, "GET", path, nil); now["revision"] != d["revision"] || now["schedule"] != nil {
		t.Errorf("what was refused changed the deployment to %v", now)
	}
	run := s.must(201, "POST", path+"/create_flow_run", object{"parameters": object{"name": "Leo"}})
	if p := run["parameters"].(object); p["name"] != "Leo" || p["times"] != 2.0 {
		t.Errorf("the run has the parameters %v", p)
	}
	ofRun := "/api/flow_runs/" + run["id"].(string)
	refused("a change of a run's parameters", wrong, s.do("PATCH", ofRun, object{"parameters": object{"name": "Leo", "times": "x"}}))
	refused("running it again with others", wrong, s.do("POST", ofRun+"/rerun", object{"parameters": object{"times": "x"}}))
	s.must(201, "POST", ofRun+"/rerun", object{"parameters": object{"times": 3}})
	// What was right once is checked against the schema there is now.
	s.must(200, "PATCH", path, object{"parameters": object{"name": "Ada"}, "schedule": cron})
	s.must(200, "POST", "/api/deployments/", object{"name": "d", "flow_id": d["flow_id"], "flow_data": object{"encoding": "x", "blob": ""}, "parameter_schema": object{"properties": object{"name": object{"type": "integer"}}}})
	refused("running it again under another schema", `"name"],"msg":"value is not a valid integer"`, s.do("POST", ofRun+"/rerun", object{}))
	refused("a run under another schema", `"name"],"msg":"value is not a valid integer"`, s.do("POST", path+"/create_flow_run", object{"parameters": object{"name": "Leo"}}))
}
