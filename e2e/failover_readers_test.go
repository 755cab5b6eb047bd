//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

// followedLines is how many lines a run of followedFlow logs.
const followedLines = 160

// followedFlow logs numbered lines for ten seconds or so.
const followedFlow = `from sluice import flow, get_run_logger
import time


@flow
def counting():
    for n in range(160):
        get_run_logger().info(f"line {n}")
        time.sleep(0.06)


if __name__ == "__main__":
    counting()
`

var countedLine = regexp.MustCompile(`(?m)line (\d+)$`)

// counted returns the numbers of the lines in a text.
func counted(t *testing.T, text string) []int {
	t.Helper()
	var found []int
	for _, match := range countedLine.FindAllStringSubmatch(text, -1) {
		found = append(found, must[int](t)(strconv.Atoi(match[1])))
	}
	return found
}

// TestReadersGoOnWhenTheirNodeAndTheLeaderAreKilled: whoever follows something is connected to one node; that node is killed, then
// the leader. Nobody misses a line, sees one twice or is told of an error.
func TestReadersGoOnWhenTheirNodeAndTheLeaderAreKilled(t *testing.T) {
	t.Parallel()
	c := startNodes(t, 3, "--insecure")
	theirs := c.followers()[0] // all prefer this one
	conn := c.connect(theirs)
	user := func() *shell {
		s := newShell(t)
		s.env["SLUICE_API_URL"] = strings.Join(c.addresses(theirs), ",")
		return s
	}
	shell := user()
	shell.write("counting.py", followedFlow)
	shell.write("counting.yaml", "name: counted\nflow_location: ./counting.py\ntags: [counted]\n")
	shell.ok("deployment", "create", "counting.yaml")
	shell.ok("work-queue", "create", "--tag", "counted", "counted")
	shell.ok("work-queue", "create", "--tag", "later", "later")
	executing, waiting := user().startAgent("counted"), user().startAgent("later")
	later := deploy(t, conn, "later", []string{"later"}, "true").deployment

	events := followEvents(t, c.connect(theirs))
	script := user()
	script.write("counting.py", followedFlow)
	scripted := script.startScript("counting.py")
	typed := user()
	watcher := typed.start("deployment", "run", "counting/counted", "--watch")
	watcher.waitFor(`(?m)line 0$`)
	var id api.ID
	for _, r := range must[[]api.FlowRun](t)(conn.FilterFlowRuns(t.Context(), api.FilterRequest{})) {
		if r.DeploymentID != nil {
			id = r.ID
		}
	}
	tail := typed.start("flow-run", "logs", "-f", id.String())
	second := typed.start("flow-run", "watch", id.String())
	readers := map[string]*process{"deployment run --watch": watcher, "flow-run logs -f": tail, "flow-run watch": second}
	reach := func(n int) {
		for _, p := range readers {
			p.waitFor(fmt.Sprintf(`(?m)line %d$`, n))
		}
	}
	reach(20)
	theirs.kill9()
	reach(60)
	theirs.restart()
	c.leader().kill9()
	reach(100)

	for name, p := range readers {
		if code := p.wait(); code != 0 {
			t.Errorf("%s ended with exit code %d", name, code)
		}
		checkCount(t, name, counted(t, p.stdout.String()), followedLines)
		if text := strings.ToLower(p.stderr.String()); strings.Contains(text, "error") || strings.Contains(text, "cannot reach") {
			t.Errorf("%s says\n%s", name, p.stderr)
		}
	}
	if code := scripted.wait(); code != 0 || strings.Contains(scripted.output(), "Traceback") {
		t.Errorf("the script ended with exit code %d\n%s", code, scripted.output())
	}
	checkLife(t, conn, id)
	for _, r := range must[[]api.FlowRun](t)(conn.FilterFlowRuns(t.Context(), api.FilterRequest{})) {
		checkCount(t, "stored lines of run "+r.Name, counted(t, texts(allLogs(t, conn, r.ID))), followedLines)
	}

	// The agent that has waited in long polls all the time is given work at once.
	given := run(t, conn, later)
	watchUntil(t, conn, given, "Completed", patience, named("Completed"))
	checkLife(t, conn, given)
	for name, p := range map[string]*process{"the agent that executes": executing, "the agent that waits": waiting} {
		if p.exited() || strings.Contains(p.output(), "Traceback") {
			t.Errorf("%s, exit code %d:\n%s", name, p.code, p.output())
		}
	}
	events.waitFor(t, given)
	for _, r := range []api.ID{id, given} {
		events.check(t, conn, r)
	}
}

// texts are the messages of log lines, one on each line.
func texts(lines []api.Log) string {
	var out strings.Builder
	for _, l := range lines {
		out.WriteString(l.Message + "\n")
	}
	return out.String()
}

// followed is what a listener to the events of all flow runs was told.
type followed struct {
	mu     sync.Mutex // guards what follows
	states map[api.ID][]string
	resets int
}

// followEvents listens until the test ends.
func followEvents(t *testing.T, conn *client.Client) *followed {
	t.Helper()
	f := &followed{states: map[api.ID][]string{}}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- conn.StreamFlowRunEvents(ctx, "", func(e client.Event) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			if e.Kind == api.EventReset {
				f.resets++
				return nil
			}
			var told api.FlowRunEvent
			if err := json.Unmarshal(e.Data, &told); err != nil {
				return err
			}
			f.states[told.ID] = append(f.states[told.ID], told.StateName)
			return nil
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the stream of events ended: %v", err)
		}
	})
	return f
}

// waitFor waits until the end of a run was told.
func (f *followed) waitFor(t *testing.T, run api.ID) {
	t.Helper()
	eventually(t, "the end of run "+run.String()+" is told", func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		if told := f.states[run]; !slices.Contains(told, "Completed") && f.resets == 0 {
			return fmt.Errorf("told is %v", told)
		}
		return nil
	})
}

// check compares what was told of a run with its states. Only a listener that was told to read the state again may have missed some.
func (f *followed) check(t *testing.T, conn *client.Client, run api.ID) {
	t.Helper()
	var states []string
	for _, s := range must[[]api.State](t)(conn.FlowRunStates(t.Context(), run)) {
		states = append(states, s.Name)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	told := slices.Compact(slices.Clone(f.states[run])) // a change that is none of its state repeats it
	if f.resets == 0 && !slices.Equal(told, states) {
		t.Errorf("of run %s was told %v, its states are %v", run, told, states)
	}
	t.Logf("events: %d times told to read again; of run %s %v", f.resets, run, told)
}
