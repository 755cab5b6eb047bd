package httpapi

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"strings"
	"testing"
	"testing/fstest"
)

// testPages are those of a binary without the web interface.
var testPages = fstest.MapFS{"placeholder.html": {Data: []byte("<html><head></head><body>make ui</body></html>")}}

func squeezed(t *testing.T, text string) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// withPages gives the server a web interface that was built.
func withPages(t *testing.T, basePath string) *stack {
	s := newStack(t, oneNode)
	built, err := newPages(fstest.MapFS{
		"index.html":            {Data: []byte(`<!doctype html><html><head><base href="/"></head><body>the app</body></html>`)},
		"assets/app-1a2b.js.gz": {Data: squeezed(t, "run()")},
		"assets/app-1a2b.js.br": {Data: []byte("brotli of run()")},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.server.pages = built
	if s.server.basePath, err = cleanBasePath(basePath); err != nil {
		t.Fatal(err)
	}
	return s
}

func fetch(t *testing.T, s *stack, path string, header ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.http.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html,*/*")
	r.Header.Set("Accept-Encoding", "identity")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Body.Close() }()
	var b bytes.Buffer
	if _, err := b.ReadFrom(a.Body); err != nil {
		t.Fatal(err)
	}
	return a, b.String()
}

func TestPagesAreServedUnderEveryBasePath(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, basePath, path, forwarded, base string
	}{
		{"the root", "", "/", "", "/"},
		{"a page of the interface", "", "/flow-runs/1", "", "/"},
		{"a path with a slash at its end", "", "/flow-runs/", "", "/"},
		{"a base path that the proxy leaves", "/sub/x/", "/sub/x/flow-runs/1", "", "/sub/x/"},
		{"the base path alone", "/sub/x", "/sub/x", "", "/sub/x/"},
		{"a base path that the proxy takes off", "/sub/x", "/flow-runs", "", "/sub/x/"},
		{"a prefix that the proxy names", "", "/", "/team", "/team/"},
		{"a prefix named beside the base path", "/sub", "/", "/team", "/team/"},
		{"a prefix before the base path", "/sub", "/sub/", "/team", "/team/sub/"},
		{"a prefix that is none", "", "/", `/"><script>`, "/"},
		{"a prefix of another host", "", "/", `//evil.example`, "/"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := withPages(t, c.basePath)
			a, text := fetch(t, s, c.path, "X-Forwarded-Prefix", c.forwarded)
			if a.StatusCode != 200 || !strings.Contains(text, `<base href="`+c.base+`">`) || !strings.Contains(text, "the app") {
				t.Errorf("%d %s; want the base %s", a.StatusCode, text, c.base)
			}
		})
	}
	s := withPages(t, "/sub/x")
	for _, path := range []string{"/sub/x/api/health", "/api/health", "/sub/x/assets/app-1a2b.js", "/sub/x/livez"} {
		if a, text := fetch(t, s, path); a.StatusCode != 200 {
			t.Errorf("%s: %d %s", path, a.StatusCode, text)
		}
	}
	if a, _ := fetch(t, s, "/sub/xy/api/health", "Accept", "application/json"); a.StatusCode != 404 {
		t.Errorf("what only begins like the base path: %d", a.StatusCode)
	}
}

func TestPagesMayBeKeptAsLongAsTheyHold(t *testing.T) {
	t.Parallel()
	s := withPages(t, "")
	a, _ := fetch(t, s, "/deployments")
	if got := a.Header.Get("Cache-Control"); got != "no-cache" {
		t.Errorf("page: Cache-Control %q", got)
	}
	if policy := a.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'self'") || strings.Contains(policy, "unsafe") {
		t.Errorf("policy %q", policy)
	}
	if again, text := fetch(t, s, "/deployments", "If-None-Match", a.Header.Get("ETag")); again.StatusCode != 304 || text != "" {
		t.Errorf("the same page again: %d %q", again.StatusCode, text)
	}
	if other, _ := fetch(t, s, "/deployments", "If-None-Match", a.Header.Get("ETag"), "X-Forwarded-Prefix", "/team"); other.StatusCode != 200 {
		t.Errorf("the page below another prefix: %d", other.StatusCode)
	}
	for accepts, want := range map[string]struct{ encoding, text string }{
		"identity": {"", "run()"}, "gzip": {"gzip", string(squeezed(t, "run()"))}, "gzip, deflate, br": {"br", "brotli of run()"},
	} {
		a, text := fetch(t, s, "/assets/app-1a2b.js", "Accept-Encoding", accepts)
		if a.Header.Get("Content-Encoding") != want.encoding || text != want.text || !strings.Contains(a.Header.Get("Cache-Control"), "immutable") ||
			!strings.HasPrefix(a.Header.Get("Content-Type"), "text/javascript") {
			t.Errorf("%s: %v %q", accepts, a.Header, text)
		}
	}
}

func TestOnlyBrowsersGetPages(t *testing.T) {
	t.Parallel()
	s := withPages(t, "")
	for _, path := range []string{"/flow-runs", "/assets/app-0000.js", "/api/nothing", "/favicon.ico"} {
		if a, text := fetch(t, s, path, "Accept", "*/*"); a.StatusCode != 404 || !strings.Contains(text, "Not Found") {
			t.Errorf("%s: %d %s", path, a.StatusCode, text)
		}
	}
	if a, _ := fetch(t, s, "/assets/app-0000.js"); a.StatusCode != 404 {
		t.Errorf("an asset of another build, for a browser: %d", a.StatusCode)
	}
	if a := s.do("POST", "/flow-runs", object{}); a.status != 405 {
		t.Errorf("writing to a page: %d", a.status)
	}
}

func TestABinaryWithoutTheInterfaceSaysHowToBuildIt(t *testing.T) {
	t.Parallel()
	s := newStack(t, oneNode)
	a, text := fetch(t, s, "/deployments", "X-Forwarded-Prefix", "/team")
	if a.StatusCode != 200 || !strings.Contains(text, "make ui") || !strings.Contains(text, `<base href="/team/">`) {
		t.Errorf("%d %s", a.StatusCode, text)
	}
}

func TestAnOddBasePathIsRefused(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"sluice", "/a b", "//x", "/a/../b", `/"x`} {
		if clean, err := cleanBasePath(bad); err == nil {
			t.Errorf("%q was taken as %q", bad, clean)
		}
	}
}
