package api

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"testing"
	"time"
)

// testdata/objects.jsonl holds objects an Orion server answered, one of each shape.
func TestOrionObjectsRoundTripByteForByte(t *testing.T) {
	t.Parallel()
	file, err := os.Open("testdata/objects.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	kinds := map[string]func() any{
		"flow":                 func() any { return new(Flow) },
		"flow_run":             func() any { return new(FlowRun) },
		"task_run":             func() any { return new(TaskRun) },
		"state":                func() any { return new(State) },
		"deployment":           func() any { return new(Deployment) },
		"work_queue":           func() any { return new(WorkQueue) },
		"block":                func() any { return new(Block) },
		"block_spec":           func() any { return new(BlockSpec) },
		"concurrency_limit":    func() any { return new(ConcurrencyLimit) },
		"orchestration_result": func() any { return new(OrchestrationResult) },
	}
	seen := map[string]int{}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct {
			Kind   string
			Object json.RawMessage
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		seen[line.Kind]++
		object := kinds[line.Kind]()
		decoder := json.NewDecoder(bytes.NewReader(line.Object))
		if line.Kind != "orchestration_result" { // its details are decoded into the union of all
			decoder.DisallowUnknownFields()
		}
		if err := decoder.Decode(object); err != nil {
			t.Fatalf("decode %s %s: %v", line.Kind, line.Object, err)
		}
		got, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		if want := compact(t, line.Object); string(compact(t, got)) != string(want) {
			t.Errorf("%s\n got %s\nwant %s", line.Kind, got, want)
		}
	}
	for kind := range kinds {
		if seen[kind] == 0 {
			t.Errorf("no %s in testdata", kind)
		}
	}
}

func compact(t *testing.T, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := json.Compact(&out, data); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// The hand-written encoders must say what the struct tags say, with every field set and with none.
func TestAppendJSONAgreesWithTheStructTags(t *testing.T) {
	t.Parallel()
	type (
		plainFlow       Flow
		plainFlowRun    FlowRun
		plainTaskRun    TaskRun
		plainState      State
		plainDeployment Deployment
		plainWorkQueue  WorkQueue
		plainLog        Log
	)
	check := func(name string, object, plain any) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fill(reflect.ValueOf(object).Elem(), 0)
			got, err := json.Marshal(object)
			if err != nil {
				t.Fatal(err)
			}
			reflected := reflect.ValueOf(object).Convert(reflect.TypeOf(plain)).Interface()
			want, err := json.Marshal(reflected)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != string(want) {
				t.Errorf("\n got %s\nwant %s", got, want)
			}
		})
	}
	check("flow", new(Flow), (*plainFlow)(nil))
	check("flow run", new(FlowRun), (*plainFlowRun)(nil))
	check("task run", new(TaskRun), (*plainTaskRun)(nil))
	check("state", new(State), (*plainState)(nil))
	check("deployment", new(Deployment), (*plainDeployment)(nil))
	check("work queue", new(WorkQueue), (*plainWorkQueue)(nil))
	check("log", new(Log), (*plainLog)(nil))
}

// fill gives every field a value that is not zero.
func fill(v reflect.Value, depth int) {
	if depth > 8 {
		return
	}
	switch v.Interface().(type) {
	case Time:
		v.Set(reflect.ValueOf(At(time.Date(2026, 11, 23, 1, 2, 3, 4_005_000, time.UTC))))
		return
	case ZonedTime:
		v.Set(reflect.ValueOf(ZonedTime{time.Date(2026, 11, 23, 1, 2, 3, 0, time.FixedZone("", -5*3600))}))
		return
	case json.RawMessage:
		v.Set(reflect.ValueOf(json.RawMessage(`{"a":[1,"x"]}`)))
		return
	case Schedule:
		name := "Europe/Berlin"
		v.Set(reflect.ValueOf(Schedule{Cron: &CronSchedule{Cron: "0 9 * * 1-5", Timezone: &name}}))
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), depth+1)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), depth+1)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), depth+1)
		fill(v.Index(1), depth+1)
	case reflect.Array:
		for i := range v.Len() {
			v.Index(i).SetUint(uint64(i + 1))
		}
	case reflect.String:
		v.SetString("a \"quoted\"\n\\ text\u2028 \x01 é")
	case reflect.Int, reflect.Int64:
		v.SetInt(7_250_000_000)
	case reflect.Bool:
		v.SetBool(true)
	default:
		panic("fill does not know " + v.Type().String())
	}
}

