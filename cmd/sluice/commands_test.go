package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-dev/sluice/api"
)

const (
	queueID = "513cf5f9-42ea-4a05-8375-f4fafeab8b90"
	runID   = "019ac000-0000-7000-8000-000000000001"
)

func TestStorageCreateAsksAsInTheTutorial(t *testing.T) {
	t.Parallel()
	server := replay(t, "01-storage-create")
	s := newShell(t, server.api())
	s.in = "nine\n1\n\n/data/bucket/\nwrong\n\n\nbenjamin-bucket\ny\n"
	golden(t, "storage-create.txt", s.ok("storage", "create"))
	want := `{"name":"benjamin-bucket","data":{"base_path":"/data/bucket/","key_type":"hash"},"block_spec_id":"e4853968-5d3f-46fc-ba69-9cde98fdf689"}`
	if got := server.sent("POST", "/blocks/"); len(got) != 1 || got[0] != want {
		t.Errorf("sent %s, want %s", got, want)
	}
	if got := server.sent("POST", "/blocks/ae781f0b-12d7-446d-9edc-f838008ffad7/set_default_storage_block"); len(got) != 1 {
		t.Errorf("the default was set %d times", len(got))
	}
}

func TestStorageCreateAsksInTheOrderOfTheSchema(t *testing.T) {
	t.Parallel()
	server := replay(t, "01-storage-create")
	s := newShell(t, server.api())
	s.in = "5\nthe-curious-case\nKEY\nSECRET\n\n\n\nbenjamin-bucket\nn\n"
	got := s.run("storage", "create")
	for _, part := range []string{
		"You've selected S3 Storage. It has 6 option(s).\n", "BUCKET: ", "AWS ACCESS KEY ID (optional): ", "AWS SECRET ACCESS KEY (optional): ",
		"AWS SESSION TOKEN (optional): ", "PROFILE NAME (optional): ", "REGION NAME (optional): ", "Choose a name for this storage configuration: ",
		"Validating configuration...\n", "Registering storage with server...\n", "Registered storage 'benjamin-bucket' with identifier '",
		"You do not have a default storage configuration. Would you like to set this as your default storage? [Y/n]: ",
	} {
		_, rest, found := strings.Cut(got.out, part)
		if !found {
			t.Fatalf("no %q, in its place, in\n%s", part, got.out)
		}
		got.out = rest
	}
	if got.code != exitOK || got.err != "" {
		t.Errorf("exit %d, stderr %s", got.code, got.err)
	}
	want := `"data":{"bucket":"the-curious-case","aws_access_key_id":"KEY","aws_secret_access_key":"SECRET"}`
	if got := server.sent("POST", "/blocks/"); len(got) != 1 || !strings.Contains(got[0], want) {
		t.Errorf("sent %s", got)
	}
}

func TestStorageCreateByFlagsAsksNothing(t *testing.T) {
	t.Parallel()
	server := replay(t, "01-storage-create")
	s := newShell(t, server.api())
	got := s.ok("storage", "create", "--type", "file", "--name", "x", "--set", "base_path=/tmp/b", "--default", "-q")
	if got != "ae781f0b-12d7-446d-9edc-f838008ffad7\n" {
		t.Errorf("got %q", got)
	}
	for line, want := range map[string]string{
		"--type nothing --name x":                                  "it is the beginning of one of: Azure Blob Storage, File Storage",
		"--type file --name x":                                     "File Storage needs --set base_path=...",
		"--type file --name x --set path=/x":                       "one of the options of File Storage: base_path, key_type, options",
		"--type file --set base_path=/x":                           "--name is required with --type",
		"--type file --name x --set base_path=/x --set key_type=z": "it is one of hash, uuid, timestamp",
		"--name x": "need --type",
	} {
		got := s.run(append([]string{"storage", "create"}, strings.Fields(line)...)...)
		if got.code != exitUsage || !strings.Contains(got.err, want) {
			t.Errorf("%s: exit %d\n%s", line, got.code, got.err)
		}
	}
}

