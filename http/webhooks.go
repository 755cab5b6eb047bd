package httpapi

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
	"github.com/sluice-dev/sluice/http/internal/body"
	"github.com/sluice-dev/sluice/webhook"
)

const missingWebhook = "Webhook not found"

func webhookURL(d *body.Decoder, n int) (*string, bool) {
	text, ok := body.Text(d, n)
	if !ok {
		return nil, false
	}
	if err := webhook.CheckURL(text); err != nil {
		d.Fail("this is not the address of a webhook: "+err.Error(), "value_error.url", "")
		return nil, false
	}
	return &text, true
}

func webhookSecret(d *body.Decoder, n int) (*string, bool) {
	text, ok := body.Text(d, n)
	if !ok {
		return nil, false
	}
	if _, err := webhook.ParseSecret(text); err != nil {
		d.Fail(err.Error(), "value_error.secret", "")
		return nil, false
	}
	return &text, true
}

// webhookName is a name that fits into a path and a line.
func webhookName(d *body.Decoder, n int) (*string, bool) {
	text, ok := body.Name(d, n)
	if ok && (text == "" || len(text) > 200) {
		d.Fail("a name has 1 to 200 bytes", "value_error.name", "")
		return nil, false
	}
	return &text, ok
}

// webhookRequest is the body of POST and PATCH.
type webhookRequest struct {
	name, url, secret *string
	newSecret         bool
	filter            *row.WebhookFilter
	paused            *bool
}

var webhookFilterSpec = body.Strict(
	body.Nullable("state_types", body.List(stateTypeKind), func(v *row.WebhookFilter) *[]row.StateType { return &v.StateTypes }),
	body.Nullable("state_names", texts, func(v *row.WebhookFilter) *[]string { return &v.StateNames }),
	body.Nullable("tags", texts, func(v *row.WebhookFilter) *[]string { return &v.Tags }),
	body.Nullable("deployment_ids", ids, func(v *row.WebhookFilter) *[][]byte { return &v.DeploymentIds }),
	body.Nullable("flow_ids", ids, func(v *row.WebhookFilter) *[][]byte { return &v.FlowIds }),
).Check(func(d *body.Decoder, v *row.WebhookFilter) bool {
	const most = 100
	if len(v.StateTypes)+len(v.StateNames)+len(v.Tags)+len(v.DeploymentIds)+len(v.FlowIds) > most {
		d.Fail("a filter has at most 100 values", "value_error.filter", "")
		return false
	}
	return true
})

var createWebhookSpec = body.Strict(
	body.Required("name", webhookName, func(v *webhookRequest) **string { return &v.name }),
	body.Required("url", webhookURL, func(v *webhookRequest) **string { return &v.url }),
	body.Nullable("secret", webhookSecret, func(v *webhookRequest) **string { return &v.secret }),
	body.Nullable("filter", webhookFilterSpec.Ref(), func(v *webhookRequest) **row.WebhookFilter { return &v.filter }),
	body.Nullable("paused", body.BoolRef, func(v *webhookRequest) **bool { return &v.paused }),
)

var updateWebhookSpec = body.Strict(
	body.Nullable("name", webhookName, func(v *webhookRequest) **string { return &v.name }),
	body.Nullable("url", webhookURL, func(v *webhookRequest) **string { return &v.url }),
	body.Nullable("secret", webhookSecret, func(v *webhookRequest) **string { return &v.secret }),
	body.Optional("new_secret", body.Bool, func(v *webhookRequest) *bool { return &v.newSecret }),
	body.Nullable("filter", webhookFilterSpec.Ref(), func(v *webhookRequest) **row.WebhookFilter { return &v.filter }),
	body.Nullable("paused", body.BoolRef, func(v *webhookRequest) **bool { return &v.paused }),
)

