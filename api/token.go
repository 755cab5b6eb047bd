package api

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"strings"
)

// The roles of tokens; each may do what those before it may, but an operator does not see secrets in clear.
const (
	RoleViewer   = "viewer"
	RoleAgent    = "agent"
	RoleOperator = "operator"
	RoleDeployer = "deployer"
	RoleAdmin    = "admin"
)

// Token lets its holder use the API, as the server knows it: without the secret.
type Token struct {
	ID        ID      `json:"id"`
	Name      string  `json:"name"`
	Role      string  `json:"role"`
	Note      string  `json:"note"`
	Created   Time    `json:"created"`
	CreatedBy string  `json:"created_by"`
	Expires   *Time   `json:"expires"` // null: never
	Revoked   *Time   `json:"revoked"` // null: not
	RevokedBy *string `json:"revoked_by"`
	LastUsed  *Time   `json:"last_used"` // to the hour or so; null: not yet
	Status    string  `json:"status"`
}

// The values of Token.Status.
const (
	TokenActive  = "active"
	TokenExpired = "expired"
	TokenRevoked = "revoked"
)

// TokenCreate is the body of POST /tokens.
type TokenCreate struct {
	Name string `json:"name"`
	Role string `json:"role"`
	Note string `json:"note,omitempty"`
	// Expires is when it ends; null: never.
	Expires *Time `json:"expires,omitempty"`
}

// TokenCreated is the answer: the one time that the secret is told.
type TokenCreated struct {
	Token
	Secret string `json:"token"`
}

// TokenFilterRequest is the body of POST /tokens/filter.
type TokenFilterRequest struct {
	// All lists revoked and expired tokens, too.
	All bool `json:"all,omitempty"`
}

// WhoAmI says as whom a request is made.
type WhoAmI struct {
	Name string `json:"name"`
	Role string `json:"role"`
	// TokenID is null without a token, FlowRunID unless it is the process of a flow run that asks.
	TokenID        *ID   `json:"token_id"`
	FlowRunID      *ID   `json:"flow_run_id"`
	Expires        *Time `json:"expires"`
	Authentication bool  `json:"authentication"` // whether this server asks for tokens
}

// AuditRecord says who did what.
type AuditRecord struct {
	ID        string `json:"id"` // also a cursor: records before it are older
	Time      Time   `json:"time"`
	Actor     string `json:"actor"`
	TokenID   *ID    `json:"token_id"`
	Role      string `json:"role"`
	Action    string `json:"action"`    // method and route
	ObjectID  *ID    `json:"object_id"` // what was written, as the outcome names it
	Object    string `json:"object"`    // what the path names
	Outcome   string `json:"outcome"`   // ok, accept, reject, wait, abort, or why it was refused
	RequestID string `json:"request_id"`
	Address   string `json:"address"`
}

// AuditFilterRequest is the body of POST /audit/filter; all that is given must hold.
type AuditFilterRequest struct {
	Actor    string `json:"actor,omitempty"`
	Action   string `json:"action,omitempty"` // a part of it
	Outcome  string `json:"outcome,omitempty"`
	ObjectID *ID    `json:"object_id,omitempty"`
	Since    *Time  `json:"since,omitempty"`
	Until    *Time  `json:"until,omitempty"`
	Limit    int    `json:"limit,omitempty"`  // at most 1000, 200 if not given
	Before   string `json:"before,omitempty"` // the id of a record: only older ones
}

// AuditPage is the answer, newest first. Next is the Before of the next page, null at the end.
type AuditPage struct {
	Records []AuditRecord `json:"records"`
	Next    *string       `json:"next"`
}

const (
	tokenPrefix = "sluice_"
	tokenBytes  = 32
)

var tokenEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// NewToken returns the secret of a new token: 256 random bits that nobody guesses, which is why a plain hash of it may be stored.
func NewToken() string {
	b := make([]byte, tokenBytes)
	_, _ = rand.Read(b) // never fails
	return tokenPrefix + tokenEncoding.EncodeToString(b)
}

