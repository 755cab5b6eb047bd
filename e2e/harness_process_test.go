//go:build linux

package e2e

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// launch says what to start.
type launch struct {
	program  string
	args     []string
	input    io.Reader // nil: none
	terminal bool      // stdin, stdout and stderr are a terminal
}

// process is a running command. It is the leader of its own process group, which ends with the test at the latest.
type process struct {
	t      *testing.T
	name   string
	cmd    *exec.Cmd
	both   *output // stdout and stderr, as they came
	stdout *output
	stderr *output
	tty    *os.File // the side of the terminal where the user sits; nil without one
	ended  chan struct{}
	code   int // valid once ended is closed; -1 when a signal ended it
}

// launch starts a command in the shell.
func (s *shell) launch(l launch) *process {
	s.t.Helper()
	p := &process{
		t: s.t, name: strings.Join(append([]string{filepath.Base(l.program)}, l.args...), " "),
		both: newOutput(), stdout: newOutput(), stderr: newOutput(), ended: make(chan struct{}),
	}
	p.cmd = exec.Command(l.program, l.args...)
	p.cmd.Dir, p.cmd.Env = s.dir, s.environ()
	p.cmd.WaitDelay = 10 * time.Second // a grandchild that keeps the pipe must not hang the test
	copied := make(chan struct{})
	if l.terminal {
		p.tty = openTerminal(s.t, p.cmd)
	} else {
		close(copied)
		p.cmd.Stdin = l.input
		p.cmd.Stdout, p.cmd.Stderr = io.MultiWriter(p.stdout, p.both), io.MultiWriter(p.stderr, p.both)
		// Cleanup ends the group, unless this process is killed or runs out of time itself. No thread of it ends before it does.
		p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	}
	if err := p.cmd.Start(); err != nil {
		s.t.Fatalf("start %s: %v", p.name, err)
	}
	if l.terminal {
		_ = p.cmd.Stdin.(*os.File).Close() // the process has its own
		go func() {
			defer close(copied)
			_, _ = io.Copy(io.MultiWriter(p.stdout, p.both), p.tty) // ends with an error when the last user of the terminal has gone
		}()
	}
	go func() {
		err := p.cmd.Wait()
		var exit *exec.ExitError
		switch {
		case err == nil, errors.As(err, &exit), errors.Is(err, exec.ErrWaitDelay):
		default:
			p.both.note("wait: " + err.Error())
		}
		<-copied
		p.code = p.cmd.ProcessState.ExitCode()
		close(p.ended)
		p.both.note("")
	}()
	s.t.Cleanup(p.cleanup)
	return p
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) output() string { return p.both.String() }

// exited reports whether the process has ended.
func (p *process) exited() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// wait waits until the process ends and returns its exit code, -1 when a signal ended it.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.ended:
		return p.code
	case <-time.After(patience):
		p.t.Fatalf("%s did not end within %s\n%s", p.name, patience, p.output())
		return -1
	}
}

// kill9 ends the process, and only it, with SIGKILL and waits until it is gone.
func (p *process) kill9() {
	p.t.Helper()
	p.signal(syscall.SIGKILL)
	p.wait()
}

// interrupt does what Ctrl-C does: on a terminal the key, else the signal to the process group.
func (p *process) interrupt() {
	p.t.Helper()
	if p.tty != nil {
		p.typeIn("\x03")
		return
	}
	if err := syscall.Kill(-p.pid(), syscall.SIGINT); err != nil {
		p.t.Fatalf("interrupt %s: %v", p.name, err)
	}
}

// signal sends a signal to the process alone.
func (p *process) signal(sig syscall.Signal) {
	p.t.Helper()
	if p.exited() {
		return
	}
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatalf("send %s to %s: %v", sig, p.name, err)
	}
}

// typeIn types on the process's terminal.
func (p *process) typeIn(keys string) {
	p.t.Helper()
	if _, err := io.WriteString(p.tty, keys); err != nil {
		p.t.Fatalf("type on the terminal of %s: %v", p.name, err)
	}
}

// waitFor waits until the output, from its beginning, contains a match of the expression; it returns the match and its groups.
func (p *process) waitFor(expression string) []string {
	p.t.Helper()
	return p.waitAfter(0, expression)
}

// mark is the place in the output that waitAfter continues from.
func (p *process) mark() int { return p.both.Len() }

// waitAfter waits until the output after the mark contains a match; ended output that has none fails the test.
func (p *process) waitAfter(mark int, expression string) []string {
	p.t.Helper()
	pattern := regexp.MustCompile(expression)
	timeout := time.After(patience)
	for {
		text, changed := p.both.after(mark)
		ended := p.exited()
		if match := pattern.FindStringSubmatch(text); match != nil {
			return match
		}
		if ended {
			p.t.Fatalf("%s ended with exit code %d without printing %q\n%s", p.name, p.code, expression, p.output())
		}
		select {
		case <-changed:
		case <-timeout:
			p.t.Fatalf("%s did not print %q within %s\n%s", p.name, expression, patience, p.output())
		}
	}
}

// cleanup ends the process group, and shows what it printed when the test has failed.
func (p *process) cleanup() {
	if !p.exited() {
		_ = syscall.Kill(-p.pid(), syscall.SIGKILL)
		<-p.ended
	}
	if p.tty != nil {
		_ = p.tty.Close()
	}
	if p.t.Failed() {
		p.t.Logf("output of %q (pid %d, exit code %d):\n%s", p.name, p.pid(), p.code, p.output())
	}
}

// output collects what processes print and tells of additions.
type output struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{}
}

func newOutput() *output { return &output{changed: make(chan struct{})} }

func (o *output) Write(content []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	// A terminal ends lines with \r\n.
	o.text.Write(bytes.ReplaceAll(content, []byte{'\r'}, nil))
	close(o.changed)
	o.changed = make(chan struct{})
	return len(content), nil
}

// note adds a remark of the harness and wakes those who wait.
func (o *output) note(text string) {
	_, _ = io.WriteString(o, text)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func (o *output) Len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Len()
}

// after returns the text beyond a mark, and a channel that is closed when more has come.
func (o *output) after(mark int) (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.text.Bytes()[mark:]), o.changed
}