func createWebhook(_ *Server, x *exchange) error {
	in := webhookRequest{}
	if err := decode(x, createWebhookSpec, &in); err != nil {
		return err
	}
	c := &command.CreateWebhook{Id: newID(), Name: *in.name, Url: *in.url, Filter: in.filter, Paused: in.paused != nil && *in.paused}
	secret := webhook.NewSecret()
	if in.secret != nil {
		secret = *in.secret
	}
	var err error
	if c.SealedSecret, err = x.server.secrets.Seal(x.ctx, idOf(c.Id), []byte(secret)); err != nil {
		return err
	}
	e := x.envelope()
	again := ""
	if in.secret == nil && e.Idempotency != nil {
		e.Idempotency = nil // a repetition could not tell the secret again
		again = "If an earlier try of this request made it, get a new secret: `sluice webhook edit NAME --new-secret`, or PATCH with \"new_secret\": true."
	}
	e.Command = &command.Envelope_CreateWebhook{CreateWebhook: c}
	err = x.proposeObject(e, missingWebhook, "", func(view *state.View, r *command.Result) error {
		return x.answerWebhook(created(r), view, idOf(r.Id), secret)
	})
	if f, refused := errors.AsType[*failure](err); refused && f.status == http.StatusConflict && again != "" {
		f.hint = f.hint + ". " + again
	}
	return err
}

func updateWebhook(_ *Server, x *exchange) error {
	id, err := x.pathID("id")
	if err != nil {
		return err
	}
	in := webhookRequest{}
	if err := decode(x, updateWebhookSpec, &in); err != nil {
		return err
	}
	c := &command.UpdateWebhook{Id: id[:], Name: in.name, Url: in.url, Filter: in.filter, Paused: in.paused}
	told := ""
	if in.newSecret && in.secret == nil {
		told = webhook.NewSecret()
		in.secret = &told
	}
	if in.secret != nil {
		if c.SealedSecret, err = x.server.secrets.Seal(x.ctx, id, []byte(*in.secret)); err != nil {
			return err
		}
	}
	e := x.envelope()
	e.Command = &command.Envelope_UpdateWebhook{UpdateWebhook: c}
	return x.proposeObject(e, missingWebhook, "", func(view *state.View, _ *command.Result) error { return x.answerWebhook(200, view, id, told) })
}

func (x *exchange) answerWebhook(status int, view *state.View, id api.ID, secret string) error {
	w, err := view.Webhook(id)
	if err != nil {
		return err
	}
	if w == nil {
		return notFound(missingWebhook)
	}
	object, err := webhookObject(view, w)
	if err != nil {
		return err
	}
	object.Secret = secret
	if x.out, err = appendJSON(x.out, object); err != nil {
		return err
	}
	return x.send(status)
}

func webhookObject(view *state.View, w *row.Webhook) (*api.Webhook, error) {
	f := w.Filter
	o := &api.Webhook{ID: idOf(w.Id), Created: timeOf(w.Created), Updated: timeOf(w.Updated), Name: w.Name, URL: w.Url, Paused: w.Paused, PausedReason: w.PausedReason,
		Dropped: w.Dropped, Delivered: w.Delivered, GivenUp: w.GivenUp, LastFailed: timeRef(w.LastFailed), LastSuccess: timeRef(w.LastDelivered), LastError: textRef(w.LastError),
		Filter: api.WebhookFilter{StateTypes: []api.StateType{}, StateNames: append([]string{}, f.GetStateNames()...), Tags: append([]string{}, f.GetTags()...),
			DeploymentIDs: append([]api.ID{}, idsOf(f.GetDeploymentIds())...), FlowIDs: append([]api.ID{}, idsOf(f.GetFlowIds())...)}}
	for _, t := range f.GetStateTypes() {
		o.Filter.StateTypes = append(o.Filter.StateTypes, stateTypeOf(t))
	}
	var err error
	if o.Waiting, err = view.CountWaitingDeliveries(o.ID); err != nil {
		return nil, err
	}
	err = view.WaitingDeliveries(o.ID, func(d *row.Delivery) (bool, error) {
		o.Oldest = timeRef(d.Created)
		return false, nil
	})
	return o, err
}

