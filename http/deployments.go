package httpapi

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
	"github.com/sluice-dev/sluice/http/internal/body"
)

func putDeployment(_ *Server, x *exchange) error {
	c := &command.PutDeployment{Id: newID()}
	spec := putDeploymentSpec
	if x.strict {
		spec = putOrionDeploymentSpec
	}
	if err := decode(x, spec, c); err != nil {
		return err
	}
	c.HasFlowRunner = c.FlowRunner != nil
	if err := nameSchedules(c); err != nil {
		return err
	}
	c.KeepIfEqual, c.HasRetention, c.HasPolicy, c.Policy = !x.strict, !x.strict, !x.strict, plainPolicy(c.Policy)
	if err := x.fitPut(c); err != nil {
		return err
	}
	e := x.envelope()
	e.Command = &command.Envelope_PutDeployment{PutDeployment: c}
	conflictText := ""
	if c.IfRevision != nil {
		conflictText = revisionConflict
	}
	return x.proposeObject(e, missing.flow, conflictText, func(view *state.View, r *command.Result) error {
		d, err := view.Deployment(idOf(r.Id))
		return x.answerDeployment(created(r), d, err)
	})
}

// revisionConflict answers a change that was made for another revision.
const revisionConflict = "The deployment is not the one the request was made for."

// patchDeployment changes what the request names and answers the deployment.
func patchDeployment(_ *Server, x *exchange) error {
	id, err := x.pathID("id")
	if err != nil {
		return err
	}
	c := &command.PatchDeployment{Id: id[:]}
	if err := decode(x, patchDeploymentSpec, c); err != nil {
		return err
	}
	e := x.envelope()
	e.Command = &command.Envelope_PatchDeployment{PatchDeployment: c}
	r, index, err := x.patchFitting(e, c)
	if err != nil {
		return err
	}
	if err := outcome(r, missing.deployment, revisionConflict); err != nil {
		return err
	}
	view, err := x.written(index)
	if err != nil {
		return err
	}
	defer view.Close()
	d, err := view.Deployment(id)
	return x.answerDeployment(200, d, err)
}

func (x *exchange) answerDeployment(status int, d *row.Deployment, err error) error {
	switch {
	case err != nil:
		return err
	case d == nil:
		return notFound(missing.deployment)
	}
	object, err := x.showDeployment(d)
	if err != nil {
		return err
	}
	return x.object(status, object)
}

var readDeployment = readsOne(func(x *exchange, view *state.View, id api.ID) error {
	d, err := view.Deployment(id)
	return x.answerDeployment(200, d, err)
})

var readDeploymentByName = reads(func(x *exchange, view *state.View) error {
	flow, err := view.FlowByName(x.path("flow"))
	if err != nil || flow == nil {
		return x.answerDeployment(200, nil, err)
	}
	d, err := view.DeploymentByName(idOf(flow.Id), x.path("deployment"))
	return x.answerDeployment(200, d, err)
})

func deleteDeployment(_ *Server, x *exchange) error {
	return x.delete(missing.deployment, func(e *command.Envelope, d *command.Delete) {
		e.Command = &command.Envelope_DeleteDeployment{DeleteDeployment: d}
	})
}

func setScheduleActive(_ *Server, x *exchange) error   { return x.setSchedule(true) }
func setScheduleInactive(_ *Server, x *exchange) error { return x.setSchedule(false) }

func (x *exchange) setSchedule(active bool) error {
	id, err := x.pathID("id")
	if err != nil {
		return err
	}
	if active {
		if _, err := x.deploymentFitting(id); err != nil {
			return err
		}
	}
	e := x.envelope()
	e.Command = &command.Envelope_SetScheduleActive{SetScheduleActive: &command.SetScheduleActive{Id: id[:], Active: active}}
	r, _, err := x.propose(e)
	if err != nil {
		return err
	}
	if err := outcome(r, missing.deployment, ""); err != nil {
		return err
	}
	return x.null(200)
}

