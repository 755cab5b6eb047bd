package httpapi

import (
	"math/rand/v2"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
	"github.com/sluice-dev/sluice/http/internal/body"
)

var retrySpec = body.Parameters(
	body.Optional("message", body.Text, func(v *command.RetryFlowRun) *string { return &v.Message }),
	body.Optional("scheduled_time", body.Time, func(v *command.RetryFlowRun) *int64 { return &v.ScheduledTime }),
)

// retryFlowRun has a run that failed, crashed or was cancelled tried again, as the same run.
func retryFlowRun(_ *Server, x *exchange) error {
	id, err := x.pathID("id")
	if err != nil {
		return err
	}
	c := &command.RetryFlowRun{Id: id[:]}
	if err := decode(x, retrySpec, c); err != nil {
		return err
	}
	e := x.envelope()
	e.Command = &command.Envelope_RetryFlowRun{RetryFlowRun: c}
	r, index, err := x.propose(e)
	if err != nil {
		return err
	}
	switch r.Code {
	case command.Result_TERMINAL, command.Result_CONFLICT:
		return conflict("This flow run cannot be retried: "+r.Message+".", "Run it again with the same parameters: sluice flow-run rerun "+id.String())
	}
	if err := outcome(r, missing.flowRun, ""); err != nil {
		return err
	}
	return x.answerRun(200, id, index)
}

func (x *exchange) answerRun(status int, id api.ID, index uint64) error {
	view, err := x.written(index)
	if err != nil {
		return err
	}
	defer view.Close()
	run, err := view.FlowRun(id)
	return x.answerFlowRun(status, run, err)
}

var rerunSpec = body.Parameters(
	body.Optional("name", body.Text, func(v *command.RerunFlowRun) *string { return &v.Name }),
	body.Optional("parameters", body.RawObject, func(v *command.RerunFlowRun) *[]byte { return &v.ParametersJson }),
	body.Optional("idempotency_key", body.TextRef, func(v *command.RerunFlowRun) **string { return &v.IdempotencyKey }),
	body.Optional("scheduled_time", body.Time, func(v *command.RerunFlowRun) *int64 { return &v.ScheduledTime }),
)

// rerunFlowRun makes a new run with the parameters of another.
func rerunFlowRun(_ *Server, x *exchange) error {
	id, err := x.pathID("id")
	if err != nil {
		return err
	}
	c := &command.RerunFlowRun{Id: newID(), Of: id[:]}
	if err := decode(x, rerunSpec, c); err != nil {
		return err
	}
	if c.Name == "" {
		c.Name = api.RunName(rand.Uint64())
	}
	e := x.envelope()
	e.Command = &command.Envelope_RerunFlowRun{RerunFlowRun: c}
	r, index, err := x.proposeRun(e, missing.flowRun, "This flow run cannot be run again.", func(view *state.View) error {
		of, err := view.FlowRun(id)
		if err != nil {
			return err
		}
		return x.checkRun(of.GetDeploymentId(), &c.CheckedRevision, func(*row.Deployment) ([]byte, error) {
			return command.Overlay(of.ParametersJson, c.ParametersJson)
		})(view)
	})
	if err != nil {
		return err
	}
	return x.answerRun(created(r), idOf(r.Id), index)
}
