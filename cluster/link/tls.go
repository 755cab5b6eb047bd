package link

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/sluice-dev/sluice/internal/reload"
)

// Files names the PEM files of a node's TLS identity.
type Files struct {
	CA   string // certificates of who may sign nodes
	Cert string
	Key  string
}

// TLS is a node's certificate and the authorities it trusts. Changed files are read again with the next connection; files
// that cannot be read leave the old ones in force.
type TLS struct {
	files    Files
	name     string // every node's certificate is for it
	identity *reload.Value[tlsIdentity]
}

// Expiry is when the certificates in force end.
type Expiry struct{ Node, Authority time.Time }

type tlsIdentity struct {
	cert *tls.Certificate
	pool *x509.CertPool
	ends Expiry
}

// ServerName is the DNS name that the certificates of a cluster's nodes carry.
func ServerName(cluster string) string { return "server." + cluster }

// LoadTLS reads the files. Only peers with a certificate for ServerName(cluster), signed by the CA, are talked to.
func LoadTLS(f Files, cluster string, log *slog.Logger) (*TLS, error) {
	t := &TLS{files: f, name: ServerName(cluster)}
	var err error
	if t.identity, err = reload.New("TLS files", []string{f.CA, f.Cert, f.Key}, t.load, log); err != nil {
		return nil, fmt.Errorf("TLS between nodes: %w", err)
	}
	return t, nil
}

func (t *TLS) load() (tlsIdentity, error) {
	cert, err := tls.LoadX509KeyPair(t.files.Cert, t.files.Key)
	if err != nil {
		return tlsIdentity{}, fmt.Errorf("load %s and %s: %w", t.files.Cert, t.files.Key, err)
	}
	pem, err := os.ReadFile(t.files.CA)
	if err != nil {
		return tlsIdentity{}, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return tlsIdentity{}, fmt.Errorf("%s holds no certificate", t.files.CA)
	}
	if err := cert.Leaf.VerifyHostname(t.name); err != nil {
		return tlsIdentity{}, fmt.Errorf("%s is not for a node of this cluster: %w", t.files.Cert, err)
	}
	var authority time.Time
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		chains, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{usage}})
		if err != nil {
			return tlsIdentity{}, fmt.Errorf("%s would be refused by other nodes: %w", t.files.Cert, err)
		}
		authority = chains[0][len(chains[0])-1].NotAfter
	}
	return tlsIdentity{&cert, pool, Expiry{Node: cert.Leaf.NotAfter, Authority: authority}}, nil
}

// Expiry says when the certificates in force end. Changed files are read again first.
func (t *TLS) Expiry() Expiry { return t.identity.Current().ends }

func (t *TLS) serverConn(conn net.Conn) net.Conn {
	own := t.identity.Current()
	return tls.Server(conn, &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*own.cert},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: own.pool,
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 {
				return errors.New("the peer shows no certificate")
			}
			return s.PeerCertificates[0].VerifyHostname(t.name)
		},
	})
}

func (t *TLS) clientConn(conn net.Conn) net.Conn {
	own := t.identity.Current()
	return tls.Client(conn, &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*own.cert}, RootCAs: own.pool, ServerName: t.name})
}
