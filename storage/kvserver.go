package storage

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/sluice-dev/sluice/api"
)

const (
	kvTimeout   = 30 * time.Second
	maxKVAnswer = 256 << 20
)

// kvServer keeps values with any server that takes POST and GET of {address}/{key} with a JSON string as body.
type kvServer struct {
	address string
	http    *http.Client
}

func openKVServer(block *api.Block, places Places) (Storage, error) {
	var config struct {
		APIAddress string `json:"api_address"`
	}
	if err := Decode(block, &config); err != nil {
		return nil, err
	}
	if config.APIAddress == "" {
		return nil, api.NewError(api.KindInvalid, "api_address is empty")
	}
	client := places.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	return &kvServer{address: strings.TrimRight(config.APIAddress, "/"), http: client}, nil
}

func (*kvServer) Kind() string { return KindKVServer }

func (s *kvServer) Write(ctx context.Context, data []byte) (string, error) {
	body, err := json.Marshal(string(data))
	if err != nil {
		return "", fmt.Errorf("encode value: %w", err)
	}
	key := ContentKey(data)
	if _, err := s.do(ctx, http.MethodPost, key, body); err != nil {
		return "", err
	}
	return key, nil
}

func (s *kvServer) Read(ctx context.Context, key string) ([]byte, error) {
	answer, err := s.do(ctx, http.MethodGet, key, nil)
	if err != nil {
		return nil, err
	}
	if len(answer) == 0 { // such a server may answer a missing key with an empty body
		return nil, api.NewError(api.KindNotFound, fmt.Sprintf("%s has no value under %s", s.address, key))
	}
	var value string
	if err := json.Unmarshal(answer, &value); err != nil {
		return nil, fmt.Errorf("decode the value under %s of %s: %w", key, s.address, err)
	}
	return []byte(value), nil
}

func (s *kvServer) do(ctx context.Context, method, key string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, kvTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, s.address+"/"+key, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := s.http.Do(request)
	if err != nil {
		return nil, &api.Error{Kind: api.KindUnreachable, Message: "cannot reach the KV server", Err: err}
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxKVAnswer))
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", s.address, err)
	}
	if response.StatusCode/100 != 2 {
		return nil, api.NewError(api.KindOfStatus(response.StatusCode),
			fmt.Sprintf("%s %s/%s answered %s", method, s.address, key, response.Status))
	}
	return answer, nil
}
