package state

import (
	"bytes"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/kv"
	"github.com/sluice-dev/sluice/fsm/row"
)

// Edits of tokens and audit records.
type (
	TokenEdit = Edit[row.Token, *row.Token]
	AuditEdit = Edit[row.Audit, *row.Audit]
)

// Tokens are all tokens of one moment, those that ended too. Nobody changes them.
type Tokens struct {
	ByHash map[[32]byte]*row.Token
	ByID   map[api.ID]*row.Token
}

func tokenKey(id []byte) []byte { return appendID(prefix(kindRow, tokens.number), id) }

// Token returns the token with that id.
func (v *View) Token(id api.ID) (*row.Token, error) { return tokens.get(v.r, tokenKey(id[:])) }

// TokenByName returns the token with that name that is not revoked.
func (v *View) TokenByName(name string) (*row.Token, error) {
	return tokens.byIndex(v.r, appendText(indexKey(idxTokenName), name))
}

// TokenByHash returns the token whose secret has that hash.
func (v *View) TokenByHash(hash []byte) (*row.Token, error) {
	return tokens.byIndex(v.r, append(indexKey(idxTokenHash), hash...))
}

// EachToken walks all tokens, oldest first, revoked ones too.
func (v *View) EachToken(fn func(*row.Token) (bool, error)) error {
	return tokens.each(v.r, prefix(kindRow, tokens.number), false, fn)
}

// LastAdmin reports whether the token is the only one of an admin that neither ended nor will.
func (v *View) LastAdmin(id []byte) (bool, error) {
	is, others := false, false
	err := v.EachToken(func(t *row.Token) (bool, error) {
		if t.Role == row.TokenRole_ADMIN && t.Revoked == 0 && t.Expires == 0 {
			if bytes.Equal(t.Id, id) {
				is = true
			} else {
				others = true
			}
		}
		return !others, nil
	})
	return is && !others, err
}

// CountTokens returns how many tokens there are, revoked ones too.
func (v *View) CountTokens() (int64, error) { return v.count(counterKey(countTokens)) }

// CountAudits returns how many audit records there are.
func (v *View) CountAudits() (int64, error) { return v.count(counterKey(countAudits)) }

// AuditsBefore walks the audit records before the place, newest first; index 0 is the end.
func (v *View) AuditsBefore(index uint64, ordinal uint32, fn func(*row.Audit) (bool, error)) error {
	lower := prefix(kindRow, audits.number)
	return audits.eachBetween(v.r, lower, auditUpper(lower, index, ordinal), true, fn)
}

// AuditsOfObject is AuditsBefore for the records of one object.
func (v *View) AuditsOfObject(id api.ID, index uint64, ordinal uint32, fn func(*row.Audit) (bool, error)) error {
	lower := appendID(indexKey(idxAuditObject), id[:])
	return audits.eachByIndex(v.r, lower, auditUpper(lower, index, ordinal), true, fn)
}

func auditUpper(lower []byte, index uint64, ordinal uint32) []byte {
	if index == 0 {
		return after(lower)
	}
	return appendUint64(appendUint64(bytes.Clone(lower), index), uint64(ordinal))
}

// eachBetween walks the rows with keys in [lower, upper).
func (t *table[S, R]) eachBetween(r kv.Reader, lower, upper []byte, reverse bool, fn func(row R) (bool, error)) error {
	return walk(r, lower, upper, reverse, func(_, value []byte) (bool, error) {
		row, err := t.decode(value)
		if err != nil {
			return false, err
		}
		return fn(row)
	})
}

// NewToken is a new token, to be saved.
func (tx *Tx) NewToken(r *row.Token) *TokenEdit { return insert(tx, tokens, r) }

// NewAudit is a new audit record, to be saved.
func (tx *Tx) NewAudit(r *row.Audit) *AuditEdit { return insert(tx, audits, r) }

// EditToken loads a token for change; nil when there is none.
func (tx *Tx) EditToken(id []byte) (*TokenEdit, error) { return edit(tx, tokens, tokenKey(id)) }

// CountTokens is View.CountTokens with this transaction's own changes.
func (tx *Tx) CountTokens() (int64, error) { return tx.counted(counterKey(countTokens)) }

// CountAudits is View.CountAudits with this transaction's own changes.
func (tx *Tx) CountAudits() (int64, error) { return tx.counted(counterKey(countAudits)) }

// RemoveAudits removes the oldest audit records that are older than before or beyond the newest keep, limit of them at most.
func (tx *Tx) RemoveAudits(before, keep int64, limit int) (removed int, err error) {
	have, err := tx.CountAudits()
	if err != nil {
		return 0, err
	}
	var keys [][]byte
	err = audits.each(tx.batch, prefix(kindRow, audits.number), false, func(r *row.Audit) (bool, error) {
		if len(keys) >= limit || r.Time >= before && have-int64(len(keys)) <= keep {
			return false, nil
		}
		keys = append(keys, audits.key(prefix(kindRow, audits.number), r))
		return true, nil
	})
	if err != nil {
		return 0, err
	}
	for _, key := range keys {
		e, err := edit(tx, audits, key)
		if err != nil {
			return 0, err
		}
		if err := e.Delete(); err != nil {
			return 0, err
		}
	}
	return len(keys), nil
}

// AccessDue reports whether RemoveAudits would remove something, or a token ended before the given time.
func (v *View) AccessDue(auditBefore, auditKeep, tokensBefore int64) (due bool, err error) {
	count, err := v.CountAudits()
	if err != nil || count > auditKeep {
		return err == nil, err
	}
	err = audits.each(v.r, prefix(kindRow, audits.number), false, func(r *row.Audit) (bool, error) {
		due = r.Time < auditBefore
		return false, nil
	})
	if due || err != nil {
		return due, err
	}
	err = v.EachToken(func(t *row.Token) (bool, error) {
		due = TokenEnded(t, tokensBefore) && !t.Bootstrap
		return !due, nil
	})
	return due, err
}

// TokenEnded reports whether a token was revoked or expired before the given time.
func TokenEnded(t *row.Token, before int64) bool {
	return t.Revoked != 0 && t.Revoked < before || t.Expires != 0 && t.Expires < before
}
