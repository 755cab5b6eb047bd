package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/sluice-dev/sluice/python"
)

// interpreter finds the Python that runs flows.
func (a *app) interpreter() (string, error) {
	name, source := a.settings.lookup(settingPython)
	path, err := exec.LookPath(name)
	if err != nil {
		return "", &failure{
			code: exitError,
			err:  fmt.Errorf("cannot find the Python interpreter '%s' (%s from %s)", name, settingPython, source),
			hint: "install Python 3.9 or newer, or name another interpreter with SLUICE_PYTHON=/path/to/python3",
		}
	}
	return path, nil
}

// pythonEnvironment is the environment of Python processes: the cluster in use and the embedded SDK.
func (a *app) pythonEnvironment() ([]string, error) {
	sdk, err := python.WriteTo(filepath.Join(a.home(), "cache"))
	if err != nil {
		return nil, fmt.Errorf("unpack the Python SDK: %w", err)
	}
	path := sdk
	if old := a.environment["PYTHONPATH"]; old != "" {
		path += string(os.PathListSeparator) + old
	}
	address, _ := a.settings.lookup(settingAPIURL)
	changes := map[string]string{
		"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", settingAPIURL: address, "PREFECT_API_URL": address,
	}
	if authority, err := a.authority(); err != nil {
		return nil, err
	} else if authority != "" {
		changes[settingCAFile] = authority
	}
	if key, _ := a.settings.lookup(settingAPIKey); key != "" {
		changes[settingAPIKey] = key
	}
	return changedEnvironment(a.environ, changes), nil
}

// authority returns the file of who signs the API's certificate, for processes with another working directory; "" is whom the machine
// trusts.
func (a *app) authority() (string, error) {
	file, _ := a.settings.lookup(settingCAFile)
	if file == "" {
		return "", nil
	}
	file, err := filepath.Abs(file)
	if err != nil {
		return "", fmt.Errorf("find %s: %w", settingCAFile, err)
	}
	return file, nil
}

// changedEnvironment replaces and adds variables.
func changedEnvironment(environ []string, changes map[string]string) []string {
	var result []string
	for _, entry := range environ {
		key, _, _ := strings.Cut(entry, "=")
		if _, changed := changes[key]; !changed {
			result = append(result, entry)
		}
	}
	for key, value := range changes {
		result = append(result, key+"="+value)
	}
	return result
}

// described is what the Python SDK answers about specs.
type described struct {
	Specs []spec     `json:"specs"`
	Error *specError `json:"error"`
}

// describe asks the Python SDK to load specs: from a Python file, or flows for specs of a YAML file below base.
func (a *app) describe(ctx context.Context, file, base string, specs []spec) ([]spec, error) {
	interpreter, err := a.interpreter()
	if err != nil {
		return nil, err
	}
	environment, err := a.pythonEnvironment()
	if err != nil {
		return nil, err
	}
	args := []string{"-m", "sluice.deployments", "--json", file}
	var input bytes.Buffer
	if file == "" {
		args = []string{"-m", "sluice.deployments", "--json", "--specs", "-", "--base", base}
		if err := json.NewEncoder(&input).Encode(specs); err != nil {
			return nil, fmt.Errorf("encode deployment specifications: %w", err)
		}
	}
	command := exec.CommandContext(ctx, interpreter, args...)
	command.Env = environment
	command.Stdin = &input
	command.Stderr = a.err // what user code prints while it is loaded
	answer, err := command.Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			return nil, fmt.Errorf("load deployment specifications: %s -m sluice.deployments ended with %s", interpreter, exit)
		}
		return nil, fmt.Errorf("load deployment specifications: %w", err)
	}
	var result described
	if err := json.Unmarshal(answer, &result); err != nil {
		return nil, fmt.Errorf("load deployment specifications: the answer of the Python SDK is not understood: %w", err)
	}
	if result.Error != nil {
		return nil, result.Error
	}
	return result.Specs, nil
}
