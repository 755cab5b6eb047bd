package httpapi

import (
	"strings"
	"testing"
)

func TestEventsAreSelectedAndGoOn(t *testing.T) { everywhere(t, checkEventsAreSelectedAndGoOn) }

func checkEventsAreSelectedAndGoOn(t *testing.T, at place) {
	s := newStack(t, at)
	first, deployment := s.dueRun()
	second := s.must(201, "POST", "/api/flow_runs/", object{"flow_id": first["flow_id"], "name": "other"})
	all := s.listen(t, "/api/events?topic=flow_run,task_run,job,deployment&deleted=true")
	one := s.listen(t, "/api/events?topic=flow_run,task_run&flow_run_id="+first["id"].(string))
	of := s.listen(t, "/api/events?topic=flow_run,deployment&deployment_id="+deployment["id"].(string)+"&deleted=true")
	s.must(201, "POST", "/api/flow_runs/"+second["id"].(string)+"/set_state", object{"state": object{"type": "RUNNING"}})
	s.must(201, "POST", "/api/task_runs/", object{"flow_run_id": first["id"], "name": "t", "task_key": "k", "dynamic_key": "0"})
	s.must(201, "POST", "/api/jobs/", object{"action": "retry", "filter": object{"flow_runs": object{"name": object{"any_": []string{"nobody"}}}}})
	s.must(201, "POST", "/api/flow_runs/"+first["id"].(string)+"/set_state", object{"state": object{"type": "RUNNING"}})
	if a := s.do("DELETE", "/api/deployments/"+deployment["id"].(string), nil); a.status != 204 {
		t.Fatal(a.text)
	}
	want := func(l *eventStream, kinds ...string) (last string) {
		t.Helper()
		for _, kind := range kinds {
			e := l.next()
			if e.kind != kind {
				t.Fatalf("got %v, want %s", e, kind)
			}
			last = e.id
		}
		return last
	}
	// The deletion of the deployment takes it from its runs, which is a change of theirs.
	place := want(all, "flow_run", "task_run", "job")
	want(all, "flow_run", "flow_run", "deployment")
	want(one, "task_run", "flow_run", "flow_run")
	want(of, "flow_run", "deployment")
	again := s.listen(t, "/api/events?topic=flow_run,task_run,job,deployment&deleted=true&from="+place)
	want(again, "flow_run", "flow_run", "deployment")
	for _, bad := range []string{"logs_of=1", "topic=weather", "id=1", "deleted=perhaps"} {
		if a := s.do("GET", "/api/events?"+bad, nil); a.status != 422 || !strings.Contains(a.text, strings.SplitN(bad, "=", 2)[0]) {
			t.Errorf("%s: %d %s", bad, a.status, a.text)
		}
	}
}

func TestOneStreamTellsOfLogsToo(t *testing.T) {
	t.Parallel()
	s := newStack(t, oneNode)
	run, _ := s.dueRun()
	other := s.must(201, "POST", "/api/flow_runs/", object{"flow_id": run["flow_id"], "name": "other"})
	seen := s.listen(t, "/api/events?topic=job&logs_of="+run["id"].(string))
	line := func(of object) {
		s.must(201, "POST", "/api/logs/", []object{{"name": "flow", "level": 20, "message": "hello", "timestamp": "2026-01-01T00:00:00Z", "flow_run_id": of["id"]}})
	}
	line(other)
	s.must(201, "POST", "/api/flow_runs/"+other["id"].(string)+"/set_state", object{"state": object{"type": "RUNNING"}})
	line(run)
	s.must(201, "POST", "/api/jobs/", object{"action": "retry", "filter": object{"flow_runs": object{"name": object{"any_": []string{"nobody"}}}}})
	for _, want := range []string{"logs", "job"} {
		if e := seen.next(); e.kind != want {
			t.Fatalf("got %v, want %s: lines of other runs and changes of no topic are not told", e, want)
		}
	}
}

// seenEvent is the head of one event.
type seenEvent struct{ kind, id string }

// eventStream reads a stream event by event.
type eventStream struct {
	t      *testing.T
	stream openStream
}

func (s *stack) listen(t *testing.T, path string, headers ...string) *eventStream {
	t.Helper()
	return &eventStream{t, s.open(t, path, headers...)}
}

// next waits for the next event that says something.
func (l *eventStream) next() (e seenEvent) {
	l.t.Helper()
	e, more := l.nextOrEnd()
	if !more {
		l.t.Fatalf("the stream has ended: %v", l.stream.lines.Err())
	}
	return e
}

// nextOrEnd is next, or that the stream has ended.
func (l *eventStream) nextOrEnd() (e seenEvent, more bool) {
	for l.stream.lines.Scan() {
		line := l.stream.lines.Text()
		if kind, is := strings.CutPrefix(line, "event: "); is {
			e.kind = kind
		}
		if id, is := strings.CutPrefix(line, "id: "); is {
			e.id = id
		}
		if line == "" && e.kind != "" {
			return e, true
		}
	}
	return e, false
}
