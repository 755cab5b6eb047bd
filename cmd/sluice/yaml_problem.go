package main

import (
	"errors"
	"io"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// yamlErrorPlace matches what the YAML library puts before its reason.
var yamlErrorPlace = regexp.MustCompile(`^yaml: (line \d+: )?`)

// yamlProblem returns the line and the reason of an error that the YAML library has with a text. The library's own line is the one where
// the mapping or list around the error begins, and counted from 0 at times; the line meant here is the first with which the text is wrong.
func yamlProblem(text string, err error) (line int, reason string) {
	reason = yamlReason(err)
	lines := strings.SplitAfter(text, "\n")
	for line = len(lines); line > 1 && yamlReason(parseYAML(strings.Join(lines[:line-1], ""))) == reason; line-- {
	}
	return line, reason
}

func yamlReason(err error) string {
	if err == nil {
		return ""
	}
	return yamlErrorPlace.ReplaceAllString(err.Error(), "")
}

// parseYAML returns the error of the first document that has one.
func parseYAML(text string) error {
	decoder := yaml.NewDecoder(strings.NewReader(text))
	for {
		var document yaml.Node
		switch err := decoder.Decode(&document); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}
