package relay_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/storage"
	"github.com/sluice-dev/sluice/storage/relay"
)

// blocks are what the cluster holds.
type blocks map[api.ID]*api.Block

func (b blocks) Block(_ context.Context, id api.ID) (*api.Block, error) {
	if block := b[id]; block != nil {
		return block, nil
	}
	return nil, api.NewError(api.KindNotFound, "Block not found")
}

func (b blocks) add(kind, data string) *api.Block {
	made := &api.Block{ID: api.NewID(), Name: "mine", Data: json.RawMessage(data), BlockSpec: &api.BlockSpec{Name: kind}}
	b[made.ID] = made
	return made
}

// kv is a KV server, which stands behind the endpoint: that relays storages of any kind alike.
func kv(t *testing.T) string {
	var mutex sync.Mutex
	values := map[string][]byte{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mutex.Lock()
		defer mutex.Unlock()
		if r.Method == http.MethodPost {
			values[r.URL.Path], _ = io.ReadAll(r.Body)
			return
		}
		value, found := values[r.URL.Path]
		if !found {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = w.Write(value)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func start(t *testing.T, b blocks) *relay.Server {
	t.Helper()
	server := relay.New(relay.Config{Blocks: b})
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	return server
}

// through opens a block as a flow process does that was given the access.
func through(t *testing.T, block *api.Block, access relay.Access) storage.Storage {
	t.Helper()
	shown := *block
	shown.Data = json.RawMessage(`{"api_address":"********"}`) // as flow processes see it
	opened, err := storage.Open(&shown, storage.Places{Openers: relay.Openers(func(context.Context) (relay.Access, error) { return access, nil })})
	if err != nil {
		t.Fatal(err)
	}
	return opened
}

func TestAFlowProcessUsesAStorageWithoutItsCredentials(t *testing.T) {
	t.Parallel()
	known := blocks{}
	block := known.add(storage.KindKVServer, fmt.Sprintf(`{"api_address":%q}`, kv(t)))
	access, _ := start(t, known).Grant()
	opened := through(t, block, access)
	for _, text := range []string{"", "é", strings.Repeat("x", 3_000_000)} {
		key, err := opened.Write(t.Context(), []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := opened.Read(t.Context(), key); err != nil || string(got) != text {
			t.Errorf("read %d bytes of %d, %v", len(got), len(text), err)
		}
	}
	if _, err := opened.Read(t.Context(), "a key/with & signs"); !api.IsNotFound(err) {
		t.Errorf("a missing key gave %v", err)
	}
}

func TestWhoIsNotLetInGetsNothing(t *testing.T) {
	t.Parallel()
	known := blocks{}
	block := known.add(storage.KindKVServer, fmt.Sprintf(`{"api_address":%q}`, kv(t)))
	server := start(t, known)
	access, revoke := server.Grant()
	key, err := through(t, block, access).Write(t.Context(), []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	other, _ := server.Grant()
	revoke()
	for name, shown := range map[string]relay.Access{
		"without a token":                 {URL: access.URL},
		"with another token":              {URL: access.URL, Token: strings.Repeat("A", 26)},
		"with the token of an ended run ": access,
	} {
		if got, err := through(t, block, shown).Read(t.Context(), key); api.KindOf(err) != api.KindUnauthenticated {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := through(t, block, other).Read(t.Context(), key); err != nil {
		t.Errorf("another run's token: %v", err)
	}
}

func TestOnlyStoragesWithCredentialsAreRelayed(t *testing.T) {
	t.Parallel()
	known := blocks{}
	local := known.add(storage.KindLocal, fmt.Sprintf(`{"storage_path":%q}`, t.TempDir()))
	masked := known.add(storage.KindKVServer, `{"api_address":"http://u:********@h"}`)
	gone := &api.Block{ID: api.NewID(), Name: "gone"}
	access, _ := start(t, known).Grant()
	for _, test := range []struct {
		block *api.Block
		kind  api.Kind
		want  string
	}{
		{local, api.KindInvalid, "not a storage that needs an endpoint"},
		{masked, api.KindForbidden, "not shown to this token"},
		{gone, api.KindNotFound, "Block not found"},
	} {
		asked := *test.block
		asked.BlockSpec = &api.BlockSpec{Name: storage.KindS3}
		_, err := through(t, &asked, access).Read(t.Context(), "/etc/hostname")
		if api.KindOf(err) != test.kind || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.block.Name, err)
		}
	}
}

func TestValuesAreBounded(t *testing.T) {
	t.Parallel()
	known := blocks{}
	block := known.add(storage.KindKVServer, fmt.Sprintf(`{"api_address":%q}`, kv(t)))
	access, _ := start(t, known).Grant()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, access.URL+"/"+block.ID.String(), io.LimitReader(zeros{}, relay.Limit+1))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+access.Token)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if text, _ := io.ReadAll(answer.Body); answer.StatusCode != http.StatusRequestEntityTooLarge || !strings.Contains(string(text), "too many for one value") {
		t.Errorf("%d %s", answer.StatusCode, text)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
