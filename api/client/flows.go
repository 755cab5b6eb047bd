package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/sluice-dev/sluice/api"
)

// get reads one object.
func get[T any](ctx context.Context, c *Client, path string) (*T, error) {
	out := new(T)
	_, err := c.do(ctx, call{method: http.MethodGet, path: path, out: out, harmless: true, reads: true})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// query reads a list or number by a POST that changes nothing.
func query[T any](ctx context.Context, c *Client, path string, body any) (T, error) {
	var out T
	_, err := c.do(ctx, call{method: http.MethodPost, path: path, body: body, out: &out, harmless: true, reads: true})
	return out, err
}

// post writes and decodes the answer.
func post[T any](ctx context.Context, c *Client, request call) (*T, error) {
	out := new(T)
	request.method = http.MethodPost
	request.out = out
	_, err := c.do(ctx, request)
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (c *Client) send(ctx context.Context, request call) error {
	_, err := c.do(ctx, request)
	return err
}

// Each calls fetch with one page after the other until a page is not full, and returns all elements.
func Each[T any](fetch func(page api.Page) ([]T, error)) ([]T, error) {
	var all []T
	limit := api.MaxPage
	for {
		part, err := fetch(api.Page{Limit: &limit, Offset: len(all)})
		if err != nil {
			return nil, err
		}
		all = append(all, part...)
		if len(part) < limit {
			return all, nil
		}
	}
}

// Health asks whether a server answers.
func (c *Client) Health(ctx context.Context) error {
	return c.send(ctx, call{method: http.MethodGet, path: "/health", harmless: true, reads: true})
}

// ServerVersion returns the version the server names itself.
func (c *Client) ServerVersion(ctx context.Context) (string, error) {
	version, err := get[string](ctx, c, "/admin/version")
	if err != nil {
		return "", err
	}
	return *version, nil
}

// CreateFlow returns the flow of that name, made if there was none.
func (c *Client) CreateFlow(ctx context.Context, flow api.FlowCreate) (*api.Flow, error) {
	return post[api.Flow](ctx, c, call{path: "/flows/", body: flow, harmless: true})
}

// Flow reads a flow.
func (c *Client) Flow(ctx context.Context, id api.ID) (*api.Flow, error) {
	return get[api.Flow](ctx, c, "/flows/"+id.String())
}

// FlowByName reads the flow of that name.
func (c *Client) FlowByName(ctx context.Context, name string) (*api.Flow, error) {
	return get[api.Flow](ctx, c, "/flows/name/"+url.PathEscape(name))
}

// FilterFlows lists flows.
func (c *Client) FilterFlows(ctx context.Context, filter api.FilterRequest) ([]api.Flow, error) {
	return query[[]api.Flow](ctx, c, "/flows/filter", filter)
}

// CreateFlowRun makes a flow run. It is repeated on an unknown outcome only with an idempotency key.
func (c *Client) CreateFlowRun(ctx context.Context, run api.FlowRunCreate) (*api.FlowRun, error) {
	return post[api.FlowRun](ctx, c, call{path: "/flow_runs/", body: run, harmless: run.IdempotencyKey != nil})
}

// FlowRun reads a flow run.
func (c *Client) FlowRun(ctx context.Context, id api.ID) (*api.FlowRun, error) {
	return get[api.FlowRun](ctx, c, "/flow_runs/"+id.String())
}

// FilterFlowRuns lists flow runs.
func (c *Client) FilterFlowRuns(ctx context.Context, filter api.FilterRequest) ([]api.FlowRun, error) {
	return query[[]api.FlowRun](ctx, c, "/flow_runs/filter", filter)
}

// CountFlowRuns counts flow runs.
func (c *Client) CountFlowRuns(ctx context.Context, filters api.Filters) (int, error) {
	return query[int](ctx, c, "/flow_runs/count", filters)
}

// UpdateFlowRun changes the fields that are set.
func (c *Client) UpdateFlowRun(ctx context.Context, id api.ID, update api.FlowRunUpdate) error {
	return c.send(ctx, call{method: http.MethodPatch, path: "/flow_runs/" + id.String(), body: update, harmless: true})
}

// DeleteFlowRun deletes a flow run with its task runs.
func (c *Client) DeleteFlowRun(ctx context.Context, id api.ID) error {
	return c.send(ctx, call{method: http.MethodDelete, path: "/flow_runs/" + id.String()})
}

// SetFlowRunState proposes a state under a lease token ("" without). Only a terminal state is repeated on an unknown
// outcome: the second time is answered with ABORT, as the run has ended.
func (c *Client) SetFlowRunState(ctx context.Context, id api.ID, state api.SetState, lease string) (*api.OrchestrationResult, error) {
	return post[api.OrchestrationResult](ctx, c, call{
		path: "/flow_runs/" + id.String() + "/set_state", body: state, lease: lease, harmless: state.State.Type.Terminal(),
	})
}

// FlowRunStates lists the states of a flow run, oldest first.
func (c *Client) FlowRunStates(ctx context.Context, id api.ID) ([]api.State, error) {
	states, err := get[[]api.State](ctx, c, "/flow_run_states/?flow_run_id="+id.String())
	if err != nil {
		return nil, err
	}
	return *states, nil
}

// CancelFlowRun cancels a run, or tells its owner to stop.
func (c *Client) CancelFlowRun(ctx context.Context, id api.ID, message string) (*api.CancelAnswer, error) {
	body := api.Cancel{}
	if message != "" {
		body.Message = &message
	}
	return post[api.CancelAnswer](ctx, c, call{path: "/flow_runs/" + id.String() + "/cancel", body: body})
}

// ExplainFlowRun says why a run is where it is.
func (c *Client) ExplainFlowRun(ctx context.Context, id api.ID) (*api.Explanation, error) {
	return get[api.Explanation](ctx, c, "/flow_runs/"+id.String()+"/explain")
}

// CreateTaskRun makes the task run of that flow run, key and dynamic key, or returns it.
func (c *Client) CreateTaskRun(ctx context.Context, run api.TaskRunCreate) (*api.TaskRun, error) {
	return post[api.TaskRun](ctx, c, call{path: "/task_runs/", body: run, harmless: true})
}

// FilterTaskRuns lists task runs.
func (c *Client) FilterTaskRuns(ctx context.Context, filter api.FilterRequest) ([]api.TaskRun, error) {
	return query[[]api.TaskRun](ctx, c, "/task_runs/filter", filter)
}

// SetTaskRunState is SetFlowRunState for a task run; the lease is that of its flow run.
func (c *Client) SetTaskRunState(ctx context.Context, id api.ID, state api.SetState, lease string) (*api.OrchestrationResult, error) {
	return post[api.OrchestrationResult](ctx, c, call{
		path: "/task_runs/" + id.String() + "/set_state", body: state, lease: lease, harmless: state.State.Type.Terminal(),
	})
}

// CreateLogs stores a batch of logs. producer and sequence (from 1, one more per batch) make repeating harmless: a batch
// that was stored is not stored again. Without producer the batch is not repeated on an unknown outcome.
func (c *Client) CreateLogs(ctx context.Context, producer api.ID, sequence uint64, logs []api.LogCreate) error {
	request := call{method: http.MethodPost, path: "/logs/", body: logs}
	if !producer.IsNil() {
		request.harmless = true
		request.header = http.Header{
			http.CanonicalHeaderKey(api.HeaderLogProducer): {producer.String()},
			http.CanonicalHeaderKey(api.HeaderLogSequence): {strconv.FormatUint(sequence, 10)},
		}
	}
	return c.send(ctx, request)
}

// FilterLogs lists logs.
func (c *Client) FilterLogs(ctx context.Context, filter api.LogFilterRequest) ([]api.Log, error) {
	return query[[]api.Log](ctx, c, "/logs/filter", filter)
}

// TaskRun reads a task run.
func (c *Client) TaskRun(ctx context.Context, id api.ID) (*api.TaskRun, error) {
	return get[api.TaskRun](ctx, c, "/task_runs/"+id.String())
}
