package flow

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/sluice-dev/sluice/api/client"
	"github.com/sluice-dev/sluice/flow/internal/engine"
	"github.com/sluice-dev/sluice/flow/internal/server"
)

// lastLines is how long a process that ends waits for its last log lines to be delivered.
const lastLines = 20 * time.Second

// Connect returns a context in which flows are recorded at the server of SLUICE_API_URL (several addresses are separated by commas),
// with the token of SLUICE_API_KEY, or of the server if this user runs it on this machine. Without an address it starts a server that ends by itself, with the sluice binary of
// SLUICE_BINARY or the PATH. close sends the last log lines; call it before the process ends.
//
// Main connects by itself; Connect is for programs that run flows as a part of something else.
func Connect(ctx context.Context) (connected context.Context, close func() error, err error) {
	return connect(ctx, os.Stderr)
}

func connect(ctx context.Context, console io.Writer) (context.Context, func() error, error) {
	recorder, err := newRecorder(ctx)
	if err != nil {
		return nil, nil, err
	}
	end := func() error {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastLines)
		defer cancel()
		return recorder.Close(ending)
	}
	return engine.Connect(ctx, engine.Connection{Recorder: recorder, Console: console}), end, nil
}

func newRecorder(ctx context.Context) (*server.Recorder, error) {
	url := os.Getenv("SLUICE_API_URL")
	if url == "" {
		var err error
		if url, err = ephemeral(ctx); err != nil {
			return nil, err
		}
	}
	addresses, err := client.ParseAddresses(url)
	if err != nil {
		return nil, fmt.Errorf("SLUICE_API_URL: %w", err)
	}
	token := os.Getenv("SLUICE_API_KEY")
	if token == "" && len(addresses) == 1 {
		token = localToken(home(), addresses[0])
	}
	return server.New(server.Config{Home: home(), Owner: server.Owner(), Client: client.Config{Addresses: addresses, Token: token,
		CAFile: os.Getenv("SLUICE_API_CA_FILE"), UserAgent: "sluice-go"}})
}

// home is the directory of Sluice's own files.
func home() string {
	if dir := os.Getenv("SLUICE_HOME"); dir != "" {
		return dir
	}
	dir, err := os.UserHomeDir()
	if err != nil {
		return ".sluice"
	}
	return filepath.Join(dir, ".sluice")
}

// ephemeral starts a server that outlives this process by a few seconds, or finds the one that runs on the same data.
func ephemeral(ctx context.Context) (string, error) {
	binary := os.Getenv("SLUICE_BINARY")
	if binary == "" {
		var err error
		if binary, err = exec.LookPath("sluice"); err != nil {
			return "", errors.New("no Sluice server is configured and no sluice binary was found on the PATH; set SLUICE_API_URL to a server (http://127.0.0.1:4200/api), or SLUICE_BINARY to the binary so that one is started")
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := os.MkdirAll(home(), 0o755); err != nil {
		return "", fmt.Errorf("make the directory of Sluice's files: %w", err)
	}
	log, err := os.OpenFile(filepath.Join(home(), "ephemeral.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return "", fmt.Errorf("open the log of the server: %w", err)
	}
	defer func() { _ = log.Close() }()
	return firstLine(ctx, binary, log)
}

func firstLine(ctx context.Context, binary string, log *os.File) (string, error) {
	reading, writing, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer func() { _ = reading.Close() }()
	command := exec.Command(binary, "server", "start", "--ephemeral") // not of ctx: it outlives this process
	command.Stdout, command.Stderr = writing, log
	err = command.Start()
	_ = writing.Close()
	if err != nil {
		return "", fmt.Errorf("start a server: %w", err)
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = reading.SetReadDeadline(deadline)
	}
	var said struct {
		URL string `json:"api_url"`
	}
	var line bytes.Buffer
	buffer := make([]byte, 4096)
	for !strings.Contains(line.String(), "\n") {
		n, err := reading.Read(buffer)
		line.Write(buffer[:n])
		if err != nil {
			break
		}
	}
	if err := json.Unmarshal(line.Bytes(), &said); err != nil || said.URL == "" {
		return "", fmt.Errorf("`%s server start --ephemeral` did not start a server; see %s", binary, log.Name())
	}
	go func() { _ = command.Wait() }() // it ends when nobody uses it any more; how is in its log
	return said.URL, nil
}
