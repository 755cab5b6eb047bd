package api

import (
	"errors"
	"net/http"
)

// Kind classes errors by what the caller can do about them.
type Kind string

// The kinds of errors.
const (
	KindInvalid         Kind = "invalid"         // the request is wrong; sending it again is useless
	KindNotFound        Kind = "not_found"       // the object named does not exist
	KindConflict        Kind = "conflict"        // the object's present state forbids it
	KindUnauthenticated Kind = "unauthenticated" // no or bad credentials
	KindForbidden       Kind = "forbidden"       // the caller may not
	KindTooLarge        Kind = "too_large"       // body or quota
	KindUnavailable     Kind = "unavailable"     // surely not done; try again later
	KindUnknownOutcome  Kind = "unknown_outcome" // the write may or may not have happened
	KindInternal        Kind = "internal"        // a defect
	KindUnreachable     Kind = "unreachable"     // no server answered; only clients make it
)

// kindStatus maps kinds to HTTP status codes; kindOfStatus is its inverse for answers that name no kind.
var kindStatus = []struct {
	kind   Kind
	status int
}{
	{KindInvalid, http.StatusUnprocessableEntity},
	{KindInvalid, http.StatusBadRequest},
	{KindInvalid, http.StatusMethodNotAllowed},
	{KindNotFound, http.StatusNotFound},
	{KindConflict, http.StatusConflict},
	{KindUnauthenticated, http.StatusUnauthorized},
	{KindForbidden, http.StatusForbidden},
	{KindTooLarge, http.StatusRequestEntityTooLarge},
	{KindUnavailable, http.StatusServiceUnavailable},
	{KindUnavailable, http.StatusTooManyRequests},
	{KindUnknownOutcome, http.StatusServiceUnavailable},
	{KindUnknownOutcome, http.StatusBadGateway},
	{KindUnknownOutcome, http.StatusGatewayTimeout},
	{KindInternal, http.StatusInternalServerError},
}

// Status returns the HTTP status code of answers with this kind.
func (k Kind) Status() int {
	for _, row := range kindStatus {
		if row.kind == k {
			return row.status
		}
	}
	return http.StatusInternalServerError
}

// KindOfStatus returns the kind of an answer that has this status and names no kind itself.
func KindOfStatus(status int) Kind {
	for _, row := range kindStatus {
		if row.status == status {
			return row.kind
		}
	}
	if status >= 400 && status < 500 {
		return KindInvalid
	}
	return KindInternal
}

// Error is the one error type that crosses package and process boundaries.
type Error struct {
	Kind      Kind
	Message   string // what went wrong and why
	Hint      string // what to do about it; may be empty
	RequestID string // may be empty
	Err       error  // the cause; not sent to clients
}

// ErrorBody is an Error as JSON, of native endpoints.
type ErrorBody struct {
	Detail    string `json:"detail"`
	Kind      Kind   `json:"kind"`
	Hint      string `json:"hint,omitempty"`
	RequestID string `json:"request_id,omitempty"`
}

// Error returns the message, with the cause if there is one.
func (e *Error) Error() string {
	switch {
	case e.Err == nil:
		return e.Message
	case e.Message == "":
		return e.Err.Error()
	}
	return e.Message + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Body returns what is sent to a client.
func (e *Error) Body() ErrorBody {
	return ErrorBody{Detail: e.Message, Kind: e.Kind, Hint: e.Hint, RequestID: e.RequestID}
}

// NewError returns an Error of that kind.
func NewError(kind Kind, message string) *Error { return &Error{Kind: kind, Message: message} }

// KindOf returns the kind of the first Error in err's chain, KindInternal if there is none, "" for nil.
func KindOf(err error) Kind {
	if err == nil {
		return ""
	}
	if known, ok := errors.AsType[*Error](err); ok {
		return known.Kind
	}
	return KindInternal
}

// IsNotFound reports whether err says that an object does not exist.
func IsNotFound(err error) bool { return KindOf(err) == KindNotFound }
