package engine

import (
	"context"

	"github.com/sluice-dev/sluice/api"
)

// Recorder is what runs report to: a server, or memory in tests. It repeats what may be repeated, through outages too; an error is
// final. It is safe for concurrent use.
type Recorder interface {
	// CreateFlowRun makes a run of the flow of that name; the flow too, if there is none.
	CreateFlowRun(ctx context.Context, flow string, run api.FlowRunCreate) (*api.FlowRun, error)
	// SetVersion tells which version of its flow executes a run that somebody else has made.
	SetVersion(ctx context.Context, run api.ID, version string) error
	// CreateTaskRun makes the task run of that flow run, task key and dynamic key, or returns the one there is.
	CreateTaskRun(ctx context.Context, run api.TaskRunCreate) (*api.TaskRun, error)
	// SetState proposes a state. It answers what became of it also when the first answer was lost.
	SetState(ctx context.Context, p Proposal) (*api.OrchestrationResult, error)
	// State reads the state a run is in.
	State(ctx context.Context, kind RunKind, id api.ID) (*api.State, error)

	// Lease makes this process the owner of a flow run that no agent gave it. ended is called at most once, with ErrLeaseLost or
	// ErrCancelled, from another goroutine. release stops the renewing.
	Lease(ctx context.Context, run api.ID, ended func(error)) (token string, release func(), err error)

	// Store keeps a result and returns what refers to it; Load is its inverse. A small one may lie in its state: nil leaves it there.
	Store(ctx context.Context, data []byte, small bool) (*api.DataDocument, error)
	Load(ctx context.Context, document api.DataDocument) ([]byte, error)

	// CreateArtifact stores what a run shows.
	CreateArtifact(ctx context.Context, artifact api.ArtifactCreate) error

	// Log takes a line to be sent soon; it never blocks. Flush waits until all taken so far were sent, or ctx ends.
	Log(line api.LogCreate)
	Flush(ctx context.Context)
}

// RunKind says whether a run is that of a flow or of a task.
type RunKind int

// The kinds of runs.
const (
	FlowRuns RunKind = iota
	TaskRuns
)

// Proposal is a state that the owner of a run reports.
type Proposal struct {
	Kind   RunKind
	ID     api.ID
	State  api.StateCreate
	Force  bool    // the server's rules do not apply: a failure that is not to be retried
	Lease  string  // of the flow run; "" without one
	Before *api.ID // the state that the run was last seen in
}
