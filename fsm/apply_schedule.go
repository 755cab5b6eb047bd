package fsm

import (
	"bytes"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/orchestration"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/watch"
)

const (
	// autoScheduledTag marks runs made from a schedule, backfillTag those made by hand for past fire times.
	autoScheduledTag = "auto-scheduled"
	backfillTag      = "backfill"
	// mostSchedules bounds the further schedules of one deployment: they are part of its row.
	mostSchedules = 50
)

// timetable is one schedule of a deployment as far as making runs goes.
type timetable struct {
	json   []byte
	active bool
	// What follows is in the deployment's row.
	revision        *uint64
	nextFire, since *int64
}

// timetableOf finds a schedule of a deployment, nil when there is none. An empty id is the first one's.
func timetableOf(d *row.Deployment, scheduleID []byte) *timetable {
	if len(scheduleID) == 0 {
		if len(d.ScheduleJson) == 0 {
			return nil
		}
		return &timetable{d.ScheduleJson, d.IsScheduleActive && !d.SchedulePaused, &d.ScheduleRevision, &d.NextFire, &d.ScheduleSince}
	}
	for _, s := range d.Schedules {
		if bytes.Equal(s.Id, scheduleID) {
			return &timetable{s.ScheduleJson, d.IsScheduleActive && s.Active, &s.Revision, &s.NextFire, &s.Since}
		}
	}
	return nil
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
	t := timetableOf(d, c.ScheduleId)
	if t == nil || *t.revision != c.ScheduleRevision || !t.active {
		return failed(command.Result_CONFLICT, "the deployment's schedule has changed since this was computed"), nil
	}
	result := ok(c.DeploymentId)
	for _, fire := range c.Fires {
		run := &row.FlowRun{Tags: append([]string{autoScheduledTag}, slices.Clone(d.Tags)...), AutoScheduled: true, ScheduleId: c.ScheduleId, Policy: runPolicy(d, nil)}
		made, err := a.makeRun(d, fire, run, "Flow run scheduled")
		if err != nil {
			return nil, err
		}
		if made {
			result.Count++
		}
	}
	if c.Advance && c.NextFire > *t.nextFire {
		*t.nextFire = c.NextFire
		return result, e.Save()
	}
	return result, nil
}

// makeRun makes the run of a fire time unless there is one.
func (a *applier) makeRun(d *row.Deployment, fire *command.ScheduleRuns_Fire, run *row.FlowRun, message string) (bool, error) {
	key := command.FireKey(d.Id, run.ScheduleId, fire)
	stored, err := a.tx.FlowRunByIdempotencyKey(id16(d.FlowId), key)
	if err != nil {
		return false, err
	}
	taken, err := a.tx.FlowRun(id16(fire.FlowRunId))
	if err != nil || stored != nil || taken != nil {
		return false, err
	}
	run.Id, run.Created, run.Updated, run.Name, run.FlowId, run.DeploymentId = fire.FlowRunId, a.now, a.now, fire.Name, d.FlowId, d.Id
	run.ParametersJson, run.IdempotencyKey, run.FlowRunner = d.ParametersJson, &key, d.FlowRunner
	s := a.newState(&command.ProposedState{Type: row.StateType_SCHEDULED, Message: &message,
		Details: &row.StateDetails{ScheduledTime: fire.Time, ScheduledOffset: fire.Offset}}, 0)
	return true, a.recordFlowRunState(a.tx.NewFlowRun(run), s)
}

// backfillRuns makes runs of past fire times by hand. It works for paused schedules too, and never moves one.
func (a *applier) backfillRuns(c *command.BackfillRuns) (*command.Result, error) {
	d, err := a.tx.Deployment(id16(c.DeploymentId))
	if err != nil {
		return nil, err
	}
	if d == nil {
		return notFound("Deployment"), nil
	}
	if timetableOf(d, c.ScheduleId) == nil {
		return failed(command.Result_CONFLICT, "the deployment does not have this schedule any more"), nil
	}
	p := runPolicy(d, &row.RunPolicy{Priority: c.Priority})
	if p == nil {
		p = &row.RunPolicy{}
	}
	if c.Priority == 0 {
		p.Priority = max(p.Priority, orchestration.BackfillPriority)
	}
	// Fire times of the past are not due since then: a queue timeout begins when the run is made.
	result := ok(c.DeploymentId)
	for _, fire := range c.Fires {
		own := proto.Clone(p).(*row.RunPolicy)
		if own.QueueTimeout > 0 {
			own.QueueTimeout += max(0, a.now-fire.Time)
		}
		run := &row.FlowRun{Tags: append([]string{backfillTag}, slices.Clone(d.Tags)...), ScheduleId: c.ScheduleId, Backfill: true, Policy: own}
		made, err := a.makeRun(d, fire, run, "Flow run backfilled")
		if err != nil {
			return nil, err
		}
		if made {
			result.Count++
		}
	}
	return result, nil
}

