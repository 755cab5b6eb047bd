package client

import (
	"context"
	"net/http"

	"github.com/sluice-dev/sluice/api"
)

// PatchDeployment changes the fields that are set.
func (c *Client) PatchDeployment(ctx context.Context, id api.ID, patch api.DeploymentPatch) (*api.Deployment, error) {
	var d api.Deployment
	return &d, c.send(ctx, call{method: http.MethodPatch, path: "/deployments/" + id.String(), body: patch, out: &d, harmless: patch.IfRevision == nil})
}

// PlanDeployment says what CreateDeployment would change.
func (c *Client) PlanDeployment(ctx context.Context, deployment api.DeploymentCreate) (*api.DeploymentPlan, error) {
	return query[*api.DeploymentPlan](ctx, c, "/deployments/plan", deployment)
}

// Schedules lists the schedules of a deployment.
func (c *Client) Schedules(ctx context.Context, deployment api.ID) ([]api.ScheduleEntry, error) {
	entries, err := get[[]api.ScheduleEntry](ctx, c, schedulesOf(deployment))
	if err != nil {
		return nil, err
	}
	return *entries, nil
}

// CreateSchedule adds a schedule to a deployment.
func (c *Client) CreateSchedule(ctx context.Context, deployment api.ID, schedule api.ScheduleCreate) (*api.ScheduleEntry, error) {
	return post[api.ScheduleEntry](ctx, c, call{path: schedulesOf(deployment), body: schedule})
}

// UpdateSchedule changes, pauses or resumes a schedule.
func (c *Client) UpdateSchedule(ctx context.Context, deployment, schedule api.ID, update api.ScheduleUpdate) (*api.ScheduleEntry, error) {
	var entry api.ScheduleEntry
	return &entry, c.send(ctx, call{method: http.MethodPatch, path: schedulesOf(deployment) + "/" + schedule.String(), body: update, out: &entry, harmless: true})
}

// DeleteSchedule deletes a schedule.
func (c *Client) DeleteSchedule(ctx context.Context, deployment, schedule api.ID) error {
	return c.send(ctx, call{method: http.MethodDelete, path: schedulesOf(deployment) + "/" + schedule.String()})
}

// ClearSchedules deletes all schedules of a deployment.
func (c *Client) ClearSchedules(ctx context.Context, deployment api.ID) error {
	return c.send(ctx, call{method: http.MethodDelete, path: schedulesOf(deployment)})
}

// Backfill makes the runs of past fire times that have none.
func (c *Client) Backfill(ctx context.Context, deployment api.ID, body api.Backfill) (*api.Backfilled, error) {
	return post[api.Backfilled](ctx, c, call{path: "/deployments/" + deployment.String() + "/backfill", body: body, harmless: true})
}

func schedulesOf(deployment api.ID) string {
	return "/deployments/" + deployment.String() + "/schedules"
}
