package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sluice-dev/sluice/api"
)

// spec describes a deployment to make, as the Python SDK or a YAML file gives it.
type spec struct {
	Name            string                   `json:"name"`
	FlowName        string                   `json:"flow_name,omitempty"`
	FlowLocation    string                   `json:"flow_location,omitempty"`
	FlowText        string                   `json:"flow_text,omitempty"`
	FlowStorage     string                   `json:"flow_storage,omitempty"` // name or id; "" is the default
	Command         []string                 `json:"-"`                      // a plain command instead of a flow
	Script          *script                  `json:"-"`                      // a script instead of a flow
	Program         *builtProgram            `json:"-"`                      // a program of the Go SDK instead of a Python flow
	Parameters      json.RawMessage          `json:"parameters,omitempty"`
	Tags            []string                 `json:"tags,omitempty"`
	Schedule        *api.Schedule            `json:"schedule,omitempty"`
	Schedules       []api.ScheduleCreate     `json:"schedules,omitzero"` // all of them, instead of Schedule; nil: nothing is said
	FlowRunner      *api.FlowRunnerSettings  `json:"flow_runner,omitempty"`
	Catchup         api.Catchup              `json:"catchup,omitempty"`
	CatchupLimit    *int                     `json:"catchup_limit,omitempty"`
	ParameterSchema json.RawMessage          `json:"parameter_schema,omitempty"`
	Retention       *api.DeploymentRetention `json:"retention,omitempty"`
	Policy          *api.Policy              `json:"policy,omitempty"`
	File            string                   `json:"file,omitempty"`
	Line            int                      `json:"line,omitempty"`
	Error           *specError               `json:"error,omitempty"`
}

// specError is what is wrong with a spec, and where.
type specError struct {
	Message string `json:"message"`
	File    string `json:"file"`
	Line    int    `json:"line"`
}

func (e *specError) Error() string {
	switch {
	case e.File == "":
		return e.Message
	case e.Line == 0:
		return e.File + ": " + e.Message
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Message)
}

// readYAMLSpecs reads specs from a YAML file: one mapping, a list of them, or several documents of either.
// JSON is YAML too.
func readYAMLSpecs(path string) ([]spec, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read deployment specifications: %w", err)
	}
	return yamlSpecs(content, path)
}

// yamlSpecs reads specs from what a file of that name holds.
func yamlSpecs(content []byte, path string) ([]spec, error) {
	decoder := yaml.NewDecoder(strings.NewReader(string(content)))
	var specs []spec
	for {
		var document yaml.Node
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			return specs, nil
		}
		if err != nil {
			line, reason := yamlProblem(string(content), err)
			return nil, &specError{Message: reason, File: path, Line: line}
		}
		if len(document.Content) == 0 {
			continue
		}
		items := []*yaml.Node{document.Content[0]}
		if items[0].Kind == yaml.SequenceNode {
			items = items[0].Content
		}
		for _, item := range items {
			specs = append(specs, specOfNode(item, path))
		}
	}
}

// specKeys are the keys of a spec in YAML.
var specKeys = []string{
	"name", "flow_name", "flow_location", "flow_storage", "command", "script", "arguments", "parameters", "parameter_schema", "tags", "schedule", "schedules", "flow_runner", "catchup", "catchup_limit", "retention",
	"concurrency_limit", "on_conflict", "overlap", "dst", "on_crash", "queue_timeout_seconds", "run_timeout_seconds", "priority",
}

// specOfNode reads one spec; what is wrong with it is in its Error.
func specOfNode(node *yaml.Node, path string) spec {
	s := spec{File: path, Line: node.Line}
	reader := specReader{spec: &s, path: path}
	reader.read(node)
	if s.Error == nil && reader.err != nil {
		s.Error = reader.err
	}
	return s
}

// specReader keeps the first error with its line.
type specReader struct {
	spec *spec
	path string
	err  *specError
}

func (r *specReader) fail(node *yaml.Node, format string, args ...any) {
	if r.err == nil {
		r.err = &specError{Message: fmt.Sprintf(format, args...), File: r.path, Line: node.Line}
	}
}

