package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAFolderThatIsNoProgramIsRefusedWithWhatToNameInstead(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ code, want string }{
		"without Go files":              {"", "no Go files"},
		"of a package that is not main": {"package shop\n", "is not `package main`"},
		"that does not compile":         {"package main\n\nfunc main() { nothing() }\n", "undefined: nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			files := map[string]string{"go.mod": "module shop\n"}
			if c.code != "" {
				files["shop.go"] = c.code
			}
			for file, text := range files {
				if err := os.WriteFile(filepath.Join(folder, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			err := buildGo(t.Context(), folder, filepath.Join(t.TempDir(), "shop"))
			f, is := errors.AsType[*failure](err)
			if !is || !strings.Contains(err.Error(), c.want) || !strings.Contains(f.hint, "flow.Main") {
				t.Errorf("the error is %v", err)
			}
		})
	}
}
