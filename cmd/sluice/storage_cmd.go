package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
	"github.com/sluice-dev/sluice/internal/redact"
	"github.com/sluice-dev/sluice/storage"
)

func newStorageCommand(a *app) *cobra.Command {
	return group("storage", "Configure where flow code and results are kept",
		`Configure storages for flow code and results. None is needed: without a default storage they are kept in the cluster's
built-in, replicated store.`,
		"  sluice storage create\n  sluice storage ls",
		newStorageCreate(a), newStorageList(a), newStorageTest(a), newStorageSetDefault(a), newStorageResetDefault(a), newStorageRelay(a))
}

// storageFlags are the answers given on the command line instead of at the prompts.
type storageFlags struct {
	kind, name string
	values     []string
	asDefault  bool
	noDefault  bool
}

func newStorageCreate(a *app) *cobra.Command {
	var given storageFlags
	command := &cobra.Command{
		Use:   "create",
		Short: "Register a storage",
		Long: `Register a storage. Without flags the command asks for what it needs. With --type it asks nothing: --name and one
--set for each required option must be given too. Types may be given by their beginning: file, local, s3, azure, google, kv.
For another S3 server than Amazon's --set endpoint_url=https://HOST names its address. "sluice storage test" tries a storage.`,
		Example: "  sluice storage create\n  sluice storage create --type file --name shared --set base_path=/mnt/flows --default\n  sluice storage create --type s3 --name lake --set bucket=flows --set region_name=eu-central-1",
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return createStorage(command.Context(), a, given)
		},
	}
	flags := command.Flags()
	flags.StringVar(&given.kind, "type", "", "type of storage")
	flags.StringVar(&given.name, "name", "", "name of this storage configuration")
	flags.StringArrayVar(&given.values, "set", nil, "option as KEY=VALUE (repeatable)")
	flags.BoolVar(&given.asDefault, "default", false, "make it the default storage")
	flags.BoolVar(&given.noDefault, "no-default", false, "do not make it the default storage, and do not ask")
	command.MarkFlagsMutuallyExclusive("default", "no-default")
	completeWords(command, "type", "azure", "file", "google", "kv", "local", "s3", "temporary")
	return command
}

func createStorage(ctx context.Context, a *app, given storageFlags) error {
	c, err := a.connect(0)
	if err != nil {
		return err
	}
	storageType := api.BlockTypeStorage
	specs, err := c.FilterBlockSpecs(ctx, api.BlockSpecFilterRequest{Type: &storageType})
	if err != nil {
		return fmt.Errorf("list storage types: %w", err)
	}
	if len(specs) == 0 {
		return notFoundf("", "the server knows no storage types")
	}
	ask := &prompter{ctx: ctx, app: a, lines: bufio.NewReader(a.in)}
	spec, err := chooseSpec(ask, specs, given)
	if err != nil {
		return err
	}
	fields, err := parseFields(spec.Fields)
	if err != nil {
		return fmt.Errorf("read the options of %s: %w", spec.Name, err)
	}
	for i := range fields {
		fields[i].directory = spec.Name == storage.KindFile && fields[i].name == "base_path"
	}
	if given.kind != "" && hasEndpoint[spec.Name] {
		fields = append(fields, field{name: "endpoint_url", Type: "string"})
	}
	data, name, err := answers(ask, spec, fields, given)
	if err != nil {
		return err
	}

	a.say("Validating configuration...")
	block := &api.Block{Name: name, Data: data, BlockSpec: spec}
	if a.places().Supports(spec.Name) {
		if _, err := storage.Open(block, a.places()); err != nil {
			return err
		}
	}
	a.say("Registering storage with server...")
	created, err := c.CreateBlock(ctx, api.BlockCreate{Name: name, Data: data, BlockSpecID: spec.ID})
	if err != nil {
		return otherwise(fmt.Errorf("register storage '%s': %w", name, err), "another --name, or sluice block edit "+shellWord(name)+" to change it")
	}
	a.say("Registered storage '%s' with identifier '%s'.", name, created.ID)
	if err := offerDefault(ctx, ask, c, created, given); err != nil {
		return err
	}
	if !a.places().Supports(spec.Name) {
		a.note("note: sluice cannot keep flow code in %s; it can in: %s, and in the built-in store.", spec.Name,
			strings.Join(a.places().Kinds(), ", "))
	}
	if a.quiet || a.structured() {
		return a.printObject(created, created.ID.String(), created.Name)
	}
	return nil
}

// hasEndpoint are the types that may be kept by other servers than those of the company that defines them. The option is none of Orion's
// block spec, so that nobody is asked for it, but whoever reads such a block may find it.
var hasEndpoint = map[string]bool{storage.KindS3: true, storage.KindGoogle: true}

