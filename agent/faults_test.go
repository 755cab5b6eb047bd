package agent_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/agent"
	"github.com/sluice-dev/sluice/api"
)

// pid waits for the line "pid N" of a run.
func (s *fakeServer) pid(t *testing.T, id api.ID) int {
	t.Helper()
	var pid int
	s.await(t, "the flow has told its pid", func() bool {
		for _, line := range s.linesLocked(id) {
			if n, err := fmt.Sscanf(line, "pid %d", &pid); n == 1 && err == nil {
				return true
			}
		}
		return false
	})
	return pid
}

func alive(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return false
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	return fields[0] != "Z" && fields[0] != "X"
}

// eventually polls, for the death of processes that are not our children and for
// log lines: neither is an event we can wait for.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !condition(); <-time.After(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// gate makes a command that goes on when the function is called.
func gate(t *testing.T) (script string, open func()) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gate")
	if out, err := exec.Command("mkfifo", path).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return "read x <'" + path + "'", func() {
		if err := os.WriteFile(path, []byte("go\n"), 0); err != nil {
			t.Error(err)
		}
	}
}

// jumpingClock is the system's clock, set forward by hand.
type jumpingClock struct{ ahead atomic.Int64 }

func (c *jumpingClock) jump(d time.Duration) { c.ahead.Add(int64(d)) }

func (c *jumpingClock) Now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

func (c *jumpingClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

func TestARunAndItsOutputSurviveAnOutage(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	wait, open := gate(t)
	id := s.addCommand("sh", "-c", "echo before; "+wait+"; for i in 1 2 3; do echo during $i; done")
	clock := &jumpingClock{}
	f := start(t, s, func(c *agent.Config) { c.Clock = clock })
	s.await(t, "the first line is there", func() bool { return len(s.linesLocked(id)) == 1 })
	s.change(func() { s.down = true })
	clock.jump(time.Minute) // far more than the lease lives
	open()
	// The process ends, and everything is tried in vain, several times.
	eventually(t, "the process has ended", func() bool { return strings.Contains(f.log.String(), "exited cleanly") })
	var beats, logs int
	s.change(func() { beats, logs = s.requested("heartbeat"), s.requested("logs") })
	s.await(t, "heartbeats and output were tried", func() bool {
		return s.requested("heartbeat") > beats+2 && s.requested("logs") > logs+1
	})
	s.change(func() { s.down = false })
	if state := s.final(t, id); state.Type != api.Completed {
		t.Errorf("got %s %q", state.Type, message(state))
	}
	if got := s.states(id); got != "PENDING RUNNING COMPLETED" {
		t.Errorf("states %s", got)
	}
	s.await(t, "all lines are there", func() bool {
		return slices.Equal(s.linesLocked(id), []string{"before", "during 1", "during 2", "during 3"})
	})
	for _, part := range []string{"WARNING | sluice.agent - Cannot reach the server", "The server answers again"} {
		if n := strings.Count(f.log.String(), part); n != 1 {
			t.Errorf("%q was logged %d times", part, n)
		}
	}
}

func TestAnswersThatGetLostChangeNothing(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.change(func() {
		s.deaf["claim"] = 1     // the grant is unheard
		s.deaf["set_state"] = 1 // Running is accepted unheard
		s.deaf["logs"] = 2      // a batch is stored unheard, twice
	})
	id := s.addCommand("sh", "-c", "echo one; echo two")
	start(t, s, nil)
	s.final(t, id)
	if got := s.states(id); got != "PENDING RUNNING COMPLETED" {
		t.Errorf("states %s", got)
	}
	s.await(t, "the output is there", func() bool { return len(s.linesLocked(id)) >= 2 })
	if got := s.lines(id); !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("lines %q", got)
	}
	s.change(func() {
		if s.doubled != 2 || len(s.claims) > 2 {
			t.Errorf("%d batches came again, %d claims were made", s.doubled, len(s.claims))
		}
	})
}

