package main

import (
	"strings"
	"testing"

	"github.com/sluice-dev/sluice/api"
)

func TestTheDoctorSaysWhyNobodyExecutesADeployment(t *testing.T) {
	t.Parallel()
	kind := "subprocess"
	d := &namedDeployment{Deployment: api.Deployment{ID: api.NewID(), Name: "d", Tags: []string{"a", "b"}, FlowRunner: api.FlowRunnerSettings{Type: &kind}}, flow: "f"}
	other, zero := api.NewID(), 0
	queue := func(f api.QueueFilter, change func(*api.WorkQueue)) api.WorkQueue {
		q := api.WorkQueue{ID: api.NewID(), Name: "q", Filter: f}
		if change != nil {
			change(&q)
		}
		return q
	}
	matching := queue(api.QueueFilter{Tags: []string{"a"}, DeploymentIDs: []api.ID{other, d.ID}, FlowRunnerTypes: []string{"subprocess"}}, nil)
	agent := func(live, draining bool) api.Agent {
		return api.Agent{Name: "worker-1", WorkQueueIDs: []api.ID{matching.ID}, Live: live, Draining: draining}
	}
	for name, c := range map[string]struct {
		queues []api.WorkQueue
		agents []api.Agent
		want   string
		try    string
	}{
		"no queue": {nil, nil, "no work queue takes its runs; it has the tags a, b", "sluice work-queue create --deployment " + d.ID.String()},
		"queues of others": {[]api.WorkQueue{queue(api.QueueFilter{Tags: []string{"a", "c"}}, nil), queue(api.QueueFilter{DeploymentIDs: []api.ID{other}}, nil),
			queue(api.QueueFilter{FlowRunnerTypes: []string{"docker"}}, nil)}, nil, "no work queue takes its runs", "sluice work-queue create"},
		"a paused queue": {[]api.WorkQueue{queue(api.QueueFilter{}, func(q *api.WorkQueue) { q.IsPaused = true })}, nil, "is paused", "sluice work-queue resume"},
		"a limit of 0":   {[]api.WorkQueue{queue(api.QueueFilter{}, func(q *api.WorkQueue) { q.ConcurrencyLimit = &zero })}, nil, "limit 0", "sluice work-queue resume"},
		"no agent":       {[]api.WorkQueue{matching}, nil, "no live agent serves work queue 'q'", "sluice agent start " + matching.ID.String()},
		"a silent agent": {[]api.WorkQueue{matching}, []api.Agent{agent(false, false)}, "no live agent", "sluice agent start"},
		"a drained one":  {[]api.WorkQueue{matching}, []api.Agent{agent(true, true)}, "is drained", "sluice agent undrain worker-1"},
		"a live agent":   {[]api.WorkQueue{matching}, []api.Agent{agent(true, true), agent(true, false)}, "", ""},
	} {
		if _, try, text := serviceOf(d, c.queues, c.agents); !strings.Contains(text, c.want) || (text == "") != (c.want == "") || !strings.HasPrefix(try, c.try) {
			t.Errorf("%s: %q, try %q", name, text, try)
		}
	}
}

func TestTheDoctorWithoutAServer(t *testing.T) {
	t.Parallel()
	s := newShell(t, "http://127.0.0.1:1/api")
	got := s.run("doctor", "-o", "json")
	if got.code != exitUnreachable || !strings.Contains(got.out, `"status": "error"`) || !strings.Contains(got.out, "sluice server start") {
		t.Errorf("%d %s %s", got.code, got.out, got.err)
	}
}
