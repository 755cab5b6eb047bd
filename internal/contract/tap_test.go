package contract_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-dev/sluice/internal/contract"
)

const smallAPI = `{"openapi": "3.1.0", "info": {"title": "x", "version": "1"}, "paths": {
  "/api/things": {"post": {
    "requestBody": {"required": true, "content": {"application/json": {"schema": {"type": "object", "additionalProperties": false, "properties": {"name": {"type": "string"}}}}}},
    "responses": {"200": {"description": "ok", "content": {"application/json": {"schema": {"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}}}}},
                  "422": {"description": "refused", "content": {"application/json": {"schema": {"type": "object"}}}}}}},
  "/api/news": {"get": {"responses": {"200": {"description": "events", "content": {"text/event-stream": {
    "x-sluice-events": {"news": {"type": "integer"}}}}}}}}}}`

// tapped is a server behind a tap. findings ends the tap and returns what it found.
type tapped struct {
	url      string
	findings func() string
	tap      *contract.Tap
}

func tap(t *testing.T, handler http.HandlerFunc) tapped {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	checker, err := contract.New([]byte(smallAPI))
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var found []string
	line := contract.NewTap("127.0.0.1:0", server.Listener.Addr().String(), func() (*contract.Checker, error) { return checker, nil }, func(err error) {
		mu.Lock()
		defer mu.Unlock()
		found = append(found, err.Error())
	})
	if err := line.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(line.Close)
	return tapped{"http://" + line.Address(), func() string {
		line.Close()
		mu.Lock()
		defer mu.Unlock()
		return strings.Join(found, "\n")
	}, line}
}

func TestATapFindsWhatTheDescriptionDoesNotSay(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		path, body string
		status     int
		answer     string
		want       string // a part of what is found; "" for nothing
	}{
		"nothing in a good exchange":           {"/api/things", `{"name": "a"}`, 200, `{"id": 1}`, ""},
		"an unknown field of a request":        {"/api/things", `{"nam": "a"}`, 200, `{"id": 1}`, "nam"},
		"nothing in a refused request":         {"/api/things", `{"nam": "a"}`, 422, `{}`, ""},
		"a missing field of an answer":         {"/api/things", `{}`, 200, `{}`, "id"},
		"an unknown field of an answer":        {"/api/things", `{}`, 200, `{"id": 1, "secret": 2}`, "secret"},
		"a status":                             {"/api/things", `{}`, 500, `{}`, "status is not described"},
		"an endpoint":                          {"/api/others", `{}`, 200, `{}`, "not described"},
		"nothing in an endpoint that is not":   {"/api/others", `{}`, 404, `{}`, ""},
		"nothing outside the API":              {"/metrics", `{}`, 200, `x`, ""},
		"a body that came slowly and in parts": {"/api/things", `{"name": "` + strings.Repeat("a", 1<<20) + `", "b": 1}`, 200, `{"id": 1}`, "b"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := tap(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.answer)
			})
			for range 2 { // over one connection
				response, err := http.Post(server.url+tt.path, "application/json", strings.NewReader(tt.body))
				if err != nil {
					t.Fatal(err)
				}
				got, _ := io.ReadAll(response.Body)
				_ = response.Body.Close()
				if response.StatusCode != tt.status || string(got) != tt.answer {
					t.Errorf("the client gets %d %s", response.StatusCode, got)
				}
			}
			found := server.findings()
			if (found == "") != (tt.want == "") || !strings.Contains(found, tt.want) {
				t.Errorf("found %q, not %q", found, tt.want)
			}
			if strings.Count(found, "not described") > 1 {
				t.Errorf("it says one thing twice:\n%s", found)
			}
			if n := server.tap.Exchanges(); n != 2 {
				t.Errorf("it checked %d exchanges", n)
			}
		})
	}
}

func TestATapChecksTheEventsOfAStreamThatItsClientEnds(t *testing.T) {
	t.Parallel()
	server := tap(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "event: news\ndata: \"text\"\n\nevent: ne")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	response, err := http.Get(server.url + "/api/news")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(response.Body, make([]byte, 20)); err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if found := server.findings(); !strings.Contains(found, "event news") {
		t.Errorf("found %q", found)
	}
}

func TestAShutTapRefusesConnectionsUntilItIsOpenedAgain(t *testing.T) {
	t.Parallel()
	server := tap(t, func(http.ResponseWriter, *http.Request) {})
	ask := func() error {
		response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get(server.url)
		if err == nil {
			_ = response.Body.Close()
		}
		return err
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	server.tap.Shut()
	if err := ask(); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("shut: %v", err)
	}
	if err := server.tap.Open(); err != nil {
		t.Fatal(err)
	}
	if err := ask(); err != nil {
		t.Error(err)
	}
}

func TestATapResetsConnectionsWhereNoServerListens(t *testing.T) {
	t.Parallel()
	line := contract.NewTap("127.0.0.1:0", "127.0.0.1:1", nil, func(err error) { t.Error(err) })
	if err := line.Open(); err != nil {
		t.Fatal(err)
	}
	defer line.Close()
	if response, err := http.Get("http://" + line.Address()); err == nil {
		_ = response.Body.Close()
		t.Error("nobody answered ", response.Status)
	}
}
