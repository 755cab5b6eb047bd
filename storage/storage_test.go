package storage_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
	"github.com/sluice-dev/sluice/storage"
)

// kvHandler is a KV server as Orion's block expects it, below the given prefix.
func kvHandler(prefix string) http.HandlerFunc {
	var mutex sync.Mutex
	values := map[string][]byte{}
	return func(w http.ResponseWriter, r *http.Request) {
		mutex.Lock()
		defer mutex.Unlock()
		key := strings.TrimPrefix(r.URL.Path, prefix)
		if r.Method == http.MethodPost {
			body, _ := io.ReadAll(r.Body)
			values[key] = body
			w.WriteHeader(http.StatusCreated)
			return
		}
		value, found := values[key]
		if !found {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = w.Write(value)
	}
}

func block(kind, data string) *api.Block {
	return &api.Block{ID: api.NewID(), Name: "mine", Data: json.RawMessage(data), BlockSpec: &api.BlockSpec{Name: kind}}
}

func open(t *testing.T, kind, data string) storage.Storage {
	t.Helper()
	opened, err := storage.Open(block(kind, data), storage.Places{Home: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return opened
}

// Every storage passes the same tests.
func TestStorages(t *testing.T) {
	t.Parallel()
	kv := httptest.NewServer(kvHandler("/kv/"))
	t.Cleanup(kv.Close)
	api4200 := httptest.NewServer(kvHandler("/api/kv/"))
	t.Cleanup(api4200.Close)
	c, err := client.New(client.Config{Addresses: []string{api4200.URL + "/api"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, opened := range map[string]storage.Storage{
		"built-in":                    storage.BuiltIn(c),
		"KV server":                   open(t, storage.KindKVServer, fmt.Sprintf(`{"api_address":%q}`, kv.URL+"/kv")),
		"local":                       open(t, storage.KindLocal, fmt.Sprintf(`{"storage_path":%q}`, t.TempDir())),
		"local without a path":        open(t, storage.KindLocal, `{}`),
		"file named by hash":          open(t, storage.KindFile, fmt.Sprintf(`{"base_path":%q}`, t.TempDir()+"/new/deep")),
		"file named by uuid":          open(t, storage.KindFile, fmt.Sprintf(`{"base_path":%q,"key_type":"uuid","options":{}}`, "file://"+t.TempDir())),
		"file named by its timestamp": open(t, storage.KindFile, fmt.Sprintf(`{"base_path":%q,"key_type":"timestamp"}`, t.TempDir())),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, text := range []string{"", "def flow():\n\treturn \"é\"\n", strings.Repeat("x", 300_000)} {
				key, err := opened.Write(t.Context(), []byte(text))
				if err != nil {
					t.Fatal(err)
				}
				if got, err := opened.Read(t.Context(), key); err != nil || string(got) != text {
					t.Errorf("read %d bytes of %d, %v", len(got), len(text), err)
				}
			}
			if _, err := opened.Read(t.Context(), "missing"); !api.IsNotFound(err) {
				t.Errorf("a missing key gave %v", err)
			}
		})
	}
}

func TestEqualContentHasOneFileNamedByItsHash(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	opened := open(t, storage.KindFile, fmt.Sprintf(`{"base_path":%q}`, base))
	first, err := opened.Write(t.Context(), []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	second, err := opened.Write(t.Context(), []byte("hello"))
	if err != nil || first != second || first != "5d41402abc4b2a76b9719d911017c592" {
		t.Errorf("keys %s and %s, %v", first, second, err)
	}
	if files, _ := os.ReadDir(base); len(files) != 1 {
		t.Errorf("files %v", files)
	}
}

func TestKeysOfLocalStorageAreWholePaths(t *testing.T) {
	t.Parallel()
	key, err := open(t, storage.KindLocal, fmt.Sprintf(`{"storage_path":%q}`, t.TempDir())).Write(t.Context(), []byte("x"))
	if err != nil || !filepath.IsAbs(key) {
		t.Errorf("key %s, %v", key, err)
	}
}

func TestKeysCannotLeadOutOfTheDirectory(t *testing.T) {
	t.Parallel()
	opened := open(t, storage.KindFile, fmt.Sprintf(`{"base_path":%q}`, t.TempDir()))
	for _, key := range []string{"../x", "/etc/hostname", "a/../../x"} {
		if data, err := opened.Read(context.Background(), key); api.KindOf(err) != api.KindInvalid {
			t.Errorf("%s gave %d bytes, %v", key, len(data), err)
		}
	}
}

func TestStoragesThatCannotBeUsedSayWhich(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ kind, data, want string }{
		{storage.KindS3, `{"bucket":"b"}`, "S3 Storage"},
		{storage.KindFile, `{"base_path":"s3://bucket/x"}`, "(s3)"},
		{storage.KindFile, `{"base_path":""}`, "base_path is empty"},
		{storage.KindFile, `{"base_path":"/x","key_type":"y"}`, "hash, uuid, timestamp"},
		{storage.KindKVServer, `{}`, "api_address is empty"},
	} {
		_, err := storage.Open(block(test.kind, test.data), storage.Places{})
		if api.KindOf(err) != api.KindInvalid || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s %s: %v", test.kind, test.data, err)
		}
	}
	for _, kind := range (storage.Places{}).Kinds() {
		if !(storage.Places{}).Supports(kind) {
			t.Errorf("%s is listed but not supported", kind)
		}
	}
	masked := block(storage.KindKVServer, `{"api_address":"http://me:********@kv"}`)
	if _, err := storage.Open(masked, storage.Places{}); api.KindOf(err) != api.KindForbidden || !strings.Contains(err.Error(), "not shown to this token") {
		t.Errorf("masked credentials: %v", err)
	}
}

func TestReferencesHaveOrionsForm(t *testing.T) {
	t.Parallel()
	id, err := api.ParseID("840a2de4-8721-4500-bc8b-604cab79fc2e")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		reference storage.Reference
		want      api.DataDocument
	}{
		{storage.Reference{Key: "abc"}, api.DataDocument{Encoding: "sluice-store", Blob: "abc"}},
		{
			storage.Reference{BlockID: &id, Key: "5f781e1f"},
			api.DataDocument{Encoding: "blockstorage", Blob: `{"data": "\"5f781e1f\"", "block_id": "840a2de4-8721-4500-bc8b-604cab79fc2e"}`},
		},
	} {
		got, err := test.reference.Document()
		if err != nil || got != test.want {
			t.Errorf("got %+v, %v", got, err)
		}
		back, err := storage.ParseReference(got)
		if err != nil || back.Key != test.reference.Key || (back.BlockID == nil) != (test.reference.BlockID == nil) {
			t.Errorf("came back as %+v, %v", back, err)
		}
	}
	if _, err := storage.ParseReference(api.DataDocument{Encoding: "json", Blob: "1"}); err == nil {
		t.Error("a document that is no reference was accepted")
	}
}
