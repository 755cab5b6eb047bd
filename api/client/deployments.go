package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/sluice-dev/sluice/api"
)

// CreateDeployment makes or replaces the deployment of that flow and name.
func (c *Client) CreateDeployment(ctx context.Context, deployment api.DeploymentCreate) (*api.Deployment, error) {
	return post[api.Deployment](ctx, c, call{path: "/deployments/", body: deployment, harmless: true})
}

// Deployment reads a deployment.
func (c *Client) Deployment(ctx context.Context, id api.ID) (*api.Deployment, error) {
	return get[api.Deployment](ctx, c, "/deployments/"+id.String())
}

// DeploymentByName reads the deployment of a flow.
func (c *Client) DeploymentByName(ctx context.Context, flow, deployment string) (*api.Deployment, error) {
	return get[api.Deployment](ctx, c, "/deployments/name/"+url.PathEscape(flow)+"/"+url.PathEscape(deployment))
}

// FilterDeployments lists deployments by name.
func (c *Client) FilterDeployments(ctx context.Context, filter api.FilterRequest) ([]api.Deployment, error) {
	return query[[]api.Deployment](ctx, c, "/deployments/filter", filter)
}

// DeleteDeployment deletes a deployment and its runs that have not begun.
func (c *Client) DeleteDeployment(ctx context.Context, id api.ID) error {
	return c.send(ctx, call{method: http.MethodDelete, path: "/deployments/" + id.String()})
}

// RunDeployment makes a flow run of a deployment. It is repeated on an unknown outcome only with an idempotency key.
func (c *Client) RunDeployment(ctx context.Context, id api.ID, run api.DeploymentFlowRunCreate) (*api.FlowRun, error) {
	return post[api.FlowRun](ctx, c, call{
		path: "/deployments/" + id.String() + "/create_flow_run", body: run, harmless: run.IdempotencyKey != nil,
	})
}

// SetScheduleActive starts or stops making runs by the schedule.
func (c *Client) SetScheduleActive(ctx context.Context, id api.ID, active bool) error {
	action := "/set_schedule_inactive"
	if active {
		action = "/set_schedule_active"
	}
	return c.send(ctx, call{method: http.MethodPost, path: "/deployments/" + id.String() + action, harmless: true})
}

// CreateWorkQueue makes a work queue; the name must be new.
func (c *Client) CreateWorkQueue(ctx context.Context, queue api.WorkQueueCreate) (*api.WorkQueue, error) {
	return post[api.WorkQueue](ctx, c, call{path: "/work_queues/", body: queue})
}

// WorkQueue reads a work queue.
func (c *Client) WorkQueue(ctx context.Context, id api.ID) (*api.WorkQueue, error) {
	return get[api.WorkQueue](ctx, c, "/work_queues/"+id.String())
}

// WorkQueueByName reads the work queue of that name.
func (c *Client) WorkQueueByName(ctx context.Context, name string) (*api.WorkQueue, error) {
	return get[api.WorkQueue](ctx, c, "/work_queues/name/"+url.PathEscape(name))
}

// FilterWorkQueues lists work queues by name.
func (c *Client) FilterWorkQueues(ctx context.Context, page api.Page) ([]api.WorkQueue, error) {
	return query[[]api.WorkQueue](ctx, c, "/work_queues/filter", page)
}

// UpdateWorkQueue changes the fields that are set.
func (c *Client) UpdateWorkQueue(ctx context.Context, id api.ID, update api.WorkQueueUpdate) error {
	return c.send(ctx, call{method: http.MethodPatch, path: "/work_queues/" + id.String(), body: update, harmless: true})
}

// DeleteWorkQueue deletes a work queue; its runs stay.
func (c *Client) DeleteWorkQueue(ctx context.Context, id api.ID) error {
	return c.send(ctx, call{method: http.MethodDelete, path: "/work_queues/" + id.String()})
}

// WorkQueueRuns lists the runs a queue would give out. It claims nothing.
func (c *Client) WorkQueueRuns(ctx context.Context, id api.ID, body api.GetRuns) ([]api.FlowRun, error) {
	return query[[]api.FlowRun](ctx, c, "/work_queues/"+id.String()+"/get_runs", body)
}
