//go:build linux

package e2e

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authority signs certificates as an operator's own does.
type authority struct {
	t    *testing.T
	file string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, file: filepath.Join(t.TempDir(), "ca.pem"), key: must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "e2e authority"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key))
	a.cert = must[*x509.Certificate](t)(x509.ParseCertificate(der))
	a.put(a.file, "CERTIFICATE", der)
	return a
}

// put replaces a file as tools that renew certificates do: at once.
func (a *authority) put(name, kind string, der []byte) {
	a.t.Helper()
	if err := os.WriteFile(name+".new", pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		a.t.Fatal(err)
	}
}

// issue writes a certificate for 127.0.0.1 and its key.
func (a *authority) issue(cert, key string, serial int64, until time.Time) {
	a.t.Helper()
	own := must[*ecdsa.PrivateKey](a.t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "node"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until}
	a.put(key, "PRIVATE KEY", must[[]byte](a.t)(x509.MarshalPKCS8PrivateKey(own)))
	a.put(cert, "CERTIFICATE", must[[]byte](a.t)(x509.CreateCertificate(rand.Reader, template, a.cert, own.Public(), a.key)))
}

// client trusts the authority and speaks the newest HTTP that the server does.
func (a *authority) client() *http.Client {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}}
}

func TestTheAPIOverHTTPS(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	folder := t.TempDir()
	cert, key := filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem")
	ca.issue(cert, key, 100, time.Now().Add(time.Hour))
	s := newServer(t, "--http-tls-cert", cert, "--http-tls-key", key)
	s.begin()
	s.waitFor("Check out the dashboard at https://" + s.address)
	address := "https://" + s.address

	t.Run("serves health and metrics in HTTP/2", func(t *testing.T) {
		t.Parallel()
		c := ca.client()
		defer c.CloseIdleConnections()
		for _, path := range []string{"/livez", "/readyz", "/metrics"} {
			response := must[*http.Response](t)(c.Get(address + path))
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
			if response.StatusCode != http.StatusOK || response.ProtoMajor != 2 {
				t.Errorf("%s answers %s in %s", path, response.Status, response.Proto)
			}
		}
	})
	t.Run("streams events in HTTP/2", func(t *testing.T) {
		t.Parallel()
		c := ca.client()
		defer c.CloseIdleConnections()
		response := must[*http.Response](t)(c.Get(address + "/api/events?topic=flow_run"))
		defer func() { _ = response.Body.Close() }()
		if response.ProtoMajor != 2 || response.StatusCode != http.StatusOK {
			t.Fatalf("%s in %s", response.Status, response.Proto)
		}
		flow := must[*http.Response](t)(c.Post(address+"/api/flows/", "application/json", strings.NewReader(`{"name":"streamed"}`)))
		text := string(must[[]byte](t)(io.ReadAll(flow.Body)))
		_ = flow.Body.Close()
		_, id, _ := strings.Cut(text, `"id":"`)
		id, _, _ = strings.Cut(id, `"`)
		run := must[*http.Response](t)(c.Post(address+"/api/flow_runs/", "application/json", strings.NewReader(fmt.Sprintf(`{"flow_id":%q,"state":{"type":"SCHEDULED"}}`, id))))
		_ = run.Body.Close()
		seen := make(chan string, 1)
		go func() { // ends with the body
			for lines := bufio.NewScanner(response.Body); lines.Scan(); {
				if strings.HasPrefix(lines.Text(), "data:") && strings.Contains(lines.Text(), "SCHEDULED") {
					seen <- lines.Text()
					return
				}
			}
		}()
		select {
		case <-seen:
		case <-time.After(patience):
			t.Errorf("the run, made with %s, was not streamed", run.Status)
		}
	})
	t.Run("serves command line, agent and a Python flow that trust its authority", func(t *testing.T) {
		t.Parallel()
		shell := newShell(t)
		shell.ok("config", "set", "SLUICE_API_URL="+address+"/api")
		shell.ok("config", "set", "SLUICE_API_CA_FILE="+ca.file)
		shell.write("leo.py", leoSource)
		shell.write("leo.yaml", "name: leonardo-deployment\nflow_location: ./leo.py\nparameters: {name: Leo}\ntags: [tutorial]\n")
		shell.ok("deployment", "create", "leo.yaml")
		shell.ok("work-queue", "create", "--tag", "tutorial", "tutorial_queue")
		agent := shell.startAgent("tutorial_queue")
		contains(t, agent.output(), "https://")
		contains(t, shell.ok("deployment", "run", "leonardo-dicapriflow/leonardo-deployment", "--watch"), "Hello Leo!")
	})
	t.Run("tells who does not trust it what to do", func(t *testing.T) {
		t.Parallel()
		shell := newShell(t)
		shell.env["SLUICE_API_URL"] = address + "/api"
		r := shell.run("work-queue", "ls")
		if r.code != 6 {
			t.Errorf("exit code %d", r.code)
		}
		contains(t, r.stderr, "certificate signed by unknown authority", "SLUICE_API_CA_FILE=/path/to/ca.pem")
		shell.env["SLUICE_API_CA_FILE"] = "nowhere.pem"
		r = shell.run("work-queue", "ls")
		if r.code != 2 {
			t.Errorf("exit code %d", r.code)
		}
		contains(t, r.stderr, "SLUICE_API_CA_FILE (from env)", "nowhere.pem")
		delete(shell.env, "SLUICE_API_CA_FILE")
		shell.env["SLUICE_API_RETRY_SECONDS"] = "0"
		shell.write("leo.py", leoSource+"\n\nleonardo_dicapriflow(\"Leo\")\n")
		contains(t, shell.script("leo.py").stderr, "is not trusted", "SLUICE_API_CA_FILE=/path/to/ca.pem")
	})
	t.Run("tells who speaks plain HTTP, and is told by a plain server", func(t *testing.T) {
		t.Parallel()
		shell := newShell(t)
		shell.env["SLUICE_API_URL"] = "http://" + s.address + "/api"
		r := shell.run("work-queue", "ls")
		contains(t, r.stderr, "speaks HTTPS only", "use https://")
		plain := startServer(t)
		shell.env["SLUICE_API_URL"] = "https://" + plain.address + "/api"
		r = shell.run("work-queue", "ls")
		contains(t, r.stderr, "the server speaks plain HTTP: use http://", "--http-tls-cert")
	})
	t.Run("takes a new certificate without a restart, and no broken one", func(t *testing.T) {
		t.Parallel()
		own := t.TempDir()
		cert, key := filepath.Join(own, "cert.pem"), filepath.Join(own, "key.pem")
		ca.issue(cert, key, 200, time.Now().Add(time.Hour))
		s := newServer(t, "--http-tls-cert", cert, "--http-tls-key", key)
		s.begin()
		s.waitFor("Check out the dashboard")
		shown := func() int64 {
			c := ca.client()
			defer c.CloseIdleConnections()
			response := must[*http.Response](t)(c.Get("https://" + s.address + "/livez"))
			_ = response.Body.Close()
			return response.TLS.PeerCertificates[0].SerialNumber.Int64()
		}
		if n := shown(); n != 200 {
			t.Fatalf("certificate %d", n)
		}
		if err := os.WriteFile(cert, []byte("rubbish"), 0o600); err != nil {
			t.Fatal(err)
		}
		// The server looks at its files with a connection, once a second at most.
		eventually(t, "the broken file was noticed", func() error {
			if n := shown(); n != 200 {
				t.Fatalf("certificate %d", n)
			}
			if !strings.Contains(s.output(), "changed TLS files cannot be used; the old ones stay in force") {
				return fmt.Errorf("nothing is said of it")
			}
			return nil
		})
		ca.issue(cert, key, 201, time.Now().Add(time.Hour))
		eventually(t, "the new certificate is shown", func() error {
			if n := shown(); n != 201 {
				return fmt.Errorf("certificate %d", n)
			}
			return nil
		})
	})
	t.Run("is not started with a certificate that nobody would accept", func(t *testing.T) {
		t.Parallel()
		own := t.TempDir()
		cert, key := filepath.Join(own, "cert.pem"), filepath.Join(own, "key.pem")
		ca.issue(cert, key, 300, time.Now().Add(-time.Minute))
		for flags, want := range map[string]string{
			"--http-tls-cert " + cert + " --http-tls-key " + key:    "has expired",
			"--http-tls-cert " + cert:                               "--http-tls-cert and --http-tls-key together",
			"--http-tls-cert " + ca.file + " --http-tls-key " + key: "private key does not match",
		} {
			s := newServer(t, strings.Fields(flags)...)
			p := s.shell.start(s.flags...)
			if code := p.wait(); code == 0 {
				t.Errorf("it started with %s", flags)
			}
			contains(t, p.output(), want)
		}
	})
}
