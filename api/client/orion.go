package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/sluice-dev/sluice/api"
)

// UpdateFlow replaces a flow's tags.
func (c *Client) UpdateFlow(ctx context.Context, id api.ID, tags []string) error {
	if tags == nil {
		tags = []string{}
	}
	return c.send(ctx, call{method: http.MethodPatch, path: "/flows/" + id.String(), body: map[string][]string{"tags": tags}, harmless: true})
}

// DeleteFlow deletes a flow with its runs and deployments.
func (c *Client) DeleteFlow(ctx context.Context, id api.ID) error {
	return c.send(ctx, call{method: http.MethodDelete, path: "/flows/" + id.String()})
}

// DeleteTaskRun deletes a task run with its states.
func (c *Client) DeleteTaskRun(ctx context.Context, id api.ID) error {
	return c.send(ctx, call{method: http.MethodDelete, path: "/task_runs/" + id.String()})
}

// FlowRunGraph lists the task runs of a flow run with those they depend on, newest first.
func (c *Client) FlowRunGraph(ctx context.Context, id api.ID) ([]api.GraphNode, error) {
	nodes, err := get[[]api.GraphNode](ctx, c, "/flow_runs/"+id.String()+"/graph")
	if err != nil {
		return nil, err
	}
	return *nodes, nil
}

// FlowRunHistory sums up flow runs by interval and state.
func (c *Client) FlowRunHistory(ctx context.Context, request api.HistoryRequest) ([]api.HistoryInterval, error) {
	return query[[]api.HistoryInterval](ctx, c, "/flow_runs/history", request)
}

// TaskRunHistory sums up task runs by interval and state.
func (c *Client) TaskRunHistory(ctx context.Context, request api.HistoryRequest) ([]api.HistoryInterval, error) {
	return query[[]api.HistoryInterval](ctx, c, "/task_runs/history", request)
}

// PutConcurrencyLimit sets how many task runs with a tag may be running at once.
func (c *Client) PutConcurrencyLimit(ctx context.Context, limit api.ConcurrencyLimitCreate) (*api.ConcurrencyLimit, error) {
	return post[api.ConcurrencyLimit](ctx, c, call{path: "/concurrency_limits/", body: limit, harmless: true})
}

// ConcurrencyLimitByTag reads the limit of a tag.
func (c *Client) ConcurrencyLimitByTag(ctx context.Context, tag string) (*api.ConcurrencyLimit, error) {
	return get[api.ConcurrencyLimit](ctx, c, "/concurrency_limits/tag/"+url.PathEscape(tag))
}

// FilterConcurrencyLimits lists the limits by tag.
func (c *Client) FilterConcurrencyLimits(ctx context.Context, page api.Page) ([]api.ConcurrencyLimit, error) {
	return query[[]api.ConcurrencyLimit](ctx, c, "/concurrency_limits/filter", page)
}

// DeleteConcurrencyLimitByTag removes the limit of a tag.
func (c *Client) DeleteConcurrencyLimitByTag(ctx context.Context, tag string) error {
	return c.send(ctx, call{method: http.MethodDelete, path: "/concurrency_limits/tag/" + url.PathEscape(tag)})
}

// PutSavedSearch stores a search under its name.
func (c *Client) PutSavedSearch(ctx context.Context, search api.SavedSearchCreate) (*api.SavedSearch, error) {
	out := new(api.SavedSearch)
	_, err := c.do(ctx, call{method: http.MethodPut, path: "/saved_searches/", body: search, out: out, harmless: true})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// SavedSearch reads a saved search.
func (c *Client) SavedSearch(ctx context.Context, id api.ID) (*api.SavedSearch, error) {
	return get[api.SavedSearch](ctx, c, "/saved_searches/"+id.String())
}

// FilterSavedSearches lists the saved searches by name.
func (c *Client) FilterSavedSearches(ctx context.Context, page api.Page) ([]api.SavedSearch, error) {
	return query[[]api.SavedSearch](ctx, c, "/saved_searches/filter", page)
}

// DeleteSavedSearch deletes a saved search.
func (c *Client) DeleteSavedSearch(ctx context.Context, id api.ID) error {
	return c.send(ctx, call{method: http.MethodDelete, path: "/saved_searches/" + id.String()})
}