func (r *specReader) read(node *yaml.Node) {
	if node.Kind != yaml.MappingNode {
		r.fail(node, "expected a deployment specification with keys like name and flow_location")
		return
	}
	s := r.spec
	var arguments *yaml.Node
	for i := 0; i < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		if value.Tag == "!!null" {
			continue
		}
		switch key.Value {
		case "name":
			s.Name = r.text(key.Value, value)
		case "flow_name":
			s.FlowName = r.text(key.Value, value)
		case "flow_location":
			s.FlowLocation = r.text(key.Value, value)
		case "flow_storage":
			s.FlowStorage = r.text(key.Value, value)
		case "command":
			s.Command = r.command(value)
		case "script":
			s.Script = r.script(value)
		case "arguments":
			arguments = value
		case "parameter_schema":
			s.ParameterSchema = r.object(key.Value, value)
		case "tags":
			s.Tags = r.texts(key.Value, value)
		case "parameters":
			s.Parameters = r.object(key.Value, value)
		case "schedule":
			s.Schedule = r.schedule(value)
		case "schedules":
			s.Schedules = r.schedules(value)
		case "flow_runner":
			s.FlowRunner = r.flowRunner(value)
		case "catchup":
			s.Catchup = api.Catchup(r.text(key.Value, value))
			if !slices.Contains([]api.Catchup{api.CatchupSkip, api.CatchupLatest, api.CatchupAll}, s.Catchup) {
				r.fail(value, "catchup is '%s'; it is one of skip, latest, all", s.Catchup)
			}
		case "catchup_limit":
			limit := 0
			if err := value.Decode(&limit); err != nil || limit < 1 {
				r.fail(value, "catchup_limit must be a number from 1 on")
			}
			s.CatchupLimit = &limit
		case "retention":
			s.Retention = r.retention(value)
		case "concurrency_limit", "on_conflict", "overlap", "dst", "on_crash", "queue_timeout_seconds", "run_timeout_seconds", "priority":
			r.policy(key.Value, value)
		default:
			r.fail(key, "unknown key '%s'; known are %s", key.Value, strings.Join(specKeys, ", "))
		}
	}
	switch {
	case s.Name == "":
		r.fail(node, "name is missing")
	case s.FlowLocation == "" && !s.plain():
		r.fail(node, "deployment '%s' has neither flow_location nor command nor script", s.Name)
	case s.FlowLocation != "" && s.plain() || s.Command != nil && s.Script != nil:
		r.fail(node, "deployment '%s' has more than one of flow_location, command and script; one of them is what it runs", s.Name)
	case s.FlowStorage != "" && s.Command != nil:
		r.fail(node, "flow_storage is where code is kept; a command has none")
	case arguments != nil && s.Script == nil:
		r.fail(arguments, "arguments are those of a script; a command has its own")
	case s.ParameterSchema != nil && !s.plain():
		r.fail(node, "parameter_schema is for commands and scripts: that of a flow comes from its code")
	case s.Schedule != nil && s.Schedules != nil:
		r.fail(node, "deployment '%s' has both schedule and schedules; schedules alone are all that it will have", s.Name)
	}
	if !s.plain() {
		return
	}
	if s.FlowName == "" {
		s.FlowName = s.Name
	}
	if arguments != nil && s.Script != nil {
		s.Script.arguments = r.texts("arguments", arguments)
	}
	r.placeholders(node)
}

// retention is how long what has finished is kept: runs and logs, each with max_age and max_count.
func (r *specReader) retention(node *yaml.Node) *api.DeploymentRetention {
	out := &api.DeploymentRetention{}
	r.each("retention", node, func(key, value *yaml.Node) {
		rule := &api.RetentionRule{}
		switch key.Value {
		case "runs":
			out.Runs = rule
		case "logs":
			out.Logs = rule
		default:
			r.fail(key, "unknown key '%s' of retention; known are runs, logs", key.Value)
			return
		}
		r.each("retention."+key.Value, value, func(bound, value *yaml.Node) {
			switch bound.Value {
			case "max_age":
				age, err := api.ParseAge(value.Value)
				if err != nil {
					r.fail(value, "retention.%s.max_age is '%s'; %v", key.Value, value.Value, err)
				}
				rule.MaxAge = &age
			case "max_count":
				count := int64(0)
				if value.Value != "none" && (value.Decode(&count) != nil || count < 0) {
					r.fail(value, "retention.%s.max_count is '%s'; it is a number, or none", key.Value, value.Value)
				}
				rule.MaxCount = &count
			default:
				r.fail(bound, "unknown key '%s' of retention.%s; known are max_age, max_count", bound.Value, key.Value)
			}
		})
	})
	return out
}

// each calls fn for the pairs of a mapping.
func (r *specReader) each(name string, node *yaml.Node, fn func(key, value *yaml.Node)) {
	if node.Kind != yaml.MappingNode {
		r.fail(node, "%s must be a mapping", name)
		return
	}
	for i := 0; i < len(node.Content); i += 2 {
		if node.Content[i+1].Tag != "!!null" {
			fn(node.Content[i], node.Content[i+1])
		}
	}
}

func (r *specReader) text(key string, node *yaml.Node) string {
	if node.Kind != yaml.ScalarNode {
		r.fail(node, "%s must be a text", key)
	}
	return node.Value
}

func (r *specReader) texts(key string, node *yaml.Node) []string {
	if node.Kind != yaml.SequenceNode {
		r.fail(node, "%s must be a list of texts", key)
		return nil
	}
	list := []string{}
	for _, item := range node.Content {
		list = append(list, r.text(key, item))
	}
	return list
}

// command is a list of program and arguments; one text is run by a shell.
func (r *specReader) command(node *yaml.Node) []string {
	if node.Kind == yaml.ScalarNode && node.Value != "" {
		return []string{"sh", "-c", node.Value}
	}
	list := r.texts("command", node)
	if len(list) == 0 {
		r.fail(node, "command is empty")
		return []string{}
	}
	return list
}

