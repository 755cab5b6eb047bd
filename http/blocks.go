package httpapi

import (
	"cmp"
	"encoding/json"
	"slices"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
	"github.com/sluice-dev/sluice/http/internal/body"
	"github.com/sluice-dev/sluice/internal/redact"
)

func createBlock(_ *Server, x *exchange) error {
	c := &command.CreateBlock{Id: newID()}
	if err := decode(x, createBlockBody, c); err != nil {
		return err
	}
	if redact.HasMask(c.DataJson) {
		if _, err := redact.Fill(c.DataJson, nil, redact.Schema{}); err != nil {
			return maskFailure(err)
		}
	}
	var err error
	if c.DataJson, c.DataSealed, err = x.sealData(api.ID(c.Id), c.DataJson); err != nil {
		return err
	}
	e := x.envelope()
	e.Command = &command.Envelope_CreateBlock{CreateBlock: c}
	r, index, err := x.propose(e)
	if err != nil {
		return err
	}
	// Orion says so of an unknown spec too.
	if r.Code == command.Result_NOT_FOUND {
		r.Code = command.Result_CONFLICT
	}
	if err := outcome(r, missing.blockSpec, "Block already exists"); err != nil {
		return err
	}
	view, err := x.written(index)
	if err != nil {
		return err
	}
	defer view.Close()
	block, err := view.Block(idOf(r.Id))
	return x.answerBlock(201, view, block, err)
}

func (x *exchange) answerBlock(status int, view *state.View, block *row.Block, err error) error {
	if err != nil {
		return err
	}
	if block == nil {
		return notFound(missing.block)
	}
	spec, err := view.BlockSpec(idOf(block.BlockSpecId))
	if err != nil {
		return err
	}
	shown, err := x.showBlock(block, spec)
	if err != nil {
		return err
	}
	if x.out, err = appendJSON(x.out, shown); err != nil {
		return err
	}
	return x.send(status)
}

// appendJSON encodes the objects that are too rare to write themselves.
func appendJSON(b []byte, v any) ([]byte, error) {
	text, err := json.Marshal(v)
	return append(b, text...), err
}

var readBlock = readsOne(func(x *exchange, view *state.View, id api.ID) error {
	block, err := view.Block(id)
	if err == nil && block == nil {
		f := notFound(missing.block)
		f.key = "message" // by its id alone, as in Orion
		return f
	}
	return x.answerBlock(200, view, block, err)
})

func updateBlock(_ *Server, x *exchange) error {
	id, err := x.pathID("id")
	if err != nil {
		return err
	}
	c := &command.UpdateBlock{Id: id[:]}
	if err := decode(x, updateBlockBody, c); err != nil {
		return err
	}
	given := c.DataJson
	for try := 1; ; try++ {
		if c.HasData {
			if err := x.prepareUpdate(c, given); err != nil {
				return err
			}
		}
		e := x.envelope()
		e.Command = &command.Envelope_UpdateBlock{UpdateBlock: c}
		r, _, err := x.propose(e)
		if err != nil {
			return err
		}
		if r.Code == command.Result_CONFLICT && r.Message == command.BlockChanged {
			if try < updateTries {
				continue
			}
			return conflict(command.BlockChanged, "Read the block and repeat the change.")
		}
		if err := outcome(r, missing.block, "Block already exists"); err != nil {
			return err
		}
		return x.empty()
	}
}

// updateTries is how often a change that keeps stored secrets is made anew when the block changes meanwhile.
const updateTries = 5

// prepareUpdate encrypts the data of an update, after it put back the secrets that it shows masked.
func (x *exchange) prepareUpdate(c *command.UpdateBlock, data []byte) error {
	if redact.HasMask(data) {
		view, err := x.view()
		if err != nil {
			return err
		}
		defer view.Close()
		block, err := view.Block(idOf(c.Id))
		switch {
		case err != nil:
			return err
		case block == nil:
			return notFound(missing.block)
		}
		if data, c.DataWas, err = x.fillMasks(view, block, data); err != nil {
			return err
		}
	}
	var err error
	c.DataJson, c.DataSealed, err = x.sealData(idOf(c.Id), data)
	return err
}

func deleteBlock(_ *Server, x *exchange) error {
	return x.delete(missing.block, func(e *command.Envelope, d *command.Delete) {
		e.Command = &command.Envelope_DeleteBlock{DeleteBlock: d}
	})
}

