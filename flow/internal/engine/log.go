package engine

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sluice-dev/sluice/api"
)

// Logger returns the logger of the run ctx belongs to: its lines go to the run's log on the server and to standard error. Outside
// of a run it is slog's default.
func Logger(ctx context.Context) *slog.Logger {
	if r := TaskRunOf(ctx); r != nil {
		return r.log
	}
	if r := FlowRunOf(ctx); r != nil {
		return r.log
	}
	return slog.Default()
}

// quietKey marks lines that are for the console only: the server knows them as states.
type quietKey struct{}

// console shows lines of runs beside the recorder; nil shows none.
type console struct {
	mu sync.Mutex
	to io.Writer
}

func (c *console) line(at time.Time, level slog.Level, who, text string) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = fmt.Fprintf(c.to, "%s | %-7s | %s - %s\n", at.Format("15:04:05.000"), levelName(level), who, text) // nobody may listen any more
}

func levelName(l slog.Level) string {
	if l >= slog.LevelWarn && l < slog.LevelError {
		return "WARNING"
	}
	if l >= slog.LevelError+4 {
		return "CRITICAL"
	}
	return l.String()
}

// handler writes the lines of one run.
type handler struct {
	conn   connection
	run    api.ID
	task   *api.ID
	who    string // for people
	name   string // the logger's
	prefix string // of attribute keys
	attrs  string // formatted
}

// Enabled implements slog.Handler.
func (h *handler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.conn.level }

// Handle implements slog.Handler.
func (h *handler) Handle(ctx context.Context, record slog.Record) error {
	var b strings.Builder
	b.WriteString(record.Message)
	b.WriteString(h.attrs)
	record.Attrs(func(a slog.Attr) bool {
		format(&b, h.prefix, a)
		return true
	})
	text := b.String()
	h.conn.console.line(record.Time, record.Level, h.who, text)
	if ctx.Value(quietKey{}) == nil {
		h.conn.Log(api.LogCreate{Name: h.name, Level: number(record.Level), Message: text, Timestamp: api.Time{Time: record.Time}, FlowRunID: h.run, TaskRunID: h.task})
	}
	return nil
}

// number is Python's of a level: the API speaks it.
func number(l slog.Level) int {
	switch {
	case l < slog.LevelInfo:
		return 10
	case l < slog.LevelWarn:
		return 20
	case l < slog.LevelError:
		return 30
	case l < slog.LevelError+4:
		return 40
	}
	return 50
}

// ParseLevel reads a level by Python's name. What is none is slog.LevelInfo, as in the Python SDK.
func ParseLevel(text string) slog.Level {
	switch strings.ToUpper(text) {
	case "DEBUG":
		return slog.LevelDebug
	case "WARNING":
		return slog.LevelWarn
	case "ERROR":
		return slog.LevelError
	case "CRITICAL":
		return slog.LevelError + 4
	}
	return slog.LevelInfo
}

// WithAttrs implements slog.Handler.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	var b strings.Builder
	for _, a := range attrs {
		format(&b, h.prefix, a)
	}
	more := *h
	more.attrs += b.String()
	return &more
}

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	more := *h
	more.prefix += name + "."
	return &more
}

func format(b *strings.Builder, prefix string, a slog.Attr) {
	value := a.Value.Resolve()
	if a.Equal(slog.Attr{}) {
		return
	}
	if value.Kind() == slog.KindGroup {
		inner := prefix
		if a.Key != "" {
			inner += a.Key + "."
		}
		for _, member := range value.Group() {
			format(b, inner, member)
		}
		return
	}
	text := value.String()
	if text == "" || slices.ContainsFunc([]rune(text), func(r rune) bool { return r <= ' ' || r == '"' || r == '=' }) {
		text = fmt.Sprintf("%q", text)
	}
	fmt.Fprintf(b, " %s%s=%s", prefix, a.Key, text)
}
