package httpapi

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/row"
)

// spellings are other ways to write a path, as whoever looks for a way around the guard tries them.
func spellings(path string) map[string]string {
	first := strings.IndexByte(path[1:], '/') + 1 // where what follows /api begins
	last := strings.LastIndexByte(path, '/')
	letter := fmt.Sprintf("%s%%%02x%s", path[:last+1], path[last+1], path[last+2:])
	double := fmt.Sprintf("%s%%25%02x%s", path[:last+1], path[last+1], path[last+2:])
	return map[string]string{
		"as it is":                          path,
		"with a slash at its end":           path + "/",
		"with two slashes at its end":       path + "//",
		"with two slashes within":           path[:last] + "/" + path[last:],
		"with two slashes at its beginning": "/" + path,
		"with an encoded letter":            letter,
		"with a letter encoded twice":       double,
		"with an encoded slash":             path[:last] + "%2f" + path[last+1:],
		"with an encoded slash at its end":  path + "%2f",
		"with a dot":                        path[:last] + "/." + path[last:],
		"with a dot at its end":             path + "/.",
		"by a way back":                     path[:first] + "/x/.." + path[first:],
		"by an encoded way back":            path[:first] + "/x/%2e%2e" + path[first:],
		"by a public one":                   "/livez/.." + path,
		"by another public one":             "/api/health/.." + path[first:],
		"in capitals":                       strings.ToUpper(path),
		"with a capital":                    path[:last+1] + strings.ToUpper(path[last+1:last+2]) + path[last+2:],
		"with an empty parameter":           path + ";",
		"with a parameter":                  path + ";a=b",
		"with a backslash":                  path[:last] + "\\" + path[last+1:],
		"with a NUL":                        path + "%00",
		"with a space":                      path + "%20",
		"with an ending":                    path + ".json",
		"with a question mark":              path + "?",
		"with an encoded question mark":     path + "%3f",
	}
}

// TestNoSpellingOfARequestAvoidsItsRole: whatever path and method are written, no handler is reached without the role of its route.
func TestNoSpellingOfARequestAvoidsItsRole(t *testing.T) {
	t.Parallel()
	s := newStack(t, oneNode, withTokens)
	s.undescribed()
	roles := map[Role][]string{
		RolePublic: nil, RoleViewer: bearer(s.token("viewer", row.TokenRole_VIEWER)), RoleAgent: bearer(s.token("agent", row.TokenRole_AGENT)),
		RoleOperator: bearer(s.token("operator", row.TokenRole_OPERATOR)), RoleDeployer: bearer(s.token("deployer", row.TokenRole_DEPLOYER)),
		RoleAdmin: bearer(s.token("admin", row.TokenRole_ADMIN)),
	}
	var reached atomic.Pointer[route]
	for _, rt := range s.server.table {
		rt.scope, rt.recorded, rt.recordFirst = nil, false, false
		rt.handler = func(_ *Server, x *exchange) error { reached.Store(x.route); return x.empty() }
	}
	id := api.NewID().String()
	methods := append(slices.Clone(allMethods), http.MethodHead, http.MethodTrace, "get", "PoSt", "PROPFIND")
	ways, open := 0, 0
	for _, rt := range s.server.table {
		if rt.root {
			continue // what stands outside the API is for everybody
		}
		path := "/api" + pathVariable.ReplaceAllString(rt.path, id)
		try := func(role Role, method, way, spelt string, headers ...string) {
			reached.Store(nil)
			a := s.do(method, spelt, nil, append(slices.Clone(roles[role]), headers...)...)
			got := reached.Load()
			switch {
			case got != nil && got.role > role:
				t.Errorf("%s %s (%s) as %s reaches %s %s, which is for %s", method, spelt, way, role, got.method, got.path, got.role)
			case got == nil && a.status < 400 && strings.HasPrefix(strings.ToLower(spelt), "/api"):
				t.Errorf("%s %s (%s) as %s: %d %.100s", method, spelt, way, role, a.status, a.text)
			case a.status >= 500:
				t.Errorf("%s %s (%s) as %s: %d %.100s", method, spelt, way, role, a.status, a.text)
			}
			if got != nil {
				open++
			}
			ways++
		}
		below := RolePublic
		for role := range roles {
			if role < rt.role && role > below {
				below = role
			}
		}
		for way, spelt := range spellings(path) {
			try(RolePublic, rt.method, way, spelt)
			try(below, rt.method, way, spelt)
		}
		for _, method := range methods {
			try(RolePublic, method, "another method", path)
			try(below, method, "another method", path)
		}
		for _, header := range []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Prefix"} {
			try(below, http.MethodGet, header, "/api/hello", header, map[bool]string{true: rt.method, false: path}[strings.Contains(header, "Method")])
		}
		// The test sees what is reached: with and without a slash at its end.
		for _, spelt := range []string{path, path + "/"} {
			reached.Store(nil)
			if a := s.do(rt.method, spelt, nil, roles[RoleAdmin]...); reached.Load() != rt || a.status != 204 {
				t.Errorf("%s %s as an admin: %d %.100s", rt.method, spelt, a.status, a.text)
			}
		}
	}
	t.Logf("%d ways, %d reached something that was theirs", ways, open)
}
