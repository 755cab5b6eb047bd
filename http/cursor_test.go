package httpapi

import (
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
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
	sorted := s.do("POST", "/api/flow_runs/filter?cursor=", object{"limit": 1, "sort": "NAME_ASC"}).header.Get("X-Sluice-Next-Cursor")
	if a := s.do("POST", "/api/flow_runs/filter?cursor="+sorted, object{"limit": 2, "sort": "NAME_ASC"}); a.status != 200 || len(a.json(t).([]any)) != 2 || a.header.Get("X-Sluice-Next-Cursor") != "" {
		t.Errorf("the rest of a sorted list: %d %s %v", a.status, a.text, a.header)
	}
	for path, body := range map[string]object{
		"/api/task_runs/filter?cursor=" + next:                        {"limit": 1},
		"/api/flow_runs/filter?cursor=" + next:                        {"limit": 1, "flow_runs": object{"tags": object{"is_null_": true}}},
		"/api/flow_runs/filter?cursor=" + next + "&consistency=stale": {"offset": 1},
		"/api/flow_runs/filter?cursor=x":                              {},
		"/api/flow_runs/filter?cursor=" + next[1:]:                    {},
		"/api/task_runs/filter?cursor=":                               {"sort": "NAME_ASC"},
		"/api/flow_runs/filter?cursor=" + sorted:                      {"limit": 1, "sort": "NAME_DESC"},
		"/api/flow_runs/filter?cursor=" + cursor{list: listFlowRuns, filter: filterHash([]byte(`{"sort":"NAME_ASC"}`)), key: "short"}.String(): {"sort": "NAME_ASC"},
		"/api/flow_runs/filter?cursor=" + cursor{list: listFlowRuns, key: "short"}.String():                                                    {},
	} {
		if a := s.do("POST", path, body); a.status != 422 {
			t.Errorf("%s %v: %d %s", path, body, a.status, a.text)
		}
	}
	if a := s.do("POST", "/api/flow_runs/filter?cursor="+next, object{"limit": 2}); a.status != 200 || a.header.Get("X-Sluice-Next-Cursor") != "" {
		t.Errorf("another limit: %d %v", a.status, a.header)
	}
}

func TestListsOfFewObjectsHaveCursors(t *testing.T) {
	t.Parallel()
	s := newStack(t, oneNode)
	made := map[string][]string{}
	note := func(kind string, o object) string {
		id := o["id"].(string)
		made[kind] = append(made[kind], id)
		return id
	}
	for i := range 5 {
		name := string(rune('a' + (i*2)%5)) // not in the order of names
		spec := note("block_specs", s.must(201, "POST", "/api/block_specs/", object{"name": name, "version": "1.0", "type": "STORAGE", "fields": object{}}))
		note("blocks", s.must(201, "POST", "/api/blocks/", object{"name": name, "block_spec_id": spec, "data": object{}}))
		note("saved_searches", s.must(201, "PUT", "/api/saved_searches/", object{"name": name}))
		note("concurrency_limits", s.must(200, "POST", "/api/concurrency_limits/", object{"tag": name, "concurrency_limit": 1}))
	}
	for kind, want := range made {
		slices.Reverse(want) // the newest first
		deepest := 0
		got := s.pages(kind, object{"limit": 2}, func(n int) { deepest = n })
		if !slices.Equal(got, want) || deepest != 1 {
			t.Errorf("%s in %d pages:\n got %s\nwant %s", kind, deepest+2, got, want)
		}
		if a := s.do("POST", "/api/"+kind+"/filter?cursor=", object{"offset": 1}); a.status != 422 {
			t.Errorf("%s by offset and cursor: %d", kind, a.status)
		}
		next := s.do("POST", "/api/"+kind+"/filter?cursor=", object{"limit": 1}).header.Get("X-Sluice-Next-Cursor")
		if a := s.do("POST", "/api/flows/filter?cursor="+next, object{"limit": 1}); next == "" || a.status != 422 {
			t.Errorf("a cursor of %s for flows: %d", kind, a.status)
		}
	}
}

// cursorSorts are the orders in which lists by cursor are offered.
var cursorSorts = map[string][]string{
	"flow_runs":   flowRunSorts,
	"task_runs":   {"ID_DESC", "EXPECTED_START_TIME_ASC", "EXPECTED_START_TIME_DESC", "NEXT_SCHEDULED_START_TIME_ASC", "END_TIME_DESC"},
	"flows":       {"CREATED_DESC", "UPDATED_DESC", "NAME_ASC", "NAME_DESC"},
	"deployments": {"NAME_ASC"},
	"logs":        {"TIMESTAMP_ASC", "TIMESTAMP_DESC", "LEVEL_ASC", "LEVEL_DESC", "FLOW_RUN_ID_ASC", "FLOW_RUN_ID_DESC", "TASK_RUN_ID_ASC", "TASK_RUN_ID_DESC"},
}

func idsOfAll(list []object) (ids []string) {
	for _, o := range list {
		ids = append(ids, o["id"].(string))
	}
	return ids
}

// TestSortedListsByCursorAgreeWithThoseByOffset takes what TestFiltersAgreeWithANaiveEvaluation checks for the truth.
func TestSortedListsByCursorAgreeWithThoseByOffset(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	w := newWorld(t, seed)
	for kind, sorts := range cursorSorts {
		for _, sort := range sorts {
			for range 3 {
				f := w.randomFilters()
				if kind == "logs" {
					f = object{"logs": w.logFilter()}
				}
				f["sort"] = sort
				var all []object
				if err := json.Unmarshal([]byte(w.do("POST", "/api/"+kind+"/filter", f).text), &all); err != nil {
					t.Fatal(err)
				}
				f["limit"] = 1 + w.r.IntN(7)
				if got, want := w.pages(kind, f, func(int) {}), idsOfAll(all); !slices.Equal(got, want) {
					text, _ := json.Marshal(f)
					t.Fatalf("%s %s:\n got %s\nwant %s", kind, text, got, want)
				}
			}
		}
	}
}

