package httpapi

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// dueRun creates a deployment's run that is due, and its deployment.
func (s *stack) dueRun(tags ...string) (run, deployment object) {
	s.t.Helper()
	flow := s.do("POST", "/api/flows/", object{"name": "f"}).object(s.t)
	deployment = s.do("POST", "/api/deployments/", object{"name": "d", "flow_id": flow["id"], "flow_data": object{"encoding": "x", "blob": ""}, "tags": append([]string{}, tags...)}).object(s.t)
	run = s.must(201, "POST", "/api/deployments/"+deployment["id"].(string)+"/create_flow_run", object{"state": object{"type": "SCHEDULED"}})
	return run, deployment
}

const agentID = "00000000-0000-0000-0000-00000000000a"

func (s *stack) claim(queue any, claimID string) object {
	s.t.Helper()
	return s.must(200, "POST", "/api/agents/"+agentID+"/claim", object{"work_queue_ids": []any{queue}, "limit": 5, "wait_seconds": 0, "claim_id": claimID})
}

func TestAgentsClaimAndReportUnderALease(t *testing.T) {
	everywhere(t, checkAgentsClaimAndReportUnderALease)
}

func checkAgentsClaimAndReportUnderALease(t *testing.T, at place) {
	s := newStack(t, at)
	queue := s.must(201, "POST", "/api/work_queues/", object{"name": "q"})["id"]
	ask := object{"work_queue_ids": []any{queue}, "limit": 5, "claim_id": nobody}
	if a := s.do("POST", "/api/agents/"+agentID+"/claim", ask); a.status != 404 || !strings.Contains(a.text, "agent not found") {
		t.Errorf("an unknown agent: %d %s", a.status, a.text)
	}
	agent := object{"id": agentID, "name": "a", "hostname": "h", "pid": 1, "version": "1", "work_queue_ids": []any{queue}}
	registered := s.must(201, "POST", "/api/agents/", agent)
	if registered["ttl_seconds"] != 12.0 || registered["heartbeat_seconds"] != 4.0 {
		t.Errorf("registered: %v", registered)
	}
	s.must(200, "POST", "/api/agents/", agent)
	ask["work_queue_ids"] = []string{nobody}
	if a := s.do("POST", "/api/agents/"+agentID+"/claim", ask); a.status != 404 || a.object(t)["detail"] != "work queue not found" {
		t.Errorf("no queue of the claim exists: %d %s", a.status, a.text)
	}
	if got := s.claim(queue, nobody); len(got["grants"].([]any)) != 0 {
		t.Errorf("nothing is due, but %v was granted", got)
	}
	run, deployment := s.dueRun()
	got := s.claim(queue, agentID)
	grants := got["grants"].([]any)
	if len(grants) != 1 {
		t.Fatalf("%d grants, want 1", len(grants))
	}
	grant := grants[0].(object)
	granted := grant["flow_run"].(object)
	if granted["id"] != run["id"] || granted["state_type"] != "PENDING" || granted["agent_name"] != "a" || granted["work_queue_id"] != queue ||
		grant["deployment"].(object)["id"] != deployment["id"] || granted["lease_owner"] != "agent 'a' on h" {
		t.Errorf("grant: %v", grant)
	}
	if again := s.claim(queue, agentID)["grants"].([]any); len(again) != 1 || again[0].(object)["token"] != grant["token"] {
		t.Errorf("repeating the claim granted %v", again)
	}
	path := "/api/flow_runs/" + run["id"].(string)
	abort := s.must(200, "POST", path+"/set_state", object{"state": object{"type": "RUNNING"}}, "X-Sluice-Lease", "1-1")
	if abort["status"] != "ABORT" || abort["details"].(object)["reason"] != "The lease on this flow run was lost." {
		t.Errorf("another lease's token: %v", abort)
	}
	token := grant["token"].(string)
	s.must(201, "POST", path+"/set_state", object{"state": object{"type": "RUNNING"}}, "Authorization", "Bearer lease:"+token)
	if e := s.must(200, "GET", path+"/explain", nil); e["reasons"].([]any)[0].(object)["code"] != "owned" {
		t.Errorf("explain: %v", e)
	}
	var agents []object
	if err := json.Unmarshal([]byte(s.do("POST", "/api/agents/filter", nil).text), &agents); err != nil || len(agents) != 1 || len(agents[0]["flow_runs"].([]any)) != 1 {
		t.Errorf("agents: %v %v", agents, err)
	}
	if q := s.must(200, "GET", "/api/work_queues/"+queue.(string), nil); q["slots_in_use"] != 1.0 {
		t.Errorf("queue: %v", q)
	}
	beat := s.must(200, "POST", "/api/agents/"+agentID+"/heartbeat", object{"leases": []any{object{"flow_run_id": run["id"], "token": token}, object{"flow_run_id": nobody, "token": "no token"}}})
	if lost := beat["lost"].([]any); len(lost) != 1 || lost[0].(object)["flow_run_id"] != nobody || beat["heartbeat_seconds"] != 4.0 {
		t.Errorf("heartbeat: %v", beat)
	}
	if a := s.do("POST", path+"/cancel", object{"message": "enough"}); a.status != 202 || a.text != `{"status":"CANCELLING"}` {
		t.Errorf("cancelling a run that is executed: %d %s", a.status, a.text)
	}
	if r := s.must(200, "GET", path, nil); r["state_name"] != "Cancelling" || r["state"].(object)["message"] != "enough" {
		t.Errorf("run: %v", r)
	}
	s.must(201, "POST", path+"/set_state", object{"state": object{"type": "CANCELLED"}}, "X-Sluice-Lease", token)
	if a := s.do("POST", path+"/cancel", nil); a.status != 409 {
		t.Errorf("cancelling a run that has ended: %d %s", a.status, a.text)
	}
	if a := s.do("DELETE", "/api/agents/"+agentID, nil); a.status != 204 {
		t.Errorf("deleting the agent: %d %s", a.status, a.text)
	}
}

