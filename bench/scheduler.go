package bench

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

// SchedulerCost is the server's processor time for what the leader does, per run.
type SchedulerCost struct {
	ClaimCPUMs    float64 `json:"claim_cpu_ms_per_run"`
	Claim50Ms     float64 `json:"claim_of_10_p50_ms"`
	ScheduleCPUMs float64 `json:"schedule_cpu_ms_per_deployment"` // with its first hundred runs
	LateCPUMs     float64 `json:"late_cpu_ms_per_run"`
	Late99Ms      float64 `json:"late_after_deadline_p99_ms"`
}

const (
	// probes is how many runs are claimed in a round, and marked late.
	probes = 500
	// scheduledAtOnce is how many deployments get a schedule in a round; planned is how many runs each of them then has.
	scheduledAtOnce = 20
	planned         = 100
	// rounds of each are made, and the median counts: the store's own work in the background falls into some of them.
	rounds = 5
	// lateAfter is how long after its time a run that nobody has claimed is marked late.
	lateAfter = 5 * time.Second
)

// measureScheduler makes runs that are due, claims some of them and lets the others become late; then deployments with schedules.
func measureScheduler(ctx context.Context, s *Server) (r SchedulerCost, err error) {
	conn, err := client.New(client.Config{Addresses: []string{"http://" + s.host + "/api"}})
	if err != nil {
		return r, err
	}
	defer conn.Close()
	tag := "probe-" + api.NewID().String()
	flow, err := conn.CreateFlow(ctx, api.FlowCreate{Name: tag})
	if err != nil {
		return r, err
	}
	queue, err := conn.CreateWorkQueue(ctx, api.WorkQueueCreate{Name: tag, Filter: &api.QueueFilter{Tags: []string{tag}}})
	if err != nil {
		return r, err
	}
	agent := api.NewID()
	if _, err := conn.RegisterAgent(ctx, api.AgentRegister{ID: agent, Name: tag, Version: "bench", WorkQueueIDs: []api.ID{queue.ID}}); err != nil {
		return r, err
	}
	due := func(tag string) error {
		d, err := conn.CreateDeployment(ctx, api.DeploymentCreate{Name: tag, FlowID: flow.ID, Tags: []string{tag}, FlowData: api.DataDocument{Encoding: api.EncodingCommand, Blob: `["true"]`}})
		if err != nil {
			return err
		}
		c, err := dial(s.host)
		if err != nil {
			return err
		}
		defer c.close()
		for range probes {
			status, answer, err := c.post("/api/deployments/"+d.ID.String()+"/create_flow_run", []byte(`{"state":{"type":"SCHEDULED"}}`))
			if err != nil || status != 201 {
				return fmt.Errorf("create a flow run: %d %s %w", status, answer, err)
			}
		}
		return nil
	}
	var spent, costs samples
	for range rounds {
		if err := due(tag); err != nil {
			return r, err
		}
		cost, err := s.spends(func() error {
			for claimed := 0; claimed < probes; {
				begin := time.Now()
				granted, err := conn.Claim(ctx, agent, api.Claim{WorkQueueIDs: []api.ID{queue.ID}, Limit: 10, WaitSeconds: api.Duration(time.Second), ClaimID: api.NewID()})
				if err != nil {
					return fmt.Errorf("claim: %w", err)
				}
				if len(granted.Grants) == 0 {
					return fmt.Errorf("%d of %d runs were granted", claimed, probes)
				}
				claimed += len(granted.Grants)
				spent = append(spent, time.Since(begin))
			}
			return nil
		})
		if err != nil {
			return r, err
		}
		costs = append(costs, cost)
	}
	r.ClaimCPUMs, r.Claim50Ms = milliseconds(costs.quantile(0.5))/probes, milliseconds(spent.quantile(0.5))

	// Late: of a tag that no queue wants.
	if err := due("late-" + tag); err != nil {
		return r, err
	}
	late := api.FilterRequest{Filters: api.Filters{FlowRuns: &api.FlowRunFilter{Tags: &api.TagsAll{All: []string{"late-" + tag}}, State: &api.StateFilter{Name: &api.NameAny{Any: []string{"Late"}}}}}}
	counted := func(filters api.Filters, wanted int, every, patience time.Duration) error {
		for deadline := time.Now().Add(patience); ; {
			// It polls, seldom: looking is part of what is measured.
			if err := sleepUntil(ctx, time.Now().Add(every)); err != nil {
				return err
			}
			n, err := conn.CountFlowRuns(ctx, filters)
			if err != nil || n >= wanted {
				return err
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("%d of %d runs after %s", n, wanted, patience)
			}
		}
	}
	cost, err := s.spends(func() error { return counted(late.Filters, probes, time.Second, 6*lateAfter) })
	if err != nil {
		return r, fmt.Errorf("runs that become late: %w", err)
	}
	r.LateCPUMs = milliseconds(cost) / probes
	runs, err := conn.FilterFlowRuns(ctx, late)
	if err != nil {
		return r, err
	}
	spent = nil
	for _, run := range runs {
		spent = append(spent, run.State.Timestamp.Time.Sub(run.ExpectedStartTime.Time)-lateAfter)
	}
	r.Late99Ms = milliseconds(spent.quantile(0.99))

	// Those that were claimed or are late have other states.
	scheduled := api.Filters{Flows: &api.FlowFilter{ID: &api.IDAny{Any: []api.ID{flow.ID}}}, FlowRuns: &api.FlowRunFilter{State: &api.StateFilter{Name: &api.NameAny{Any: []string{"Scheduled"}}}}}
	costs = nil
	for round := range rounds {
		cost, err := s.spends(func() error {
			for i := range scheduledAtOnce {
				if _, err := conn.CreateDeployment(ctx, deploymentEvery(flow.ID, fmt.Sprintf("every-%d-%d", round, i), nil, time.Hour, time.Now().Add(time.Hour))); err != nil {
					return err
				}
			}
			return counted(scheduled, (round+1)*scheduledAtOnce*planned, 100*time.Millisecond, time.Minute)
		})
		if err != nil {
			return r, fmt.Errorf("runs of schedules: %w", err)
		}
		costs = append(costs, cost)
	}
	r.ScheduleCPUMs = milliseconds(costs.quantile(0.5)) / scheduledAtOnce
	return r, nil
}

