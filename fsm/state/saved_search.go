package state

import (
	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/row"
)

const idxSavedSearchName = 53

var savedSearches = &table[row.SavedSearch, *row.SavedSearch]{
	number: 36, name: "saved_search",
	key: func(dst []byte, r *row.SavedSearch) []byte { return appendID(dst, r.Id) },
	indexes: []index[*row.SavedSearch]{
		{idxSavedSearchName, "name", true, first, func(r *row.SavedSearch, add func([]byte)) {
			add(appendText(indexKey(idxSavedSearchName), r.Name))
		}},
	},
}

// SavedSearch returns a saved search by id.
func (v *View) SavedSearch(id api.ID) (*row.SavedSearch, error) {
	return savedSearches.get(v.r, appendID(prefix(kindRow, savedSearches.number), id[:]))
}

// SavedSearchByName returns the saved search of that name.
func (v *View) SavedSearchByName(name string) (*row.SavedSearch, error) {
	return savedSearches.byIndex(v.r, appendText(indexKey(idxSavedSearchName), name))
}

// EachSavedSearch walks all saved searches by name.
func (v *View) EachSavedSearch(fn func(*row.SavedSearch) (bool, error)) error {
	under := indexKey(idxSavedSearchName)
	return savedSearches.eachByIndex(v.r, under, after(under), false, fn)
}

// SearchEdit is a saved search loaded for change.
type SearchEdit = Edit[row.SavedSearch, *row.SavedSearch]

// NewSavedSearch is a search to be saved.
func (tx *Tx) NewSavedSearch(r *row.SavedSearch) *SearchEdit { return insert(tx, savedSearches, r) }

// EditSavedSearch loads a search for change; nil when there is none.
func (tx *Tx) EditSavedSearch(id []byte) (*SearchEdit, error) {
	return edit(tx, savedSearches, appendID(prefix(kindRow, savedSearches.number), id))
}
