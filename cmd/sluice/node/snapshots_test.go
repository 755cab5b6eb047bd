package node

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	httpapi "github.com/sluice-dev/sluice/http"
)

// startThree starts three nodes that found a cluster.
func startThree(t *testing.T) (nodes []*upgradable) {
	t.Helper()
	nodes = prepareThree(t)
	for _, u := range nodes {
		if err := u.start(t); err != nil {
			t.Fatal(err)
		}
	}
	return nodes
}

// prepareThree describes three nodes that found a cluster.
func prepareThree(t *testing.T) (nodes []*upgradable) {
	t.Helper()
	addrs := reservePorts(t, 3)
	base := t.TempDir()
	for i, addr := range addrs {
		nodes = append(nodes, &upgradable{dir: filepath.Join(base, fmt.Sprint("n", i+1)), addr: addr, join: addrs, versions: command.Supported(), release: "1.0"})
	}
	t.Cleanup(func() {
		for _, u := range nodes {
			u.stop(t)
		}
	})
	return nodes
}

func TestANodeStopsWhileItsRestoreWaitsForTheOthers(t *testing.T) {
	t.Parallel()
	nodes := startThree(t)
	if _, err := nodes[0].propose(t, flow("before", 0)); err != nil {
		t.Fatal(err)
	}
	var lead *upgradable
	waitFor(t, "all vote and one leads", func() bool { // no event tells
		lead = nil
		for _, u := range nodes {
			if s := u.node.cluster.Status(); s.Leading && s.Voters == 3 {
				lead = u
			}
		}
		return lead != nil
	})
	saved, err := lead.node.snapshots.Save(t.Context(), httpapi.Linearizable)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(saved.Stream)
	if err := saved.Stream.Close(); err != nil {
		t.Error(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	// The others cannot receive a snapshot.
	for _, u := range nodes {
		if u == lead {
			continue
		}
		incoming := filepath.Join(u.dir, "state", "incoming")
		if err := os.RemoveAll(incoming); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(incoming, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	staged, err := lead.node.snapshots.Stage(t.Context(), bytes.NewReader(data), int64(len(data)), false)
	if err != nil {
		t.Fatal(err)
	}
	st := lead.node.snapshots.staging
	ended := make(chan error, 1)
	go func() {
		_, err := st.restore(t.Context(), "run")
		ended <- err
	}()
	waitFor(t, "the leader has the restored state", func() bool {
		v, err := lead.node.fsm.View()
		if err != nil {
			return false
		}
		defer v.Close()
		n, err := v.Incarnation()
		return err == nil && int(n) == int(staged.Incarnation)
	})
	select {
	case err := <-ended:
		t.Fatalf("the restore did not wait for the others: %v", err)
	default:
	}
	if s := lead.node.cluster.Status(); !strings.Contains(strings.Join(s.Problems, "\n"), "the cluster's state is being replaced by a snapshot") {
		t.Errorf("its problems are %q", s.Problems)
	}
	lead.stop(t)
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "may or may not have happened") {
		t.Errorf("the restore ends with %v", err)
	}
}

func TestASnapshotOfUnknownSizeDoesNotFillTheDisk(t *testing.T) {
	t.Parallel()
	n, _ := startNode(t, t.TempDir())
	s := n.snapshots
	saved, err := s.Save(t.Context(), httpapi.Linearizable)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(saved.Stream)
	if err = errors.Join(err, saved.Stream.Close()); err != nil {
		t.Fatal(err)
	}
	q := stageQuestion{ID: api.NewID(), Size: -1}
	st, err := s.stagingFor(q)
	if err != nil {
		t.Fatal(err)
	}
	half := len(data) / 2
	if _, err := st.take(q, data[:half]); err != nil {
		t.Fatal(err)
	}
	n.disk.stop() // so that it does not look again
	left := n.disk.left.Swap(n.config.DiskLowWater)
	q.Offset, q.Last = int64(half), true
	_, err = st.take(q, data[half:])
	n.disk.left.Store(left)
	if api.KindOf(err) != api.KindUnavailable || !strings.Contains(err.Error(), "and with the snapshot beside its state it would have less than ") {
		t.Errorf("the upload ends with %v", err)
	}
	if entries, err := os.ReadDir(filepath.Join(n.config.DataDir, "state", "incoming")); err != nil && !os.IsNotExist(err) || len(entries) != 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}
