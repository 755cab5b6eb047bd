package httpapi

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
)

type object = map[string]any

// world is what a random set of objects looks like from outside, for a naive evaluation of filters.
type world struct {
	*stack
	r                               *rand.Rand
	flows, deployments, runs, tasks []object
	queues, logs                    []object
}

func (w *world) pick(list []string) string { return list[w.r.IntN(len(list))] }

func (w *world) some(list []string) []string {
	out := []string{}
	for _, s := range list {
		if w.r.IntN(3) == 0 {
			out = append(out, s)
		}
	}
	return w.again(out)
}

// again names something twice, now and then.
func (w *world) again(list []string) []string {
	if len(list) > 0 && w.r.IntN(8) == 0 {
		list = append(list, w.pick(list))
	}
	return list
}

var (
	worldTags  = []string{"red", "green", "blue"}
	worldNames = []string{"ape", "bee", "cat", "dog"}
	worldTypes = []string{"SCHEDULED", "PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED"}
	// worldStates are names of states; "" is the type's.
	worldStates = []string{"", "", "", "Late", "Crashed", "Completed"}
)

// runIndexes are the names of all ways to find flow runs.
var runIndexes = []string{"state_type", "name", "end_time", "expected_start", "state_type, due", "state_type_time", "id", "parent_task_run", "task run's id", "deployment",
	"deployment_time", "flow", "flow_time", "tag_time", "queue_time", "state_name", "deployment_state_name", "flow_state_name", "start_time", "due"}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{stack: newStack(t, oneNode), r: rand.New(rand.NewPCG(seed, 1))}
	for i := range 4 {
		w.flows = append(w.flows, w.must(201, "POST", "/api/flows/", object{"name": fmt.Sprintf("flow%d", i), "tags": w.some(worldTags)}))
	}
	for i := range 4 {
		w.deployments = append(w.deployments, w.must(201, "POST", "/api/deployments/", object{
			"name": fmt.Sprintf("dep%d", i%3), "flow_id": w.flows[i%2]["id"], "flow_data": object{"encoding": "x", "blob": "y"}, "tags": w.some(worldTags),
			"is_schedule_active": i%2 == 0,
		}))
	}
	for i, tags := range [][]string{{"red"}, {"green"}, {}} {
		w.queues = append(w.queues, w.must(201, "POST", "/api/work_queues/", object{"name": fmt.Sprintf("queue%d", i), "filter": object{"tags": tags}}))
	}
	now := time.Now()
	for i := range 60 {
		body := object{
			"name": w.pick(worldNames), "flow_id": w.flows[w.r.IntN(3)]["id"], "tags": w.some(worldTags),
			"state": object{"type": w.pick(worldTypes), "name": w.pick(worldStates), "state_details": object{"scheduled_time": now.Add(time.Duration(w.r.IntN(7)-3) * time.Hour)}},
		}
		if d := w.deployments[w.r.IntN(4)]; w.r.IntN(2) == 0 {
			body["deployment_id"], body["flow_id"] = d["id"], d["flow_id"]
		}
		if w.r.IntN(3) == 0 {
			body["flow_version"], body["flow_runner"] = w.pick([]string{"v1", "v2"}), object{"type": w.pick([]string{"subprocess", "universal"})}
		}
		if len(w.tasks) > 0 && w.r.IntN(5) == 0 {
			body["parent_task_run_id"] = w.tasks[w.r.IntN(len(w.tasks))]["id"]
		}
		run := w.must(201, "POST", "/api/flow_runs/", body)
		for k := range w.r.IntN(3) {
			w.tasks = append(w.tasks, w.must(201, "POST", "/api/task_runs/", object{
				"flow_run_id": run["id"], "name": w.pick(worldNames), "task_key": "k", "dynamic_key": fmt.Sprint(k), "tags": w.some(worldTags),
				"state": object{"type": w.pick(worldTypes), "name": w.pick(worldStates)},
			}))
		}
		if i%4 == 0 {
			w.do("POST", "/api/flow_runs/"+run["id"].(string)+"/set_state", object{"state": object{"type": "COMPLETED"}, "force": true})
		}
	}
	w.claim()
	var lines []object
	for range 80 {
		line := object{"name": "n", "level": w.r.IntN(6) * 10, "message": w.pick(worldNames), "timestamp": now.Add(time.Duration(w.r.IntN(7)-3) * time.Hour)}
		run := w.all("flow_runs")[w.r.IntN(60)]
		if line["flow_run_id"] = run["id"]; w.r.IntN(2) == 0 && len(w.tasks) > 0 {
			line["task_run_id"] = w.tasks[w.r.IntN(len(w.tasks))]["id"]
		}
		lines = append(lines, line)
	}
	w.must(201, "POST", "/api/logs/", lines)
	w.logs = w.all("logs")
	// Later writes change earlier objects (subflows mirror their state on task runs): read all of them again.
	w.runs, w.tasks = w.all("flow_runs"), w.all("task_runs")
	return w
}

