package httpapi

import (
	"math/rand/v2"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
)

func createFlowRun(_ *Server, x *exchange) error {
	c := &command.CreateFlowRun{Id: newID()}
	if err := decode(x, createFlowRunSpec, c); err != nil {
		return err
	}
	return x.createFlowRun(c)
}

// createFlowRun orders the creation of a run and answers the run.
func (x *exchange) createFlowRun(c *command.CreateFlowRun) error {
	if c.Name == "" {
		c.Name = api.RunName(rand.Uint64())
	}
	e := x.envelope()
	e.Command = &command.Envelope_CreateFlowRun{CreateFlowRun: c}
	r, index, err := x.propose(e)
	if err != nil {
		return err
	}
	if err := outcome(r, missing.deployment, ""); err != nil {
		return err
	}
	view, err := x.written(index)
	if err != nil {
		return err
	}
	defer view.Close()
	run, err := view.FlowRun(idOf(r.Id))
	return x.answerFlowRun(created(r), run, err)
}

func (x *exchange) answerFlowRun(status int, run *row.FlowRun, err error) error {
	switch {
	case err != nil:
		return err
	case run == nil:
		return notFound(missing.flowRun)
	}
	return x.object(status, flowRunObject(run, x.now(), x.strict))
}

func readFlowRun(_ *Server, x *exchange) error {
	id, err := x.pathID("id")
	if err != nil {
		return err
	}
	view, err := x.view()
	if err != nil {
		return err
	}
	defer view.Close()
	run, err := view.FlowRun(id)
	return x.answerFlowRun(200, run, err)
}

func updateFlowRun(_ *Server, x *exchange) error {
	id, err := x.pathID("id")
	if err != nil {
		return err
	}
	c := &command.UpdateFlowRun{Id: id[:]}
	if err := decode(x, updateFlowRunSpec, c); err != nil {
		return err
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

func setFlowRunState(_ *Server, x *exchange) error {
	c, err := x.setState()
	if err != nil {
		return err
	}
	e := x.envelope()
	e.Command = &command.Envelope_SetFlowRunState{SetFlowRunState: c}
	r, index, err := x.proposeState(e, missing.flowRun)
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
		if s, err = view.FlowRunStateAt(idOf(c.Id), r.State.Timestamp); err != nil {
			return err
		}
	}
	return x.answerDecision(r.State, s)
}

func readFlowRunState(_ *Server, x *exchange) error {
	id, err := x.pathID("id")
	if err != nil {
		return err
	}
	view, err := x.view()
	if err != nil {
		return err
	}
	defer view.Close()
	s, err := view.FlowRunState(id)
	return x.answerState(s, err)
}

func readFlowRunStates(_ *Server, x *exchange) error {
	id, err := x.queryID("flow_run_id")
	if err != nil {
		return err
	}
	view, err := x.view()
	if err != nil {
		return err
	}
	defer view.Close()
	states, err := view.FlowRunStates(id)
	return x.answerStates(states, err)
}
