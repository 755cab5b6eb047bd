package fsm

import (
	"bytes"

	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/orchestration"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
	"github.com/sluice-dev/sluice/fsm/watch"
)

const (
	// jobsKept bounds how many jobs are remembered, jobsActive how many wait or go on at a time.
	jobsKept   = 500
	jobsActive = 100
	// refusalsKept bounds what a job tells one by one; the rest is counted.
	refusalsKept = 100
	// inOneCommand is how many runs a deployment or flow may have to be deleted by one command. The others are left to a job.
	inOneCommand = 1000
)

func (a *applier) createJob(c *command.CreateJob) (*command.Result, error) {
	if c.Action < row.Job_CANCEL || c.Action > row.Job_SET_STATE {
		return failed(command.Result_INVALID, "a job cancels, retries, deletes or sets a state"), nil
	}
	if c.Action == row.Job_SET_STATE && orchestration.DefaultName(c.StateType) == "" {
		return failed(command.Result_INVALID, "a state needs one of the six types"), nil
	}
	active := 0
	if err := a.tx.EachActiveJob(func(*row.Job) (bool, error) { active++; return true, nil }); err != nil {
		return nil, err
	}
	if active >= jobsActive {
		return conflict("100 jobs wait or go on already: let some end, or cancel them"), nil
	}
	job := &row.Job{Id: c.Id, Action: c.Action, FilterJson: c.FilterJson, Message: c.Message, StateType: c.StateType, StateName: c.StateName,
		Force: c.Force, Total: c.Total}
	return a.addJob(job)
}

// addJob stores a new job and forgets the oldest finished ones.
func (a *applier) addJob(job *row.Job) (*command.Result, error) {
	job.Created, job.Updated, job.Actor = a.now, a.now, a.env.Actor
	result, err := saved(a.tx.NewJob(job).Save(), created(job.Id), "a job with this id exists")
	if err != nil || result.Code != command.Result_OK {
		return result, err
	}
	a.emit(watch.Event{Topic: watch.TopicJob, Job: job})
	n, err := a.tx.CountJobs()
	if err != nil || n <= jobsKept {
		return result, err
	}
	var old [][]byte
	err = a.tx.EachJob(false, func(j *row.Job) (bool, error) {
		if j.Status != row.Job_RUNNING {
			old = append(old, j.Id)
		}
		return int64(len(old)) < n-jobsKept, nil
	})
	for _, id := range old {
		if err != nil {
			break
		}
		var e *state.JobEdit
		if e, err = a.tx.EditJob(id); err == nil {
			err = e.Delete()
		}
	}
	return result, err
}

func (a *applier) cancelJob(id []byte) (*command.Result, error) {
	e, err := a.tx.EditJob(id)
	switch {
	case err != nil:
		return nil, err
	case e == nil:
		return notFound("Job"), nil
	case e.Row.Status != row.Job_RUNNING:
		return failed(command.Result_TERMINAL, "the job has ended"), nil
	case e.Row.Action >= row.Job_FORGET_DEPLOYMENT:
		return conflict("the job is the rest of a deletion, which cannot be left half done"), nil
	}
	return ok(id), a.endJob(e, row.Job_CANCELLED)
}

func (a *applier) endJob(e *state.JobEdit, status row.Job_Status) error {
	e.Row.Status, e.Row.Finished, e.Row.Updated = status, a.now, a.now
	a.emit(watch.Event{Topic: watch.TopicJob, Job: e.Row})
	return e.Save()
}

