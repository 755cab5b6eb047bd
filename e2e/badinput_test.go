//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// wrongInput is a command that must fail with exactly this.
type wrongInput struct {
	name   string
	files  map[string]string // in the shell's directory
	env    map[string]string
	args   []string
	code   int
	stderr string // DIR stands for the shell's directory
}

// check runs the command and compares how it ends.
func (w wrongInput) check(s *shell) {
	s.t.Helper()
	for name, content := range w.files {
		s.write(name, content)
	}
	for key, value := range w.env {
		s.env[key] = value
	}
	r := s.run(w.args...)
	// Python 3.10 began to name the class.
	got := strings.NewReplacer(s.dir, "DIR", "DeploymentSpec.__init__()", "__init__()").Replace(r.stderr)
	if r.code != w.code || got != w.stderr {
		s.t.Errorf("want exit code %d and on stderr:\n%s\ngot\n%s", w.code, w.stderr, r)
	}
}

const specImport = "from sluice.deployments import DeploymentSpec\n\n"

func TestAWrongSpecificationIsAnsweredWithItsLine(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	create := func(file string) []string { return []string{"deployment", "create", file} }
	for _, w := range []wrongInput{
		{
			name:  "a Python file with a syntax error",
			files: map[string]string{"leo_flow.py": leoFlow, "spec.py": specImport + "DeploymentSpec(\n    name='leo',\n    tags=['tutorial', 'test'),\n)\n"},
			args:  create("spec.py"), code: 1,
			stderr: "error: load deployment specifications: DIR/spec.py:5: SyntaxError: closing parenthesis ')' does not match opening parenthesis '['\n",
		},
		{
			name:  "a Python file with an argument that does not exist",
			files: map[string]string{"leo_flow.py": leoFlow, "spec.py": specImport + "DeploymentSpec(name='leo', flow_location='./leo_flow.py', tgs=['x'])\n"},
			args:  create("spec.py"), code: 1,
			stderr: "error: load deployment specifications: DIR/spec.py:3: TypeError: __init__() got an unexpected keyword argument 'tgs'\n",
		},
		{
			name:  "a Python file without any specification",
			files: map[string]string{"spec.py": "# empty\n"},
			args:  create("spec.py"), code: 1,
			stderr: "error: load deployment specifications: DIR/spec.py: spec.py holds no deployment: construct a DeploymentSpec in it\n",
		},
		{
			name:  "a YAML file with a list that does not end",
			files: map[string]string{"spec.yaml": "name: leo\nflow_location: ./leo_flow.py\ntags: [tutorial, test\nparameters: {}\n"},
			args:  create("spec.yaml"), code: 1,
			stderr: "error: load deployment specifications: spec.yaml:3: did not find expected ',' or ']'\n",
		},
		{
			name:  "a YAML file with a wrong indentation",
			files: map[string]string{"spec.yaml": "name: leo\nflow_location: ./leo_flow.py\ntags:\n  - tutorial\n parameters: {}\n"},
			args:  create("spec.yaml"), code: 1,
			stderr: "error: load deployment specifications: spec.yaml:5: did not find expected key\n",
		},
		{
			name:  "a YAML file with a key that does not exist",
			files: map[string]string{"spec.yaml": "name: leo\nflow_locaton: ./leo_flow.py\n"},
			args:  create("spec.yaml"), code: 1,
			stderr: "Failed to create deployment 'leo': spec.yaml:2: unknown key 'flow_locaton'; " +
				"known are name, flow_name, flow_location, flow_storage, command, script, arguments, parameters, parameter_schema, tags, schedule, schedules, flow_runner, catchup, catchup_limit, " +
				"retention, concurrency_limit, on_conflict, overlap, dst, on_crash, queue_timeout_seconds, run_timeout_seconds, priority\n" +
				"error: failed to create 1 out of 1 deployments\n",
		},
		{
			name:  "a flow_location in Python where no file is",
			files: map[string]string{"spec.py": specImport + "DeploymentSpec(name='leo', flow_location='./nowhere.py')\n"},
			args:  create("spec.py"), code: 1,
			stderr: "Failed to create deployment 'leo': DIR/spec.py:3: flow_location './nowhere.py' does not exist (looked for DIR/nowhere.py)\n" +
				"error: failed to create 1 out of 1 deployments\n",
		},
		{
			name:  "a flow_location in YAML where no file is",
			files: map[string]string{"spec.yaml": "- name: hello\n  command: echo hello\n- name: leo\n  flow_location: ./nowhere.py\n"},
			args:  create("spec.yaml"), code: 1,
			stderr: "Failed to create deployment 'leo': spec.yaml:3: flow_location './nowhere.py' does not exist (looked for DIR/nowhere.py)\n" +
				"error: failed to create 1 out of 2 deployments\n",
		},
		{
			name:  "a flow that calls itself when the file is loaded",
			files: map[string]string{"leo_flow.py": leoFlow + leoCall, "leo_deployment.py": leoDeployment},
			args:  create("leo_deployment.py"), code: 1,
			stderr: "Failed to create deployment 'leonardo-deployment': DIR/leo_flow.py:14: `leonardo_dicapriflow(\"Leo\")` calls flow 'leonardo_dicapriflow' " +
				"when the file is loaded. A deployment calls the flow itself: comment out line 14, or put it under `if __name__ == \"__main__\":`\n" +
				"error: failed to create 1 out of 1 deployments\n",
		},
		{
			name:  "an interpreter that does not exist",
			files: map[string]string{"leo_flow.py": leoFlow, "leo_deployment.py": leoDeployment},
			env:   map[string]string{"SLUICE_PYTHON": "/nope"},
			args:  create("leo_deployment.py"), code: 1,
			stderr: "error: load deployment specifications: cannot find the Python interpreter '/nope' (SLUICE_PYTHON from env)\n" +
				"try: install Python 3.9 or newer, or name another interpreter with SLUICE_PYTHON=/path/to/python3\n",
		},
		{
			name: "a file that does not exist", args: create("nowhere.py"), code: 3,
			stderr: "error: load deployment specifications: there is no file 'nowhere.py'\ntry: ls .\n",
		},
		{
			name:  "a file that is neither Python nor YAML",
			files: map[string]string{"spec.txt": ""},
			args:  create("spec.txt"), code: 2,
			stderr: "error: load deployment specifications: 'spec.txt' is neither a Python file (.py), a YAML or JSON file (.yaml, .yml, .json), nor a program of the Go SDK or its folder\ntry: sluice deployment create --help\n",
		},
	} {
		t.Run(w.name, func(t *testing.T) {
			s := newClient(t, server)
			w.check(s)
			// The valid one of two is made; nothing of a wrong one may be.
			if got := s.ok("deployment", "ls", "-o", "name"); strings.Contains(got, "leo") {
				t.Errorf("a deployment was made of it:\n%s", got)
			}
		})
	}
}

