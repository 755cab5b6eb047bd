package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-dev/sluice/api"
)

// shelf is a server that keeps flows, deployments and values, as far as creating deployments needs one.
func shelf(t *testing.T) *recorder {
	t.Helper()
	var mutex sync.Mutex
	flows := map[string]api.Flow{}
	deployments := map[string]api.Deployment{}
	values := map[string]string{}
	return record(t, func(w http.ResponseWriter, r request) {
		mutex.Lock()
		defer mutex.Unlock()
		answer := func(object any) { _ = json.NewEncoder(w).Encode(object) }
		switch {
		case r.path == "/blocks/get_default_storage_block":
			w.WriteHeader(http.StatusNoContent)
		case r.path == "/flows/":
			var body api.FlowCreate
			_ = json.Unmarshal([]byte(r.body), &body)
			flow, found := flows[body.Name]
			if !found {
				flow = api.Flow{ID: api.NewID(), Name: body.Name}
				flows[body.Name] = flow
			}
			answer(flow)
		case r.method == http.MethodPost && r.path == "/deployments/":
			var body api.DeploymentCreate
			_ = json.Unmarshal([]byte(r.body), &body)
			var flowName string
			for name, flow := range flows {
				if flow.ID == body.FlowID {
					flowName = name
				}
			}
			d := api.Deployment{
				ID: api.NewID(), Name: body.Name, FlowID: body.FlowID, FlowData: body.FlowData, Schedule: body.Schedule,
				Parameters: body.Parameters, Tags: body.Tags, FlowRunner: *body.FlowRunner, IsScheduleActive: true,
				DeploymentNative: &api.DeploymentNative{Catchup: api.CatchupSkip, CatchupLimit: 100, ParameterSchema: body.ParameterSchema},
			}
			deployments["/deployments/name/"+flowName+"/"+body.Name] = d
			answer(d)
		case r.method == http.MethodPost && strings.HasPrefix(r.path, "/kv/"):
			var value string
			_ = json.Unmarshal([]byte(r.body), &value)
			values[r.path] = value
			w.WriteHeader(http.StatusCreated)
		default:
			if d, found := deployments[r.path]; found {
				answer(d)
			} else if value, found := values[r.path]; found {
				answer(value)
			} else {
				w.WriteHeader(http.StatusNotFound)
				_, _ = io.WriteString(w, `{"detail":"not found"}`)
			}
		}
	})
}

const leoFlow = `from sluice import flow, task, get_run_logger

@task
def log_message(name):
    logger = get_run_logger()
    logger.info(f"Hello {name}!")
    return

@flow(name="leonardo_dicapriflow")
def leonardo_dicapriflow(name: str):
    log_message(name)
    return
`

const leonardo = `from sluice.deployments import DeploymentSpec

DeploymentSpec(
    name="leonardo-deployment",
    flow_location="./leo_flow.py",
    tags=['tutorial','test'],
    parameters={'name':'Leo'}
)
`

const marvin = `
from sluice.flow_runners import SubprocessFlowRunner

DeploymentSpec(
    name="marvin-deployment",
    flow_location="./leo_flow.py",
    tags=['tutorial','dev'],
    flow_runner=SubprocessFlowRunner(),
    parameters={'name':'Marvin'}
)
`

// project makes a directory with files and makes paths below it.
func project(t *testing.T, files map[string]string) func(string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return func(name string) string { return filepath.Join(dir, name) }
}

