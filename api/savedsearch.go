package api

import "encoding/json"

// SavedSearch is a named filter of the UI. Names are unique.
type SavedSearch struct {
	ID      ID                  `json:"id"`
	Created Time                `json:"created"`
	Updated Time                `json:"updated"`
	Name    string              `json:"name"`
	Filters []SavedSearchFilter `json:"filters"`
}

// SavedSearchFilter is one criterion, opaque to the server.
type SavedSearchFilter struct {
	Object    string          `json:"object"`
	Property  string          `json:"property"`
	Type      string          `json:"type"`
	Operation string          `json:"operation"`
	Value     json.RawMessage `json:"value"`
}

// SavedSearchCreate is the body of PUT /saved_searches/.
type SavedSearchCreate struct {
	Name    string              `json:"name"`
	Filters []SavedSearchFilter `json:"filters,omitzero"`
}

// MarshalJSON encodes the search; without filters the list is empty, not null.
func (s SavedSearch) MarshalJSON() ([]byte, error) {
	type plain SavedSearch
	if s.Filters == nil {
		s.Filters = []SavedSearchFilter{}
	}
	return json.Marshal(plain(s))
}
