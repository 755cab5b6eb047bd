package httpapi

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
)

func TestRunsOfAJobAgreeWithTheList(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	w := newWorld(t, seed)
	view, err := w.node.machine.View()
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	for range 1000 {
		f := w.randomFilters()
		text, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		most, rows := 1+w.r.IntN(5), 1+w.r.IntN(20)
		var got []string
		var after *api.ID
		for chunks := 0; ; chunks++ {
			found, err := ChooseRuns(t.Context(), view, text, after, time.Now().UnixMicro(), most, rows)
			if err != nil || len(found.Runs) > most || chunks > 200 {
				t.Fatalf("%s: chunk %d: %d runs, %v", text, chunks, len(found.Runs), err)
			}
			for _, r := range found.Runs {
				got = append(got, idOf(r.Id).String())
			}
			if found.Done {
				break
			}
			after = &found.To
		}
		var want []string
		for _, r := range w.expected("flow_runs", f) {
			want = append(want, r["id"].(string))
		}
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("%s in chunks of %d, looking at %d:\n got %s\nwant %s", text, most, rows, got, want)
		}
	}
	if found, err := ChooseRuns(t.Context(), view, []byte("{}"), nil, 1, 10, 1000); err != nil || len(found.Runs) != 0 {
		t.Errorf("runs created after the job: %v, %v", found.Runs, err)
	}
	if _, err := ChooseRuns(t.Context(), view, []byte(`{"flow_run":{}}`), nil, 0, 10, 10); !errors.Is(err, ErrBadFilter) {
		t.Errorf("a filter that is none: %v", err)
	}
}

func TestJobsAreMadeShownAndCancelled(t *testing.T) { everywhere(t, checkJobsAreMadeShownAndCancelled) }

func checkJobsAreMadeShownAndCancelled(t *testing.T, at place) {
	s := newStack(t, at)
	run, _ := s.dueRun()
	ask := object{"action": "cancel", "message": "enough", "filter": object{"flow_runs": object{"state": object{"type": object{"any_": []string{"SCHEDULED"}}}}}}
	ask["dry_run"] = true
	preview := s.must(200, "POST", "/api/jobs/", ask)
	if preview["count"] != 1.0 || preview["sample"].([]any)[0].(object)["id"] != run["id"] {
		t.Errorf("preview: %v", preview)
	}
	if a := s.do("POST", "/api/jobs/filter", nil); a.text != "[]" {
		t.Errorf("a dry run made a job: %s", a.text)
	}
	delete(ask, "dry_run")
	job := s.must(201, "POST", "/api/jobs/", ask)
	if job["status"] != "running" || job["total"] != 1.0 || job["action"] != "cancel" || job["message"] != "enough" || job["filter"].(object)["flow_runs"] == nil {
		t.Errorf("job: %v", job)
	}
	path := "/api/jobs/" + job["id"].(string)
	if got := s.must(200, "GET", path, nil); got["id"] != job["id"] {
		t.Errorf("read: %v", got)
	}
	if got := s.must(200, "POST", path+"/cancel", nil); got["status"] != "cancelled" || got["finished"] == nil {
		t.Errorf("cancelled: %v", got)
	}
	s.must(409, "POST", path+"/cancel", nil)
	s.must(404, "GET", "/api/jobs/"+nobody, nil)
	if got := s.must(200, "GET", "/api/flow_runs/"+run["id"].(string), nil); got["state_type"] != "SCHEDULED" {
		t.Errorf("the run is %v", got["state_type"])
	}
}

func TestAJobThatMeansTooMuchOrNothingIsRefused(t *testing.T) {
	t.Parallel()
	s := newStack(t, oneNode)
	for body, says := range map[string]string{
		`{"action":"delete"}`:                                                             `body.filter: no criterion`,
		`{"action":"delete","filter":{"flow_runs":{}}}`:                                   `body.filter: no criterion`,
		`{"action":"explode","all":true}`:                                                 `body.action: `,
		`{"action":"delete","filter":{"flow_run":{"id":{"any_":[]}}}}`:                    `body.filter.flow_run: extra fields not permitted`,
		`{"action":"set_state","all":true}`:                                               `body.state: field required`,
		`{"action":"cancel","all":true,"state":{"type":"FAILED"}}`:                        `body.state: only the action set_state`,
		`{"action":"set_state","all":true,"state":{"type":"DONE"}}`:                       `body.state.type: `,
		`{"action":"cancel","all":true,"message":"` + strings.Repeat("x", 3000) + `"}`:    `body.message: ensure this value has at most 2000 bytes`,
		`{"action":"cancel","filter":{"flow_runs":{"state":{"type":{"any_":["DONE"]}}}}}`: `body.filter.flow_runs.state.type.any_[0]: `,
	} {
		if a := s.do("POST", "/api/jobs/", body); a.status != 422 || !strings.HasPrefix(a.object(t)["detail"].(string), says) {
			t.Errorf("%.80s: %d %s", body, a.status, a.text)
		}
	}
	s.must(201, "POST", "/api/jobs/", `{"action":"delete","all":true}`)
}

