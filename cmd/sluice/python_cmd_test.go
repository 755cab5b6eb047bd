package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const sdkScript = `import os, sys
import sluice
print(os.path.dirname(sluice.__file__), os.environ.get("SLUICE_API_URL"), sys.argv[1:])
sys.exit(7)
`

func needPython(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("python3"); err != nil {
		t.Fatal("python3 is missing: make test-deps installs it")
	}
}

func TestScriptsRunWithTheCarriedSDK(t *testing.T) {
	t.Parallel()
	needPython(t)
	script := filepath.Join(t.TempDir(), "it's a script.py")
	if err := os.WriteFile(script, []byte(sdkScript), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Run("run passes arguments and gives the script's exit code", func(t *testing.T) {
		t.Parallel()
		s := newShell(t, "")
		got := s.run("python", "run", script, "--name", "Leo")
		if got.code != 7 || !strings.Contains(got.out, "/cache/python-") || !strings.Contains(got.out, " None ['--name', 'Leo']") {
			t.Errorf("%+v", got)
		}
	})
	t.Run("run tells the script which server is configured", func(t *testing.T) {
		t.Parallel()
		s := newShell(t, "")
		got := s.run("--api", "http://127.0.0.1:9/api", "python", "run", script)
		if !strings.Contains(got.out, " http://127.0.0.1:9/api []") {
			t.Errorf("%+v", got)
		}
	})
	t.Run("run without such a file says so", func(t *testing.T) {
		t.Parallel()
		s := newShell(t, "")
		if got := s.run("python", "run", "missing.py"); got.code != exitUsage || !strings.Contains(got.err, "there is no script missing.py") {
			t.Errorf("%+v", got)
		}
	})
	t.Run("a shell that evaluates env finds the SDK", func(t *testing.T) {
		t.Parallel()
		s := newShell(t, "")
		s.environ = append(s.environ, "PYTHONPATH=/it's/here")
		command := exec.Command("sh", "-c", s.ok("python", "env")+`python3 "$0"`, script)
		command.Env = s.environ
		out, err := command.Output()
		if command.ProcessState == nil || command.ProcessState.ExitCode() != 7 || !strings.Contains(string(out), "/cache/python-") {
			t.Errorf("%s %v", out, err)
		}
		var variables map[string]string
		if err := json.Unmarshal([]byte(s.ok("python", "env", "-o", "json")), &variables); err != nil || !strings.HasSuffix(variables["PYTHONPATH"], ":/it's/here") {
			t.Errorf("%v %v", variables, err)
		}
	})
}

func TestTheSDKIsInstalledWithPip(t *testing.T) {
	t.Parallel()
	needPython(t)
	if err := exec.Command("python3", "-m", "pip", "--version").Run(); err != nil {
		t.Skip("python3 has no pip here")
	}
	s, target := newShell(t, ""), t.TempDir()
	if got := s.ok("python", "install", "--", "--target", target); !strings.Contains(got, "Installed sluice-") {
		t.Errorf("said %q", got)
	}
	command := exec.Command("python3", "-c", "import sluice, importlib.metadata as m; print(sluice.__file__, m.version('sluice') == sluice.__version__)")
	command.Env = append(s.environ, "PYTHONPATH="+target)
	out, err := command.CombinedOutput()
	if want := filepath.Join(target, "sluice", "__init__.py") + " True\n"; err != nil || string(out) != want {
		t.Errorf("got %q (%v), want %q", out, err, want)
	}
	got := s.run("python", "install", "--", "--no-such-option")
	if got.code != exitError || !strings.Contains(got.err, `eval "$(sluice python env)"`) {
		t.Errorf("%+v", got)
	}
}
