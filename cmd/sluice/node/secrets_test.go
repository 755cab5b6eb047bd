package node

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	httpapi "github.com/sluice-dev/sluice/http"
	"github.com/sluice-dev/sluice/internal/secret"
)

const plaintext = "correct-horse-battery-staple"

// startThreeWithKeys starts three nodes, each with a key file of its own that holds text; "" is no file.
func startThreeWithKeys(t *testing.T, text string) (nodes []*upgradable) {
	t.Helper()
	nodes = prepareThree(t)
	for _, u := range nodes {
		u.keys = filepath.Join(t.TempDir(), "secrets.key")
		if text != "" {
			u.setKeys(t, text)
		} else {
			u.keys = ""
		}
		if err := u.start(t); err != nil {
			t.Fatal(err)
		}
	}
	for _, u := range nodes {
		waitFor(t, "all three vote", func() bool { return u.node.cluster.Status().Voters == 3 && u.node.cluster.Status().Leader.ID != "" }) // no event tells
	}
	return nodes
}

// setKeys replaces the node's keys and has it look at once.
func (u *upgradable) setKeys(t *testing.T, text string) {
	t.Helper()
	file := u.keys
	if file == "" {
		file = filepath.Join(u.dir, SecretsFile)
	}
	if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
	if u.node == nil {
		return
	}
	want, err := secret.ParseKeys(text)
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the keys are read again", func() bool { return slices.Equal(u.node.secrets.keys.current().IDs(), want.IDs()) }) // they are looked at when used
}

// spec makes a block spec.
func (u *upgradable) spec(t *testing.T) []byte {
	t.Helper()
	id := api.NewID()
	r, err := u.propose(t, &command.Envelope{Command: &command.Envelope_CreateBlockSpec{CreateBlockSpec: &command.CreateBlockSpec{Id: id[:], Name: "secret", Version: "1"}}})
	if err != nil {
		t.Fatal(err)
	}
	return r.Id
}

// block makes a block as the API does, or as former versions did.
func (u *upgradable) block(t *testing.T, spec []byte, name string, clear bool) api.ID {
	t.Helper()
	id := api.NewID()
	c := &command.CreateBlock{Id: id[:], Name: name, BlockSpecId: spec, DataJson: []byte(`{"password":"` + plaintext + name + `"}`)}
	if !clear {
		var err error
		if c.DataSealed, err = u.node.secrets.Seal(t.Context(), id, c.DataJson); err != nil {
			t.Fatal(err)
		}
		c.DataJson = nil
	}
	if r, err := u.propose(t, &command.Envelope{Command: &command.Envelope_CreateBlock{CreateBlock: c}}); err != nil || r.Code != command.Result_OK {
		t.Fatal(r, err)
	}
	return id
}

// reads tells whether the node opens a block, which it waits for.
func (u *upgradable) reads(t *testing.T, id api.ID, name string) error {
	t.Helper()
	var err error
	waitFor(t, "the block is there", func() bool {
		v, verr := u.node.fsm.View()
		if verr != nil {
			t.Fatal(verr)
		}
		defer v.Close()
		b, verr := v.Block(id)
		if verr != nil {
			t.Fatal(verr)
		}
		if b == nil {
			return false
		}
		var data []byte
		if data, err = u.node.secrets.Open(b); err == nil && string(data) != `{"password":"`+plaintext+name+`"}` {
			t.Errorf("block %s holds %s", name, data)
		}
		return true
	})
	return err
}

// webhook makes one as the API does.
func (u *upgradable) webhook(t *testing.T, name string) api.ID {
	t.Helper()
	id := api.NewID()
	sealed, err := u.node.secrets.Seal(t.Context(), id, []byte(plaintext+name))
	if err != nil {
		t.Fatal(err)
	}
	if r, err := u.propose(t, &command.Envelope{Command: &command.Envelope_CreateWebhook{CreateWebhook: &command.CreateWebhook{Id: id[:], Name: name, Url: "http://127.0.0.1:1/", SealedSecret: sealed}}}); err != nil || r.Code != command.Result_OK {
		t.Fatal(r, err)
	}
	return id
}

