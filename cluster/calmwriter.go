package cluster

import (
	"bytes"
	"io"
	"sync"
	"time"
	"unicode"
)

const (
	// calmFor is how long a line is not repeated, calmLines how many different ones are remembered.
	calmFor   = time.Minute
	calmLines = 256
)

// calmWriter drops lines that differ from one of the last minute in numbers only: a node that cannot be understood, because it has
// another key, says so several times a second.
type calmWriter struct {
	out io.Writer
	now func() time.Time

	mu   sync.Mutex // guards what follows
	seen map[string]time.Time
}

func (w *calmWriter) Write(p []byte) (int, error) {
	if w.repeats(p) {
		return len(p), nil
	}
	return w.out.Write(p)
}

func (w *calmWriter) repeats(p []byte) bool {
	line := string(bytes.Map(func(r rune) rune {
		if unicode.IsDigit(r) {
			return -1
		}
		return r
	}, p))
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	if at, known := w.seen[line]; known && now.Sub(at) < calmFor {
		return true
	}
	if w.seen == nil || len(w.seen) >= calmLines {
		w.seen = map[string]time.Time{}
	}
	w.seen[line] = now
	return false
}
