//go:build linux

package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-dev/sluice/api"
)

// startS3 starts a server of S3 in the shell, with the bucket "flows", and returns its address and the bucket's folder.
func startS3(t *testing.T, s *shell) (endpoint, bucket string) {
	t.Helper()
	out, err := exec.Command(filepath.Join(built.root, "tools", "storage-servers", "install"), "--where").Output()
	if err != nil {
		t.Fatalf("find the storage servers: %v", err)
	}
	program := filepath.Join(strings.TrimSpace(string(out)), "versitygw")
	if _, err := os.Stat(program); err != nil {
		t.Skip("the storage servers are not installed: make storage-servers")
	}
	root := t.TempDir()
	bucket = filepath.Join(root, "flows")
	if err := os.Mkdir(bucket, 0o755); err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	s.launch(launch{program: program, args: []string{"--port", address, "--access", "the-key", "--secret", "the-secret", "--quiet", "posix", "--nometa", root}})
	eventually(t, "the S3 server takes connections", func() error {
		connection, err := net.Dial("tcp", address)
		if err == nil {
			_ = connection.Close()
		}
		return err
	})
	return "http://" + address, bucket
}

// stored lists the objects below a folder of a bucket.
func stored(t *testing.T, bucket, folder string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(bucket, folder, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

const lakeFlow = `import json
import os

from sluice import flow, task
from sluice.deployments import DeploymentSpec


@task
def read(n):
    return list(range(n))


@flow
def lake(n: int = 2000):
    found = [name for name, value in os.environ.items() if "the-secret" in value]
    return {"sum": sum(read(n).result()), "secrets": found}


DeploymentSpec(name="kept", flow=lake, flow_storage="lake")
if __name__ == "__main__":
    print("sum is", lake(100).result()["sum"])
`

// TestFlowsInAnS3Storage keeps the code and the results of flows in a bucket that only the agent and the command line can open.
func TestFlowsInAnS3Storage(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	shell := newClient(t, s)
	endpoint, bucket := startS3(t, shell)
	shell.ok("storage", "create", "--type", "s3", "--name", "lake", "--set", "bucket=flows", "--set", "endpoint_url="+endpoint,
		"--set", "aws_access_key_id=the-key", "--set", "aws_secret_access_key=the-secret")
	contains(t, shell.ok("storage", "test", "lake"), "Storage 'lake' (S3 Storage) works")
	conn := connect(t, s, 0)
	path := shell.write("lake.py", lakeFlow)
	queue(t, conn, "all", 0)
	shell.startAgent("all")
	finish := func(flow, deployment string) api.ID {
		id := run(t, conn, must[*api.Deployment](t)(conn.DeploymentByName(t.Context(), flow, deployment)).ID)
		if end := watchUntil(t, conn, id, "Completed", patience, func(s api.State) bool { return s.Type.Terminal() }); end.Type != api.Completed {
			t.Fatalf("%s\n%s", describeState(end), texts(allLogs(t, conn, id)))
		}
		return id
	}

	contains(t, shell.ok("deployment", "create", path), "using S3 Storage")
	contains(t, shell.ok("deployment", "create", path), "1 unchanged")
	finish("lake", "kept")
	if code, results := stored(t, bucket, "code"), stored(t, bucket, "results"); len(code) != 2 || len(results) != 0 {
		t.Errorf("without a default storage the bucket holds %v, %v", code, results) // what was tested is code too
	}

	shell.ok("storage", "set-default", "lake")
	id := finish("lake", "kept")
	results := stored(t, bucket, "results")
	if len(results) != 2 {
		t.Fatalf("the bucket holds the results %v", results)
	}
	var all string
	for _, file := range results {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all += string(content)
	}
	contains(t, all, `\"sum\": 1999000`, `\"secrets\": []`)
	if data := must[*api.FlowRun](t)(conn.FlowRun(t.Context(), id)).State.Data; data == nil || data.Encoding != api.EncodingBlockStorage {
		t.Errorf("the state refers to %+v", data)
	}

	contains(t, shell.script(path).stdout, "sum is 4950")
	if now := stored(t, bucket, "results"); len(now) != 4 {
		t.Errorf("after a script the bucket holds the results %v", now)
	}

	goFlows(t, shell)
	before := len(stored(t, bucket, "results"))
	finish("talking", "t")
	if now := stored(t, bucket, "results"); len(now) <= before {
		t.Errorf("after a program of the Go SDK the bucket holds the results %v", now)
	}

	for _, file := range stored(t, bucket, "code") {
		if err := os.WriteFile(file, []byte(`{"encoding":"sluice-flow","blob":"raise SystemExit"}`), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	changed := run(t, conn, must[*api.Deployment](t)(conn.DeploymentByName(t.Context(), "lake", "kept")).ID)
	end := watchUntil(t, conn, changed, "Failed", patience, func(s api.State) bool { return s.Type.Terminal() })
	if end.Type != api.Failed || !strings.Contains(fmt.Sprint(end.Message, texts(allLogs(t, conn, changed))), "its content was changed") {
		t.Errorf("code that was changed in the bucket: %s", describeState(end))
	}
}
