package httpapi

import (
	"cmp"
	"slices"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
	"github.com/sluice-dev/sluice/http/internal/body"
)

func createBlockSpec(_ *Server, x *exchange) error {
	c := &command.CreateBlockSpec{Id: newID()}
	if err := decode(x, createBlockSpecSpec, c); err != nil {
		return err
	}
	e := x.envelope()
	e.Command = &command.Envelope_CreateBlockSpec{CreateBlockSpec: c}
	return x.proposeObject(e, missing.blockSpec, `Block spec "`+c.Name+"/"+c.Version+`" already exists.`, func(view *state.View, r *command.Result) error {
		spec, err := view.BlockSpec(idOf(r.Id))
		return x.answerBlockSpec(201, spec, err)
	})
}

func (x *exchange) answerBlockSpec(status int, spec *row.BlockSpec, err error) error {
	switch {
	case err != nil:
		return err
	case spec == nil:
		return notFound(missing.blockSpec)
	}
	out, err := appendJSON(x.out, blockSpecObject(spec))
	if err != nil {
		return err
	}
	x.out = out
	return x.send(status)
}

func deleteBlockSpec(_ *Server, x *exchange) error {
	return x.delete(missing.blockSpec, func(e *command.Envelope, d *command.Delete) {
		e.Command = &command.Envelope_DeleteBlockSpec{DeleteBlockSpec: d}
	})
}

var blockSpecFilterSpec = body.Parameters(
	body.Optional("type", body.TextRef, func(v *blockFilter) **string { return &v.specType }),
	body.Optional("offset", offset, func(v *blockFilter) *int64 { return &v.offset }),
	body.Optional("limit", body.Int, func(v *blockFilter) *int64 { return &v.limit }),
)

// filterBlockSpecs lists by name, then age.
func filterBlockSpecs(_ *Server, x *exchange) error {
	in := blockFilter{page: newPage()}
	if err := decode(x, blockSpecFilterSpec, &in); err != nil {
		return err
	}
	if err := in.check(); err != nil {
		return err
	}
	return x.listBlockSpecs(&in.page, x.byCursor(), func(s *row.BlockSpec) bool {
		return in.specType == nil || s.Type != nil && *s.Type == *in.specType
	})
}

func readBlockSpecVersions(_ *Server, x *exchange) error {
	p := newPage()
	return x.listBlockSpecs(&p, false, func(s *row.BlockSpec) bool { return s.Name == x.path("name") })
}

func (x *exchange) listBlockSpecs(p *page, byCursor bool, want func(*row.BlockSpec) bool) error {
	view, err := x.view()
	if err != nil {
		return err
	}
	defer view.Close()
	var specs []*row.BlockSpec
	err = view.EachBlockSpec(func(s *row.BlockSpec) (bool, error) {
		if want(s) {
			specs = append(specs, s)
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	show := func(b []byte, s *row.BlockSpec) ([]byte, error) { return appendJSON(b, blockSpecObject(s)) }
	if byCursor {
		if specs, err = pageByCursor(x, listBlockSpecs, p, specs, func(s *row.BlockSpec) api.ID { return idOf(s.Id) }); err != nil {
			return err
		}
		return list(x, specs, show)
	}
	slices.SortStableFunc(specs, func(a, b *row.BlockSpec) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Created, b.Created))
	})
	return list(x, cut(p, specs), show)
}

var readBlockSpecVersion = reads(func(x *exchange, view *state.View) error {
	spec, err := view.BlockSpecByName(x.path("name"), x.path("version"))
	return x.answerBlockSpec(200, spec, err)
})
