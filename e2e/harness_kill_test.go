//go:build linux

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

// long asks for the sizes of `make test-long`.
func long() bool { return os.Getenv("SLUICE_E2E_LONG") != "" }

// seeded returns the source of a test's random choices. Its seed is printed; SLUICE_SEED repeats it.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("SLUICE_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("SLUICE_SEED is %q, not a number", text)
		}
	}
	t.Logf("seed: SLUICE_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, seed))
}

// connect returns a client of the server's API that repeats what is harmless to repeat for so long: 0 tries once, negative always.
func connect(t *testing.T, s *server, retryFor time.Duration) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{Addresses: []string{s.apiURL()}, RetryFor: retryFor})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// must returns the value of a call that may not fail.
func must[T any](t *testing.T) func(value T, err error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// deployed is what deploy made.
type deployed struct {
	flow, deployment api.ID
}

// deploy makes a deployment of a plain command; it is the flow's only one.
func deploy(t *testing.T, c *client.Client, name string, tags []string, command ...string) deployed {
	t.Helper()
	blob := must[[]byte](t)(json.Marshal(command))
	flow := must[*api.Flow](t)(c.CreateFlow(t.Context(), api.FlowCreate{Name: name}))
	d := must[*api.Deployment](t)(c.CreateDeployment(t.Context(), api.DeploymentCreate{Name: name, FlowID: flow.ID, Tags: tags,
		FlowData: api.DataDocument{Encoding: api.EncodingCommand, Blob: string(blob)}}))
	return deployed{flow.ID, d.ID}
}

// deployPython makes a deployment of a Python flow by the command line, in a new shell; the function in the source has the name given.
func deployPython(t *testing.T, s *server, name, source string) api.ID {
	t.Helper()
	shell := newClient(t, s)
	shell.write(name+".py", source)
	shell.write("spec.yaml", fmt.Sprintf("name: %s\nflow_location: ./%s.py\n", name, name))
	shell.ok("deployment", "create", "spec.yaml")
	flow := strings.ReplaceAll(name, "_", "-") // the SDK's name of a function without another
	d, err := connect(t, s, 0).DeploymentByName(t.Context(), flow, name)
	if err != nil {
		t.Fatal(err)
	}
	return d.ID
}

// queue makes a work queue, with a concurrency limit unless that is 0.
func queue(t *testing.T, c *client.Client, name string, limit int, tags ...string) api.ID {
	t.Helper()
	body := api.WorkQueueCreate{Name: name}
	if len(tags) > 0 {
		body.Filter = &api.QueueFilter{Tags: tags}
	}
	if limit > 0 {
		body.ConcurrencyLimit = &limit
	}
	return must[*api.WorkQueue](t)(c.CreateWorkQueue(t.Context(), body)).ID
}

// run asks for a run of a deployment, now.
func run(t *testing.T, c *client.Client, deployment api.ID) api.ID {
	t.Helper()
	state := api.NewState(api.Scheduled, "")
	key := api.NewID().String()
	return must[*api.FlowRun](t)(c.RunDeployment(t.Context(), deployment, api.DeploymentFlowRunCreate{State: &state, IdempotencyKey: &key})).ID
}

// watchUntil follows the run's states until one satisfies the condition, through restarts of the server, and returns it.
func watchUntil(t *testing.T, c *client.Client, id api.ID, what string, limit time.Duration, condition func(api.State) bool) api.State {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	var found, last api.State
	err := c.StreamFlowRun(ctx, id, false, "", func(event client.Event) error {
		if event.Kind != api.EventState && event.Kind != api.EventEnd {
			return nil
		}
		if err := json.Unmarshal(event.Data, &last); err != nil {
			return err
		}
		if condition(last) {
			found = last
			return client.ErrStop
		}
		return nil
	})
	if err != nil || found.Type == "" {
		t.Fatalf("flow run %s did not become %s within %s: %v; its last state is %s %s", id, what, limit, err, last.Type, describeState(last))
	}
	return found
}

func named(name string) func(api.State) bool {
	return func(s api.State) bool { return s.Name == name }
}

func describeState(s api.State) string {
	if s.Message == nil {
		return s.Name
	}
	return s.Name + ": " + *s.Message
}

// checkLife fails the test unless the run was scheduled, claimed once, started once and completed once.
func checkLife(t *testing.T, c *client.Client, id api.ID) {
	t.Helper()
	states, err := c.FlowRunStates(t.Context(), id)
	if err != nil {
		t.Errorf("states of flow run %s: %v", id, err)
		return
	}
	var names []string
	for _, s := range states {
		if s.Name != api.NameLate { // a matter of the machine's speed
			names = append(names, s.Name)
		}
	}
	if want := []string{"Scheduled", "Pending", "Running", "Completed"}; !slices.Equal(names, want) {
		var told []string
		for _, s := range states {
			told = append(told, s.Timestamp.String()+" "+describeState(s))
		}
		t.Errorf("flow run %s went through %v, not %v:\n%s", id, names, want, strings.Join(told, "\n"))
	}
}

// allLogs returns the lines of a run in their order.
func allLogs(t *testing.T, c *client.Client, id api.ID) []api.Log {
	t.Helper()
	lines, err := client.Each(func(page api.Page) ([]api.Log, error) {
		return c.FilterLogs(t.Context(), api.LogFilterRequest{Page: page, Sort: api.SortTimestampAsc,
			Logs: &api.LogFilter{FlowRunID: &api.IDAny{Any: []api.ID{id}}}})
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// numbers returns the numbers behind a prefix in the messages that have it.
func numbers(t *testing.T, lines []api.Log, prefix string) []int {
	t.Helper()
	var found []int
	for _, line := range lines {
		if rest, ok := strings.CutPrefix(line.Message, prefix); ok {
			n, err := strconv.Atoi(rest)
			if err != nil {
				t.Errorf("log line %q has no number behind %q", line.Message, prefix)
			}
			found = append(found, n)
		}
	}
	return found
}

// checkCount fails the test unless the numbers are 0, 1, … n-1 in this order.
func checkCount(t *testing.T, what string, got []int, n int) {
	t.Helper()
	if len(got) != n {
		t.Errorf("%s: %d lines, not %d", what, len(got), n)
	}
	for i, v := range got {
		if v != i {
			t.Errorf("%s: at place %d stands line %d; around it %v", what, i, v, got[max(0, i-3):min(len(got), i+4)])
			return
		}
	}
}

// carriers returns the living processes that have the text in their command line or environment, but for the tests' own.
func carriers(text string) []int {
	folders, _ := filepath.Glob("/proc/[0-9]*")
	var found []int
	for _, folder := range folders {
		pid, _ := strconv.Atoi(filepath.Base(folder))
		if pid == os.Getpid() || !alive(pid) {
			continue
		}
		cmdline, _ := os.ReadFile(filepath.Join(folder, "cmdline")) // empty when it ends just now
		environ, _ := os.ReadFile(filepath.Join(folder, "environ"))
		if bytes.Contains(cmdline, []byte(text)) || bytes.Contains(environ, []byte(text)) {
			found = append(found, pid)
		}
	}
	return found
}

// alive tells whether a process exists and is not merely waiting to be reaped.
func alive(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return false
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	return fields[0] != "Z" && fields[0] != "X"
}

// tell lists processes for people.
func tell(pids []int) string {
	var b strings.Builder
	for _, pid := range pids {
		cmdline, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
		fmt.Fprintf(&b, "\n%d %s", pid, bytes.ReplaceAll(cmdline, []byte{0}, []byte{' '}))
	}
	return b.String()
}

// goneWithin waits until no process carries the text. The death of a process that is not our child is no event, so it polls.
func goneWithin(t *testing.T, text string) {
	t.Helper()
	eventually(t, "no process of "+text+" is left", func() error {
		if left := carriers(text); len(left) > 0 {
			return fmt.Errorf("there are %d:%s", len(left), tell(left))
		}
		return nil
	})
}

// removeCarriers ends, when the test ends, what a defect may have left of a run: by pid, and only what carries its id.
func removeCarriers(t *testing.T, text string) {
	t.Helper()
	t.Cleanup(func() {
		for _, pid := range carriers(text) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
}

// linesOf returns the lines of a file that commands append to.
func linesOf(t *testing.T, path string) []string {
	t.Helper()
	content, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(content))
}
