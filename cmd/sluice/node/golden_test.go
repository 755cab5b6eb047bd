package node

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
	"github.com/sluice-dev/sluice/fsm/kv/pebblekv"
	"github.com/sluice-dev/sluice/fsm/snapshot"
	"github.com/sluice-dev/sluice/fsm/state"
)

// The golden data directories are what earlier versions left on disk when they were stopped. Every later version must open
// them, find the same state in them, and go on. Add one per milestone with SLUICE_WRITE_GOLDEN=v2 go test -run Golden; never
// change one that is there.
const goldenDir = "testdata/golden"

// goldenFacts is what is known about a golden directory.
type goldenFacts struct {
	Hash       string `json:"hash"` // of the rows
	ClusterID  string `json:"cluster_id"`
	Deployment api.ID `json:"deployment"`
	Queue      api.ID `json:"queue"`
	Completed  api.ID `json:"completed"` // a flow run with a task run and two log lines
	Scheduled  api.ID `json:"scheduled"` // a flow run that waits for the year 2100
	Value      string `json:"value"`     // of the built-in store, under "golden"
}

func TestGoldenDataDirectoriesOpenAndGoOn(t *testing.T) {
	t.Parallel()
	if version := os.Getenv("SLUICE_WRITE_GOLDEN"); version != "" {
		writeGolden(t, filepath.Join(goldenDir, version))
	}
	versions, err := os.ReadDir(goldenDir)
	if err != nil || len(versions) == 0 {
		t.Fatalf("there is no golden directory: %v", err)
	}
	for _, v := range versions {
		t.Run(v.Name(), func(t *testing.T) {
			t.Parallel()
			source := filepath.Join(goldenDir, v.Name())
			content, err := os.ReadFile(filepath.Join(source, "facts.json"))
			if err != nil {
				t.Fatal(err)
			}
			var facts goldenFacts
			if err := json.Unmarshal(content, &facts); err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(filepath.Join(source, "data"))); err != nil {
				t.Fatal(err)
			}
			if hash := hashOf(t, dir); hash != facts.Hash {
				t.Fatalf("the rows have the hash %s, they had %s", hash, facts.Hash)
			}
			checkGolden(t, dir, facts)
		})
	}
}

// hashOf opens the state of a stopped node and verifies it.
func hashOf(t *testing.T, dir string) string {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	holder, err := snapshot.Open(snapshot.Config{DataDir: dir, KV: pebblekv.Options{Logger: log}, ApplyLock: new(sync.Mutex), Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	view := state.NewView(holder.Current(), 0, nil)
	hash, err := view.Hash()
	if err := errors.Join(err, view.CheckSchema(), view.Verify(), holder.Close()); err != nil {
		t.Fatal(err)
	}
	return hash.String()
}

func checkGolden(t *testing.T, dir string, facts goldenFacts) {
	n, c := startNode(t, dir)
	ctx := t.Context()
	if id := n.fsm.ClusterID(); id != facts.ClusterID {
		t.Fatalf("the cluster is %s, was %s", id, facts.ClusterID)
	}
	run, err := c.FlowRun(ctx, facts.Completed)
	if err != nil || run.State == nil || run.State.Type != api.Completed || run.TotalRunTime <= 0 {
		t.Fatalf("the completed run is %+v, %v", run, err)
	}
	waiting, err := c.FlowRun(ctx, facts.Scheduled)
	if err != nil || *waiting.StateType != api.Scheduled || *waiting.DeploymentID != facts.Deployment {
		t.Fatalf("the waiting run is %+v, %v", waiting, err)
	}
	if value, err := c.Value(ctx, "golden"); err != nil || value != facts.Value {
		t.Fatalf("the stored value is %q, %v", value, err)
	}
	queue, err := c.WorkQueue(ctx, facts.Queue)
	if err != nil || queue.Filter.Tags[0] != "golden" {
		t.Fatalf("the queue is %+v, %v", queue, err)
	}
	fresh, err := c.RunDeployment(ctx, facts.Deployment, api.DeploymentFlowRunCreate{})
	if err != nil || fresh.Tags[0] != "golden" {
		t.Fatalf("a new run is %+v, %v", fresh, err)
	}
}

// startNode starts a node of its own over a data directory; change edits its configuration.
func startNode(t *testing.T, dir string, change ...func(*Config)) (*Node, *client.Client) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	config := Config{DataDir: dir, Listener: listener.(*net.TCPListener), InternalAddr: "127.0.0.1:0", BootstrapExpect: 1, Version: "test",
		DiskLowWater: 1 << 20, Logger: slog.New(slog.DiscardHandler)}
	for _, c := range change {
		c(&config)
	}
	n, err := Start(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	if err := n.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(client.Config{Addresses: []string{"http://" + n.Addr() + "/api"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return n, c
}

// writeGolden lets this version write a data directory with something of everything.
func writeGolden(t *testing.T, target string) {
	dir := t.TempDir()
	var facts goldenFacts
	t.Run("write", func(t *testing.T) {
		n, c := startNode(t, dir)
		ctx := t.Context()
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		flow, err := c.CreateFlow(ctx, api.FlowCreate{Name: "golden"})
		must(err)
		parameters := json.RawMessage(`{"name":"Leo"}`)
		deployment, err := c.CreateDeployment(ctx, api.DeploymentCreate{Name: "d", FlowID: flow.ID, FlowData: api.DataDocument{Encoding: "sluice-store", Blob: "golden"},
			Tags: []string{"golden"}, Parameters: parameters})
		must(err)
		queue, err := c.CreateWorkQueue(ctx, api.WorkQueueCreate{Name: "q", Filter: &api.QueueFilter{Tags: []string{"golden"}}})
		must(err)
		facts.Value = "print('golden')"
		must(c.PutValue(ctx, "golden", facts.Value))
		later, err := time.Parse(time.RFC3339, "2100-01-01T00:00:00Z")
		must(err)
		waiting, err := c.RunDeployment(ctx, deployment.ID, api.DeploymentFlowRunCreate{State: &api.StateCreate{Type: api.Scheduled, StateDetails: &api.StateDetails{ScheduledTime: api.Zoned(later)}}})
		must(err)
		run, err := c.RunDeployment(ctx, deployment.ID, api.DeploymentFlowRunCreate{})
		must(err)
		set := func(t api.StateType) {
			_, err := c.SetFlowRunState(ctx, run.ID, api.SetState{State: api.StateCreate{Type: t}}, "")
			must(err)
		}
		set(api.Running)
		must(c.CreateLogs(ctx, api.NewID(), 1, []api.LogCreate{
			{Name: "sluice.flow_runs", Level: 20, Message: "Hello Leo!", Timestamp: api.At(time.Now()), FlowRunID: run.ID},
			{Name: "sluice.flow_runs", Level: 40, Message: "Bye", Timestamp: api.At(time.Now()), FlowRunID: run.ID}}))
		set(api.Completed)
		facts.Deployment, facts.Queue, facts.Completed, facts.Scheduled, facts.ClusterID = deployment.ID, queue.ID, run.ID, waiting.ID, n.fsm.ClusterID()
	})
	facts.Hash = hashOf(t, dir)
	if err := os.CopyFS(filepath.Join(target, "data"), os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	// The lock and the directories of transfers are no data.
	for _, name := range []string{"LOCK"} {
		if err := os.Remove(filepath.Join(target, "data", name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	content, err := json.MarshalIndent(facts, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(target, "facts.json"), append(content, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}
