//go:build linux

package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-dev/sluice/api"
)

// exchange is one request and its answer, as recordings have them.
type exchange struct {
	Method   string          `json:"method"`
	Path     string          `json:"path"`
	Request  json.RawMessage `json:"request_json"`
	Response json.RawMessage `json:"response_json"`
	Client   string          `json:"client"`
}

// recorder is a proxy in front of a server that remembers what went through it, in the order of the requests.
type recorder struct {
	url string

	mu   sync.Mutex
	seen []*exchange
}

func recordRequests(t *testing.T, s *server) *recorder {
	t.Helper()
	target, err := url.Parse("http://" + s.address)
	if err != nil {
		t.Fatal(err)
	}
	r, proxy := &recorder{}, httputil.NewSingleHostReverseProxy(target)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		if err != nil {
			return // its sender has gone
		}
		e := &exchange{Method: request.Method, Path: request.URL.Path, Request: body}
		r.mu.Lock()
		r.seen = append(r.seen, e)
		r.mu.Unlock()
		request.Body = io.NopCloser(bytes.NewReader(body))
		request.Header.Del("Accept-Encoding")
		answer := &copied{ResponseWriter: w}
		proxy.ServeHTTP(answer, request)
		r.mu.Lock()
		e.Response = answer.body.Bytes()
		r.mu.Unlock()
	}))
	t.Cleanup(front.Close)
	r.url = front.URL + "/api"
	return r
}

func (r *recorder) exchanges() []*exchange {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.seen)
}

// copied keeps what is answered.
type copied struct {
	http.ResponseWriter
	body bytes.Buffer
}

func (c *copied) Write(p []byte) (int, error) {
	c.body.Write(p)
	return c.ResponseWriter.Write(p)
}

// Unwrap lets the proxy flush.
func (c *copied) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// The deliberate differences between Go's requests and Orion's are those that this file makes good, and docs/go-sdk.md lists.
var (
	idsInText   = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	taskNames   = regexp.MustCompile(`\b([a-z_]+)-[0-9a-f]{8}-([0-9]+)\b`)
	slugs       = regexp.MustCompile(`^[a-z]+-[a-z]+$`)
	tracebacks  = regexp.MustCompile(`(?s)Encountered exception during execution:\nTraceback.*\n\w+: (.*)`)
	knownValues = map[string]string{"gAVOLg==\n": "null", "gAVLAy4=\n": "3", "gAVLKi4=\n": "42"} // pickles of None, 3 and 42
)

// retelling makes requests comparable.
type retelling struct {
	t      *testing.T
	ids    map[string]string
	errors []string // what stands in messages of failed states where Orion only says that there was an exception
}

// body is a request without what its sender left to the default: null, "", 0, false, {} and []. Ids, keys, times and made up names are
// replaced; results by their values.
func (s *retelling) body(key string, value any) any {
	switch v := value.(type) {
	case map[string]any:
		if encoding, ok := v["encoding"].(string); ok && len(v) == 2 {
			blob, _ := v["blob"].(string)
			if encoding == "cloudpickle" {
				blob = knownValues[blob]
			}
			return "value " + blob
		}
		kept := map[string]any{}
		for name, inner := range v {
			if name == "idempotency_key" { // Go's requests may be sent twice without harm
				continue
			}
			if inner = s.body(name, inner); inner != nil {
				kept[name] = inner
			}
		}
		if state, ok := kept["type"].(string); ok && kept["name"] == nil { // the name of a state is its type's by default
			kept["name"] = state[:1] + strings.ToLower(state[1:])
		}
		if len(kept) == 0 {
			return nil
		}
		return kept
	case []any:
		var kept []any
		for _, inner := range v {
			kept = append(kept, s.body("", inner))
		}
		if len(kept) == 0 {
			return nil
		}
		return kept
	case string:
		switch {
		case v == "":
			return nil
		case key == "flow_version":
			return nil // Python's is the md5 of a file, Go's the revision it was built from
		case key == "task_key":
			return "key"
		case key == "cache_expiration":
			return "a time"
		case key == "name" && slugs.MatchString(v) && !strings.HasSuffix(v, "-flow"):
			return "slug"
		}
		return s.text(v)
	case float64:
		if v == 0 {
			return nil
		}
	case bool:
		if !v {
			return nil
		}
	}
	return value
}

