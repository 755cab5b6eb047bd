package httpapi

import (
	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
)

func createFlow(_ *Server, x *exchange) error {
	c := &command.CreateFlow{Id: newID()}
	if err := decode(x, createFlowSpec, c); err != nil {
		return err
	}
	e := x.envelope()
	e.Command = &command.Envelope_CreateFlow{CreateFlow: c}
	return x.proposeObject(e, missing.flow, "", func(view *state.View, r *command.Result) error {
		flow, err := view.Flow(idOf(r.Id))
		return x.answerFlow(created(r), flow, err)
	})
}

func (x *exchange) answerFlow(status int, flow *row.Flow, err error) error {
	switch {
	case err != nil:
		return err
	case flow == nil:
		return notFound(missing.flow)
	}
	return x.object(status, flowObject(flow))
}

var readFlow = readsOne(func(x *exchange, view *state.View, id api.ID) error {
	flow, err := view.Flow(id)
	return x.answerFlow(200, flow, err)
})

var readFlowByName = reads(func(x *exchange, view *state.View) error {
	flow, err := view.FlowByName(x.path("name"))
	return x.answerFlow(200, flow, err)
})

func updateFlow(_ *Server, x *exchange) error {
	id, err := x.pathID("id")
	if err != nil {
		return err
	}
	c := &command.UpdateFlow{Id: id[:]}
	if err := decode(x, updateFlowSpec, c); err != nil {
		return err
	}
	e := x.envelope()
	e.Command = &command.Envelope_UpdateFlow{UpdateFlow: c}
	return x.proposeEmpty(e, missing.flow)
}

func deleteFlow(_ *Server, x *exchange) error {
	return x.delete(missing.flow, func(e *command.Envelope, d *command.Delete) {
		e.Command = &command.Envelope_DeleteFlow{DeleteFlow: d}
	})
}

// proposeEmpty orders a command whose success is answered without a body.
func (x *exchange) proposeEmpty(e *command.Envelope, notFoundText string) error {
	r, _, err := x.propose(e)
	if err != nil {
		return err
	}
	if err := outcome(r, notFoundText, ""); err != nil {
		return err
	}
	return x.empty()
}

// delete orders the deletion of the object that the path names.
func (x *exchange) delete(notFoundText string, fill func(*command.Envelope, *command.Delete)) error {
	id, err := x.pathID("id")
	if err != nil {
		return err
	}
	e := x.envelope()
	fill(e, &command.Delete{Id: id[:]})
	return x.proposeEmpty(e, notFoundText)
}
