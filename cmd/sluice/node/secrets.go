package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/cluster"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
	httpapi "github.com/sluice-dev/sluice/http"
	"github.com/sluice-dev/sluice/internal/secret"
)

const (
	// agreedFor is how long a member that had a key is taken to have it still.
	agreedFor = 5 * time.Second
	// usageFor is how long a count of the keys in use counts, for what is asked often.
	usageFor = 2 * time.Second
	// resealMost and resealBytes bound one step of encrypting anew.
	resealMost  = 100
	resealBytes = 256 << 10
	// clearLook is how often the leader looks for blocks stored in clear: nodes of a former version may still make some. clearRetry is
	// the pause when they cannot be encrypted.
	clearLook  = 10 * time.Second
	clearRetry = 3 * time.Second
)

// secrets encrypts and decrypts blocks and webhooks' secrets for the API, and knows who has which key.
type secrets struct {
	node *Node
	keys *secretKeys

	mu     sync.Mutex // guards what follows; never held over I/O
	agreed map[secret.KeyID]time.Time
	usage  keyUsage
	failed error // of the last count
	seen   time.Time
}

func newSecrets(n *Node, keys *secretKeys) *secrets {
	return &secrets{node: n, keys: keys, agreed: map[secret.KeyID]time.Time{}}
}

var _ httpapi.Secrets = (*secrets)(nil)

// about binds a sealed value to its block.
func about(block []byte) []byte { return append([]byte("block data\x00"), block...) }

// Open implements httpapi.Secrets.
func (s *secrets) Open(b *row.Block) ([]byte, error) {
	if len(b.DataSealed) == 0 {
		return b.DataJson, nil
	}
	data, err := s.keys.current().Open(about(b.Id), b.DataSealed)
	if err == nil {
		return data, nil
	}
	if missing, ok := errors.AsType[*secret.MissingKeyError](err); ok {
		return nil, &api.Error{Kind: api.KindUnavailable,
			Message: fmt.Sprintf("The secret of '%s' is encrypted with the key %s, which this node (%s) does not have.", b.Name, missing.ID, s.node.config.Name),
			Hint:    "Add that key as a further line to " + s.keys.place + " on this node; `sluice secrets status` shows which nodes have it."}
	}
	return nil, &api.Error{Kind: api.KindConflict, Message: fmt.Sprintf("The secret of '%s' cannot be decrypted: %s.", b.Name, err), Hint: "Store it anew.", Err: err}
}

// Seal implements httpapi.Secrets.
func (s *secrets) Seal(ctx context.Context, block api.ID, data []byte) ([]byte, error) {
	ring := s.keys.current()
	key, err := s.sealingKey(ctx, ring)
	if err != nil {
		return nil, err
	}
	return ring.Seal(key, about(block[:]), data)
}

// sealingKey is the first key of this node that all members which answer have: data must not become unreadable on one of them, not
// even while keys are being replaced.
func (s *secrets) sealingKey(ctx context.Context, ring *secret.Keyring) (secret.KeyID, error) {
	ids := ring.IDs()
	if len(ids) == 0 {
		return secret.KeyID{}, s.noKey()
	}
	s.mu.Lock()
	fresh := time.Since(s.agreed[ids[0]]) < agreedFor
	s.mu.Unlock()
	if fresh {
		return ids[0], nil
	}
	members := s.members(ctx)
	key, err := s.choose(ids, members)
	if err == nil && key == ids[0] {
		s.mu.Lock()
		s.agreed[key] = time.Now()
		s.mu.Unlock()
	}
	return key, err
}

func (s *secrets) noKey() error {
	return &api.Error{Kind: api.KindConflict, Message: "Blocks hold secrets and are stored encrypted only, and this node (" + s.node.config.Name + ") has no key.",
		Hint: "Give every node the same key file with --secrets-key-file (`sluice cluster tls init` makes secrets.key), or put it to " + s.keys.place + "."}
}

