// Package parameters holds the parameters of flow runs to the JSON Schema of their deployment.
package parameters

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/sluice-dev/sluice/http/internal/body"
)

// SchemaLimit bounds the bytes of a schema: it is compiled, and kept compiled, on every node that checks runs against it.
const SchemaLimit = 64 << 10

// cacheSize is how many compiled schemas are kept.
const cacheSize = 256

// mostFindings bounds what is told of one object.
const mostFindings = 20

// Checker compiles schemas once. It is safe for concurrent use; its zero value is ready.
type Checker struct {
	mu       sync.Mutex
	compiled map[string]*jsonschema.Schema // by the schema's text; at most cacheSize
	order    []string                      // the texts, oldest first
}

// None reports whether a schema takes everything, since there is none.
func None(schema []byte) bool { return len(schema) == 0 || string(schema) == "null" }

// Compile returns what is wrong with a schema, for people; nil when nothing is.
func (c *Checker) Compile(schema []byte) error {
	if len(schema) > SchemaLimit {
		return fmt.Errorf("it has %d bytes, more than the %d that a schema may have", len(schema), SchemaLimit)
	}
	_, err := c.schema(schema)
	return err
}

// Check returns what in the parameters does not fit the schema. Places begin at "body", "parameters". partial lets required
// parameters be absent: whoever creates a run gives them.
func (c *Checker) Check(schema, parameters []byte, partial bool) ([]body.Error, error) {
	compiled, err := c.schema(schema)
	if err != nil {
		return nil, fmt.Errorf("read the schema of parameters: %w", err)
	}
	if None(parameters) {
		parameters = []byte("{}")
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(parameters))
	if err != nil {
		return nil, fmt.Errorf("read the parameters: %w", err)
	}
	if found := outOfRange(value, "body", "parameters"); len(found) > 0 {
		return found, nil
	}
	problem, ok := errors.AsType[*jsonschema.ValidationError](compiled.Validate(value))
	if !ok {
		return nil, nil
	}
	f := findings{partial: partial, printer: message.NewPrinter(language.English)}
	f.add(problem)
	if len(f.list) == 0 && !f.skipped {
		f.fail(problem, "value does not fit the schema of the deployment", "value_error.schema")
	}
	slices.SortStableFunc(f.list, func(a, b body.Error) int { return strings.Compare(fmt.Sprint(a.Loc...), fmt.Sprint(b.Loc...)) })
	return f.list, nil
}

func (c *Checker) schema(text []byte) (*jsonschema.Schema, error) {
	c.mu.Lock()
	known := c.compiled[string(text)]
	c.mu.Unlock()
	if known != nil {
		return known, nil
	}
	compiled, err := compile(text)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.compiled == nil {
		c.compiled = map[string]*jsonschema.Schema{}
	}
	if c.compiled[string(text)] == nil {
		if len(c.order) == cacheSize {
			delete(c.compiled, c.order[0])
			c.order = slices.Delete(c.order, 0, 1)
		}
		c.order = append(c.order, string(text))
	}
	c.compiled[string(text)] = compiled
	return compiled, nil
}

// nowhere keeps schemas from naming files and addresses.
type nowhere struct{}

func (nowhere) Load(url string) (any, error) {
	return nil, fmt.Errorf("a schema may refer to itself only, not to %s", url)
}

func compile(text []byte) (*jsonschema.Schema, error) {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	if found := outOfRange(value); len(found) > 0 {
		return nil, fmt.Errorf("at /%s: %s", join(found[0].Loc), found[0].Msg)
	}
	const name = "parameters:schema"
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.UseLoader(nowhere{})
	if err := compiler.AddResource(name, value); err != nil {
		return nil, err
	}
	compiled, err := compiler.Compile(name)
	if problem, ok := errors.AsType[*jsonschema.SchemaValidationError](err); ok {
		if invalid, ok := errors.AsType[*jsonschema.ValidationError](problem.Err); ok {
			f := findings{printer: message.NewPrinter(language.English)}
			f.add(invalid)
			if len(f.list) > 0 {
				return nil, fmt.Errorf("at /%s: %s", strings.TrimPrefix(join(f.list[0].Loc), "body/parameters/"), f.list[0].Msg)
			}
		}
	}
	return compiled, err
}