func TestStrictClientsSeeNoAdditiveField(t *testing.T) {
	everywhere(t, checkStrictClientsSeeNoAdditiveField)
}

func checkStrictClientsSeeNoAdditiveField(t *testing.T, at place) {
	s := newStack(t, at)
	run, deployment := s.dueRun()
	queue := s.must(201, "POST", "/api/work_queues/", object{"name": "q"})
	for path, field := range map[string]string{
		"/api/flow_runs/" + run["id"].(string): "state_name", "/api/deployments/" + deployment["id"].(string): "catchup", "/api/work_queues/" + queue["id"].(string): "slots_in_use",
	} {
		if _, has := s.must(200, "GET", path, nil, strictly...)[field]; has {
			t.Errorf("%s: a strict client got %s", path, field)
		}
		if _, has := s.must(200, "GET", path, nil)[field]; !has {
			t.Errorf("%s: a native client did not get %s", path, field)
		}
	}
}

func TestLeasesOfProcessesThatNoAgentStarted(t *testing.T) {
	everywhere(t, checkLeasesOfProcessesThatNoAgentStarted)
}

func checkLeasesOfProcessesThatNoAgentStarted(t *testing.T, at place) {
	s := newStack(t, at)
	flow := s.must(201, "POST", "/api/flows/", object{"name": "f"})
	run := s.must(201, "POST", "/api/flow_runs/", object{"flow_id": flow["id"]})
	path := "/api/flow_runs/" + run["id"].(string)
	lease := s.must(201, "POST", path+"/lease", object{"owner": "python x on h (pid 1)"})
	if again := s.must(201, "POST", path+"/lease", object{"owner": "python x on h (pid 1)"}); again["token"] != lease["token"] {
		t.Errorf("the same owner got another lease: %v", again)
	}
	if a := s.do("POST", path+"/lease", object{"owner": "another"}); a.status != 409 || !strings.Contains(a.text, "python x on h (pid 1)") {
		t.Errorf("a second owner: %d %s", a.status, a.text)
	}
	if a := s.do("POST", path+"/lease", object{"owner": ""}); a.status != 422 {
		t.Errorf("an owner without a name: %d %s", a.status, a.text)
	}
	s.must(200, "POST", "/api/leases/renew", object{"leases": []any{object{"flow_run_id": run["id"], "token": lease["token"]}}})
	token := lease["token"].(string)
	task := s.must(201, "POST", "/api/task_runs/", object{"flow_run_id": run["id"], "task_key": "k", "dynamic_key": "0"})
	for _, end := range []string{"RUNNING", "COMPLETED"} {
		s.must(201, "POST", "/api/task_runs/"+task["id"].(string)+"/set_state", object{"state": object{"type": end}}, "X-Sluice-Lease", token)
		s.must(201, "POST", path+"/set_state", object{"state": object{"type": end}}, "X-Sluice-Lease", token)
	}
	if r := s.must(200, "GET", path, nil); r["lease_owner"] != nil {
		t.Errorf("an ended run has an owner: %v", r["lease_owner"])
	}
	if a := s.do("POST", path+"/lease", object{"owner": "x"}); a.status != 409 {
		t.Errorf("a lease on an ended run: %d %s", a.status, a.text)
	}
}

