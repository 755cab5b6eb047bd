package httpapi

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
)

// The naive history reads all objects and sums up what they say.
func (w *world) naiveHistory(runs []object, start time.Time, step time.Duration, n int) []any {
	out := make([]any, n)
	for i := range out {
		from, until := start.Add(time.Duration(i)*step), start.Add(time.Duration(i+1)*step)
		counts := map[[2]string]float64{}
		for _, r := range runs {
			at, err := time.Parse(time.RFC3339Nano, r["expected_start_time"].(string))
			if err != nil {
				w.t.Fatal(err)
			}
			if !at.Before(from) && at.Before(until) {
				counts[[2]string{r["state_type"].(string), r["state"].(object)["name"].(string)}]++
			}
		}
		out[i] = counts
	}
	return out
}

func countsOf(t *testing.T, answer any) []any {
	out := []any{}
	for _, in := range answer.([]any) {
		counts := map[[2]string]float64{}
		for _, s := range in.(object)["states"].([]any) {
			s := s.(object)
			counts[[2]string{s["state_type"].(string), s["state_name"].(string)}] = s["count_runs"].(float64)
			if s["sum_estimated_run_time"].(float64) < 0 || s["sum_estimated_lateness"].(float64) < 0 {
				t.Errorf("negative sums: %v", s)
			}
		}
		out = append(out, counts)
	}
	return out
}

func TestHistoryCountsWhatTheListsSay(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Log("seed", seed)
	w := newWorld(t, seed)
	for round := range 60 {
		step := []time.Duration{time.Second, time.Minute, 17 * time.Minute, time.Hour}[w.r.IntN(4)]
		n := 1 + w.r.IntN(40)
		start := time.Now().Add(-step * time.Duration(w.r.IntN(n+1))).Truncate(time.Microsecond).UTC()
		kind, body := "flow_runs", object{}
		if w.r.IntN(3) == 0 {
			kind = "task_runs"
		}
		switch w.r.IntN(4) {
		case 0:
			body["flow_runs"] = object{"state": object{"type": object{"any_": w.some(worldTypes)}}}
		case 1:
			body["flows"] = object{"id": object{"any_": []any{w.flows[0]["id"]}}}
		case 2:
			body["deployments"] = object{"tags": object{"all_": w.some(worldTags)}}
		}
		listed := w.do("POST", "/api/"+kind+"/filter", body).json(t).([]any)
		var runs []object
		for _, r := range listed {
			runs = append(runs, r.(object))
		}
		body["history_start"], body["history_interval_seconds"] = start, step.Seconds()
		body["history_end"] = start.Add(time.Duration(n)*step - step/2)
		a := w.do("POST", "/api/"+kind+"/history", body)
		if a.status != 200 {
			t.Fatalf("round %d: %d %s", round, a.status, a.text)
		}
		got := a.json(t).([]any)
		first, last := got[0].(object)["interval_start"], got[len(got)-1].(object)["interval_end"]
		if want := w.naiveHistory(runs, start, step, n); !reflect.DeepEqual(countsOf(t, got), want) {
			t.Fatalf("round %d: %s %v\n got %v\nwant %v", round, kind, body, countsOf(t, got), want)
		}
		if at, err := time.Parse(time.RFC3339Nano, first.(string)); err != nil || !at.Equal(start) {
			t.Fatalf("the first interval begins at %v, asked was %v", first, start)
		}
		if at, err := time.Parse(time.RFC3339Nano, last.(string)); err != nil || !at.Equal(start.Add(time.Duration(n)*step)) {
			t.Fatalf("the last interval ends at %v", last)
		}
	}
}

func TestHistorySumsUpTimes(t *testing.T) {
	t.Parallel()
	s := newStack(t, oneNode)
	flow := s.must(201, "POST", "/api/flows/", object{"name": "f"})["id"]
	hour := time.Now().Add(-time.Hour).UTC().Truncate(time.Second)
	s.must(201, "POST", "/api/flow_runs/", object{"flow_id": flow, "state": object{"type": "SCHEDULED", "state_details": object{"scheduled_time": hour}}})
	late := s.must(201, "POST", "/api/flow_runs/", object{"flow_id": flow, "state": object{"type": "SCHEDULED", "state_details": object{"scheduled_time": hour}}})
	s.must(201, "POST", "/api/flow_runs/"+late["id"].(string)+"/set_state", object{"state": object{"type": "RUNNING"}})
	a := s.do("POST", "/api/flow_runs/history", object{"history_start": hour, "history_end": hour.Add(time.Minute), "history_interval_seconds": "PT1M"}).json(t).([]any)
	states := a[0].(object)["states"].([]any)
	if len(a) != 1 || len(states) != 2 {
		t.Fatalf("got %v", a)
	}
	for i, want := range []string{"SCHEDULED", "RUNNING"} {
		got := states[i].(object)
		if got["state_type"] != want || got["count_runs"] != 1.0 || got["sum_estimated_lateness"].(float64) < 3590 || got["sum_estimated_lateness"].(float64) > 3900 {
			t.Errorf("%d is %v", i, got)
		}
	}
}

