//go:build linux

package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
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
	keys := filepath.Join(t.TempDir(), "secrets.key")
	writeKeys(t, keys, newKey(1))
	for _, address := range internal {
		c.all = append(c.all, newServer(t, append([]string{"--internal-addr", address, "--bootstrap-expect", fmt.Sprint(size),
			"--join", strings.Join(internal, ","), "--drain-delay", "0s", "--secrets-key-file", keys}, flags...)...))
	}
	return c
}

// newKey is a line of a key file; numbers tell keys apart.
func newKey(n byte) string {
	return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{n}, 32)) + "\n"
}

// writeKeys replaces a key file at once, as the documentation has it.
func writeKeys(t *testing.T, path string, lines ...string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(strings.Join(lines, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// ownKeys gives a node that has not been started a key file of its own, with the key that the others have, and returns its path.
func (s *server) ownKeys() string {
	s.t.Helper()
	path := filepath.Join(s.shell.dir, "secrets.key")
	writeKeys(s.t, path, newKey(1))
	s.flags = append(s.flags, "--secrets-key-file", path)
	return path
}

// start starts all nodes at once and waits until each is ready.
func (c *nodes) start() {
	c.t.Helper()
	for _, s := range c.all {
		s.begin()
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
			if s.leads() {
				found = s
				return nil
			}
		}
		return errors.New("no node's metrics say so")
	})
	return found
}

// leads asks the node whether it leads; one that hangs does not.
func (s *server) leads() bool {
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Second)
	defer cancel()
	response, err := get(ctx, "http://"+s.address+"/metrics")
	if err != nil {
		return false
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return err == nil && leads.Match(body)
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
	t.Run("goes on when its leader hangs, which finds its place when it wakes up", func(t *testing.T) {
		t.Parallel()
		c := startNodes(t, 3, "--insecure")
		hung := c.leader()
		followers := c.followers()
		conn, err := client.New(client.Config{Addresses: []string{followers[0].apiURL(), followers[1].apiURL()}, RetryFor: patience})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		queue(t, conn, "shared", 0)
		deployment := deploy(t, conn, "steady", nil, "sleep", "1").deployment
		shell := newShell(t)
		shell.env["SLUICE_API_URL"] = followers[0].apiURL() + "," + followers[1].apiURL()
		shell.startAgent("shared")
		runs := []api.ID{run(t, conn, deployment)}
		watchUntil(t, conn, runs[0], "Running", patience, named("Running"))
		hung.signal(syscall.SIGSTOP)
		t.Cleanup(func() { hung.signal(syscall.SIGCONT) })
		began := time.Now()
		runs = append(runs, run(t, conn, deployment))
		t.Logf("a run was accepted %s after the leader was stopped", time.Since(began))
		for _, id := range runs {
			watchUntil(t, conn, id, "Completed", patience, named("Completed"))
			checkLife(t, conn, id)
		}
		hung.signal(syscall.SIGCONT)
		eventually(t, "the old leader shows the last run", func() error {
			r, err := connect(t, hung, 0).FlowRun(t.Context(), runs[1])
			if err == nil && (r.State == nil || r.State.Name != "Completed") {
				err = fmt.Errorf("shown is %+v", r.State)
			}
			return err
		})
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
	t.Run("is waited for by a node that is told to stop meanwhile", func(t *testing.T) {
		t.Parallel()
		s := newNodes(t, 3, "--insecure").all[0]
		p := s.shell.start(s.flags...)
		p.waitFor("1 of 3 nodes are here")
		if err := ready(t.Context(), s.address); err == nil || !strings.Contains(err.Error(), "1 of 3 nodes are here") {
			t.Errorf("/readyz: %v", err)
		}
		p.signal(syscall.SIGTERM)
		if code := p.wait(); code != 0 {
			t.Errorf("it ended with exit code %d\n%s", code, p.output())
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

func TestTheNodesOfACluster(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	operator := newShell(t)
	contains(t, operator.ok("cluster", "tls", "init", "--dir", folder, "n0", "n1", "n2"), "n0.pem", "n2-key.pem", "gossip.key")
	if again := operator.run("cluster", "tls", "init", "--dir", folder, "n0"); again.code == 0 || !strings.Contains(again.stderr, "exists already") {
		t.Errorf("a key was replaced\n%s", again)
	}
	keyFile := filepath.Join(folder, "gossip.key")
	c := newNodes(t, 3, "--gossip-key-file", keyFile)
	for i, s := range c.all {
		name := fmt.Sprint("n", i)
		s.flags = append(s.flags, "--node-name", name, "--tls-ca", filepath.Join(folder, "ca.pem"), "--tls-cert", filepath.Join(folder, name+".pem"),
			"--tls-key", filepath.Join(folder, name+"-key.pem"))
	}
	c.start()
	shell := newShell(t)
	shell.env["SLUICE_API_URL"] = strings.Join(c.addresses(), ",")

	eventually(t, "all nodes are shown with a vote", func() error {
		r := shell.run("cluster", "members", "--no-headers")
		if strings.Count(r.stdout, "\ttrue\t") != 3 || strings.Count(r.stdout, "\tvoter\t") != 2 || strings.Count(r.stdout, "\tleader\t") != 1 {
			return fmt.Errorf("shown is\n%s", r)
		}
		return nil
	})
	contains(t, shell.ok("cluster", "status"), "3, of which 2 must agree", "1 more may fail")

	lead := c.leader()
	to := c.followers()[0]
	name := fmt.Sprint("n", slices.Index(c.all, to))
	contains(t, shell.ok("cluster", "transfer-leadership", name), "Leadership goes to "+name)
	if now := c.leader(); now != to {
		t.Errorf("%s leads, not %s", now.address, to.address)
	}

	// A node leaves for good; the other two go on.
	leaver := newClient(t, lead)
	contains(t, leaver.ok("cluster", "leave"), "has left the cluster")
	if code := lead.wait(); code != 0 {
		t.Errorf("the node that left ended with exit code %d\n%s", code, lead.output())
	}
	shell.env["SLUICE_API_URL"] = strings.Join(c.addresses(c.followers()...), ",")
	eventually(t, "two nodes are left", func() error {
		if r := shell.run("cluster", "members", "-q"); len(strings.Fields(r.stdout)) != 2 {
			return fmt.Errorf("shown is\n%s", r)
		}
		return nil
	})
	// Started again, it joins as it did the first time, and gets its vote when it has been well for a while.
	lead.restart()
	eventually(t, "the node is back", func() error {
		r := shell.run("cluster", "members", "--no-headers")
		if strings.Count(r.stdout, "\tvoter\t") != 2 {
			return fmt.Errorf("shown is\n%s", r)
		}
		return nil
	})

	// Who has another authority's certificate gets nowhere, and both sides say why.
	foreign := t.TempDir()
	operator.ok("cluster", "tls", "init", "--dir", foreign, "x")
	x := newServer(t, "--join", c.addressOf(0), "--gossip-key-file", keyFile, "--tls-ca", filepath.Join(foreign, "ca.pem"), "--tls-cert", filepath.Join(foreign, "x.pem"), "--tls-key", filepath.Join(foreign, "x-key.pem"))
	x.begin()
	x.waitFor("certificate")
	c.all[0].waitFor("internal connection refused")

	// Without a quorum the nodes say so, and what is refused.
	dead := c.followers()[0]
	id := strings.Fields(shell.ok("cluster", "members", "-q"))
	dead.kill9()
	shell.env["SLUICE_API_URL"] = c.leader().apiURL()
	if r := shell.run("cluster", "status"); r.code != 1 || !strings.Contains(r.stderr, "one more node fails") {
		t.Errorf("status with one of three dead\n%s", r)
	}
	if len(id) != 3 {
		t.Errorf("members %v", id)
	}
	other := c.followers()[0]
	if r := shell.run("cluster", "remove", fmt.Sprint("n", slices.Index(c.all, other))); r.code == 0 || !strings.Contains(r.stderr, "no quorum") {
		t.Errorf("a node that is needed\n%s", r)
	}
	contains(t, shell.ok("cluster", "members"), "false")
}

// addressOf is the internal address of a node.
func (c *nodes) addressOf(i int) string {
	flags := c.all[i].flags
	for at := len(flags) - 2; ; at-- {
		if flags[at] == "--internal-addr" {
			return flags[at+1]
		}
	}
}
