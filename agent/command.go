package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/sluice-dev/sluice/api"
)

// placeholder stands in an argument of a command for a parameter of the run.
var placeholder = regexp.MustCompile(`\{\{([A-Za-z_][A-Za-z0-9_]*)\}\}`)

// Placeholders returns the parameters that a command's arguments name, each once, in their order.
func Placeholders(arguments []string) []string {
	var names []string
	for _, a := range arguments {
		for _, found := range placeholder.FindAllStringSubmatch(a, -1) {
			if !slices.Contains(names, found[1]) {
				names = append(names, found[1])
			}
		}
	}
	return names
}

// Command reads the command of a deployment's code, as the code says it.
func Command(document api.DataDocument) ([]string, error) {
	var command []string
	if err := json.Unmarshal([]byte(document.Blob), &command); err != nil {
		return nil, fmt.Errorf(`the command of the deployment is no JSON list of strings like ["sh","-c","echo hello"]: %w`, err)
	}
	if len(command) == 0 || command[0] == "" {
		return nil, errors.New("the command of the deployment is empty")
	}
	return command, nil
}

// Arguments puts parameters in the place of {{NAME}} in a command's arguments: strings as they are, other values as JSON. Whatever a
// parameter holds, an argument stays one argument.
func Arguments(arguments []string, parameters json.RawMessage) ([]string, error) {
	if len(Placeholders(arguments)) == 0 {
		return arguments, nil
	}
	values, err := parameterTexts(parameters)
	if err != nil {
		return nil, err
	}
	filled := make([]string, len(arguments))
	var missing error
	for i, a := range arguments {
		filled[i] = placeholder.ReplaceAllStringFunc(a, func(found string) string {
			name := found[2 : len(found)-2]
			value, given := values[name]
			if !given {
				missing = errors.Join(missing, fmt.Errorf("the command needs the parameter %q, which the flow run does not have", name))
			}
			return value
		})
	}
	return filled, missing
}
