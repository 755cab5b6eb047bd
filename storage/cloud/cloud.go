// Package cloud opens the storages that lie in clouds: S3, Google Cloud Storage, Azure Blob Storage. It is apart from package
// storage because of the libraries it needs: programs of the Go SDK reach such storages through package storage/relay instead.
package cloud

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/storage"
)

// Folders of a bucket: what rules of the bucket delete after a time are results, never the code of deployments.
const (
	Code    = "code"
	Results = "results"
)

const (
	// MaxObject bounds what is read or written at once, in bytes: it is in memory as a whole.
	MaxObject = 256 << 20
	// patience bounds one read or write with all its attempts.
	patience = 5 * time.Minute
	// attempts is how often a request is tried whose failure may pass.
	attempts = 3

	connectTimeout = 5 * time.Second
	answerTimeout  = time.Minute
)

// objects is a bucket. Its errors are *api.Error where the cause is known: see the constructors in failure.go.
type objects interface {
	put(ctx context.Context, key string, data []byte) error
	get(ctx context.Context, key string) ([]byte, error)
}

// Openers open the storages of this package. What is written lies in the folder, named by the hash of its content.
func Openers(folder string) map[string]storage.Opener {
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: connectTimeout}).DialContext,
		TLSHandshakeTimeout:   2 * connectTimeout,
		ResponseHeaderTimeout: answerTimeout,
		IdleConnTimeout:       answerTimeout,
		MaxIdleConnsPerHost:   16,
		ForceAttemptHTTP2:     true,
	}
	opener := func(kind string, open func(*api.Block, *http.Transport) (objects, error)) storage.Opener {
		return func(block *api.Block, _ storage.Places) (storage.Storage, error) {
			bucket, err := open(block, transport)
			if err != nil {
				return nil, err
			}
			return &store{kind: kind, name: block.Name, folder: folder, bucket: bucket}, nil
		}
	}
	return map[string]storage.Opener{
		storage.KindS3:     opener(storage.KindS3, openS3),
		storage.KindGoogle: opener(storage.KindGoogle, openGoogle),
		storage.KindAzure:  opener(storage.KindAzure, openAzure),
	}
}

// store is a bucket as a storage.
type store struct {
	kind, name string
	folder     string
	bucket     objects
}

func (s *store) Kind() string { return s.kind }

// Write implements storage.Storage. Writing what is there already replaces it by the same.
func (s *store) Write(ctx context.Context, data []byte) (string, error) {
	if len(data) > MaxObject {
		return "", tooLarge(len(data))
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	key := path.Join(s.folder, storage.ContentKey(data))
	if err := s.bucket.put(ctx, key, data); err != nil {
		return "", s.failed(ctx, "write to", err)
	}
	return key, nil
}

// Read implements storage.Storage. What was written here is compared with the hash it is named by.
func (s *store) Read(ctx context.Context, key string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	data, err := s.bucket.get(ctx, key)
	if err != nil {
		return nil, s.failed(ctx, "read from", err)
	}
	if name := path.Base(key); name != key && isHash(name) && storage.ContentKey(data) != name {
		return nil, &api.Error{
			Kind:    api.KindConflict,
			Message: fmt.Sprintf("%s in storage '%s' is not what was written: its content was changed", key, s.name),
			Hint:    "find out who may write to the bucket; `sluice deployment create` writes code anew, a new run its results",
		}
	}
	return data, nil
}

// isHash reports whether a name is one that storage.ContentKey gives. Other clients give names of their own.
func isHash(name string) bool {
	if len(name) != len(storage.ContentKey(nil)) {
		return false
	}
	for _, r := range name {
		if (r < '0' || r > '9') && (r < 'a' || r > 'f') {
			return false
		}
	}
	return true
}

// failed says which storage could not be used.
func (s *store) failed(ctx context.Context, what string, err error) error {
	if _, known := errors.AsType[*api.Error](err); !known {
		err = unreachable(err)
		if ctx.Err() != nil {
			err = ctx.Err()
		}
	}
	return fmt.Errorf("%s storage '%s' (%s): %w", what, s.name, s.kind, err)
}

// readObject reads a whole object of bounded size.
func readObject(body io.ReadCloser, size int64) ([]byte, error) {
	defer func() { _ = body.Close() }()
	if size > MaxObject {
		return nil, tooLarge(int(size))
	}
	var data bytes.Buffer
	if size > 0 {
		data.Grow(int(size))
	}
	if n, err := data.ReadFrom(io.LimitReader(body, MaxObject+1)); err != nil {
		return nil, err
	} else if n > MaxObject {
		return nil, tooLarge(int(n))
	}
	return data.Bytes(), nil
}
