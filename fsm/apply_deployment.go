package fsm

import (
	"bytes"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
	"github.com/sluice-dev/sluice/fsm/watch"
)

// autoScheduledTag marks runs made from a schedule.
const autoScheduledTag = "auto-scheduled"

func (a *applier) putDeployment(c *command.PutDeployment) (*command.Result, error) {
	flow, err := a.tx.Flow(id16(c.FlowId))
	if err != nil {
		return nil, err
	}
	if flow == nil {
		return conflict("flow_id names no flow"), nil
	}
	stored, err := a.tx.DeploymentByName(id16(c.FlowId), c.Name)
	if err != nil {
		return nil, err
	}
	next := &row.Deployment{
		Name: c.Name, FlowId: c.FlowId, FlowData: c.FlowData, ScheduleJson: c.ScheduleJson, IsScheduleActive: c.IsScheduleActive,
		ParametersJson: c.ParametersJson, Tags: c.Tags, FlowRunner: c.FlowRunner, Catchup: c.Catchup, CatchupLimit: c.CatchupLimit,
		ParameterSchemaJson: c.ParameterSchemaJson, Entrypoint: c.Entrypoint,
	}
	if stored == nil {
		next.Id, next.Created, next.Updated = c.Id, a.now, a.now
		next.ScheduleRevision, next.ScheduleAnchor = a.index, a.now
		result, err := saved(a.tx.NewDeployment(next).Save(), created(c.Id), "a deployment with this id exists")
		if err == nil && result.Code == command.Result_OK {
			a.emit(watch.Event{Topic: watch.TopicDeployment, Deployment: next})
		}
		return result, err
	}
	if !c.HasFlowRunner {
		next.FlowRunner = stored.FlowRunner
	}
	next.Id, next.Created, next.Updated = stored.Id, stored.Created, stored.Updated
	next.ScheduleRevision, next.NextFire, next.ScheduleAnchor = stored.ScheduleRevision, stored.NextFire, stored.ScheduleAnchor
	if c.KeepIfEqual && proto.Equal(stored, next) {
		return ok(stored.Id), nil
	}
	if !bytes.Equal(stored.ScheduleJson, next.ScheduleJson) {
		next.ScheduleAnchor = a.now
	}
	next.Updated = a.now
	e, err := a.tx.EditDeployment(stored.Id)
	if err != nil {
		return nil, err
	}
	e.Row = next
	return ok(stored.Id), a.reschedule(e)
}

// reschedule saves a deployment of which something changed that future runs are made of: those made already go, and the
// scheduler begins anew under the next revision.
func (a *applier) reschedule(e *state.DeploymentEdit) error {
	d := e.Row
	if err := a.removeScheduledRuns(d.Id, func(r *row.FlowRun) bool { return r.AutoScheduled }); err != nil {
		return err
	}
	// The index of this entry, or one more when the same entry changes the deployment twice.
	d.ScheduleRevision = max(d.ScheduleRevision+1, a.index)
	d.NextFire = 0
	if err := e.Save(); err != nil {
		return err
	}
	a.emit(watch.Event{Topic: watch.TopicDeployment, Deployment: d})
	return nil
}

