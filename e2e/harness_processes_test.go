//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// runningProcess is a row of the machine's process table.
type runningProcess struct{ pid, parent int }

// allProcesses reads /proc.
func allProcesses(t *testing.T) []runningProcess {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	var all []runningProcess
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		var p runningProcess
		var state string
		// The name, in parentheses, may hold anything.
		line := string(content)
		if _, err := fmt.Sscan(line, &p.pid); err != nil {
			t.Fatalf("%s: %v in %q", file, err, line)
		}
		if _, err := fmt.Sscan(line[strings.LastIndex(line, ")")+1:], &state, &p.parent); err != nil {
			t.Fatalf("%s: %v in %q", file, err, line)
		}
		all = append(all, p)
	}
	return all
}