func TestPromptsEndWhenTheInputEnds(t *testing.T) {
	t.Parallel()
	s := newShell(t, replay(t, "01-storage-create").api())
	s.in = "1\n"
	if got := s.run("storage", "create"); got.code != exitUsage || !strings.Contains(got.err, "the input has ended") {
		t.Errorf("exit %d\n%s", got.code, got.err)
	}
}

func TestDeploymentsAreListedAndInspected(t *testing.T) {
	t.Parallel()
	s := newShell(t, replay(t, "03-deployment-ls", "04-deployment-inspect").api())
	s.tty, s.width = true, 100
	golden(t, "deployment-ls.txt", s.ok("deployment", "ls"))
	golden(t, "deployment-inspect.txt", s.ok("deployment", "inspect", "leonardo_dicapriflow/leonardo-deployment"))
	s.tty = false
	id := "403cfbff-8a0d-4abb-a5f2-384c05866c85"
	for _, ref := range []string{"leonardo-deployment", "403cf", "403cfbff-8a0d"} {
		if got := s.ok("deployment", "inspect", ref, "-q"); got != id+"\n" {
			t.Errorf("%s is %q", ref, got)
		}
	}
	if got := s.ok("deployment", "ls", "-o", "name"); got != "leonardo_dicapriflow/leonardo-deployment\n" {
		t.Errorf("got %q", got)
	}
	got := s.run("deployment", "inspect", "leonardo_dicapriflow/nope")
	if got.code != exitNotFound || got.err != "error: there is no deployment 'leonardo_dicapriflow/nope'\ntry: one of these: leonardo_dicapriflow/leonardo-deployment\n" {
		t.Errorf("exit %d\n%s", got.code, got.err)
	}
}

func TestWorkQueueCommandsOfTheTutorial(t *testing.T) {
	t.Parallel()
	server := replay(t, "07-work-queue-ls", "12-work-queue-inspect", "17-work-queue-clear-concurrency-limit")
	s := newShell(t, server.api())
	for line, want := range map[string]string{
		"work-queue pause " + queueID:                       "Paused work queue " + queueID + "\n",
		"work-queue resume tutorial_queue":                  "Resumed work queue " + queueID + "\n",
		"work-queue set-concurrency-limit 513cf 5":          "Concurrency limit of 5 set on work queue " + queueID + "\n",
		"work-queue clear-concurrency-limit tutorial_queue": "Concurrency limits removed on work queue " + queueID + "\n",
		"work-queue edit tutorial_queue --name lessons":     "Updated work queue " + queueID + "\n",
		"work-queue inspect tutorial_queue -o name":         "tutorial_queue\n",
	} {
		if got := s.ok(strings.Fields(line)...); got != want {
			t.Errorf("%s: got %q, want %q", line, got, want)
		}
	}
	sent := server.sent("PATCH", "/work_queues/"+queueID)
	for _, want := range []string{`{"is_paused":true}`, `{"is_paused":false}`, `{"concurrency_limit":5}`, `{"concurrency_limit":null}`, `{"name":"lessons"}`} {
		if !strings.Contains(strings.Join(sent, "\n"), want) {
			t.Errorf("no %s in %s", want, sent)
		}
	}
	got := s.run("work-queue", "inspect", "tutoral_queue")
	if want := "error: there is no work queue 'tutoral_queue'\ntry: one of these: tutorial_queue\n"; got.code != exitNotFound || got.err != want {
		t.Errorf("exit %d\n%s", got.code, got.err)
	}
}

