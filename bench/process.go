package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Machine runs a server and agents of one binary in a directory of their own, as processes.
type Machine struct {
	binary, dir, addr string
	server            *exec.Cmd
	agents            []*exec.Cmd
}

// NewMachine starts a server. Close ends everything.
func NewMachine(ctx context.Context, binary, dir string) (*Machine, error) {
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	m := &Machine{binary: binary, dir: dir, addr: addr}
	m.server = m.command("server", "start", "--data-dir", filepath.Join(dir, "data"), "--http-addr", m.addr, "--internal-addr", "127.0.0.1:0", "--gossip-addr", "127.0.0.1:0", "--auth", "off", "--log-level", "error")
	if err := m.server.Start(); err != nil {
		return nil, fmt.Errorf("start a server: %w", err)
	}
	if err := waitReady(ctx, m.addr); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

func (m *Machine) command(args ...string) *exec.Cmd {
	c := exec.Command(m.binary, args...)
	c.Env = append(os.Environ(), "SLUICE_HOME="+filepath.Join(m.dir, "home"), "SLUICE_API_URL="+m.API())
	c.Stderr = os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return c
}

// API returns the address of the API.
func (m *Machine) API() string { return "http://" + m.addr + "/api" }

// RunCLI runs one command of the binary in dir and returns its standard output.
func (m *Machine) RunCLI(dir string, args ...string) (string, error) {
	c := m.command(args...)
	c.Dir = dir
	out, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("sluice %s: %w", strings.Join(args, " "), err)
	}
	return string(out), nil
}

// StartAgent starts an agent on a queue and returns when it looks for work.
func (m *Machine) StartAgent(queue string, limit int) error {
	c := m.command("agent", "start", queue, "--limit", strconv.Itoa(limit))
	out, err := c.StdoutPipe()
	if err != nil {
		return fmt.Errorf("start an agent: %w", err)
	}
	if err := c.Start(); err != nil {
		return fmt.Errorf("start an agent: %w", err)
	}
	m.agents = append(m.agents, c)
	started := make(chan struct{})
	go func() {
		var once sync.Once
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if strings.HasPrefix(lines.Text(), "Agent started!") {
				once.Do(func() { close(started) })
			}
		}
	}()
	select {
	case <-started:
		return nil
	case <-time.After(20 * time.Second):
		return errors.New("the agent did not start within 20 s")
	}
}

// Anonymous returns the server's anonymous memory (RssAnon) in bytes.
func (m *Machine) Anonymous() (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.server.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("read the server's memory: %w", err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, found := strings.CutPrefix(line, "RssAnon:"); found {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("the kernel does not tell RssAnon")
}

// Close ends agents, then the server.
func (m *Machine) Close() {
	for _, c := range append(m.agents, m.server) {
		_ = c.Process.Signal(syscall.SIGTERM)
		_ = c.Wait()
	}
}
