package redact

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Schema says which fields of a JSON object are secret. The zero value leaves that to their names.
type Schema struct{ root *schemaNode }

// schemaNode is what is read of a JSON schema: writeOnly, the format password, and secret_fields, a list of dotted paths in which *
// stands for the rest.
type schemaNode struct {
	WriteOnly    bool                   `json:"writeOnly"`
	Format       string                 `json:"format"`
	SecretFields []string               `json:"secret_fields"`
	Properties   map[string]*schemaNode `json:"properties"`
	Items        json.RawMessage        `json:"items"`
	Ref          string                 `json:"$ref"`
	AllOf        []*schemaNode          `json:"allOf"`
	AnyOf        []*schemaNode          `json:"anyOf"`
	Definitions  map[string]*schemaNode `json:"definitions"`
	Defs         map[string]*schemaNode `json:"$defs"`
	Enum         []any                  `json:"enum"`
}

// ParseSchema reads a JSON schema. Whatever it does not understand says nothing: names still count.
func ParseSchema(text []byte) Schema {
	s := &schemaNode{}
	err := json.Unmarshal(text, s)
	// A part of another type is left out, the others are read.
	if _, partly := errors.AsType[*json.UnmarshalTypeError](err); err != nil && !partly {
		return Schema{}
	}
	return Schema{s}
}

// deepest is how many objects and arrays inside each other are looked into; what lies deeper is hidden as a whole.
const deepest = 32

// place is where in an object the walk is, and what is known about it.
type place struct {
	root   *schemaNode
	nodes  []*schemaNode
	fields []string // secret_fields that begin here
	secret bool
	depth  int
}

func (s Schema) place() place {
	p := place{root: s.root}
	if s.root != nil {
		p = p.with(s.root)
	}
	return p
}

// with adds a schema to what is known about a place, and those it refers to.
func (p place) with(s *schemaNode) place {
	if s == nil || slices.Contains(p.nodes, s) {
		return p
	}
	p.nodes = append(p.nodes[:len(p.nodes):len(p.nodes)], s)
	p.fields = append(p.fields[:len(p.fields):len(p.fields)], s.SecretFields...)
	p.secret = p.secret || s.WriteOnly || s.Format == "password"
	for _, group := range [][]*schemaNode{s.AllOf, s.AnyOf} {
		for _, one := range group {
			p = p.with(one)
		}
	}
	if name, found := strings.CutPrefix(s.Ref, "#/definitions/"); found {
		p = p.with(p.root.Definitions[name])
	} else if name, found := strings.CutPrefix(s.Ref, "#/$defs/"); found {
		p = p.with(p.root.Defs[name])
	}
	return p
}

func (p place) member(name string) place {
	next := place{root: p.root, secret: p.secret, depth: p.depth + 1}
	for _, f := range p.fields {
		head, rest, deeper := strings.Cut(f, ".")
		if head != name && head != "*" {
			continue
		}
		if !deeper || rest == "*" {
			next.secret = true
		} else {
			next.fields = append(next.fields, rest)
		}
	}
	for _, s := range p.nodes {
		next = next.with(s.Properties[name])
	}
	// One of a few known values is a choice, whatever its name.
	choice := slices.ContainsFunc(next.nodes, func(s *schemaNode) bool { return len(s.Enum) > 0 })
	next.secret = next.secret || Name(name) && !choice
	return next
}

func (p place) item() place {
	next := place{root: p.root, secret: p.secret, fields: p.fields, depth: p.depth + 1}
	for _, s := range p.nodes {
		var one schemaNode
		if len(s.Items) > 0 && json.Unmarshal(s.Items, &one) == nil {
			next = next.with(&one)
		}
	}
	return next
}

// Object returns a JSON object in which secrets are masked: the texts, numbers and truth values of secret fields and of all that is
// inside them. Null and "" stay, so that it shows whether a secret is set. What is no JSON is hidden as a whole.
func Object(data []byte, schema Schema) []byte {
	out, err := rewrite(nil, data, schema.place(), hide)
	if err != nil {
		return []byte(`"` + Mask + `"`)
	}
	return out
}

// leaf rewrites a value that is neither an object nor an array, or one that is too deep to look into.
type leaf func(value json.RawMessage, p place, path string) (json.RawMessage, error)

var masked = json.RawMessage(`"` + Mask + `"`)

