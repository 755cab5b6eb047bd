package httpapi

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"log/slog"
	"mime"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sluice-dev/sluice/api"
)

// requestIDs mints ids that are unique among servers: random for the process, counted within.
type requestIDs struct {
	prefix [8]byte
	next   atomic.Uint64
}

func newRequestIDs() *requestIDs {
	ids := &requestIDs{}
	var random [4]byte
	_, _ = rand.Read(random[:]) // never fails
	hex.Encode(ids.prefix[:], random[:])
	return ids
}

func (ids *requestIDs) mint() string {
	var b [17]byte
	copy(b[:], ids.prefix[:])
	b[8] = '-'
	var count [4]byte
	binary.BigEndian.PutUint32(count[:], uint32(ids.next.Add(1)))
	hex.Encode(b[9:], count[:])
	return string(b[:])
}

// requestID is the one the client brought, if it is short and printable, or a new one.
func (s *Server) requestID(r *http.Request) string {
	v := r.Header["X-Request-Id"]
	if len(v) == 0 || v[0] == "" || len(v[0]) > 64 {
		return s.ids.mint()
	}
	for _, c := range []byte(v[0]) {
		if c <= ' ' || c > '~' {
			return s.ids.mint()
		}
	}
	return v[0]
}

// ServeHTTP does what every request needs, then routes it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := exchanges.Get().(*exchange)
	x.ResponseWriter, x.r, x.server, x.route = w, r, s, &s.unrouted
	x.ctx = r.Context()
	start := s.now()
	x.id = s.requestID(r)
	h := w.Header()
	h["X-Request-Id"] = []string{x.id}
	s.origins.tell(x)
	if s.isDraining() {
		x.closeAfter()
	}
	defer func() {
		if failed := recover(); failed != nil {
			s.recovered(x, failed)
		}
		s.finish(x, start)
	}()
	if r.Method == http.MethodOptions && s.preflight(x) {
		return
	}
	if rest, under := s.belowBasePath(r.URL.Path); under {
		r.URL.Path, r.URL.RawPath = rest, ""
		x.based = true
	}
	// Both slash forms name the same thing.
	if p := r.URL.Path; len(p) > 1 && p[len(p)-1] == '/' {
		r.URL.Path, r.URL.RawPath = p[:len(p)-1], ""
	}
	s.router.ServeHTTP(x, r)
}

// recovered answers a defect. http.ErrAbortHandler is the way to drop a connection and stays one.
func (s *Server) recovered(x *exchange, failed any) {
	if failed == http.ErrAbortHandler { //nolint:errorlint // recovered values are compared as net/http does
		s.finish(x, s.now())
		panic(failed)
	}
	s.logger.Error("handler panicked", "request_id", x.id, "method", x.r.Method, "path", x.r.URL.Path, "panic", failed, "stack", string(debug.Stack()))
	x.fail(&failure{status: http.StatusInternalServerError, kind: api.KindInternal, detail: internalError, key: "exception_message"})
}

// finish counts and logs the request and gives the exchange back.
func (s *Server) finish(x *exchange, start time.Time) {
	took := s.now().Sub(start)
	x.route.observe(x.status, took)
	if s.logger.Enabled(context.Background(), slog.LevelDebug) {
		s.logger.Debug("request", "request_id", x.id, "method", x.r.Method, "path", x.r.URL.Path, "status", x.status, "took", took, "actor", x.who.name)
	}
	x.release()
}

// guard is the one way to a handler: whence, who, may they, version, the body, then the handler within its time.
func (s *Server) guard(rt *route) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		x := w.(*exchange) // set by ServeHTTP, the only caller of the router
		x.r, x.route = r, rt
		if err := s.handle(x); err != nil {
			x.fail(err)
		}
	}
}

