package flow

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// localToken returns the admin's token of the server that this user runs at an address right now, as the commands and the Python SDK
// find it; "" if there is none.
func localToken(home, address string) string {
	parsed, err := url.Parse(address)
	if err != nil || parsed.Host == "" {
		return ""
	}
	name := strings.NewReplacer(":", "_", "[", "", "]", "").Replace(parsed.Host)
	content, err := os.ReadFile(filepath.Join(home, "servers", name+".json"))
	var server struct {
		DataDir string `json:"data_dir"`
		PID     int    `json:"pid"`
	}
	if err != nil || json.Unmarshal(content, &server) != nil || !held(filepath.Join(server.DataDir, "LOCK"), server.PID) {
		return "" // somebody else may serve there now
	}
	token, err := os.ReadFile(filepath.Join(server.DataDir, "admin-token"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(token))
}

// held reports whether that process has the lock file of a data directory.
func held(path string, pid int) bool {
	lock, err := os.Open(path)
	if err != nil {
		return false
	}
	defer func() { _ = lock.Close() }()
	if syscall.Flock(int(lock.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) == nil {
		return false
	}
	content, err := os.ReadFile(path)
	return err == nil && strings.TrimSpace(string(content)) == strconv.Itoa(pid)
}