func TestAnAgentTheServerForgotRegistersAgain(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	start(t, s, nil)
	s.await(t, "the agent asks for work", func() bool { return s.requested("claim") > 0 })
	s.change(func() {
		clear(s.agents)
		s.forget = true
	})
	s.await(t, "the agent is known again", func() bool { return len(s.agents) == 1 })
	if state := s.final(t, s.addCommand("true")); state.Type != api.Completed {
		t.Errorf("got %s", state.Type)
	}
}

func TestALostLeaseKillsTheGroupAndReportsNothing(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	id := s.addPython("RUNNING sleeper wait")
	f := start(t, s, nil)
	child := s.pid(t, id)
	if !alive(child) {
		t.Fatal("the grandchild does not live")
	}
	s.loseLease(id, "another agent has it")
	eventually(t, "the grandchild is dead", func() bool { return !alive(child) })
	eventually(t, "the run is dropped", func() bool { return strings.Contains(f.log.String(), "Dropped flow run") })
	f.agent.Stop()
	if got := s.states(id); got != "PENDING RUNNING" {
		t.Errorf("states %s", got)
	}
	if !strings.Contains(f.log.String(), "another agent has it") {
		t.Error("the reason is not in the log")
	}
}

func TestACommandIsNotStartedUnderALeaseThatWasNotRenewed(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.change(func() { s.refused["set_state"], s.refused["heartbeat"] = true, true })
	clock := &jumpingClock{}
	f := start(t, s, func(c *agent.Config) { c.Clock = clock })
	id := s.addCommand("sh", "-c", "echo started")
	s.await(t, "the start was proposed", func() bool { return s.requested("set_state") > 0 })
	clock.jump(time.Minute)
	eventually(t, "the agent gives up", func() bool { return strings.Contains(f.log.String(), "not starting it") })
	s.change(func() { clear(s.refused) })
	f.agent.Stop()
	if got := s.states(id); got != "PENDING" {
		t.Errorf("states %s", got)
	}
	if got := s.lines(id); len(got) != 0 {
		t.Errorf("it was started: %q", got)
	}
}

func TestARunCancelledOverTheAgentsHeadMayCleanUp(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	id := s.addCommand("python3", "-c", `
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
os.write(1, b"ready\n")
signal.sigwait({signal.SIGTERM})
os.write(1, b"bye\n")`)
	f := start(t, s, nil)
	s.await(t, "the command is ready", func() bool { return len(s.linesLocked(id)) == 1 })
	s.change(func() { s.runs[id].set(api.NewState(api.Cancelled, "by an operator")) })
	s.await(t, "the command has cleaned up", func() bool { return slices.Equal(s.linesLocked(id), []string{"ready", "bye"}) })
	f.agent.Stop()
	if got := s.states(id); got != "PENDING RUNNING CANCELLED" {
		t.Errorf("states %s", got)
	}
}

func TestARunGrantedAnewStartsAfterItsFormerProcessIsDead(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	mark := filepath.Join(t.TempDir(), "mark")
	id := s.addCommand("sh", "-c", `
if mkdir `+mark+` 2>/dev/null; then echo $$ > `+mark+`/pid; echo first; trap '' TERM; while :; do sleep 1; done; fi
kill -0 $(cat `+mark+`/pid) 2>/dev/null && echo both || echo alone`)
	f := start(t, s, nil)
	s.await(t, "the command runs", func() bool { return len(s.linesLocked(id)) == 1 })
	s.change(func() {
		s.runs[id].token = ""
		s.queue = append(s.queue, id)
	})
	s.final(t, id)
	if got := s.states(id); got != "PENDING RUNNING PENDING RUNNING COMPLETED" {
		t.Errorf("states %s", got)
	}
	s.await(t, "the second line is there", func() bool { return len(s.linesLocked(id)) == 2 })
	if got := s.lines(id); got[1] != "alone" {
		t.Errorf("lines %q", got)
	}
	if log := f.log.String(); strings.Index(log, "Dropped flow run") > strings.LastIndex(log, "Submitting flow run") {
		t.Error("the second execution began before the first was over")
	}
}

