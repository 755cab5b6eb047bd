package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

// shipped writes lines as a command would and returns the texts of each batch that was sent, and what Close says.
// Batches in which refuse finds something are refused as too large.
func shipped(t *testing.T, lines []string, refuse func(body string) bool) ([][]string, error) {
	t.Helper()
	server := record(t, func(w http.ResponseWriter, r request) {
		if refuse(r.body) {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			_, _ = io.WriteString(w, `{"detail":"too large","kind":"too_large"}`)
			return
		}
		w.WriteHeader(http.StatusCreated)
	})
	c, err := client.New(client.Config{Addresses: []string{server.api()}, RetryFor: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	logs := startCommandLogs(t.Context(), c, api.NewID())
	w := logs.writer(io.Discard)
	for _, line := range lines {
		_, _ = io.WriteString(w, line+"\n")
	}
	w.Close()
	closed := logs.Close()
	var batches [][]string
	for _, body := range server.sent("POST", "/logs/") {
		if len(body) > 8<<20 {
			t.Errorf("a batch has %d bytes", len(body))
		}
		var batch []api.LogCreate
		if err := json.Unmarshal([]byte(body), &batch); err != nil {
			t.Fatal(err)
		}
		var texts []string
		for _, line := range batch {
			texts = append(texts, line.Message)
		}
		batches = append(batches, texts)
	}
	return batches, closed
}

func TestBatchesOfLongLinesStayBelowTheLimitOfTheServer(t *testing.T) {
	t.Parallel()
	var lines []string
	for range 200 {
		lines = append(lines, strings.Repeat("\x01", 60_000)) // six times as long in JSON
	}
	batches, err := shipped(t, lines, func(string) bool { return false })
	if err != nil {
		t.Error(err)
	}
	count := 0
	for _, batch := range batches {
		count += len(batch)
		if size := len(strings.Join(batch, "")); size > maxLogBytes {
			t.Errorf("a batch holds %d bytes of text", size)
		}
	}
	if count != len(lines) {
		t.Errorf("%d lines were sent instead of %d", count, len(lines))
	}
}

func TestLinesAfterARefusedBatchAreStored(t *testing.T) {
	t.Parallel()
	const perBatch = maxLogBytes / 60_000
	var lines []string
	for n := range 5 * perBatch {
		lines = append(lines, strings.Repeat(string(rune('a'+n/perBatch)), 60_000))
	}
	batches, err := shipped(t, lines, func(body string) bool { return strings.Contains(body, "bbb") })
	if err == nil || !strings.Contains(err.Error(), "lines of its output could not be stored") || !strings.Contains(err.Error(), "too large") {
		t.Errorf("closing said: %v", err)
	}
	last := batches[len(batches)-1]
	if last[len(last)-1] != lines[len(lines)-1] {
		t.Error("nothing was sent after the refused batch")
	}
}
