//go:build linux

package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
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

// site is the network 10.0.0.0/24 of docs/operate, played on loopback: 10.0.0.N is 127.X.Y.N, so that every machine has its own
// ports, which are the default ones.
type site struct {
	t        *testing.T
	prefix   string // 127.X.Y.
	machines map[string]*machine
	more     string // commands of setup on each node, before its first start
	auth     bool   // setup's nodes ask for tokens
	token    string // of an admin; "" before setup
}

func newSite(t *testing.T) *site {
	t.Helper()
	for range 100 {
		prefix := fmt.Sprintf("127.%d.%d.", 1+rand.IntN(254), rand.IntN(255))
		// Another test, or another process of tests, that drew the same network listens at the first address of it.
		claim, err := net.Listen("tcp", prefix+"254:4200")
		if err != nil {
			continue
		}
		t.Cleanup(func() { _ = claim.Close() })
		return &site{t: t, prefix: prefix, machines: map[string]*machine{}, more: "echo SLUICE_DRAIN_DELAY=0s >> /etc/sluice/server.env"}
	}
	t.Fatal("no free loopback network")
	return nil
}

var (
	siteAddress = regexp.MustCompile(`\b10\.0\.0\.`)
	// machinePath are absolute paths of a machine's own; `host:/path` is scp's business.
	machinePath = regexp.MustCompile(`(^|[\s="'(,<>\x60@])/(etc|var|run|usr/local|srv|mnt|root)/`)
)

// machine plays one machine of the site: a shell with a file system of its own for /etc, /var, /usr/local, /srv, /mnt and /root,
// and a service manager that runs the units of deploy/systemd as systemd would.
type machine struct {
	*shell
	site *site
	name string
	root string // what its absolute paths are below

	mu    sync.Mutex // guards units
	units map[string]*unit
}

// machine returns the machine with this name, n1 being 10.0.0.1; lb and ops are beside the nodes.
func (s *site) machine(name string) *machine {
	s.t.Helper()
	if m := s.machines[name]; m != nil {
		return m
	}
	m := &machine{shell: newShell(s.t), site: s, name: name, units: map[string]*unit{}}
	m.root = filepath.Join(m.home, "root")
	tools := filepath.Join(m.home, "tools")
	for _, dir := range []string{tools, m.path("/etc/sluice"), m.path("/var/lib"), m.path("/usr/local/bin"), m.path("/root"), m.path("/etc/systemd/system"), m.path("/run")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			s.t.Fatal(err)
		}
	}
	socket := filepath.Join(m.home, "manager")
	m.serve(socket)
	for name, text := range map[string]string{
		"sudo":      "#!/bin/sh\n[ \"$1\" != -u ] || shift 2\nexec \"$@\"\n",
		"scp":       "#!/bin/sh\nexec " + built.python + " -c '" + managerClient + "' " + socket + " scp \"$@\"\n",
		"systemctl": "#!/bin/sh\nexec " + built.python + " -c '" + managerClient + "' " + socket + " systemctl \"$@\"\n",
	} {
		if err := os.WriteFile(filepath.Join(tools, name), []byte(text), 0o755); err != nil {
			s.t.Fatal(err)
		}
	}
	for _, at := range []string{filepath.Join(tools, "sluice"), m.path("/usr/local/bin/sluice")} {
		if err := os.Symlink(built.binary, at); err != nil {
			s.t.Fatal(err)
		}
	}
	m.env["PATH"] = tools + ":" + m.env["PATH"]
	m.copyDeploy()
	if s.token != "" {
		m.env["SLUICE_API_KEY"] = s.token
	}
	s.machines[name] = m
	return m
}

// copyDeploy puts this repository's deploy folder where the pages' readers have it: below the directory they type in.
func (m *machine) copyDeploy() {
	m.t.Helper()
	from := filepath.Join(built.root, "deploy")
	err := filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		to := filepath.Join(m.dir, "deploy", name)
		if entry.IsDir() {
			return os.MkdirAll(to, 0o755)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(to, []byte(m.localized(string(content))), 0o644)
	})
	if err != nil {
		m.t.Fatal(err)
	}
}

