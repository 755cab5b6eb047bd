package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-dev/sluice/api"
)

// interruptAt ends a context as soon as a text has been written.
type interruptAt struct {
	text      string
	interrupt func()
	written   bytes.Buffer
}

func (w *interruptAt) Write(p []byte) (int, error) {
	n, err := w.written.Write(p)
	if strings.Contains(w.written.String(), w.text) {
		w.interrupt()
	}
	return n, err
}

func TestCtrlCEndsThePromptsAndNothingIsRegistered(t *testing.T) {
	t.Parallel()
	server := record(t, func(w http.ResponseWriter, _ request) {
		_ = json.NewEncoder(w).Encode([]api.BlockSpec{{ID: api.NewID(), Name: "File Storage", Fields: json.RawMessage(`{"properties":{"base_path":{"type":"string"}}}`)}})
	})
	for _, at := range []string{"Select a storage type to create: ", "BASE PATH (optional): ", "Choose a name"} {
		ctx, interrupt := context.WithCancel(t.Context())
		typed, keyboard := io.Pipe() // never closed while the command runs, as a terminal
		typist := make(chan struct{})
		go func() {
			defer close(typist)
			for range 2 {
				if _, err := io.WriteString(keyboard, "0\n"); err != nil {
					return
				}
			}
		}()
		out := &interruptAt{text: at, interrupt: interrupt}
		s := newShell(t, server.api())
		code := run(ctx, process{args: []string{"storage", "create"}, in: typed, out: out, err: io.Discard, environ: s.environ, width: func() int { return 0 }})
		_ = typed.Close()
		<-typist
		if code != exitInterrupted {
			t.Errorf("interrupted at %q: exit %d\n%s", at, code, out.written.String())
		}
	}
	if sent := server.sent(http.MethodPost, "/blocks/"); len(sent) > 0 {
		t.Errorf("registered %s", sent)
	}
}

func TestARelativeDirectoryIsRegisteredWhereItIs(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{"flows/../kept": "kept", "file://kept": "kept", "/kept": "/kept", "file:///kept": "file:///kept", "~/kept": "~/kept", "s3://b/k": "s3://b/k", "file://": "file://"} {
		if !strings.Contains(want, "/") {
			absolute, err := filepath.Abs(want)
			if err != nil {
				t.Fatal(err)
			}
			want = absolute
		}
		got, err := (&field{name: "base_path", directory: true, Type: "string"}).value(given)
		if err != nil || string(got) != `"`+want+`"` {
			t.Errorf("%s became %s (%v), want %s", given, got, err, want)
		}
	}
}

func TestAStateThatNoRunIsInIsRefused(t *testing.T) {
	t.Parallel()
	got := newShell(t, nowhere(t)).run("flow-run", "ls", "--state", "BOGUS")
	if got.code != exitUsage || !strings.Contains(got.err, "--state is 'BOGUS'; it is one of Scheduled, ") || !strings.Contains(got.err, "AwaitingRetry") {
		t.Errorf("exit %d\n%s", got.code, got.err)
	}
	filter, err := stateFilter([]string{"late", "RUNNING"})
	if err != nil || filter.Name.Any[0] != api.NameLate || filter.Type.Any[0] != api.Running {
		t.Errorf("got %+v, %v", filter, err)
	}
}
