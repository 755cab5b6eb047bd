package main

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/cmd/sluice/node"
	"github.com/sluice-dev/sluice/internal/contract"
)

// startNode starts a server node of its own and returns its API address, where the API's description is held against all that is said.
func startNode(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n, err := node.Start(t.Context(), node.Config{
		DataDir: t.TempDir(), Name: "test", Listener: listener.(*net.TCPListener), InternalAddr: "127.0.0.1:0", BootstrapExpect: 1,
		Version: version(), DiskLowWater: 1 << 20, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error("stop the node:", err)
		}
	})
	if err := n.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	tap := contract.NewTap("127.0.0.1:0", n.Addr(), contractOfAPI, func(err error) { t.Error(err) })
	if err := tap.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tap.Close)
	return "http://" + tap.Address() + "/api"
}

var anyID = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// TestTheCommandsWorkAgainstARealServer plays the tutorial's commands, except those that need an agent.
func TestTheCommandsWorkAgainstARealServer(t *testing.T) {
	t.Parallel()
	s := newShell(t, startNode(t))
	at := project(t, map[string]string{"leo_flow.py": leoFlow, "leo_deployment.py": leonardo})

	t.Run("storage", func(t *testing.T) {
		// A new node stores the types of storages just after it can answer, and nothing tells when: ask until they are there.
		for s.run("storage", "create", "--type", "no such type").code == exitNotFound {
			if t.Context().Err() != nil {
				t.Fatal("the server never knew any storage types")
			}
		}
		s.in = "1\n" + t.TempDir() + "\n\n\nbenjamin-bucket\ny\n"
		got := s.ok("storage", "create")
		for _, want := range []string{
			"Found the following storage types:\n0) Azure Blob Storage\n    Store data in an Azure blob storage container.\n1) File Storage\n    Store data as a file on local or remote file systems.\n" +
				"2) Google Cloud Storage\n    Store data in a GCS bucket.\n3) KV Server Storage\n    Store data by sending requests to a KV server.\n" +
				"4) Local Storage\n    Store data in a run's local file system.\n5) S3 Storage\n    Store data in an AWS S3 bucket.\n" +
				"6) Temporary Local Storage\n    Store data in a temporary directory in a run's local file system.\n",
			"Set default storage to 'benjamin-bucket'.\n",
		} {
			if !strings.Contains(got, want) {
				t.Errorf("no\n%s\nin\n%s", want, got)
			}
		}
		if got := s.ok("storage", "ls", "--no-headers"); !strings.HasSuffix(got, "\tFile Storage\t1.0\tbenjamin-bucket\ttrue\n") {
			t.Errorf("got %q", got)
		}
	})

	var created string
	t.Run("deployment", func(t *testing.T) {
		if got := s.ok("deployment", "create", at("leo_deployment.py")); !strings.Contains(got, "using File Storage...\n") || !strings.HasSuffix(got, "Created 1 deployments!\n") {
			t.Errorf("got\n%s", got)
		}
		created = s.ok("deployment", "inspect", "leonardo_dicapriflow/leonardo-deployment")
		if got := s.ok("deployment", "create", at("leo_deployment.py")); !strings.Contains(got, "is unchanged.") {
			t.Errorf("got\n%s", got)
		}
		if got := s.ok("deployment", "inspect", "leonardo-deployment"); got != created {
			t.Errorf("creating again changed\n%s\nto\n%s", created, got)
		}
		s.ok("storage", "reset-default")
		if got := s.ok("deployment", "create", at("leo_deployment.py")); !strings.Contains(got, "using built-in storage...\n") || !strings.Contains(got, "Updated deployment") {
			t.Errorf("got\n%s", got)
		}
	})

	t.Run("execute", func(t *testing.T) {
		for _, file := range []string{"leo_flow.py", "leo_deployment.py"} { // the code comes from the storage
			if err := os.Remove(at(file)); err != nil {
				t.Fatal(err)
			}
		}
		got := s.run("deployment", "execute", "leonardo_dicapriflow/leonardo-deployment")
		both := got.out + got.err
		if got.code != exitOK || !strings.Contains(both, "Task run 'log_message-") || !strings.Contains(both, "' - Hello Leo!") {
			t.Fatalf("exit %d\n%s", got.code, both)
		}
		logs := s.ok("flow-run", "logs", strings.TrimSpace(s.ok("flow-run", "ls", "-q", "--limit", "1")))
		if !strings.Contains(logs, " | INFO    | Task run 'log_message-") || !strings.Contains(logs, "' - Hello Leo!\n") {
			t.Errorf("logs\n%s", logs)
		}
	})

	t.Run("work queue", func(t *testing.T) {
		got := s.ok("work-queue", "create", "--tag", "tutorial", "tutorial_queue")
		if anyID.ReplaceAllString(got, "ID") != "Created work queue 'tutorial_queue' (ID)\n" {
			t.Errorf("got %q", got)
		}
		if got := s.run("work-queue", "create", "tutorial_queue"); got.code != exitConflict {
			t.Errorf("twice: exit %d\n%s", got.code, got.err)
		}
		id := strings.TrimSpace(s.ok("work-queue", "inspect", "tutorial_queue", "-q"))
		s.ok("work-queue", "set-concurrency-limit", "tutorial_queue", "5")
		s.ok("work-queue", "edit", "tutorial_queue", "--name", "lessons", "-d", "leonardo-deployment")
		s.ok("work-queue", "pause", id[:13])
		if got, want := s.ok("work-queue", "ls", "--no-headers"), id+"\tlessons\ttrue\t5\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		var queue api.WorkQueue
		if err := json.Unmarshal([]byte(s.ok("work-queue", "inspect", "lessons")), &queue); err != nil {
			t.Fatal(err)
		}
		if len(queue.Filter.Tags) != 1 || len(queue.Filter.DeploymentIDs) != 1 {
			t.Errorf("filter %+v", queue.Filter)
		}
	})

	t.Run("flow run", func(t *testing.T) {
		got := s.ok("deployment", "run", "leonardo-deployment", "--param", "name=Marvin", "--name", "tan-lion")
		if anyID.ReplaceAllString(got, "ID") != "Created flow run 'tan-lion' (ID)\n" {
			t.Errorf("got %q", got)
		}
		if got := s.ok("flow-run", "explain", "tan-lion"); !strings.Contains(got, "paused") || !strings.Contains(got, "to unblock: ") {
			t.Errorf("explained\n%s", got)
		}
		s.ok("work-queue", "resume", "lessons")
		if got := s.ok("work-queue", "preview", "lessons", "-o", "name"); got != "tan-lion\n" {
			t.Errorf("preview %q", got)
		}
		if got := s.ok("flow-run", "cancel", "tan-lion"); !strings.HasPrefix(got, "Cancelled flow run 'tan-lion' (") {
			t.Errorf("got %q", got)
		}
		if got := s.run("flow-run", "cancel", "tan-lion"); got.code != exitConflict {
			t.Errorf("cancelled twice: exit %d\n%s", got.code, got.err)
		}
		if got := s.run("flow-run", "watch", "tan-lion"); got.code != exitCancelled || !strings.Contains(got.out, "State: Cancelled") {
			t.Errorf("watched: exit %d\n%s%s", got.code, got.out, got.err)
		}
		rows := s.ok("flow-run", "ls", "--state", "cancelled", "--no-headers")
		if !strings.Contains(rows, "\tleonardo_dicapriflow\ttan-lion\tCancelled\t") || strings.Count(rows, "\n") != 1 {
			t.Errorf("listed\n%s", rows)
		}
	})

	t.Run("command", func(t *testing.T) {
		s.ok("deployment", "create", "testdata/command.yaml")
		got := s.run("deployment", "execute", "hello")
		if got.code != exitOK || got.out != "Hello Leo\n" || !strings.Contains(got.err, "Finished in state Completed('The command exited with code 0.')") {
			t.Errorf("exit %d\n%s%s", got.code, got.out, got.err)
		}
		logs := s.ok("flow-run", "logs", strings.TrimSpace(s.ok("flow-run", "ls", "-q", "--limit", "1")))
		if !strings.Contains(logs, " | INFO    | Flow run '") || !strings.HasSuffix(logs, "' - Hello Leo\n") {
			t.Errorf("logs\n%s", logs)
		}
	})

	t.Run("delete", func(t *testing.T) {
		if got := s.ok("deployment", "delete", "leonardo-deployment"); got != "Deleted deployment 'leonardo_dicapriflow/leonardo-deployment'.\n" {
			t.Errorf("got %q", got)
		}
		if got := s.ok("work-queue", "delete", "lessons"); anyID.ReplaceAllString(got, "ID") != "Deleted work queue ID\n" {
			t.Errorf("got %q", got)
		}
		if got := s.run("agent", "start", "lessons"); got.code != exitNotFound || !strings.Contains(got.err, "error: there is no work queue 'lessons'") {
			t.Errorf("exit %d\n%s", got.code, got.err)
		}
	})
}
