//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

// disk is a small disk of a test's own, which can be filled.
type disk struct {
	t   *testing.T
	dir string
}

func newDisk(t *testing.T, size int64) *disk {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting a small disk needs root")
	}
	d := &disk{t: t, dir: t.TempDir()}
	if err := unix.Mount("sluice-e2e", d.dir, "tmpfs", 0, "size="+strconv.FormatInt(size, 10)); err != nil {
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
			t.Skipf("mounting a small disk is forbidden here: %v", err)
		}
		t.Fatalf("mount a small disk: %v", err)
	}
	t.Cleanup(func() {
		// Processes that were started on it are ended by their own cleanups, which come first.
		if err := unix.Unmount(d.dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return d
}

func (d *disk) free() int64 {
	d.t.Helper()
	var s unix.Statfs_t
	if err := unix.Statfs(d.dir, &s); err != nil {
		d.t.Fatal(err)
	}
	return int64(s.Bavail) * s.Bsize
}

func (d *disk) ballast() string { return filepath.Join(d.dir, "ballast") }

// fill takes space until so many bytes are free, as nearly as pages allow.
func (d *disk) fill(leave int64) {
	d.t.Helper()
	file, err := os.OpenFile(d.ballast(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	page := make([]byte, os.Getpagesize())
	for d.free() >= leave+int64(len(page)) {
		chunk := page
		if much := d.free() - leave; much > 1<<20 {
			chunk = make([]byte, 1<<20)
		}
		if _, err := file.Write(chunk); err != nil {
			if errors.Is(err, syscall.ENOSPC) {
				return // the server was faster
			}
			d.t.Fatal(err)
		}
	}
}

// empty gives the space back.
func (d *disk) empty() {
	d.t.Helper()
	if err := os.Remove(d.ballast()); err != nil {
		d.t.Fatal(err)
	}
}

// serve starts a server that has its data on the disk.
func (d *disk) serve(lowWater int64) *server {
	d.t.Helper()
	s := newServer(d.t, "--disk-low-water", strconv.FormatInt(lowWater, 10))
	s.dataDir = filepath.Join(d.dir, "data")
	s.flags = append(s.flags, "--data-dir", s.dataDir)
	s.start()
	return s
}

// refuses waits until the server says that it has seen how full its disk is, and returns all it says about its health. The node
// looks at its disk twice a second and tells nobody, so this polls.
func (s *server) refuses(what string) string {
	s.t.Helper()
	return s.health("the node refuses "+what, func(status int, text string) bool { return strings.Contains(text, "refused: "+what+"\n") })
}

// unready waits until the server says that it is not ready.
func (s *server) unready() string {
	s.t.Helper()
	return s.health("readiness goes off", func(status int, text string) bool { return status == http.StatusServiceUnavailable })
}

func (s *server) health(what string, condition func(status int, text string) bool) string {
	s.t.Helper()
	var text string
	eventually(s.t, what, func() error {
		response, err := get(s.t.Context(), "http://"+s.address+"/readyz?verbose")
		if err != nil {
			return err
		}
		defer func() { _ = response.Body.Close() }()
		body, err := io.ReadAll(response.Body)
		if text = string(body); err == nil && !condition(response.StatusCode, text) {
			err = fmt.Errorf("/readyz answers %d: %s", response.StatusCode, body)
		}
		return err
	})
	return text
}

func TestADiskThatFillsUpStopsWritesInStepsAndNothingElse(t *testing.T) {
	t.Parallel()
	// The steps must leave room for what the state sets aside for its next file, some 10 MiB.
	const low = 96 << 20
	d := newDisk(t, 2*low)
	s := d.serve(low)
	pid := s.pid()
	conn := connect(t, s, 0)
	ctx := t.Context()
	queue(t, conn, "q", 0)
	deployment := deploy(t, conn, "greeting", nil, "echo", "hello").deployment
	agent := newClient(t, s).startAgent("q")
	first := run(t, conn, deployment)
	watchUntil(t, conn, first, "Completed", patience, named("Completed"))
	pending := api.NewState(api.Pending, "")
	flow := must[*api.Flow](t)(conn.CreateFlow(ctx, api.FlowCreate{Name: "script"}))
	script := must[*api.FlowRun](t)(conn.CreateFlowRun(ctx, api.FlowRunCreate{FlowID: flow.ID, State: &pending})).ID
	if err := conn.PutValue(ctx, "code", "the code of a flow"); err != nil {
		t.Fatal(err)
	}
	line := func(text string) []object {
		return []object{{"name": "sluice.flow_runs", "level": 20, "message": text, "timestamp": timestamp(0), "flow_run_id": script}}
	}
	create := object{"flow_id": flow.ID, "state": object{"type": "SCHEDULED"}}
	refusal := func(what, method, path string, body any) {
		t.Helper()
		status, err := s.request(ctx, method, path, body, nil)
		if err == nil || status != http.StatusServiceUnavailable {
			t.Errorf("%s on a full disk is answered %d, %v", what, status, err)
			return
		}
		contains(t, err.Error(), "disk", d.dir, "nearly full", "free some space")
	}

	d.fill(low - 2<<20)
	s.refuses("logs and stored values")
	refusal("a log line", "POST", "/logs/", line("too late"))
	refusal("a value", "POST", "/kv/code2", "x")
	if err := ready(ctx, s.address); err != nil {
		t.Errorf("without room for logs only, the server is not ready: %v", err)
	}
	second := run(t, conn, deployment) // states and new runs still go

	watchUntil(t, conn, second, "Completed", patience, named("Completed"))

	d.fill(low/2 - 2<<20)
	contains(t, s.refuses("logs, stored values and new runs"), "not ready")
	refusal("a new run", "POST", "/flow_runs/", create)
	if result := must[*api.OrchestrationResult](t)(conn.SetFlowRunState(ctx, script, api.SetState{State: api.NewState(api.Running, "")}, "")); result.Status != api.Accept {
		t.Errorf("a state of a run that is under way is answered %+v", result)
	}

	d.fill(low/4 - 2<<20)
	contains(t, s.refuses("every write"), "not ready", "disk", d.dir)
	refusal("a state", "POST", "/flow_runs/"+script.String()+"/set_state", object{"state": object{"type": "COMPLETED"}})
	if r := must[*api.FlowRun](t)(conn.FlowRun(ctx, script)); *r.StateType != api.Running {
		t.Errorf("after a refused state the run is %s", *r.StateType)
	}
	if text := must[string](t)(conn.Value(ctx, "code")); text != "the code of a flow" {
		t.Errorf("the stored value is %q", text)
	}
	user := newClient(t, s)
	typed := user.run("deployment", "run", "greeting/greeting")
	if typed.code == 0 {
		t.Errorf("deployment run succeeds on a full disk")
	}
	contains(t, typed.stderr, "disk", "nearly full", "free some space")

	d.empty()
	s.waitReady()
	if s.exited() || s.pid() != pid {
		t.Error("the server was started again")
	}
	eventually(t, "a log line is stored", func() error { _, err := s.request(ctx, "POST", "/logs/", line("there is room"), nil); return err })
	if result := must[*api.OrchestrationResult](t)(conn.SetFlowRunState(ctx, script, api.SetState{State: api.NewState(api.Completed, "")}, "")); result.Status != api.Accept {
		t.Errorf("the end of the run is answered %+v", result)
	}
	third := run(t, conn, deployment)
	watchUntil(t, conn, third, "Completed", patience, named("Completed"))
	check := func() {
		t.Helper()
		for _, id := range []api.ID{first, second, third} {
			checkLife(t, conn, id)
		}
		if lines := allLogs(t, conn, script); len(lines) != 1 || lines[0].Message != "there is room" {
			t.Errorf("the logs are %v", lines)
		}
		if n := must[int](t)(conn.CountFlowRuns(ctx, api.Filters{})); n != 4 {
			t.Errorf("there are %d runs, not 4", n)
		}
	}
	check()
	s.kill9()
	s.restart()
	check()
	agent.signal(syscall.SIGTERM)
	if code := agent.wait(); code != 0 {
		t.Errorf("the agent ended with exit code %d", code)
	}
}

// record is what a writer was told on a disk that runs full.
type record struct {
	told, maybe []string // names of flow runs
	errors      map[string]int
	values      map[string]*belief
}

// write writes until nothing was accepted for a while, or so often.
func (r *record) write(t *testing.T, c *client.Client, flow api.ID, times int) {
	t.Helper()
	failures := 0
	for range times {
		if failures == 3 { // each may wait 5 s for a leader
			return
		}
		name := fmt.Sprintf("run-%d", len(r.told)+len(r.maybe))
		key := fmt.Sprintf("key-%d", len(r.values)%7)
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		state, big := api.NewState(api.Pending, ""), json.RawMessage(fmt.Sprintf(`{"big":%q}`, strings.Repeat("x", len(r.told)%6*20_000)))
		_, err := c.CreateFlowRun(ctx, api.FlowRunCreate{FlowID: flow, Name: &name, State: &state, Parameters: big})
		if err == nil {
			r.told = append(r.told, name)
			failures = 0
		} else {
			r.maybe = append(r.maybe, name)
			failures++
			r.excused(t, err)
		}
		b := believe(r.values, key)
		b.tried++
		number := b.tried
		if err := c.PutValue(ctx, key, value(number)); err == nil {
			b.told, failures = number, 0
		} else {
			r.excused(t, err)
		}
		cancel()
	}
}

// excused checks that an error says that there is no room, or at least that the server cannot do it now.
func (r *record) excused(t *testing.T, err error) {
	t.Helper()
	switch api.KindOf(err) {
	case api.KindUnavailable, api.KindUnknownOutcome, api.KindUnreachable: // the last while the node starts anew
		r.errors[err.Error()]++
	default:
		t.Errorf("a write on a full disk fails as %s: %v", api.KindOf(err), err)
	}
}

// check compares what is there with what was told.
func (r *record) check(t *testing.T, c *client.Client) {
	t.Helper()
	count := map[string]int{}
	runs, err := client.Each(func(page api.Page) ([]api.FlowRun, error) {
		return c.FilterFlowRuns(t.Context(), api.FilterRequest{Page: page})
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, run := range runs {
		count[run.Name]++
	}
	for _, name := range r.told {
		if count[name] != 1 {
			t.Errorf("%s, which was acknowledged, is there %d times", name, count[name])
		}
		delete(count, name)
	}
	for _, name := range r.maybe {
		if count[name] > 1 {
			t.Errorf("%s is there %d times", name, count[name])
		}
		delete(count, name)
	}
	for name, n := range count {
		t.Errorf("%s, which nobody made, is there %d times", name, n)
	}
	v := &verification{t: t, api: c}
	for key, b := range r.values {
		text, err := c.Value(t.Context(), key)
		number := 0
		if err == nil {
			if _, err := fmt.Sscanf(text, "%d:", &number); err != nil || text != value(number) {
				t.Errorf("the value of %s is damaged: %d bytes, %v", key, len(text), err)
			}
		}
		v.believed("value "+key, b, number, err)
	}
	t.Logf("%d runs were acknowledged, %d not", len(r.told), len(r.maybe))
	for text, n := range r.errors {
		t.Logf("%d times: %s", n, text)
	}
	clear(r.errors)
}

// TestADiskThatIsFullToTheLastByte has no guard: the log and the state meet the end of the disk themselves.
func TestADiskThatIsFullToTheLastByte(t *testing.T) {
	t.Parallel()
	leaves := []int64{0, 300 << 10, 10 << 20}
	if long() {
		leaves = append(leaves, 1<<20, 3<<20, 5<<20, 9<<20, 11<<20, 12<<20, 14<<20)
	}
	for _, leave := range leaves {
		t.Run(fmt.Sprintf("and had %d KiB left", leave>>10), func(t *testing.T) {
			t.Parallel()
			d := newDisk(t, 128<<20) // what the data itself takes must fit in more than once
			s := d.serve(1)
			conn := connect(t, s, 0)
			flow := must[*api.Flow](t)(conn.CreateFlow(t.Context(), api.FlowCreate{Name: "script"})).ID
			r := &record{values: map[string]*belief{}, errors: map[string]int{}}
			r.write(t, conn, flow, 20)
			if len(r.maybe) > 0 {
				t.Fatalf("writes fail on a disk with room: %v", r.maybe)
			}

			d.fill(leave)
			r.write(t, conn, flow, 1000)
			d.fill(0) // what failed may have given back a little
			if s.exited() {
				t.Fatalf("the server ended with exit code %d", s.code)
			}
			t.Logf("/readyz: %s", s.unready())
			// Old data can be read from the node, whatever else it cannot do.
			var runs []object
			if _, err := s.request(t.Context(), "POST", "/flow_runs/filter?consistency=stale", object{}, &runs); err != nil || len(runs) == 0 {
				t.Errorf("a stale read on a full disk: %d runs, %v", len(runs), err)
			}

			d.empty()
			s.waitReady()
			r.check(t, conn)
			r.write(t, conn, flow, 20)
			r.check(t, conn)

			// The same again, and a power cut on the full disk.
			d.fill(leave)
			r.write(t, conn, flow, 1000)
			d.fill(0)
			s.kill9()
			s.begin()
			refusal := startedOnFullDisk(t, s)
			d.empty()
			if s.exited() {
				t.Logf("the server refused to start: %s", refusal)
				s.restart()
			} else {
				s.waitReady()
			}
			r.check(t, conn)
			more := len(r.told)
			r.write(t, conn, flow, 20)
			if len(r.told) != more+20 {
				t.Errorf("with room again, %d of 20 writes are accepted", len(r.told)-more)
			}
			r.check(t, conn)
		})
	}
}

// TestAFullDiskThatHasRoomOnlyForAMoment is two programs at one disk: whenever the node sees room, the other takes it.
func TestAFullDiskThatHasRoomOnlyForAMoment(t *testing.T) {
	t.Parallel()
	d := newDisk(t, 128<<20)
	s := d.serve(1)
	conn := connect(t, s, 0)
	flow := must[*api.Flow](t)(conn.CreateFlow(t.Context(), api.FlowCreate{Name: "script"})).ID
	r := &record{values: map[string]*belief{}, errors: map[string]int{}}
	r.write(t, conn, flow, 5)
	const again = "cannot start on the full disk; it tries again"
	for range 4 {
		d.fill(0)
		r.write(t, conn, flow, 1000)
		if !strings.Contains(s.unready(), "halted") {
			d.empty() // the log met the end of the disk first: it goes on by itself, and nothing starts anew
			s.waitReady()
			continue
		}
		mark := s.mark()
		d.empty()
		s.waitAfter(mark, "there is room on the disk again")
		s.signal(syscall.SIGSTOP) // the other program is faster
		d.fill(0)
		s.signal(syscall.SIGCONT)
		s.waitAfter(mark, again+"|leadership gained")
		if strings.Contains(s.output(), again) {
			break
		}
		d.empty()
		s.waitReady()
	}
	if strings.Contains(s.output(), again) {
		if s.exited() {
			t.Fatal("the server has ended")
		}
	} else {
		t.Log("the room was taken too late each time: nothing is proven")
		d.fill(0)
	}
	d.empty()
	s.waitReady()
	r.check(t, conn)
	told := len(r.told)
	r.write(t, conn, flow, 20)
	if len(r.told) != told+20 {
		t.Errorf("with room again, %d of 20 writes are accepted", len(r.told)-told)
	}
	r.check(t, conn)
}

// startedOnFullDisk waits until a server that was started on a full disk has either ended with an error that says so, or serves.
func startedOnFullDisk(t *testing.T, s *server) string {
	t.Helper()
	serving := false
	eventually(t, "the server on the full disk has ended or answers", func() error {
		if s.exited() {
			return nil
		}
		response, err := get(t.Context(), "http://"+s.address+"/livez")
		if err != nil {
			return err
		}
		_ = response.Body.Close()
		serving = response.StatusCode == http.StatusOK
		return nil
	})
	if serving {
		return ""
	}
	if code := s.wait(); code == 0 {
		t.Error("a server that could not start on a full disk ended with exit code 0")
	}
	text := s.output()
	if !strings.Contains(text, "no space left on device") && !strings.Contains(text, "full") {
		t.Errorf("the server does not say that the disk is full:\n%s", text)
	}
	return text
}
