// Package program moves programs of flows through storages: packed as text, and unpacked into files that are kept for the next run.
package program

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/sluice-dev/sluice/api"
)

// sizeLimit bounds what is unpacked, against a document that is no program.
const sizeLimit = 1 << 30

// keep is how long a file lies unused before it is removed.
const keep = 30 * 24 * time.Hour

// Pack makes a program text, as storages keep it: compressed, in base64.
func Pack(file []byte) ([]byte, error) {
	var packed bytes.Buffer
	text := base64.NewEncoder(base64.StdEncoding, &packed)
	compressed := gzip.NewWriter(text)
	if _, err := compressed.Write(file); err != nil {
		return nil, err
	}
	if err := errors.Join(compressed.Close(), text.Close()); err != nil {
		return nil, err
	}
	return packed.Bytes(), nil
}

// Hash identifies a program.
func Hash(file []byte) string {
	sum := sha256.Sum256(file)
	return hex.EncodeToString(sum[:])
}

// Parse reads the document of a deployment's code.
func Parse(document api.DataDocument) (*api.Program, error) {
	p := &api.Program{}
	if err := json.Unmarshal([]byte(document.Blob), p); err != nil {
		return nil, fmt.Errorf("the deployment's code is no description of a program: %w; create the deployment again", err)
	}
	if raw, err := hex.DecodeString(p.SHA256); err != nil || len(raw) != sha256.Size {
		return nil, errors.New("the description of the deployment's program has no valid hash; create the deployment again")
	}
	return p, nil
}

// Cache keeps programs as files that can be executed. Its methods are safe for concurrent use; several processes may share a folder.
type Cache struct {
	// Dir is made when it is needed.
	Dir string
	// Load reads what a document refers to.
	Load func(ctx context.Context, document api.DataDocument) ([]byte, error)

	mu      sync.Mutex
	checked map[string]bool // files this process has verified or written
}

// Path returns the file of a program, fetched if it is not there yet.
func (c *Cache) Path(ctx context.Context, p *api.Program) (string, error) {
	if p.Language != api.LanguageScript && (p.OS != runtime.GOOS || p.Arch != runtime.GOARCH) {
		return "", fmt.Errorf("the program %q was built for %s/%s, but this machine is %s/%s: build it with GOOS=%[4]s GOARCH=%[5]s and create the deployment again, "+
			"or keep its runs from this agent with a work queue", p.Name, p.OS, p.Arch, runtime.GOOS, runtime.GOARCH)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	path := filepath.Join(c.Dir, p.SHA256)
	if c.checked[path] {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	file, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read the program %q: %w", p.Name, err)
	}
	if err != nil || Hash(file) != p.SHA256 {
		if err := c.fetch(ctx, p, path); err != nil {
			return "", err
		}
	}
	now := time.Now()
	_ = os.Chtimes(path, now, now) // for remove only
	if c.checked == nil {
		c.checked = map[string]bool{}
	}
	c.checked[path] = true
	return path, nil
}

func (c *Cache) fetch(ctx context.Context, p *api.Program, path string) error {
	packed, err := c.Load(ctx, p.Code)
	if err != nil {
		return fmt.Errorf("fetch the program %q: %w", p.Name, err)
	}
	compressed, err := gzip.NewReader(base64.NewDecoder(base64.StdEncoding, bytes.NewReader(packed)))
	if err != nil {
		return fmt.Errorf("unpack the program %q: %w", p.Name, err)
	}
	file, err := io.ReadAll(io.LimitReader(compressed, sizeLimit))
	if err != nil {
		return fmt.Errorf("unpack the program %q: %w", p.Name, err)
	}
	if Hash(file) != p.SHA256 {
		return fmt.Errorf("the program %q in the storage is not the one the deployment was created with: create the deployment again", p.Name)
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return fmt.Errorf("keep the program %q: %w", p.Name, err)
	}
	c.remove()
	// Written beside and renamed: nobody starts half a file, nor one that is open for writing.
	beside, err := os.CreateTemp(c.Dir, ".part-*")
	if err != nil {
		return fmt.Errorf("keep the program %q: %w", p.Name, err)
	}
	_, err = beside.Write(file)
	err = errors.Join(err, beside.Chmod(0o700), beside.Close())
	if err == nil {
		err = os.Rename(beside.Name(), path)
	}
	if err != nil {
		_ = os.Remove(beside.Name())
		return fmt.Errorf("keep the program %q: %w", p.Name, err)
	}
	return nil
}

// remove deletes what has not been used for long. What cannot be removed stays.
func (c *Cache) remove() {
	entries, err := os.ReadDir(c.Dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > keep {
			_ = os.Remove(filepath.Join(c.Dir, e.Name()))
		}
	}
}
