package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sluice-dev/sluice/agent"
)

// script is a file that agents execute, with its arguments.
type script struct {
	name      string
	file      []byte
	arguments []string
}

// plain reports whether a spec runs a command or a script, without any SDK.
func (s *spec) plain() bool { return s.Command != nil || s.Script != nil }

// commandLine is what a plain spec runs, for people, and where {{NAME}} stands for parameters.
func (s *spec) commandLine() []string {
	if s.Script != nil {
		return append([]string{s.Script.name}, s.Script.arguments...)
	}
	return s.Command
}

// script is the path of a file, from the specification's folder, or the text of a script of several lines.
func (r *specReader) script(node *yaml.Node) *script {
	text := r.text("script", node)
	made := &script{name: "script", file: []byte(text)}
	if !strings.Contains(text, "\n") {
		path := text
		if !filepath.IsAbs(path) {
			path = filepath.Join(filepath.Dir(r.path), path)
		}
		var err error
		if made.file, err = os.ReadFile(path); err != nil {
			r.fail(node, "script: %v; it is a file, or a text of several lines", err)
			return made
		}
		made.name = filepath.Base(path)
	}
	if !bytes.HasPrefix(made.file, []byte("#!")) {
		r.fail(node, "script %s does not begin with #! and what runs it, like #!/bin/sh", made.name)
	}
	return made
}

// shells take programs as arguments: a parameter in one would be code.
var shells = []string{"sh", "bash", "dash", "zsh", "ksh", "python", "python3", "perl", "ruby", "node"}

// placeholders checks the parameters that the arguments name, and makes a schema of them where there is none.
func (r *specReader) placeholders(node *yaml.Node) {
	s := r.spec
	line := s.commandLine()
	if len(line) == 0 {
		return
	}
	if len(agent.Placeholders(line[:1])) > 0 {
		r.fail(node, "the program of a command cannot be a parameter")
	}
	if slices.Contains(shells, filepath.Base(line[0])) {
		for i, a := range line[1:] {
			if a == "-c" || a == "-e" {
				if rest := line[1+i+1:]; len(rest) > 0 && len(agent.Placeholders(rest[:1])) > 0 {
					r.fail(node, "%s would run what is in the parameter: write \"$SLUICE_PARAM_%s\" there instead of {{%s}}", line[0], strings.ToUpper(agent.Placeholders(rest[:1])[0]), agent.Placeholders(rest[:1])[0])
				}
			}
		}
	}
	names := agent.Placeholders(line)
	if s.ParameterSchema != nil || len(names) == 0 {
		return
	}
	given := map[string]json.RawMessage{}
	if len(s.Parameters) > 0 && json.Unmarshal(s.Parameters, &given) != nil {
		return // told already
	}
	schema := struct {
		Type       string                    `json:"type"`
		Properties map[string]map[string]any `json:"properties"`
		Required   []string                  `json:"required"`
	}{"object", map[string]map[string]any{}, names}
	for name := range given {
		schema.Properties[name] = map[string]any{}
	}
	for _, name := range names {
		schema.Properties[name] = map[string]any{}
	}
	if encoded, err := json.Marshal(schema); err == nil {
		s.ParameterSchema = encoded
	}
}