func TestDeploymentsAreCreatedOnceAndLeftAloneWhenUnchanged(t *testing.T) {
	t.Parallel()
	at := project(t, map[string]string{"leo_flow.py": leoFlow, "leo_deployment.py": leonardo})
	file := at("leo_deployment.py")
	server := shelf(t)
	s := newShell(t, server.api())
	want := fmt.Sprintf(`Loading deployment specifications from python script at '%s'...
Creating deployment 'leonardo-deployment' for flow 'leonardo_dicapriflow'...
Deploying flow script from '%s' using built-in storage...
Created deployment 'leonardo_dicapriflow/leonardo-deployment'.
View your new deployment with:

    sluice deployment inspect 'leonardo_dicapriflow/leonardo-deployment'
Created 1 deployments!
`, file, at("leo_flow.py"))
	if got := s.ok("deployment", "create", file); strings.ReplaceAll(got, "'leo_flow.py'", "'"+at("leo_flow.py")+"'") != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	created := server.sent("POST", "/deployments/")
	var body api.DeploymentCreate
	if err := json.Unmarshal([]byte(created[0]), &body); err != nil {
		t.Fatal(err)
	}
	if string(body.Parameters) != `{"name":"Leo"}` || strings.Join(body.Tags, " ") != "tutorial test" || *body.FlowRunner.Type != "universal" {
		t.Errorf("sent %s", created[0])
	}
	stored := server.sent("POST", "/kv/"+body.FlowData.Blob)
	var text string
	var code storedFlow
	if len(stored) != 1 || json.Unmarshal([]byte(stored[0]), &text) != nil || json.Unmarshal([]byte(text), &code) != nil {
		t.Fatalf("stored %s", stored)
	}
	if want := (storedFlow{"sluice-flow", leoFlow, "leo_flow.py", "leonardo_dicapriflow", "python"}); code != want {
		t.Errorf("stored %+v", code)
	}

	if err := os.WriteFile(file, []byte(leonardo+marvin), 0o600); err != nil {
		t.Fatal(err)
	}
	got := s.ok("deployment", "create", file)
	if !strings.Contains(got, "Deployment 'leonardo_dicapriflow/leonardo-deployment' is unchanged.\n") ||
		!strings.Contains(got, "Created deployment 'leonardo_dicapriflow/marvin-deployment'.\n") ||
		!strings.HasSuffix(got, "\nDeployments: 1 created, 1 unchanged.\n") {
		t.Errorf("got\n%s", got)
	}
	if sent := server.sent("POST", "/deployments/"); len(sent) != 2 || !strings.Contains(sent[1], `"type":"subprocess"`) {
		t.Errorf("sent %s", sent)
	}
	if sent := server.sent("POST", "/kv/"+body.FlowData.Blob); len(sent) != 2 { // marvin's; equal code has an equal key
		t.Errorf("the code was stored %d times", len(sent))
	}
	if got := s.ok("deployment", "create", file, "-o", "name"); got != "leonardo_dicapriflow/leonardo-deployment\nleonardo_dicapriflow/marvin-deployment\n" {
		t.Errorf("stdout %q", got)
	}
	changed := strings.Replace(leonardo, "'Leo'", "'Leonardo'", 1)
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := s.ok("deployment", "create", file); !strings.Contains(got, "Updated deployment 'leonardo_dicapriflow/leonardo-deployment'.") {
		t.Errorf("got\n%s", got)
	}
}

func TestYAMLDeploymentsAndCommands(t *testing.T) {
	t.Parallel()
	at := project(t, map[string]string{"leo_flow.py": leoFlow, "d.yaml": `- name: hello
  command: [sh, -c, "echo Hello $SLUICE_PARAM_NAME > /dev/null && true"]
  parameters: {name: Leo}
- name: leo
  flow_location: ./leo_flow.py
  parameters: {name: Leo}
  schedule: {interval: 3600}
`})
	server := shelf(t)
	s := newShell(t, server.api())
	for _, want := range []string{"Created 2 deployments!", "Deployments: 2 unchanged."} {
		if got := s.ok("deployment", "create", at("d.yaml")); !strings.HasSuffix(got, want+"\n") {
			t.Errorf("got\n%s", got)
		}
	}
	sent := server.sent("POST", "/deployments/")
	if len(sent) != 2 || !strings.Contains(sent[0], `"flow_data":{"encoding":"sluice-command","blob":"[\"sh\",\"-c\",\"echo Hello $SLUICE_PARAM_NAME \u003e`) {
		t.Errorf("sent %s", sent)
	}
}

func TestWhatIsWrongWithASpecificationIsToldWithFileAndLine(t *testing.T) {
	t.Parallel()
	at := project(t, map[string]string{
		"leo_flow.py": leoFlow,
		"half.yaml":   "- name: good\n  command: [true]\n- name: bad\n  flow_location: ./nope.py\n- name: worse\n  tgas: x\n",
		"syntax.py":   "from sluice.deployments import DeploymentSpec\nDeploymentSpec(\n",
		"empty.py":    "x = 1\n",
		"empty.yaml":  "",
		"spec.txt":    "",
		"raising.py":  "import sluice.deployments\n1 / 0\n",
	})
	server := shelf(t)
	s := newShell(t, server.api())
	for name, test := range map[string]struct {
		code int
		want []string
	}{
		"half.yaml": {exitError, []string{
			at("half.yaml") + ":3: flow_location './nope.py' does not exist", at("half.yaml") + ":6: unknown key 'tgas'",
			"error: failed to create 2 out of 3 deployments",
		}},
		"syntax.py":  {exitError, []string{"syntax.py:2"}},
		"raising.py": {exitError, []string{"raising.py:2", "ZeroDivisionError"}},
		"empty.py":   {exitError, []string{"empty.py holds no deployment: construct a DeploymentSpec in it"}},
		"empty.yaml": {exitError, []string{"describes no deployment"}},
		"spec.txt":   {exitUsage, []string{"neither a Python file (.py), a YAML or JSON file (.yaml, .yml, .json), nor a program"}},
		"nope.py":    {exitNotFound, []string{"there is no file"}},
	} {
		got := s.run("deployment", "create", at(name))
		for _, want := range test.want {
			if got.code != test.code || !strings.Contains(got.err, want) {
				t.Errorf("%s: exit %d, no %q in\n%s", name, got.code, want, got.err)
			}
		}
	}
	if sent := server.sent("POST", "/deployments/"); len(sent) != 1 {
		t.Errorf("the good one was created %d times", len(sent))
	}
}