func TestTheBuiltInStoreKeepsJSONStrings(t *testing.T) {
	everywhere(t, checkTheBuiltInStoreKeepsJSONStrings)
}

func checkTheBuiltInStoreKeepsJSONStrings(t *testing.T, at place) {
	s := newStack(t, at)
	large := `"` + strings.Repeat("0123456789abcdef", 20_000) + `é\n"` // several pieces
	for _, text := range []string{`""`, `"x"`, large} {
		if a := s.do("POST", "/api/kv/key-1", text); a.status != 201 {
			t.Fatalf("%d %s", a.status, a.text)
		}
		if a := s.do("GET", "/api/kv/key-1", nil); a.status != 200 || a.text != text {
			t.Errorf("%d, %d bytes came back, want %d", a.status, len(a.text), len(text))
		}
	}
	// A put takes the place of what is there: done again under the same key, it is done, whatever became of the first one.
	for range 2 {
		if a := s.do("POST", "/api/kv/key-1", large, "Idempotency-Key", "put-1"); a.status != 201 {
			t.Errorf("put again: %d %s", a.status, a.text)
		}
		if a := s.do("GET", "/api/kv/key-1", nil); a.text != large {
			t.Errorf("%d bytes came back, want %d", len(a.text), len(large))
		}
		s.must(204, "DELETE", "/api/kv/key-1", nil)
	}
	s.do("POST", "/api/kv/key-1", large)
	for _, text := range []string{``, `{}`, `7`, `null`, `"a`} {
		if a := s.do("POST", "/api/kv/key-2", text); a.status != 422 {
			t.Errorf("%q: %d %s", text, a.status, a.text)
		}
	}
	for _, key := range []string{"a%20b", "é", strings.Repeat("k", 201), "a:b"} {
		if a := s.do("POST", "/api/kv/"+key, `"x"`); a.status != 422 {
			t.Errorf("key %.20s: %d %s", key, a.status, a.text)
		}
	}
	if a := s.do("DELETE", "/api/kv/key-1", nil); a.status != 204 {
		t.Errorf("delete: %d %s", a.status, a.text)
	}
	for _, method := range []string{"GET", "DELETE"} {
		if a := s.do(method, "/api/kv/key-1", nil); a.status != 404 {
			t.Errorf("%s after delete: %d %s", method, a.status, a.text)
		}
	}
}

// line is a log line of a run.
func line(run any, message string, at time.Time) object {
	return object{"name": "n", "level": 20, "message": message, "timestamp": at.UTC(), "flow_run_id": run}
}

func (s *stack) messages(filter object) []string {
	s.t.Helper()
	var logs []object
	if err := json.Unmarshal([]byte(s.do("POST", "/api/logs/filter", filter).text), &logs); err != nil {
		s.t.Fatal(err)
	}
	out := []string{}
	for _, l := range logs {
		out = append(out, l["message"].(string))
	}
	return out
}

func TestLogsAreStoredOnceAndInOrder(t *testing.T) { everywhere(t, checkLogsAreStoredOnceAndInOrder) }

