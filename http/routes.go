package httpapi

import (
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/mux"
)

type handler func(s *Server, x *exchange) error

// route is one row of the table: who may call what.
type route struct {
	method  string
	path    string // below /api unless root is set
	role    Role
	handler handler

	root       bool          // stands at the root of the address
	anyVersion bool          // does not check X-PREFECT-API-VERSION
	limit      int64         // bytes of body, 0 means maxBody
	timeout    time.Duration // 0: the handler takes care of its time
	stream     bool          // its duration says nothing
	rawBody    bool          // the handler reads the body
	reporting  bool          // tells of runs: leaves an audit record only when a person does it
	leased     bool          // reporting, and what comes with a lease is taken for the run's own process
	// recorded leaves an audit record though it is no command; recordFirst before it is done.
	recorded, recordFirst bool
	scope                 scope // what the process of a flow run may write about; nil: it reads

	durations durations
}

const (
	maxBody     = 8 << 20
	maxBlobBody = 64<<20 + 64
	// ordinary bounds a request: Orion's clients give up after 30 s.
	ordinary = 29 * time.Second
)

func (rt *route) bodyLimit() int64 {
	if rt.limit > 0 {
		return rt.limit
	}
	return maxBody
}

// bodyTime is how long a client may take to send its body.
func (rt *route) bodyTime() time.Duration {
	if rt.limit > 0 {
		return 5 * time.Minute
	}
	return time.Minute
}

func get(path string, role Role, h handler) *route {
	return &route{method: http.MethodGet, path: path, role: role, handler: h, timeout: ordinary}
}

func post(path string, role Role, h handler) *route {
	return &route{method: http.MethodPost, path: path, role: role, handler: h, timeout: ordinary}
}

func put(path string, role Role, h handler) *route {
	return &route{method: http.MethodPut, path: path, role: role, handler: h, timeout: ordinary}
}

func patch(path string, role Role, h handler) *route {
	return &route{method: http.MethodPatch, path: path, role: role, handler: h, timeout: ordinary}
}

func del(path string, role Role, h handler) *route {
	return &route{method: http.MethodDelete, path: path, role: role, handler: h, timeout: ordinary}
}

func (rt *route) with(change func(*route)) *route {
	change(rt)
	return rt
}

func streaming(rt *route)   { rt.stream, rt.timeout = true, 0 }
func waiting(rt *route)     { rt.stream, rt.timeout = true, 0 }
func rawBody(rt *route)     { rt.rawBody = true }
func reporting(rt *route)   { rt.reporting = true }
func leased(rt *route)      { rt.reporting, rt.leased = true, true }
func audited(rt *route)     { rt.recorded = true }
func recordFirst(rt *route) { rt.recordFirst = true }
func unversioned(rt *route) { rt.anyVersion = true }
func atRoot(rt *route)      { rt.root, rt.anyVersion = true, true }
func largeBody(rt *route)   { rt.limit, rt.timeout = maxBlobBody, 5*time.Minute }
func longerTime(rt *route)  { rt.timeout = 2 * time.Minute }

// withSlashes lets tags have slashes, which names must not have.
var withSlashes = strings.NewReplacer("{tag}", "{tag:.+}")

// build makes the router. Routes are grouped by their first segment, so that a request is compared with a dozen patterns and
// not with all.
func (s *Server) build() {
	s.router = mux.NewRouter().SkipClean(true)
	s.router.NotFoundHandler = http.HandlerFunc(s.unmatched)
	s.router.MethodNotAllowedHandler = http.HandlerFunc(s.unmatched)
	groups := map[string]*mux.Router{}
	for _, rt := range s.table {
		rt.durations = s.metrics.route(rt)
		if rt.root {
			s.router.Handle(rt.path, s.guard(rt)).Methods(rt.method, http.MethodHead) // load balancers ask so
			continue
		}
		first, _, _ := strings.Cut(strings.TrimPrefix(rt.path, "/"), "/")
		group := groups[first]
		if group == nil {
			group = s.router.PathPrefix("/api/" + first).Subrouter()
			groups[first] = group
		}
		group.Handle(withSlashes.Replace(strings.TrimPrefix(rt.path, "/"+first)), s.guard(rt)).Methods(rt.method)
	}
	// What no route takes and is not the API's belongs to the web interface, which has addresses of its own.
	pages := get("/*", RolePublic, showPage).with(atRoot)
	pages.durations = s.metrics.route(pages)
	s.router.MatcherFunc(outsideAPI).Handler(s.guard(pages)).Methods(pages.method, http.MethodHead)
	s.unrouted = route{path: "unmatched", durations: s.metrics.route(&route{path: "unmatched"})}
}

var allMethods = []string{http.MethodDelete, http.MethodGet, http.MethodPatch, http.MethodPost, http.MethodPut}

// methods lists those with which the path of r has a route.
func (s *Server) methods(r *http.Request) []string {
	var has []string
	for _, m := range allMethods {
		asked := r.Clone(r.Context())
		asked.Method = m
		var match mux.RouteMatch
		if s.router.Match(asked, &match) && match.MatchErr == nil {
			has = append(has, m)
		}
	}
	return has
}
