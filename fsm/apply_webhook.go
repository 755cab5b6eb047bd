package fsm

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
	"github.com/sluice-dev/sluice/fsm/watch"
)

const (
	// mostWebhooks bounds what every change of a run's state is compared with.
	mostWebhooks = 100
	// mostWaiting bounds the outbox of one webhook: the oldest message gives way to a new one.
	mostWaiting = 10_000
	// deliveriesKept is how long the log of one webhook is.
	deliveriesKept = 500
	// errorKept is how much of an error is kept, in bytes.
	errorKept = 500
)

func (a *applier) createWebhook(c *command.CreateWebhook) (*command.Result, error) {
	n, err := a.tx.CountWebhooks()
	if err != nil {
		return nil, err
	}
	if n >= mostWebhooks {
		return conflict(fmt.Sprintf("there are %d webhooks, which is as many as there may be; delete one", n)), nil
	}
	w := &row.Webhook{Id: c.Id, Created: a.now, Updated: a.now, Name: c.Name, Url: c.Url, SealedSecret: c.SealedSecret, Filter: c.Filter, Paused: c.Paused}
	result, err := saved(a.tx.NewWebhook(w).Save(), created(c.Id), "a webhook of that name exists")
	if err == nil && result.Code == command.Result_OK {
		a.webhookChanged(w, false)
	}
	return result, err
}

func (a *applier) webhookChanged(w *row.Webhook, deleted bool) {
	a.cache.hooksLoaded = false
	a.emit(watch.Event{Topic: watch.TopicWebhook, Webhook: w, Deleted: deleted})
}

func (a *applier) updateWebhook(c *command.UpdateWebhook) (*command.Result, error) {
	e, err := a.tx.EditWebhook(c.Id)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return notFound("Webhook"), nil
	}
	w := e.Row
	if c.Name != nil {
		w.Name = *c.Name
	}
	if c.Url != nil {
		w.Url = *c.Url
	}
	if len(c.SealedSecret) != 0 {
		w.SealedSecret = c.SealedSecret
	}
	if c.Filter != nil {
		w.Filter = c.Filter
	}
	if c.Paused != nil {
		w.Paused, w.PausedReason = *c.Paused, ""
	}
	w.Updated = a.now
	result, err := saved(e.Save(), ok(c.Id), "a webhook of that name exists")
	if err == nil && result.Code == command.Result_OK {
		a.webhookChanged(w, false)
	}
	return result, err
}

func (a *applier) deleteWebhook(id []byte) (*command.Result, error) {
	e, err := a.tx.EditWebhook(id)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return notFound("Webhook"), nil
	}
	if err := a.tx.DeleteDeliveries(id); err != nil {
		return nil, err
	}
	w := e.Row
	if err := e.Delete(); err != nil {
		return nil, err
	}
	a.webhookChanged(w, true)
	return ok(id), nil
}

// listening are the webhooks that are not paused.
func (a *applier) listening() ([]*row.Webhook, error) {
	if !a.cache.hooksLoaded {
		a.cache.webhooks = nil
		err := a.tx.EachWebhook(func(w *row.Webhook) (bool, error) {
			if !w.Paused {
				a.cache.webhooks = append(a.cache.webhooks, w)
			}
			return true, nil
		})
		if err != nil {
			return nil, err
		}
		a.cache.hooksLoaded = true
	}
	return a.cache.webhooks, nil
}

// tellWebhooks puts a message about a run's new state into the outbox of each webhook that wants it.
func (a *applier) tellWebhooks(run *row.FlowRun) error {
	hooks, err := a.listening()
	if err != nil || len(hooks) == 0 {
		return err
	}
	var told *row.FlowRun
	for _, w := range hooks {
		if !webhookWants(w.Filter, run) {
			continue
		}
		if told == nil {
			told = proto.Clone(run).(*row.FlowRun)
			told.ParametersJson, told.ContextJson, told.EmpiricalPolicyJson, told.Lease, told.FlowRunner, told.State.Data = nil, nil, nil, nil, nil, nil
		}
		if err := a.putDelivery(w, &row.Delivery{Id: a.newID(), FlowRun: told}); err != nil {
			return err
		}
	}
	return nil
}

func webhookWants(f *row.WebhookFilter, run *row.FlowRun) bool {
	has := func(ids [][]byte, id []byte) bool {
		return len(ids) == 0 || slices.ContainsFunc(ids, func(x []byte) bool { return bytes.Equal(x, id) })
	}
	if len(f.GetStateTypes()) > 0 && !slices.Contains(f.StateTypes, run.State.GetType()) {
		return false
	}
	if len(f.GetStateNames()) > 0 && !slices.Contains(f.StateNames, run.State.GetName()) {
		return false
	}
	for _, tag := range f.GetTags() {
		if !slices.Contains(run.Tags, tag) {
			return false
		}
	}
	return has(f.GetDeploymentIds(), run.DeploymentId) && has(f.GetFlowIds(), run.FlowId)
}

// putDelivery appends a message to a webhook's outbox. The oldest gives way when it is full.
func (a *applier) putDelivery(w *row.Webhook, d *row.Delivery) error {
	n, err := a.tx.CountWaitingDeliveries(w.Id)
	if err != nil {
		return err
	}
	if n >= mostWaiting {
		if err := a.dropOldest(w.Id); err != nil {
			return err
		}
	}
	d.WebhookId, d.Index, d.Ordinal, d.Created, d.NextAttempt = w.Id, a.index, a.nextPlace(), a.now, a.now
	if err := a.tx.NewDelivery(d).Save(); err != nil {
		return err
	}
	a.emit(watch.Event{Topic: watch.TopicWebhook, Delivery: d})
	return nil
}

