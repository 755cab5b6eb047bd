package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"strings"

	"github.com/hashicorp/go-hclog"
)

// hlogger lets raft log through slog.
type hlogger struct {
	slog *slog.Logger
	name string
	args []any
}

var _ hclog.Logger = (*hlogger)(nil)

func newHLogger(l *slog.Logger, name string) *hlogger { return &hlogger{slog: l, name: name} }

// level maps raft's levels. What raft calls information is its inner life, for who looks into it; what matters to operators
// the node says itself.
func level(l hclog.Level) slog.Level {
	switch {
	case l >= hclog.Error:
		return slog.LevelError
	case l == hclog.Warn:
		return slog.LevelWarn
	case l >= hclog.Debug:
		return slog.LevelDebug
	}
	return slog.LevelDebug - 4
}

func (h *hlogger) Log(l hclog.Level, msg string, args ...any) {
	lv := level(l)
	if closing(args) {
		lv = slog.LevelDebug
	}
	if !h.slog.Enabled(context.Background(), lv) {
		return
	}
	for i, a := range args {
		if f, ok := a.(hclog.Format); ok && len(f) > 0 {
			if pattern, ok := f[0].(string); ok {
				args[i] = fmt.Sprintf(pattern, f[1:]...)
			}
		}
	}
	h.slog.Log(context.Background(), lv, h.name+": "+msg, args...)
}

// closing reports whether a message is about a connection that this side closed: that is how its reader learns it, no trouble.
func closing(args []any) bool {
	for _, a := range args {
		if err, ok := a.(error); ok && errors.Is(err, net.ErrClosed) {
			return true
		}
	}
	return false
}

func (h *hlogger) enabled(l slog.Level) bool { return h.slog.Enabled(context.Background(), l) }

func (h *hlogger) Trace(msg string, args ...any) { h.Log(hclog.Trace, msg, args...) }
func (h *hlogger) Debug(msg string, args ...any) { h.Log(hclog.Debug, msg, args...) }
func (h *hlogger) Info(msg string, args ...any)  { h.Log(hclog.Info, msg, args...) }
func (h *hlogger) Warn(msg string, args ...any)  { h.Log(hclog.Warn, msg, args...) }
func (h *hlogger) Error(msg string, args ...any) { h.Log(hclog.Error, msg, args...) }
func (h *hlogger) IsTrace() bool                 { return h.enabled(slog.LevelDebug - 4) }
func (h *hlogger) IsDebug() bool                 { return h.enabled(slog.LevelDebug) }
func (h *hlogger) IsInfo() bool                  { return h.enabled(slog.LevelInfo) }
func (h *hlogger) IsWarn() bool                  { return h.enabled(slog.LevelWarn) }
func (h *hlogger) IsError() bool                 { return h.enabled(slog.LevelError) }
func (h *hlogger) ImpliedArgs() []any            { return h.args }
func (h *hlogger) Name() string                  { return h.name }
func (h *hlogger) SetLevel(hclog.Level)          {}
func (h *hlogger) GetLevel() hclog.Level         { return hclog.NoLevel }

func (h *hlogger) With(args ...any) hclog.Logger {
	return &hlogger{h.slog.With(args...), h.name, append(h.args[:len(h.args):len(h.args)], args...)}
}
func (h *hlogger) Named(name string) hclog.Logger {
	return &hlogger{h.slog, h.name + "." + name, h.args}
}
func (h *hlogger) ResetNamed(name string) hclog.Logger { return &hlogger{h.slog, name, h.args} }

func (h *hlogger) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger {
	return log.New(h.StandardWriter(nil), "", 0)
}
func (h *hlogger) StandardWriter(*hclog.StandardLoggerOptions) io.Writer { return lineWriter{h.slog} }

// lineWriter turns lines like "[WARN] memberlist: text" into slog records.
type lineWriter struct{ slog *slog.Logger }

func (w lineWriter) Write(p []byte) (int, error) {
	line := string(bytes.TrimSpace(p))
	lv := slog.LevelInfo
	if rest, ok := strings.CutPrefix(line, "["); ok {
		if name, text, ok := strings.Cut(rest, "]"); ok {
			switch name {
			case "DEBUG":
				lv = slog.LevelDebug
			case "WARN":
				lv = slog.LevelWarn
			case "ERR", "ERROR":
				lv = slog.LevelError
			}
			line = strings.TrimSpace(text)
		}
	}
	w.slog.Log(context.Background(), lv, line)
	return len(p), nil
}