// claim has an agent take some of the due runs from each queue.
func (w *world) claim() {
	agent := api.NewID().String()
	w.must(201, "POST", "/api/agents/", object{"id": agent, "name": "a"})
	for _, q := range w.queues {
		w.must(200, "POST", "/api/agents/"+agent+"/claim", object{"work_queue_ids": []any{q["id"]}, "limit": 2, "wait_seconds": 0, "claim_id": api.NewID().String()})
	}
}

func (w *world) all(kind string) []object {
	var out []object
	if err := json.Unmarshal([]byte(w.do("POST", "/api/"+kind+"/filter", nil).text), &out); err != nil {
		w.t.Fatal(err)
	}
	return out
}

func (w *world) ids(list []object) []string {
	out := []string{}
	for _, o := range list {
		if w.r.IntN(3) == 0 {
			out = append(out, o["id"].(string))
		}
	}
	if w.r.IntN(8) == 0 {
		out = append(out, "00000000-0000-0000-0000-000000000001")
	}
	return w.again(out)
}

// maybe leaves a criterion out, mostly.
func (w *world) maybe(f object, key string, criterion func() object) {
	switch w.r.IntN(9) {
	case 0, 1:
		f[key] = criterion()
	case 2:
		if w.r.IntN(6) == 0 {
			f[key] = nil
		} else if w.r.IntN(6) == 0 {
			f[key] = object{}
		}
	}
}

func (w *world) anyOf(list func() []string) func() object {
	return func() object { return object{"any_": list()} }
}

func (w *world) nullOr(list func() []string) func() object {
	return func() object {
		if w.r.IntN(2) == 0 {
			return object{"is_null_": w.r.IntN(2) == 0}
		}
		return object{"any_": list()}
	}
}

func (w *world) tags() object {
	if w.r.IntN(3) == 0 {
		return object{"is_null_": w.r.IntN(2) == 0}
	}
	return object{"all_": w.some(worldTags)}
}

func (w *world) stateFilter() object {
	f := object{}
	if w.r.IntN(2) == 0 {
		f["type"] = object{"any_": w.some(worldTypes)}
	}
	if w.r.IntN(2) == 0 {
		f["name"] = object{"any_": w.some([]string{"Scheduled", "Running", "Completed", "Failed", "Late", "Crashed"})}
	}
	return f
}

func (w *world) times(null bool) func() object {
	return func() object {
		f := object{}
		at := func() string {
			return time.Now().Add(time.Duration(w.r.IntN(7)-3) * time.Hour).UTC().Format(time.RFC3339)
		}
		if w.r.IntN(2) == 0 {
			f["before_"] = at()
		}
		if w.r.IntN(2) == 0 {
			f["after_"] = at()
		}
		if null && w.r.IntN(2) == 0 {
			f = object{"is_null_": w.r.IntN(2) == 0}
		}
		return f
	}
}

func (w *world) names(list []string) func() []string {
	return func() []string { return w.some(list) }
}

