package link

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"
)

// Files names the PEM files of a node's TLS identity.
type Files struct {
	CA   string // certificates of who may sign nodes
	Cert string
	Key  string
}

// reloadEvery is how often the files are looked at, at most.
const reloadEvery = time.Second

// TLS is a node's certificate and the authorities it trusts. Changed files are read again with the next connection; files
// that cannot be read leave the old ones in force.
type TLS struct {
	files Files
	name  string // every node's certificate is for it
	log   *slog.Logger

	mu      sync.Mutex // guards what follows
	checked time.Time
	stamp   [3]fileStamp
	cert    *tls.Certificate
	pool    *x509.CertPool
	expiry  Expiry
}

// Expiry is when the certificates in force end.
type Expiry struct{ Node, Authority time.Time }

type fileStamp struct {
	size    int64
	changed time.Time
}

// ServerName is the DNS name that the certificates of a cluster's nodes carry.
func ServerName(cluster string) string { return "server." + cluster }

// LoadTLS reads the files. Only peers with a certificate for ServerName(cluster), signed by the CA, are talked to.
func LoadTLS(f Files, cluster string, log *slog.Logger) (*TLS, error) {
	t := &TLS{files: f, name: ServerName(cluster), log: log}
	stamp, err := t.stat()
	if err == nil {
		err = t.load()
	}
	if err != nil {
		return nil, fmt.Errorf("TLS between nodes: %w", err)
	}
	t.stamp, t.checked = stamp, time.Now()
	return t, nil
}

func (t *TLS) stat() (stamp [3]fileStamp, err error) {
	for i, name := range []string{t.files.CA, t.files.Cert, t.files.Key} {
		info, err := os.Stat(name)
		if err != nil {
			return stamp, err
		}
		stamp[i] = fileStamp{info.Size(), info.ModTime()}
	}
	return stamp, nil
}

// load replaces certificate and authorities. Holds mu, or comes before anyone else.
func (t *TLS) load() error {
	cert, err := tls.LoadX509KeyPair(t.files.Cert, t.files.Key)
	if err != nil {
		return fmt.Errorf("load %s and %s: %w", t.files.Cert, t.files.Key, err)
	}
	pem, err := os.ReadFile(t.files.CA)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return fmt.Errorf("%s holds no certificate", t.files.CA)
	}
	if err := cert.Leaf.VerifyHostname(t.name); err != nil {
		return fmt.Errorf("%s is not for a node of this cluster: %w", t.files.Cert, err)
	}
	var authority time.Time
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		chains, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{usage}})
		if err != nil {
			return fmt.Errorf("%s would be refused by other nodes: %w", t.files.Cert, err)
		}
		authority = chains[0][len(chains[0])-1].NotAfter
	}
	t.cert, t.pool, t.expiry = &cert, pool, Expiry{Node: cert.Leaf.NotAfter, Authority: authority}
	return nil
}

func (t *TLS) current() (*tls.Certificate, *x509.CertPool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := time.Now(); now.Sub(t.checked) >= reloadEvery {
		t.checked = now
		if stamp, err := t.stat(); err != nil {
			t.log.Warn("TLS files cannot be looked at; the old ones stay in force", "error", err)
		} else if stamp != t.stamp {
			if err := t.load(); err != nil {
				t.log.Error("changed TLS files cannot be used; the old ones stay in force", "error", err)
			} else {
				t.stamp = stamp
				t.log.Info("TLS files were read again", "valid until", t.cert.Leaf.NotAfter)
			}
		}
	}
	return t.cert, t.pool
}

// Expiry says when the certificates in force end. Changed files are read again first.
func (t *TLS) Expiry() Expiry {
	t.current()
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.expiry
}

func (t *TLS) serverConn(conn net.Conn) net.Conn {
	cert, pool := t.current()
	return tls.Server(conn, &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*cert},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool,
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 {
				return errors.New("the peer shows no certificate")
			}
			return s.PeerCertificates[0].VerifyHostname(t.name)
		},
	})
}

func (t *TLS) clientConn(conn net.Conn) net.Conn {
	cert, pool := t.current()
	return tls.Client(conn, &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*cert}, RootCAs: pool, ServerName: t.name})
}
