//go:build linux

package e2e

import (
	"strings"
	"testing"
)

// TestPythonShowsArtifacts has a flow, its task and a plain command show something.
func TestPythonShowsArtifacts(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	shell := newClient(t, s)
	shell.write("show.py", `from sluice import flow, task
from sluice.artifacts import create_link, create_markdown, create_table

@task
def rows():
    create_table("pages", [{"url": "x", "bytes": 3}], description="what was fetched")

@flow
def show():
    rows().result()
    create_markdown("report", "# 1 page")
    create_link("home", "https://x.example", "home")

print(show())
`)
	if r := shell.script("show.py"); r.code != 0 || !strings.Contains(r.stdout, "Completed") {
		t.Fatal(r)
	}
	contains(t, shell.ok("artifact", "inspect", "pages", "-o", "json"), `"bytes": 3`, `"description": "what was fetched"`, `"task_run_id": "`)
	contains(t, shell.ok("artifact", "inspect", "report", "-o", "json"), `"data": "# 1 page"`, `"task_run_id": null`)
	contains(t, shell.ok("artifact", "ls"), "home", "report", "pages")
	// A command has the id of its run, and the command line.
	if r := shell.run("run", "--flow", "shown", "--", built.binary, "artifact", "create", "note", "--data", "hello"); r.code != 0 {
		t.Fatal(r)
	}
	contains(t, shell.ok("artifact", "inspect", "note", "-o", "json"), `"data": "hello"`)
	if r := shell.run("artifact", "inspect", "nothing"); r.code != 3 || !strings.Contains(r.stderr, "there is no artifact 'nothing'") {
		t.Error(r)
	}
}
