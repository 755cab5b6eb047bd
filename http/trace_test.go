package httpapi

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
)

// recorded is one request of a real client and what the real server answered.
type recorded struct {
	Seq          int               `json:"seq"`
	Method       string            `json:"method"`
	Path         string            `json:"path"`
	Query        string            `json:"query"`
	Headers      map[string]string `json:"request_headers"`
	RequestJSON  json.RawMessage   `json:"request_json"`
	RequestText  string            `json:"request_text"`
	Status       int               `json:"status"`
	Answered     map[string]string `json:"response_headers"`
	ResponseJSON json.RawMessage   `json:"response_json"`
	Start        time.Time         `json:"start"`
	file         string
}

func readTraces(t *testing.T) []recorded {
	t.Helper()
	files, err := filepath.Glob("testdata/traces/*.jsonl")
	if err != nil || len(files) == 0 {
		t.Fatalf("no traces: %v", err)
	}
	var all []recorded
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var steps []recorded
		lines := bufio.NewScanner(bytes.NewReader(data))
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			r := recorded{file: filepath.Base(name)}
			if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			steps = append(steps, r)
		}
		all = append(all, steps...)
	}
	slices.SortStableFunc(all, func(a, b recorded) int { return a.Seq - b.Seq })
	return all
}

var uuidPattern = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
var timePattern = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?\+00:00$`)

// replay sends recorded requests with the recorded ids replaced by ours, and compares the answers.
type replay struct {
	*stack
	ids   map[string]string // recorded id to ours
	names map[string]string // recorded name that the server chose by chance to ours
	// native is set while the client is none that refuses unknown fields.
	native bool
	// elapsed is how long ago the step was recorded.
	elapsed time.Duration
}

func (r *replay) translate(s string) string {
	return uuidPattern.ReplaceAllStringFunc(s, func(id string) string {
		if ours, ok := r.ids[id]; ok {
			return ours
		}
		return id
	})
}

var timeInText = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(\+00:00|Z)`)

// shift moves the times in a request to where they lie, as seen from now, as they lay when it was recorded.
func shift(text string, recorded time.Time) string {
	by := time.Since(recorded)
	return timeInText.ReplaceAllStringFunc(text, func(s string) string {
		t, err := time.Parse(time.RFC3339Nano, s)
		if err != nil || t.Sub(recorded).Abs() > 24*time.Hour {
			return s // a date that somebody chose
		}
		return t.Add(by).UTC().Format("2006-01-02T15:04:05.000000+00:00")
	})
}

// additive are the fields that clients which do not refuse them get besides.
var additive = map[string]bool{
	"state_name": true, "work_queue_id": true, "agent_id": true, "agent_name": true, "lease_owner": true, "actor": true, "retries": true, "rerun_of": true,
	"catchup": true, "catchup_limit": true, "parameter_schema": true, "entrypoint": true, "slots_in_use": true,
	"concurrency_limit": true, "on_conflict": true, "overlap": true, "dst": true, "on_crash": true, "queue_timeout_seconds": true,
	"run_timeout_seconds": true, "priority": true, "schedules": true, "revision": true, "crash_retries": true, "crash_retries_max": true,
	"deadline": true, "schedule_id": true, "backfill": true,
	"detail": true, "kind": true, "hint": true, "request_id": true,
}

// changing are fields whose values differ from run to run.
var changing = map[string]bool{
	"created": true, "updated": true, "timestamp": true, "expected_start_time": true, "next_scheduled_start_time": true, "start_time": true,
	"end_time": true, "scheduled_time": true, "cache_expiration": true, "total_run_time": true, "estimated_run_time": true,
	"estimated_start_time_delta": true,
}

// compare reports differences; ids at the same place are learnt.
func (r *replay) compare(at string, want, got any) []string {
	if reflect.TypeOf(want) != reflect.TypeOf(got) {
		return []string{fmt.Sprintf("%s: want %v, got %v", at, want, got)}
	}
	switch want := want.(type) {
	case map[string]any:
		return r.compareObjects(at, want, got.(map[string]any))
	case []any:
		got := got.([]any)
		if len(want) != len(got) {
			return []string{fmt.Sprintf("%s: want %d items, got %d", at, len(want), len(got))}
		}
		var bad []string
		for i := range want {
			bad = append(bad, r.compare(fmt.Sprintf("%s[%d]", at, i), want[i], got[i])...)
		}
		return bad
	case string:
		return r.compareTexts(at, want, got.(string))
	}
	if !reflect.DeepEqual(want, got) {
		return []string{fmt.Sprintf("%s: want %v, got %v", at, want, got)}
	}
	return nil
}

