//go:build linux

package e2e

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestTheProceduresOfOperating plays every page of docs/operate.
func TestTheProceduresOfOperating(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(built.root, "docs", "operate", "*.md"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no pages in docs/operate: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".md"), func(t *testing.T) {
			t.Parallel()
			playPage(t, file)
		})
	}
}

func TestAPage(t *testing.T) {
	t.Parallel()
	t.Run("shows lines in their order, with gaps", func(t *testing.T) {
		t.Parallel()
		got := "a   1 x\nb 2\n\nc 3\n"
		for _, want := range []string{"a 1 x\nc 3\n", "a … x\n…\nb …\n", "", "c…\n"} {
			if err := matchShown(want, got); err != nil {
				t.Error(err)
			}
		}
		for _, want := range []string{"c 3\na 1 x\n", "a 1\n", "b 2\nb 2\n", "d\n"} {
			if matchShown(want, got) == nil {
				t.Errorf("%q is shown in %q", want, got)
			}
		}
	})
	t.Run("is refused when a block of commands is never played, or a comment is not understood", func(t *testing.T) {
		t.Parallel()
		for _, bad := range []string{
			"```sh\nls\n```\n", "So:\n\n    sluice version\n", "<!-- run on n1 -->\n", "<!-- run on here -->\n```sh\nls\n```\n", "<!-- not run: -->\n```sh\nls\n```\n",
			"<!-- run on n1 -->\n```sh\nls\n", "<!-- setup: five nodes -->\n", "<!-- run on n1 -->\n<!-- shows -->\n```text\n```\n",
		} {
			if p, err := parsePage("page.md", bad); err == nil {
				t.Errorf("%q is read as %+v", bad, p.steps)
			}
		}
	})
}
