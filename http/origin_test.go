package httpapi

import (
	"net/http"
	"strings"
	"testing"
)

func TestPagesOfOtherSites(t *testing.T) {
	t.Parallel()
	preflight := func(s *stack, origin string) answer {
		return s.do("OPTIONS", "/api/flows/", nil, "Origin", origin, "Access-Control-Request-Method", "PATCH", "Access-Control-Request-Headers", "x-sluice-lease")
	}
	const own, other, ours = "own", "http://evil.example", "https://ui.example:8443"
	for _, c := range []struct {
		name        string
		allow       []string
		origin      string
		write, read bool
		told        string // Access-Control-Allow-Origin
	}{
		{"no page", nil, "", true, true, ""},
		{"a page of this server's own", nil, own, true, true, ""},
		{"a page of another site", nil, other, false, true, ""},
		{"a page of a file", nil, "null", false, true, ""},
		{"a page of another site beside an allowed one", []string{ours}, other, false, true, ""},
		{"a page of an allowed site", []string{ours}, ours, true, true, ours},
		{"any page, as Orion has it", []string{"*"}, other, true, true, "*"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t, oneNode, func(config *Config) { config.AllowOrigins = c.allow })
			s.undescribed()
			var headers []string
			if c.origin == own {
				c.origin = s.http.URL
			}
			if c.origin != "" {
				headers = []string{"Origin", c.origin}
			}
			check := func(what string, a answer, may bool) {
				t.Helper()
				if (a.status == 403) == may || a.header.Get("Access-Control-Allow-Origin") != c.told {
					t.Errorf("%s: %d %v %s", what, a.status, a.header, a.text)
				}
			}
			check("a write", s.do("POST", "/api/flows/", object{"name": "f"}, headers...), c.write)
			check("a form's write", s.do("POST", "/api/flows/", `{"name":"g"}`, append([]string{"Content-Type", "text/plain"}, headers...)...), c.write)
			check("a read", s.do("GET", "/api/hello", nil, headers...), c.read)
			if c.origin == "" {
				return
			}
			a := preflight(s, c.origin)
			if (c.told != "") != (a.status == 200) || a.header.Get("Access-Control-Allow-Origin") != c.told {
				t.Errorf("preflight: %d %v", a.status, a.header)
			}
			if c.told != "" && (!strings.Contains(a.header.Get("Access-Control-Allow-Methods"), "PATCH") || a.header.Get("Access-Control-Allow-Headers") != "x-sluice-lease") {
				t.Errorf("preflight: %v", a.header)
			}
		})
	}
}

func TestABrowserThatSaysWhatItDoesIsRefusedWithoutAnOrigin(t *testing.T) {
	t.Parallel()
	s := newStack(t, oneNode)
	for site, want := range map[string]int{"cross-site": 403, "same-site": 403, "same-origin": 201, "none": 200} {
		if a := s.do("POST", "/api/flows/", object{"name": "f"}, "Sec-Fetch-Site", site); a.status != want && !(want < 300 && a.status < 300) {
			t.Errorf("%s: %d %s", site, a.status, a.text)
		}
	}
	if n := s.metric(t, `sluice_http_refused_total{reason="origin"}`); n != "2" {
		t.Errorf("metrics count %s refused requests", n)
	}
}

func TestNamesThatALocalServerCannotHave(t *testing.T) {
	t.Parallel()
	s := newStack(t, oneNode, func(c *Config) { c.GuardHost, c.AllowOrigins = true, []string{"http://sluice.example"} })
	s.undescribed()
	for host, good := range map[string]bool{
		"localhost:4200": true, "127.0.0.1:4200": true, "127.0.0.1": true, "[::1]:4200": true, "10.1.2.3:80": true, "LOCALHOST": true, "a.localhost:1": true,
		"sluice.example:80": true, "evil.example:4200": false, "localhost.evil.example": false, "127.0.0.1.evil.example": false, "": false,
	} {
		for _, path := range []string{"/api/hello", "/readyz"} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.http.URL+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if r.Host = host; host == "" {
				continue // net/http would put the address
			}
			res, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if (res.StatusCode == 200) != good {
				t.Errorf("%s of host %q: %d", path, host, res.StatusCode)
			}
		}
	}
}
