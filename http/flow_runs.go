package httpapi

import (
	"math/rand/v2"
	"net/http"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
)

func createFlowRun(_ *Server, x *exchange) error {
	c := &command.CreateFlowRun{Id: newID()}
	if err := decode(x, createFlowRunSpec, c); err != nil {
		return err
	}
	if len(c.DeploymentId) != 0 && x.who.role < RoleOperator {
		return &failure{status: http.StatusForbidden, kind: api.KindForbidden, detail: "To run a deployment needs the role operator.",
			hint: "To start runs from a flow, give its flow runner a token of its own: SLUICE_API_KEY in the environment of the flow runner."}
	}
	return x.createFlowRun(c)
}

// mayChoose refuses a flow runner from who runs only what others wrote: its environment decides what the process does and where the key
// of the run goes.
func (x *exchange) mayChoose(runner *row.FlowRunner) error {
	if runner == nil || x.who.role != RoleOperator {
		return nil
	}
	return &failure{status: http.StatusForbidden, kind: api.KindForbidden, detail: "To choose the flow runner of a flow run needs the role deployer.",
		hint: "Leave flow_runner out: the deployment's is used."}
}

// createFlowRun orders the creation of a run and answers the run.
func (x *exchange) createFlowRun(c *command.CreateFlowRun) error {
	if err := x.mayChoose(c.FlowRunner); err != nil {
		return err
	}
	if c.Name == "" {
		c.Name = api.RunName(rand.Uint64())
	}
	e := x.envelope()
	e.Command = &command.Envelope_CreateFlowRun{CreateFlowRun: c}
	given := func(d *row.Deployment) ([]byte, error) {
		if c.FromDeployment {
			return command.Overlay(d.ParametersJson, c.ParametersJson)
		}
		return c.ParametersJson, nil
	}
	r, index, err := x.proposeRun(e, missing.deployment, "", x.checkRun(c.DeploymentId, &c.CheckedRevision, given))
	if err != nil {
		return err
	}
	return x.answerRun(created(r), idOf(r.Id), index)
}

func (x *exchange) answerFlowRun(status int, run *row.FlowRun, err error) error {
	switch {
	case err != nil:
		return err
	case run == nil:
		return notFound(missing.flowRun)
	}
	return x.object(status, x.showFlowRun(run, x.now()))
}

var readFlowRun = readsOne(func(x *exchange, view *state.View, id api.ID) error {
	run, err := view.FlowRun(id)
	return x.answerFlowRun(200, run, err)
})

func updateFlowRun(_ *Server, x *exchange) error {
	id, err := x.pathID("id")
	if err != nil {
		return err
	}
	c := &command.UpdateFlowRun{Id: id[:]}
	if err := decode(x, updateFlowRunSpec, c); err != nil {
		return err
	}
	if err := x.mayChoose(c.FlowRunner); err != nil {
		return err
	}
	if c.HasParameters {
		if err := x.fitFlowRun(id, c.ParametersJson); err != nil {
			return err
		}
	}
	e := x.envelope()
	e.Command = &command.Envelope_UpdateFlowRun{UpdateFlowRun: c}
	return x.proposeEmpty(e, missing.flowRun)
}

func deleteFlowRun(_ *Server, x *exchange) error {
	return x.delete(missing.flowRun, func(e *command.Envelope, d *command.Delete) {
		e.Command = &command.Envelope_DeleteFlowRun{DeleteFlowRun: d}
	})
}

var setFlowRunState = setsState(missing.flowRun, func(e *command.Envelope, c *command.SetState) {
	e.Command = &command.Envelope_SetFlowRunState{SetFlowRunState: c}
}, (*state.View).FlowRunStateAt)

var readFlowRunState = readsOne(func(x *exchange, view *state.View, id api.ID) error {
	s, err := view.FlowRunState(id)
	return x.answerState(s, err)
})

var readFlowRunStates = readsStates("flow_run_id", (*state.View).FlowRunStates)
