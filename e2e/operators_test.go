//go:build linux

package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sluice-dev/sluice/api"
)

// readBundle returns the files of a debug bundle, by their path below its folder.
func readBundle(t *testing.T, path string) map[string]string {
	t.Helper()
	content := must[[]byte](t)(os.ReadFile(path))
	unzipped, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for files := tar.NewReader(unzipped); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		_, name, _ := strings.Cut(header.Name, "/")
		all[name] = string(must[[]byte](t)(io.ReadAll(files)))
	}
}

func TestOperatorsOfThreeNodes(t *testing.T) {
	t.Parallel()
	c := newNodes(t, 3, "--insecure")
	for i, s := range c.all {
		s.flags = append(s.flags, "--node-name", []string{"anna", "berta", "clara"}[i])
		s.shell.env["SLUICE_API_KEY"] = "key-that-nobody-may-see"
		s.shell.env["SLUICE_API_URL"] = "http://somebody:password-that-nobody-may-see@127.0.0.1:1/api"
	}
	c.start()
	conn := c.connect()
	// What users store must not be in a bundle.
	queue(t, conn, "shared", 0)
	deployed := deploy(t, conn, "steady", nil, "echo", "argument-that-nobody-may-see").deployment
	must[*api.Deployment](t)(conn.Deployment(t.Context(), deployed))
	shell := newShell(t)
	shell.env["SLUICE_API_URL"] = strings.Join(c.addresses(), ",")
	shell.startAgent("shared")
	id := run(t, conn, deployed)
	watchUntil(t, conn, id, "Completed", patience, named("Completed"))
	shell.ok("storage", "create", "--type", "kv", "--name", "secret", "--no-default", "--set", "api_address=http://127.0.0.1:1/block-that-nobody-may-see")

	health := func(at *server) (api.ClusterHealth, result) {
		t.Helper()
		r := shell.run("cluster", "health", "-o", "json", "--api", at.apiURL())
		return decode[api.ClusterHealth](t, r.stdout), r
	}
	// The leader's own view comes within seconds; until then a follower may still be catching up.
	for _, s := range c.all {
		eventually(t, "the cluster is healthy", func() error {
			h, r := health(s)
			if r.code != 0 || h.Status != api.ClusterHealthy || h.VotersLive != 3 || h.LossesLeft != 1 || len(h.Reasons) != 0 || len(h.Members) != 3 {
				return errors.New(r.String())
			}
			for _, m := range h.Members {
				if !m.Alive || m.ClockOffset == nil || m.DiskFree == nil || m.Version == "" || m.AppliedIndex == 0 {
					return errors.New(r.String())
				}
			}
			return nil
		})
	}
	if out := shell.ok("cluster", "health"); !strings.Contains(out, "Health:   healthy") || !strings.Contains(out, "berta") {
		t.Errorf("for people:\n%s", out)
	}

	file := filepath.Join(shell.dir, "all.tar.gz")
	r := shell.run("debug", "bundle", file, "-o", "json")
	var done struct {
		Nodes int
		Lacks []api.DebugFile
	}
	if err := json.Unmarshal([]byte(r.stdout), &done); err != nil || r.code != 0 || done.Nodes != 3 || len(done.Lacks) != 0 {
		t.Fatalf("%v\n%s", err, r)
	}
	if !strings.Contains(r.stderr, "manifest.json") || !strings.Contains(r.stderr, "goroutines.txt") {
		t.Errorf("no progress is told:\n%s", r.stderr)
	}
	bundle := readBundle(t, file)
	for _, name := range []string{"anna", "berta", "clara"} {
		folder := ""
		for path := range bundle {
			if strings.HasPrefix(path, name+"-") {
				folder = filepath.Dir(path)
			}
		}
		for part, want := range map[string]string{"status.json": `"ClusterID"`, "metrics.txt": "sluice_raft_is_leader", "log.txt": "level=", "goroutines.txt": "goroutine ", "heap.pprof": "",
			"build.txt": "github.com/sluice-dev/sluice", "settings.json": `"SLUICE_NODE_NAME"`, "raft.json": `"last_log_index"`, "disk.json": `"free_bytes"`, "readyz.txt": "[+] leader",
			"members.json": `"voter"`, "gossip.json": `"v"`, "process.json": `"pid"`, "report.json": `"disk"`} {
			if content, there := bundle[folder+"/"+part]; !there || content == "" || !strings.Contains(content, want) {
				t.Errorf("%s of node %s holds %d bytes and not %q", part, name, len(content), want)
			}
		}
	}
	for path, content := range bundle {
		if at := strings.Index(content, "nobody-may-see"); at >= 0 {
			t.Errorf("%s tells a secret: %s", path, content[max(0, at-80):at+20])
		}
	}
	if again := shell.run("debug", "bundle", file); again.code != 4 || !strings.Contains(again.stderr, "exists already") {
		t.Errorf("a file was to be replaced: %s", again)
	}

	lead, followers := c.leader(), c.followers()
	hung := followers[0]
	hung.signal(syscall.SIGSTOP)
	t.Cleanup(func() { hung.signal(syscall.SIGCONT) })
	eventually(t, "the cluster is degraded", func() error {
		h, r := health(lead)
		codes := map[string]bool{}
		for _, reason := range h.Reasons {
			codes[reason.Code] = true
		}
		if r.code != 1 || h.Status != api.ClusterDegraded || h.LossesLeft != 0 || !codes["quorum_margin"] || !codes["member_down"] {
			return errors.New(r.String())
		}
		return nil
	})
	partial := filepath.Join(shell.dir, "partial.tar.gz")
	if r := shell.run("debug", "bundle", partial, "--api", lead.apiURL()); r.code != 0 || !strings.Contains(r.stderr, "did not answer") {
		t.Errorf("a bundle beside a node that hangs: %s", r)
	}
	followers[1].kill9()
	eventually(t, "the cluster is down", func() error {
		h, r := health(lead)
		if r.code != 6 || h.Status != api.ClusterDown || h.Leader != "" || h.LossesLeft != -1 {
			return errors.New(r.String())
		}
		return nil
	})
	if r := shell.run("cluster", "health", "--api", lead.apiURL()); r.code != 6 || !strings.Contains(r.stdout, "Health:   down") || !strings.Contains(r.stdout, "reaches 1 of 3 voters") ||
		!strings.Contains(r.stderr, "the cluster is down") {
		t.Errorf("for people: %s", r)
	}
	alone := filepath.Join(shell.dir, "alone.tar.gz")
	if r := shell.run("debug", "bundle", alone, "--api", lead.apiURL()); r.code != 0 {
		t.Errorf("a bundle without a leader: %s", r)
	}
}
