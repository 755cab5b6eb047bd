package fsm

import (
	"strings"
	"testing"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
)

func (m *machine) job(c *command.CreateJob) *row.Job {
	m.t.Helper()
	c.Id = m.id()
	return m.jobRow(m.one(&command.Envelope{Actor: "ann", Command: &command.Envelope_CreateJob{CreateJob: c}}).Id)
}

func (m *machine) jobRow(id []byte) *row.Job {
	m.t.Helper()
	j, err := m.view().Job(api.ID(id))
	if err != nil || j == nil {
		m.t.Fatalf("job %v, %v", j, err)
	}
	return j
}

// advance does the job's action on runs from where it stands.
func (m *machine) advance(job []byte, from []byte, done bool, runs ...[]byte) *command.Result {
	c := &command.AdvanceJob{Id: job, From: from, Done: done, LookedAt: int64(len(runs))}
	for _, id := range runs {
		at := int64(0)
		if r := m.flowRun(id); r != nil {
			at = r.State.Timestamp
		}
		c.Targets = append(c.Targets, &command.AdvanceJob_Target{FlowRunId: id, StateTimestamp: at})
		c.To = id
	}
	return m.do(&command.Envelope{Actor: "scheduler", Command: &command.Envelope_AdvanceJob{AdvanceJob: c}})[0]
}

func TestAJobActsOnEachRunOnce(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	d := m.deployment(m.flow("f"), "d")
	var runs [][]byte
	for range 6 {
		runs = append(runs, m.run(d, scheduledNow))
	}
	m.report(runs[1], row.StateType_RUNNING, nil)
	m.report(runs[1], row.StateType_COMPLETED, nil)
	job := m.job(&command.CreateJob{Action: row.Job_CANCEL, Message: "too many", Total: 6})
	if r := m.advance(job.Id, nil, false, runs[:3]...); r.Code != command.Result_OK || r.Count != 3 {
		t.Fatal(r)
	}
	if r := m.advance(job.Id, nil, false, runs[:3]...); r.Code != command.Result_CONFLICT {
		t.Fatalf("a repeated chunk: %v", r)
	}
	if s := m.flowRun(runs[0]).State; s.Type != row.StateType_CANCELLED || s.GetMessage() != "too many" || s.Actor != "ann" {
		t.Fatalf("the first run is %v", s)
	}
	j := m.jobRow(job.Id)
	if j.Done != 2 || j.Refused != 1 || len(j.Refusals) != 1 || !strings.Contains(j.Refusals[0].Reason, "Completed already") || j.LookedAt != 3 {
		t.Fatalf("the job is %v", j)
	}
	// The fourth is chosen as it is now, but has another state when its turn comes: the job stops before it.
	c := &command.AdvanceJob{Id: job.Id, From: runs[2], To: runs[5], Done: true}
	for _, id := range runs[3:] {
		c.Targets = append(c.Targets, &command.AdvanceJob_Target{FlowRunId: id, StateTimestamp: m.flowRun(id).State.Timestamp})
	}
	m.report(runs[4], row.StateType_RUNNING, nil)
	if r := m.one(&command.Envelope{Command: &command.Envelope_AdvanceJob{AdvanceJob: c}}); r.Count != 1 {
		t.Fatalf("answered %v", r)
	}
	if j := m.jobRow(job.Id); j.Status != row.Job_RUNNING || string(j.Cursor) != string(runs[3]) || m.flowRun(runs[4]).State.Type != row.StateType_RUNNING {
		t.Fatalf("the job is %v", j)
	}
	m.advance(job.Id, runs[3], true, runs[4:]...)
	if j := m.jobRow(job.Id); j.Status != row.Job_COMPLETED || j.Finished == 0 || j.Done != 5 {
		t.Fatalf("the job is %v", j)
	}
	if r := m.advance(job.Id, runs[5], false); r.Code != command.Result_TERMINAL {
		t.Fatalf("a job that has ended went on: %v", r)
	}
	if err := m.view().Verify(); err != nil {
		t.Fatal(err)
	}
}

