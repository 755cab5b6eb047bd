package agent

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/storage"
)

// Config of an agent. API, WorkQueueIDs, SpoolDir and APIURL are required.
type Config struct {
	// Name is shown wherever the agent is; empty means "HOSTNAME-PID".
	Name string
	// Token is that of API, if it asks for one: keys of flow runs are made with it.
	Token string
	// Version of the program, as the server shows it.
	Version string
	// WorkQueueIDs are the queues to take work from. Ids, so that renaming a queue
	// changes nothing for a running agent.
	WorkQueueIDs []api.ID
	// Limit is how many flow runs may be executed at once; 0 means 16. Each is an
	// operating system process, a Python one of some 30 MB.
	Limit int

	// APIURL is given to flow processes as SLUICE_API_URL. It may list several
	// addresses separated by commas; other clients than ours get the first.
	APIURL string
	// APICAFile is given to flow processes as SLUICE_API_CA_FILE, if set: an absolute path.
	APICAFile string
	// Python is the interpreter for Python flows; empty means python3.
	Python string
	// PythonPath is the folder with the SDK, put in front of PYTHONPATH; may be empty.
	PythonPath string
	// WorkDir is where flow processes start; empty means the agent's own directory.
	WorkDir string
	// SpoolDir holds output until the server has it. Agents may share one; what a
	// killed agent left is shipped by the next that uses the folder.
	SpoolDir string
	// Home holds programs of flows, in its folder "programs", and what a Local Storage without a path holds; empty means SpoolDir.
	Home string
	// Storages open the storages that flow processes cannot open themselves; nil is none.
	Storages map[string]storage.Opener
	// OutputLimit is how many bytes of one flow run's output may wait in SpoolDir;
	// 0 means 64 MiB. What comes beyond it is dropped and counted in the log.
	OutputLimit int64

	// Grace is the time between SIGTERM and SIGKILL; 0 means 10 s.
	Grace time.Duration
	// DrainTimeout is how long Stop waits for flow runs to end by themselves before
	// it stops them; 0 means 30 s. Runs stopped so become Crashed.
	DrainTimeout time.Duration
	// ReportTimeout is how long Stop tries to tell the server how the last flow
	// runs ended; 0 means 10 s. Unreported runs become Crashed when their lease
	// ends; output stays in SpoolDir.
	ReportTimeout time.Duration
	// Exclusive kills flow processes when the server could not be reached for the
	// time to live of their leases, before it may start them elsewhere. Otherwise
	// they go on, and learn when the server is back whether they still may.
	Exclusive bool

	// Supervisor is the command that calls Supervise on its standard input; empty
	// means this program with the arguments "agent supervise".
	Supervisor []string
	// Runners adds flow runners by type, or replaces the built-in ones.
	Runners map[string]Runner
	// Output gets the output of flow runs with stream_output; nil means os.Stdout.
	Output io.Writer

	API    API
	Logger *slog.Logger // nil means slog.Default()
	Clock  Clock        // nil means the system's
}

// complete checks the configuration and fills in the defaults. It reports every
// problem at once.
func (c *Config) complete() error {
	var problems []error
	if len(c.WorkQueueIDs) == 0 {
		problems = append(problems, errors.New("no work queue is given; name at least one"))
	}
	if c.API == nil {
		problems = append(problems, errors.New("no API is given"))
	}
	if c.SpoolDir == "" {
		problems = append(problems, errors.New("no spool directory is given"))
	}
	if c.APIURL == "" {
		problems = append(problems, errors.New("no API address for flow processes is given"))
	}
	if c.Limit < 0 {
		problems = append(problems, fmt.Errorf("a limit of %d flow runs at once makes no sense; it must be at least 1", c.Limit))
	}
	if c.WorkDir != "" {
		if info, err := os.Stat(c.WorkDir); err != nil || !info.IsDir() {
			problems = append(problems, fmt.Errorf("the working directory %q is not a folder that can be entered", c.WorkDir))
		}
	}
	if len(c.Supervisor) == 0 {
		program, err := os.Executable()
		if err != nil {
			problems = append(problems, fmt.Errorf("find this program to start the supervisor: %w", err))
		}
		c.Supervisor = []string{program, "agent", "supervise"}
	}
	if c.Name == "" {
		host, _ := os.Hostname()
		c.Name = fmt.Sprintf("%s-%d", host, os.Getpid())
	}
	setDefault(&c.Limit, 16)
	setDefault(&c.Python, "python3")
	setDefault(&c.Home, c.SpoolDir)
	setDefault(&c.Grace, 10*time.Second)
	setDefault(&c.DrainTimeout, 30*time.Second)
	setDefault(&c.ReportTimeout, 10*time.Second)
	if c.Output == nil {
		c.Output = os.Stdout
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Clock == nil {
		c.Clock = systemClock{}
	}
	return errors.Join(problems...)
}

// places are what storages need to know of this machine.
func (c *Config) places() storage.Places {
	return storage.Places{Home: c.Home, Openers: c.Storages}
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
