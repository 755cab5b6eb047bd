package relay

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/storage"
)

// patience bounds one call: a little more than what the endpoint takes for it at most.
const patience = 6 * time.Minute

// Openers open the storages that have credentials through an endpoint. connect is called when one is used.
func Openers(connect func(ctx context.Context) (Access, error)) map[string]storage.Opener {
	openers := map[string]storage.Opener{}
	for _, kind := range relayed {
		openers[kind] = func(block *api.Block, _ storage.Places) (storage.Storage, error) {
			return &remote{kind: kind, block: block.ID, connect: connect}, nil
		}
	}
	return openers
}

// remote is a storage that another process opens.
type remote struct {
	kind    string
	block   api.ID
	connect func(ctx context.Context) (Access, error)
}

func (r *remote) Kind() string { return r.kind }

// Write implements storage.Storage.
func (r *remote) Write(ctx context.Context, data []byte) (string, error) {
	answer, err := r.do(ctx, http.MethodPost, "", data)
	if err != nil {
		return "", err
	}
	var said written
	if err := json.Unmarshal(answer, &said); err != nil {
		return "", fmt.Errorf("read the key of what was written: %w", err)
	}
	return said.Key, nil
}

// Read implements storage.Storage.
func (r *remote) Read(ctx context.Context, key string) ([]byte, error) {
	return r.do(ctx, http.MethodGet, "?key="+url.QueryEscape(key), nil)
}

func (r *remote) do(ctx context.Context, method, query string, body []byte) ([]byte, error) {
	access, err := r.connect(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, access.URL+"/"+r.block.String()+query, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+access.Token)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, &api.Error{Kind: api.KindUnavailable, Message: "the endpoint for storages on this machine does not answer", Err: err}
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, Limit))
	if err != nil {
		return nil, fmt.Errorf("read the answer of the endpoint for storages: %w", err)
	}
	if answer.StatusCode/100 != 2 {
		var said api.ErrorBody
		if json.Unmarshal(text, &said) != nil || said.Kind == "" {
			said = api.ErrorBody{Detail: "the endpoint for storages answered " + answer.Status, Kind: api.KindOfStatus(answer.StatusCode)}
		}
		return nil, &api.Error{Kind: said.Kind, Message: said.Detail, Hint: said.Hint}
	}
	return text, nil
}