func createDeploymentFlowRun(_ *Server, x *exchange) error {
	id, err := x.pathID("id")
	if err != nil {
		return err
	}
	c := &command.CreateFlowRun{}
	spec := deploymentFlowRunSpec
	if x.strict {
		spec = orionDeploymentFlowRunSpec
	}
	if err := decode(x, spec, c); err != nil {
		return err
	}
	c.Id, c.DeploymentId, c.FromDeployment = newID(), id[:], true
	return x.createFlowRun(c)
}

// scheduleRequest asks for the runs of a deployment's schedule between two times.
type scheduleRequest struct {
	start, end int64
	maxRuns    int64
}

const (
	defaultScheduledRuns = 100
	mostScheduledRuns    = 10_000
)

var scheduleSpec = body.Parameters(
	body.Optional("start_time", body.Time, func(v *scheduleRequest) *int64 { return &v.start }),
	body.Optional("end_time", body.Time, func(v *scheduleRequest) *int64 { return &v.end }),
	body.Optional("max_runs", body.IntBetween(0, mostScheduledRuns), func(v *scheduleRequest) *int64 { return &v.maxRuns }),
).Defaults(func(v *scheduleRequest) { v.maxRuns = defaultScheduledRuns })

// scheduleAttempts bounds how often the dates are computed anew because somebody changed the schedule meanwhile.
const scheduleAttempts = 3

// scheduleDeployment makes the runs of a schedule's dates in a window, past ones too. Without an active schedule it does nothing.
func scheduleDeployment(_ *Server, x *exchange) error {
	id, err := x.pathID("id")
	if err != nil {
		return err
	}
	in := scheduleRequest{}
	if err := decode(x, scheduleSpec, &in); err != nil {
		return err
	}
	if in.start == 0 {
		in.start = x.now()
	}
	if in.end == 0 {
		in.end = in.start + int64(100*24*time.Hour/time.Microsecond)
	}
	for range scheduleAttempts {
		changed, err := x.scheduleRuns(id, in)
		if err != nil {
			return err
		}
		if !changed {
			return x.null(200)
		}
	}
	return conflict("The deployment's schedule keeps changing.", "Try again.")
}

// firesPerCommand keeps one command small.
const firesPerCommand = 500

func (x *exchange) scheduleRuns(id api.ID, in scheduleRequest) (changed bool, err error) {
	view, err := x.view()
	if err != nil {
		return false, err
	}
	d, err := view.Deployment(id)
	view.Close()
	if err != nil || d == nil || len(d.ScheduleJson) == 0 || !d.IsScheduleActive || d.SchedulePaused {
		return false, err
	}
	schedule, err := compiled(d, nil)
	if err != nil || schedule == nil {
		return false, err
	}
	if err := x.fitSchedule(d); err != nil {
		return false, err
	}
	dates := schedule.Dates(int(in.maxRuns), time.UnixMicro(in.start), time.UnixMicro(in.end))
	for part := range slices.Chunk(dates, firesPerCommand) {
		c := &command.ScheduleRuns{DeploymentId: id[:], ScheduleRevision: d.ScheduleRevision}
		for _, at := range part {
			_, zone := at.In(schedule.Zone()).Zone()
			c.Fires = append(c.Fires, &command.ScheduleRuns_Fire{
				Time: at.UnixMicro(), Offset: int32(zone), FlowRunId: newID(), Name: api.RunName(rand.Uint64()),
			})
		}
		e := x.envelope()
		e.Command = &command.Envelope_ScheduleRuns{ScheduleRuns: c}
		r, _, err := x.propose(e)
		if err != nil {
			return false, err
		}
		switch r.Code {
		case command.Result_CONFLICT:
			return true, nil
		case command.Result_NOT_FOUND:
			return false, nil
		}
		if err := outcome(r, missing.deployment, ""); err != nil {
			return false, err
		}
	}
	return false, nil
}
