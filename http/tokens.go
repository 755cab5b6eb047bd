package httpapi

import (
	"cmp"
	"net/http"
	"slices"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
	"github.com/sluice-dev/sluice/http/internal/body"
)

// Tokens knows the tokens as this node has applied them; *fsm.FSM does.
type Tokens interface {
	Tokens() (*state.Tokens, error)
}

const (
	longestTokenName = 64
	longestNote      = 500
	noToken          = "Token not found"
)

// reservedNames would be taken for something else where actors are named.
var reservedNames = []string{local.name, anonymous.name, "server", "node", "scheduler"}

func validTokenName(name string) bool {
	if name == "" || len(name) > longestTokenName || slices.Contains(reservedNames, name) {
		return false
	}
	for _, c := range []byte(name) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-', c == '@':
		default:
			return false
		}
	}
	return true
}

var roleWords = []string{api.RoleViewer, api.RoleAgent, api.RoleOperator, api.RoleDeployer, api.RoleAdmin}

var createTokenSpec = body.Strict(
	body.Required("name", body.Text, func(v *command.CreateToken) *string { return &v.Name }),
	body.Required("role", body.Enum(roleWords, []row.TokenRole{row.TokenRole_VIEWER, row.TokenRole_AGENT, row.TokenRole_OPERATOR, row.TokenRole_DEPLOYER, row.TokenRole_ADMIN}),
		func(v *command.CreateToken) *row.TokenRole { return &v.Role }),
	body.Nullable("note", body.TextUpTo(longestNote), func(v *command.CreateToken) *string { return &v.Note }),
	body.Nullable("expires", body.Time, func(v *command.CreateToken) *int64 { return &v.Expires }),
)

// createToken makes a token and tells its secret, this once.
func createToken(_ *Server, x *exchange) error {
	c := &command.CreateToken{}
	if err := decode(x, createTokenSpec, c); err != nil {
		return err
	}
	if !validTokenName(c.Name) {
		return invalid("The name of the token is not valid: 1 to 64 characters of A-Z, a-z, 0-9, '.', '_', '-' and '@', and not the name of a part of the server.",
			"Name it for who uses it, like ci or ann@laptop.")
	}
	if c.Expires != 0 && c.Expires <= x.now() {
		return invalid("expires is over already.", "Name a time in the future, or leave it out.")
	}
	secret := api.NewToken()
	hash := api.TokenHash(secret)
	c.Id, c.Hash, c.PublicKey = newID(), hash[:], api.TokenPublicKey(secret)
	e := x.envelope()
	e.Idempotency = nil // a repetition could not tell the secret again
	e.Command = &command.Envelope_CreateToken{CreateToken: c}
	taken := "A token with the name '" + c.Name + "' exists."
	return x.proposeObject(e, noToken, taken, func(view *state.View, _ *command.Result) error {
		stored, err := view.Token(idOf(c.Id))
		if err != nil || stored == nil {
			return cmp.Or(err, error(notFound(noToken)))
		}
		if x.out, err = appendJSON(x.out, api.TokenCreated{Token: tokenObject(stored, x.now()), Secret: secret}); err != nil {
			return err
		}
		x.Header()["Cache-Control"] = noStore
		return x.send(http.StatusCreated)
	})
}

var noStore = []string{"no-store"}

type tokenFilter struct{ all bool }

var tokenFilterSpec = body.Parameters(body.Optional("all", body.Bool, func(v *tokenFilter) *bool { return &v.all }))

// filterTokens lists tokens by name, those that can be used or all.
func filterTokens(_ *Server, x *exchange) error {
	var in tokenFilter
	if err := decode(x, tokenFilterSpec, &in); err != nil {
		return err
	}
	view, err := x.view()
	if err != nil {
		return err
	}
	defer view.Close()
	tokens := []api.Token{}
	err = view.EachToken(func(t *row.Token) (bool, error) {
		if o := tokenObject(t, x.now()); in.all || o.Status == api.TokenActive {
			tokens = append(tokens, o)
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	slices.SortStableFunc(tokens, func(a, b api.Token) int { return cmp.Compare(a.Name, b.Name) })
	return list(x, tokens, func(b []byte, t api.Token) ([]byte, error) { return appendJSON(b, t) })
}

func readToken(_ *Server, x *exchange) error {
	id, err := x.pathID("id")
	if err != nil {
		return err
	}
	view, err := x.view()
	if err != nil {
		return err
	}
	defer view.Close()
	t, err := view.Token(id)
	if err != nil {
		return err
	}
	if t == nil {
		return notFound(noToken)
	}
	if x.out, err = appendJSON(x.out, tokenObject(t, x.now())); err != nil {
		return err
	}
	return x.send(http.StatusOK)
}

// revokeToken ends a token. The last admin's must stay: nobody could make another.
func revokeToken(s *Server, x *exchange) error {
	id, err := x.pathID("id")
	if err != nil {
		return err
	}
	e := x.envelope()
	e.Command = &command.Envelope_RevokeToken{RevokeToken: &command.RevokeToken{Id: id[:], KeepAdmin: s.tokens != nil}}
	r, index, err := x.propose(e)
	if err != nil {
		return err
	}
	if r.Code == command.Result_CONFLICT {
		return conflict("This is the last token with the role admin that does not end by itself; nobody could make another.",
			"Make another first: sluice token create NAME --role admin.")
	}
	if err := outcome(r, noToken, ""); err != nil {
		return err
	}
	// On this node the token is over when the answer comes, on others as soon as they apply it.
	view, err := x.written(index)
	if err != nil {
		return err
	}
	_ = view.Close()
	return x.empty()
}

// whoAmI says as whom the request was made.
func whoAmI(s *Server, x *exchange) error {
	w := api.WhoAmI{Name: x.who.name, Role: x.who.role.String(), FlowRunID: x.who.flowRun, Authentication: s.tokens != nil}
	if t := x.who.token; t != nil {
		w.TokenID, w.Expires = idRef(t.Id), timeRef(t.Expires)
	}
	var err error
	if x.out, err = appendJSON(x.out, w); err != nil {
		return err
	}
	return x.send(http.StatusOK)
}

func tokenObject(t *row.Token, now int64) api.Token {
	o := api.Token{ID: idOf(t.Id), Name: t.Name, Role: tokenRoles[t.Role].String(), Note: t.Note, Created: timeOf(t.Created), CreatedBy: t.CreatedBy,
		Expires: timeRef(t.Expires), Revoked: timeRef(t.Revoked), LastUsed: timeRef(t.LastUsed), Status: api.TokenActive}
	switch {
	case t.Revoked != 0:
		o.Status, o.RevokedBy = api.TokenRevoked, &t.RevokedBy
	case t.Expires != 0 && t.Expires <= now:
		o.Status = api.TokenExpired
	}
	return o
}
