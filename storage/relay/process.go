package relay

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// startPatience bounds how long the command takes to tell where its endpoint is.
const startPatience = 30 * time.Second

// Process is an endpoint for a process without an agent: the command `sluice storage relay`, started when it is needed.
type Process struct {
	// Find returns the sluice binary, or why there is none.
	Find func() (string, error)
	// Environment is what the command gets beside this process's own.
	Environment []string

	mu      sync.Mutex // guards what follows
	access  Access
	input   io.Closer // the command ends with it
	command *exec.Cmd
}

// Access starts the command unless it runs.
func (p *Process) Access(ctx context.Context) (Access, error) {
	if access, ok := FromEnvironment(); ok {
		return access, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.command != nil {
		return p.access, nil
	}
	binary, err := p.Find()
	if err != nil {
		return Access{}, fmt.Errorf("storages in a cloud are reached through the sluice binary: %w", err)
	}
	command := exec.Command(binary, "storage", "relay")
	command.Env = append(os.Environ(), p.Environment...)
	var said strings.Builder
	command.Stderr = &said
	input, err := command.StdinPipe()
	if err != nil {
		return Access{}, err
	}
	output, err := command.StdoutPipe()
	if err != nil {
		return Access{}, err
	}
	if err := command.Start(); err != nil {
		return Access{}, fmt.Errorf("start `%s storage relay`: %w", binary, err)
	}
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	unwatch := context.AfterFunc(ctx, func() { _ = command.Process.Kill() })
	line, err := bufio.NewReader(output).ReadBytes('\n')
	if unwatch() && err == nil {
		err = json.Unmarshal(line, &p.access)
	} else if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = input.Close()
		_ = command.Process.Kill()
		_ = command.Wait()
		return Access{}, errors.New("`" + binary + " storage relay` did not start: " + strings.TrimSpace(said.String()))
	}
	p.command, p.input = command, input
	return p.access, nil
}

// Close ends the command.
func (p *Process) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.command == nil {
		return
	}
	_ = p.input.Close()
	_ = p.command.Wait()
	p.command = nil
}
