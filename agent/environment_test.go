package agent_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-dev/sluice/agent"
	"github.com/sluice-dev/sluice/api"
)

// script writes an executable shell script.
func script(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestPythonEnvironmentsOfTheFlowRunner(t *testing.T) {
	t.Parallel()
	venv := filepath.Join(t.TempDir(), "venv")
	script(t, filepath.Join(venv, "bin", "python"), `echo "$VIRTUAL_ENV|$*"`)
	conda := t.TempDir()
	script(t, filepath.Join(conda, "conda"), `echo "conda $*"`)
	path := conda + string(os.PathListSeparator) + os.Getenv("PATH")
	cases := map[string]struct {
		config map[string]any
		want   string
	}{
		"a virtualenv brings its interpreter": {
			map[string]any{"virtualenv": venv}, venv + "|-m sluice.engine RUN"},
		"a conda environment is named": {
			map[string]any{"condaenv": "science", "env": map[string]any{"PATH": path}},
			"conda run --name science --no-capture-output python -m sluice.engine RUN"},
		"a conda environment may be a folder": {
			map[string]any{"condaenv": "/opt/science", "env": map[string]any{"PATH": path}},
			"conda run --prefix /opt/science --no-capture-output python -m sluice.engine RUN"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			id := s.add(nil, withConfig(c.config))
			f := start(t, s, nil)
			s.final(t, id)
			f.agent.Stop()
			if want := strings.ReplaceAll(c.want, "RUN", id.String()); !slices.Equal(s.lines(id), []string{want}) {
				t.Errorf("got %q, want %q", s.lines(id), want)
			}
		})
	}
}

func TestAMissingEnvironmentIsNamed(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("conda"); err == nil {
		t.Skip("this machine has conda")
	}
	cases := map[string]struct {
		config map[string]any
		want   string
	}{
		"a virtualenv":         {map[string]any{"virtualenv": "/no/such/venv"}, "/no/such/venv/bin/python"},
		"a conda environment":  {map[string]any{"condaenv": "science"}, `conda environment "science"`},
		"a bad configuration":  {map[string]any{"env": "x"}, "configuration of the flow runner is not valid"},
		"a variable too large": {map[string]any{"env": map[string]any{"X": strings.Repeat("x", 1<<20)}}, "too long for a process"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			id := s.add(nil, withConfig(c.config))
			start(t, s, nil)
			if state := s.final(t, id); state.Type != api.Failed || !strings.Contains(message(state), c.want) {
				t.Errorf("got %s %q", state.Type, message(state))
			}
		})
	}
}

func TestTheFlowRunnerCanRemoveAVariable(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	id := s.addCommand("sh", "-c", `echo "${HOME-none}|${SLUICE_PARAM_EMPTY-none}|$SLUICE_PARAM_NOTHING|$SLUICE_PARAM_TEXT"`)
	s.change(func() {
		withConfig(map[string]any{"env": map[string]any{"HOME": nil}})(&s.runs[id].run)
		s.runs[id].run.Parameters = []byte(`{"empty":"","nothing":null,"text":"two\nlines"}`)
	})
	f := start(t, s, nil)
	s.final(t, id)
	f.agent.Stop()
	if want := []string{"none||null|two", "lines"}; !slices.Equal(s.lines(id), want) {
		t.Errorf("got %q, want %q", s.lines(id), want)
	}
}

func TestSeveralAddressesAreKnownToOurOwnClientsOnly(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	id := s.addCommand("sh", "-c", `echo "$SLUICE_API_URL|$PREFECT_API_URL"`)
	f := start(t, s, func(c *agent.Config) { c.APIURL = "http://one/api,http://two/api" })
	s.final(t, id)
	f.agent.Stop()
	if want := []string{"http://one/api,http://two/api|http://one/api"}; !slices.Equal(s.lines(id), want) {
		t.Errorf("got %q, want %q", s.lines(id), want)
	}
}

func TestParametersBecomeVariablesThatShellsAccept(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"my-name": "MY_NAME", "n.2": "N_2", "already_FINE9": "ALREADY_FINE9", "größe": "GR__E", "a b=c": "A_B_C", "": "",
	} {
		blob, err := json.Marshal(map[string]string{name: "v"})
		if err != nil {
			t.Fatal(err)
		}
		got, err := agent.ParameterVariables(blob)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != 2 || got["SLUICE_PARAM_"+want] != "v" || got["SLUICE_PARAMETERS"] != string(blob) {
			t.Errorf("%q became %q", name, got)
		}
	}
	if _, err := agent.ParameterVariables(json.RawMessage(`{"n":"a\u0000b"}`)); err == nil || !strings.Contains(err.Error(), `"n" holds a zero byte`) {
		t.Errorf("a zero byte: %v", err)
	}
}