func TestAWrongCommandLineIsAnsweredWithWhatIsRight(t *testing.T) {
	t.Parallel()
	for _, w := range []wrongInput{
		{
			name: "an unknown flag", args: []string{"deployment", "ls", "--nope"}, code: 2,
			stderr: "error: unknown flag: --nope\ntry: sluice deployment ls --help\n",
		},
		{
			name: "an unknown command", args: []string{"deploymnt", "ls"}, code: 2,
			stderr: "error: there is no command 'sluice deploymnt'; did you mean deployment?\ntry: sluice --help\n",
		},
		{
			name: "an unknown format", args: []string{"deployment", "ls", "-o", "xyz"}, code: 2,
			stderr: "error: -o is \"xyz\"; it is one of table, wide, plain, json, jsonl, yaml, name or template=TEXT, like template='{{.name}} {{.id}}'\ntry: sluice deployment ls --help\n",
		},
		{
			name: "an unknown configuration variable", args: []string{"config", "set", "SLUICE_API_ULR=http://127.0.0.1:4200/api"}, code: 2,
			stderr: "error: unknown variable 'SLUICE_API_ULR'; did you mean SLUICE_API_URL?\n    known are: " +
				"SLUICE_ALLOW_ORIGIN, SLUICE_API_CA_FILE, SLUICE_API_KEY, SLUICE_API_URL, SLUICE_AUDIT_AGE, SLUICE_AUDIT_KEEP, SLUICE_AUTH, SLUICE_BASE_PATH, " +
				"SLUICE_BINARY, SLUICE_BOOTSTRAP_EXPECT, SLUICE_BOOTSTRAP_TOKEN, SLUICE_BOOTSTRAP_TOKEN_FILE, SLUICE_CLUSTER_NAME, " +
				"SLUICE_DATA_DIR, SLUICE_DISK_LOW_WATER, SLUICE_DRAIN_DELAY, SLUICE_DRAIN_TIMEOUT, SLUICE_GOSSIP_ADDR, " +
				"SLUICE_GOSSIP_KEY_FILE, SLUICE_HTTP_ADDR, SLUICE_HTTP_TLS_CERT, SLUICE_HTTP_TLS_KEY, SLUICE_INSECURE, SLUICE_INSECURE_HTTP, " +
				"SLUICE_INTERNAL_ADDR, SLUICE_INTERNAL_ADVERTISE, SLUICE_JOIN, SLUICE_LOGGING_LEVEL, SLUICE_LOG_FORMAT, SLUICE_LOG_LEVEL, " +
				"SLUICE_LOG_QUOTA, SLUICE_MIN_VOTERS, SLUICE_NODE_NAME, SLUICE_PYTHON, SLUICE_RAFT_LOG_BYTES, SLUICE_REMOVE_DEAD_AFTER, " +
				"SLUICE_RETENTION_INTERVAL, SLUICE_RETENTION_LOGS_MAX_AGE, SLUICE_RETENTION_RUNS_MAX_AGE, SLUICE_SECRETS_KEY, " +
				"SLUICE_SECRETS_KEY_FILE, SLUICE_SNAPSHOT_DIR, SLUICE_SNAPSHOT_INTERVAL, SLUICE_SNAPSHOT_KEEP, SLUICE_TLS_CA, " +
				"SLUICE_TLS_CERT, SLUICE_TLS_KEY, SLUICE_WEBHOOK_ALLOW_PRIVATE\ntry: sluice config set --help\n",
		},
		{
			name:  "a configuration file with an unknown key",
			files: map[string]string{"sluice.yaml": "api: http://127.0.0.1:4200/api\nhtp-addr: 127.0.0.1:4200\n"},
			args:  []string{"--config", "sluice.yaml", "server", "start"}, code: 2,
			stderr: "error: sluice.yaml:2: unknown key 'htp-addr'; did you mean SLUICE_HTTP_ADDR?\ntry: sluice server start --help\n",
		},
		{
			name: "a configuration file that does not exist", args: []string{"--config", "nowhere.yaml", "server", "start"}, code: 2,
			stderr: "error: read --config: open nowhere.yaml: no such file or directory\ntry: sluice server start --help\n",
		},
		{
			name: "an HTTP address that other machines reach", args: []string{"server", "start", "--http-addr", "0.0.0.0:0", "--auth", "off"}, code: 2,
			stderr: "error: --http-addr 0.0.0.0:0 is reachable from other machines, and --auth off lets anybody there run commands on " +
				"your agents. Leave --auth out, use a loopback address, or add --insecure-http if the network itself is guarded\ntry: sluice server start --help\n",
		},
		{
			name: "an HTTP address that is none", args: []string{"server", "start", "--http-addr", "4200"}, code: 2,
			stderr: "error: --http-addr \"4200\" is not HOST:PORT\ntry: sluice server start --help\n",
		},
	} {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			s := newShell(t)
			w.check(s)
			if _, err := os.Stat(filepath.Join(s.home, ".sluice", "data")); !os.IsNotExist(err) {
				t.Errorf("the command left a data directory (%v)", err)
			}
		})
	}
}

