package flow

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/flow/internal/engine"
)

// Part is what a program is made of: a Flow or a Deployment.
type Part interface{ add(*program) error }

// program is the body of Main.
type program struct {
	flows       []*part
	deployments []Deployment
	stdout      io.Writer
	stderr      io.Writer
}

// part is a flow of the program, without its types.
type part struct {
	flow   *engine.Flow
	schema *jsonschema.Schema
	decode func(parameters []byte) (any, error)
}

// Exit statuses of Main. Those of an executed flow run follow from whether its end was reported, not from what it was.
const (
	exitOK         = 0
	exitFailed     = 1
	exitUsage      = 2
	exitTerminated = 143
)

func (f *Flow[I, O]) add(p *program) error {
	if slices.ContainsFunc(p.flows, func(o *part) bool { return o.flow.Name == f.flow.Name }) {
		return fmt.Errorf("there are two flows called %q", f.flow.Name)
	}
	schema, err := jsonschema.For[I](nil)
	if err != nil {
		return fmt.Errorf("describe the input of flow %q: %w", f.flow.Name, err)
	}
	f.flow.Version = cmp.Or(f.flow.Version, revision())
	acceptNilWithin(schema)
	wrapped := schema.Type != "object"
	if wrapped {
		schema = &jsonschema.Schema{Type: "object", Properties: map[string]*jsonschema.Schema{"input": schema}, Required: []string{"input"}}
	}
	p.flows = append(p.flows, &part{flow: f.flow, schema: schema, decode: func(parameters []byte) (any, error) { return decode[I](parameters, schema, wrapped) }})
	return nil
}

// acceptNilWithin lets the maps in a schema be null, as its slices are: that is what a nil one becomes.
func acceptNilWithin(s *jsonschema.Schema) {
	inner := slices.Collect(maps.Values(s.Properties))
	for _, in := range append(inner, s.Items, s.AdditionalProperties) {
		if in == nil {
			continue
		}
		acceptNilWithin(in)
		if in.Type == "object" && in.Properties == nil && in.AdditionalProperties != nil && in.AdditionalProperties.Not == nil {
			in.Type, in.Types = "", []string{"null", "object"}
		}
	}
}

// decode reads a flow's input from parameters and holds it to its schema.
func decode[I any](parameters []byte, schema *jsonschema.Schema, wrapped bool) (any, error) {
	var in I
	if len(parameters) == 0 {
		parameters = []byte("{}")
	}
	var plain any
	if err := json.Unmarshal(parameters, &plain); err != nil {
		return nil, err
	}
	resolved, err := schema.Resolve(nil)
	if err != nil {
		return nil, err
	}
	if err := resolved.Validate(plain); err != nil {
		return nil, err
	}
	if wrapped {
		var object struct {
			Input json.RawMessage `json:"input"`
		}
		if err := json.Unmarshal(parameters, &object); err != nil {
			return nil, err
		}
		parameters = object.Input
	}
	decoder := json.NewDecoder(bytes.NewReader(parameters))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&in); err != nil {
		return nil, err
	}
	return in, nil
}

// Main is the main function of a program of flows. Its commands:
//
//	run FLOW [--PARAMETER VALUE]...   runs a flow and records it
//	serve QUEUE...                    executes runs of work queues in this process, each as a goroutine
//	describe                          prints flows, parameters and deployments as JSON
//	exec FLOW_RUN_ID                  executes a flow run that an agent was granted
//
// `sluice deployment create PROGRAM` uploads the program and makes its deployments. Main does not return.
func Main(parts ...Part) {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr, parts))
}

func run(args []string, stdout, stderr io.Writer, parts []Part) int {
	p := &program{stdout: stdout, stderr: stderr}
	for _, part := range parts {
		if err := part.add(p); err != nil {
			return p.usage(err.Error())
		}
	}
	for _, d := range p.deployments {
		if p.find(d.flow) == nil {
			return p.usage(fmt.Sprintf("deployment %q is of flow %q, which Main was not given", d.body.Name, d.flow))
		}
	}
	if len(args) == 0 {
		return p.help(stderr, exitUsage)
	}
	ctx, stop := terminable()
	defer stop()
	switch command, args := args[0], args[1:]; command {
	case "help", "-h", "--help":
		return p.help(stdout, exitOK)
	case "describe":
		return p.describe()
	case "run":
		return p.run(ctx, args)
	case "exec":
		return p.exec(ctx, args)
	case "serve":
		return p.serve(ctx, args)
	default:
		return p.usage(fmt.Sprintf("there is no command %q", command))
	}
}