func (w *world) randomFilters() object {
	f := object{}
	if w.r.IntN(4) == 0 {
		flows := object{}
		w.maybe(flows, "id", w.anyOf(func() []string { return w.ids(w.flows) }))
		w.maybe(flows, "name", w.anyOf(w.names([]string{"flow0", "flow1", "flow2", "flow3", "flow9"})))
		w.maybe(flows, "tags", w.tags)
		f["flows"] = flows
	}
	if w.r.IntN(4) == 0 {
		d := object{}
		w.maybe(d, "id", w.anyOf(func() []string { return w.ids(w.deployments) }))
		w.maybe(d, "name", w.anyOf(w.names([]string{"dep0", "dep1", "dep2"})))
		w.maybe(d, "tags", w.tags)
		w.maybe(d, "is_schedule_active", func() object { return object{"eq_": w.r.IntN(2) == 0} })
		f["deployments"] = d
	}
	if w.r.IntN(2) == 0 {
		r := object{}
		w.maybe(r, "id", func() object {
			if w.r.IntN(2) == 0 {
				return object{"not_any_": w.ids(w.runs)}
			}
			return object{"any_": w.ids(w.runs)}
		})
		w.maybe(r, "name", w.anyOf(w.names(worldNames)))
		w.maybe(r, "tags", w.tags)
		w.maybe(r, "deployment_id", w.nullOr(func() []string { return w.ids(w.deployments) }))
		w.maybe(r, "state", w.stateFilter)
		w.maybe(r, "flow_version", w.anyOf(w.names([]string{"v1", "v2"})))
		w.maybe(r, "start_time", w.times(true))
		w.maybe(r, "expected_start_time", w.times(false))
		w.maybe(r, "next_scheduled_start_time", w.times(false))
		w.maybe(r, "work_queue_id", w.nullOr(func() []string { return w.ids(w.queues) }))
		w.maybe(r, "parent_task_run_id", w.nullOr(func() []string { return w.ids(w.tasks) }))
		w.maybe(r, "flow_runner_type", w.anyOf(w.names([]string{"subprocess", "universal"})))
		f["flow_runs"] = r
	}
	if w.r.IntN(4) == 0 {
		t := object{}
		w.maybe(t, "id", w.anyOf(func() []string { return w.ids(w.tasks) }))
		w.maybe(t, "name", w.anyOf(w.names(worldNames)))
		w.maybe(t, "tags", w.tags)
		w.maybe(t, "state", w.stateFilter)
		w.maybe(t, "start_time", w.times(true))
		w.maybe(t, "subflow_runs", func() object { return object{"exists_": w.r.IntN(2) == 0} })
		f["task_runs"] = t
	}
	if w.r.IntN(16) == 0 { // chance asks too seldom for the states of a flow that have names of their own
		f["flows"] = object{"id": object{"any_": w.ids(w.flows)}}
		f["flow_runs"] = object{"state": object{"name": object{"any_": w.some([]string{"Late", "Crashed", "AwaitingRetry"})}}}
	}
	return f
}

// holds evaluates one criterion on one value of an object as the API shows it.
func holds(criterion any, value any) bool {
	c, ok := criterion.(object)
	if !ok {
		return true
	}
	for op, arg := range c {
		text, isText := value.(string)
		switch op {
		case "any_":
			if !isText || !slices.Contains(arg.([]string), text) {
				return false
			}
		case "not_any_":
			if isText && slices.Contains(arg.([]string), text) {
				return false
			}
		case "all_":
			for _, tag := range arg.([]string) {
				if !slices.Contains(value.([]any), any(tag)) {
					return false
				}
			}
		case "is_null_":
			list, isList := value.([]any)
			if arg.(bool) != (value == nil || isList && len(list) == 0) {
				return false
			}
		case "ge_":
			if value.(float64) < float64(arg.(int)) {
				return false
			}
		case "le_":
			if value.(float64) > float64(arg.(int)) {
				return false
			}
		case "eq_", "exists_":
			if value != arg {
				return false
			}
		case "before_", "after_":
			if !isText {
				return false
			}
			t, _ := time.Parse(time.RFC3339Nano, text)
			bound, _ := time.Parse(time.RFC3339Nano, arg.(string))
			if op == "before_" && t.After(bound) || op == "after_" && t.Before(bound) {
				return false
			}
		}
	}
	return true
}

func fits(filter object, o object) bool {
	for key, criterion := range filter {
		switch key {
		case "state":
			state, _ := criterion.(object)
			if !holds(state["type"], o["state"].(object)["type"]) || !holds(state["name"], o["state"].(object)["name"]) {
				return false
			}
		case "flow_runner_type":
			if !holds(criterion, o["flow_runner"].(object)["type"]) {
				return false
			}
		default:
			if !holds(criterion, o[key]) {
				return false
			}
		}
	}
	return true
}