func TestAnEndReportedByTheFlowItselfIsNoLostLease(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	wait, open := gate(t)
	// The process lives on after its final report, as one that still sends logs.
	id := s.add(&api.Deployment{FlowData: api.DataDocument{Encoding: api.EncodingCommand, Blob: `["sh","-c",` + strconv.Quote(wait+"; echo last line") + `]`}}, nil)
	f := start(t, s, nil)
	s.await(t, "the command runs", func() bool { return *s.runs[id].run.StateType == api.Running })
	s.change(func() { s.runs[id].set(api.NewState(api.Completed, "")) })
	var beats int
	s.change(func() { beats = s.requested("heartbeat") })
	s.await(t, "the agent was told that it has no lease", func() bool { return s.requested("heartbeat") > beats+2 })
	open()
	s.await(t, "the last line is there", func() bool { return slices.Equal(s.linesLocked(id), []string{"last line"}) })
	if strings.Contains(f.log.String(), "Lost the lease") {
		t.Error("the process was taken for lost")
	}
}

func TestCancelStopsTheProcessAndReports(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	id := s.addPython("RUNNING sleeper wait")
	start(t, s, func(c *agent.Config) { c.Grace = 50 * time.Millisecond })
	child := s.pid(t, id)
	s.change(func() { s.runs[id].cancelling = true })
	state := s.final(t, id)
	if got := s.states(id); got != "PENDING RUNNING CANCELLED" {
		t.Errorf("states %s (%q)", got, message(state))
	}
	if alive(child) {
		t.Error("a child that ignores SIGTERM survived")
	}
}

func TestWithExclusiveRunsAnUnreachableServerCostsTheProcess(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.ttl = 300 * time.Millisecond
	id := s.addPython("RUNNING sleeper wait")
	f := start(t, s, func(c *agent.Config) { c.Exclusive = true })
	child := s.pid(t, id)
	s.change(func() { s.down = true })
	eventually(t, "the process is dead", func() bool { return !alive(child) })
	eventually(t, "the reason is logged", func() bool { return strings.Contains(f.log.String(), "not renewed for 300ms") })
	s.change(func() { s.down = false })
	f.agent.Stop()
	if got := s.states(id); got != "PENDING RUNNING" {
		t.Errorf("states %s", got)
	}
}

func TestDrainingFinishesWhatRunsAndTakesNothingNew(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	wait, open := gate(t)
	id := s.addCommand("sh", "-c", "echo started; "+wait+"; echo finished")
	f := start(t, s, nil)
	s.await(t, "the command runs", func() bool { return len(s.linesLocked(id)) == 1 })
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		f.agent.Stop()
	}()
	eventually(t, "the agent drains", func() bool { return strings.Contains(f.log.String(), "Stopping; waiting") })
	later := s.addCommand("true")
	open()
	<-stopped
	if got := s.states(id); got != "PENDING RUNNING COMPLETED" {
		t.Errorf("states %s", got)
	}
	if got := s.lines(id); !slices.Equal(got, []string{"started", "finished"}) {
		t.Errorf("lines %q", got)
	}
	if got := s.states(later); got != "" {
		t.Errorf("the later run became %s", got)
	}
	s.change(func() {
		if s.left != 1 {
			t.Error("the agent did not deregister")
		}
	})
}

// stuckClock never ends the first pause before a repetition.
type stuckClock struct{}

func (stuckClock) Now() time.Time { return time.Now() }

func (stuckClock) After(d time.Duration) <-chan time.Time {
	if d == 100*time.Millisecond {
		return nil
	}
	return time.After(d)
}

func TestWhatAnUnheardClaimBroughtIsGivenBack(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	f := start(t, s, func(c *agent.Config) { c.Clock = stuckClock{} })
	s.await(t, "the agent asks for work", func() bool { return s.requested("claim") > 0 })
	s.change(func() { s.deaf["claim"] = 1 })
	id := s.addCommand("true")
	s.await(t, "the answer is lost", func() bool { return s.deaf["claim"] == 0 })
	f.agent.Stop()
	if got := s.states(id); got != "PENDING SCHEDULED" {
		t.Errorf("states %s", got)
	}
}

