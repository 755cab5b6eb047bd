package httpapi

import (
	"slices"
	"strings"
	"testing"

	"github.com/sluice-dev/sluice/fsm/row"
)

// TestTheEnvironmentOfAFlowRunner is shown only to those who may see secrets.
func TestTheEnvironmentOfAFlowRunner(t *testing.T) { everywhere(t, checkEnvironments) }

func checkEnvironments(t *testing.T, at place) {
	const hidden, changed = "value-nobody-may-read", "another-value-nobody-may-read"
	s := newStack(t, at, withTokens)
	s.undescribed()
	admin := bearer(s.token("admin", row.TokenRole_ADMIN))
	viewer, operator := bearer(s.token("viewer", row.TokenRole_VIEWER)), bearer(s.token("operator", row.TokenRole_OPERATOR))
	deployer, agent := bearer(s.token("deployer", row.TokenRole_DEPLOYER)), bearer(s.token("agent", row.TokenRole_AGENT))
	runner := func(value string) object {
		return object{"type": "subprocess", "config": object{"env": object{"SLUICE_API_KEY": value, "MODE": value, "EMPTY": ""}, "virtualenv": "venv"}}
	}
	flow := s.must(201, "POST", "/api/flows/", object{"name": "f"}, admin...)["id"].(string)
	deployment := func(value string) object {
		return object{"name": "d", "flow_id": flow, "flow_data": object{"encoding": "e", "blob": "b"}, "flow_runner": runner(value)}
	}
	id := s.must(201, "POST", "/api/deployments/", deployment(hidden), deployer...)["id"].(string)
	queue := s.must(201, "POST", "/api/work_queues/", object{"name": "q"}, admin...)["id"].(string)
	events := s.open(t, "/api/events?topic=deployment,flow_run", viewer...)
	run := s.must(201, "POST", "/api/deployments/"+id+"/create_flow_run", object{"state": object{"type": "SCHEDULED"}}, admin...)["id"].(string)
	done := s.must(201, "POST", "/api/deployments/"+id+"/create_flow_run", object{"state": object{"type": "SCHEDULED"}}, admin...)["id"].(string)
	shows := func(a answer) bool { return strings.Contains(a.text, hidden) || strings.Contains(a.text, changed) }

	t.Run("shows on no route to a viewer or an operator", func(t *testing.T) {
		masked := 0
		for _, rt := range s.server.table {
			if rt.role > RoleViewer || rt.stream {
				continue
			}
			for _, object := range []string{id, run, queue, flow} {
				path := strings.NewReplacer("{flow}", "f", "{deployment}", "d").Replace(rt.path)
				path = pathVariable.ReplaceAllString(path, object)
				if !rt.root {
					path = "/api" + path
				}
				var body any
				if rt.method == "POST" {
					body = "{}"
				}
				for _, who := range [][]string{viewer, operator} {
					for _, how := range [][]string{nil, strictly} {
						a := s.do(rt.method, path, body, append(slices.Clone(who), how...)...)
						if shows(a) {
							t.Errorf("%s %s shows it: %s", rt.method, path, a.text)
						}
						if strings.Contains(a.text, `"SLUICE_API_KEY":"********"`) {
							masked++
						}
					}
				}
			}
		}
		if masked < 20 { // both read by id, by name and in lists, by two callers in two ways
			t.Errorf("it was masked in %d answers only", masked)
		}
		for _, a := range []answer{
			s.do("POST", "/api/flow_runs/filter?cursor=", object{}, viewer...), s.do("POST", "/api/deployments/filter?cursor=", object{}, viewer...),
			s.do("POST", "/api/flow_runs/filter?cursor=", object{"sort": "NAME_ASC"}, viewer...),
			s.do("POST", "/api/deployments/"+id+"/create_flow_run", object{"state": object{"type": "SCHEDULED"}}, operator...),
			s.do("POST", "/api/flow_runs/"+run+"/rerun", object{}, operator...),
			s.do("POST", "/api/jobs", object{"action": "cancel", "filter": object{"flow_runs": object{"id": object{"any_": []string{run}}}}, "dry_run": true}, operator...),
			s.do("POST", "/api/work_queues/"+queue+"/get_runs", object{"scheduled_before": "2100-01-01T00:00:00Z"}, operator...),
		} {
			if a.status >= 300 || shows(a) || !strings.Contains(a.text, `"env":{"EMPTY":"","MODE":"********","SLUICE_API_KEY":"********"},"virtualenv":"venv"`) {
				t.Errorf("%d %s", a.status, a.text)
			}
		}
	})
	t.Run("shows in no stream of a run", func(t *testing.T) {
		streamed := 0
		s.must(201, "POST", "/api/flow_runs/"+done+"/set_state", object{"state": object{"type": "CANCELLED"}, "force": true}, admin...)
		for _, rt := range s.server.table {
			if !rt.stream || rt.method != "GET" || !strings.HasPrefix(rt.path, "/flow_runs/") {
				continue // those of events are below
			}
			for _, who := range [][]string{viewer, operator} {
				a := s.do("GET", "/api"+pathVariable.ReplaceAllString(rt.path, done), nil, who...)
				if a.status != 200 || shows(a) {
					t.Errorf("%s: %d %s", rt.path, a.status, a.text)
				}
				streamed++
			}
		}
		if streamed < 4 { // the run itself and its log
			t.Errorf("only %d streams were read", streamed)
		}
	})
	t.Run("shows in no event", func(t *testing.T) {
		for events.lines.Scan() {
			line := events.lines.Text()
			if strings.Contains(line, hidden) {
				t.Error(line)
			}
			if strings.HasPrefix(line, "data: ") && strings.Contains(line, run) {
				return
			}
		}
		t.Errorf("the stream has ended: %v", events.lines.Err())
	})
	t.Run("is masked in a plan, which tells that it changes", func(t *testing.T) {
		a := s.do("POST", "/api/deployments/plan", deployment(changed), viewer...)
		if a.status != 200 || shows(a) || !strings.Contains(a.text, `"field":"flow_runner"`) || !strings.Contains(a.text, `"action":"update"`) {
			t.Errorf("%d %s", a.status, a.text)
		}
		if a := s.do("POST", "/api/deployments/plan", deployment(changed), deployer...); !strings.Contains(a.text, hidden) || !strings.Contains(a.text, changed) {
			t.Errorf("a deployer is told %d %s", a.status, a.text)
		}
	})
	t.Run("is shown to those who execute flows or write them", func(t *testing.T) {
		for _, who := range [][]string{agent, deployer, admin} {
			for _, path := range []string{"/api/deployments/" + id, "/api/flow_runs/" + run} {
				if a := s.do("GET", path, nil, who...); a.status != 200 || !strings.Contains(a.text, hidden) {
					t.Errorf("%s: %d %s", path, a.status, a.text)
				}
			}
		}
	})
	t.Run("is not sent back with a refusal", func(t *testing.T) {
		odd := deployment(hidden)
		odd["surplus"] = 1
		if a := s.do("POST", "/api/deployments/", `{"env": "`+hidden+`",`, deployer...); a.status != 422 || shows(a) {
			t.Errorf("what is no JSON: %d %s", a.status, a.text)
		}
		for path, body := range map[string]any{
			"/api/deployments/": odd, "/api/deployments/plan": odd, "/api/flow_runs/": object{"flow_runner": runner(hidden)},
			"/api/deployments/" + id + "/create_flow_run": object{"flow_runner": runner(hidden), "surplus": 1},
		} {
			if a := s.do("POST", path, body, deployer...); a.status != 422 || shows(a) {
				t.Errorf("%s: %d %s", path, a.status, a.text)
			}
		}
	})
	t.Run("is not replaced by its mask", func(t *testing.T) {
		shown := s.must(200, "GET", "/api/deployments/"+id, nil, viewer...)["flow_runner"]
		again := deployment("")
		again["flow_runner"] = shown
		for _, a := range []answer{
			s.do("POST", "/api/deployments/", again, deployer...),
			s.do("PATCH", "/api/deployments/"+id, object{"flow_runner": shown}, deployer...),
			s.do("PATCH", "/api/flow_runs/"+run, object{"flow_runner": shown}, admin...),
			s.do("POST", "/api/flow_runs/", object{"flow_id": flow, "flow_runner": shown}, admin...),
			s.do("POST", "/api/deployments/"+id+"/create_flow_run", object{"flow_runner": shown}, admin...),
		} {
			if a.status != 422 || !strings.Contains(a.text, "********, which is only what is shown") {
				t.Errorf("%d %s", a.status, a.text)
			}
		}
		for _, path := range []string{"/api/deployments/" + id, "/api/flow_runs/" + run} {
			if a := s.do("GET", path, nil, admin...); !strings.Contains(a.text, hidden) {
				t.Errorf("%s: %s", path, a.text)
			}
		}
	})
}
