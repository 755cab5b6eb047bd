package httpapi

import (
	"bytes"
	"errors"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
	"github.com/sluice-dev/sluice/internal/redact"
)

// sealData encrypts what a block is to hold. An object without members hides nothing and needs no key.
func (x *exchange) sealData(block api.ID, data []byte) (clear, sealed []byte, err error) {
	if text := bytes.TrimSpace(data); len(text) == 0 || text[0] == '{' && len(bytes.TrimSpace(text[1:])) == 1 {
		return data, nil, nil
	}
	sealed, err = x.server.secrets.Seal(x.ctx, block, data)
	return nil, sealed, err
}

// showBlock is a block as the caller may see it: in clear, or with its secrets masked. It is the only way of a block's data out of here.
func (x *exchange) showBlock(b *row.Block, spec *row.BlockSpec) (*api.Block, error) {
	data, err := x.server.secrets.Open(b)
	if err != nil {
		return nil, err
	}
	if !x.seesBlock(spec) && len(data) > 0 {
		data = redact.Object(data, redact.ParseSchema(spec.GetFieldsJson()))
	}
	return blockObject(b, data, spec), nil
}

// fillMasks puts what is stored in the places that data shows masked, and names what is stored.
func (x *exchange) fillMasks(view *state.View, b *row.Block, data []byte) (filled, was []byte, err error) {
	stored, err := x.server.secrets.Open(b)
	if err != nil {
		return nil, nil, err
	}
	spec, err := view.BlockSpec(idOf(b.BlockSpecId))
	if err != nil {
		return nil, nil, err
	}
	filled, err = redact.Fill(data, stored, redact.ParseSchema(spec.GetFieldsJson()))
	return filled, command.BlockDigest(b), maskFailure(err)
}

// maskFailure refuses a mask that stands for nothing.
func maskFailure(err error) error {
	if m, ok := errors.AsType[*redact.MaskError](err); ok {
		return invalid("data: "+m.Error(), "Send the secret itself; "+redact.Mask+" is only what is shown to those who may not see it.")
	}
	return err
}
