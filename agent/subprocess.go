package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/sluice-dev/sluice/agent/console"
	"github.com/sluice-dev/sluice/agent/process"
	"github.com/sluice-dev/sluice/agent/program"
	"github.com/sluice-dev/sluice/agent/spool"
	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/storage"
	"github.com/sluice-dev/sluice/storage/relay"
)

// subprocess executes flow runs as processes beside the agent.
type subprocess struct {
	config   *Config
	programs *program.Cache
	launcher *process.Launcher
	storages *relay.Server
	log      *slog.Logger
}

func newSubprocess(config *Config, launcher *process.Launcher, storages *relay.Server) *subprocess {
	load := func(ctx context.Context, document api.DataDocument) ([]byte, error) {
		return storage.Load(ctx, config.API, document, config.places())
	}
	return &subprocess{config: config, launcher: launcher, storages: storages, programs: &program.Cache{Dir: filepath.Join(config.Home, "programs"), Load: load},
		log: config.Logger.With(console.LoggerKey, "sluice.flow_runner.subprocess")}
}

// subprocessConfig is flow_runner.config of the type subprocess.
type subprocessConfig struct {
	Env          map[string]*string `json:"env"` // null removes a variable
	CondaEnv     *string            `json:"condaenv"`
	VirtualEnv   *string            `json:"virtualenv"`
	StreamOutput *bool              `json:"stream_output"` // null means true
	WorkingDir   *string            `json:"working_dir"`
}

func readSubprocessConfig(run *api.FlowRun) (subprocessConfig, error) {
	var config subprocessConfig
	if len(run.FlowRunner.Config) > 0 {
		if err := json.Unmarshal(run.FlowRunner.Config, &config); err != nil {
			return config, fmt.Errorf("the configuration of the flow runner is not valid: %w", err)
		}
	}
	return config, nil
}

// streams reports whether the output of a run is shown in the agent's terminal.
func streams(run *api.FlowRun) bool {
	config, err := readSubprocessConfig(run)
	return err == nil && (config.StreamOutput == nil || *config.StreamOutput)
}

// isCommand reports whether a job is a plain command or a script, for which the agent reports.
func isCommand(deployment *api.Deployment) bool {
	if deployment == nil {
		return false
	}
	if deployment.FlowData.Encoding == api.EncodingProgram {
		described, err := program.Parse(deployment.FlowData)
		return err == nil && described.Language == api.LanguageScript
	}
	return deployment.FlowData.Encoding == api.EncodingCommand
}

// isProgram reports whether a job's code is a file of its own: a program, which reports for itself, or a script.
func isProgram(deployment *api.Deployment) bool {
	return deployment != nil && deployment.FlowData.Encoding == api.EncodingProgram
}

func (s *subprocess) Run(ctx context.Context, job Job) (process.Exit, error) {
	access, revoke := s.storages.Grant()
	defer revoke()
	spec, err := s.spec(ctx, job, access)
	if err != nil {
		return process.Exit{}, err
	}
	id := job.FlowRun.ID.String()
	log := s.log.With("flow_run_id", id)
	log.Info(fmt.Sprintf("Opening subprocess for flow run '%s'...", id))
	group, err := s.launcher.Launch(spec)
	if err != nil {
		return process.Exit{}, s.explain(err, spec)
	}
	job.Started()
	select {
	case <-group.Done():
	case <-job.Kill:
		group.Kill()
	case <-ctx.Done():
		process.Terminate(group, job.Grace, job.Kill)
	}
	exit := group.Wait()
	switch {
	case exit.Signal != 0:
		log.Warn(fmt.Sprintf("Subprocess for flow run '%s' was killed by signal %s.", id, signalName(exit.Signal)))
	case exit.Code != 0:
		log.Error(fmt.Sprintf("Subprocess for flow run '%s' exited with bad code: %d", id, exit.Code))
	default:
		log.Info(fmt.Sprintf("Subprocess for flow run '%s' exited cleanly.", id))
	}
	return exit, nil
}

