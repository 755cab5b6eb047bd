package fsm

import (
	"testing"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
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
	reseal := func(m *machine, blocks ...*command.ResealBlocks_One) int32 {
		return m.one(&command.Envelope{Command: &command.Envelope_ResealBlocks{ResealBlocks: &command.ResealBlocks{Blocks: blocks}}}).Count
	}
	t.Run("in clear becomes sealed once, and stays what was updated meanwhile", func(t *testing.T) {
		t.Parallel()
		m, spec := start(t)
		old := create(m, &command.CreateBlock{Name: "old", BlockSpecId: spec, DataJson: []byte(`{"a":1}`)})
		busy := create(m, &command.CreateBlock{Name: "busy", BlockSpecId: spec, DataSealed: []byte("first")})
		seen := []*command.ResealBlocks_One{
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