func TestAnUnknownQueueIsAnsweredWithTheExistingOnes(t *testing.T) {
	t.Parallel()
	s := newClient(t, startServer(t))
	for _, name := range []string{"three", "3461754d-e411-4155-9bc7-a0145b6974a0"} {
		wrongInput{
			args: []string{"agent", "start", name}, code: 3,
			stderr: "error: there is no work queue '" + name + "'\ntry: there is none yet; see sluice work-queue ls\n",
		}.check(s)
	}
	s.ok("work-queue", "create", "one")
	s.ok("work-queue", "create", "two")
	for _, name := range []string{"three", "3461754d-e411-4155-9bc7-a0145b6974a0"} {
		wrongInput{
			args: []string{"agent", "start", "one", name}, code: 3,
			stderr: "error: there is no work queue '" + name + "'\ntry: one of these: one, two\n",
		}.check(s)
	}
}

func TestWithoutAServerTheAddressAndWhatToDoAreSaid(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	want := fmt.Sprintf("cannot reach the Sluice API at http://%s/api: connection refused\n"+
		"try: start one with \"sluice server start\", or point to another with \"sluice config set SLUICE_API_URL=http://HOST:4200/api\"\n", address)
	for _, tt := range []struct{ command, doing string }{
		{"deployment ls", ""},
		{"work-queue create one", "create work queue 'one'\ncause: "},
		{"agent start one", ""},
		{"deployment execute " + leonardo, ""},
		{"flow-run logs tan-lion", ""},
	} {
		t.Run(tt.command, func(t *testing.T) {
			t.Parallel()
			s := newShell(t)
			s.env["SLUICE_API_URL"] = "http://" + address + "/api"
			wrongInput{args: strings.Fields(tt.command), code: 6, stderr: "error: " + tt.doing + want}.check(s)
		})
	}
}

