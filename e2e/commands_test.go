//go:build linux

package e2e

import (
	"strings"
	"syscall"
	"testing"

	"github.com/sluice-dev/sluice/api"
)

// lines are the messages of a run's log.
func lines(logs []api.Log) string {
	var b strings.Builder
	for _, l := range logs {
		b.WriteString(l.Message + "\n")
	}
	return b.String()
}

// TestCommandsAreRecorded runs plain commands where they are.
func TestCommandsAreRecorded(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	conn, shell := connect(t, s, 0), newClient(t, s)
	last := func(flow string) *api.FlowRun {
		t.Helper()
		runs := must[[]api.FlowRun](t)(conn.FilterFlowRuns(t.Context(), api.FilterRequest{Filters: api.Filters{Flows: &api.FlowFilter{Name: &api.NameAny{Any: []string{flow}}}}}))
		if len(runs) != 1 {
			t.Fatalf("flow %q has %d runs", flow, len(runs))
		}
		return &runs[0]
	}
	t.Run("with their output, their parameters and their exit code", func(t *testing.T) {
		t.Parallel()
		r := shell.run("run", "--flow", "backup", "--param", "db=shop", "-t", "nightly", "--", "sh", "-c", `echo "saving $SLUICE_PARAM_DB $1"; echo oh >&2; exit 3`, "sh", "{{db}}!")
		if r.code != 3 || r.stdout != "saving shop shop!\n" {
			t.Fatal(r)
		}
		run := last("backup")
		if run.State.Type != api.Failed || *run.State.Message != "The command exited with code 3." || string(run.Parameters) != `{"db":"shop"}` || strings.Join(run.Tags, " ") != "nightly" {
			t.Errorf("%s, parameters %s, tags %v", describeState(*run.State), run.Parameters, run.Tags)
		}
		if text := lines(allLogs(t, conn, run.ID)); !strings.Contains(text, "saving shop shop!\n") || !strings.Contains(text, "oh\n") {
			t.Errorf("the log is %q", text)
		}
	})
	t.Run("as Crashed when they are told to end, which reaches them", func(t *testing.T) {
		t.Parallel()
		p := shell.start("run", "--flow", "told", "--", "sh", "-c", "trap 'echo told; exit 9' TERM; echo ready; while :; do sleep 0.1; done")
		p.waitFor("ready")
		p.signal(syscall.SIGTERM)
		if code := p.wait(); code != 9 {
			t.Errorf("it ended with %d\n%s", code, p.output())
		}
		run := last("told")
		if run.State.Name != api.NameCrashed || !strings.Contains(*run.State.Message, "terminated") || !strings.Contains(lines(allLogs(t, conn, run.ID)), "told") {
			t.Errorf("%s\n%s", describeState(*run.State), lines(allLogs(t, conn, run.ID)))
		}
	})
	t.Run("as Cancelled when somebody cancels the run", func(t *testing.T) {
		t.Parallel()
		p := shell.start("run", "--flow", "endless", "--", "sleep", "1000")
		p.waitFor("Created flow run")
		watchUntil(t, conn, last("endless").ID, "Running", patience, named("Running"))
		shell.ok("flow-run", "cancel", last("endless").ID.String())
		if code := p.wait(); code != 143 {
			t.Errorf("it ended with %d\n%s", code, p.output())
		}
		if run := last("endless"); run.State.Type != api.Cancelled {
			t.Error(describeState(*run.State))
		}
	})
	t.Run("as Failed when they cannot be started", func(t *testing.T) {
		t.Parallel()
		if r := shell.run("run", "--flow", "nothing", "--", "/no/such/program"); r.code != 127 {
			t.Error(r)
		}
		if run := last("nothing"); run.State.Type != api.Failed || !strings.Contains(*run.State.Message, "could not be started") {
			t.Error(describeState(*run.State))
		}
	})
}

// TestCommandsAreRecordedWithoutAServer lets the command start one.
func TestCommandsAreRecordedWithoutAServer(t *testing.T) {
	t.Parallel()
	shell := newShell(t)
	t.Cleanup(shell.endEphemeral)
	if r := shell.run("run", "--", "echo", "hello"); r.code != 0 || r.stdout != "hello\n" || !strings.Contains(r.stderr, "Finished in state Completed") {
		t.Fatal(r)
	}
	shell.env["SLUICE_API_URL"] = "http://127.0.0.1:1/api"
	if r := shell.run("run", "--", "echo", "hello"); r.code != 6 || r.stdout != "" {
		t.Errorf("without any server it is run: %s", r)
	}
	if r := shell.run("run", "--anyway", "--", "echo", "hello"); r.code != 0 || r.stdout != "hello\n" || !strings.Contains(r.stderr, "unrecorded") {
		t.Error(r)
	}
}

// TestCommandsAndScriptsAreDeployed has an agent run them.
func TestCommandsAndScriptsAreDeployed(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	conn, shell := connect(t, s, 0), newClient(t, s)
	shell.write("backup.sh", "#!/bin/sh\necho \"script $SLUICE_PARAM_DB $1\"\nexit $2\n")
	shell.write("d.yaml", `
- {name: c, flow_name: command, command: [echo, "{{db}}", "all of {{db}}"], parameters: {db: "a b; echo c"}, tags: [x]}
- {name: s, flow_name: script, script: ./backup.sh, arguments: ["<{{db}}>", "{{code}}"], parameters: {code: 0}, tags: [x]}
- name: i
  flow_name: inline
  script: |
    #!/bin/sh
    echo inline "$SLUICE_PARAMETERS"
  parameters: {db: shop}
  tags: [x]
`)
	shell.ok("deployment", "create", "d.yaml")
	contains(t, shell.ok("deployment", "create", "d.yaml"), "3 unchanged")
	if r := shell.run("deployment", "plan", "--check", "d.yaml"); r.code != 0 {
		t.Error(r)
	}
	shell.ok("work-queue", "create", "--tag", "x", "q")
	shell.startAgent("q")
	for _, test := range []struct {
		name, deployment, line, state string
		params                        []string
	}{
		{"a command has each parameter in one argument", "command/c", "a b; echo c all of a b; echo c", "Completed", nil},
		{"a script has parameters in its environment and arguments", "script/s", "script shop <shop>", "Completed", []string{"db=shop"}},
		{"a script's exit code is its state", "script/s", "script x <x>", "Failed", []string{"db=x", "code=4"}},
		{"a script may stand in the specification", "inline/i", `inline {"db":"shop"}`, "Completed", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			args := []string{"deployment", "run", test.deployment, "-q"}
			for _, p := range test.params {
				args = append(args, "--param", p)
			}
			id := must[api.ID](t)(api.ParseID(strings.TrimSpace(shell.ok(args...))))
			end := watchUntil(t, conn, id, "its end", patience, func(s api.State) bool { return s.Type.Terminal() })
			if end.Name != test.state {
				t.Error(describeState(end))
			}
			if text := lines(allLogs(t, conn, id)); !strings.Contains(text, test.line+"\n") {
				t.Errorf("the log is %q", text)
			}
		})
	}
	t.Run("a parameter that an argument needs is asked for", func(t *testing.T) {
		t.Parallel()
		if r := shell.run("deployment", "run", "script/s"); r.code == 0 || !strings.Contains(r.stderr, "parameters.db: field required") {
			t.Error(r)
		}
	})
	t.Run("a script is executed here, alike", func(t *testing.T) {
		t.Parallel()
		if r := shell.run("deployment", "execute", "command/c"); r.code != 0 || r.stdout != "a b; echo c all of a b; echo c\n" {
			t.Error(r)
		}
	})
}
