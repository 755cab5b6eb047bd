// Package console formats log records for people who watch a terminal:
//
//	14:18:22.684 | INFO    | sluice.agent - Submitting flow run '1a466895-…'
//
// The name in the third column is the attribute LoggerKey, set once with
// slog.Logger.With. Programs that read logs ask for JSON instead.
package console

import (
	"context"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"
)

// LoggerKey is the attribute that names the part of the program that logs.
const LoggerKey = "logger"

// Format chooses how records are written.
type Format string

// The two formats of --log-format.
const (
	Text Format = "text"
	JSON Format = "json"
)

// Options of New.
type Options struct {
	// Level is the lowest level written; nil means slog.LevelInfo.
	Level slog.Leveler
	// Format is Text when empty.
	Format Format
	// Location is the time zone of Text; nil means time.Local.
	Location *time.Location
}

// New returns a handler that writes each record to w in one Write call.
func New(w io.Writer, options Options) slog.Handler {
	if options.Level == nil {
		options.Level = slog.LevelInfo
	}
	if options.Location == nil {
		options.Location = time.Local
	}
	if options.Format == JSON {
		return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: options.Level})
	}
	return &handler{out: &output{w: w}, options: options, name: "sluice"}
}

type output struct {
	mu sync.Mutex // guards w, so that lines are not interleaved
	w  io.Writer
}

type handler struct {
	out     *output
	options Options
	name    string
	group   string // prefix of attribute keys, "" or "a.b."
	attrs   []field
}

type field struct{ key, value string }

func (h *handler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.options.Level.Level()
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	clone := *h
	clone.attrs = append([]field(nil), h.attrs...)
	for _, a := range attrs {
		clone.add(h.group, a)
	}
	return &clone
}

func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	clone := *h
	clone.group += name + "."
	return &clone
}

func (h *handler) Handle(_ context.Context, r slog.Record) error {
	line := *h
	line.attrs = append([]field(nil), h.attrs...)
	r.Attrs(func(a slog.Attr) bool {
		line.add(h.group, a)
		return true
	})
	var b strings.Builder
	b.WriteString(r.Time.In(h.options.Location).Format("15:04:05.000"))
	b.WriteString(" | ")
	level := levelName(r.Level)
	b.WriteString(level)
	b.WriteString(strings.Repeat(" ", max(0, 7-len(level))))
	b.WriteString(" | ")
	b.WriteString(line.name)
	b.WriteString(" - ")
	b.WriteString(r.Message)
	for _, f := range line.attrs {
		// What the sentence says already is not said twice.
		if f.value != "" && strings.Contains(r.Message, f.value) {
			continue
		}
		b.WriteByte(' ')
		b.WriteString(f.key)
		b.WriteByte('=')
		b.WriteString(quoted(f.value))
	}
	b.WriteByte('\n')
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	_, err := io.WriteString(h.out.w, b.String())
	return err
}

// add appends one attribute, flattening groups into dotted keys.
func (h *handler) add(prefix string, a slog.Attr) {
	value := a.Value.Resolve()
	switch {
	case a.Equal(slog.Attr{}):
	case value.Kind() == slog.KindGroup:
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, inner := range value.Group() {
			h.add(prefix, inner)
		}
	case prefix == "" && a.Key == LoggerKey:
		h.name = value.String()
	default:
		h.attrs = append(h.attrs, field{prefix + a.Key, value.String()})
	}
}

func levelName(level slog.Level) string {
	switch level {
	case slog.LevelDebug:
		return "DEBUG"
	case slog.LevelInfo:
		return "INFO"
	case slog.LevelWarn:
		return "WARNING"
	case slog.LevelError:
		return "ERROR"
	default:
		return level.String()
	}
}

func quoted(value string) string {
	if value == "" || strings.ContainsAny(value, " \t\r\n\"=") {
		return strconv.Quote(value)
	}
	return value
}
