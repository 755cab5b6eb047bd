//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// oneNode is what the tutorial itself has: a server in a terminal.
type oneNode struct{ started bool }

func (o *oneNode) start(u *tutorial) {
	u.t.Helper()
	if o.started {
		u.server.process = u.author.terminal("server", "start") // under its other name
		u.server.waitReady()
		return
	}
	o.started = true
	u.server.process = u.author.terminal("orion", "start")
	u.server.waitFor(`Check out the dashboard at .*\n`)
	u.server.waitReady()
	u.compare("prefect orion start", u.server.output())
	// This user's commands find the token by themselves; on another machine it is told to them.
	token, err := os.ReadFile(filepath.Join(u.server.dataDir, "admin-token"))
	if err != nil {
		u.t.Fatal(err)
	}
	u.server.token = strings.TrimSpace(string(token))
	u.elsewhere.env["SLUICE_API_KEY"] = u.server.token
}

func (*oneNode) stop(u *tutorial) {
	u.t.Helper()
	u.server.interrupt()
	u.saysGoodbye(u.server.process, "Sluice stopped!")
}

// localCluster is what `make cluster` starts.
type localCluster struct{ site *site }

func (c *localCluster) start(u *tutorial) {
	u.t.Helper()
	host, port, _ := strings.Cut(u.server.address, ":")
	s := &shell{t: u.t, dir: u.author.dir, home: u.author.home, env: map[string]string{
		"PATH": u.author.env["PATH"], "HOME": u.author.home, "SLUICE_BINARY": built.binary, "PYTHONDONTWRITEBYTECODE": "1",
		"CLUSTER_DIR": filepath.Join(u.author.home, "cluster"), "CLUSTER_HOST": host, "CLUSTER_PORT": port,
	}}
	u.server.process = s.launch(launch{program: filepath.Join(built.root, "tools", "cluster")})
	u.server.waitFor("Ctrl-C stops everything")
	for _, part := range []string{"balancer  " + u.server.apiURL(), "agent2    pid", "haproxy   pid"} {
		contains(u.t, u.server.output(), part)
	}
	u.notCompared("prefect orion start")                              // nobody types it here
	u.ignored = regexp.MustCompile(`(?m)^│.* (hello/)?sample +│.*\n`) // what make cluster begins with
}

func (c *localCluster) stop(u *tutorial) {
	u.t.Helper()
	children := descendants(u.t, u.server.pid())
	if len(children) < 6 {
		u.t.Errorf("make cluster has the processes %v, want three nodes, two agents and HAProxy", children)
	}
	u.server.interrupt()
	u.saysGoodbye(u.server.process, "Sluice cluster stopped! What it stored is in "+filepath.Join(u.author.home, "cluster"))
	waitGone(u.t, children)
}

// balancedNodes are three machines behind nginx, on one more.
type balancedNodes struct{ site *site }

func (b *balancedNodes) start(u *tutorial) {
	u.t.Helper()
	b.site.auth = true
	b.site.setup("three nodes")
	b.site.balance("nginx")
	u.server.token = b.site.token
	u.elsewhere.env["SLUICE_API_KEY"] = b.site.token
	u.author.ok("config", "set", "SLUICE_API_KEY="+b.site.token)
	eventually(u.t, "nginx answers", func() error { return ready(u.t.Context(), u.server.address) })
	u.notCompared("prefect orion start")
}

// stop restarts one node after the other, and the balancer: there is no time without the others.
func (b *balancedNodes) stop(u *tutorial) {
	u.t.Helper()
	for i := range 3 {
		if r := b.site.machine(fmt.Sprint("n", i+1)).sh("systemctl stop sluice-server"); r.code != 0 {
			u.t.Error(r)
		}
		eventually(u.t, fmt.Sprintf("the balancer serves without node %d", i+1), func() error { return ready(u.t.Context(), u.server.address) })
		if r := b.site.machine(fmt.Sprint("n", i+1)).sh("systemctl start sluice-server"); r.code != 0 {
			u.t.Error(r)
		}
	}
	if r := b.site.machine("lb").sh("systemctl stop nginx"); r.code != 0 {
		u.t.Error(r)
	}
}

// balance starts haproxy or nginx on lb with the file of deploy/.
func (s *site) balance(program string) {
	s.t.Helper()
	config := map[string]string{"haproxy": "haproxy.cfg", "nginx": "nginx.conf"}[program]
	if r := s.machine("lb").sh(fmt.Sprintf(`mkdir -p /etc/%[1]s
cp deploy/%[1]s/%[2]s /etc/%[1]s/%[2]s
systemctl start %[1]s`, program, config)); r.code != 0 {
		s.t.Fatal(r)
	}
}
