package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// The output formats. "" is formatTable on a terminal, formatPlain otherwise.
const (
	formatTable = "table"
	formatPlain = "plain"
	formatJSON  = "json"
	formatJSONL = "jsonl"
	formatYAML  = "yaml"
	formatName  = "name"
)

var formats = []string{formatTable, formatPlain, formatJSON, formatJSONL, formatYAML, formatName}

func (a *app) checkFormat() error {
	if a.output == "" || slices.Contains(formats, a.output) {
		return nil
	}
	return usagef("-o is %q; it is one of %s", a.output, strings.Join(formats, ", "))
}

// format returns the format in use.
func (a *app) format() string {
	switch {
	case a.output != "":
		return a.output
	case a.outTTY:
		return formatTable
	}
	return formatPlain
}

// column is one column of a list. cell gets whether it is drawn for people (relative times, marks) or programs.
type column[T any] struct {
	header string
	right  bool
	fold   bool
	sgr    string
	// programs: only in plain output, for what tables show as a mark.
	programs bool
	cell     func(item T, people bool) string
}

// list is what an ls command prints.
type list[T any] struct {
	title   string
	caption string
	columns []column[T]
	items   []T
	id      func(T) string // printed by -q
	name    func(T) string // printed by -o name
}

func printList[T any](a *app, l list[T]) error {
	if a.quiet && a.output == "" {
		for _, item := range l.items {
			fmt.Fprintln(a.out, l.id(item))
		}
		return nil
	}
	switch format := a.format(); format {
	case formatTable:
		t := table{title: l.title, caption: l.caption, maxWidth: a.columns(), colored: a.colored()}
		l.columns = slices.DeleteFunc(slices.Clone(l.columns), func(c column[T]) bool { return c.programs })
		for _, c := range l.columns {
			t.columns = append(t.columns, tableColumn{header: c.header, right: c.right, fold: c.fold, sgr: c.sgr})
		}
		for _, item := range l.items {
			t.rows = append(t.rows, cells(l, item, true))
		}
		fmt.Fprint(a.out, t.render())
	case formatPlain:
		if !a.noHeaders {
			var headers []string
			for _, c := range l.columns {
				headers = append(headers, strings.ToUpper(c.header))
			}
			fmt.Fprintln(a.out, strings.Join(headers, "\t"))
		}
		for _, item := range l.items {
			fmt.Fprintln(a.out, strings.Join(cells(l, item, false), "\t"))
		}
	case formatName:
		for _, item := range l.items {
			fmt.Fprintln(a.out, l.name(item))
		}
	case formatJSONL:
		for _, item := range l.items {
			if err := a.printJSONLine(item); err != nil {
				return err
			}
		}
	default:
		items := l.items
		if items == nil {
			items = []T{}
		}
		return a.printDocument(format, items)
	}
	return nil
}

func cells[T any](l list[T], item T, people bool) []string {
	row := make([]string, len(l.columns))
	for i, c := range l.columns {
		row[i] = c.cell(item, people)
		row[i] = strings.Map(printable, row[i])
	}
	return row
}

// printable makes tabs, line ends and control characters spaces: a cell must not end its line or command the terminal.
func printable(r rune) rune {
	if unicode.IsControl(r) {
		return ' '
	}
	return r
}

// printObject prints one object: JSON unless another format is asked for.
func (a *app) printObject(object any, id, name string) error {
	if a.quiet && a.output == "" {
		fmt.Fprintln(a.out, id)
		return nil
	}
	switch a.output {
	case formatName:
		fmt.Fprintln(a.out, name)
		return nil
	case formatJSONL:
		return a.printJSONLine(object)
	case formatYAML:
		return a.printDocument(formatYAML, object)
	}
	return a.printDocument(formatJSON, object)
}

// printDone prints what a command made or changed: a sentence for people, the id with -q, the object for programs.
func (a *app) printDone(object any, id, name, sentence string) error {
	switch {
	case a.quiet && a.output == "":
		fmt.Fprintln(a.out, id)
		return nil
	case a.structured():
		return a.printObject(object, id, name)
	}
	fmt.Fprintln(a.out, sentence)
	return nil
}

func (a *app) printJSONLine(object any) error {
	encoded, err := encodeJSON(object, "")
	if err != nil {
		return err
	}
	fmt.Fprint(a.out, string(encoded))
	return nil
}

func (a *app) printDocument(format string, object any) error {
	indent := "    "
	if format == formatYAML {
		indent = ""
	}
	encoded, err := encodeJSON(object, indent)
	if err != nil {
		return err
	}
	if format == formatYAML {
		if encoded, err = jsonToYAML(encoded); err != nil {
			return err
		}
	}
	_, err = a.out.Write(encoded)
	return err
}

// encodeJSON encodes with a line end, leaving < > & readable.
func encodeJSON(object any, indent string) ([]byte, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", indent)
	if err := encoder.Encode(object); err != nil {
		return nil, fmt.Errorf("encode output: %w", err)
	}
	return buffer.Bytes(), nil
}

// jsonToYAML rewrites JSON in YAML's block form and keeps the order of keys.
func jsonToYAML(encoded []byte) ([]byte, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(encoded, &document); err != nil { // JSON is YAML
		return nil, fmt.Errorf("convert to YAML: %w", err)
	}
	clearStyle(&document)
	var buffer bytes.Buffer
	encoder := yaml.NewEncoder(&buffer)
	encoder.SetIndent(2)
	if err := encoder.Encode(&document); err != nil {
		return nil, fmt.Errorf("encode YAML: %w", err)
	}
	return buffer.Bytes(), nil
}

func clearStyle(node *yaml.Node) {
	if node.Kind != yaml.ScalarNode && len(node.Content) > 0 {
		node.Style = 0
	}
	if node.Kind == yaml.ScalarNode && node.Tag == "!!str" {
		node.Style = 0 // the encoder quotes what would be read as something else
	}
	for _, child := range node.Content {
		clearStyle(child)
	}
}
