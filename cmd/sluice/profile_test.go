package main

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestProfilesAreMadeUsedRenamedAndDeleted(t *testing.T) {
	t.Parallel()
	s := newShell(t, "")
	s.ok("config", "set", "SLUICE_API_URL=http://one:4200/api", "SLUICE_API_KEY=k")
	if got := s.ok("profile", "create", "second", "--from", "default"); !strings.Contains(got, "sluice profile use second") {
		t.Errorf("got %q", got)
	}
	if got := s.run("profile", "create", "second"); got.code != exitConflict || !strings.Contains(got.err, "there is a profile 'second' already") {
		t.Errorf("twice: %+v", got)
	}
	if got := s.run("profile", "create", "a b"); got.code != exitUsage {
		t.Errorf("a name with a space: %+v", got)
	}
	s.ok("profile", "use", "second")
	if got := s.ok("profile", "ls", "-o", "plain"); got != "NAME\tACTIVE\tAPI\ndefault\tfalse\thttp://one:4200/api\nsecond\ttrue\thttp://one:4200/api\n" {
		t.Errorf("got %q", got)
	}
	var shown profileView
	if err := json.Unmarshal([]byte(s.ok("profile", "inspect", "second")), &shown); err != nil || shown.Variables["SLUICE_API_KEY"] != "********" {
		t.Errorf("%v, and the key is shown: %+v", err, shown)
	}
	if got := s.run("profile", "delete", "second"); got.code != exitConflict || !strings.Contains(got.err, "sluice profile use") {
		t.Errorf("the active one: %+v", got)
	}
	s.ok("profile", "rename", "second", "live")
	if got := s.ok("config", "view"); !strings.Contains(got, "SLUICE_PROFILE='live'") {
		t.Errorf("the renamed one is not active any more: %s", got)
	}
	s.ok("profile", "use", "default")
	if got := s.ok("profile", "delete", "live", "-q"); got != "live\n" {
		t.Errorf("got %q", got)
	}
	if got := s.run("profile", "inspect", "live"); got.code != exitNotFound {
		t.Errorf("a profile that is gone: %+v", got)
	}
	if got := s.ok("__complete", "profile", "use", ""); !strings.HasPrefix(got, "default\n") {
		t.Errorf("the shell is offered %q", got)
	}
}

func TestAProfileThatIsGoneCanBeReplaced(t *testing.T) {
	t.Parallel()
	s := newShell(t, "")
	s.environ = append(s.environ, "SLUICE_PROFILE=gone")
	if got := s.run("work-queue", "ls"); got.code != exitNotFound {
		t.Errorf("%+v", got)
	}
	s.ok("profile", "ls")
	s.ok("profile", "create", "gone")
}