func (w *world) taskFits(f object, t object) bool {
	o := object{}
	for k, v := range t {
		o[k] = v
	}
	o["subflow_runs"] = slices.ContainsFunc(w.runs, func(r object) bool { return r["parent_task_run_id"] == t["id"] })
	return fits(f, o)
}

func find(list []object, id any) object {
	for _, o := range list {
		if o["id"] == id {
			return o
		}
	}
	return nil
}

// runFits looks at a flow run and its task runs; related also at its flow and deployment.
func (w *world) runFits(f object, run object, tasks, related bool) bool {
	if rf, ok := f["flow_runs"].(object); ok && !fits(rf, run) {
		return false
	}
	if tf, ok := f["task_runs"].(object); ok && tasks && !slices.ContainsFunc(w.tasks, func(t object) bool {
		return t["flow_run_id"] == run["id"] && w.taskFits(tf, t)
	}) {
		return false
	}
	if !related {
		return true
	}
	if ff, ok := f["flows"].(object); ok && !fits(ff, find(w.flows, run["flow_id"])) {
		return false
	}
	if df, ok := f["deployments"].(object); ok {
		d := find(w.deployments, run["deployment_id"])
		return d != nil && fits(df, d)
	}
	return true
}

func (w *world) expected(kind string, f object) []object {
	anyRun := func(key string, id any) bool {
		_, runs := f["flow_runs"]
		_, tasks := f["task_runs"]
		return !runs && !tasks || slices.ContainsFunc(w.runs, func(r object) bool { return r[key] == id && w.runFits(f, r, true, false) })
	}
	var out []object
	keep := func(list []object, want func(object) bool) {
		for _, o := range list {
			if want(o) {
				out = append(out, o)
			}
		}
	}
	switch kind {
	case "logs":
		lf, _ := f["logs"].(object)
		keep(w.logs, func(l object) bool { return fits(lf, l) })
	case "work_queues":
		keep(w.queues, func(object) bool { return true })
	case "flow_runs":
		keep(w.runs, func(r object) bool { return w.runFits(f, r, true, true) })
	case "task_runs":
		keep(w.tasks, func(t object) bool {
			tf, _ := f["task_runs"].(object)
			return w.taskFits(tf, t) && w.runFits(f, find(w.runs, t["flow_run_id"]), false, true)
		})
	case "flows":
		keep(w.flows, func(o object) bool {
			ff, _ := f["flows"].(object)
			df, ok := f["deployments"].(object)
			return fits(ff, o) && anyRun("flow_id", o["id"]) &&
				(!ok || slices.ContainsFunc(w.deployments, func(d object) bool { return d["flow_id"] == o["id"] && fits(df, d) }))
		})
	case "deployments":
		keep(w.deployments, func(o object) bool {
			df, _ := f["deployments"].(object)
			ff, _ := f["flows"].(object)
			return fits(df, o) && fits(ff, find(w.flows, o["flow_id"])) && anyRun("deployment_id", o["id"])
		})
	}
	return out
}

// sortKeys say by which field a sort goes; nulls come first ascending and last descending.
var sortKeys = map[string]string{
	"EXPECTED_START_TIME": "expected_start_time", "NAME": "name", "NEXT_SCHEDULED_START_TIME": "next_scheduled_start_time", "END_TIME": "end_time",
	"ID": "id", "CREATED": "created", "UPDATED": "updated", "TIMESTAMP": "timestamp", "FLOW_RUN_ID": "flow_run_id", "TASK_RUN_ID": "task_run_id",
}

// filterCases is how many random filters are tried, and the seed of the world they are tried on.
func filterCases(t *testing.T) (cases int, seed uint64) {
	cases, seed = 1000, uint64(time.Now().UnixNano())
	for name, set := range map[string]func(uint64){
		"SLUICE_FILTER_CASES": func(n uint64) { cases = int(n) },
		"SLUICE_SEED":         func(n uint64) { seed = n },
	} {
		text := os.Getenv(name)
		if text == "" {
			continue
		}
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		set(n)
	}
	t.Logf("%d filters, SLUICE_SEED=%d", cases, seed)
	return cases, seed
}