type blockFilter struct {
	page
	specType *string
}

var blockFilterSpec = body.Parameters(
	body.Optional("block_spec_type", body.TextRef, func(v *blockFilter) **string { return &v.specType }),
	body.Optional("offset", offset, func(v *blockFilter) *int64 { return &v.offset }),
	body.Optional("limit", body.Int, func(v *blockFilter) *int64 { return &v.limit }),
)

// filterBlocks lists by spec name, newest spec version first, then block name.
func filterBlocks(_ *Server, x *exchange) error {
	in := blockFilter{page: newPage()}
	if err := decode(x, blockFilterSpec, &in); err != nil {
		return err
	}
	if err := in.check(); err != nil {
		return err
	}
	view, err := x.view()
	if err != nil {
		return err
	}
	defer view.Close()
	specs := map[api.ID]*row.BlockSpec{}
	err = view.EachBlockSpec(func(s *row.BlockSpec) (bool, error) {
		specs[idOf(s.Id)] = s
		return true, nil
	})
	if err != nil {
		return err
	}
	specOf := func(b *row.Block) *row.BlockSpec { return specs[idOf(b.BlockSpecId)] }
	show := func(out []byte, b *row.Block) ([]byte, error) {
		shown, err := x.showBlock(b, specOf(b))
		if err != nil {
			return out, err
		}
		return appendJSON(out, shown)
	}
	var blocks []*row.Block
	err = view.EachBlock(func(b *row.Block) (bool, error) {
		spec := specOf(b)
		if in.specType == nil || spec != nil && spec.Type != nil && *spec.Type == *in.specType {
			blocks = append(blocks, b)
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	if x.byCursor() {
		blocks, err = pageByCursor(x, listBlocks, &in.page, blocks, func(b *row.Block) api.ID { return idOf(b.Id) })
		if err != nil {
			return err
		}
		return list(x, blocks, show)
	}
	slices.SortFunc(blocks, func(a, b *row.Block) int {
		return cmp.Or(
			cmp.Compare(specOf(a).GetName(), specOf(b).GetName()),
			cmp.Compare(specOf(b).GetVersion(), specOf(a).GetVersion()),
			cmp.Compare(a.Name, b.Name),
		)
	})
	return list(x, cut(&in.page, blocks), show)
}

func setDefaultStorage(_ *Server, x *exchange) error {
	id, err := x.pathID("id")
	if err != nil {
		return err
	}
	e := x.envelope()
	e.Command = &command.Envelope_SetDefaultStorage{SetDefaultStorage: &command.SetDefaultStorage{BlockId: id[:]}}
	r, _, err := x.propose(e)
	if err != nil {
		return err
	}
	if r.Code == command.Result_INVALID {
		return invalid("Specified block is not a storage block", "Choose a block whose spec has the type STORAGE.")
	}
	if err := outcome(r, missing.block, ""); err != nil {
		return err
	}
	return x.empty()
}

func clearDefaultStorage(_ *Server, x *exchange) error {
	e := x.envelope()
	e.Command = &command.Envelope_SetDefaultStorage{SetDefaultStorage: &command.SetDefaultStorage{}}
	return x.proposeEmpty(e, missing.block)
}

var readDefaultStorage = reads(func(x *exchange, view *state.View) error {
	block, err := view.DefaultStorageBlock()
	if err == nil && block == nil {
		return x.empty()
	}
	return x.answerBlock(200, view, block, err)
})

// readSpecBlock finds a block by the name of its spec, the newest version unless the path names one, and its own name.
var readSpecBlock = reads(func(x *exchange, view *state.View) error {
	version := x.path("version")
	var best *row.Block
	newest := ""
	err := view.EachBlock(func(b *row.Block) (bool, error) {
		if b.Name != x.path("block") {
			return true, nil
		}
		spec, err := view.BlockSpec(idOf(b.BlockSpecId))
		if err != nil || spec == nil || spec.Name != x.path("name") {
			return true, err
		}
		if version == "" && (best == nil || spec.Version > newest) || version != "" && spec.Version == version {
			best, newest = b, spec.Version
		}
		return true, nil
	})
	return x.answerBlock(200, view, best, err)
})