// choose returns the first key that no member lacks.
func (s *secrets) choose(ids []secret.KeyID, members []keyHolder) (secret.KeyID, error) {
	for _, id := range ids {
		if !slices.ContainsFunc(members, func(m keyHolder) bool { return !m.has(id.String()) }) {
			return id, nil
		}
	}
	var lacking []string
	for _, m := range members {
		if !m.has(ids[0].String()) {
			lacking = append(lacking, m.name)
		}
	}
	return secret.KeyID{}, &api.Error{Kind: api.KindConflict,
		Message: fmt.Sprintf("Nothing can be encrypted: this node's key %s is not on %s, and no other key is on all nodes.", ids[0], strings.Join(lacking, ", ")),
		Hint:    "Give every node the same keys: add them as further lines to the files; `sluice secrets status` shows who has which."}
}

// keyHolder is a member and its keys.
type keyHolder struct {
	name string
	keys []string
}

func (h keyHolder) has(id string) bool { return slices.Contains(h.keys, id) }

// members asks the members which keys they have. Who does not answer is left out.
func (s *secrets) members(ctx context.Context) []keyHolder {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	roll := s.node.cluster.Roll(ctx)
	holders := make([]*keyHolder, len(roll))
	var all sync.WaitGroup
	for i, r := range roll {
		if !r.Alive {
			continue
		}
		if r.ID == s.node.cluster.ID() {
			holders[i] = &keyHolder{s.node.config.Name, s.have()}
			continue
		}
		all.Go(func() {
			var answer report
			data, err := s.node.cluster.AskMember(ctx, r.ID, methodReport, nil)
			if err == nil {
				err = json.Unmarshal(data, &answer)
			}
			if err != nil {
				s.node.log.Debug("a member does not say which keys it has", "member", r.Name, "error", err)
				return
			}
			name := r.Name
			if name == "" {
				name = r.ID
			}
			holders[i] = &keyHolder{name, answer.SecretKeys}
		})
	}
	all.Wait()
	known := make([]keyHolder, 0, len(holders))
	for _, h := range holders {
		if h != nil {
			known = append(known, *h)
		}
	}
	return known
}

// have lists this node's keys.
func (s *secrets) have() []string {
	var ids []string
	for _, id := range s.keys.current().IDs() {
		ids = append(ids, id.String())
	}
	return ids
}

// keyUsage counts how the data of blocks and the secrets of webhooks are stored.
type keyUsage struct {
	blocks, clear, webhooks, damaged int // with data; of them in clear; webhooks; what is in no format this version reads
	sealed                           map[secret.KeyID]sealedWith
}

// sealedWith counts what is encrypted with one key.
type sealedWith struct{ blocks, webhooks int }

// needed lists the keys in use, sorted.
func (u keyUsage) needed() []string {
	var ids []string
	for id := range u.sealed {
		ids = append(ids, id.String())
	}
	slices.Sort(ids)
	return ids
}

// missing lists the keys in use that a ring does not hold, sorted.
func (u keyUsage) missing(ring *secret.Keyring) []string {
	ids := []string{}
	for id := range u.sealed {
		if !ring.Has(id) {
			ids = append(ids, id.String())
		}
	}
	slices.Sort(ids)
	return ids
}

func inClear(b *row.Block) bool {
	return len(b.DataSealed) == 0 && len(b.DataJson) > 0 && string(b.DataJson) != "{}"
}

func countKeys(v *state.View) (u keyUsage, err error) {
	u.sealed = map[secret.KeyID]sealedWith{}
	count := func(sealed []byte, blocks, webhooks int) {
		id, err := secret.KeyOf(sealed)
		if err != nil {
			u.damaged++
			return
		}
		n := u.sealed[id]
		u.sealed[id] = sealedWith{n.blocks + blocks, n.webhooks + webhooks}
	}
	err = v.EachBlock(func(b *row.Block) (bool, error) {
		switch {
		case inClear(b):
			u.blocks++
			u.clear++
		case len(b.DataSealed) > 0:
			u.blocks++
			count(b.DataSealed, 1, 0)
		}
		return true, nil
	})
	if err != nil {
		return u, err
	}
	return u, v.EachWebhook(func(w *row.Webhook) (bool, error) {
		u.webhooks++
		count(w.SealedSecret, 0, 1)
		return true, nil
	})
}

