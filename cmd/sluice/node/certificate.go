package node

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"time"

	"github.com/sluice-dev/sluice/internal/reload"
)

// CertificateFiles names the PEM files of a certificate, with those between it and its authority, and of its key.
type CertificateFiles struct{ Cert, Key string }

// certificates says when each certificate in force ends.
func (n *Node) certificates() map[string]time.Time {
	ends := map[string]time.Time{}
	if n.tls != nil {
		e := n.tls.Expiry()
		ends["node"], ends["authority"] = e.Node, e.Authority
	}
	if n.apiTLS != nil {
		if cert, err := n.apiTLS.GetCertificate(nil); err == nil {
			ends["api"] = cert.Leaf.NotAfter
		}
	}
	return ends
}

// serve returns the TLS of the API. New files at the same place count from the next connection on.
func (f CertificateFiles) serve(log *slog.Logger) (*tls.Config, error) {
	cert, err := reload.New("TLS files", []string{f.Cert, f.Key}, func() (*tls.Certificate, error) {
		cert, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		switch now := time.Now(); {
		case err != nil:
			return nil, fmt.Errorf("load %s and %s: %w", f.Cert, f.Key, err)
		case now.After(cert.Leaf.NotAfter):
			return nil, fmt.Errorf("%s has expired: it was valid until %s", f.Cert, cert.Leaf.NotAfter.UTC().Format(time.RFC3339))
		case now.Before(cert.Leaf.NotBefore):
			return nil, fmt.Errorf("%s is not valid before %s; this machine's clock says %s", f.Cert, cert.Leaf.NotBefore.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
		}
		return &cert, nil
	}, log.With("part", "API"))
	if err != nil {
		return nil, fmt.Errorf("TLS of the API: %w", err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert.Current(), nil }}, nil
}
