package node

import (
	"bytes"
	"sync"
)

// RecentLog keeps the newest lines that are written to it. Each Write is one line.
type RecentLog struct {
	limit int // bytes

	mu    sync.Mutex // guards what follows
	lines [][]byte
	bytes int
	lost  uint64 // lines that had to go
}

// NewRecentLog keeps lines of that many bytes in total.
func NewRecentLog(limit int) *RecentLog { return &RecentLog{limit: limit} }

// Write implements io.Writer.
func (l *RecentLog) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, bytes.Clone(line))
	l.bytes += len(line)
	for l.bytes > l.limit && len(l.lines) > 0 {
		l.bytes -= len(l.lines[0])
		l.lines[0] = nil
		l.lines = l.lines[1:]
		l.lost++
	}
	return len(line), nil
}

// Lines returns what is kept, and how many lines before that were lost.
func (l *RecentLog) Lines() (text []byte, lost uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Join(l.lines, nil), l.lost
}
