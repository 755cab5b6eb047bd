package httpapi

import (
	"math/rand/v2"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
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
	return x.proposeObject(e, missing.taskRun, "", func(view *state.View, r *command.Result) error {
		run, err := view.TaskRun(idOf(r.Id))
		return x.answerTaskRun(created(r), run, err)
	})
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

var readTaskRun = readsOne(func(x *exchange, view *state.View, id api.ID) error {
	run, err := view.TaskRun(id)
	return x.answerTaskRun(200, run, err)
})

func deleteTaskRun(_ *Server, x *exchange) error {
	return x.delete(missing.taskRun, func(e *command.Envelope, d *command.Delete) {
		e.Command = &command.Envelope_DeleteTaskRun{DeleteTaskRun: d}
	})
}

var setTaskRunState = setsState(missing.taskRun, func(e *command.Envelope, c *command.SetState) {
	e.Command = &command.Envelope_SetTaskRunState{SetTaskRunState: c}
}, (*state.View).TaskRunStateAt)

var readTaskRunState = readsOne(func(x *exchange, view *state.View, id api.ID) error {
	s, err := view.TaskRunState(id)
	return x.answerState(s, err)
})

var readTaskRunStates = readsStates("task_run_id", (*state.View).TaskRunStates)