func deploymentEvery(flow api.ID, name string, tags []string, interval time.Duration, anchor time.Time) api.DeploymentCreate {
	at := api.ZonedTime{Time: anchor}
	return api.DeploymentCreate{Name: name, FlowID: flow, Tags: tags, FlowData: api.DataDocument{Encoding: api.EncodingCommand, Blob: `["true"]`},
		Schedule: &api.Schedule{Interval: &api.IntervalSchedule{Interval: api.Duration(interval), AnchorDate: &at}}}
}

// ManySchedules is what a server with many active schedules does.
type ManySchedules struct {
	Schedules int       `json:"schedules"`
	MadeS     float64   `json:"made_s"` // until all had an upcoming run
	MiB       float64   `json:"rss_anon_mib"`
	RestartS  float64   `json:"restart_to_ready_s"`
	Claimable Claimable `json:"due_to_claimable"`
}

// measureSchedules makes n deployments with schedules that fall due evenly, restarts the server, and watches it.
func measureSchedules(ctx context.Context, s *Server, n int, progress func(string, ...any)) (*ManySchedules, error) {
	r := &ManySchedules{Schedules: n}
	idle, err := s.anonymous()
	if err != nil {
		return nil, err
	}
	caller, err := client.New(client.Config{Addresses: []string{"http://" + s.host + "/api"}})
	if err != nil {
		return nil, err
	}
	defer caller.Close()
	flow, err := caller.CreateFlow(ctx, api.FlowCreate{Name: "bench-many"})
	if err != nil {
		return nil, err
	}
	queue, err := caller.CreateWorkQueue(ctx, api.WorkQueueCreate{Name: "bench-many", Filter: &api.QueueFilter{Tags: []string{"many"}}})
	if err != nil {
		return nil, err
	}
	// 50 fire a second, as long as this takes; the first ones some minutes from now.
	const perSecond = 50
	begin := time.Now()
	interval := time.Duration(n/perSecond) * time.Second
	err = inParallel(ctx, 32, n, func(c *conn, i int) error {
		anchor := begin.Add(time.Duration(i) * interval / time.Duration(n)).UTC().Format(time.RFC3339Nano)
		status, answer, err := c.post("/api/deployments/", []byte(`{"name":"d`+strconv.Itoa(i)+`","flow_id":"`+flow.ID.String()+`","tags":["many"],"flow_data":{"encoding":"command","blob":"[\"true\"]"},`+
			`"schedule":{"interval":`+strconv.FormatFloat(interval.Seconds(), 'f', 1, 64)+`,"anchor_date":"`+anchor+`"}}`))
		if err == nil && status != 201 {
			err = fmt.Errorf("create a deployment: %d %s", status, answer)
		}
		return err
	}, s.host)
	if err != nil {
		return nil, err
	}
	progress("they are made after %s", time.Since(begin).Round(time.Second))
	// The first runs are made when there are so many, and those ahead of them when no more come than are used up.
	for before := 0.0; ; {
		text, err := fetch(ctx, "http://"+s.host+"/metrics")
		if err != nil {
			return nil, err
		}
		made := metric(text, "sluice_scheduler_runs_made_total")
		if made >= float64(n) && made-before < 4*perSecond {
			break
		}
		before = made
		if err := sleepUntil(ctx, time.Now().Add(time.Second)); err != nil {
			return nil, err
		}
	}
	r.MadeS = time.Since(begin).Seconds()
	s.signal(15)
	s.wait()
	restart := time.Now()
	if err := s.restart(ctx); err != nil {
		return nil, err
	}
	r.RestartS = time.Since(restart).Seconds()
	read := func() (histogram, error) {
		text, err := fetch(ctx, "http://"+s.host+"/metrics")
		if err != nil {
			return nil, err
		}
		return parseHistogram(text, "sluice_scheduler_claimable_lateness_seconds")
	}
	// Somebody takes the runs, or they would wait for each other. What fell due while the server was away comes first.
	work := &schedules{config: SchedulesConfig{Progress: progress}, conn: caller, queue: queue.ID, grants: map[api.ID][]given{}}
	working, stop := context.WithCancel(ctx)
	var agents sync.WaitGroup
	defer agents.Wait()
	defer stop()
	agents.Go(func() {
		if err := work.agent(working, []string{"http://" + s.host + "/api"}, 0); err != nil {
			progress("an agent ended: %v", err)
		}
	})
	if err := sleepUntil(ctx, time.Now().Add(20*time.Second)); err != nil {
		return nil, err
	}
	base, err := read()
	if err != nil {
		return nil, err
	}
	if err := sleepUntil(ctx, time.Now().Add(15*time.Second)); err != nil {
		return nil, err
	}
	last, err := read()
	if err != nil {
		return nil, err
	}
	counted := histogram{}
	counted.add(last, base)
	r.Claimable = Claimable{Runs: int(counted[math.Inf(1)]), Median: counted.bound(0.5), P99: counted.bound(0.99)}
	is, err := s.anonymous()
	r.MiB = is - idle
	return r, err
}

// metric is the value of a metric without labels, 0 when there is none.
func metric(text, name string) float64 {
	for line := range strings.Lines(text) {
		if rest, found := strings.CutPrefix(line, name+" "); found {
			v, _ := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			return v
		}
	}
	return 0
}
