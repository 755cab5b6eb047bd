package httpapi

import (
	"encoding/json"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/http/internal/body"
)

func inputKind(kind string, field body.Field[api.TaskInput]) body.Kind[api.TaskInput] {
	return body.Strict(
		body.Optional("input_type", body.Constant(kind), func(v *api.TaskInput) *string { return &v.InputType }),
		field,
	).Defaults(func(v *api.TaskInput) { v.InputType = kind }).Kind()
}

var taskInputMembers = body.Members(body.List(body.OneOf(
	inputKind(api.InputTaskRun, body.Required("id", body.UUID, func(v *api.TaskInput) *[16]byte {
		v.ID = new(api.ID)
		return (*[16]byte)(v.ID)
	})),
	inputKind(api.InputParameter, body.Required("name", body.TextRef, func(v *api.TaskInput) **string { return &v.Name })),
	inputKind(api.InputConstant, body.Required("type", body.TextRef, func(v *api.TaskInput) **string { return &v.Type })),
)))

// taskInputsKind takes the inputs of a task run in any of the forms that are accepted, and keeps them in the one that is answered.
func taskInputsKind(d *body.Decoder, n int) ([]byte, bool) {
	members, ok := taskInputMembers(d, n)
	if !ok {
		return nil, false
	}
	inputs := make(map[string][]api.TaskInput, len(members))
	for _, m := range members {
		inputs[m.Name] = m.Value
	}
	text, err := json.Marshal(inputs)
	if err != nil {
		d.Fail("value is not valid JSON", "value_error", "")
		return nil, false
	}
	return text, true
}
