package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
)

// withTokens switches authentication on.
func withTokens(c *Config) { c.Tokens = c.Reader.(testReader).fsm }

// token makes a token in the state and returns its secret.
func (s *stack) token(name string, role row.TokenRole, change ...func(*command.CreateToken)) string {
	s.t.Helper()
	secret := api.NewToken()
	hash := api.TokenHash(secret)
	c := &command.CreateToken{Id: newID(), Name: name, Role: role, Hash: hash[:], PublicKey: api.TokenPublicKey(secret)}
	for _, f := range change {
		f(c)
	}
	s.order(&command.Envelope{Actor: "test", Seed: newID(), Command: &command.Envelope_CreateToken{CreateToken: c}})
	return secret
}

// order proposes a command that must succeed.
func (s *stack) order(e *command.Envelope) *command.Result {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	results, index, err := s.server.proposer.Propose(ctx, e)
	if err != nil || results[0].Code != command.Result_OK {
		s.t.Fatalf("%T: %v %v", e.Command, results, err)
	}
	view, _, err := s.server.reader.View(ctx, Stale, index)
	if err != nil {
		s.t.Fatal(err)
	}
	_ = view.Close()
	return results[0]
}

func bearer(secret string) []string { return []string{"Authorization", "Bearer " + secret} }

// undescribed serves without comparing with the description of the API, for what is refused before a route is looked at.
func (s *stack) undescribed() {
	s.http.Close()
	s.http = httptest.NewServer(s.server)
}

// metric returns the value of a sample, "" when there is none.
func (s *stack) metric(t *testing.T, sample string) string {
	t.Helper()
	for line := range strings.SplitSeq(s.do("GET", "/metrics", nil).text, "\n") {
		if value, found := strings.CutPrefix(line, sample+" "); found {
			return value
		}
	}
	return ""
}

// aRun makes a flow run that runs, and returns its id.
func (s *stack) aRun(headers ...string) string {
	s.t.Helper()
	flow := s.must(201, "POST", "/api/flows/", object{"name": "f" + api.NewID().String()}, headers...)["id"]
	return s.must(201, "POST", "/api/flow_runs/", object{"flow_id": flow, "state": object{"type": "RUNNING"}}, headers...)["id"].(string)
}

