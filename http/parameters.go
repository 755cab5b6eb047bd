package httpapi

import (
	"errors"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
	"github.com/sluice-dev/sluice/http/internal/body"
	"github.com/sluice-dev/sluice/http/internal/parameters"
)

// How far parameters have to fit a schema.
const (
	whole   = false // a run is made of them
	partial = true  // whoever makes a run may give what is missing
)

// fit refuses parameters that do not fit the schema of a deployment, naming each.
func (x *exchange) fit(d *row.Deployment, given []byte, partial bool) error {
	if !command.HasSchema(d) {
		return nil
	}
	found, err := x.server.schemas.Check(d.ParameterSchemaJson, given, partial)
	if err != nil || len(found) == 0 {
		return err
	}
	f := unprocessable(found)
	f.hint = "`sluice deployment inspect " + idOf(d.Id).String() + "` shows the schema of its parameters."
	return f
}

// fitDeployment refuses a deployment with a schema that is none, or with parameters that do not fit it. Schedules make runs of the
// deployment's parameters alone, so with one they have to be all there.
func (x *exchange) fitDeployment(d *row.Deployment) error {
	if !command.HasSchema(d) {
		return nil
	}
	if err := x.server.schemas.Compile(d.ParameterSchemaJson); err != nil {
		return unprocessable([]body.Error{{Loc: []any{"body", "parameter_schema"}, Msg: "value is not a valid JSON Schema: " + err.Error(), Type: "value_error.schema"}})
	}
	if len(d.ScheduleJson) == 0 && len(d.Schedules) == 0 {
		return x.fit(d, d.ParametersJson, partial)
	}
	return x.fitSchedule(d)
}

// fitSchedule refuses to schedule a deployment whose own parameters are not enough for a run.
func (x *exchange) fitSchedule(d *row.Deployment) error {
	err := x.fit(d, d.ParametersJson, whole)
	if f, refused := errors.AsType[*failure](err); refused && x.fit(d, d.ParametersJson, partial) == nil {
		f.hint = "A schedule makes runs of the deployment's own parameters: give it a value for each that is required, or no schedule."
	}
	return err
}

// here opens a view of what this node has applied, at least up to an index.
func (x *exchange) here(least uint64) (*state.View, error) {
	view, _, err := x.server.reader.View(x.ctx, Stale, least)
	return view, err
}

// fitPut is fitDeployment for what a put would make.
func (x *exchange) fitPut(c *command.PutDeployment) error {
	if parameters.None(c.ParameterSchemaJson) {
		return nil
	}
	view, err := x.here(0)
	if err != nil {
		return err
	}
	stored, err := view.DeploymentByName(idOf(c.FlowId), c.Name)
	view.Close()
	if err != nil {
		return err
	}
	return x.fitDeployment(c.Over(stored))
}

// checkAttempts bounds how often parameters are checked because somebody changed the deployment meanwhile.
const checkAttempts = 5

// proposeRun orders a command that makes a run of a deployment. check looks at its parameters in a view and returns the revision of the
// deployment that it saw; the state machine compares, so a view of this node as it is will do, and a schema that has changed
// meanwhile is seen.
func (x *exchange) proposeRun(e *command.Envelope, notFoundText, conflictText string, check func(*state.View) error) (*command.Result, uint64, error) {
	var least uint64
	for range checkAttempts {
		view, err := x.here(least)
		if err != nil {
			return nil, 0, err
		}
		err = check(view)
		view.Close()
		if err != nil {
			return nil, 0, err
		}
		r, index, err := x.propose(e)
		if err != nil {
			return nil, 0, err
		}
		if r.Code != command.Result_UNCHECKED {
			return r, index, outcome(r, notFoundText, conflictText)
		}
		least = index
	}
	return nil, 0, conflict("The deployment keeps changing.", "Try again.")
}

// checkRun is a check of proposeRun for a run of that deployment, of which the command says over what the parameters lie.
func (x *exchange) checkRun(deploymentID []byte, checked **uint64, given func(d *row.Deployment) ([]byte, error)) func(*state.View) error {
	return func(view *state.View) error {
		var revision uint64
		*checked = &revision
		if len(deploymentID) == 0 {
			return nil
		}
		d, err := view.Deployment(idOf(deploymentID))
		if err != nil || d == nil || !command.HasSchema(d) {
			return err // of a deployment that this node does not know yet, the state machine asks again
		}
		revision = d.Revision
		all, err := given(d)
		if err != nil {
			return invalid("parameters must be a JSON object: "+err.Error(), "")
		}
		return x.fit(d, all, whole)
	}
}

// patchFitting orders a change of a deployment unless its parameters would not fit then. A deployment that somebody else changed
// meanwhile is looked at again.
func (x *exchange) patchFitting(e *command.Envelope, c *command.PatchDeployment) (*command.Result, uint64, error) {
	if !c.HasParameters && !c.HasSchedule {
		return x.propose(e)
	}
	asked := c.IfRevision
	for range checkAttempts {
		view, err := x.view()
		if err != nil {
			return nil, 0, err
		}
		d, err := view.Deployment(idOf(c.Id))
		view.Close()
		if err != nil {
			return nil, 0, err
		}
		if d == nil {
			return nil, 0, notFound(missing.deployment)
		}
		if command.HasSchema(d) && (asked == nil || *asked == d.Revision) {
			if c.HasParameters {
				d.ParametersJson = c.ParametersJson
			}
			if c.HasSchedule {
				d.ScheduleJson = c.ScheduleJson
			}
			if err := x.fitDeployment(d); err != nil {
				return nil, 0, err
			}
		}
		if c.IfRevision = asked; asked == nil {
			c.IfRevision = &d.Revision
		}
		r, index, err := x.propose(e)
		if err != nil || asked != nil || r.Code != command.Result_CONFLICT {
			return r, index, err
		}
	}
	return nil, 0, conflict("The deployment keeps changing.", "Try again.")
}

// deploymentFitting reads a deployment whose schedule is about to make runs, and refuses if it cannot.
func (x *exchange) deploymentFitting(id api.ID) (*row.Deployment, error) {
	view, err := x.view()
	if err != nil {
		return nil, err
	}
	d, err := view.Deployment(id)
	view.Close()
	if err == nil && d == nil {
		err = notFound(missing.deployment)
	}
	if err == nil {
		err = x.fitSchedule(d)
	}
	return d, err
}

// fitFlowRun refuses to give a run of a deployment parameters that do not fit.
func (x *exchange) fitFlowRun(id api.ID, given []byte) error {
	view, err := x.view()
	if err != nil {
		return err
	}
	defer view.Close()
	run, err := view.FlowRun(id)
	if err != nil || run == nil || len(run.DeploymentId) == 0 {
		return err
	}
	d, err := view.Deployment(idOf(run.DeploymentId))
	if err != nil || d == nil {
		return err
	}
	return x.fit(d, given, whole)
}