func TestHistoryRefusesAndBounds(t *testing.T) {
	t.Parallel()
	s := newStack(t, oneNode)
	a := s.do("POST", "/api/flow_runs/history", object{"history_start": "2026-01-01T00:00:00Z", "history_end": "2026-01-02T00:00:00Z", "history_interval_seconds": 0.5}, append(oddly, "X-PREFECT-API-VERSION", "0.3.1")...)
	if a.status != 422 || a.text != `{"detail":"History interval must not be less than 1 second."}` {
		t.Errorf("a short interval: %d %s", a.status, a.text)
	}
	a = s.do("POST", "/api/task_runs/history", nil, append(oddly, "X-PREFECT-API-VERSION", "0.3.1")...)
	want := `{"exception_message":"Invalid request received.","exception_detail":[{"loc":["body","history_start"],"msg":"field required","type":"value_error.missing"},` +
		`{"loc":["body","history_end"],"msg":"field required","type":"value_error.missing"},{"loc":["body","history_interval_seconds"],"msg":"field required","type":"value_error.missing"}],"request_body":null}`
	if a.status != 422 || a.text != want {
		t.Errorf("nothing: %d %s", a.status, a.text)
	}
	for seconds, n := range map[int]int{1: 500, 86400: 365} {
		got := s.do("POST", "/api/flow_runs/history", object{"history_start": "2026-01-01T00:00:00Z", "history_end": "2027-01-01T00:00:00Z", "history_interval_seconds": seconds}).json(t).([]any)
		if len(got) != n {
			t.Errorf("%d intervals of %d s, want %d", len(got), seconds, n)
		}
	}
	got := s.do("POST", "/api/flow_runs/history", object{"history_start": "2026-01-01T00:00:00Z", "history_end": "2025-01-01T00:00:00Z", "history_interval_seconds": 60}).json(t).([]any)
	if len(got) != 1 {
		t.Errorf("%d intervals before the start", len(got))
	}
}

func TestGraphNamesUpstreamTaskRunsOnce(t *testing.T) {
	t.Parallel()
	s := newStack(t, oneNode)
	flow := s.must(201, "POST", "/api/flows/", object{"name": "f"})["id"]
	run := s.must(201, "POST", "/api/flow_runs/", object{"flow_id": flow})["id"].(string)
	task := func(key string, inputs object) string {
		return s.must(201, "POST", "/api/task_runs/", object{"flow_run_id": run, "task_key": key, "dynamic_key": "0", "task_inputs": inputs})["id"].(string)
	}
	of := func(id string) object { return object{"input_type": "task_run", "id": id} }
	a := task("a", object{"p": []any{object{"input_type": "parameter", "name": "n"}, object{"input_type": "constant", "type": "int"}}})
	b := task("b", object{"x": []any{of(a)}})
	c := task("c", object{"y": []any{of(b), of(a)}, "x": []any{of(a)}})
	got := s.do("GET", "/api/flow_runs/"+run+"/graph", nil).json(t).([]any)
	want := []object{{"id": c, "up": []any{of(a), of(b)}}, {"id": b, "up": []any{of(a)}}, {"id": a, "up": []any{}}}
	for i, w := range want {
		n := got[i].(object)
		if n["id"] != w["id"] || !reflect.DeepEqual(n["upstream_dependencies"], w["up"]) || n["state"].(object)["type"] != "PENDING" {
			t.Errorf("node %d is %v, want %v", i, n, w)
		}
	}
	other := s.must(201, "POST", "/api/flow_runs/", object{"flow_id": flow})["id"]
	odd := s.must(201, "POST", "/api/task_runs/", object{"flow_run_id": other, "task_key": "k", "dynamic_key": "0", "task_inputs": object{
		"x": []any{object{"id": "{" + strings.ToUpper(a) + "}"}, object{"input_type": "parameter", "name": 5}, object{"type": true}}}}, oddly...)
	if want := (object{"x": []any{of(a), object{"input_type": "parameter", "name": "5"}, object{"input_type": "constant", "type": "True"}}}); !reflect.DeepEqual(odd["task_inputs"], want) {
		t.Errorf("inputs in other forms are kept as %v, want %v", odd["task_inputs"], want)
	}
	got = s.do("GET", "/api/flow_runs/"+other.(string)+"/graph", nil).json(t).([]any)
	if up := got[0].(object)["upstream_dependencies"]; !reflect.DeepEqual(up, []any{of(a)}) {
		t.Errorf("upstream of inputs in other forms: %v", up)
	}
	if missing := s.do("GET", "/api/flow_runs/"+flow.(string)+"/graph", nil); missing.status != 404 {
		t.Errorf("an unknown run: %d %s", missing.status, missing.text)
	}
}