// chooseSpec takes the type from the flag or asks for it.
func chooseSpec(ask *prompter, specs []api.BlockSpec, given storageFlags) (*api.BlockSpec, error) {
	if given.kind != "" {
		for i := range specs {
			if strings.HasPrefix(strings.ToLower(specs[i].Name), strings.ToLower(given.kind)) {
				return &specs[i], nil
			}
		}
		var names []string
		for _, spec := range specs {
			names = append(names, spec.Name)
		}
		return nil, usagef("--type is '%s'; it is the beginning of one of: %s", given.kind, strings.Join(names, ", "))
	}
	if given.name != "" || len(given.values) > 0 {
		return nil, usagef("--name and --set need --type")
	}
	ask.app.say("Found the following storage types:")
	for i, spec := range specs {
		ask.app.say("%d) %s", i, spec.Name)
		var schema struct {
			Description string `json:"description"`
		}
		if err := json.Unmarshal(spec.Fields, &schema); err == nil && schema.Description != "" {
			ask.app.say("    %s", strings.ReplaceAll(schema.Description, "\n", "\n    "))
		}
	}
	for {
		answer, err := ask.line("Select a storage type to create: ")
		if err != nil {
			return nil, err
		}
		if n, err := strconv.Atoi(answer); err == nil && n >= 0 && n < len(specs) {
			return &specs[n], nil
		}
		ask.app.say("Error: '%s' is not a number from 0 to %d.", answer, len(specs)-1)
	}
}

// field is one option of a storage, from the JSON schema of its block spec.
type field struct {
	name      string
	required  bool
	directory bool            // a directory that agents look for too, wherever they were started
	Type      string          `json:"type"`
	Enum      []string        `json:"enum"`
	Default   json.RawMessage `json:"default"`
}

// parseFields reads the options in the order of the schema.
func parseFields(schema json.RawMessage) ([]field, error) {
	var outer struct {
		Properties json.RawMessage `json:"properties"`
		Required   []string        `json:"required"`
	}
	if err := json.Unmarshal(schema, &outer); err != nil {
		return nil, err
	}
	if len(outer.Properties) == 0 {
		return nil, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(outer.Properties))
	if _, err := decoder.Token(); err != nil { // the opening brace
		return nil, err
	}
	var fields []field
	for decoder.More() {
		key, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		var f field
		if err := decoder.Decode(&f); err != nil {
			return nil, err
		}
		f.name, _ = key.(string)
		f.required = slices.Contains(outer.Required, f.name)
		fields = append(fields, f)
	}
	return fields, nil
}

// value encodes an answer; "" is the default, nil if there is none.
func (f *field) value(answer string) (json.RawMessage, error) {
	if answer == "" {
		switch {
		case f.required:
			return nil, usagef("%s is required", f.name)
		case len(f.Default) > 0:
			return f.Default, nil
		}
		return nil, nil
	}
	if len(f.Enum) > 0 && !slices.Contains(f.Enum, answer) {
		return nil, usagef("%s is '%s'; it is one of %s", f.name, answer, strings.Join(f.Enum, ", "))
	}
	if f.Type != "" && f.Type != "string" {
		if !json.Valid([]byte(answer)) || (f.Type == "object" && answer[0] != '{') {
			return nil, usagef("%s is '%s'; it must be JSON of type %s", f.name, answer, f.Type)
		}
		return json.RawMessage(answer), nil
	}
	if f.directory {
		path := strings.TrimPrefix(strings.TrimPrefix(answer, "file://"), "local://")
		// Other schemes and an empty path are judged when the storage is opened; ~ is the home of whoever opens it.
		if path != "" && !strings.Contains(path, "://") && !strings.HasPrefix(path, "~") && !filepath.IsAbs(path) {
			absolute, err := filepath.Abs(path)
			if err != nil {
				return nil, fmt.Errorf("find the directory %s: %w", path, err)
			}
			answer = absolute
		}
	}
	return json.Marshal(answer)
}

// secret says whether what is typed is not shown: as what viewers of the storage do not get to see.
func (f *field) secret() bool { return len(f.Enum) == 0 && redact.Name(f.name) }

