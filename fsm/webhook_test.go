package fsm

import (
	"testing"

	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
)

func (m *machine) waiting(hook []byte) (all []*row.Delivery) {
	m.t.Helper()
	v := m.view()
	defer v.Close()
	err := v.WaitingDeliveries(id16(hook), func(d *row.Delivery) (bool, error) {
		all = append(all, d)
		return true, nil
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return all
}

func TestOutboxAndLogOfAWebhookAreBounded(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.do(leaderEpoch(1))
	flow, hook := m.newFlow(), m.id()
	before := m.rowsLeft()
	m.one(&command.Envelope{Command: &command.Envelope_CreateWebhook{CreateWebhook: &command.CreateWebhook{Id: hook, Name: "w", Url: "https://example.org",
		Filter: &row.WebhookFilter{StateTypes: []row.StateType{row.StateType_COMPLETED}}}}})
	const extra = 20
	for n := 0; n < mostWaiting+extra; {
		var batch []*command.Envelope
		for range 500 {
			if n++; n > mostWaiting+extra {
				break
			}
			batch = append(batch, &command.Envelope{Command: &command.Envelope_CreateFlowRun{CreateFlowRun: &command.CreateFlowRun{Id: m.id(), Name: "r", FlowId: flow,
				ParametersJson: []byte(`{"secret":1}`), State: &command.ProposedState{Type: row.StateType_COMPLETED}}}})
		}
		m.do(batch...)
	}
	waiting := m.waiting(hook)
	if len(waiting) != mostWaiting {
		t.Fatalf("%d messages wait, want %d", len(waiting), mostWaiting)
	}
	if p := waiting[0].FlowRun.ParametersJson; p != nil {
		t.Errorf("a message holds parameters: %s", p)
	}
	settle := &command.SettleDeliveries{}
	for i, d := range waiting[:deliveriesKept+extra] {
		settle.Outcomes = append(settle.Outcomes, &command.SettleDeliveries_Outcome{WebhookId: hook, Index: d.Index, Ordinal: d.Ordinal, Attempts: 1, Delivered: i%2 == 0, GiveUp: i%2 == 1, Error: "e"})
	}
	for range 2 { // a repetition changes nothing
		m.one(&command.Envelope{Command: &command.Envelope_SettleDeliveries{SettleDeliveries: settle}})
	}
	left := m.rowsLeft()
	if want := int64(mostWaiting - extra); left["webhook_delivery"] != want {
		t.Errorf("%d messages are stored, want %d: %d wait, %d are in the log", left["webhook_delivery"], want, mostWaiting-deliveriesKept-extra, deliveriesKept)
	}
	v := m.view()
	w, err := v.Webhook(id16(hook))
	if err != nil || w.Dropped != extra || w.Delivered != (deliveriesKept+extra)/2 || w.GivenUp != w.Delivered {
		t.Errorf("the webhook says %v (%v)", w, err)
	}
	var newest *row.Delivery
	err = v.EndedDeliveries(id16(hook), true, func(d *row.Delivery) (bool, error) {
		newest = d
		return false, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	_ = v.Close()
	m.one(&command.Envelope{Command: &command.Envelope_Redeliver{Redeliver: &command.Redeliver{WebhookId: hook, DeliveryId: newest.Id}}})
	if again := m.waiting(hook); string(again[0].Id) != string(newest.Id) || again[0].Attempts != 0 {
		t.Errorf("what is redelivered waits as %v", again[0])
	}
	m.one(&command.Envelope{Command: &command.Envelope_DeleteWebhook{DeleteWebhook: &command.Delete{Id: hook}}})
	after := m.rowsLeft()
	if after["webhook"]+after["webhook_delivery"] != before["webhook"]+before["webhook_delivery"] {
		t.Errorf("after the webhook was deleted %v is left", after)
	}
}
