package main

import "testing"

func TestAYAMLErrorNamesTheLineAsEditorsCountThem(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, text string
		line       int
	}{
		{"a list that does not end", "name: x\nflow: a\ntags: [a, b\nparameters: {}\n", 3},
		{"a list that does not end after one that does", "name: x\nflow: [\n  a,\n  b]\ntags: [a, b\n", 5},
		{"a mapping that does not end", "name: x\nparameters: {b: 1\nc: 2\n", 2},
		{"a mapping that does not end in the first line", "a: {b: 1\nc: 2\n", 1},
		{"an indentation that fits nothing", "\nname: x\nparameters:\n  - a\n b: 1\n", 5},
		{"a key between the items of a list", "- a\n- b\nc: 1\n", 3},
		{"a key within a text", "name: x\nflow: a\n  tags: 1\n", 3},
		{"a text that is no key", "name: x\nfoo\nflow: a\n", 2},
		{"a quotation that does not end", "name: x\nfoo: \"a\nflow: a\n", 2},
		{"a tab", "name: x\n\tflow: a\n", 2},
		{"a reserved character", "name: x\nflow: @a\n", 2},
		{"an alias of nothing", "name: x\nflow: *a\ntags: []\n", 2},
		{"the first line", "name: &\n", 1},
		{"the second document", "name: x\n---\nname: y\nflow: @a\n", 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := parseYAML(tt.text)
			if err == nil {
				t.Fatal("this is valid YAML")
			}
			if line, reason := yamlProblem(tt.text, err); line != tt.line || reason == "" {
				t.Errorf("line %d, reason %q for %q; want line %d", line, reason, err, tt.line)
			}
		})
	}
}
