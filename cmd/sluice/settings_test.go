package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-dev/sluice/internal/profile"
)

func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestConfigSetSaysWhatTheTutorialSays(t *testing.T) {
	t.Parallel()
	s := newShell(t, "")
	got := s.ok("config", "set", "SLUICE_API_URL=http://127.0.0.1:4200/api")
	if want := "Set variable 'SLUICE_API_URL' to 'http://127.0.0.1:4200/api'\nUpdated profile 'default'\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := s.ok("config", "view"), "SLUICE_PROFILE='default'\nSLUICE_API_URL='http://127.0.0.1:4200/api' (from profile)\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := s.ok("config", "unset", "SLUICE_API_URL"), "Unset variable 'SLUICE_API_URL'\nUpdated profile 'default'\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := s.run("config", "unset", "SLUICE_API_URL"); got.code != exitNotFound {
		t.Errorf("unset twice: exit %d\n%s", got.code, got.err)
	}
}

func TestASettingComesFromFlagEnvironmentFileProfileInThisOrder(t *testing.T) {
	t.Parallel()
	s := newShell(t, "")
	s.ok("config", "set", "SLUICE_API_URL=http://profile/api")
	source := func(args ...string) string {
		for line := range strings.SplitSeq(s.ok(append([]string{"config", "view", "--show-defaults"}, args...)...), "\n") {
			if strings.HasPrefix(line, "SLUICE_API_URL=") {
				return line
			}
		}
		return ""
	}
	file := write(t, "sluice.yaml", "api: http://file/api\nlog-level: debug\njoin: [a:1, b:2]\nSLUICE_HTTP_ADDR: 0.0.0.0:4200\n")
	check := func(got, value, from string) {
		t.Helper()
		if want := "SLUICE_API_URL='http://" + value + "/api' (from " + from + ")"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	check(source(), "profile", "profile")
	check(source("--config", file), "file", file)
	s.environ = append(s.environ, "SLUICE_API_URL=http://environment/api")
	check(source("--config", file), "environment", "env")
	check(source("--config", file, "--api", "http://flag/api"), "flag", "flag")
	s.environ = append(s.environ, "SLUICE_API_URL=")
	check(source(), "profile", "profile")
	view := s.ok("config", "view", "--config", file)
	for _, want := range []string{"SLUICE_JOIN='a:1,b:2'", "SLUICE_HTTP_ADDR='0.0.0.0:4200'", "SLUICE_LOG_LEVEL='debug'"} {
		if !strings.Contains(view, want) {
			t.Errorf("no %s in\n%s", want, view)
		}
	}
}

func TestWrongConfigurationFilesNameTheLine(t *testing.T) {
	t.Parallel()
	s := newShell(t, "")
	for content, want := range map[string]string{
		"api: http://h/api\ndata-dri: /x\n": ":2: unknown key 'data-dri'; did you mean SLUICE_DATA_DIR?",
		"api: {a: 1}\n":                     ":1: api: expected a plain value or a list",
		"- a\n":                             ":1: expected lines of the form key: value",
		"a: b: c\n":                         "mapping values are not allowed",
		"bootstrap_expect: many\n":          "", // no flag of config view
	} {
		got := s.run("config", "view", "--config", write(t, "c.yaml", content))
		if want == "" {
			continue
		}
		if got.code != exitUsage || !strings.Contains(got.err, want) {
			t.Errorf("%q: exit %d\n%s", content, got.code, got.err)
		}
	}
	got := s.run("server", "start", "--config", write(t, "c.yaml", "bootstrap_expect: many\n"))
	if got.code != exitUsage || !strings.Contains(got.err, `SLUICE_BOOTSTRAP_EXPECT is "many" (from `) {
		t.Errorf("exit %d\n%s", got.code, got.err)
	}
	if got := s.run("config", "view", "--config", "/does/not/exist"); got.code != exitUsage {
		t.Errorf("exit %d\n%s", got.code, got.err)
	}
}

func TestProfilesAreKeptApart(t *testing.T) {
	t.Parallel()
	s := newShell(t, "")
	s.ok("config", "set", "SLUICE_API_URL=http://one/api")
	if got := s.run("config", "view", "--profile", "two"); got.code != exitNotFound || !strings.Contains(got.err, "there are: default") {
		t.Errorf("exit %d\n%s", got.code, got.err)
	}
	s.ok("config", "set", "-p", "two", `SLUICE_API_KEY=a "quoted" \ key # é`)
	if got := s.ok("config", "view", "-p", "two"); !strings.Contains(got, "SLUICE_API_KEY='********'") || strings.Contains(got, "http://one") {
		t.Errorf("got %s", got)
	}
	home := strings.TrimPrefix(s.environ[0], "SLUICE_HOME=")
	read, err := profile.Read(filepath.Join(home, "profiles.toml"))
	if err != nil {
		t.Fatal(err)
	}
	if got := read.Sections["two"]["SLUICE_API_KEY"]; got != `a "quoted" \ key # é` || read.Active != "default" {
		t.Errorf("read %+v", read)
	}
	if info, err := os.Stat(read.Path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestProfilesWrittenByHandAreRead(t *testing.T) {
	t.Parallel()
	path := write(t, "profiles.toml", "# mine\nactive = 'prod'  # today\n\n[profiles.prod]\nSLUICE_API_URL = \"http://a/api,http://b/api\" # two\n")
	read, err := profile.Read(path)
	if err != nil || read.Active != "prod" || read.Sections["prod"]["SLUICE_API_URL"] != "http://a/api,http://b/api" {
		t.Errorf("read %+v, %v", read, err)
	}
	for _, bad := range []string{"[other]\n", "[profiles.x]\nKEY\n", "[profiles.x]\nKEY = value\n", "KEY = \"a\" b\n"} {
		if _, err := profile.Read(write(t, "profiles.toml", bad)); err == nil || !strings.Contains(err.Error(), "profiles.toml:") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestAnAddressWithoutAPathIsThatOfTheAPI(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"http://h:4200":                      "http://h:4200/api",
		"http://h:4200/":                     "http://h:4200/api",
		"http://h:4200/api":                  "http://h:4200/api",
		"http://h/orion/api/":                "http://h/orion/api/",
		"http://a:1, https://b,http://c/api": "http://a:1/api,https://b/api,http://c/api",
		"nonsense":                           "nonsense",
		"":                                   "",
	} {
		if got := withAPIPath(given); got != want {
			t.Errorf("%q became %q, want %q", given, got, want)
		}
	}
	server := record(t, func(w http.ResponseWriter, _ request) { _, _ = io.WriteString(w, "[]") })
	if newShell(t, "").ok("--api", server.URL, "work-queue", "ls"); len(server.sent(http.MethodPost, "/work_queues/filter")) != 1 {
		t.Errorf("asked %v", server.requests)
	}
}

func TestSettingsAreToldWithoutSecrets(t *testing.T) {
	t.Parallel()
	s := &settings{
		environment: map[string]string{settingAPIKey: "hidden-key", settingAPIURL: "http://who:hidden-password@a:1/api, http://b:2"},
		flags:       map[string]string{"SLUICE_NODE_NAME": "anna"},
		file:        map[string]string{}, filePath: "f.yaml", profiles: &profile.File{}, profile: "default",
		known: knownSettings(emptyTree()),
	}
	told := s.tell()
	for name, setting := range told {
		if strings.Contains(setting.Value, "hidden") {
			t.Errorf("%s is told as %q", name, setting.Value)
		}
	}
	if key := told[settingAPIKey]; key.Value == "" || key.Source != "env" {
		t.Errorf("that the key is set is told as %+v", key)
	}
	if at := told[settingAPIURL].Value; !strings.Contains(at, "@a:1/api") || !strings.Contains(at, "http://b:2") {
		t.Errorf("the addresses are told as %q", at)
	}
	if name := told["SLUICE_NODE_NAME"]; name.Value != "anna" || name.Source != "flag" {
		t.Errorf("the name is told as %+v", name)
	}
	// Whoever adds a setting with a secret must say so where it is defined.
	for name := range s.known {
		for _, word := range []string{"PASSWORD", "SECRET", "TOKEN", "API_KEY"} {
			if strings.Contains(name, word) && !strings.HasSuffix(name, "_FILE") && !s.known[name].secret {
				t.Errorf("%s is not marked as secret", name)
			}
		}
	}
}
