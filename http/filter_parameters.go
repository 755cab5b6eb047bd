package httpapi

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/sluice-dev/sluice/http/internal/body"
)

// parameterCriterion is any_ of a run's parameters, by name: a parameter of the run's own has one of the texts. The text of a value that is
// no string is its JSON, so that who types a filter need not say what type a parameter has.
type parameterCriterion struct{ any map[string][]string }

func (c *parameterCriterion) matches(parameters []byte) bool {
	if c.any == nil {
		return true
	}
	var values map[string]json.RawMessage
	if len(parameters) == 0 || json.Unmarshal(parameters, &values) != nil {
		return len(c.any) == 0
	}
	for name, texts := range c.any {
		value, ok := values[name]
		if !ok || !slices.Contains(texts, parameterText(value)) {
			return false
		}
	}
	return true
}

func parameterText(value json.RawMessage) string {
	var text string
	if value[0] == '"' && json.Unmarshal(value, &text) == nil {
		return text
	}
	var compact bytes.Buffer
	if json.Compact(&compact, value) != nil {
		return string(value)
	}
	return compact.String()
}

func textsByName(d *body.Decoder, n int) (map[string][]string, bool) {
	raw, ok := body.RawObject(d, n)
	if !ok {
		return nil, false
	}
	wanted := map[string][]string{}
	if json.Unmarshal(raw, &wanted) != nil {
		d.Fail("value is not a dict of lists of texts", "type_error", "")
		return nil, false
	}
	return wanted, true
}

var parametersSpec = body.Strict(
	body.Nullable("any_", textsByName, func(v *parameterCriterion) *map[string][]string { return &v.any }),
)
