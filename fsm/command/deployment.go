package command

import "github.com/sluice-dev/sluice/fsm/row"

// Over returns the deployment that the command asks for, laid over the stored one; nil: there is none. What follows from a
// change (times, revisions, the schedules' own state) is as stored.
func (c *PutDeployment) Over(stored *row.Deployment) *row.Deployment {
	next := &row.Deployment{
		Name: c.Name, FlowId: c.FlowId, FlowData: c.FlowData, ScheduleJson: c.ScheduleJson, IsScheduleActive: c.IsScheduleActive,
		ParametersJson: c.ParametersJson, Tags: c.Tags, FlowRunner: c.FlowRunner, Catchup: c.Catchup, CatchupLimit: c.CatchupLimit,
		ParameterSchemaJson: c.ParameterSchemaJson, Entrypoint: c.Entrypoint, Policy: c.Policy, Retention: c.Retention,
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
	return next
}
