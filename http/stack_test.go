package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/cluster"
	"github.com/sluice-dev/sluice/fsm"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/kv"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/snapshot"
	"github.com/sluice-dev/sluice/fsm/state"
)

// patience bounds every wait for an event; reaching it is a failure.
const patience = 30 * time.Second

// stack is the API over real state machines and a real cluster.
type stack struct {
	t       testing.TB
	node    *stackNode // the one that serves the API
	server  *Server
	http    *httptest.Server
	claims  *grantingClaims
	health  *switchedHealth
	secrets *testSecrets
	// unavailable, when set, is what proposals fail with.
	fault *faults
}

// faults makes proposals fail.
type faults struct {
	mu  sync.Mutex
	err error // guarded by mu
}

func (f *faults) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *faults) get() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

type holderStorage struct{ *snapshot.Holder }

func (s holderStorage) Acquire() (kv.Store, func()) {
	h := s.Holder.Acquire()
	return h.Store, h.Release
}

type testProposer struct {
	node  *cluster.Node
	fault *faults
}

func (p testProposer) Propose(ctx context.Context, commands ...*command.Envelope) ([]*command.Result, uint64, error) {
	return p.send(ctx, p.node.Propose, commands)
}

func (p testProposer) ProposeBulk(ctx context.Context, commands ...*command.Envelope) ([]*command.Result, uint64, error) {
	return p.send(ctx, p.node.ProposeBulk, commands)
}

func (p testProposer) send(ctx context.Context, propose func(context.Context, [][]byte) ([][]byte, uint64, error), commands []*command.Envelope) ([]*command.Result, uint64, error) {
	if err := p.fault.get(); err != nil {
		return nil, 0, err
	}
	encoded := make([][]byte, len(commands))
	for i, c := range commands {
		data, err := command.Encode(c)
		if err != nil {
			return nil, 0, &api.Error{Kind: api.KindInternal, Err: err}
		}
		encoded[i] = data
	}
	answers, index, err := propose(ctx, encoded)
	if err != nil {
		return nil, 0, &api.Error{Kind: api.KindUnknownOutcome, Err: err}
	}
	results := make([]*command.Result, len(answers))
	for i, a := range answers {
		if results[i], err = command.DecodeResult(a); err != nil {
			return nil, 0, err
		}
	}
	return results, index, nil
}

type testReader struct {
	node *cluster.Node
	fsm  *fsm.FSM
}

func (r testReader) View(ctx context.Context, consistency Consistency, minIndex uint64) (*state.View, uint64, error) {
	if consistency == Linearizable {
		if _, err := r.node.Read(ctx); err != nil {
			return nil, 0, &api.Error{Kind: api.KindUnavailable, Err: err}
		}
	}
	if err := r.node.WaitApplied(ctx, minIndex); err != nil {
		return nil, 0, &api.Error{Kind: api.KindUnavailable, Err: err}
	}
	view, err := r.fsm.View()
	if err != nil {
		return nil, 0, err
	}
	return view, view.Index(), nil
}

// grantingClaims hands every due run to whoever asks, through the state machine. The real one has its own tests.
type grantingClaims struct {
	proposer Proposer
	reader   Reader
	presence Presence
	lost     []LostLease
	waits    chan struct{} // receives when a claim begins to wait
	beats    chan struct{} // receives with each renewal
}

func (c *grantingClaims) Claim(ctx context.Context, d Demand) (Granted, error) {
	view, _, err := c.reader.View(ctx, Linearizable, 0)
	if err != nil {
		return Granted{}, err
	}
	defer view.Close()
	if known, err := view.Claim(d.ClaimID); err != nil || known != nil {
		return Granted{Grants: known.GetGrants(), Index: view.Index()}, err
	}
	wish := &command.ClaimRuns_Wish{ClaimId: d.ClaimID[:], AgentId: d.AgentID[:]}
	err = view.ScheduledFlowRuns(minTime, time.Now().UnixMicro(), func(r *row.FlowRun) (bool, error) {
		for _, q := range d.Queues {
			wish.Picks = append(wish.Picks, &command.ClaimRuns_Pick{FlowRunId: r.Id, WorkQueueId: q[:]})
		}
		return len(wish.Picks) < d.Limit, nil
	})
	if err != nil {
		return Granted{}, err
	}
	if len(wish.Picks) == 0 && d.Wait > 0 {
		wait, cancel := context.WithTimeout(ctx, d.Wait)
		defer cancel()
		select {
		case c.waits <- struct{}{}:
		default:
		}
		<-wait.Done()
		return Granted{Index: view.Index()}, ctx.Err()
	}
	results, index, err := c.proposer.Propose(ctx, &command.Envelope{Seed: newID(), Command: &command.Envelope_ClaimRuns{
		ClaimRuns: &command.ClaimRuns{Ttl: 12_000_000, Wishes: []*command.ClaimRuns_Wish{wish}},
	}})
	if err != nil {
		return Granted{}, err
	}
	return Granted{Grants: results[0].Grants, Index: index}, nil
}

