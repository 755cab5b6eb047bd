package agent_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
	httpapi "github.com/sluice-dev/sluice/http"
	"github.com/sluice-dev/sluice/internal/contract"
)

// fakeServer answers the endpoints an agent uses, with the shapes and rules of
// docs/native-api.md, out of memory. It can be made unreachable.
type fakeServer struct {
	http *httptest.Server
	beat time.Duration
	ttl  time.Duration

	mu       sync.Mutex // guards what follows
	changed  *sync.Cond // broadcast after every change
	agents   map[api.ID]api.AgentRegister
	left     int // agents deregistered
	queue    []api.ID
	runs     map[api.ID]*fakeRun
	claims   map[api.ID]*api.Claimed
	logs     []api.LogCreate
	batches  map[string]bool // producer/sequence
	doubled  int             // batches that came again
	requests []string        // METHOD path
	down     bool            // connections are cut without an answer
	deaf     map[string]int  // by path suffix: how many answers get lost after the work was done
	refused  map[string]bool // by path suffix: answered with 503, nothing done
	forget   bool            // the next claims are answered as to an unknown agent
	gone     bool            // no queue exists
	missing  []api.ID
	closing  bool
}

// described is the API's description, which holds for all that agents send.
var described = sync.OnceValues(func() (*contract.Checker, error) {
	document, err := httpapi.Document()
	if err != nil {
		return nil, err
	}
	return contract.New(document)
})

type fakeRun struct {
	run        api.FlowRun
	deployment *api.Deployment
	token      string // of the living lease, "" without
	lost       string // reason to tell at the next heartbeat
	cancelling bool
	states     []api.StateCreate
	tokens     int
	renewals   int
}

func newServer(t testing.TB) *fakeServer {
	s := &fakeServer{beat: 20 * time.Millisecond, ttl: 12 * time.Second, agents: map[api.ID]api.AgentRegister{}, runs: map[api.ID]*fakeRun{},
		claims: map[api.ID]*api.Claimed{}, batches: map[string]bool{}, deaf: map[string]int{}, refused: map[string]bool{}}
	s.changed = sync.NewCond(&s.mu)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/agents/{$}", s.register)
	mux.HandleFunc("DELETE /api/agents/{id}", s.deregister)
	mux.HandleFunc("POST /api/agents/{id}/claim", s.claim)
	mux.HandleFunc("POST /api/agents/{id}/heartbeat", s.heartbeat)
	mux.HandleFunc("GET /api/flow_runs/{id}", s.flowRun)
	mux.HandleFunc("POST /api/flow_runs/{id}/set_state", s.setState)
	mux.HandleFunc("POST /api/logs/", s.createLogs)
	checker, err := described()
	if err != nil {
		t.Fatal(err)
	}
	s.http = httptest.NewServer(checker.Requests(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests = append(s.requests, r.Method+" "+r.URL.Path)
		down, refused := s.down, false
		for suffix := range s.refused {
			refused = refused || strings.HasSuffix(strings.TrimSuffix(r.URL.Path, "/"), suffix)
		}
		s.changed.Broadcast()
		s.mu.Unlock()
		if down {
			panic(http.ErrAbortHandler)
		}
		if refused {
			answer(w, http.StatusServiceUnavailable, api.ErrorBody{Detail: "no leader", Kind: api.KindUnavailable})
			return
		}
		recorder := httptest.NewRecorder()
		mux.ServeHTTP(recorder, r)
		s.mu.Lock()
		drop := s.down
		for suffix, n := range s.deaf {
			if n > 0 && strings.HasSuffix(strings.TrimSuffix(r.URL.Path, "/"), suffix) {
				s.deaf[suffix]--
				drop = true
			}
		}
		s.mu.Unlock()
		if drop {
			panic(http.ErrAbortHandler)
		}
		for key, values := range recorder.Header() {
			w.Header()[key] = values
		}
		w.WriteHeader(recorder.Code)
		_, _ = w.Write(recorder.Body.Bytes())
	}), func(err error) { t.Error(err) }))
	s.http.Config.ErrorLog = nil
	t.Cleanup(func() {
		s.change(func() { s.closing = true })
		s.http.Close()
	})
	return s
}

func (s *fakeServer) url() string { return s.http.URL + "/api" }

func (s *fakeServer) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	s.changed.Broadcast()
}

// await blocks until the condition holds.
func (s *fakeServer) await(t testing.TB, what string, condition func() bool) {
	t.Helper()
	timeout := time.AfterFunc(30*time.Second, func() { s.change(func() {}) })
	defer timeout.Stop()
	deadline := time.Now().Add(30 * time.Second)
	s.mu.Lock()
	defer s.mu.Unlock()
	for !condition() {
		if time.Now().After(deadline) {
			for id, r := range s.runs {
				t.Logf("run %s: %s", id, names(r.states))
			}
			t.Fatalf("waited in vain until %s", what)
		}
		s.changed.Wait()
	}
}

