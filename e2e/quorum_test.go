//go:build linux

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// answered is what one request got.
type answered struct {
	status int
	header http.Header
	body   string
	took   time.Duration
}

// ask sends one request, as curl would, and fails the test only when there is no answer. Headers come in pairs.
func (s *server) ask(method, path string, body any, headers ...string) answered {
	s.t.Helper()
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			s.t.Error(err)
		}
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(s.t.Context(), method, s.apiURL()+path, content)
	if err != nil {
		s.t.Error(err)
		return answered{}
	}
	request.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	began := time.Now()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Errorf("%s %s: %v", method, path, err)
		return answered{}
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Errorf("%s %s: %v", method, path, err)
	}
	return answered{response.StatusCode, response.Header, string(text), time.Since(began)}
}

func TestReadsAndWritesThroughAnyNode(t *testing.T) {
	t.Parallel()
	c := startNodes(t, 3, "--insecure")
	lead, followers := c.leader(), c.followers()
	t.Run("a client reads through one node what it wrote through another", func(t *testing.T) {
		for i := range 30 {
			writer, reader := c.all[i%3], c.all[(i+1+i/3%2)%3]
			name := fmt.Sprint("flow-", i)
			wrote := writer.ask("POST", "/flows/", object{"name": name})
			index := wrote.header.Get("X-Sluice-Index")
			if wrote.status != 201 || index == "" {
				t.Fatalf("%+v", wrote)
			}
			// Stale alone may miss the flow; with the index it may not. Nor may the default.
			if got := reader.ask("GET", "/flows/name/"+name+"?consistency=stale", nil, "X-Sluice-Min-Index", index); got.status != 200 {
				t.Errorf("a stale read at least at %s: %+v", index, got)
			}
			if got := reader.ask("GET", "/flows/name/"+name, nil); got.status != 200 {
				t.Errorf("a read: %+v", got)
			}
		}
	})
	t.Run("an index that no server gave out is refused, one of another history is not waited for", func(t *testing.T) {
		for _, index := range []string{"!", "1-2", "-1", strings.Repeat("z", 40)} {
			if got := followers[0].ask("GET", "/flows/name/flow-0", nil, "X-Sluice-Min-Index", index); got.status != 400 || !strings.Contains(got.body, "X-Sluice-Index") {
				t.Errorf("the index %q: %+v", index, got)
			}
		}
		// Agents keep the index of their last answer across a server whose data was replaced.
		got := followers[0].ask("GET", "/flows/name/flow-0?consistency=stale", nil, "X-Sluice-Min-Index", "zzzzzzzzzz")
		if got.status != 200 {
			t.Errorf("an index of another history: %+v", got)
		}
	})
	t.Run("without a quorum, what is stale is answered and all else refused in time", func(t *testing.T) {
		alone, other := followers[0], followers[1]
		for _, s := range []*server{lead, other} {
			s.signal(syscall.SIGSTOP)
			t.Cleanup(func() { s.signal(syscall.SIGCONT) })
		}
		orion := []string{"X-PREFECT-API-VERSION", "0.3.1"}
		var all sync.WaitGroup
		var stale, read, write, orionRead, orionWrite answered
		all.Go(func() { stale = alone.ask("GET", "/flows/name/flow-0?consistency=stale", nil) })
		all.Go(func() { read = alone.ask("GET", "/flows/name/flow-0", nil) })
		all.Go(func() { write = alone.ask("POST", "/flows/", object{"name": "native"}) })
		all.Go(func() { orionRead = alone.ask("GET", "/flows/name/flow-0", nil, orion...) })
		all.Go(func() { orionWrite = alone.ask("POST", "/flows/", object{"name": "orion"}, orion...) })
		all.Wait()
		for _, c := range []struct {
			what   string
			got    answered
			status int
		}{{"a stale read", stale, 200}, {"a read", read, 503}, {"a write", write, 503}, {"a read of an Orion client", orionRead, 429}, {"a write of an Orion client", orionWrite, 429}} {
			t.Logf("%s: %d after %s", c.what, c.got.status, c.got.took.Round(time.Millisecond))
			// A write that may have reached the leader before it stopped is honest to say so; that is for the caller to look up.
			unknown := strings.Contains(c.got.body, "may or may not")
			if c.got.status != c.status && !unknown {
				t.Errorf("%s: %+v", c.what, c.got)
			}
			if c.status != 200 && !unknown && c.got.header.Get("Retry-After") == "" {
				t.Errorf("%s: no Retry-After: %+v", c.what, c.got)
			}
		}
		if got := ready(t.Context(), alone.address); got == nil || !strings.Contains(got.Error(), "503") {
			t.Errorf("/readyz of a node without a leader: %v", got)
		}
		for _, s := range []*server{lead, other} {
			s.signal(syscall.SIGCONT)
		}
		for _, s := range c.all {
			s.waitReady()
		}
		if got := alone.ask("POST", "/flows/", object{"name": "afterwards"}); got.status != 201 {
			t.Errorf("a write afterwards: %+v", got)
		}
		for name, wrote := range map[string]answered{"native": write, "orion": orionWrite} {
			if strings.Contains(wrote.body, "may or may not") {
				continue
			}
			if got := lead.ask("GET", "/flows/name/"+name, nil); got.status != 404 {
				t.Errorf("a write that was said not to be done: %+v", got)
			}
		}
	})
}
