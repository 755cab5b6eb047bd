package node

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/sluice-dev/sluice/internal/reload"
)

// GossipKeyBytes is the length of a key of gossip.
const GossipKeyBytes = 32

// openGossipKeys reads the file of the keys that encrypt gossip, and goes on reading it when it changes.
func openGossipKeys(file string, log *slog.Logger) (*reload.Value[[][]byte], error) {
	keys, err := reload.New("gossip keys", []string{file}, func() ([][]byte, error) { return ReadGossipKeys(file) }, log.With("part", "gossip"))
	if err != nil {
		return nil, fmt.Errorf("read the gossip keys: %w", err)
	}
	return keys, nil
}

// ReadGossipKeys reads a file of keys of gossip.
func ReadGossipKeys(file string) ([][]byte, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	keys, err := parseGossipKeys(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return keys, nil
}

// parseGossipKeys reads one key per line, in base64; lines that begin with # say nothing. Errors tell no key.
func parseGossipKeys(text string) (keys [][]byte, err error) {
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(key) != GossipKeyBytes {
			return nil, fmt.Errorf("line %d is not 32 bytes in base64; make a key with: head -c 32 /dev/urandom | base64", n)
		}
		if slices.ContainsFunc(keys, func(k []byte) bool { return string(k) == string(key) }) {
			return nil, fmt.Errorf("line %d repeats a key", n)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("no key: one is 32 bytes in base64 on a line of its own; make one with: head -c 32 /dev/urandom | base64")
	}
	return keys, nil
}
