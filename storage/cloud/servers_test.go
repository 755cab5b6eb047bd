package cloud_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// installed is the folder of the servers that tools/storage-servers pins.
func installed(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("../../tools/storage-servers/install", "--where").Output()
	if err != nil {
		t.Fatalf("find the storage servers: %v", err)
	}
	folder := strings.TrimSpace(string(out))
	if _, err := os.Stat(filepath.Join(folder, "complete")); err != nil {
		t.Skipf("the storage servers are not installed: make storage-servers")
	}
	return folder
}

// serve starts a server on a port of its own and waits until it takes connections; it ends with the test.
func serve(t *testing.T, dir string, command func(port string) []string) string {
	t.Helper()
	for range 5 { // somebody may take the port before the server does
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := listener.Addr().String()
		_, port, _ := net.SplitHostPort(address)
		_ = listener.Close()
		words := command(port)
		process := exec.Command(words[0], words[1:]...)
		var said bytes.Buffer
		process.Stdout, process.Stderr, process.Dir = &said, &said, dir
		if err := process.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = process.Wait()
		}()
		if listens(t, address, ended) {
			t.Cleanup(func() {
				_ = process.Process.Kill()
				<-ended
			})
			return address
		}
		_ = process.Process.Kill()
		<-ended
		t.Logf("%s did not start:\n%s", words[0], &said)
	}
	t.Fatal("the server did not start")
	return ""
}

// listens polls: nothing tells when another program has its socket.
func listens(t *testing.T, address string, ended <-chan struct{}) bool {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if connection, err := net.Dial("tcp", address); err == nil {
			_ = connection.Close()
			return true
		}
		select {
		case <-ended:
			return false
		case <-time.After(20 * time.Millisecond):
		}
	}
	return false
}

// startS3 starts versitygw with the bucket "flows".
func startS3(t *testing.T) (endpoint string) {
	program, dir := filepath.Join(installed(t), "versitygw"), t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "flows"), 0o755); err != nil {
		t.Fatal(err)
	}
	return "http://" + serve(t, dir, func(port string) []string {
		return []string{program, "--port", "127.0.0.1:" + port, "--access", "the-key", "--secret", "the-secret", "--quiet", "posix", "--nometa", dir}
	})
}

// startAzure starts Azurite with the container "flows" and returns the account's connection string.
func startAzure(t *testing.T) (connection string) {
	program, dir := filepath.Join(installed(t), "node_modules", ".bin", "azurite-blob"), t.TempDir()
	// Everybody's account at Azurite: the name and key are documented constants, no secret.
	const key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
	address := serve(t, dir, func(port string) []string {
		return []string{"node", program, "--silent", "--disableTelemetry", "--skipApiVersionCheck", "--inMemoryPersistence", "--blobHost", "127.0.0.1", "--blobPort", port}
	})
	connection = fmt.Sprintf("DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=%s;BlobEndpoint=http://%s/devstoreaccount1;", key, address)
	client, err := azblob.NewClientFromConnectionString(connection, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.CreateContainer(t.Context(), "flows", nil); err != nil {
		t.Fatal(err)
	}
	return connection
}

// googleServer is fake-gcs-server, which takes whoever comes, behind a door that does not, and where tokens are made.
type googleServer struct {
	endpoint string
	account  []byte // service_account_info of who is let in
	stranger []byte // and of who is not
}

func startGoogle(t *testing.T) googleServer {
	program, dir := filepath.Join(installed(t), "fake-gcs-server"), t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "data", "flows"), 0o755); err != nil {
		t.Fatal(err)
	}
	address := serve(t, dir, func(port string) []string {
		return []string{program, "-scheme", "http", "-host", "127.0.0.1", "-port", port, "-backend", "memory", "-data", filepath.Join(dir, "data"), "-log-level", "error"}
	})
	storage := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: address})
	known := newKey(t)
	door := http.NewServeMux()
	door.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		parts := strings.Split(r.PostFormValue("assertion"), ".")
		w.Header().Set("Content-Type", "application/json")
		if len(parts) != 3 || !signed(known, parts) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprint(w, `{"error":"invalid_grant","error_description":"Invalid JWT Signature."}`)
			return
		}
		_, _ = fmt.Fprint(w, `{"access_token":"let-in","token_type":"Bearer","expires_in":3600}`)
	})
	door.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer let-in" {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = fmt.Fprint(w, `{"error":{"code":401,"message":"Anonymous caller does not have storage.objects access."}}`)
			return
		}
		r.Host = address
		storage.ServeHTTP(w, r)
	})
	server := httptest.NewServer(door)
	t.Cleanup(server.Close)
	return googleServer{server.URL, account(t, known, server.URL), account(t, newKey(t), server.URL)}
}

func newKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// account is the JSON of a service account's key.
func account(t *testing.T, key *rsa.PrivateKey, endpoint string) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	info, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "flows@example.com", "private_key_id": "1", "token_uri": endpoint + "/token",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	})
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// signed reports whether the holder of the key made the assertion.
func signed(key *rsa.PrivateKey, parts []string) bool {
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	return err == nil && verify(&key.PublicKey, parts[0]+"."+parts[1], signature)
}

// closedPort is where nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// overwrite puts an object into the bucket of startS3 as anybody with its keys can.
func overwrite(t *testing.T, endpoint, key, text string) {
	t.Helper()
	client, err := minio.New(strings.TrimPrefix(endpoint, "http://"), &minio.Options{Creds: credentials.NewStaticV4("the-key", "the-secret", "")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.PutObject(t.Context(), "flows", key, strings.NewReader(text), int64(len(text)), minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
}
