package link

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func authority(t *testing.T, cluster string) *Authority {
	t.Helper()
	a, err := NewAuthority(cluster, time.Now(), 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// write stores a certificate signed by a, trusting those that ca names.
func (f Files) write(t *testing.T, a, ca *Authority, valid time.Duration) {
	t.Helper()
	cert, key, err := a.Issue("node", time.Now(), valid)
	if err != nil {
		t.Fatal(err)
	}
	caPEM, _ := ca.PEM()
	for name, content := range map[string][]byte{f.CA: caPEM, f.Cert: cert, f.Key: key} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func files(t *testing.T) Files {
	dir := t.TempDir()
	return Files{CA: filepath.Join(dir, "ca.pem"), Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
}

func loaded(t *testing.T, a, ca *Authority, cluster string) *TLS {
	t.Helper()
	f := files(t)
	f.write(t, a, ca, time.Hour)
	s, err := LoadTLS(f, cluster, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTLS(t *testing.T) {
	t.Parallel()
	handlers := map[string]Handler{"echo": echo}
	call := func(t *testing.T, a, b *TLS) error {
		t.Helper()
		_, err := open(t, setup{tls: a}).client.Call(testContext(t), open(t, setup{tls: b, handlers: handlers}).target(), "echo", nil)
		return err
	}
	ca := authority(t, "c")
	t.Run("nodes of one authority talk", func(t *testing.T) {
		t.Parallel()
		if err := call(t, loaded(t, ca, ca, "c"), loaded(t, ca, ca, "c")); err != nil {
			t.Error(err)
		}
	})
	t.Run("it is known when the certificates end", func(t *testing.T) {
		t.Parallel()
		e := loaded(t, ca, ca, "c").Expiry()
		if node, authority := time.Until(e.Node), time.Until(e.Authority); node > time.Hour || node < 50*time.Minute || authority < 23*time.Hour {
			t.Errorf("the node's ends in %s, its authority's in %s", node, authority)
		}
	})
	t.Run("another authority's node is refused by both", func(t *testing.T) {
		t.Parallel()
		other := authority(t, "c")
		for _, err := range []error{call(t, loaded(t, other, other, "c"), loaded(t, ca, ca, "c")), call(t, loaded(t, ca, ca, "c"), loaded(t, other, other, "c"))} {
			if !errors.Is(err, ErrNotSent) || !strings.Contains(err.Error(), "certificate") {
				t.Errorf("got %v", err)
			}
		}
	})
	t.Run("plain text and TLS do not meet, and each says so", func(t *testing.T) {
		t.Parallel()
		if err := call(t, nil, loaded(t, ca, ca, "c")); err == nil || !strings.Contains(err.Error(), "TLS") && !strings.Contains(err.Error(), "greeting") {
			t.Errorf("got %v", err)
		}
		if err := call(t, loaded(t, ca, ca, "c"), nil); err == nil || !errors.Is(err, ErrNotSent) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("files that other nodes would refuse are refused at once", func(t *testing.T) {
		t.Parallel()
		for part, make := range map[string]func(Files) string{
			"not for a node of this cluster": func(f Files) string { f.write(t, ca, ca, time.Hour); return "other" },
			"would be refused":               func(f Files) string { f.write(t, ca, authority(t, "c"), time.Hour); return "c" },
			"expired":                        func(f Files) string { f.write(t, ca, ca, -time.Minute); return "c" },
			"no such file":                   func(Files) string { return "c" },
		} {
			f := files(t)
			if _, err := LoadTLS(f, make(f), slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("want %q, got %v", part, err)
			}
		}
	})
	t.Run("changed files count from the next connection on, broken ones do not", func(t *testing.T) {
		t.Parallel()
		f := files(t)
		f.write(t, ca, ca, time.Hour)
		s, err := LoadTLS(f, "c", slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		look := s.identity.Refresh
		if err := os.WriteFile(f.Cert, []byte("rubbish"), 0o600); err != nil {
			t.Fatal(err)
		}
		look()
		if err := call(t, s, loaded(t, ca, ca, "c")); err != nil {
			t.Errorf("with a broken file: %v", err)
		}
		other := authority(t, "c")
		f.write(t, other, other, time.Hour)
		look()
		if err := call(t, s, loaded(t, other, other, "c")); err != nil {
			t.Errorf("with the new authority: %v", err)
		}
		if err := call(t, s, loaded(t, ca, ca, "c")); err == nil {
			t.Error("the old authority is still trusted")
		}
	})
}
