package client

import (
	"context"
	"io"
	"net/http"
	"net/url"

	"github.com/sluice-dev/sluice/api"
)

// Cluster asks the node for the cluster as it sees it.
func (c *Client) Cluster(ctx context.Context) (*api.Cluster, error) {
	return get[api.Cluster](ctx, c, "/cluster")
}

// ClusterHealth asks the node to ask all members how they are.
func (c *Client) ClusterHealth(ctx context.Context) (*api.ClusterHealth, error) {
	return get[api.ClusterHealth](ctx, c, "/cluster/health")
}

// DebugBundle returns a compressed tar of what support needs, as the node collects it from all members. The caller closes it.
func (c *Client) DebugBundle(ctx context.Context) (io.ReadCloser, error) {
	response, err := c.transfer(ctx, http.MethodGet, "/cluster/debug_bundle", 0, nil)
	if err != nil {
		return nil, err
	}
	return response.Body, nil
}

// TransferLeadership makes the node with that id lead, or with "" the one closest behind the leader.
func (c *Client) TransferLeadership(ctx context.Context, to string) error {
	return c.send(ctx, call{method: http.MethodPost, path: "/cluster/transfer_leadership", body: api.LeadershipTransfer{To: to}})
}

// RemoveMember takes a node out of the cluster.
func (c *Client) RemoveMember(ctx context.Context, id string) error {
	return c.send(ctx, call{method: http.MethodDelete, path: "/cluster/members/" + url.PathEscape(id), harmless: true})
}

// LeaveCluster has the node that is asked leave its cluster and stop.
func (c *Client) LeaveCluster(ctx context.Context) error {
	return c.send(ctx, call{method: http.MethodPost, path: "/cluster/leave"})
}
