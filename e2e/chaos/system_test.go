//go:build linux

package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

// system is everything under test: nodes and agents, each on a host of its own, and one host from which the load comes.
type system struct {
	t      *testing.T
	dir    string // of all that is stored and written
	binary string
	begin  time.Time
	net    *network
	nodes  []*machine
	agents []*machine
	client *host
	log    *os.File

	mu       sync.Mutex // guards problems
	problems []string   // violations seen while it runs
}

// machine is a host with the program that runs on it, a node or an agent.
type machine struct {
	*host
	system *system
	name   string
	args   []string
	env    []string

	restarts bool // when it ends because it finds no server, as the service manager of an agent does

	mu      sync.Mutex // guards what follows
	current *process
	starts  int
}

const (
	exitUnreachable = 6 // of a command that finds no server
	restartPause    = time.Second
)

// process is one life of a program.
type process struct {
	cmd      *exec.Cmd
	expected atomic.Bool // somebody ended it on purpose
	ended    chan struct{}
}

func newSystem(t *testing.T, dir, binary string, nodes, agents int) *system {
	t.Helper()
	s := &system{t: t, dir: dir, binary: binary, begin: time.Now(), net: lan(t, nodes+agents+1)}
	var err error
	if s.log, err = os.Create(filepath.Join(dir, "events.log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.log.Close() })
	s.client = s.net.hosts[nodes+agents]
	var internal []string
	for _, h := range s.net.hosts[:nodes] {
		internal = append(internal, h.address.String()+":4201")
	}
	for i, h := range s.net.hosts[:nodes] {
		address := h.address.String()
		m := s.machine(h, fmt.Sprint("n", i+1))
		m.args = []string{"server", "start", "--node-name", m.name, "--data-dir", filepath.Join(dir, m.name), "--http-addr", address + ":4200", "--insecure-http", "--auth", "off",
			"--internal-addr", internal[i], "--gossip-addr", address + ":4202", "--bootstrap-expect", fmt.Sprint(nodes), "--join", strings.Join(internal, ","), "--insecure"}
		s.nodes = append(s.nodes, m)
	}
	for i, h := range s.net.hosts[nodes : nodes+agents] {
		m := s.machine(h, fmt.Sprint("a", i+1))
		m.restarts = true
		s.agents = append(s.agents, m)
	}
	t.Cleanup(s.killAll)
	return s
}

func (s *system) machine(h *host, name string) *machine {
	home := filepath.Join(s.dir, name+"-home")
	return &machine{host: h, system: s, name: name, env: []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "SLUICE_HOME=" + home + "/.sluice",
		"LANG=C.UTF-8", "NO_COLOR=1", "SLUICE_API_URL=" + strings.Join(s.addresses(), ","), "CHAOS_AGENT=" + name}}
}

// addresses are the API's, of all nodes.
func (s *system) addresses() []string {
	var all []string
	for _, n := range s.nodes {
		all = append(all, n.apiURL())
	}
	return all
}

func (m *machine) apiURL() string { return "http://" + m.address.String() + ":4200/api" }

// note writes a line into the log of events.
func (s *system) note(format string, args ...any) {
	fmt.Fprintf(s.log, "%8.3f %s\n", time.Since(s.begin).Seconds(), fmt.Sprintf(format, args...))
}

// problem records a violation; the test goes on, so that its end shows how far it reaches.
func (s *system) problem(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.note("VIOLATION %s", text)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.problems = append(s.problems, text)
}

// start starts the machine's program. What it prints is appended to a file of the machine's name.
func (m *machine) start() {
	m.mu.Lock()
	defer m.mu.Unlock()
	out, err := os.OpenFile(filepath.Join(m.system.dir, m.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		m.system.problem("%v", err)
		return
	}
	m.starts++
	fmt.Fprintf(out, "--- start %d at %.3f\n", m.starts, time.Since(m.system.begin).Seconds())
	p := &process{ended: make(chan struct{})}
	p.cmd = exec.Command(m.system.binary, m.args...)
	p.cmd.Dir, p.cmd.Env = m.system.dir, m.env
	p.cmd.Stdout, p.cmd.Stderr = out, out
	err = m.host.start(p.cmd)
	_ = out.Close()
	if err != nil {
		m.system.problem("start %s: %v", m.name, err)
		return
	}
	m.current = p
	go func() {
		err := p.cmd.Wait()
		switch {
		case p.expected.Load():
		case m.restarts && p.cmd.ProcessState.ExitCode() == exitUnreachable:
			m.system.note("%s found no server and is started again", m.name)
			time.AfterFunc(restartPause, func() {
				if !p.expected.Load() {
					m.start()
				}
			})
		default:
			m.system.problem("%s ended by itself: %v; see %s.log", m.name, err, m.name)
		}
		close(p.ended)
	}()
}

func (m *machine) process() *process {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.current
}

// kill ends the program as a power cut does.
func (m *machine) kill() {
	if p := m.process(); p != nil {
		p.expected.Store(true)
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}

// stop tells the program to end and waits until it has.
func (m *machine) stop() {
	p := m.process()
	if p == nil {
		return
	}
	p.expected.Store(true)
	select {
	case <-p.ended: // and would be started again in a moment
		return
	default:
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
		if code := p.cmd.ProcessState.ExitCode(); code != 0 {
			m.system.problem("%s, told to stop, ended with exit code %d", m.name, code)
		}
	case <-time.After(2 * patience):
		m.system.problem("%s, told to stop, did not end within %s", m.name, 2*patience)
		m.kill()
	}
}

func (m *machine) signal(sig syscall.Signal) {
	if p := m.process(); p != nil {
		_ = p.cmd.Process.Signal(sig)
	}
}

func (s *system) killAll() {
	for _, m := range append(s.agents, s.nodes...) {
		m.kill()
	}
}

// transport lets requests come from the load's host. It sends no index back to the servers: that alone would make a stale read
// wait, and hide that it was stale.
type transport struct {
	http.RoundTripper
	system *system
}

func (s *system) transport() http.RoundTripper {
	inner := client.NewTransport()
	inner.Proxy = nil
	inner.DialContext = s.client.dial
	return transport{inner, s}
}

// RoundTrip implements http.RoundTripper.
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header.Del(api.HeaderMinIndex)
	response, err := t.RoundTripper.RoundTrip(r)
	if err == nil && response.StatusCode == http.StatusInternalServerError {
		t.system.problem("%s %s answered %s", r.Method, r.URL, response.Status)
	}
	return response, err
}

// CloseIdleConnections lets a client end its connections.
func (t transport) CloseIdleConnections() {
	if c, ok := t.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// connect returns a client of these nodes that repeats what is harmless for so long.
func (s *system) connect(retryFor, request time.Duration, nodes ...*machine) *client.Client {
	s.t.Helper()
	var addresses []string
	for _, n := range nodes {
		addresses = append(addresses, n.apiURL())
	}
	c, err := client.New(client.Config{Addresses: addresses, RetryFor: retryFor, RequestTimeout: request, Transport: s.transport()})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.Close)
	return c
}

// verdict is what a client knows about a write.
type verdict int

const (
	done verdict = iota
	refused
	notDone
	unknown
)

// try makes one attempt of a write and says what is known of it.
func try(ctx context.Context, write func(context.Context) error) (verdict, error) {
	sent := false
	err := write(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent = true }}))
	var known *api.Error
	switch {
	case err == nil:
		return done, nil
	case !sent:
		return notDone, err
	case !errors.As(err, &known):
		return unknown, err
	}
	switch known.Kind {
	case api.KindUnavailable:
		return notDone, err
	case api.KindUnknownOutcome, api.KindUnreachable, api.KindInternal:
		return unknown, err
	}
	return refused, err
}

