package fsm

import (
	"testing"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/watch"
)

func (m *machine) block(id []byte) *row.Block {
	m.t.Helper()
	b, err := m.view().Block(api.ID(id))
	if err != nil {
		m.t.Fatal(err)
	}
	return b
}

func TestBlocksData(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T) (m *machine, spec []byte) {
		m = newMachine(t)
		spec = m.one(&command.Envelope{Command: &command.Envelope_CreateBlockSpec{CreateBlockSpec: &command.CreateBlockSpec{Id: m.id(), Name: "S", Version: "1"}}}).Id
		return m, spec
	}
	create := func(m *machine, c *command.CreateBlock) []byte {
		c.Id = m.id()
		return m.one(&command.Envelope{Command: &command.Envelope_CreateBlock{CreateBlock: c}}).Id
	}
	update := func(m *machine, c *command.UpdateBlock) *command.Result {
		return m.do(&command.Envelope{Command: &command.Envelope_UpdateBlock{UpdateBlock: c}})[0]
	}
	reseal := func(m *machine, blocks ...*command.ResealSecrets_One) int32 {
		return m.one(&command.Envelope{Command: &command.Envelope_ResealSecrets{ResealSecrets: &command.ResealSecrets{Blocks: blocks}}}).Count
	}
	t.Run("in clear becomes sealed once, and stays what was updated meanwhile", func(t *testing.T) {
		t.Parallel()
		m, spec := start(t)
		old := create(m, &command.CreateBlock{Name: "old", BlockSpecId: spec, DataJson: []byte(`{"a":1}`)})
		busy := create(m, &command.CreateBlock{Name: "busy", BlockSpecId: spec, DataSealed: []byte("first")})
		seen := []*command.ResealSecrets_One{
			{Id: old, DataWas: command.BlockDigest(m.block(old)), DataSealed: []byte("sealed old")},
			{Id: busy, DataWas: command.BlockDigest(m.block(busy)), DataSealed: []byte("resealed first")},
			{Id: m.id(), DataWas: command.BlockDigest(m.block(old)), DataSealed: []byte("deleted")},
		}
		if r := update(m, &command.UpdateBlock{Id: busy, HasData: true, DataSealed: []byte("second")}); r.Code != command.Result_OK {
			t.Fatal(r)
		}
		if n := reseal(m, seen...); n != 1 {
			t.Errorf("%d blocks are resealed", n)
		}
		if b := m.block(old); string(b.DataSealed) != "sealed old" || len(b.DataJson) != 0 || b.Updated != b.Created {
			t.Errorf("the old block is %v", b)
		}
		if b := m.block(busy); string(b.DataSealed) != "second" {
			t.Errorf("the busy block is %v", b)
		}
		if n := reseal(m, seen...); n != 0 {
			t.Errorf("a repetition changes %d blocks", n)
		}
		if err := m.view().Verify(); err != nil {
			t.Error(err)
		}
	})
	t.Run("is resealed beside the secrets of webhooks, of which who delivers is told", func(t *testing.T) {
		t.Parallel()
		m, _ := start(t)
		hook := func(name, sealed string) []byte {
			return m.one(&command.Envelope{Command: &command.Envelope_CreateWebhook{CreateWebhook: &command.CreateWebhook{Id: m.id(), Name: name, Url: "https://example.com/", SealedSecret: []byte(sealed)}}}).Id
		}
		row := func(id []byte) *row.Webhook {
			w, err := m.view().Webhook(api.ID(id))
			if err != nil {
				t.Fatal(err)
			}
			return w
		}
		old, busy := hook("old", "first"), hook("busy", "first")
		seen := &command.ResealSecrets{Webhooks: []*command.ResealSecrets_One{
			{Id: old, DataWas: command.WebhookDigest(row(old)), DataSealed: []byte("again")},
			{Id: busy, DataWas: command.WebhookDigest(row(busy)), DataSealed: []byte("again")},
			{Id: m.id(), DataWas: command.WebhookDigest(row(old)), DataSealed: []byte("deleted")},
		}}
		m.one(&command.Envelope{Command: &command.Envelope_UpdateWebhook{UpdateWebhook: &command.UpdateWebhook{Id: busy, SealedSecret: []byte("second")}}})
		listener := m.fsm.Events().Subscribe(watch.TopicWebhook)
		if n := m.one(&command.Envelope{Command: &command.Envelope_ResealSecrets{ResealSecrets: seen}}).Count; n != 1 {
			t.Errorf("%d are resealed", n)
		}
		told, err := listener.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if a, b := row(old), row(busy); string(a.SealedSecret) != "again" || a.Updated != a.Created || string(b.SealedSecret) != "second" {
			t.Errorf("they are %v and %v", a, b)
		}
		if told.Webhook == nil || string(told.Webhook.SealedSecret) != "again" {
			t.Errorf("told was %+v", told)
		}
		if n := m.one(&command.Envelope{Command: &command.Envelope_ResealSecrets{ResealSecrets: seen}}).Count; n != 0 {
			t.Errorf("a repetition changes %d", n)
		}
	})
	t.Run("is updated only if it is what the update was made of", func(t *testing.T) {
		t.Parallel()
		m, spec := start(t)
		id := create(m, &command.CreateBlock{Name: "b", BlockSpecId: spec, DataSealed: []byte("first")})
		was := command.BlockDigest(m.block(id))
		change := &command.UpdateBlock{Id: id, HasData: true, DataSealed: []byte("second"), DataWas: was, HasName: true, Name: "renamed"}
		if r := update(m, change); r.Code != command.Result_OK {
			t.Fatal(r)
		}
		change.DataSealed, change.Name = []byte("third"), "again"
		if r := update(m, change); r.Code != command.Result_CONFLICT || r.Message != command.BlockChanged {
			t.Errorf("got %v", r)
		}
		if b := m.block(id); string(b.DataSealed) != "second" || b.Name != "renamed" {
			t.Errorf("the block is %v", b)
		}
	})
	t.Run("in clear and sealed have different digests, whatever they are", func(t *testing.T) {
		t.Parallel()
		a, b := command.BlockDigest(&row.Block{DataJson: []byte("x")}), command.BlockDigest(&row.Block{DataSealed: []byte("x")})
		if string(a) == string(b) || len(a) != 16 {
			t.Errorf("%x, %x", a, b)
		}
	})
}
