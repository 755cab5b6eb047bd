package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/sluice-dev/sluice/api"
)

// FilterBlockSpecs lists block specs by name.
func (c *Client) FilterBlockSpecs(ctx context.Context, filter api.BlockSpecFilterRequest) ([]api.BlockSpec, error) {
	return query[[]api.BlockSpec](ctx, c, "/block_specs/filter", filter)
}

// CreateBlock registers a block; the name must be new for its spec.
func (c *Client) CreateBlock(ctx context.Context, block api.BlockCreate) (*api.Block, error) {
	return post[api.Block](ctx, c, call{path: "/blocks/", body: block})
}

// Block reads a block.
func (c *Client) Block(ctx context.Context, id api.ID) (*api.Block, error) {
	return get[api.Block](ctx, c, "/blocks/"+id.String())
}

// FilterBlocks lists blocks.
func (c *Client) FilterBlocks(ctx context.Context, filter api.BlockFilterRequest) ([]api.Block, error) {
	return query[[]api.Block](ctx, c, "/blocks/filter", filter)
}

// DeleteBlock deletes a block.
func (c *Client) DeleteBlock(ctx context.Context, id api.ID) error {
	return c.send(ctx, call{method: http.MethodDelete, path: "/blocks/" + id.String()})
}

// DefaultStorage returns the default storage block, nil if there is none: the built-in store is then used.
func (c *Client) DefaultStorage(ctx context.Context) (*api.Block, error) {
	block := new(api.Block)
	status, err := c.do(ctx, call{
		method: http.MethodPost, path: "/blocks/get_default_storage_block", out: block, harmless: true, reads: true,
	})
	if err != nil || status == http.StatusNoContent {
		return nil, err
	}
	return block, nil
}

// SetDefaultStorage makes a storage block the default.
func (c *Client) SetDefaultStorage(ctx context.Context, id api.ID) error {
	return c.send(ctx, call{method: http.MethodPost, path: "/blocks/" + id.String() + "/set_default_storage_block", harmless: true})
}

// ClearDefaultStorage leaves no storage block the default.
func (c *Client) ClearDefaultStorage(ctx context.Context) error {
	return c.send(ctx, call{method: http.MethodPost, path: "/blocks/clear_default_storage_block", harmless: true})
}

// PutValue stores a value in the built-in store.
func (c *Client) PutValue(ctx context.Context, key, value string) error {
	return c.send(ctx, call{method: http.MethodPost, path: "/kv/" + url.PathEscape(key), body: value, harmless: true})
}

// Value reads a value of the built-in store.
func (c *Client) Value(ctx context.Context, key string) (string, error) {
	value, err := get[string](ctx, c, "/kv/"+url.PathEscape(key))
	if err != nil {
		return "", err
	}
	return *value, nil
}

// DeleteValue deletes a value of the built-in store.
func (c *Client) DeleteValue(ctx context.Context, key string) error {
	return c.send(ctx, call{method: http.MethodDelete, path: "/kv/" + url.PathEscape(key), harmless: true})
}

// UpdateBlock changes a block's name, data or both.
func (c *Client) UpdateBlock(ctx context.Context, id api.ID, update api.BlockUpdate) error {
	return c.send(ctx, call{method: http.MethodPatch, path: "/blocks/" + id.String(), body: update, harmless: true})
}

// CreateBlockSpec registers a kind of blocks; name and version together must be new.
func (c *Client) CreateBlockSpec(ctx context.Context, spec api.BlockSpecCreate) (*api.BlockSpec, error) {
	return post[api.BlockSpec](ctx, c, call{path: "/block_specs/", body: spec})
}

// DeleteBlockSpec deletes a kind of blocks with its blocks.
func (c *Client) DeleteBlockSpec(ctx context.Context, id api.ID) error {
	return c.send(ctx, call{method: http.MethodDelete, path: "/block_specs/" + id.String()})
}
