package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// refusing answers every change with a status and a sentence, and reads with one flow run.
func refusing(t *testing.T, status int, detail string) *recorder {
	t.Helper()
	return record(t, func(w http.ResponseWriter, r request) {
		if strings.HasSuffix(r.path, "/filter") || r.method == "GET" {
			run := `{"id":"` + runID + `","name":"tan-lion","flow_id":"` + queueID + `"}`
			if strings.HasSuffix(r.path, "/filter") {
				run = "[" + run + "]"
			}
			_, _ = io.WriteString(w, run)
			return
		}
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `{"detail":%q}`, detail)
	})
}

func TestAConflictSaysWhatToTypeInstead(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"work-queue create q":      "try: sluice work-queue edit q changes it\n",
		"work-queue create a'b":    `try: sluice work-queue edit 'a'\''b' changes it` + "\n",
		"flow-run cancel tan-lion": "try: sluice flow-run inspect tan-lion\n",
	} {
		got := newShell(t, refusing(t, http.StatusConflict, "it is there already").api()).run(strings.Fields(line)...)
		if got.code != exitConflict || !strings.Contains(got.err, "it is there already") || !strings.Contains(got.err, want) {
			t.Errorf("%s: exit %d\n%s", line, got.code, got.err)
		}
	}
}

func TestWhatTheServerAnsweredIsTheCauseApartFromWhatWasDone(t *testing.T) {
	t.Parallel()
	server := refusing(t, http.StatusConflict, "it is there already")
	got := newShell(t, server.api()).run("work-queue", "create", "q")
	if want := "error: create work queue 'q'\ncause: it is there already\ntry: sluice work-queue edit q changes it\n"; got.err != want {
		t.Errorf("got\n%s", got.err)
	}
	got = newShell(t, server.api()).run("work-queue", "create", "q", "-o", "json")
	if !strings.Contains(got.err, `"error":"create work queue 'q': it is there already"`) {
		t.Errorf("a program is told\n%s", got.err)
	}
}

func TestCertificatesThatWereMadeAreListedAsJSON(t *testing.T) {
	t.Parallel()
	got := newShell(t, "").ok("cluster", "tls", "init", "--dir", t.TempDir(), "node1", "-o", "json")
	for _, file := range []string{"ca.pem", "ca-key.pem", "gossip.key", "secrets.key", "node1.pem", "node1-key.pem"} {
		if !strings.Contains(got, "/"+file+`"`) {
			t.Errorf("no %s in %s", file, got)
		}
	}
}

func TestARefusedValuePointsToTheHelpOfTheCommand(t *testing.T) {
	t.Parallel()
	got := newShell(t, refusing(t, http.StatusUnprocessableEntity, "url: it must begin with https://").api()).run("webhook", "create", "alerts", "ftp://h")
	if got.code != exitError || !strings.Contains(got.err, "url: it must begin with https://") || !strings.Contains(got.err, "try: sluice webhook create --help\n") {
		t.Errorf("exit %d\n%s", got.code, got.err)
	}
}

func TestOrionsFlagOfFlowRunnersIsUnderstood(t *testing.T) {
	t.Parallel()
	server := record(t, func(w http.ResponseWriter, _ request) {
		_, _ = io.WriteString(w, `{"id":"`+queueID+`","name":"q"}`)
	})
	newShell(t, server.api()).ok("work-queue", "create", "q", "-fr", "subprocess", "-fr=docker")
	sent := server.sent("POST", "/work_queues/")
	if len(sent) != 1 || !strings.Contains(sent[0], `"flow_runner_types":["subprocess","docker"]`) {
		t.Errorf("sent %s", sent)
	}
	if got := orionFlags([]string{"work-queue", "create", "--", "-fr"}); got[3] != "-fr" {
		t.Errorf("an argument was changed: %s", got)
	}
}

func TestDeploymentsAreListedByAge(t *testing.T) {
	t.Parallel()
	server := record(t, func(w http.ResponseWriter, r request) {
		if strings.Contains(r.path, "/flows/") {
			_, _ = io.WriteString(w, `[{"id":"`+queueID+`","name":"f"}]`)
			return
		}
		_, _ = io.WriteString(w, `[{"id":"019ac000-0000-7000-8000-00000000000a","name":"a","flow_id":"`+queueID+`","created":"2026-11-01T00:00:00+00:00"},`+
			`{"id":"019ac000-0000-7000-8000-00000000000b","name":"b","flow_id":"`+queueID+`","created":"2026-11-02T00:00:00+00:00"}]`)
	})
	s := newShell(t, server.api())
	if got := s.ok("deployment", "ls", "-o", "name"); got != "f/a\nf/b\n" {
		t.Errorf("by name: %q", got)
	}
	if got := s.ok("deployment", "ls", "--by-created", "-o", "name"); got != "f/b\nf/a\n" {
		t.Errorf("by age: %q", got)
	}
}

func TestARunThatIsMadeAgainHasItsPageNamed(t *testing.T) {
	t.Parallel()
	server := record(t, func(w http.ResponseWriter, r request) {
		run := `{"id":"` + runID + `","name":"tan-lion","flow_id":"` + queueID + `"}`
		if strings.HasSuffix(r.path, "/filter") {
			run = "[" + run + "]"
		}
		_, _ = io.WriteString(w, run)
	})
	for _, verb := range []string{"rerun", "retry"} {
		s := newShell(t, server.api())
		s.tty = true
		if got := s.run("flow-run", verb, "tan-lion"); got.code != exitOK || !strings.Contains(got.err, "/runs/"+runID) {
			t.Errorf("%s: exit %d\n%s%s", verb, got.code, got.out, got.err)
		}
		s.tty = false
		if got := s.run("flow-run", verb, "tan-lion"); strings.Contains(got.out+got.err, "/runs/"+runID) {
			t.Errorf("%s: a program is told\n%s%s", verb, got.out, got.err)
		}
	}
}
