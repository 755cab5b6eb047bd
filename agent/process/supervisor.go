package process

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// The agent tells its supervisor one thing per line:
//
//	=MARK   the mark of all its flow processes
//	+PID    this process group runs
//	-PID    this process group has ended
//
// Supervise reads them until the pipe breaks, which happens in the instant the
// agent dies in whatever way, and then kills what is left. It is the whole of
// the supervisor process: signals meant for the agent do not end it.
func Supervise(r io.Reader) error {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	groups := map[int]bool{}
	mark := ""
	var problem error
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		verb, rest := lines.Text()[:min(1, len(lines.Text()))], strings.TrimLeft(lines.Text(), "=+-")
		if verb == "=" {
			mark = rest
			continue
		}
		pid, err := strconv.Atoi(rest)
		switch {
		case err != nil || pid <= 1 || (verb != "+" && verb != "-"):
			problem = fmt.Errorf("the supervisor does not understand %q", lines.Text())
		case verb == "+":
			groups[pid] = true
		default:
			delete(groups, pid)
		}
	}
	for pid := range groups {
		_ = syscall.Kill(-pid, syscall.SIGKILL)
	}
	if mark != "" {
		killMarked(mark + ".")
	}
	return errors.Join(problem, lines.Err())
}

// supervisor is the agent's side: it keeps one supervisor process alive.
type supervisor struct {
	command []string
	mark    string
	logger  *slog.Logger
	done    chan struct{} // closed when the keeper has returned
	ending  chan struct{} // closed by stop

	mu     sync.Mutex // guards what follows
	groups map[int]bool
	pipe   *os.File // to the living supervisor, nil while there is none
	child  *os.Process
}

func newSupervisor(command []string, mark string, logger *slog.Logger) *supervisor {
	return &supervisor{command: command, mark: mark, logger: logger, groups: map[int]bool{},
		done: make(chan struct{}), ending: make(chan struct{})}
}

func (s *supervisor) start() error {
	s.mu.Lock()
	child, err := s.spawn()
	s.mu.Unlock()
	if err != nil {
		return err
	}
	go s.keep(child)
	return nil
}

// stop lets the supervisor end by itself. All groups must be forgotten.
func (s *supervisor) stop() {
	close(s.ending)
	s.mu.Lock()
	if s.pipe != nil {
		s.pipe.Close()
		s.pipe = nil
	}
	child := s.child
	s.mu.Unlock()
	if !wait(s.done, 5*time.Second) {
		s.logger.Warn("The supervisor of flow processes does not end; killing it")
		_ = child.Kill()
		<-s.done
	}
}

func (s *supervisor) watch(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.groups[pid] = true
	s.say("+" + strconv.Itoa(pid) + "\n")
}

func (s *supervisor) forget(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.groups, pid)
	s.say("-" + strconv.Itoa(pid) + "\n")
}

// say writes to the supervisor; the caller holds mu. One that does not read is
// killed, and keep starts another that is told everything anew.
func (s *supervisor) say(text string) {
	if s.pipe == nil {
		return
	}
	if err := s.pipe.SetWriteDeadline(time.Now().Add(5 * time.Second)); err == nil {
		if _, err = io.WriteString(s.pipe, text); err == nil {
			return
		}
	}
	// The pipe stays open until keep has seen it dead: its end would be an order
	// to kill every flow process.
	_ = s.child.Kill()
}

// spawn starts a supervisor process and tells it all groups; the caller holds mu.
func (s *supervisor) spawn() (*os.Process, error) {
	if len(s.command) == 0 {
		return nil, errors.New("no supervisor command is configured")
	}
	path, err := LookPath(s.command[0], os.Getenv("PATH"), "")
	if err != nil {
		return nil, err
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer read.Close()
	child, err := os.StartProcess(path, s.command, &os.ProcAttr{
		Env:   os.Environ(),
		Files: []*os.File{read, null, null},
		// A session of its own: Ctrl-C and the agent's group do not reach it.
		Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		write.Close()
		return nil, err
	}
	s.pipe, s.child = write, child
	var hello strings.Builder
	fmt.Fprintf(&hello, "=%s\n", s.mark)
	for pid := range s.groups {
		fmt.Fprintf(&hello, "+%d\n", pid)
	}
	s.say(hello.String())
	return child, nil
}

// keep replaces the supervisor whenever it dies.
func (s *supervisor) keep(child *os.Process) {
	defer close(s.done)
	for {
		state, err := child.Wait()
		s.mu.Lock()
		if s.pipe != nil {
			s.pipe.Close()
			s.pipe = nil
		}
		s.mu.Unlock()
		select {
		case <-s.ending:
			return
		default:
		}
		s.logger.Warn("The supervisor of flow processes ended; starting another", "state", state, "error", err)
		if child = s.respawn(); child == nil {
			return
		}
	}
}

// respawn tries until it succeeds, or answers nil when the launcher stops.
func (s *supervisor) respawn() *os.Process {
	for {
		s.mu.Lock()
		select {
		case <-s.ending:
			s.mu.Unlock()
			return nil
		default:
		}
		child, err := s.spawn()
		s.mu.Unlock()
		if err == nil {
			return child
		}
		s.logger.Error("Cannot start the supervisor of flow processes; trying again in a second", "error", err)
		timer := time.NewTimer(time.Second)
		select {
		case <-timer.C:
		case <-s.ending:
			timer.Stop()
			return nil
		}
	}
}
