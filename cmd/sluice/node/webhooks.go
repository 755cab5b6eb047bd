package node

import (
	"context"
	"net/http"

	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/scheduler"
	"github.com/sluice-dev/sluice/webhook"
)

// deliverer makes the attempts of the leader's webhooks, with the secrets that this node can open.
type deliverer struct {
	node   *Node
	sender *webhook.Sender
}

// Deliver implements scheduler.Deliverer.
func (d deliverer) Deliver(ctx context.Context, w *row.Webhook, message *row.Delivery) scheduler.Attempt {
	secret, err := d.node.secrets.Open(secretOf(w))
	if err != nil {
		return scheduler.Attempt{Error: err.Error()}
	}
	key, err := webhook.ParseSecret(string(secret))
	if err != nil {
		return scheduler.Attempt{Error: err.Error()}
	}
	a := d.sender.Send(ctx, w, key, message)
	return scheduler.Attempt{Delivered: a.Error == "", Gone: a.Code == http.StatusGone, Code: a.Code, Error: a.Error, Took: a.Took, After: a.After}
}
