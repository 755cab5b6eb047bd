package flowtest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/flow/internal/engine"
	"github.com/sluice-dev/sluice/fsm/orchestration"
	"github.com/sluice-dev/sluice/fsm/row"
)

// memory is a Recorder in memory. What becomes of a proposed state is up to the server's rules.
type memory struct {
	mu     sync.Mutex
	all    []*recorded // in the order of their creation
	byID   map[api.ID]*recorded
	byKey  map[string]*recorded // task runs: flow run, task key, dynamic key
	cache  map[string]*row.State
	values map[string][]byte
	logged []string
	shown  []api.ArtifactCreate
}

type recorded struct {
	kind   engine.RunKind
	id     api.ID
	of     string
	name   string
	tags   []string
	now    *row.State
	count  int32
	policy api.TaskRunPolicy
	states []api.State
}

func newMemory() *memory {
	return &memory{byID: map[api.ID]*recorded{}, byKey: map[string]*recorded{}, cache: map[string]*row.State{}, values: map[string][]byte{}}
}

func (m *memory) CreateFlowRun(_ context.Context, flow string, run api.FlowRunCreate) (*api.FlowRun, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.add(&recorded{kind: engine.FlowRuns, of: flow, name: *run.Name, tags: run.Tags})
	return &api.FlowRun{ID: r.id, Name: r.name, StateID: &r.states[0].ID, State: &r.states[0], Parameters: run.Parameters, Tags: r.tags}, nil
}

func (m *memory) SetVersion(context.Context, api.ID, string) error { return nil }

func (m *memory) CreateTaskRun(_ context.Context, run api.TaskRunCreate) (*api.TaskRun, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := fmt.Sprintf("%s %s %s", run.FlowRunID, run.TaskKey, run.DynamicKey)
	r := m.byKey[key]
	if r == nil {
		r = &recorded{kind: engine.TaskRuns, of: taskOf(*run.Name, run.TaskKey), name: *run.Name, tags: run.Tags}
		if run.EmpiricalPolicy != nil {
			r.policy = *run.EmpiricalPolicy
		}
		m.byKey[key] = m.add(r)
	}
	last := r.states[len(r.states)-1]
	return &api.TaskRun{ID: r.id, Name: r.name, StateID: &last.ID, State: &last}, nil
}

// taskOf is the task's name in a run's: the run is called NAME-KEY-NUMBER.
func taskOf(run, key string) string {
	if name, _, found := strings.Cut(run, "-"+key[:8]+"-"); found {
		return name
	}
	return run
}

func (m *memory) add(r *recorded) *recorded {
	r.id = api.NewID()
	m.all = append(m.all, r)
	m.byID[r.id] = r
	m.record(r, &row.State{Type: row.StateType_PENDING, Name: "Pending"})
	return r
}

func (m *memory) record(r *recorded, s *row.State) *api.State {
	id := api.NewID()
	s.Id = id[:]
	r.now = s
	r.count += map[bool]int32{true: 1}[s.Type == row.StateType_RUNNING]
	state := api.State{ID: id, Type: api.StateType(s.Type.String()), Name: s.Name, Message: s.Message, Timestamp: api.At(time.Now())}
	if s.Data != nil {
		state.Data = &api.DataDocument{Encoding: s.Data.Encoding, Blob: s.Data.Blob}
	}
	r.states = append(r.states, state)
	return &state
}

func (m *memory) SetState(_ context.Context, p engine.Proposal) (*api.OrchestrationResult, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.byID[p.ID]
	now := time.Now()
	proposed := orchestration.Proposal{State: stateOf(p.State, now), Force: p.Force}
	run := orchestration.Run{State: r.now, RunCount: r.count, MaxRetries: int32(r.policy.MaxRetries), RetryDelay: r.policy.RetryDelaySeconds.Std().Seconds()}
	var d orchestration.Decision
	key := proposed.State.Details.GetCacheKey()
	if r.kind == engine.FlowRuns {
		d = orchestration.DecideFlowRun(run, proposed)
	} else {
		cached := m.cache[key]
		if cached != nil && cached.Details.CacheExpiration != 0 && cached.Details.CacheExpiration <= now.UnixMicro() {
			cached = nil
		}
		d = orchestration.DecideTaskRun(run, proposed, cached, nil)
	}
	answer := &api.OrchestrationResult{Status: [...]api.SetStateStatus{api.Accept, api.Reject, api.Wait, api.Abort}[d.Status]}
	answer.Details.DelaySeconds = int(d.DelaySeconds)
	if d.Reason != "" {
		answer.Details.Reason = &d.Reason
	}
	if d.State != nil {
		answer.State = m.record(r, d.State)
		if d.Status == orchestration.Accept && d.State.Type == row.StateType_COMPLETED && key != "" {
			m.cache[key] = d.State
		}
	}
	return answer, nil
}

func stateOf(s api.StateCreate, now time.Time) *row.State {
	state := &row.State{Type: row.StateType(row.StateType_value[string(s.Type)]), Name: s.Type.DefaultName(), Message: s.Message, Timestamp: now.UnixMicro(), Details: &row.StateDetails{}}
	if s.Name != nil {
		state.Name = *s.Name
	}
	if s.Data != nil {
		state.Data = &row.Data{Encoding: s.Data.Encoding, Blob: s.Data.Blob}
	}
	if d := s.StateDetails; d != nil {
		state.Details.CacheKey = d.CacheKey
		if d.CacheExpiration != nil {
			state.Details.CacheExpiration = d.CacheExpiration.UnixMicro()
		}
	}
	return state
}

func (m *memory) State(_ context.Context, _ engine.RunKind, id api.ID) (*api.State, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	states := m.byID[id].states
	return &states[len(states)-1], nil
}

func (m *memory) Lease(context.Context, api.ID, func(error)) (string, func(), error) {
	return "", func() {}, nil
}

func (m *memory) Store(_ context.Context, data []byte, small bool) (*api.DataDocument, error) {
	if small {
		return nil, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	key := api.NewID().String()
	m.values[key] = data
	return &api.DataDocument{Encoding: api.EncodingStore, Blob: key}, nil
}

func (m *memory) Load(_ context.Context, document api.DataDocument) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, found := m.values[document.Blob]
	if !found {
		return nil, fmt.Errorf("there is no value %s", document.Blob)
	}
	return data, nil
}

func (m *memory) CreateArtifact(_ context.Context, artifact api.ArtifactCreate) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.shown = append(m.shown, artifact)
	return nil
}

func (m *memory) artifacts(key string) []api.ArtifactCreate {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []api.ArtifactCreate
	for _, a := range m.shown {
		if a.Key == key {
			found = append(found, a)
		}
	}
	return found
}

func (m *memory) Log(line api.LogCreate) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.logged = append(m.logged, line.Message)
}

func (*memory) Flush(context.Context) {}

func (m *memory) runs(kind engine.RunKind, of string) []Run {
	m.mu.Lock()
	defer m.mu.Unlock()
	var runs []Run
	for _, r := range m.all {
		if r.kind == kind && r.of == of {
			runs = append(runs, Run{Name: r.name, Of: r.of, Tags: r.tags, States: append([]api.State(nil), r.states...)})
		}
	}
	return runs
}

func (m *memory) messages() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.logged...)
}
