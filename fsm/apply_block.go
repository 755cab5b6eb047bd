package fsm

import (
	"bytes"
	"fmt"

	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
)

const blockTaken = "Block already exists"

// storageType is the type of block specs that flow code and results can be stored with.
const storageType = "STORAGE"

func (a *applier) createBlockSpec(c *command.CreateBlockSpec) (*command.Result, error) {
	stored, err := a.tx.BlockSpecByName(c.Name, c.Version)
	if err != nil {
		return nil, err
	}
	if stored != nil && c.IfAbsent {
		return ok(stored.Id), nil
	}
	spec := &row.BlockSpec{Id: c.Id, Created: a.now, Updated: a.now, Name: c.Name, Version: c.Version, Type: c.Type, FieldsJson: c.FieldsJson}
	return saved(a.tx.NewBlockSpec(spec).Save(), created(c.Id), fmt.Sprintf("Block spec %q already exists.", c.Name+"/"+c.Version))
}

// deleteBlockSpec takes the spec's blocks along.
func (a *applier) deleteBlockSpec(id []byte) (*command.Result, error) {
	e, err := a.tx.EditBlockSpec(id)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return notFound("Block spec"), nil
	}
	var blocks [][]byte
	err = a.tx.EachBlock(func(b *row.Block) (bool, error) {
		if string(b.BlockSpecId) == string(id) {
			blocks = append(blocks, b.Id)
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	for _, b := range blocks {
		if _, err := a.deleteBlock(b); err != nil {
			return nil, err
		}
	}
	return ok(id), e.Delete()
}

func (a *applier) createBlock(c *command.CreateBlock) (*command.Result, error) {
	spec, err := a.tx.BlockSpec(id16(c.BlockSpecId))
	if err != nil {
		return nil, err
	}
	if spec == nil {
		return conflict(blockTaken), nil
	}
	b := &row.Block{Id: c.Id, Created: a.now, Updated: a.now, Name: c.Name, DataJson: c.DataJson, DataSealed: c.DataSealed, BlockSpecId: c.BlockSpecId}
	return saved(a.tx.NewBlock(b).Save(), created(c.Id), blockTaken)
}

func (a *applier) updateBlock(c *command.UpdateBlock) (*command.Result, error) {
	e, err := a.tx.EditBlock(c.Id)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return notFound("Block"), nil
	}
	if len(c.DataWas) != 0 && !bytes.Equal(c.DataWas, command.BlockDigest(e.Row)) {
		return conflict(command.BlockChanged), nil
	}
	if c.HasName {
		e.Row.Name = c.Name
	}
	if c.HasData {
		e.Row.DataJson, e.Row.DataSealed = c.DataJson, c.DataSealed
	}
	e.Row.Updated = a.now
	return saved(e.Save(), ok(c.Id), blockTaken)
}

func (a *applier) resealSecrets(c *command.ResealSecrets) (*command.Result, error) {
	done := int32(0)
	for _, b := range c.Blocks {
		e, err := a.tx.EditBlock(b.Id)
		if err != nil {
			return nil, err
		}
		if e == nil || !bytes.Equal(b.DataWas, command.BlockDigest(e.Row)) {
			continue
		}
		e.Row.DataJson, e.Row.DataSealed = nil, b.DataSealed
		if err := e.Save(); err != nil {
			return nil, err
		}
		done++
	}
	for _, w := range c.Webhooks {
		e, err := a.tx.EditWebhook(w.Id)
		if err != nil {
			return nil, err
		}
		if e == nil || !bytes.Equal(w.DataWas, command.WebhookDigest(e.Row)) {
			continue
		}
		e.Row.SealedSecret = w.DataSealed
		if err := e.Save(); err != nil {
			return nil, err
		}
		// Whoever delivers must not go on with what only the old key opens.
		a.webhookChanged(e.Row, false)
		done++
	}
	return &command.Result{Count: done}, nil
}

func (a *applier) deleteBlock(id []byte) (*command.Result, error) {
	e, err := a.tx.EditBlock(id)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return notFound("Block"), nil
	}
	current, err := a.tx.DefaultStorageBlock()
	if err != nil {
		return nil, err
	}
	if current != nil && string(current.Id) == string(id) {
		if err := a.tx.SetDefaultStorage(nil); err != nil {
			return nil, err
		}
	}
	return ok(id), e.Delete()
}

func (a *applier) setDefaultStorage(c *command.SetDefaultStorage) (*command.Result, error) {
	if len(c.BlockId) == 0 {
		return &command.Result{}, a.tx.SetDefaultStorage(nil)
	}
	b, err := a.tx.Block(id16(c.BlockId))
	if err != nil {
		return nil, err
	}
	if b == nil {
		return notFound("Block"), nil
	}
	spec, err := a.tx.BlockSpec(id16(b.BlockSpecId))
	if err != nil {
		return nil, err
	}
	if spec.GetType() != storageType {
		return failed(command.Result_INVALID, "Specified block is not a storage block"), nil
	}
	return ok(c.BlockId), a.tx.SetDefaultStorage(c.BlockId)
}
