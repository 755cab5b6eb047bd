package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestAnOlderReleaseIsRefused starts the next release on new data, and this one on what it leaves: one process at a time.
func TestAnOlderReleaseIsRefused(t *testing.T) {
	t.Parallel()
	next := nextRelease(t)
	s := newServer(t, "--bootstrap-expect", "1")
	p := s.shell.launch(launch{program: next, args: s.flags})
	p.waitFor(`cluster version raised`)
	s.shell.env["SLUICE_API_URL"] = "http://" + s.address + "/api"
	eventually(t, "the status shows the raised version", func() error {
		if r := s.shell.exec("", next, "cluster", "status"); !strings.Contains(r.stdout, "Version:  2, the newest that the nodes support") {
			return fmt.Errorf("shown is\n%s", r)
		}
		return nil
	})
	if r := s.shell.exec("", next, "cluster", "members", "--no-headers"); !strings.Contains(r.stdout, "\tnext\t1-2\t") {
		t.Errorf("members shows\n%s", r)
	}
	p.interrupt()
	if code := p.wait(); code != 0 {
		t.Fatalf("the next release ends with %d\n%s", code, p.output())
	}
	files := func() (all []string) {
		err := filepath.WalkDir(filepath.Join(s.dataDir, "state"), func(path string, e os.DirEntry, err error) error {
			if err != nil || e.IsDir() || e.Name() == "LOCK" { // which says nothing
				return err
			}
			info, err := e.Info()
			if err == nil {
				all = append(all, fmt.Sprint(path, " ", info.Size(), " ", info.ModTime()))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	before := files()
	r := s.shell.run(s.flags...)
	want := "the state belongs to a cluster of version 2, this binary supports 1: start it with the release that the other nodes run, or a newer one; there is no way back to an older one"
	if r.code != 1 || !strings.Contains(r.stderr, want) {
		t.Errorf("this release on newer data:\n%s", r)
	}
	if after := files(); !slices.Equal(before, after) {
		t.Errorf("it changed the state:\n%s\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
	again := s.shell.launch(launch{program: next, args: s.flags})
	eventually(t, "the next release goes on", func() error {
		if r := s.shell.exec("", next, "cluster", "status"); r.code != 0 {
			return fmt.Errorf("shown is\n%s", r)
		}
		return nil
	})
	again.interrupt()
	again.wait()
}