// terminable returns a context that ends with a signal, which is its cause.
func terminable() (context.Context, func()) {
	ctx, end := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	stopped := make(chan struct{})
	go func() {
		select {
		case s := <-signals:
			name := "SIGTERM"
			if s == os.Interrupt {
				name = "SIGINT"
			}
			end(&engine.Terminated{Signal: name})
			signal.Stop(signals) // the next one kills
		case <-stopped:
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(stopped)
		end(nil)
	}
}

func (p *program) find(flow string) *part {
	for _, f := range p.flows {
		if f.flow.Name == flow {
			return f
		}
	}
	return nil
}

func (p *program) say(format string, args ...any) {
	_, _ = fmt.Fprintf(p.stderr, format+"\n", args...) // nobody may listen
}

// complain is say of an error, with what the server advises.
func (p *program) complain(format string, err error) {
	p.say(format, err)
	if e, ok := errors.AsType[*api.Error](err); ok && e.Hint != "" {
		p.say("hint: %s", e.Hint)
	}
}

// command is what starts this program: of one that `go run` has built not its file, which lies in Go's cache.
func command() string {
	if !strings.Contains(os.Args[0], string(filepath.Separator)+"go-build") {
		return os.Args[0]
	}
	if info, ok := debug.ReadBuildInfo(); ok && strings.Contains(info.Path, "/") {
		return "go run " + info.Path
	}
	return "go run ."
}

func (p *program) usage(problem string) int {
	p.say("error: %s\ntry: %s help", problem, command())
	return exitUsage
}

func (p *program) help(to io.Writer, status int) int {
	var b strings.Builder
	fmt.Fprintf(&b, "usage: %[1]s run FLOW [--PARAMETER VALUE]... [--params FILE|-]\n       %[1]s serve [-limit N] QUEUE...\n       %[1]s describe\n\nFlows:\n", command())
	for _, f := range p.flows {
		fmt.Fprintf(&b, "  %s", f.flow.Name)
		for _, name := range f.parameters() {
			form := "--%s VALUE"
			if !slices.Contains(f.schema.Required, name) {
				form = "[--%s VALUE]"
			}
			fmt.Fprintf(&b, " "+form, name)
		}
		if f.flow.Description != "" {
			fmt.Fprintf(&b, "\n      %s", f.flow.Description)
		}
		b.WriteString("\n")
	}
	file := os.Args[0]
	if command() != file {
		file = "FOLDER" // of the code: the program of `go run` does not stay
	}
	fmt.Fprintf(&b, "\n`sluice deployment create %s` makes its deployments.\n", file)
	_, _ = io.WriteString(to, b.String())
	return status
}

func (f *part) parameters() []string {
	var names []string
	for name := range f.schema.Properties {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		place := func(name string) int { return slices.Index(f.schema.PropertyOrder, name) }
		return cmp.Or(cmp.Compare(place(a), place(b)), cmp.Compare(a, b))
	})
	return names
}

// run runs a flow with parameters from the command line.
func (p *program) run(ctx context.Context, args []string) int {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return p.usage("run needs the name of a flow")
	}
	f := p.find(args[0])
	if f == nil {
		return p.usage(fmt.Sprintf("this program has no flow %q", args[0]))
	}
	parameters, err := f.arguments(args[1:])
	if err != nil {
		return p.usage(err.Error())
	}
	in, err := f.decode(parameters)
	if err != nil {
		return p.usage(fmt.Sprintf("the parameters do not fit flow %q: %s", f.flow.Name, err))
	}
	connected, end, err := connect(ctx, p.stderr)
	if err != nil {
		p.complain("error: %s", err)
		return exitFailed
	}
	out, err := f.flow.Run(connected, in, engine.Start{Parameters: parameters})
	if ended := end(); ended != nil {
		p.say("warning: %s", ended)
	}
	if err != nil {
		p.complain("error: %s", err)
		if _, signal := errors.AsType[*engine.Terminated](err); signal {
			return exitTerminated
		}
		return exitFailed
	}
	if !f.flow.Empty && !f.flow.NoResult {
		if data, err := json.Marshal(out); err == nil {
			_, _ = fmt.Fprintln(p.stdout, string(data))
		}
	}
	return exitOK
}

// arguments makes a JSON object of --name value and --name=value.
func (f *part) arguments(args []string) ([]byte, error) {
	object := map[string]json.RawMessage{}
	for len(args) > 0 {
		name, value, joined := strings.Cut(args[0], "=")
		args = args[1:]
		if !strings.HasPrefix(name, "-") {
			return nil, fmt.Errorf("%q is no parameter: write --NAME VALUE", name)
		}
		name = strings.TrimLeft(name, "-")
		schema := f.schema.Properties[name]
		if schema == nil && name != "params" {
			return nil, fmt.Errorf("flow %q has no parameter %q; it has: %s", f.flow.Name, name, strings.Join(f.parameters(), ", "))
		}
		if !joined && schema != nil && schema.Type == "boolean" && (len(args) == 0 || strings.HasPrefix(args[0], "--")) {
			value, joined = "true", true
		}
		if !joined {
			if len(args) == 0 {
				return nil, fmt.Errorf("--%s needs a value", name)
			}
			value, args = args[0], args[1:]
		}
		if name == "params" && schema == nil {
			if err := readParameters(value, object); err != nil {
				return nil, err
			}
			continue
		}
		raw := json.RawMessage(value)
		if text := schema.Type == "string" || slices.Contains(schema.Types, "string"); text || !json.Valid(raw) {
			raw, _ = json.Marshal(value) // a string always encodes
		}
		object[name] = raw
	}
	return json.Marshal(object)
}

