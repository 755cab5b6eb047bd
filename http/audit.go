package httpapi

import (
	"context"
	"regexp"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
	"github.com/sluice-dev/sluice/http/internal/body"
)

// recordPatience bounds the wait for a record of what is no command: it was done already.
const recordPatience = 5 * time.Second

// auditEntry is what the record of this request says, nil when it leaves none: what agents, the processes of runs and, without
// authentication, anybody reports of runs is in the states, which name the actor, and would bury all else.
func (x *exchange) auditEntry() *command.Audit {
	if x.route.reporting && (x.route.leased && x.lease != "" || x.who.role <= RoleAgent || x.server.tokens == nil) {
		return nil
	}
	a := &command.Audit{Role: x.who.role.String(), Action: x.route.method + " " + x.route.path, RequestId: x.id, Address: x.address(), Object: x.objectOfPath()}
	if x.who.token != nil {
		a.TokenId = x.who.token.Id
	}
	return a
}

var pathVariable = regexp.MustCompile(`\{(\w+)\}`)

// objectOfPath is what the path names, in the order of the route.
func (x *exchange) objectOfPath() string {
	vars := mux.Vars(x.r)
	var parts []string
	for _, m := range pathVariable.FindAllStringSubmatch(x.route.path, -1) {
		parts = append(parts, vars[m[1]])
	}
	return strings.Join(parts, "/")
}

// record leaves the record of a write that is no command.
func (x *exchange) record(outcome string) {
	entry := x.auditEntry()
	entry.Outcome = outcome
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.r.Context()), recordPatience)
	defer cancel()
	e := &command.Envelope{Actor: x.who.name, Seed: newID(), Audit: entry, Command: &command.Envelope_RecordAudit{RecordAudit: &command.RecordAudit{}}}
	if _, _, err := x.server.proposer.Propose(ctx, e); err != nil {
		x.server.metrics.unrecorded.Inc()
		x.server.logger.Error("an audit record could not be stored", "request_id", x.id, "actor", x.who.name, "action", entry.Action, "object", entry.Object,
			"outcome", outcome, "address", entry.Address, "error", err)
	}
}

// outcomeOf says in a word how a request ended.
func outcomeOf(err error) string {
	if err == nil {
		return "ok"
	}
	return string(failureOf(err).kind)
}

type auditFilter struct {
	actor, action, outcome, before string
	objectID                       []byte
	since, until                   int64
	limit                          int64
}

const (
	auditPage = 200
	auditMost = 1000
	// auditScan bounds how many records one page looks at; a page may then have fewer records than asked for, but a next one.
	auditScan = 100_000
)

var auditSpec = body.Parameters(
	body.Optional("actor", body.Text, func(v *auditFilter) *string { return &v.actor }),
	body.Optional("action", body.Text, func(v *auditFilter) *string { return &v.action }),
	body.Optional("outcome", body.Text, func(v *auditFilter) *string { return &v.outcome }),
	body.Nullable("object_id", body.UUIDBytes, func(v *auditFilter) *[]byte { return &v.objectID }),
	body.Nullable("since", body.Time, func(v *auditFilter) *int64 { return &v.since }),
	body.Nullable("until", body.Time, func(v *auditFilter) *int64 { return &v.until }),
	body.Optional("limit", body.IntBetween(1, auditMost), func(v *auditFilter) *int64 { return &v.limit }),
	body.Nullable("before", body.Text, func(v *auditFilter) *string { return &v.before }),
).Defaults(func(v *auditFilter) { v.limit = auditPage })

// filterAudit lists audit records, newest first, a page at a time.
func filterAudit(_ *Server, x *exchange) error {
	var in auditFilter
	if err := decode(x, auditSpec, &in); err != nil {
		return err
	}
	var from Token
	if in.before != "" {
		if from = ParseToken(in.before); from == (Token{}) {
			return invalid("before is not the id of an audit record.", "Send the next of the page before, unchanged.")
		}
	}
	view, err := x.view()
	if err != nil {
		return err
	}
	defer view.Close()
	page := api.AuditPage{Records: []api.AuditRecord{}}
	looked := 0
	visit := func(r *row.Audit) (bool, error) {
		if in.since != 0 && r.Time < in.since { // times never go back
			return false, x.ctx.Err()
		}
		if int64(len(page.Records)) == in.limit || looked == auditScan {
			next := from.String()
			page.Next = &next
			return false, x.ctx.Err()
		}
		looked++
		from = Token{r.Index, r.Ordinal}
		if in.matches(r) {
			page.Records = append(page.Records, auditObject(r))
		}
		return true, x.ctx.Err()
	}
	if err := walkAudit(view, in.objectID, from, visit); err != nil {
		return err
	}
	if x.out, err = appendJSON(x.out, page); err != nil {
		return err
	}
	return x.send(200)
}

func walkAudit(view *state.View, objectID []byte, from Token, visit func(*row.Audit) (bool, error)) error {
	if len(objectID) != 0 {
		return view.AuditsOfObject(idOf(objectID), from.Index, from.Ordinal, visit)
	}
	return view.AuditsBefore(from.Index, from.Ordinal, visit)
}

func (f *auditFilter) matches(r *row.Audit) bool {
	return (f.actor == "" || r.Actor == f.actor) && (f.action == "" || strings.Contains(r.Action, f.action)) && (f.outcome == "" || r.Outcome == f.outcome) &&
		(f.until == 0 || r.Time < f.until)
}

func auditObject(r *row.Audit) api.AuditRecord {
	return api.AuditRecord{
		ID: Token{r.Index, r.Ordinal}.String(), Time: timeOf(r.Time), Actor: r.Actor, TokenID: idRef(r.TokenId), Role: r.Role, Action: r.Action,
		ObjectID: idRef(r.ObjectId), Object: r.Object, Outcome: r.Outcome, RequestID: r.RequestId, Address: r.Address,
	}
}
