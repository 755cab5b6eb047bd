package httpapi

import (
	"encoding/json"
	"net/url"
	"slices"
	"testing"
	"time"
)

// pages lists by cursor until the end, and calls between with each page's number.
func (s *stack) pages(kind string, body object, between func(int)) (ids []string) {
	s.t.Helper()
	cursor := ""
	for n := 0; ; n++ {
		a := s.do("POST", "/api/"+kind+"/filter?cursor="+url.QueryEscape(cursor), body)
		var page []object
		if err := json.Unmarshal([]byte(a.text), &page); err != nil || n > 500 {
			s.t.Fatalf("%s page %d: %d %s", kind, n, a.status, a.text)
		}
		for _, o := range page {
			ids = append(ids, o["id"].(string))
		}
		if cursor = a.header.Get("X-Sluice-Next-Cursor"); cursor == "" {
			return ids
		}
		between(n)
	}
}

func TestListsByCursorAgreeWithThoseByOffset(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	w := newWorld(t, seed)
	for range 60 {
		for _, kind := range []string{"flow_runs", "task_runs", "flows", "deployments"} {
			f := w.randomFilters()
			f["limit"] = 1 + w.r.IntN(7)
			var want []string
			for _, o := range w.expected(kind, f) {
				want = append(want, o["id"].(string))
			}
			slices.Sort(want)
			slices.Reverse(want)
			if got := w.pages(kind, f, func(int) {}); !slices.Equal(got, want) {
				text, _ := json.Marshal(f)
				t.Fatalf("%s %s:\n got %s\nwant %s", kind, text, got, want)
			}
		}
	}
	// What is made while somebody turns pages is newer than all of them: it neither repeats nor hides anything.
	all := w.all("flow_runs")
	got := w.pages("flow_runs", object{"limit": 7}, func(int) {
		w.must(201, "POST", "/api/flow_runs/", object{"flow_id": w.flows[0]["id"], "name": "late"})
	})
	if len(got) != len(all) || len(slices.Compact(slices.Clone(got))) != len(all) {
		t.Errorf("%d runs with others made meanwhile, want %d", len(got), len(all))
	}
}

func TestCursorsOfOtherListsAreRefused(t *testing.T) {
	t.Parallel()
	s := newStack(t, oneNode)
	for range 3 {
		s.dueRun()
	}
	for _, kind := range []string{"work_queues", "agents", "jobs"} {
		if got := s.pages(kind, object{"limit": 1}, func(int) {}); len(got) != 0 {
			t.Errorf("%s: %s", kind, got)
		}
	}
	next := s.do("POST", "/api/flow_runs/filter?cursor=", object{"limit": 1}).header.Get("X-Sluice-Next-Cursor")
	if next == "" {
		t.Fatal("there is no next page")
	}
	for path, body := range map[string]object{
		"/api/task_runs/filter?cursor=" + next:                        {"limit": 1},
		"/api/flow_runs/filter?cursor=" + next:                        {"limit": 1, "flow_runs": object{"tags": object{"is_null_": true}}},
		"/api/flow_runs/filter?cursor=" + next + "&consistency=stale": {"offset": 1},
		"/api/flow_runs/filter?cursor=x":                              {},
		"/api/flow_runs/filter?cursor=" + next[1:]:                    {},
		"/api/flow_runs/filter?cursor=":                               {"sort": "NAME_ASC"},
	} {
		if a := s.do("POST", path, body); a.status != 422 {
			t.Errorf("%s %v: %d %s", path, body, a.status, a.text)
		}
	}
	if a := s.do("POST", "/api/flow_runs/filter?cursor="+next, object{"limit": 2}); a.status != 200 || a.header.Get("X-Sluice-Next-Cursor") != "" {
		t.Errorf("another limit: %d %v", a.status, a.header)
	}
}

func FuzzCursors(f *testing.F) {
	f.Add(cursor{}.String())
	f.Add(cursor{list: listJobs, filter: 1 << 31}.String())
	f.Add("AQEAAAAA")
	f.Fuzz(func(t *testing.T, text string) {
		c, ok := parseCursor(text)
		if !ok {
			return
		}
		if again, ok := parseCursor(c.String()); !ok || again != c {
			t.Errorf("%q is %v, which is written %q", text, c, c.String())
		}
	})
}
