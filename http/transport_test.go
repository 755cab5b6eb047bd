package httpapi

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
)

const nobody = "00000000-0000-0000-0000-000000000001"

func TestErrorBodies(t *testing.T) { everywhere(t, checkErrorBodies) }

func checkErrorBodies(t *testing.T, at place) {
	s := newStack(t, at)
	flow := s.must(201, "POST", "/api/flows/", object{"name": "f"})
	d := s.must(201, "POST", "/api/deployments/", object{"name": "d", "flow_id": flow["id"], "flow_data": object{"encoding": "x", "blob": ""}})
	s.must(201, "POST", "/api/work_queues/", object{"name": "q"})
	spec := s.must(201, "POST", "/api/block_specs/", object{"name": "S", "version": "1.0"})
	block := s.must(201, "POST", "/api/blocks/", object{"name": "b", "block_spec_id": spec["id"]})
	integrity := `{"detail":"` + integrityConflict + `"}`
	cases := []struct {
		name, method, path, body string
		status                   int
		want                     string // "" means an empty body
	}{
		{"an unknown path", "GET", "/api/nothing", "", 404, `{"detail":"Not Found"}`},
		{"a path outside the API", "GET", "/nothing", "", 404, `{"detail":"Not Found"}`},
		{"an unknown saved search", "GET", "/api/saved_searches/" + nobody, "", 404, `{"detail":"Saved search not found"}`},
		{"deleting an unknown saved search", "DELETE", "/api/saved_searches/" + nobody, "", 404, `{"detail":"Saved search not found"}`},
		{"the graph of an unknown flow run", "GET", "/api/flow_runs/" + nobody + "/graph", "", 404, `{"detail":"Flow run not found"}`},
		{"clearing the database without confirming it", "POST", "/api/admin/database/clear", "", 400, ""},
		{"a wrong method", "PUT", "/api/flows/", "", 405, `{"detail":"Method Not Allowed"}`},
		{"an id that is none", "GET", "/api/flows/xyz", "", 422,
			`{"exception_message":"Invalid request received.","exception_detail":[{"loc":["path","id"],"msg":"value is not a valid uuid","type":"type_error.uuid"}],"request_body":null}`},
		{"an unknown flow", "GET", "/api/flows/" + nobody, "", 404, `{"detail":"Flow not found"}`},
		{"an unknown flow by name", "GET", "/api/flows/name/x", "", 404, `{"detail":"Flow not found"}`},
		{"deleting an unknown flow", "DELETE", "/api/flows/" + nobody, "", 404, `{"detail":"Flow not found"}`},
		{"changing an unknown flow", "PATCH", "/api/flows/" + nobody, `{"tags":[]}`, 404, `{"detail":"Flow not found"}`},
		{"an unknown flow run", "GET", "/api/flow_runs/" + nobody, "", 404, `{"detail":"Flow run not found"}`},
		{"a state for an unknown flow run", "POST", "/api/flow_runs/" + nobody + "/set_state", `{"state":{"type":"RUNNING"}}`, 404, `{"detail":"Flow run not found"}`},
		{"an unknown task run", "GET", "/api/task_runs/" + nobody, "", 404, `{"detail":"Task not found"}`},
		{"a state for an unknown task run", "POST", "/api/task_runs/" + nobody + "/set_state", `{"state":{"type":"RUNNING"}}`, 404, `{"detail":"Task not found"}`},
		{"an unknown state", "GET", "/api/flow_run_states/" + nobody, "", 404, `{"detail":"Flow run state not found"}`},
		{"an unknown task run state", "GET", "/api/task_run_states/" + nobody, "", 404, `{"detail":"Flow run state not found"}`},
		{"states of an unknown run", "GET", "/api/flow_run_states/?flow_run_id=" + nobody, "", 200, `[]`},
		{"states of no run", "GET", "/api/flow_run_states/", "", 422,
			`{"exception_message":"Invalid request received.","exception_detail":[{"loc":["query","flow_run_id"],"msg":"field required","type":"value_error.missing"}],"request_body":null}`},
		{"an unknown deployment", "GET", "/api/deployments/" + nobody, "", 404, `{"detail":"Deployment not found"}`},
		{"a run of an unknown deployment", "POST", "/api/deployments/" + nobody + "/create_flow_run", "{}", 404, `{"detail":"Deployment not found"}`},
		{"scheduling an unknown deployment", "POST", "/api/deployments/" + nobody + "/schedule", "", 200, `null`},
		{"activating an unknown deployment", "POST", "/api/deployments/" + nobody + "/set_schedule_active", "", 404, `{"detail":"Deployment not found"}`},
		{"a deployment of an unknown flow", "POST", "/api/deployments/", `{"name":"x","flow_id":"` + nobody + `","flow_data":{"encoding":"x","blob":""}}`, 409, integrity},
		{"a run of an unknown flow", "POST", "/api/flow_runs/", `{"flow_id":"` + nobody + `"}`, 409, integrity},
		{"a task run of an unknown flow run", "POST", "/api/task_runs/", `{"flow_run_id":"` + nobody + `","task_key":"k","dynamic_key":"0"}`, 409, integrity},
		{"an unknown work queue", "GET", "/api/work_queues/" + nobody, "", 404, `{"detail":"work queue not found"}`},
		{"changing an unknown work queue", "PATCH", "/api/work_queues/" + nobody, `{"is_paused":true}`, 404, `{"detail":"work queue not found"}`},
		{"a work queue that exists", "POST", "/api/work_queues/", `{"name":"q"}`, 409, `{"detail":"A work queue with this name already exists."}`},
		{"an unknown block", "GET", "/api/blocks/" + nobody, "", 404, `{"message":"Block not found"}`},
		{"an unknown block by its name", "GET", "/api/block_specs/S/block/x", "", 404, `{"detail":"Block not found"}`},
		{"a list in place of a proposal", "POST", "/api/flow_runs/" + nobody + "/set_state", "[]", 422,
			`{"exception_message":"Invalid request received.","exception_detail":[{"loc":["body","state"],"msg":"field required","type":"value_error.missing"},{"loc":["body","force"],"msg":"field required","type":"value_error.missing"}],"request_body":[]}`},
		{"a criterion only native clients know", "POST", "/api/flow_runs/filter", `{"flow_runs":{"work_queue_id":{"any_":[]}}}`, 422,
			`{"exception_message":"Invalid request received.","exception_detail":[{"loc":["body","flow_runs","work_queue_id"],"msg":"extra fields not permitted","type":"value_error.extra"}],"request_body":{"flow_runs":{"work_queue_id":{"any_":[]}}}}`},
		{"deleting an unknown block", "DELETE", "/api/blocks/" + nobody, "", 404, `{"detail":"Block not found"}`},
		{"a block that exists", "POST", "/api/blocks/", `{"name":"b","block_spec_id":"` + spec["id"].(string) + `"}`, 409, `{"detail":"Block already exists"}`},
		{"a block of an unknown spec", "POST", "/api/blocks/", `{"name":"b","block_spec_id":"` + nobody + `"}`, 409, `{"detail":"Block already exists"}`},
		{"a default storage that is none", "POST", "/api/blocks/" + block["id"].(string) + "/set_default_storage_block", "", 422, `{"detail":"Specified block is not a storage block"}`},
		{"no default storage", "POST", "/api/blocks/get_default_storage_block", "", 204, ""},
		{"clearing the default storage", "POST", "/api/blocks/clear_default_storage_block", "", 204, ""},
		{"a block spec that exists", "POST", "/api/block_specs/", `{"name":"S","version":"1.0"}`, 409, `{"detail":"Block spec \"S/1.0\" already exists."}`},
		{"an unknown block spec", "GET", "/api/block_specs/S/versions/2", "", 404, `{"detail":"Block spec not found"}`},
		{"versions of an unknown block spec", "GET", "/api/block_specs/T/versions", "", 200, `[]`},
		{"an unknown limit", "GET", "/api/concurrency_limits/tag/x", "", 404, `{"detail":"Concurrency limit not found"}`},
		{"a limit that is too high", "POST", "/api/flows/filter", `{"limit":201}`, 422, `{"detail":"Invalid limit: must be less than or equal to 200."}`},
		{"a limit that is too low", "POST", "/api/logs/filter", `{"limit":-1}`, 422, `{"detail":"Invalid limit: must be greater than or equal to 0."}`},
		{"a negative offset", "POST", "/api/flows/filter", `{"offset":-1}`, 422,
			`{"exception_message":"Invalid request received.","exception_detail":[{"loc":["body","offset"],"msg":"ensure this value is greater than or equal to 0","type":"value_error.number.not_ge","ctx":{"limit_value":0}}],"request_body":{"offset":-1}}`},
		{"an unknown sort", "POST", "/api/flows/filter", `{"sort":"ID_DESC"}`, 422,
			`{"exception_message":"Invalid request received.","exception_detail":[{"loc":["body","sort"],"msg":"value is not a valid enumeration member; permitted: 'CREATED_DESC', 'UPDATED_DESC', 'NAME_ASC', 'NAME_DESC'","type":"type_error.enum","ctx":{"enum_values":["CREATED_DESC","UPDATED_DESC","NAME_ASC","NAME_DESC"]}}],"request_body":{"sort":"ID_DESC"}}`},
		{"an unknown criterion", "POST", "/api/logs/filter", `{"logs":{"name":{"any_":["a"]}}}`, 422,
			`{"exception_message":"Invalid request received.","exception_detail":[{"loc":["body","logs","name"],"msg":"extra fields not permitted","type":"value_error.extra"}],"request_body":{"logs":{"name":{"any_":["a"]}}}}`},
		{"text that is no JSON", "POST", "/api/flows/", "garbage", 422,
			`{"exception_message":"Invalid request received.","exception_detail":[{"loc":["body",0],"msg":"Expecting value: line 1 column 1 (char 0)","type":"value_error.jsondecode","ctx":{"msg":"Expecting value","doc":"garbage","pos":0,"lineno":1,"colno":1}}],"request_body":"garbage"}`},
		{"text that is no JSON in place of a filter", "POST", "/api/flow_runs/filter", "{", 422, `"doc":"{","pos":1,"lineno":1,"colno":2}}],"request_body":"{"}`},
		{"a run without a flow, with the key sent back", "POST", "/api/flow_runs/", `{"idempotency_key":"k"}`, 422, `"request_body":{"idempotency_key":"k"}}`},
		{"a state with data, which is sent back", "POST", "/api/flow_runs/" + nobody + "/set_state", `{"state":{"data":{"encoding":"x","blob":"y"}}}`, 422,
			`"request_body":{"state":{"data":{"encoding":"x","blob":"y"}}}}`},
		{"a secret in the environment of a run, which is not", "POST", "/api/flow_runs/", `{"flow_runner":{"config":{"env":{"A":"hidden"}}}}`, 422,
			`"request_body":{"flow_runner":{"config":{"env":{"A":"********"}}}}}`},
		{"findings in the order of Orion's parameters", "POST", "/api/flow_runs/filter", `{"flow_runs":5,"offset":"x","sort":"y","limit":[]}`, 422,
			`"exception_detail":[{"loc":["body","limit"],"msg":"value is not a valid integer","type":"type_error.integer"},{"loc":["body","sort"],"msg":"value is not a valid enumeration member; permitted: 'ID_DESC',`},
		{"findings in the order of Orion's fields", "POST", "/api/task_runs/", `{"state":{}}`, 422,
			`"exception_detail":[{"loc":["body","flow_run_id"],"msg":"field required","type":"value_error.missing"},{"loc":["body","task_key"],"msg":"field required","type":"value_error.missing"},` +
				`{"loc":["body","dynamic_key"],"msg":"field required","type":"value_error.missing"},{"loc":["body","state","type"],"msg":"field required","type":"value_error.missing"}]`},
		{"an interval that does not move", "POST", "/api/deployments/", `{"name":"x","flow_id":"` + flow["id"].(string) + `","flow_data":{"encoding":"x","blob":""},"schedule":{"interval":0}}`, 422, "The interval must be positive"},
		{"a cron string that is none", "POST", "/api/deployments/", `{"name":"x","flow_id":"` + flow["id"].(string) + `","flow_data":{"encoding":"x","blob":""},"schedule":{"cron":"H * * * *"}}`, 422, `Invalid cron string: \"H * * * *\"`},
		{"a field only native clients know", "POST", "/api/deployments/", `{"name":"x","flow_id":"` + flow["id"].(string) + `","flow_data":{"encoding":"x","blob":""},"catchup":"all"}`, 422, "extra fields not permitted"},
		{"an empty list of logs", "POST", "/api/logs/", "[]", 201, "null"},
		{"health", "GET", "/api/health", "", 200, "true"},
		{"health with a slash", "GET", "/api/health/", "", 200, "true"},
		{"hello", "GET", "/api/hello", "", 200, `"👋"`},
		{"version", "GET", "/api/admin/version", "", 200, `"2.0b4"`},
		{"deactivating a schedule", "POST", "/api/deployments/" + d["id"].(string) + "/set_schedule_inactive", "", 200, "null"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a := s.do(c.method, c.path, c.body, strictly...)
			if a.status != c.status {
				t.Errorf("status %d, want %d: %s", a.status, c.status, a.text)
			}
			if exact := c.want == "" || strings.ContainsAny(c.want[:1], `{["ntf`) && json.Valid([]byte(c.want)); exact && a.text != c.want || !exact && !strings.Contains(a.text, c.want) {
				t.Errorf("body\n%s\nwant\n%s", a.text, c.want)
			}
			if a.header.Get("X-Request-Id") == "" {
				t.Error("no request id")
			}
		})
	}
}

