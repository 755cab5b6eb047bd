package flow_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write docs/go-sdk-reference.md anew")

// The reference in docs/ is the packages' documentation, for readers without a Go toolchain.
func TestTheReferenceIsCurrent(t *testing.T) {
	t.Parallel()
	var page strings.Builder
	page.WriteString("# Reference of the Go SDK\n\nMade from the doc comments by `go test ./flow -run TestTheReferenceIsCurrent -rewrite`; do not edit.\n" +
		"[Flows in Go](go-sdk.md) and the [tutorials](tutorials/README.md) show how these are used.\n")
	for _, part := range []string{".", "./flowtest"} {
		out, err := exec.Command("go", "doc", "-all", part).Output()
		if err != nil {
			t.Fatalf("go doc %s: %v", part, err)
		}
		fmt.Fprintf(&page, "\n```go\n%s\n```\n", strings.TrimSpace(string(out)))
	}
	const path = "../docs/go-sdk-reference.md"
	if *rewrite {
		if err := os.WriteFile(path, []byte(page.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	content, err := os.ReadFile(path)
	if err != nil || string(content) != page.String() {
		t.Errorf("%s is stale (%v): go test ./flow -run TestTheReferenceIsCurrent -rewrite", path, err)
	}
}