func TestRunsAreTriedAgainAndRepeated(t *testing.T) { everywhere(t, checkRunsAreTriedAgainAndRepeated) }

func checkRunsAreTriedAgainAndRepeated(t *testing.T, at place) {
	s := newStack(t, at)
	run, _ := s.dueRun("t")
	path := "/api/flow_runs/" + run["id"].(string)
	if a := s.do("POST", path+"/retry", nil); a.status != 409 || !strings.Contains(a.object(t)["hint"].(string), "sluice flow-run rerun "+run["id"].(string)) {
		t.Errorf("a run that waits: %d %s", a.status, a.text)
	}
	s.must(201, "POST", path+"/set_state", object{"state": object{"type": "FAILED"}, "force": true})
	got := s.must(200, "POST", path+"/retry", object{"message": "once more"})
	if got["id"] != run["id"] || got["state_name"] != "AwaitingRetry" || got["retries"] != 1.0 || got["state"].(object)["message"] != "once more" {
		t.Errorf("retried: %v", got)
	}
	s.must(404, "POST", "/api/flow_runs/"+nobody+"/retry", nil)
	again := s.must(201, "POST", path+"/rerun", object{"parameters": object{"name": "Ann"}, "name": "other"})
	if again["rerun_of"] != run["id"] || again["name"] != "other" || again["state_type"] != "SCHEDULED" || again["parameters"].(object)["name"] != "Ann" || again["tags"].([]any)[0] != "t" {
		t.Errorf("run again: %v", again)
	}
	if strict := s.must(200, "GET", "/api/flow_runs/"+again["id"].(string), nil, strictly...); strict["rerun_of"] != nil || strict["retries"] != nil {
		t.Errorf("a client of Orion is told %v", strict)
	}
}

func TestAPostWithAKeyIsDoneOnce(t *testing.T) { everywhere(t, checkAPostWithAKeyIsDoneOnce) }

func checkAPostWithAKeyIsDoneOnce(t *testing.T, at place) {
	s := newStack(t, at)
	_, deployment := s.dueRun()
	path := "/api/deployments/" + deployment["id"].(string) + "/create_flow_run"
	key := []string{"Idempotency-Key", "6f1c"}
	first := s.do("POST", path, object{"name": "one"}, key...)
	// Callers at the same time, as after a time-out.
	answers := make(chan answer, 8)
	for range cap(answers) {
		go func() { answers <- s.do("POST", path, object{"name": "one"}, key...) }()
	}
	for range cap(answers) {
		a := <-answers
		if a.status != 201 || a.object(t)["id"] != first.object(t)["id"] || a.header.Get("Idempotency-Replayed") != "true" {
			t.Errorf("repeated: %d %v %s", a.status, a.header, a.text)
		}
	}
	if first.header.Get("Idempotency-Replayed") != "" {
		t.Error("the first one says that it was repeated")
	}
	if a := s.do("POST", path, object{"name": "two"}, key...); a.status != 422 || !strings.Contains(a.text, "another request") {
		t.Errorf("the key with another body: %d %s", a.status, a.text)
	}
	if a := s.do("POST", "/api/flows/", object{"name": "one"}, key...); a.status != 422 {
		t.Errorf("the key with another path: %d %s", a.status, a.text)
	}
	for _, bad := range []string{strings.Repeat("k", 256), "ü", " "} {
		if a := s.do("POST", path, object{"name": "one"}, "Idempotency-Key", bad); a.status != 400 && bad != " " {
			t.Errorf("the key %.10q: %d", bad, a.status)
		}
	}
	// Reads and other methods take no notice of it.
	s.must(200, "GET", "/api/deployments/"+deployment["id"].(string), nil, key...)
	if a := s.do("POST", "/api/flow_runs/filter", nil, key...); a.status != 200 {
		t.Errorf("a read: %d", a.status)
	}
	var runs []object
	if err := json.Unmarshal([]byte(s.do("POST", "/api/flow_runs/filter", nil).text), &runs); err != nil || len(runs) != 2 {
		t.Errorf("%d runs, want the due one and one more: %v", len(runs), err)
	}
}
