package parameters

import (
	"fmt"
	"strings"
	"testing"
)

const greeting = `{"type":"object","properties":{"name":{"type":"string","minLength":1},"times":{"type":"integer","minimum":1},
"to":{"type":["string","null"]},"who":{"anyOf":[{"type":"integer"},{"type":"array","items":{"type":"string"}}]},
"page":{"$ref":"#/$defs/page"}},"required":["name"],"additionalProperties":false,
"$defs":{"page":{"type":"object","properties":{"url":{"type":"string"}},"required":["url"]}}}`

func TestCheck(t *testing.T) {
	t.Parallel()
	var c Checker
	for _, test := range []struct {
		name, parameters, want string
		partial                bool
	}{
		{name: "takes what fits", parameters: `{"name":"Leo","times":3,"to":null,"who":["a"],"page":{"url":"x"}}`},
		{name: "names a value of the wrong type", parameters: `{"name":5}`, want: "[body parameters name] value is not a valid string type_error.string"},
		{name: "names what is missing", parameters: `{}`, want: "[body parameters name] field required value_error.missing"},
		{name: "lets it be missing where somebody else may give it", parameters: `{"times":1}`, partial: true},
		{name: "names a wrong value beside one that may be missing", parameters: `{"times":"x"}`, partial: true, want: "[body parameters times] value is not a valid integer type_error.integer"},
		{name: "names what there is no parameter for", parameters: `{"name":"Leo","nmae":1}`, want: "[body parameters nmae] extra fields not permitted value_error.extra"},
		{name: "names a bound", parameters: `{"name":"","times":0}`, want: "[body parameters name] minLength: got 0, want 1 value_error.minlength; [body parameters times] minimum: got 0, want 1 value_error.minimum"},
		{name: "names all types of a union", parameters: `{"name":"Leo","to":4}`, want: "[body parameters to] value is not a valid string or null type_error.string"},
		{name: "names all types of alternatives", parameters: `{"name":"Leo","who":"x"}`, want: "[body parameters who] value is not a valid integer or list type_error.integer"},
		{name: "finds the place in a list", parameters: `{"name":"Leo","who":["x",1]}`, want: "[body parameters who 1] value is not a valid string type_error.string"},
		{name: "requires members of a member even then", parameters: `{"page":{}}`, partial: true, want: "[body parameters page url] field required value_error.missing"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			found, err := c.Check([]byte(greeting), []byte(test.parameters), test.partial)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range found {
				got = append(got, fmt.Sprintf("%v %s %s", f.Loc, f.Msg, f.Type))
			}
			if text := strings.Join(got, "; "); text != test.want {
				t.Errorf("found %q, not %q", text, test.want)
			}
		})
	}
}

func TestASchemaIsRefused(t *testing.T) {
	t.Parallel()
	for name, schema := range map[string]string{
		"that is none":                 `{"type":"strin"}`,
		"that refers to a file":        `{"$ref":"file:///etc/passwd"}`,
		"that refers to another place": `{"$ref":"http://127.0.0.1:1/schema"}`,
		"that is too large":            `{"title":"` + strings.Repeat("x", SchemaLimit) + `"}`,
		"with a pattern that is none":  `{"properties":{"a":{"pattern":"("}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var c Checker
			if err := c.Compile([]byte(schema)); err == nil {
				t.Error("it was taken")
			} else {
				t.Log(err)
			}
		})
	}
}

func TestCompiledSchemasAreBounded(t *testing.T) {
	t.Parallel()
	var c Checker
	for i := range cacheSize + 10 {
		for range 2 {
			if err := c.Compile(fmt.Appendf(nil, `{"title":"%d"}`, i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(c.compiled) != cacheSize || len(c.order) != cacheSize {
		t.Errorf("%d schemas are kept, in a list of %d", len(c.compiled), len(c.order))
	}
}