func (r *replay) compareObjects(at string, want, got map[string]any) (bad []string) {
	for k, w := range want {
		g, ok := got[k]
		switch {
		case !ok:
			bad = append(bad, at+"."+k+": missing")
		case k == "request_body": // an echo: not a digit differs
			if !reflect.DeepEqual(r.translated(w), g) {
				bad = append(bad, fmt.Sprintf("%s.%s: want %v, got %v", at, k, w, g))
			}
		case k == "delay_seconds":
			if !r.sameDelay(w, g) {
				bad = append(bad, fmt.Sprintf("%s.%s: want about %v, got %v", at, k, w, g))
			}
		case changing[k] && w != nil && g != nil:
			if reflect.TypeOf(w) != reflect.TypeOf(g) {
				bad = append(bad, fmt.Sprintf("%s.%s: want a %T, got %v", at, k, w, g))
			} else if text, isText := g.(string); isText && !timePattern.MatchString(text) {
				bad = append(bad, fmt.Sprintf("%s.%s: %q is no time", at, k, text))
			}
		default:
			bad = append(bad, r.compare(at+"."+k, w, g)...)
		}
	}
	for k := range got {
		if _, ok := want[k]; !ok && (!r.native || !additive[k]) {
			bad = append(bad, fmt.Sprintf("%s.%s: not known to the client", at, k))
		}
	}
	return bad
}

