package fsm

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
)

// maxTokens bounds what every node keeps in memory of tokens.
const maxTokens = 10_000

func (a *applier) createToken(c *command.CreateToken) (*command.Result, error) {
	known, err := a.tx.TokenByHash(c.Hash)
	if err != nil {
		return nil, err
	}
	count, err := a.tx.CountTokens()
	if err != nil {
		return nil, err
	}
	switch {
	case c.Bootstrap && known != nil && known.Bootstrap:
		return ok(known.Id), nil
	case c.Bootstrap && count > 0:
		return conflict("the cluster has had its first token"), nil
	case known != nil:
		return conflict("this token is known already"), nil
	case count >= maxTokens:
		return failed(command.Result_NO_SPACE, fmt.Sprintf("there are %d tokens, revoked ones included, which is the most there can be", count)), nil
	}
	t := &row.Token{Id: c.Id, Created: a.now, CreatedBy: a.env.Actor, Name: c.Name, Role: c.Role, Hash: c.Hash, PublicKey: c.PublicKey,
		Expires: c.Expires, Note: c.Note, Bootstrap: c.Bootstrap}
	a.access = true
	return saved(a.tx.NewToken(t).Save(), created(c.Id), "choose another name, or revoke that token first")
}

func (a *applier) revokeToken(c *command.RevokeToken) (*command.Result, error) {
	id := c.Id
	e, err := a.tx.EditToken(id)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return notFound("Token"), nil
	}
	if e.Row.Revoked != 0 {
		return ok(id), nil
	}
	if c.KeepAdmin {
		last, err := a.tx.LastAdmin(id)
		if err != nil {
			return nil, err
		}
		if last {
			return conflict("this is the last token with the role admin that does not end by itself"), nil
		}
	}
	e.Row.Revoked, e.Row.RevokedBy = a.now, a.env.Actor
	a.access = true
	return ok(id), e.Save()
}

// refuseRevoked refuses what was asked for with a token that is revoked by now: the node that took the request may not have known yet.
// What was done already is recorded nevertheless.
func (a *applier) refuseRevoked() (*command.Result, error) {
	id := a.env.TokenId
	if len(id) == 0 {
		id = a.env.Audit.GetTokenId()
	}
	if _, record := a.env.Command.(*command.Envelope_RecordAudit); record || len(id) != 16 {
		return nil, nil
	}
	t, err := a.tx.Token(id16(id))
	if err != nil || t == nil || t.Revoked == 0 {
		return nil, err
	}
	return failed(command.Result_REVOKED, "The token '"+t.Name+"' was revoked."), nil
}

// useTokens notes uses. Times only grow: nodes tell them independently.
func (a *applier) useTokens(c *command.UseTokens) (*command.Result, error) {
	result := &command.Result{}
	for _, use := range c.Uses {
		e, err := a.tx.EditToken(use.Id)
		if err != nil {
			return nil, err
		}
		if e == nil || e.Row.LastUsed >= use.Time {
			continue
		}
		e.Row.LastUsed = use.Time
		a.access = true
		if err := e.Save(); err != nil {
			return nil, err
		}
		result.Count++
	}
	return result, nil
}

func (a *applier) tidyAccess(c *command.TidyAccess) (*command.Result, error) {
	removed, err := a.tx.RemoveAudits(c.AuditBefore, c.AuditKeep, int(c.Limit))
	if err != nil {
		return nil, err
	}
	var ended [][]byte
	err = a.tx.EachToken(func(t *row.Token) (bool, error) {
		if state.TokenEnded(t, c.TokensBefore) && !t.Bootstrap {
			ended = append(ended, t.Id)
		}
		return removed+len(ended) < int(c.Limit), nil
	})
	if err != nil {
		return nil, err
	}
	for _, id := range ended {
		e, err := a.tx.EditToken(id)
		if err != nil {
			return nil, err
		}
		a.access = true
		if err := e.Delete(); err != nil {
			return nil, err
		}
	}
	return &command.Result{Count: int32(removed + len(ended))}, nil
}

// audit leaves the record of the current command, whatever came of it, in the command's own batch: there is no write without its
// record and no record without its write.
func (a *applier) audit(result *command.Result) error {
	t := a.env.Audit
	if t == nil {
		return nil
	}
	r := &row.Audit{Index: a.index, Ordinal: a.nextPlace(), Time: a.now, Actor: a.env.Actor, TokenId: t.TokenId, Role: t.Role, Action: t.Action,
		Object: t.Object, Outcome: t.Outcome, RequestId: t.RequestId, Address: t.Address}
	if len(result.Id) == 16 && !bytes.Equal(result.Id, make([]byte, 16)) {
		r.ObjectId = result.Id
	}
	if r.Outcome == "" {
		r.Outcome = auditOutcome(result)
	}
	return a.tx.NewAudit(r).Save()
}

// auditOutcome says in a word how a command ended: ok, not_found, or for a proposed state accept, reject, wait, abort.
func auditOutcome(r *command.Result) string {
	if r.Code == command.Result_OK && r.State != nil {
		return strings.ToLower(r.State.Status.String())
	}
	return strings.ToLower(r.Code.String())
}
