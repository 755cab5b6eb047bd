package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/sluice-dev/sluice/api"
)

func exampleQueues(t *testing.T) []api.WorkQueue {
	t.Helper()
	limit := 3
	queue := func(id, name string) api.WorkQueue {
		parsed, err := api.ParseID(id)
		if err != nil {
			t.Fatal(err)
		}
		at := api.At(time.Date(2026, 11, 23, 9, 30, 0, 250_000_000, time.UTC))
		return api.WorkQueue{ID: parsed, Created: at, Updated: at, Name: name}
	}
	first := queue("3461754d-e411-4155-9bc7-a0145b6974a0", "tutorial_queue")
	first.Filter.Tags = []string{"tutorial", "true", "1", "a: b"}
	second := queue("0f536aaa-216f-4c72-9c31-f3272bcdf977", "nightly <&>\twith a tab")
	second.IsPaused, second.ConcurrencyLimit, second.Description = true, &limit, "two\nlines"
	return []api.WorkQueue{first, second}
}

func printed(t *testing.T, a *app, print func(*app) error) string {
	t.Helper()
	var out bytes.Buffer
	a.out = &out
	a.err = &out
	if a.environment == nil {
		a.environment = map[string]string{"NO_COLOR": "1"}
	}
	if err := print(a); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestListsInEveryFormat(t *testing.T) {
	t.Parallel()
	width := func(n int) func() int { return func() int { return n } }
	for name, a := range map[string]*app{
		"tty-120":    {process: process{outTTY: true, width: width(120)}},
		"tty-80":     {process: process{outTTY: true, width: width(80)}},
		"piped":      {},
		"no-headers": {noHeaders: true},
		"quiet":      {quiet: true},
		"o-table":    {output: formatTable},
		"o-plain":    {output: formatPlain, process: process{outTTY: true, width: width(80)}},
		"o-json":     {output: formatJSON},
		"o-jsonl":    {output: formatJSONL},
		"o-yaml":     {output: formatYAML},
		"o-name":     {output: formatName},
		"coloured":   {color: "always", output: formatTable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := printed(t, a, func(a *app) error { return printList(a, queueList(exampleQueues(t), true)) })
			golden(t, "list-"+name+".txt", got)
		})
	}
}

func TestColumnsAndTemplatesAreChosen(t *testing.T) {
	t.Parallel()
	list := func(a *app) error { return printList(a, queueList(exampleQueues(t), true)) }
	for want, a := range map[string]*app{
		"NAME\tID\ntutorial_queue\t3461754d-e411-4155-9bc7-a0145b6974a0\nnightly <&> with a tab\t0f536aaa-216f-4c72-9c31-f3272bcdf977\n": {wantedColumns: []string{"name", "ID"}},
		"tutorial_queue false\nnightly <&>\twith a tab true\n":                                                                           {output: "template={{.name}} {{.is_paused}}"},
	} {
		if got := printed(t, a, list); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	narrow := func(format string) string {
		return printed(t, &app{output: format, process: process{outTTY: true, width: func() int { return 40 }}}, list)
	}
	if table, wide := narrow(formatTable), narrow(formatWide); table == wide || !strings.Contains(wide, "3461754d-e411-4155-9bc7-a0145b6974a0") {
		t.Errorf("wide is\n%s", wide)
	}
	s := newShell(t, "http://127.0.0.1:1/api")
	for args, want := range map[string]string{
		"work-queue ls -o template={{.name":        "is no template",
		"work-queue ls -o tables":                  "it is one of table, wide, plain",
		"flow edit f":                              "at least one of the flags in the group [tag",
		"flow edit f --tag x --add-tag y":          "[add-tag tag] were all set",
		"flow-run edit r --params [1]":             "--params is not a JSON object",
		"flow-run edit r --name":                   "flag needs an argument",
		"deployment edit f/d --retention-runs-age": "flag needs an argument",
	} {
		if got := s.run(strings.Fields(args)...); got.code != exitUsage || !strings.Contains(got.err, want) {
			t.Errorf("%s: %d %s", args, got.code, got.err)
		}
	}
	if _, err := chosenColumns([]string{"colour"}, queueList(nil, false).columns); err == nil || !strings.Contains(err.Error(), "there is no column 'colour'; there are ID, Name") {
		t.Error(err)
	}
}

func TestObjectsInEveryFormat(t *testing.T) {
	t.Parallel()
	for name, a := range map[string]*app{
		"default": {},
		"quiet":   {quiet: true},
		"o-json":  {output: formatJSON},
		"o-jsonl": {output: formatJSONL},
		"o-yaml":  {output: formatYAML},
		"o-name":  {output: formatName},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			queue := exampleQueues(t)[1]
			got := printed(t, a, func(a *app) error { return a.printObject(queue, queue.ID.String(), queue.Name) })
			golden(t, "object-"+name+".txt", got)
		})
	}
}

func TestYAMLSaysTheSameAsJSON(t *testing.T) {
	t.Parallel()
	encoded, err := json.Marshal(exampleQueues(t))
	if err != nil {
		t.Fatal(err)
	}
	converted, err := jsonToYAML(encoded)
	if err != nil {
		t.Fatal(err)
	}
	var fromYAML, fromJSON any
	if err := yaml.Unmarshal(converted, &fromYAML); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(encoded, &fromJSON); err != nil {
		t.Fatal(err)
	}
	back, err := json.Marshal(fromYAML)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := json.Marshal(fromJSON)
	if string(back) != string(want) {
		t.Errorf("\n got %s\nwant %s\nfrom\n%s", back, want, converted)
	}
}

func TestEmptyListsAreListsInJSON(t *testing.T) {
	t.Parallel()
	got := printed(t, &app{output: formatJSON}, func(a *app) error { return printList(a, queueList(nil, false)) })
	if strings.TrimSpace(got) != "[]" {
		t.Errorf("got %s", got)
	}
}

func TestTimesAreToldRelativeToNow(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for ago, want := range map[time.Duration]string{
		0: "now", 500 * time.Millisecond: "now", time.Second: "1 second ago", 59 * time.Second: "59 seconds ago",
		-90 * time.Second: "in 1 minute", 3 * time.Hour: "3 hours ago", -49 * time.Hour: "in 2 days",
	} {
		if got := since(now.Add(-ago), now); got != want {
			t.Errorf("%s: got %q, want %q", ago, got, want)
		}
	}
}
