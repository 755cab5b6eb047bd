package main

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

func TestAServerFileIsBelievedOnlyWhileItsServerHasTheDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := startServer(t.Context(), serverOptions{
		DataDir: dir, NodeName: "test", HTTPAddr: "127.0.0.1:0", InternalAddr: "127.0.0.1:0", BootstrapExpect: 1, DiskLowWater: 1 << 20,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	if f, running := runningServer(t.Context(), dir); !running || f.APIURL != s.apiURL() {
		t.Errorf("while it runs: %+v, %t", f, running)
	}
	// What another process, whose pid is in the lock file, has not written.
	written, err := readServerFile(dir)
	if err != nil {
		t.Fatal(err)
	}
	foreign := written
	foreign.PID = os.Getppid()
	if err := writeServerFile(dir, foreign); err != nil {
		t.Fatal(err)
	}
	if f, running := runningServer(t.Context(), dir); running {
		t.Errorf("the file of another pid is believed: %+v", f)
	}
	if err := writeServerFile(dir, written); err != nil {
		t.Fatal(err)
	}

	ended, end := context.WithCancel(t.Context())
	end()
	if err := s.wait(ended); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(serverFilePath(dir)); !os.IsNotExist(err) {
		t.Errorf("the file outlives the server: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "LOCK")); err != nil {
		t.Fatal("nothing shows that a free lock is noticed:", err)
	}
	stranger := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer stranger.Close()
	if err := writeServerFile(dir, serverFile{APIURL: stranger.URL + "/api", PID: os.Getpid(), Ephemeral: true}); err != nil {
		t.Fatal(err)
	}
	if f, running := runningServer(t.Context(), dir); running {
		t.Errorf("a stranger at a dead server's address is believed: %+v", f)
	}
}
