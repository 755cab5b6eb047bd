// Package process starts flow processes so that none outlives the agent.
//
// Each runs in a process group of its own. Three things end it with the agent,
// even after kill -9: the kernel's parent-death signal for the process itself,
// one supervisor process per agent that kills all groups when the pipe from the
// agent breaks, and a mark in the environment by which the supervisor finds
// descendants that left their group.
package process

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/sluice-dev/sluice/api"
)

// markVariable is set in every flow process, and inherited by what it starts, to
// "AGENT-UUID.N.", N being the number of the launch.
const markVariable = "SLUICE_PROCESS_GROUP"

// Config of a Launcher.
type Config struct {
	// Supervisor is the command that calls Supervise on its standard input.
	Supervisor []string
	// Linger is how long descendants may go on writing after the flow process
	// itself has ended, before they are killed; 0 means 1 s.
	Linger time.Duration
	Logger *slog.Logger
}

// Launcher starts process groups. Config → New → Start → Launch… → Stop.
type Launcher struct {
	config     Config
	mark       string
	supervisor *supervisor
	spawn      chan func() // executed by the one thread that forks
	forking    sync.WaitGroup
	stop       sync.Once

	mu       sync.Mutex // guards what follows
	launched int
	stopped  bool
	running  sync.WaitGroup // groups; Add only while !stopped
}

// New prepares a launcher; Start it before use.
func New(config Config) *Launcher {
	if config.Linger == 0 {
		config.Linger = time.Second
	}
	mark := api.NewID().String()
	return &Launcher{config: config, mark: mark, spawn: make(chan func()),
		supervisor: newSupervisor(config.Supervisor, mark, config.Logger)}
}

// Start starts the supervisor.
func (l *Launcher) Start() error {
	if err := l.supervisor.start(); err != nil {
		return fmt.Errorf("start the supervisor of flow processes: %w", err)
	}
	l.forking.Add(1)
	go func() {
		defer l.forking.Done()
		// The parent-death signal is sent when the thread that forked ends, not
		// the process. So one thread forks, and lives as long as the launcher.
		runtime.LockOSThread()
		for fork := range l.spawn {
			fork()
		}
	}()
	return nil
}

// Stop waits until every group has ended, which the caller must have seen to,
// and ends the supervisor.
func (l *Launcher) Stop() {
	l.stop.Do(func() {
		l.mu.Lock()
		l.stopped = true
		l.mu.Unlock()
		l.running.Wait()
		close(l.spawn)
		l.forking.Wait()
		l.supervisor.stop()
	})
}

// Spec says what to start.
type Spec struct {
	Path string   // of the executable; see LookPath
	Args []string // with the program's name in front
	Env  []string
	Dir  string // empty: the agent's
	// Output gets what the process writes to standard output and standard error,
	// in the order written, from one goroutine. Its errors are ignored.
	Output io.Writer
}

// Launch starts a process in a group of its own. The group must be waited for.
func (l *Launcher) Launch(spec Spec) (*Group, error) {
	l.mu.Lock()
	if l.stopped {
		l.mu.Unlock()
		return nil, errors.New("the launcher is stopped")
	}
	l.running.Add(1)
	l.launched++
	mark := l.mark + "." + strconv.Itoa(l.launched) + "."
	l.mu.Unlock()

	group, err := l.launch(spec, mark)
	if err != nil {
		l.running.Done()
		return nil, err
	}
	go func() {
		defer l.running.Done()
		group.run()
	}()
	return group, nil
}

func (l *Launcher) launch(spec Spec, mark string) (*Group, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, fmt.Errorf("open standard input: %w", err)
	}
	defer null.Close()
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make the output pipe: %w", err)
	}
	defer write.Close()

	var proc *os.Process
	forked := make(chan struct{})
	l.spawn <- func() {
		defer close(forked)
		proc, err = os.StartProcess(spec.Path, spec.Args, &os.ProcAttr{
			Dir:   spec.Dir,
			Env:   append(spec.Env, markVariable+"="+mark),
			Files: []*os.File{null, write, write},
			Sys:   groupAttributes(),
		})
		if err == nil {
			l.supervisor.watch(proc.Pid)
		}
	}
	<-forked
	if err != nil {
		read.Close()
		return nil, err
	}
	return &Group{
		pid: proc.Pid, process: proc, mark: mark, pipe: read, output: spec.Output,
		linger: l.config.Linger, supervisor: l.supervisor, logger: l.config.Logger,
		outputEnded: make(chan struct{}), done: make(chan struct{}),
	}, nil
}

// Terminate asks a group to end and kills it after grace, or as soon as kill is
// closed. It returns when the group has ended.
func Terminate(g *Group, grace time.Duration, kill <-chan struct{}) {
	g.Interrupt()
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-g.Done():
		// SIGTERM reached the group only. Nothing a run has started may work on when the run was stopped.
		killMarked(g.mark)
		return
	case <-timer.C:
	case <-kill:
	}
	g.Kill()
	<-g.Done()
}
