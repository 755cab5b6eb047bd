package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Prepared is a data directory that holds a data set.
type Prepared struct {
	Dir   string
	Runs  int
	Until time.Time // the end of its data
}

// MillionConfig says what Million measures.
type MillionConfig struct {
	Binary string
	// Dir is for what the measurement writes itself.
	Dir string
	// Sizes are from the smallest to the largest.
	Sizes []Prepared
	// Schedules, Polls and Load are how many schedules and waiting claims there are to be, and how long each load of lives lasts; 0 leaves
	// that measurement out.
	Schedules, Polls int
	Load             time.Duration
	Progress         func(format string, args ...any)
}

// MillionResult is what Million measured.
type MillionResult struct {
	IdleMiB   float64        `json:"idle_rss_anon_mib"`
	Sizes     []SizeResult   `json:"sizes"`
	Growth    []Growth       `json:"growth"`
	Schedules *ManySchedules `json:"schedules,omitempty"`
	Polls     *ManyPolls     `json:"long_polls,omitempty"`
	Flood     *FloodResult   `json:"log_flood,omitempty"`
	Missed    []string       `json:"missed"` // targets that were not met
}

// SizeResult is about a server with so many runs.
type SizeResult struct {
	Runs      int           `json:"runs"`
	ReadyS    float64       `json:"start_to_ready_s"`
	ReadyMiB  float64       `json:"ready_rss_anon_mib"`
	AfterMiB  float64       `json:"rss_anon_mib_after_queries"`
	ListMs    float64       `json:"flow_run_ls_p50_ms"` // the whole process
	Queries   []QueryResult `json:"queries"`
	Scheduler SchedulerCost `json:"scheduler"`
}

// Growth is how a query's median grew from one size to the next.
type Growth struct {
	Name   string    `json:"name"`
	Median []float64 `json:"p50_ms"`
	P99    []float64 `json:"p99_ms"`
}

// Million measures servers with growing numbers of stored runs, and one without: many schedules, many long polls, a flood of logs.
func Million(ctx context.Context, c MillionConfig) (r MillionResult, err error) {
	fresh := func(name string, measure func(s *Server) error) error {
		return withServer(ctx, c.Binary, filepath.Join(c.Dir, name), func(s *Server, _ time.Duration) error { return measure(s) })
	}
	err = fresh("idle", func(s *Server) error {
		r.IdleMiB, err = s.anonymous()
		return err
	})
	if err != nil {
		return r, err
	}
	r.over("P6: memory of an idle server", r.IdleMiB, 60)
	for i, p := range c.Sizes {
		c.Progress("%d runs", p.Runs)
		one, err := measureSize(ctx, c, p)
		if err != nil {
			return r, fmt.Errorf("%d runs: %w", p.Runs, err)
		}
		r.Sizes = append(r.Sizes, one)
		for k, q := range one.Queries {
			if i == 0 {
				r.Growth = append(r.Growth, Growth{Name: q.Name})
			}
			r.Growth[k].Median, r.Growth[k].P99 = append(r.Growth[k].Median, q.Median), append(r.Growth[k].P99, q.P99)
		}
	}
	if n := len(r.Sizes); n > 0 {
		r.judge(r.Sizes[0], r.Sizes[n-1])
	}
	if c.Load > 0 {
		c.Progress("lives with and without a flood of logs")
		if err := fresh("flood", func(s *Server) error { r.Flood, err = Flood(ctx, s.host, c.Load); return err }); err != nil {
			return r, err
		}
		r.over("P11: a request's p99 with the flood, over that without", r.Flood.Ratio, 2)
	}
	if c.Polls > 0 {
		c.Progress("%d long polls", c.Polls)
		if err := fresh("polls", func(s *Server) error { r.Polls, err = measurePolls(ctx, s, c.Polls); return err }); err != nil {
			return r, err
		}
		r.over("P10: memory of the long polls", r.Polls.MiB, 300)
		r.over("P10: CPU of the long polls, percent of a core", r.Polls.CPUPercent, 10)
	}
	if c.Schedules > 0 {
		c.Progress("%d schedules", c.Schedules)
		if err := fresh("schedules", func(s *Server) error {
			r.Schedules, err = measureSchedules(ctx, s, c.Schedules, c.Progress)
			return err
		}); err != nil {
			return r, err
		}
		r.over("P9: memory of the schedules", r.Schedules.MiB, 200)
		r.over("P9: lateness p99 in ms, at most", r.Schedules.Claimable.P99, 100)
	}
	return r, nil
}

func (r *MillionResult) over(what string, is, most float64) {
	if is > most || is < 0 {
		r.Missed = append(r.Missed, fmt.Sprintf("%s: %.2f, target %.2f", what, is, most))
	}
}

