package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/template"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// The output formats. "" is formatTable on a terminal, formatPlain otherwise.
const (
	formatTable = "table"
	formatWide  = "wide"
	formatPlain = "plain"
	formatJSON  = "json"
	formatJSONL = "jsonl"
	formatYAML  = "yaml"
	formatName  = "name"
	// formatTemplate is followed by a template of Go for each object, whose fields are those of the JSON.
	formatTemplate = "template="
)

var formats = []string{formatTable, formatWide, formatPlain, formatJSON, formatJSONL, formatYAML, formatName}

func (a *app) checkFormat() error {
	if a.output == "" {
		a.output = a.environment["SLUICE_OUTPUT"]
	}
	if text, is := strings.CutPrefix(a.output, formatTemplate); is {
		if _, err := template.New("-o").Parse(text); err != nil {
			return usagef("-o %s is no template: %w", a.output, err)
		}
		return nil
	}
	if a.output == "" || slices.Contains(formats, a.output) {
		return nil
	}
	return usagef("-o is %q; it is one of %s or template=TEXT, like template='{{.name}} {{.id}}'", a.output, strings.Join(formats, ", "))
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
	// wide: not in tables, but for -o wide or --columns.
	wide bool
	cell func(item T, people bool) string
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
	columns, err := chosenColumns(a.wantedColumns, l.columns)
	if err != nil {
		return err
	}
	l.columns = columns
	switch format := a.format(); format {
	case formatTable, formatWide:
		t := table{title: l.title, caption: l.caption, maxWidth: a.columns(), colored: a.colored()}
		if format == formatWide {
			t.maxWidth = 0
		}
		l.columns = slices.DeleteFunc(slices.Clone(l.columns), func(c column[T]) bool {
			return c.programs || c.wide && format == formatTable && len(a.wantedColumns) == 0
		})
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
		if text, is := strings.CutPrefix(format, formatTemplate); is {
			for _, item := range l.items {
				if err := a.printTemplate(text, item); err != nil {
					return err
				}
			}
			return nil
		}
		items := l.items
		if items == nil {
			items = []T{}
		}
		return a.printDocument(format, items)
	}
	return nil
}

// chosenColumns are the columns of those headers, all without any.
func chosenColumns[T any](wanted []string, all []column[T]) ([]column[T], error) {
	if len(wanted) == 0 {
		return all, nil
	}
	plain := func(header string) string {
		return strings.ToLower(strings.NewReplacer(" ", "", "_", "", "-", "").Replace(header))
	}
	var chosen []column[T]
	for _, name := range wanted {
		i := slices.IndexFunc(all, func(c column[T]) bool { return plain(c.header) == plain(name) })
		if i < 0 {
			var known []string
			for _, c := range all {
				known = append(known, c.header)
			}
			return nil, usagef("--columns: there is no column '%s'; there are %s", name, strings.Join(known, ", "))
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// printTemplate prints one object by a template, on a line of its own.
func (a *app) printTemplate(text string, object any) error {
	encoded, err := encodeJSON(object, "")
	if err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(encoded))
	decoder.UseNumber() // large integers stay as they are
	var fields any
	if err := decoder.Decode(&fields); err != nil {
		return fmt.Errorf("read the object for the template: %w", err)
	}
	t, err := template.New("-o").Option("missingkey=error").Parse(text)
	if err == nil {
		var line bytes.Buffer
		if err = t.Execute(&line, fields); err == nil {
			fmt.Fprintln(a.out, line.String())
			return nil
		}
	}
	return usagef("-o template=%s: %w", text, err)
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
	if text, is := strings.CutPrefix(a.output, formatTemplate); is {
		return a.printTemplate(text, object)
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