// answers collects the options and the name, from flags or by asking, in the order people are asked.
func answers(ask *prompter, spec *api.BlockSpec, fields []field, given storageFlags) (json.RawMessage, string, error) {
	data := newObject()
	if given.kind == "" {
		ask.app.say("You've selected %s. It has %d option(s).", spec.Name, len(fields))
		for _, f := range fields {
			label := strings.ToUpper(strings.ReplaceAll(f.name, "_", " "))
			if !f.required {
				label += " (optional)"
			}
			value, err := ask.until(label+": ", f.secret(), f.value)
			if err != nil {
				return nil, "", err
			}
			data.set(f.name, value)
		}
		var name string
		_, err := ask.until("Choose a name for this storage configuration: ", false, func(answer string) (json.RawMessage, error) {
			name = answer
			if answer == "" {
				return nil, usagef("a name is required")
			}
			return nil, nil
		})
		return data.encoded(), name, err
	}
	options := map[string]string{}
	for _, pair := range given.values {
		key, value, found := strings.Cut(pair, "=")
		known := slices.ContainsFunc(fields, func(f field) bool { return f.name == key })
		if !found || !known {
			var names []string
			for _, f := range fields {
				names = append(names, f.name)
			}
			return nil, "", usagef("--set is '%s'; it is KEY=VALUE with one of the options of %s: %s", pair, spec.Name, strings.Join(names, ", "))
		}
		options[key] = value
	}
	if given.name == "" {
		return nil, "", usagef("--name is required with --type")
	}
	for _, f := range fields {
		if f.required && options[f.name] == "" {
			return nil, "", usagef("%s needs --set %s=...", spec.Name, f.name)
		}
		value, err := f.value(options[f.name])
		if err != nil {
			return nil, "", err
		}
		data.set(f.name, value)
	}
	return data.encoded(), given.name, nil
}

// offerDefault makes the storage the default if the user wants that; it asks when there is none.
func offerDefault(ctx context.Context, ask *prompter, c *client.Client, block *api.Block, given storageFlags) error {
	if given.noDefault {
		return nil
	}
	if !given.asDefault {
		if given.kind != "" {
			return nil
		}
		current, err := c.DefaultStorage(ctx)
		if err != nil {
			return fmt.Errorf("read the default storage: %w", err)
		}
		if current != nil {
			return nil
		}
		yes, err := ask.yes("You do not have a default storage configuration. Would you like to set this as your default storage?")
		if err != nil || !yes {
			return err
		}
	}
	if err := c.SetDefaultStorage(ctx, block.ID); err != nil {
		return fmt.Errorf("set default storage: %w", err)
	}
	ask.app.say("Set default storage to '%s'.", block.Name)
	return nil
}

// prompter asks questions: on stdout, as people see the rest there.
type prompter struct {
	ctx   context.Context // of the command; Ctrl-C ends it
	app   *app
	lines *bufio.Reader
}

// line asks one question and returns the trimmed answer.
func (p *prompter) line(question string) (string, error) {
	p.show(question)
	line, err := p.await(func() (string, error) { return p.lines.ReadString('\n') })
	switch {
	case p.ctx.Err() != nil:
		p.show("\n")
		return "", p.ctx.Err()
	case errors.Is(err, io.EOF) && line == "":
		p.show("\n")
		return "", usagef("no answer to '%s': the input has ended", strings.TrimSpace(question))
	case err != nil && !errors.Is(err, io.EOF):
		return "", fmt.Errorf("read answer: %w", err)
	}
	if !p.app.inTTY {
		p.show("\n") // nobody typed the end of the line
	}
	return strings.TrimSpace(line), nil
}

// await reads an answer until Ctrl-C. Nothing ends a read of a terminal: the goroutine of an interrupted one is left to the
// end of the process, and the prompter must not be used again.
func (p *prompter) await(read func() (string, error)) (string, error) {
	type answer struct {
		text string
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		text, err := read()
		answered <- answer{text, err}
	}()
	select {
	case got := <-answered:
		return got.text, got.err
	case <-p.ctx.Done():
		return "", p.ctx.Err()
	}
}

// show writes talk that is not a whole line.
func (p *prompter) show(s string) {
	out := p.app.out
	if p.app.structured() || p.app.quiet {
		out = p.app.err
	}
	fmt.Fprint(out, s)
}

// secret asks without showing what is typed.
func (p *prompter) secret(question string) (string, error) {
	file, isFile := p.app.in.(*os.File)
	if !p.app.inTTY || !isFile {
		return p.line(question)
	}
	visible, err := term.GetState(int(file.Fd()))
	if err != nil {
		return "", fmt.Errorf("read answer: %w", err)
	}
	p.show(question)
	answer, err := p.await(func() (string, error) {
		typed, err := term.ReadPassword(int(file.Fd()))
		return string(typed), err
	})
	p.show("\n")
	if p.ctx.Err() != nil {
		_ = term.Restore(int(file.Fd()), visible) // the abandoned read would leave the terminal without an echo
		return "", p.ctx.Err()
	}
	if err != nil {
		return "", fmt.Errorf("read answer: %w", err)
	}
	return strings.TrimSpace(answer), nil
}

