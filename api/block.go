package api

import "encoding/json"

// BlockSpec describes one kind of block. (name, version) is unique.
type BlockSpec struct {
	ID      ID              `json:"id"`
	Created Time            `json:"created"`
	Updated Time            `json:"updated"`
	Name    string          `json:"name"`
	Version string          `json:"version"`
	Type    *string         `json:"type"`
	Fields  json.RawMessage `json:"fields"` // a JSON schema
}

// BlockTypeStorage is the type of the block specs that describe storages.
const BlockTypeStorage = "STORAGE"

// BlockSpecCreate is the body of POST /block_specs/.
type BlockSpecCreate struct {
	Name    string          `json:"name"`
	Version string          `json:"version"`
	Type    *string         `json:"type,omitempty"`
	Fields  json.RawMessage `json:"fields,omitempty"`
}

// Block is a named configuration of the kind its spec describes. Orion never fills created and updated.
type Block struct {
	ID          ID              `json:"id"`
	Created     *Time           `json:"created"`
	Updated     *Time           `json:"updated"`
	Name        string          `json:"name"`
	Data        json.RawMessage `json:"data"`
	BlockSpecID ID              `json:"block_spec_id"`
	BlockSpec   *BlockSpec      `json:"block_spec"`
}

// BlockCreate is the body of POST /blocks/.
type BlockCreate struct {
	Name        string          `json:"name"`
	Data        json.RawMessage `json:"data,omitempty"`
	BlockSpecID ID              `json:"block_spec_id"`
}

// BlockUpdate is the body of PATCH /blocks/{id}; absent fields stay.
type BlockUpdate struct {
	Name Optional[string] `json:"name,omitzero"`
	Data json.RawMessage  `json:"data,omitempty"`
}

// BlockFilterRequest is the body of POST /blocks/filter.
type BlockFilterRequest struct {
	BlockSpecType *string `json:"block_spec_type,omitempty"`
	Page
}

// BlockSpecFilterRequest is the body of POST /block_specs/filter.
type BlockSpecFilterRequest struct {
	Type *string `json:"type,omitempty"`
	Page
}

// MarshalJSON encodes the spec; without fields it has the empty object.
func (s BlockSpec) MarshalJSON() ([]byte, error) {
	type plain BlockSpec
	if len(s.Fields) == 0 {
		s.Fields = json.RawMessage("{}")
	}
	return json.Marshal(plain(s))
}

// MarshalJSON encodes the block; without data it has the empty object.
func (b Block) MarshalJSON() ([]byte, error) {
	type plain Block
	if len(b.Data) == 0 {
		b.Data = json.RawMessage("{}")
	}
	return json.Marshal(plain(b))
}