// managerClient sends its arguments to the machine and prints the answer.
const managerClient = `
import json, os, socket, sys
conn = socket.socket(socket.AF_UNIX)
conn.connect(sys.argv[1])
conn.sendall((json.dumps({"args": sys.argv[2:], "dir": os.getcwd()}) + "\n").encode())
answer = json.loads(conn.makefile().readline())
sys.stdout.write(answer["out"])
sys.exit(answer["code"])`

// path is where an absolute path of the machine is.
func (m *machine) path(path string) string { return filepath.Join(m.root, path) }

// localized rewrites addresses and paths of a text to where this site and this machine have them.
func (m *machine) localized(text string) string {
	text = siteAddress.ReplaceAllString(text, m.site.prefix)
	return machinePath.ReplaceAllString(text, "${1}"+m.root+"/$2/")
}

// delocalized undoes it, for comparison and for people.
func (s *site) delocalized(text string) string {
	for _, m := range s.machines {
		text = strings.ReplaceAll(text, m.root, "")
	}
	return strings.ReplaceAll(text, s.prefix, "10.0.0.")
}

// address is the machine's own.
func (m *machine) address() string {
	if n := strings.TrimPrefix(m.name, "n"); n != m.name {
		return m.site.prefix + n
	}
	return m.site.prefix + map[string]string{"lb": "10", "ops": "20"}[m.name]
}

// sh runs commands of a page on the machine, stopping at the first that fails.
func (m *machine) sh(commands string) result {
	m.t.Helper()
	r := m.exec("", "bash", "-euo", "pipefail", "-c", m.localized(commands))
	r.args = []string{"(on " + m.name + ")", strings.TrimSpace(commands)}
	return r
}

// powerOff ends everything that runs on the machine as a power cut does.
func (m *machine) powerOff() {
	m.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, u := range m.units {
		u.end()
	}
}

// newDisk is what a replaced disk is: empty.
func (m *machine) newDisk() {
	m.t.Helper()
	if err := os.RemoveAll(m.path("/var/lib")); err != nil {
		m.t.Fatal(err)
	}
	if err := os.MkdirAll(m.path("/var/lib"), 0o755); err != nil {
		m.t.Fatal(err)
	}
}

// serve answers systemctl and scp of the machine's commands until the test ends.
func (m *machine) serve(socket string) {
	m.t.Helper()
	listener, err := net.Listen("unix", socket)
	if err != nil {
		m.t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // closed below
			}
			work.Go(func() {
				defer func() { _ = conn.Close() }()
				var request struct {
					Args []string `json:"args"`
					Dir  string   `json:"dir"`
				}
				line, err := bufio.NewReader(conn).ReadBytes('\n')
				if err != nil || json.Unmarshal(line, &request) != nil {
					return
				}
				var out strings.Builder
				answer := map[string]any{"code": 0}
				switch request.Args[0] {
				case "systemctl":
					err = m.systemctl(&out, request.Args[1:])
				default:
					err = m.scp(request.Dir, request.Args[1:])
				}
				if err != nil {
					fmt.Fprintln(&out, err)
					answer["code"] = 1
				}
				answer["out"] = out.String()
				text, _ := json.Marshal(answer) // texts and a number always encode
				_, _ = conn.Write(append(text, '\n'))
			})
		}
	})
	m.t.Cleanup(func() {
		_ = listener.Close()
		work.Wait()
	})
}