// signs is with what the node signs a webhook's messages.
func (u *upgradable) signs(t *testing.T, id api.ID) (string, error) {
	t.Helper()
	v, err := u.node.fsm.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	w, err := v.Webhook(id)
	if err != nil || w == nil {
		t.Fatal(w, err)
	}
	plain, err := u.node.secrets.Open(secretOf(w))
	return string(plain), err
}

func (u *upgradable) usage(t *testing.T) keyUsage {
	t.Helper()
	v, err := u.node.fsm.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	used, err := countKeys(v)
	if err != nil {
		t.Fatal(err)
	}
	return used
}

// reseal does one step as the API does.
func (u *upgradable) reseal(t *testing.T) (api.Resealed, error) {
	t.Helper()
	v, err := u.node.fsm.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	c, done, err := u.node.secrets.Reseal(t.Context(), v)
	if err != nil || c == nil {
		return done, err
	}
	r, err := u.propose(t, &command.Envelope{Command: &command.Envelope_ResealSecrets{ResealSecrets: c}})
	if err != nil {
		return done, err
	}
	done.Resealed = int(r.Count)
	done.Remaining += len(c.Blocks) + len(c.Webhooks) - done.Resealed
	return done, nil
}

func ids(t *testing.T, text string) (all []string) {
	t.Helper()
	r, err := secret.ParseKeys(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range r.IDs() {
		all = append(all, id.String())
	}
	return all
}

func TestASecretIsNowhereInClear(t *testing.T) {
	t.Parallel()
	nodes := startThreeWithKeys(t, secret.NewKey())
	spec := nodes[0].spec(t)
	id := nodes[1].block(t, spec, "one", false)
	for _, u := range nodes {
		if err := u.reads(t, id, "one"); err != nil {
			t.Error(err)
		}
	}
	saved, err := nodes[2].node.snapshots.Save(t.Context(), httpapi.Linearizable)
	if err != nil {
		t.Fatal(err)
	}
	var taken bytes.Buffer
	if _, err := taken.ReadFrom(saved.Stream); err != nil {
		t.Fatal(err)
	}
	if err := saved.Stream.Close(); err != nil {
		t.Error(err)
	}
	var bundle bytes.Buffer
	for _, part := range debugParts {
		if err := part.make(nodes[0].node, t.Context(), &bundle); err != nil && part.file != "log.txt" {
			t.Errorf("%s: %v", part.file, err)
		}
	}
	look := func(where string, content []byte) {
		for _, word := range []string{plaintext, strings.Fields(string(must(os.ReadFile(nodes[0].keys))(t)))[0]} {
			if bytes.Contains(content, []byte(word)) {
				t.Errorf("%q is in clear in %s", word, where)
			}
		}
	}
	look("the snapshot", taken.Bytes())
	look("the debug bundle", bundle.Bytes())
	// Once while the log and the memtable are written, once after everything was flushed.
	walk := func(when string) (files int) {
		for _, u := range nodes {
			err := filepath.WalkDir(u.dir, func(path string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() {
					return ignoreGone(err)
				}
				content, err := os.ReadFile(path)
				if err != nil {
					return ignoreGone(err)
				}
				files++
				look(when+" "+path, content)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		return files
	}
	if n := walk("a running node's"); n < 9 {
		t.Errorf("only %d files were looked at", n)
	}
	for _, u := range nodes {
		u.stop(t)
	}
	walk("a stopped node's")
}

// must fails the test for an error.
func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestKeysAreRotatedThroughAFailover(t *testing.T) {
	t.Parallel()
	k1, k2 := secret.NewKey(), secret.NewKey()
	nodes := startThreeWithKeys(t, k1)
	first, second := ids(t, k1)[0], ids(t, k2)[0]
	spec := nodes[0].spec(t)
	blocks := map[string]api.ID{}
	for i := range 2*resealMost + 10 {
		name := fmt.Sprint("b", i)
		blocks[name] = nodes[i%3].block(t, spec, name, false)
	}
	hooks := map[string]api.ID{}
	for _, name := range []string{"h0", "h1"} {
		hooks[name] = nodes[1].webhook(t, name)
	}
	// As long as one node lacks the new key, nobody uses it, and writes go on with the old one.
	for i, u := range nodes {
		if i > 0 {
			name := fmt.Sprint("between", i)
			blocks[name] = nodes[0].block(t, spec, name, false)
			if got := nodes[0].usage(t).needed(); !slices.Equal(got, []string{first}) {
				t.Fatalf("keys in use are %v", got)
			}
		}
		u.setKeys(t, k2+k1)
	}
	// The leader ends after the first step.
	step, err := nodes[0].reseal(t)
	if err != nil || step.Key != second || step.Resealed != resealMost || step.Remaining == 0 {
		t.Fatalf("the first step: %+v, %v", step, err)
	}
	var lead *upgradable
	for _, u := range nodes {
		if u.node.cluster.Status().Leading {
			lead = u
		}
	}
	if lead == nil {
		t.Fatal("nobody leads")
	}
	lead.stop(t)
	other := nodes[slices.IndexFunc(nodes, func(u *upgradable) bool { return u != lead })]
	for total := 0; ; {
		step, err := other.reseal(t)
		if err != nil {
			t.Fatal(err)
		}
		if total += step.Resealed; step.Remaining == 0 && step.Resealed == 0 {
			if total < len(blocks)+len(hooks)-2*resealMost || len(step.Unreadable) != 0 {
				t.Errorf("%d blocks of %d were resealed after the failover; unreadable %v", total, len(blocks), step.Unreadable)
			}
			break
		}
	}
	if err := lead.start(t); err != nil {
		t.Fatal(err)
	}
	for _, u := range nodes {
		u.setKeys(t, k2)
		for name, id := range blocks {
			if err := u.reads(t, id, name); err != nil {
				t.Fatalf("%s without the old key: %v", name, err)
			}
		}
		for name, id := range hooks {
			if got, err := u.signs(t, id); err != nil || got != plaintext+name {
				t.Fatalf("the webhook %s without the old key signs with %q, %v", name, got, err)
			}
		}
		waitFor(t, "it needs the new key only", func() bool { return slices.Equal(u.usage(t).needed(), []string{second}) })
	}
}

func TestANodeThatLacksAKeySaysSo(t *testing.T) {
	t.Parallel()
	nodes := startThreeWithKeys(t, "")
	spec := nodes[0].spec(t)
	seal := func(u *upgradable) error {
		_, err := u.node.secrets.Seal(t.Context(), api.NewID(), []byte(`{"a":1}`))
		return err
	}
	if err := seal(nodes[0]); api.KindOf(err) != api.KindConflict || !strings.Contains(err.Error(), "has no key") {
		t.Errorf("without any key: %v", err)
	}
	if c := nodes[0].node.secrets.check(); !c.OK || c.Warning || !strings.Contains(c.Text, "no key") {
		t.Errorf("without any key and block: %+v", c)
	}
	// What a former version stored in clear is read as it is, and encrypted as soon as there is a key.
	old := nodes[0].block(t, spec, "old", true)
	if err := nodes[1].reads(t, old, "old"); err != nil {
		t.Error(err)
	}
	key := secret.NewKey()
	nodes[0].setKeys(t, key)
	if err := seal(nodes[0]); api.KindOf(err) != api.KindConflict || !strings.Contains(err.Error(), "n2") || !strings.Contains(err.Error(), ids(t, key)[0]) {
		t.Errorf("with the key on one node: %v", err)
	}
	health := members{nodes[0].node}.Health(t.Context())
	if !slices.ContainsFunc(health.Reasons, func(r api.HealthReason) bool {
		return r.Code == "secrets" && strings.Contains(r.Text, "cannot be stored")
	}) || health.LossesLeft != 1 {
		t.Errorf("health is %+v", health)
	}
	nodes[1].setKeys(t, key)
	nodes[2].setKeys(t, key)
	id := nodes[0].block(t, spec, "new", false)
	for _, u := range nodes {
		waitFor(t, "the leader has encrypted what was in clear", func() bool { return u.usage(t).clear == 0 })
	}
	if err := nodes[2].reads(t, old, "old"); err != nil {
		t.Error(err)
	}
	// One loses its key.
	other := secret.NewKey()
	nodes[1].setKeys(t, other)
	err := nodes[1].reads(t, id, "new")
	if api.KindOf(err) != api.KindUnavailable || !strings.Contains(err.Error(), ids(t, key)[0]) || !strings.Contains(err.Error(), "n2") {
		t.Errorf("without the key: %v", err)
	}
	waitFor(t, "its check says so", func() bool { // its count is some seconds old
		c := nodes[1].node.secrets.check()
		return c.OK && c.Warning && strings.Contains(c.Text, ids(t, key)[0])
	})
	health = members{nodes[0].node}.Health(t.Context())
	if !slices.ContainsFunc(health.Reasons, func(r api.HealthReason) bool {
		return r.Code == "secrets" && r.Member == "n2" && strings.Contains(r.Text, ids(t, key)[0])
	}) || health.LossesLeft != 1 {
		t.Errorf("health is %+v", health)
	}
	v, err := nodes[0].node.fsm.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	keys, err := nodes[0].node.secrets.Keys(t.Context(), v)
	if err != nil || len(keys.Keys) != 2 || keys.Problem == "" || keys.Keys[0].Blocks != 2 || !slices.Equal(keys.Keys[0].Lacking, []string{"n2"}) || !slices.Equal(keys.Keys[1].Members, []string{"n2"}) {
		t.Errorf("the keys are %+v, %v", keys, err)
	}
	// A snapshot whose key the cluster lacks says so before it replaces anything.
	saved, err := nodes[0].node.snapshots.Save(t.Context(), httpapi.Linearizable)
	if err != nil {
		t.Fatal(err)
	}
	defer saved.Stream.Close()
	for _, u := range nodes {
		u.setKeys(t, other)
	}
	staged, err := nodes[0].node.snapshots.Stage(t.Context(), saved.Stream, -1, false)
	if err != nil || !slices.Equal(staged.SecretKeys, ids(t, key)) || !slices.Equal(staged.MissingKeys, ids(t, key)) {
		t.Errorf("staged is %+v, %v", staged, err)
	}
}

func TestANodeAlone(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T, dir string) *upgradable {
		u := &upgradable{dir: dir, addr: reservePorts(t, 1)[0], versions: command.Supported(), release: "1.0", alone: true}
		if err := u.start(t); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { u.stop(t) })
		if err := u.node.WaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
		return u
	}
	t.Run("makes its key once, for its user only", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		u := start(t, dir)
		file := filepath.Join(dir, SecretsFile)
		before := must(os.ReadFile(file))(t)
		if mode := must(os.Stat(file))(t).Mode().Perm(); mode != 0o600 {
			t.Errorf("its mode is %o", mode)
		}
		id := u.block(t, u.spec(t), "one", false)
		u.stop(t)
		if err := u.start(t); err != nil {
			t.Fatal(err)
		}
		if after := must(os.ReadFile(file))(t); !bytes.Equal(before, after) {
			t.Error("it made another key")
		}
		if err := u.reads(t, id, "one"); err != nil {
			t.Error(err)
		}
	})
	t.Run("encrypts what a former version stored in clear when it starts", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		u := start(t, dir)
		id := u.block(t, u.spec(t), "old", true)
		u.stop(t)
		if err := u.start(t); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "nothing is in clear", func() bool { return u.usage(t).clear == 0 })
		if err := u.reads(t, id, "old"); err != nil {
			t.Error(err)
		}
	})
	t.Run("does not open what was sealed for another block", func(t *testing.T) {
		t.Parallel()
		u := start(t, t.TempDir())
		spec := u.spec(t)
		a, b := u.block(t, spec, "a", false), u.block(t, spec, "b", false)
		v := must(u.node.fsm.View())(t)
		defer v.Close()
		moved := must(v.Block(a))(t)
		moved.Id = b[:]
		if data, err := u.node.secrets.Open(moved); err == nil || !strings.Contains(err.Error(), "cannot be decrypted") {
			t.Errorf("opened %s, %v", data, err)
		}
	})
	t.Run("does not start with a key file that it cannot use", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, SecretsFile), []byte("nonsense\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		u := &upgradable{dir: dir, addr: reservePorts(t, 1)[0], versions: command.Supported(), alone: true}
		if err := u.start(t); err == nil || !strings.Contains(err.Error(), SecretsFile+": line 1 is not 32 bytes in base64") {
			t.Errorf("got %v", err)
			_ = u.node.Stop(context.Background())
		}
		u.node = nil
	})
}
