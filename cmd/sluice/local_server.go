package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// localServer tells the commands of the same user where the server at an address of this machine has its data.
type localServer struct {
	DataDir string `json:"data_dir"`
	PID     int    `json:"pid"`
}

// localServerPath is named for the address; the Python SDK looks there, too.
func localServerPath(home, address string) (string, bool) {
	parsed, err := url.Parse(address)
	if err != nil || parsed.Host == "" {
		return "", false
	}
	return filepath.Join(home, "servers", strings.NewReplacer(":", "_", "[", "", "]", "").Replace(parsed.Host)+".json"), true
}

func writeLocalServer(home, address string, s localServer) error {
	path, ok := localServerPath(home, address)
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

func readLocalServer(home, address string) (dataDir string, pid int, ok bool) {
	path, ok := localServerPath(home, address)
	if !ok {
		return "", 0, false
	}
	content, err := os.ReadFile(path)
	var s localServer
	if err != nil || json.Unmarshal(content, &s) != nil {
		return "", 0, false
	}
	return s.DataDir, s.PID, true
}

func removeLocalServer(home, address string) {
	if path, ok := localServerPath(home, address); ok {
		_ = os.Remove(path) // one that stays is told by its lock
	}
}
