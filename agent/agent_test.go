package agent_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sluice-dev/sluice/agent"
	"github.com/sluice-dev/sluice/agent/console"
	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

// The test binary plays three parts: the tests, the supervisor, and an agent that
// is killed.
func TestMain(m *testing.M) {
	switch os.Getenv("AGENT_TEST_ROLE") {
	case "supervisor":
		if err := agent.Supervise(os.Stdin); err != nil {
			os.Exit(1)
		}
	case "agent":
		config := testConfig(os.Getenv("AGENT_TEST_API"), os.Getenv("AGENT_TEST_SPOOL"))
		config.Logger = slog.New(console.New(os.Stderr, console.Options{}))
		a, err := agent.New(config)
		if err == nil {
			err = a.Run(context.Background())
		}
		fmt.Fprintln(os.Stderr, "the agent ended:", err)
	default:
		goleak.VerifyTestMain(m)
	}
}

func testConfig(address, spoolDir string) agent.Config {
	transport := client.NewTransport()
	transport.DisableKeepAlives = true // no idle connection outlives its test
	c, err := client.New(client.Config{Addresses: []string{address}, Transport: transport})
	if err != nil {
		panic(err)
	}
	sdk, err := filepath.Abs("testdata/sdk")
	if err != nil {
		panic(err)
	}
	return agent.Config{
		Name: "test-agent", Version: "test", WorkQueueIDs: []api.ID{{15: 1}}, API: c, APIURL: address, PythonPath: sdk,
		SpoolDir: spoolDir, Output: io.Discard, Supervisor: []string{"env", "AGENT_TEST_ROLE=supervisor", os.Args[0]},
	}
}

type fixture struct {
	server *fakeServer
	agent  *agent.Agent
	config agent.Config
	log    *logBuffer
}

// logBuffer keeps the agent's log lines.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// start runs an agent against a server; change may adjust its configuration.
func start(t *testing.T, server *fakeServer, change func(*agent.Config)) *fixture {
	t.Helper()
	f := &fixture{server: server, config: testConfig(server.url(), t.TempDir()), log: &logBuffer{}}
	f.config.Logger = newLogger(f.log)
	if change != nil {
		change(&f.config)
	}
	a, err := agent.New(f.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.agent = a
	t.Cleanup(func() {
		a.Kill()
		a.Stop()
		if t.Failed() {
			t.Log("the agent's log:\n" + f.log.String())
		}
	})
	return f
}

func newLogger(w io.Writer) *slog.Logger {
	return slog.New(console.New(w, console.Options{Level: slog.LevelDebug, Location: time.UTC}))
}

func message(state api.StateCreate) string {
	if state.Message == nil {
		return ""
	}
	return *state.Message
}

func TestACommandRunsAndItsOutputComesBeforeItsEnd(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	blob := `["sh","-c","echo Hello $SLUICE_PARAM_NAME; echo to stderr >&2; echo $SLUICE_PARAM_N_2 $SLUICE_PARAMETERS; printf unfinished"]`
	id := s.add(&api.Deployment{FlowData: api.DataDocument{Encoding: api.EncodingCommand, Blob: blob}}, func(run *api.FlowRun) {
		run.Parameters = []byte(`{"name":"Leo","n 2":[1,"x"]}`)
	})
	var atEnd []string
	start(t, s, nil)
	s.await(t, "the command has completed", func() bool {
		if !s.runs[id].run.StateType.Terminal() {
			return false
		}
		atEnd = s.linesLocked(id)
		return true
	})
	if got := s.states(id); got != "PENDING RUNNING COMPLETED" {
		t.Errorf("states %s", got)
	}
	want := []string{"Hello Leo", "to stderr", `[1,"x"] {"name":"Leo","n 2":[1,"x"]}`, "unfinished"}
	if !slices.Equal(atEnd, want) {
		t.Errorf("got lines %q, want %q", atEnd, want)
	}
}

func TestHowACommandEndsIsReported(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		command []string
		states  string
		message string
	}{
		"code 0 completes it":        {[]string{"true"}, "PENDING RUNNING COMPLETED", "The command exited with code 0."},
		"another code fails it":      {[]string{"sh", "-c", "exit 3"}, "PENDING RUNNING FAILED", "The command exited with code 3."},
		"a signal fails it":          {[]string{"sh", "-c", "kill -SEGV $$"}, "PENDING RUNNING FAILED", "The command was killed by signal SEGV."},
		"a missing program fails it": {[]string{"no-such-program"}, "PENDING RUNNING FAILED", `the program "no-such-program" of the deployment's command cannot be started`},
		"an empty command fails it":  {[]string{}, "PENDING RUNNING FAILED", "the command of the deployment is empty"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			id := s.addCommand(c.command...)
			start(t, s, nil)
			state := s.final(t, id)
			if got := s.states(id); got != c.states || !strings.Contains(message(state), c.message) {
				t.Errorf("states %s with message %q", got, message(state))
			}
		})
	}
}