func anID(t testing.TB, text string) api.ID {
	t.Helper()
	id, err := api.ParseID(text)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestAStreamEndsWithItsToken(t *testing.T) {
	t.Parallel()
	s := newStack(t, oneNode, withTokens)
	s.token("admin", row.TokenRole_ADMIN)
	admin := s.token("another", row.TokenRole_ADMIN)
	viewer := s.token("viewer", row.TokenRole_VIEWER)
	before := s.listen(t, "/api/events?topic=flow_run,deployment", bearer(viewer)...)
	s.aRun(bearer(admin)...)
	if e := before.next(); e.kind != "flow_run" {
		t.Fatalf("got %v", e)
	}
	known, err := s.server.tokens.Tokens()
	if err != nil {
		t.Fatal(err)
	}
	s.must(204, "DELETE", "/api/tokens/"+idOf(known.ByHash[api.TokenHash(viewer)].Id).String(), nil, bearer(admin)...)
	flow := s.must(201, "POST", "/api/flows/", object{"name": "f"}, bearer(admin)...)["id"]
	s.must(201, "POST", "/api/deployments/", object{"name": "d", "flow_id": flow, "flow_data": object{"encoding": "text", "blob": "x"}}, bearer(admin)...)
	for { // what was before the revocation may come
		e, more := before.nextOrEnd()
		if !more {
			break
		}
		if e.kind == "deployment" {
			t.Errorf("it was told %v", e)
		}
	}
}

// revokingClaims plays an administrator who revokes the agent's token while its claim waits.
type revokingClaims struct {
	Claims
	revoke func()
}

func (c *revokingClaims) Claim(ctx context.Context, d Demand) (Granted, error) {
	c.revoke()
	return c.Claims.Claim(ctx, d)
}

func TestAClaimThatWaitedEndsWithItsToken(t *testing.T) {
	t.Parallel()
	claims := &revokingClaims{}
	s := newStack(t, oneNode, withTokens, func(c *Config) {
		claims.Claims = c.Claims
		c.Claims = claims
	})
	admin, secret := bearer(s.token("admin", row.TokenRole_ADMIN)), s.token("agent", row.TokenRole_AGENT)
	agent := bearer(secret)
	queue := s.must(201, "POST", "/api/work_queues/", object{"name": "q"}, admin...)["id"]
	flow := s.must(201, "POST", "/api/flows/", object{"name": "f"}, admin...)["id"]
	deployment := s.must(201, "POST", "/api/deployments/", object{"name": "d", "flow_id": flow, "flow_data": object{"encoding": "text", "blob": "x"}}, admin...)["id"].(string)
	run := s.must(201, "POST", "/api/deployments/"+deployment+"/create_flow_run", object{"state": object{"type": "SCHEDULED"}}, admin...)["id"].(string)
	s.must(201, "POST", "/api/agents/", object{"id": agentID, "name": "a"}, agent...)
	claims.revoke = func() {
		known, err := s.server.tokens.Tokens()
		if err != nil {
			t.Error(err)
			return
		}
		s.order(&command.Envelope{Seed: newID(), Command: &command.Envelope_RevokeToken{RevokeToken: &command.RevokeToken{Id: known.ByHash[api.TokenHash(secret)].Id}}})
	}
	ask := object{"work_queue_ids": []any{queue}, "limit": 1, "wait_seconds": 30, "claim_id": nobody}
	if a := s.do("POST", "/api/agents/"+agentID+"/claim", ask, agent...); a.status != 401 || !strings.Contains(a.text, "revoked") || strings.Contains(a.text, run) {
		t.Errorf("a claim whose token was revoked while it waited: %d %s", a.status, a.text)
	}
	// The run is under a lease that ends, and the same claim with a good token finds it.
	claims.revoke = func() {}
	if a := s.do("POST", "/api/agents/"+agentID+"/claim", ask, admin...); a.status != 200 || !strings.Contains(a.text, run) {
		t.Errorf("the claim with a good token: %d %s", a.status, a.text)
	}
}

// revokingWrites plays an administrator who revokes a token when the first part of a blob was ordered.
type revokingWrites struct {
	Proposer
	pieces int
	revoke func()
}

func (w *revokingWrites) ProposeBulk(ctx context.Context, commands ...*command.Envelope) ([]*command.Result, uint64, error) {
	results, index, err := w.Proposer.ProposeBulk(ctx, commands...)
	if _, piece := commands[0].Command.(*command.Envelope_PutBlobChunk); piece {
		if w.pieces++; w.pieces == 1 {
			w.revoke()
		}
	}
	return results, index, err
}

func TestLaterCommandsOfARequestEndWithItsToken(t *testing.T) {
	t.Parallel()
	writes := &revokingWrites{}
	s := newStack(t, oneNode, withTokens, func(c *Config) {
		writes.Proposer = c.Proposer
		c.Proposer = writes
	})
	admin, secret := bearer(s.token("admin", row.TokenRole_ADMIN)), s.token("deployer", row.TokenRole_DEPLOYER)
	writes.revoke = func() {
		known, err := s.server.tokens.Tokens()
		if err != nil {
			t.Error(err)
			return
		}
		s.order(&command.Envelope{Seed: newID(), Command: &command.Envelope_RevokeToken{RevokeToken: &command.RevokeToken{Id: known.ByHash[api.TokenHash(secret)].Id}}})
	}
	const pieces = 3
	text := `"` + strings.Repeat("x", pieces*blobChunkBytes) + `"`
	if a := s.do("POST", "/api/kv/large", text, bearer(secret)...); a.status != 401 || !strings.Contains(a.text, "revoked") {
		t.Errorf("a blob whose token was revoked after its first piece: %d %.200s", a.status, a.text)
	}
	if writes.pieces != 2 {
		t.Errorf("%d pieces were ordered, want the one before the revocation and the one that was refused", writes.pieces)
	}
	if a := s.do("GET", "/api/kv/large", nil, admin...); a.status != 404 {
		t.Errorf("the blob is there: %d", a.status)
	}
}

// TestEveryRouteAsksForItsRole walks the table with every kind of credentials.
func TestEveryRouteAsksForItsRole(t *testing.T) { everywhere(t, checkRoles) }

func checkRoles(t *testing.T, at place) {
	s := newStack(t, at, withTokens)
	s.undescribed()
	admin := s.token("admin", row.TokenRole_ADMIN)
	agent := s.token("agent", row.TokenRole_AGENT)
	run := s.aRun(bearer(admin)...)
	revoked := s.token("revoked", row.TokenRole_ADMIN)
	known, err := s.server.tokens.Tokens()
	if err != nil {
		t.Fatal(err)
	}
	s.order(&command.Envelope{Seed: newID(), Command: &command.Envelope_RevokeToken{RevokeToken: &command.RevokeToken{Id: known.ByHash[api.TokenHash(revoked)].Id}}})
	good := map[string]Role{
		s.token("viewer", row.TokenRole_VIEWER): RoleViewer, agent: RoleAgent, s.token("operator", row.TokenRole_OPERATOR): RoleOperator,
		s.token("deployer", row.TokenRole_DEPLOYER): RoleDeployer, admin: RoleAdmin, api.FlowRunKey(agent, anID(t, run), "1-1"): RoleFlowRun,
	}
	signed := strings.Split(api.FlowRunKey(agent, anID(t, run), "1-1"), ":")
	bad := map[string][]string{
		"nothing":                     nil,
		"an empty header":             {"Authorization", ""},
		"another scheme":              {"Authorization", "Basic " + admin},
		"a bare token":                {"Authorization", admin},
		"an unknown token":            bearer(api.NewToken()),
		"a word":                      bearer("secret"),
		"a cut token":                 bearer(admin[:len(admin)-1]),
		"a token with another letter": bearer(admin[:len(admin)-2] + "zz"),
		"an expired token":            bearer(s.token("expired", row.TokenRole_ADMIN, func(c *command.CreateToken) { c.Expires = time.Now().Add(-time.Second).UnixMicro() })),
		"a revoked token":             bearer(revoked),
		"a lease that is not signed":  bearer("lease:1-1"),
		"a key of another run":        bearer(strings.Join([]string{signed[0], signed[1], api.NewID().String(), signed[3], signed[4]}, ":")),
		"a key of another lease":      bearer(strings.Join([]string{signed[0], "2-2", signed[2], signed[3], signed[4]}, ":")),
		"a key of no run":             bearer(api.FlowRunKey(agent, api.NewID(), "1-1")),
		"a key of a viewer":           bearer(api.FlowRunKey(s.token("viewer2", row.TokenRole_VIEWER), anID(t, run), "1-1")),
		"a key of a revoked token":    bearer(api.FlowRunKey(revoked, anID(t, run), "1-1")),
		"a huge token":                bearer(strings.Repeat("a", 20_000)),
	}
	// What lies behind the guard is not this test's matter.
	for _, rt := range s.server.table {
		if rt.role != RolePublic {
			rt.handler, rt.scope, rt.recorded, rt.recordFirst = func(_ *Server, x *exchange) error { return x.empty() }, nil, false, false
		}
	}
	id := api.NewID().String()
	for _, rt := range s.server.table {
		path := pathVariable.ReplaceAllString(rt.path, id)
		if !rt.root {
			path = "/api" + path
		}
		ask := func(headers ...string) answer { return s.do(rt.method, path, nil, headers...) }
		for what, headers := range bad {
			for _, strict := range [][]string{nil, strictly} {
				a := ask(append(slices.Clone(headers), strict...)...)
				if rt.role == RolePublic {
					if a.status == 401 || a.status == 403 {
						t.Errorf("%s %s with %s: %d, and it is public", rt.method, rt.path, what, a.status)
					}
					continue
				}
				if a.status != 401 || a.header.Get("WWW-Authenticate") == "" || a.object(t)["detail"] == "" {
					t.Errorf("%s %s with %s: %d %s", rt.method, rt.path, what, a.status, a.text)
				}
			}
		}
		for secret, role := range good {
			a := ask(bearer(secret)...)
			switch {
			case rt.role == RolePublic:
				if a.status == 401 || a.status == 403 {
					t.Errorf("%s %s as %s: %d, and it is public", rt.method, rt.path, role, a.status)
				}
			case role >= rt.role && a.status != 204:
				t.Errorf("%s %s as %s: %d %s", rt.method, rt.path, role, a.status, a.text)
			case role < rt.role && (a.status != 403 || !strings.Contains(a.object(t)["detail"].(string), "needs the role "+rt.role.String())):
				t.Errorf("%s %s as %s: %d %s", rt.method, rt.path, role, a.status, a.text)
			}
		}
	}
	for _, reason := range []string{refusedMissing, refusedMalformed, refusedUnknown, refusedExpired, refusedRevoked, refusedEnded, refusedRole} {
		if s.metric(t, fmt.Sprintf("sluice_http_refused_total{reason=%q}", reason)) == "" {
			t.Errorf("no metric counts what was refused as %s", reason)
		}
	}
}

func TestTokensOfTheAPI(t *testing.T) { everywhere(t, checkTokens) }

func checkTokens(t *testing.T, at place) {
	s := newStack(t, at, withTokens)
	admin := bearer(s.token("root", row.TokenRole_ADMIN))
	made := s.must(201, "POST", "/api/tokens", object{"name": "ci", "role": "deployer", "note": "the build server", "expires": time.Now().Add(time.Hour).Format(time.RFC3339Nano)}, admin...)
	secret := made["token"].(string)
	if api.CheckToken(secret) != nil || made["created_by"] != "root" || made["status"] != "active" || made["last_used"] != nil {
		t.Errorf("made %v", made)
	}
	ci := bearer(secret)
	if who := s.must(200, "GET", "/api/whoami", nil, ci...); who["name"] != "ci" || who["role"] != "deployer" || who["token_id"] != made["id"] || who["expires"] != made["expires"] || who["authentication"] != true {
		t.Errorf("who am I: %v", who)
	}
	for what, body := range map[string]object{
		"a taken name": {"name": "ci", "role": "viewer"}, "no name": {"name": "", "role": "viewer"}, "a reserved name": {"name": "local", "role": "viewer"},
		"spaces": {"name": "a b", "role": "viewer"}, "an unknown role": {"name": "x", "role": "root"}, "the role of flow runs": {"name": "x", "role": "flow-run"},
		"no role": {"name": "x"}, "an expiry that is over": {"name": "x", "role": "viewer", "expires": "2001-01-01T00:00:00Z"}, "an unknown field": {"name": "x", "role": "viewer", "x": 1},
	} {
		if a := s.do("POST", "/api/tokens", body, admin...); a.status != 422 && a.status != 409 {
			t.Errorf("%s: %d %s", what, a.status, a.text)
		}
	}
	if a := s.do("GET", "/api/tokens/"+made["id"].(string), nil, admin...); a.status != 200 || strings.Contains(a.text, secret) || strings.Contains(a.text, "hash") {
		t.Errorf("a token: %d %s", a.status, a.text)
	}
	if a := s.do("POST", "/api/tokens/filter", object{}, admin...); a.status != 200 || strings.Contains(a.text, "sluice_") || len(a.json(t).([]any)) != 2 {
		t.Errorf("tokens: %d %s", a.status, a.text)
	}
	s.must(204, "DELETE", "/api/tokens/"+made["id"].(string), nil, admin...)
	if a := s.do("GET", "/api/whoami", nil, ci...); a.status != 401 || !strings.Contains(a.text, "revoked") {
		t.Errorf("a revoked token: %d %s", a.status, a.text)
	}
	if a := s.do("POST", "/api/tokens/filter", object{"all": true}, admin...); !strings.Contains(a.text, `"revoked_by":"root"`) {
		t.Errorf("all tokens: %s", a.text)
	}
	s.must(404, "DELETE", "/api/tokens/"+api.NewID().String(), nil, admin...)
	root := s.must(200, "GET", "/api/whoami", nil, admin...)["token_id"].(string)
	if a := s.do("DELETE", "/api/tokens/"+root, nil, admin...); a.status != 409 || !strings.Contains(a.text, "last token") {
		t.Errorf("revoking the last admin: %d %s", a.status, a.text)
	}
	uses := s.server.TakeUses()
	if uses[anID(t, root)] == 0 || len(s.server.TakeUses()) != 0 {
		t.Errorf("uses: %v", uses)
	}
}

// TestTheLastAdminsAreRevokedAtOnce by one whose own token will end.
func TestTheLastAdminsAreRevokedAtOnce(t *testing.T) { everywhere(t, checkLastAdmins) }

func checkLastAdmins(t *testing.T, at place) {
	s := newStack(t, at, withTokens)
	root := bearer(s.token("root", row.TokenRole_ADMIN))
	last := s.must(200, "GET", "/api/whoami", nil, root...)["token_id"].(string)
	ending := bearer(s.must(201, "POST", "/api/tokens", object{"name": "ending", "role": "admin", "expires": "2200-01-01T00:00:00Z"}, root...)["token"].(string))
	for round := range 10 {
		other := s.must(201, "POST", "/api/tokens", object{"name": fmt.Sprint("other", round), "role": "admin"}, ending...)["id"].(string)
		both, answers := []string{last, other}, make([]answer, 2)
		var callers sync.WaitGroup
		for i, id := range both {
			callers.Go(func() { answers[i] = s.do("DELETE", "/api/tokens/"+id, nil, ending...) })
		}
		callers.Wait()
		kept := slices.IndexFunc(answers, func(a answer) bool { return a.status == 409 && strings.Contains(a.text, "last token") })
		if kept < 0 || answers[1-kept].status != 204 {
			t.Fatalf("round %d: answered %d %s and %d %s, want one 204 and one 409", round, answers[0].status, answers[0].text, answers[1].status, answers[1].text)
		}
		last = both[kept]
	}
}

// TestTheProcessOfAFlowRun may do what a flow needs, about its own run only.
func TestTheProcessOfAFlowRun(t *testing.T) { everywhere(t, checkFlowRunKeys) }

func checkFlowRunKeys(t *testing.T, at place) {
	s := newStack(t, at, withTokens)
	admin, secret := bearer(s.token("root", row.TokenRole_ADMIN)), s.token("agent", row.TokenRole_AGENT)
	own, other := s.aRun(admin...), s.aRun(admin...)
	key := bearer(api.FlowRunKey(secret, anID(t, own), ""))
	flow := s.must(200, "GET", "/api/flow_runs/"+own, nil, key...)["flow_id"]
	task := func(run string) object { return object{"flow_run_id": run, "task_key": "k", "dynamic_key": "0"} }
	line := func(run string) object {
		return object{"name": "n", "level": 20, "message": "m", "timestamp": "2026-01-01T00:00:00Z", "flow_run_id": run}
	}
	running := object{"state": object{"type": "RUNNING"}}
	mine := s.must(201, "POST", "/api/task_runs/", task(own), key...)["id"].(string)
	others := s.must(201, "POST", "/api/task_runs/", task(other), admin...)["id"].(string)
	sub := s.must(201, "POST", "/api/flow_runs/", object{"flow_id": flow, "parent_task_run_id": mine, "state": object{"type": "PENDING"}}, key...)["id"].(string)
	deeper := s.must(201, "POST", "/api/task_runs/", task(sub), key...)["id"].(string)
	deployment := s.must(201, "POST", "/api/deployments/", object{"name": "d", "flow_id": flow, "flow_data": object{"encoding": "e", "blob": "b"}}, admin...)["id"].(string)
	s.must(201, "POST", "/api/kv/code", `"print(1)"`, admin...)
	for _, c := range []struct {
		what, method, path string
		body               any
		good               bool
	}{
		{"its own state", "POST", "/api/flow_runs/" + own + "/set_state", running, true},
		{"another run's state", "POST", "/api/flow_runs/" + other + "/set_state", running, false},
		{"its subflow run's state", "POST", "/api/flow_runs/" + sub + "/set_state", running, true},
		{"a run that is none", "POST", "/api/flow_runs/" + api.NewID().String() + "/set_state", running, false},
		{"its own task run's state", "POST", "/api/task_runs/" + mine + "/set_state", running, true},
		{"its subflow's task run's state", "POST", "/api/task_runs/" + deeper + "/set_state", running, true},
		{"another's task run's state", "POST", "/api/task_runs/" + others + "/set_state", running, false},
		{"its own version", "PATCH", "/api/flow_runs/" + own, object{"flow_version": "2"}, true},
		{"another run's version", "PATCH", "/api/flow_runs/" + other, object{"flow_version": "2"}, false},
		{"a task run of another run", "POST", "/api/task_runs/", task(other), false},
		{"the same, spelled otherwise", "POST", "/api/task_runs/", task("uuid:" + strings.ReplaceAll(other, "-", "")), false},
		{"the same in a brace", "POST", "/api/task_runs/", task("{" + other), false},
		{"its own logs", "POST", "/api/logs/", []object{line(own), line(sub)}, true},
		{"another's logs among its own", "POST", "/api/logs/", []object{line(own), line(other)}, false},
		{"another's logs, spelled otherwise", "POST", "/api/logs/", []object{line("urn:" + other)}, false},
		{"a flow run below another's task run, spelled otherwise", "POST", "/api/flow_runs/", object{"flow_id": flow, "parent_task_run_id": "uuid:" + others}, false},
		{"a flow run below nothing", "POST", "/api/flow_runs/", object{"flow_id": flow}, false},
		{"a flow run below another's task run", "POST", "/api/flow_runs/", object{"flow_id": flow, "parent_task_run_id": others}, false},
		{"a run of a deployment", "POST", "/api/flow_runs/", object{"flow_id": flow, "parent_task_run_id": mine, "deployment_id": deployment}, false},
		{"a run of a deployment, the other way", "POST", "/api/deployments/" + deployment + "/create_flow_run", object{}, false},
		{"a deployment", "POST", "/api/deployments/", object{"name": "e", "flow_id": flow, "flow_data": object{"encoding": "e", "blob": "b"}}, false},
		{"a new value", "POST", "/api/kv/result", `"1"`, true},
		{"the same value again", "POST", "/api/kv/result", `"1"`, true},
		{"code that exists", "POST", "/api/kv/code", `"print(2)"`, false},
		{"storages", "POST", "/api/blocks/filter", object{}, true},
		{"tokens", "POST", "/api/tokens/filter", object{}, false},
		{"claiming", "POST", "/api/agents/" + api.NewID().String() + "/claim", object{"work_queue_ids": []string{}, "limit": 1, "claim_id": api.NewID()}, false},
	} {
		a := s.do(c.method, c.path, c.body, key...)
		if c.good != (a.status < 300) || !c.good && a.status != 403 {
			t.Errorf("%s: %d %s", c.what, a.status, a.text)
		}
	}
	if a := s.do("POST", "/api/flow_runs/", object{"flow_id": flow, "deployment_id": deployment}, bearer(secret)...); a.status != 403 {
		t.Errorf("an agent runs a deployment: %d %s", a.status, a.text)
	}
	states := s.do("GET", "/api/flow_run_states?flow_run_id="+own, nil, key...)
	if !strings.Contains(states.text, `"actor":"agent"`) {
		t.Errorf("the states do not name the agent's token: %s", states.text)
	}
	s.must(204, "DELETE", "/api/flow_runs/"+own, nil, admin...)
	s.must(404, "GET", "/api/flow_runs/"+own, nil, admin...) // which this node knows then
	if a := s.do("GET", "/api/flow_runs/"+other, nil, key...); a.status != 401 {
		t.Errorf("the process of a deleted run: %d %s", a.status, a.text)
	}
}

func TestWhoRunsDeploymentsDoesNotSayHow(t *testing.T) { everywhere(t, checkFlowRunners) }

func checkFlowRunners(t *testing.T, at place) {
	s := newStack(t, at, withTokens)
	admin := bearer(s.token("root", row.TokenRole_ADMIN))
	operator, deployer := bearer(s.token("operator", row.TokenRole_OPERATOR)), bearer(s.token("deployer", row.TokenRole_DEPLOYER))
	flow := s.must(201, "POST", "/api/flows/", object{"name": "f"}, admin...)["id"].(string)
	deployment := s.must(201, "POST", "/api/deployments/", object{"name": "d", "flow_id": flow, "flow_data": object{"encoding": "e", "blob": "b"}}, admin...)["id"].(string)
	runner := object{"type": "subprocess", "config": object{"env": object{"SLUICE_API_URL": "http://elsewhere.example/api"}}}
	run := s.must(201, "POST", "/api/deployments/"+deployment+"/create_flow_run", object{}, operator...)["id"].(string)
	for _, c := range []struct {
		method, path string
		body         object
	}{
		{"POST", "/api/deployments/" + deployment + "/create_flow_run", object{}},
		{"POST", "/api/flow_runs/", object{"flow_id": flow, "deployment_id": deployment}},
		{"PATCH", "/api/flow_runs/" + run, object{}},
	} {
		c.body["flow_runner"] = runner
		if a := s.do(c.method, c.path, c.body, operator...); a.status != 403 || !strings.Contains(a.text, "deployer") {
			t.Errorf("%s %s by an operator: %d %s", c.method, c.path, a.status, a.text)
		}
		if a := s.do(c.method, c.path, c.body, deployer...); a.status >= 300 {
			t.Errorf("%s %s by a deployer: %d %s", c.method, c.path, a.status, a.text)
		}
		c.body["flow_runner"] = nil // as Orion's clients send it
		if a := s.do(c.method, c.path, c.body, operator...); a.status >= 300 {
			t.Errorf("%s %s without a flow runner: %d %s", c.method, c.path, a.status, a.text)
		}
	}
}

func TestALeaseInAHeaderHidesNothingFromTheAudit(t *testing.T) { everywhere(t, checkLeaseHeader) }

func checkLeaseHeader(t *testing.T, at place) {
	s := newStack(t, at, withTokens)
	admin := bearer(s.token("root", row.TokenRole_ADMIN))
	deployer := append(bearer(s.token("deployer", row.TokenRole_DEPLOYER)), "X-Sluice-Lease", "1-1")
	run := s.aRun(admin...)
	s.must(201, "POST", "/api/kv/code", `"print(1)"`, deployer...)
	s.must(204, "PATCH", "/api/flow_runs/"+run, object{"flow_version": "2"}, deployer...)
	told := map[string]bool{}
	for _, r := range s.audit(object{"actor": "deployer"}, admin...) {
		told[r.Action] = true
	}
	for _, action := range []string{"POST /kv/{key}", "PATCH /flow_runs/{id}"} {
		if !told[action] {
			t.Errorf("%s left no record", action)
		}
	}
}

// audit returns the records, newest first.
func (s *stack) audit(filter object, headers ...string) []api.AuditRecord {
	s.t.Helper()
	a := s.do("POST", "/api/audit/filter", filter, headers...)
	var page api.AuditPage
	if err := json.Unmarshal([]byte(a.text), &page); err != nil || a.status != 200 {
		s.t.Fatalf("audit: %d %s %v", a.status, a.text, err)
	}
	return page.Records
}

// TestEveryWriteLeavesOneAuditRecord asks every route that writes once.
func TestEveryWriteLeavesOneAuditRecord(t *testing.T) { everywhere(t, checkAudit) }

func checkAudit(t *testing.T, at place) {
	s := newStack(t, at, withTokens, func(c *Config) { c.Cluster, c.Snapshots = idleCluster{}, nil })
	admin := bearer(s.token("root", row.TokenRole_ADMIN))
	agentSecret := s.token("agent", row.TokenRole_AGENT)
	make := func(path string, body object) string { return s.must(201, "POST", path, body, admin...)["id"].(string) }
	flow := make("/api/flows/", object{"name": "f0"})
	run := make("/api/flow_runs/", object{"flow_id": flow})
	task := make("/api/task_runs/", object{"flow_run_id": run, "task_key": "k", "dynamic_key": "0"})
	queue := make("/api/work_queues/", object{"name": "q0"})
	deployment := object{"name": "d0", "flow_id": flow, "flow_data": object{"encoding": "e", "blob": "b"}}
	deploymentID := make("/api/deployments/", deployment)
	agent := api.NewID().String()
	register := object{"id": agent, "name": "a", "hostname": "h"}
	before := map[string]bool{}
	for _, r := range s.audit(object{"limit": 1000}, admin...) {
		before[r.RequestID] = true
	}
	type write struct {
		method, path string
		body         any
		action       string
		object       string // what the record names: the id of the object or what the path says
	}
	writes := []write{
		{"POST", "/api/flows/", object{"name": "f1"}, "POST /flows", ""},
		{"PATCH", "/api/flows/" + flow, object{"tags": []string{"x"}}, "PATCH /flows/{id}", flow},
		{"POST", "/api/flow_runs/", object{"flow_id": flow}, "POST /flow_runs", ""},
		{"PATCH", "/api/flow_runs/" + run, object{"flow_version": "1"}, "PATCH /flow_runs/{id}", run},
		{"POST", "/api/flow_runs/" + run + "/set_state", object{"state": object{"type": "RUNNING"}, "force": true}, "POST /flow_runs/{id}/set_state", run},
		{"POST", "/api/flow_runs/" + run + "/cancel", object{}, "POST /flow_runs/{id}/cancel", run},
		{"POST", "/api/task_runs/", object{"flow_run_id": run, "task_key": "k", "dynamic_key": "1"}, "POST /task_runs", ""},
		{"POST", "/api/task_runs/" + task + "/set_state", object{"state": object{"type": "RUNNING"}}, "POST /task_runs/{id}/set_state", task},
		{"DELETE", "/api/task_runs/" + task, nil, "DELETE /task_runs/{id}", task},
		{"POST", "/api/deployments/", deployment, "POST /deployments", deploymentID},
		{"POST", "/api/deployments/" + deploymentID + "/create_flow_run", object{}, "POST /deployments/{id}/create_flow_run", deploymentID},
		{"POST", "/api/deployments/" + deploymentID + "/set_schedule_inactive", nil, "POST /deployments/{id}/set_schedule_inactive", deploymentID},
		{"POST", "/api/deployments/" + deploymentID + "/set_schedule_active", nil, "POST /deployments/{id}/set_schedule_active", deploymentID},
		{"POST", "/api/work_queues/", object{"name": "q1"}, "POST /work_queues", ""},
		{"PATCH", "/api/work_queues/" + queue, object{"is_paused": true}, "PATCH /work_queues/{id}", queue},
		{"DELETE", "/api/work_queues/" + queue, nil, "DELETE /work_queues/{id}", queue},
		{"POST", "/api/concurrency_limits/", object{"tag": "t", "concurrency_limit": 1}, "POST /concurrency_limits", ""},
		{"DELETE", "/api/concurrency_limits/tag/t", nil, "DELETE /concurrency_limits/tag/{tag}", "t"},
		{"POST", "/api/agents/", register, "POST /agents", agent},
		{"DELETE", "/api/agents/" + agent, nil, "DELETE /agents/{id}", agent},
		{"POST", "/api/kv/k", `"v"`, "POST /kv/{key}", "k"},
		{"DELETE", "/api/kv/k", nil, "DELETE /kv/{key}", "k"},
		{"POST", "/api/logs/", []object{{"name": "n", "level": 20, "message": "m", "timestamp": "2026-01-01T00:00:00Z", "flow_run_id": run}}, "POST /logs", ""},
		{"POST", "/api/tokens", object{"name": "t", "role": "viewer"}, "POST /tokens", ""},
		{"POST", "/api/cluster/transfer_leadership", object{}, "POST /cluster/transfer_leadership", ""},
		{"POST", "/api/cluster/leave", nil, "POST /cluster/leave", ""},
		{"DELETE", "/api/cluster/members/" + agent, nil, "DELETE /cluster/members/{id}", agent},
		{"DELETE", "/api/deployments/" + deploymentID, nil, "DELETE /deployments/{id}", deploymentID},
		{"DELETE", "/api/flow_runs/" + run, nil, "DELETE /flow_runs/{id}", run},
		{"DELETE", "/api/flow_runs/" + run, nil, "DELETE /flow_runs/{id}", run}, // refused by the state: there is none any more
		{"DELETE", "/api/flows/" + flow, nil, "DELETE /flows/{id}", flow},
	}
	for i, w := range writes {
		request := fmt.Sprint("write-", i)
		a := s.do(w.method, w.path, w.body, append([]string{"X-Request-Id", request}, admin...)...)
		if a.status >= 400 && a.status != 404 {
			t.Errorf("%s %s: %d %s", w.method, w.path, a.status, a.text)
		}
	}
	found := map[string][]api.AuditRecord{}
	for _, r := range s.audit(object{"limit": 1000}, admin...) {
		found[r.RequestID] = append(found[r.RequestID], r)
	}
	for i, w := range writes {
		records := found[fmt.Sprint("write-", i)]
		if len(records) != 1 {
			t.Errorf("%s %s left %d records: %+v", w.method, w.path, len(records), records)
			continue
		}
		r := records[0]
		named := r.Object == w.object || r.ObjectID != nil && (w.object == "" || r.ObjectID.String() == w.object)
		if r.Actor != "root" || r.Role != "admin" || r.TokenID == nil || r.Action != w.action || !named && w.object != "" || r.Outcome == "" || r.Address != "127.0.0.1" ||
			time.Since(r.Time.Time).Abs() > time.Hour {
			t.Errorf("%s %s left %+v", w.method, w.path, r)
		}
	}
	if r := found[fmt.Sprint("write-", len(writes)-2)]; len(r) == 1 && r[0].Outcome != "not_found" {
		t.Errorf("deleting what is gone has the outcome %s", r[0].Outcome)
	}
	if r := found["write-4"]; len(r) == 1 && r[0].Outcome != "accept" {
		t.Errorf("a state has the outcome %s", r[0].Outcome)
	}

	t.Run("what is read, refused or reported by a run leaves none", func(t *testing.T) {
		count := len(s.audit(object{"limit": 1000}, admin...))
		own := s.must(201, "POST", "/api/flow_runs/", object{"flow_id": s.must(201, "POST", "/api/flows/", object{"name": "x"}, bearer(agentSecret)...)["id"]}, bearer(agentSecret)...)["id"].(string)
		key := bearer(api.FlowRunKey(agentSecret, anID(t, own), ""))
		s.must(201, "POST", "/api/flow_runs/"+own+"/set_state", object{"state": object{"type": "RUNNING"}}, key...)
		s.do("POST", "/api/deployments/", object{"name": "x"}, admin...)
		s.do("POST", "/api/deployments/", deployment, bearer(agentSecret)...)
		s.do("POST", "/api/deployments/", deployment)
		s.do("POST", "/api/flow_runs/filter", object{}, admin...)
		if now := len(s.audit(object{"limit": 1000}, admin...)); now != count {
			t.Errorf("%d records more", now-count)
		}
	})
	t.Run("filters and pages", func(t *testing.T) {
		all := s.audit(object{"limit": 1000}, admin...)
		var paged []api.AuditRecord
		for next := (*string)(nil); ; {
			var page api.AuditPage
			if err := json.Unmarshal([]byte(s.do("POST", "/api/audit/filter", object{"limit": 7, "before": next}, admin...).text), &page); err != nil {
				t.Fatal(err)
			}
			paged = append(paged, page.Records...)
			if next = page.Next; next == nil {
				break
			}
		}
		if fmt.Sprint(recordIDs(paged)) != fmt.Sprint(recordIDs(all)) {
			t.Errorf("pages have %d records, all are %d", len(paged), len(all))
		}
		for _, c := range []struct {
			filter object
			keep   func(api.AuditRecord) bool
		}{
			{object{"actor": "root"}, func(r api.AuditRecord) bool { return r.Actor == "root" }},
			{object{"actor": "nobody"}, func(api.AuditRecord) bool { return false }},
			{object{"action": "/flow_runs"}, func(r api.AuditRecord) bool { return strings.Contains(r.Action, "/flow_runs") }},
			{object{"outcome": "not_found"}, func(r api.AuditRecord) bool { return r.Outcome == "not_found" }},
			{object{"object_id": run}, func(r api.AuditRecord) bool { return r.ObjectID != nil && r.ObjectID.String() == run }},
			{object{"since": all[5].Time}, func(r api.AuditRecord) bool { return !r.Time.Before(all[5].Time.Time) }},
			{object{"until": all[5].Time}, func(r api.AuditRecord) bool { return r.Time.Before(all[5].Time.Time) }},
		} {
			want := slices.DeleteFunc(slices.Clone(all), func(r api.AuditRecord) bool { return !c.keep(r) })
			c.filter["limit"] = 1000
			if got := s.audit(c.filter, admin...); fmt.Sprint(recordIDs(got)) != fmt.Sprint(recordIDs(want)) {
				t.Errorf("%v: %v, want %v", c.filter, recordIDs(got), recordIDs(want))
			}
		}
		if a := s.do("POST", "/api/audit/filter", object{"before": "x"}, admin...); a.status != 422 {
			t.Errorf("a cursor that is none: %d %s", a.status, a.text)
		}
	})
}

func recordIDs(records []api.AuditRecord) (ids []string) {
	for _, r := range records {
		ids = append(ids, r.ID)
	}
	return ids
}

// TestEveryCommandOfARequestIsMadeInOnePlace keeps audit records complete: what envelope makes carries one.
func TestEveryCommandOfARequestIsMadeInOnePlace(t *testing.T) {
	t.Parallel()
	files, err := fs.Glob(os.DirFS("."), "*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") || file == "write.go" || file == "audit.go" {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "command.Envelope{") {
			t.Errorf("%s makes a command without exchange.envelope: it would leave no audit record", file)
		}
	}
}

// idleCluster does nothing and succeeds.
type idleCluster struct{ Cluster }

func (idleCluster) TransferLeadership(context.Context, string) error { return nil }
func (idleCluster) RemoveMember(context.Context, string) error       { return nil }
func (idleCluster) Leave(context.Context) error                      { return nil }
