//go:build linux

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
)

// object is a JSON object of the API.
type object = map[string]any

// get asks for a URL.
func get(ctx context.Context, url string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	return http.DefaultClient.Do(request)
}

// request sends a request to the API as curl would: a nil body sends none, out may be nil. It returns the status, or an error when there was no answer.
func (s *server) request(ctx context.Context, method, path string, body, out any) (int, error) {
	return s.requestWith(ctx, nil, method, path, body, out)
}

// requestWithKey is a POST with an Idempotency-Key.
func (s *server) requestWithKey(t *testing.T, key, path string, body, out any) (int, error) {
	t.Helper()
	return s.requestWith(t.Context(), http.Header{"Idempotency-Key": {key}}, http.MethodPost, path, body, out)
}

func (s *server) requestWith(ctx context.Context, header http.Header, method, path string, body, out any) (int, error) {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return 0, err
		}
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, s.apiURL()+path, content)
	if err != nil {
		return 0, err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	maps.Copy(request.Header, header)
	if s.token != "" {
		request.Header.Set("Authorization", "Bearer "+s.token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err
	}
	if response.StatusCode >= 400 {
		return response.StatusCode, fmt.Errorf("%s %s answers %d: %s", method, path, response.StatusCode, answer)
	}
	if out != nil && len(answer) > 0 {
		if err := json.Unmarshal(answer, out); err != nil {
			return response.StatusCode, fmt.Errorf("%s %s: %w in %s", method, path, err, answer)
		}
	}
	return response.StatusCode, nil
}

// get returns an object of the API.
func (s *server) get(path string) object {
	s.t.Helper()
	var out object
	if _, err := s.request(s.t.Context(), http.MethodGet, path, nil, &out); err != nil {
		s.t.Fatal(err)
	}
	return out
}

// post sends a body and returns the object that comes back.
func (s *server) post(path string, body any) object {
	s.t.Helper()
	var out object
	if _, err := s.request(s.t.Context(), http.MethodPost, path, body, &out); err != nil {
		s.t.Fatal(err)
	}
	return out
}

// list posts a filter and returns the objects that match.
func (s *server) list(path string, filter any) []object {
	s.t.Helper()
	var out []object
	if _, err := s.request(s.t.Context(), http.MethodPost, path, filter, &out); err != nil {
		s.t.Fatal(err)
	}
	return out
}

// quickRun does what the UI's button does and returns the flow run's id.
func (s *server) quickRun(deployment string) string {
	s.t.Helper()
	return s.post("/deployments/"+deployment+"/create_flow_run", object{"state": object{"type": "SCHEDULED"}})["id"].(string)
}

// waitState waits until the flow run is in a state of one of the types or names, and returns the run. It polls: no stream survives
// the server's death, which some tests cause.
func (s *server) waitState(run string, states ...string) object {
	s.t.Helper()
	var found object
	eventually(s.t, "flow run "+run+" is "+strings.Join(states, " or "), func() error {
		found = nil
		if _, err := s.request(s.t.Context(), http.MethodGet, "/flow_runs/"+run, nil, &found); err != nil {
			return err
		}
		state, _ := found["state"].(object)
		for _, wanted := range states {
			if state["type"] == wanted || state["name"] == wanted {
				return nil
			}
		}
		return fmt.Errorf("its state is %v", state)
	})
	return found
}

// decode reads the JSON that a command prints.
func decode[T any](t *testing.T, text string) T {
	t.Helper()
	var value T
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	return value
}

// contains fails the test unless text contains every part.
func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is missing in:\n%s", part, text)
		}
	}
}
