package httpapi

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
)

// actor is who makes a request.
type actor struct {
	name string
	role Role
	// token is what the caller showed, nil without authentication; of a flow run it is its agent's.
	token *row.Token
	// flowRun is whose process calls, nil for anybody else.
	flowRun *api.ID
}

// local is whoever reaches an address without authentication.
var local = actor{name: "local", role: RoleAdmin}

// anonymous is who calls a public route: what it shows of itself is not looked at.
var anonymous = actor{name: "anonymous", role: RolePublic}

const (
	// tokenPatience bounds how long an unknown token waits for this node to be sure that it is unknown.
	tokenPatience = 2 * time.Second
	// afterwards is how long the process of a flow run may call after the run has ended: it sends its last log lines.
	afterwards = 10 * time.Minute
	// keysKept bounds the signatures that are remembered as good.
	keysKept = 8192
)

// Reasons for which a request is refused, as metrics count them.
const (
	refusedMissing   = "missing"
	refusedMalformed = "malformed"
	refusedUnknown   = "unknown"
	refusedExpired   = "expired"
	refusedRevoked   = "revoked"
	refusedEnded     = "flow_run_ended"
	refusedRole      = "role"
	refusedScope     = "flow_run"
	refusedOrigin    = "origin"
	refusedHost      = "host"
)

// authenticate says who calls; it also takes the lease token out of the request, wherever the client put it.
func (s *Server) authenticate(x *exchange) error {
	bearer, given := bearerOf(x.r)
	key, ofFlowRun := api.SignedFlowRun{}, false
	if given {
		key, ofFlowRun = api.ParseFlowRunKey(bearer)
	}
	if v := x.r.Header["X-Sluice-Lease"]; len(v) > 0 {
		x.lease = v[0]
	} else if ofFlowRun {
		x.lease = key.Lease
	}
	switch {
	case s.tokens == nil:
		x.who = local
		return nil
	case x.route.role == RolePublic:
		x.who = anonymous
		return nil
	case !given:
		return s.unauthenticated(x, refusedMissing, "This server asks for a token, and the request shows none.")
	case ofFlowRun:
		return s.authenticateFlowRun(x, key)
	case len(bearer) > 1000 || api.CheckToken(bearer) != nil:
		return s.unauthenticated(x, refusedMalformed, "What the request shows as its token is none.")
	}
	token, err := s.token(x, api.TokenHash(bearer))
	if err != nil {
		return err
	}
	x.who = actor{name: token.Name, role: tokenRoles[token.Role], token: token}
	return nil
}

