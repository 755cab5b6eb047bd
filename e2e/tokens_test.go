//go:build linux

package e2e

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

// newNodesWithTokens prepares a cluster that asks for tokens. Requests of its servers show the first token, which is returned.
func newNodesWithTokens(t *testing.T, size int, flags ...string) (*nodes, string) {
	t.Helper()
	c, admin := newNodes(t, size, append([]string{"--insecure", "--auth", "on"}, flags...)...), api.NewToken()
	for _, s := range c.all {
		s.token = admin
		s.shell.env["SLUICE_BOOTSTRAP_TOKEN"] = admin
	}
	return c, admin
}

// with is the server as the holder of another token sees it.
func (s *server) with(token string) *server {
	other := *s
	other.token = token
	return &other
}

// createToken makes a token and returns its secret and its path.
func (s *server) createToken(name, role string) (secret, path string) {
	s.t.Helper()
	made := s.post("/tokens", object{"name": name, "role": role})
	return made["token"].(string), "/tokens/" + made["id"].(string)
}

// connectAs is connect with a token, which turns to all nodes.
func (c *nodes) connectAs(token string) *client.Client {
	c.t.Helper()
	conn := must[*client.Client](c.t)(client.New(client.Config{Addresses: c.addresses(), Token: token, RetryFor: patience}))
	c.t.Cleanup(conn.Close)
	return conn
}

// shellAs is a shell of somebody with that token.
func (c *nodes) shellAs(token string) *shell {
	c.t.Helper()
	shell := newShell(c.t)
	shell.env["SLUICE_API_URL"], shell.env["SLUICE_API_KEY"] = strings.Join(c.addresses(), ","), token
	return shell
}

// TestTokensOfThreeNodes uses tokens on all nodes at once, also while one is dead or lags, and through a restore.
func TestTokensOfThreeNodes(t *testing.T) {
	t.Parallel()
	c, admin := newNodesWithTokens(t, 3)
	c.start()
	ctx := t.Context()
	read := func(s *server, token string) (int, error) {
		return s.with(token).request(ctx, http.MethodPost, "/flows/filter", object{}, nil)
	}
	write := func(s *server, token string) (int, error) {
		return s.with(token).request(ctx, http.MethodPost, "/flows/", object{"name": "f" + api.NewID().String()}, nil)
	}

	// What one node has made is good on the others at once, and what one has revoked is over on the others at once.
	for i := range 9 {
		made, token, path := c.all[i%3], "", ""
		token, path = made.createToken(fmt.Sprint("short", i), api.RoleDeployer)
		for _, s := range c.all {
			for _, ask := range []func(*server, string) (int, error){read, write} {
				if status, err := ask(s, token); err != nil {
					t.Errorf("a token just made at another node: %d, %v", status, err)
				}
			}
		}
		if status, err := made.request(ctx, http.MethodDelete, path, nil, nil); err != nil {
			t.Fatalf("revoke: %d, %v", status, err)
		}
		for _, s := range c.all {
			for _, ask := range []func(*server, string) (int, error){write, read} {
				if status, err := ask(s, token); status != 401 {
					t.Errorf("a token that was just revoked at another node: %d, %v", status, err)
				}
			}
		}
	}

	// It is good while the leader is dead: nobody is turned away, some must wait.
	kept, _ := c.all[0].createToken("kept", api.RoleDeployer)
	dead := c.leader()
	dead.kill9()
	for _, s := range c.all {
		if s == dead {
			continue
		}
		eventually(t, "the token is used after the leader was killed", func() error {
			status, err := write(s, kept)
			if status == 401 || status == 403 {
				t.Fatalf("the token is not good any more: %v", err)
			}
			return err
		})
	}
	dead.restart()
	if status, err := read(dead, kept); err != nil {
		t.Errorf("at the node that was dead: %d, %v", status, err)
	}

	// A node that lags takes requests with a token that it takes to be good: none of them has an effect, none is answered.
	late, path := c.all[0].createToken("late", api.RoleAdmin)
	hung := c.followers()[0]
	if status, err := write(hung, late); err != nil {
		t.Fatalf("%d, %v", status, err)
	}
	before := len(c.leader().list("/flows/filter", object{"limit": 200}))
	hung.signal(syscall.SIGSTOP)
	t.Cleanup(func() { hung.signal(syscall.SIGCONT) })
	type answered struct {
		what   string
		status int
	}
	answers := make(chan answered, 100)
	var waiting sync.WaitGroup
	for i := range 40 {
		waiting.Go(func() {
			if i%2 == 0 {
				status, _ := write(hung, late)
				answers <- answered{"a write", status}
			} else {
				status, _ := read(hung, late)
				answers <- answered{"a read", status}
			}
		})
	}
	if status, err := c.leader().request(ctx, http.MethodDelete, path, nil, nil); err != nil {
		t.Fatalf("revoke while a node hangs: %d, %v", status, err)
	}
	hung.signal(syscall.SIGCONT)
	waiting.Wait()
	close(answers)
	for a := range answers {
		if a.status > 0 && a.status < 400 {
			t.Errorf("%s with a revoked token at a node that lags is answered %d", a.what, a.status)
		}
	}
	if now := len(c.leader().list("/flows/filter", object{"limit": 200})); now != before {
		t.Errorf("a revoked token has made %d flows", now-before)
	}
	refused := func(token string) {
		t.Helper()
		for _, s := range c.all {
			eventually(t, "the token is refused everywhere, by reads of any kind", func() error {
				request := must[*http.Request](t)(http.NewRequestWithContext(ctx, http.MethodGet, s.apiURL()+"/work_queues/"+api.NewID().String()+"?consistency=stale", nil))
				request.Header.Set("Authorization", "Bearer "+token)
				response, err := http.DefaultClient.Do(request)
				if err != nil {
					return err
				}
				_ = response.Body.Close()
				if response.StatusCode != 401 {
					return fmt.Errorf("%s answers %d", s.address, response.StatusCode)
				}
				return nil
			})
		}
	}
	refused(late)

	// A snapshot holds tokens and records; what was made after it is over when it is restored.
	file := filepath.Join(t.TempDir(), "state.sluice")
	operator := c.shellAs(admin)
	operator.ok("snapshot", "save", file)
	after, _ := c.all[1].createToken("after", api.RoleViewer)
	contains(t, operator.ok("snapshot", "inspect", file, "-o", "json"), `"token": 12`)
	operator.ok("snapshot", "restore", file, "--yes", "--missed", "skip")
	eventually(t, "the first token is good at all nodes after the restore", func() error {
		for _, s := range c.all {
			if _, err := read(s, kept); err != nil {
				return err
			}
		}
		return nil
	})
	refused(after)
	refused(late)
	records := operator.ok("audit", "ls", "--limit", "1000", "--action", "/tokens")
	if n := strings.Count(records, "POST /tokens\t"); n != 11 {
		t.Errorf("%d records of tokens that were made, of 11:\n%s", n, records)
	}
	if n := strings.Count(records, "DELETE /tokens/{id}"); n != 10 {
		t.Errorf("%d records of tokens that were revoked, of 10:\n%s", n, records)
	}
	contains(t, operator.ok("audit", "ls", "--action", "/snapshot"), "ok")
}

