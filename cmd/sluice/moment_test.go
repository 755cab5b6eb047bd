package main

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
)

func TestTimesComeInTheFormThatIsAskedFor(t *testing.T) {
	t.Parallel()
	ago := time.Now().Add(-3 * time.Hour)
	at := api.At(ago)
	for _, tt := range []struct {
		format string
		people bool
		want   string
	}{
		{"", true, "3 hours ago"},
		{"", false, at.String()},
		{timeRelative, false, "3 hours ago"},
		{timeRaw, true, at.String()},
		{timeISO, true, ago.Local().Format(time.RFC3339)},
		{timeISO, false, ago.Local().Format(time.RFC3339)},
	} {
		if got := (&app{timeFormat: tt.format}).moment(at, tt.people); got != tt.want {
			t.Errorf("%q, people %t: %q, not %q", tt.format, tt.people, got, tt.want)
		}
	}
	if got := (&app{}).stamp(at); got != ago.UTC().Format(time.RFC3339) {
		t.Errorf("a stamp is %q", got)
	}
	if got := newShell(t, nowhere(t)).run("flow-run", "ls", "--time-format", "french"); got.code != exitUsage || !strings.Contains(got.err, "it is one of relative, iso, raw") {
		t.Errorf("exit %d %s", got.code, got.err)
	}
}

func TestLogLinesAreTimedAsIsAskedFor(t *testing.T) {
	t.Parallel()
	const stamp = "2026-11-23T09:30:00.123456+00:00"
	server := record(t, func(w http.ResponseWriter, r request) {
		if strings.HasSuffix(r.path, "/logs") {
			_, _ = io.WriteString(w, `{"logs":[{"id":"`+runID+`","name":"x","level":20,"message":"Hello","timestamp":"`+stamp+`","flow_run_id":"`+runID+`"}],"next_cursor":null,"end":null}`)
			return
		}
		_, _ = io.WriteString(w, `{"id":"`+runID+`","name":"tan-lion"}`)
	})
	s := newShell(t, server.api())
	at, err := api.ParseTime(stamp)
	if err != nil {
		t.Fatal(err)
	}
	const rest = "INFO    | Flow run 'tan-lion' - Hello\n"
	for line, want := range map[string]string{
		"":                               stamp + " | " + rest,
		"--timestamps=false":             rest,
		"--time-format iso":              at.Local().Format(time.RFC3339) + " | " + rest,
		"--time-format raw --timestamps": stamp + " | " + rest,
	} {
		if got := s.ok(append([]string{"flow-run", "logs", runID}, strings.Fields(line)...)...); got != want {
			t.Errorf("%s: %q, not %q", line, got, want)
		}
	}
	s.tty, s.width = true, 80
	if got, want := s.ok("flow-run", "logs", runID), at.Local().Format("15:04:05.000")+" | "+rest; got != want {
		t.Errorf("on a terminal %q, not %q", got, want)
	}
}

func TestPagesAreOfferedForWhatIsShownAndMade(t *testing.T) {
	t.Parallel()
	server := record(t, func(w http.ResponseWriter, r request) {
		if strings.HasSuffix(r.path, "/health") {
			_, _ = io.WriteString(w, `true`)
			return
		}
		_, _ = io.WriteString(w, `{"id":"`+runID+`","name":"tan-lion","flow_run_id":"`+runID+`","flow_id":"`+runID+`"}`)
	})
	s := newShell(t, server.api())
	for kind, want := range map[string]string{
		"flow-run": "/runs/" + runID, "deployment": "/deployments/" + runID, "work-queue": "/queues/" + runID, "flow": "/flows/" + runID,
		"task-run": "/runs/" + runID + "/tasks/" + runID,
	} {
		if got := s.ok(kind, "inspect", runID, "--web"); got != server.URL+want+"\n" {
			t.Errorf("%s: %q", kind, got)
		}
	}
	if got := s.run("deployment", "run", runID); strings.Contains(got.out+got.err, "See it at") {
		t.Errorf("a script is told %q", got.err)
	}
	s.tty, s.width = true, 80
	if got := s.run("deployment", "run", runID); got.err != "See it at "+server.URL+"/runs/"+runID+"\n" {
		t.Errorf("on a terminal %q", got.err)
	}
	if got := s.run("deployment", "run", runID, "--color", "always"); !strings.Contains(got.err, "\x1b]8;;"+server.URL+"/runs/"+runID+"\x1b\\") {
		t.Errorf("with colours %q", got.err)
	}
	if got := s.run("deployment", "run", runID, "--watch", "--watch-interval", "0s"); got.code != exitUsage {
		t.Errorf("an interval of nothing: exit %d %s", got.code, got.err)
	}
}
