package client

import (
	"context"
	"net/http"
	"strconv"

	"github.com/sluice-dev/sluice/api"
)

// CreateWebhook makes a webhook. The answer alone holds its secret.
func (c *Client) CreateWebhook(ctx context.Context, webhook api.WebhookCreate) (*api.Webhook, error) {
	return post[api.Webhook](ctx, c, call{path: "/webhooks", body: webhook})
}

// Webhooks lists the webhooks by name.
func (c *Client) Webhooks(ctx context.Context) ([]api.Webhook, error) {
	all, err := get[[]api.Webhook](ctx, c, "/webhooks")
	if err != nil {
		return nil, err
	}
	return *all, nil
}

// Webhook reads a webhook.
func (c *Client) Webhook(ctx context.Context, id api.ID) (*api.Webhook, error) {
	return get[api.Webhook](ctx, c, "/webhooks/"+id.String())
}

// UpdateWebhook changes a webhook.
func (c *Client) UpdateWebhook(ctx context.Context, id api.ID, update api.WebhookUpdate) (*api.Webhook, error) {
	out := new(api.Webhook)
	_, err := c.do(ctx, call{method: http.MethodPatch, path: "/webhooks/" + id.String(), body: update, out: out, harmless: !update.NewSecret})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DeleteWebhook deletes a webhook with its outbox and log.
func (c *Client) DeleteWebhook(ctx context.Context, id api.ID) error {
	return c.send(ctx, call{method: http.MethodDelete, path: "/webhooks/" + id.String()})
}

// WebhookDeliveries lists what waits for a webhook and what was delivered or given up, the newest first.
func (c *Client) WebhookDeliveries(ctx context.Context, id api.ID, limit int) ([]api.WebhookDelivery, error) {
	all, err := get[[]api.WebhookDelivery](ctx, c, "/webhooks/"+id.String()+"/deliveries?limit="+strconv.Itoa(limit))
	if err != nil {
		return nil, err
	}
	return *all, nil
}

// TestWebhook has a message sent that tells of no run.
func (c *Client) TestWebhook(ctx context.Context, id api.ID) (*api.WebhookDelivery, error) {
	return post[api.WebhookDelivery](ctx, c, call{path: "/webhooks/" + id.String() + "/test"})
}

// RedeliverWebhook has a message sent again.
func (c *Client) RedeliverWebhook(ctx context.Context, id, delivery api.ID) (*api.WebhookDelivery, error) {
	return post[api.WebhookDelivery](ctx, c, call{path: "/webhooks/" + id.String() + "/deliveries/" + delivery.String() + "/redeliver"})
}
