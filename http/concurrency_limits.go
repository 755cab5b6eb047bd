package httpapi

import (
	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
)

// putConcurrencyLimit always answers 200, as Orion does.
func putConcurrencyLimit(_ *Server, x *exchange) error {
	c := &command.PutConcurrencyLimit{Id: newID()}
	if err := decode(x, putLimitSpec, c); err != nil {
		return err
	}
	e := x.envelope()
	e.Command = &command.Envelope_PutConcurrencyLimit{PutConcurrencyLimit: c}
	return x.proposeObject(e, missing.limit, "", func(view *state.View, r *command.Result) error {
		limit, err := view.ConcurrencyLimit(idOf(r.Id))
		return x.answerLimit(view, limit, err)
	})
}

func (x *exchange) answerLimit(view *state.View, limit *row.ConcurrencyLimit, err error) error {
	switch {
	case err != nil:
		return err
	case limit == nil:
		return notFound(missing.limit)
	}
	out, err := appendLimit(x.out, view, limit)
	if err != nil {
		return err
	}
	x.out = out
	return x.send(200)
}

func appendLimit(b []byte, view *state.View, limit *row.ConcurrencyLimit) ([]byte, error) {
	slots, err := view.Slots(idOf(limit.Id))
	if err != nil {
		return b, err
	}
	return appendJSON(b, limitObject(limit, slots))
}

var readConcurrencyLimit = readsOne(func(x *exchange, view *state.View, id api.ID) error {
	limit, err := view.ConcurrencyLimit(id)
	return x.answerLimit(view, limit, err)
})

var readConcurrencyLimitByTag = reads(func(x *exchange, view *state.View) error {
	limit, err := view.ConcurrencyLimitByTag(x.path("tag"))
	return x.answerLimit(view, limit, err)
})

func deleteConcurrencyLimit(_ *Server, x *exchange) error {
	id, err := x.pathID("id")
	if err != nil {
		return err
	}
	return x.deleteLimit(id[:])
}

func deleteConcurrencyLimitByTag(_ *Server, x *exchange) error {
	view, err := x.view()
	if err != nil {
		return err
	}
	limit, err := view.ConcurrencyLimitByTag(x.path("tag"))
	view.Close()
	switch {
	case err != nil:
		return err
	case limit == nil:
		return notFound(missing.limit)
	}
	return x.deleteLimit(limit.Id)
}

func (x *exchange) deleteLimit(id []byte) error {
	e := x.envelope()
	e.Command = &command.Envelope_DeleteConcurrencyLimit{DeleteConcurrencyLimit: &command.Delete{Id: id}}
	r, _, err := x.propose(e)
	if err != nil {
		return err
	}
	if err := outcome(r, missing.limit, ""); err != nil {
		return err
	}
	return x.null(200)
}

func filterConcurrencyLimits(_ *Server, x *exchange) error {
	p := newPage()
	if err := decode(x, pageSpec, &p); err != nil {
		return err
	}
	if err := p.check(); err != nil {
		return err
	}
	view, err := x.view()
	if err != nil {
		return err
	}
	defer view.Close()
	var limits []*row.ConcurrencyLimit
	if x.byCursor() {
		err = view.EachConcurrencyLimit(func(r *row.ConcurrencyLimit) (bool, error) {
			limits = append(limits, r)
			return true, x.ctx.Err()
		})
		if err == nil {
			limits, err = pageByCursor(x, listLimits, &p, limits, func(r *row.ConcurrencyLimit) api.ID { return idOf(r.Id) })
		}
	} else {
		err = view.EachConcurrencyLimit(func(l *row.ConcurrencyLimit) (bool, error) { return takeFrom(&p, &limits, l), nil })
	}
	if err != nil {
		return err
	}
	return list(x, limits, func(b []byte, l *row.ConcurrencyLimit) ([]byte, error) { return appendLimit(b, view, l) })
}