// judge compares the largest size with the targets, and with the smallest.
func (r *MillionResult) judge(small, large SizeResult) {
	r.over("P6: memory with the runs stored", max(large.ReadyMiB, large.AfterMiB), 400)
	r.over("P7: start until ready, s", large.ReadyS, 2)
	r.over("P12: flow-run ls, ms", large.ListMs, 30)
	for _, q := range large.Queries {
		if q.Target > 0 {
			r.over("P5: "+q.Name+", p99 ms", q.P99, q.Target)
		}
	}
	for what, cost := range map[string][2]float64{"claiming": {small.Scheduler.ClaimCPUMs, large.Scheduler.ClaimCPUMs}, "scheduling": {small.Scheduler.ScheduleCPUMs, large.Scheduler.ScheduleCPUMs},
		"late marking": {small.Scheduler.LateCPUMs, large.Scheduler.LateCPUMs}} {
		if cost[0] > 0 {
			r.over(what+": CPU with many runs over that with few", cost[1]/cost[0], 1.5)
		}
	}
}

// withServer runs measure on a single server with that data directory.
func withServer(ctx context.Context, binary, dir string, measure func(s *Server, ready time.Duration) error) (err error) {
	host, err := freeAddress()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return fmt.Errorf("make a directory for the server: %w", err)
	}
	s := &Server{binary: binary, host: host, log: dir + ".log", args: []string{"server", "start", "--data-dir", dir, "--http-addr", host, "--internal-addr", "127.0.0.1:0",
		"--gossip-addr", "127.0.0.1:0", "--log-level", "warn", "--drain-delay", "1ms", "--auth", "off"}}
	begin := time.Now()
	if err := s.start(); err != nil {
		return err
	}
	defer func() { s.signal(syscall.SIGTERM); s.wait() }()
	if err := s.waitReady(ctx); err != nil {
		return err
	}
	return measure(s, time.Since(begin))
}

func measureSize(ctx context.Context, c MillionConfig, p Prepared) (r SizeResult, err error) {
	r.Runs = p.Runs
	// The first start brings indexes up to date and the files into their final shape; the second is the one that counts.
	if err := withServer(ctx, c.Binary, p.Dir, func(s *Server, _ time.Duration) error { return answersReads(ctx, s) }); err != nil {
		return r, err
	}
	err = withServer(ctx, c.Binary, p.Dir, func(s *Server, ready time.Duration) error {
		r.ReadyS = ready.Seconds()
		var err error
		if r.ReadyMiB, err = s.anonymous(); err != nil {
			return err
		}
		if r.Queries, err = Queries(ctx, s.host, p.Until, 200, time.Second); err != nil {
			return err
		}
		if r.AfterMiB, err = s.anonymous(); err != nil {
			return err
		}
		if r.ListMs, err = listProcess(ctx, c, s); err != nil {
			return err
		}
		r.Scheduler, err = measureScheduler(ctx, s)
		return err
	})
	return r, err
}

// answersReads waits until lists are answered: after an upgrade that brought an index they are refused until it is filled. It polls.
func answersReads(ctx context.Context, s *Server) error {
	for {
		c, err := dial(s.host)
		if err != nil {
			return err
		}
		status, _, err := c.post("/api/flow_runs/count", []byte(`{}`))
		c.close()
		if err == nil && status == 200 {
			return nil
		}
		if err := sleepUntil(ctx, time.Now().Add(200*time.Millisecond)); err != nil {
			return err
		}
	}
}

// listProcess is how long the command line takes to list flow runs, from the start of the process to its end.
func listProcess(ctx context.Context, c MillionConfig, s *Server) (float64, error) {
	var spent samples
	for range 21 {
		command := exec.CommandContext(ctx, c.Binary, "flow-run", "ls")
		command.Env = append(os.Environ(), "SLUICE_HOME="+filepath.Join(c.Dir, "home"), "SLUICE_API_URL=http://"+s.host+"/api")
		begin := time.Now()
		if out, err := command.CombinedOutput(); err != nil {
			return 0, fmt.Errorf("flow-run ls: %w\n%s", err, out)
		}
		spent = append(spent, time.Since(begin))
	}
	return milliseconds(spent.quantile(0.5)), nil
}

// anonymous is the server's anonymous memory (RssAnon) in MiB.
func (s *Server) anonymous() (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.process.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("read the server's memory: %w", err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, found := strings.CutPrefix(line, "RssAnon:"); found {
			kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			return kib / 1024, err
		}
	}
	return 0, errors.New("the kernel does not tell RssAnon")
}

// cpu is the processor time that the server has used.
func (s *Server) cpu() (time.Duration, error) {
	// The clock of another process's processor time, as clock_getcpuclockid(3) makes its number.
	clock := ^int32(s.process.Process.Pid)<<3 | 2
	var spent unix.Timespec
	if err := unix.ClockGettime(clock, &spent); err != nil {
		return 0, fmt.Errorf("read the server's processor time: %w", err)
	}
	return time.Duration(spent.Nano()), nil
}

// spends returns the processor time that the server spends while do runs.
func (s *Server) spends(do func() error) (time.Duration, error) {
	before, err := s.cpu()
	if err != nil {
		return 0, err
	}
	if err := do(); err != nil {
		return 0, err
	}
	after, err := s.cpu()
	return after - before, err
}

// Slowest returns the queries of a result that took longest, for people.
func (r SizeResult) Slowest(n int) []QueryResult {
	all := slices.Clone(r.Queries)
	slices.SortFunc(all, func(a, b QueryResult) int { return int(1000 * (b.P99 - a.P99)) })
	return all[:min(n, len(all))]
}