// used counts the keys in use, now or a moment ago.
func (s *secrets) used() (keyUsage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.seen) < usageFor {
		return s.usage, s.failed
	}
	s.seen = time.Now()
	v, err := s.node.fsm.View()
	if err == nil {
		s.usage, err = countKeys(v)
		err = errors.Join(err, v.Close())
	}
	s.failed = err
	return s.usage, err
}

// check is what the node says of its keys.
func (s *secrets) check() httpapi.Check {
	c := httpapi.Check{Name: "secrets", OK: true}
	u, err := s.used()
	ring := s.keys.current()
	missing := u.missing(ring)
	switch {
	case err != nil:
		c.Text = "not known: " + err.Error()
	case len(missing) > 0:
		c.Warning, c.Text = true, missingText(missing, s.keys.place)
	case u.damaged > 0:
		c.Warning, c.Text = true, fmt.Sprintf("blocks and webhooks' secrets that cannot be decrypted: %d", u.damaged)
	case len(ring.IDs()) == 0:
		c.Warning, c.Text = u.clear > 0, "no key, blocks with data cannot be stored: --secrets-key-file or "+s.keys.place
	default:
		c.Text = fmt.Sprintf("keys %s of %s", strings.Join(s.have(), ", "), s.keys.place)
	}
	return c
}

func missingText(missing []string, place string) string {
	return fmt.Sprintf("it cannot decrypt some secrets: it lacks the key %s, to be added as a further line to %s", strings.Join(missing, " and "), place)
}

// Keys implements httpapi.Secrets.
func (s *secrets) Keys(ctx context.Context, view *state.View) (api.SecretKeys, error) {
	u, err := countKeys(view)
	if err != nil {
		return api.SecretKeys{}, err
	}
	ring := s.keys.current()
	out := api.SecretKeys{Blocks: u.blocks, Clear: u.clear, Webhooks: u.webhooks, Keys: []api.SecretKey{}}
	members := s.members(ctx)
	seals, err := secret.KeyID{}, s.noKey()
	if ids := ring.IDs(); len(ids) > 0 {
		seals, err = s.choose(ids, members)
	}
	if err != nil {
		out.Problem = err.Error()
	}
	ids := s.have()
	others := u.needed()
	for _, m := range members {
		others = append(others, m.keys...)
	}
	for _, id := range others {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	counts := map[string]sealedWith{}
	for id, n := range u.sealed {
		counts[id.String()] = n
	}
	for _, id := range ids {
		key := api.SecretKey{ID: id, Seals: err == nil && id == seals.String(), Blocks: counts[id].blocks, Webhooks: counts[id].webhooks, Members: []string{}, Lacking: []string{}}
		for _, m := range members {
			if m.has(id) {
				key.Members = append(key.Members, m.name)
			} else {
				key.Lacking = append(key.Lacking, m.name)
			}
		}
		slices.Sort(key.Members)
		slices.Sort(key.Lacking)
		out.Keys = append(out.Keys, key)
	}
	return out, nil
}

// Reseal implements httpapi.Secrets. A step is a pure change of how data is encrypted, bound to what it was made of: steps that are
// repeated, overtake each other or meet a failover do no harm.
func (s *secrets) Reseal(ctx context.Context, view *state.View) (*command.ResealSecrets, api.Resealed, error) {
	return s.reseal(ctx, view, false)
}

// reseal makes a step; onlyClear leaves alone what is encrypted already.
func (s *secrets) reseal(ctx context.Context, view *state.View, onlyClear bool) (*command.ResealSecrets, api.Resealed, error) {
	ring := s.keys.current()
	key, err := s.sealingKey(ctx, ring)
	if err != nil {
		return nil, api.Resealed{}, err
	}
	done := api.Resealed{Key: key.String(), Unreadable: []api.UnreadableSecret{}}
	c := &command.ResealSecrets{}
	left := resealBytes
	// one encrypts one thing anew, nil if it is not to be: for a later step, or because it cannot be read.
	one := func(kind string, b *row.Block) (*command.ResealSecrets_One, error) {
		if len(c.Blocks)+len(c.Webhooks) >= resealMost || left <= 0 {
			done.Remaining++
			return nil, nil
		}
		plain, err := s.Open(b)
		if err != nil {
			if len(done.Unreadable) < resealMost {
				done.Unreadable = append(done.Unreadable, api.UnreadableSecret{ID: api.ID(b.Id), Kind: kind, Name: b.Name, Reason: err.Error()})
			}
			return nil, nil
		}
		sealed, err := ring.Seal(key, about(b.Id), plain)
		if err != nil {
			return nil, err
		}
		left -= len(sealed)
		return &command.ResealSecrets_One{Id: b.Id, DataWas: command.BlockDigest(b), DataSealed: sealed}, nil
	}
	err = view.EachBlock(func(b *row.Block) (bool, error) {
		if id, err := secret.KeyOf(b.DataSealed); !inClear(b) && (onlyClear || len(b.DataSealed) == 0 || err == nil && id == key) {
			return true, nil
		}
		made, err := one(api.SecretOfBlock, b)
		if made != nil {
			c.Blocks = append(c.Blocks, made)
		}
		return true, err
	})
	if err == nil && !onlyClear {
		err = view.EachWebhook(func(w *row.Webhook) (bool, error) {
			if id, err := secret.KeyOf(w.SealedSecret); err == nil && id == key {
				return true, nil
			}
			made, err := one(api.SecretOfWebhook, secretOf(w))
			if made != nil {
				c.Webhooks = append(c.Webhooks, made)
			}
			return true, err
		})
	}
	if err != nil || len(c.Blocks)+len(c.Webhooks) == 0 {
		return nil, done, err
	}
	return c, done, nil
}

// secretOf is a webhook's secret in the shape of a block's data.
func secretOf(w *row.Webhook) *row.Block {
	return &row.Block{Id: w.Id, Name: w.Name, DataSealed: w.SealedSecret}
}

// sealClear encrypts what former versions store in clear, on the leader, until the epoch ends.
func (s *secrets) sealClear(ctx context.Context, epoch cluster.Epoch, p epochProposer) {
	told := ""
	for {
		left, err := s.sealClearStep(ctx, epoch, p)
		pause := clearRetry
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && left > 0:
			continue
		case err == nil:
			pause, told = clearLook, ""
		case err.Error() != told:
			told = err.Error()
			s.node.log.Warn("blocks that a former version stored in clear are not encrypted yet", "blocks", left, "error", err, "again_in", clearRetry)
		}
		wait := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			wait.Stop()
			return
		case <-wait.C:
		}
	}
}