// ErrTokenForm is returned for a text that cannot be the secret of a token.
var ErrTokenForm = errors.New(`this is no token: one is "sluice_" and 52 characters of a-z and 2-7, as "sluice token generate" makes them`)

// CheckToken refuses what NewToken cannot have made: a word that somebody chose could be guessed from its hash.
func CheckToken(secret string) error {
	body, found := strings.CutPrefix(secret, tokenPrefix)
	raw, err := tokenEncoding.DecodeString(body)
	if !found || err != nil || len(raw) != tokenBytes {
		return ErrTokenForm
	}
	return nil
}

// TokenHash is what is stored of a token's secret.
func TokenHash(secret string) [sha256.Size]byte { return sha256.Sum256([]byte(secret)) }

// tokenKey is the key pair that follows from a secret. Its public half is stored: who reads it can verify signatures, not make them.
func tokenKey(secret string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("sluice token key\x00" + secret))
	return ed25519.NewKeyFromSeed(seed[:])
}

// TokenPublicKey verifies the keys of flow runs that the holder of a token makes.
func TokenPublicKey(secret string) ed25519.PublicKey {
	return tokenKey(secret).Public().(ed25519.PublicKey)
}

// leasePrefix begins a bearer token that names a lease; without authentication nothing else is in it.
const leasePrefix = "lease:"

// FlowRunKey is what the process of a flow run sends as its bearer token: its lease and, signed with the agent's token, which run it
// is. Without a token nothing is signed.
func FlowRunKey(secret string, run ID, lease string) string {
	if CheckToken(secret) != nil {
		return leasePrefix + lease
	}
	hash := TokenHash(secret)
	signature := ed25519.Sign(tokenKey(secret), flowRunMessage(run, lease))
	return strings.Join([]string{leasePrefix + lease, run.String(), base64.RawURLEncoding.EncodeToString(hash[:]), base64.RawURLEncoding.EncodeToString(signature)}, ":")
}

// SignedFlowRun is a FlowRunKey taken apart. FlowRun is nil when nothing was signed.
type SignedFlowRun struct {
	Lease     string
	FlowRunID ID
	TokenHash [sha256.Size]byte
	signature []byte
}

// ParseFlowRunKey takes a bearer token apart; ok is false when it is none of a flow run.
func ParseFlowRunKey(bearer string) (key SignedFlowRun, ok bool) {
	rest, ok := strings.CutPrefix(bearer, leasePrefix)
	if !ok {
		return key, false
	}
	parts := strings.Split(rest, ":")
	key.Lease = parts[0]
	if len(parts) != 4 {
		return key, len(parts) == 1
	}
	hash, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || len(hash) != sha256.Size {
		return key, false
	}
	key.TokenHash = [sha256.Size]byte(hash)
	if key.FlowRunID, err = ParseID(parts[1]); err != nil {
		return key, false
	}
	key.signature, err = base64.RawURLEncoding.DecodeString(parts[3])
	return key, err == nil && len(key.signature) == ed25519.SignatureSize
}

// Signed reports whether the key says which flow run it is of.
func (k SignedFlowRun) Signed() bool { return k.signature != nil }

// Signature returns the signature, zero when nothing was signed.
func (k SignedFlowRun) Signature() (s [ed25519.SignatureSize]byte) {
	copy(s[:], k.signature)
	return s
}

// Verify reports whether the holder of the token with that public key made this key.
func (k SignedFlowRun) Verify(public []byte) bool {
	return len(public) == ed25519.PublicKeySize && ed25519.Verify(public, flowRunMessage(k.FlowRunID, k.Lease), k.signature)
}

func flowRunMessage(run ID, lease string) []byte {
	return append(append([]byte("sluice flow run\x00"), run[:]...), lease...)
}
