package httpapi

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
	"github.com/sluice-dev/sluice/http/internal/body"
	"github.com/sluice-dev/sluice/scheduler/calendar"
)

// missingSchedule answers a schedule that a deployment does not have.
const missingSchedule = "Schedule not found"

// scheduleEntries are the schedules of a deployment. The first one, if there is one, has the deployment's id.
func scheduleEntries(d *row.Deployment) ([]api.ScheduleEntry, error) {
	entries := []api.ScheduleEntry{}
	add := func(id []byte, name string, text []byte, active bool) error {
		e := api.ScheduleEntry{ID: idOf(id), Name: name, Active: active}
		if err := json.Unmarshal(text, &e.Schedule); err != nil {
			return fmt.Errorf("read a schedule of deployment %s: %w", idOf(d.Id), err)
		}
		entries = append(entries, e)
		return nil
	}
	if len(d.ScheduleJson) > 0 && string(d.ScheduleJson) != "null" {
		if err := add(d.Id, d.ScheduleName, d.ScheduleJson, !d.SchedulePaused); err != nil {
			return nil, err
		}
	}
	for _, s := range d.Schedules {
		if err := add(s.Id, s.Name, s.ScheduleJson, s.Active); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// compiled returns one schedule of a deployment as the scheduler reads it; nil when there is none. An id that is empty or the
// deployment's means the first one.
func compiled(d *row.Deployment, scheduleID []byte) (*calendar.Schedule, error) {
	text, anchor := d.ScheduleJson, d.ScheduleAnchor
	if !isFirst(d, scheduleID) {
		text = nil
		for _, s := range d.Schedules {
			if string(s.Id) == string(scheduleID) {
				text, anchor = s.ScheduleJson, s.Anchor
			}
		}
	}
	if len(text) == 0 || string(text) == "null" {
		return nil, nil
	}
	schedule, err := calendar.Parse(text)
	if err == nil {
		schedule, err = schedule.Anchored(time.UnixMicro(anchor))
	}
	if err != nil {
		return nil, fmt.Errorf("read a schedule of deployment %s: %w", idOf(d.Id), err)
	}
	return schedule.WithDST(dstOf(d.Policy)), nil
}

func isFirst(d *row.Deployment, scheduleID []byte) bool {
	return len(scheduleID) == 0 || string(scheduleID) == string(d.Id)
}

// dstOf is what a deployment's policy says about changing clocks.
func dstOf(p *row.Policy) calendar.DST {
	return calendar.DST{SkipMissing: p.GetDstSkipped() == row.Policy_SKIP_TIME, Repeated: repeatedOf[p.GetDstRepeated()]}
}

var repeatedOf = map[row.Policy_Repeated]calendar.Repeated{
	row.Policy_LAST: calendar.RepeatedLast, row.Policy_FIRST: calendar.RepeatedFirst, row.Policy_BOTH: calendar.RepeatedBoth,
}

// nextShown is how many fire times to come are shown of a schedule.
const nextShown = 5

func nextTimes(s *calendar.Schedule, now int64) []api.Time {
	times := []api.Time{}
	for at := time.UnixMicro(now); len(times) < nextShown; {
		next, ok := s.Next(at)
		if !ok {
			break
		}
		times = append(times, *api.TimeAt(next))
		at = next
	}
	return times
}

func (x *exchange) answerSchedules(d *row.Deployment) error {
	entries, err := scheduleEntries(d)
	if err != nil {
		return err
	}
	for i := range entries {
		if err := x.foretell(d, &entries[i]); err != nil {
			return err
		}
	}
	if x.out, err = appendJSON(x.out, entries); err != nil {
		return err
	}
	return x.send(200)
}

func (x *exchange) foretell(d *row.Deployment, e *api.ScheduleEntry) error {
	s, err := compiled(d, e.ID[:])
	if err == nil && s != nil {
		e.Next = nextTimes(s, x.now())
	}
	return err
}

func (x *exchange) answerSchedule(status int, view *state.View, deploymentID, scheduleID api.ID) error {
	d, err := view.Deployment(deploymentID)
	if err != nil {
		return err
	}
	if d == nil {
		return notFound(missing.deployment)
	}
	entries, err := scheduleEntries(d)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.ID != scheduleID {
			continue
		}
		if err := x.foretell(d, &e); err != nil {
			return err
		}
		if x.out, err = appendJSON(x.out, e); err != nil {
			return err
		}
		return x.send(status)
	}
	return notFound(missingSchedule)
}

// nameSchedules gives ids to the schedules that a deployment is put with, and refuses names that are given twice.
func nameSchedules(c *command.PutDeployment) error {
	if c.HasSchedules && len(c.ScheduleJson) > 0 {
		return invalid("Both schedule and schedules are given.", "Give schedules alone: they are all that the deployment will have, and the first of them is its schedule.")
	}
	names := map[string]bool{}
	for _, s := range c.Schedules {
		if s.Name != "" && names[s.Name] {
			return invalid(fmt.Sprintf("Two schedules are called '%s'.", s.Name), "Give each schedule a name of its own, or none.")
		}
		names[s.Name] = true
		s.Id = newID()
	}
	return nil
}

var readSchedules = readsOne(func(x *exchange, view *state.View, id api.ID) error {
	d, err := view.Deployment(id)
	if err != nil {
		return err
	}
	if d == nil {
		return notFound(missing.deployment)
	}
	return x.answerSchedules(d)
})

var createScheduleSpec = body.Strict(
	body.Required("schedule", meantScheduleKind, func(v *command.PutSchedule) *[]byte { return &v.ScheduleJson }),
	body.Optional("active", body.Bool, func(v *command.PutSchedule) *bool { return &v.Active }),
	body.Optional("name", body.TextUpTo(longestScheduleName), func(v *command.PutSchedule) *string { return &v.Name }).
		Marked(func(v *command.PutSchedule) *bool { return &v.HasName }),
).Defaults(func(v *command.PutSchedule) { v.Active = true })

var updateScheduleSpec = body.Strict(
	body.Optional("schedule", meantScheduleKind, func(v *command.PutSchedule) *[]byte { return &v.ScheduleJson }).
		Marked(func(v *command.PutSchedule) *bool { return &v.HasSchedule }),
	body.Optional("active", body.Bool, func(v *command.PutSchedule) *bool { return &v.Active }).
		Marked(func(v *command.PutSchedule) *bool { return &v.HasActive }),
	body.Optional("name", body.TextUpTo(longestScheduleName), func(v *command.PutSchedule) *string { return &v.Name }).
		Marked(func(v *command.PutSchedule) *bool { return &v.HasName }),
)

// createSchedule adds a schedule to a deployment. One that comes first is the one Orion's clients see.
func createSchedule(_ *Server, x *exchange) error {
	id, err := x.pathID("id")
	if err != nil {
		return err
	}
	c := &command.PutSchedule{DeploymentId: id[:], Create: true, HasSchedule: true, HasActive: true}
	if err := decode(x, createScheduleSpec, c); err != nil {
		return err
	}
	d, err := x.deploymentFitting(id)
	if err != nil {
		return err
	}
	c.ScheduleId = newID()
	if len(d.ScheduleJson) == 0 {
		c.ScheduleId = id[:]
	}
	return x.putSchedule(c)
}

func updateSchedule(_ *Server, x *exchange) error {
	id, err := x.pathID("id")
	if err != nil {
		return err
	}
	schedule, err := x.pathID("schedule_id")
	if err != nil {
		return err
	}
	c := &command.PutSchedule{DeploymentId: id[:], ScheduleId: schedule[:]}
	if err := decode(x, updateScheduleSpec, c); err != nil {
		return err
	}
	return x.putSchedule(c)
}

func (x *exchange) putSchedule(c *command.PutSchedule) error {
	e := x.envelope()
	e.Command = &command.Envelope_PutSchedule{PutSchedule: c}
	return x.proposeObject(e, missingSchedule, "Somebody else has just given the deployment its first schedule, or it has another schedule of this name.", func(view *state.View, r *command.Result) error {
		return x.answerSchedule(created(r), view, idOf(c.DeploymentId), idOf(c.ScheduleId))
	})
}

func deleteSchedule(_ *Server, x *exchange) error {
	schedule, err := x.pathID("schedule_id")
	if err != nil {
		return err
	}
	return x.deleteSchedules(schedule[:])
}

// clearSchedules removes all schedules of a deployment.
func clearSchedules(_ *Server, x *exchange) error { return x.deleteSchedules(nil) }

func (x *exchange) deleteSchedules(scheduleID []byte) error {
	id, err := x.pathID("id")
	if err != nil {
		return err
	}
	e := x.envelope()
	e.Command = &command.Envelope_DeleteSchedule{DeleteSchedule: &command.DeleteSchedule{DeploymentId: id[:], ScheduleId: scheduleID}}
	return x.proposeEmpty(e, missingSchedule)
}