var listWebhooks = reads(func(x *exchange, view *state.View) error {
	all := []*api.Webhook{}
	err := view.EachWebhook(func(w *row.Webhook) (bool, error) {
		o, err := webhookObject(view, w)
		all = append(all, o)
		return true, err
	})
	if err != nil {
		return err
	}
	if x.out, err = appendJSON(x.out, all); err != nil {
		return err
	}
	return x.send(200)
})

var readWebhook = readsOne(func(x *exchange, view *state.View, id api.ID) error { return x.answerWebhook(200, view, id, "") })

func deleteWebhook(_ *Server, x *exchange) error {
	return x.delete(missingWebhook, func(e *command.Envelope, d *command.Delete) {
		e.Command = &command.Envelope_DeleteWebhook{DeleteWebhook: d}
	})
}

// mostDeliveries bounds one answer.
const mostDeliveries = 500

var listDeliveries = readsOne(func(x *exchange, view *state.View, id api.ID) error {
	limit := 50
	if text := x.r.URL.Query().Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > mostDeliveries {
			return unprocessable([]body.Error{{Loc: []any{"query", "limit"}, Msg: "ensure this value is from 1 to 500", Type: "value_error.number"}})
		}
		limit = n
	}
	w, err := view.Webhook(id)
	if err != nil {
		return err
	}
	if w == nil {
		return notFound(missingWebhook)
	}
	all := []*api.WebhookDelivery{}
	collect := func(d *row.Delivery) (bool, error) {
		all = append(all, deliveryObject(d))
		return len(all) < limit, nil
	}
	if err := view.WaitingDeliveries(id, collect); err != nil {
		return err
	}
	if len(all) < limit {
		if err := view.EndedDeliveries(id, true, collect); err != nil {
			return err
		}
	}
	if x.out, err = appendJSON(x.out, all); err != nil {
		return err
	}
	return x.send(200)
})

var deliveryStatuses = [...]string{"waiting", "delivered", "given_up"}

func deliveryObject(d *row.Delivery) *api.WebhookDelivery {
	o := &api.WebhookDelivery{ID: idOf(d.Id), Created: timeOf(d.Created), Status: deliveryStatuses[d.Status], Attempts: int(d.Attempts), NextAttempt: timeRef(d.NextAttempt),
		Finished: timeRef(d.Finished), Error: textRef(d.Error), Duration: durationOf(d.Duration), Test: d.Test}
	if d.ResponseCode != 0 {
		code := int(d.ResponseCode)
		o.ResponseCode = &code
	}
	if r := d.FlowRun; r != nil {
		id, kind, name := idOf(r.Id), stateTypeOf(r.State.GetType()), r.State.GetName()
		o.FlowRunID, o.FlowRunName, o.StateType, o.StateName = &id, textRef(r.Name), &kind, &name
	}
	return o
}

func testWebhook(_ *Server, x *exchange) error {
	id, err := x.pathID("id")
	if err != nil {
		return err
	}
	e := x.envelope()
	e.Command = &command.Envelope_TestWebhook{TestWebhook: &command.TestWebhook{Id: id[:], DeliveryId: newID()}}
	return x.answerDelivery(e, 201)
}

func redeliverWebhook(_ *Server, x *exchange) error {
	id, err := x.pathID("id")
	if err != nil {
		return err
	}
	delivery, err := x.pathID("delivery")
	if err != nil {
		return err
	}
	e := x.envelope()
	e.Command = &command.Envelope_Redeliver{Redeliver: &command.Redeliver{WebhookId: id[:], DeliveryId: delivery[:]}}
	return x.answerDelivery(e, 200)
}

func (x *exchange) answerDelivery(e *command.Envelope, status int) error {
	return x.proposeObject(e, "Webhook or delivery not found", "", func(view *state.View, r *command.Result) error {
		d, err := view.Delivery(idOf(r.Id))
		if err != nil {
			return err
		}
		if d == nil {
			return notFound("Delivery not found")
		}
		if x.out, err = appendJSON(x.out, deliveryObject(d)); err != nil {
			return err
		}
		return x.send(status)
	})
}
