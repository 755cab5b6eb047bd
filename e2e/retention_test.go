//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// removedRuns is how many flow runs this node's metrics say that retention removed.
func (s *server) removedRuns() (all float64, err error) {
	for _, reason := range []string{"age", "count", "total", "expired"} {
		n, failed := s.metric(fmt.Sprintf(`sluice_retention_removed_rows_total\{reason="%s",table="flow_run"\}`, reason))
		all, err = all+n, errors.Join(err, failed)
	}
	return all, err
}

// finishedRuns is how many runs that have ended this node's own state holds.
func (s *server) finishedRuns() (count int, err error) {
	_, err = s.request(s.t.Context(), "POST", "/flow_runs/count?consistency=stale",
		object{"flow_runs": object{"state": object{"type": object{"any_": []string{"COMPLETED", "FAILED", "CANCELLED"}}}}}, &count)
	return count, err
}

// counted waits until a node keeps so many finished runs, and what it holds and what it counted as removed are all that were made.
func (s *server) counted(made, kept int) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("%s keeps %d finished runs of %d and has counted the others", s.address, kept, made), func() error {
		finished, err := s.finishedRuns()
		stored, err2 := s.storedRuns()
		removed, err3 := s.removedRuns()
		if err := errors.Join(err, err2, err3); err != nil {
			return err
		}
		if finished != kept || stored+int(removed) != made {
			return fmt.Errorf("%d finished runs of %d are there, %.0f were counted as removed", finished, stored, removed)
		}
		return nil
	})
}

// TestRetentionGoesOnThroughSnapshotsAndFailovers has a node fetch the state while runs are removed, and the leader killed while they are.
func TestRetentionGoesOnThroughSnapshotsAndFailovers(t *testing.T) {
	t.Parallel()
	c := startNodes(t, 3, append([]string{"--retention-interval", "1s"}, smallLog...)...)
	const runs, kept = 9_000, 100
	victim := c.followers()[0]
	c.leader().seed(100)
	last, err := victim.metric("sluice_raft_last_index")
	if err != nil {
		t.Fatal(err)
	}
	victim.kill9()
	c.leader().seed(runs - 100)
	c.outgrown(last)
	shell := newShell(t)
	shell.env["SLUICE_API_URL"] = strings.Join(c.addresses(), ",")
	lead := c.leader()
	victim.begin()
	// The bound is lowered bit by bit, so that there is always something to remove until the snapshot is there.
	for bound := runs - 500; !strings.Contains(victim.output(), "snapshot installed"); bound = max(bound-250, 2_000) {
		shell.ok("retention", "set", "--max-total-runs", fmt.Sprint(bound))
	}
	finished, err := lead.finishedRuns()
	removed, err2 := lead.removedRuns()
	t.Logf("when the snapshot was installed, %.0f runs had been removed and %d finished ones were still there", removed, finished)
	if err := errors.Join(err, err2); err != nil || removed == 0 || finished <= kept {
		t.Errorf("nothing was removed before the snapshot was installed, or everything: nothing is shown (%v)", err)
	}
	shell.ok("retention", "set", "--max-total-runs", fmt.Sprint(kept))
	victim.waitReady()

	lead.kill9() // whatever it was removing
	c.leader()
	for _, s := range c.all {
		if s != lead {
			s.counted(runs, kept)
		}
	}
	lead.restart()
	lead.counted(runs, kept)
	c.hashes(newShell(t))
}

// TestRetentionMeetsAFullDisk fills the disk while runs are removed, again and again, and kills the server there.
func TestRetentionMeetsAFullDisk(t *testing.T) {
	t.Parallel()
	d := newDisk(t, 192<<20)
	s := newServer(t, "--disk-low-water", "1", "--retention-interval", "1s")
	s.dataDir = filepath.Join(d.dir, "data")
	s.flags = append(s.flags, "--data-dir", s.dataDir)
	s.start()
	const runs, kept = 4_000, 50
	s.seed(runs)
	shell := newClient(t, s)
	shell.ok("retention", "set", "--max-total-runs", fmt.Sprint(kept))
	for round := range 3 {
		before, _ := s.finishedRuns()
		d.fill(0)
		// There is no event for what does not happen; half a second of it is one of many chunks.
		time.Sleep(500 * time.Millisecond)
		t.Logf("round %d: %d finished runs when the disk was filled", round, before)
		if round == 2 {
			s.kill9()
		}
		d.empty()
		if round == 2 {
			s.restart()
		}
		s.waitReady()
	}
	s.counted(runs, kept)
	file := filepath.Join(t.TempDir(), "state.sluice")
	shell.ok("snapshot", "save", file)
	if r := inspect(t, shell, file); r.StateHash == "" || int(r.Objects["flow_run"]) < kept {
		t.Errorf("the snapshot is %+v", r)
	}
	s.signal(syscall.SIGTERM)
	s.wait()
	s.restart()
	s.counted(runs, kept)
}
