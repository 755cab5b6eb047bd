package httpapi

import (
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/sluice-dev/sluice/api"
)

// Pages of other web sites run in the browsers of people who reach this server. They must not make these browsers write here, nor
// read what comes back: without authentication nothing else would stop them. Orion lets every origin do both.

// origins are the foreign origins that may use this server.
type origins struct {
	any     bool
	allowed []string
	hosts   []string // of allowed
	writes  *http.CrossOriginProtection
	// guardHost refuses names that this server cannot have, as a page would use to make a browser take its own server for this one.
	guardHost bool
}

func newOrigins(allowed []string, guardHost bool) (*origins, error) {
	o := &origins{writes: http.NewCrossOriginProtection(), guardHost: guardHost}
	for _, origin := range allowed {
		if origin == "*" {
			o.any = true
			continue
		}
		if err := o.writes.AddTrustedOrigin(origin); err != nil {
			return nil, err
		}
		o.allowed = append(o.allowed, origin)
		if parsed, err := url.Parse(origin); err == nil {
			o.hosts = append(o.hosts, strings.ToLower(parsed.Hostname()))
		}
	}
	return o, nil
}

// tell lets pages of allowed origins read the answer. Pages of this server's own need nothing said.
func (o *origins) tell(x *exchange) {
	from := x.r.Header["Origin"]
	if len(from) == 0 {
		return
	}
	h := x.Header()
	if o.any {
		h["Access-Control-Allow-Origin"] = anyone
	} else {
		h["Vary"] = varyOrigin
		if !slices.Contains(o.allowed, from[0]) {
			return
		}
		h["Access-Control-Allow-Origin"] = from[:1]
	}
	h["Access-Control-Expose-Headers"] = exposed
}

var varyOrigin = []string{"Origin"}

// check refuses what a page of a foreign origin made a browser send.
func (o *origins) check(s *Server, r *http.Request) error {
	if !o.any {
		if err := o.writes.Check(r); err != nil {
			s.metrics.refused.WithLabelValues(refusedOrigin).Inc()
			return &failure{
				status: http.StatusForbidden, kind: api.KindForbidden,
				detail: "A page of another web site made the browser send this request, which is not allowed.",
				hint:   "If that page is yours, start the server with --allow-origin and the origin of the page, like https://sluice.example.com.",
			}
		}
	}
	if o.guardHost && !o.own(r.Host) {
		s.metrics.refused.WithLabelValues(refusedHost).Inc()
		return &failure{
			status: http.StatusForbidden, kind: api.KindForbidden,
			detail: "This server has no authentication, so it answers only to localhost and to addresses, not to the name " + r.Host + ".",
			hint:   "Use the address, or start the server with --auth on, or allow the name with --allow-origin http://" + r.Host + ".",
		}
	}
	return nil
}

// own reports whether a request for that host can have been meant for a server on this machine. Whoever owns a name can make it
// point here, and a browser would take what is here for a part of his site; an address cannot be made to.
func (o *origins) own(host string) bool {
	if host == "" { // no browser: a load balancer's check
		return true
	}
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return net.ParseIP(strings.Trim(host, "[]")) != nil || host == "localhost" || strings.HasSuffix(host, ".localhost") || slices.Contains(o.hosts, host)
}

// preflight answers a browser that asks whether it may send a request.
func (s *Server) preflight(x *exchange) bool {
	if x.r.Header.Get("Origin") == "" || x.r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	h := x.Header()
	if h["Access-Control-Allow-Origin"] == nil {
		s.metrics.refused.WithLabelValues(refusedOrigin).Inc()
		h.Set("Content-Type", "text/plain; charset=utf-8")
		x.WriteHeader(http.StatusForbidden)
		_, _ = x.Write([]byte("This origin is not allowed; see --allow-origin."))
		return true
	}
	h.Set("Access-Control-Allow-Methods", "DELETE, GET, OPTIONS, PATCH, POST, PUT")
	if asked := x.r.Header.Get("Access-Control-Request-Headers"); asked != "" {
		h.Set("Access-Control-Allow-Headers", asked)
	}
	h.Set("Access-Control-Max-Age", "600")
	h.Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = x.Write([]byte("OK"))
	return true
}