func TestAScriptWithoutAServerSaysWhatToDo(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	for _, tt := range []struct{ name, variable, value, want string }{
		{
			"at the configured address", "SLUICE_API_URL", "http://" + address + "/api",
			"sluice.errors.ServerUnavailable: no Sluice server answers at http://" + address + "/api (tried for 5 s): Connection refused. " +
				"Start one with `sluice server start`, or point to another with `sluice config set SLUICE_API_URL=http://HOST:4200/api`.",
		},
		{
			"and without a binary to start one", "PATH", "/nowhere",
			"sluice.errors.ConfigurationError: no Sluice server is configured and no `sluice` binary was found on the PATH. Start a server with " +
				"`sluice server start` and point to it with `sluice config set SLUICE_API_URL=http://127.0.0.1:4200/api`, or put the `sluice` binary on the PATH (or name it in SLUICE_BINARY) so that one is started for you.",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newShell(t)
			s.write("leo_flow.py", leoFlow+leoCall)
			s.env[tt.variable], s.env["PYTHONPATH"] = tt.value, filepath.Join(built.root, "python")
			r := s.exec("", built.python, "leo_flow.py")
			lines := strings.Split(strings.TrimSpace(r.stderr), "\n")
			if r.code != 1 || lines[len(lines)-1] != tt.want {
				t.Errorf("want exit code 1 and as the last line\n%s\n%s", tt.want, r)
			}
		})
	}
}

func TestAnAgentWithoutInterpreterFailsTheRunAndSaysWhy(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	s := newClient(t, server)
	s.write("leo_flow.py", leoFlow)
	s.write("leo_deployment.py", leoDeployment)
	s.ok("deployment", "create", "leo_deployment.py")
	s.ok("work-queue", "create", "all")

	other := newClient(t, server)
	other.env["SLUICE_PYTHON"] = "/nope"
	agent := other.startAgent("all")
	r := s.run("deployment", "run", leonardo, "--watch")
	message := `the Python interpreter "/nope" cannot be started on the agent's machine: stat /nope: no such file or directory; ` +
		`install Python 3.9 or newer, or set SLUICE_PYTHON to its path and start the agent again`
	if r.code != 10 {
		t.Errorf("want the exit code of a failed run, 10\n%s", r)
	}
	contains(t, r.stdout, "State: Failed - Submission failed: "+message)
	agent.waitFor(`ERROR +\| sluice\.agent - Cannot start flow run '`)
	contains(t, strings.ReplaceAll(agent.output(), `\"`, `"`), message)
}

func TestADataDirectoryInUseIsAnsweredWithThePid(t *testing.T) {
	t.Parallel()
	running := startServer(t)
	second := newServer(t)
	for i, flag := range second.flags {
		if flag == "--data-dir" {
			second.flags[i+1] = running.dataDir
		}
	}
	wrongInput{args: second.flags, code: 1, stderr: fmt.Sprintf("error: data directory is in use: %s by the process with pid %d: "+
		"stop it first or choose another --data-dir (resource temporarily unavailable)\n", running.dataDir, running.pid())}.check(second.shell)
	running.stop()
	running.restart()
}

func TestAPortInUseIsAnsweredWithTheFlag(t *testing.T) {
	t.Parallel()
	running := startServer(t)
	for _, tt := range []struct{ flag, want string }{
		{"--http-addr", `^error: serve the API: listen tcp ADDRESS: bind: address already in use\ntry: another address with --http-addr\n$`},
		{"--internal-addr", `(?m)^error: .* ADDRESS: bind: address already in use\ntry: other addresses with --internal-addr and --gossip-addr; port 0 lets the system choose one\n\z`},
		{"--gossip-addr", `(?m)^error: .* ADDRESS: bind: address already in use\ntry: other addresses with --internal-addr and --gossip-addr; port 0 lets the system choose one\n\z`},
	} {
		t.Run(tt.flag, func(t *testing.T) {
			t.Parallel()
			second := newServer(t, tt.flag, running.address)
			r := second.shell.run(second.flags...)
			if got := strings.ReplaceAll(r.stderr, running.address, "ADDRESS"); r.code != 1 || !regexp.MustCompile(tt.want).MatchString(got) {
				t.Errorf("want exit code 1 and %s\n%s", tt.want, r)
			}
		})
	}
	if err := ready(t.Context(), running.address); err != nil {
		t.Errorf("the running server: %v", err)
	}
}
