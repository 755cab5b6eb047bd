package flow_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// What a program of flows is made of beside the standard library is its user's burden: every package here has its reason.
func TestAProgramOfFlowsHasFewDependencies(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	const ours = "github.com/sluice-dev/sluice/"
	want := []string{"github.com/google/jsonschema-go/jsonschema", ours + "agent", ours + "agent/console", ours + "agent/process", ours + "agent/program", ours + "agent/spool", ours + "api", ours + "api/client", ours + "flow", ours + "flow/internal/engine", ours + "flow/internal/server", ours + "internal/localserver", ours + "internal/profile", ours + "internal/redact", ours + "storage", ours + "storage/relay", "golang.org/x/sys/unix"}
	got := strings.Fields(string(out))
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the packages are %q, not %q", got, want)
	}
}