func TestDotsFollowTheirSort(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 7)
	for _, sort := range []string{"EXPECTED_START_TIME_DESC", "EXPECTED_START_TIME_ASC", "ID_DESC"} {
		want := w.do("POST", "/api/flow_runs/filter", object{"sort": sort}).json(t).([]any)
		got := w.do("POST", "/api/ui/flow_runs/history", object{"sort": sort}).json(t).([]any)
		for i := range want {
			a, b := want[i].(object), got[i].(object)
			at := a["start_time"]
			if at == nil {
				at = a["expected_start_time"]
			}
			if a["id"] != b["id"] || a["state_type"] != b["state_type"] || at != b["timestamp"] {
				t.Fatalf("%s: dot %d is %v of %v", sort, i, b, a)
			}
		}
	}
	if got := w.do("POST", "/api/ui/flow_runs/history", nil).json(t).([]any); len(got) != 60 {
		t.Errorf("%d dots", len(got))
	}
	if a := w.do("POST", "/api/ui/flow_runs/history", object{"limit": 1001}, oddly...); a.status != 422 {
		t.Errorf("1001 dots: %d %s", a.status, a.text)
	}
}

func TestSavedSearches(t *testing.T) { everywhere(t, checkSavedSearches) }

func checkSavedSearches(t *testing.T, at place) {
	s := newStack(t, at)
	filter := object{"object": "flow_run", "property": "state", "type": "state", "operation": "is", "value": nil}
	first := s.must(201, "PUT", "/api/saved_searches", object{"name": "b/%", "filters": []any{filter}}) // without the slash, as the UI sends it
	filter["value"] = []any{1.0, "x"}
	again := s.must(200, "PUT", "/api/saved_searches/", object{"name": "b/%", "filters": []any{filter, filter}})
	if again["id"] != first["id"] || again["created"] != first["created"] || again["updated"] == first["updated"] || !reflect.DeepEqual(again["filters"], []any{filter, filter}) {
		t.Errorf("replaced %v by %v", first, again)
	}
	s.must(201, "PUT", "/api/saved_searches/", object{"name": "a"})
	list := s.do("POST", "/api/saved_searches/filter", nil).json(t).([]any)
	if len(list) != 2 || list[0].(object)["name"] != "a" || len(list[0].(object)["filters"].([]any)) != 0 {
		t.Errorf("list is %v", list)
	}
	if page := s.do("POST", "/api/saved_searches/filter", object{"offset": 1, "limit": 1}).json(t).([]any); !reflect.DeepEqual(page, list[1:]) {
		t.Errorf("second page is %v", page)
	}
	path := "/api/saved_searches/" + first["id"].(string)
	if got := s.must(200, "GET", path, nil); !reflect.DeepEqual(got, again) {
		t.Errorf("got %v", got)
	}
	if a := s.do("DELETE", path, nil); a.status != 204 {
		t.Errorf("delete: %d %s", a.status, a.text)
	}
	for _, method := range []string{"GET", "DELETE"} {
		if a := s.do(method, path, nil, "X-PREFECT-API-VERSION", "0.3.1"); a.status != 404 || a.text != `{"detail":"Saved search not found"}` {
			t.Errorf("%s of a deleted one: %d %s", method, a.status, a.text)
		}
	}
	for _, bad := range []object{{}, {"name": "x", "filters": []any{object{"object": "a"}}}, {"name": "x", "more": 1}, {"name": nil}} {
		if a := s.do("PUT", "/api/saved_searches/", bad, oddly...); a.status != 422 {
			t.Errorf("%v: %d %s", bad, a.status, a.text)
		}
	}
}

func TestAdministration(t *testing.T) {
	t.Parallel()
	s := newStack(t, oneNode)
	for path, status := range map[string]int{"create": 204, "clear": 403, "drop": 403} {
		for _, body := range []any{nil, object{"confirm": false}} {
			if a := s.do("POST", "/api/admin/database/"+path, body); a.status != 400 || a.text != "" {
				t.Errorf("%s without confirmation: %d %q", path, a.status, a.text)
			}
		}
		if a := s.do("POST", "/api/admin/database/"+path, object{"confirm": true}); a.status != status {
			t.Errorf("%s: %d %s", path, a.status, a.text)
		}
	}
	strict := s.do("GET", "/api/admin/settings", nil, "X-PREFECT-API-VERSION", "0.3.1").json(t).(object)
	if fmt.Sprint(strict["PREFECT_ORION_API_DEFAULT_LIMIT"]) != "200" {
		t.Errorf("settings are %v", strict)
	}
}
