//go:build linux

// Package chaos runs a whole system of real processes, each on a machine of its own on a network that exists for the test alone,
// under load and schedules, while a seeded nemesis kills, freezes, cuts off and slows down; then it compares what is there with
// what everybody was told.
//
// SLUICE_CHAOS_TIME is how long (10m; a number means seconds), SLUICE_SEED repeats the choices of a run, SLUICE_CHAOS_NODES is 3 or
// 5. `make chaos` sets them. What a failed run leaves is kept: data, output of all programs, events, history.
package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// patience bounds each wait for an event. It is no target: it only ends a test whose event will not come.
const patience = 60 * time.Second

// ordinary is how long the faults go on in a run that nobody has asked for.
const ordinary = 25 * time.Second

// asked tells whether this run was asked for: then it must not be skipped.
func asked() bool { return os.Getenv("SLUICE_CHAOS_TIME") != "" }

// options are what the environment says.
type options struct {
	seed        uint64
	time        time.Duration
	nodes       int
	deployments int
}

func readOptions() (o options, err error) {
	o = options{seed: rand.Uint64(), time: ordinary, nodes: 3, deployments: 12}
	if os.Getenv("SLUICE_E2E_LONG") != "" {
		o.time = 3 * time.Minute
	}
	if text := os.Getenv("SLUICE_SEED"); text != "" {
		if o.seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			return o, fmt.Errorf("SEED is %q, not a number", text)
		}
	}
	if text := os.Getenv("SLUICE_CHAOS_TIME"); text != "" {
		if _, err := strconv.Atoi(text); err == nil {
			text += "s"
		}
		if o.time, err = time.ParseDuration(text); err != nil || o.time <= 0 {
			return o, fmt.Errorf("TIME is %q; give seconds or a duration like 10m", os.Getenv("SLUICE_CHAOS_TIME"))
		}
		o.deployments = 30
	}
	if text := os.Getenv("SLUICE_CHAOS_NODES"); text != "" {
		if o.nodes, err = strconv.Atoi(text); err != nil || o.nodes != 3 && o.nodes != 5 {
			return o, fmt.Errorf("NODES is %q; it is 3 or 5", text)
		}
	}
	return o, nil
}

// program returns the program under test; it is built unless SLUICE_E2E_BINARY names it.
func program(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("SLUICE_E2E_BINARY"); path != "" {
		return path
	}
	_, here, _, _ := runtime.Caller(0)
	path := filepath.Join(t.TempDir(), "sluice")
	build := exec.Command("go", "build", "-o", path, "./cmd/sluice")
	build.Dir = filepath.Dir(filepath.Dir(filepath.Dir(here)))
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the binary: %v\n%s", err, out)
	}
	return path
}

func TestChaos(t *testing.T) {
	o, err := readOptions()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", fmt.Sprintf("sluice-chaos-%d-", o.seed))
	if err != nil {
		t.Fatal(err)
	}
	repeat := fmt.Sprintf("make chaos SEED=%d TIME=%s NODES=%d", o.seed, o.time, o.nodes)
	t.Cleanup(func() {
		if !t.Failed() {
			_ = os.RemoveAll(dir)
			return
		}
		events, _ := os.ReadFile(filepath.Join(dir, "events.log"))
		t.Logf("the same faults again: %s\nwhat happened (all of it in %s):\n%s", repeat, dir, strikesOf(string(events)))
	})
	t.Logf("%s (deployments with schedules: %d)", repeat, o.deployments)
	s := newSystem(t, dir, program(t), o.nodes, 2)
	ctx := t.Context()
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	for _, n := range s.nodes {
		n.start()
	}
	must("start", s.ready(ctx))
	l, err := newLoad(ctx, s, o.seed, o.deployments)
	must("prepare the load", err)
	from := time.Now()
	for _, a := range s.agents {
		a.start()
	}
	l.start(ctx)

	n := &nemesis{system: s, seed: o.seed, counts: map[string]int{}}
	raging, cancel := context.WithTimeout(ctx, o.time)
	n.run(raging)
	cancel()
	s.note("all faults are over")
	s.net.heal()
	must("come back", s.ready(ctx))
	l.end()
	s.note("the load has ended")

	v := l.verification()
	until := time.Now()
	must("check the schedules", v.schedules(ctx, from, until))
	must("check what was made", v.created(ctx))
	for _, d := range l.scheduled {
		must("stop a schedule", l.patient.SetScheduleActive(ctx, d.id, false))
	}
	for _, a := range s.agents {
		a.stop()
	}
	must("check the executions", v.executions())
	states, err := s.hashes(ctx)
	must("compare the states", err)
	if err := l.history.Check(dir); err != nil {
		s.problem("%v", err)
	}
	if v.fires == 0 || l.calls.count[done].Load() == 0 {
		s.problem("nothing happened: %d fires, %s", v.fires, l.calls)
	}
	t.Logf("faults: %s", counted(n.counts))
	t.Logf("packets: %d carried, %d lost, %d cut", s.net.carried.Load(), s.net.lost.Load(), s.net.cut.Load())
	t.Logf("writes: %s; history of %d operations", l.calls, l.history.Len())
	t.Logf("schedules: %d fires; executed runs by their end: %v", v.fires, v.ended)
	t.Logf("states: %s", states)
	for _, p := range s.problems {
		t.Error(p)
	}
}

func counted(counts map[string]int) string {
	var all []string
	total := 0
	for name, count := range counts {
		all = append(all, fmt.Sprintf("%s %d", name, count))
		total += count
	}
	slices.Sort(all)
	return fmt.Sprintf("%d (%s)", total, strings.Join(all, ", "))
}

// strikesOf leaves out what single requests were told.
func strikesOf(events string) string {
	var out strings.Builder
	for line := range strings.Lines(events) {
		if words := strings.Fields(line); len(words) > 1 && !strings.HasPrefix(words[1], "u") {
			out.WriteString(line)
		}
	}
	return out.String()
}
