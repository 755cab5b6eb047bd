package httpapi

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/sluice-dev/sluice/fsm/command"
)

// Targets that send requests start one server for all inputs. Each answer is checked against the OpenAPI document.

// fuzzed runs one input: what goes wrong is the input's failure.
func (s *stack) fuzzed(f *testing.F, t *testing.T) func() {
	s.t = t
	return func() { s.t = f }
}

func (a answer) isDefect() bool {
	return a.status >= 500 && a.status != http.StatusServiceUnavailable && a.status != http.StatusInsufficientStorage
}

// FuzzPlaces reads the cursors of a run's stream.
func FuzzPlaces(f *testing.F) {
	for _, seed := range []string{streamPlace{}.String(), streamPlace{1 << 50, 1 << 60, 1<<32 - 1, 7}.String(), "1.2.3", "-1.0.0.+1", "..."} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parsePlace(text)
		if err != nil {
			return
		}
		if again, err := parsePlace(p.String()); err != nil || again != p {
			t.Errorf("%q is %v, which is written %q: %v %v", text, p, p.String(), again, err)
		}
	})
}

// FuzzIdempotencyKeys sends a request twice under one key: it is refused, or done once.
func FuzzIdempotencyKeys(f *testing.F) {
	for _, seed := range []string{"a", "", " ", "é", strings.Repeat("k", 255), strings.Repeat("k", 256), "a,b", `"quoted"`, "\t"} {
		f.Add(seed)
	}
	s := newStack(f, oneNode)
	flow := s.must(201, "POST", "/api/flows/", object{"name": "f"})["id"].(string)
	f.Fuzz(func(t *testing.T, key string) {
		defer s.fuzzed(f, t)()
		if strings.ContainsFunc(key, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return // no client can send it
		}
		body := `{"flow_id":"` + flow + `"}`
		first := s.do("POST", "/api/flow_runs/", body, "Idempotency-Key", key)
		if first.status == http.StatusBadRequest {
			return
		}
		second := s.do("POST", "/api/flow_runs/", body, "Idempotency-Key", key)
		if first.status != 201 || second.status != 201 || second.header.Get("Idempotency-Replayed") != "true" || first.object(t)["id"] != second.object(t)["id"] {
			t.Errorf("%q: %d %s\n%d %v %s", key, first.status, first.text, second.status, second.header, second.text)
		}
		if other := s.do("POST", "/api/flow_runs/", `{"flow_id":"`+flow+`","tags":["x"]}`, "Idempotency-Key", key); other.status != 422 {
			t.Errorf("%q with another body: %d %s", key, other.status, other.text)
		}
	})
}

// FuzzPatches changes objects that there are. A change that is refused leaves them as they were, and they can always be read.
func FuzzPatches(f *testing.F) {
	s := newStack(f, oneNode)
	age := int64(1e12)
	rules := &command.Envelope{Seed: newID(), Command: &command.Envelope_SetRetention{SetRetention: &command.SetRetention{IfAbsent: true, RunsMaxAge: &age, LogsMaxAge: &age}}}
	if _, _, err := s.claims.proposer.Propose(f.Context(), rules); err != nil {
		f.Fatal(err)
	}
	flow := s.must(201, "POST", "/api/flows/", object{"name": "f"})["id"].(string)
	id := func(path string, body object) string {
		return path + "/" + s.must(201, "POST", path, body)["id"].(string)
	}
	spec := s.must(201, "POST", "/api/block_specs/", object{"name": "S", "version": "1.0", "type": "STORAGE"})["id"].(string)
	deployment := id("/api/deployments", object{"name": "d", "flow_id": flow, "flow_data": object{"encoding": "x", "blob": ""}, "schedule": object{"interval": 3600}})
	schedule := s.must(201, "POST", deployment+"/schedules", object{"schedule": object{"cron": "0 9 * * *"}})["id"].(string)
	targets := []string{
		"/api/flows/" + flow, id("/api/flow_runs", object{"flow_id": flow}), deployment, id("/api/work_queues", object{"name": "q"}),
		id("/api/blocks", object{"name": "b", "block_spec_id": spec}), id("/api/webhooks", object{"name": "w", "url": "https://example.org/"}), "/api/retention",
		deployment + "/schedules/" + schedule,
	}
	for i, body := range []string{
		`{"tags":["a","a"]}`, `{"name":"","parameters":{"a":[1e400]},"flow_runner":{"type":null,"config":{}}}`,
		`{"schedule":{"rrule":"FREQ=YEARLY;BYDAY=5MO"},"concurrency_limit":1,"on_conflict":"skip","on_crash":{"retries":2,"delay_seconds":1e9},"if_revision":1}`,
		`{"filter":{"tags":[],"deployment_ids":null},"concurrency_limit":2147483648}`, `{"data":{"a":{"b":"\u0000"}},"name":"c"}`,
		`{"url":"http://[::1]:99999/","filter":{},"paused":1}`, `{"runs":{"max_age":"1d12h"},"logs":{"max_count":-1}}`, `{"active":"no"}`,
	} {
		f.Add(uint(i), []byte(body))
	}
	shown := func(path string) string {
		if i := strings.Index(path, "/schedules/"); i > 0 {
			path = path[:i+len("/schedules")]
		}
		a := s.do("GET", path, nil)
		if a.status != 200 {
			s.t.Errorf("%s cannot be read: %d %s", path, a.status, a.text)
		}
		return times.ReplaceAllString(a.text, "")
	}
	f.Fuzz(func(t *testing.T, n uint, body []byte) {
		defer s.fuzzed(f, t)()
		path := targets[n%uint(len(targets))]
		before := shown(path)
		a := s.do("PATCH", path, body, oddly...)
		if a.isDefect() {
			t.Errorf("%s %q: %d %s", path, body, a.status, a.text)
		}
		if after := shown(path); a.status >= 400 && after != before {
			t.Errorf("%s %q: %d, and yet it was changed:\n%s\n%s", path, body, a.status, before, after)
		}
	})
}

