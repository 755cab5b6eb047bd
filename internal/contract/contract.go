// Package contract holds requests and answers against the API's description. Tests put a Checker between a client and the
// server they test: what the description does not say, or says otherwise, fails the test. Nothing but tests imports it.
package contract

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Checker knows the description of an API. It may be used by many goroutines.
type Checker struct {
	root       map[string]any
	operations []*operation
	native     *schemas
	strict     *schemas // without the fields that clients which refuse unknown fields do not get
}

// schemas are those of a document.
type schemas struct {
	mu       sync.Mutex // guards what follows
	compiler *jsonschema.Compiler
	known    map[string]*jsonschema.Schema // by JSON pointer; compiled when first needed
}

// operation is one method of one path of the description.
type operation struct {
	name     string // "GET /api/flows/{id}"
	method   string
	segments []string
	pointer  string // of the operation in the document
	value    map[string]any
	query    map[string]string // pointer of the parameter's schema, by name
	required []string          // query parameters that must be there
}

const documentURL = "file:///openapi.json"

// New reads a description in OpenAPI 3.1.
func New(document []byte) (*Checker, error) {
	root, native, err := read(document, func(any) {})
	if err != nil {
		return nil, fmt.Errorf("read the API's description: %w", err)
	}
	_, strict, err := read(document, removeNative)
	if err != nil {
		return nil, fmt.Errorf("read the API's description: %w", err)
	}
	c := &Checker{root: root, native: native, strict: strict}
	paths, _ := root["paths"].(map[string]any)
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		item, _ := paths[path].(map[string]any)
		for _, method := range slices.Sorted(maps.Keys(item)) {
			value, is := item[method].(map[string]any)
			if !is {
				continue // parameters of all methods
			}
			pointer := "/paths/" + escape(path)
			o := &operation{
				name: strings.ToUpper(method) + " " + path, method: strings.ToUpper(method), segments: strings.Split(path, "/"),
				pointer: pointer + "/" + method, value: value, query: map[string]string{},
			}
			if err := o.parameters(root, pointer, item); err != nil {
				return nil, fmt.Errorf("%s: %w", o.name, err)
			}
			if err := o.parameters(root, o.pointer, value); err != nil {
				return nil, fmt.Errorf("%s: %w", o.name, err)
			}
			c.operations = append(c.operations, o)
		}
	}
	return c, nil
}

func read(document []byte, change func(any)) (map[string]any, *schemas, error) {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(document))
	if err != nil {
		return nil, nil, err
	}
	root, is := value.(map[string]any)
	if !is {
		return nil, nil, errors.New("it is no object")
	}
	change(root)
	closeObjects(root)
	s := &schemas{compiler: jsonschema.NewCompiler(), known: map[string]*jsonschema.Schema{}}
	s.compiler.DefaultDraft(jsonschema.Draft2020)
	s.compiler.AssertFormat()
	return root, s, s.compiler.AddResource(documentURL, root)
}

// removeNative removes the fields that strict clients do not get.
func removeNative(v any) {
	switch v := v.(type) {
	case map[string]any:
		if properties, is := v["properties"].(map[string]any); is {
			maps.DeleteFunc(properties, func(_ string, schema any) bool {
				s, _ := schema.(map[string]any)
				return s["x-sluice-native"] == true
			})
		}
		for _, member := range v {
			removeNative(member)
		}
	case []any:
		for _, member := range v {
			removeNative(member)
		}
	}
}

// closeObjects makes every object whose fields are listed one that has no others: a field that is not described is a finding.
// Descriptions for clients leave objects open, because we may add fields.
func closeObjects(v any) {
	switch v := v.(type) {
	case map[string]any:
		_, listed := v["properties"].(map[string]any)
		_, additional := v["additionalProperties"]
		_, unevaluated := v["unevaluatedProperties"]
		if listed && !additional && !unevaluated && v["type"] == "object" {
			v["unevaluatedProperties"] = false
		}
		for key, member := range v {
			if key == "example" || key == "examples" || key == "default" {
				continue
			}
			closeObjects(member)
		}
	case []any:
		for _, member := range v {
			closeObjects(member)
		}
	}
}

