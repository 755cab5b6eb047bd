package httpapi

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/mux"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/state"
	"github.com/sluice-dev/sluice/http/internal/body"
	"github.com/sluice-dev/sluice/internal/redact"
)

// exchange is one request and its answer. Handlers get it; it is not used after they return.
type exchange struct {
	http.ResponseWriter // headers and body of the answer
	r                   *http.Request
	server              *Server
	route               *route
	ctx                 context.Context
	id                  string // of the request
	who                 actor
	lease               string               // the caller's lease token, "" without
	recorded            bool                 // a command of it carries the audit record
	named               *command.Idempotency // of the request, nil without
	keyed               uint32               // commands named with it so far
	based               bool                 // the path was below the base path
	strict              bool                 // an Orion client, which refuses fields it does not know
	data                []byte               // the request's body; decoded values alias it
	out                 []byte               // the answer's body while it is built; pooled
	status              int
	wrote               bool
}

var exchanges = sync.Pool{New: func() any { return &exchange{out: make([]byte, 0, 4096)} }}

// largestKept bounds the buffers that stay in the pool.
const largestKept = 64 << 10

func (x *exchange) release() {
	out := x.out[:0]
	if cap(out) > largestKept {
		out = make([]byte, 0, 4096)
	}
	*x = exchange{out: out}
	exchanges.Put(x)
}

// WriteHeader notes the status.
func (x *exchange) WriteHeader(status int) {
	if !x.wrote {
		x.status, x.wrote = status, true
		x.ResponseWriter.WriteHeader(status)
	}
}