func TestAMissingInterpreterIsNamed(t *testing.T) {
	t.Parallel()
	at := project(t, map[string]string{"leo_flow.py": leoFlow, "leo_deployment.py": leonardo})
	s := newShell(t, shelf(t).api())
	s.environ = append(s.environ, "SLUICE_PYTHON=/opt/none/python9")
	got := s.run("deployment", "create", at("leo_deployment.py"))
	if got.code != exitError || !strings.Contains(got.err, "cannot find the Python interpreter '/opt/none/python9' (SLUICE_PYTHON from env)") ||
		!strings.Contains(got.err, "try: install Python 3.9 or newer, or name another interpreter with SLUICE_PYTHON=") {
		t.Errorf("exit %d\n%s", got.code, got.err)
	}
}

// commandServer answers for a plain command as deployment and keeps the states it reports.
func commandServer(t *testing.T, command string, beat string) *recorder {
	t.Helper()
	blob, err := json.Marshal([]string{"sh", "-c", command})
	if err != nil {
		t.Fatal(err)
	}
	d := api.Deployment{Name: "hello", FlowData: api.DataDocument{Encoding: api.EncodingCommand, Blob: string(blob)}, Parameters: json.RawMessage(`{"name":"Leo","n":[1, 2]}`)}
	return record(t, func(w http.ResponseWriter, r request) {
		switch {
		case strings.HasPrefix(r.path, "/deployments/"):
			_ = json.NewEncoder(w).Encode(d)
		case strings.HasPrefix(r.path, "/flows/"):
			_, _ = io.WriteString(w, `{"name":"f"}`)
		case strings.HasSuffix(r.path, "/lease"):
			_, _ = io.WriteString(w, `{"token":"t1","ttl_seconds":12,"renew_seconds":0.1}`)
		case strings.HasSuffix(r.path, "/renew"):
			_, _ = io.WriteString(w, beat)
		case strings.HasSuffix(r.path, "/set_state"):
			var body api.SetState
			_ = json.Unmarshal([]byte(r.body), &body)
			state := api.State{Type: body.State.Type, Name: body.State.Type.DefaultName(), Message: body.State.Message}
			_ = json.NewEncoder(w).Encode(api.OrchestrationResult{State: &state, Status: api.Accept, Details: api.ResultDetails{Type: api.AcceptDetails}})
		default:
			_, _ = io.WriteString(w, `{"id":"`+runID+`","name":"tan-lion"}`)
		}
	})
}

func TestPlainCommandsAreExecutedHere(t *testing.T) {
	t.Parallel()
	const quietBeat = `{"lost":[],"cancelling":[]}`
	for _, test := range []struct {
		name, command, beat string
		code                int
		out, last           string
	}{
		{"success", `echo "Hello $SLUICE_PARAM_NAME $SLUICE_PARAM_N $SLUICE_PARAMETERS"`, quietBeat, exitOK,
			"Hello Leo [1,2] {\"name\":\"Leo\",\"n\":[1,2]}\n", `{"type":"COMPLETED","message":"The command exited with code 0."}`},
		{"failure", "exit 3", quietBeat, exitFailed, "", `{"type":"FAILED","message":"The command exited with code 3."}`},
		{"a signal", "kill -9 $$", quietBeat, exitFailed, "", `{"type":"FAILED","message":"The command was ended by signal 9 (killed)."}`},
		{"cancelled", "exec sleep 60", `{"lost":[],"cancelling":["` + runID + `"]}`, exitCancelled, "", `{"type":"CANCELLED","message":"The command was stopped."}`},
		{"lease lost", "exec sleep 60", `{"lost":[{"flow_run_id":"` + runID + `","reason":"x"}],"cancelling":[]}`, exitCrashed, "", `{"type":"RUNNING"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := commandServer(t, test.command, test.beat)
			got := newShell(t, server.api()).run("deployment", "execute", "f/hello")
			states := server.sent("POST", "/flow_runs/"+runID+"/set_state")
			if got.code != test.code || got.out != test.out {
				t.Errorf("exit %d\n%s%s", got.code, got.out, got.err)
			}
			if len(states) == 0 || states[len(states)-1] != `{"state":`+test.last+`,"force":false}` {
				t.Errorf("reported %s", states)
			}
		})
	}
}

func TestOutputBecomesWholeLines(t *testing.T) {
	t.Parallel()
	var passed strings.Builder
	var lines []string
	w := &lineWriter{out: &passed, line: func(line string) { lines = append(lines, line) }}
	long := strings.Repeat("x", maxLogLine+3)
	text := "one\ntw" + "o\r\n\n" + long + "\nlast \xff"
	for len(text) > 0 { // in pieces that do not fit the lines
		n := min(5, len(text))
		if _, err := w.Write([]byte(text[:n])); err != nil {
			t.Fatal(err)
		}
		text = text[n:]
	}
	w.Close()
	want := []string{"one", "two", "", long[:maxLogLine], "xxx", "last \ufffd"}
	if strings.Join(lines, "|") != strings.Join(want, "|") {
		t.Errorf("%d lines, the last %q", len(lines), lines[len(lines)-1])
	}
	if passed.Len() != len("one\ntwo\r\n\n")+len(long)+len("\nlast \xff") {
		t.Errorf("%d bytes passed on", passed.Len())
	}
}