// times are what changes in an object by itself.
var times = regexp.MustCompile(`"(estimated_[a-z_]*|next_[a-z_]*)":[^,}]*`)

// FuzzQueries reads everything that can be read with any query.
func FuzzQueries(f *testing.F) {
	s := newStack(f, oneNode)
	s.loggedRun()
	run := s.do("POST", "/api/flow_runs/filter", object{}).json(f).([]any)[0].(map[string]any)["id"].(string)
	var paths []string
	for _, rt := range routes() {
		if rt.method == http.MethodGet && !rt.stream && !strings.HasPrefix(rt.path, "/cluster") {
			paths = append(paths, namedParameter.ReplaceAllString(strings.ReplaceAll(rt.fullPath(), "{id}", run), "x"))
		}
	}
	paths = append(paths, "/api/flow_runs/"+run+"/logs", "/api/flow_runs/"+run+"/logs/download")
	for i := range paths {
		f.Add(uint(i), "consistency=stale&limit=1&cursor=")
	}
	for _, query := range []string{"flow_run_id=" + run, "%zz", "a=%00&a=b;c", "consistency=linearizable&consistency=stale", "cursor=AQ", "limit=-1&offset=9999999999999999999"} {
		f.Add(uint(0), query)
		f.Add(uint(len(paths)-1), query)
	}
	f.Fuzz(func(t *testing.T, n uint, query string) {
		defer s.fuzzed(f, t)()
		path := paths[n%uint(len(paths))] + "?" + query
		if _, err := url.ParseRequestURI(s.http.URL + path); err != nil || strings.ContainsAny(query, "# \r\n\t") || strings.ContainsFunc(query, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return // no client can send it
		}
		if a := s.do("GET", path, nil, oddly...); a.isDefect() {
			t.Errorf("%s: %d %s", path, a.status, a.text)
		}
	})
}

// FuzzLogSearches compares what a search finds with a look at every line.
func FuzzLogSearches(f *testing.F) {
	s := newStack(f, oneNode)
	path := s.loggedRun()
	var all []string
	read := func(t testing.TB, query url.Values) ([]string, int) {
		var lines []string
		for {
			a := s.do("GET", path+"?"+query.Encode(), nil, oddly...)
			if a.status != 200 {
				if a.isDefect() {
					t.Errorf("%v: %d %s", query, a.status, a.text)
				}
				return nil, a.status
			}
			var page struct {
				Logs []struct{ Message string }
				Next *string `json:"next_cursor"`
			}
			if err := json.Unmarshal([]byte(a.text), &page); err != nil {
				t.Fatal(err)
			}
			for _, l := range page.Logs {
				lines = append(lines, l.Message)
			}
			if page.Next == nil {
				return lines, 200
			}
			query.Set("cursor", *page.Next)
		}
	}
	all, _ = read(f, url.Values{})
	for _, seed := range [][2]string{{"line", ""}, {"LINE 1", ""}, {"", `^Line \d$`}, {"", `(`}, {"", `(a+)+$`}, {"ı", "(?i)K"}, {strings.Repeat("x", 501), ""}} {
		f.Add(seed[0], seed[1], uint8(3))
	}
	f.Fuzz(func(t *testing.T, search, pattern string, limit uint8) {
		defer s.fuzzed(f, t)()
		query := url.Values{"limit": {"1"}}
		if search != "" {
			query.Set("search", search)
		}
		if pattern != "" {
			query.Set("regex", pattern)
		}
		if limit > 1 {
			query.Set("limit", "200")
		}
		got, status := read(t, query)
		wrong := len(strings.ToLower(search)) > 500 || len(pattern) > 500
		compiled, err := regexp.Compile(pattern)
		if wrong = wrong || err != nil; wrong || status != 200 {
			if wrong != (status == 422) {
				t.Errorf("%q %q: %d", search, pattern, status)
			}
			return
		}
		var want []string
		for _, line := range all {
			if strings.Contains(strings.ToLower(line), strings.ToLower(search)) && compiled.MatchString(line) {
				want = append(want, line)
			}
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%q %q:\n got %q\nwant %q", search, pattern, got, want)
		}
	})
}
