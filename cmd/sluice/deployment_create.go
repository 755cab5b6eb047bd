package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
	"github.com/sluice-dev/sluice/storage"
)

func newDeploymentCreate(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "create FILE",
		Short: "Create deployments from a specification",
		Long: `Create the deployments that a Python file (DeploymentSpec objects), a YAML file or a Go program describes. Flow code is put
into the storage that flow_storage names, else into the default storage, else into the built-in store. A deployment that
exists is replaced; one that is the same already is not touched.

A YAML file holds one specification, a list of them, or several documents:

    name: leonardo-deployment
    flow_location: ./leo_flow.py
    tags: [tutorial, test]
    parameters: {name: Leo}
    schedule: {cron: "30 9 * * 1-5", timezone: Europe/Berlin}

With command instead of flow_location the deployment runs a plain command, with script a file that begins with #!. They have
parameters as SLUICE_PARAM_NAME in their environment, and in arguments where {{NAME}} stands (docs/commands.md):

    name: hello
    command: [sh, -c, "echo Hello $SLUICE_PARAM_NAME"]
    ---
    name: backup
    script: ./backup.sh
    arguments: ["{{database}}"]
    parameters: {database: shop}

A Go program is one whose main function is flow.Main: its file, or the folder of its code, which is built first. Agents run
that very file, so build it for their machines (GOOS, GOARCH).`,
		Example: "  sluice deployment create leo_deployment.py\n  sluice deployment create deployments.yaml -o json\n  sluice deployment create ./leo",
		Args:    cobra.ExactArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"py", "yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: func(command *cobra.Command, args []string) error {
			return createDeployments(command.Context(), a, args[0])
		},
	}
}

func createDeployments(ctx context.Context, a *app, path string) error {
	specs, err := a.loadSpecs(ctx, path)
	if err != nil {
		return fmt.Errorf("load deployment specifications: %w", err)
	}
	if len(specs) == 0 {
		return &failure{
			code: exitError,
			err:  fmt.Errorf("%s describes no deployment", path),
			hint: "make at least one DeploymentSpec(name=..., flow_location=...) in it",
		}
	}
	return a.makeDeployments(ctx, specs, "")
}

// makeDeployments makes, replaces or leaves alone what the specs describe. revision, unless "", is what the stored one must have.
func (a *app) makeDeployments(ctx context.Context, specs []spec, revision string) error {
	c, err := a.connect(0)
	if err != nil {
		return err
	}
	creator := &deploymentCreator{app: a, client: c, revision: revision}
	var made []namedDeployment
	counts := map[string]int{}
	failed := 0
	for i := range specs {
		deployment, change, err := creator.create(ctx, &specs[i])
		if err != nil {
			if api.KindOf(err) == api.KindUnreachable || ctx.Err() != nil {
				return err
			}
			failed++
			a.specFailed(&specs[i], err)
			continue
		}
		counts[change]++
		made = append(made, *deployment)
	}
	if err := a.printMade(made); err != nil {
		return err
	}
	if failed > 0 {
		return &failure{code: exitError, err: fmt.Errorf("failed to create %d out of %d deployments", failed, len(specs))}
	}
	if counts[changeCreated] == len(specs) {
		a.say("Created %d deployments!", len(specs))
		return nil
	}
	var parts []string
	for _, change := range []string{changeCreated, changeUpdated, changeNone} {
		if counts[change] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[change], change))
		}
	}
	a.say("Deployments: %s.", strings.Join(parts, ", "))
	return nil
}

// What creating a deployment did.
const (
	changeCreated = "created"
	changeUpdated = "updated"
	changeNone    = "unchanged"
)

// loadSpecs reads the specs of a file; the flows of those that have any are loaded by Python.
func (a *app) loadSpecs(ctx context.Context, path string) ([]spec, error) {
	if path == stdinPath {
		return a.specsFromStdin(ctx)
	}
	info, err := os.Stat(path)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, notFoundf("ls "+shellWord(filepath.Dir(path)), "there is no file '%s'", path)
		}
		return nil, err
	}
	switch strings.ToLower(filepath.Ext(path)) {
	case ".py":
		a.say("Loading deployment specifications from python script at '%s'...", path)
		return a.describe(ctx, path, "", nil)
	case ".yaml", ".yml", ".json":
		a.say("Loading deployment specifications from yaml file at '%s'...", path)
	default:
		if info.IsDir() || info.Mode()&0o111 != 0 {
			return a.loadProgram(ctx, path, info.IsDir())
		}
		return nil, usagef("'%s' is neither a Python file (.py), a YAML or JSON file (.yaml, .yml, .json), nor a program of the Go SDK or its folder", path)
	}
	specs, err := readYAMLSpecs(path)
	if err != nil {
		return nil, err
	}
	base, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("find the directory of %s: %w", path, err)
	}
	return a.loadFlows(ctx, specs, path, base)
}