// until asks until the answer is accepted.
func (p *prompter) until(question string, secret bool, accept func(string) (json.RawMessage, error)) (json.RawMessage, error) {
	for {
		ask := p.line
		if secret {
			ask = p.secret
		}
		answer, err := ask(question)
		if err != nil {
			return nil, err
		}
		value, err := accept(answer)
		if err == nil {
			return value, nil
		}
		p.show("Error: " + err.Error() + "\n")
	}
}

// yes asks a question whose default answer is yes.
func (p *prompter) yes(question string) (bool, error) {
	for {
		answer, err := p.line(question + " [Y/n]: ")
		if err != nil {
			return false, err
		}
		switch strings.ToLower(answer) {
		case "", "y", "yes":
			return true, nil
		case "n", "no":
			return false, nil
		}
		p.show("Error: answer y or n.\n")
	}
}

// object is a JSON object with its keys in the order they were set.
type object struct{ buffer bytes.Buffer }

func newObject() *object {
	o := &object{}
	o.buffer.WriteByte('{')
	return o
}

// set adds a key that is an identifier, unless it has no value: what is absent has its default wherever the block is read,
// while null is refused for some options.
func (o *object) set(key string, value json.RawMessage) {
	if value == nil {
		return
	}
	o.setRaw([]byte(strconv.Quote(key)), value)
}

// setRaw adds a key that is encoded already.
func (o *object) setRaw(key []byte, value json.RawMessage) {
	if o.buffer.Len() > 1 {
		o.buffer.WriteByte(',')
	}
	o.buffer.Write(key)
	o.buffer.WriteByte(':')
	o.buffer.Write(value)
}

func (o *object) encoded() json.RawMessage { return json.RawMessage(o.buffer.String() + "}") }

func newStorageList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List storages",
		Long:    "List the registered storages and which of them is the default.",
		Example: "  sluice storage ls",
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			c, err := a.connect(0)
			if err != nil {
				return err
			}
			blocks, err := storageBlocks(command.Context(), c)
			if err != nil {
				return err
			}
			current, err := c.DefaultStorage(command.Context())
			if err != nil {
				return fmt.Errorf("read the default storage: %w", err)
			}
			return printList(a, storageList(blocks, current))
		},
	}
}

func storageList(blocks []api.Block, current *api.Block) list[api.Block] {
	return list[api.Block]{
		title: "Configured Storage",
		columns: []column[api.Block]{
			{header: "ID", right: true, sgr: sgrCyan, cell: func(b api.Block, _ bool) string { return b.ID.String() }},
			{header: "Storage Type", sgr: sgrCyan, cell: func(b api.Block, _ bool) string { return b.BlockSpec.Name }},
			{header: "Storage Version", cell: func(b api.Block, _ bool) string { return b.BlockSpec.Version }},
			{header: "Name", fold: true, sgr: sgrGreen, cell: func(b api.Block, _ bool) string { return b.Name }},
			{header: "Server Default", cell: func(b api.Block, people bool) string {
				is := current != nil && current.ID == b.ID
				switch {
				case !people:
					return strconv.FormatBool(is)
				case is:
					return "✔"
				}
				return ""
			}},
		},
		items: blocks,
		id:    func(b api.Block) string { return b.ID.String() },
		name:  func(b api.Block) string { return b.Name },
	}
}

func newStorageSetDefault(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "set-default STORAGE",
		Short:             "Make a storage the default",
		Long:              "Make a storage the default for flow code and results, by its name or id.",
		Example:           "  sluice storage set-default shared",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeNames(a, storageNames),
		RunE: func(command *cobra.Command, args []string) error {
			c, err := a.connect(0)
			if err != nil {
				return err
			}
			block, err := findStorage(command.Context(), c, args[0])
			if err != nil {
				return err
			}
			if err := c.SetDefaultStorage(command.Context(), block.ID); err != nil {
				return fmt.Errorf("set default storage: %w", err)
			}
			return a.printDone(block, block.ID.String(), block.Name, fmt.Sprintf("Set default storage to '%s'.", block.Name))
		},
	}
}

func newStorageResetDefault(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "reset-default",
		Short:   "Use the built-in store again",
		Long:    "Leave no storage the default, so that flow code and results are kept in the cluster's built-in store.",
		Example: "  sluice storage reset-default",
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			c, err := a.connect(0)
			if err != nil {
				return err
			}
			if err := c.ClearDefaultStorage(command.Context()); err != nil {
				return fmt.Errorf("clear default storage: %w", err)
			}
			cleared := struct {
				DefaultStorage *api.Block `json:"default_storage"`
			}{}
			return a.printDone(cleared, "", "", "Cleared default storage; the built-in store is used.")
		},
	}
}