func (a *applier) removeScheduledRuns(deploymentID []byte, which func(*row.FlowRun) bool) error {
	var runs [][]byte
	err := a.tx.ScheduledFlowRunsOfDeployment(id16(deploymentID), false, func(r *row.FlowRun) (bool, error) {
		if which(r) {
			runs = append(runs, r.Id)
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	for _, id := range runs {
		if err := a.removeFlowRun(id); err != nil {
			return err
		}
	}
	return nil
}

// deleteDeployment removes the deployment's waiting runs; others keep living without it. Of many runs a job takes care, and the
// deployment is gone at once.
func (a *applier) deleteDeployment(id []byte) (*command.Result, error) {
	return a.deleteDeploymentOf(id, inOneCommand)
}

// deleteDeploymentOf leaves more than so many runs to a job.
func (a *applier) deleteDeploymentOf(id []byte, most int64) (*command.Result, error) {
	e, err := a.tx.EditDeployment(id)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return notFound("Deployment"), nil
	}
	n, err := runsOf(func(t row.StateType) (int64, error) { return a.tx.CountFlowRunsOfDeployment(id16(id), t) })
	if err != nil {
		return nil, err
	}
	if n > most {
		if _, err := a.addJob(&row.Job{Id: a.newID(), Action: row.Job_FORGET_DEPLOYMENT, ObjectId: id, Total: n}); err != nil {
			return nil, err
		}
	} else if err := a.forgetDeploymentOfAll(id); err != nil {
		return nil, err
	}
	d := e.Row
	if err := e.Delete(); err != nil {
		return nil, err
	}
	a.emit(watch.Event{Topic: watch.TopicDeployment, Deployment: d, Deleted: true})
	return ok(id), nil
}

func (a *applier) forgetDeploymentOfAll(id []byte) error {
	var runs [][]byte
	err := a.tx.FlowRunsOfDeployment(id16(id), false, func(r *row.FlowRun) (bool, error) {
		runs = append(runs, r.Id)
		return true, nil
	})
	for _, run := range runs {
		if err != nil {
			break
		}
		var e *state.FlowRunEdit
		if e, err = a.tx.EditFlowRun(run); err == nil {
			err = a.forgetDeployment(e)
		}
	}
	return err
}

func (a *applier) setScheduleActive(c *command.SetScheduleActive) (*command.Result, error) {
	e, err := a.tx.EditDeployment(c.Id)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return notFound("Deployment"), nil
	}
	if e.Row.IsScheduleActive == c.Active {
		return ok(c.Id), nil
	}
	e.Row.IsScheduleActive = c.Active
	e.Row.Updated = a.now
	return ok(c.Id), a.reschedule(e)
}

// scheduleRuns makes the runs of fire times that have none yet. The key of a fire time is unique, so that no failover and
// no repetition doubles it.
func (a *applier) scheduleRuns(c *command.ScheduleRuns) (*command.Result, error) {
	e, err := a.tx.EditDeployment(c.DeploymentId)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return notFound("Deployment"), nil
	}
	d := e.Row
	if d.ScheduleRevision != c.ScheduleRevision || !d.IsScheduleActive || len(d.ScheduleJson) == 0 {
		return failed(command.Result_CONFLICT, "the deployment's schedule has changed since this was computed"), nil
	}
	result := ok(c.DeploymentId)
	for _, fire := range c.Fires {
		key := fireKey(d.Id, fire)
		stored, err := a.tx.FlowRunByIdempotencyKey(id16(d.FlowId), key)
		if err != nil {
			return nil, err
		}
		taken, err := a.tx.FlowRun(id16(fire.FlowRunId))
		if err != nil {
			return nil, err
		}
		if stored != nil || taken != nil {
			continue
		}
		message := "Flow run scheduled"
		run := &row.FlowRun{
			Id: fire.FlowRunId, Created: a.now, Updated: a.now, Name: fire.Name, FlowId: d.FlowId, DeploymentId: d.Id,
			ParametersJson: d.ParametersJson, IdempotencyKey: &key, Tags: append([]string{autoScheduledTag}, slices.Clone(d.Tags)...),
			FlowRunner: d.FlowRunner, AutoScheduled: true,
		}
		s := a.newState(&command.ProposedState{Type: row.StateType_SCHEDULED, Message: &message,
			Details: &row.StateDetails{ScheduledTime: fire.Time, ScheduledOffset: fire.Offset}}, 0)
		if err := a.recordFlowRunState(a.tx.NewFlowRun(run), s); err != nil {
			return nil, err
		}
		result.Count++
	}
	if c.Advance && c.NextFire > d.NextFire {
		d.NextFire = c.NextFire
		return result, e.Save()
	}
	return result, nil
}

// fireKey is the idempotency key of a scheduled run, in Orion's form: the fire time with the offset of the schedule's zone.
func fireKey(deploymentID []byte, fire *command.ScheduleRuns_Fire) string {
	at := time.UnixMicro(fire.Time).In(time.FixedZone("", int(fire.Offset)))
	layout := "2006-01-02T15:04:05-07:00"
	if fire.Time%1_000_000 != 0 {
		layout = "2006-01-02T15:04:05.000000-07:00"
	}
	return "scheduled " + id16(deploymentID).String() + " " + at.Format(layout)
}
