package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWhatIsNoTextIsNotWrittenToATerminal(t *testing.T) {
	t.Parallel()
	server := record(t, func(w http.ResponseWriter, _ request) { _, _ = io.WriteString(w, "binary") })
	s := newShell(t, server.api())
	s.tty = true
	for _, args := range [][]string{{"snapshot", "save", "-"}, {"debug", "bundle", "-"}} {
		r := s.run(args...)
		if r.code != exitUsage || r.out != "" || !strings.Contains(r.err, "sluice "+strings.Join(args, " ")+" > FILE") {
			t.Errorf("%v: code %d, %q, %s", args, r.code, r.out, r.err)
		}
	}
}

func TestADownloadThatBreaksOffLeavesNoFile(t *testing.T) {
	t.Parallel()
	server := record(t, func(w http.ResponseWriter, _ request) { _, _ = io.WriteString(w, "not all of it") })
	s := newShell(t, server.api())
	dir := t.TempDir()
	for _, args := range [][]string{{"snapshot", "save"}, {"debug", "bundle"}} {
		if r := s.run(append(args, filepath.Join(dir, "file"))...); r.code == exitOK {
			t.Errorf("%v: it is said to be whole: %s", args, r.out)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
