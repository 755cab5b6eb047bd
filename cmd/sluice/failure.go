package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/api"
)

// The exit codes; "sluice help exit-codes" explains them.
const (
	exitOK          = 0
	exitError       = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitConflict    = 4
	exitNotAllowed  = 5
	exitUnreachable = 6
	exitFailed      = 10
	exitCrashed     = 11
	exitCancelled   = 12
	exitTimeout     = 124
	exitInterrupted = 130
)

const exitCodesHelp = `Every command ends with one of these codes:

    0    done
    1    an error that has no code of its own
    2    the command line or a configuration file is wrong
    3    an object that was named does not exist
    4    the request conflicts with the object's present state
    5    not allowed: no, bad or insufficient credentials
    6    no server could be reached, or the cluster has no leader

cluster health ends with 0 when the cluster is healthy, 1 when it is degraded, 6 when it is down. cluster status ends with 1
when no leader is known or no further node may fail.

Commands that wait for a flow run (flow-run watch, deployment run --watch, deployment execute) end with how it ended:

    0    Completed
    10   Failed
    11   Crashed
    12   Cancelled
    124  it had not ended when the time given with --timeout was over
    130  interrupted with Ctrl-C; the flow run goes on, except under deployment execute

sluice run ends with the code of the command that it runs.

Errors are written to stderr as "error: what was being done", "cause: what was in the way" (or both in the first line) and,
where there is something to do about it, "try: what to do";
with -o json as one JSON object with the keys error, kind, hint, request_id and exit_code.`

// failure is an error with the exit code it leads to.
type failure struct {
	code int
	err  error
	hint string
	// silent: what is to be said has been said.
	silent bool
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// usagef is an error of the command line or a file.
func usagef(format string, args ...any) *failure {
	return &failure{code: exitUsage, err: fmt.Errorf(format, args...)}
}

// notFoundf is an error about a name that nothing has.
func notFoundf(hint, format string, args ...any) *failure {
	return &failure{code: exitNotFound, err: fmt.Errorf(format, args...), hint: hint}
}

// otherwise gives a conflict that says nothing about it what to type instead.
func otherwise(err error, hint string) error {
	if known, ok := errors.AsType[*api.Error](err); ok && known.Kind == api.KindConflict && known.Hint == "" {
		return &failure{code: exitConflict, err: err, hint: hint}
	}
	return err
}

func interrupted(err error) error {
	return &failure{code: exitInterrupted, err: err, silent: true}
}

// ended is the end of a flow run that a command waited for; nothing is left to say.
func ended(state *api.State) error {
	code := exitFailed
	switch {
	case state.Type == api.Completed:
		return nil
	case state.Type == api.Cancelled:
		code = exitCancelled
	case state.Name == api.NameCrashed:
		code = exitCrashed
	}
	return &failure{code: code, err: fmt.Errorf("the flow run ended in state %s", state.Name), silent: true}
}

// isOutcome reports whether err has an exit code of its own already.
func isOutcome(err error) bool {
	_, ok := errors.AsType[*failure](err)
	return ok
}

// verdict is how an error ends the process.
type verdict struct {
	code      int
	kind      api.Kind
	hint      string
	requestID string
}

func judge(err error) verdict {
	v := verdict{code: exitError, kind: api.KindInternal}
	if known, ok := errors.AsType[*api.Error](err); ok {
		v = verdict{code: codeOfKind(known.Kind), kind: known.Kind, hint: known.Hint, requestID: known.RequestID}
	}
	if known, ok := errors.AsType[*failure](err); ok {
		v.code = known.code
		if known.hint != "" {
			v.hint = known.hint
		}
		if kind, ok := kindOfCode[known.code]; ok {
			v.kind = kind
		}
	}
	if missing, ok := errors.AsType[*exec.Error](err); ok && v.hint == "" && errors.Is(err, exec.ErrNotFound) {
		v.hint = "install " + missing.Name + " or put it on the PATH"
	}
	return v
}

func codeOfKind(kind api.Kind) int {
	switch kind {
	case api.KindNotFound:
		return exitNotFound
	case api.KindConflict:
		return exitConflict
	case api.KindUnauthenticated, api.KindForbidden:
		return exitNotAllowed
	case api.KindUnreachable, api.KindUnavailable, api.KindUnknownOutcome:
		return exitUnreachable
	}
	return exitError
}

var kindOfCode = map[int]api.Kind{
	exitUsage:    api.KindInvalid,
	exitNotFound: api.KindNotFound,
	exitConflict: api.KindConflict,
}

// report tells an error and returns the exit code.
func (a *app) report(command *cobra.Command, err error) int {
	v := judge(err)
	if known, ok := errors.AsType[*failure](err); ok && known.silent {
		return v.code
	}
	if (v.code == exitUsage || v.kind == api.KindInvalid) && v.hint == "" && command != nil {
		v.hint = command.CommandPath() + " --help"
	}
	message, cause := err.Error(), ""
	if errors.Is(err, context.DeadlineExceeded) {
		message = "no answer in time: " + message
	}
	if a.output == formatJSON || a.output == formatJSONL {
		writeErrorJSON(a.err, message, v)
		return v.code
	}
	label, hintLabel := "error:", "try:"
	if a.colored() {
		label, hintLabel = style(sgrRed+sgrBold, label), style(sgrBold, hintLabel)
	}
	if message, cause = splitCause(message, err); cause != "" {
		causeLabel := "cause:"
		if a.colored() {
			causeLabel = style(sgrBold, causeLabel)
		}
		fmt.Fprintf(a.err, "%s %s\n%s %s\n", label, message, causeLabel, strings.ReplaceAll(cause, "\n", "\n    "))
	} else {
		fmt.Fprintf(a.err, "%s %s\n", label, strings.ReplaceAll(message, "\n", "\n    "))
	}
	if v.hint != "" {
		fmt.Fprintf(a.err, "%s %s\n", hintLabel, strings.ReplaceAll(v.hint, "\n", "\n    "))
	}
	if v.requestID != "" {
		fmt.Fprintf(a.err, "request: %s\n", v.requestID)
	}
	return v.code
}

// splitCause takes what a server answered, or why none did, apart from what was being done.
func splitCause(message string, err error) (doing, cause string) {
	if known, ok := errors.AsType[*api.Error](err); ok {
		if doing, found := strings.CutSuffix(message, ": "+known.Error()); found && !strings.Contains(doing, "\n") {
			return doing, known.Error()
		}
	}
	return message, ""
}

func writeErrorJSON(w io.Writer, message string, v verdict) {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(struct { // stderr is the last resort: nowhere to report that it failed
		Error     string   `json:"error"`
		Kind      api.Kind `json:"kind"`
		Hint      string   `json:"hint,omitempty"`
		RequestID string   `json:"request_id,omitempty"`
		ExitCode  int      `json:"exit_code"`
	}{message, v.kind, v.hint, v.requestID, v.code})
}
