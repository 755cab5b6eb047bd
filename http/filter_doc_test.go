package httpapi

import (
	"os"
	"strings"
	"testing"
)

// That each of these indexes is offered, and no other, is what TestFiltersAgreeWithANaiveEvaluation sees.
func TestTheTableOfIndexesIsComplete(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("DESIGN.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "## Which filter uses which index")
	table, _, _ = strings.Cut(table, "By no index")
	documented := map[string]bool{}
	for line := range strings.Lines(table) {
		if name, found := strings.CutPrefix(line, "| `"); found {
			name, _, _ = strings.Cut(name, "` |")
			documented[name] = true
		}
	}
	for _, name := range runIndexes {
		if !documented[name] {
			t.Errorf("DESIGN.md does not say what the index %q is for", name)
		}
		delete(documented, name)
	}
	for name := range documented {
		t.Errorf("DESIGN.md tells of an index %q that is never offered", name)
	}
}