// TestPagesOfASortedListHoldEachObjectThatStaysOnce makes, changes and deletes others while pages are turned.
func TestPagesOfASortedListHoldEachObjectThatStaysOnce(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	w := newWorld(t, seed)
	for _, sort := range flowRunSorts {
		var before []object
		if err := json.Unmarshal([]byte(w.do("POST", "/api/flow_runs/filter", object{"sort": sort}).text), &before); err != nil {
			t.Fatal(err)
		}
		touched := map[string]bool{}
		got := w.pages("flow_runs", object{"sort": sort, "limit": 9}, func(n int) {
			made := w.must(201, "POST", "/api/flow_runs/", object{"flow_id": w.flows[0]["id"], "name": w.pick(worldNames),
				"state": object{"type": "SCHEDULED", "state_details": object{"scheduled_time": time.Now().Add(time.Duration(w.r.IntN(5)-2) * time.Hour)}}})
			touched[made["id"].(string)] = true
			other := before[w.r.IntN(len(before))]["id"].(string)
			if n%3 == 0 && !touched[other] {
				touched[other] = true
				w.must(204, "PATCH", "/api/flow_runs/"+other, object{"name": w.pick(worldNames) + "!"})
			} else if n%3 == 1 && !touched[other] {
				touched[other] = true
				w.must(204, "DELETE", "/api/flow_runs/"+other, nil)
				before = slices.DeleteFunc(before, func(o object) bool { return o["id"] == other })
			}
		})
		stays := func(id string) bool { return touched[id] }
		want := slices.DeleteFunc(idsOfAll(before), stays)
		if got = slices.DeleteFunc(got, stays); !slices.Equal(got, want) {
			t.Fatalf("%s:\n got %s\nwant %s", sort, got, want)
		}
	}
}

func TestCursorsOfLongNamesGoOn(t *testing.T) {
	t.Parallel()
	s := newStack(t, oneNode)
	flow := s.must(201, "POST", "/api/flows/", object{"name": "f"})["id"]
	var want []string
	for i := range 5 {
		name := strings.Repeat("x", 2000) + strconv.Itoa(i)
		want = append(want, s.must(201, "POST", "/api/flow_runs/", object{"flow_id": flow, "name": name})["id"].(string))
	}
	if got := s.pages("flow_runs", object{"limit": 1, "sort": "NAME_ASC"}, func(int) {}); !slices.Equal(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
}

// FuzzListCursors goes on with cursors that nobody gave out.
func FuzzListCursors(f *testing.F) {
	s := newStack(f, oneNode)
	s.loggedRun()
	kinds := []string{"flow_runs", "task_runs", "flows", "deployments", "logs", "work_queues", "agents", "jobs", "blocks", "block_specs", "saved_searches", "concurrency_limits"}
	for i, kind := range kinds {
		f.Add(uint(i), uint(0), "", []byte{})
		key := sortPlace{at: 1 << 50, name: "a"}.append(nil)
		for k, sort := range cursorSorts[kind] {
			f.Add(uint(i), uint(k), string(key), []byte(sort))
		}
	}
	f.Fuzz(func(t *testing.T, n, order uint, key string, text []byte) {
		defer s.fuzzed(f, t)()
		kind := kinds[n%uint(len(kinds))]
		body := `{}`
		if sorts := cursorSorts[kind]; len(sorts) > 0 {
			body = `{"sort":"` + sorts[order%uint(len(sorts))] + `"}`
		}
		lists := map[string]byte{"flow_runs": listFlowRuns, "task_runs": listTaskRuns, "flows": listFlows, "deployments": listDeployments,
			"logs": listLogs, "work_queues": listWorkQueues, "agents": listAgents, "jobs": listJobs,
			"blocks": listBlocks, "block_specs": listBlockSpecs, "saved_searches": listSearches, "concurrency_limits": listLimits}
		for _, text := range []string{cursor{list: lists[kind], filter: filterHash([]byte(body)), key: key}.String(), string(text)} {
			if a := s.do("POST", "/api/"+kind+"/filter?cursor="+url.QueryEscape(text), body, oddly...); a.status != 200 && a.status != 422 {
				t.Errorf("%s %s %q: %d %s", kind, body, text, a.status, a.text)
			}
		}
	})
}

func FuzzCursors(f *testing.F) {
	f.Add(cursor{}.String())
	f.Add(cursor{list: listLogs, key: string(sortPlace{at: -1, name: "é"}.append(nil))}.String())
	f.Add(cursor{list: listJobs, filter: 1 << 31}.String())
	f.Add("AQEAAAAA")
	f.Fuzz(func(t *testing.T, text string) {
		c, ok := parseCursor(text)
		if !ok {
			return
		}
		if p, cut, ok := parseSortPlace([]byte(c.key)); ok && !cut && string(p.append(nil)) != c.key {
			t.Errorf("the place in %q is %v, which is written %q", text, p, p.append(nil))
		}
		if again, ok := parseCursor(c.String()); !ok || again != c {
			t.Errorf("%q is %v, which is written %q", text, c, c.String())
		}
	})
}
