package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/python"
)

func newPythonCommand(a *app) *cobra.Command {
	return group("python", "Use the Python SDK that this binary carries",
		`Use the Python SDK that this binary carries: run a script with it, have your shell find it, or install it. Agents and the
commands about deployments need none of these: they bring the SDK along.`,
		"  sluice python run leo_flow.py\n  eval \"$(sluice python env)\"\n  sluice python install",
		newPythonRun(a), newPythonEnv(a), newPythonInstall(a))
}

func newPythonRun(a *app) *cobra.Command {
	command := &cobra.Command{
		Use:   "run SCRIPT [ARGUMENT]...",
		Short: "Run a Python script that imports sluice",
		Long: `Run a Python script that imports sluice, with nothing installed. What follows the script's name is for the script; the
command's own options come before it. "-m MODULE" and "-c CODE" work as with python3, after "--".

The script reports to the server that is configured; without one it starts a server of its own, which keeps its runs in
the data directory and ends when nothing uses it. The exit code is the script's.`,
		Example: "  sluice python run leo_flow.py\n  sluice python run leo_flow.py --verbose\n  sluice python run -- -m package.flows",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			return runPython(command.Context(), a, args)
		},
	}
	command.Flags().SetInterspersed(false)
	return command
}

func newPythonEnv(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "env",
		Short: "Print shell lines after which python3 finds the SDK",
		Long: `Print lines for the shell that put the SDK on PYTHONPATH and name this binary in SLUICE_BINARY. They hold for the shell
that evaluates them and what it starts.`,
		Example: "  eval \"$(sluice python env)\" && python3 leo_flow.py",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			variables, err := sdkVariables(a)
			if err != nil {
				return err
			}
			if a.structured() {
				object := map[string]string{}
				for _, v := range variables {
					object[v.name] = v.value
				}
				return a.printObject(object, "", "")
			}
			for _, v := range variables {
				if _, err := fmt.Fprintf(a.out, "export %s=%s\n", v.name, shellQuoted(v.value)); err != nil {
					return fmt.Errorf("print the environment: %w", err)
				}
			}
			return nil
		},
	}
}

func newPythonInstall(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "install [-- PIP-OPTION...]",
		Short: "Install the SDK into a Python environment with pip",
		Long: `Install the SDK into the environment of python3, or of the interpreter that SLUICE_PYTHON names, with its pip. No package
index is asked. Options of "pip install" follow "--". The package replaces an older one of the same name; install it again
after this binary was upgraded.`,
		Example: "  sluice python install\n  SLUICE_PYTHON=.venv/bin/python sluice python install\n  sluice python install -- --user",
		RunE: func(command *cobra.Command, args []string) error {
			return installPython(command.Context(), a, args)
		},
	}
}

// sdkVariable is one of an environment.
type sdkVariable struct{ name, value string }

// sdkVariables are what a Python process needs to find the SDK and this binary.
func sdkVariables(a *app) ([]sdkVariable, error) {
	sdk, err := python.WriteTo(filepath.Join(a.home(), "cache"))
	if err != nil {
		return nil, err
	}
	path := []string{sdk}
	for _, folder := range filepath.SplitList(a.environment["PYTHONPATH"]) {
		if folder != "" && folder != sdk {
			path = append(path, folder)
		}
	}
	variables := []sdkVariable{{"PYTHONPATH", strings.Join(path, string(os.PathListSeparator))}}
	if a.program != "" && a.environment["SLUICE_BINARY"] == "" {
		variables = append(variables, sdkVariable{"SLUICE_BINARY", a.program})
	}
	return variables, nil
}

func runPython(ctx context.Context, a *app, args []string) error {
	interpreter, err := a.interpreter()
	if err != nil {
		return err
	}
	if _, err := os.Stat(args[0]); err != nil && !strings.HasPrefix(args[0], "-") {
		return usagef("there is no script %s", args[0])
	}
	variables, err := sdkVariables(a)
	if err != nil {
		return err
	}
	changes := map[string]string{}
	for _, v := range variables {
		changes[v.name] = v.value
	}
	// What flags, a file or another profile say, the script must know; without an address it starts its own server.
	for _, name := range []string{settingAPIURL, settingAPIKey} {
		if value, source := a.settings.lookup(name); value != "" && source != sourceDefault {
			changes[name] = value
		}
	}
	if changes[settingCAFile], err = a.authority(); err != nil {
		return err
	}
	command := exec.Command(interpreter, args...)
	command.Env = changedEnvironment(a.environ, changes)
	command.Stdin, command.Stdout, command.Stderr = a.in, a.out, a.err
	code, err := a.runForeground(ctx, command)
	switch {
	case err != nil:
		return fmt.Errorf("start %s: %w", interpreter, err)
	case code != 0:
		return &failure{code: code, err: fmt.Errorf("%s ended with exit code %d", args[0], code), silent: true}
	}
	return nil
}

func installPython(ctx context.Context, a *app, options []string) error {
	interpreter, err := a.interpreter()
	if err != nil {
		return err
	}
	name, err := python.WheelName()
	if err != nil {
		return err
	}
	var wheel bytes.Buffer
	if err := python.Wheel(&wheel); err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "sluice-wheel-")
	if err != nil {
		return fmt.Errorf("write the Python package: %w", err)
	}
	defer os.RemoveAll(folder) //nolint:errcheck // leftovers do no harm
	path := filepath.Join(folder, name)
	if err := os.WriteFile(path, wheel.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write the Python package: %w", err)
	}
	args := append([]string{"-m", "pip", "install", "--no-index", "--no-deps", "--force-reinstall", "--disable-pip-version-check"}, options...)
	command := exec.CommandContext(ctx, interpreter, append(args, path)...)
	command.Env = a.environ
	var said bytes.Buffer
	command.Stdout, command.Stderr = a.err, &said
	if err := command.Run(); err != nil {
		_, _ = a.err.Write(said.Bytes()) // the exit code tells as well
		if _, ended := errors.AsType[*exec.ExitError](err); !ended {
			return fmt.Errorf("start %s: %w", interpreter, err)
		}
		hint := "have your shell find the SDK without installing it: eval \"$(sluice python env)\""
		switch {
		case strings.Contains(said.String(), "No module named pip"):
			hint = "install pip (Debian: apt-get install python3-pip), or " + hint
		case strings.Contains(said.String(), "externally-managed-environment"):
			hint = "make an environment of your own (python3 -m venv .venv) and name it with SLUICE_PYTHON=.venv/bin/python, or " + hint
		}
		return &failure{code: exitError, err: fmt.Errorf("%s -m pip install failed (%w)", interpreter, err), hint: hint}
	}
	a.say("Installed %s for %s", strings.TrimSuffix(name, "-py3-none-any.whl"), interpreter)
	return nil
}

// shellWord is text as one word of a POSIX shell, quoted only where it must be.
func shellWord(text string) string {
	if text != "" && strings.Trim(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:=@%+,") == "" {
		return text
	}
	return shellQuoted(text)
}

// shellQuoted is text as one word of a POSIX shell.
func shellQuoted(text string) string {
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
