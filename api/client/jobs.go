package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/sluice-dev/sluice/api"
)

type idempotencyKey struct{}

// WithIdempotencyKey gives the one POST that is made with the context a key of the caller's own: it may then be repeated after an
// unknown outcome, by the client itself and by the caller with the same key, and is done once.
func WithIdempotencyKey(ctx context.Context, key string) context.Context {
	return context.WithValue(ctx, idempotencyKey{}, key)
}

// keyed names a request by its context's key.
func keyed(ctx context.Context, request *call) {
	key, ok := ctx.Value(idempotencyKey{}).(string)
	if !ok || request.method != http.MethodPost || request.reads {
		return
	}
	if request.header == nil {
		request.header = http.Header{}
	}
	request.header.Set(api.HeaderIdempotencyKey, key)
	request.harmless = true
}

// CreateJob begins to change many flow runs.
func (c *Client) CreateJob(ctx context.Context, job api.JobCreate) (*api.Job, error) {
	job.DryRun = false
	return post[api.Job](ctx, c, call{path: "/jobs/", body: job})
}

// PreviewJob says what a job would come to.
func (c *Client) PreviewJob(ctx context.Context, job api.JobCreate) (*api.JobPreview, error) {
	job.DryRun = true
	return post[api.JobPreview](ctx, c, call{path: "/jobs/", body: job, harmless: true, reads: true})
}

// Job reads a job.
func (c *Client) Job(ctx context.Context, id api.ID) (*api.Job, error) {
	return get[api.Job](ctx, c, "/jobs/"+id.String())
}

// FilterJobs lists jobs, the newest first.
func (c *Client) FilterJobs(ctx context.Context, page api.Page) ([]api.Job, error) {
	return query[[]api.Job](ctx, c, "/jobs/filter", page)
}

// CancelJob ends a job where it is. What it has done stays.
func (c *Client) CancelJob(ctx context.Context, id api.ID) (*api.Job, error) {
	return post[api.Job](ctx, c, call{path: "/jobs/" + id.String() + "/cancel"})
}

// RetryFlowRun has a run that failed, crashed or was cancelled tried again.
func (c *Client) RetryFlowRun(ctx context.Context, id api.ID, retry api.FlowRunRetry) (*api.FlowRun, error) {
	return post[api.FlowRun](ctx, c, call{path: "/flow_runs/" + id.String() + "/retry", body: retry})
}

// RerunFlowRun makes a new run with the parameters of another. It is repeated on an unknown outcome only with a key.
func (c *Client) RerunFlowRun(ctx context.Context, id api.ID, rerun api.FlowRunRerun) (*api.FlowRun, error) {
	return post[api.FlowRun](ctx, c, call{path: "/flow_runs/" + id.String() + "/rerun", body: rerun, harmless: rerun.IdempotencyKey != nil})
}

// QueueSlots lists the flow runs that occupy a work queue, from a cursor on ("" is the beginning).
func (c *Client) QueueSlots(ctx context.Context, id api.ID, cursor string) (*api.QueueSlots, error) {
	path := "/work_queues/" + id.String() + "/slots"
	if cursor != "" {
		path += "?cursor=" + url.QueryEscape(cursor)
	}
	return get[api.QueueSlots](ctx, c, path)
}