// ready waits until all nodes say that they are. A process that starts has no other event to offer than its answers.
func (s *system) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	http := &http.Client{Transport: s.transport(), Timeout: 3 * time.Second}
	defer http.CloseIdleConnections()
	for _, n := range s.nodes {
		for {
			text := ""
			response, err := http.Get("http://" + n.address.String() + ":4200/readyz")
			if err == nil {
				body, _ := io.ReadAll(response.Body)
				_ = response.Body.Close()
				if response.StatusCode == 200 {
					break
				}
				text = string(body)
			} else {
				text = err.Error()
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("%s is not ready: %s", n.name, text)
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	return nil
}

// leader returns the node that most nodes say leads, nil if none is known.
func (s *system) leader(ctx context.Context) *machine {
	votes := map[string]int{}
	for _, n := range s.nodes {
		if c, err := s.ask(ctx, n); err == nil {
			for _, m := range c.Members {
				if m.ID == c.Leader {
					votes[m.Name]++
				}
			}
		}
	}
	for _, n := range s.nodes {
		if votes[n.name] > len(s.nodes)/2 {
			return n
		}
	}
	return nil
}

// ask asks one node about the cluster, once.
func (s *system) ask(ctx context.Context, n *machine) (*api.Cluster, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	c, err := client.New(client.Config{Addresses: []string{n.apiURL()}, Transport: s.transport()})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.Cluster(ctx)
}
