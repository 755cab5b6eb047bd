package httpapi

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"testing"
)

func TestADrainingNode(t *testing.T) {
	t.Parallel()
	t.Run("answers the claim that waits, and serves those that come", func(t *testing.T) {
		t.Parallel()
		s := newStack(t, oneNode)
		queue := s.must(201, "POST", "/api/work_queues/", object{"name": "q"})["id"]
		s.must(201, "POST", "/api/agents/", object{"id": agentID, "name": "a"})
		claim := object{"work_queue_ids": []any{queue}, "limit": 1, "wait_seconds": 30, "claim_id": nobody}
		answered := make(chan answer, 2)
		ask := func() { answered <- s.do("POST", "/api/agents/"+agentID+"/claim", claim) }
		check := func() {
			t.Helper()
			if a := <-answered; a.status != 200 || len(a.object(t)["grants"].([]any)) != 0 {
				t.Errorf("%d %s", a.status, a.text)
			}
		}
		go ask()
		<-s.claims.waits
		s.server.Drain()
		check()
		go ask()
		<-s.claims.waits // it waits as it would elsewhere: who asks again at once must not be answered at once
		select {
		case a := <-answered:
			t.Errorf("a claim that came while the node drained was not waited for: %d %s", a.status, a.text)
		default:
		}
		if err := s.server.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		check()
	})
	t.Run("is not ready, answers everything else, and closes the connection with the answer", func(t *testing.T) {
		t.Parallel()
		s := newStack(t, oneNode)
		if r := s.get(t, "/readyz"); r.StatusCode != 200 || r.Close {
			t.Errorf("before: status %d, close %t", r.StatusCode, r.Close)
		}
		s.server.Drain()
		if r := s.get(t, "/readyz"); r.StatusCode != 503 {
			t.Errorf("readyz: %d", r.StatusCode)
		}
		if r := s.get(t, "/api/health"); r.StatusCode != 200 || !r.Close {
			t.Errorf("health: status %d, close %t", r.StatusCode, r.Close)
		}
		s.must(201, "POST", "/api/flows/", object{"name": "while draining"})
	})
	t.Run("ends streams with the hint to connect again soon", func(t *testing.T) {
		t.Parallel()
		s := newStack(t, oneNode)
		flow := s.must(201, "POST", "/api/flows/", object{"name": "f"})
		run := s.must(201, "POST", "/api/flow_runs/", object{"flow_id": flow["id"]})["id"].(string)
		first, second := s.open(t, "/api/events"), s.open(t, "/api/flow_runs/"+run+"/stream")
		s.server.Drain()
		first.endsWith(t, "retry: 100")
		second.endsWith(t, "retry: 100")
		late := s.open(t, "/api/events") // lives until the node stops
		if err := s.server.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		late.endsWith(t, "retry: 100")
	})
}

// get asks for a path with an Accept header of nothing in particular.
func (s *stack) get(t *testing.T, path string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.http.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

// openStream is a stream of events from which the first line has come.
type openStream struct{ lines *bufio.Scanner }

func (s *stack) open(t *testing.T, path string, headers ...string) openStream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.http.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	o := openStream{bufio.NewScanner(response.Body)}
	if !o.lines.Scan() {
		t.Fatalf("%s: %v", path, o.lines.Err())
	}
	return o
}

// endsWith reads to the end of the stream.
func (o openStream) endsWith(t *testing.T, line string) {
	t.Helper()
	last := ""
	for o.lines.Scan() {
		if text := strings.TrimSpace(o.lines.Text()); text != "" {
			last = text
		}
	}
	if last != line || o.lines.Err() != nil {
		t.Errorf("the stream ends with %q (%v), not %q", last, o.lines.Err(), line)
	}
}