func checkLogsAreStoredOnceAndInOrder(t *testing.T, at place) {
	s := newStack(t, at)
	other := "00000000-0000-0000-0000-000000000002"
	now := time.Now()
	long := strings.Repeat("é", longestMessage) // twice as many bytes
	batch := []object{line(nobody, "b", now.Add(2*time.Second)), line(nobody, "a", now), line(other, "o", now), line(nobody, "c", now.Add(2*time.Second))}
	producer := []string{"X-Sluice-Log-Producer", agentID, "X-Sluice-Log-Sequence", "1"}
	for range 2 {
		if a := s.do("POST", "/api/logs/", batch, producer...); a.status != 201 {
			t.Fatalf("%d %s", a.status, a.text)
		}
	}
	of := func(id string) object { return object{"logs": object{"flow_run_id": object{"any_": []string{id}}}} }
	if got := fmt.Sprint(s.messages(of(nobody))); got != "[a b c]" {
		t.Errorf("lines %s, want a, b, c once", got)
	}
	if got := fmt.Sprint(s.messages(object{"sort": "TIMESTAMP_DESC", "limit": 3})); got != "[b c a]" && got != "[b c o]" {
		t.Errorf("newest lines %s", got)
	}
	if got := fmt.Sprint(s.messages(object{"logs": object{"level": object{"ge_": 21}}})); got != "[]" {
		t.Errorf("lines above info %s", got)
	}
	s.do("POST", "/api/logs/", []object{line(other, long, now.Add(time.Second))}, "X-Sluice-Log-Producer", agentID, "X-Sluice-Log-Sequence", "2")
	if got := strings.Join(s.messages(of(other)), ""); got != "o"+long {
		t.Errorf("a long line came back with %d bytes, want %d", len(got), len(long)+1)
	}
	for _, bad := range [][]string{{"X-Sluice-Log-Producer", "x"}, {"X-Sluice-Log-Producer", agentID}, {"X-Sluice-Log-Producer", agentID, "X-Sluice-Log-Sequence", "0"}} {
		if a := s.do("POST", "/api/logs/", batch, bad...); a.status != 400 {
			t.Errorf("%v: %d", bad, a.status)
		}
	}
}

// events reads server-sent events until enough says so.
func (s *stack) events(path string, enough func(name, id, data string) bool, headers ...string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.http.URL+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != 200 {
		s.t.Fatalf("%s: status %d", path, res.StatusCode)
	}
	fields := map[string]string{}
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		if lines.Text() != "" {
			fields[name] = value
			continue
		}
		if fields["event"] != "" && enough(fields["event"], fields["id"], fields["data"]) {
			return
		}
		if fields["event"] == "" && fields[""] == "" && enough("comment", "", "") {
			return
		}
		clear(fields)
	}
	s.t.Fatalf("%s ended early: %v", path, lines.Err())
}

func TestAStreamTellsARunFromItsBeginningToItsEnd(t *testing.T) {
	everywhere(t, checkAStreamTellsARunFromItsBeginningToItsEnd)
}

func checkAStreamTellsARunFromItsBeginningToItsEnd(t *testing.T, at place) {
	s := newStack(t, at)
	flow := s.must(201, "POST", "/api/flows/", object{"name": "f"})
	run := s.must(201, "POST", "/api/flow_runs/", object{"flow_id": flow["id"]})
	path := "/api/flow_runs/" + run["id"].(string)
	var told, cursors []string
	s.events(path+"/stream?logs=true", func(name, id, data string) bool {
		var v struct{ Name, Message string }
		_ = json.Unmarshal([]byte(data), &v)
		if name != "comment" {
			told, cursors = append(told, name+" "+v.Name+v.Message), append(cursors, id)
		}
		// Each thing that arrives makes the next happen: nothing is told before it is asked for.
		switch len(told) {
		case 1:
			s.must(201, "POST", path+"/set_state", object{"state": object{"type": "RUNNING"}})
		case 2:
			s.must(201, "POST", "/api/logs/", []object{line(run["id"], "one", time.Now()), line(run["id"], "two", time.Now())})
		case 4:
			s.must(201, "POST", path+"/set_state", object{"state": object{"type": "COMPLETED"}})
		case 5:
			s.must(201, "POST", "/api/logs/", []object{line(run["id"], "late", time.Now())})
		}
		return name == "end"
	})
	want := "state Pending, state Running, log none, log ntwo, state Completed, log nlate, end Completed"
	if got := strings.Join(told, ", "); got != want {
		t.Fatalf("told %s\nwant %s", got, want)
	}
	for i := range told[:len(told)-1] {
		var rest []string
		s.events(path+"/stream", func(name, _, data string) bool {
			var v struct{ Name, Message string }
			_ = json.Unmarshal([]byte(data), &v)
			rest = append(rest, name+" "+v.Name+v.Message)
			return name == "end"
		}, "Last-Event-ID", cursors[i])
		if got, want := strings.Join(rest, ", "), strings.Join(told[i+1:], ", "); got != want {
			t.Errorf("after event %d: %s, want %s", i, got, want)
		}
	}
	var states []string
	s.events(path+"/stream?logs=false&from="+cursors[0], func(name, _, _ string) bool { states = append(states, name); return name == "end" })
	if got := strings.Join(states, " "); got != "state state end" {
		t.Errorf("without logs: %s", got)
	}
	if a := s.do("GET", path+"/stream?from=nonsense", nil); a.status != 422 {
		t.Errorf("a malformed cursor: %d", a.status)
	}
	if a := s.do("GET", "/api/flow_runs/"+nobody+"/stream", nil); a.status != 404 {
		t.Errorf("an unknown run: %d", a.status)
	}
}