func hide(value json.RawMessage, p place, _ string) (json.RawMessage, error) {
	switch {
	case string(value) == "null", string(value) == `""`:
		return value, nil
	case p.secret, p.depth > deepest:
		return masked, nil
	case value[0] != '"':
		return value, nil
	}
	var text string
	if err := json.Unmarshal(value, &text); err != nil {
		return nil, err
	}
	if hidden := address(text); hidden != text {
		return json.Marshal(hidden)
	}
	return value, nil
}

// rewrite appends a value whose leaves are replaced; objects keep the order of their members.
func rewrite(out, data []byte, p place, replace leaf) ([]byte, error) {
	return rewriteAt(out, data, p, "", replace)
}

func rewriteAt(out, data []byte, p place, path string, replace leaf) ([]byte, error) {
	data = bytes.TrimSpace(data)
	if len(data) == 0 {
		return nil, errors.New("no value")
	}
	if data[0] != '{' && data[0] != '[' || p.depth > deepest {
		if !json.Valid(data) {
			return nil, errors.New("no JSON")
		}
		value, err := replace(data, p, path)
		return append(out, value...), err
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	if _, err := decoder.Token(); err != nil {
		return nil, err
	}
	out = append(out, data[0])
	for i := 0; decoder.More(); i++ {
		if i > 0 {
			out = append(out, ',')
		}
		next, at := p.item(), join(path, strconv.Itoa(i))
		if data[0] == '{' {
			token, err := decoder.Token()
			if err != nil {
				return nil, err
			}
			name, isText := token.(string)
			if !isText {
				return nil, errors.New("no JSON")
			}
			key, err := json.Marshal(name)
			if err != nil {
				return nil, err
			}
			out = append(append(out, key...), ':')
			next, at = p.member(name), join(path, name)
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil, err
		}
		var err error
		if out, err = rewriteAt(out, value, next, at, replace); err != nil {
			return nil, err
		}
	}
	end, err := decoder.Token()
	if err != nil {
		return nil, err
	}
	if d, ok := end.(json.Delim); !ok || byte(d) != data[0]+2 { // } is two after {, ] two after [
		return nil, errors.New("no JSON")
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one value")
	}
	return append(out, data[0]+2), nil
}

// pathMark stands between the names of a path: no name may contain it by accident.
const pathMark = "\x00"

func join(path, name string) string { return path + pathMark + name }

// HasMask reports whether data may hold masks that Fill would replace.
func HasMask(data []byte) bool { return bytes.Contains(data, []byte(Mask)) }

// MaskError says that a mask stands where nothing was hidden.
type MaskError struct{ Path string }

func (e *MaskError) Error() string {
	return fmt.Sprintf("%s is %s, which stands for a secret that is kept, but no secret is stored there", e.Path, Mask)
}

// Fill puts back what Object hid: a value that is what Object shows of the stored one becomes the stored one. A mask where no secret is
// stored is a *MaskError.
func Fill(data, stored []byte, schema Schema) ([]byte, error) {
	hidden := map[string]json.RawMessage{} // what is stored, by path, where it is shown otherwise
	shown := map[string]json.RawMessage{}
	if len(stored) > 0 {
		_, err := rewrite(nil, stored, schema.place(), func(value json.RawMessage, p place, path string) (json.RawMessage, error) {
			seen, err := hide(value, p, path)
			if err == nil && !bytes.Equal(seen, value) {
				hidden[path], shown[path] = value, seen
			}
			return value, err
		})
		if err != nil {
			return nil, fmt.Errorf("read what is stored: %w", err)
		}
	}
	return rewrite(nil, data, schema.place(), func(value json.RawMessage, _ place, path string) (json.RawMessage, error) {
		if !isMask(value) {
			return value, nil
		}
		if seen, known := shown[path]; known && sameText(seen, value) {
			return hidden[path], nil
		}
		return nil, &MaskError{strings.ReplaceAll(strings.TrimPrefix(path, pathMark), pathMark, ".")}
	})
}

// isMask tells a mask from a text in which asterisks happen to stand.
func isMask(value json.RawMessage) bool {
	var text string
	if !HasMask(value) || json.Unmarshal(value, &text) != nil {
		return false
	}
	return text == Mask || strings.Contains(text, "://") && strings.Contains(text, ":"+Mask+"@")
}

func sameText(a, b json.RawMessage) bool {
	var x, y string
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && x == y
}