// bearerOf returns what the request shows; given is false when it shows nothing.
func bearerOf(r *http.Request) (bearer string, given bool) {
	v := r.Header["Authorization"]
	if len(v) == 0 || v[0] == "" {
		return "", false
	}
	scheme, bearer, _ := strings.Cut(v[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", true
	}
	return strings.TrimSpace(bearer), true
}

// token returns the token with that hash if it is good now.
func (s *Server) token(x *exchange, hash [sha256.Size]byte) (*row.Token, error) {
	token, err := s.findToken(x, hash)
	if err != nil {
		return nil, err
	}
	if err := s.good(x, token); err != nil {
		return nil, err
	}
	s.used.note(token, x.now())
	return token, nil
}

// recheck refuses a caller whose token is not good any more, as this node knows it now: it has applied more than when the request came.
func (x *exchange) recheck() error {
	if x.who.token == nil {
		return nil
	}
	known, err := x.server.tokens.Tokens()
	if err != nil {
		return err
	}
	return x.server.good(x, known.ByID[idOf(x.who.token.Id)])
}

func (s *Server) good(x *exchange, token *row.Token) error {
	switch {
	case token == nil:
		return s.unauthenticated(x, refusedUnknown, "The token is not known.")
	case token.Revoked != 0:
		return s.unauthenticated(x, refusedRevoked, "The token '"+token.Name+"' was revoked.")
	case token.Expires != 0 && x.now() >= token.Expires:
		return s.unauthenticated(x, refusedExpired, "The token '"+token.Name+"' expired at "+timeOf(token.Expires).Format(time.RFC3339)+".")
	}
	return nil
}

// findToken looks among what this node has applied. A token that it does not know may be new: then it makes sure that it has
// applied everything first, so that no client that was just given a token is turned away by a node that lags.
func (s *Server) findToken(x *exchange, hash [sha256.Size]byte) (*row.Token, error) {
	look := func() (*row.Token, error) {
		known, err := s.tokens.Tokens()
		if err != nil {
			return nil, err
		}
		token := known.ByHash[hash]
		if token != nil && subtle.ConstantTimeCompare(token.Hash, hash[:]) != 1 {
			token = nil
		}
		return token, nil
	}
	token, err := look()
	if token != nil || err != nil {
		return token, err
	}
	ctx, cancel := context.WithTimeout(x.r.Context(), tokenPatience)
	defer cancel()
	view, _, err := s.reader.View(ctx, Linearizable, 0)
	if err != nil {
		return nil, &api.Error{Kind: api.KindUnavailable, Message: "This node cannot tell now whether the token is good.",
			Hint: "Try again; sluice cluster health says what is wrong.", Err: err}
	}
	_ = view.Close()
	return look()
}

// authenticateFlowRun lets the process of a flow run in with the key that its agent made.
func (s *Server) authenticateFlowRun(x *exchange, key api.SignedFlowRun) error {
	if !key.Signed() {
		return s.unauthenticated(x, refusedMissing, "This server asks for a token, and the flow run's agent had none.")
	}
	token, err := s.token(x, key.TokenHash)
	if err != nil {
		return err
	}
	if tokenRoles[token.Role] < RoleAgent || !s.keys.verify(key, token) {
		return s.unauthenticated(x, refusedMalformed, "The key of the flow run was not made with the token that it names.")
	}
	who := actor{name: token.Name, role: RoleFlowRun, token: token, flowRun: &key.FlowRunID}
	good, err := s.readUntil(x, func(view *state.View) (bool, error) {
		run, err := view.FlowRun(key.FlowRunID)
		return run != nil && (run.EndTime == 0 || x.now()-run.EndTime < afterwards.Microseconds()), err
	})
	if err != nil {
		return err
	}
	if !good {
		return s.unauthenticated(x, refusedEnded, "The flow run whose key this is has ended or was deleted.")
	}
	x.who = who
	return nil
}

// readUntil asks this node's state, and when that says no once more with everything that was acknowledged.
func (s *Server) readUntil(x *exchange, ask func(*state.View) (bool, error)) (bool, error) {
	for _, consistency := range []Consistency{Stale, Linearizable} {
		view, _, err := s.reader.View(x.r.Context(), consistency, 0)
		if err != nil {
			return false, err
		}
		yes, err := ask(view)
		_ = view.Close()
		if yes || err != nil {
			return yes, err
		}
	}
	return false, nil
}

// goodKeys remembers which keys of flow runs were verified: a signature costs more than all else about a small request.
type goodKeys struct {
	mu    sync.Mutex
	known map[goodKey]struct{} // guarded by mu
}

type goodKey struct {
	token     [32]byte
	flowRunID api.ID
	lease     string
	signature [64]byte
}

func (g *goodKeys) verify(key api.SignedFlowRun, token *row.Token) bool {
	id := goodKey{key.TokenHash, key.FlowRunID, key.Lease, key.Signature()}
	g.mu.Lock()
	_, known := g.known[id]
	g.mu.Unlock()
	if known {
		return true
	}
	if !key.Verify(token.PublicKey) {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.known == nil || len(g.known) >= keysKept {
		g.known = map[goodKey]struct{}{}
	}
	g.known[id] = struct{}{}
	return true
}

// tokenUses collects when tokens were used, for those whose stored time is old.
type tokenUses struct {
	mu   sync.Mutex
	uses map[api.ID]int64 // guarded by mu
}

// useGrain is how exact the stored time is, in µs: a token that is used all the time costs a write an hour.
const useGrain = int64(time.Hour / time.Microsecond)

func (u *tokenUses) note(t *row.Token, now int64) {
	if now-t.LastUsed < useGrain {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.uses == nil {
		u.uses = map[api.ID]int64{}
	}
	u.uses[idOf(t.Id)] = now
}

// TakeUses returns which tokens were used and when, of those that had not been for an hour, and forgets them. Whoever owns the
// server stores them now and then.
func (s *Server) TakeUses() map[api.ID]int64 {
	s.used.mu.Lock()
	defer s.used.mu.Unlock()
	uses := s.used.uses
	s.used.uses = nil
	return uses
}

// authorize refuses what the caller may not do.
func (s *Server) authorize(x *exchange) error {
	if need := x.route.role; x.who.role < need {
		s.metrics.refused.WithLabelValues(refusedRole).Inc()
		return &failure{
			status: http.StatusForbidden, kind: api.KindForbidden,
			detail: "This needs the role " + need.String() + "; " + x.who.describe() + " has the role " + x.who.role.String() + ".",
			hint:   "Use a token with that role: sluice token create NAME --role " + need.String() + ".",
		}
	}
	return nil
}

func (a actor) describe() string {
	switch {
	case a.flowRun != nil:
		return "the process of flow run " + a.flowRun.String()
	case a.token != nil:
		return "the token '" + a.name + "'"
	}
	return "the caller"
}

func (s *Server) unauthenticated(x *exchange, reason, detail string) error {
	s.metrics.refused.WithLabelValues(reason).Inc()
	x.Header()["Www-Authenticate"] = []string{`Bearer realm="sluice"`}
	return &failure{
		status: http.StatusUnauthorized, kind: api.KindUnauthenticated, detail: detail,
		hint: tokenHint,
	}
}

const tokenHint = "Set one with: sluice config set SLUICE_API_KEY=TOKEN (Prefect's clients: PREFECT_API_KEY). An admin makes tokens with: sluice token create. " +
	"The first one is in the file admin-token in the data directory of the node that made it; without any: sluice token recover, on a node."

// address is whence the request came, without the port.
func (x *exchange) address() string {
	host, _, err := net.SplitHostPort(x.r.RemoteAddr)
	if err != nil {
		return x.r.RemoteAddr
	}
	return host
}
