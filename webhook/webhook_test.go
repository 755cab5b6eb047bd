package webhook

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/row"
)

// received is a message as a receiver gets it.
type received struct {
	header http.Header
	body   []byte
}

func receiver(t *testing.T, answer http.HandlerFunc) (*httptest.Server, chan received) {
	t.Helper()
	got := make(chan received, 10)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got <- received{r.Header, body}
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s, got
}

func failure() *row.Delivery {
	id, run := api.NewID(), api.NewID()
	text := "it broke"
	return &row.Delivery{Id: id[:], Created: 1_700_000_000_000_000, FlowRun: &row.FlowRun{Id: run[:], Name: "brave-otter", Tags: []string{"prod"},
		State: &row.State{Id: run[:], Type: row.StateType_FAILED, Name: "Failed", Message: &text, Timestamp: 1_700_000_000_000_000}}}
}

func TestMessagesAreSignedAsTheDocumentedSnippetsVerify(t *testing.T) {
	t.Parallel()
	server, got := receiver(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	sender := NewSender("test", true)
	defer sender.Close()
	secret := NewSecret()
	key, err := ParseSecret(secret)
	if err != nil {
		t.Fatal(err)
	}
	if a := sender.Send(t.Context(), &row.Webhook{Url: server.URL, Name: "alerts"}, key, failure()); a.Error != "" || a.Code != 204 {
		t.Fatalf("the answer is %+v", a)
	}
	m := <-got
	var body struct {
		Type string
		Data struct {
			FlowRun struct{ Name string } `json:"flow_run"`
			State   struct{ Type, Message string }
		}
	}
	if err := json.Unmarshal(m.body, &body); err != nil || body.Type != TypeState || body.Data.FlowRun.Name != "brave-otter" || body.Data.State.Message != "it broke" {
		t.Errorf("the message is %s (%v)", m.body, err)
	}
	docs, err := os.ReadFile(filepath.Join("..", "docs", "webhooks.md"))
	if err != nil {
		t.Fatal(err)
	}
	headers := map[string]string{}
	for name := range m.header {
		headers[strings.ToLower(name)] = m.header.Get(name)
	}
	given, err := json.Marshal(map[string]any{"secret": secret, "headers": headers, "body": string(m.body)})
	if err != nil {
		t.Fatal(err)
	}
	for language, run := range map[string]func(t *testing.T, snippet string, input []byte) string{"python": runPython, "go": runGo} {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			_, rest, found := strings.Cut(string(docs), "<!-- test: "+language+" -->\n```"+language+"\n")
			snippet, _, closed := strings.Cut(rest, "\n```")
			if !found || !closed {
				t.Fatal("docs/webhooks.md has no snippet")
			}
			if answer := run(t, snippet, given); answer != "true false" {
				t.Errorf("the snippet says %q of the message and of one that was changed, want true false", answer)
			}
		})
	}
}

func runPython(t *testing.T, snippet string, input []byte) string {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is missing: make test-deps installs it")
	}
	script := snippet + `

import json, sys
given = json.load(sys.stdin)
body = given["body"].encode()
print(str(verify(given["secret"], given["headers"], body)).lower(), str(verify(given["secret"], given["headers"], body + b" ")).lower())
`
	return execute(t, input, python, "-c", script)
}

func runGo(t *testing.T, snippet string, input []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "main.go")
	program := `package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

` + snippet + `

func main() {
	var given struct {
		Secret, Body string
		Headers      map[string]string
	}
	if err := json.NewDecoder(os.Stdin).Decode(&given); err != nil {
		panic(err)
	}
	h := http.Header{}
	for name, value := range given.Headers {
		h.Set(name, value)
	}
	fmt.Println(verify(given.Secret, h, []byte(given.Body), time.Now()), verify(given.Secret, h, []byte(given.Body+" "), time.Now()))
}
`
	if err := os.WriteFile(file, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	return execute(t, input, "go", "run", file)
}

func execute(t *testing.T, input []byte, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, name, args...)
	command.Stdin = strings.NewReader(string(input))
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestNoNameLeadsToAForbiddenAddress(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]struct{ public, private bool }{
		"93.184.216.34:443":           {true, true},
		"[2606:4700::1]:443":          {true, true},
		"127.0.0.1:80":                {false, true},
		"[::1]:80":                    {false, true},
		"10.1.2.3:80":                 {false, true},
		"192.168.1.1:80":              {false, true},
		"100.64.0.1:80":               {false, true},
		"[fd12::1]:80":                {false, true},
		"[::ffff:127.0.0.1]:80":       {false, true},
		"169.254.169.254:80":          {false, false},
		"[::ffff:169.254.169.254]:80": {false, false},
		"[fe80::1%eth0]:80":           {false, false},
		"[fd00:ec2::254]:80":          {false, false},
		"100.100.100.200:80":          {false, false},
		"0.0.0.0:80":                  {false, false},
		"224.0.0.1:80":                {false, false},
		// IPv4 addresses that a gateway would unwrap.
		"[64:ff9b::5db8:d822]:443":   {true, true},
		"[64:ff9b::7f00:1]:80":       {false, true},
		"[64:ff9b::a01:203]:80":      {false, true},
		"[64:ff9b::a9fe:a9fe]:80":    {false, false},
		"[64:ff9b:1::a01:203]:80":    {false, true},
		"[2002:5db8:d822::1]:443":    {true, true},
		"[2002:a01:203::1]:80":       {false, true},
		"[2002:a9fe:a9fe::]:80":      {false, false},
		"[2002:6464:64c8::1]:80":     {false, false},
		"[64:ff9b::a01:203%eth0]:80": {false, true},
		"[::10.1.2.3]:80":            {false, true},
	} {
		if err := checkAddress(address, false); (err == nil) != want.public {
			t.Errorf("%s: %v", address, err)
		}
		if err := checkAddress(address, true); (err == nil) != want.private {
			t.Errorf("%s where private ones are allowed: %v", address, err)
		}
	}
	server, got := receiver(t, func(http.ResponseWriter, *http.Request) {})
	sender := NewSender("test", false)
	defer sender.Close()
	a := sender.Send(t.Context(), &row.Webhook{Url: strings.Replace(server.URL, "127.0.0.1", "localhost", 1)}, make([]byte, 32), failure())
	if !strings.Contains(a.Error, "--webhook-allow-private") || len(got) != 0 {
		t.Errorf("localhost was told: %+v", a)
	}
}

func TestAnswersThatAreNotDelivered(t *testing.T) {
	t.Parallel()
	sender := NewSender("test", true)
	defer sender.Close()
	elsewhere, told := receiver(t, func(http.ResponseWriter, *http.Request) {})
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
		after  time.Duration
	}{
		"a redirect is not followed": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		}, "redirects are not followed", 0},
		"an error may name a wait": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "120")
			w.WriteHeader(http.StatusTooManyRequests)
		}, "answered 429", 2 * time.Minute},
		"no wait is longer than an hour": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "9999999")
			w.WriteHeader(http.StatusServiceUnavailable)
		}, "answered 503", time.Hour},
		"a connection that ends": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, _ := receiver(t, c.answer)
			if a := sender.Send(t.Context(), &row.Webhook{Url: server.URL}, make([]byte, 32), failure()); !strings.Contains(a.Error, c.want) || a.After != c.after {
				t.Errorf("the answer is %+v, want %q and a wait of %s", a, c.want, c.after)
			}
			if len(told) != 0 {
				t.Error("the message went elsewhere")
			}
		})
	}
}
