package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Nodes is a cluster of server processes of one binary on this machine.
type Nodes struct {
	all []*Server
}

// Server is one of its nodes: it keeps its addresses and its data when it is started again.
type Server struct {
	binary, log string
	args        []string
	host        string // host:port of the API
	process     *exec.Cmd
	ended       chan struct{} // closed when the process has ended
}

// NewNodes starts size servers at once, with plain text between them, and waits until all are ready. Close ends them.
func NewNodes(ctx context.Context, binary, dir string, size int) (*Nodes, error) {
	var addresses []string
	for range 3 * size {
		address, err := freeAddress()
		if err != nil {
			return nil, err
		}
		addresses = append(addresses, address)
	}
	n := &Nodes{}
	internal := addresses[:size]
	for i := range size {
		s := &Server{binary: binary, host: addresses[size+i], log: filepath.Join(dir, fmt.Sprintf("node%d.log", i))}
		s.args = []string{"server", "start", "--data-dir", filepath.Join(dir, fmt.Sprintf("node%d", i)), "--node-name", fmt.Sprintf("node%d", i), "--http-addr", s.host, "--auth", "off",
			"--internal-addr", internal[i], "--gossip-addr", addresses[2*size+i], "--log-level", "warn", "--drain-delay", "200ms"}
		if size > 1 {
			s.args = append(s.args, "--insecure", "--bootstrap-expect", fmt.Sprint(size), "--join", strings.Join(internal, ","))
		}
		if err := s.start(); err != nil {
			n.Close()
			return nil, err
		}
		n.all = append(n.all, s)
	}
	for _, s := range n.all {
		if err := s.waitReady(ctx); err != nil {
			n.Close()
			return nil, err
		}
	}
	return n, nil
}

// Hosts returns host:port of all nodes' APIs.
func (n *Nodes) Hosts() []string {
	var hosts []string
	for _, s := range n.all {
		hosts = append(hosts, s.host)
	}
	return hosts
}

// APIs returns the API addresses of all nodes.
func (n *Nodes) APIs() []string {
	var addresses []string
	for _, host := range n.Hosts() {
		addresses = append(addresses, "http://"+host+"/api")
	}
	return addresses
}

// Close ends all nodes.
func (n *Nodes) Close() {
	for _, s := range n.all {
		s.signal(syscall.SIGTERM)
	}
	for _, s := range n.all {
		s.wait()
	}
}

// leader waits for a node that says it leads. It polls: a node announces that to nobody outside its cluster.
func (n *Nodes) leader(ctx context.Context) (*Server, error) {
	ctx, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	for {
		for _, s := range n.all {
			if s.process != nil && s.leads(ctx) {
				return s, nil
			}
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for a leader: %w", ctx.Err())
		case <-time.After(readyPoll):
		}
	}
}

// others are the running nodes but s.
func (n *Nodes) others(s *Server) []*Server {
	var others []*Server
	for _, o := range n.all {
		if o != s && o.process != nil {
			others = append(others, o)
		}
	}
	return others
}

func (s *Server) start() error {
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open a server's log: %w", err)
	}
	defer log.Close()
	c := exec.Command(s.binary, s.args...)
	c.Stdout, c.Stderr = log, log
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.Start(); err != nil {
		return fmt.Errorf("start a server: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = c.Wait() // how it ended is told by its log
	}()
	s.process, s.ended = c, ended
	return nil
}

// restart starts the server again after its end and waits until it is ready.
func (s *Server) restart(ctx context.Context) error {
	if err := s.start(); err != nil {
		return err
	}
	return s.waitReady(ctx)
}

func (s *Server) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-s.ended:
			cancel(errors.New("it has ended"))
		case <-ctx.Done():
		}
	}()
	if err := waitReady(ctx, s.host); err != nil {
		text, _ := os.ReadFile(s.log) // what it said is the best explanation there is
		return fmt.Errorf("%w\n%s", err, text)
	}
	return nil
}

func (s *Server) signal(sig syscall.Signal) {
	if s.process != nil {
		_ = s.process.Process.Signal(sig)
	}
}

// wait waits for the end of the process.
func (s *Server) wait() {
	if s.process != nil {
		<-s.ended
		s.process = nil
	}
}

func (s *Server) leads(ctx context.Context) bool {
	text, err := fetch(ctx, "http://"+s.host+"/metrics")
	return err == nil && strings.Contains(text, "\nsluice_raft_is_leader 1\n")
}

func fetch(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s: %s", url, response.Status, text)
	}
	return string(text), err
}

const (
	readyPatience = 30 * time.Second
	readyPoll     = 10 * time.Millisecond
)

// waitReady waits until /readyz says so. It polls: a process that starts has nothing else to offer.
func waitReady(ctx context.Context, host string) error {
	ctx, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	for {
		_, err := fetch(ctx, "http://"+host+"/readyz")
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the server at %s did not become ready: %w: %w", host, context.Cause(ctx), err)
		case <-time.After(readyPoll):
		}
	}
}

// freeAddress returns a loopback address nobody listens on. Its port lies below those that the kernel gives to outgoing
// connections, so that a server that was killed finds it free again.
func freeAddress() (string, error) {
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", 12000+rand.IntN(18000))
		l, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			return "", fmt.Errorf("find a free port: %w", err)
		}
		return address, nil
	}
	return "", errors.New("no free TCP port between 12000 and 30000")
}
