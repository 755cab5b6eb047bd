package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/api"
)

// parameterSchema is the part of a deployment's schema that command lines need. The server checks values against all of it.
type parameterSchema struct {
	Type        any                         `json:"type"` // a text or a list of them
	Description string                      `json:"description"`
	Position    int                         `json:"position"` // of Python's schemas
	Enum        []json.RawMessage           `json:"enum"`
	AnyOf       []*parameterSchema          `json:"anyOf"`
	OneOf       []*parameterSchema          `json:"oneOf"`
	Ref         string                      `json:"$ref"`
	Definitions map[string]*parameterSchema `json:"$defs"`
	Properties  map[string]*parameterSchema `json:"properties"`
	Required    []string                    `json:"required"`
	Default     json.RawMessage             `json:"default"`
}

// schemaOf returns the schema of a deployment's parameters; an empty one when there is none that can be read.
func schemaOf(d api.Deployment) *parameterSchema {
	s := &parameterSchema{}
	if d.DeploymentNative == nil || json.Unmarshal(d.ParameterSchema, s) != nil {
		return &parameterSchema{}
	}
	return s
}

// types are the JSON types a parameter may have; none when anything goes.
func (s *parameterSchema) types(name string) []string {
	return s.typesOf(s.Properties[name], 0)
}

func (s *parameterSchema) typesOf(p *parameterSchema, depth int) []string {
	if p == nil || depth > 8 {
		return nil
	}
	if key, local := strings.CutPrefix(p.Ref, "#/$defs/"); local {
		return s.typesOf(s.Definitions[key], depth+1)
	}
	var types []string
	switch t := p.Type.(type) {
	case string:
		types = append(types, t)
	case []any:
		for _, one := range t {
			types = append(types, fmt.Sprint(one))
		}
	}
	for _, option := range slices.Concat(p.AnyOf, p.OneOf) {
		types = append(types, s.typesOf(option, depth+1)...)
	}
	return types
}

// value reads the text of a parameter: JSON if the parameter may be that, else text.
func (s *parameterSchema) value(name, text string) (json.RawMessage, error) {
	raw := json.RawMessage(text)
	types := s.types(name)
	if json.Valid(raw) && (!slices.Contains(types, "string") || slices.ContainsFunc(types, func(t string) bool { return isType(raw, t) })) {
		return raw, nil
	}
	return json.Marshal(text)
}

// isType reports whether a JSON text is of a type other than string: quoted texts would lose their quotes on a command line.
func isType(raw json.RawMessage, name string) bool {
	switch first := strings.TrimSpace(string(raw))[0]; first {
	case '{':
		return name == "object"
	case '[':
		return name == "array"
	case 't', 'f':
		return name == "boolean"
	case 'n':
		return name == "null"
	case '"':
		return false
	}
	return name == "number" || name == "integer"
}

// names are the parameters in the order of the flow, those that are required first.
func (s *parameterSchema) names() []string {
	names := slices.Collect(maps.Keys(s.Properties))
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(s.rank(a), s.rank(b)), cmp.Compare(s.Properties[a].Position, s.Properties[b].Position), cmp.Compare(a, b))
	})
	return names
}

func (s *parameterSchema) rank(name string) int {
	if slices.Contains(s.Required, name) {
		return 0
	}
	return 1
}

// words are the values to offer for a parameter.
func (s *parameterSchema) words(name string) []string {
	p := s.Properties[name]
	if p == nil {
		return nil
	}
	var words []string
	for _, value := range p.Enum {
		var text string
		if json.Unmarshal(value, &text) != nil {
			text = string(value)
		}
		words = append(words, text)
	}
	if len(words) == 0 && slices.Contains(s.types(name), "boolean") {
		words = []string{"true", "false"}
	}
	return words
}

// parameters joins --params and --param; nil without either.
func (a *app) parameters(given runFlags, schema *parameterSchema) (json.RawMessage, error) {
	if given.file == "" && len(given.params) == 0 {
		return nil, nil
	}
	values := map[string]json.RawMessage{}
	if given.file != "" {
		content := []byte(given.file)
		var err error
		if given.file == "-" {
			content, err = io.ReadAll(a.in)
		} else if path, found := strings.CutPrefix(given.file, "@"); found {
			content, err = os.ReadFile(path)
		}
		if err != nil {
			return nil, fmt.Errorf("read --params: %w", err)
		}
		if err := json.Unmarshal(content, &values); err != nil {
			return nil, usagef("--params is not a JSON object: %w", err)
		}
	}
	for _, pair := range given.params {
		key, value, found := strings.Cut(pair, "=")
		if !found || key == "" {
			return nil, usagef("--param is '%s'; it is KEY=VALUE", pair)
		}
		raw, err := schema.value(key, value)
		if err != nil {
			return nil, fmt.Errorf("encode --param %s: %w", key, err)
		}
		values[key] = raw
	}
	return json.Marshal(values)
}

// completeParameters offers the parameters of the deployment that the command line names.
func completeParameters(a *app) cobra.CompletionFunc {
	return func(command *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		const directive = cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
		if len(args) != 1 || a.loadSettings(command) != nil {
			return nil, directive
		}
		c, err := a.connect(0)
		if err != nil {
			return nil, directive
		}
		ctx, cancel := context.WithTimeout(command.Context(), completionTime)
		defer cancel()
		d, err := findDeployment(ctx, c, args[0])
		if err != nil {
			return nil, directive
		}
		schema := schemaOf(d.Deployment)
		var offered []string
		if name, _, valued := strings.Cut(begun, "="); valued {
			for _, word := range schema.words(name) {
				offered = append(offered, name+"="+word)
			}
			return offered, cobra.ShellCompDirectiveNoFileComp
		}
		for _, name := range schema.names() {
			about := schema.Properties[name].Description
			if about == "" {
				about = strings.Join(schema.types(name), " or ")
			}
			offered = append(offered, name+"=\t"+about)
		}
		return offered, directive
	}
}
