// Package openapi holds the description of the HTTP API, in OpenAPI 3.1: one file per resource under parts/, put together
// here with what the table of routes knows. http/DESIGN.md says how to add to it.
package openapi

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

//go:embed parts/*.yaml
var parts embed.FS

// Route is what the table of routes knows of an operation, so that no file repeats it.
type Route struct {
	Method, Path string // "GET", "/api/flows/{id}"
	Role         string // "public" when nobody is asked who they are
	BodyLimit    int64  // bytes
	Unversioned  bool   // does not look at X-PREFECT-API-VERSION
}

type object = map[string]any

// part is a file: operations and objects of one resource.
type part struct {
	// Tag describes the resource; all operations of the file get it.
	Tag        *tag              `yaml:"tag"`
	Paths      map[string]object `yaml:"paths"`
	Components map[string]object `yaml:"components"`
	// Document is what stands at the top of the document; only one file has it.
	Document object `yaml:"document"`
}

type tag struct {
	Name        string `yaml:"name"`
	Description string `yaml:"description"`
}

// Document puts the parts together for the routes, as JSON. Operations without a route are left as they are written: that
// there are none is for tests to see.
func Document(routes []Route) ([]byte, error) {
	names, err := fs.Glob(parts, "parts/*.yaml")
	if err != nil {
		return nil, fmt.Errorf("list the parts of the API's description: %w", err)
	}
	a := assembly{document: object{}, paths: object{}, components: map[string]object{}, routes: map[string]Route{}}
	for _, r := range routes {
		a.routes[r.Method+" "+r.Path] = r
	}
	for _, name := range names {
		if err := a.read(name); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	a.document["paths"], a.document["components"], a.document["tags"] = a.paths, a.components, a.tags
	text, err := json.Marshal(a.document)
	if err != nil {
		return nil, fmt.Errorf("write the API's description: %w", err)
	}
	return text, nil
}

type assembly struct {
	document   object
	paths      object
	components map[string]object
	tags       []any
	routes     map[string]Route
}

func (a *assembly) read(name string) error {
	text, err := parts.ReadFile(name)
	if err != nil {
		return err
	}
	var p part
	decoder := yaml.NewDecoder(strings.NewReader(string(text)))
	decoder.KnownFields(true)
	if err := decoder.Decode(&p); err != nil {
		return err
	}
	if p.Document != nil {
		maps.Copy(a.document, p.Document)
	}
	if p.Tag != nil {
		a.tags = append(a.tags, object{"name": p.Tag.Name, "description": p.Tag.Description})
	}
	for kind, members := range p.Components {
		if a.components[kind] == nil {
			a.components[kind] = object{}
		}
		for name, member := range members {
			if _, twice := a.components[kind][name]; twice {
				return fmt.Errorf("components.%s.%s is described by another file too", kind, name)
			}
			a.components[kind][name] = member
		}
	}
	for path, item := range p.Paths {
		if _, twice := a.paths[path]; twice {
			return fmt.Errorf("%s is described by another file too", path)
		}
		if err := a.pathItem(&p, path, item); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		a.paths[path] = item
	}
	lenient(p.Paths)
	lenient(p.Components)
	return nil
}

// lenient completes the bodies that ignore what they do not know: there, null means the same as nothing.
func lenient(v any) {
	switch v := v.(type) {
	case map[string]object:
		for _, member := range v {
			lenient(member)
		}
	case object:
		for _, member := range v {
			lenient(member)
		}
		if v["x-sluice-lenient"] != true {
			return
		}
		required, _ := v["required"].([]any)
		properties, _ := v["properties"].(object)
		for name, schema := range properties {
			if !slices.Contains(required, any(name)) {
				properties[name] = object{"anyOf": []any{schema, object{"type": "null"}}}
			}
		}
	case []any:
		for _, member := range v {
			lenient(member)
		}
	}
}

var methods = []string{"get", "post", "patch", "put", "delete"}

var placeholder = regexp.MustCompile(`\{([a-z_]+)\}`)

func (a *assembly) pathItem(p *part, path string, item object) error {
	for _, method := range methods {
		operation, is := item[method].(object)
		if !is {
			continue
		}
		if err := a.operation(p, strings.ToUpper(method), path, operation); err != nil {
			return fmt.Errorf("%s: %w", method, err)
		}
	}
	return pathParameters(path, item)
}

// pathParameters describes the ones that no list does: {id} is an id, everything else a text.
func pathParameters(path string, item object) error {
	given, _ := item["parameters"].([]any)
	described := map[string]bool{}
	for _, p := range given {
		if p, is := p.(object); is {
			name, _ := p["name"].(string)
			described[name] = p["in"] == "path"
		}
	}
	for _, m := range placeholder.FindAllStringSubmatch(path, -1) {
		if described[m[1]] {
			continue
		}
		schema := object{"type": "string"}
		if m[1] == "id" {
			schema = object{"$ref": "#/components/schemas/Id"}
		}
		given = append(given, object{"name": m[1], "in": "path", "required": true, "schema": schema})
	}
	if len(given) > 0 {
		item["parameters"] = given
	}
	return nil
}

var errNoResponses = errors.New("it has no responses")

// operation completes what a file says with what is the same for all operations and with what the route knows.
func (a *assembly) operation(p *part, method, path string, operation object) error {
	if p.Tag != nil {
		operation["tags"] = []any{p.Tag.Name}
	}
	responses, is := operation["responses"].(object)
	if !is {
		return errNoResponses
	}
	described, _ := operation["errors"].(object)
	delete(operation, "errors")
	for status, text := range described {
		responses[status] = failure(fmt.Sprint(text))
	}
	route, routed := a.routes[method+" "+path]
	if !routed {
		return nil
	}
	operation["x-sluice-role"] = route.Role
	_, body := operation["requestBody"]
	if body {
		operation["x-sluice-body-limit"] = route.BodyLimit
	}
	if route.Role == "public" {
		operation["security"] = []any{}
	}
	if reading(route) {
		given, _ := operation["parameters"].([]any)
		operation["parameters"] = append(given, object{"$ref": "#/components/parameters/Consistency"}, object{"$ref": "#/components/parameters/MinIndex"})
	}
	if route.Method == "POST" && route.Role != "public" && !reading(route) {
		given, _ := operation["parameters"].([]any)
		operation["parameters"] = append(given, object{"$ref": "#/components/parameters/IdempotencyKey"})
	}
	_, query := operation["parameters"]
	for status, component := range common {
		if _, given := responses[status]; given || !component.applies(route, body, query || strings.Contains(path, "{")) {
			continue
		}
		responses[status] = object{"$ref": "#/components/responses/" + component.name}
	}
	return nil
}

// reading says whether an operation answers from a view of the state that may be as fresh as the client asks for.
func reading(r Route) bool {
	if r.Role == "public" {
		return false
	}
	switch r.Path[strings.LastIndex(r.Path, "/")+1:] {
	case "filter", "count", "history":
		return true
	}
	return r.Method == "GET"
}

func failure(description string) object {
	return object{"description": description, "content": object{"application/json": object{"schema": object{"$ref": "#/components/schemas/Error"}}}}
}

// common are the answers that every operation of a kind may give.
var common = map[string]struct {
	name    string
	applies func(r Route, body, parameters bool) bool
}{
	"400": {"BadRequest", func(r Route, _, _ bool) bool { return !r.Unversioned }},
	"401": {"Unauthorized", func(r Route, _, _ bool) bool { return r.Role != "public" }},
	"403": {"Forbidden", func(r Route, _, _ bool) bool { return r.Role != "public" }},
	"413": {"TooLarge", func(r Route, _, _ bool) bool { return r.Method != "GET" && !r.Unversioned }},
	"415": {"NotJSON", func(r Route, _, _ bool) bool { return r.Method != "GET" && !r.Unversioned }},
	"422": {"Invalid", func(_ Route, body, parameters bool) bool { return body || parameters }},
	"429": {"TryAgain", func(r Route, _, _ bool) bool { return !r.Unversioned }},
	"500": {"Internal", func(Route, bool, bool) bool { return true }},
	"503": {"Unavailable", func(Route, bool, bool) bool { return true }},
}

// Operations lists "METHOD path" of every operation a document describes, sorted.
func Operations(document []byte) ([]string, error) {
	var d struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	if err := json.Unmarshal(document, &d); err != nil {
		return nil, fmt.Errorf("read the API's description: %w", err)
	}
	var all []string
	for path, item := range d.Paths {
		for _, method := range methods {
			if _, is := item[method]; is {
				all = append(all, strings.ToUpper(method)+" "+path)
			}
		}
	}
	slices.Sort(all)
	return all, nil
}