func (a *applier) dropOldest(webhookID []byte) error {
	var oldest *row.Delivery
	err := a.tx.WaitingDeliveries(id16(webhookID), func(d *row.Delivery) (bool, error) {
		oldest = d
		return false, nil
	})
	if err != nil || oldest == nil {
		return err
	}
	e, err := a.tx.EditDelivery(oldest.WebhookId, oldest.Index, oldest.Ordinal)
	if err != nil {
		return err
	}
	if err := e.Delete(); err != nil {
		return err
	}
	a.emit(watch.Event{Topic: watch.TopicWebhook, Delivery: oldest, Deleted: true})
	w, err := a.tx.EditWebhook(webhookID)
	if err != nil || w == nil {
		return err
	}
	w.Row.Dropped++
	return w.Save()
}

func (a *applier) testWebhook(c *command.TestWebhook) (*command.Result, error) {
	w, err := a.tx.Webhook(id16(c.Id))
	if err != nil {
		return nil, err
	}
	if w == nil {
		return notFound("Webhook"), nil
	}
	if taken, err := a.tx.Delivery(id16(c.DeliveryId)); err != nil || taken != nil {
		return conflict("a delivery with this id exists"), err
	}
	return created(c.DeliveryId), a.putDelivery(w, &row.Delivery{Id: c.DeliveryId, Test: true})
}

func (a *applier) redeliver(c *command.Redeliver) (*command.Result, error) {
	d, err := a.tx.Delivery(id16(c.DeliveryId))
	if err != nil {
		return nil, err
	}
	if d == nil || !bytes.Equal(d.WebhookId, c.WebhookId) {
		return notFound("Delivery"), nil
	}
	if d.Status == row.Delivery_PENDING {
		return conflict("this delivery waits already"), nil
	}
	e, err := a.tx.EditDelivery(d.WebhookId, d.Index, d.Ordinal)
	if err != nil {
		return nil, err
	}
	e.Row.Status, e.Row.Attempts, e.Row.NextAttempt, e.Row.Finished = row.Delivery_PENDING, 0, a.now, 0
	if err := e.Save(); err != nil {
		return nil, err
	}
	a.emit(watch.Event{Topic: watch.TopicWebhook, Delivery: e.Row})
	return ok(c.DeliveryId), nil
}

// settleDeliveries records what came of attempts. One that was settled before, or is gone, stays as it is.
func (a *applier) settleDeliveries(c *command.SettleDeliveries) (*command.Result, error) {
	result := &command.Result{}
	for _, o := range c.Outcomes {
		e, err := a.tx.EditDelivery(o.WebhookId, o.Index, o.Ordinal)
		if err != nil {
			return nil, err
		}
		if e == nil || e.Row.Status != row.Delivery_PENDING || o.Attempts <= e.Row.Attempts {
			continue
		}
		w, err := a.tx.EditWebhook(o.WebhookId)
		if err != nil {
			return nil, err
		}
		if err := a.settle(e, w, o); err != nil {
			return nil, err
		}
		result.Count++
	}
	return result, nil
}

func (a *applier) settle(e *state.DeliveryEdit, w *state.WebhookEdit, o *command.SettleDeliveries_Outcome) error {
	d := e.Row
	d.Attempts, d.NextAttempt, d.ResponseCode, d.Duration = o.Attempts, o.NextAttempt, o.ResponseCode, o.Duration
	d.Error = cut(o.Error)
	hook := w.Row
	switch {
	case o.Delivered:
		d.Status, d.Finished, d.NextAttempt = row.Delivery_DELIVERED, a.now, 0
		hook.Delivered++
		hook.LastDelivered, hook.LastError = a.now, ""
	default:
		if o.GiveUp {
			d.Status, d.Finished, d.NextAttempt = row.Delivery_GIVEN_UP, a.now, 0
			hook.GivenUp++
		}
		hook.LastFailed, hook.LastError = a.now, d.Error
	}
	if err := e.Save(); err != nil {
		return err
	}
	pausedNow := o.Pause != "" && !hook.Paused
	if pausedNow {
		hook.Paused, hook.PausedReason, hook.Updated = true, cut(o.Pause), a.now
	}
	if err := w.Save(); err != nil {
		return err
	}
	if pausedNow {
		a.webhookChanged(hook, false)
	}
	return a.boundLog(o.WebhookId)
}

// boundLog forgets the oldest lines of a webhook's log.
func (a *applier) boundLog(webhookID []byte) error {
	n, err := a.tx.CountEndedDeliveries(webhookID)
	if err != nil {
		return err
	}
	var old []*row.Delivery
	if n > deliveriesKept {
		err = a.tx.EndedDeliveries(id16(webhookID), false, func(d *row.Delivery) (bool, error) {
			old = append(old, d)
			return int64(len(old)) < n-deliveriesKept, nil
		})
	}
	for _, d := range old {
		if err != nil {
			return err
		}
		var e *state.DeliveryEdit
		if e, err = a.tx.EditDelivery(d.WebhookId, d.Index, d.Ordinal); err == nil {
			err = e.Delete()
		}
	}
	return err
}

// cut bounds a text; what is stored must stay valid UTF-8.
func cut(s string) string { return strings.ToValidUTF8(s[:min(len(s), errorKept)], "") }
