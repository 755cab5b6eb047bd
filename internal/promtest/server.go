// Package promtest runs Debian's Prometheus in tests, with this repository's rules, against real nodes.
package promtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Patience bounds each wait for an alert. It is no target: it only ends a test whose alert will not come.
const Patience = 90 * time.Second

// Folder is deploy of this repository.
func Folder() string {
	_, here, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(here), "..", "..", "deploy")
}

// Server is a running Prometheus.
type Server struct {
	t    testing.TB
	base string
}

// Alert is an alert that Prometheus knows to be firing.
type Alert struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	State       string            `json:"state"`
}

var durations = regexp.MustCompile(`(?m)^(\s+for:) .*$`)

// Start runs Prometheus with deploy/prometheus/rules.yml, which fire at once here, and scrapes the targets (HOST:PORT, by job) each
// second. It ends with the test.
func Start(t testing.TB, targets map[string][]string) *Server {
	t.Helper()
	program, err := exec.LookPath("prometheus")
	if err != nil {
		t.Fatalf("prometheus is missing: make test-deps installs it: %v", err)
	}
	rules, err := os.ReadFile(filepath.Join(Folder(), "prometheus", "rules.yml"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var config strings.Builder
	config.WriteString("global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\nrule_files: [rules.yml]\nscrape_configs:\n")
	for job, all := range targets {
		fmt.Fprintf(&config, "  - {job_name: %s, static_configs: [{targets: ['%s']}]}\n", job, strings.Join(all, "', '"))
	}
	for name, content := range map[string]string{"rules.yml": durations.ReplaceAllString(string(rules), "$1 0s"), "prometheus.yml": config.String()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
		_ = log.Close()
		if t.Failed() {
			said, _ := os.ReadFile(log.Name()) // as far as there is any
			t.Logf("Prometheus said:\n%s", said)
		}
	})
	s := &Server{t: t, base: "http://" + address}
	s.until("Prometheus is ready", func() error { return s.get("/-/ready", nil) })
	return s
}

// Firing returns the alerts that fire, by name.
func (s *Server) Firing() map[string][]Alert {
	s.t.Helper()
	var answer struct{ Data struct{ Alerts []Alert } }
	if err := s.get("/api/v1/alerts", &answer); err != nil {
		s.t.Fatal(err)
	}
	all := map[string][]Alert{}
	for _, a := range answer.Data.Alerts {
		if a.State == "firing" {
			all[a.Labels["alertname"]] = append(all[a.Labels["alertname"]], a)
		}
	}
	return all
}

// Fires waits until each of the alerts fires and returns them.
func (s *Server) Fires(names ...string) map[string][]Alert {
	s.t.Helper()
	var all map[string][]Alert
	s.until("the alerts fire", func() error {
		all = s.Firing()
		var missing []string
		for _, n := range names {
			if all[n] == nil {
				missing = append(missing, n)
			}
		}
		if missing != nil {
			return fmt.Errorf("these do not: %s", strings.Join(missing, ", "))
		}
		return nil
	})
	return all
}

// Quiet waits until none but the named alerts fire.
func (s *Server) Quiet(but ...string) {
	s.t.Helper()
	s.until("no other alert fires", func() error {
		all := s.Firing()
		for _, n := range but {
			delete(all, n)
		}
		if len(all) > 0 {
			return fmt.Errorf("these do: %v", all)
		}
		return nil
	})
}

// Query evaluates an expression and returns how many series it has.
func (s *Server) Query(expression string) (int, error) {
	var answer struct{ Data struct{ Result []any } }
	err := s.get("/api/v1/query?query="+url.QueryEscape(expression), &answer)
	return len(answer.Data.Result), err
}

func (s *Server) get(path string, out any) error {
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+path, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %d: %s", path, response.StatusCode, body)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(body, out)
}

// until polls what Prometheus announces nowhere.
func (s *Server) until(what string, check func() error) {
	s.t.Helper()
	deadline := time.Now().Add(Patience)
	for err := check(); err != nil; err = check() {
		if time.Now().After(deadline) || errors.Is(err, context.Canceled) {
			s.t.Fatalf("it did not happen within %s that %s: %v", Patience, what, err)
		}
		time.Sleep(100 * time.Millisecond) // a poll interval, nothing depends on its length
	}
}