func TestAPythonFlowReportsForItself(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	id := s.addPython("RUNNING log print:hello COMPLETED")
	s.change(func() {
		withConfig(map[string]any{"env": map[string]any{"SCRIPT": "RUNNING log print:hello COMPLETED", "MINE": "yes"}, "condaenv": nil, "virtualenv": nil, "stream_output": true})(&s.runs[id].run)
	})
	var echoed logBuffer
	f := start(t, s, func(c *agent.Config) { c.Output = &echoed })
	s.final(t, id)
	f.agent.Stop()
	if got := s.states(id); got != "PENDING RUNNING COMPLETED" {
		t.Errorf("states %s", got)
	}
	dir, _ := os.Getwd()
	want := []string{"SLUICE_FLOW_RUN_ID " + id.String(), "PREFECT_API_URL " + s.url(), "PREFECT_API_KEY lease:" + id.String() + "-1",
		"PYTHONUNBUFFERED 1", "SLUICE_ENGINE_CONSOLE 0", "MINE yes", "cwd " + dir, "hello"}
	if got := s.lines(id); !slices.Equal(got, want) {
		t.Errorf("got lines %q, want %q", got, want)
	}
	if echoed.String() != strings.Join(want, "\n")+"\n" {
		t.Errorf("streamed %q", echoed.String())
	}
	at := -1
	for _, line := range []string{
		" | INFO    | sluice.agent - Submitting flow run '" + id.String() + "'\n",
		" | INFO    | sluice.flow_runner.subprocess - Opening subprocess for flow run '" + id.String() + "'...\n",
		" | INFO    | sluice.agent - Completed submission of flow run '" + id.String() + "'\n",
		" | INFO    | sluice.flow_runner.subprocess - Subprocess for flow run '" + id.String() + "' exited cleanly.\n",
	} {
		next := strings.Index(f.log.String(), line)
		if next <= at {
			t.Errorf("the log lacks, or has too early, %q:\n%s", line, f.log)
		}
		at = next
	}
}

func TestAPythonFlowThatDiesIsCrashedWithTheCause(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ script, states, message string }{
		"by an exit code":     {"RUNNING exit:7", "PENDING RUNNING Crashed", "The flow process exited with code 7 without reporting a final state."},
		"by a signal":         {"RUNNING kill:KILL", "PENDING RUNNING Crashed", "The flow process was killed by signal KILL without reporting a final state."},
		"before it ran":       {"exit:1", "PENDING Crashed", "exited with code 1"},
		"with a clean exit":   {"RUNNING exit:0", "PENDING RUNNING Crashed", "exited with code 0 without reporting a final state"},
		"but not when it had": {"RUNNING FAILED exit:1", "PENDING RUNNING FAILED", ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			id := s.addPython(c.script)
			f := start(t, s, nil)
			state := s.final(t, id)
			f.agent.Stop()
			if got := s.states(id); got != c.states || !strings.Contains(message(state), c.message) {
				t.Errorf("states %s with message %q", got, message(state))
			}
		})
	}
}

func TestAMissingInterpreterFailsTheRunAndTheAgentGoesOn(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	python := s.addPython("RUNNING COMPLETED")
	start(t, s, func(c *agent.Config) { c.Python = "python-that-is-not-there" })
	state := s.final(t, python)
	if state.Type != api.Failed || !strings.Contains(message(state), `"python-that-is-not-there"`) || !strings.Contains(message(state), "SLUICE_PYTHON") {
		t.Errorf("got %s %q", state.Type, message(state))
	}
	if got := s.final(t, s.addCommand("true")); got.Type != api.Completed {
		t.Errorf("the next run became %s", got.Type)
	}
}

func TestAnUnknownFlowRunnerTypeIsNamed(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	id := s.add(nil, func(run *api.FlowRun) {
		kind := "docker"
		run.FlowRunner.Type = &kind
	})
	start(t, s, nil)
	state := s.final(t, id)
	if state.Type != api.Failed || !strings.Contains(message(state), `"docker"`) || !strings.Contains(message(state), "subprocess, universal") {
		t.Errorf("got %s %q", state.Type, message(state))
	}
}

func TestAWorkingDirectoryOfTheFlowRunnerIsUsedOrNamed(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	good, bad := s.addCommand("pwd"), s.addCommand("pwd")
	s.change(func() {
		withConfig(map[string]any{"working_dir": dir})(&s.runs[good].run)
		withConfig(map[string]any{"working_dir": "/no/such/folder"})(&s.runs[bad].run)
	})
	start(t, s, nil)
	s.final(t, good)
	if got := s.lines(good); !slices.Equal(got, []string{dir}) {
		t.Errorf("it ran in %q, want %q", got, dir)
	}
	if state := s.final(t, bad); state.Type != api.Failed || !strings.Contains(message(state), "/no/such/folder") {
		t.Errorf("got %s %q", state.Type, message(state))
	}
}

func TestNoMoreRunsThanTheLimitAtOnce(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	var all []api.ID
	for range 20 {
		all = append(all, s.addCommand("true"))
	}
	most := 0
	start(t, s, func(c *agent.Config) { c.Limit = 3 })
	s.await(t, "all have ended", func() bool {
		open, ended := 0, 0
		for _, id := range all {
			switch kind := *s.runs[id].run.StateType; {
			case kind.Terminal():
				ended++
			case kind != api.Scheduled:
				open++
			}
		}
		most = max(most, open)
		return ended == len(all)
	})
	if most > 3 {
		t.Errorf("%d runs at once", most)
	}
}

func TestConfigurationProblemsAreReportedTogether(t *testing.T) {
	t.Parallel()
	_, err := agent.New(agent.Config{Limit: -1, WorkDir: "/no/such/folder"})
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range []string{"no work queue", "no API", "no spool directory", "limit of -1", `"/no/such/folder"`} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is missing in: %v", part, err)
		}
	}
}
