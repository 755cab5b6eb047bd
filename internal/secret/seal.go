package secret

import (
	"crypto/rand"
	"fmt"
	"slices"
)

// A sealed value is: format (1 byte), key id (8), nonce (12), then ciphertext and tag of AES-256-GCM. The tag also covers format, key
// id and what the value is about, so that it cannot be moved to another place.
const (
	format     = 1
	nonceBytes = 12
	tagBytes   = 16
	headBytes  = 1 + len(KeyID{})

	// Overhead is how much longer a sealed value is.
	Overhead = headBytes + nonceBytes + tagBytes
)

// Seal encrypts plain under a key of the keyring. about names what the value belongs to: it can only be opened for the same.
func (r *Keyring) Seal(with KeyID, about, plain []byte) ([]byte, error) {
	nonce := make([]byte, nonceBytes)
	_, _ = rand.Read(nonce) // never fails
	return r.seal(with, about, plain, nonce)
}

func (r *Keyring) seal(with KeyID, about, plain, nonce []byte) ([]byte, error) {
	aead, err := r.find(with)
	if err != nil {
		return nil, err
	}
	sealed := make([]byte, 0, Overhead+len(plain))
	sealed = append(sealed, format)
	sealed = append(sealed, with[:]...)
	bound := slices.Concat(sealed, about)
	sealed = append(sealed, nonce...)
	return aead.Seal(sealed, nonce, plain, bound), nil
}

// Open decrypts what Seal made for the same about. The error is a *MissingKeyError or ErrUnreadable.
func (r *Keyring) Open(about, sealed []byte) ([]byte, error) {
	id, err := KeyOf(sealed)
	if err != nil {
		return nil, err
	}
	aead, err := r.find(id)
	if err != nil {
		return nil, err
	}
	nonce, rest := sealed[headBytes:headBytes+nonceBytes], sealed[headBytes+nonceBytes:]
	plain, err := aead.Open(nil, nonce, rest, slices.Concat(sealed[:headBytes], about))
	if err != nil {
		return nil, ErrUnreadable
	}
	return plain, nil
}

// KeyOf returns under which key a value is sealed.
func KeyOf(sealed []byte) (id KeyID, err error) {
	if len(sealed) < Overhead {
		return id, ErrUnreadable
	}
	if sealed[0] != format {
		return id, fmt.Errorf("%w: its format is %d, this version reads %d", ErrUnreadable, sealed[0], format)
	}
	copy(id[:], sealed[1:])
	return id, nil
}
