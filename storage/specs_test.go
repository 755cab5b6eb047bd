package storage_test

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"testing"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/storage"
)

// testdata/block_specs.json is what an Orion server lists; its descriptions are cut to "...".
func TestSpecsAreThoseOfOrionInNameAndFields(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("testdata/block_specs.json")
	if err != nil {
		t.Fatal(err)
	}
	var want []api.BlockSpec
	if err := json.Unmarshal(content, &want); err != nil {
		t.Fatal(err)
	}
	got := storage.Specs
	if len(got) != len(want) {
		t.Fatalf("%d specs, want %d", len(got), len(want))
	}
	description := regexp.MustCompile(`"description":"[^"]*"`)
	for i, spec := range got {
		var fields bytes.Buffer
		if err := json.Compact(&fields, want[i].Fields); err != nil {
			t.Fatal(err)
		}
		masked := description.ReplaceAllString(spec.Fields, `"description":"..."`)
		if spec.Kind != want[i].Name || storage.SpecVersion != want[i].Version || storage.SpecType != *want[i].Type || masked != fields.String() {
			t.Errorf("got  %s %s %s\nwant %s %s %s", spec.Kind, storage.SpecVersion, masked, want[i].Name, want[i].Version, &fields)
		}
	}
}