func (s *Server) handle(x *exchange) error {
	rt := x.route
	v := x.r.Header["X-Prefect-Api-Version"]
	x.strict = len(v) > 0
	if err := s.origins.check(s, x.r); err != nil {
		return err
	}
	if err := s.authenticate(x); err != nil {
		return err
	}
	if err := s.authorize(x); err != nil {
		return err
	}
	if x.strict && !rt.anyVersion {
		if err := checkVersion(v[0]); err != nil {
			return err
		}
	}
	if !rt.rawBody {
		if err := x.checkContentType(); err != nil {
			return err
		}
		if err := x.readBody(); err != nil {
			return err
		}
	}
	if err := x.readIdempotencyKey(); err != nil {
		return err
	}
	if rt.timeout > 0 {
		defer x.until(rt.timeout)()
	}
	if err := s.stayInScope(x); err != nil {
		return err
	}
	// What a node can give without a leader it gives without a write, hence without a record.
	if rt.recordFirst && x.consistency() != Stale {
		x.record("asked")
	}
	err := rt.handler(s, x)
	if rt.recorded {
		x.record(outcomeOf(err))
	}
	return err
}

// checkContentType refuses a body that says it is no JSON. One that says nothing is taken for JSON.
func (x *exchange) checkContentType() error {
	v := x.r.Header["Content-Type"]
	if len(v) == 0 || v[0] == "" || v[0] == typeJSON[0] || x.r.ContentLength == 0 {
		return nil
	}
	kind, _, err := mime.ParseMediaType(v[0])
	if err == nil && (kind == typeJSON[0] || strings.HasSuffix(kind, "+json")) {
		return nil
	}
	x.refuseBody()
	return &failure{
		status: http.StatusUnsupportedMediaType, kind: api.KindInvalid, detail: "The body's Content-Type is " + v[0] + "; it must be application/json.",
		hint: "Send JSON with the header Content-Type: application/json (curl: -H 'Content-Type: application/json').",
	}
}

var exposed = []string{"X-Request-Id, X-Sluice-Index, X-Sluice-Next-Cursor, Idempotency-Replayed, Retry-After"}

// serverVersion is the version of Orion's API that is spoken here.
const serverVersion = "0.3.1"

// checkVersion accepts the versions of Orion's API that this server speaks.
func checkVersion(v string) error {
	if v == serverVersion {
		return nil
	}
	refuse := func(detail string) error {
		return &failure{status: http.StatusBadRequest, kind: api.KindInvalid, detail: detail}
	}
	parts := strings.Split(v, ".")
	var n [3]int
	good := len(parts) == len(n)
	for i := 0; good && i < len(n); i++ {
		var err error
		n[i], err = strconv.Atoi(strings.TrimSpace(parts[i]))
		good = err == nil
	}
	if !good {
		return refuse("Invalid X-PREFECT-API-VERSION header format.Expected header in format 'x.y.z' but received " + v)
	}
	if n[0] == 0 && n[1] == 3 && n[2] <= 1 {
		return nil
	}
	return refuse("Request specified API version " + v + " but this server only supports version " + serverVersion + " and below.")
}

// unmatched answers requests that no route takes: 405 naming the methods the path has, or 404 when it has none. It asks the
// router itself, whose own telling apart of the two depends on the order of routes.
func (s *Server) unmatched(w http.ResponseWriter, r *http.Request) {
	x := w.(*exchange) // set by ServeHTTP, the only caller of the router
	x.strict = len(r.Header["X-Prefect-Api-Version"]) > 0
	if r.ContentLength != 0 {
		x.closeAfter() // the body was not read
	}
	if methods := s.methods(r); len(methods) > 0 {
		x.Header()["Allow"] = []string{strings.Join(methods, ", ")}
		x.fail(&failure{status: http.StatusMethodNotAllowed, kind: api.KindInvalid, detail: "Method Not Allowed"})
		return
	}
	x.fail(&failure{
		status: http.StatusNotFound, kind: api.KindNotFound, detail: "Not Found", hint: "The paths of the API begin with /api; the documentation lists them.",
	})
}
