package httpapi

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/url"
	"strings"
	"testing"
	"time"
)

// loggedRun has twelve lines in four batches: "line 0" to "line 11", every third an error.
func (s *stack) loggedRun() (path string) {
	s.t.Helper()
	run, _ := s.dueRun()
	began := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	for batch := range 4 {
		var lines []object
		for i := batch * 3; i < batch*3+3; i++ {
			level := 20
			if i%3 == 0 {
				level = 40
			}
			lines = append(lines, object{"name": "n", "level": level, "message": fmt.Sprintf("Line %d", i), "timestamp": began.Add(time.Duration(i) * time.Minute), "flow_run_id": run["id"]})
		}
		if a := s.do("POST", "/api/logs/", lines); a.status != 201 {
			s.t.Fatalf("%d %s", a.status, a.text)
		}
	}
	return "/api/flow_runs/" + run["id"].(string) + "/logs"
}

// search reads the numbers of all lines from where the query begins, page after page.
func (s *stack) search(path string, query url.Values) (numbers []string, pages int) {
	s.t.Helper()
	query = maps.Clone(query)
	for {
		got := s.must(200, "GET", path+"?"+query.Encode(), nil)
		pages++
		for _, l := range got["logs"].([]any) {
			numbers = append(numbers, strings.TrimPrefix(l.(object)["message"].(string), "Line "))
		}
		if got["next_cursor"] == nil {
			return numbers, pages
		}
		query.Del("at")
		query.Set("cursor", got["next_cursor"].(string))
	}
}

func TestLogsAreSearched(t *testing.T) {
	t.Parallel()
	s := newStack(t, oneNode)
	path := s.loggedRun()
	for query, want := range map[string]string{
		"":                               "0 1 2 3 4 5 6 7 8 9 10 11",
		"limit=5":                        "0 1 2 3 4 5 6 7 8 9 10 11",
		"order=desc&limit=5":             "11 10 9 8 7 6 5 4 3 2 1 0",
		"search=line+1":                  "1 10 11",
		"regex=e+(1|9)$":                 "1 9",
		"level=40":                       "0 3 6 9",
		"level=40&order=desc&limit=1":    "9 6 3 0",
		"since=2026-11-23T09:09:00Z":     "9 10 11",
		"until=2026-11-23T09:01:00Z":     "0 1",
		"search=nothing":                 "",
		"task_run_id=" + nobody:          "",
		"search=LINE&limit=2&order=desc": "11 10 9 8 7 6 5 4 3 2 1 0",
	} {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		got, pages := s.search(path, values)
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %s in %d pages, want %s", query, got, pages, want)
		}
	}
	// Every line has a place at which a page can begin, in both directions, whatever else is asked for.
	placed := s.must(200, "GET", path+"?search=line+7", nil)["logs"].([]any)[0].(object)
	for query, want := range map[string]string{
		"order=asc": "7 8 9 10 11", "order=desc": "7 6 5 4 3 2 1 0", "order=asc&limit=1": "7 8 9 10 11", "level=40": "9",
	} {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		values.Set("at", placed["cursor"].(string))
		got, _ := s.search(path, values)
		if strings.Join(got, " ") != want {
			t.Errorf("%s at line 7: %s, want %s", query, got, want)
		}
		values.Del("at")
		values.Set("cursor", placed["cursor"].(string))
		if got, _ = s.search(path, values); strings.Join(got, " ") != strings.TrimPrefix(want, "7 ") {
			t.Errorf("%s behind line 7: %s, want what follows it of %s", query, got, want)
		}
	}
	for _, query := range []string{"at=x", "at=" + placed["cursor"].(string) + "&cursor=" + placed["cursor"].(string)} {
		if a := s.do("GET", path+"?"+query, nil); a.status != 422 || !strings.Contains(a.text, `"at"`) {
			t.Errorf("%s: %d %s", query, a.status, a.text)
		}
	}
	// Lines that come while somebody turns pages appear behind the cursor.
	page := s.must(200, "GET", path+"?limit=12", nil)
	if page["next_cursor"] != nil {
		t.Errorf("after the last line: %v", page["next_cursor"])
	}
	if later := s.must(200, "GET", path+"?cursor="+page["end"].(string), nil); len(later["logs"].([]any)) != 0 || later["end"] != page["end"] {
		t.Errorf("behind the end: %v", later)
	}
	for _, query := range []string{"cursor=x", "cursor=AQ", "regex=%28", "level=loud", "since=yesterday", "order=up", "limit=3000", "task_run_id=1", "search=" + strings.Repeat("x", 501), "regex=" + strings.Repeat("x", 501)} {
		if a := s.do("GET", path+"?"+query, nil); a.status != 422 {
			t.Errorf("%.30s: %d %s", query, a.status, a.text)
		}
	}
	s.must(404, "GET", "/api/flow_runs/"+nobody+"/logs", nil)
}

func TestLogsAreDownloaded(t *testing.T) {
	t.Parallel()
	s := newStack(t, oneNode)
	path := s.loggedRun() + "/download"
	text := s.do("GET", path+"?level=40", nil, "Accept-Encoding", "identity")
	want := "2026-11-23T09:00:00.000Z ERROR n - Line 0\n2026-11-23T09:03:00.000Z ERROR n - Line 3\n2026-11-23T09:06:00.000Z ERROR n - Line 6\n2026-11-23T09:09:00.000Z ERROR n - Line 9\n"
	if text.text != want || text.header.Get("Content-Type") != "text/plain; charset=utf-8" || !strings.HasSuffix(text.header.Get("Content-Disposition"), `.log"`) {
		t.Errorf("as text: %v\n%s", text.header, text.text)
	}
	zipped := s.do("GET", path+"?format=ndjson", nil, "Accept-Encoding", "br, gzip;q=0.5")
	if zipped.header.Get("Content-Encoding") != "gzip" {
		t.Fatalf("not compressed: %v", zipped.header)
	}
	r, err := gzip.NewReader(strings.NewReader(zipped.text))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(plain), "\n"), "\n")
	var last object
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || len(lines) != 12 || last["message"] != "Line 11" {
		t.Errorf("%d lines, the last %v: %v", len(lines), last, err)
	}
	s.must(422, "GET", path+"?format=csv", nil)
	s.must(404, "GET", "/api/flow_runs/"+nobody+"/logs/download", nil)
}

func FuzzLogCursors(f *testing.F) {
	f.Add(logPlace{}.String())
	f.Add(logPlace{1 << 60, 1<<32 - 1, 7}.String())
	f.Add("AQ")
	f.Fuzz(func(t *testing.T, text string) {
		p, ok := parseLogPlace(text)
		if !ok {
			return
		}
		if again, ok := parseLogPlace(p.String()); !ok || again != p {
			t.Errorf("%q is %v, which is written %q", text, p, p.String())
		}
	})
}
