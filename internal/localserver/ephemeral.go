package localserver

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// startPatience bounds how long a server takes to tell its address.
const startPatience = 30 * time.Second

// StartEphemeral starts a server that outlives its last user by some seconds, or finds the one that runs on the same data, and returns
// the address of its API. Its log is ephemeral.log in home.
func StartEphemeral(ctx context.Context, binary, home string, environment []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	if err := os.MkdirAll(home, 0o755); err != nil {
		return "", fmt.Errorf("make the directory of Sluice's files: %w", err)
	}
	log, err := os.OpenFile(filepath.Join(home, "ephemeral.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return "", fmt.Errorf("open the log of the server: %w", err)
	}
	defer func() { _ = log.Close() }()
	reading, writing, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer func() { _ = reading.Close() }()
	command := exec.Command(binary, "server", "start", "--ephemeral") // not of ctx: it outlives this process
	command.Env, command.Stdout, command.Stderr = environment, writing, log
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // an interrupt from the terminal is not for it
	err = command.Start()
	_ = writing.Close()
	if err != nil {
		return "", fmt.Errorf("start a server: %w", err)
	}
	defer context.AfterFunc(ctx, func() { _ = reading.SetReadDeadline(time.Now()) })()
	var said struct {
		URL string `json:"api_url"`
	}
	if err := json.Unmarshal(firstLine(reading), &said); err != nil || said.URL == "" {
		return "", fmt.Errorf("`%s server start --ephemeral` did not start a server; see %s", binary, log.Name())
	}
	go func() { _ = command.Wait() }() // it ends when nobody uses it any more; how is in its log
	return said.URL, nil
}

func firstLine(from *os.File) []byte {
	var line []byte
	buffer := make([]byte, 4096)
	for !bytes.ContainsRune(line, '\n') {
		n, err := from.Read(buffer)
		line = append(line, buffer[:n]...)
		if err != nil {
			break
		}
	}
	return line
}
