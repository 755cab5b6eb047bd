package console_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/agent/console"
)

func record(level slog.Level, message string, attrs ...slog.Attr) slog.Record {
	r := slog.NewRecord(time.Date(2022, 4, 27, 14, 18, 22, 684_900_000, time.UTC), level, message, 0)
	r.AddAttrs(attrs...)
	return r
}

func TestText(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		record slog.Record
		want   string
	}{
		"looks like the line of the tutorial": {
			record(slog.LevelInfo, "Submitting flow run 'abc'"),
			"14:18:22.684 | INFO    | sluice.agent - Submitting flow run 'abc'\n"},
		"leaves out what the sentence already says": {
			record(slog.LevelInfo, "Submitting flow run 'abc'", slog.String("flow_run_id", "abc")),
			"14:18:22.684 | INFO    | sluice.agent - Submitting flow run 'abc'\n"},
		"appends what the sentence does not say": {
			record(slog.LevelWarn, "Cannot reach the server", slog.Any("error", errors.New("connection refused")), slog.Int("attempt", 3)),
			"14:18:22.684 | WARNING | sluice.agent - Cannot reach the server error=\"connection refused\" attempt=3\n"},
		"flattens groups": {
			record(slog.LevelError, "x", slog.Group("a", slog.Int("b", 1))),
			"14:18:22.684 | ERROR   | sluice.agent - x a.b=1\n"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			h := console.New(&out, console.Options{Location: time.UTC}).
				WithAttrs([]slog.Attr{slog.String(console.LoggerKey, "sluice.agent")})
			if err := h.Handle(context.Background(), c.record); err != nil {
				t.Fatal(err)
			}
			if out.String() != c.want {
				t.Errorf("got  %q\nwant %q", out.String(), c.want)
			}
		})
	}
}

func TestLevelsBelowTheChosenOneAreNotWritten(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	logger := slog.New(console.New(&out, console.Options{Level: slog.LevelWarn}))
	logger.Info("quiet")
	if out.Len() != 0 {
		t.Errorf("wrote %q", out.String())
	}
}

func TestJSONKeepsEveryAttribute(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	logger := slog.New(console.New(&out, console.Options{Format: console.JSON})).With(console.LoggerKey, "sluice.agent")
	logger.Info("Submitting flow run 'abc'", "flow_run_id", "abc")
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	if line["flow_run_id"] != "abc" || line["logger"] != "sluice.agent" || line["msg"] != "Submitting flow run 'abc'" {
		t.Errorf("got %v", line)
	}
}
