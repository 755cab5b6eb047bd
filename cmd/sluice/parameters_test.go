package main

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/sluice-dev/sluice/api"
)

func TestParametersAreReadAsTheSchemaSays(t *testing.T) {
	t.Parallel()
	schema := schemaOf(api.Deployment{DeploymentNative: &api.DeploymentNative{ParameterSchema: json.RawMessage(`{"type":"object","required":["zip"],"properties":{
		"zip":{"type":"string"},"n":{"type":"integer","position":1},"any":{},"either":{"type":["string","integer"]},"maybe":{"anyOf":[{"type":"string"},{"type":"null"}]},
		"page":{"$ref":"#/$defs/page"},"mode":{"enum":["a","b"]},"dry":{"type":"boolean"}},"$defs":{"page":{"type":"string"}}}`)}})
	for pair, want := range map[[2]string]string{
		{"zip", "01234"}: `"01234"`, {"zip", "12345"}: `"12345"`, {"zip", "null"}: `"null"`, {"zip", `{"a":1}`}: `"{\"a\":1}"`,
		{"n", "3"}: `3`, {"n", "x"}: `"x"`, {"any", "3"}: `3`, {"any", "Leo"}: `"Leo"`, {"either", "3"}: `3`, {"either", "true"}: `"true"`,
		{"maybe", "null"}: `null`, {"maybe", "3"}: `"3"`, {"page", "3"}: `"3"`, {"unknown", "[1]"}: `[1]`, {"dry", "true"}: `true`,
	} {
		if got, err := schema.value(pair[0], pair[1]); err != nil || string(got) != want {
			t.Errorf("%s=%s is read as %s (%v), not %s", pair[0], pair[1], got, err, want)
		}
	}
	if names := schema.names(); names[0] != "zip" || names[len(names)-1] != "n" {
		t.Errorf("the parameters are offered as %v", names)
	}
	if words := schema.words("mode"); !slices.Equal(words, []string{"a", "b"}) {
		t.Errorf("the words of an enumeration are %v", words)
	}
	if words := schema.words("dry"); !slices.Equal(words, []string{"true", "false"}) {
		t.Errorf("the words of a truth value are %v", words)
	}
}