func join(loc []any) string {
	var parts []string
	for _, at := range loc {
		parts = append(parts, fmt.Sprint(at))
	}
	return strings.Join(parts, "/")
}

// findings collects the leaves of a validation error.
type findings struct {
	partial bool
	skipped bool // a required parameter is absent and may be
	printer *message.Printer
	list    []body.Error
}

func (f *findings) add(e *jsonschema.ValidationError) {
	switch e.ErrorKind.(type) {
	case *kind.AnyOf, *kind.OneOf:
		f.alternatives(e)
		return
	}
	for _, cause := range e.Causes {
		f.add(cause)
	}
	if len(e.Causes) > 0 {
		return
	}
	switch k := e.ErrorKind.(type) {
	case *kind.Required:
		if f.partial && len(e.InstanceLocation) == 0 {
			f.skipped = true
			return
		}
		for _, name := range k.Missing {
			f.fail(e, "field required", "value_error.missing", name)
		}
	case *kind.AdditionalProperties:
		for _, name := range k.Properties {
			f.fail(e, "extra fields not permitted", "value_error.extra", name)
		}
	case *kind.FalseSchema:
		f.fail(e, "extra fields not permitted", "value_error.extra")
	case *kind.Type:
		f.fail(e, typeMessage(k), "type_error."+k.Want[len(k.Want)-1])
	default:
		word := "schema"
		if path := k.KeywordPath(); len(path) > 0 {
			word = strings.ToLower(path[len(path)-1])
		}
		f.fail(e, k.LocalizedString(f.printer), "value_error."+word)
	}
}

// alternatives tells of the alternative that the value comes closest to: the one whose problem lies deepest.
func (f *findings) alternatives(e *jsonschema.ValidationError) {
	var best *jsonschema.ValidationError
	types, deepest := []string{}, -1
	for _, cause := range e.Causes {
		leaf := cause
		for len(leaf.Causes) > 0 {
			leaf = leaf.Causes[0]
		}
		if k, ok := leaf.ErrorKind.(*kind.Type); ok && len(leaf.InstanceLocation) == len(e.InstanceLocation) {
			types = append(types, k.Want...)
		}
		if depth := len(leaf.InstanceLocation); depth > deepest {
			best, deepest = cause, depth
		}
	}
	switch {
	case best == nil:
		f.fail(e, "value does not fit any of the alternatives, or more than one", "value_error.schema")
	case len(types) == len(e.Causes): // none of them takes the value's type
		f.fail(e, typeMessage(&kind.Type{Want: types}), "type_error."+types[0])
	default:
		f.add(best)
	}
}

func typeMessage(k *kind.Type) string {
	var words []string
	for _, w := range k.Want {
		if w != "null" {
			words = append(words, typeNames[w])
		}
	}
	if slices.Contains(k.Want, "null") {
		words = append(words, "null")
	}
	return "value is not a valid " + strings.Join(words, " or ")
}

// typeNames are the words of other 422 answers for JSON's types.
var typeNames = map[string]string{"string": "string", "integer": "integer", "number": "number", "boolean": "boolean", "object": "dict", "array": "list", "null": "null"}

func (f *findings) fail(e *jsonschema.ValidationError, text, typ string, more ...any) {
	if len(f.list) == mostFindings {
		return
	}
	loc := []any{"body", "parameters"}
	for _, at := range e.InstanceLocation {
		// What is a number may be a member's name as well: people read it either way.
		if i, err := strconv.Atoi(at); err == nil {
			loc = append(loc, i)
		} else {
			loc = append(loc, at)
		}
	}
	f.list = append(f.list, body.Error{Loc: append(loc, more...), Msg: text, Type: typ})
}