func TestEventsOfAllFlowRunsResume(t *testing.T) { everywhere(t, checkEventsOfAllFlowRunsResume) }

func checkEventsOfAllFlowRunsResume(t *testing.T, at place) {
	s := newStack(t, at)
	flow := s.must(201, "POST", "/api/flows/", object{"name": "f"})
	create := func(name string) {
		s.must(201, "POST", "/api/flow_runs/", object{"flow_id": flow["id"], "name": name})
	}
	first := ""
	s.events("/api/events?topic=flow_run", func(name, id, data string) bool {
		if name == "comment" { // the stream is open
			create("one")
			create("two")
			return false
		}
		var e struct{ Name string }
		_ = json.Unmarshal([]byte(data), &e)
		if name != "flow_run" || e.Name != "one" {
			t.Errorf("%s %s", name, data)
		}
		first = id
		return true
	})
	s.events("/api/events", func(name, _, data string) bool {
		if name == "comment" {
			return false
		}
		if name != "flow_run" || !strings.Contains(data, `"two"`) {
			t.Errorf("resumed with %s %s", name, data)
		}
		return true
	}, "Last-Event-ID", first)
	s.events("/api/events?from=9-9-9", func(name, _, _ string) bool {
		if name != "reset" {
			t.Errorf("a cursor of another life: %s", name)
		}
		return true
	})
}

func TestScheduleMakesRunsOfAWindow(t *testing.T) { everywhere(t, checkScheduleMakesRunsOfAWindow) }

func checkScheduleMakesRunsOfAWindow(t *testing.T, at place) {
	s := newStack(t, at)
	flow := s.must(201, "POST", "/api/flows/", object{"name": "f"})
	d := s.must(201, "POST", "/api/deployments/", object{
		"name": "d", "flow_id": flow["id"], "flow_data": object{"encoding": "x", "blob": ""}, "schedule": object{"interval": 3600, "timezone": "America/New_York"}, "tags": []string{"t"},
	})
	if d["schedule"].(object)["anchor_date"] != "2020-01-01T00:00:00-05:00" {
		t.Errorf("schedule: %v", d["schedule"])
	}
	path := "/api/deployments/" + d["id"].(string)
	window := object{"start_time": "2026-01-01T00:00:00Z", "end_time": "2026-01-01T03:00:00Z"}
	for range 2 {
		if a := s.do("POST", path+"/schedule", window); a.status != 200 || a.text != "null" {
			t.Fatalf("%d %s", a.status, a.text)
		}
	}
	var runs []object
	if err := json.Unmarshal([]byte(s.do("POST", "/api/flow_runs/filter", object{"sort": "EXPECTED_START_TIME_ASC"}).text), &runs); err != nil {
		t.Fatal(err)
	}
	if len(runs) != 4 || runs[0]["expected_start_time"] != "2026-01-01T00:00:00+00:00" || runs[0]["auto_scheduled"] != true ||
		runs[0]["idempotency_key"] != "scheduled "+d["id"].(string)+" 2025-12-31T19:00:00-05:00" {
		t.Errorf("%d runs, first %v", len(runs), runs[0])
	}
	s.do("POST", path+"/set_schedule_inactive", nil)
	s.do("POST", path+"/schedule", window)
	if a := s.do("POST", "/api/flow_runs/count", nil); a.text != "0" {
		t.Errorf("%s runs while the schedule is inactive", a.text)
	}
}