func (o *operation) parameters(root map[string]any, pointer string, of map[string]any) error {
	list, _ := of["parameters"].([]any)
	for i, p := range list {
		at := pointer + "/parameters/" + strconv.Itoa(i)
		p, is := p.(map[string]any)
		if ref, refers := p["$ref"].(string); refers {
			at = strings.TrimPrefix(ref, "#")
			p, is = lookup(root, at).(map[string]any)
		}
		name, named := p["name"].(string)
		if !is || !named {
			return fmt.Errorf("parameter %d is not described", i)
		}
		if p["in"] != "query" {
			continue
		}
		o.query[name] = at + "/schema"
		if p["required"] == true {
			o.required = append(o.required, name)
		}
	}
	return nil
}

// lookup finds what a JSON pointer names.
func lookup(root any, pointer string) any {
	for _, step := range strings.Split(strings.TrimPrefix(pointer, "/"), "/") {
		step = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
		object, is := root.(map[string]any)
		if !is {
			return nil
		}
		root = object[step]
	}
	return root
}

func escape(s string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(s) }

// find returns the operation for a request, the one with the most literal segments; nil when there is none.
func (c *Checker) find(method, path string) *operation {
	if len(path) > 1 {
		path = strings.TrimSuffix(path, "/")
	}
	segments := strings.Split(path, "/")
	var best *operation
	literal := -1
	for _, o := range c.operations {
		if o.method != method && (o.method != http.MethodGet || method != http.MethodHead) || len(o.segments) != len(segments) {
			continue
		}
		n := 0
		for i, s := range o.segments {
			if strings.HasPrefix(s, "{") {
				continue
			}
			if s != segments[i] {
				n = -1
				break
			}
			n++
		}
		if n > literal {
			best, literal = o, n
		}
	}
	return best
}

// operation is that of an exchange. A slash inside a segment (%2F) is one of a value where the endpoint takes it for such.
func (c *Checker) operation(x Exchange) *operation {
	o := c.find(x.Method, x.URL.Path)
	if o == nil && x.Status != http.StatusNotFound {
		o = c.find(x.Method, x.URL.EscapedPath())
	}
	return o
}

// Exchange is one request and its answer, both read to their end.
type Exchange struct {
	Method      string
	URL         *url.URL
	ContentType string
	Body        []byte
	Strict      bool // the client refuses fields it does not know

	Status            int
	AnswerContentType string
	Answer            []byte
	// Aborted says that the connection broke before the answer ended: what came is not checked.
	Aborted bool
	// Odd says that the request is one that the server takes although its description does not say so: numbers as text, say.
	// Only the answer is checked.
	Odd bool
}

// ErrNotDescribed says that an endpoint answered that the description does not have.
var ErrNotDescribed = errors.New("this endpoint is not described; http/DESIGN.md says how to (Describing an endpoint)")

// Check says what the description does not allow; nil when it allows everything.
func (c *Checker) Check(x Exchange) error {
	if x.Method == http.MethodOptions {
		return nil // a browser's question, answered for every path
	}
	o := c.operation(x)
	if o == nil {
		if x.Status == http.StatusNotFound || x.Status == http.StatusMethodNotAllowed || !strings.HasPrefix(x.URL.Path, "/api/") {
			return nil // there is no such endpoint, and the server says so
		}
		return fmt.Errorf("%s %s was answered %d: %w", x.Method, x.URL.Path, x.Status, ErrNotDescribed)
	}
	if err := c.checkAnswer(o, x); err != nil {
		return fmt.Errorf("%s: answer %d: %w\n%s", o.name, x.Status, err, short(x.Answer))
	}
	return c.checkAccepted(o, x)
}

