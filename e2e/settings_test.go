//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-dev/sluice/api"
)

// readyText is what /readyz?verbose says.
func (s *server) readyText() string {
	s.t.Helper()
	response := must[*http.Response](s.t)(get(s.t.Context(), "http://"+s.address+"/readyz?verbose"))
	defer func() { _ = response.Body.Close() }()
	return string(must[[]byte](s.t)(io.ReadAll(response.Body)))
}

// reasons are those of the health as a node sees it, by code.
func (s *server) reasons() (texts map[string]string, status string) {
	s.t.Helper()
	r := newClient(s.t, s).run("cluster", "health", "-o", "json")
	health := decode[api.ClusterHealth](s.t, r.stdout)
	texts = map[string]string{}
	for _, reason := range health.Reasons {
		texts[reason.Code] += reason.Text + "\n"
	}
	return texts, health.Status
}

// TestNodesWithDifferentSettings has nodes differ in what should be the same on all, one after the other.
func TestNodesWithDifferentSettings(t *testing.T) {
	t.Parallel()
	c := newNodes(t, 3, "--insecure")
	for i, s := range c.all {
		s.flags = append(s.flags, "--node-name", fmt.Sprint("n", i+1), "--gossip-key-file", filepath.Join(s.shell.dir, "gossip.key"))
		writeKeys(t, filepath.Join(s.shell.dir, "gossip.key"), newKey(7))
	}
	c.start()
	lead, other := c.leader(), c.followers()[0]
	// says waits until the leader's health and the node's own readiness, or neither, tell of a difference.
	says := func(parts ...string) {
		t.Helper()
		eventually(t, "the nodes say that "+strings.Join(parts, ", "), func() error {
			texts, status := lead.reasons()
			for _, part := range parts {
				if !strings.Contains(texts["settings"], part) || status != api.ClusterDegraded {
					return fmt.Errorf("the health is %s, %q", status, texts)
				}
			}
			if len(parts) == 0 && (texts["settings"] != "" || status != api.ClusterHealthy) {
				return fmt.Errorf("the health is %s, %q", status, texts)
			}
			for _, s := range []*server{lead, other} {
				if text := s.readyText(); strings.Contains(text, "[!] settings: not the same on all nodes") != (len(parts) > 0) {
					return errors.New(text)
				}
			}
			return nil
		})
	}
	says()

	// A new node is not taken in, whichever of the two it has wrong.
	for name, wrong := range map[string][]string{
		"has --auth on and this cluster off":                      {"--auth", "on", "--gossip-key-file", lead.flag("--gossip-key-file")},
		"another gossip key":                                      {"--gossip-key-file", ""},
		"has --audit-keep 1000 and this cluster 200000":           {"--audit-keep", "1000", "--gossip-key-file", lead.flag("--gossip-key-file")},
		"has --audit-age 24h0m0s and this cluster 8760h0m0s":      {"--audit-age", "24h", "--gossip-key-file", lead.flag("--gossip-key-file")},
		"has --webhook-allow-private true and this cluster false": {"--webhook-allow-private", "--gossip-key-file", lead.flag("--gossip-key-file")},
	} {
		x := newServer(t, append([]string{"--insecure", "--join", lead.flag("--internal-addr")}, wrong...)...)
		if wrong[len(wrong)-1] == "" {
			x.flags[len(x.flags)-1] = filepath.Join(x.shell.dir, "gossip.key")
			writeKeys(t, x.flags[len(x.flags)-1], newKey(8))
		}
		x.begin()
		x.says(name)
		x.kill9()
	}
	if n := len(clusterOf(t, lead).Members); n != 3 {
		t.Errorf("the cluster has %d members", n)
	}

	// A member that comes back with another value serves, and is named; the last --auth counts.
	flags := other.flags
	other.stop()
	other.flags = append(flags[:len(flags):len(flags)], "--auth", "on", "--audit-age", "24h", "--webhook-allow-private", "--retention-interval", "2m")
	other.restart()
	name := other.flag("--node-name")
	says("--auth differs: off on ", "; on on "+name, "--audit-age differs: 24h0m0s on "+name, "--webhook-allow-private differs: false on ")
	if texts, _ := lead.reasons(); strings.Contains(texts["settings"], "--retention") || strings.Contains(texts["settings"], "--audit-keep") {
		t.Errorf("differences that do no harm, or are none, are named: %q", texts)
	}
	other.stop()
	other.flags = flags
	other.restart()
	says()

	// So is one whose keys of gossip are others, which needs no restart.
	file := other.flag("--gossip-key-file")
	writeKeys(t, file, newKey(8))
	other.waitFor("the keys of gossip were replaced")
	says("--gossip-key-file differs: ", " on "+name)
	writeKeys(t, file, "this is no key\n")
	other.waitFor("changed gossip keys cannot be used; the old ones stay in force")
	writeKeys(t, file, newKey(8), newKey(7)) // it understands the others now, but not they it
	says("--gossip-key-file differs: ", " on "+name)
	writeKeys(t, file, newKey(7))
	says()
	for _, s := range c.all {
		if strings.Contains(s.output(), strings.TrimSpace(newKey(7))) || strings.Contains(s.output(), strings.TrimSpace(newKey(8))) {
			t.Errorf("%s tells a key", s.address)
		}
	}
}
