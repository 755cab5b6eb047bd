package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-dev/sluice/agent/console"
	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
	"github.com/sluice-dev/sluice/storage"
	"github.com/sluice-dev/sluice/storage/cloud"
)

// process is what the operating system gives a command.
type process struct {
	args     []string
	in       io.Reader
	out, err io.Writer
	environ  []string
	inTTY    bool
	outTTY   bool
	width    func() int // columns of the terminal, 0 if unknown
	program  string     // path of this program, to start it again beside itself; empty: not to be started
}

// app is one invocation: the process, the flags that every command has, and what they resolve to.
type app struct {
	process
	environment map[string]string

	output    string
	quiet     bool
	noHeaders bool

	wantedColumns []string

	color      string
	timeFormat string
	profile    string
	api        string
	configFile string
	logLevel   string
	logFormat  string

	settings *settings // set before a command runs
}

// run executes one command line and returns the exit code.
func run(ctx context.Context, p process) int {
	a := &app{process: p, environment: map[string]string{}}
	for _, entry := range p.environ {
		key, value, _ := strings.Cut(entry, "=")
		a.environment[key] = value
	}
	root := newRootCommand(a)
	root.SetArgs(orionFlags(p.args))
	root.SetIn(p.in)
	root.SetOut(p.out)
	root.SetErr(p.err)
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	switch {
	case isOutcome(err):
	case ctx.Err() != nil:
		err = interrupted(err)
	case strings.Contains(err.Error(), "flags in the group ["): // cobra has no type for it
		err = usagef("%w", err)
	case strings.HasPrefix(err.Error(), "required flag(s) "): // nor for this
		err = missingFlags(err)
	}
	return a.report(command, err)
}

// home returns the directory of Sluice's own files.
func (a *app) home() string {
	if home := a.environment["SLUICE_HOME"]; home != "" {
		return home
	}
	user := a.environment["HOME"]
	if user == "" {
		user, _ = os.UserHomeDir() // without one, the working directory serves
	}
	return filepath.Join(user, ".sluice")
}

// structured reports whether data is for programs, so that talk belongs on stderr.
func (a *app) structured() bool {
	switch a.output {
	case "", formatTable, formatWide, formatPlain:
		return false
	}
	return true
}

// say writes a line for people: to stdout when that carries no data for programs.
func (a *app) say(format string, args ...any) {
	if a.quiet {
		return
	}
	out := a.out
	if a.structured() {
		out = a.err
	}
	fmt.Fprintf(out, format+"\n", args...)
}

// note writes a hint to stderr.
func (a *app) note(format string, args ...any) {
	if !a.quiet {
		fmt.Fprintf(a.err, format+"\n", args...)
	}
}

func (a *app) colored() bool {
	switch a.color {
	case "always":
		return true
	case "never":
		return false
	}
	if a.environment["CLICOLOR_FORCE"] != "" && a.environment["CLICOLOR_FORCE"] != "0" {
		return true
	}
	return a.outTTY && a.environment["NO_COLOR"] == "" && a.environment["TERM"] != "dumb"
}

// columns returns the width tables may have, 0 without bound.
func (a *app) columns() int {
	if n, err := strconv.Atoi(a.environment["COLUMNS"]); err == nil && n > 0 {
		return n
	}
	if a.outTTY {
		return a.width()
	}
	return 0
}

// logger returns the logger of long-running commands; it writes to stderr.
func (a *app) logger() (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(a.logLevel)); err != nil {
		return nil, usagef("--log-level is %q; it is one of debug, info, warn, error", a.logLevel)
	}
	switch console.Format(a.logFormat) {
	case console.Text, console.JSON:
	default:
		return nil, usagef("--log-format is %q; it is one of text, json", a.logFormat)
	}
	return slog.New(console.New(a.err, console.Options{Level: level, Format: console.Format(a.logFormat)})), nil
}

// connectTo returns a client of the cluster at these addresses, for callers that repeat failed calls themselves.
func (a *app) connectTo(address string) (*client.Client, error) {
	addresses, err := client.ParseAddresses(address)
	if err != nil {
		return nil, err
	}
	return a.newClient(addresses, 0)
}

func (a *app) newClient(addresses []string, retryFor time.Duration) (*client.Client, error) {
	token := a.token(addresses)
	logger, err := a.logger()
	if err != nil {
		return nil, err
	}
	authority, source := a.settings.lookup(settingCAFile)
	c, err := client.New(client.Config{
		Addresses: addresses,
		Token:     token,
		CAFile:    authority,
		RetryFor:  retryFor,
		UserAgent: "sluice/" + version(),
		Logger:    logger,
	})
	if err != nil && authority != "" {
		return nil, usagef("%s (from %s): %w", settingCAFile, source, err)
	}
	return c, err
}

// token returns the token that is sent to these addresses.
func (a *app) token(addresses []string) string {
	if token, _ := a.settings.lookup(settingAPIKey); token != "" {
		return token
	}
	return a.localToken(addresses)
}

// connect returns a client of the configured cluster. retryFor is how long it waits for one that does not answer.
func (a *app) connect(retryFor time.Duration) (*client.Client, error) {
	address, source := a.settings.lookup(settingAPIURL)
	addresses, err := client.ParseAddresses(address)
	if err != nil {
		return nil, fmt.Errorf("%s (from %s): %w", settingAPIURL, source, err)
	}
	return a.newClient(addresses, retryFor)
}

// places returns what storages need to know of this machine; what is written is code.
func (a *app) places() storage.Places {
	return storage.Places{Home: a.home(), Openers: cloud.Openers(cloud.Code)}
}

// buildVersion is set by the linker in releases.
var buildVersion string

// version returns the version of this binary.
func version() string {
	if buildVersion != "" {
		return buildVersion
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return strings.TrimPrefix(info.Main.Version, "v")
	}
	return "0.0.0-dev"
}

// text returns a nullable text, "" for null.
func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// short names an object in a sentence: its name with the id.
func short(name string, id api.ID) string { return fmt.Sprintf("'%s' (%s)", name, id) }
