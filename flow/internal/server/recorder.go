// Package server records runs at a Sluice server: through outages and changes of leaders, each report once.
package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
	"github.com/sluice-dev/sluice/flow/internal/engine"
	"github.com/sluice-dev/sluice/storage"
	"github.com/sluice-dev/sluice/storage/relay"
)

// firstContact is how long the first request waits for a server to be there at all: who starts a program wants to know soon. What
// runs already waits as long as it takes.
const firstContact = 5 * time.Second

// Recorder reports to a server.
type Recorder struct {
	patient *client.Client // repeats until its context ends
	hasty   *client.Client
	logs    *shipper
	leases  *keeper
	home    string
	orphans sync.WaitGroup     // delivers lines that others have left
	orphan  context.CancelFunc // ends it

	mu    sync.Mutex
	flows map[string]api.ID
	store storage.Storage // of results; nil until it is needed
	relay *relay.Process  // of storages with credentials
	block *api.ID         // nil: the built-in store
}

// Config says where the server is.
type Config struct {
	Client client.Config // of which RetryFor is set here
	// Home is the directory of Sluice's own files.
	Home string
	// Owner is who this process is, for people.
	Owner string
	// Spool is where log lines wait.
	Spool Spool
	// Binary finds the sluice binary, which storages with credentials are used through where no agent offers them.
	Binary func() (string, error)
}

// New returns a recorder. It connects only to deliver lines that others have left.
func New(c Config) (*Recorder, error) {
	c.Client.RetryFor = -1
	patient, err := client.New(c.Client)
	if err != nil {
		return nil, err
	}
	c.Client.RetryFor = firstContact
	hasty, err := client.New(c.Client)
	if err != nil {
		return nil, err
	}
	process := &relay.Process{Find: c.Binary, Environment: []string{"SLUICE_API_URL=" + strings.Join(c.Client.Addresses, ",")}}
	if c.Client.Token != "" {
		process.Environment = append(process.Environment, "SLUICE_API_KEY="+c.Client.Token)
	}
	r := &Recorder{patient: patient, relay: process, hasty: hasty, home: c.Home, flows: map[string]api.ID{}, logs: newShipper(patient, c.Spool), leases: newKeeper(patient, c.Owner)}
	var ctx context.Context
	ctx, r.orphan = context.WithCancel(context.Background())
	if c.Spool.Orphans {
		r.orphans.Go(func() { r.logs.adopt(ctx) })
	}
	return r, nil
}

// Client is the client the recorder reports with.
func (r *Recorder) Client() *client.Client { return r.patient }

// Close sends the last lines, until ctx ends, and ends what runs in the background.
func (r *Recorder) Close(ctx context.Context) error {
	r.leases.stop()
	err := r.logs.stop(ctx)
	stop := context.AfterFunc(ctx, r.orphan)
	r.orphans.Wait()
	stop()
	r.orphan()
	r.relay.Close()
	r.patient.Close()
	r.hasty.Close()
	return err
}

// CreateFlowRun implements engine.Recorder.
func (r *Recorder) CreateFlowRun(ctx context.Context, flow string, run api.FlowRunCreate) (*api.FlowRun, error) {
	r.mu.Lock()
	id, known := r.flows[flow]
	r.mu.Unlock()
	if !known {
		made, err := r.hasty.CreateFlow(ctx, api.FlowCreate{Name: flow})
		if err != nil {
			return nil, err
		}
		id = made.ID
		r.mu.Lock()
		r.flows[flow] = id
		r.mu.Unlock()
	}
	run.FlowID = id
	return r.patient.CreateFlowRun(ctx, run)
}

// SetVersion implements engine.Recorder.
func (r *Recorder) SetVersion(ctx context.Context, run api.ID, version string) error {
	return r.patient.UpdateFlowRun(ctx, run, api.FlowRunUpdate{FlowVersion: api.Some(version)})
}