// putSchedule adds a further schedule, or changes one: the first one too, under the deployment's own id.
func (a *applier) putSchedule(c *command.PutSchedule) (*command.Result, error) {
	e, err := a.tx.EditDeployment(c.DeploymentId)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return notFound("Deployment"), nil
	}
	d := e.Row
	if c.HasName && nameTaken(d, c) {
		return conflict("the deployment has another schedule called '" + c.Name + "'"), nil
	}
	if bytes.Equal(c.ScheduleId, d.Id) {
		return a.putFirstSchedule(e.Save, d, c)
	}
	i := slices.IndexFunc(d.Schedules, func(s *row.DeploymentSchedule) bool { return bytes.Equal(s.Id, c.ScheduleId) })
	switch {
	case i < 0 && !c.Create:
		return notFound("Schedule"), nil
	case i < 0 && len(d.Schedules) >= mostSchedules:
		return failed(command.Result_INVALID, fmt.Sprintf("a deployment has at most %d schedules beside its first one", mostSchedules)), nil
	case i < 0:
		d.Schedules = append(d.Schedules, &row.DeploymentSchedule{Id: c.ScheduleId, Created: a.now, Active: true, Anchor: a.now})
		i = len(d.Schedules) - 1
	case c.Create:
		return ok(c.ScheduleId), nil // a repetition
	}
	s := d.Schedules[i]
	before := proto.Clone(s).(*row.DeploymentSchedule)
	if c.HasSchedule && !bytes.Equal(s.ScheduleJson, c.ScheduleJson) {
		s.ScheduleJson, s.Anchor = c.ScheduleJson, a.now
	}
	if c.HasActive {
		s.Active = c.Active
	}
	if c.HasName {
		s.Name = c.Name
	}
	if proto.Equal(before, s) {
		return ok(c.ScheduleId), nil
	}
	result := ok(c.ScheduleId)
	result.Created = c.Create
	if !c.Create && s.Active == before.Active && bytes.Equal(s.ScheduleJson, before.ScheduleJson) {
		return result, a.scheduleRenamed(e.Save, d)
	}
	s.Revision, s.NextFire, s.Since = a.revision(s.Revision), 0, a.now
	return result, a.scheduleChanged(e.Save, d, c.ScheduleId)
}

// nameTaken reports whether another schedule of the deployment has the name that one is to get.
func nameTaken(d *row.Deployment, c *command.PutSchedule) bool {
	if c.Name == "" {
		return false
	}
	first := len(d.ScheduleJson) > 0 && d.ScheduleName == c.Name && !bytes.Equal(d.Id, c.ScheduleId)
	return first || slices.ContainsFunc(d.Schedules, func(o *row.DeploymentSchedule) bool { return o.Name == c.Name && !bytes.Equal(o.Id, c.ScheduleId) })
}

func (a *applier) putFirstSchedule(save func() error, d *row.Deployment, c *command.PutSchedule) (*command.Result, error) {
	text, paused, name := d.ScheduleJson, d.SchedulePaused, d.ScheduleName
	if c.HasName {
		name = c.Name
	}
	if c.HasSchedule {
		text = c.ScheduleJson
	}
	if c.HasActive {
		paused = !c.Active
	}
	switch {
	case len(text) == 0:
		return notFound("Schedule"), nil
	case c.Create && len(d.ScheduleJson) != 0:
		return conflict("the deployment has a first schedule meanwhile"), nil
	}
	if bytes.Equal(text, d.ScheduleJson) && paused == d.SchedulePaused && name == d.ScheduleName {
		return ok(d.Id), nil
	}
	if bytes.Equal(text, d.ScheduleJson) && paused == d.SchedulePaused {
		d.ScheduleName = name
		return ok(d.Id), a.scheduleRenamed(save, d)
	}
	if !bytes.Equal(text, d.ScheduleJson) {
		d.ScheduleAnchor = a.now
	}
	d.ScheduleJson, d.SchedulePaused, d.ScheduleName = text, paused, name
	d.ScheduleRevision, d.NextFire, d.ScheduleSince = a.revision(d.ScheduleRevision), 0, a.now
	result := ok(d.Id)
	result.Created = c.Create
	return result, a.scheduleChanged(save, d, nil)
}

// deleteSchedule removes one schedule, or all of them when the id is empty. The first one has the deployment's id.
func (a *applier) deleteSchedule(c *command.DeleteSchedule) (*command.Result, error) {
	e, err := a.tx.EditDeployment(c.DeploymentId)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return notFound("Deployment"), nil
	}
	d := e.Row
	result := ok(c.DeploymentId)
	all := len(c.ScheduleId) == 0
	if (all || bytes.Equal(c.ScheduleId, d.Id)) && len(d.ScheduleJson) != 0 {
		d.ScheduleJson, d.SchedulePaused, d.ScheduleName = nil, false, ""
		d.ScheduleRevision, d.NextFire, d.ScheduleSince = a.revision(d.ScheduleRevision), 0, a.now
		if err := a.scheduleChanged(e.Save, d, nil); err != nil {
			return nil, err
		}
		result.Count++
	}
	for _, s := range slices.Clone(d.Schedules) {
		if !all && !bytes.Equal(c.ScheduleId, s.Id) {
			continue
		}
		d.Schedules = slices.DeleteFunc(d.Schedules, func(o *row.DeploymentSchedule) bool { return o == s })
		if err := a.scheduleChanged(e.Save, d, s.Id); err != nil {
			return nil, err
		}
		result.Count++
	}
	if result.Count == 0 && !all {
		return notFound("Schedule"), nil
	}
	return result, nil
}

// scheduleChanged saves a deployment of which one schedule changed: the runs that it made ahead go.
func (a *applier) scheduleChanged(save func() error, d *row.Deployment, scheduleID []byte) error {
	err := a.removeScheduledRuns(d.Id, func(r *row.FlowRun) bool { return ahead(r) && bytes.Equal(r.ScheduleId, scheduleID) })
	if err != nil {
		return err
	}
	return a.scheduleRenamed(save, d)
}

// scheduleRenamed saves a deployment of whose schedules nothing changed that runs are made of.
func (a *applier) scheduleRenamed(save func() error, d *row.Deployment) error {
	d.Updated, d.Revision = a.now, a.revision(d.Revision)
	if err := save(); err != nil {
		return err
	}
	a.emit(watch.Event{Topic: watch.TopicDeployment, Deployment: d})
	return nil
}
