package command

import (
	"bytes"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/sluice-dev/sluice/fsm/row"
)

// Over returns the deployment that the command asks for, laid over the stored one; nil: there is none. What follows from a
// change (times, revisions, the schedules' own state) is as stored.
func (c *PutDeployment) Over(stored *row.Deployment) (next *row.Deployment) {
	next = &row.Deployment{
		Name: c.Name, FlowId: c.FlowId, FlowData: c.FlowData, ScheduleJson: c.ScheduleJson, IsScheduleActive: c.IsScheduleActive,
		ParametersJson: c.ParametersJson, Tags: c.Tags, FlowRunner: c.FlowRunner, Catchup: c.Catchup, CatchupLimit: c.CatchupLimit,
		ParameterSchemaJson: c.ParameterSchemaJson, Entrypoint: c.Entrypoint, Policy: c.Policy, Retention: c.Retention,
	}
	if c.HasSchedules {
		next.ScheduleJson = nil
		defer func() { c.schedulesOver(stored, next) }()
	}
	if stored == nil {
		return next
	}
	if !c.HasFlowRunner {
		next.FlowRunner = stored.FlowRunner
	}
	if !c.HasPolicy {
		next.Policy = stored.Policy
	}
	if !c.HasRetention {
		next.Retention = stored.Retention
	}
	next.Id, next.Created, next.Updated = stored.Id, stored.Created, stored.Updated
	next.ScheduleRevision, next.NextFire, next.ScheduleAnchor = stored.ScheduleRevision, stored.NextFire, stored.ScheduleAnchor
	next.ScheduleSince, next.SchedulePaused, next.Schedules, next.Revision = stored.ScheduleSince, stored.SchedulePaused, stored.Schedules, stored.Revision
	next.ScheduleName = stored.ScheduleName
	return next
}

// schedulesOver gives a deployment the schedules of the command. Those that stay keep their ids and what was made of them.
func (c *PutDeployment) schedulesOver(stored, next *row.Deployment) {
	paused := len(stored.GetScheduleJson()) > 0 && stored.GetSchedulePaused()
	next.ScheduleName, next.SchedulePaused, next.Schedules = "", false, nil
	rest := slices.Clone(stored.GetSchedules())
	for i, wanted := range c.Schedules {
		if i == 0 {
			next.ScheduleJson, next.ScheduleName, next.SchedulePaused = wanted.ScheduleJson, wanted.Name, paused
			if wanted.Active != nil {
				next.SchedulePaused = !*wanted.Active
			}
			continue
		}
		s := &row.DeploymentSchedule{Id: wanted.Id, Active: true}
		same := slices.IndexFunc(rest, func(o *row.DeploymentSchedule) bool {
			return o.Name == wanted.Name && (wanted.Name != "" || bytes.Equal(o.ScheduleJson, wanted.ScheduleJson))
		})
		if same >= 0 {
			s = proto.Clone(rest[same]).(*row.DeploymentSchedule)
			rest = slices.Delete(rest, same, same+1)
		}
		s.Name, s.ScheduleJson = wanted.Name, wanted.ScheduleJson
		if wanted.Active != nil {
			s.Active = *wanted.Active
		}
		next.Schedules = append(next.Schedules, s)
	}
}
