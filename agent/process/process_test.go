package process_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sluice-dev/sluice/agent/process"
)

// The test binary plays three parts: the tests, the supervisor, and an agent
// that is killed.
func TestMain(m *testing.M) {
	switch os.Getenv("PROCESS_TEST_ROLE") {
	case "supervisor":
		if err := process.Supervise(os.Stdin); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case "agent":
		launchForever(os.Args[1:])
	default:
		goleak.VerifyTestMain(m)
	}
}

func supervisorCommand() []string {
	return []string{"env", "PROCESS_TEST_ROLE=supervisor", os.Args[0]}
}

// launchForever is the agent that gets killed: it starts each script and says so.
func launchForever(scripts []string) {
	l := process.New(process.Config{Supervisor: supervisorCommand(), Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err := l.Start(); err != nil {
		fmt.Println("cannot start:", err)
		return
	}
	for _, script := range scripts {
		if _, err := l.Launch(shell(script, os.Stdout)); err != nil {
			fmt.Println("cannot launch:", err)
			return
		}
	}
	select {}
}

func shell(script string, output io.Writer) process.Spec {
	return process.Spec{Path: "/bin/sh", Args: []string{"sh", "-c", script}, Env: os.Environ(), Output: output}
}

func setup(t *testing.T) *process.Launcher {
	t.Helper()
	l := process.New(process.Config{Supervisor: supervisorCommand(), Linger: 100 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err := l.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Stop)
	return l
}

func launch(t *testing.T, l *process.Launcher, script string) (*process.Group, *lineWaiter) {
	t.Helper()
	out := newLineWaiter()
	g, err := l.Launch(shell(script, out))
	if err != nil {
		t.Fatal(err)
	}
	return g, out
}

// lineWaiter collects output and lets a test wait for a line.
type lineWaiter struct {
	mu   sync.Mutex
	cond *sync.Cond
	text bytes.Buffer
}

func newLineWaiter() *lineWaiter {
	w := &lineWaiter{}
	w.cond = sync.NewCond(&w.mu)
	return w
}

func (w *lineWaiter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer w.cond.Broadcast()
	return w.text.Write(p)
}

func (w *lineWaiter) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// pids waits for n lines and reads the last word of each as a process id.
func (w *lineWaiter) pids(t *testing.T, n int) []int {
	t.Helper()
	w.mu.Lock()
	for bytes.Count(w.text.Bytes(), []byte("\n")) < n {
		w.cond.Wait()
	}
	text := w.text.String()
	w.mu.Unlock()
	var all []int
	for _, line := range strings.Fields(text)[:n] {
		pid, err := strconv.Atoi(line)
		if err != nil {
			t.Fatalf("not a pid in %q", text)
		}
		all = append(all, pid)
	}
	return all
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

// eventuallyDead polls because the death of a process that is not our child is
// no event we can wait for.
func eventuallyDead(t *testing.T, pids ...int) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for _, pid := range pids {
		for alive(pid) {
			if time.Now().After(deadline) {
				command, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
				t.Fatalf("process %d (%q) still lives", pid, command)
			}
			<-time.After(2 * time.Millisecond)
		}
	}
}

func TestExit(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		script string
		want   process.Exit
	}{
		"a clean end has code 0":        {"true", process.Exit{}},
		"a bad code is passed on":       {"exit 7", process.Exit{Code: 7}},
		"a death by signal is told":     {"kill -KILL $$", process.Exit{Signal: syscall.SIGKILL}},
		"a segmentation fault is too":   {"kill -SEGV $$", process.Exit{Signal: syscall.SIGSEGV}},
		"an ended reader is no problem": {"exec >&- 2>&-; exit 3", process.Exit{Code: 3}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, _ := launch(t, setup(t), c.script)
			if got := g.Wait(); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestBothOutputsComeInTheOrderWritten(t *testing.T) {
	t.Parallel()
	g, out := launch(t, setup(t), "for i in 1 2 3 4 5 6 7 8 9; do echo out $i; echo err $i >&2; done")
	g.Wait()
	var want strings.Builder
	for i := 1; i < 10; i++ {
		fmt.Fprintf(&want, "out %d\nerr %d\n", i, i)
	}
	if out.String() != want.String() {
		t.Errorf("got %q", out)
	}
}

func TestTheProcessLeadsItsOwnGroup(t *testing.T) {
	t.Parallel()
	g, out := launch(t, setup(t), "echo $$; sleep 1000")
	pid := out.pids(t, 1)[0]
	group, err := syscall.Getpgid(pid)
	if err != nil || group != pid || group == syscall.Getpgrp() {
		t.Errorf("process %d is in group %d (%v), ours is %d", pid, group, err, syscall.Getpgrp())
	}
	g.Kill()
	g.Wait()
}

func TestWhatIsLeftInTheGroupDiesAfterItsLeader(t *testing.T) {
	t.Parallel()
	g, out := launch(t, setup(t), "sleep 1000 & echo $!")
	if got := g.Wait(); got != (process.Exit{}) {
		t.Errorf("got %+v", got)
	}
	eventuallyDead(t, out.pids(t, 1)...)
}

func TestADescendantMayFinishItsLastLine(t *testing.T) {
	t.Parallel()
	l := process.New(process.Config{Supervisor: supervisorCommand(), Linger: time.Hour, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err := l.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Stop)
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	g, out := launch(t, l, "(read x <'"+fifo+"'; echo last) & exit 4")
	// The leader ends at once; only then may the descendant go on.
	if err := os.WriteFile(fifo, []byte("go\n"), 0); err != nil {
		t.Fatal(err)
	}
	if got := g.Wait(); got.Code != 4 || out.String() != "last\n" {
		t.Errorf("got %+v and %q", got, out)
	}
}

func TestTerminateLetsTheProcessCleanUp(t *testing.T) {
	t.Parallel()
	// Not a shell's trap: a signal just before "wait" is lost there.
	g, out := launch(t, setup(t), `exec python3 -c '
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
os.write(1, b"%d\n" % os.getpid())
signal.sigwait({signal.SIGTERM})
print("bye")
sys.exit(5)'`)
	out.pids(t, 1)
	process.Terminate(g, time.Hour, nil)
	if got := g.Wait(); got.Code != 5 || !strings.HasSuffix(out.String(), "bye\n") {
		t.Errorf("got %+v and %q", got, out)
	}
}

func TestTerminateKillsAfterTheGracePeriod(t *testing.T) {
	t.Parallel()
	g, out := launch(t, setup(t), `trap '' TERM; sh -c 'trap "" TERM; echo $$; sleep 1000' & echo $$; wait`)
	pids := out.pids(t, 2)
	process.Terminate(g, 50*time.Millisecond, nil)
	if got := g.Wait(); got.Signal != syscall.SIGKILL {
		t.Errorf("got %+v", got)
	}
	eventuallyDead(t, pids...)
}

func TestTerminateReachesADescendantInAnotherSession(t *testing.T) {
	t.Parallel()
	g, out := launch(t, setup(t), `setsid sh -c 'echo $$; exec sleep 1000 >/dev/null 2>&1' & echo $$; wait`)
	pids := out.pids(t, 2)
	process.Terminate(g, time.Hour, nil)
	if got := g.Wait(); got.Signal != syscall.SIGTERM {
		t.Errorf("got %+v", got)
	}
	eventuallyDead(t, pids...)
}

func TestKillReachesADescendantInAnotherSession(t *testing.T) {
	t.Parallel()
	g, out := launch(t, setup(t), `setsid sh -c 'echo $$; exec sleep 1000' & sleep 1000`)
	pids := out.pids(t, 1)
	g.Kill()
	g.Wait()
	eventuallyDead(t, pids...)
}

func TestNothingSurvivesTheAgent(t *testing.T) {
	t.Parallel()
	scripts := []string{
		`trap '' TERM HUP; echo $$; while :; do sleep 1; done`,                                                                 // the flow process itself
		`(trap '' TERM HUP; exec sh -c 'echo $$; exec sleep 1000') & wait`,                                                     // a grandchild in the group
		`setsid sh -c 'echo $$; exec sleep 1000' & wait`,                                                                       // one in its own session
		`exec python3 -c 'import os,time; os.fork() or os.setpgid(0,0); os.write(1, b"%d\n" % os.getpid()); time.sleep(1000)'`, // two lines
	}
	agent := exec.Command(os.Args[0], scripts...)
	agent.Env = append(os.Environ(), "PROCESS_TEST_ROLE=agent")
	out, err := agent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = agent.Process.Kill()
		_ = agent.Wait()
	})
	var pids []int
	for lines := bufio.NewScanner(out); len(pids) < 5 && lines.Scan(); {
		pid, err := strconv.Atoi(lines.Text())
		if err != nil {
			t.Fatalf("the agent said %q", lines.Text())
		}
		if !alive(pid) {
			t.Fatalf("process %d does not live before the kill", pid)
		}
		pids = append(pids, pid)
	}
	if len(pids) != 5 {
		t.Fatalf("only %d processes were started", len(pids))
	}
	if err := agent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = agent.Wait()
	eventuallyDead(t, pids...)
}

// supervisors lists the living supervisors of a launcher.
func supervisors(t *testing.T, l *process.Launcher) []int {
	t.Helper()
	var all []int
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || !alive(pid) {
			continue
		}
		link, _ := os.Readlink(filepath.Join("/proc", entry.Name(), "fd", "0"))
		if link != "" && link == process.SupervisorPipe(l) && pid != os.Getpid() {
			all = append(all, pid)
		}
	}
	return all
}

func TestAKilledSupervisorIsReplacedAndTheProcessesGoOn(t *testing.T) {
	t.Parallel()
	l := setup(t)
	// Without environment, so that only the list of groups leads to it.
	g, out := launch(t, l, "exec env -i /bin/sh -c 'echo $$; exec sleep 1000'")
	pid := out.pids(t, 1)[0]
	first := supervisors(t, l)
	if len(first) != 1 {
		t.Fatalf("found supervisors %v, want one", first)
	}
	if err := syscall.Kill(first[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// Polled: that another process has started is no event for us.
	deadline := time.Now().Add(20 * time.Second)
	for second := supervisors(t, l); len(second) != 1 || second[0] == first[0]; second = supervisors(t, l) {
		if time.Now().After(deadline) {
			t.Fatalf("the supervisor %v was not replaced: %v", first, second)
		}
		<-time.After(2 * time.Millisecond)
	}
	if !alive(pid) {
		t.Fatal("the flow process died with the supervisor")
	}
	// The new one must know the old process: it dies when the pipe breaks.
	process.BreakSupervisorPipe(l)
	if got := g.Wait(); got.Signal != syscall.SIGKILL {
		t.Errorf("got %+v", got)
	}
}

func TestAMissingProgramIsAnError(t *testing.T) {
	t.Parallel()
	l := setup(t)
	if _, err := l.Launch(process.Spec{Path: "/no/such/program", Args: []string{"x"}, Output: io.Discard}); err == nil {
		t.Error("no error")
	}
	if _, err := process.LookPath("no-such-program", os.Getenv("PATH"), ""); err == nil {
		t.Error("LookPath gave no error")
	}
}

func TestAMissingSupervisorKeepsTheLauncherFromStarting(t *testing.T) {
	t.Parallel()
	l := process.New(process.Config{Supervisor: []string{"/no/such/sluice"}, Logger: slog.New(slog.DiscardHandler)})
	if err := l.Start(); err == nil || !strings.Contains(err.Error(), "/no/such/sluice") {
		t.Errorf("got %v", err)
	}
}

func TestSuperviseNamesWhatItDoesNotUnderstand(t *testing.T) {
	t.Parallel()
	// In a process of its own: it ignores signals, which all that the tests start would inherit.
	command := supervisorCommand()
	supervisor := exec.Command(command[0], command[1:]...)
	supervisor.Stdin = strings.NewReader("+1\n")
	out, err := supervisor.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "+1") {
		t.Errorf("got %v and %q: process 1 must never be killed", err, out)
	}
}

func TestManyProcessesAtOnce(t *testing.T) {
	t.Parallel()
	l := setup(t)
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			out := newLineWaiter()
			g, err := l.Launch(shell(fmt.Sprintf("echo %d; exit %d", i, i), out))
			if err != nil {
				t.Error(err)
				return
			}
			if got := g.Wait(); got.Code != i || out.String() != fmt.Sprintf("%d\n", i) {
				t.Errorf("process %d: %+v, %q", i, got, out)
			}
		})
	}
	all.Wait()
}

func BenchmarkLaunch(b *testing.B) {
	l := process.New(process.Config{Supervisor: supervisorCommand(), Logger: slog.New(slog.DiscardHandler)})
	if err := l.Start(); err != nil {
		b.Fatal(err)
	}
	defer l.Stop()
	for b.Loop() {
		g, err := l.Launch(process.Spec{Path: "/bin/true", Args: []string{"true"}, Output: io.Discard})
		if err != nil {
			b.Fatal(err)
		}
		g.Wait()
	}
}
