// Package houserules holds no code: its tests enforce the rules of the house that a compiler does not know.
package houserules

import (
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/sluice-dev/sluice/"

// neverImports says what each folder must not depend on, directly or through others.
var neverImports = map[string][]string{
	"api":       {module}, // anything of ours, but for its own sub-packages
	"fsm":       {module + "cluster", module + "scheduler", module + "http", "github.com/hashicorp/memberlist"},
	"cluster":   {module + "scheduler", module + "http"},
	"scheduler": {module + "cluster", module + "http", "github.com/hashicorp/raft", "github.com/cockroachdb/pebble"},
	"http":      {module + "cluster", "github.com/hashicorp/raft", "github.com/hashicorp/memberlist", "github.com/cockroachdb/pebble"},
	"agent":     {module + "fsm", module + "cluster", module + "scheduler", module + "http"},
	"flow":      {module + "cluster", module + "scheduler", module + "http"},
	"storage":   {module + "fsm", module + "cluster", module + "scheduler", module + "http"},
}

func TestFoldersDependOnlyOnWhatTheyMay(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}}{{range .Deps}} {{.}}{{end}}`, module+"...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		pkg, deps := words[0], words[1:]
		folder, _, _ := strings.Cut(strings.TrimPrefix(pkg, module), "/")
		for _, dep := range deps {
			if dep == module+folder || strings.HasPrefix(dep, module+folder+"/") {
				continue
			}
			for _, forbidden := range neverImports[folder] {
				if dep == strings.TrimSuffix(forbidden, "/") || strings.HasPrefix(dep, strings.TrimSuffix(forbidden, "/")+"/") {
					t.Errorf("%s depends on %s: package %s must not; declare an interface in it and let cmd/sluice wire the two", pkg, dep, folder)
				}
			}
		}
	}
}
