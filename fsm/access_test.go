package fsm

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
)

func tokenCommand(name, secret string, bootstrap bool) *command.Envelope {
	id, hash := api.NewID(), sha256.Sum256([]byte(secret))
	return &command.Envelope{Actor: "tester", Command: &command.Envelope_CreateToken{CreateToken: &command.CreateToken{
		Id: id[:], Name: name, Role: row.TokenRole_ADMIN, Hash: hash[:], Bootstrap: bootstrap}}}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.do(leaderEpoch(1))
	want := func(what string, r *command.Result, code command.Result_Code, created bool) {
		t.Helper()
		if r.Code != code || r.Created != created {
			t.Errorf("%s: %v, want %s, created %t", what, r, code, created)
		}
	}
	first := m.do(tokenCommand("admin", "s1", true))[0]
	want("the first token", first, command.Result_OK, true)
	if again := m.do(tokenCommand("admin", "s1", true))[0]; again.Code != command.Result_OK || again.Created || string(again.Id) != string(first.Id) {
		t.Errorf("the first token again: %v", again)
	}
	want("another first token", m.do(tokenCommand("admin2", "s2", true))[0], command.Result_CONFLICT, false)
	second := m.do(tokenCommand("ci", "s3", false))[0]
	want("a second token", second, command.Result_OK, true)
	want("a taken name", m.do(tokenCommand("ci", "s4", false))[0], command.Result_CONFLICT, false)
	want("a taken secret", m.do(tokenCommand("other", "s3", false))[0], command.Result_CONFLICT, false)
	revoke := func(id []byte) *command.Result {
		return m.do(&command.Envelope{Actor: "tester", Command: &command.Envelope_RevokeToken{RevokeToken: &command.RevokeToken{Id: id}}})[0]
	}
	want("revoke", revoke(second.Id), command.Result_OK, false)
	want("revoke again", revoke(second.Id), command.Result_OK, false)
	want("revoke nothing", revoke(make([]byte, 16)), command.Result_NOT_FOUND, false)
	all, err := m.fsm.Tokens()
	if err != nil {
		t.Fatal(err)
	}
	if got := all.ByHash[sha256.Sum256([]byte("s3"))]; got == nil || got.Revoked == 0 || got.RevokedBy != "tester" || got.CreatedBy != "tester" {
		t.Errorf("the revoked token is %v", got)
	}
	want("the name of a revoked token", m.do(tokenCommand("ci", "s5", false))[0], command.Result_OK, true)
	if all, err = m.fsm.Tokens(); err != nil || len(all.ByID) != 3 || len(all.ByHash) != 3 {
		t.Errorf("the tokens kept in memory are not those of the state: %v %v", all, err)
	}
	r := m.do(&command.Envelope{Command: &command.Envelope_TidyAccess{TidyAccess: &command.TidyAccess{TokensBefore: 1 << 60, Limit: 100}}})[0]
	if all, _ = m.fsm.Tokens(); r.Count != 1 || len(all.ByID) != 2 {
		t.Errorf("tidied %v, left %v; the revoked one should have gone", r, all.ByID)
	}
	revoke(first.Id)
	m.do(&command.Envelope{Command: &command.Envelope_TidyAccess{TidyAccess: &command.TidyAccess{TokensBefore: 1 << 60, Limit: 100}}})
	want("a first token after the first was revoked", m.do(tokenCommand("admin3", "s6", true))[0], command.Result_CONFLICT, false)
	if err := m.view().Verify(); err != nil {
		t.Error(err)
	}
}

func TestACommandOfARevokedTokenIsRefusedWhereverItWasTaken(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.do(leaderEpoch(1))
	m.do(tokenCommand("admin", "s1", true))
	token := m.do(tokenCommand("ci", "s2", false))[0].Id
	flow := func(name string) *command.Envelope {
		id := api.NewID()
		return &command.Envelope{Actor: "ci", Audit: &command.Audit{TokenId: token, Action: "POST /flows"},
			Idempotency: &command.Idempotency{Key: []byte("0123456789abcdef"), Request: []byte("0123456789abcdef")},
			Command:     &command.Envelope_CreateFlow{CreateFlow: &command.CreateFlow{Id: id[:], Name: name}}}
	}
	if r := m.do(flow("before"))[0]; r.Code != command.Result_OK {
		t.Fatal(r)
	}
	revoke := &command.Envelope{Actor: "tester", Command: &command.Envelope_RevokeToken{RevokeToken: &command.RevokeToken{Id: token}}}
	// In the entry of the revocation, too; and what was answered before is not answered again.
	r := m.do(revoke, flow("before"), flow("after"))
	for _, refused := range append(r[1:], m.do(flow("later"))...) {
		if refused.Code != command.Result_REVOKED || refused.Message != "The token 'ci' was revoked." {
			t.Errorf("got %v", refused)
		}
	}
	// A later command of a request leaves no record, but names its token.
	second := flow("second")
	second.Audit, second.Idempotency, second.TokenId = nil, nil, token
	if r := m.do(second)[0]; r.Code != command.Result_REVOKED {
		t.Errorf("a later command of the request: %v", r)
	}
	done := &command.Envelope{Actor: "ci", Audit: &command.Audit{TokenId: token, Action: "POST /cluster/leave", Outcome: "ok"}, Command: &command.Envelope_RecordAudit{RecordAudit: &command.RecordAudit{}}}
	if r := m.do(done)[0]; r.Code != command.Result_OK {
		t.Errorf("the record of what was done: %v", r)
	}
	var outcomes []string
	v := m.view()
	if err := v.AuditsBefore(0, 0, func(r *row.Audit) (bool, error) { outcomes = append(outcomes, r.Outcome); return true, nil }); err != nil {
		t.Fatal(err)
	}
	if n, err := v.FlowByName("after"); n != nil || err != nil || !slices.Equal(outcomes, []string{"ok", "revoked", "revoked", "revoked", "ok"}) {
		t.Errorf("a flow %v, %v; outcomes %v", n, err, outcomes)
	}
}

