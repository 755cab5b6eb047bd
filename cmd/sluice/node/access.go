package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/cluster"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
	httpapi "github.com/sluice-dev/sluice/http"
	"github.com/sluice-dev/sluice/internal/localserver"
	"github.com/sluice-dev/sluice/scheduler"
)

const (
	// adminTokenFile holds the first token of a cluster, on the node that made it.
	adminTokenFile = localserver.AdminTokenFile
	// FirstTokenName is the name of the first token.
	FirstTokenName = "admin"

	recoverFile = "token-recovery.json"
	// recoverEvery is how often a node looks whether its operator asks for a new token.
	recoverEvery = time.Second
	// usesEvery is how often a node tells which tokens were used.
	usesEvery = 30 * time.Second
	// tidyEvery is how often the leader looks for what is beyond its time.
	tidyEvery = time.Minute
	tidyLimit = 1000
	// tokensKept is how long a token that ended is still told about.
	tokensKept = 90 * 24 * time.Hour
)

// Access says who may use a node, and how long what they did is kept.
type Access struct {
	// Auth asks for tokens.
	Auth bool
	// FirstToken is the secret of the cluster's first token, for clusters that are set up by a program; "" has the leader make one
	// and keep it in a file of the data directory.
	FirstToken string
	// AllowOrigins and GuardHost are those of the API.
	AllowOrigins []string
	GuardHost    bool
	// AuditKeep and AuditAge bound the audit records; defaults 200,000 and a year.
	AuditKeep int64
	AuditAge  time.Duration
}

// Settings of which the leader's decide, so that a change of leaders would change what holds. A node that differs is not taken in:
// records of the audit that went are gone, and who may be reached by webhooks is a matter of security. Those of retention are not
// among them: they only fill the replicated rules of a new cluster, and how often the leader looks harms nobody.
const (
	settingAuth           = "--auth"
	settingAuditKeep      = "--audit-keep"
	settingAuditAge       = "--audit-age"
	settingWebhookPrivate = "--webhook-allow-private"
)

// common are the node's values of the settings that should be the same on all nodes.
func (c *Config) common() map[string]string {
	auth := "off"
	if c.Access.Auth {
		auth = "on"
	}
	return map[string]string{settingAuth: auth, settingAuditKeep: strconv.FormatInt(c.Access.AuditKeep, 10), settingAuditAge: c.Access.AuditAge.String(),
		settingWebhookPrivate: strconv.FormatBool(c.WebhookAllowPrivate)}
}

// firstTokenCheck says, with none, that nobody can use this node yet: it asks for tokens, and the leader of a new cluster has not made
// the first. A cluster whose nodes are switched over one by one gets its first when one of those leads that ask for them.
func (n *Node) firstTokenCheck(disagrees []string) (c httpapi.Check, none bool) {
	if !n.config.Access.Auth || slices.Contains(disagrees, settingAuth) {
		return c, false
	}
	known, err := n.fsm.Tokens()
	if err != nil || len(known.ByID) > 0 {
		return c, false
	}
	return httpapi.Check{Name: "access", Text: "this node knows no token yet; the leader makes the first one"}, true
}

// AdminTokenFile is where the first token of a cluster is, on the node that made it.
func AdminTokenFile(dataDir string) string { return filepath.Join(dataDir, adminTokenFile) }

// tokens returns what the API asks for tokens, nil without authentication.
func (n *Node) tokens() httpapi.Tokens {
	if n.config.Access.Auth {
		return n.fsm
	}
	return nil
}

