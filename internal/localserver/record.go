// Package localserver finds servers of this machine: the one that a user runs at an address, with its token, and the one that is started
// for programs that have none.
package localserver

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// Server tells the commands of the same user where the server at an address of this machine has its data.
type Server struct {
	DataDir string `json:"data_dir"`
	PID     int    `json:"pid"`
}

// recordPath is named for the address; the Python SDK looks there, too.
func recordPath(home, address string) (string, bool) {
	parsed, err := url.Parse(address)
	if err != nil || parsed.Host == "" {
		return "", false
	}
	return filepath.Join(home, "servers", strings.NewReplacer(":", "_", "[", "", "]", "").Replace(parsed.Host)+".json"), true
}

// Write tells where the server at an address has its data.
func Write(home, address string, s Server) error {
	path, ok := recordPath(home, address)
	if !ok {
		return fmt.Errorf("%s is no address", address)
	}
	content, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(path+".tmp", content, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

func read(home, address string) (Server, bool) {
	path, ok := recordPath(home, address)
	if !ok {
		return Server{}, false
	}
	content, err := os.ReadFile(path)
	var s Server
	if err != nil || json.Unmarshal(content, &s) != nil {
		return Server{}, false
	}
	return s, true
}

// Remove forgets the server at an address.
func Remove(home, address string) {
	if path, ok := recordPath(home, address); ok {
		_ = os.Remove(path) // one that stays is told by its lock
	}
}