// Write answers 200 unless a status was written.
func (x *exchange) Write(b []byte) (int, error) {
	if !x.wrote {
		x.WriteHeader(http.StatusOK)
	}
	return x.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController find the connection.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// Shared header values: a header map may hold them, nobody writes to them.
var (
	typeJSON = []string{"application/json"}
	anyone   = []string{"*"}
)

// send answers what was appended to x.out as JSON.
func (x *exchange) send(status int) error {
	h := x.Header()
	h["Content-Type"] = typeJSON
	if len(x.out) > 2048 { // below, net/http counts itself
		h["Content-Length"] = []string{strconv.Itoa(len(x.out))}
	}
	x.WriteHeader(status)
	_, _ = x.ResponseWriter.Write(x.out) // a reader that went away is no error of ours
	return nil
}

// empty answers without a body.
func (x *exchange) empty() error {
	x.WriteHeader(http.StatusNoContent)
	return nil
}

// null answers 200 null.
func (x *exchange) null(status int) error {
	x.out = append(x.out, "null"...)
	return x.send(status)
}

type appender interface{ AppendJSON([]byte) []byte }

// object answers one object.
func (x *exchange) object(status int, v appender) error {
	x.out = v.AppendJSON(x.out)
	return x.send(status)
}

// at tells the client the index its answer stands for.
func (x *exchange) at(index uint64) {
	x.Header()["X-Sluice-Index"] = []string{strconv.FormatUint(index, 36)}
}

// statusClientGone is what nginx counts requests under whose client did not wait for the answer.
const statusClientGone = 499

// fail answers an error.
func (x *exchange) fail(err error) {
	if x.r.Context().Err() != nil && errors.Is(err, context.Canceled) && !x.wrote {
		// The client went away: nobody reads an answer, and nothing failed. The status is for metrics and the access log.
		_ = x.send(statusClientGone)
		return
	}
	f := failureOf(err)
	x.logFailure(f)
	if x.wrote {
		return
	}
	status := f.status
	if x.strict && f.kind == api.KindUnavailable {
		status = http.StatusTooManyRequests // the only status Orion's clients try again after
	}
	if f.retryAfter > 0 {
		x.Header()["Retry-After"] = []string{strconv.Itoa(f.retryAfter)}
	}
	x.out = x.appendFailure(x.out[:0], f)
	_ = x.send(status)
}

func (x *exchange) logFailure(f *failure) {
	if f.status < http.StatusInternalServerError || f.kind == api.KindUnavailable {
		return
	}
	x.server.logger.Error("request failed", "request_id", x.id, "method", x.r.Method, "path", x.r.URL.Path, "status", f.status, "error", f)
}

func (x *exchange) appendFailure(b []byte, f *failure) []byte {
	b = append(b, '{')
	if f.findings != nil {
		b = append(b, `"exception_message":"Invalid request received.","exception_detail":`...)
		b = body.AppendErrors(b, x.tellable(f.findings))
		b = append(b, `,"request_body":`...)
		b = x.appendRequestBody(b, f)
	} else {
		b = append(b, '"')
		b = append(b, or(f.key, "detail")...)
		b = append(b, `":`...)
		b = body.AppendString(b, f.detail)
	}
	if !x.strict {
		if f.findings != nil || f.key != "" {
			b = append(b, `,"detail":`...)
			b = body.AppendString(b, f.detail)
		}
		b = append(b, `,"kind":"`...)
		b = append(b, f.kind...)
		b = append(b, '"')
		if f.hint != "" {
			b = append(b, `,"hint":`...)
			b = body.AppendString(b, f.hint)
		}
		b = append(b, `,"request_id":`...)
		b = body.AppendString(b, x.id)
	}
	return append(b, '}')
}

// tellable leaves out of the findings the text of a body that is no JSON and may hold a secret.
func (x *exchange) tellable(findings []body.Error) []body.Error {
	if !x.takesSecrets() {
		return findings
	}
	list := slices.Clone(findings)
	for i := range list {
		if list[i].Type == "value_error.jsondecode" {
			list[i].Ctx = ""
		}
	}
	return list
}

// echoLimit bounds how much of a refused body is sent back.
const echoLimit = 64 << 10

func (x *exchange) appendRequestBody(b []byte, f *failure) []byte {
	switch {
	case len(x.data) == 0:
		return append(b, "null"...)
	case len(x.data) > echoLimit:
		return body.AppendString(b, "("+strconv.Itoa(len(x.data))+" bytes)")
	}
	doc, syntax := body.Parse(x.data)
	if syntax != nil {
		if x.takesSecrets() {
			return body.AppendString(b, "("+strconv.Itoa(len(x.data))+" bytes)")
		}
		return body.AppendString(b, string(x.data))
	}
	defer doc.Release()
	if x.takesSecrets() {
		return append(b, redact.Object(doc.Raw(), secretsOfBodies)...)
	}
	return append(b, doc.Raw()...)
}

// secretsOfBodies are the fields that are not sent back, beside those whose names say it: answers end in logs.
var secretsOfBodies = redact.ParseSchema([]byte(`{"secret_fields": ["data", "data.*", "secret", "new_secret",
	"flow_runner.config.env.*", "flow_runner.config.job.spec.template.spec.containers.env.value", "flow_runner.config.customizations.value.*",
	"flow_runner.env.*", "config.env.*", "env.*"]}`))

// takesSecrets reports whether the body may hold a secret. Those of all other routes are sent back as they came, as Orion does: a
// filter and a proposed state hold none.
func (x *exchange) takesSecrets() bool {
	path := x.route.path
	for _, of := range []string{"/filter", "/count", "/history", "/set_state"} {
		if strings.HasSuffix(path, of) {
			return false
		}
	}
	for _, of := range []string{"/blocks", "/webhooks", "/tokens", "/deployments", "/flow_runs"} {
		if strings.HasPrefix(path, of) {
			return true
		}
	}
	return false
}

var (
	errBodyTooLarge = errors.New("request body too large")
	errBodyBroken   = errors.New("request body could not be read")
)

// readBody fills x.data. The memory is not pooled: decoded values alias it.
func (x *exchange) readBody() error {
	limit := x.route.bodyLimit()
	length := x.r.ContentLength
	if length > limit {
		x.refuseBody()
		return tooLarge(limit)
	}
	if length == 0 || x.r.Body == nil || x.r.Body == http.NoBody {
		return nil
	}
	// A client that announces a body and sends none must not hold the connection for ever.
	control := http.NewResponseController(x.ResponseWriter)
	_ = control.SetReadDeadline(time.Now().Add(x.route.bodyTime())) // not every writer has one
	data, err := readAll(x.r.Body, length, limit)
	_ = control.SetReadDeadline(time.Time{})
	switch {
	case errors.Is(err, errBodyTooLarge):
		x.refuseBody()
		return tooLarge(limit)
	case err != nil:
		x.closeAfter()
		return &failure{status: http.StatusBadRequest, kind: api.KindInvalid, detail: "There was an error parsing the body", cause: err}
	}
	x.data = data
	return nil
}

// refusedBytes and refusedTime bound what is read of a body that is refused.
const (
	refusedBytes = 32 << 20
	refusedTime  = 2 * time.Second
)

// refuseBody reads some of a body that nobody wants: a client that is still sending when the connection closes would see a
// reset and not the answer.
func (x *exchange) refuseBody() {
	x.closeAfter()
	control := http.NewResponseController(x.ResponseWriter)
	if control.SetReadDeadline(time.Now().Add(refusedTime)) == nil {
		_, _ = io.CopyN(io.Discard, x.r.Body, refusedBytes)
		_ = control.SetReadDeadline(time.Time{})
	}
}

func (x *exchange) closeAfter() { x.Header()["Connection"] = []string{"close"} }

func readAll(r io.Reader, length, limit int64) ([]byte, error) {
	// What a client announces is believed up to here; beyond it, memory is taken as bytes come.
	const believed = 1 << 20
	if length > 0 && length <= believed {
		data := make([]byte, length)
		if _, err := io.ReadFull(r, data); err != nil {
			return nil, errors.Join(errBodyBroken, err)
		}
		return data, nil
	}
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, errors.Join(errBodyBroken, err)
	}
	if int64(len(data)) > limit {
		return nil, errBodyTooLarge
	}
	return data, nil
}