// spec says what to start for a job.
func (s *subprocess) spec(ctx context.Context, job Job, storages relay.Access) (process.Spec, error) {
	config, err := readSubprocessConfig(job.FlowRun)
	if err != nil {
		return process.Spec{}, err
	}
	env := baseEnvironment()
	env.set("SLUICE_API_URL", s.config.APIURL)
	if s.config.APICAFile != "" {
		env.set("SLUICE_API_CA_FILE", s.config.APICAFile)
	}
	env.set("SLUICE_FLOW_RUN_ID", job.FlowRun.ID.String())
	env.set("SLUICE_LEASE_TOKEN", job.Token)
	first, _, _ := strings.Cut(s.config.APIURL, ",")
	env.set("PREFECT_API_URL", strings.TrimSpace(first))
	// The process gets a key of its own and not the agent's token: it may report on its run, no more.
	key := api.FlowRunKey(s.config.Token, job.FlowRun.ID, job.Token)
	env.set("PREFECT_API_KEY", key)
	if api.CheckToken(s.config.Token) == nil {
		env.set("SLUICE_API_KEY", key)
	}
	env.set("PYTHONUNBUFFERED", "1")
	// The SDK sends its log lines itself; printed as well they would come twice.
	env.set("SLUICE_ENGINE_CONSOLE", "0")
	sdkFolder, err := filepath.Abs(spool.SDKFolder(s.config.SpoolDir))
	if err != nil {
		return process.Spec{}, fmt.Errorf("find the spool directory: %w", err)
	}
	// Where it keeps them until they are delivered, so that a killed process loses none.
	env.set("SLUICE_LOG_SPOOL", sdkFolder)
	// Storages with credentials are used through the agent, which has them.
	env.set(relay.VariableURL, storages.URL)
	env.set(relay.VariableToken, storages.Token)
	for name, value := range config.Env {
		if value == nil {
			delete(env.variables, name)
		} else {
			env.set(name, *value)
		}
	}
	dir := s.config.WorkDir
	if config.WorkingDir != nil && *config.WorkingDir != "" {
		dir = *config.WorkingDir
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			return process.Spec{}, fmt.Errorf("the working directory %q of the flow runner is not a folder on the agent's machine", dir)
		}
	}
	var command []string
	switch {
	case isProgram(job.Deployment):
		described, err := program.Parse(job.Deployment.FlowData)
		if err != nil {
			return process.Spec{}, err
		}
		path, err := s.programs.Path(ctx, described)
		if err != nil {
			return process.Spec{}, err
		}
		command = []string{path, "exec", job.FlowRun.ID.String()}
		if described.Language == api.LanguageScript {
			command = append([]string{path}, described.Arguments...)
		}
	case isCommand(job.Deployment):
		if command, err = Command(job.Deployment.FlowData); err != nil {
			return process.Spec{}, err
		}
	default:
		if s.config.PythonPath != "" {
			env.prepend("PYTHONPATH", s.config.PythonPath)
		}
		command = s.pythonCommand(job.FlowRun.ID, config, env)
	}
	if isCommand(job.Deployment) {
		if err := env.setParameters(job.FlowRun.Parameters); err != nil {
			return process.Spec{}, err
		}
		if command, err = Arguments(command, job.FlowRun.Parameters); err != nil {
			return process.Spec{}, err
		}
	}
	path, err := process.LookPath(command[0], env.variables["PATH"], dir)
	if err != nil {
		return process.Spec{}, missing(command[0], isCommand(job.Deployment), config, err)
	}
	return process.Spec{Path: path, Args: command, Env: env.list(), Dir: dir, Output: job.Output}, nil
}

// pythonCommand is the engine's command line, in the environment asked for.
func (s *subprocess) pythonCommand(run api.ID, config subprocessConfig, env environment) []string {
	engine := []string{"-m", "sluice.engine", run.String()}
	switch {
	case config.VirtualEnv != nil && *config.VirtualEnv != "":
		folder := *config.VirtualEnv
		env.set("VIRTUAL_ENV", folder)
		env.prepend("PATH", filepath.Join(folder, "bin"))
		delete(env.variables, "PYTHONHOME")
		return append([]string{filepath.Join(folder, "bin", "python")}, engine...)
	case config.CondaEnv != nil && *config.CondaEnv != "":
		option := "--name"
		if strings.ContainsRune(*config.CondaEnv, filepath.Separator) {
			option = "--prefix"
		}
		conda := []string{"conda", "run", option, *config.CondaEnv, "--no-capture-output", "python"}
		return append(conda, engine...)
	default:
		return append([]string{s.config.Python}, engine...)
	}
}

// missing tells which program is not there and what to do.
func missing(program string, command bool, config subprocessConfig, cause error) error {
	if e, ok := errors.AsType[*exec.Error](cause); ok {
		cause = e.Err
	}
	switch {
	case command:
		return fmt.Errorf("the program %q of the deployment's command cannot be started on the agent's machine: %w", program, cause)
	case config.VirtualEnv != nil && *config.VirtualEnv != "":
		return fmt.Errorf("the interpreter %q of the flow runner's virtualenv cannot be started: %w", program, cause)
	case config.CondaEnv != nil && *config.CondaEnv != "":
		return fmt.Errorf("the flow runner asks for the conda environment %q, but %q cannot be started on the agent's machine: %w", *config.CondaEnv, program, cause)
	default:
		return fmt.Errorf("the Python interpreter %q cannot be started on the agent's machine: %w; "+
			"install Python 3.9 or newer, or set SLUICE_PYTHON to its path and start the agent again", program, cause)
	}
}

// explain turns an error of the operating system into something to act on.
func (s *subprocess) explain(err error, spec process.Spec) error {
	if errors.Is(err, syscall.E2BIG) {
		return fmt.Errorf("%s cannot be started: the parameters and environment are too long for a process (%w); pass large values by a storage", spec.Args[0], err)
	}
	if errors.Is(err, syscall.ENOEXEC) {
		return fmt.Errorf("%s cannot be started: it is neither a binary for this machine nor a script that begins with #! (%w)", spec.Path, err)
	}
	return fmt.Errorf("%s cannot be started: %w", spec.Args[0], err)
}

// signalName is KILL for SIGKILL.
func signalName(s syscall.Signal) string {
	if name, ok := signalNames[s]; ok {
		return name
	}
	return fmt.Sprintf("%d", int(s))
}

var signalNames = map[syscall.Signal]string{
	syscall.SIGHUP: "HUP", syscall.SIGINT: "INT", syscall.SIGQUIT: "QUIT", syscall.SIGILL: "ILL",
	syscall.SIGTRAP: "TRAP", syscall.SIGABRT: "ABRT", syscall.SIGBUS: "BUS", syscall.SIGFPE: "FPE",
	syscall.SIGKILL: "KILL", syscall.SIGUSR1: "USR1", syscall.SIGSEGV: "SEGV", syscall.SIGUSR2: "USR2",
	syscall.SIGPIPE: "PIPE", syscall.SIGALRM: "ALRM", syscall.SIGTERM: "TERM", syscall.SIGXCPU: "XCPU",
	syscall.SIGXFSZ: "XFSZ",
}
