package httpapi

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

// TestTheGoClient plays the tutorial through our own client: each of its calls meets the real server.
func TestTheGoClient(t *testing.T) { everywhere(t, checkTheGoClient) }

func checkTheGoClient(t *testing.T, at place) {
	s := newStack(t, at)
	seedBlockSpecs(s)
	c, err := client.New(client.Config{Addresses: []string{s.http.URL + "/api"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	ok := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	ok("health", c.Health(ctx))
	if version, err := c.ServerVersion(ctx); err != nil || version != "1.2.3" {
		t.Errorf("version %q %v", version, err)
	}
	if block, err := c.DefaultStorage(ctx); err != nil || block != nil {
		t.Errorf("default storage of an empty server: %v %v", block, err)
	}
	storage := api.BlockTypeStorage
	specs, err := c.FilterBlockSpecs(ctx, api.BlockSpecFilterRequest{Type: &storage})
	ok("block specs", err)
	block, err := c.CreateBlock(ctx, api.BlockCreate{Name: "b", Data: []byte(`{"base_path":"/x"}`), BlockSpecID: specs[0].ID})
	ok("create block", err)
	ok("set default storage", c.SetDefaultStorage(ctx, block.ID))
	if d, err := c.DefaultStorage(ctx); err != nil || d.ID != block.ID || d.BlockSpec.Name != specs[0].Name {
		t.Errorf("default storage: %v %v", d, err)
	}
	ok("clear default storage", c.ClearDefaultStorage(ctx))
	if blocks, err := c.FilterBlocks(ctx, api.BlockFilterRequest{}); err != nil || len(blocks) != 1 {
		t.Errorf("blocks: %v %v", blocks, err)
	}
	_, err = c.Block(ctx, block.ID)
	ok("block", err)
	ok("delete block", c.DeleteBlock(ctx, block.ID))

	ok("put value", c.PutValue(ctx, "k", "é\n\"x\""))
	if v, err := c.Value(ctx, "k"); err != nil || v != "é\n\"x\"" {
		t.Errorf("value %q %v", v, err)
	}
	ok("delete value", c.DeleteValue(ctx, "k"))
	if _, err := c.Value(ctx, "k"); !api.IsNotFound(err) {
		t.Errorf("a deleted value: %v", err)
	}

	flow, err := c.CreateFlow(ctx, api.FlowCreate{Name: "leonardo"})
	ok("create flow", err)
	if byName, err := c.FlowByName(ctx, "leonardo"); err != nil || byName.ID != flow.ID {
		t.Errorf("flow by name: %v %v", byName, err)
	}
	zone := "Europe/Berlin"
	spec := api.DeploymentCreate{
		Name: "d", FlowID: flow.ID, FlowData: api.DataDocument{Encoding: api.EncodingCommand, Blob: `["true"]`}, Tags: []string{"tutorial"},
		Parameters: []byte(`{"name":"Leo"}`), Schedule: &api.Schedule{Cron: &api.CronSchedule{Cron: "0 9 * * *", Timezone: &zone, DayOr: true}}, Catchup: api.CatchupLatest,
	}
	deployment, err := c.CreateDeployment(ctx, spec)
	ok("create deployment", err)
	again, err := c.CreateDeployment(ctx, spec)
	ok("create the deployment again", err)
	if again.Updated != deployment.Updated || again.Catchup != api.CatchupLatest || again.Schedule.Cron.Cron != "0 9 * * *" {
		t.Errorf("an equal put changed the deployment: %+v", again)
	}
	ok("pause", c.SetScheduleActive(ctx, deployment.ID, false))
	ok("resume", c.SetScheduleActive(ctx, deployment.ID, true))
	if byName, err := c.DeploymentByName(ctx, "leonardo", "d"); err != nil || byName.ID != deployment.ID {
		t.Errorf("deployment by name: %v %v", byName, err)
	}

	queue, err := c.CreateWorkQueue(ctx, api.WorkQueueCreate{Name: "q", Filter: &api.QueueFilter{Tags: []string{"tutorial"}}})
	ok("create queue", err)
	ok("limit", c.UpdateWorkQueue(ctx, queue.ID, api.WorkQueueUpdate{ConcurrencyLimit: api.Some(3)}))
	ok("clear limit", c.UpdateWorkQueue(ctx, queue.ID, api.WorkQueueUpdate{ConcurrencyLimit: api.Null[int]()}))
	if q, err := c.WorkQueueByName(ctx, "q"); err != nil || q.ID != queue.ID || q.ConcurrencyLimit != nil || q.WorkQueueNative == nil {
		t.Errorf("queue: %+v %v", q, err)
	}
	if queues, err := c.FilterWorkQueues(ctx, api.Page{}); err != nil || len(queues) != 1 {
		t.Errorf("queues: %v %v", queues, err)
	}

	agent := api.NewID()
	_, err = c.RegisterAgent(ctx, api.AgentRegister{ID: agent, Name: "a", Hostname: "h"})
	ok("register without queues", err)
	_, err = c.Heartbeat(ctx, agent, api.Heartbeat{})
	ok("heartbeat without leases", err)
	scheduled := api.NewState(api.Scheduled, "Quick run")
	run, err := c.RunDeployment(ctx, deployment.ID, api.DeploymentFlowRunCreate{Parameters: []byte(`{"greeting":"Hello"}`), State: &scheduled})
	ok("run deployment", err)
	if runs, err := c.WorkQueueRuns(ctx, queue.ID, api.GetRuns{}); err != nil || len(runs) != 1 || string(runs[0].Parameters) != `{"greeting":"Hello","name":"Leo"}` {
		t.Errorf("preview: %v %v", runs, err)
	}
	claimed, err := c.Claim(ctx, agent, api.Claim{WorkQueueIDs: []api.ID{queue.ID, agent}, Limit: 1, WaitSeconds: 0, ClaimID: api.NewID()})
	ok("claim", err)
	if len(claimed.Grants) != 1 || claimed.Grants[0].FlowRun.ID != run.ID || len(claimed.MissingQueues) != 1 || claimed.Grants[0].TTLSeconds.Std() != 12*time.Second {
		t.Fatalf("claimed %+v", claimed)
	}
	token := claimed.Grants[0].Token
	version := "v1"
	ok("update run", c.UpdateFlowRun(ctx, run.ID, api.FlowRunUpdate{FlowVersion: api.Some(version)}))
	result, err := c.SetFlowRunState(ctx, run.ID, api.SetState{State: api.NewState(api.Running, "")}, token)
	ok("running", err)
	if result.Status != api.Accept || result.State.Type != api.Running || *result.State.Actor != "local" {
		t.Errorf("running: %+v", result)
	}
	task, err := c.CreateTaskRun(ctx, api.TaskRunCreate{FlowRunID: run.ID, TaskKey: "k", DynamicKey: "0"})
	ok("create task run", err)
	_, err = c.SetTaskRunState(ctx, task.ID, api.SetState{State: api.NewState(api.Running, "")}, token)
	ok("task running", err)
	late, err := c.SetTaskRunState(ctx, task.ID, api.SetState{State: api.NewState(api.Completed, "")}, "1-1")
	ok("report under another lease", err)
	if late.Status != api.Abort || late.Reason() != api.ReasonLeaseLost {
		t.Errorf("a report under a lease that was lost: %+v", late)
	}
	ok("logs", c.CreateLogs(ctx, api.NewID(), 1, []api.LogCreate{{Name: "n", Level: 20, Message: "Hello Leo!", Timestamp: api.At(time.Now()), FlowRunID: run.ID, TaskRunID: &task.ID}}))
	_, err = c.SetFlowRunState(ctx, run.ID, api.SetState{State: api.NewState(api.Completed, "done")}, token)
	ok("completed", err)
	if logs, err := c.FilterLogs(ctx, api.LogFilterRequest{Logs: &api.LogFilter{FlowRunID: &api.IDAny{Any: []api.ID{run.ID}}}}); err != nil || len(logs) != 1 || logs[0].Message != "Hello Leo!" || logs[0].ID.IsNil() {
		t.Errorf("logs: %v %v", logs, err)
	}
	var told []string
	err = c.StreamFlowRun(ctx, run.ID, true, "", func(e client.Event) error {
		told = append(told, e.Kind)
		if e.Kind == api.EventEnd {
			return errEnough
		}
		return nil
	})
	if len(told) != 6 || err != nil && !errors.Is(err, errEnough) {
		t.Errorf("stream told %v, %v", told, err)
	}
	if states, err := c.FlowRunStates(ctx, run.ID); err != nil || len(states) != 4 {
		t.Errorf("states: %v %v", states, err)
	}
	if e, err := c.ExplainFlowRun(ctx, run.ID); err != nil || e.Reasons[0].Code != api.ExplainTerminal {
		t.Errorf("explain: %v %v", e, err)
	}
	if _, err := c.CancelFlowRun(ctx, run.ID, "too late"); api.KindOf(err) != api.KindConflict {
		t.Errorf("cancel an ended run: %v", err)
	}
	types := &api.FlowRunFilter{State: &api.StateFilter{Type: &api.StateTypeAny{Any: []api.StateType{api.Completed}}}}
	if n, err := c.CountFlowRuns(ctx, api.Filters{FlowRuns: types}); err != nil || n != 1 {
		t.Errorf("count: %d %v", n, err)
	}
	if runs, err := c.FilterFlowRuns(ctx, api.FilterRequest{Filters: api.Filters{FlowRuns: types}, Sort: api.SortEndTimeDesc}); err != nil || len(runs) != 1 || *runs[0].FlowVersion != "v1" {
		t.Errorf("runs: %v %v", runs, err)
	}
	if tasks, err := c.FilterTaskRuns(ctx, api.FilterRequest{}); err != nil || len(tasks) != 1 {
		t.Errorf("task runs: %v %v", tasks, err)
	}

	script, err := c.CreateFlowRun(ctx, api.FlowRunCreate{FlowID: flow.ID})
	ok("script run", err)
	lease, err := c.LeaseFlowRun(ctx, script.ID, "a script")
	ok("lease", err)
	_, err = c.RenewLeases(ctx, api.Heartbeat{Leases: []api.HeldLease{{FlowRunID: script.ID, Token: lease.Token}}})
	ok("renew", err)
	if agents, err := c.FilterAgents(ctx); err != nil || len(agents) != 1 || agents[0].Name != "a" {
		t.Errorf("agents: %v %v", agents, err)
	}
	ok("delete agent", c.DeleteAgent(ctx, agent))
	ok("delete run", c.DeleteFlowRun(ctx, run.ID))
	ok("delete queue", c.DeleteWorkQueue(ctx, queue.ID))
	ok("delete deployment", c.DeleteDeployment(ctx, deployment.ID))
	if _, err := c.Deployment(ctx, deployment.ID); !api.IsNotFound(err) {
		t.Errorf("a deleted deployment: %v", err)
	}
}

var errEnough = errors.New("enough")