func TestFiltersAgreeWithANaiveEvaluation(t *testing.T) {
	t.Parallel()
	cases, seed := filterCases(t)
	w := newWorld(t, seed)
	sorts := map[string][]string{
		"flow_runs":   {"", "ID_DESC", "EXPECTED_START_TIME_ASC", "EXPECTED_START_TIME_DESC", "NAME_ASC", "NAME_DESC", "NEXT_SCHEDULED_START_TIME_ASC", "END_TIME_DESC"},
		"task_runs":   {"", "ID_DESC", "EXPECTED_START_TIME_ASC", "EXPECTED_START_TIME_DESC", "NEXT_SCHEDULED_START_TIME_ASC", "END_TIME_DESC"},
		"flows":       {"", "CREATED_DESC", "UPDATED_DESC", "NAME_ASC", "NAME_DESC"},
		"deployments": {""},
		"logs":        {"", "TIMESTAMP_ASC", "TIMESTAMP_DESC", "LEVEL_ASC", "LEVEL_DESC", "FLOW_RUN_ID_ASC", "FLOW_RUN_ID_DESC", "TASK_RUN_ID_ASC", "TASK_RUN_ID_DESC"},
		"work_queues": {""},
	}
	sizes, plans := map[int]int{}, map[string]int{}
	for range cases {
		kind := w.pick([]string{"flow_runs", "flow_runs", "flow_runs", "task_runs", "task_runs", "flows", "deployments", "logs", "work_queues"})
		f := w.randomFilters()
		switch kind {
		case "logs":
			f = object{}
			if w.r.IntN(5) > 0 {
				f["logs"] = w.logFilter()
			}
		case "work_queues":
			f = object{}
		}
		sort := w.pick(sorts[kind])
		body := object{}
		for k, v := range f {
			body[k] = v
		}
		if sort != "" {
			body["sort"] = sort
		}
		limit, offset := 200, 0
		if w.r.IntN(2) == 0 {
			limit, offset = w.r.IntN(12), w.r.IntN(12)
			body["limit"], body["offset"] = limit, offset
		}
		want := w.expected(kind, f)
		sizes[min(len(want), 3)]++
		shown, _ := json.Marshal(body)
		a := w.do("POST", "/api/"+kind+"/filter", body)
		var got []object
		if err := json.Unmarshal([]byte(a.text), &got); err != nil || a.status != 200 {
			t.Fatalf("%s %s: %d %s", kind, shown, a.status, a.text)
		}
		if n := max(0, min(limit, len(want)-offset)); len(got) != n {
			t.Fatalf("%s/filter %s: %d objects, want %d", kind, shown, len(got), n)
		}
		checkOrder(t, kind, sort, string(shown), want, got, offset)
		if kind == "logs" || kind == "work_queues" {
			continue
		}
		if n := w.do("POST", "/api/"+kind+"/count", f); n.text != fmt.Sprint(len(want)) {
			t.Fatalf("%s/count %s: %s, want %d", kind, shown, n.text, len(want))
		}
		if kind == "flow_runs" && limit > 0 {
			w.checkPlans(string(shown), got, plans)
		}
	}
	if sizes[0] == 0 || sizes[3] == 0 {
		t.Errorf("sizes of the answers are %v: the filters say too little", sizes)
	}
	for name := range plans {
		if !slices.Contains(runIndexes, name) {
			t.Errorf("the index %q is not in the table of DESIGN.md", name)
		}
	}
	for _, name := range runIndexes {
		if plans[name] == 0 {
			t.Errorf("the index %q was never tried: %v", name, plans)
		}
	}
}