// loadFlows has Python load the flows of specs that have any.
func (a *app) loadFlows(ctx context.Context, specs []spec, path, base string) ([]spec, error) {
	var flows []spec
	var places []int
	for i, s := range specs {
		if s.Error == nil && !s.plain() {
			s.File, s.Line, s.Policy, s.Retention, s.Schedules = "", 0, nil, nil, nil
			flows = append(flows, s)
			places = append(places, i)
		}
	}
	if len(flows) == 0 {
		return specs, nil
	}
	loaded, err := a.describe(ctx, "", base, flows)
	if err != nil {
		return nil, err
	}
	if len(loaded) != len(flows) {
		return nil, fmt.Errorf("the Python SDK answered %d of %d specifications", len(loaded), len(flows))
	}
	for i, place := range places {
		line := specs[place].Line
		catchup, limit, retention, policy, schedules := specs[place].Catchup, specs[place].CatchupLimit, specs[place].Retention, specs[place].Policy, specs[place].Schedules
		specs[place] = loaded[i]
		specs[place].File, specs[place].Line = path, line
		if specs[place].Catchup == "" {
			specs[place].Catchup = catchup
		}
		specs[place].CatchupLimit = limit
		if specs[place].Policy == nil {
			specs[place].Policy = policy
		}
		if specs[place].Schedules == nil {
			specs[place].Schedules = schedules
		}
		if specs[place].Retention == nil {
			specs[place].Retention = retention
		}
		if e := specs[place].Error; e != nil && e.File == "" {
			e.File, e.Line = path, line
		}
	}
	return specs, nil
}

func (a *app) specFailed(s *spec, err error) {
	name := s.Name
	if name == "" {
		name = "(unnamed)"
	}
	if _, ok := errors.AsType[*specError](err); !ok && s.File != "" {
		err = &specError{Message: err.Error(), File: s.File, Line: s.Line}
	}
	a.note("Failed to create deployment '%s': %s", name, err)
	if hint := judge(err).hint; hint != "" {
		a.note("    %s", hint)
	}
}

// printMade prints the deployments where a program reads the output.
func (a *app) printMade(made []namedDeployment) error {
	if !a.structured() && !a.quiet {
		return nil
	}
	return printList(a, deploymentList(made))
}

// deploymentCreator makes deployments and knows the storage for their code.
type deploymentCreator struct {
	app    *app
	client *client.Client
	stores map[string]*codeStore // by what specs call them, "" the default

	programs map[string]api.DataDocument // where programs lie, by storage and hash
	// revision is what a deployment that is replaced must have; "": any.
	revision string
}

// codeStore is a storage that code is put into.
type codeStore struct {
	storage.Storage
	block *api.ID // nil for the built-in store
}

// openStore finds the storage that a spec names, or the default for "", once.
func (d *deploymentCreator) openStore(ctx context.Context, name string) (*codeStore, error) {
	if known := d.stores[name]; known != nil {
		return known, nil
	}
	var block *api.Block
	var err error
	if name != "" {
		if block, err = findStorage(ctx, d.client, name); err != nil {
			return nil, fmt.Errorf("flow_storage: %w", err)
		}
	} else if block, err = d.client.DefaultStorage(ctx); err != nil {
		return nil, fmt.Errorf("read the default storage: %w", err)
	}
	opened := &codeStore{Storage: storage.BuiltIn(d.client)}
	if block != nil {
		opened.block = &block.ID
		if opened.Storage, err = storage.Open(block, d.app.places()); err != nil {
			return nil, err
		}
	}
	if d.stores == nil {
		d.stores = map[string]*codeStore{}
	}
	d.stores[name] = opened
	return opened, nil
}

// create makes, replaces or leaves alone one deployment and says which.
func (d *deploymentCreator) create(ctx context.Context, s *spec) (*namedDeployment, string, error) {
	if s.Error != nil {
		return nil, "", s.Error
	}
	a := d.app
	a.say("Creating deployment '%s' for flow '%s'...", s.Name, s.FlowName)
	flow, err := d.client.CreateFlow(ctx, api.FlowCreate{Name: s.FlowName})
	if err != nil {
		return nil, "", fmt.Errorf("create flow '%s': %w", s.FlowName, err)
	}
	existing, err := d.client.DeploymentByName(ctx, flow.Name, s.Name)
	if api.IsNotFound(err) {
		existing, err = nil, nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("look for deployment '%s': %w", s.Name, err)
	}
	document, err := d.code(ctx, s, existing)
	if err != nil {
		return nil, "", err
	}
	body := bodyOf(s, flow.ID, document)
	change, title := changeCreated, flow.Name+"/"+s.Name
	if existing != nil {
		if sameDeployment(existing, body) {
			a.say("Deployment '%s' is unchanged.", title)
			return &namedDeployment{*existing, flow.Name}, changeNone, nil
		}
		change = changeUpdated
		body.IsScheduleActive = &existing.IsScheduleActive // pausing is not undone by creating again
	}
	if d.revision != "" {
		body.IfRevision = &d.revision
	}
	created, err := d.client.CreateDeployment(ctx, body)
	if err != nil {
		return nil, "", fmt.Errorf("create deployment '%s': %w", title, err)
	}
	if change == changeUpdated {
		a.say("Updated deployment '%s'.", title)
	} else {
		a.say("Created deployment '%s'.", title)
	}
	a.say("View your new deployment with:\n\n    sluice deployment inspect '%s'", title)
	return &namedDeployment{*created, flow.Name}, change, nil
}

