// Package storage keeps flow code and results in blob storages. A storage is the cluster's built-in store, or what a storage
// block describes. Opening a block returns a Storage; a reference in a data document says where something lies.
package storage

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/internal/redact"
)

// Storage writes blobs under keys of its choice and reads them back. Equal content may get an equal key. It is safe for
// concurrent use.
type Storage interface {
	// Kind is the name people know it by: "S3 Storage".
	Kind() string
	// Write stores data durably and returns its key.
	Write(ctx context.Context, data []byte) (key string, err error)
	// Read returns what was written under key; an *api.Error of KindNotFound when there is nothing.
	Read(ctx context.Context, key string) ([]byte, error)
}

// Values is the part of the API client that the built-in store needs.
type Values interface {
	PutValue(ctx context.Context, key, value string) error
	Value(ctx context.Context, key string) (string, error)
}

// Places is what opening a block needs of its surroundings.
type Places struct {
	// Home is the directory of Sluice's own files; Local Storage without a path lies in its folder "storage".
	Home string
	// HTTP sends the requests of KV Server Storage; nil is http.DefaultClient.
	HTTP *http.Client
	// Openers open further kinds, or those of this package differently: in the cloud (storage/cloud), or through an endpoint that
	// holds the credentials (storage/relay).
	Openers map[string]Opener
}

// Opener opens the blocks of one spec.
type Opener func(block *api.Block, places Places) (Storage, error)

// Names of the block specs of storages.
const (
	KindAzure          = "Azure Blob Storage"
	KindFile           = "File Storage"
	KindGoogle         = "Google Cloud Storage"
	KindKVServer       = "KV Server Storage"
	KindLocal          = "Local Storage"
	KindS3             = "S3 Storage"
	KindTemporaryLocal = "Temporary Local Storage"
	// KindBuiltIn is no block: it is used when there is no default storage block.
	KindBuiltIn = "built-in storage"
)

// openers are those of the kinds that need no credentials and no library.
var openers = map[string]Opener{
	KindFile:           openFile,
	KindKVServer:       openKVServer,
	KindLocal:          openLocal,
	KindTemporaryLocal: openTemporary,
}

func (p Places) opener(kind string) Opener {
	if open := p.Openers[kind]; open != nil {
		return open
	}
	return openers[kind]
}

// Supports reports whether blocks of that spec can be read and written.
func (p Places) Supports(kind string) bool { return p.opener(kind) != nil }

// Kinds lists the specs for which Supports is true, in the order of the alphabet.
func (p Places) Kinds() []string {
	kinds := maps.Clone(openers)
	maps.Copy(kinds, p.Openers)
	return slices.Sorted(maps.Keys(kinds))
}

// Open returns the storage that a block describes.
func Open(block *api.Block, places Places) (Storage, error) {
	if block.BlockSpec == nil {
		return nil, fmt.Errorf("open storage block %s: it came without its block spec", block.ID)
	}
	kind := block.BlockSpec.Name
	open := places.opener(kind)
	if open == nil {
		return nil, &api.Error{
			Kind:    api.KindInvalid,
			Message: fmt.Sprintf("storage '%s' is of type %s, which cannot be used here", block.Name, kind),
			Hint: "use the built-in store (sluice storage reset-default), or one of: " +
				strings.Join(places.Kinds(), ", "),
		}
	}
	opened, err := open(block, places)
	if err != nil {
		return nil, fmt.Errorf("open storage '%s': %w", block.Name, err)
	}
	return opened, nil
}

// Reference is where something is stored: a key in the built-in store, or in the block if BlockID is set.
type Reference struct {
	BlockID *api.ID
	Key     string
}

// Document returns the reference as data document, in Orion's form for blocks.
func (r Reference) Document() (api.DataDocument, error) {
	if r.BlockID == nil {
		return api.DataDocument{Encoding: api.EncodingStore, Blob: r.Key}, nil
	}
	// Orion's clients store the block's own answer as JSON inside the JSON.
	key, err := json.Marshal(r.Key)
	if err != nil {
		return api.DataDocument{}, fmt.Errorf("encode key: %w", err)
	}
	data, err := json.Marshal(string(key))
	if err != nil {
		return api.DataDocument{}, fmt.Errorf("encode key: %w", err)
	}
	blob := fmt.Sprintf(`{"data": %s, "block_id": "%s"}`, data, r.BlockID)
	return api.DataDocument{Encoding: api.EncodingBlockStorage, Blob: blob}, nil
}

