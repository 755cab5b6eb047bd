package fsm

import (
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
)

// putSavedSearch keeps the id and the time of creation of a search of that name.
func (a *applier) putSavedSearch(c *command.PutSavedSearch) (*command.Result, error) {
	stored, err := a.tx.SavedSearchByName(c.Name)
	if err != nil {
		return nil, err
	}
	if stored == nil {
		err := a.tx.NewSavedSearch(&row.SavedSearch{Id: c.Id, Created: a.now, Updated: a.now, Name: c.Name, FiltersJson: c.FiltersJson}).Save()
		return saved(err, created(c.Id), "a saved search with this id exists")
	}
	e, err := a.tx.EditSavedSearch(stored.Id)
	if err != nil {
		return nil, err
	}
	e.Row.FiltersJson, e.Row.Updated = c.FiltersJson, a.now
	return ok(stored.Id), e.Save()
}

func (a *applier) deleteSavedSearch(id []byte) (*command.Result, error) {
	e, err := a.tx.EditSavedSearch(id)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return notFound("Saved search"), nil
	}
	return ok(id), e.Delete()
}
