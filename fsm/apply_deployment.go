package fsm

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"

	"google.golang.org/protobuf/proto"

	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/orchestration"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
	"github.com/sluice-dev/sluice/fsm/watch"
)

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
	if stale := staleRevision(stored, c.IfRevision); stale != nil {
		return stale, nil
	}
	if len(c.Schedules) > mostSchedules+1 {
		return failed(command.Result_INVALID, fmt.Sprintf("a deployment has at most %d schedules beside its first one", mostSchedules)), nil
	}
	next := c.Over(stored)
	if stored == nil {
		next.Id, next.Created, next.Updated = c.Id, a.now, a.now
		next.ScheduleRevision, next.ScheduleAnchor, next.ScheduleSince, next.Revision = a.index, a.now, a.now, a.revision(0)
		for _, s := range next.Schedules {
			s.Created, s.Anchor, s.Since, s.Revision = a.now, a.now, a.now, a.revision(0)
		}
		delete(a.cache.policies, id16(c.Id))
		result, err := saved(a.tx.NewDeployment(next).Save(), created(c.Id), "a deployment with this id exists")
		if err == nil && result.Code == command.Result_OK {
			a.emit(watch.Event{Topic: watch.TopicDeployment, Deployment: next})
		}
		return result, err
	}
	if c.KeepIfEqual && proto.Equal(stored, next) {
		return ok(stored.Id), nil
	}
	e, err := a.tx.EditDeployment(stored.Id)
	if err != nil {
		return nil, err
	}
	return a.replaceDeployment(e, next, false)
}

// replaceDeployment saves a deployment as it is to be now, with what follows from the difference. With keepDue, what its schedules owe
// stays owed where they are as they were.
func (a *applier) replaceDeployment(e *state.DeploymentEdit, next *row.Deployment, keepDue bool) (*command.Result, error) {
	stored := e.Row
	if !bytes.Equal(stored.ScheduleJson, next.ScheduleJson) {
		next.ScheduleAnchor = a.now
	}
	for _, s := range next.Schedules {
		i := slices.IndexFunc(stored.Schedules, func(o *row.DeploymentSchedule) bool { return bytes.Equal(o.Id, s.Id) })
		if i < 0 {
			s.Created = a.now
		}
		if i < 0 || !bytes.Equal(stored.Schedules[i].ScheduleJson, s.ScheduleJson) {
			s.Anchor = a.now
		}
	}
	next.Updated = a.now
	e.Row = next
	if err := a.changeGates(next.Id, stored.Policy, next.Policy); err != nil {
		return nil, err
	}
	if keepDue {
		return ok(next.Id), a.rescheduleFuture(e, stored)
	}
	return ok(next.Id), a.reschedule(e)
}

// revision is the next revision of a deployment: the index of this entry, or one more when the same entry changes it twice.
func (a *applier) revision(last uint64) uint64 { return max(last+1, a.index) }

// staleRevision refuses a change that was made for another state of the deployment; nil: it was not.
func staleRevision(stored *row.Deployment, wanted *uint64) *command.Result {
	switch {
	case wanted == nil || *wanted == stored.GetRevision():
		return nil
	case stored == nil:
		return conflict("the deployment does not exist, revision " + strconv.FormatUint(*wanted, 10) + " was expected")
	case *wanted == 0:
		return conflict("the deployment exists already, with revision " + strconv.FormatUint(stored.Revision, 10))
	}
	return conflict("the deployment has changed: its revision is " + strconv.FormatUint(stored.Revision, 10) + ", not " + strconv.FormatUint(*wanted, 10))
}

// reschedule saves a deployment of which something changed that future runs are made of: those made already go, and the
// scheduler begins anew under the next revision.
func (a *applier) reschedule(e *state.DeploymentEdit) error {
	d := e.Row
	if err := a.removeScheduledRuns(d.Id, ahead); err != nil {
		return err
	}
	d.Revision = a.revision(d.Revision)
	d.ScheduleRevision = a.revision(d.ScheduleRevision)
	d.NextFire, d.ScheduleSince = 0, a.now
	for _, s := range d.Schedules {
		s.Revision, s.NextFire, s.Since = a.revision(s.Revision), 0, a.now
	}
	if err := e.Save(); err != nil {
		return err
	}
	a.emit(watch.Event{Topic: watch.TopicDeployment, Deployment: d})
	return nil
}