func TestNativeErrorsSayWhatKindAndWhatToDo(t *testing.T) {
	everywhere(t, checkNativeErrorsSayWhatKindAndWhatToDo)
}

func checkNativeErrorsSayWhatKindAndWhatToDo(t *testing.T, at place) {
	s := newStack(t, at)
	a := s.do("GET", "/api/kv/none", nil, "X-Request-Id", "mine-1")
	want := object{"detail": "The built-in store has no value under the key none.", "kind": "not_found", "hint": "It was deleted, or belongs to another server.", "request_id": "mine-1"}
	if got := a.object(t); a.status != 404 || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%d %v, want %v", a.status, got, want)
	}
	s.do("POST", "/api/work_queues/", `{"name":"q"}`)
	if got := s.do("POST", "/api/work_queues/", `{"name":"q"}`).object(t); got["kind"] != "conflict" || got["hint"] != nil {
		t.Errorf("a hint that says nothing new: %v", got)
	}
	for schedule, want := range map[string]string{
		`{"cron":"x"}`:                 `body.schedule.cron: Invalid cron string: "x"`,
		`{"interval":0}`:               "body.schedule.interval: The interval must be positive",
		`{"cron":"x","timezone":null}`: `body.schedule.cron: Invalid cron string: "x"`,
		`{"rrule":1,"day_or":true}`:    "body.schedule.day_or: extra fields not permitted",
	} {
		body := `{"name":"x","flow_id":"` + nobody + `","flow_data":{"encoding":"x","blob":""},"schedule":` + schedule + `}`
		if got := s.do("POST", "/api/deployments/", body).object(t); got["detail"] != want {
			t.Errorf("%s: %v, want %s", schedule, got["detail"], want)
		}
	}
	for _, path := range []string{"/api/flows/", "/api/blocks/"} {
		got := s.do("POST", path, "{}").object(t)
		if got["kind"] != "invalid" || got["detail"] == nil || got["request_id"] == nil || got["exception_detail"] == nil {
			t.Errorf("%s: %v", path, got)
		}
	}
	if got := s.do("GET", "/api/flows/"+nobody, nil, "X-Request-Id", "has space").object(t); strings.Contains(got["request_id"].(string), " ") {
		t.Errorf("a malformed request id was taken: %v", got)
	}
	if a := s.do("PUT", "/api/flow_runs/"+nobody, nil); a.header.Get("Allow") != "DELETE, GET, PATCH" {
		t.Errorf("Allow is %q", a.header.Get("Allow"))
	}
}