func TestWorkQueueCreateSaysTheID(t *testing.T) {
	t.Parallel()
	server := record(t, func(w http.ResponseWriter, r request) {
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"id":"`+queueID+`","name":"tutorial_queue","filter":{}}`)
	})
	s := newShell(t, server.api())
	if got, want := s.ok("work-queue", "create", "--tag", "tutorial", "tutorial_queue"), "Created work queue 'tutorial_queue' ("+queueID+")\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := s.ok("work-queue", "create", "-q", "-t", "a", "-t", "b", "--flow-runner", "docker", "--concurrency-limit", "0", "x"); got != queueID+"\n" {
		t.Errorf("got %q", got)
	}
	sent := server.sent("POST", "/work_queues/")
	for i, want := range []string{
		`{"filter":{"tags":["tutorial"],"deployment_ids":null,"flow_runner_types":null},"name":"tutorial_queue"}`,
		`{"filter":{"tags":["a","b"],"deployment_ids":null,"flow_runner_types":["docker"]},"name":"x","concurrency_limit":0}`,
	} {
		if sent[i] != want {
			t.Errorf("sent %s, want %s", sent[i], want)
		}
	}
}

func TestDeletingAQueueNamesItsID(t *testing.T) {
	t.Parallel()
	const id = "9809c2c5-8577-49f7-862a-221d7efcfa04"
	server := record(t, func(w http.ResponseWriter, r request) {
		if r.method == http.MethodDelete {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		_, _ = io.WriteString(w, `{"id":"`+id+`","name":"q","filter":{}}`)
	})
	if got := newShell(t, server.api()).ok("work-queue", "delete", id); got != "Deleted work queue "+id+"\n" {
		t.Errorf("got %q", got)
	}
}

func TestAmbiguousNamesListTheirCandidates(t *testing.T) {
	t.Parallel()
	server := record(t, func(w http.ResponseWriter, r request) {
		if r.path != "/work_queues/filter" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = io.WriteString(w, `[{"id":"019ac000-0000-7000-8000-000000000001","name":"a","filter":{}},{"id":"019ac000-0000-7000-8000-000000000002","name":"b","filter":{}}]`)
	})
	got := newShell(t, server.api()).run("work-queue", "pause", "019ac0")
	for _, want := range []string{"'019ac0' means 2 work queues", "a  019ac000-0000-7000-8000-000000000001", "b  019ac000-0000-7000-8000-000000000002"} {
		if got.code != exitUsage || !strings.Contains(got.err, want) {
			t.Errorf("exit %d, no %q in\n%s", got.code, want, got.err)
		}
	}
}

func TestKindsOfErrorsHaveTheirExitCodes(t *testing.T) {
	t.Parallel()
	for status, code := range map[int]int{401: exitNotAllowed, 403: exitNotAllowed, 404: exitNotFound, 409: exitConflict, 422: exitError, 500: exitError, 503: exitUnreachable} {
		server := record(t, func(w http.ResponseWriter, _ request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, `{"detail":"because","hint":"do this","request_id":"r7"}`)
		})
		got := newShell(t, server.api()).run("storage", "ls")
		if want := "error: because\ntry: do this\nrequest: r7\n"; got.code != code || got.err != want {
			t.Errorf("%d: exit %d\n%s", status, got.code, got.err)
		}
	}
}

func TestNoServerIsToldInTheTutorialsWay(t *testing.T) {
	t.Parallel()
	address := nowhere(t)
	got := newShell(t, address).run("work-queue", "ls")
	want := "error: cannot reach the Sluice API at " + address + ": connection refused\n" +
		`try: start one with "sluice server start", or point to another with "sluice config set SLUICE_API_URL=http://HOST:4200/api"` + "\n"
	if got.code != exitUnreachable || got.err != want {
		t.Errorf("exit %d\n%s", got.code, got.err)
	}
}

// runServerWith answers for one flow run and streams the given events of it.
func runServerWith(t *testing.T, events string) *recorder {
	t.Helper()
	run := `{"id":"` + runID + `","name":"tan-lion","flow_id":"` + queueID + `"}`
	return record(t, func(w http.ResponseWriter, r request) {
		switch {
		case strings.HasSuffix(r.path, "/stream"):
			_, _ = io.WriteString(w, events)
		case strings.HasSuffix(r.path, "/create_flow_run"):
			_, _ = io.WriteString(w, run)
		case strings.HasPrefix(r.path, "/deployments/"):
			_, _ = io.WriteString(w, `{"id":"`+queueID+`","name":"d","flow_id":"`+queueID+`","flow_data":{}}`)
		case strings.HasPrefix(r.path, "/flows/"):
			_, _ = io.WriteString(w, `{"id":"`+queueID+`","name":"f"}`)
		case r.path == "/task_runs/filter":
			_, _ = io.WriteString(w, `[{"id":"`+queueID+`","name":"log_message-718c3f46-0"}]`)
		case r.path == "/flow_runs/filter":
			_, _ = io.WriteString(w, `[`+run+`]`)
		case strings.HasPrefix(r.path, "/flow_runs/"):
			_, _ = io.WriteString(w, run)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	})
}

func event(kind string, data any) string {
	encoded, err := json.Marshal(data)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf("event: %s\nid: %s\ndata: %s\n\n", kind, kind, encoded)
}

func TestWatchingEndsAsTheRunEnds(t *testing.T) {
	t.Parallel()
	at, err := api.ParseTime("2026-11-23T12:17:42.449+00:00")
	if err != nil {
		t.Fatal(err)
	}
	task, err := api.ParseID(queueID)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		kind api.StateType
		name string
		code int
	}{
		{api.Completed, "Completed", 0},
		{api.Failed, "Failed", 10},
		{api.Failed, "TimedOut", 10},
		{api.Failed, "Crashed", 11},
		{api.Cancelled, "Cancelled", 12},
	} {
		message := "the end"
		end := api.State{ID: api.NewID(), Type: test.kind, Name: test.name, Timestamp: api.At(at), Message: &message}
		events := event("state", api.State{ID: api.NewID(), Type: api.Running, Name: "Running", Timestamp: api.At(at)}) +
			event("log", api.Log{Level: 20, Message: "Hello Leo!", Timestamp: api.At(at), TaskRunID: &task}) +
			event("state", end) + event("end", end)
		s := newShell(t, runServerWith(t, events).api())
		got := s.run("flow-run", "watch", "tan-lion")
		want := "2026-11-23T12:17:42.449000+00:00 | STATE   | Flow run 'tan-lion' - State: Running\n" +
			"2026-11-23T12:17:42.449000+00:00 | INFO    | Task run 'log_message-718c3f46-0' - Hello Leo!\n" +
			"2026-11-23T12:17:42.449000+00:00 | STATE   | Flow run 'tan-lion' - State: " + test.name + " - the end\n"
		if got.code != test.code || got.out != want || got.err != "" {
			t.Errorf("%s: exit %d\n%s%s", test.name, got.code, got.out, got.err)
		}
		got = s.run("deployment", "run", queueID, "--watch", "--param", "name=Leo", "--param", "n=3")
		if got.code != test.code || !strings.HasPrefix(got.out, "Created flow run 'tan-lion' ("+runID+")\n") {
			t.Errorf("%s: exit %d\n%s%s", test.name, got.code, got.out, got.err)
		}
		got = s.run("-o", "json", "deployment", "run", queueID, "--watch")
		for line := range strings.Lines(got.out) {
			if !json.Valid([]byte(line)) {
				t.Errorf("not an object a line: %s", line)
			}
		}
		if got.code != test.code || strings.Count(got.out, "\n") != 4 { // the run, two states, a log
			t.Errorf("%s as JSON: exit %d\n%s%s", test.name, got.code, got.out, got.err)
		}
		if got := s.run("flow-run", "logs", "-f", runID); got.code != exitOK || strings.Count(got.out, "\n") != 1 {
			t.Errorf("logs -f: exit %d\n%s", got.code, got.out)
		}
	}
}

func TestWatchingStopsAfterItsTime(t *testing.T) {
	t.Parallel()
	s := newShell(t, runServerWith(t, event("state", api.State{Type: api.Running, Name: "Running"})).api())
	got := s.run("flow-run", "watch", runID, "--timeout", "1ms")
	if got.code != exitTimeout || !strings.Contains(got.err, "sluice flow-run watch "+runID) {
		t.Errorf("exit %d\n%s", got.code, got.err)
	}
}

func TestAnInterruptedWatchSaysHowToComeBack(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	server := record(t, func(w http.ResponseWriter, r request) {
		if strings.HasSuffix(r.path, "/stream") {
			interrupt()
			return
		}
		_, _ = io.WriteString(w, `{"id":"`+runID+`","name":"tan-lion"}`)
	})
	got := newShell(t, server.api()).runContext(ctx, "flow-run", "watch", runID)
	if got.code != exitInterrupted || !strings.Contains(got.err, "sluice flow-run cancel "+runID) {
		t.Errorf("exit %d\n%s", got.code, got.err)
	}
}

func TestAnAgentThatIsStoppedWhileItStartsHasNotFailed(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	server := record(t, func(w http.ResponseWriter, _ request) {
		stop()
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	got := newShell(t, server.api()).runContext(ctx, "agent", "start", "queue")
	if got.code != exitOK || !strings.Contains(got.out, "Agent stopped!") {
		t.Errorf("exit %d\n%s%s", got.code, got.out, got.err)
	}
}

func TestDeploymentRunSendsParametersAndAStartTime(t *testing.T) {
	t.Parallel()
	server := runServerWith(t, "")
	s := newShell(t, server.api())
	file := filepath.Join(t.TempDir(), "p.json")
	if err := os.WriteFile(file, []byte(`{"a":[1,2],"name":"Leo"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	s.ok("deployment", "run", queueID, "--params", "@"+file, "--param", "name=Marvin", "--param", "n=7", "--param", "empty=", "--start-at", "2030-01-01T10:00:00+01:00", "--tag", "x")
	sent := server.sent("POST", "/deployments/"+queueID+"/create_flow_run")
	var body api.DeploymentFlowRunCreate
	if len(sent) != 1 || json.Unmarshal([]byte(sent[0]), &body) != nil {
		t.Fatalf("sent %s", sent)
	}
	if want := `{"a":[1,2],"empty":"","n":7,"name":"Marvin"}`; string(body.Parameters) != want {
		t.Errorf("parameters %s, want %s", body.Parameters, want)
	}
	if at := body.State.StateDetails.ScheduledTime.String(); body.State.Type != api.Scheduled || at != "2030-01-01T09:00:00+00:00" || body.IdempotencyKey == nil || body.Tags[0] != "x" {
		t.Errorf("sent %s", sent[0])
	}
	for line, want := range map[string]string{
		"--param x":               "it is KEY=VALUE",
		"--params [1]":            "--params is not a JSON object",
		"--start-at soon":         "--start-at is 'soon'",
		"--start-at x --start-in": "flag needs an argument",
	} {
		got := s.run(append([]string{"deployment", "run", queueID}, strings.Fields(line)...)...)
		if got.code != exitUsage || !strings.Contains(got.err, want) {
			t.Errorf("%s: exit %d\n%s", line, got.code, got.err)
		}
	}
}

func TestExplainAndCancel(t *testing.T) {
	t.Parallel()
	server := record(t, func(w http.ResponseWriter, r request) {
		switch {
		case strings.HasSuffix(r.path, "/explain"):
			_, _ = io.WriteString(w, `{"state_name":"Scheduled","waiting":true,"summary":"It waits.","reasons":[{"code":"queue_paused","message":"Work queue 'q' is paused.","unblock":"sluice work-queue resume q"}]}`)
		case strings.HasSuffix(r.path, "/cancel"):
			w.WriteHeader(http.StatusAccepted)
			_, _ = io.WriteString(w, `{"status":"CANCELLING"}`)
		default:
			_, _ = io.WriteString(w, `{"id":"`+runID+`","name":"tan-lion"}`)
		}
	})
	s := newShell(t, server.api())
	want := "Flow run 'tan-lion' (" + runID + ") is Scheduled.\nIt waits.\n  - Work queue 'q' is paused.\n    to unblock: sluice work-queue resume q\n"
	if got := s.ok("flow-run", "explain", runID); got != want {
		t.Errorf("got %q", got)
	}
	if got := s.ok("flow-run", "cancel", runID, "--message", "wrong"); !strings.HasPrefix(got, "Cancelling flow run 'tan-lion' ("+runID+")") {
		t.Errorf("got %q", got)
	}
	if got := server.sent("POST", "/flow_runs/"+runID+"/cancel"); got[0] != `{"message":"wrong"}` {
		t.Errorf("sent %s", got)
	}
}