// decode reads the body into dst by its specification.
func decode[T any](x *exchange, spec *body.Object[T], dst *T) error {
	read := spec.Decode
	if x.strict {
		read = spec.DecodeOrion
	}
	if findings := read(x.data, dst); findings != nil {
		return unprocessable(findings)
	}
	return nil
}

// pathID reads a path parameter that is an id.
func (x *exchange) pathID(name string) (api.ID, error) {
	id, ok := body.ParseUUID(mux.Vars(x.r)[name])
	if !ok {
		return api.ID{}, unprocessable([]body.Error{{Loc: []any{"path", name}, Msg: "value is not a valid uuid", Type: "type_error.uuid"}})
	}
	return id, nil
}

func (x *exchange) path(name string) string { return mux.Vars(x.r)[name] }

// queryID reads a query parameter that is an id and must be there.
func (x *exchange) queryID(name string) (api.ID, error) {
	values := x.r.URL.Query()[name]
	if len(values) == 0 {
		return api.ID{}, unprocessable([]body.Error{{Loc: []any{"query", name}, Msg: "field required", Type: "value_error.missing"}})
	}
	id, ok := body.ParseUUID(values[len(values)-1])
	if !ok {
		return api.ID{}, unprocessable([]body.Error{{Loc: []any{"query", name}, Msg: "value is not a valid uuid", Type: "type_error.uuid"}})
	}
	return id, nil
}

// view opens a view as fresh as the request asks for, and tells the client where it stands.
func (x *exchange) view() (*state.View, error) {
	consistency := x.consistency()
	least, err := x.minIndex()
	if err != nil {
		return nil, err
	}
	view, index, err := x.server.reader.View(x.ctx, consistency, least)
	if err != nil {
		return nil, err
	}
	// A view that waited for what others have acknowledged may know of a revocation that the request did not meet.
	if err := x.recheck(); err != nil {
		return nil, errors.Join(err, view.Close())
	}
	x.at(index)
	return view, nil
}

func (x *exchange) minIndex() (uint64, error) {
	v := x.r.Header["X-Sluice-Min-Index"]
	if len(v) == 0 || v[0] == "" {
		return 0, nil
	}
	index, err := strconv.ParseUint(v[0], 36, 64)
	if err != nil {
		return 0, &failure{
			status: http.StatusBadRequest, kind: api.KindInvalid, detail: "X-Sluice-Min-Index is no index this server gave out.",
			hint: "Send back the X-Sluice-Index of an earlier answer, unchanged, or leave it out.",
		}
	}
	return index, nil
}

// now is the server's time in µs since the epoch.
func (x *exchange) now() int64 { return x.server.now().UnixMicro() }

// consistency is how fresh the client wants what it reads.
func (x *exchange) consistency() Consistency {
	if x.r.URL.RawQuery != "" && x.r.URL.Query().Get("consistency") == "stale" {
		return Stale
	}
	return Linearizable
}

// until sets a deadline for what the handler does.
func (x *exchange) until(d time.Duration) context.CancelFunc {
	ctx, cancel := context.WithTimeout(x.r.Context(), d)
	x.ctx = ctx
	return cancel
}
