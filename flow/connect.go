package flow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/sluice-dev/sluice/api/client"
	"github.com/sluice-dev/sluice/flow/internal/engine"
	"github.com/sluice-dev/sluice/flow/internal/server"
	"github.com/sluice-dev/sluice/internal/localserver"
	"github.com/sluice-dev/sluice/internal/profile"
)

// lastLines is how long a process that ends waits for its last log lines to be delivered.
const lastLines = 20 * time.Second

// Connect returns a context in which flows are recorded at the server that SLUICE_API_URL names (several addresses are separated by
// commas), with the token of SLUICE_API_KEY. What the environment does not say is taken from the profile, as the sluice command takes
// it; the token of a server of this machine's user is found by itself. Without an address a server is started that ends by itself,
// with the sluice binary of SLUICE_BINARY or the PATH. close sends the last log lines; call it before the process ends.
//
// Main connects by itself; Connect is for programs that run flows as a part of something else.
func Connect(ctx context.Context) (connected context.Context, close func() error, err error) {
	return connect(ctx, os.Stderr)
}

func connect(ctx context.Context, console io.Writer) (context.Context, func() error, error) {
	recorder, err := newRecorder(ctx)
	if err != nil {
		return nil, nil, err
	}
	end := func() error {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastLines)
		defer cancel()
		return recorder.Close(ending)
	}
	return engine.Connect(ctx, engine.Connection{Recorder: recorder, Console: console, Level: loggingLevel()}), end, nil
}

// settings are what the environment says, and the active profile where it says nothing.
type settings struct{ profile map[string]string }

func readSettings() (settings, error) {
	all, err := profile.Read(filepath.Join(home(), profile.Name))
	if err != nil {
		return settings{}, err
	}
	name := os.Getenv("SLUICE_PROFILE")
	if name == "" {
		name = all.Active
	} else if all.Sections[name] == nil {
		return settings{}, fmt.Errorf("SLUICE_PROFILE is %q, but %s has no such profile; `sluice profile ls` shows them", name, all.Path)
	}
	return settings{all.Sections[name]}, nil
}

func (s settings) get(name string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return s.profile[name]
}

// loggingLevel is the lowest level that runs log.
func loggingLevel() slog.Level {
	set, err := readSettings()
	if err != nil { // newRecorder says so
		set = settings{}
	}
	return engine.ParseLevel(set.get("SLUICE_LOGGING_LEVEL"))
}

func newRecorder(ctx context.Context) (*server.Recorder, error) {
	set, err := readSettings()
	if err != nil {
		return nil, err
	}
	url := set.get("SLUICE_API_URL")
	passing := url == ""
	if passing {
		if url, err = ephemeral(ctx, set); err != nil {
			return nil, err
		}
	}
	addresses, err := client.ParseAddresses(url)
	if err != nil {
		return nil, fmt.Errorf("SLUICE_API_URL: %w", err)
	}
	token := set.get("SLUICE_API_KEY")
	if token == "" && len(addresses) == 1 {
		token = localserver.Token(home(), addresses[0])
	}
	return server.New(server.Config{Home: home(), Owner: server.Owner(), Spool: logSpool(addresses, passing), Binary: set.binary, Client: client.Config{Addresses: addresses, Token: token,
		CAFile: set.get("SLUICE_API_CA_FILE"), UserAgent: "sluice-go"}})
}

// logSpool is where log lines wait: where the agent says that has started this process, else with the files of the user.
func logSpool(addresses []string, passing bool) server.Spool {
	place := server.Spool{Folder: os.Getenv("SLUICE_LOG_SPOOL"), Of: cmp.Or(os.Getenv("SLUICE_FLOW_RUN_ID"), "script")}
	if !passing {
		place.Addresses = strings.Join(addresses, ",")
	}
	if place.Folder == "" {
		place.Folder, place.Orphans = filepath.Join(home(), "spool"), true
	}
	return place
}

// home is the directory of Sluice's own files.
func home() string {
	if dir := os.Getenv("SLUICE_HOME"); dir != "" {
		return dir
	}
	dir, err := os.UserHomeDir()
	if err != nil {
		return ".sluice"
	}
	return filepath.Join(dir, ".sluice")
}

// binary finds the sluice command.
func (s settings) binary() (string, error) {
	if named := s.get("SLUICE_BINARY"); named != "" {
		return named, nil
	}
	found, err := exec.LookPath("sluice")
	if err != nil {
		return "", errors.New("no sluice binary was found; put it on the PATH, or name it in SLUICE_BINARY")
	}
	return found, nil
}

func ephemeral(ctx context.Context, set settings) (string, error) {
	binary, err := set.binary()
	if err != nil {
		return "", errors.New("no Sluice server is configured and no sluice binary was found on the PATH; name a server with SLUICE_API_URL or `sluice config set SLUICE_API_URL=http://127.0.0.1:4200/api`, or the binary with SLUICE_BINARY so that a server is started")
	}
	return localserver.StartEphemeral(ctx, binary, home(), nil)
}
