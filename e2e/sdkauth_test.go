//go:build linux

package e2e

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sluice-dev/sluice/api"
)

// scopedFlow uses what its process was given: a key for its own run and no other.
const scopedFlow = `import os
from sluice import flow, task, get_client, get_run_logger
from sluice.errors import ApiError


@task
def double(n):
    return 2 * n


@flow
def child():
    return "child"


@flow
def scoped():
    get_run_logger().info("key of its own: %s", os.environ["SLUICE_API_KEY"] != os.environ.get("E2E_AGENT_KEY"))
    child()
    try:
        get_client().set_flow_run_state(os.environ["E2E_OTHER"], {"type": "CANCELLED"})
        get_run_logger().info("changed another run")
    except ApiError as refused:
        get_run_logger().info("another run: %d", refused.status)
    return double(21).result()


if __name__ == "__main__":
    print(scoped().result(raise_on_failure=False))
`

// TestFlowsOfAServerThatAsksForTokens runs flows of both SDKs where every request needs a token: those of agents with a key for their own
// run, those of a program that serves with the agent's token, and scripts with the token of the environment or a profile.
func TestFlowsOfAServerThatAsksForTokens(t *testing.T) {
	t.Parallel()
	s := newServer(t, "--auth", "on")
	s.token = api.NewToken()
	s.shell.env["SLUICE_BOOTSTRAP_TOKEN"] = s.token
	s.start()
	c := &nodes{t: t, all: []*server{s}}
	deployer, _ := s.createToken("deployer", "deployer")
	agent, _ := s.createToken("agent", "agent")
	conn, maker := c.connectAs(deployer), c.shellAs(deployer)
	maker.env["GOFLOWS_VERSION"] = "one"
	goFlows(t, maker)
	maker.write("scoped.py", scopedFlow)
	maker.write("scoped.yaml", "name: s\nflow_location: ./scoped.py\nflow_name: scoped\ntags: [py]\n")
	maker.ok("deployment", "create", "scoped.yaml")
	maker.ok("work-queue", "create", "--tag", "py", "py")
	deployment := func(flow, name string) api.ID {
		return must[*api.Deployment](t)(conn.DeploymentByName(t.Context(), flow, name)).ID
	}

	t.Run("Python flows under an agent have a key for their run alone", func(t *testing.T) {
		t.Parallel()
		pending := api.NewState(api.Pending, "") // which nobody takes
		other := must[*api.FlowRun](t)(conn.RunDeployment(t.Context(), deployment("waiting", "w"), api.DeploymentFlowRunCreate{State: &pending})).ID
		worker := c.shellAs(agent)
		worker.env["E2E_AGENT_KEY"], worker.env["E2E_OTHER"] = agent, other.String()
		worker.startAgent("py")
		id := run(t, conn, deployment("scoped", "s"))
		end := watchUntil(t, conn, id, "its end", patience, func(s api.State) bool { return s.Type.Terminal() })
		log := lines(allLogs(t, conn, id))
		if end.Type != api.Completed || end.Data == nil || end.Data.Blob != "42" {
			t.Errorf("%s %+v\n%s", describeState(end), end.Data, log)
		}
		contains(t, log, "key of its own: True", "another run: 403")
	})
	t.Run("scripts take their token from the environment or a profile, and say so when they have none", func(t *testing.T) {
		t.Parallel()
		for name, prepare := range map[string]func(*shell){
			"environment": func(*shell) {},
			"profile": func(user *shell) {
				url, key := user.env["SLUICE_API_URL"], user.env["SLUICE_API_KEY"]
				delete(user.env, "SLUICE_API_URL")
				delete(user.env, "SLUICE_API_KEY")
				user.ok("config", "set", "SLUICE_API_URL="+url, "SLUICE_API_KEY="+key)
			},
		} {
			user := c.shellAs(deployer)
			prepare(user)
			user.env["E2E_OTHER"] = api.NewID().String()
			script := strings.ReplaceAll(scopedFlow, `os.environ["SLUICE_API_KEY"]`, `os.environ.get("SLUICE_API_KEY")`)
			user.write("script.py", script)
			if r := user.script("script.py"); r.code != 0 || strings.TrimSpace(r.stdout) != "42" {
				t.Errorf("with the token of the %s: %s", name, r)
			}
			if r := user.exec("", filepath.Join(maker.dir, "goflows"), "run", "talking", "--name", "Ada", "--lines=1"); r.code != 0 || strings.TrimSpace(r.stdout) != "3" {
				t.Errorf("with the token of the %s: %s", name, r)
			}
		}
		stranger := c.shellAs("")
		delete(stranger.env, "SLUICE_API_KEY")
		stranger.write("script.py", scopedFlow)
		for _, r := range []result{stranger.script("script.py"), stranger.exec("", filepath.Join(maker.dir, "goflows"), "run", "talking", "--name", "Ada")} {
			if r.code == 0 || !strings.Contains(r.stderr, "SLUICE_API_KEY") {
				t.Errorf("without a token: %s", r)
			}
		}
	})
	t.Run("a Go program serves with an agent's token, tells of another version, and finishes what it has when it is to end", func(t *testing.T) {
		t.Parallel()
		server := c.shellAs(agent)
		server.env["GOFLOWS_VERSION"] = "two"
		serving := server.launch(launch{program: filepath.Join(maker.dir, "goflows"), args: []string{"serve", "go"}})
		serving.waitFor("Serving .* from go")
		id := run(t, conn, deployment("talking", "t"))
		watchUntil(t, conn, id, "Running", patience, named("Running"))
		serving.signal(syscall.SIGTERM)
		serving.waitFor("Stopping")
		late := run(t, conn, deployment("talking", "t"))
		end := watchUntil(t, conn, id, "Completed", patience, func(s api.State) bool { return s.Type.Terminal() })
		log := lines(allLogs(t, conn, id))
		if end.Type != api.Completed {
			t.Errorf("%s\n%s", describeState(end), log)
		}
		contains(t, log, "The deployment was made of version one of the flow; the program that serves this work queue executes version two.")
		if got := must[*api.FlowRun](t)(conn.FlowRun(t.Context(), id)).FlowVersion; got == nil || *got != "two" {
			t.Errorf("the run's version is %v", got)
		}
		if code := serving.wait(); code != 0 {
			t.Errorf("exit code %d", code)
		}
		if got := must[*api.FlowRun](t)(conn.FlowRun(t.Context(), late)).State; got.Type != api.Scheduled {
			t.Errorf("a run that came while the program was ending is %s", describeState(*got))
		}
	})
}
