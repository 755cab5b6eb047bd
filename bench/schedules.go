package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

// SchedulesConfig says what is scheduled.
type SchedulesConfig struct {
	Deployments int
	Interval    time.Duration // of each; all are due at the same moments
	Duration    time.Duration
	// Kills is how often the leader is killed with SIGKILL, evenly over the duration; it is started again at once.
	Kills int
	// Seed of the moments of the kills within their intervals.
	Seed uint64
	// Progress is told what happens; may be nil.
	Progress func(format string, args ...any)
}

// SchedulesResult is what became of the fire times. Missed, Doubled and Unfinished must be 0.
type SchedulesResult struct {
	Fires      int `json:"fires"`      // promised
	Missed     int `json:"missed"`     // without a run, or with a run that nobody was given
	Doubled    int `json:"doubled"`    // with more than one run, or one that two were given
	Unfinished int `json:"unfinished"` // whose run did not complete in one attempt
	// Claimable is from due to offered to the queues, as the servers count it: the bound of the bucket that holds the quantile.
	// What happened within failoverAfter after a kill is left out.
	Claimable Claimable `json:"due_to_claimable"`
	// Lateness is from due to the grant's arrival at the agent, which comes after the run was claimable.
	Lateness Lateness `json:"due_to_claimed"`
	// Failover is the same of the runs that were due within failoverBefore before and failoverAfter after a kill.
	Failover Lateness `json:"due_to_claimed_around_a_kill"`
}

// Lateness are the quantiles of one group of runs.
type Lateness struct {
	Runs    int     `json:"runs"`
	Median  float64 `json:"median_ms"`
	P99     float64 `json:"p99_ms"`
	Longest float64 `json:"max_ms"`
}

// Claimable are bounds of quantiles of the servers' histogram.
type Claimable struct {
	Runs   int     `json:"runs"`
	Median float64 `json:"median_at_most_ms"`
	P99    float64 `json:"p99_at_most_ms"`
}

func lateness(s samples) Lateness {
	return Lateness{Runs: len(s), Median: milliseconds(s.quantile(0.5)), P99: milliseconds(s.quantile(0.99)), Longest: milliseconds(s.quantile(1))}
}

// What is due this long before or after a kill counts as failover.
const (
	failoverBefore = time.Second
	failoverAfter  = 4 * time.Second
)

// claimers is how many agents claim, each with one request at a time; executors how many of its runs each reports at once.
const (
	claimers  = 6
	executors = 8
	claimSize = 100
)

// schedules is one measurement.
type schedules struct {
	config SchedulesConfig
	conn   *client.Client
	queue  api.ID

	mu     sync.Mutex // guards what follows
	grants map[api.ID][]given

	// For the measuring goroutine alone: the servers' histogram of what counts, and what it was when counting began.
	counted, base histogram
}

// given is a lease as it arrived at an agent.
type given struct {
	at    time.Time
	token string
	agent int
}

// Schedules makes deployments that are due at the same moments, claims and completes their runs, kills the leader meanwhile,
// and compares what happened with the schedules.
func Schedules(ctx context.Context, n *Nodes, c SchedulesConfig) (SchedulesResult, error) {
	if c.Progress == nil {
		c.Progress = func(string, ...any) {}
	}
	conn, err := client.New(client.Config{Addresses: n.APIs(), RetryFor: -1})
	if err != nil {
		return SchedulesResult{}, err
	}
	defer conn.Close()
	s := &schedules{config: c, conn: conn, grants: map[api.ID][]given{}, counted: histogram{}}
	deployments, err := s.deploy(ctx)
	if err != nil {
		return SchedulesResult{}, err
	}
	working, stop := context.WithCancel(ctx)
	var agents sync.WaitGroup
	failures := make([]error, claimers)
	for i := range claimers {
		agents.Go(func() { failures[i] = s.agent(working, n.APIs(), i) })
	}
	finish := sync.OnceFunc(func() { stop(); agents.Wait() })
	defer finish()
	begin := time.Now().Add(2 * time.Second).Truncate(c.Interval).Add(c.Interval)
	end := begin.Add(c.Duration)
	c.Progress("%d deployments every %s from %s", c.Deployments, c.Interval, begin.Format(time.TimeOnly))
	if s.base, err = n.claimable(ctx); err != nil {
		return SchedulesResult{}, err
	}
	kills, err := s.kill(ctx, n, begin, end)
	if err != nil {
		return SchedulesResult{}, err
	}
	if err := sleepUntil(ctx, end); err != nil {
		return SchedulesResult{}, err
	}
	runs, err := s.settled(ctx, begin, end)
	if err != nil {
		return SchedulesResult{}, err
	}
	last, err := n.claimable(ctx)
	if err != nil {
		return SchedulesResult{}, err
	}
	s.counted.add(last, s.base)
	finish()
	if err := errors.Join(failures...); err != nil {
		return SchedulesResult{}, err
	}
	return s.compare(deployments, runs, kills, begin, end), nil
}

