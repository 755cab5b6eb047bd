package client

import (
	"context"
	"net/http"

	"github.com/sluice-dev/sluice/api"
)

// WhoAmI says as whom this client calls.
func (c *Client) WhoAmI(ctx context.Context) (*api.WhoAmI, error) {
	return get[api.WhoAmI](ctx, c, "/whoami")
}

// CreateToken makes a token. Only this answer holds its secret.
func (c *Client) CreateToken(ctx context.Context, token api.TokenCreate) (*api.TokenCreated, error) {
	return post[api.TokenCreated](ctx, c, call{path: "/tokens", body: token})
}

// FilterTokens lists tokens by name, those that can be used or all.
func (c *Client) FilterTokens(ctx context.Context, filter api.TokenFilterRequest) ([]api.Token, error) {
	return query[[]api.Token](ctx, c, "/tokens/filter", filter)
}

// Token returns a token, without its secret.
func (c *Client) Token(ctx context.Context, id api.ID) (*api.Token, error) {
	return get[api.Token](ctx, c, "/tokens/"+id.String())
}

// RevokeToken ends a token.
func (c *Client) RevokeToken(ctx context.Context, id api.ID) error {
	return c.send(ctx, call{method: http.MethodDelete, path: "/tokens/" + id.String(), harmless: true})
}

// FilterAudit returns a page of audit records, newest first.
func (c *Client) FilterAudit(ctx context.Context, filter api.AuditFilterRequest) (*api.AuditPage, error) {
	page, err := query[api.AuditPage](ctx, c, "/audit/filter", filter)
	return &page, err
}