// storedFlow is flow code as it lies in a storage; the order of its keys is part of what makes equal code equal bytes.
type storedFlow struct {
	Encoding string `json:"encoding"`
	Blob     string `json:"blob"`
	Path     string `json:"path"`
	FlowName string `json:"flow_name"`
	Language string `json:"language"`
}

// code puts a spec's code into the storage and returns the document that refers to it. Code that the existing deployment
// has there already is not written again.
func (d *deploymentCreator) code(ctx context.Context, s *spec, existing *api.Deployment) (api.DataDocument, error) {
	if s.Command != nil {
		command, err := encodeJSON(s.Command, "")
		if err != nil {
			return api.DataDocument{}, err
		}
		return api.DataDocument{Encoding: api.EncodingCommand, Blob: strings.TrimSpace(string(command))}, nil
	}
	if s.Program != nil {
		p := s.Program
		described := api.Program{Language: p.said.SDK, Flow: s.FlowName, Name: p.name, OS: p.said.OS, Arch: p.said.Arch}
		for _, f := range p.said.Flows {
			if f.Name == s.FlowName {
				described.Version = f.Version
			}
		}
		if described.OS == "" {
			described.OS, described.Arch = runtime.GOOS, runtime.GOARCH
		}
		return d.programCode(ctx, s, "program", described, p.file, existing)
	}
	if s.Script != nil {
		return d.programCode(ctx, s, "script", api.Program{Language: api.LanguageScript, Flow: s.FlowName, Name: s.Script.name, Arguments: s.Script.arguments}, s.Script.file, existing)
	}
	store, err := d.openStore(ctx, s.FlowStorage)
	if err != nil {
		return api.DataDocument{}, err
	}
	shown := shownPath(s.FlowLocation)
	d.app.say("Deploying flow script from '%s' using %s...", shown, store.Kind())
	data, err := flowDocument(s)
	if err != nil {
		return api.DataDocument{}, err
	}
	if existing != nil && store.holds(ctx, existing.FlowData, data) {
		return existing.FlowData, nil
	}
	key, err := store.Write(ctx, data)
	if err != nil {
		return api.DataDocument{}, fmt.Errorf("deploy flow script '%s': %w", shown, err)
	}
	return storage.Reference{BlockID: store.block, Key: key}.Document()
}

// flowDocument is a spec's code as it lies in a storage.
func flowDocument(s *spec) ([]byte, error) {
	data, err := encodeJSON(storedFlow{
		Encoding: api.EncodingFlow, Blob: s.FlowText, Path: filepath.Base(s.FlowLocation), FlowName: s.FlowName, Language: "python",
	}, "")
	return bytes.TrimSpace(data), err
}

// refers reports whether a document refers to something in the storage.
func (d *codeStore) refers(document api.DataDocument) bool {
	reference, err := storage.ParseReference(document)
	return err == nil && reflect.DeepEqual(reference.BlockID, d.block)
}

// holds reports whether a document refers to exactly this data in the storage.
func (d *codeStore) holds(ctx context.Context, document api.DataDocument, data []byte) bool {
	reference, err := storage.ParseReference(document)
	if err != nil || !d.refers(document) {
		return false
	}
	stored, err := d.Read(ctx, reference.Key)
	return err == nil && bytes.Equal(stored, data)
}

// universalRunner is the flow runner of specs that name none.
const universalRunner = "universal"