// deploy makes the deployments and a queue that serves them.
func (s *schedules) deploy(ctx context.Context) (map[api.ID]bool, error) {
	flow, err := s.conn.CreateFlow(ctx, api.FlowCreate{Name: "bench-schedules"})
	if err != nil {
		return nil, err
	}
	queue, err := s.conn.CreateWorkQueue(ctx, api.WorkQueueCreate{Name: "bench-schedules", Filter: &api.QueueFilter{Tags: []string{"bench-schedules"}}})
	if err != nil {
		return nil, err
	}
	s.queue = queue.ID
	deployments := map[api.ID]bool{}
	for i := range s.config.Deployments {
		d, err := s.conn.CreateDeployment(ctx, api.DeploymentCreate{Name: fmt.Sprintf("every-%s-%d", s.config.Interval, i), FlowID: flow.ID, Tags: []string{"bench-schedules"},
			FlowData: api.DataDocument{Encoding: api.EncodingCommand, Blob: `["true"]`}, Catchup: api.CatchupAll,
			Schedule: &api.Schedule{Interval: &api.IntervalSchedule{Interval: api.Duration(s.config.Interval)}}})
		if err != nil {
			return nil, err
		}
		deployments[d.ID] = true
	}
	return deployments, nil
}

// agent claims runs and reports them as an agent does whose flows take no time, until ctx ends. Its first address is another
// node than its neighbour's.
func (s *schedules) agent(ctx context.Context, addresses []string, i int) error {
	first := i % len(addresses)
	conn, err := client.New(client.Config{Addresses: append(slices.Clone(addresses[first:]), addresses[:first]...), RetryFor: -1})
	if err != nil {
		return err
	}
	defer conn.Close()
	host, _ := os.Hostname() // only a label
	agent := api.NewID()
	if _, err := conn.RegisterAgent(ctx, api.AgentRegister{ID: agent, Name: fmt.Sprint("bench-", i), Hostname: host, PID: os.Getpid(), Version: "bench", WorkQueueIDs: []api.ID{s.queue}}); err != nil {
		return err
	}
	work := make(chan api.Grant, claimPages*claimSize)
	held := &held{tokens: map[api.ID]string{}}
	var executing sync.WaitGroup
	defer executing.Wait()
	defer close(work)
	for range executors {
		executing.Go(func() {
			for g := range work {
				s.execute(ctx, conn, g)
				held.drop(g.FlowRun.ID)
			}
		})
	}
	executing.Go(func() { held.beat(ctx, conn, agent) })
	for {
		claimed, err := conn.Claim(ctx, agent, api.Claim{WorkQueueIDs: []api.ID{s.queue}, Limit: claimSize, WaitSeconds: api.Duration(10 * time.Second), ClaimID: api.NewID()})
		at := time.Now()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("claim: %w", err)
		}
		held.take(claimed.Grants)
		s.mu.Lock()
		for _, g := range claimed.Grants {
			s.grants[g.FlowRun.ID] = append(s.grants[g.FlowRun.ID], given{at, g.Token, i})
		}
		s.mu.Unlock()
		for _, g := range claimed.Grants {
			work <- g
		}
	}
}

// claimPages is how many claims' runs may wait for an executor.
const claimPages = 10

// execute reports a run from Running to Completed. When it is not known whether Running was stored, the run tells.
func (s *schedules) execute(ctx context.Context, conn *client.Client, g api.Grant) {
	running := api.SetState{State: api.NewState(api.Running, "")}
	for {
		_, err := conn.SetFlowRunState(ctx, g.FlowRun.ID, running, g.Token)
		if err == nil || ctx.Err() != nil {
			break
		}
		stored, problem := conn.FlowRun(ctx, g.FlowRun.ID)
		if problem != nil || stored.State.Type != api.Pending {
			break
		}
	}
	if _, err := conn.SetFlowRunState(ctx, g.FlowRun.ID, api.SetState{State: api.NewState(api.Completed, "")}, g.Token); err != nil && ctx.Err() == nil {
		s.config.Progress("run %s was not completed: %v", g.FlowRun.ID, err)
	}
}