// advanceJob does a job's action on the next runs.
func (a *applier) advanceJob(c *command.AdvanceJob) (*command.Result, error) {
	e, err := a.tx.EditJob(c.Id)
	switch {
	case err != nil:
		return nil, err
	case e == nil:
		return notFound("Job"), nil
	case e.Row.Status != row.Job_RUNNING:
		return failed(command.Result_TERMINAL, "the job has ended"), nil
	case !bytes.Equal(e.Row.Cursor, c.From):
		return conflict("the job is at another place"), nil
	}
	job := e.Row
	// What the job writes was asked for by whoever made it.
	leader := a.env.Actor
	a.env.Actor = job.Actor
	defer func() { a.env.Actor = leader }()
	result := ok(c.Id)
	stopped := false
	for _, t := range c.Targets {
		run, err := a.tx.EditFlowRun(t.FlowRunId)
		if err != nil {
			return nil, err
		}
		if run != nil && run.Row.State.GetTimestamp() != t.StateTimestamp {
			stopped = true
			break
		}
		if run != nil {
			if err := a.doJob(job, run); err != nil {
				return nil, err
			}
			result.Count++
		}
		job.Cursor = t.FlowRunId
	}
	job.Updated = a.now
	switch {
	case stopped:
	case c.Error != "":
		job.Error = c.Error
		return result, a.endJob(e, row.Job_FAILED)
	default:
		job.Cursor = c.To
		job.LookedAt += c.LookedAt
		if c.Done {
			return result, a.endJob(e, row.Job_COMPLETED)
		}
	}
	a.emit(watch.Event{Topic: watch.TopicJob, Job: job})
	return result, e.Save()
}

// doJob does the job's action on one run, or notes why not.
func (a *applier) doJob(job *row.Job, run *state.FlowRunEdit) error {
	result, err := a.jobAction(job, run)
	if err != nil {
		return err
	}
	reason := result.GetMessage()
	done := result.GetCode() == command.Result_OK
	if s := result.GetState(); done && s != nil && s.Status != command.StateResult_ACCEPT && s.Status != command.StateResult_REJECT {
		done, reason = false, s.Reason
	}
	if done {
		job.Done++
		return nil
	}
	job.Refused++
	if len(job.Refusals) < refusalsKept {
		job.Refusals = append(job.Refusals, &row.JobRefusal{FlowRunId: run.Row.Id, Name: run.Row.Name, Reason: reason})
	}
	return nil
}

func (a *applier) jobAction(job *row.Job, run *state.FlowRunEdit) (*command.Result, error) {
	id, t := run.Row.Id, run.Row.State.GetType()
	switch job.Action {
	case row.Job_CANCEL:
		return a.cancelFlowRun(&command.CancelFlowRun{Id: id, Message: job.Message})
	case row.Job_RETRY:
		return a.retryFlowRun(&command.RetryFlowRun{Id: id, Message: job.Message})
	case row.Job_DELETE:
		if orchestration.HoldsQueueSlot(t) && !job.Force {
			return conflict("the flow run is " + run.Row.State.GetName() + ": cancel it first, or delete it by force"), nil
		}
		return ok(id), a.removeFlowRun(id)
	case row.Job_SET_STATE:
		p := &command.ProposedState{Type: job.StateType, Name: job.StateName}
		if job.Message != "" {
			p.Message = &job.Message
		}
		return a.setFlowRunState(&command.SetState{Id: id, State: p, Force: job.Force, ReplaceTerminal: job.Force})
	case row.Job_FORGET_DEPLOYMENT:
		return ok(id), a.forgetDeployment(run)
	case row.Job_FORGET_FLOW:
		return ok(id), a.removeFlowRun(id)
	}
	return failed(command.Result_INVALID, "the job's action is not known"), nil
}

// forgetDeployment does to a run what the deletion of its deployment does: one that waits goes, others keep living without it.
func (a *applier) forgetDeployment(r *state.FlowRunEdit) error {
	if r.Row.State.GetType() == row.StateType_SCHEDULED {
		return a.removeFlowRun(r.Row.Id)
	}
	r.Row.DeploymentId = nil
	if err := r.Save(); err != nil {
		return err
	}
	a.emit(watch.Event{Topic: watch.TopicFlowRun, FlowRun: r.Row})
	if orchestration.HoldsQueueSlot(r.Row.State.GetType()) {
		return a.updateQueueSlots(r.Row)
	}
	return nil
}

// runsOf counts the runs that a deletion takes along; the counters know.
func runsOf(count func(row.StateType) (int64, error)) (n int64, err error) {
	for t := row.StateType_STATE_TYPE_NONE; t <= row.StateType_CANCELLED && err == nil; t++ {
		var more int64
		more, err = count(t)
		n += more
	}
	return n, err
}
