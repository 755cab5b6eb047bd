package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/sluice-dev/sluice/api"
)

// TestTheRawCommandsWorkAgainstARealServer are those that show or change what other commands make.
func TestTheRawCommandsWorkAgainstARealServer(t *testing.T) {
	t.Parallel()
	s := newShell(t, startNode(t))
	t.Run("server status waits until it is ready", func(t *testing.T) {
		var got serverStatus
		if err := json.Unmarshal([]byte(s.ok("server", "status", "--wait", "-o", "json")), &got); err != nil || got.Status != "ready" || got.Nodes != 1 || got.Leader == "" {
			t.Errorf("%v: %+v", err, got)
		}
		if got := s.ok("server", "status"); !strings.Contains(got, "is ready: version ") {
			t.Errorf("got %q", got)
		}
		gone := newShell(t, nowhere(t)).run("server", "status", "--wait", "--timeout", "300ms")
		if gone.code != exitTimeout || !strings.Contains(gone.err, "was not ready within 300ms") {
			t.Errorf("%+v", gone)
		}
	})
	t.Run("api sends what it is given", func(t *testing.T) {
		created := s.ok("api", "post", "flows/", "--data", `{"name":"raw","tags":["<a>"]}`)
		var flow api.Flow
		if err := json.Unmarshal([]byte(created), &flow); err != nil || flow.Name != "raw" || !strings.Contains(created, "<a>") {
			t.Fatalf("%v: %s", err, created)
		}
		s.in = `{"flows":{"name":{"any_":["raw"]}}}`
		if got := s.ok("api", "POST", "/api/flows/filter", "--data", "-", "-o", "jsonl"); strings.Count(got, "\n") != 1 || !strings.Contains(got, flow.ID.String()) {
			t.Errorf("got %q", got)
		}
		if got := s.ok("api", "GET", "/openapi.json"); !strings.Contains(got, `"openapi": "3.1.0"`) {
			t.Errorf("got %.200s", got)
		}
		if got := s.run("api", "GET", "/flows/"+runID); got.code != exitNotFound || !strings.Contains(got.err, "Flow not found") {
			t.Errorf("%+v", got)
		}
		for _, line := range [][]string{{"api", "FETCH", "/x"}, {"api", "POST", "/flows/", "--data", "{"}} {
			if got := s.run(line...); got.code != exitUsage {
				t.Errorf("%v: %+v", line, got)
			}
		}
		if got := s.run("api", "DELETE", "/flows/"+flow.ID.String()); got.code != exitOK || got.out != "" {
			t.Errorf("%+v", got)
		}
	})
	t.Run("block specs and blocks", func(t *testing.T) {
		s.ok("block-spec", "create", "Database", "--version", "1.0", "--fields", `{"properties":{"url":{"type":"string"}}}`)
		s.ok("block-spec", "create", "Database", "--version", "1.1")
		if got := s.ok("block-spec", "inspect", "Database"); !strings.Contains(got, `"version": "1.1"`) {
			t.Errorf("not the newest: %s", got)
		}
		s.ok("block", "create", "db", "--spec", "Database/1.0", "--data", `{"url":"x"}`)
		if got := s.run("block", "create", "db", "--spec", "Database/1.0"); got.code != exitConflict {
			t.Errorf("twice: %+v", got)
		}
		if got := s.run("block", "create", "db2", "--spec", "Database", "--data", "[]"); got.code != exitUsage {
			t.Errorf("a list for data: %+v", got)
		}
		s.ok("block", "edit", "Database/db", "--name", "db3", "--data", `{"url":"y"}`)
		if got := s.ok("block", "inspect", "db3"); !strings.Contains(got, `"url": "y"`) {
			t.Errorf("got %s", got)
		}
		if got := s.ok("block", "ls", "-o", "name"); !strings.Contains(got, "Database/db3\n") {
			t.Errorf("got %s", got)
		}
		if got := s.ok("__complete", "block", "delete", ""); !strings.Contains(got, "db3") {
			t.Errorf("the shell is offered %q", got)
		}
		s.ok("block", "delete", "db3")
		if got := s.run("block-spec", "delete", "Database/1.0"); got.code != exitUsage {
			t.Errorf("without --yes: %+v", got)
		}
		s.ok("block-spec", "delete", "Database/1.0", "--yes")
		if got := s.run("block-spec", "inspect", "Database/1.0"); got.code != exitNotFound {
			t.Errorf("%+v", got)
		}
	})
	t.Run("agents", func(t *testing.T) {
		const id = "00000000-0000-4000-8000-00000000000a"
		s.ok("api", "POST", "/agents/", "--data", `{"id":"`+id+`","name":"worker-1","hostname":"h","pid":1,"version":"1","work_queue_ids":[]}`)
		if got := s.ok("agent", "ls", "-o", "name"); got != "worker-1\n" {
			t.Errorf("got %q", got)
		}
		if got := s.ok("agent", "inspect", "worker-1"); !strings.Contains(got, id) {
			t.Errorf("got %s", got)
		}
		s.ok("agent", "forget", id)
		if got := s.run("agent", "inspect", "worker-1"); got.code != exitNotFound {
			t.Errorf("%+v", got)
		}
	})
}
