//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

// nodes is a cluster of server processes.
type nodes struct {
	t   *testing.T
	all []*server
}

// newNodes prepares a cluster whose nodes are started with the same flags each time.
func newNodes(t *testing.T, size int, flags ...string) *nodes {
	t.Helper()
	c := &nodes{t: t}
	var internal []string
	for range size {
		internal = append(internal, freeAddress(t))
	}
	for _, address := range internal {
		c.all = append(c.all, newServer(t, append([]string{"--internal-addr", address, "--bootstrap-expect", fmt.Sprint(size),
			"--join", strings.Join(internal, ",")}, flags...)...))
	}
	return c
}

// start starts all nodes at once and waits until each is ready.
func (c *nodes) start() {
	c.t.Helper()
	for _, s := range c.all {
		s.process = s.shell.start(s.flags...)
	}
	for _, s := range c.all {
		s.waitReady()
	}
}

func startNodes(t *testing.T, size int, flags ...string) *nodes {
	t.Helper()
	c := newNodes(t, size, flags...)
	c.start()
	return c
}

var leads = regexp.MustCompile(`(?m)^sluice_raft_is_leader 1$`)

// leader waits for a node that says it leads.
func (c *nodes) leader() *server {
	c.t.Helper()
	var found *server
	eventually(c.t, "a node leads", func() error {
		for _, s := range c.all {
			if s.exited() {
				continue
			}
			response, err := get(c.t.Context(), "http://"+s.address+"/metrics")
			if err != nil {
				continue
			}
			body, err := io.ReadAll(response.Body)
			_ = response.Body.Close()
			if err == nil && leads.Match(body) {
				found = s
				return nil
			}
		}
		return errors.New("no node's metrics say so")
	})
	return found
}

// followers returns the running nodes but the leader.
func (c *nodes) followers() []*server {
	c.t.Helper()
	lead := c.leader()
	return slices.DeleteFunc(slices.Clone(c.all), func(s *server) bool { return s == lead || s.exited() })
}

// addresses is the API of all nodes, the given ones first.
func (c *nodes) addresses(first ...*server) []string {
	var out []string
	for _, s := range append(first, c.all...) {
		if !slices.Contains(out, s.apiURL()) {
			out = append(out, s.apiURL())
		}
	}
	return out
}

// connect returns a client that knows all nodes and repeats what is harmless to repeat.
func (c *nodes) connect(first ...*server) *client.Client {
	c.t.Helper()
	conn, err := client.New(client.Config{Addresses: c.addresses(first...), RetryFor: patience})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(conn.Close)
	return conn
}

func TestACluster(t *testing.T) {
	t.Parallel()
	t.Run("serves the tutorial's queue through a follower", func(t *testing.T) {
		t.Parallel()
		c := startNodes(t, 3, "--insecure")
		follower := c.followers()[0]
		conn := connect(t, follower, 0)
		shell := newClient(t, follower)
		shell.write("leo.py", leoSource)
		shell.write("leo.yaml", "name: leonardo-deployment\nflow_location: ./leo.py\nparameters: {name: Leo}\ntags: [tutorial]\n")
		shell.ok("deployment", "create", "leo.yaml")
		shell.ok("work-queue", "create", "--tag", "tutorial", "tutorial_queue")
		shell.startAgent("tutorial_queue")
		contains(t, shell.ok("deployment", "run", "leonardo-dicapriflow/leonardo-deployment", "--watch"), "Hello Leo!")
		ids := strings.Fields(shell.ok("flow-run", "ls", "-q"))
		if len(ids) != 1 {
			t.Fatalf("runs %v", ids)
		}
		id := must[api.ID](t)(api.ParseID(ids[0]))
		checkLife(t, conn, id)
		// Every node shows the same, and who the agent is.
		for _, s := range c.all {
			other := newClient(t, s)
			contains(t, other.ok("flow-run", "logs", ids[0]), "Hello Leo!")
			agents := must[[]api.Agent](t)(connect(t, s, 0).FilterAgents(t.Context()))
			if len(agents) != 1 || !agents[0].Live {
				t.Errorf("the agents as %s sees them: %+v", s.address, agents)
			}
		}
	})
	t.Run("goes on when its leader is killed, and takes it back", func(t *testing.T) {
		t.Parallel()
		c := startNodes(t, 3, "--insecure")
		conn := c.connect(c.followers()...)
		queue(t, conn, "shared", 0)
		deployment := deploy(t, conn, "steady", nil, "sleep", "1").deployment
		shell := newShell(t)
		shell.env["SLUICE_API_URL"] = strings.Join(c.addresses(c.followers()...), ",")
		shell.startAgent("shared")
		var runs []api.ID
		for range 3 {
			runs = append(runs, run(t, conn, deployment))
		}
		watchUntil(t, conn, runs[0], "Running", patience, named("Running"))
		dead := c.leader()
		dead.kill9()
		began := time.Now()
		for range 3 {
			runs = append(runs, run(t, conn, deployment))
		}
		t.Logf("three runs were accepted %s after the leader was killed", time.Since(began))
		for _, id := range runs {
			watchUntil(t, conn, id, "Completed", patience, named("Completed"))
			checkLife(t, conn, id)
		}
		dead.restart()
		if r := must[*api.FlowRun](t)(connect(t, dead, 0).FlowRun(t.Context(), runs[5])); r.State == nil || r.State.Name != "Completed" {
			t.Errorf("the node that was killed shows the last run as %+v", r.State)
		}
	})
	t.Run("is restarted node by node without a failing request", func(t *testing.T) {
		t.Parallel()
		c := startNodes(t, 3, "--insecure")
		conn := c.connect()
		queue(t, conn, "first", 0)
		for i := range c.all {
			lead := c.leader()
			lead.signal(syscall.SIGTERM)
			if code := lead.wait(); code != 0 {
				t.Fatalf("the leader ended with exit code %d\n%s", code, lead.output())
			}
			if strings.Contains(lead.output(), "leadership was not handed over") {
				t.Errorf("the leader did not hand over:\n%s", lead.output())
			}
			queue(t, conn, fmt.Sprint("while one is down ", i), 0)
			lead.restart()
		}
		for _, s := range c.all {
			if got := newClient(t, s).ok("work-queue", "ls"); strings.Count(got, "while one is down") != len(c.all) {
				t.Errorf("queues at %s:\n%s", s.address, got)
			}
		}
	})
	t.Run("is not joined in plain text by mistake", func(t *testing.T) {
		t.Parallel()
		s := newNodes(t, 3).all[0]
		p := s.shell.start(s.flags...)
		if code := p.wait(); code == 0 {
			t.Error("it started")
		}
		contains(t, p.output(), "--tls-ca, --tls-cert and --tls-key", "--insecure")
	})
}

const leoSource = `from sluice import flow, task, get_run_logger


@task
def log_message(name):
    get_run_logger().info(f"Hello {name}!")


@flow
def leonardo_dicapriflow(name: str):
    log_message(name)
`
