package httpapi

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
	"github.com/sluice-dev/sluice/internal/secret"
)

// testSecrets seals with real keys, of which all members have all.
type testSecrets struct {
	mu   sync.Mutex
	keys *secret.Keyring
	text string
}

func newTestSecrets(t testing.TB) *testSecrets {
	s := &testSecrets{}
	s.rotate(t)
	return s
}

// rotate puts a new key before the others.
func (s *testSecrets) rotate(t testing.TB) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text = secret.NewKey() + s.text
	var err error
	if s.keys, err = secret.ParseKeys(s.text); err != nil {
		t.Fatal(err)
	}
}

func (s *testSecrets) ring() *secret.Keyring {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys
}

func (s *testSecrets) Seal(_ context.Context, block api.ID, data []byte) ([]byte, error) {
	r := s.ring()
	return r.Seal(r.IDs()[0], block[:], data)
}

func (s *testSecrets) Open(b *row.Block) ([]byte, error) {
	if len(b.DataSealed) == 0 {
		return b.DataJson, nil
	}
	return s.ring().Open(b.Id, b.DataSealed)
}

func (s *testSecrets) Keys(_ context.Context, view *state.View) (api.SecretKeys, error) {
	id := s.ring().IDs()[0]
	k := api.SecretKey{ID: id.String(), Seals: true, Members: []string{}, Lacking: []string{}}
	err := view.EachBlock(func(b *row.Block) (bool, error) {
		if got, err := secret.KeyOf(b.DataSealed); err == nil && got == id {
			k.Blocks++
		}
		return true, nil
	})
	err = errors.Join(err, view.EachWebhook(func(w *row.Webhook) (bool, error) {
		if got, err := secret.KeyOf(w.SealedSecret); err == nil && got == id {
			k.Webhooks++
		}
		return true, nil
	}))
	return api.SecretKeys{Keys: []api.SecretKey{k}}, err
}

// Reseal reseals one block a step.
func (s *testSecrets) Reseal(_ context.Context, view *state.View) (c *command.ResealSecrets, done api.Resealed, err error) {
	r := s.ring()
	done = api.Resealed{Key: r.IDs()[0].String(), Unreadable: []api.UnreadableSecret{}}
	one := func(b *row.Block) (*command.ResealSecrets_One, error) {
		id, err := secret.KeyOf(b.DataSealed)
		if err == nil && id == r.IDs()[0] {
			return nil, nil
		}
		if c != nil {
			done.Remaining++
			return nil, nil
		}
		plain, err := s.Open(b)
		sealed, err2 := r.Seal(r.IDs()[0], b.Id, plain)
		c = &command.ResealSecrets{}
		return &command.ResealSecrets_One{Id: b.Id, DataWas: command.BlockDigest(b), DataSealed: sealed}, errors.Join(err, err2)
	}
	err = errors.Join(view.EachBlock(func(b *row.Block) (bool, error) {
		made, err := one(b)
		if made != nil {
			c.Blocks = append(c.Blocks, made)
		}
		return true, err
	}), view.EachWebhook(func(w *row.Webhook) (bool, error) {
		made, err := one(&row.Block{Id: w.Id, DataSealed: w.SealedSecret})
		if made != nil {
			c.Webhooks = append(c.Webhooks, made)
		}
		return true, err
	}))
	return c, done, err
}