func (c *grantingClaims) Renew(_ context.Context, _ api.ID, leases []HeldLease) (Renewed, error) {
	select {
	case c.beats <- struct{}{}:
	default:
	}
	out := Renewed{Lost: c.lost}
	for _, l := range leases {
		if l.Token == (Token{}) {
			out.Lost = append(out.Lost, LostLease{FlowRunID: l.FlowRunID, Reason: api.ReasonLeaseLost})
		}
	}
	return out, nil
}

func (c *grantingClaims) Presence(context.Context, ...api.ID) (Presence, error) {
	return c.presence, nil
}

type switchedHealth struct{ checks []Check }

func (h *switchedHealth) Checks(context.Context) []Check { return h.checks }

func testLogger() *slog.Logger {
	if os.Getenv("SLUICE_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// newStack starts everything; change edits the server's configuration.
func newStack(t testing.TB, at place, change ...func(*Config)) *stack {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	contract, err := checker()
	if err != nil {
		t.Fatal(err)
	}
	node, stopNodes := startNodes(ctx, t, at)
	s := &stack{t: t, node: node, fault: &faults{}, secrets: newTestSecrets(t), health: &switchedHealth{checks: []Check{{Name: "leader", OK: true}}}}
	proposer, reader := testProposer{node.node, s.fault}, testReader{node.node, node.machine}
	s.claims = &grantingClaims{proposer: proposer, reader: reader, waits: make(chan struct{}, 10), beats: make(chan struct{}, 10)}
	config := Config{
		Proposer: proposer, Reader: reader, Claims: s.claims, Events: node.machine.Events(), Health: s.health, Secrets: s.secrets, Logger: testLogger(),
		Registry: prometheus.NewRegistry(), Version: "1.2.3", UI: testPages, StrictHold: 50 * time.Millisecond,
	}
	for _, c := range change {
		c(&config)
	}
	if s.server, err = New(config); err != nil {
		t.Fatal(errors.Join(err, stopNodes(ctx)))
	}
	s.http = httptest.NewServer(contract.Handler(s.server, func(err error) { s.t.Error(err) }))
	t.Cleanup(func() {
		stopping, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		s.server.Drain()
		s.http.Close()
		for _, err := range []error{s.server.Stop(stopping), stopNodes(stopping)} {
			if err != nil {
				t.Error(err)
			}
		}
	})
	return s
}

func testEpoch(term uint64, nodeID, clusterID string) []byte {
	data, err := command.Encode(&command.Envelope{Seed: newID(), Command: &command.Envelope_LeaderEpoch{
		LeaderEpoch: &command.LeaderEpoch{Term: term, NodeId: nodeID, ClusterId: clusterID},
	}})
	if err != nil {
		panic(err)
	}
	return data
}

// answer is what a request got.
type answer struct {
	status int
	header http.Header
	text   string
}

// json decodes the answer's body.
func (a answer) json(t testing.TB) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(a.text), &v); err != nil {
		t.Fatalf("answer %d is no JSON: %v: %q", a.status, err, a.text)
	}
	return v
}

func (a answer) object(t testing.TB) map[string]any {
	t.Helper()
	m, ok := a.json(t).(map[string]any)
	if !ok {
		t.Fatalf("answer %d is no object: %s", a.status, a.text)
	}
	return m
}

// do sends a request. Bodies are text, bytes, a reader, nil, or anything that becomes JSON; headers come in pairs.
func (s *stack) do(method, path string, body any, headers ...string) answer {
	s.t.Helper()
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		reader = bytes.NewReader([]byte(b))
	case []byte:
		reader = bytes.NewReader(b)
	case io.Reader:
		reader = b
	default:
		data, err := json.Marshal(b)
		if err != nil {
			s.t.Fatal(err)
		}
		reader = bytes.NewReader(data)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, s.http.URL+path, reader)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		s.t.Fatal(err)
	}
	return answer{status: res.StatusCode, header: res.Header, text: string(text)}
}

// must is do that demands a status and returns the answer's object.
func (s *stack) must(status int, method, path string, body any, headers ...string) map[string]any {
	s.t.Helper()
	a := s.do(method, path, body, headers...)
	if a.status != status {
		s.t.Fatalf("%s %s: status %d, want %d: %s", method, path, a.status, status, a.text)
	}
	if a.text == "" || a.text == "null" {
		return nil
	}
	return a.object(s.t)
}

var strictly = []string{"X-PREFECT-API-VERSION", "0.3.1"}
