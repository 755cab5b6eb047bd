//go:build linux

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

// snapshotReport is what `snapshot inspect -o json` prints.
type snapshotReport struct {
	ClusterID   string           `json:"cluster_id"`
	Index       uint64           `json:"index"`
	Incarnation uint32           `json:"incarnation"`
	Objects     map[string]int64 `json:"objects"`
	StateHash   string           `json:"state_hash"`
}

func inspect(t *testing.T, sh *shell, file string) (r snapshotReport) {
	t.Helper()
	if err := json.Unmarshal([]byte(sh.ok("snapshot", "inspect", file, "-o", "json")), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// hashes saves each node's own state and compares them: at equal index they must be equal.
func (c *nodes) hashes(sh *shell) string {
	c.t.Helper()
	var first snapshotReport
	eventually(c.t, "the states of all nodes are equal", func() error {
		first = snapshotReport{}
		for i, s := range c.all {
			if s.exited() {
				continue
			}
			sh.env["SLUICE_API_URL"] = s.apiURL()
			file := filepath.Join(c.t.TempDir(), "state.sluice")
			sh.ok("snapshot", "save", "--stale", file) // who saves with everything acknowledged is recorded, which changes the state
			r := inspect(c.t, sh, file)
			if first.StateHash == "" {
				first = r
			}
			if r.StateHash != first.StateHash {
				return fmt.Errorf("node %d has %s at %d, another %s at %d", i, r.StateHash, r.Index, first.StateHash, first.Index)
			}
		}
		return nil
	})
	return first.StateHash
}

func TestSnapshotsOfACluster(t *testing.T) {
	t.Parallel()
	c := startNodes(t, 3, "--insecure")
	follower := c.followers()[0]
	conn := c.connect(follower)
	queue(t, conn, "kept", 0)
	pidFile := filepath.Join(t.TempDir(), "pid")
	deployment := deploy(t, conn, "steady", nil, "sh", "-c", "echo $$ > "+pidFile+".tmp; mv "+pidFile+".tmp "+pidFile+"; exec sleep 600").deployment
	waiting := run(t, conn, deployment)
	sh := newShell(t)
	sh.env["SLUICE_API_URL"] = follower.apiURL()
	agent := newShell(t)
	agent.env["SLUICE_API_URL"] = strings.Join(c.addresses(follower), ",")
	agent.startAgent("kept")
	watchUntil(t, conn, waiting, "Running", patience, named("Running"))

	file := filepath.Join(t.TempDir(), "backup.sluice")
	contains(t, sh.ok("snapshot", "save", file), "Saved the state of cluster", "verified")
	if r := sh.run("snapshot", "save", file); r.code != 4 || !strings.Contains(r.stderr, "--force") {
		t.Errorf("a file was replaced\n%s", r)
	}
	sh.ok("snapshot", "save", "--force", file)
	before := inspect(t, sh, file)
	if before.Objects["work_queue"] != 1 || before.Objects["flow_run"] != 1 || before.Incarnation != 0 {
		t.Errorf("the snapshot holds %+v", before)
	}
	contains(t, sh.ok("snapshot", "inspect", file), "Verified:    everything", "work_queue")
	if names, err := filepath.Glob(filepath.Join(filepath.Dir(file), ".*")); err != nil || len(names) != 0 {
		t.Errorf("left behind: %v, %v", names, err)
	}

	content := must[[]byte](t)(os.ReadFile(file))
	for what, bad := range map[string][]byte{"cut": content[:len(content)-10], "changed": append(append([]byte{}, content[:len(content)/2]...), append([]byte{content[len(content)/2] ^ 1}, content[len(content)/2+1:]...)...), "foreign": []byte("something else entirely")} {
		name := filepath.Join(t.TempDir(), "bad.sluice")
		if err := os.WriteFile(name, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if r := sh.run("snapshot", "inspect", name); r.code == 0 || !strings.Contains(r.stderr, "snapshot") {
			t.Errorf("%s\n%s", what, r)
		}
		if r := sh.run("snapshot", "restore", name, "--yes"); r.code == 0 {
			t.Errorf("a %s snapshot was restored\n%s", what, r)
		}
	}
	queue(t, conn, "lost", 0)
	var pid int
	eventually(t, "the flow's process is there", func() error {
		text, err := os.ReadFile(pidFile)
		if err == nil {
			_, err = fmt.Sscan(string(text), &pid)
		}
		return err
	})
	listening, reset := make(chan struct{}), make(chan error, 1)
	go func() {
		ready := sync.OnceFunc(func() { close(listening) })
		reset <- conn.StreamFlowRunEvents(t.Context(), "", func(e client.Event) error {
			ready()
			if e.Kind == api.EventReset {
				return client.ErrStop
			}
			return nil
		})
	}()
	eventually(t, "a listener hears of runs", func() error {
		run(t, conn, deploy(t, conn, "heard", nil, "true").deployment)
		select {
		case <-listening:
			return nil
		case <-time.After(100 * time.Millisecond): // the stream may not be open yet: another run then
			return errors.New("no event came")
		}
	})

	restored := sh.run("snapshot", "restore", file, "--yes")
	if restored.code != 0 {
		t.Fatalf("restore\n%s", restored)
	}
	contains(t, restored.stdout, "Restored the state of", "incarnation 1; executions ended: 1")
	if got := sh.ok("work-queue", "ls"); strings.Contains(got, "lost") || !strings.Contains(got, "kept") {
		t.Errorf("queues after the restore:\n%s", got)
	}
	r := must[*api.FlowRun](t)(conn.FlowRun(t.Context(), waiting))
	if r.State == nil || r.State.Name != "Crashed" {
		t.Errorf("the run that was under way is %+v", r.State)
	}
	if err := <-reset; err != nil {
		t.Errorf("the listener was not told to begin anew: %v", err)
	}
	eventually(t, "the agent ends what it must not execute any more", func() error {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("its process %d is there: %v", pid, err)
		}
		return nil
	})
	// The agent goes on with the restored state.
	short := deploy(t, conn, "short", nil, "true").deployment
	next := run(t, conn, short)
	watchUntil(t, conn, next, "Completed", patience, named("Completed"))
	eventually(t, "all nodes have the incarnation", func() error {
		for _, s := range c.all {
			cluster, err := connect(t, s, 0).Cluster(t.Context())
			if err != nil {
				return err
			}
			if cluster.Incarnation != 1 {
				return fmt.Errorf("%s has %d", s.address, cluster.Incarnation)
			}
		}
		return nil
	})
	c.hashes(sh)

	// Another cluster with a state of its own refuses it, an empty one takes it.
	other := startServer(t)
	there := newClient(t, other)
	queue(t, connect(t, other, 0), "own", 0)
	if r := there.run("snapshot", "restore", file, "--yes"); r.code != 4 || !strings.Contains(r.stderr, "--foreign") {
		t.Errorf("a foreign snapshot\n%s", r)
	}
	contains(t, there.ok("work-queue", "ls"), "own")
	empty := startServer(t)
	fresh := newClient(t, empty)
	fresh.ok("snapshot", "restore", file, "--yes")
	contains(t, fresh.ok("work-queue", "ls"), "kept")
	contains(t, there.ok("snapshot", "restore", file, "--yes", "--foreign"), "Restored")
	contains(t, there.ok("work-queue", "ls"), "kept")
	empty.stop()
	empty.restart()
	contains(t, fresh.ok("work-queue", "ls"), "kept")
}

func TestARestoreAsksAboutWhatFellDue(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	sh := newClient(t, s)
	conn := connect(t, s, 0)
	queue(t, conn, "q", 0)
	deployment := deploy(t, conn, "steady", nil, "true").deployment
	file := filepath.Join(t.TempDir(), "backup.sluice")
	var id api.ID
	// The snapshot must be older than the run's time: a slow machine gets longer.
	for ahead := time.Second; ; ahead *= 2 {
		due := time.Now().Add(ahead)
		state := api.NewState(api.Scheduled, "")
		state.StateDetails = &api.StateDetails{ScheduledTime: api.Zoned(due)}
		id = must[*api.FlowRun](t)(conn.RunDeployment(t.Context(), deployment, api.DeploymentFlowRunCreate{State: &state})).ID
		sh.ok("snapshot", "save", "--force", file)
		if early := time.Until(due); early > 0 {
			time.Sleep(early + time.Millisecond) // its time is what is waited for
			break
		}
	}
	if r := sh.run("snapshot", "restore", file, "--yes"); r.code != 2 || !strings.Contains(r.stderr, "--missed skip") {
		t.Fatalf("without a word about what was missed\n%s", r)
	}
	contains(t, sh.ok("snapshot", "restore", file, "--yes", "--missed", "run"), "missed runs skipped: 0")
	if r := must[*api.FlowRun](t)(conn.FlowRun(t.Context(), id)); r.State.Type != api.Scheduled {
		t.Errorf("a missed run that is to run is %+v", r.State)
	}
	contains(t, sh.ok("snapshot", "restore", file, "--yes", "--missed", "skip"), "missed runs skipped: 1", "incarnation 2")
	if r := must[*api.FlowRun](t)(conn.FlowRun(t.Context(), id)); r.State.Type != api.Cancelled || !strings.Contains(*r.State.Message, "skipped") {
		t.Errorf("a missed run that is skipped is %+v", r.State)
	}
}
