package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-dev/sluice/fsm/command"
)

// nextRelease is a binary that supports one cluster version more: this one with the constant replaced while it is compiled.
func nextRelease(t testing.TB) string {
	t.Helper()
	binary, err := buildNextRelease()
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

var buildNextRelease = sync.OnceValues(func() (string, error) {
	source := filepath.Join(built.root, "fsm", "command", "version.go")
	text, err := os.ReadFile(source)
	if err != nil {
		return "", err
	}
	now := fmt.Sprintf("MaxVersion = %d\n", command.MaxVersion)
	if strings.Count(string(text), now) != 1 {
		return "", fmt.Errorf("%s does not say %q once", source, now)
	}
	changed, overlay, binary := filepath.Join(built.folder, "version.go"), filepath.Join(built.folder, "overlay.json"), filepath.Join(built.folder, "sluice-next")
	replaced := strings.Replace(string(text), now, fmt.Sprintf("MaxVersion = %d\n", command.MaxVersion+1), 1)
	description, err := json.Marshal(map[string]map[string]string{"Replace": {source: changed}})
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(changed, []byte(replaced), 0o600); err != nil {
		return "", err
	}
	if err := os.WriteFile(overlay, description, 0o600); err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-overlay", overlay, "-ldflags", "-X main.buildVersion=next", "-o", binary, "./cmd/sluice")
	build.Dir = built.root
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the next release: %w\n%s", err, out)
	}
	return binary, nil
})