// firstToken makes the first token of a cluster that has never had one. The secret is in its file before the state knows it, so a
// crash between loses neither; and the state takes one only.
func (s *services) firstToken(ctx context.Context, epoch cluster.Epoch) error {
	access := s.node.config.Access
	if !access.Auth {
		return nil
	}
	view, err := s.node.fsm.View()
	if err != nil {
		return fmt.Errorf("look for the first token: %w", err)
	}
	count, err := view.CountTokens()
	if err = errors.Join(err, view.Close()); err != nil || count > 0 {
		return err
	}
	secret, path := access.FirstToken, ""
	if secret == "" {
		path = AdminTokenFile(s.node.config.DataDir)
		if secret, err = keepSecret(path); err != nil {
			return fmt.Errorf("keep the first token: %w", err)
		}
	}
	e := newTokenCommand(FirstTokenName, secret, "the first token of the cluster", true)
	e.Epoch = epoch.Index
	results, _, err := s.proposer(epoch).Propose(ctx, e)
	if errors.Is(err, scheduler.ErrUnwelcome) { // a full disk: the next epoch tries again
		s.node.log.Error("the first token could not be stored", "error", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("store the first token: %w", err)
	}
	if results[0].Created && path != "" {
		s.node.log.Info("made the first token, of an admin: make others with it and revoke it", "file", path)
	}
	return nil
}

// newTokenCommand is a command by the server that makes a token of an admin.
func newTokenCommand(name, secret, note string, first bool) *command.Envelope {
	id, seed, hash := api.NewID(), api.NewID(), api.TokenHash(secret)
	action := "token recover"
	if first {
		action = "first token"
	}
	return &command.Envelope{Actor: "server", Seed: seed[:], Audit: &command.Audit{Role: "server", Action: action, Object: name},
		Command: &command.Envelope_CreateToken{CreateToken: &command.CreateToken{
			Id: id[:], Name: name, Role: row.TokenRole_ADMIN, Hash: hash[:], PublicKey: api.TokenPublicKey(secret), Note: note, Bootstrap: first}}}
}

// keepSecret returns the secret in a file that only its owner reads, a new one if there is none.
func keepSecret(path string) (string, error) {
	content, err := os.ReadFile(path)
	if err == nil {
		if secret := strings.TrimSpace(string(content)); api.CheckToken(secret) == nil {
			return secret, nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	secret := api.NewToken()
	return secret, writePrivate(path, []byte(secret+"\n"))
}

// writePrivate replaces a file whole, on disk, for its owner only.
func writePrivate(path string, content []byte) error {
	temporary := path + ".tmp"
	f, err := os.OpenFile(temporary, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}

// tidyAccess removes audit records and tokens that are beyond their time, until the epoch ends.
func (s *services) tidyAccess(ctx context.Context, epoch cluster.Epoch) {
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		more, err := s.tidyOnce(ctx, epoch)
		if err != nil && ctx.Err() == nil {
			s.node.log.Warn("audit records that are beyond their time were not removed", "error", err)
		}
		if more {
			continue
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

func (s *services) tidyOnce(ctx context.Context, epoch cluster.Epoch) (more bool, err error) {
	access, now := s.node.config.Access, s.node.config.Clock.Now()
	c := &command.TidyAccess{AuditBefore: now.Add(-access.AuditAge).UnixMicro(), AuditKeep: access.AuditKeep, TokensBefore: now.Add(-tokensKept).UnixMicro(), Limit: tidyLimit}
	view, err := s.node.fsm.View()
	if err != nil {
		return false, err
	}
	due, err := view.AccessDue(c.AuditBefore, c.AuditKeep, c.TokensBefore)
	if err = errors.Join(err, view.Close()); err != nil || !due {
		return false, err
	}
	seed := api.NewID()
	results, _, err := s.proposer(epoch).Propose(ctx, &command.Envelope{Actor: "server", Epoch: epoch.Index, Seed: seed[:], Command: &command.Envelope_TidyAccess{TidyAccess: c}})
	return err == nil && results[0].Count == tidyLimit, err
}

// accessKeeper does on every node what tokens need: it tells when they were used, and makes one for who can write the data
// directory.
type accessKeeper struct {
	node     *Node
	proposer httpapi.Proposer
	end      context.CancelFunc
	work     sync.WaitGroup
}

func newAccessKeeper(n *Node, p httpapi.Proposer) *accessKeeper {
	k := &accessKeeper{node: n, proposer: p}
	ctx, end := context.WithCancel(context.Background())
	k.end = end
	k.work.Go(func() { k.run(ctx) })
	return k
}

func (k *accessKeeper) stop() {
	k.end()
	k.work.Wait()
}

func (k *accessKeeper) run(ctx context.Context) {
	uses, requests := time.NewTicker(usesEvery), time.NewTicker(recoverEvery)
	defer uses.Stop()
	defer requests.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-uses.C:
			k.tellUses(ctx)
		case <-requests.C:
			k.recover(ctx)
		}
	}
}

func (k *accessKeeper) tellUses(ctx context.Context) {
	uses := k.node.http.TakeUses()
	if len(uses) == 0 {
		return
	}
	c, seed := &command.UseTokens{}, api.NewID()
	for id, at := range uses {
		c.Uses = append(c.Uses, &command.UseTokens_Use{Id: id[:], Time: at})
	}
	if _, _, err := k.proposer.Propose(ctx, &command.Envelope{Actor: "server", Seed: seed[:], Command: &command.Envelope_UseTokens{UseTokens: c}}); err != nil {
		k.node.log.Debug("when tokens were used was not stored", "error", err) // the next use tells it
	}
}

// TokenRecovery asks the node of a data directory to make a token of an admin. Whoever can write there could change the data anyway.
type TokenRecovery struct {
	Name   string `json:"name"`
	Secret string `json:"secret"`
	// Failed says why it was not made; set by the node.
	Failed string `json:"failed,omitempty"`
}

// AskTokenRecovery leaves the request where the node looks for it.
func AskTokenRecovery(dataDir string, r TokenRecovery) error {
	content, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return writePrivate(filepath.Join(dataDir, recoverFile), content)
}

// TokenRecovered returns what became of the request: done is false while the node has not looked at it.
func TokenRecovered(dataDir string) (done bool, failed error) {
	r, err := readRecovery(dataDir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true, nil
	case err != nil:
		return true, err
	case r.Failed != "":
		return true, errors.New(r.Failed)
	}
	return false, nil
}

// ForgetTokenRecovery takes the request back.
func ForgetTokenRecovery(dataDir string) error {
	err := os.Remove(filepath.Join(dataDir, recoverFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func readRecovery(dataDir string) (r TokenRecovery, err error) {
	content, err := os.ReadFile(filepath.Join(dataDir, recoverFile))
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(content, &r); err != nil {
		return r, fmt.Errorf("read the request for a token: %w", err)
	}
	return r, nil
}

func (k *accessKeeper) recover(ctx context.Context) {
	dir := k.node.config.DataDir
	r, err := readRecovery(dir)
	if errors.Is(err, fs.ErrNotExist) || r.Failed != "" {
		return
	}
	if err == nil {
		err = k.makeAdmin(ctx, r)
	}
	if err == nil {
		k.node.log.Warn("made a token of an admin, as was asked for in the data directory", "name", r.Name)
		err = ForgetTokenRecovery(dir)
	} else if ctx.Err() == nil {
		k.node.log.Error("a token that was asked for in the data directory was not made", "error", err)
		err = AskTokenRecovery(dir, TokenRecovery{Name: r.Name, Failed: err.Error()})
	}
	if err != nil && ctx.Err() == nil {
		k.node.log.Error("a request in the data directory could not be answered", "error", err)
	}
}

func (k *accessKeeper) makeAdmin(ctx context.Context, r TokenRecovery) error {
	if err := api.CheckToken(r.Secret); err != nil {
		return err
	}
	results, _, err := k.proposer.Propose(ctx, newTokenCommand(r.Name, r.Secret, "made on node "+k.node.config.Name+" by sluice token recover", false))
	if err != nil {
		return err
	}
	if results[0].Code != command.Result_OK {
		return errors.New(results[0].Message)
	}
	return nil
}
