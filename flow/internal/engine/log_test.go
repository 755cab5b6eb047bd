package engine

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/sluice-dev/sluice/api"
)

// lines records what is logged; a log asks for nothing else.
type lines struct {
	Recorder
	all []api.LogCreate
}

func (l *lines) Log(line api.LogCreate) { l.all = append(l.all, line) }

func TestALogTakesWhatTheSettingsAskFor(t *testing.T) {
	t.Parallel()
	for level, want := range map[string]string{
		"": "INFO WARNING ERROR CRITICAL", "debug": "DEBUG INFO WARNING ERROR CRITICAL", "INFO": "INFO WARNING ERROR CRITICAL",
		"WARNING": "WARNING ERROR CRITICAL", "Error": "ERROR CRITICAL", "CRITICAL": "CRITICAL", "loud": "INFO WARNING ERROR CRITICAL",
	} {
		t.Run("level "+level, func(t *testing.T) {
			t.Parallel()
			var shown bytes.Buffer
			to := &lines{}
			log := slog.New(&handler{conn: connection{Recorder: to, level: ParseLevel(level), console: &console{to: &shown}}})
			for _, l := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError, slog.LevelError + 4} {
				log.Log(t.Context(), l, "a line")
			}
			var got, sent []string
			for line := range strings.Lines(shown.String()) {
				got = append(got, strings.Fields(line)[2])
			}
			for _, line := range to.all {
				sent = append(sent, map[int]string{10: "DEBUG", 20: "INFO", 30: "WARNING", 40: "ERROR", 50: "CRITICAL"}[line.Level])
			}
			if strings.Join(got, " ") != want || strings.Join(sent, " ") != want {
				t.Errorf("shown are %v, sent %v, not %s", got, sent, want)
			}
		})
	}
}