func TestADrainThatTakesTooLongStopsTheProcesses(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	id := s.addPython("RUNNING sleeper wait")
	f := start(t, s, func(c *agent.Config) {
		c.DrainTimeout = time.Millisecond
		c.Grace = 50 * time.Millisecond
	})
	child := s.pid(t, id)
	f.agent.Stop()
	if alive(child) {
		t.Error("a process survived the agent")
	}
	if got := s.states(id); got != "PENDING RUNNING Crashed" {
		t.Errorf("states %s", got)
	}
	if state := s.final(t, id); !strings.Contains(message(state), "'test-agent' was stopped") {
		t.Errorf("message %q", message(state))
	}
}

func TestKillHurriesADrain(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	id := s.addPython("RUNNING sleeper wait")
	f := start(t, s, func(c *agent.Config) { c.DrainTimeout, c.Grace = time.Hour, time.Hour })
	child := s.pid(t, id)
	f.agent.Kill()
	f.agent.Stop()
	if alive(child) {
		t.Error("a process survived the agent")
	}
	if got := s.states(id); got != "PENDING RUNNING Crashed" {
		t.Errorf("states %s", got)
	}
}

func TestAnAgentWithoutQueuesEndsWhenItsRunsHave(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.missing = []api.ID{{15: 9}}
	wait, open := gate(t)
	id := s.addCommand("sh", "-c", "echo started; "+wait)
	config := testConfig(s.url(), t.TempDir())
	log := &logBuffer{}
	config.Logger = newLogger(log)
	a, err := agent.New(config)
	if err != nil {
		t.Fatal(err)
	}
	result := make(chan error, 1)
	go func() { result <- a.Run(context.Background()) }()
	s.await(t, "the command runs", func() bool { return len(s.linesLocked(id)) == 1 })
	s.change(func() { s.gone = true })
	open()
	if err := <-result; err == nil || !strings.Contains(err.Error(), "none of the agent's work queues exists any more") {
		t.Errorf("got %v", err)
	}
	if got := s.states(id); got != "PENDING RUNNING COMPLETED" {
		t.Errorf("states %s", got)
	}
	if n := strings.Count(log.String(), "Work queue '00000000-0000-0000-0000-000000000009' does not exist any more"); n != 1 {
		t.Errorf("the missing queue was named %d times:\n%s", n, log)
	}
}

func TestARefusedRegistrationEndsTheStart(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	config := testConfig(s.url()+"/nowhere", t.TempDir())
	a, err := agent.New(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "register the agent") {
		t.Errorf("got %v", err)
	}
	a.Stop()
}

// startProcess runs an agent as a process of its own.
func startProcess(t *testing.T, s *fakeServer, spoolDir string) *exec.Cmd {
	t.Helper()
	process := exec.Command(os.Args[0])
	process.Env = append(os.Environ(), "AGENT_TEST_ROLE=agent", "AGENT_TEST_API="+s.url(), "AGENT_TEST_SPOOL="+spoolDir)
	process.Stderr = t.Output()
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = process.Process.Kill()
		_ = process.Wait()
	})
	return process
}

func TestNothingSurvivesAKilledAgentAndItsOutputIsShippedByTheNext(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	spoolDir := t.TempDir()
	wait, open := gate(t)
	pids := filepath.Join(t.TempDir(), "pids")
	python := s.addPython("RUNNING sleeper wait")
	command := s.addCommand("sh", "-c", "echo first; "+wait+"; for i in 1 2 3 4 5; do echo line $i; done; sh -c 'echo $$ >>"+pids+"; exec sleep 3600'")
	first := startProcess(t, s, spoolDir)
	child := s.pid(t, python)
	s.await(t, "the first line is there", func() bool { return slices.Equal(s.linesLocked(command), []string{"first"}) })
	s.change(func() { s.down = true })
	open()
	var sleeper int
	eventually(t, "the command has written its pid", func() bool {
		data, err := os.ReadFile(pids)
		sleeper, _ = strconv.Atoi(strings.TrimSpace(string(data)))
		return err == nil && sleeper > 0
	})
	eventually(t, "the lines are on disk", func() bool {
		files, _ := filepath.Glob(filepath.Join(spoolDir, "*.spool"))
		for _, file := range files {
			if data, err := os.ReadFile(file); err == nil && strings.Contains(string(data), "line 5") {
				return true
			}
		}
		return false
	})
	if !alive(child) || !alive(sleeper) {
		t.Fatal("the flow processes do not live before the kill")
	}
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait()
	eventually(t, "the flow processes are dead", func() bool { return !alive(child) && !alive(sleeper) })

	s.change(func() { s.down = false })
	startProcess(t, s, spoolDir)
	want := []string{"first", "line 1", "line 2", "line 3", "line 4", "line 5"}
	s.await(t, "the next agent has shipped the rest", func() bool { return slices.Equal(s.linesLocked(command), want) })
	eventually(t, "the spool is empty", func() bool {
		files, _ := filepath.Glob(filepath.Join(spoolDir, "*"))
		return len(files) == 0
	})
}