// translated is a JSON value with our ids.
func (r *replay) translated(v any) (out any) {
	text, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal([]byte(r.translate(string(text))), &out)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

// sameDelay compares delays, to a moment that is as far away as it was or that has come closer since. They are rounded up, so that a run
// never starts early, and shrink while a busy machine gets to ask.
func (r *replay) sameDelay(want, got any) bool {
	w, ok1 := want.(float64)
	g, ok2 := got.(float64)
	near := func(w float64) bool { return g < w+2 && g > w-60 }
	return ok1 && ok2 && (near(w) || near(w-r.elapsed.Seconds()))
}

// masked texts were cut by the recorder, or are chosen by chance.
func (r *replay) compareTexts(at, want, got string) []string {
	if want == "..." || strings.HasSuffix(want, "...") && strings.HasPrefix(got, strings.TrimSuffix(want, "...")) {
		return nil
	}
	theirs, ours := uuidPattern.FindAllString(want, -1), uuidPattern.FindAllString(got, -1)
	if len(theirs) == len(ours) {
		for i, id := range theirs {
			if _, known := r.ids[id]; !known {
				r.ids[id] = ours[i]
			}
		}
	}
	if r.names[want] == got || strings.HasSuffix(at, ".name") && r.learnName(want, got) {
		return nil
	}
	if r.translate(want) != got {
		return []string{fmt.Sprintf("%s: want %q, got %q", at, r.translate(want), got)}
	}
	return nil
}

var slug = regexp.MustCompile(`^[a-z]+-[a-z]+$`)

// learnName takes a name made by chance, like amber-heron, for another one, once.
func (r *replay) learnName(want, got string) bool {
	if _, known := r.names[want]; known || want == got || !slug.MatchString(want) || !slug.MatchString(got) {
		return false
	}
	r.names[want] = got
	return true
}

// markLate does what the leader's services do to due runs that nobody takes; they do not run here.
func (r *replay) markLate() {
	r.t.Helper()
	view, _, err := r.server.reader.View(r.t.Context(), Linearizable, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	late := &command.MarkLate{Before: time.Now().UnixMicro()}
	err = view.ScheduledFlowRuns(minTime, late.Before, func(run *row.FlowRun) (bool, error) {
		late.FlowRunIds = append(late.FlowRunIds, run.Id)
		return true, nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	view.Close()
	_, _, err = r.server.proposer.Propose(r.t.Context(), &command.Envelope{Seed: newID(), Command: &command.Envelope_MarkLate{MarkLate: late}})
	if err != nil {
		r.t.Fatal(err)
	}
}

// before creates what recordings that were left out had created.
func (r *replay) before(step recorded) {
	switch step.Seq {
	case 310:
		r.ids["50cb7145-4474-451f-bebd-70be40ae5526"] = r.must(201, "POST", "/api/flows/", map[string]any{"name": "parent-flow"})["id"].(string)
	case 650:
		run := r.must(201, "POST", "/api/task_runs/", map[string]any{
			"name": "jolly-toad", "flow_run_id": r.translate("ad51c6a5-0ed4-4933-9e40-9383bf094b5c"), "task_key": "tk", "dynamic_key": "0",
			"empirical_policy": map[string]any{"max_retries": 1, "retry_delay_seconds": 1000},
			"task_inputs":      map[string]any{"x": []any{map[string]any{"input_type": "parameter", "name": "p"}, map[string]any{"input_type": "constant", "type": "int"}}},
		})
		r.ids["af7fd9cd-ec15-4e80-9b86-5044fd85cdb3"] = run["id"].(string)
	}
}

// better are the steps whose answer differs on purpose, with what it is instead.
var better = map[int]func(r *replay, a answer){
	// The real server fails for a task run whose inputs are no task runs.
	660: func(r *replay, a answer) {
		nodes, _ := a.json(r.t).([]any)
		if a.status != 200 || len(nodes) != 1 || nodes[0].(object)["id"] != r.ids["af7fd9cd-ec15-4e80-9b86-5044fd85cdb3"] {
			r.t.Errorf("the graph is %d %s", a.status, a.text)
		}
	},
}

// explicit are the steps that do what here must be asked for explicitly: a forced state replaces a terminal one.
var explicit = map[int]string{638: "replace_terminal"}

// asRecorded sends an explicit step as it was recorded, which must change nothing, and returns it with what it needs.
func (r *replay) asRecorded(step recorded, path, text string) string {
	more, special := explicit[step.Seq]
	if !special {
		return text
	}
	a := r.do(step.Method, path, text)
	if got, _ := a.json(r.t).(object); a.status != 200 || got["status"] != "ABORT" {
		r.t.Errorf("%s/%d without %s: %d %s", step.file, step.Seq, more, a.status, a.text)
	}
	return strings.TrimSuffix(text, "}") + `, "` + more + `": true}`
}

func TestTracesOfRealClients(t *testing.T) { everywhere(t, checkTracesOfRealClients) }

func checkTracesOfRealClients(t *testing.T, at place) {
	r := &replay{stack: newStack(t, at), ids: map[string]string{}, names: map[string]string{}}
	seedBlockSpecs(r.stack)
	for _, step := range readTraces(t) {
		name := fmt.Sprintf("%s/%d", step.file, step.Seq)
		r.before(step)
		if bytes.Contains(step.ResponseJSON, []byte(`"Late"`)) {
			r.markLate()
		}
		path := r.translate(step.Path)
		if step.Query != "" {
			path += "?" + r.translate(step.Query)
		}
		var body any
		switch {
		case len(step.RequestJSON) > 0:
			body = r.asRecorded(step, path, shift(r.translate(string(step.RequestJSON)), step.Start))
		case step.RequestText != "":
			body = r.translate(step.RequestText)
		}
		r.native = true
		var headers []string
		for k, v := range step.Headers {
			headers = append(headers, k, v)
			r.native = r.native && !strings.EqualFold(k, "x-prefect-api-version")
		}
		a := r.do(step.Method, path, body, headers...)
		if check := better[step.Seq]; check != nil {
			check(r, a)
			continue
		}
		r.elapsed = time.Since(step.Start)
		if a.status != step.Status {
			t.Errorf("%s: %s %s: status %d, want %d: %s", name, step.Method, path, a.status, step.Status, a.text)
			continue
		}
		if want, got := step.Answered["content-type"], a.header.Get("Content-Type"); want != got {
			t.Errorf("%s: %s %s: content type %q, want %q", name, step.Method, path, got, want)
		}
		if len(step.ResponseJSON) == 0 {
			if a.text != "" {
				t.Errorf("%s: %s %s: body %q, want none", name, step.Method, path, a.text)
			}
			continue
		}
		var want any
		if err := json.Unmarshal(step.ResponseJSON, &want); err != nil {
			t.Fatal(err)
		}
		for _, bad := range r.compare("", want, a.json(t)) {
			t.Errorf("%s: %s %s: %s", name, step.Method, path, bad)
		}
	}
}

// seedBlockSpecs stores what a server stores when it starts, as the traces show it.
func seedBlockSpecs(s *stack) {
	s.t.Helper()
	data, err := os.ReadFile("testdata/traces/01-storage-create.jsonl")
	if err != nil {
		s.t.Fatal(err)
	}
	first, _, _ := bytes.Cut(data, []byte("\n"))
	var step recorded
	var specs []struct {
		Name, Version string
		Type          *string
		Fields        json.RawMessage
	}
	if err := json.Unmarshal(first, &step); err != nil {
		s.t.Fatal(err)
	}
	if err := json.Unmarshal(step.ResponseJSON, &specs); err != nil {
		s.t.Fatal(err)
	}
	for _, spec := range specs {
		s.must(201, "POST", "/api/block_specs/", map[string]any{"name": spec.Name, "version": spec.Version, "type": spec.Type, "fields": spec.Fields})
	}
}