// CheckRequest says what the description does not allow of the request, whatever the answer.
func (c *Checker) CheckRequest(x Exchange) error {
	if o := c.operation(x); o != nil {
		return c.checkAccepted(o, x)
	}
	return nil
}

func (c *Checker) checkAccepted(o *operation, x Exchange) error {
	if x.Status >= http.StatusBadRequest || x.Odd {
		return nil // a request that is refused may be anything
	}
	if err := c.checkRequest(o, x); err != nil {
		return fmt.Errorf("%s: the request was answered %d although: %w\n%s", o.name, x.Status, err, short(x.Body))
	}
	return nil
}

func short(text []byte) []byte {
	const enough = 2000
	return text[:min(len(text), enough)]
}

func (c *Checker) checkRequest(o *operation, x Exchange) error {
	s := c.schemasFor(x)
	query := x.URL.Query()
	for name, values := range query {
		pointer, described := o.query[name]
		if !described {
			return fmt.Errorf("the query parameter %q is not described", name)
		}
		for _, v := range values {
			if err := s.checkText(pointer, v); err != nil {
				return fmt.Errorf("query parameter %s: %w", name, err)
			}
		}
	}
	for _, name := range o.required {
		if !query.Has(name) {
			return fmt.Errorf("the query parameter %q is missing", name)
		}
	}
	body, described := o.value["requestBody"].(map[string]any)
	at := o.pointer + "/requestBody"
	if ref, refers := body["$ref"].(string); refers {
		at = strings.TrimPrefix(ref, "#")
		body, described = lookup(c.root, at).(map[string]any)
	}
	if len(x.Body) == 0 {
		if described && body["required"] == true {
			return errors.New("it has no body")
		}
		return nil
	}
	if !described {
		return errors.New("it has a body, and none is described")
	}
	return s.checkContent(body["content"], at+"/content", x.ContentType, x.Body)
}

// checkText holds a parameter against its schema: as JSON where it is some, else as text.
func (s *schemas) checkText(pointer, text string) error {
	var value any = text
	if parsed, err := jsonschema.UnmarshalJSON(strings.NewReader(text)); err == nil {
		if _, isText := parsed.(string); !isText && s.validate(pointer, parsed) == nil {
			return nil
		}
	}
	return s.validate(pointer, value)
}

func (c *Checker) checkAnswer(o *operation, x Exchange) error {
	s := c.schemasFor(x)
	responses, _ := o.value["responses"].(map[string]any)
	status := strconv.Itoa(x.Status)
	response, described := responses[status].(map[string]any)
	if !described {
		return errors.New("the status is not described")
	}
	pointer := o.pointer + "/responses/" + status
	if ref, refers := response["$ref"].(string); refers {
		pointer = strings.TrimPrefix(ref, "#")
		response, _ = lookup(c.root, pointer).(map[string]any)
	}
	if x.Method == http.MethodHead || x.Aborted && !strings.HasPrefix(x.AnswerContentType, "text/event-stream") {
		return nil // of a stream, which its client ends, the events that came whole are checked
	}
	content, hasContent := response["content"]
	if !hasContent {
		if len(x.Answer) > 0 {
			return errors.New("it has a body, and none is described")
		}
		return nil
	}
	return s.checkContent(content, pointer+"/content", x.AnswerContentType, x.Answer)
}

func (s *schemas) checkContent(content any, pointer, contentType string, body []byte) error {
	kinds, _ := content.(map[string]any)
	kind := "application/json"
	if contentType != "" {
		parsed, _, err := mime.ParseMediaType(contentType)
		if err != nil {
			return fmt.Errorf("content type %q: %w", contentType, err)
		}
		kind = parsed
	} else if len(kinds) == 1 {
		for only := range kinds {
			kind = only // what comes without a type is taken for what is described
		}
	}
	media, described := kinds[kind].(map[string]any)
	if !described {
		return fmt.Errorf("the content type %s is not described", kind)
	}
	pointer += "/" + escape(kind)
	switch {
	case kind == "text/event-stream":
		return s.checkEvents(media, pointer, body)
	case kind == "application/x-ndjson":
		for line := range bytes.Lines(body) {
			if err := s.checkJSON(pointer+"/schema", line); err != nil {
				return err
			}
		}
		return nil
	case strings.HasSuffix(kind, "json"):
		return s.checkJSON(pointer+"/schema", body)
	}
	return nil
}