// requested counts the requests whose line ends so; the caller holds mu.
func (s *fakeServer) requested(suffix string) int {
	n := 0
	for _, line := range s.requests {
		if strings.HasSuffix(strings.TrimSuffix(line, "/"), suffix) {
			n++
		}
	}
	return n
}

// add queues a run and answers its id.
func (s *fakeServer) add(deployment *api.Deployment, change func(*api.FlowRun)) api.ID {
	scheduled := api.Scheduled
	r := &fakeRun{deployment: deployment, run: api.FlowRun{ID: api.NewID(), Name: "tan-lion", FlowID: api.NewID(), StateType: &scheduled,
		State: &api.State{ID: api.NewID(), Type: api.Scheduled, Name: "Scheduled"}}}
	if change != nil {
		change(&r.run)
	}
	s.change(func() {
		s.runs[r.run.ID] = r
		s.queue = append(s.queue, r.run.ID)
	})
	return r.run.ID
}

// addCommand queues a plain command.
func (s *fakeServer) addCommand(command ...string) api.ID {
	blob, _ := json.Marshal(command)
	return s.add(&api.Deployment{ID: api.NewID(), Name: "d", FlowData: api.DataDocument{Encoding: api.EncodingCommand, Blob: string(blob)}}, nil)
}

// addPython queues a Python flow that plays a script; see testdata/sdk.
func (s *fakeServer) addPython(script string) api.ID {
	return s.add(&api.Deployment{ID: api.NewID(), Name: "d", FlowData: api.DataDocument{Encoding: api.EncodingStore, Blob: "key"}},
		withConfig(map[string]any{"env": map[string]any{"SCRIPT": script}}))
}

func withConfig(config map[string]any) func(*api.FlowRun) {
	return func(run *api.FlowRun) {
		kind := "subprocess"
		run.FlowRunner.Type = &kind
		run.FlowRunner.Config, _ = json.Marshal(config)
	}
}

// final blocks until the run has ended and answers its last state.
func (s *fakeServer) final(t testing.TB, id api.ID) api.StateCreate {
	t.Helper()
	s.await(t, "the run has ended", func() bool { return s.runs[id].run.StateType.Terminal() })
	s.mu.Lock()
	defer s.mu.Unlock()
	states := s.runs[id].states
	return states[len(states)-1]
}

func (s *fakeServer) states(id api.ID) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return names(s.runs[id].states)
}

func names(states []api.StateCreate) string {
	var list []string
	for _, state := range states {
		name := string(state.Type)
		if state.Name != nil {
			name = *state.Name
		}
		list = append(list, name)
	}
	return strings.Join(list, " ")
}

// lines are the messages stored for a run.
func (s *fakeServer) lines(id api.ID) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.linesLocked(id)
}

func (s *fakeServer) linesLocked(id api.ID) []string {
	var list []string
	for _, log := range s.logs {
		if log.FlowRunID == id {
			list = append(list, log.Message)
		}
	}
	return list
}

func (s *fakeServer) loseLease(id api.ID, reason string) {
	s.change(func() {
		s.runs[id].token = ""
		s.runs[id].lost = reason
	})
}

func (s *fakeServer) register(w http.ResponseWriter, r *http.Request) {
	var body api.AgentRegister
	if !decode(w, r, &body) {
		return
	}
	s.change(func() { s.agents[body.ID] = body; s.forget = false })
	answer(w, http.StatusCreated, api.AgentRegistered{ID: body.ID, Name: body.Name, TTLSeconds: api.Duration(s.ttl), HeartbeatSeconds: api.Duration(s.beat)})
}

func (s *fakeServer) deregister(w http.ResponseWriter, r *http.Request) {
	id, _ := api.ParseID(r.PathValue("id"))
	s.change(func() { delete(s.agents, id); s.left++ })
	w.WriteHeader(http.StatusNoContent)
}

func (s *fakeServer) known(w http.ResponseWriter, r *http.Request) bool {
	id, _ := api.ParseID(r.PathValue("id"))
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.agents[id]; !ok || s.forget {
		answer(w, http.StatusNotFound, api.ErrorBody{Detail: "Agent not found", Kind: api.KindNotFound})
		return false
	}
	return true
}