// kill kills the leader as often as configured and returns when.
func (s *schedules) kill(ctx context.Context, n *Nodes, begin, end time.Time) ([]time.Time, error) {
	var kills []time.Time
	random := rand.New(rand.NewPCG(s.config.Seed, 0))
	for i := range s.config.Kills {
		at := begin.Add(end.Sub(begin) * time.Duration(i+1) / time.Duration(s.config.Kills+1)).Truncate(s.config.Interval).Add(time.Duration(random.Int64N(int64(s.config.Interval))))
		if err := sleepUntil(ctx, at); err != nil {
			return nil, err
		}
		lead, err := n.leader(ctx)
		if err != nil {
			return nil, err
		}
		before, err := n.claimable(ctx)
		if err != nil {
			return nil, err
		}
		s.counted.add(before, s.base)
		lead.signal(syscall.SIGKILL)
		kills = append(kills, time.Now())
		lead.wait()
		s.config.Progress("the leader was killed at %s", kills[i].Format("15:04:05.000"))
		if err := lead.restart(ctx); err != nil {
			return nil, err
		}
		if err := sleepUntil(ctx, kills[i].Add(failoverAfter)); err != nil {
			return nil, err
		}
		if s.base, err = n.claimable(ctx); err != nil {
			return nil, err
		}
	}
	return kills, nil
}

func sleepUntil(ctx context.Context, at time.Time) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Until(at)):
		return nil
	}
}

// settled returns the runs of the fire times when all have ended, or after a while. It polls: thousands of streams would be
// the load.
func (s *schedules) settled(ctx context.Context, begin, end time.Time) ([]api.FlowRun, error) {
	after, before := api.At(begin), api.At(end.Add(-time.Microsecond))
	for deadline := time.Now().Add(readyPatience); ; {
		runs, err := client.Each(func(page api.Page) ([]api.FlowRun, error) {
			return s.conn.FilterFlowRuns(ctx, api.FilterRequest{Page: page, Sort: api.SortExpectedStartTimeAsc,
				Filters: api.Filters{FlowRuns: &api.FlowRunFilter{Tags: &api.TagsAll{All: []string{"bench-schedules"}}, ExpectedStartTime: &api.TimeRange{After: &after, Before: &before}}}})
		})
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(runs, func(r api.FlowRun) bool { return !r.State.Type.Terminal() }) || time.Now().After(deadline) {
			return runs, nil
		}
		if err := sleepUntil(ctx, time.Now().Add(time.Second)); err != nil {
			return nil, err
		}
	}
}

// compare looks at each fire time of each deployment.
func (s *schedules) compare(deployments map[api.ID]bool, runs []api.FlowRun, kills []time.Time, begin, end time.Time) SchedulesResult {
	type fire struct {
		deployment api.ID
		due        int64
	}
	made := map[fire][]api.FlowRun{}
	for _, r := range runs {
		if r.DeploymentID != nil && r.ExpectedStartTime != nil {
			f := fire{*r.DeploymentID, r.ExpectedStartTime.UnixMicro()}
			made[f] = append(made[f], r)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var result SchedulesResult
	var usual, around samples
	for id := range deployments {
		for due := begin; due.Before(end); due = due.Add(s.config.Interval) {
			result.Fires++
			found := made[fire{id, due.UnixMicro()}]
			delete(made, fire{id, due.UnixMicro()})
			switch {
			case len(found) == 0:
				result.Missed++
				continue
			case len(found) > 1:
				result.Doubled++
			}
			switch given := s.grants[found[0].ID]; len(given) {
			case 0:
				result.Missed++
			case 1:
				if slices.ContainsFunc(kills, func(k time.Time) bool { return due.After(k.Add(-failoverBefore)) && due.Before(k.Add(failoverAfter)) }) {
					around = append(around, given[0].at.Sub(due))
				} else {
					usual = append(usual, given[0].at.Sub(due))
				}
			default:
				result.Doubled++
				for _, g := range given {
					s.config.Progress("run %s was given to agent %d %s after it was due, token %s", found[0].ID, g.agent, g.at.Sub(due).Round(time.Millisecond), g.token)
				}
			}
			if found[0].State.Type != api.Completed || found[0].RunCount != 1 {
				result.Unfinished++
				s.config.Progress("run %s is %s after %d attempts", found[0].ID, found[0].State.Name, found[0].RunCount)
			}
		}
	}
	result.Doubled += len(made) // at times that no schedule gives
	result.Claimable = Claimable{Runs: int(s.counted[math.Inf(1)]), Median: s.counted.bound(0.5), P99: s.counted.bound(0.99)}
	result.Lateness, result.Failover = lateness(usual), lateness(around)
	return result
}