// FlowName returns the name of a flow.
func (r *Recorder) FlowName(ctx context.Context, id api.ID) (string, error) {
	r.mu.Lock()
	for name, known := range r.flows {
		if known == id {
			r.mu.Unlock()
			return name, nil
		}
	}
	r.mu.Unlock()
	found, err := r.patient.Flow(ctx, id)
	if err != nil {
		return "", err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flows[found.Name] = id
	return found.Name, nil
}

// CreateTaskRun implements engine.Recorder.
func (r *Recorder) CreateTaskRun(ctx context.Context, run api.TaskRunCreate) (*api.TaskRun, error) {
	return r.patient.CreateTaskRun(ctx, run)
}

// CreateArtifact implements engine.Recorder.
func (r *Recorder) CreateArtifact(ctx context.Context, artifact api.ArtifactCreate) error {
	_, err := r.patient.CreateArtifact(ctx, artifact)
	return err
}

// State implements engine.Recorder.
func (r *Recorder) State(ctx context.Context, kind engine.RunKind, id api.ID) (*api.State, error) {
	var state *api.State
	if kind == engine.FlowRuns {
		run, err := r.patient.FlowRun(ctx, id)
		if err != nil {
			return nil, err
		}
		state = run.State
	} else {
		run, err := r.patient.TaskRun(ctx, id)
		if err != nil {
			return nil, err
		}
		state = run.State
	}
	if state == nil {
		return nil, fmt.Errorf("run %s has no state", id)
	}
	return state, nil
}

// SetState implements engine.Recorder. A report whose answer was lost is not simply sent again, for two Running would be two attempts:
// the run's state tells what became of it.
func (r *Recorder) SetState(ctx context.Context, p engine.Proposal) (*api.OrchestrationResult, error) {
	for {
		body := api.SetState{State: p.State, Force: p.Force}
		var answer *api.OrchestrationResult
		var err error
		if p.Kind == engine.FlowRuns {
			answer, err = r.patient.SetFlowRunState(ctx, p.ID, body, p.Lease)
		} else {
			answer, err = r.patient.SetTaskRunState(ctx, p.ID, body, p.Lease)
		}
		lost := err != nil && (api.KindOf(err) == api.KindUnknownOutcome || api.KindOf(err) == api.KindUnreachable)
		if err != nil && !lost || ctx.Err() != nil {
			return nil, errors.Join(err, context.Cause(ctx))
		}
		if !lost && answer.Status != api.Abort {
			return answer, nil
		}
		now, err := r.State(ctx, p.Kind, p.ID)
		if err != nil {
			return nil, err
		}
		if found := outcome(p, now); found != nil {
			return found, nil
		}
		if !lost {
			return answer, nil
		}
	}
}

// outcome tells whether the state that a run has is what became of a proposal. Only the owner of a run proposes states: one other than
// that before the proposal is its outcome, unless it is of those the server sets by itself.
func outcome(p engine.Proposal, now *api.State) *api.OrchestrationResult {
	if p.Before == nil || now.ID == *p.Before {
		return nil
	}
	name := p.State.Type.DefaultName()
	if p.State.Name != nil {
		name = *p.State.Name
	}
	switch {
	case now.Type == p.State.Type && (now.Name == name || now.Name == api.NameRetrying || now.Name == api.NameRerunning):
		return &api.OrchestrationResult{Status: api.Accept, State: now}
	case now.Name == api.NameAwaitingRetry && p.State.Type == api.Failed, now.Name == api.NameCached && p.State.Type == api.Running:
		return &api.OrchestrationResult{Status: api.Reject, State: now}
	}
	return nil
}

// Lease implements engine.Recorder.
func (r *Recorder) Lease(ctx context.Context, run api.ID, ended func(error)) (string, func(), error) {
	return r.leases.take(ctx, run, ended)
}

// Log implements engine.Recorder.
func (r *Recorder) Log(line api.LogCreate) { r.logs.add(line) }

// Flush implements engine.Recorder.
func (r *Recorder) Flush(ctx context.Context) { r.logs.flush(ctx) }

// Store implements engine.Recorder: results go to the default storage if there is one.
func (r *Recorder) Store(ctx context.Context, data []byte, small bool) (*api.DataDocument, error) {
	store, block, err := r.storage(ctx)
	if err != nil {
		return nil, err
	}
	if block == nil && small {
		return nil, nil
	}
	key, err := store.Write(ctx, data)
	if err != nil {
		return nil, err
	}
	document, err := storage.Reference{BlockID: block, Key: key}.Document()
	return &document, err
}

// Load implements engine.Recorder.
func (r *Recorder) Load(ctx context.Context, document api.DataDocument) ([]byte, error) {
	return storage.Load(ctx, r.patient, document, r.places())
}

func (r *Recorder) places() storage.Places {
	return storage.Places{Home: r.home, Openers: relay.Openers(r.relay.Access)}
}

func (r *Recorder) storage(ctx context.Context) (storage.Storage, *api.ID, error) {
	r.mu.Lock()
	store, block := r.store, r.block
	r.mu.Unlock()
	if store != nil {
		return store, block, nil
	}
	found, err := r.patient.DefaultStorage(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("read the default storage: %w", err)
	}
	if found == nil {
		store = storage.BuiltIn(r.patient)
	} else if store, err = storage.Open(found, r.places()); err != nil {
		return nil, nil, err
	} else {
		block = &found.ID
	}
	r.mu.Lock()
	r.store, r.block = store, block
	r.mu.Unlock()
	return store, block, nil
}

// Owner is who this process is, for people: "leo on host (pid 123)".
func Owner() string {
	host, err := os.Hostname()
	if err != nil {
		host = "a host without a name"
	}
	return fmt.Sprintf("%s on %s (pid %d)", filepath.Base(os.Args[0]), host, os.Getpid())
}
