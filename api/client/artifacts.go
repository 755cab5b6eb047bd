package client

import (
	"context"
	"net/url"

	"github.com/sluice-dev/sluice/api"
)

// CreateArtifact shows something with a flow run.
func (c *Client) CreateArtifact(ctx context.Context, artifact api.ArtifactCreate) (*api.Artifact, error) {
	return post[api.Artifact](WithIdempotencyKey(ctx, api.NewID().String()), c, call{path: "/artifacts/", body: artifact})
}

// Artifact reads an artifact.
func (c *Client) Artifact(ctx context.Context, id api.ID) (*api.Artifact, error) {
	return get[api.Artifact](ctx, c, "/artifacts/"+id.String())
}

// LatestArtifact reads the newest artifact of a key.
func (c *Client) LatestArtifact(ctx context.Context, key string) (*api.Artifact, error) {
	return get[api.Artifact](ctx, c, "/artifacts/key/"+url.PathEscape(key))
}

// FilterArtifacts lists artifacts, the newest first.
func (c *Client) FilterArtifacts(ctx context.Context, filter api.ArtifactFilter) ([]api.Artifact, error) {
	return query[[]api.Artifact](ctx, c, "/artifacts/filter", filter)
}
