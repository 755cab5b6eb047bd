package command

import (
	"encoding/json"

	"github.com/sluice-dev/sluice/fsm/row"
)

// HasSchema reports whether a deployment says what the parameters of its runs have to be.
func HasSchema(d *row.Deployment) bool {
	return len(d.GetParameterSchemaJson()) > 0 && string(d.ParameterSchemaJson) != "null"
}

// Overlay merges two JSON objects, key by key; keys come out sorted. It is how the parameters of a run lie over those of its deployment.
func Overlay(under, over []byte) ([]byte, error) {
	if len(over) == 0 || string(over) == "{}" {
		return under, nil
	}
	if len(under) == 0 || string(under) == "{}" {
		return over, nil
	}
	merged := map[string]json.RawMessage{}
	if err := json.Unmarshal(under, &merged); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(over, &merged); err != nil {
		return nil, err
	}
	return json.Marshal(merged) // sorts the keys
}
