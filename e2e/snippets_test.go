//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestTheSnippetsOfTutorials runs short scripts like those of the five tutorials that flows for Orion are learnt from. What each prints,
// and log lines it must have, stand in comments at its end. They hold on one node, on three, and while leaders are killed.
func TestTheSnippetsOfTutorials(t *testing.T) {
	t.Parallel()
	t.Run("on one node", func(t *testing.T) {
		t.Parallel()
		s := startServer(t)
		runSnippets(t, s.apiURL(), "one")
	})
	// A cluster of its own: results are cached for all flows.
	t.Run("on three nodes", func(t *testing.T) {
		t.Parallel()
		runSnippets(t, strings.Join(startNodes(t, 3, "--insecure").addresses(), ","), "undisturbed")
	})
	t.Run("on three nodes, whose leader is killed in the middle", func(t *testing.T) {
		t.Parallel()
		c := startNodes(t, 3, "--insecure")
		addresses := strings.Join(c.addresses(), ",")
		random := seeded(t)
		var killing sync.WaitGroup
		over := make(chan struct{})
		kills := 0
		// Before any process of the test is ended: a node on its way back is waited for.
		defer func() {
			close(over)
			killing.Wait()
			if t.Logf("the leader was killed %d times", kills); kills == 0 {
				t.Error("no leader was killed")
			}
		}()
		killing.Go(func() {
			for {
				select {
				case <-over:
					return
				case <-time.After(time.Duration(500+random.IntN(1500)) * time.Millisecond): // the moment is random, not awaited
				}
				dead := c.leader()
				dead.kill9()
				dead.restart()
				kills++
			}
		})
		runSnippets(t, addresses, "killed")
	})
}

// runSnippets runs all scripts, one after the other.
func runSnippets(t *testing.T, addresses, place string) {
	t.Helper()
	scripts, err := filepath.Glob(filepath.Join("testdata", "snippets", "*.py"))
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no snippets: %v", err)
	}
	for _, script := range scripts {
		content, err := os.ReadFile(script)
		if err != nil {
			t.Fatal(err)
		}
		s := newShell(t)
		s.env["SLUICE_API_URL"], s.env["SNIPPET_PLACE"], s.env["PYTHONHASHSEED"] = addresses, place, "0"
		s.write(filepath.Base(script), string(content))
		r := s.script(filepath.Base(script))
		checkSnippet(t, filepath.Base(script), string(content), r)
	}
}

func sortedLines(text string) string {
	lines := strings.Split(text, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

var commentsAtTheEnd = regexp.MustCompile(`(?m)(^# .*\n)+\z`)

func checkSnippet(t *testing.T, name, content string, r result) {
	t.Helper()
	var printed []string
	for line := range strings.Lines(commentsAtTheEnd.FindString(content)) {
		line = strings.TrimSuffix(strings.TrimPrefix(line, "# "), "\n")
		logged, isLog := strings.CutPrefix(line, "(log) ")
		switch {
		case !isLog:
			printed = append(printed, line)
		case !strings.Contains(r.stderr, logged):
			t.Errorf("%s: the log has no line with %q\n%s", name, logged, r)
		}
	}
	want, got := strings.Join(printed, "\n"), strings.TrimSpace(r.stdout)
	if name == "execution_async.py" { // tasks at the same time have no order
		want, got = sortedLines(want), sortedLines(got)
	}
	if r.code != 0 || got != want {
		t.Errorf("%s: printed\n%s\nnot\n%s\n%s", name, got, want, r)
	}
}
