package api

// Flow is a named program. Names are unique.
type Flow struct {
	ID      ID       `json:"id"`
	Created Time     `json:"created"`
	Updated Time     `json:"updated"`
	Name    string   `json:"name"`
	Tags    []string `json:"tags"`
}

// FlowCreate is the body of POST /flows/.
type FlowCreate struct {
	Name string   `json:"name"`
	Tags []string `json:"tags,omitzero"`
}

// FlowUpdate is the body of PATCH /flows/{id}; nil tags stay.
type FlowUpdate struct {
	Tags []string `json:"tags,omitzero"`
}

// AppendJSON appends the flow's JSON to b.
func (f *Flow) AppendJSON(b []byte) []byte {
	b = append(b, '{')
	b = appendIDField(b, "id", f.ID)
	b = appendTimeField(b, "created", f.Created)
	b = appendTimeField(b, "updated", f.Updated)
	b = appendStringField(b, "name", f.Name)
	b = appendStringsField(b, "tags", f.Tags)
	return append(b, '}')
}

// MarshalJSON encodes the flow.
func (f Flow) MarshalJSON() ([]byte, error) { return f.AppendJSON(make([]byte, 0, 256)), nil }