func bodyOf(s *spec, flow api.ID, document api.DataDocument) api.DeploymentCreate {
	body := api.DeploymentCreate{
		Name: s.Name, FlowID: flow, FlowData: document, Schedule: s.Schedule, Tags: s.Tags, Parameters: s.Parameters,
		Schedules: s.Schedules, FlowRunner: s.FlowRunner, Catchup: s.Catchup, CatchupLimit: s.CatchupLimit, ParameterSchema: s.ParameterSchema, Retention: s.Retention,
	}
	if s.Policy != nil {
		body.Policy = *s.Policy
	}
	if isNull(body.Parameters) {
		body.Parameters = json.RawMessage("{}")
	}
	if isNull(body.ParameterSchema) {
		body.ParameterSchema = nil
	}
	if body.FlowRunner == nil || body.FlowRunner.Type == nil {
		kind := universalRunner
		body.FlowRunner = &api.FlowRunnerSettings{Type: &kind, Config: json.RawMessage(`{"env": {}}`)}
	}
	if isNull(body.FlowRunner.Config) {
		body.FlowRunner.Config = json.RawMessage("{}")
	}
	entrypoint := shownPath(s.FlowLocation)
	if s.plain() {
		entrypoint = strings.Join(s.commandLine(), " ")
	}
	body.Entrypoint = &entrypoint
	return body
}

func isNull(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

// sameDeployment reports whether creating would change nothing but the time of the update.
func sameDeployment(stored *api.Deployment, wanted api.DeploymentCreate) bool {
	if stored.FlowID != wanted.FlowID || stored.FlowData != wanted.FlowData || !slices.Equal(stored.Tags, wanted.Tags) {
		return false
	}
	if !sameJSON(stored.Parameters, wanted.Parameters) || !sameSchedules(stored, wanted) {
		return false
	}
	if text(stored.FlowRunner.Type) != text(wanted.FlowRunner.Type) || !sameJSON(stored.FlowRunner.Config, wanted.FlowRunner.Config) {
		return false
	}
	native := stored.DeploymentNative
	if native == nil { // an Orion server has no more to compare
		return true
	}
	catchup, limit := wanted.Catchup, api.DefaultCatchupLimit
	if catchup == "" {
		catchup = api.CatchupSkip
	}
	if wanted.CatchupLimit != nil {
		limit = *wanted.CatchupLimit
	}
	return reflect.DeepEqual(native.Retention, wanted.Retention) && samePolicy(native.Policy, wanted.Policy) && native.Catchup == catchup && native.CatchupLimit == limit && sameJSON(native.ParameterSchema, wanted.ParameterSchema)
}

// sameJSON compares values, not their spelling.
func sameJSON(x, y json.RawMessage) bool {
	if isNull(x) || isNull(y) {
		return isNull(x) == isNull(y)
	}
	decode := func(raw json.RawMessage) (value any, err error) {
		decoder := json.NewDecoder(bytes.NewReader(raw))
		decoder.UseNumber() // large integers must not be rounded together
		return value, decoder.Decode(&value)
	}
	a, errA := decode(x)
	b, errB := decode(y)
	return errA == nil && errB == nil && reflect.DeepEqual(a, b)
}

// sameSchedules reports whether a deployment has the schedules that are wanted.
func sameSchedules(stored *api.Deployment, wanted api.DeploymentCreate) bool {
	if wanted.Schedules == nil {
		return sameSchedule(stored.Schedule, wanted.Schedule)
	}
	if stored.DeploymentNative == nil || len(stored.Schedules) != len(wanted.Schedules) {
		return false
	}
	for i, w := range wanted.Schedules {
		s := stored.Schedules[i]
		if s.Name != w.Name || w.Active != nil && *w.Active != s.Active || !sameSchedule(&s.Schedule, &w.Schedule) {
			return false
		}
	}
	return true
}

// sameSchedule compares schedules; an interval without anchor is the same as the stored one with the default anchor.
func sameSchedule(stored, wanted *api.Schedule) bool {
	if stored == nil || wanted == nil {
		return stored == nil && wanted == nil
	}
	if stored.Interval != nil && wanted.Interval != nil && wanted.Interval.AnchorDate == nil && stored.Interval.AnchorDate != nil {
		anchored := *stored.Interval
		year, month, day := anchored.AnchorDate.Date()
		hour, minute, second := anchored.AnchorDate.Clock()
		if year != 2020 || month != 1 || day != 1 || hour+minute+second != 0 {
			return false
		}
		anchored.AnchorDate = nil
		stored = &api.Schedule{Interval: &anchored}
	}
	if stored.RRule != nil && wanted.RRule != nil && !strings.Contains(wanted.RRule.RRule, "DTSTART") {
		stored = &api.Schedule{RRule: withoutStart(stored.RRule)}
		wanted = &api.Schedule{RRule: withoutStart(wanted.RRule)}
	}
	x, errX := json.Marshal(stored)
	y, errY := json.Marshal(wanted)
	return errX == nil && errY == nil && sameJSON(x, y)
}

// withoutStart is a rule without the start that the server gives to one that has none.
func withoutStart(schedule *api.RRuleSchedule) *api.RRuleSchedule {
	bare := *schedule
	for line := range strings.SplitSeq(schedule.RRule, "\n") {
		if !strings.HasPrefix(line, "DTSTART") {
			bare.RRule = strings.TrimPrefix(line, "RRULE:")
		}
	}
	return &bare
}
