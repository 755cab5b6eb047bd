// Package secret encrypts what must not be stored in clear. A keyring holds the keys of one node; the first one seals, all of them
// open. Where keys come from and which of them may be used is for others to say.
package secret

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// KeyBytes is the size of a key: AES-256.
const KeyBytes = 32

// KeyID names a key without telling anything else about it.
type KeyID [8]byte

// String is the id in hexadecimal digits.
func (id KeyID) String() string { return hex.EncodeToString(id[:]) }

// keyID derives a key's id. It never changes: ids are stored.
func keyID(key []byte) (id KeyID) {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("sluice secrets key id"))
	copy(id[:], mac.Sum(nil))
	return id
}

// Keyring is a list of keys, the one to seal with first. It does not change and is safe for concurrent use. The zero value holds none.
type Keyring struct{ keys []key }

type key struct {
	id   KeyID
	aead cipher.AEAD
}

// maxKeys bounds a keyring: a rotation needs two.
const maxKeys = 64

// ParseKeys reads keys, each 32 bytes in base64 on a line of its own. Empty lines and those that begin with # say nothing. The keys
// themselves never appear in an error.
func ParseKeys(text string) (*Keyring, error) {
	r := &Keyring{}
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		raw, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(raw) != KeyBytes {
			return nil, fmt.Errorf("line %d is not %d bytes in base64", number, KeyBytes)
		}
		id := keyID(raw)
		if r.Has(id) {
			return nil, fmt.Errorf("line %d repeats the key %s", number, id)
		}
		if len(r.keys) == maxKeys {
			return nil, fmt.Errorf("more than %d keys", maxKeys)
		}
		block, err := aes.NewCipher(raw)
		if err != nil {
			return nil, fmt.Errorf("use the key of line %d: %w", number, err)
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, fmt.Errorf("use the key of line %d: %w", number, err)
		}
		r.keys = append(r.keys, key{id, aead})
	}
	if len(r.keys) == 0 {
		return nil, fmt.Errorf("no key: one is %d bytes in base64 on a line of its own", KeyBytes)
	}
	return r, nil
}

// NewKey returns the line of a new key.
func NewKey() string {
	raw := make([]byte, KeyBytes)
	_, _ = rand.Read(raw) // never fails
	return base64.StdEncoding.EncodeToString(raw) + "\n"
}

// IDs lists the keys, the one to seal with first.
func (r *Keyring) IDs() []KeyID {
	ids := make([]KeyID, len(r.keys))
	for i, k := range r.keys {
		ids[i] = k.id
	}
	return ids
}

// Has reports whether the keyring holds a key.
func (r *Keyring) Has(id KeyID) bool {
	return slices.ContainsFunc(r.keys, func(k key) bool { return k.id == id })
}

func (r *Keyring) find(id KeyID) (cipher.AEAD, error) {
	for _, k := range r.keys {
		if k.id == id {
			return k.aead, nil
		}
	}
	return nil, &MissingKeyError{id}
}

// MissingKeyError says that something is sealed under a key which the keyring does not hold.
type MissingKeyError struct{ ID KeyID }

func (e *MissingKeyError) Error() string { return "no key " + e.ID.String() }

// ErrUnreadable says that bytes were not sealed by this package for this purpose, or have been changed since.
var ErrUnreadable = errors.New("the encrypted value is damaged, or belongs to something else")
