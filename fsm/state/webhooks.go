package state

import (
	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/row"
)

var webhooks = &table[row.Webhook, *row.Webhook]{
	number: 51, name: "webhook",
	key: func(dst []byte, r *row.Webhook) []byte { return appendID(dst, r.Id) },
	indexes: []index[*row.Webhook]{
		{idxWebhookName, "name", true, first, func(r *row.Webhook, add func([]byte)) {
			add(appendText(indexKey(idxWebhookName), r.Name))
		}},
	},
	counters: func(_ *row.Webhook, add func([]byte)) { add(counterKey(countWebhooks)) },
}

var deliveries = &table[row.Delivery, *row.Delivery]{
	number: 52, name: "webhook_delivery",
	key: deliveryPlace,
	indexes: []index[*row.Delivery]{
		{idxDeliveryID, "id", true, first, func(r *row.Delivery, add func([]byte)) {
			add(appendID(indexKey(idxDeliveryID), r.Id))
		}},
		{idxDeliveryWaiting, "waiting", false, first, func(r *row.Delivery, add func([]byte)) {
			if r.Status == row.Delivery_PENDING {
				add(deliveryPlace(indexKey(idxDeliveryWaiting), r))
			}
		}},
		{idxDeliveryEnded, "ended", false, first, func(r *row.Delivery, add func([]byte)) {
			if r.Status != row.Delivery_PENDING {
				under := appendTime(appendID(indexKey(idxDeliveryEnded), r.WebhookId), r.Finished)
				add(appendUint64(appendUint64(under, r.Index), uint64(r.Ordinal)))
			}
		}},
	},
	counters: func(r *row.Delivery, add func([]byte)) {
		if r.Status == row.Delivery_PENDING {
			add(appendID(counterKey(countDeliveriesWaiting), r.WebhookId))
		} else {
			add(appendID(counterKey(countDeliveriesEnded), r.WebhookId))
		}
	},
}

func deliveryPlace(dst []byte, r *row.Delivery) []byte {
	return appendUint64(appendUint64(appendID(dst, r.WebhookId), r.Index), uint64(r.Ordinal))
}

// Edits of webhooks.
type (
	WebhookEdit  = Edit[row.Webhook, *row.Webhook]
	DeliveryEdit = Edit[row.Delivery, *row.Delivery]
)

// Webhook returns a webhook by id.
func (v *View) Webhook(id api.ID) (*row.Webhook, error) {
	return webhooks.get(v.r, appendID(prefix(kindRow, webhooks.number), id[:]))
}

// EachWebhook walks all webhooks by name.
func (v *View) EachWebhook(fn func(*row.Webhook) (bool, error)) error {
	under := indexKey(idxWebhookName)
	return webhooks.eachByIndex(v.r, under, after(under), false, fn)
}

// Delivery returns a delivery by its id.
func (v *View) Delivery(id api.ID) (*row.Delivery, error) {
	return deliveries.byIndex(v.r, appendID(indexKey(idxDeliveryID), id[:]))
}

// WaitingDeliveries walks what waits in the outbox for a webhook, the oldest first.
func (v *View) WaitingDeliveries(webhookID api.ID, fn func(*row.Delivery) (bool, error)) error {
	under := appendID(indexKey(idxDeliveryWaiting), webhookID[:])
	return deliveries.eachByIndex(v.r, under, after(under), false, fn)
}

// EndedDeliveries walks a webhook's log, the newest first when reverse is set.
func (v *View) EndedDeliveries(webhookID api.ID, reverse bool, fn func(*row.Delivery) (bool, error)) error {
	under := appendID(indexKey(idxDeliveryEnded), webhookID[:])
	return deliveries.eachByIndex(v.r, under, after(under), reverse, fn)
}

// CountWaitingDeliveries returns how many messages wait for a webhook.
func (v *View) CountWaitingDeliveries(webhookID api.ID) (int64, error) {
	return v.count(appendID(counterKey(countDeliveriesWaiting), webhookID[:]))
}

// CountWaitingDeliveries is View.CountWaitingDeliveries with this transaction's own changes; CountEndedDeliveries likewise of the log.
func (tx *Tx) CountWaitingDeliveries(webhookID []byte) (int64, error) {
	return tx.counted(appendID(counterKey(countDeliveriesWaiting), webhookID))
}

// CountEndedDeliveries returns how long a webhook's log is, with this transaction's own changes.
func (tx *Tx) CountEndedDeliveries(webhookID []byte) (int64, error) {
	return tx.counted(appendID(counterKey(countDeliveriesEnded), webhookID))
}

// CountWebhooks returns how many webhooks there are, with this transaction's own changes.
func (tx *Tx) CountWebhooks() (int64, error) { return tx.counted(counterKey(countWebhooks)) }

// NewWebhook and NewDelivery make rows, to be saved.
func (tx *Tx) NewWebhook(r *row.Webhook) *WebhookEdit { return insert(tx, webhooks, r) }

// NewDelivery makes a message to a webhook, to be saved.
func (tx *Tx) NewDelivery(r *row.Delivery) *DeliveryEdit { return insert(tx, deliveries, r) }

// EditWebhook loads a webhook for change, nil when there is none.
func (tx *Tx) EditWebhook(id []byte) (*WebhookEdit, error) {
	return edit(tx, webhooks, appendID(prefix(kindRow, webhooks.number), id))
}

// EditDelivery loads a message by its place, nil when there is none.
func (tx *Tx) EditDelivery(webhookID []byte, index uint64, ordinal uint32) (*DeliveryEdit, error) {
	return edit(tx, deliveries, deliveryPlace(prefix(kindRow, deliveries.number), &row.Delivery{WebhookId: webhookID, Index: index, Ordinal: ordinal}))
}

// DeleteDeliveries removes all messages to a webhook.
func (tx *Tx) DeleteDeliveries(webhookID []byte) error { return deleteUnder(tx, deliveries, webhookID) }