func (s *fakeServer) claim(w http.ResponseWriter, r *http.Request) {
	var body api.Claim
	if !decode(w, r, &body) || !s.known(w, r) {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), body.WaitSeconds.Std())
	defer cancel()
	defer context.AfterFunc(ctx, func() { s.change(func() {}) })()
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if s.gone {
			answer(w, http.StatusNotFound, api.ErrorBody{Detail: "work queue not found", Kind: api.KindNotFound})
			return
		}
		if former := s.claims[body.ClaimID]; former != nil {
			answer(w, http.StatusOK, former)
			return
		}
		if len(s.queue) > 0 {
			claimed := &api.Claimed{MissingQueues: s.missing}
			for len(s.queue) > 0 && len(claimed.Grants) < body.Limit {
				run := s.runs[s.queue[0]]
				s.queue = s.queue[1:]
				run.tokens++
				run.token = fmt.Sprintf("%s-%d", run.run.ID, run.tokens)
				run.set(api.NewState(api.Pending, ""))
				claimed.Grants = append(claimed.Grants, api.Grant{FlowRun: run.run, Deployment: run.deployment, Token: run.token, TTLSeconds: api.Duration(s.ttl)})
			}
			s.claims[body.ClaimID] = claimed
			s.changed.Broadcast()
			answer(w, http.StatusOK, claimed)
			return
		}
		if ctx.Err() != nil || s.closing || s.down || s.forget {
			answer(w, http.StatusOK, api.Claimed{MissingQueues: s.missing})
			return
		}
		s.changed.Wait()
	}
}

func (s *fakeServer) heartbeat(w http.ResponseWriter, r *http.Request) {
	var body api.Heartbeat
	if !decode(w, r, &body) || !s.known(w, r) {
		return
	}
	beat := api.HeartbeatAnswer{HeartbeatSeconds: api.Duration(s.beat)}
	s.change(func() {
		for _, lease := range body.Leases {
			run := s.runs[lease.FlowRunID]
			switch {
			case run.token != lease.Token:
				beat.Lost = append(beat.Lost, api.LostLease{FlowRunID: lease.FlowRunID, Reason: run.lost})
			case run.cancelling:
				beat.Cancelling = append(beat.Cancelling, lease.FlowRunID)
				fallthrough
			default:
				run.renewals++
			}
		}
	})
	answer(w, http.StatusOK, beat)
}

func (s *fakeServer) flowRun(w http.ResponseWriter, r *http.Request) {
	id, _ := api.ParseID(r.PathValue("id"))
	s.mu.Lock()
	defer s.mu.Unlock()
	answer(w, http.StatusOK, s.runs[id].run)
}

func (s *fakeServer) setState(w http.ResponseWriter, r *http.Request) {
	var body api.SetState
	if !decode(w, r, &body) {
		return
	}
	id, _ := api.ParseID(r.PathValue("id"))
	s.mu.Lock()
	defer s.mu.Unlock()
	run := s.runs[id]
	abort := func(reason string) {
		answer(w, http.StatusOK, api.OrchestrationResult{Status: api.Abort, Details: api.ResultDetails{Type: api.AbortDetails, Reason: &reason}})
	}
	switch {
	case run.run.StateType.Terminal():
		abort("This run has already terminated.")
	case run.token == "" || run.token != r.Header.Get(api.HeaderLease):
		abort(api.ReasonLeaseLost)
	default:
		run.set(body.State)
		s.changed.Broadcast()
		answer(w, http.StatusCreated, api.OrchestrationResult{State: run.run.State, Status: api.Accept, Details: api.ResultDetails{Type: api.AcceptDetails}})
	}
}

// set writes a state; a final or scheduled one ends the lease.
func (r *fakeRun) set(state api.StateCreate) {
	r.states = append(r.states, state)
	name := state.Type.DefaultName()
	if state.Name != nil {
		name = *state.Name
	}
	kind := state.Type
	r.run.StateType = &kind
	r.run.State = &api.State{ID: api.NewID(), Type: kind, Name: name, Message: state.Message}
	if kind.Terminal() || kind == api.Scheduled {
		r.token = ""
	}
}

func (s *fakeServer) createLogs(w http.ResponseWriter, r *http.Request) {
	var body []api.LogCreate
	if !decode(w, r, &body) {
		return
	}
	sequence, err := strconv.Atoi(r.Header.Get(api.HeaderLogSequence))
	if err != nil || sequence < 1 || r.Header.Get(api.HeaderLogProducer) == "" {
		answer(w, http.StatusBadRequest, api.ErrorBody{Detail: "no sequence", Kind: api.KindInvalid})
		return
	}
	key := r.Header.Get(api.HeaderLogProducer) + "/" + strconv.Itoa(sequence)
	s.change(func() {
		if s.batches[key] {
			s.doubled++
			return
		}
		s.batches[key] = true
		s.logs = append(s.logs, body...)
	})
	answer(w, http.StatusCreated, nil)
}

func decode(w http.ResponseWriter, r *http.Request, into any) bool {
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		answer(w, http.StatusBadRequest, api.ErrorBody{Detail: err.Error(), Kind: api.KindInvalid})
		return false
	}
	return true
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