// rescheduleFuture is reschedule for a change that leaves schedules as they were: runs that are due stay, and fire times that passed
// without a run are still made up for as catchup says.
func (a *applier) rescheduleFuture(e *state.DeploymentEdit, before *row.Deployment) error {
	d := e.Row
	owes := func(scheduleID []byte) bool {
		old, now := timetableOf(before, scheduleID), timetableOf(d, scheduleID)
		return old != nil && now != nil && old.active && now.active && bytes.Equal(old.json, now.json)
	}
	err := a.removeScheduledRuns(d.Id, func(r *row.FlowRun) bool {
		return ahead(r) && (r.NextScheduledStartTime > a.now || !owes(r.ScheduleId))
	})
	if err != nil {
		return err
	}
	d.Revision = a.revision(d.Revision)
	ids := [][]byte{nil}
	for _, s := range d.Schedules {
		ids = append(ids, s.Id)
	}
	for _, id := range ids {
		t := timetableOf(d, id)
		if t == nil {
			continue
		}
		*t.revision = a.revision(*t.revision)
		if !owes(id) || *t.nextFire > a.now { // else what it has not made yet stays owed
			*t.nextFire, *t.since = 0, a.now
		}
	}
	if err := e.Save(); err != nil {
		return err
	}
	a.emit(watch.Event{Topic: watch.TopicDeployment, Deployment: d})
	return nil
}

// ahead reports whether a SCHEDULED run was made by a schedule and has not begun: one that waits for another attempt stays.
func ahead(r *row.FlowRun) bool {
	return r.AutoScheduled && r.State.GetName() != orchestration.NameAwaitingRetry
}

// patchDeployment changes the fields that the command marks.
func (a *applier) patchDeployment(c *command.PatchDeployment) (*command.Result, error) {
	e, err := a.tx.EditDeployment(c.Id)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return notFound("Deployment"), nil
	}
	if stale := staleRevision(e.Row, c.IfRevision); stale != nil {
		return stale, nil
	}
	next := proto.Clone(e.Row).(*row.Deployment)
	if c.HasSchedule {
		next.ScheduleJson = c.ScheduleJson
	}
	if c.HasScheduleActive {
		next.IsScheduleActive = c.IsScheduleActive
	}
	if c.HasParameters {
		next.ParametersJson = c.ParametersJson
	}
	if c.HasTags {
		next.Tags = c.Tags
	}
	if c.HasFlowRunner {
		next.FlowRunner = c.FlowRunner
	}
	if c.HasCatchup {
		next.Catchup = c.Catchup
	}
	if c.HasCatchupLimit {
		next.CatchupLimit = c.CatchupLimit
	}
	if c.HasRetention {
		next.Retention = c.Retention
	}
	patchPolicy(next, c)
	if proto.Equal(next, e.Row) {
		return ok(c.Id), nil
	}
	return a.replaceDeployment(e, next, true)
}

func patchPolicy(d *row.Deployment, c *command.PatchDeployment) {
	wished, p := c.Policy, d.Policy
	if p == nil {
		p = &row.Policy{}
	}
	if p.Run == nil {
		p.Run = &row.RunPolicy{}
	}
	if c.HasConcurrencyLimit {
		p.ConcurrencyLimit = nil
		if wished != nil {
			p.ConcurrencyLimit = wished.ConcurrencyLimit
		}
	}
	if c.HasOnConflict {
		p.OnConflict = wished.GetOnConflict()
	}
	if c.HasOverlap {
		p.Overlap = wished.GetOverlap()
	}
	if c.HasDst {
		p.DstSkipped, p.DstRepeated = wished.GetDstSkipped(), wished.GetDstRepeated()
	}
	if c.HasOnCrash {
		p.Run.CrashRetries, p.Run.CrashDelay = wished.GetRun().GetCrashRetries(), wished.GetRun().GetCrashDelay()
	}
	if c.HasQueueTimeout {
		p.Run.QueueTimeout = wished.GetRun().GetQueueTimeout()
	}
	if c.HasRunTimeout {
		p.Run.RunTimeout = wished.GetRun().GetRunTimeout()
	}
	if c.HasPriority {
		p.Run.Priority = wished.GetRun().GetPriority()
	}
	if proto.Size(p.Run) == 0 {
		p.Run = nil
	}
	if d.Policy = p; proto.Size(p) == 0 {
		d.Policy = nil
	}
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
	if err := a.changeGates(id, d.Policy, nil); err != nil {
		return nil, err
	}
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
