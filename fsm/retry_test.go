package fsm

import (
	"strings"
	"testing"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
)

func (m *machine) retry(run []byte) *command.Result {
	return m.do(&command.Envelope{Actor: "ann", Command: &command.Envelope_RetryFlowRun{RetryFlowRun: &command.RetryFlowRun{Id: run, Message: "again"}}})[0]
}

func (m *machine) task(run []byte, key string) []byte {
	return m.one(&command.Envelope{Command: &command.Envelope_CreateTaskRun{CreateTaskRun: &command.CreateTaskRun{
		Id: m.id(), Name: key, FlowRunId: run, TaskKey: key, DynamicKey: "0", MaxRetries: 1}}}).Id
}

func (m *machine) taskState(task []byte, t row.StateType, data *row.Data) *command.StateResult {
	return m.one(&command.Envelope{Command: &command.Envelope_SetTaskRunState{SetTaskRunState: &command.SetState{Id: task, State: &command.ProposedState{Type: t, Data: data}}}}).State
}

func (m *machine) taskRun(id []byte) *row.TaskRun {
	m.t.Helper()
	r, err := m.view().TaskRun(api.ID(id))
	if err != nil {
		m.t.Fatal(err)
	}
	return r
}

func TestARetryIsANewAttemptOfTheSameRun(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	d := m.deployment(m.flow("f"), "d")
	q, a := m.queue("q", nil), m.agent("a")
	run := m.run(d, scheduledNow)
	first := m.claim(m.id(), a, q, run)[0]
	m.report(run, row.StateType_RUNNING, first)
	kept, lost, failing := m.task(run, "kept"), m.task(run, "lost"), m.task(run, "failing")
	for _, task := range [][]byte{kept, lost, failing} {
		m.taskState(task, row.StateType_RUNNING, nil)
	}
	m.taskState(kept, row.StateType_COMPLETED, &row.Data{Encoding: "json", Blob: "42"})
	m.taskState(lost, row.StateType_COMPLETED, nil)
	if s := m.taskState(failing, row.StateType_FAILED, nil); s.Status != command.StateResult_REJECT {
		t.Fatalf("the first failure of a task with one retry: %v", s)
	}
	m.taskState(failing, row.StateType_RUNNING, nil)
	if s := m.taskState(failing, row.StateType_FAILED, nil); s.Status != command.StateResult_ACCEPT {
		t.Fatalf("the second failure: %v", s)
	}
	if r := m.retry(run); r.Code != command.Result_CONFLICT {
		t.Fatalf("a running run was tried again: %v", r)
	}
	m.report(run, row.StateType_FAILED, first)
	if r := m.retry(run); r.Code != command.Result_OK {
		t.Fatalf("a failed run: %v", r)
	}
	r := m.flowRun(run)
	if r.State.Type != row.StateType_SCHEDULED || r.State.Name != "AwaitingRetry" || r.State.GetMessage() != "again" || r.State.Actor != "ann" || r.Retries != 1 || r.EndTime != 0 || r.Lease != nil {
		t.Fatalf("the run is %v", r)
	}
	if s := m.report(run, row.StateType_COMPLETED, first); s.Status != command.StateResult_ABORT {
		t.Fatalf("the owner of the former attempt ended the new one: %v", s)
	}
	second := m.claim(m.id(), a, q, run)
	if len(second) != 1 {
		t.Fatal("nobody gets the new attempt")
	}
	m.report(run, row.StateType_RUNNING, second[0])
	if s := m.report(run, row.StateType_COMPLETED, first); s.Status != command.StateResult_ABORT {
		t.Fatalf("the owner of the former attempt ended the one that runs: %v", s)
	}
	for key, want := range map[string]row.StateType{"kept": row.StateType_COMPLETED, "lost": row.StateType_PENDING, "failing": row.StateType_PENDING} {
		if got := m.taskRun(m.task(run, key)).State.Type; got != want {
			t.Errorf("the new attempt finds the task run %s %v, want %v", key, got, want)
		}
	}
	// A fresh attempt has its task's retries before it, and naming the task run twice begins it once.
	m.taskState(failing, row.StateType_RUNNING, nil)
	if got := m.taskRun(m.task(run, "failing")); got.State.Type != row.StateType_RUNNING || got.State.Name != "Rerunning" {
		t.Fatalf("the task run is %v", got.State)
	}
	if s := m.taskState(failing, row.StateType_FAILED, nil); s.Status != command.StateResult_REJECT {
		t.Fatalf("the first failure in the new attempt: %v", s)
	}
	if err := m.view().Verify(); err != nil {
		t.Fatal(err)
	}
}