// scp copies files to another machine of the site: sources, then HOST:FOLDER/.
func (m *machine) scp(dir string, args []string) error {
	if len(args) < 2 {
		return errors.New("scp: FILES and a destination are needed")
	}
	host, folder, _ := strings.Cut(args[len(args)-1], ":")
	for _, to := range m.site.machines {
		if to.address() != host {
			continue
		}
		for _, file := range args[:len(args)-1] {
			if !filepath.IsAbs(file) {
				file = filepath.Join(dir, file)
			}
			content, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(to.path(folder), filepath.Base(file)), content, 0o600); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("scp: there is no machine %s", host)
}

// systemctl plays the commands that the pages use: start, stop, restart, reload, enable --now, kill, is-active and daemon-reload.
func (m *machine) systemctl(out io.Writer, args []string) error {
	var names []string
	now := false
	for _, arg := range args[1:] {
		switch {
		case arg == "--now":
			now = true
		case !strings.HasPrefix(arg, "-"):
			names = append(names, strings.TrimSuffix(arg, ".service"))
		}
	}
	for _, name := range names {
		var err error
		switch args[0] {
		case "start":
			err = m.startUnit(name)
		case "enable":
			if now {
				err = m.startUnit(name)
			}
		case "stop":
			err = m.stopUnit(name)
		case "disable":
			if now {
				err = m.stopUnit(name)
			}
		case "restart":
			if err = m.stopUnit(name); err == nil {
				err = m.startUnit(name)
			}
		case "reload":
			err = m.reloadUnit(name)
		case "is-active":
			text := "active"
			if u := m.unit(name); u == nil || u.process.exited() {
				text, err = "inactive", errors.New("")
			}
			fmt.Fprintln(out, text)
		default:
			err = fmt.Errorf("systemctl %s is not played", args[0])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// unit is a started service.
type unit struct {
	process *process
	notify  *notifySocket
}

func (m *machine) unit(name string) *unit {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.units[name]
}

// unitFile is what is read of a service's file: its [Service] section, each key with its values in order.
type unitFile map[string][]string

func (f unitFile) last(key string) string {
	if v := f[key]; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

func parseUnit(text string) unitFile {
	f := unitFile{}
	section := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch key, value, found := strings.Cut(line, "="); {
		case strings.HasPrefix(line, "["):
			section = line
		case section == "[Service]" && found && !strings.HasPrefix(line, "#"):
			f[key] = append(f[key], value)
		}
	}
	return f
}

// startUnit starts a service as its file in /etc/systemd/system says: environment, command, and readiness by notification. haproxy
// and nginx are the distribution's.
func (m *machine) startUnit(name string) error {
	if u := m.unit(name); u != nil && !u.process.exited() {
		return nil
	}
	var l launch
	env := map[string]string{"PATH": m.env["PATH"], "HOME": m.home, "LANG": "C.UTF-8"}
	var notify *notifySocket
	switch name {
	case "haproxy":
		l = launch{program: "haproxy", args: []string{"-W", "-db", "-f", m.path("/etc/haproxy/haproxy.cfg")}}
	case "nginx":
		l = launch{program: "nginx", args: []string{"-p", m.path("/var/lib"), "-c", m.path("/etc/nginx/nginx.conf"), "-g", "daemon off;"}}
	default:
		text, err := os.ReadFile(m.path("/etc/systemd/system/" + name + ".service"))
		if err != nil {
			return fmt.Errorf("Unit %s.service not found: %w", name, err)
		}
		f := parseUnit(string(text))
		if f.last("Type") != "notify" {
			return fmt.Errorf("%s.service has Type=%s, which is not played", name, f.last("Type"))
		}
		for _, line := range f["Environment"] {
			for _, entry := range strings.Fields(line) {
				key, value, _ := strings.Cut(entry, "=")
				env[key] = value
			}
		}
		for _, file := range f["EnvironmentFile"] {
			if err := readEnvironment(file, env); err != nil {
				return err
			}
		}
		for _, dir := range f["StateDirectory"] {
			if err := os.MkdirAll(m.path("/var/lib/"+dir), 0o700); err != nil {
				return err
			}
		}
		command := strings.Fields(f.last("ExecStart"))
		l = launch{program: command[0]}
		for _, arg := range command[1:] { // $NAME alone is split into words
			if variable, ok := strings.CutPrefix(arg, "$"); ok {
				l.args = append(l.args, strings.Fields(env[variable])...)
			} else {
				l.args = append(l.args, arg)
			}
		}
		notify = newNotifySocket(m.t)
		env["NOTIFY_SOCKET"] = notify.path
		if f.last("WatchdogSec") != "" {
			env["WATCHDOG_USEC"] = "60000000"
		}
	}
	m.mu.Lock()
	if u := m.units[name]; u != nil && !u.process.exited() { // by a command of the same page at the same time
		m.mu.Unlock()
		return nil
	}
	own := &shell{t: m.t, dir: m.path("/var/lib"), home: m.home, env: env}
	u := &unit{process: own.launch(l), notify: notify}
	m.units[name] = u
	m.mu.Unlock()
	if notify == nil {
		return nil
	}
	select {
	case <-notify.got("READY=1"):
		return nil
	case <-u.process.ended:
		return fmt.Errorf("Job for %s.service failed: %s", name, u.process.output())
	case <-time.After(patience):
		return fmt.Errorf("Job for %s.service timed out: %s", name, u.process.output())
	}
}

// readEnvironment reads an EnvironmentFile.
func readEnvironment(path string, env map[string]string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if key, value, found := strings.Cut(line, "="); found && !strings.HasPrefix(line, "#") {
			env[key] = strings.Trim(value, `"`)
		}
	}
	return nil
}

func (m *machine) stopUnit(name string) error {
	u := m.unit(name)
	if u == nil || u.process.exited() {
		return nil
	}
	if err := u.process.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-u.process.ended:
	case <-time.After(patience):
		return fmt.Errorf("%s did not stop: %s", name, u.process.output())
	}
	if u.process.code != 0 {
		return fmt.Errorf("%s ended with exit code %d: %s", name, u.process.code, u.process.output())
	}
	return nil
}

func (m *machine) reloadUnit(name string) error {
	u := m.unit(name)
	if u == nil || u.process.exited() {
		return fmt.Errorf("%s.service is not active", name)
	}
	signal := syscall.SIGHUP
	if name == "haproxy" {
		signal = syscall.SIGUSR2
	}
	return u.process.cmd.Process.Signal(signal)
}

// end ends the service as a power cut does.
func (u *unit) end() {
	_ = syscall.Kill(-u.process.pid(), syscall.SIGKILL)
	<-u.process.ended
}

// notifySocket is the service manager's end of sd_notify(3).
type notifySocket struct {
	path string

	mu      sync.Mutex // guards what follows
	lines   []string
	waiting map[string]chan struct{}
}

func newNotifySocket(t *testing.T) *notifySocket {
	t.Helper()
	dir, err := os.MkdirTemp("", "notify-") // a socket's path has 107 bytes at most
	if err != nil {
		t.Fatal(err)
	}
	n := &notifySocket{path: filepath.Join(dir, "s"), waiting: map[string]chan struct{}{}}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: n.path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 64<<10)
		for {
			size, err := conn.Read(buffer)
			if err != nil {
				return // closed below
			}
			n.hear(strings.Split(string(buffer[:size]), "\n"))
		}
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-done
		_ = os.RemoveAll(dir)
	})
	return n
}

func (n *notifySocket) hear(lines []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, line := range lines {
		n.lines = append(n.lines, line)
		if c := n.waiting[line]; c != nil {
			close(c)
			delete(n.waiting, line)
		}
	}
}

// heard returns what was told so far.
func (n *notifySocket) heard() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string(nil), n.lines...)
}

// got returns a channel that is closed when the line has been told.
func (n *notifySocket) got(line string) <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.lines {
		if l == line {
			c := make(chan struct{})
			close(c)
			return c
		}
	}
	if n.waiting[line] == nil {
		n.waiting[line] = make(chan struct{})
	}
	return n.waiting[line]
}

// needs ends the test when a program is missing.
func needs(t *testing.T, program, debian string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Fatalf("%s is missing: make test-deps installs Debian's package %s", program, debian)
	}
}
