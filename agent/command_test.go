package agent

import (
	"slices"
	"strings"
	"testing"
)

func TestArgumentsTakeParameters(t *testing.T) {
	t.Parallel()
	got, err := Arguments([]string{"p", "{{a}}", "x{{a}}y{{n}}", "{{json .}} {{ a }} {a}"}, []byte(`{"a":"1 2 {{n}}","n":[3]}`))
	if want := []string{"p", "1 2 {{n}}", "x1 2 {{n}}y[3]", "{{json .}} {{ a }} {a}"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := Arguments([]string{"{{a}}", "{{b}}"}, nil); err == nil || !strings.Contains(err.Error(), `"a"`) || !strings.Contains(err.Error(), `"b"`) {
		t.Errorf("of parameters that are missing: %v", err)
	}
}
