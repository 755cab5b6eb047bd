package httpapi

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/row"
)

func TestExplain(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	us := func(d time.Duration) int64 { return now.Add(d).UnixMicro() }
	deployment := []byte("0123456789abcdef")
	run := func(t row.StateType, name string, change func(*row.FlowRun)) *row.FlowRun {
		r := &row.FlowRun{Id: deployment, DeploymentId: deployment, Created: us(-time.Hour), Tags: []string{"dev"},
			State: &row.State{Type: t, Name: name, Timestamp: us(-time.Minute)}}
		if t == row.StateType_SCHEDULED {
			r.NextScheduledStartTime = us(-time.Second)
		}
		if change != nil {
			change(r)
		}
		return r
	}
	one := int32(1)
	queue := func(name string, tags ...string) *row.WorkQueue {
		return &row.WorkQueue{Name: name, Filter: &row.QueueFilter{HasTags: true, Tags: tags}}
	}
	paused, full := queue("paused", "dev"), queue("full", "dev")
	paused.IsPaused, full.ConcurrencyLimit = true, &one
	agents := []string{"a2", "a1"}
	serves := func(q *row.WorkQueue, used int) queueSituation {
		return queueSituation{queue: q, inUse: used, liveAgents: agents, free: true, holders: []api.ExplainHolder{{ID: api.ID(deployment), Name: "tan-lion"}}}
	}
	busy := queueSituation{queue: queue("q", "dev"), liveAgents: agents, busy: 4}
	cases := []struct {
		name    string
		run     *row.FlowRun
		queues  []queueSituation
		renewed time.Time
		codes   string
		text    []string
		waiting bool
	}{
		{"a run that has ended", run(row.StateType_FAILED, "Crashed", func(r *row.FlowRun) { m := "host died"; r.State.Message = &m }), nil, time.Time{},
			"terminal", []string{"Crashed (host died)"}, false},
		{"a run with an owner", run(row.StateType_RUNNING, "Running", func(r *row.FlowRun) { r.Lease = &row.Lease{Owner: "agent 'a' on h", Ttl: 12_000_000} }), nil,
			now.Add(-2 * time.Second), "owned", []string{"agent 'a' on h", "2s ago", "12s"}, false},
		{"a run with an owner not heard of since the leader changed", run(row.StateType_PENDING, "Pending", func(r *row.FlowRun) { r.Lease = &row.Lease{Owner: "x", Granted: us(-5 * time.Second)} }), nil,
			time.Time{}, "owned", []string{"granted 5s ago"}, false},
		{"a run of a client without a lease", run(row.StateType_RUNNING, "Running", nil), nil, time.Time{}, "owner_without_expiry", []string{"holds no lease"}, false},
		{"a run created Pending", run(row.StateType_PENDING, "Pending", func(r *row.FlowRun) { r.State.Timestamp = r.Created }), nil, time.Time{}, "pending_without_schedule", []string{"no agent takes"}, true},
		{"a run whose time has not come", run(row.StateType_SCHEDULED, "Scheduled", func(r *row.FlowRun) { r.NextScheduledStartTime = us(90 * time.Second) }),
			[]queueSituation{serves(queue("q", "dev"), 0)}, time.Time{}, "not_due", []string{"in 1m30s, at 2026-11-23 12:01:30 UTC"}, true},
		{"what will keep it when its time has come is told too", run(row.StateType_SCHEDULED, "Scheduled", func(r *row.FlowRun) { r.NextScheduledStartTime = us(90 * time.Second) }),
			[]queueSituation{serves(paused, 0)}, time.Time{}, "not_due queue_paused", nil, true},
		{"a retry", run(row.StateType_SCHEDULED, "AwaitingRetry", func(r *row.FlowRun) { r.NextScheduledStartTime = us(time.Second) }),
			[]queueSituation{serves(queue("q"), 0)}, time.Time{}, "retry_scheduled", []string{"tried again in 1s, at 2026-11-23 12:00:01 UTC"}, true},
		{"a retry that no agent will take", run(row.StateType_SCHEDULED, "AwaitingRetry", func(r *row.FlowRun) { r.NextScheduledStartTime = us(time.Second) }),
			[]queueSituation{{queue: queue("q")}}, time.Time{}, "retry_scheduled no_live_agent", nil, true},
		{"a queue whose agents are drained", run(row.StateType_SCHEDULED, "Late", nil), []queueSituation{{queue: queue("q", "dev"), draining: []string{"a7"}}}, time.Time{},
			"agents_drained", []string{"'a7'", "sluice agent undrain a7"}, true},
		{"a run without a deployment", run(row.StateType_SCHEDULED, "Late", func(r *row.FlowRun) { r.DeploymentId = nil }), nil, time.Time{}, "no_deployment", nil, true},
		{"no queue at all", run(row.StateType_SCHEDULED, "Late", nil), nil, time.Time{}, "no_queue_matches", []string{"none at all", "--tag dev"}, true},
		{"queues that want something else", run(row.StateType_SCHEDULED, "Late", nil), []queueSituation{serves(queue("prod", "prod"), 0)}, time.Time{},
			"no_queue_matches", []string{"'prod' wants all tags of 'prod'"}, true},
		{"a paused queue and a full one", run(row.StateType_SCHEDULED, "Late", nil), []queueSituation{serves(paused, 0), serves(full, 1)}, time.Time{},
			"queue_paused queue_full", []string{"'paused' is paused", "1 of 1 slots"}, true},
		{"no agent", run(row.StateType_SCHEDULED, "Late", nil), []queueSituation{{queue: full}}, time.Time{}, "no_live_agent", []string{"sluice agent start full"}, true},
		{"commands with names that a shell would act on", run(row.StateType_SCHEDULED, "Late", nil), []queueSituation{
			{queue: queue("my queue; echo pwned", "dev")}, {queue: queue("it's $(id)", "dev")}, {queue: queue("-o", "dev")}, {queue: queue("", "dev")}}, time.Time{},
			"no_live_agent no_live_agent no_live_agent no_live_agent",
			[]string{"sluice agent start 'my queue; echo pwned'", `sluice agent start 'it'\''s $(id)'`, "sluice agent start -- -o", "sluice agent start ''"}, true},
		{"a command with a tag that a shell would act on", run(row.StateType_SCHEDULED, "Late", func(r *row.FlowRun) { r.Tags = []string{"a|b"} }), nil, time.Time{},
			"no_queue_matches", []string{"--tag 'a|b'"}, true},
		{"agents that are all busy", run(row.StateType_SCHEDULED, "Late", nil), []queueSituation{busy}, time.Time{},
			"agents_full", []string{"'a1', 'a2', with 4 runs", "sluice agent start q"}, true},
		{"a full queue and who holds it", run(row.StateType_SCHEDULED, "Late", nil), []queueSituation{serves(full, 1)}, time.Time{},
			"queue_full", []string{"in use, by 'tan-lion'.", "sluice work-queue slots full"}, true},
		{"the criterion of the nearest queue that fails", run(row.StateType_SCHEDULED, "Late", nil),
			[]queueSituation{serves(queue("far", "x", "y"), 0), serves(queue("near", "dev", "gpu"), 0)}, time.Time{},
			"no_queue_matches", []string{"The nearest is 'near': the run lacks the tag 'gpu'."}, true},
		{"one queue that works is enough", run(row.StateType_SCHEDULED, "Late", nil), []queueSituation{{queue: paused}, serves(queue("q", "dev"), 0)}, time.Time{},
			"ready", []string{"'a1', 'a2'"}, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			e := explain(situation{run: c.run, queues: c.queues, now: now, renewed: c.renewed})
			var codes, all []string
			for _, r := range e.Reasons {
				codes = append(codes, r.Code)
				all = append(all, r.Message, r.Unblock, r.Command)
			}
			if got := strings.Join(codes, " "); got != c.codes {
				t.Errorf("codes %q, want %q", got, c.codes)
			}
			for _, text := range c.text {
				if !strings.Contains(strings.Join(all, "\n"), text) {
					t.Errorf("%q is not in\n%s", text, strings.Join(all, "\n"))
				}
			}
			if e.Waiting != c.waiting || e.Summary != e.Reasons[0].Message || e.StateName != c.run.State.Name {
				t.Errorf("unexpected %+v", e)
			}
		})
	}
}