func TestEveryCommandThatSaysSoLeavesOneAuditRecord(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.do(leaderEpoch(1))
	flow := func(i int, audit *command.Audit) *command.Result {
		id := api.NewID()
		return m.do(&command.Envelope{Actor: "tester", Audit: audit, Command: &command.Envelope_CreateFlow{CreateFlow: &command.CreateFlow{Id: id[:], Name: fmt.Sprint("f", i)}}})[0]
	}
	flow(0, nil)
	var ids [][]byte
	for i := range 10 {
		ids = append(ids, flow(i+1, &command.Audit{Action: "POST /flows", RequestId: fmt.Sprint(i), Role: "admin", Address: "127.0.0.1"}).Id)
	}
	gone := api.NewID()
	m.do(&command.Envelope{Actor: "tester", Audit: &command.Audit{Action: "DELETE /flows/{id}", Object: gone.String()}, Command: &command.Envelope_DeleteFlow{DeleteFlow: &command.Delete{Id: gone[:]}}})
	m.do(&command.Envelope{Actor: "tester", Audit: &command.Audit{Action: "POST /cluster/leave", Outcome: "asked"}, Command: &command.Envelope_RecordAudit{RecordAudit: &command.RecordAudit{}}})
	read := func() (all []string) {
		t.Helper()
		v := m.view()
		err := v.AuditsBefore(0, 0, func(r *row.Audit) (bool, error) {
			all = append(all, r.Actor+" "+r.Action+" "+r.Outcome+" "+r.RequestId)
			return true, nil
		})
		if err == nil {
			err = v.Verify()
		}
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	all := read()
	if len(all) != 12 || all[0] != "tester POST /cluster/leave asked " || all[1] != "tester DELETE /flows/{id} not_found " || all[2] != "tester POST /flows ok 9" {
		t.Errorf("the records are %q", all)
	}
	var of []uint64
	if err := m.view().AuditsOfObject(api.ID(ids[3]), 0, 0, func(r *row.Audit) (bool, error) { of = append(of, r.Index); return true, nil }); err != nil || len(of) != 1 {
		t.Errorf("records of one flow: %v %v", of, err)
	}
	tidy := func(c *command.TidyAccess) int32 {
		return m.do(&command.Envelope{Command: &command.Envelope_TidyAccess{TidyAccess: c}})[0].Count
	}
	if n := tidy(&command.TidyAccess{AuditKeep: 5, Limit: 3}); n != 3 {
		t.Errorf("removed %d, want a chunk of 3", n)
	}
	if n := tidy(&command.TidyAccess{AuditKeep: 5, Limit: 100}); n != 4 {
		t.Errorf("removed %d, want the 4 beyond 5", n)
	}
	if left := read(); !slices.Equal(left, all[:5]) {
		t.Errorf("left are %q, want the newest 5", left)
	}
	if n := tidy(&command.TidyAccess{AuditBefore: 1 << 60, AuditKeep: 100, Limit: 100}); n != 5 || len(read()) != 0 {
		t.Errorf("removed %d by age, want all 5", n)
	}
}

// Two nodes that both saw another admin left ask at the same time.
func TestOfTheLastAdminsOneIsLeftHoweverManyAreRevokedAtOnce(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.do(leaderEpoch(1))
	first, second := m.do(tokenCommand("admin", "s1", true))[0].Id, m.do(tokenCommand("other", "s2", false))[0].Id
	ending := tokenCommand("ending", "s3", false)
	ending.GetCreateToken().Expires = 1 << 60
	m.do(ending)
	revoke := func(id []byte, keep bool) *command.Envelope {
		return &command.Envelope{Actor: "ending", Command: &command.Envelope_RevokeToken{RevokeToken: &command.RevokeToken{Id: id, KeepAdmin: keep}}}
	}
	r := append(m.do(revoke(first, true), revoke(second, true)), m.do(revoke(second, true))...)
	for i, want := range []command.Result_Code{command.Result_OK, command.Result_CONFLICT, command.Result_CONFLICT} {
		if r[i].Code != want {
			t.Errorf("answer %d is %v, want %s", i, r[i], want)
		}
	}
	all, err := m.fsm.Tokens()
	if err != nil || all.ByID[api.ID(first)].Revoked == 0 || all.ByID[api.ID(second)].Revoked != 0 {
		t.Errorf("the tokens are %v (%v)", all, err)
	}
	if r := m.do(revoke(second, false))[0]; r.Code != command.Result_OK {
		t.Errorf("without tokens being asked for: %v", r)
	}
}