func (s *retelling) text(text string) string {
	text = taskNames.ReplaceAllString(text, "$1-key-$2")
	return idsInText.ReplaceAllStringFunc(text, func(id string) string {
		if s.ids[id] == "" {
			s.ids[id] = fmt.Sprintf("id%d", len(s.ids))
		}
		return s.ids[id]
	})
}

// told is what a proposal was answered.
func told(answer json.RawMessage) string {
	var a struct {
		Status string
		State  *struct{ Type, Name string }
		// Details have more, which depends on it.
		Details struct{ Reason string }
	}
	if json.Unmarshal(answer, &a) != nil || a.State == nil {
		return ""
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s %s %s", a.Status, a.State.Type, a.State.Name, a.Details.Reason))
}

// retell returns the requests of a run in order, and its log lines.
func retell(t *testing.T, exchanges []*exchange, errors []string) (requests, lines []string) {
	t.Helper()
	s := &retelling{t, map[string]string{}, errors}
	for _, e := range exchanges {
		var body any
		if len(e.Request) > 0 {
			if err := json.Unmarshal(e.Request, &body); err != nil {
				t.Fatalf("%s: %v", e.Path, err)
			}
		}
		switch path := e.Path; {
		case strings.HasSuffix(path, "/logs/"):
			lines = append(lines, s.lines(body.([]any))...)
		// Go asks for the storage when there is a result to store, has leases, and does not ask whether the server is healthy.
		case strings.HasSuffix(path, "/get_default_storage_block"), strings.HasSuffix(path, "/health"), strings.HasSuffix(path, "/lease"), strings.HasSuffix(path, "/leases/renew"):
		default:
			if object, ok := body.(map[string]any); ok {
				s.state(path, object)
			}
			text, err := json.Marshal(s.body("", body))
			if err != nil {
				t.Fatal(err)
			}
			answer := ""
			if strings.HasSuffix(path, "/set_state") {
				answer = told(e.Response)
			}
			requests = append(requests, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", e.Method, s.text(path), text, answer)))
		}
	}
	return requests, lines
}

// state evens out the state of a request: Go's failures have their error as message and no result, the results of flows lie anywhere.
func (s *retelling) state(path string, request map[string]any) {
	state, ok := request["state"].(map[string]any)
	if !ok || !strings.HasSuffix(path, "/set_state") {
		return
	}
	message, _ := state["message"].(string)
	switch {
	case state["type"] == "FAILED":
		delete(state, "data")
		if strings.HasSuffix(message, " encountered an exception.") || strings.HasSuffix(message, " states failed.") {
			if len(s.errors) == 0 {
				s.t.Fatal("Orion's client reports more failures than Go's")
			}
			state["message"], s.errors = s.errors[0], s.errors[1:]
		}
	case strings.HasPrefix(path, "/api/flow_runs/") && state["data"] != nil:
		state["data"] = "a result"
	}
}

func (s *retelling) lines(batch []any) (lines []string) {
	for _, one := range batch {
		line := one.(map[string]any)
		message := tracebacks.ReplaceAllString(line["message"].(string), "Encountered an error during execution: $1")
		// Go has no task runners to choose from, and stores results in the cluster where no storage is configured.
		if strings.HasPrefix(message, "Using task runner ") || strings.HasPrefix(message, "No default storage is configured ") {
			continue
		}
		name := strings.Replace(line["name"].(string), "prefect.", "sluice.", 1)
		lines = append(lines, fmt.Sprintf("%s %v %s (task %t)", name, line["level"], s.text(message), line["task_run_id"] != nil))
	}
	return lines
}

func recorded(t *testing.T, trace string, of func(*exchange) bool) []*exchange {
	t.Helper()
	file, err := os.Open(filepath.Join("..", "http", "testdata", "traces", trace))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var all []*exchange
	client := ""
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		e := &exchange{}
		if err := json.Unmarshal(lines.Bytes(), e); err != nil {
			t.Fatal(err)
		}
		if client == "" && of != nil && of(e) {
			client = e.Client
		}
		all = append(all, e)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if of != nil { // of several processes' requests, those of the flow's
		all = slices.DeleteFunc(all, func(e *exchange) bool { return e.Client != client && !strings.HasSuffix(e.Path, "/logs/") })
	}
	return all
}

// same compares two stories, line by line.
func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("the %s are\n%s\nnot\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestGoFlowsSendWhatOrionsClientSends compares the requests of Go flows with recordings of Orion's client and, where there is none, with
// the order that docs/api.md and the Python SDK have.
func TestGoFlowsSendWhatOrionsClientSends(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	conn, shell := connect(t, s, 0), newClient(t, s)
	program := filepath.Join(shell.dir, "traceflows")
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", program, "./e2e/testdata/traceflows")
	build.Dir = built.root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	sent := func(t *testing.T, code int, env map[string]string, args ...string) []*exchange {
		t.Helper()
		r, mine := recordRequests(t, s), newClient(t, s)
		mine.env["SLUICE_API_URL"] = r.url
		for name, value := range env {
			mine.env[name] = value
		}
		if result := mine.exec("", program, args...); result.code != code {
			t.Fatal(result)
		}
		return r.exchanges()
	}
	for _, test := range []struct {
		trace, flow string
		args        []string
		code        int
		errors      []string
	}{
		{trace: "00-script-run.jsonl", flow: "leonardo_dicapriflow", args: []string{"--name", "Leo"}},
		{trace: "20-retry-flow.jsonl", flow: "retry-flow", errors: []string{"attempt 1", "attempt 2"}},
		{trace: "21-cache-flow-first.jsonl", flow: "cache-flow", args: []string{"--x", "21"}},
		{trace: "24-failing-task-flow.jsonl", flow: "failing-flow", code: 1, errors: []string{"boom", "1/1 states failed: boom-key-0: boom"}},
		{trace: "25-raising-flow.jsonl", flow: "raising-flow", code: 1, errors: []string{"flow boom"}},
		{trace: "26-param-flow.jsonl", flow: "param-flow", args: []string{"--name=Leo", "--count=7", `--opts={"a":[1,2]}`}},
	} {
		t.Run("as in "+test.trace, func(t *testing.T) {
			t.Parallel()
			requests, lines := retell(t, sent(t, test.code, nil, append([]string{"run", test.flow}, test.args...)...), nil)
			want, wantLines := retell(t, recorded(t, test.trace, nil), test.errors)
			same(t, "requests", requests, want)
			same(t, "log lines", lines, wantLines)
		})
	}

	// shape is method, kind of object, state proposed or begun with, and what became of it.
	shape := func(exchanges []*exchange) (found []string) {
		for _, e := range exchanges {
			if strings.HasSuffix(e.Path, "/logs/") || strings.HasSuffix(e.Path, "/lease") || strings.HasSuffix(e.Path, "/leases/renew") || strings.HasSuffix(e.Path, "/get_default_storage_block") {
				continue
			}
			var body struct {
				State *struct{ Type, Name, Message string }
				Force bool
			}
			_ = json.Unmarshal(e.Request, &body) // of a GET there is none
			one := []string{e.Method, strings.Split(e.Path, "/")[2]}
			if strings.HasSuffix(e.Path, "/set_state") {
				one[1] += "/set_state"
			}
			if body.State != nil {
				if body.State.Name == "" {
					body.State.Name = body.State.Type[:1] + strings.ToLower(body.State.Type[1:])
				}
				one = append(one, body.State.Name)
				if body.State.Message != "" {
					one = append(one, "("+taskNames.ReplaceAllString(idsInText.ReplaceAllString(body.State.Message, "ID"), "$1-key-$2")+")")
				}
			}
			if body.Force {
				one = append(one, "forced")
			}
			if strings.HasSuffix(e.Path, "/set_state") {
				one = append(one, strings.Fields(told(e.Response))[0])
			}
			found = append(found, strings.Join(one, " "))
		}
		return found
	}
	begin := []string{"POST flows", "POST flow_runs Pending", "POST flow_runs/set_state Running ACCEPT"}
	for _, test := range []struct {
		flow string
		code int
		want []string
	}{
		{"parent", 0, []string{"POST task_runs Pending", "POST flows", "POST flow_runs Pending", "POST flow_runs/set_state Running ACCEPT",
			"POST flow_runs/set_state Completed ACCEPT", "POST flow_runs/set_state Completed (All states completed.) ACCEPT"}},
		{"unready", 1, []string{"POST task_runs Pending", "POST task_runs/set_state Running ACCEPT", "POST task_runs/set_state Failed (boom) ACCEPT", "POST task_runs Pending",
			"POST task_runs/set_state NotReady (Upstream task run 'ID' did not reach a 'COMPLETED' state.) ACCEPT",
			`POST flow_runs/set_state Failed (1/2 states failed: after-key-0: task run "boom-key-0" did not complete, so what comes after it did not run) ACCEPT`}},
		{"late", 1, []string{"POST flow_runs/set_state TimedOut (Flow run exceeded timeout of 100ms) ACCEPT"}},
		{"crash", 143, []string{"GET flow_runs", "POST flow_runs/set_state Crashed (Flow run process was terminated by SIGTERM.) forced ACCEPT"}},
	} {
		t.Run("in order, of the flow "+test.flow, func(t *testing.T) {
			t.Parallel()
			exchanges := sent(t, test.code, nil, "run", test.flow)
			same(t, "requests", shape(exchanges), append(slices.Clone(begin), test.want...))
			if test.flow != "parent" {
				return
			}
			// The subflow's run names the task run that stands for it.
			var dummy struct{ ID, Name string }
			var run struct {
				Parent string `json:"parent_task_run_id"`
			}
			for _, e := range exchanges {
				switch {
				case e.Path == "/api/task_runs/":
					if err := json.Unmarshal(e.Response, &dummy); err != nil {
						t.Fatal(err)
					}
				case e.Path == "/api/flow_runs/":
					if err := json.Unmarshal(e.Request, &run); err != nil {
						t.Fatal(err)
					}
				}
			}
			if dummy.Name != "child" || run.Parent != dummy.ID || run.Parent == "" {
				t.Errorf("task run %+v stands for a subflow whose run names %q", dummy, run.Parent)
			}
		})
	}
	t.Run("nothing, for parameters that do not fit", func(t *testing.T) {
		t.Parallel()
		same(t, "requests", shape(sent(t, 2, nil, "run", "cache-flow", "--x", "much")), nil)
	})

	shell.ok("deployment", "create", program)
	// granted executes a run of a deployment, Pending under a lease.
	granted := func(t *testing.T, flow, deployment, parameters string) []*exchange {
		t.Helper()
		d := must[*api.Deployment](t)(conn.DeploymentByName(t.Context(), flow, deployment))
		pending, key := api.NewState(api.Pending, ""), api.NewID().String()
		run := must[*api.FlowRun](t)(conn.RunDeployment(t.Context(), d.ID, api.DeploymentFlowRunCreate{State: &pending, IdempotencyKey: &key, Parameters: json.RawMessage(parameters)}))
		lease := must[*api.Lease](t)(conn.LeaseFlowRun(t.Context(), run.ID, "test"))
		return sent(t, 0, map[string]string{"SLUICE_LEASE_TOKEN": lease.Token}, "exec", run.ID.String())
	}
	t.Run("as in 09-quick-run-ui.jsonl, of a deployment's run", func(t *testing.T) {
		t.Parallel()
		exchanges := granted(t, "leonardo_dicapriflow", "leonardo-deployment", `{"name":"Leo"}`)
		want := recorded(t, "09-quick-run-ui.jsonl", func(e *exchange) bool { return e.Method == "GET" && strings.Contains(e.Path, "/flow_runs/") })
		// Go's code is in the process: it reads neither the deployment nor a block with it, and has no version to report when it was
		// built without one.
		want = slices.DeleteFunc(want, func(e *exchange) bool {
			return e.Method == "GET" && (strings.Contains(e.Path, "/deployments/") || strings.Contains(e.Path, "/blocks/")) || e.Method == "PATCH"
		})
		same(t, "requests", shape(exchanges), slices.DeleteFunc(shape(want), func(one string) bool { return one == "GET health" }))
		_, lines := retell(t, exchanges, nil)
		_, wantLines := retell(t, want, nil)
		same(t, "log lines", lines, wantLines)
	})
}