// TestWhatAnExplanationTellsIsThereForProgramsToo: nobody has to read it out of a sentence.
func TestWhatAnExplanationTellsIsThereForProgramsToo(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	id, due := api.NewID(), now.Add(time.Minute)
	holders := []api.ExplainHolder{{ID: api.NewID(), Name: "tan-lion"}}
	deployment := func(change func(*row.FlowRun)) *row.FlowRun {
		r := &row.FlowRun{Id: id[:], DeploymentId: id[:], State: &row.State{Type: row.StateType_SCHEDULED, Name: "Late"}, NextScheduledStartTime: now.Add(-time.Minute).UnixMicro()}
		if change != nil {
			change(r)
		}
		return r
	}
	limit := int32(2)
	queue := &row.WorkQueue{Id: id[:], Name: "q", Filter: &row.QueueFilter{}, ConcurrencyLimit: &limit}
	for _, tt := range []struct {
		name string
		in   situation
		want api.ExplainItem // its code and what is for programs
	}{
		{"when it is due", situation{run: deployment(func(r *row.FlowRun) { r.NextScheduledStartTime = due.UnixMicro() }), queues: []queueSituation{{queue: queue, liveAgents: []string{"a"}, free: true}}},
			api.ExplainItem{Code: api.ExplainNotDue, Due: new(api.At(due))}},
		{"when it is tried again", situation{run: deployment(func(r *row.FlowRun) { r.NextScheduledStartTime, r.State.Name = due.UnixMicro(), "AwaitingRetry" }),
			queues: []queueSituation{{queue: queue, liveAgents: []string{"a"}, free: true}}},
			api.ExplainItem{Code: api.ExplainRetryScheduled, Due: new(api.At(due))}},
		{"which queue is full of what", situation{run: deployment(nil), queues: []queueSituation{{queue: queue, inUse: 2, holders: holders}}},
			api.ExplainItem{Code: api.ExplainQueueFull, WorkQueueID: &id, WorkQueueName: "q", Limit: &api.ExplainLimit{Kind: api.LimitWorkQueue, Name: "q", Limit: 2, InUse: 2, Holders: holders}}},
		{"which agents are drained", situation{run: deployment(nil), queues: []queueSituation{{queue: queue, draining: []string{"a"}}}},
			api.ExplainItem{Code: api.ExplainAgentsDrained, WorkQueueID: &id, WorkQueueName: "q", Agents: []string{"a"}}},
		{"which agents are busy", situation{run: deployment(nil), queues: []queueSituation{{queue: queue, liveAgents: []string{"a"}, busy: 1}}},
			api.ExplainItem{Code: api.ExplainAgentsFull, WorkQueueID: &id, WorkQueueName: "q", Agents: []string{"a"}}},
		{"which deployment has enough runs", situation{run: deployment(nil), deployment: &api.ExplainLimit{Kind: api.LimitDeployment, Name: "d", Limit: 1, InUse: 1, Holders: holders},
			queues: []queueSituation{{queue: queue, liveAgents: []string{"a"}, free: true}}},
			api.ExplainItem{Code: api.ExplainDeploymentFull, Limit: &api.ExplainLimit{Kind: api.LimitDeployment, Name: "d", Limit: 1, InUse: 1, Holders: holders}}},
		{"which tag is full of what", situation{run: deployment(func(r *row.FlowRun) { r.State.Type, r.Lease = row.StateType_RUNNING, &row.Lease{} }),
			tags: []api.ExplainLimit{{Kind: api.LimitTag, Name: "db", Limit: 1, InUse: 1, Holders: holders, TaskRun: &api.ExplainHolder{ID: id, Name: "load-0"}}}},
			api.ExplainItem{Code: api.ExplainTagLimitFull, Limit: &api.ExplainLimit{Kind: api.LimitTag, Name: "db", Limit: 1, InUse: 1, Holders: holders, TaskRun: &api.ExplainHolder{ID: id, Name: "load-0"}}}},
		{"when its owner was heard of", situation{run: deployment(func(r *row.FlowRun) { r.State.Type, r.Lease = row.StateType_RUNNING, &row.Lease{} }), renewed: now.Add(-time.Second)},
			api.ExplainItem{Code: api.ExplainOwned, LastSeen: new(api.At(now.Add(-time.Second)))}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.in.now = now
			got := explain(tt.in).Reasons[0]
			if got.Message == "" || got.Unblock == "" {
				t.Errorf("a person is told %+v", got)
			}
			got.Message, got.Unblock, got.Command = "", "", ""
			gotText, err := json.Marshal(got)
			wantText, err2 := json.Marshal(tt.want)
			if err != nil || err2 != nil || string(gotText) != string(wantText) {
				t.Errorf("got\n%s, want\n%s (%v %v)", gotText, wantText, err, err2)
			}
		})
	}
}
