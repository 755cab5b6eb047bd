package parameters

import (
	"fmt"
	"strings"
	"testing"
)

func TestNumbersOutOfRangeAreFindings(t *testing.T) {
	t.Parallel()
	const outside = " number is out of range: write one between -1.7e308 and 1.7e308, or a string value_error.number.range"
	const schema = `{"properties":{"n":{"type":"number","minimum":1,"maximum":5,"multipleOf":2},"l":{"type":"array","items":{"type":"integer"}},"u":{"uniqueItems":true}}}`
	var c Checker
	for name, test := range map[string]struct{ parameters, want string }{
		"takes the largest float":             {`{"u":[1.7976931348623157e308,5e-324,1E+2,-0.0]}`, ""},
		"one beyond what can be compared":     {`{"n":1e1000001}`, "[body parameters n]" + outside},
		"one as small":                        {`{"n":1e-1000001}`, "[body parameters n]" + outside},
		"an exponent that is no int":          {`{"n":0E99999999999999999999}`, "[body parameters n]" + outside},
		"in a list of integers":               {`{"l":[1,1e1000000,1e1000000]}`, "[body parameters l 1]" + outside + "; [body parameters l 2]" + outside},
		"among those that are to differ":      {`{"u":[1,{"a":1e1000001}]}`, "[body parameters u 1 a]" + outside},
		"without an exponent":                 {`{"n":1` + strings.Repeat("0", 309) + `}`, "[body parameters n]" + outside},
		"with more digits than anybody needs": {`{"n":1.` + strings.Repeat("3", 1000) + `}`, "[body parameters n]" + outside},
		"that the schema says nothing of":     {`{"x":-1e401}`, "[body parameters x]" + outside},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found, err := c.Check([]byte(schema), []byte(test.parameters), false)
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
	many, err := c.Check([]byte(schema), []byte(`{"l":[`+strings.Repeat("1e999,", 100)+`1]}`), false)
	if err != nil || len(many) != mostFindings {
		t.Errorf("%d findings and %v, want %d", len(many), err, mostFindings)
	}
}

func TestASchemaWithNumbersOutOfRangeIsRefused(t *testing.T) {
	t.Parallel()
	for _, schema := range []string{
		`{"properties":{"n":{"minimum":1e1000001}}}`, `{"properties":{"n":{"multipleOf":1e-1000001}}}`, `{"properties":{"n":{"maxLength":1e1000001}}}`,
		`{"properties":{"n":{"enum":[1e1000001,1e1000001]}}}`, `{"properties":{"n":{"const":1e1000001}}}`,
	} {
		var c Checker
		if err := c.Compile([]byte(schema)); err == nil || !strings.Contains(err.Error(), "at /properties/n/") || !strings.Contains(err.Error(), "out of range") {
			t.Errorf("%s: %v", schema, err)
		}
	}
}