func (s *schemas) checkJSON(pointer string, text []byte) error {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("it is no JSON: %w", err)
	}
	return s.validate(pointer, value)
}

// checkEvents holds the data of each server-sent event against the schema that x-sluice-events names for it.
func (s *schemas) checkEvents(media map[string]any, pointer string, stream []byte) error {
	described, _ := media["x-sluice-events"].(map[string]any)
	blocks := strings.Split(string(stream), "\n\n")
	for _, block := range blocks[:len(blocks)-1] { // what follows the last blank line is cut off
		name, data := "", ""
		for line := range strings.SplitSeq(block, "\n") {
			if v, is := strings.CutPrefix(line, "event: "); is {
				name = v
			}
			if v, is := strings.CutPrefix(line, "data: "); is {
				data = v
			}
		}
		if name == "" {
			continue
		}
		if _, is := described[name]; !is {
			return fmt.Errorf("the event %q is not described", name)
		}
		if err := s.checkJSON(pointer+"/x-sluice-events/"+escape(name), []byte(data)); err != nil {
			return fmt.Errorf("event %s: %w", name, err)
		}
	}
	return nil
}

func (s *schemas) validate(pointer string, value any) error {
	schema, err := s.schema(pointer)
	if err != nil {
		return err
	}
	return schema.Validate(value)
}

func (s *schemas) schema(pointer string) (*jsonschema.Schema, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if schema := s.known[pointer]; schema != nil {
		return schema, nil
	}
	schema, err := s.compiler.Compile(documentURL + "#" + (&url.URL{Path: pointer}).EscapedPath())
	if err != nil {
		return nil, fmt.Errorf("the description at %s: %w", pointer, err)
	}
	s.known[pointer] = schema
	return schema, nil
}

func (c *Checker) schemasFor(x Exchange) *schemas {
	if x.Strict {
		return c.strict
	}
	return c.native
}

// Compile reports every schema of the description that is none.
func (c *Checker) Compile() error {
	var errs []error
	for _, o := range c.operations {
		for _, pointer := range o.query {
			_, err := c.native.schema(pointer)
			errs = append(errs, err)
		}
		errs = append(errs, c.compileAll(o.value, o.pointer))
	}
	return errors.Join(errs...)
}

// compileAll compiles the schemas of all contents below v.
func (c *Checker) compileAll(v map[string]any, pointer string) error {
	var errs []error
	for key, member := range v {
		member, is := member.(map[string]any)
		if !is {
			continue
		}
		at := pointer + "/" + escape(key)
		switch key {
		case "schema":
			_, err := c.native.schema(at)
			errs = append(errs, err)
		case "x-sluice-events":
			for name := range member {
				_, err := c.native.schema(at + "/" + escape(name))
				errs = append(errs, err)
			}
		case "example", "examples":
		default:
			errs = append(errs, c.compileAll(member, at))
		}
	}
	return errors.Join(errs...)
}

// Validate holds a JSON text against a JSON Schema.
func Validate(schema, text []byte) error {
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		return fmt.Errorf("read the schema: %w", err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("read the text: %w", err)
	}
	const name = "file:///schema.json"
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource(name, parsed); err != nil {
		return fmt.Errorf("read the schema: %w", err)
	}
	compiled, err := compiler.Compile(name)
	if err != nil {
		return fmt.Errorf("read the schema: %w", err)
	}
	return compiled.Validate(value)
}
