package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

const (
	logFlush     = time.Second
	maxLogBatch  = 500
	maxLogBytes  = 256 << 10 // of the texts of a batch: JSON makes them 6 times as long at most, and the server takes 8 MiB
	maxLogLine   = 64 << 10
	levelInfo    = 20 // also for stderr, where programs write their progress
	commandLog   = "sluice.flow_runs"
	logQueueSize = 10_000 // lines; a command that writes faster than they are stored waits
)

// commandLogs stores what a plain command writes as logs of its flow run, while it goes on to the terminal.
type commandLogs struct {
	client   *client.Client
	run      api.ID
	producer api.ID
	lines    chan api.LogCreate
	done     chan struct{}
	lost     int   // lines that could not be stored; valid once done is closed
	err      error // why the first of them could not; valid once done is closed
}

// startCommandLogs starts storing; Close ends it.
func startCommandLogs(ctx context.Context, c *client.Client, run api.ID) *commandLogs {
	l := &commandLogs{client: c, run: run, producer: api.NewID(), lines: make(chan api.LogCreate, logQueueSize), done: make(chan struct{})}
	go l.ship(ctx)
	return l
}

// writer returns a writer for one of the command's outputs, that passes on to out.
func (l *commandLogs) writer(out io.Writer) *lineWriter {
	return &lineWriter{out: out, line: func(text string) {
		l.lines <- api.LogCreate{Name: commandLog, Level: levelInfo, Message: text, Timestamp: api.At(time.Now()), FlowRunID: l.run}
	}}
}

// Close stores what is left and says how much of the output could not be stored. Nothing may be written any more.
func (l *commandLogs) Close() error {
	close(l.lines)
	<-l.done
	if l.err != nil {
		return fmt.Errorf("%d lines of its output could not be stored: %w", l.lost, l.err)
	}
	return nil
}

func (l *commandLogs) ship(ctx context.Context) {
	defer close(l.done)
	ticker := time.NewTicker(logFlush)
	defer ticker.Stop()
	var batch []api.LogCreate
	var sequence uint64
	var size int         // bytes of the texts in batch
	var unreachable bool // no server answered for as long as the client tries
	flush := func() {
		lines := batch
		batch, size = nil, 0
		if len(lines) == 0 {
			return
		}
		if unreachable { // waiting again for each batch would hold up the command
			l.lost += len(lines)
			return
		}
		sequence++
		err := l.client.CreateLogs(ctx, l.producer, sequence, lines)
		if err == nil {
			return
		}
		l.lost += len(lines)
		if l.err == nil {
			l.err = err
		}
		_, refused := errors.AsType[*api.Error](err) // others may be taken
		unreachable = !refused
	}
	for {
		select {
		case line, open := <-l.lines:
			if !open {
				flush()
				return
			}
			if size+len(line.Message) > maxLogBytes {
				flush()
			}
			size += len(line.Message)
			if batch = append(batch, line); len(batch) >= maxLogBatch {
				flush()
			}
		case <-ticker.C:
			flush()
		}
	}
}

// lineWriter passes on what it gets and calls line with each whole line; Close with the rest.
type lineWriter struct {
	out     io.Writer
	line    func(string)
	mutex   sync.Mutex // guards partial
	partial []byte
}

// Write implements io.Writer.
func (w *lineWriter) Write(p []byte) (int, error) {
	n, err := w.out.Write(p)
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.partial = append(w.partial, p[:n]...)
	for {
		end := bytes.IndexByte(w.partial, '\n')
		if end < 0 && len(w.partial) < maxLogLine {
			return n, err
		}
		rest := end + 1
		if end < 0 || end > maxLogLine {
			end, rest = maxLogLine, maxLogLine
		}
		w.emit(w.partial[:end])
		w.partial = w.partial[rest:]
	}
}

// Close gives the last line, if it was not ended.
func (w *lineWriter) Close() {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if len(w.partial) > 0 {
		w.emit(w.partial)
		w.partial = nil
	}
}

func (w *lineWriter) emit(line []byte) {
	w.line(strings.ToValidUTF8(strings.TrimSuffix(string(line), "\r"), "\ufffd"))
}
