package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/http/internal/body"
)

// failure is an answer that is not a success. Its body follows Orion; clients that are not strict also get kind, hint and
// request id.
type failure struct {
	status     int
	kind       api.Kind
	detail     string
	key        string // the member that holds detail; "" means "detail"
	hint       string
	findings   []body.Error // of a body that does not validate
	retryAfter int          // seconds
	cause      error        // for the server's log only
}

func (f *failure) Error() string {
	if f.cause != nil {
		return f.detail + ": " + f.cause.Error()
	}
	return f.detail
}

func (f *failure) Unwrap() error { return f.cause }

func notFound(detail string) *failure {
	return &failure{status: http.StatusNotFound, kind: api.KindNotFound, detail: detail}
}

func conflict(detail, hint string) *failure {
	return &failure{status: http.StatusConflict, kind: api.KindConflict, detail: detail, hint: hint}
}

func invalid(detail, hint string) *failure {
	return &failure{status: http.StatusUnprocessableEntity, kind: api.KindInvalid, detail: detail, hint: hint}
}

func unprocessable(findings []body.Error) *failure {
	return &failure{status: http.StatusUnprocessableEntity, kind: api.KindInvalid, detail: summary(findings), findings: findings}
}

// summary says the first finding in one line, for people.
func summary(findings []body.Error) string {
	if len(findings) == 0 {
		return "Invalid request received."
	}
	place := ""
	for _, at := range findings[0].Loc {
		switch at := at.(type) {
		case string:
			if place != "" {
				place += "."
			}
			place += at
		case int:
			place += "[" + strconv.Itoa(at) + "]"
		}
	}
	text := place + ": " + findings[0].Msg
	if more := len(findings) - 1; more > 0 {
		text += " (and " + strconv.Itoa(more) + " more)"
	}
	return text
}

func tooLarge(limit int64) *failure {
	return &failure{
		status: http.StatusRequestEntityTooLarge, kind: api.KindTooLarge,
		detail: "The request body is larger than the limit of " + strconv.FormatInt(limit>>20, 10) + " MiB.",
		hint:   "Send less at once.",
	}
}

const (
	integrityConflict = "Data integrity conflict. This usually means a unique or foreign key constraint was violated. See server logs for details."
	internalError     = "Internal Server Error"
)

// failureOf makes an answer of any error a handler returned.
func failureOf(err error) *failure {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	if known, ok := errors.AsType[*api.Error](err); ok {
		f := &failure{status: known.Kind.Status(), kind: known.Kind, detail: known.Message, hint: known.Hint, cause: known.Err}
		switch known.Kind {
		case api.KindUnavailable:
			f.retryAfter = 1
		case api.KindInternal:
			f.detail, f.key, f.cause = internalError, "exception_message", known
		}
		return f
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &failure{
			status: http.StatusServiceUnavailable, kind: api.KindUnavailable, detail: "The server did not answer in time.",
			hint: "Try again; /readyz?verbose of the node says what it waits for.", retryAfter: 1, cause: err,
		}
	}
	return &failure{status: http.StatusInternalServerError, kind: api.KindInternal, detail: internalError, key: "exception_message", cause: err}
}

// missing holds the texts for objects that do not exist.
var missing = struct {
	flow, flowRun, taskRun, runState, deployment, workQueue, block, blockSpec, limit, agent, savedSearch, job string
}{
	flow: "Flow not found", flowRun: "Flow run not found", taskRun: "Task not found", runState: "Flow run state not found",
	deployment: "Deployment not found", workQueue: "work queue not found", block: "Block not found",
	blockSpec: "Block spec not found", limit: "Concurrency limit not found", agent: "agent not found",
	savedSearch: "Saved search not found", job: "Job not found",
}

// outcome maps the code of a command's result to an answer; nil for success. notFoundText is what the command addresses,
// conflictText what Orion says when it exists already ("" for the general text).
func outcome(r *command.Result, notFoundText, conflictText string) error {
	switch r.Code {
	case command.Result_OK:
		return nil
	case command.Result_NOT_FOUND:
		return notFound(notFoundText)
	case command.Result_CONFLICT:
		if conflictText == "" {
			conflictText = integrityConflict
		}
		if r.Message == conflictText {
			return conflict(conflictText, "") // a hint would say it twice
		}
		return conflict(conflictText, r.Message)
	case command.Result_INVALID:
		return invalid(r.Message, "")
	case command.Result_LEASED:
		return conflict(or(r.Message, "Another process holds the lease on this flow run."), "Wait until its lease ends, or cancel the run.")
	case command.Result_TERMINAL:
		return conflict(or(r.Message, "This run has already terminated."), "")
	case command.Result_KEY_REUSED:
		return invalid("This Idempotency-Key was used for another request within the last 24 hours.", "Use a new key for a new request, such as a random UUID.")
	case command.Result_REVOKED:
		return &failure{status: http.StatusUnauthorized, kind: api.KindUnauthenticated, detail: r.Message, hint: tokenHint}
	case command.Result_UNSUPPORTED:
		return conflict(r.Message, "Upgrade every node first; `sluice cluster status` shows which one holds the cluster's version back.")
	case command.Result_NO_SPACE:
		return &failure{
			status: http.StatusInsufficientStorage, kind: api.KindTooLarge, detail: or(r.Message, "There is no space left for this."),
			hint: "Free disk space on the servers, or delete what is not needed.",
		}
	}
	return &failure{
		status: http.StatusInternalServerError, kind: api.KindInternal, detail: internalError, key: "exception_message",
		cause: errors.New("command answered " + r.Code.String() + ": " + r.Message),
	}
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
