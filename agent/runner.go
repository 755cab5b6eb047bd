package agent

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/sluice-dev/sluice/agent/process"
	"github.com/sluice-dev/sluice/api"
)

// Runner executes flow runs of one flow runner type.
type Runner interface {
	// Run executes a flow run and returns how its process ended once nothing of it
	// is left and all its output is written. When ctx ends it asks the process to
	// stop, and kills it after job.Grace or when job.Kill is closed. An error
	// means that the flow run was not started; its text is shown to the user. A runner that reports the run's states by itself
	// returns ErrReported.
	Run(ctx context.Context, job Job) (process.Exit, error)
}

// Job is one flow run to be executed under a lease.
type Job struct {
	FlowRun    *api.FlowRun
	Deployment *api.Deployment // nil when the run has none
	Token      string          // of the lease
	Output     io.Writer       // gets standard output and standard error
	Started    func()          // called once, when the process runs
	Grace      time.Duration
	Kill       <-chan struct{}
}

// The type that stands for "any"; the null type means the same.
const universal = "universal"

const subprocessType = "subprocess"

// runnerFor finds the runner of a flow run.
func (a *Agent) runnerFor(run *api.FlowRun) (Runner, error) {
	kind := subprocessType
	if run.FlowRunner.Type != nil && *run.FlowRunner.Type != "" && *run.FlowRunner.Type != universal {
		kind = *run.FlowRunner.Type
	}
	if runner := a.runners[kind]; runner != nil {
		return runner, nil
	}
	known := []string{universal}
	for name := range a.runners {
		known = append(known, name)
	}
	slices.Sort(known)
	return nil, fmt.Errorf("agent %q cannot execute flow runs with the flow runner type %q, only %s; "+
		"change the flow runner of the deployment, or keep its runs from this agent with a work queue that filters by flow runner type",
		a.config.Name, kind, strings.Join(known, ", "))
}
