package secret

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

func line(fill byte) string {
	return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{fill}, KeyBytes)) + "\n"
}

func ring(t testing.TB, lines ...string) *Keyring {
	t.Helper()
	r, err := ParseKeys(strings.Join(lines, ""))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestKeys(t *testing.T) {
	t.Parallel()
	t.Run("are read in their order, between comments and empty lines", func(t *testing.T) {
		t.Parallel()
		r := ring(t, "# new\n", line(2), "\n", "  "+line(1))
		if ids := r.IDs(); len(ids) != 2 || ids[0] != ring(t, line(2)).IDs()[0] || ids[1] != ring(t, line(1)).IDs()[0] {
			t.Errorf("got %v", ids)
		}
	})
	t.Run("are new each time", func(t *testing.T) {
		t.Parallel()
		if a, b := NewKey(), NewKey(); a == b || ring(t, a).IDs()[0] == ring(t, b).IDs()[0] {
			t.Error("two new keys are equal")
		}
	})
	t.Run("that cannot be used are refused without being told", func(t *testing.T) {
		t.Parallel()
		short := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 16))
		for text, want := range map[string]string{
			"": "no key", "# only\n": "no key", "secret-in-clear": "line 1 is not 32 bytes", line(1) + short: "line 2 is not", line(1) + "\n" + line(1): "line 3 repeats",
		} {
			_, err := ParseKeys(text)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v", text, err)
			}
			if err != nil && (strings.Contains(err.Error(), "clear") || strings.Contains(err.Error(), short)) {
				t.Errorf("the error tells the key: %v", err)
			}
		}
	})
}

func TestASealedValue(t *testing.T) {
	t.Parallel()
	about, plain := []byte("block 1"), []byte(`{"password":"hunter2"}`)
	both, old, other := ring(t, line(2), line(1)), ring(t, line(1)), ring(t, line(3))

	t.Run("is opened by whoever has the key, for what it is about", func(t *testing.T) {
		t.Parallel()
		for _, id := range both.IDs() {
			sealed, err := both.Seal(id, about, plain)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := KeyOf(sealed); err != nil || got != id || len(sealed) != len(plain)+Overhead || bytes.Contains(sealed, []byte("hunter2")) {
				t.Errorf("sealed under %s is %x: %s, %v", id, sealed, got, err)
			}
			if got, err := both.Open(about, sealed); err != nil || !bytes.Equal(got, plain) {
				t.Errorf("opened %q, %v", got, err)
			}
			if _, err := both.Open([]byte("block 2"), sealed); !errors.Is(err, ErrUnreadable) {
				t.Errorf("for something else: %v", err)
			}
			if _, err := other.Open(about, sealed); func() bool { m, ok := errors.AsType[*MissingKeyError](err); return !ok || m.ID != id }() {
				t.Errorf("without the key: %v", err)
			}
		}
	})
	t.Run("differs each time", func(t *testing.T) {
		t.Parallel()
		a, err1 := old.Seal(old.IDs()[0], about, plain)
		b, err2 := old.Seal(old.IDs()[0], about, plain)
		if err1 != nil || err2 != nil || bytes.Equal(a, b) {
			t.Errorf("%x, %x, %v, %v", a, b, err1, err2)
		}
	})
	t.Run("is not made under a key that is not there", func(t *testing.T) {
		t.Parallel()
		if _, err := old.Seal(other.IDs()[0], about, plain); err == nil {
			t.Error("sealed")
		}
		if _, err := new(Keyring).Open(about, make([]byte, 100)); err == nil {
			t.Error("opened by nothing")
		}
	})
	t.Run("that was changed at any bit is refused", func(t *testing.T) {
		t.Parallel()
		sealed, err := both.Seal(both.IDs()[0], about, plain)
		if err != nil {
			t.Fatal(err)
		}
		for i := range len(sealed) * 8 {
			bad := bytes.Clone(sealed)
			bad[i/8] ^= 1 << (i % 8)
			if got, err := both.Open(about, bad); err == nil {
				t.Fatalf("bit %d: opened %q", i, got)
			}
		}
		for n := range len(sealed) {
			if _, err := both.Open(about, sealed[:n]); err == nil {
				t.Fatalf("opened its first %d bytes", n)
			}
		}
	})
	t.Run("under another key's name is refused", func(t *testing.T) {
		t.Parallel()
		sealed, err := both.Seal(both.IDs()[0], about, plain)
		if err != nil {
			t.Fatal(err)
		}
		second := both.IDs()[1]
		copy(sealed[1:], second[:])
		if _, err := both.Open(about, sealed); !errors.Is(err, ErrUnreadable) {
			t.Errorf("got %v", err)
		}
	})
}

// golden is stored in databases: it must be readable for ever.
const (
	goldenKey = "957d1c51f8d96d86"
	golden    = "01957d1c51f8d96d867477656c7665206279746573dfec84b023a4837a535c47c6caa7501e03dfbd4107"
)

func TestTheStoredFormat(t *testing.T) {
	t.Parallel()
	r := ring(t, line(1))
	id := r.IDs()[0]
	sealed, err := r.seal(id, []byte("about"), []byte("plain"), []byte("twelve bytes"))
	if err != nil {
		t.Fatal(err)
	}
	if id.String() != goldenKey || hex.EncodeToString(sealed) != golden {
		t.Errorf("key %s, sealed %x", id, sealed)
	}
	stored, err := hex.DecodeString(golden)
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := r.Open([]byte("about"), stored); err != nil || string(plain) != "plain" {
		t.Errorf("opened %q, %v", plain, err)
	}
}

// FuzzOpen looks for bytes that are opened though nobody sealed them, or that end the process.
func FuzzOpen(f *testing.F) {
	r := ring(f, line(2), line(1))
	for _, id := range r.IDs() {
		sealed, err := r.Seal(id, []byte("about"), []byte("plain"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add([]byte("about"), sealed)
		f.Add([]byte("about"), sealed[:Overhead-1])
		f.Add([]byte(""), sealed)
	}
	f.Fuzz(func(t *testing.T, about, sealed []byte) {
		plain, err := r.Open(about, sealed)
		if err != nil {
			return
		}
		id, err := KeyOf(sealed)
		if err != nil || string(about) != "about" || string(plain) != "plain" || !r.Has(id) {
			t.Errorf("%q was opened as %q about %q (%v)", sealed, plain, about, err)
		}
	})
}