// checkPlans makes a list of flow runs in every way there is, not only in the cheapest.
func (w *world) checkPlans(body string, want []object, plans map[string]int) {
	w.t.Helper()
	view, _, err := w.server.reader.View(w.t.Context(), Linearizable, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	defer view.Close()
	decoded := func() *query {
		q := &query{page: newPage(), sort: "ID_DESC"}
		if findings := flowRunsQuerySpec.Decode([]byte(body), q); findings != nil {
			w.t.Fatalf("%s: %v", body, findings)
		}
		return q
	}
	q := decoded()
	m := &matcher{ctx: w.t.Context(), view: view, filters: q.filters, flowsSeen: map[api.ID]bool{}, deploymentsSeen: map[api.ID]bool{}, runs: map[api.ID]bool{}}
	all, err := m.flowRunSources()
	if err != nil {
		w.t.Fatal(err)
	}
	o, asks := runOrders[q.sort], m.asks()
	for i := range all {
		s := &all[i]
		covered := asks&^s.covers == 0
		ways := []plan{{s, o, false, covered}, {s, o, false, false}}
		if s.order == o.by {
			ways = append(ways, plan{s, o, true, covered}, plan{s, o, true, false})
		}
		for _, p := range ways {
			plans[s.name]++
			if o.by != byID && w.r.IntN(4) == 0 {
				w.checkCursors(m, decoded(), p, want)
			}
			got, err := m.executeRuns(decoded(), p)
			if err != nil {
				w.t.Fatal(err)
			}
			same := len(got) == len(want)
			for k := range got {
				same = same && idOf(got[k].Id).String() == want[k]["id"]
			}
			if !same {
				w.t.Fatalf("flow_runs/filter %s: %d runs by %s (walked %t, covered %t), the answer had %d or others", body, len(got), s.name, p.walked, p.covered, len(want))
			}
		}
		if s.exact && s.count != nil {
			if n, err := s.count(); err != nil || n != s.cost {
				w.t.Fatalf("flow_runs/filter %s: %s has %d keys, %v; the counters say %d", body, s.name, n, err, s.cost)
			}
		}
	}
}

// checkCursors turns the pages of a list that is made in one way; want is a part of it.
func (w *world) checkCursors(m *matcher, q *query, p plan, want []object) {
	w.t.Helper()
	from, size := int(q.offset), int(q.limit)
	var ids []string
	var behind *sortPlace
	q.offset, q.limit = 0, int64(1+w.r.IntN(9))
	for pages := 0; ; pages++ {
		runs, next, err := m.executeSorted(q, p, behind)
		if err != nil || len(runs) > int(q.limit) || pages > 1000 {
			w.t.Fatalf("page %d of %d has %d runs: %v", pages, q.limit, len(runs), err)
		}
		for _, r := range runs {
			ids = append(ids, idOf(r.Id).String())
		}
		if next == nil {
			break
		}
		again, _, ok := parseSortPlace(next.append(nil))
		if !ok || again != *next {
			w.t.Fatalf("the place %v is written and read as %v", *next, again)
		}
		behind = &again
	}
	part := ids[min(from, len(ids)):min(from+size, len(ids))]
	same := len(part) == len(want)
	for i := range part {
		same = same && part[i] == want[i]["id"]
	}
	if !same {
		w.t.Fatalf("%s by cursor, by %s (walked %t, covered %t), pages of %d: %d runs, %d of them from %d on, want %d", q.sort, p.source.name, p.walked, p.covered, q.limit, len(ids), len(part), from, len(want))
	}
}

func (w *world) logFilter() object {
	f := object{}
	w.maybe(f, "level", func() object {
		c := object{}
		if w.r.IntN(2) == 0 {
			c["ge_"] = w.r.IntN(6) * 10
		}
		if w.r.IntN(2) == 0 {
			c["le_"] = w.r.IntN(6) * 10
		}
		return c
	})
	w.maybe(f, "timestamp", w.times(false))
	w.maybe(f, "flow_run_id", w.anyOf(func() []string { return w.ids(w.runs) }))
	w.maybe(f, "task_run_id", w.anyOf(func() []string { return w.ids(w.tasks) }))
	return f
}

// checkOrder compares the sort keys at each place, and that nothing foreign or double is there.
func checkOrder(t *testing.T, kind, sort, shown string, want, got []object, offset int) {
	t.Helper()
	if sort == "" {
		sort = map[string]string{"flow_runs": "ID_DESC", "task_runs": "ID_DESC", "logs": "TIMESTAMP_ASC"}[kind]
	}
	if sort == "" {
		sort = "NAME_ASC"
	}
	name, descending := strings.CutSuffix(sort, "_DESC")
	name = strings.TrimSuffix(name, "_ASC")
	key := func(o object) string { s, _ := o[sortKeys[name]].(string); return s }
	want = slices.Clone(want)
	slices.SortStableFunc(want, func(a, b object) int {
		c := cmp.Compare(key(a), key(b))
		if kind == "logs" && name == "LEVEL" {
			c = cmp.Compare(a["level"].(float64), b["level"].(float64))
		}
		if kind == "flow_runs" {
			c = cmp.Or(c, cmp.Compare(a["id"].(string), b["id"].(string))) // ties go by id
		}
		if descending {
			c = -c
		}
		return c
	})
	seen := map[any]bool{}
	for i, o := range got {
		if seen[o["id"]] || find(want, o["id"]) == nil {
			t.Fatalf("%s/filter %s: object %d is double or does not match", kind, shown, i)
		}
		seen[o["id"]] = true
		if key(o) != key(want[offset+i]) {
			t.Fatalf("%s/filter %s: object %d has key %q, want %q", kind, shown, i, key(o), key(want[offset+i]))
		}
		if kind == "flow_runs" && o["id"] != want[offset+i]["id"] {
			t.Fatalf("%s/filter %s: object %d is %s, want %s", kind, shown, i, o["id"], want[offset+i]["id"])
		}
	}
}

func TestGetRunsServesAQueue(t *testing.T) { everywhere(t, checkGetRunsServesAQueue) }

func checkGetRunsServesAQueue(t *testing.T, at place) {
	s := newStack(t, at)
	flow := s.must(201, "POST", "/api/flows/", object{"name": "f"})
	d := s.must(201, "POST", "/api/deployments/", object{"name": "d", "flow_id": flow["id"], "flow_data": object{"encoding": "x", "blob": ""}, "tags": []string{"a"}})
	queue := s.must(201, "POST", "/api/work_queues/", object{"name": "q", "filter": object{"tags": []string{"a"}}})
	path := "/api/work_queues/" + queue["id"].(string)
	for _, at := range []time.Duration{-time.Minute, -2 * time.Minute, time.Hour} {
		s.must(201, "POST", "/api/deployments/"+d["id"].(string)+"/create_flow_run", object{
			"state": object{"type": "SCHEDULED", "state_details": object{"scheduled_time": time.Now().Add(at)}},
		})
	}
	runs := func(body object) []any {
		t.Helper()
		a := s.do("POST", path+"/get_runs", body, strictly...)
		if a.status != 200 {
			t.Fatalf("status %d: %s", a.status, a.text)
		}
		return a.json(t).([]any)
	}
	due := runs(object{})
	if len(due) != 2 || due[0].(object)["next_scheduled_start_time"].(string) > due[1].(object)["next_scheduled_start_time"].(string) {
		t.Fatalf("%d runs, want the two due ones, the longest due first", len(due))
	}
	if n := len(runs(object{"scheduled_before": time.Now().Add(2 * time.Hour)})); n != 3 {
		t.Errorf("%d runs before in two hours, want 3", n)
	}
	if n := len(runs(object{"limit": 1})); n != 1 {
		t.Errorf("%d runs with limit 1", n)
	}
	s.must(204, "PATCH", path, object{"concurrency_limit": 1})
	if n := len(runs(object{})); n != 1 {
		t.Errorf("%d runs with one slot, want 1", n)
	}
	s.must(201, "POST", "/api/flow_runs/"+due[0].(object)["id"].(string)+"/set_state", object{"state": object{"type": "PENDING"}})
	if n := len(runs(object{})); n != 0 {
		t.Errorf("%d runs with the slot in use, want none", n)
	}
	s.must(204, "PATCH", path, object{"concurrency_limit": nil})
	s.must(204, "PATCH", path, object{"is_paused": true})
	if n := len(runs(object{})); n != 0 {
		t.Errorf("%d runs of a paused queue", n)
	}
	a := s.do("POST", "/api/work_queues/00000000-0000-0000-0000-000000000001/get_runs", object{}, strictly...)
	if a.status != 404 || a.text != `{"exception_message":"Work queue not found."}` {
		t.Errorf("unknown queue: %d %s", a.status, a.text)
	}
}