func TestVersionsOfTheAPI(t *testing.T) {
	t.Parallel()
	s := newStack(t, oneNode)
	for version, want := range map[string]string{
		"0.3.1": "", "0.3.0": "", "0.3.2": "Request specified API version 0.3.2 but this server only supports version 0.3.1 and below.",
		"9.9.9": "Request specified API version 9.9.9 but this server only supports version 0.3.1 and below.",
		"abc":   "Invalid X-PREFECT-API-VERSION header format.Expected header in format 'x.y.z' but received abc",
		"1.2":   "Invalid X-PREFECT-API-VERSION header format.Expected header in format 'x.y.z' but received 1.2",
	} {
		a := s.do("POST", "/api/flows/count", "{}", "X-PREFECT-API-VERSION", version)
		if want == "" && a.text != "0" || want != "" && (a.status != 400 || a.object(t)["detail"] != want) {
			t.Errorf("%s: %d %s", version, a.status, a.text)
		}
		if a := s.do("GET", "/api/health", nil, "X-PREFECT-API-VERSION", version); a.status != 200 {
			t.Errorf("health checks the version %s: %d", version, a.status)
		}
	}
}

func TestPathTricks(t *testing.T) {
	t.Parallel()
	s := newStack(t, oneNode)
	s.must(201, "POST", "/api/flows/", object{"name": "f"})
	for _, path := range []string{
		"/api/../api/flows/count", "/api//flows/count", "/api/flows//count", "/api/flows/name/a%2Fb", "/api/flows/name/..%2F..%2Fetc%2Fpasswd", "/api/kv/..%2Fx",
		"/api/kv/", "/api", "/api/", "/api/flows/%00", "/api/flows/name/" + strings.Repeat("a", 10_000), "/api/kv/" + strings.Repeat("a", 201), "/api/flows/%zz",
	} {
		for _, method := range []string{"GET", "POST", "DELETE"} {
			conn, err := net.Dial("tcp", s.http.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.SetDeadline(time.Now().Add(patience))
			fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", method, path)
			line, err := bufio.NewReader(conn).ReadString('\n')
			if err != nil || !strings.Contains(line, " 4") {
				t.Errorf("%s %.60s: %q %v", method, path, line, err)
			}
			conn.Close()
		}
	}
	if a := s.do("POST", "/api/flows/count", nil); a.text != "1" {
		t.Errorf("%s flows", a.text)
	}
}

func TestHugeBodiesAreRefusedAndStoreNothing(t *testing.T) {
	everywhere(t, checkHugeBodiesAreRefusedAndStoreNothing)
}

func checkHugeBodiesAreRefusedAndStoreNothing(t *testing.T, at place) {
	s := newStack(t, at)
	huge := `{"name":"` + strings.Repeat("a", maxBody) + `"}`
	for _, a := range []answer{
		s.do("POST", "/api/flows/", huge),
		s.do("POST", "/api/flows/", struct{ *strings.Reader }{strings.NewReader(huge)}.Reader),
		s.do("POST", "/api/flows/", `{"name":"`+strings.Repeat("a", 2<<20)+`"}`),
	} {
		if got := a.object(t); a.status != 413 || got["kind"] != "too_large" {
			t.Errorf("%d %.200s", a.status, a.text)
		}
	}
	if a := s.do("POST", "/api/flows/", strings.Repeat("[", 1<<20)); a.status != 422 {
		t.Errorf("deep: %d %.200s", a.status, a.text)
	}
	// Chunked, so that the length is not announced.
	conn, err := net.Dial("tcp", s.http.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(conn, "POST /api/flows/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n", maxBody+2)
	go func() { _, _ = conn.Write([]byte(strings.Repeat("a", maxBody+2) + "\r\n0\r\n\r\n")) }()
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(line, " 413 ") {
		t.Errorf("chunked: %q %v", line, err)
	}
	if a := s.do("POST", "/api/flows/count", nil); a.text != "0" {
		t.Errorf("%s flows were stored", a.text)
	}
}

func TestEveryBodyIsCheckedOnEveryRoute(t *testing.T) {
	t.Parallel()
	s := newStack(t, oneNode)
	bodies := []string{"garbage", "[]", "null", "7", `"x"`, `{"name":{}}`, `{"state":7}`, `{"flows":[]}`, `{"name":"\ud800","zz":1}`, "\xff\xfe", `{"a":` + strings.Repeat("[", 200), `[{"name":1}]`}
	for _, rt := range routes() {
		if rt.method == "GET" || rt.stream && rt.method == "GET" {
			continue
		}
		path := strings.NewReplacer("{id}", nobody, "{name}", "n", "{key}", "k", "{tag}", "t", "{version}", "v", "{block}", "b").Replace(rt.path)
		for _, body := range bodies {
			if a := s.do(rt.method, "/api"+path, body, oddly...); a.status >= 500 {
				t.Errorf("%s %s %q: %d %s", rt.method, path, body, a.status, a.text)
			}
		}
	}
}

func TestWritesWithoutALeader(t *testing.T) { everywhere(t, checkWritesWithoutALeader) }

func checkWritesWithoutALeader(t *testing.T, at place) {
	s := newStack(t, at)
	s.fault.set(&api.Error{Kind: api.KindUnavailable, Message: "no leader", Hint: "wait"})
	a := s.do("POST", "/api/flows/", object{"name": "f"})
	if got := a.object(t); a.status != 503 || got["kind"] != "unavailable" || a.header.Get("Retry-After") == "" {
		t.Errorf("native: %d %s", a.status, a.text)
	}
	a = s.do("POST", "/api/flows/", object{"name": "f"}, strictly...)
	if a.status != 429 || a.header.Get("Retry-After") == "" || a.text != `{"detail":"no leader"}` {
		t.Errorf("strict: %d %s", a.status, a.text)
	}
	s.fault.set(&api.Error{Kind: api.KindUnknownOutcome, Message: "who knows"})
	a = s.do("POST", "/api/flows/", object{"name": "f"})
	if got := a.object(t); a.status != 503 || got["kind"] != "unknown_outcome" || a.header.Get("Retry-After") != "" {
		t.Errorf("unknown: %d %s", a.status, a.text)
	}
	s.fault.set(nil)
	s.must(201, "POST", "/api/flows/", object{"name": "f"})
}

func TestReadYourWrites(t *testing.T) { everywhere(t, checkReadYourWrites) }

func checkReadYourWrites(t *testing.T, at place) {
	s := newStack(t, at)
	a := s.do("POST", "/api/flows/", object{"name": "f"})
	index := a.header.Get("X-Sluice-Index")
	if index == "" {
		t.Fatal("a write has no index")
	}
	b := s.do("GET", "/api/flows/name/f?consistency=stale", nil, "X-Sluice-Min-Index", index)
	if b.status != 200 || b.header.Get("X-Sluice-Index") == "" {
		t.Errorf("%d %s", b.status, b.text)
	}
	if b := s.do("GET", "/api/flows/name/f", nil, "X-Sluice-Min-Index", "!"); b.status != 400 {
		t.Errorf("a malformed index: %d", b.status)
	}
}

func TestProbesAndMetrics(t *testing.T) {
	t.Parallel()
	s := newStack(t, oneNode)
	if a := s.do("GET", "/livez", nil); a.status != 200 {
		t.Errorf("livez: %d", a.status)
	}
	if a := s.do("GET", "/readyz?verbose", nil); a.status != 200 || a.text != "[+] leader\nready\n" {
		t.Errorf("readyz: %d %q", a.status, a.text)
	}
	s.do("GET", "/api/flows/"+nobody, nil)
	if a := s.do("GET", "/metrics", nil); !strings.Contains(a.text, `sluice_http_request_duration_seconds_count{method="GET",route="/flows/{id}",status="404"} 1`) {
		t.Errorf("metrics: %d %.500s", a.status, a.text)
	}
	s.server.Drain()
	if a := s.do("GET", "/readyz", nil); a.status != 503 || !strings.Contains(a.text, "draining") {
		t.Errorf("readyz while draining: %d %q", a.status, a.text)
	}
	if a := s.do("GET", "/livez", nil); a.status != 200 {
		t.Errorf("livez while draining: %d", a.status)
	}
}

func TestTheServerStopsWhileAStreamIsOpen(t *testing.T) {
	t.Parallel()
	s := newStack(t, oneNode)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.server.Start(listener)
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprint(conn, "GET /api/events HTTP/1.1\r\nHost: x\r\n\r\n")
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(line, " 200 ") {
		t.Fatalf("%q %v", line, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for range 2 {
		if err := s.server.Stop(ctx); err != nil {
			t.Error(err)
		}
	}
	select {
	case err := <-s.server.Failed():
		t.Errorf("stopping counts as a failure: %v", err)
	default:
	}
}

func TestAPanicIsAnswered(t *testing.T) {
	t.Parallel()
	s := newStack(t, oneNode, func(c *Config) { c.Health = panicking{} })
	a := s.do("GET", "/readyz", nil)
	if got := a.object(t); a.status != 500 || got["exception_message"] != "Internal Server Error" || got["kind"] != "internal" {
		t.Errorf("%d %s", a.status, a.text)
	}
	if a := s.do("HEAD", "/livez", nil); a.status != 200 {
		t.Errorf("the server answers %d after a panic", a.status)
	}
}

type panicking struct{}

func (panicking) Checks(context.Context) []Check { panic("a defect") }
