package client

import (
	"context"

	"github.com/sluice-dev/sluice/api"
)

// SecretKeys tells with which keys secrets are encrypted, and who has them.
func (c *Client) SecretKeys(ctx context.Context) (*api.SecretKeys, error) {
	return get[api.SecretKeys](ctx, c, "/secrets/keys")
}

// ResealSecrets encrypts some secrets anew with the key that seals now. It is repeated until nothing remains.
func (c *Client) ResealSecrets(ctx context.Context) (*api.Resealed, error) {
	return post[api.Resealed](ctx, c, call{path: "/secrets/reseal", harmless: true})
}
