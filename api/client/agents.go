package client

import (
	"context"
	"net/http"

	"github.com/sluice-dev/sluice/api"
)

// RegisterAgent registers an agent or renews its registration.
func (c *Client) RegisterAgent(ctx context.Context, agent api.AgentRegister) (*api.AgentRegistered, error) {
	return post[api.AgentRegistered](ctx, c, call{path: "/agents/", body: agent, harmless: true})
}

// FilterAgents lists agents.
func (c *Client) FilterAgents(ctx context.Context) ([]api.Agent, error) {
	return query[[]api.Agent](ctx, c, "/agents/filter", struct{}{})
}

// DeleteAgent says that an agent has stopped and given back its leases.
func (c *Client) DeleteAgent(ctx context.Context, id api.ID) error {
	return c.send(ctx, call{method: http.MethodDelete, path: "/agents/" + id.String()})
}

// DrainAgent has an agent claim nothing more; what it executes goes on.
func (c *Client) DrainAgent(ctx context.Context, id api.ID) (*api.Agent, error) {
	return post[api.Agent](ctx, c, call{path: "/agents/" + id.String() + "/drain", harmless: true})
}

// UndrainAgent lets a drained agent claim again.
func (c *Client) UndrainAgent(ctx context.Context, id api.ID) (*api.Agent, error) {
	return post[api.Agent](ctx, c, call{path: "/agents/" + id.String() + "/undrain", harmless: true})
}

// Claim waits up to WaitSeconds for runs of the queues and returns them with their leases. Repeating a ClaimID returns the
// same grants, so claims are repeated on any failure that may pass.
func (c *Client) Claim(ctx context.Context, agent api.ID, claim api.Claim) (*api.Claimed, error) {
	return post[api.Claimed](ctx, c, call{
		path: "/agents/" + agent.String() + "/claim", body: claim, harmless: true, wait: claim.WaitSeconds.Std(),
	})
}

// Heartbeat renews the leases of an agent.
func (c *Client) Heartbeat(ctx context.Context, agent api.ID, beat api.Heartbeat) (*api.HeartbeatAnswer, error) {
	return post[api.HeartbeatAnswer](ctx, c, call{
		path: "/agents/" + agent.String() + "/heartbeat", body: beat, harmless: true, reads: true, wait: beat.WaitSeconds.Std(),
	})
}

// LeaseFlowRun takes the lease of a run that no agent started.
func (c *Client) LeaseFlowRun(ctx context.Context, run api.ID, owner string) (*api.Lease, error) {
	return post[api.Lease](ctx, c, call{path: "/flow_runs/" + run.String() + "/lease", body: api.LeaseRequest{Owner: owner}})
}

// RenewLeases renews leases taken with LeaseFlowRun.
func (c *Client) RenewLeases(ctx context.Context, beat api.Heartbeat) (*api.HeartbeatAnswer, error) {
	return post[api.HeartbeatAnswer](ctx, c, call{
		method: http.MethodPost, path: "/leases/renew", body: beat, harmless: true, reads: true, wait: beat.WaitSeconds.Std(),
	})
}
