package storage

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/sluice-dev/sluice/api"
)

// How File Storage chooses keys.
const (
	keyHash      = "hash"
	keyUUID      = "uuid"
	keyTimestamp = "timestamp"
)

// directory keeps each value in a file of its own below base.
type directory struct {
	kind    string
	base    string
	keyType string
	// wholePath: keys are whole paths (Local Storage), not names below base (File Storage).
	wholePath bool
}

func (d *directory) Kind() string { return d.kind }

func (d *directory) key(data []byte) string {
	switch d.keyType {
	case keyUUID:
		return api.NewID().String()
	case keyTimestamp:
		return time.Now().UTC().Format("2006-01-02T15-04-05.000000000Z")
	}
	sum := md5.Sum(data) // a name of the form Orion's clients give, not a protection
	return hex.EncodeToString(sum[:])
}

// Write makes the file appear whole or not at all, and synced.
func (d *directory) Write(_ context.Context, data []byte) (string, error) {
	base, err := filepath.Abs(d.base)
	if err != nil {
		return "", fmt.Errorf("find directory: %w", err)
	}
	if err := os.MkdirAll(base, 0o755); err != nil {
		return "", fmt.Errorf("make directory: %w", err)
	}
	name := d.key(data)
	path := filepath.Join(base, name)
	if err := writeWhole(path, data); err != nil {
		return "", fmt.Errorf("write %s: %w", path, err)
	}
	if d.wholePath {
		return path, nil
	}
	return name, nil
}

func writeWhole(path string, data []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".partial-*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // fails, as it should, after the rename
	_, err = file.Write(data)
	if err == nil {
		err = file.Chmod(0o644) // flows may run as other users
	}
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}

func (d *directory) Read(_ context.Context, key string) ([]byte, error) {
	path := key
	if !filepath.IsAbs(key) || !d.wholePath {
		if !filepath.IsLocal(key) {
			return nil, api.NewError(api.KindInvalid, fmt.Sprintf("key %q leads out of %s", key, d.base))
		}
		path = filepath.Join(d.base, key)
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &api.Error{
			Kind:    api.KindNotFound,
			Message: fmt.Sprintf("%s has no file %s on this machine", d.kind, path),
			Hint:    "the path must be one that every machine which creates deployments or runs flows shares",
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read from %s: %w", d.kind, err)
	}
	return data, nil
}
