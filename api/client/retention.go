package client

import (
	"context"
	"net/http"

	"github.com/sluice-dev/sluice/api"
)

// Retention reads how long the cluster keeps what has finished.
func (c *Client) Retention(ctx context.Context) (*api.Retention, error) {
	return get[api.Retention](ctx, c, "/retention")
}

// UpdateRetention changes how long the cluster keeps what has finished.
func (c *Client) UpdateRetention(ctx context.Context, update api.RetentionUpdate) (*api.Retention, error) {
	out := new(api.Retention)
	if _, err := c.do(ctx, call{method: http.MethodPatch, path: "/retention", body: update, out: out, harmless: true}); err != nil {
		return nil, err
	}
	return out, nil
}

// RetentionPreview says what would go now.
func (c *Client) RetentionPreview(ctx context.Context) (*api.RetentionPreview, error) {
	return get[api.RetentionPreview](ctx, c, "/retention/preview")
}
