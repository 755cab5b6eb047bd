//go:build linux

// Package e2e tests the real binary as processes: the tutorial, bad input, and faults.
//
// SLUICE_E2E_BINARY names the binary; without it one is built. A test talks to the processes as a user does: a shell has a home and
// a working directory of its own, runs commands in it (piped or on a terminal) and starts long-running ones, whose output can be
// waited for. Whatever is started ends with the test.
package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	httpapi "github.com/sluice-dev/sluice/http"
	"github.com/sluice-dev/sluice/internal/contract"
)

// patience bounds each wait for an event. It is no target: it only ends a test whose event will not come.
const patience = 60 * time.Second

// built is what all tests share: the binary under test, the interpreter, and the repository with the SDK and the examples.
var built struct {
	binary, python, root string
	folder               string // for what else is built
}

func TestMain(m *testing.M) {
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	folder, err := os.MkdirTemp("", "sluice-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer func() { _ = os.RemoveAll(folder) }()
	if err := prepare(folder); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	return m.Run()
}

func prepare(folder string) error {
	_, here, _, _ := runtime.Caller(0)
	built.root, built.folder = filepath.Dir(filepath.Dir(here)), folder
	// The interpreter itself: what PATH offers may be a wrapper that depends on HOME.
	python, err := exec.Command("python3", "-c", "import sys; print(sys.executable)").Output()
	if err != nil {
		return fmt.Errorf("find python3, which the tutorial needs: %w", err)
	}
	built.python = strings.TrimSpace(string(python))
	if built.binary = os.Getenv("SLUICE_E2E_BINARY"); built.binary != "" {
		if built.binary, err = filepath.Abs(built.binary); err != nil {
			return fmt.Errorf("find SLUICE_E2E_BINARY: %w", err)
		}
		_, err = os.Stat(built.binary)
		return err
	}
	built.binary = filepath.Join(folder, "sluice")
	build := exec.Command("go", "build", "-o", built.binary, "./cmd/sluice")
	build.Dir = built.root
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the binary: %w\n%s", err, out)
	}
	return nil
}

// shell is where a user types commands: a working directory, a home and an environment of its own.
type shell struct {
	t    *testing.T
	dir  string // where commands run
	home string // HOME; SLUICE_HOME is home/.sluice
	env  map[string]string
}

// newShell opens a shell in an empty directory with an empty home. Nothing of the tests' own environment reaches its commands but PATH.
func newShell(t *testing.T) *shell {
	t.Helper()
	home := t.TempDir()
	s := &shell{t: t, dir: t.TempDir(), home: home, env: map[string]string{
		"PATH":        filepath.Dir(built.python) + ":" + os.Getenv("PATH"),
		"HOME":        home,
		"SLUICE_HOME": filepath.Join(home, ".sluice"),
		"LANG":        "C.UTF-8",
		"NO_COLOR":    "1", // the terminal's colours are not what is compared
		"TERM":        "xterm",

		"PYTHONDONTWRITEBYTECODE": "1",
	}}
	return s
}

// newClient opens a shell whose commands talk to the server.
func newClient(t *testing.T, server *server) *shell {
	t.Helper()
	s := newShell(t)
	s.env["SLUICE_API_URL"] = server.apiURL()
	return s
}

// write puts a file into the shell's directory and returns its path.
func (s *shell) write(name, content string) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// result is how a command ended.
type result struct {
	args           []string
	stdout, stderr string
	code           int
}

func (r result) String() string {
	return fmt.Sprintf("$ %s\nexit code %d\nstdout:\n%s\nstderr:\n%s", strings.Join(r.args, " "), r.code, r.stdout, r.stderr)
}

// run runs `sluice args...`, its output piped.
func (s *shell) run(args ...string) result { return s.exec("", built.binary, args...) }

