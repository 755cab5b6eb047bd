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
	"time"

	"github.com/sluice-dev/sluice/agent/program"
	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/storage"
)

// describePatience bounds how long a program takes to describe itself.
const describePatience = 10 * time.Second

// builtProgram is a program of the Go SDK: what `PROGRAM describe` says, and the file.
type builtProgram struct {
	name string
	file []byte
	said programDescription
}

// programDescription is the part of a program's description that deployments are made of.
type programDescription struct {
	Protocol int    `json:"protocol"`
	SDK      string `json:"sdk"`
	OS       string `json:"os"`
	Arch     string `json:"arch"`
	Flows    []struct {
		Name       string          `json:"name"`
		Version    string          `json:"version"`
		Parameters json.RawMessage `json:"parameters"`
	} `json:"flows"`
	Deployments []struct {
		Flow         string                  `json:"flow"`
		Name         string                  `json:"name"`
		Parameters   json.RawMessage         `json:"parameters"`
		Tags         []string                `json:"tags"`
		Schedule     *api.Schedule           `json:"schedule"`
		Schedules    []api.ScheduleCreate    `json:"schedules"`
		Catchup      api.Catchup             `json:"catchup"`
		CatchupLimit *int                    `json:"catchup_limit"`
		FlowRunner   *api.FlowRunnerSettings `json:"flow_runner"`
	} `json:"deployments"`
}

// loadProgram reads the deployments that a program describes, or one that is built from a folder of Go code first.
func (a *app) loadProgram(ctx context.Context, path string, folder bool) ([]spec, error) {
	shown := shownPath(path)
	if folder {
		dir, err := os.MkdirTemp("", "sluice-build-")
		if err != nil {
			return nil, fmt.Errorf("make a folder for the program: %w", err)
		}
		defer func() { _ = os.RemoveAll(dir) }()
		absolute, err := filepath.Abs(path)
		if err != nil {
			return nil, err
		}
		built := filepath.Join(dir, filepath.Base(absolute))
		a.say("Building the Go program in '%s'...", shown)
		if err := buildGo(ctx, absolute, built); err != nil {
			return nil, err
		}
		path = built
	}
	a.say("Loading deployment specifications from program '%s'...", shown)
	p, err := readProgram(ctx, path)
	if err != nil {
		return nil, err
	}
	var specs []spec
	for _, d := range p.said.Deployments {
		s := spec{Name: d.Name, FlowName: d.Flow, FlowLocation: shown, Parameters: d.Parameters, Tags: d.Tags, Schedule: d.Schedule, Schedules: d.Schedules, Catchup: d.Catchup,
			CatchupLimit: d.CatchupLimit, FlowRunner: d.FlowRunner, File: shown, Program: p}
		for _, f := range p.said.Flows {
			if f.Name == d.Flow {
				s.ParameterSchema = f.Parameters
			}
		}
		specs = append(specs, s)
	}
	return specs, nil
}

// shownSize is a number of bytes for people.
func shownSize(n int64) string {
	if n < 100_000 {
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}

const goFolderHint = "name the folder of a program whose main calls flow.Main, or a file of specifications (.py, .yaml)"

func buildGo(ctx context.Context, folder, to string) error {
	if _, err := exec.LookPath("go"); err != nil {
		return &failure{code: exitError, err: errors.New("building a folder of Go code needs the Go toolchain, and there is no `go` on the PATH"), hint: "build the program where Go is, and give its file to `sluice deployment create`"}
	}
	// Without debugging information and without C, it is smaller and runs wherever the kernel and the processor are right.
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", to, ".")
	build.Dir = folder
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return &failure{code: exitError, err: fmt.Errorf("build the Go program in %s: %w\n%s", folder, err, bytes.TrimSpace(out)), hint: goFolderHint}
	}
	if file, err := os.Stat(to); err == nil && file.Mode()&0o111 == 0 { // of another package go build makes an archive
		return &failure{code: exitError, err: fmt.Errorf("the Go package in %s is no program: it is not `package main`", folder), hint: goFolderHint}
	}
	return nil
}

// readProgram asks a program what is in it.
func readProgram(ctx context.Context, path string) (*builtProgram, error) {
	file, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the program: %w", err)
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, describePatience)
	defer cancel()
	var out, problems bytes.Buffer
	command := exec.CommandContext(ctx, absolute, "describe")
	command.Stdout, command.Stderr = &out, &problems
	command.WaitDelay = time.Second
	hint := fmt.Sprintf("`%s describe` must print the description that flow.Main of the Go SDK prints, and do nothing else", shownPath(path))
	if err := command.Run(); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("it said nothing for %s", describePatience)
		}
		return nil, &failure{code: exitError, err: fmt.Errorf("ask the program what is in it: %w\n%s", err, bytes.TrimSpace(problems.Bytes())), hint: hint}
	}
	p := &builtProgram{name: filepath.Base(path), file: file}
	if err := json.Unmarshal(out.Bytes(), &p.said); err != nil || p.said.Protocol == 0 {
		return nil, &failure{code: exitError, err: errors.New("the program does not describe its flows"), hint: hint}
	}
	if p.said.Protocol != 1 {
		return nil, &failure{code: exitError, err: fmt.Errorf("the program speaks version %d of the protocol, this command version 1", p.said.Protocol), hint: "use a newer sluice"}
	}
	return p, nil
}

// programCode puts a file into the storage, once for all specs of it, and returns the document that refers to it. kind is for people.
func (d *deploymentCreator) programCode(ctx context.Context, s *spec, kind string, described api.Program, file []byte, existing *api.Deployment) (api.DataDocument, error) {
	store, err := d.openStore(ctx, s.FlowStorage)
	if err != nil {
		return api.DataDocument{}, err
	}
	described.Size, described.SHA256 = int64(len(file)), program.Hash(file)
	d.app.say("Deploying %s '%s' (%s) using %s...", kind, described.Name, shownSize(described.Size), store.Kind())
	code, known := d.programs[s.FlowStorage+" "+described.SHA256]
	if !known && existing != nil && existing.FlowData.Encoding == api.EncodingProgram {
		if old, err := program.Parse(existing.FlowData); err == nil && old.SHA256 == described.SHA256 {
			if store.refers(old.Code) {
				code, known = old.Code, true
			}
		}
	}
	if !known {
		packed, err := program.Pack(file)
		if err != nil {
			return api.DataDocument{}, fmt.Errorf("pack %s '%s': %w", kind, described.Name, err)
		}
		key, err := store.Write(ctx, packed)
		if err != nil {
			return api.DataDocument{}, fmt.Errorf("deploy %s '%s': %w", kind, described.Name, err)
		}
		if code, err = (storage.Reference{BlockID: store.block, Key: key}).Document(); err != nil {
			return api.DataDocument{}, err
		}
	}
	if d.programs == nil {
		d.programs = map[string]api.DataDocument{}
	}
	d.programs[s.FlowStorage+" "+described.SHA256] = code
	described.Code = code
	blob, err := encodeJSON(described, "")
	if err != nil {
		return api.DataDocument{}, err
	}
	return api.DataDocument{Encoding: api.EncodingProgram, Blob: strings.TrimSpace(string(blob))}, nil
}
