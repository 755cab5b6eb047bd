package httpapi

import (
	"fmt"
	"strings"
	"testing"
)

func TestArtifactsLiveWithTheirRuns(t *testing.T) { everywhere(t, checkArtifacts) }

func checkArtifacts(t *testing.T, at place) {
	s := newStack(t, at)
	run := s.aRun()
	other := s.aRun()
	show := func(run, key, kind string, data any) object {
		return s.must(201, "POST", "/api/artifacts/", object{"key": key, "type": kind, "data": data, "flow_run_id": run, "description": "d"})
	}
	table := show(run, "pages", "table", []any{object{"url": "x", "n": 1}})
	show(run, "report", "markdown", "# one")
	latest := show(other, "report", "markdown", "# two")
	show(other, "home", "link", object{"url": "https://x.example/a", "text": "x"})
	if got := s.must(200, "GET", "/api/artifacts/"+table["id"].(string), nil); got["flow_run_id"] != run || got["task_run_id"] != nil || got["size"] != 19.0 ||
		got["data"].([]any)[0].(object)["url"] != "x" || got["description"] != "d" {
		t.Errorf("the table is %v", got)
	}
	if got := s.must(200, "GET", "/api/artifacts/key/report", nil); got["id"] != latest["id"] || got["data"] != "# two" {
		t.Errorf("the latest is %v", got)
	}
	for filter, want := range map[string]string{`{}`: "home report report pages", `{"flow_run_id":"` + run + `"}`: "report pages", `{"key":"report"}`: "report report",
		`{"key":"report","flow_run_id":"` + run + `"}`: "report", `{"limit":1,"offset":1}`: "report", `{"key":"none"}`: ""} {
		var keys []string
		for _, a := range s.do("POST", "/api/artifacts/filter", filter).json(t).([]any) {
			keys = append(keys, a.(object)["key"].(string))
			if a.(object)["data"] != nil {
				t.Errorf("%s: data is listed without being asked for", filter)
			}
		}
		if got := strings.Join(keys, " "); got != want {
			t.Errorf("%s finds %q, not %q", filter, got, want)
		}
	}
	if a := s.do("POST", "/api/artifacts/filter", `{"key":"home","with_data":true}`); !strings.Contains(a.text, "https://x.example/a") {
		t.Errorf("with data: %s", a.text)
	}
	for what, wrong := range map[string]object{
		"data":        {"type": "table", "data": object{}},
		"markdown":    {"type": "markdown", "data": 5},
		"http://":     {"type": "link", "data": object{"url": "javascript:alert(1)"}},
		"type":        {"type": "image", "data": ""},
		"limit":       {"type": "markdown", "data": strings.Repeat("x", 256<<10)},
		"key":         {"key": strings.Repeat("x", 256), "type": "markdown", "data": ""},
		"flow_run_id": {"type": "markdown", "data": "", "flow_run_id": nil},
	} {
		body := object{"key": "k", "flow_run_id": run}
		for name, value := range wrong {
			body[name] = value
		}
		if a := s.do("POST", "/api/artifacts/", body); a.status != 422 || !strings.Contains(a.text, what) {
			t.Errorf("%v is answered %d %.200s", what, a.status, a.text)
		}
	}
	if a := s.do("POST", "/api/artifacts/", object{"key": "k", "type": "markdown", "data": "", "flow_run_id": fmt.Sprintf("%036d", 0)}); a.status != 422 && a.status != 404 {
		t.Errorf("a run that is not there: %d %s", a.status, a.text)
	}
	s.must(204, "DELETE", "/api/flow_runs/"+other, nil)
	if a := s.do("POST", "/api/artifacts/filter", `{}`).json(t).([]any); len(a) != 2 {
		t.Errorf("after its run was deleted there are %v", a)
	}
	if got := s.must(200, "GET", "/api/artifacts/key/report", nil); got["data"] != "# one" {
		t.Errorf("the latest is %v", got)
	}
}