// ok runs `sluice args...`, which must succeed, and returns its stdout.
func (s *shell) ok(args ...string) string {
	s.t.Helper()
	r := s.run(args...)
	if r.code != 0 {
		s.t.Fatalf("command failed\n%s", r)
	}
	return r.stdout
}

// script runs a Python file of the shell's directory as the tutorial's reader does, with the SDK of this repository. The ephemeral server
// that it may leave ends with the test.
func (s *shell) script(file string) result {
	s.t.Helper()
	p := s.startScript(file)
	code := p.wait()
	return result{args: p.cmd.Args, stdout: p.stdout.String(), stderr: p.stderr.String(), code: code}
}

// startScript starts it and leaves it running.
func (s *shell) startScript(file string) *process {
	s.t.Helper()
	s.t.Cleanup(s.endEphemeral)
	s.env["PYTHONPATH"], s.env["SLUICE_BINARY"] = filepath.Join(built.root, "python"), built.binary
	defer func() { delete(s.env, "PYTHONPATH"); delete(s.env, "SLUICE_BINARY") }()
	return s.launch(launch{program: built.python, args: []string{file}})
}

// exec runs a program to its end with the given input.
func (s *shell) exec(input, program string, args ...string) result {
	s.t.Helper()
	p := s.launch(launch{program: program, args: args, input: strings.NewReader(input)})
	code := p.wait()
	return result{args: append([]string{filepath.Base(program)}, args...), stdout: p.stdout.String(), stderr: p.stderr.String(), code: code}
}

// start starts `sluice args...` and leaves it running until the test ends it or ends.
func (s *shell) start(args ...string) *process {
	s.t.Helper()
	return s.launch(launch{program: built.binary, args: args})
}

// startAgent starts an agent of the queues (names or ids) and waits until it claims.
func (s *shell) startAgent(args ...string) *process {
	s.t.Helper()
	p := s.start(append([]string{"agent", "start"}, args...)...)
	p.waitFor("Agent started!")
	return p
}

// endEphemeral ends the ephemeral server on the default data directory, if there is one.
func (s *shell) endEphemeral() {
	var server struct{ PID int }
	content, err := os.ReadFile(filepath.Join(s.home, ".sluice", "data", "server.json"))
	if err != nil || json.Unmarshal(content, &server) != nil {
		return
	}
	// The file may be old and the pid another's by now.
	command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", server.PID))
	if err != nil || !strings.HasPrefix(string(command), built.binary+"\x00server\x00start\x00--ephemeral") {
		return
	}
	for syscall.Kill(server.PID, syscall.SIGKILL) == nil { // until it has gone, and its files are still
		runtime.Gosched()
	}
}

func (s *shell) environ() []string {
	var env []string
	for key, value := range s.env {
		env = append(env, key+"="+value)
	}
	return env
}

// server is a server process with a data directory and addresses that stay the same when it is started again.
type server struct {
	*process // the current one

	t       *testing.T
	shell   *shell
	flags   []string
	dataDir string
	address string        // of HTTP
	tap     *contract.Tap // nil where clients are to use its own address
	shut    chan struct{} // closed when the tap of the current process is shut, because it has ended
	token   string        // that requests show; "" for servers without authentication
}

// startServer starts a cluster of one in a directory of its own and waits until it is ready. The flags come after the usual ones.
func startServer(t *testing.T, flags ...string) *server {
	t.Helper()
	s := newServer(t, flags...)
	s.start()
	return s
}

// newServer prepares a server that start starts.
func newServer(t *testing.T, flags ...string) *server {
	t.Helper()
	s := &server{t: t, shell: newShell(t), dataDir: filepath.Join(t.TempDir(), "data"), address: freeAddress(t)}
	s.flags = append([]string{"server", "start", "--data-dir", s.dataDir, "--http-addr", s.address,
		"--internal-addr", freeAddress(t), "--gossip-addr", freeAddress(t), "--auth", "off"}, flags...)
	s.tap = contract.NewTap(freeAddress(t), s.address, described, func(err error) { t.Errorf("%s: %v", s.address, err) })
	t.Cleanup(func() {
		if s.shut != nil {
			<-s.shut
		}
		s.tap.Close()
	})
	return s
}

