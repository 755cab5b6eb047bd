package agent

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/sluice-dev/sluice/agent/spool"
)

// longestLine is where a line of output is cut, in bytes; its rest becomes the
// next line.
const longestLine = 64 << 10

// output cuts what a flow process writes into lines and puts them on disk. It is
// used by one goroutine at a time.
type output struct {
	open  func() (*spool.File, error) // makes the spool file, for the first line
	clock Clock
	log   *slog.Logger
	echo  io.Writer // nil unless the output is streamed

	file    *spool.File // nil until the first line
	partial []byte      // the line that has not ended yet
	last    time.Time   // of the last line: each is at least 1 µs later than the one before
	lost    int         // lines that could not be kept since the last one that was
	told    bool        // that lines are being lost
}

// Write never fails, so that a full disk does not stop a flow.
func (o *output) Write(p []byte) (int, error) {
	n := len(p)
	var lines []string
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			o.partial = append(o.partial, p...)
			p = nil
		} else {
			o.partial = append(o.partial, p[:end]...)
			p = p[end+1:]
		}
		for len(o.partial) > longestLine {
			at := cutAt(o.partial)
			lines = append(lines, text(o.partial[:at]))
			o.partial = append(o.partial[:0], o.partial[at:]...)
		}
		if end >= 0 {
			lines = append(lines, text(bytes.TrimSuffix(o.partial, []byte{'\r'})))
			o.partial = o.partial[:0]
		}
	}
	o.keep(lines)
	return n, nil
}

// cutAt is the place near longestLine that does not part a character.
func cutAt(line []byte) int {
	for at := longestLine; at > longestLine-utf8.UTFMax; at-- {
		if utf8.RuneStart(line[at]) {
			return at
		}
	}
	return longestLine
}

func text(line []byte) string { return strings.ToValidUTF8(string(line), "\uFFFD") }

// finish keeps a last line without line end. No more output comes.
func (o *output) finish() {
	if len(o.partial) > 0 {
		o.keep([]string{text(o.partial)})
		o.partial = nil
	}
	if o.file == nil {
		return
	}
	if o.lost > 0 {
		if err := o.file.AppendAnyway(o.stamp(lossNote(o.lost))); err != nil {
			o.log.Error("Cannot keep how much output of a flow run was lost", "lines", o.lost, "error", err)
		}
	}
	o.file.Finish()
}

// keep echoes lines and puts them into the spool.
func (o *output) keep(lines []string) {
	if len(lines) == 0 {
		return
	}
	if o.echo != nil {
		_, _ = io.WriteString(o.echo, strings.Join(lines, "\n")+"\n")
	}
	stamped := make([]spool.Line, 0, len(lines)+1)
	if o.lost > 0 {
		stamped = append(stamped, o.stamp(lossNote(o.lost)))
	}
	for _, line := range lines {
		stamped = append(stamped, o.stamp(line))
	}
	err := o.append(stamped)
	if err == nil {
		o.lost, o.told = 0, false
		return
	}
	o.lost += len(lines)
	if !o.told {
		o.told = true
		o.log.Error("Cannot keep the output of a flow run; its lines are lost until this is mended", "error", err)
	}
}

// lossNote stands in the log where lines are missing.
func lossNote(lines int) string {
	return fmt.Sprintf("(%d lines of output were lost here: the agent could not keep them)", lines)
}

func (o *output) append(lines []spool.Line) error {
	if o.file == nil {
		file, err := o.open()
		if err != nil {
			return err
		}
		o.file = file
	}
	err := o.file.Append(lines)
	if errors.Is(err, spool.ErrFull) {
		return fmt.Errorf("%w: the flow run writes faster than the server takes it", err)
	}
	return err
}

// stamp gives a line its time. The API sorts lines by time, so lines that were
// read together must not share one.
func (o *output) stamp(line string) spool.Line {
	now := o.clock.Now().Truncate(time.Microsecond)
	if !now.After(o.last) {
		now = o.last.Add(time.Microsecond)
	}
	o.last = now
	return spool.Line{Time: now, Text: line}
}

// lockedWriter keeps the lines of several flow runs apart.
type lockedWriter struct {
	mu sync.Mutex // guards w
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
