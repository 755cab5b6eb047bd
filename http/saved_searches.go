package httpapi

import (
	"encoding/json"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
	"github.com/sluice-dev/sluice/http/internal/body"
)

var searchFilterSpec = body.Strict(
	body.Required("object", body.Text, func(v *api.SavedSearchFilter) *string { return &v.Object }),
	body.Required("property", body.Text, func(v *api.SavedSearchFilter) *string { return &v.Property }),
	body.Required("type", body.Text, func(v *api.SavedSearchFilter) *string { return &v.Type }),
	body.Required("operation", body.Text, func(v *api.SavedSearchFilter) *string { return &v.Operation }),
	body.Required("value", body.Raw, func(v *api.SavedSearchFilter) *[]byte { return (*[]byte)(&v.Value) }).OrNull(),
)

var putSearchSpec = body.Strict(
	body.Required("name", body.Text, func(v *api.SavedSearchCreate) *string { return &v.Name }),
	body.Optional("filters", body.List(searchFilterSpec.Kind()), func(v *api.SavedSearchCreate) *[]api.SavedSearchFilter { return &v.Filters }),
)

// putSavedSearch stores a search under its name, or replaces the filters of the one that is there.
func putSavedSearch(_ *Server, x *exchange) error {
	in := api.SavedSearchCreate{}
	if err := decode(x, putSearchSpec, &in); err != nil {
		return err
	}
	filters, err := json.Marshal(in.Filters)
	if err != nil {
		return err
	}
	e := x.envelope()
	e.Command = &command.Envelope_PutSavedSearch{PutSavedSearch: &command.PutSavedSearch{Id: newID(), Name: in.Name, FiltersJson: filters}}
	return x.proposeObject(e, missing.savedSearch, "", func(view *state.View, r *command.Result) error {
		search, err := view.SavedSearch(idOf(r.Id))
		return x.answerSearch(created(r), search, err)
	})
}

func (x *exchange) answerSearch(status int, r *row.SavedSearch, err error) error {
	switch {
	case err != nil:
		return err
	case r == nil:
		return notFound(missing.savedSearch)
	}
	if x.out, err = appendSearch(x.out, r); err != nil {
		return err
	}
	return x.send(status)
}

func appendSearch(b []byte, r *row.SavedSearch) ([]byte, error) {
	search := api.SavedSearch{ID: idOf(r.Id), Created: timeOf(r.Created), Updated: timeOf(r.Updated), Name: r.Name}
	if err := json.Unmarshal(r.FiltersJson, &search.Filters); err != nil {
		return b, err
	}
	return appendJSON(b, search)
}

var readSavedSearch = readsOne(func(x *exchange, view *state.View, id api.ID) error {
	search, err := view.SavedSearch(id)
	return x.answerSearch(200, search, err)
})

func deleteSavedSearch(_ *Server, x *exchange) error {
	return x.delete(missing.savedSearch, func(e *command.Envelope, d *command.Delete) {
		e.Command = &command.Envelope_DeleteSavedSearch{DeleteSavedSearch: d}
	})
}

func filterSavedSearches(_ *Server, x *exchange) error {
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
	var searches []*row.SavedSearch
	if x.byCursor() {
		err = view.EachSavedSearch(func(r *row.SavedSearch) (bool, error) {
			searches = append(searches, r)
			return true, x.ctx.Err()
		})
		if err == nil {
			searches, err = pageByCursor(x, listSearches, &p, searches, func(r *row.SavedSearch) api.ID { return idOf(r.Id) })
		}
	} else {
		err = view.EachSavedSearch(func(r *row.SavedSearch) (bool, error) { return takeFrom(&p, &searches, r), x.ctx.Err() })
	}
	if err != nil {
		return err
	}
	return list(x, searches, appendSearch)
}
