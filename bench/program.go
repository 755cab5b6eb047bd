package bench

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// TasksResult is what a flow of many no-op tasks took.
type TasksResult struct {
	Tasks   int     `json:"tasks"`
	Seconds float64 `json:"seconds"`
	CPU     float64 `json:"cpu_seconds"`
	PeakMiB float64 `json:"peak_rss_mib"`
}

// Serve starts a program of the Go SDK that serves a queue of the machine's server. It ends with the machine.
func (m *Machine) Serve(program, queue string) error {
	c := m.command("serve", queue)
	c.Path, c.Args = program, append([]string{program}, c.Args[1:]...)
	c.Stderr = nil
	out, err := c.StderrPipe()
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	if err := c.Start(); err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	m.agents = append(m.agents, c)
	began := make(chan struct{})
	go func() {
		told := false
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if !told && strings.HasPrefix(lines.Text(), "Serving ") {
				told = true
				close(began)
			}
		}
	}()
	select {
	case <-began:
		return nil
	case <-time.After(20 * time.Second):
		return errors.New("the program did not serve within 20 s")
	}
}

// Tasks has a program run its flow of that many no-op tasks.
func (m *Machine) Tasks(program string, tasks int) (TasksResult, error) {
	c := m.command("run", "bench-tasks", "--tasks", fmt.Sprint(tasks))
	c.Path, c.Args = program, append([]string{program}, c.Args[1:]...)
	var problems bytes.Buffer
	c.Stderr = &tail{to: &problems}
	out, err := c.Output()
	result := TasksResult{Tasks: tasks}
	if exit, failed := errors.AsType[*exec.ExitError](err); failed {
		return result, fmt.Errorf("%d tasks: %w\n%s", tasks, exit, problems.String())
	}
	if err == nil {
		err = json.Unmarshal(out, &result)
	}
	if err != nil {
		return result, fmt.Errorf("%d tasks: %w", tasks, err)
	}
	return result, nil
}

// tail keeps the end of what is written: a flow of many tasks says a line of each.
type tail struct{ to *bytes.Buffer }

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	if t.to.Len() > 4096 {
		t.to.Reset()
	}
	return t.to.Write(p)
}