func TestWhatCannotBeTriedAgainIsRefused(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	flow := m.flow("f")
	d := m.deployment(flow, "d")
	ended := func(deployment, parent []byte, s row.StateType) []byte {
		id := m.one(&command.Envelope{Command: &command.Envelope_CreateFlowRun{CreateFlowRun: &command.CreateFlowRun{
			Id: m.id(), Name: "n", FlowId: flow, DeploymentId: deployment, ParentTaskRunId: parent}}}).Id
		m.report(id, s, nil)
		return id
	}
	parent := m.task(m.run(d, scheduledNow), "sub")
	for fact, c := range map[string]struct {
		run  []byte
		code command.Result_Code
		says string
	}{
		"a run that is not there":   {m.id(), command.Result_NOT_FOUND, "not found"},
		"a run that completed":      {ended(d, nil, row.StateType_COMPLETED), command.Result_TERMINAL, "has completed"},
		"a run without deployment":  {ended(nil, nil, row.StateType_FAILED), command.Result_CONFLICT, "no deployment"},
		"a subflow run":             {ended(d, parent, row.StateType_FAILED), command.Result_CONFLICT, "part of another"},
		"a run that waits":          {m.run(d, scheduledNow), command.Result_CONFLICT, "has ended"},
		"a cancelled run (allowed)": {ended(d, nil, row.StateType_CANCELLED), command.Result_OK, ""},
	} {
		t.Run(fact, func(t *testing.T) {
			if r := m.retry(c.run); r.Code != c.code || !strings.Contains(r.Message, c.says) {
				t.Errorf("answered %v, want %v with %q", r, c.code, c.says)
			}
		})
	}
}

func TestARerunRemembersWhatItRepeats(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	d := m.deployment(m.flow("f"), "d", "t")
	of := m.flowRun(m.one(&command.Envelope{Command: &command.Envelope_CreateFlowRun{CreateFlowRun: &command.CreateFlowRun{
		Id: m.id(), Name: "n", DeploymentId: d, FromDeployment: true, Tags: []string{autoScheduledTag}, State: scheduledNow}}}).Id)
	rerun := func(parameters string) *row.FlowRun {
		r := m.one(&command.Envelope{Command: &command.Envelope_RerunFlowRun{RerunFlowRun: &command.RerunFlowRun{Id: m.id(), Of: of.Id, Name: "again", ParametersJson: []byte(parameters)}}})
		if !r.Created {
			t.Fatal("no run was made")
		}
		return m.flowRun(r.Id)
	}
	r := rerun("")
	if string(r.RerunOf) != string(of.Id) || string(r.ParametersJson) != `{"name":"Leo"}` || strings.Join(r.Tags, " ") != "t" || r.AutoScheduled ||
		r.State.Type != row.StateType_SCHEDULED || string(r.DeploymentId) != string(d) || r.IdempotencyKey != nil {
		t.Fatalf("the new run is %v", r)
	}
	if r := rerun(`{"x":1}`); string(r.ParametersJson) != `{"name":"Leo","x":1}` {
		t.Fatalf("with a parameter of its own: %s", r.ParametersJson)
	}
}

func TestParametersAreCheckedAgainstTheDeploymentThereIs(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	d := m.one(&command.Envelope{Command: &command.Envelope_PutDeployment{PutDeployment: &command.PutDeployment{
		Id: m.id(), Name: "d", FlowId: m.flow("f"), FlowData: &row.Data{}, ParameterSchemaJson: []byte(`{"type":"object"}`)}}}).Id
	create := func(checked *uint64) *command.Result {
		return m.do(&command.Envelope{Command: &command.Envelope_CreateFlowRun{CreateFlowRun: &command.CreateFlowRun{
			Id: m.id(), Name: "n", DeploymentId: d, FromDeployment: true, State: scheduledNow, CheckedRevision: checked}}})[0]
	}
	current := func() uint64 {
		stored, err := m.view().Deployment(id16(d))
		if err != nil {
			t.Fatal(err)
		}
		return stored.Revision
	}
	old, none := current(), uint64(0)
	if r := create(&none); r.Code != command.Result_UNCHECKED {
		t.Errorf("unseen: %v", r)
	}
	if r := create(nil); !r.Created { // of a log from before there were checks
		t.Errorf("without a check: %v", r)
	}
	of := create(&old)
	if !of.Created {
		t.Fatalf("checked: %v", of)
	}
	m.one(&command.Envelope{Command: &command.Envelope_PatchDeployment{PatchDeployment: &command.PatchDeployment{Id: d, HasParameters: true, ParametersJson: []byte(`{"x":1}`)}}})
	if r := create(&old); r.Code != command.Result_UNCHECKED {
		t.Errorf("checked before a change: %v", r)
	}
	rerun := func(checked uint64) *command.Result {
		return m.do(&command.Envelope{Command: &command.Envelope_RerunFlowRun{RerunFlowRun: &command.RerunFlowRun{Id: m.id(), Of: of.Id, Name: "again", CheckedRevision: &checked}}})[0]
	}
	if r := rerun(old); r.Code != command.Result_UNCHECKED {
		t.Errorf("rerun, checked before a change: %v", r)
	}
	if r := rerun(current()); !r.Created {
		t.Errorf("rerun, checked: %v", r)
	}
}
