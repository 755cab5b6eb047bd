//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestTheUnits lets systemd's own tools judge deploy/systemd.
func TestTheUnits(t *testing.T) {
	t.Parallel()
	needs(t, "systemd-analyze", "systemd")
	units, err := filepath.Glob(filepath.Join(built.root, "deploy", "systemd", "*.service"))
	if err != nil || len(units) != 2 {
		t.Fatalf("found %v (%v), want the server's and the agent's", units, err)
	}
	for _, unit := range units {
		t.Run(filepath.Base(unit)+" is well formed and lets the service do little", func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(unit)
			if err != nil {
				t.Fatal(err)
			}
			// verify looks for the program, which is not installed here.
			here := filepath.Join(t.TempDir(), filepath.Base(unit))
			if err := os.WriteFile(here, []byte(strings.ReplaceAll(string(text), "/usr/local/bin/sluice", built.binary)), 0o644); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command("systemd-analyze", "verify", "--man=no", here).CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("systemd-analyze verify: %v\n%s", err, out)
			}
			out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=15", here).CombinedOutput()
			if err != nil {
				t.Errorf("systemd-analyze security finds an exposure above 1.5: %v\n%s", err, out)
			}
		})
	}
	t.Run("the agent is given longer to stop than it takes to drain", func(t *testing.T) {
		t.Parallel()
		text, err := os.ReadFile(filepath.Join(built.root, "deploy", "systemd", "sluice-agent.service"))
		if err != nil {
			t.Fatal(err)
		}
		drain := regexp.MustCompile(`SLUICE_DRAIN_TIMEOUT=(\d+)m`).FindSubmatch(text)
		stop := regexp.MustCompile(`TimeoutStopSec=(\d+)min`).FindSubmatch(text)
		if drain == nil || stop == nil {
			t.Fatal("no times in minutes")
		}
		d, _ := strconv.Atoi(string(drain[1])) // digits
		s, _ := strconv.Atoi(string(stop[1]))
		if s <= d {
			t.Errorf("it drains for %d minutes and is killed after %d", d, s)
		}
	})
}

// managed starts `sluice args...` as a service manager does, which listens and wants a sign of life every second.
func (s *shell) managed(args ...string) (*process, *notifySocket) {
	s.t.Helper()
	manager := newNotifySocket(s.t)
	s.env["NOTIFY_SOCKET"], s.env["WATCHDOG_USEC"] = manager.path, "1000000"
	defer func() { delete(s.env, "NOTIFY_SOCKET"); delete(s.env, "WATCHDOG_USEC") }()
	return s.start(args...), manager
}

// waitFor waits until the manager has been told the line.
func (n *notifySocket) waitFor(t *testing.T, p *process, line string) {
	t.Helper()
	select {
	case <-n.got(line):
	case <-p.ended:
		t.Fatalf("%s ended without having told %q, but %q\n%s", p.name, line, n.heard(), p.output())
	case <-time.After(patience):
		t.Fatalf("%s did not tell %q, but %q\n%s", p.name, line, n.heard(), p.output())
	}
}

func TestAServiceManagerIsTold(t *testing.T) {
	t.Parallel()
	t.Run("by a server when it is ready, that it lives, and that it stops", func(t *testing.T) {
		t.Parallel()
		s := newServer(t)
		var manager *notifySocket
		s.process, manager = s.shell.managed(s.flags...)
		manager.waitFor(t, s.process, "READY=1")
		if err := ready(t.Context(), s.address); err != nil {
			t.Errorf("it said that it is ready: %v", err)
		}
		manager.waitFor(t, s.process, "STATUS=serving "+s.ownURL())
		manager.waitFor(t, s.process, "WATCHDOG=1")
		if strings.Contains(s.output(), "no cluster yet") {
			t.Errorf("a node that is alone waits for others:\n%s", s.output())
		}
		s.signal(syscall.SIGTERM)
		manager.waitFor(t, s.process, "STOPPING=1")
		if code := s.wait(); code != 0 {
			t.Errorf("exit code %d\n%s", code, s.output())
		}
	})
	t.Run("by a server that waits for others not before they have come", func(t *testing.T) {
		t.Parallel()
		all := newNodes(t, 2, "--insecure").all
		first, second := all[0], all[1]
		var manager *notifySocket
		first.process, manager = first.shell.managed(first.flags...)
		first.waitFor("1 of 2 nodes are here")
		if heard := manager.heard(); slices.Contains(heard, "READY=1") {
			t.Errorf("it told %q while it has no cluster", heard)
		}
		second.begin()
		manager.waitFor(t, first.process, "READY=1")
	})
	t.Run("by an agent, which waits for its run when it is told to stop, and not after a second signal", func(t *testing.T) {
		t.Parallel()
		server := startServer(t)
		conn := connect(t, server, 0)
		queue(t, conn, "shared", 0)
		for _, hurry := range []bool{false, true} {
			s := newClient(t, server)
			agent, manager := s.managed("agent", "start", "shared", "--drain-timeout", "5m")
			manager.waitFor(t, agent, "READY=1")
			manager.waitFor(t, agent, "WATCHDOG=1")
			flag := filepath.Join(t.TempDir(), "go")
			deployment := deploy(t, conn, fmt.Sprint("until told ", hurry), nil, "sh", "-c", `env | grep -c NOTIFY_SOCKET; until [ -e "$0" ]; do sleep 0.1; done`, flag).deployment
			id := run(t, conn, deployment)
			watchUntil(t, conn, id, "Running", patience, named("Running"))
			eventually(t, "the command has begun", func() error {
				if r := s.run("flow-run", "logs", id.String()); !strings.Contains(r.stdout, "0") {
					return errors.New(r.String())
				}
				return nil
			})
			agent.signal(syscall.SIGTERM)
			manager.waitFor(t, agent, "STOPPING=1")
			agent.waitFor(`Stopping; waiting up to 5m0s for 1 flow run`)
			later := run(t, conn, deployment)
			want := "Completed"
			if hurry {
				want = "Crashed"
				agent.signal(syscall.SIGTERM)
			} else if err := os.WriteFile(flag, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			watchUntil(t, conn, id, want, patience, named(want))
			if code := agent.wait(); code != 0 {
				t.Errorf("exit code %d\n%s", code, agent.output())
			}
			if r := server.get("/flow_runs/" + later.String()); r["state"].(object)["name"] != "Scheduled" {
				t.Errorf("a draining agent took a run: %v", r["state"])
			}
			contains(t, newClient(t, server).ok("flow-run", "logs", id.String()), "0") // the flow cannot speak for its agent
			server.post("/flow_runs/"+later.String()+"/set_state", object{"state": object{"type": "CANCELLED"}})
		}
	})
}