// described is the API's description, which holds for all that clients and servers of the tests say to each other.
var described = sync.OnceValues(func() (*contract.Checker, error) {
	document, err := httpapi.Document()
	if err != nil {
		return nil, err
	}
	return contract.New(document)
})

// apiURL is where the tests' clients reach the server: what they say to each other is held against the API's description.
func (s *server) apiURL() string {
	if s.tap == nil {
		return s.ownURL()
	}
	return "http://" + s.tap.Address() + "/api"
}

// ownURL is the address that the server itself tells.
func (s *server) ownURL() string { return "http://" + s.address + "/api" }

// start starts the process, the first or one after another has ended, and waits until it is ready.
func (s *server) start() {
	s.t.Helper()
	s.begin()
	s.waitReady()
}

// begin starts the process and leaves it.
func (s *server) begin() {
	s.t.Helper()
	s.attach(s.shell.start(s.flags...))
}

// attach makes a process the server's current one; the one before has ended.
func (s *server) attach(p *process) {
	s.t.Helper()
	if s.shut != nil {
		<-s.shut
	}
	shut := make(chan struct{})
	s.process, s.shut = p, shut
	if err := s.tap.Open(); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		defer close(shut)
		<-p.ended // with the test at the latest
		s.tap.Shut()
	}()
}

// waitReady polls /readyz: a process that starts has no other event to offer than its answers.
func (s *server) waitReady() {
	s.t.Helper()
	s.t.Logf("server: pid %d at %s, clients reach it at %s", s.pid(), s.address, s.apiURL())
	eventually(s.t, "the server is ready", func() error {
		if s.exited() {
			s.t.Fatalf("the server ended with exit code %d while it should become ready\n%s", s.wait(), s.output())
		}
		return ready(s.t.Context(), s.address)
	})
}

// kill9 ends the server as a power cut would.
func (s *server) kill9() { s.process.kill9() }

// stop ends the server as Ctrl-C does and checks that it says it succeeded.
func (s *server) stop() {
	s.t.Helper()
	s.interrupt()
	if code := s.wait(); code != 0 {
		s.t.Fatalf("the interrupted server ended with exit code %d\n%s", code, s.output())
	}
}

// restart starts the server again after kill9 or stop.
func (s *server) restart() {
	s.t.Helper()
	s.start()
}

func ready(ctx context.Context, address string) error {
	response, err := get(ctx, "http://"+address+"/readyz")
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if body, _ := io.ReadAll(response.Body); response.StatusCode != 200 {
		return fmt.Errorf("/readyz answers %d: %s", response.StatusCode, body)
	}
	return nil
}

// ports hands out TCP ports that nothing listens on. They lie below the range from which the kernel takes the ports of outgoing
// connections, so that a server that was killed finds its own free again; each is handed out once in a test process.
var ports = struct {
	sync.Mutex
	next int
}{next: 12000 + rand.IntN(18000)}

func freeAddress(t *testing.T) string {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	for range 2000 {
		ports.next++
		if ports.next >= 32000 {
			ports.next = 12000
		}
		address := fmt.Sprintf("127.0.0.1:%d", ports.next)
		listener, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		if err := listener.Close(); err != nil {
			t.Fatal(err)
		}
		return address
	}
	t.Fatal("no free TCP port between 12000 and 32000")
	return ""
}

// eventually polls until check returns nil. It is for conditions of other processes that announce nothing.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	err := check()
	for err != nil {
		select {
		case <-ctx.Done():
			t.Fatalf("it did not happen within %s that %s: %v", patience, what, err)
		case <-tick.C:
		}
		if next := check(); next == nil || !errors.Is(next, context.Canceled) {
			err = next
		}
	}
}