func (s *secrets) sealClearStep(ctx context.Context, epoch cluster.Epoch, p epochProposer) (left int, err error) {
	view, err := s.node.fsm.View()
	if err != nil {
		return 1, err
	}
	defer view.Close()
	u, err := countKeys(view)
	if err != nil || u.clear == 0 {
		return u.clear, err
	}
	c, _, err := s.reseal(ctx, view, true)
	if err != nil || c == nil {
		return u.clear, err
	}
	seed := api.NewID()
	results, _, err := p.Propose(ctx, &command.Envelope{Actor: "server", Epoch: epoch.Index, Seed: seed[:], Command: &command.Envelope_ResealSecrets{ResealSecrets: c}})
	if err != nil {
		return u.clear, err
	}
	s.node.log.Info("blocks that a former version stored in clear were encrypted", "blocks", results[0].Count)
	return max(1, u.clear-int(results[0].Count)), nil // the next step counts anew
}

var (
	descKeys        = desc("sluice_secrets_keys", "Keys for secrets that this node has.")
	descMissingKeys = desc("sluice_secrets_missing_keys", "Keys with which blocks or webhooks' secrets are encrypted and that this node lacks: it cannot read those.")
	descClear       = desc("sluice_secrets_clear_blocks", "Blocks that a former version stored in clear and that are not encrypted yet.")
)

// Describe implements prometheus.Collector.
func (s *secrets) Describe(ch chan<- *prometheus.Desc) {
	ch <- descKeys
	ch <- descMissingKeys
	ch <- descClear
}

// Collect implements prometheus.Collector.
func (s *secrets) Collect(ch chan<- prometheus.Metric) {
	ring := s.keys.current()
	gauge := func(d *prometheus.Desc, n int) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n))
	}
	gauge(descKeys, len(ring.IDs()))
	u, err := s.used()
	if err != nil {
		return
	}
	gauge(descMissingKeys, len(u.missing(ring)))
	gauge(descClear, u.clear)
}