// ParseReference reads a data document that refers to a storage.
func ParseReference(document api.DataDocument) (Reference, error) {
	switch document.Encoding {
	case api.EncodingStore:
		return Reference{Key: document.Blob}, nil
	case api.EncodingBlockStorage:
		var blob struct {
			Data    string `json:"data"`
			BlockID api.ID `json:"block_id"`
		}
		if err := json.Unmarshal([]byte(document.Blob), &blob); err != nil {
			return Reference{}, fmt.Errorf("decode storage reference: %w", err)
		}
		reference := Reference{BlockID: &blob.BlockID}
		if err := json.Unmarshal([]byte(blob.Data), &reference.Key); err != nil {
			return Reference{}, fmt.Errorf("decode storage key: %w", err)
		}
		return reference, nil
	}
	return Reference{}, fmt.Errorf("a document encoded as %q does not refer to a storage", document.Encoding)
}

// Decode reads the configuration of a block that holds credentials. One in which they are masked cannot be used.
func Decode(block *api.Block, into any) error {
	if redact.HasMask(block.Data) {
		return &api.Error{
			Kind:    api.KindForbidden,
			Message: fmt.Sprintf("the credentials of storage '%s' are not shown to this token", block.Name),
			Hint:    "use the token of an agent, a deployer or an admin (SLUICE_API_KEY); sluice token ls shows which there are",
		}
	}
	return decode(block, into)
}

func decode(block *api.Block, into any) error {
	if err := json.Unmarshal(block.Data, into); err != nil {
		return &api.Error{Kind: api.KindInvalid, Message: fmt.Sprintf("the settings of storage '%s' cannot be read", block.Name), Err: err,
			Hint: "correct them with `sluice block edit`"}
	}
	return nil
}

func openLocal(block *api.Block, places Places) (Storage, error) {
	var config struct {
		StoragePath string `json:"storage_path"`
	}
	if err := decode(block, &config); err != nil {
		return nil, err
	}
	if config.StoragePath == "" {
		config.StoragePath = filepath.Join(places.Home, "storage")
	}
	return &directory{kind: KindLocal, base: expandHome(config.StoragePath), keyType: keyHash, wholePath: true}, nil
}

func openTemporary(_ *api.Block, _ Places) (Storage, error) {
	base := filepath.Join(os.TempDir(), fmt.Sprintf("sluice-storage-%d", os.Getuid())) // users must not read each other's
	return &directory{kind: KindTemporaryLocal, base: base, keyType: keyHash, wholePath: true}, nil
}

func openFile(block *api.Block, _ Places) (Storage, error) {
	var config struct {
		BasePath string `json:"base_path"`
		KeyType  string `json:"key_type"`
	}
	if err := decode(block, &config); err != nil {
		return nil, err
	}
	base := strings.TrimPrefix(strings.TrimPrefix(config.BasePath, "file://"), "local://")
	if scheme, _, found := strings.Cut(base, "://"); found {
		return nil, &api.Error{
			Kind:    api.KindInvalid,
			Message: fmt.Sprintf("base_path %s is on a file system (%s) that this version cannot use", config.BasePath, scheme),
			Hint:    "use a path that every machine which runs flows can reach, like /mnt/flows",
		}
	}
	if base == "" {
		return nil, api.NewError(api.KindInvalid, "base_path is empty")
	}
	switch config.KeyType {
	case "":
		config.KeyType = keyHash
	case keyHash, keyUUID, keyTimestamp:
	default:
		return nil, api.NewError(api.KindInvalid, fmt.Sprintf("key_type is %q; it is one of hash, uuid, timestamp", config.KeyType))
	}
	return &directory{kind: KindFile, base: expandHome(base), keyType: config.KeyType}, nil
}

// expandHome replaces a leading ~ by the user's home directory.
func expandHome(path string) string {
	if path != "~" && !strings.HasPrefix(path, "~/") {
		return path
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return path
	}
	return filepath.Join(home, path[1:])
}