func readParameters(file string, into map[string]json.RawMessage) error {
	var data []byte
	var err error
	if file == "-" {
		data, err = io.ReadAll(os.Stdin)
	} else {
		data, err = os.ReadFile(file)
	}
	if err != nil {
		return fmt.Errorf("read parameters: %w", err)
	}
	if err := json.Unmarshal(data, &into); err != nil {
		return fmt.Errorf("%s holds no JSON object: %w", file, err)
	}
	return nil
}

// exec executes the flow run that an agent has started this process for.
func (p *program) exec(ctx context.Context, args []string) int {
	if len(args) != 1 {
		return p.usage("exec needs the id of a flow run; agents call it")
	}
	id, err := api.ParseID(args[0])
	if err != nil {
		return p.usage(fmt.Sprintf("%q is no id of a flow run", args[0]))
	}
	lease := os.Getenv("SLUICE_LEASE_TOKEN")
	_ = os.Unsetenv("SLUICE_LEASE_TOKEN") // not for processes that the flow starts
	recorder, err := newRecorder(ctx)
	if err != nil {
		p.complain("error: %s", err)
		return exitFailed
	}
	connection := engine.Connection{Recorder: recorder, Level: loggingLevel(), Killed: true}
	if os.Getenv("SLUICE_ENGINE_CONSOLE") != "0" {
		connection.Console = p.stderr
	}
	defer func() {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastLines)
		defer cancel()
		if err := recorder.Close(ending); err != nil {
			p.say("warning: %s", err)
		}
	}()
	run, err := recorder.Client().FlowRun(ctx, id)
	if err != nil {
		p.complain("error: read the flow run: %s", err)
		return exitFailed
	}
	stored, err := recorder.Client().Flow(ctx, run.FlowID)
	if err != nil {
		p.complain("error: read the flow of the run: %s", err)
		return exitFailed
	}
	f := p.find(stored.Name)
	if f == nil {
		p.say("error: this program has no flow %q", stored.Name)
		return exitFailed
	}
	_, err = f.flow.RunGranted(engine.Connect(ctx, connection), run, lease, "", f.decode)
	if _, signal := errors.AsType[*engine.Terminated](err); signal {
		return exitTerminated
	}
	return exitOK // its end was reported, whatever it was; if not, the agent sees that
}

// description is the answer of `describe`; its form is a protocol with the command line.
type description struct {
	Protocol    int               `json:"protocol"`
	SDK         string            `json:"sdk"`
	OS          string            `json:"os"`
	Arch        string            `json:"arch"`
	Revision    string            `json:"revision"`
	Flows       []flowDescription `json:"flows"`
	Deployments []deploymentBody  `json:"deployments"`
}

type flowDescription struct {
	Name        string             `json:"name"`
	Version     string             `json:"version"`
	Description string             `json:"description"`
	Tags        []string           `json:"tags"`
	Parameters  *jsonschema.Schema `json:"parameters"`
}

func (p *program) describe() int {
	d := description{Protocol: 1, SDK: "go", OS: runtime.GOOS, Arch: runtime.GOARCH, Revision: revision(), Flows: []flowDescription{}, Deployments: []deploymentBody{}}
	for _, f := range p.flows {
		d.Flows = append(d.Flows, flowDescription{f.flow.Name, f.flow.Version, f.flow.Description, f.flow.Tags, f.schema})
	}
	for _, one := range p.deployments {
		if _, err := p.find(one.flow).decode(one.body.Parameters); err != nil {
			return p.usage(fmt.Sprintf("the parameters of deployment %q do not fit flow %q: %s", one.body.Name, one.flow, err))
		}
		d.Deployments = append(d.Deployments, one.body)
	}
	encoder := json.NewEncoder(p.stdout)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(d); err != nil {
		p.complain("error: %s", err)
		return exitFailed
	}
	return exitOK
}

// revision is what the program was built from, with "-changed" where that was not committed; "" when it is not known.
func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	found, changed := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			found = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = "-changed"
		}
	}
	if found == "" {
		return ""
	}
	return found + changed
}