func TestLargeAndStrangeOutput(t *testing.T) {
	t.Parallel()
	const count = 100_000
	cases := map[string]struct {
		script string
		check  func(t *testing.T, lines []string)
	}{
		"100,000 lines come complete and in order": {
			fmt.Sprintf("for i in range(%d): print('line', i)", count),
			func(t *testing.T, lines []string) {
				if len(lines) != count {
					t.Fatalf("%d lines", len(lines))
				}
				for i, line := range lines {
					if line != fmt.Sprintf("line %d", i) {
						t.Fatalf("line %d is %q", i, line)
					}
				}
			}},
		"a huge line is cut and nothing of it is lost": {
			"import sys; sys.stdout.write('ü' * 1000000 + '\\nshort\\n')",
			func(t *testing.T, lines []string) {
				last := len(lines) - 1
				if lines[last] != "short" || strings.Join(lines[:last], "") != strings.Repeat("ü", 1000000) {
					t.Errorf("%d lines, the last is %.20q", len(lines), lines[last])
				}
				for _, line := range lines {
					if len(line) > 64<<10 {
						t.Errorf("a line of %d bytes", len(line))
					}
				}
			}},
		"binary output becomes text": {
			"import sys; sys.stdout.buffer.write(b'a\\xff\\x00b\\r\\n\\n' + bytes(range(256)) * 100)",
			func(t *testing.T, lines []string) {
				if lines[0] != "a\uFFFD\x00b" || lines[1] != "" {
					t.Errorf("got %q", lines[:2])
				}
				if n := regexp.MustCompile("\uFFFD").FindAllString(strings.Join(lines, ""), -1); len(n) < 100 {
					t.Errorf("%d replacement characters", len(n))
				}
			}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			id := s.addCommand("python3", "-c", c.script)
			f := start(t, s, nil)
			s.final(t, id)
			f.agent.Stop()
			c.check(t, s.lines(id))
			var former api.Time
			for _, log := range s.logs {
				if !log.Timestamp.After(former.Time) {
					t.Fatalf("%s is not after %s: sorting by time would mix the lines up", log.Timestamp, former)
				}
				former = log.Timestamp
			}
		})
	}
}

func TestOutputBeyondTheLimitIsCounted(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	wait, open := gate(t)
	wait2, open2 := gate(t)
	id := s.addCommand("sh", "-c", "echo first; "+wait+"; for i in 1 2 3 4 5 6 7 8 9; do echo a rather long line of output $i; done; "+wait2+"; echo last")
	start(t, s, func(c *agent.Config) { c.OutputLimit = 200 })
	s.await(t, "the first line is there", func() bool { return len(s.linesLocked(id)) == 1 })
	s.change(func() { s.down = true })
	open()
	open2() // which returns when the command has written all nine lines
	s.change(func() { s.down = false })
	s.final(t, id)
	s.await(t, "the loss is told", func() bool {
		for _, line := range s.linesLocked(id) {
			if strings.Contains(line, "lines of output were lost here") {
				return true
			}
		}
		return false
	})
}

func TestAFlowGoesOnWhenItsOutputCannotBeKept(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	f := start(t, s, nil)
	if err := os.RemoveAll(f.config.SpoolDir); err != nil {
		t.Fatal(err)
	}
	if state := s.final(t, s.addCommand("sh", "-c", "echo lost")); state.Type != api.Completed {
		t.Errorf("got %s %q", state.Type, message(state))
	}
	if !strings.Contains(f.log.String(), "Cannot keep the output of a flow run") {
		t.Error("the log does not tell")
	}
}