func TestStrictObjectsHaveNoNativeField(t *testing.T) {
	t.Parallel()
	encoded, err := json.Marshal(FlowRun{Name: "tan-lion"})
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"state_name", "lease_owner", "actor"} {
		if bytes.Contains(encoded, []byte(`"`+field+`"`)) {
			t.Errorf("%s in %s", field, encoded)
		}
	}
	for _, part := range []string{`"parameters":{}`, `"tags":[]`, `"flow_runner":{"type":null,"config":null}`, `"state":null`, `"start_time":null`} {
		if !bytes.Contains(encoded, []byte(part)) {
			t.Errorf("no %s in %s", part, encoded)
		}
	}
}

func TestNativeFieldsAreDecodedIntoTheEmbeddedStruct(t *testing.T) {
	t.Parallel()
	var run FlowRun
	if err := json.Unmarshal([]byte(`{"name":"tan-lion","state_name":"Late","agent_name":"box"}`), &run); err != nil {
		t.Fatal(err)
	}
	if run.FlowRunNative == nil || *run.StateName != "Late" || *run.AgentName != "box" {
		t.Errorf("got %+v", run.FlowRunNative)
	}
}

func TestDetailsOfAnOrchestrationResultHaveOnlyTheirOwnFields(t *testing.T) {
	t.Parallel()
	reason := "Scheduled time is in the future"
	for want, details := range map[string]ResultDetails{
		`{"type":"accept_details"}`: {Type: AcceptDetails},
		`{"type":"wait_details","delay_seconds":999,"reason":"Scheduled time is in the future"}`: {Type: WaitDetails, DelaySeconds: 999, Reason: &reason},
		`{"type":"abort_details","reason":"Scheduled time is in the future"}`:                    {Type: AbortDetails, Reason: &reason},
	} {
		got, err := json.Marshal(OrchestrationResult{Status: Wait, Details: details})
		if err != nil {
			t.Fatal(err)
		}
		if full := `{"state":null,"status":"WAIT","details":` + want + `}`; string(got) != full {
			t.Errorf("\n got %s\nwant %s", got, full)
		}
	}
}

func TestSchedules(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, in, want string }{
		{"interval", `{"interval":3600}`, `{"interval":3600.0,"timezone":null,"anchor_date":null}`},
		{"interval keeps the offset of its anchor", `{"interval":"PT1H","anchor_date":"2026-01-01T00:00:00-05:00"}`, `{"interval":3600.0,"timezone":null,"anchor_date":"2026-01-01T00:00:00-05:00"}`},
		{"cron joins days by or", `{"cron":"@daily"}`, `{"cron":"@daily","timezone":null,"day_or":true}`},
		{"cron joins days by and", `{"cron":"0 0 13 * 5","day_or":false}`, `{"cron":"0 0 13 * 5","timezone":null,"day_or":false}`},
		{"rrule is in UTC", `{"rrule":"FREQ=DAILY"}`, `{"rrule":"FREQ=DAILY","timezone":"UTC"}`},
		{"two kinds at once are refused", `{"interval":1,"cron":"@daily"}`, ""},
		{"an unknown field is refused", `{"cron":"@daily","x":1}`, ""},
		{"an empty schedule is refused", `{}`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var schedule Schedule
			err := json.Unmarshal([]byte(test.in), &schedule)
			if test.want == "" {
				if err == nil {
					t.Fatalf("accepted %s", test.in)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := json.Marshal(schedule); string(got) != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestOptionalTellsAbsentFromNull(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Optional[int]{
		`{}`:                         {},
		`{"concurrency_limit":null}`: Null[int](),
		`{"concurrency_limit":3}`:    Some(3),
	} {
		var update WorkQueueUpdate
		if err := json.Unmarshal([]byte(in), &update); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(update.ConcurrencyLimit, want) {
			t.Errorf("%s: got %+v", in, update.ConcurrencyLimit)
		}
		if out, _ := json.Marshal(update); string(out) != in {
			t.Errorf("%s came back as %s", in, out)
		}
	}
}

func TestEmptyListsInFiltersAreNotAbsent(t *testing.T) {
	t.Parallel()
	got, _ := json.Marshal(FlowRunFilter{ID: &IDAnyNot{Any: []ID{}}, Tags: &TagsAll{}})
	if want := `{"id":{"any_":[]},"tags":{}}`; string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func BenchmarkFlowRunAppendJSON(b *testing.B) {
	run := new(FlowRun)
	fill(reflect.ValueOf(run).Elem(), 0)
	var buffer []byte
	b.ReportAllocs()
	for b.Loop() {
		buffer = run.AppendJSON(buffer[:0])
	}
}
