package main

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/sluice-dev/sluice/api"
)

func TestYAMLSpecsAreDocumentsOrLists(t *testing.T) {
	t.Parallel()
	path := write(t, "d.yaml", `name: one
flow_location: ./leo_flow.py
tags: [tutorial, test]
parameters: {name: Leo, n: 3, day: 2026-01-01, deep: {a: [1, null, true]}}
schedule: {interval: 3600, anchor_date: 2026-01-01T00:00:00+01:00}
flow_runner: subprocess
catchup: all
catchup_limit: 7
---
- name: two
  flow_location: f.py
  schedule: {cron: "30 9 * * 1-5", timezone: Europe/Berlin}
  flow_runner: {type: docker, config: {image: x}}
- name: three
  command: echo $SLUICE_PARAM_NAME
`)
	specs, err := readYAMLSpecs(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(specs) != 3 {
		t.Fatalf("%d specs", len(specs))
	}
	for i, s := range specs {
		if s.Error != nil {
			t.Errorf("spec %d: %v", i, s.Error)
		}
	}
	one, two, three := specs[0], specs[1], specs[2]
	if want := `{"name":"Leo","n":3,"day":"2026-01-01","deep":{"a":[1,null,true]}}`; string(one.Parameters) != want {
		t.Errorf("parameters %s, want %s", one.Parameters, want)
	}
	encoded, _ := json.Marshal(one.Schedule)
	if want := `{"interval":3600.0,"timezone":null,"anchor_date":"2026-01-01T00:00:00+01:00"}`; string(encoded) != want {
		t.Errorf("schedule %s", encoded)
	}
	if *one.FlowRunner.Type != "subprocess" || one.Catchup != api.CatchupAll || *one.CatchupLimit != 7 || one.Line != 1 {
		t.Errorf("one is %+v", one)
	}
	if *two.FlowRunner.Type != "docker" || string(two.FlowRunner.Config) != `{"image":"x"}` || *two.Schedule.Cron.Timezone != "Europe/Berlin" {
		t.Errorf("two is %+v", two)
	}
	if strings.Join(three.Command, "|") != "sh|-c|echo $SLUICE_PARAM_NAME" || three.FlowName != "three" || three.Line != 14 {
		t.Errorf("three is %+v", three)
	}
}

func TestWrongYAMLSpecsNameTheLine(t *testing.T) {
	t.Parallel()
	for content, want := range map[string]string{
		"name: a\nflow_location: f.py\ntgas: [x]\n":                                          "d.yaml:3: unknown key 'tgas'; known are name, flow_name",
		"flow_location: f.py\n":                                                              "d.yaml:1: name is missing",
		"name: a\n":                                                                          "d.yaml:1: deployment 'a' has neither flow_location nor command nor script",
		"name: a\nflow_location: f.py\ncommand: [x]\n":                                       "has more than one of flow_location, command and script",
		"name: a\nscript: /no/such/file\n":                                                   "d.yaml:2: script: open /no/such/file",
		"name: a\nscript: |\n  echo hello\n  exit\n":                                         "d.yaml:2: script script does not begin with #!",
		"name: a\ncommand: [x]\narguments: [y]\n":                                            "d.yaml:3: arguments are those of a script",
		"name: a\ncommand: [\"{{x}}\"]\n":                                                    "the program of a command cannot be a parameter",
		"name: a\ncommand: [sh, -c, \"echo {{x}}\"]\n":                                       "sh would run what is in the parameter: write \"$SLUICE_PARAM_X\"",
		"name: a\ncommand: \"echo {{x}}\"\n":                                                 "sh would run what is in the parameter",
		"name: a\nflow_location: f.py\nparameter_schema: {}\n":                               "parameter_schema is for commands and scripts",
		"name: a\ncommand: []\n":                                                             "d.yaml:2: command is empty",
		"name: a\nflow_location: f.py\ntags: x\n":                                            "d.yaml:3: tags must be a list",
		"name: a\nflow_location: f.py\nparameters: [1]\n":                                    "d.yaml:3: parameters must be a mapping",
		"name: a\nflow_location: f.py\nschedule: {every: 5}\n":                               "d.yaml:3: schedule: a schedule needs one of interval, cron and rrule",
		"name: a\nflow_location: f.py\nschedule: {cron: x, tz: y}\n":                         `d.yaml:3: schedule: unknown field "tz"`,
		"name: a\nflow_location: f.py\nschedule:\n  interval: 0\n":                           "the interval must be positive",
		"name: a\nflow_location: f.py\nschedule: {interval: often}\n":                        "schedule: invalid duration format",
		"name: a\nflow_location: f.py\nflow_runner: {kind: docker}\n":                        `d.yaml:3: flow_runner: unknown field "kind"; it has the keys type and config`,
		"name: a\nflow_location: f.py\ncatchup: some\n":                                      "d.yaml:3: catchup is 'some'; it is one of skip, latest, all",
		"name: a\nflow_location: f.py\ncatchup_limit: 0\n":                                   "d.yaml:3: catchup_limit must be",
		"name: a\ncommand: x\nconcurrency_limit: -1\n":                                       "d.yaml:3: concurrency_limit is '-1'; it is a whole number from 0",
		"name: a\ncommand: x\non_conflict: wait\n":                                           "d.yaml:3: on_conflict is 'wait'; it is one of queue, skip, cancel-running",
		"name: a\ncommand: x\noverlap: never\n":                                              "d.yaml:3: overlap is 'never'; it is one of allow, queue, skip, cancel-running",
		"name: a\ncommand: x\ndst: {skipped: both}\n":                                        "d.yaml:3: dst.skipped is 'both'; it is one of shift, skip",
		"name: a\ncommand: x\ndst: {summer: shift}\n":                                        `d.yaml:3: dst: unknown field "summer"`,
		"name: a\ncommand: x\non_crash: {retries: 101}\n":                                    "d.yaml:3: on_crash has retries from 0 to 100",
		"name: a\ncommand: x\non_crash: {tries: 1}\n":                                        `d.yaml:3: on_crash: unknown field "tries"`,
		"name: a\ncommand: x\nqueue_timeout_seconds: soon\n":                                 "d.yaml:3: queue_timeout_seconds is 'soon'; it is a time like 90s",
		"name: a\ncommand: x\nrun_timeout_seconds: 0\n":                                      "d.yaml:3: run_timeout_seconds is '0'",
		"name: a\ncommand: x\npriority: 0\n":                                                 "d.yaml:3: priority is '0'; it is a whole number from 1 to 1000",
		"name: a\ncommand: x\nretention: {runs: {max_age: soon}}\n":                          "d.yaml:3: retention.runs.max_age is 'soon'",
		"name: a\ncommand: x\nschedules: {cron: '@daily'}\n":                                 "d.yaml:3: schedules must be a list",
		"name: a\ncommand: x\nschedules: ['@daily']\n":                                       "d.yaml:3: schedules: expected a mapping with cron",
		"name: a\ncommand: x\nschedules:\n- {name: n, active: true}\n":                       "d.yaml:4: schedule: a schedule needs one of interval, cron and rrule",
		"name: a\ncommand: x\nschedules:\n- {cron: x, active: perhaps}\n":                    "d.yaml:4: schedules.active is 'perhaps'; it is true or false",
		"name: a\ncommand: x\nschedules: [{interval: 1, name: n}, {interval: 2, name: n}]\n": "d.yaml:3: two schedules are called 'n'",
		"name: a\ncommand: x\nschedule: {interval: 1}\nschedules: []\n":                      "has both schedule and schedules",
		"- 5\n": "d.yaml:1: expected a deployment specification",
	} {
		specs, err := readYAMLSpecs(write(t, "d.yaml", content))
		if err != nil || len(specs) != 1 || specs[0].Error == nil {
			t.Errorf("%q: %v, %v", content, specs, err)
			continue
		}
		if got := specs[0].Error.Error(); !strings.Contains(got, want) {
			t.Errorf("%q: got %s, want %s", content, got, want)
		}
	}
	_, err := readYAMLSpecs(write(t, "d.yaml", "name: a\n  tags: x\n"))
	if problem, ok := errors.AsType[*specError](err); !ok || problem.Line != 2 {
		t.Errorf("got %v", err)
	}
}

func TestYAMLSpecsHavePoliciesAndSchedules(t *testing.T) {
	t.Parallel()
	specs, err := readYAMLSpecs(write(t, "d.yaml", `name: a
command: "true"
concurrency_limit: 1
on_conflict: cancel-running
overlap: skip
dst: {repeated: first}
on_crash: {retries: 2, delay_seconds: 30}
queue_timeout_seconds: 15m
run_timeout_seconds: 7200
priority: 10
retention: {runs: {max_age: 30d, max_count: none}, logs: {max_count: 10}}
schedules:
- {name: nightly, cron: 0 3 * * *, timezone: Europe/Berlin}
- {interval: 3600, active: false}
`))
	if err != nil || len(specs) != 1 || specs[0].Error != nil {
		t.Fatalf("%v %+v", err, specs)
	}
	body := bodyOf(&specs[0], api.NewID(), api.DataDocument{})
	for part, want := range map[any]string{
		body.Policy: `{"concurrency_limit":1,"on_conflict":"cancel-running","overlap":"skip","dst":{"skipped":"shift","repeated":"first"},` +
			`"on_crash":{"retries":2,"delay_seconds":30.0},"queue_timeout_seconds":900.0,"run_timeout_seconds":7200.0,"priority":10}`,
		body.Retention: `{"runs":{"max_age":"30d","max_count":0},"logs":{"max_count":10}}`,
		&body.Schedules: `[{"name":"nightly","schedule":{"cron":"0 3 * * *","timezone":"Europe/Berlin","day_or":true}},` +
			`{"schedule":{"interval":3600.0,"timezone":null,"anchor_date":null},"active":false}]`,
	} {
		if encoded, err := json.Marshal(part); err != nil || !sameJSON(encoded, json.RawMessage(want)) {
			t.Errorf("%v %s, want %s", err, encoded, want)
		}
	}
	yes := true
	stored := &api.Deployment{FlowRunner: *body.FlowRunner, Parameters: body.Parameters, FlowID: body.FlowID, DeploymentNative: &api.DeploymentNative{
		Catchup: api.CatchupSkip, CatchupLimit: api.DefaultCatchupLimit, Retention: body.Retention, Policy: body.Policy,
		Schedules: []api.ScheduleEntry{{Name: "nightly", Schedule: body.Schedules[0].Schedule, Active: true}, {Schedule: body.Schedules[1].Schedule}}}}
	if !sameDeployment(stored, body) {
		t.Error("what is stored as specified counts as changed")
	}
	body.Schedules[1].Active = &yes
	if sameDeployment(stored, body) {
		t.Error("a schedule that is to be active and is not counts as unchanged")
	}
}

func TestUnchangedDeploymentsAreRecognised(t *testing.T) {
	t.Parallel()
	parse := func(text string) *api.Schedule {
		if text == "" {
			return nil
		}
		schedule := &api.Schedule{}
		if err := json.Unmarshal([]byte(text), schedule); err != nil {
			t.Fatal(err)
		}
		return schedule
	}
	for _, test := range []struct {
		stored, wanted string
		same           bool
	}{
		{"", "", true},
		{`{"cron":"@daily"}`, "", false},
		{`{"cron":"@daily"}`, `{"cron":"@daily","timezone":null}`, true},
		{`{"cron":"@daily"}`, `{"cron":"@hourly"}`, false},
		{`{"interval":60,"anchor_date":"2020-01-01T00:00:00+00:00"}`, `{"interval":60}`, true},
		{`{"interval":60,"anchor_date":"2021-01-01T00:00:00+00:00"}`, `{"interval":60}`, false},
		{`{"interval":60,"anchor_date":"2020-01-01T00:00:00+00:00"}`, `{"interval":61}`, false},
		{`{"rrule":"DTSTART:20260101T000000\nRRULE:FREQ=DAILY"}`, `{"rrule":"FREQ=DAILY"}`, true},
		{`{"rrule":"DTSTART:20260101T000000\nRRULE:FREQ=DAILY"}`, `{"rrule":"FREQ=WEEKLY"}`, false},
		{`{"rrule":"DTSTART:20260101T000000\nRRULE:FREQ=DAILY"}`, `{"rrule":"DTSTART:20270101T000000\nRRULE:FREQ=DAILY"}`, false},
	} {
		if got := sameSchedule(parse(test.stored), parse(test.wanted)); got != test.same {
			t.Errorf("%s and %s: %v", test.stored, test.wanted, got)
		}
	}
	for _, test := range []struct {
		x, y string
		same bool
	}{
		{`{"a": 1, "b": [2]}`, `{"b":[2],"a":1}`, true},
		{`{"a": 1}`, `{"a":"1"}`, false},
		{`9007199254740993`, `9007199254740992`, false},
		{``, `null`, true},
		{`{}`, `null`, false},
	} {
		if got := sameJSON(json.RawMessage(test.x), json.RawMessage(test.y)); got != test.same {
			t.Errorf("%s and %s: %v", test.x, test.y, got)
		}
	}
}
