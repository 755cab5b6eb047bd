package node

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/sluice-dev/sluice/internal/reload"
	"github.com/sluice-dev/sluice/internal/secret"
)

// SecretsFile is the key file of a node's own, in its data directory.
const SecretsFile = "secrets.key"

// SecretKeys says where the keys are that encrypt blocks. Without any, they are in the data directory's own file.
type SecretKeys struct {
	File string // its path
	Text string // the keys themselves, separated by spaces, commas or newlines
}

// secretKeys is where a node's keys come from. It is safe for concurrent use.
type secretKeys struct {
	place string // for people
	file  string // "" when the keys do not come from one
	fixed *secret.Keyring
	log   *slog.Logger

	mu     sync.Mutex // guards what follows
	looked time.Time
	loaded *reload.Value[*secret.Keyring] // nil as long as there is no file
}

// openSecretKeys reads the keys. A node that is a cluster by itself and was given none makes one in its data directory: it has nobody
// who could lack it. Others say that they have none until the file is there.
func openSecretKeys(c SecretKeys, dataDir string, alone bool, log *slog.Logger) (*secretKeys, error) {
	k := &secretKeys{log: log.With("part", "secrets")}
	switch {
	case c.Text != "":
		keys, err := secret.ParseKeys(strings.NewReplacer(",", "\n", " ", "\n").Replace(c.Text))
		if err != nil {
			return nil, fmt.Errorf("read the keys of SLUICE_SECRETS_KEY: %w", err)
		}
		k.place, k.fixed = "SLUICE_SECRETS_KEY", keys
		return k, nil
	case c.File != "":
		k.place, k.file = c.File, c.File
		return k, k.load()
	}
	own := filepath.Join(dataDir, SecretsFile)
	k.place, k.file = own, own
	err := k.load()
	if errors.Is(err, fs.ErrNotExist) && alone {
		if err := WriteDurably(own, false, func(w io.Writer) error {
			_, err := io.WriteString(w, "# Encrypts the secrets in blocks. Without this file they are lost: keep a copy, apart from snapshots.\n"+secret.NewKey())
			return err
		}); err != nil {
			return nil, fmt.Errorf("make a key for secrets: %w", err)
		}
		k.log.Info("made a key that encrypts blocks; keep a copy of the file, as snapshots do not contain it", "file", own)
		err = k.load()
	}
	if errors.Is(err, fs.ErrNotExist) {
		return k, nil
	}
	return k, err
}

func (k *secretKeys) load() (err error) {
	k.loaded, err = reload.New("secret keys", []string{k.file}, func() (*secret.Keyring, error) {
		info, err := os.Stat(k.file)
		if err != nil {
			return nil, err
		}
		text, err := os.ReadFile(k.file)
		if err != nil {
			return nil, err
		}
		if info.Mode().Perm()&0o004 != 0 {
			k.log.Warn("the file of secret keys can be read by every user of this machine", "file", k.file, "try", "chmod 600 "+k.file)
		}
		keys, err := secret.ParseKeys(string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k.file, err)
		}
		return keys, nil
	}, k.log)
	if err != nil {
		return fmt.Errorf("read the secret keys: %w", err)
	}
	return nil
}

// current returns the keys as they were in the file a moment ago; an empty ring if there are none.
func (k *secretKeys) current() *secret.Keyring {
	if k.fixed != nil {
		return k.fixed
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.loaded == nil {
		if time.Since(k.looked) < reload.Every {
			return new(secret.Keyring)
		}
		k.looked = time.Now()
		if err := k.load(); err != nil {
			k.loaded = nil
			if !errors.Is(err, fs.ErrNotExist) {
				k.log.Error("the secret keys cannot be used", "error", err)
			}
			return new(secret.Keyring)
		}
		k.log.Info("secret keys were found", "file", k.file)
	}
	return k.loaded.Current()
}
