package httpapi

import (
	"math/rand/v2"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
)

func createTaskRun(_ *Server, x *exchange) error {
	var in taskRunCreate
	if err := decode(x, createTaskRunSpec, &in); err != nil {
		return err
	}
	c := &in.command
	c.Id, c.MaxRetries, c.RetryDelaySeconds = newID(), in.policy.retries, in.policy.delay
	if c.Name == "" {
		c.Name = api.RunName(rand.Uint64())
	}
	e := x.envelope()
	e.Command = &command.Envelope_CreateTaskRun{CreateTaskRun: c}
	r, index, err := x.propose(e)
	if err != nil {
		return err
	}
	if err := outcome(r, missing.taskRun, ""); err != nil {
		return err
	}
	view, err := x.written(index)
	if err != nil {
		return err
	}
	defer view.Close()
	run, err := view.TaskRun(idOf(r.Id))
	return x.answerTaskRun(created(r), run, err)
}

func (x *exchange) answerTaskRun(status int, run *row.TaskRun, err error) error {
	switch {
	case err != nil:
		return err
	case run == nil:
		return notFound(missing.taskRun)
	}
	return x.object(status, taskRunObject(run, x.now(), x.strict))
}

func readTaskRun(_ *Server, x *exchange) error {
	id, err := x.pathID("id")
	if err != nil {
		return err
	}
	view, err := x.view()
	if err != nil {
		return err
	}
	defer view.Close()
	run, err := view.TaskRun(id)
	return x.answerTaskRun(200, run, err)
}

func deleteTaskRun(_ *Server, x *exchange) error {
	return x.delete(missing.taskRun, func(e *command.Envelope, d *command.Delete) {
		e.Command = &command.Envelope_DeleteTaskRun{DeleteTaskRun: d}
	})
}

func setTaskRunState(_ *Server, x *exchange) error {
	c, err := x.setState()
	if err != nil {
		return err
	}
	e := x.envelope()
	e.Command = &command.Envelope_SetTaskRunState{SetTaskRunState: c}
	r, index, err := x.proposeState(e, missing.taskRun)
	if err != nil {
		return err
	}
	view, err := x.written(index)
	if err != nil {
		return err
	}
	defer view.Close()
	var s *row.State
	if wrote(r.State) {
		if s, err = view.TaskRunStateAt(idOf(c.Id), r.State.Timestamp); err != nil {
			return err
		}
	}
	return x.answerDecision(r.State, s)
}

func readTaskRunState(_ *Server, x *exchange) error {
	id, err := x.pathID("id")
	if err != nil {
		return err
	}
	view, err := x.view()
	if err != nil {
		return err
	}
	defer view.Close()
	s, err := view.TaskRunState(id)
	return x.answerState(s, err)
}

func readTaskRunStates(_ *Server, x *exchange) error {
	id, err := x.queryID("task_run_id")
	if err != nil {
		return err
	}
	view, err := x.view()
	if err != nil {
		return err
	}
	defer view.Close()
	states, err := view.TaskRunStates(id)
	return x.answerStates(states, err)
}