func TestACancelledJobDoesNothingMore(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	d := m.deployment(m.flow("f"), "d")
	run := m.run(d, scheduledNow)
	job := m.job(&command.CreateJob{Action: row.Job_DELETE})
	cancel := func() *command.Result {
		return m.do(&command.Envelope{Command: &command.Envelope_CancelJob{CancelJob: &command.CancelJob{Id: job.Id}}})[0]
	}
	if r := cancel(); r.Code != command.Result_OK {
		t.Fatal(r)
	}
	if r := m.advance(job.Id, nil, false, run); r.Code != command.Result_TERMINAL || m.flowRun(run) == nil {
		t.Fatalf("it went on: %v", r)
	}
	if r := cancel(); r.Code != command.Result_TERMINAL {
		t.Fatal(r)
	}
}

func TestWhatIsExecutedIsDeletedByForceOnly(t *testing.T) {
	t.Parallel()
	for _, force := range []bool{false, true} {
		m := newMachine(t)
		run := m.run(m.deployment(m.flow("f"), "d"), scheduledNow)
		m.report(run, row.StateType_RUNNING, nil)
		job := m.job(&command.CreateJob{Action: row.Job_DELETE, Force: force})
		m.advance(job.Id, nil, true, run)
		if gone := m.flowRun(run) == nil; gone != force {
			t.Errorf("by force %v: gone %v", force, gone)
		}
	}
}

func TestSettingAStateByAJobKeepsTheRules(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	run := m.run(m.deployment(m.flow("f"), "d"), scheduledNow)
	m.report(run, row.StateType_COMPLETED, nil)
	set := func(force bool) *row.Job {
		job := m.job(&command.CreateJob{Action: row.Job_SET_STATE, StateType: row.StateType_FAILED, StateName: "Wrong", Force: force})
		m.advance(job.Id, nil, true, run)
		return m.jobRow(job.Id)
	}
	if j := set(false); j.Done != 0 || j.Refused != 1 || !strings.Contains(j.Refusals[0].Reason, "terminated") {
		t.Fatalf("without force: %v", j)
	}
	if j := set(true); j.Done != 1 || m.flowRun(run).State.Name != "Wrong" {
		t.Fatalf("by force: %v", j)
	}
}

func TestDeletingWhatHasManyRunsIsLeftToAJob(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	flow := m.flow("f")
	d := m.deployment(flow, "d")
	var runs [][]byte
	for range inOneCommand + 1 {
		runs = append(runs, m.run(d, scheduledNow))
	}
	q, a := m.queue("q", nil), m.agent("a")
	m.one(&command.Envelope{Command: &command.Envelope_DeleteDeployment{DeleteDeployment: &command.Delete{Id: d}}})
	if left, err := m.view().Deployment(api.ID(d)); left != nil || err != nil {
		t.Fatalf("the deployment is still there: %v, %v", left, err)
	}
	if m.flowRun(runs[0]) == nil {
		t.Fatal("a single command deleted all runs")
	}
	if got := m.claim(m.id(), a, q, runs[0]); len(got) != 0 {
		t.Fatalf("a run of a deleted deployment was granted: %v", got)
	}
	var job *row.Job
	if err := m.view().EachActiveJob(func(j *row.Job) (bool, error) { job = j; return true, nil }); err != nil || job == nil {
		t.Fatalf("there is no job: %v", err)
	}
	if job.Action != row.Job_FORGET_DEPLOYMENT || job.Total != inOneCommand+1 {
		t.Fatalf("the job is %v", job)
	}
	if r := m.do(&command.Envelope{Command: &command.Envelope_CancelJob{CancelJob: &command.CancelJob{Id: job.Id}}})[0]; r.Code != command.Result_CONFLICT {
		t.Fatalf("the rest of a deletion was cancelled: %v", r)
	}
	m.report(runs[1], row.StateType_RUNNING, nil)
	m.advance(job.Id, nil, true, runs[:2]...)
	if m.flowRun(runs[0]) != nil || m.flowRun(runs[1]).DeploymentId != nil {
		t.Fatal("the job does not do what the deletion of a small one does")
	}
	// Of the flow's runs fewer are left than one command may take along: they go with it.
	m.one(&command.Envelope{Command: &command.Envelope_DeleteFlow{DeleteFlow: &command.Delete{Id: flow}}})
	if m.flowRun(runs[1]) != nil {
		t.Fatal("a run outlived its flow")
	}
	if err := m.view().Verify(); err != nil {
		t.Fatal(err)
	}
}