// TestNoSecretIsTold looks for secrets in everything that nodes write, say and hand out.
func TestNoSecretIsTold(t *testing.T) {
	t.Parallel()
	gossip := newKey('g')
	c, admin := newNodesWithTokens(t, 3)
	for i, s := range c.all {
		key := filepath.Join(s.shell.dir, "gossip.key")
		writeKeys(t, key, gossip)
		s.flags = append(s.flags, "--gossip-key-file", key, "--node-name", fmt.Sprint("n", i+1))
	}
	c.start()
	const password, signing = "correct-horse-battery-staple", "the-secret-of-a-webhook-is-long-enough"
	webhookSecret := "whsec_" + base64.StdEncoding.EncodeToString([]byte(signing))
	secrets := map[string]string{"the first token": admin, "a key of secrets": strings.TrimSpace(newKey(1)), "a key of gossip": strings.TrimSpace(gossip),
		"a key of secrets in the raw": string(bytes.Repeat([]byte{1}, 32)), "a password of a block": password, "a secret of a webhook": webhookSecret, "the same in the raw": signing}
	ctx, at := t.Context(), c.followers()[0]
	for _, role := range []string{api.RoleViewer, api.RoleAgent, api.RoleOperator, api.RoleDeployer} {
		secrets["a token of the role "+role], _ = at.createToken(role, role)
	}
	said := map[string][]byte{}
	operator := c.shellAs(admin)
	operator.ok("storage", "create", "--type", "s3", "--name", "results", "--set", "bucket=results", "--set", "aws_access_key_id=id", "--set", "aws_secret_access_key="+password, "--no-default")
	hook := at.post("/webhooks", object{"name": "signed", "url": "http://127.0.0.1:1/hook", "secret": webhookSecret, "paused": true})["id"].(string)
	conn := c.connectAs(secrets["a token of the role deployer"])
	flow := deploy(t, conn, "steady", nil, "true").deployment
	queue(t, conn, "shared", 0)
	worker := c.shellAs(secrets["a token of the role agent"])
	agent := worker.startAgent("shared")
	id := run(t, conn, flow)
	watchUntil(t, conn, id, "Completed", patience, named("Completed"))

	// Whoever sends nonsense gets an answer that does not repeat it.
	for _, bad := range []struct {
		token, method, path string
		body                any
	}{
		{admin + "x", "POST", "/flows/filter", object{}},
		{admin[:len(admin)-1], "POST", "/flows/filter", object{}},
		{secrets["a token of the role viewer"], "POST", "/flows/", object{"name": "f"}},
		{secrets["a token of the role operator"], "POST", "/tokens", object{"name": "n", "role": "admin"}},
		{admin, "POST", "/tokens", object{"name": "n", "role": "captain", "token": secrets["a token of the role agent"], "secret": password}},
		{admin, "POST", "/webhooks", object{"name": "n", "url": "http://x:" + password + "@127.0.0.1/", "secret": password}},
		{admin, "PATCH", "/webhooks/" + hook, object{"secret": signing}},
		{admin, "PATCH", "/webhooks/" + hook, object{"new_secret": webhookSecret}},
		{admin, "POST", "/blocks/", object{"name": "b", "block_spec_id": "none", "data": password}},
	} {
		status, err := at.with(bad.token).request(ctx, bad.method, bad.path, bad.body, nil)
		if status < 400 {
			t.Errorf("%s %s is answered %d", bad.method, bad.path, status)
			continue
		}
		said["the answer to "+bad.method+" "+bad.path+" "+fmt.Sprint(len(said))] = []byte(err.Error())
	}
	for _, path := range []string{"/webhooks", "/webhooks/" + hook, "/webhooks/" + hook + "/deliveries", "/cluster", "/cluster/health", "/secrets/keys", "/admin/settings", "/debug/report"} {
		var answer any
		if status, err := at.with(secrets["a token of the role viewer"]).request(ctx, http.MethodGet, path, nil, &answer); err != nil {
			if status != 404 && status != 403 {
				t.Errorf("%d: %v", status, err)
			}
			said["the refusal of "+path] = []byte(err.Error())
			continue
		}
		said["the answer to "+path] = fmt.Appendf(nil, "%v", answer)
	}
	for what, args := range map[string][]string{
		"tokens": {"token", "ls", "--all", "-o", "json"}, "audit": {"audit", "ls", "--limit", "1000", "-o", "json"}, "health": {"cluster", "health", "-o", "json"},
		"secrets": {"secrets", "status", "-o", "json"}, "config": {"config", "view"},
	} {
		r := operator.run(args...)
		said[what] = []byte(r.stdout + r.stderr)
	}
	if r := c.shellAs(secrets["a token of the role viewer"]).run("block", "ls", "-o", "json"); r.code != 0 || !strings.Contains(r.stdout, "********") {
		t.Errorf("blocks as a viewer sees them: %s", r)
	} else {
		said["blocks for viewers"] = []byte(r.stdout)
	}
	file, bundle := filepath.Join(t.TempDir(), "state.sluice"), filepath.Join(t.TempDir(), "all.tar.gz")
	operator.ok("snapshot", "save", file)
	said["the snapshot"] = must[[]byte](t)(os.ReadFile(file))
	said["what is said of the snapshot"] = []byte(operator.ok("snapshot", "inspect", file, "-o", "json"))
	operator.ok("debug", "bundle", bundle)
	for name, content := range readBundle(t, bundle) {
		said["the bundle's "+name] = []byte(content)
	}
	for _, s := range c.all {
		response := must[*http.Response](t)(get(ctx, "http://"+s.address+"/metrics"))
		said["metrics of "+s.address] = must[[]byte](t)(io.ReadAll(response.Body))
		_ = response.Body.Close()
		said["readiness of "+s.address] = []byte(s.readyText())
	}
	agent.interrupt()
	agent.wait()
	said["the agent's output"] = []byte(agent.output())
	files := func(when string) (n int) {
		for _, s := range c.all {
			said["the log of "+s.address+when] = []byte(s.output())
			err := filepath.WalkDir(s.dataDir, func(path string, d fs.DirEntry, err error) error {
				var content []byte
				if err == nil && !d.IsDir() {
					content, err = os.ReadFile(path)
					n++
				}
				if errors.Is(err, fs.ErrNotExist) {
					return nil // it was compacted away
				}
				if err == nil {
					said[path+when] = content
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		return n
	}
	if n := files(" while it runs"); n < 15 {
		t.Errorf("only %d files were looked at", n)
	}
	for _, s := range c.all {
		s.stop()
	}
	files(" when all was written")
	for where, content := range said {
		for what, secret := range secrets {
			if at := bytes.Index(content, []byte(secret)); at >= 0 && !(where == "config" && what == "the first token") {
				t.Errorf("%s is in %s: ...%q", what, where, content[max(0, at-60):at])
			}
		}
	}
	// The search finds what there is.
	if !bytes.Contains(said["the snapshot"], []byte("signed")) || !bytes.Contains(said["audit"], []byte("/tokens")) {
		t.Error("the snapshot or the audit records do not hold what they should")
	}
}