func (r *specReader) object(key string, node *yaml.Node) json.RawMessage {
	if node.Kind != yaml.MappingNode {
		r.fail(node, "%s must be a mapping of names to values", key)
		return nil
	}
	encoded, err := nodeJSON(node)
	if err != nil {
		r.fail(node, "%s: %v", key, err)
	}
	return encoded
}

func (r *specReader) schedule(node *yaml.Node) *api.Schedule {
	encoded, err := nodeJSON(node)
	if err != nil {
		r.fail(node, "schedule: %v", err)
		return nil
	}
	schedule := &api.Schedule{}
	if err := json.Unmarshal(encoded, schedule); err != nil {
		r.fail(node, "schedule: %s", strings.TrimPrefix(strings.TrimPrefix(err.Error(), "decode schedule: "), "json: "))
		return nil
	}
	if schedule.Interval != nil && schedule.Interval.Interval <= 0 {
		r.fail(node, "schedule: the interval must be positive")
	}
	return schedule
}

// schedules are all schedules of a deployment: each a schedule with, beside its own keys, name and active.
func (r *specReader) schedules(node *yaml.Node) []api.ScheduleCreate {
	all := []api.ScheduleCreate{}
	if node.Kind != yaml.SequenceNode {
		r.fail(node, "schedules must be a list; each has cron, interval or rrule, and may have name and active")
		return all
	}
	for _, item := range node.Content {
		if item.Kind != yaml.MappingNode {
			r.fail(item, "schedules: expected a mapping with cron, interval or rrule, and perhaps name and active")
			return all
		}
		one, bare := api.ScheduleCreate{}, *item
		bare.Content = nil
		r.each("schedules", item, func(key, value *yaml.Node) {
			switch key.Value {
			case "name":
				one.Name = r.text("schedules.name", value)
			case "active":
				active := false
				if err := value.Decode(&active); err != nil {
					r.fail(value, "schedules.active is '%s'; it is true or false", value.Value)
				}
				one.Active = &active
			default:
				bare.Content = append(bare.Content, key, value)
			}
		})
		if slices.ContainsFunc(all, func(o api.ScheduleCreate) bool { return o.Name != "" && o.Name == one.Name }) {
			r.fail(item, "two schedules are called '%s'", one.Name)
		}
		if schedule := r.schedule(&bare); schedule != nil {
			one.Schedule = *schedule
			all = append(all, one)
		}
	}
	return all
}

// flowRunner is a type, or a mapping with type and config.
func (r *specReader) flowRunner(node *yaml.Node) *api.FlowRunnerSettings {
	if node.Kind == yaml.ScalarNode {
		return &api.FlowRunnerSettings{Type: &node.Value}
	}
	encoded, err := nodeJSON(node)
	if err != nil {
		r.fail(node, "flow_runner: %v", err)
		return nil
	}
	decoder := json.NewDecoder(strings.NewReader(string(encoded)))
	decoder.DisallowUnknownFields()
	runner := &api.FlowRunnerSettings{}
	if err := decoder.Decode(runner); err != nil {
		r.fail(node, "flow_runner: %s; it has the keys type and config", strings.TrimPrefix(err.Error(), "json: "))
	}
	return runner
}

// nodeJSON encodes a YAML node as JSON, its keys in their order. Dates become texts as they are written.
func nodeJSON(node *yaml.Node) (json.RawMessage, error) {
	switch node.Kind {
	case yaml.AliasNode:
		return nodeJSON(node.Alias)
	case yaml.MappingNode:
		o := newObject()
		for i := 0; i < len(node.Content); i += 2 {
			value, err := nodeJSON(node.Content[i+1])
			if err != nil {
				return nil, err
			}
			key, err := json.Marshal(node.Content[i].Value)
			if err != nil {
				return nil, err
			}
			o.setRaw(key, value)
		}
		return o.encoded(), nil
	case yaml.SequenceNode:
		parts := make([]string, len(node.Content))
		for i, item := range node.Content {
			value, err := nodeJSON(item)
			if err != nil {
				return nil, err
			}
			parts[i] = string(value)
		}
		return json.RawMessage("[" + strings.Join(parts, ",") + "]"), nil
	}
	if node.Tag == "!!timestamp" || node.Tag == "!!binary" {
		return json.Marshal(node.Value)
	}
	var value any
	if err := node.Decode(&value); err != nil {
		return nil, err
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("line %d: %q has no form in JSON", node.Line, node.Value)
	}
	return encoded, nil
}

// shownPath is a path as people would write it from where they are.
func shownPath(path string) string {
	path = filepath.Clean(path)
	if !filepath.IsAbs(path) {
		return path
	}
	working, err := os.Getwd()
	if err != nil {
		return path
	}
	relative, err := filepath.Rel(working, path)
	if err != nil || strings.HasPrefix(relative, "..") {
		return path
	}
	return relative
}
