package agent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/sluice-dev/sluice/storage/relay"
)

// environment is the environment of a flow process.
type environment struct{ variables map[string]string }

// baseEnvironment is what every flow process gets of the agent's own environment.
func baseEnvironment() environment { return inherited(os.Environ()) }

// inherited leaves out of NAME=VALUE entries what is the agent's alone.
func inherited(entries []string) environment {
	e := environment{map[string]string{}}
	for _, entry := range entries {
		name, value, _ := strings.Cut(entry, "=")
		e.variables[name] = value
	}
	// Of another run, if this agent itself was started by a flow.
	delete(e.variables, "SLUICE_LEASE_TOKEN")
	delete(e.variables, "SLUICE_FLOW_RUN_ID")
	delete(e.variables, relay.VariableURL)
	delete(e.variables, relay.VariableToken)
	// Of a server on this machine, which may share a file of settings with the agent: with these a flow reads every secret.
	delete(e.variables, "SLUICE_SECRETS_KEY")
	delete(e.variables, "SLUICE_BOOTSTRAP_TOKEN")
	// Nor are they told where such files lie.
	for _, setting := range []string{"SLUICE_SECRETS_KEY_FILE", "SLUICE_BOOTSTRAP_TOKEN_FILE", "SLUICE_GOSSIP_KEY_FILE", "SLUICE_TLS_KEY", "SLUICE_HTTP_TLS_KEY"} {
		delete(e.variables, setting)
	}
	// What a service manager told the agent: flows must not speak for it.
	delete(e.variables, "NOTIFY_SOCKET")
	delete(e.variables, "WATCHDOG_PID")
	delete(e.variables, "WATCHDOG_USEC")
	return e
}

func (e environment) set(name, value string) { e.variables[name] = value }

func (e environment) list() []string {
	list := make([]string, 0, len(e.variables))
	for name, value := range e.variables {
		list = append(list, name+"="+value)
	}
	slices.Sort(list)
	return list
}

// prepend puts folders in front of a variable like PATH.
func (e environment) prepend(name, folder string) {
	if old := e.variables[name]; old != "" {
		folder += string(os.PathListSeparator) + old
	}
	e.variables[name] = folder
}

// setParameters tells a command its parameters.
func (e environment) setParameters(parameters json.RawMessage) error {
	variables, err := ParameterVariables(parameters)
	for name, value := range variables {
		e.set(name, value)
	}
	return err
}

// ParameterVariables are the environment variables in which a command finds the parameters of its run, wherever it runs:
// SLUICE_PARAMETERS holds all as a JSON object, SLUICE_PARAM_NAME each, strings as they are, other values as JSON.
func ParameterVariables(parameters json.RawMessage) (map[string]string, error) {
	texts, err := parameterTexts(parameters)
	if err != nil {
		return nil, err
	}
	variables := map[string]string{"SLUICE_PARAMETERS": "{}"}
	if len(texts) > 0 {
		variables["SLUICE_PARAMETERS"] = string(parameters)
	}
	for name, text := range texts {
		variables["SLUICE_PARAM_"+variableName(name)] = text
	}
	return variables, nil
}

// parameterTexts are parameters by name: strings as they are, other values as JSON.
func parameterTexts(parameters json.RawMessage) (map[string]string, error) {
	var values map[string]json.RawMessage
	if len(parameters) == 0 {
		return nil, nil
	}
	if err := json.Unmarshal(parameters, &values); err != nil {
		return nil, fmt.Errorf("the parameters of the flow run are no JSON object: %w", err)
	}
	texts := make(map[string]string, len(values))
	for name, raw := range values {
		var text string
		if json.Unmarshal(raw, &text) != nil || bytes.Equal(raw, []byte("null")) {
			text = string(raw)
		}
		if strings.ContainsRune(text, 0) {
			return nil, fmt.Errorf("the parameter %q holds a zero byte, which neither variables nor arguments can", name)
		}
		texts[name] = text
	}
	return texts, nil
}

// variableName makes a parameter's name one that shells accept.
func variableName(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || (r >= 'A' && r <= 'Z') || (r >= '0' && r <= '9') {
			return r
		}
		return '_'
	}, strings.ToUpper(name))
}
