package fsm

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/orchestration"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
)

// seeds returns the seeds to try: SLUICE_SEED alone, or SLUICE_SEEDS of them (default 10).
func seeds(t *testing.T) []uint64 {
	if s := os.Getenv("SLUICE_SEED"); s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("SLUICE_SEED: %v", err)
		}
		return []uint64{seed}
	}
	n := 10
	if s := os.Getenv("SLUICE_SEEDS"); s != "" {
		n, _ = strconv.Atoi(s)
	}
	var all []uint64
	for range n {
		all = append(all, rand.Uint64())
	}
	return all
}

// model is the state as anybody would write it down: maps, no indexes, no counters.
type model struct {
	flows       map[string]string          // name → id
	queues      map[string]*row.WorkQueue  // by id
	deployments map[string]*row.Deployment // by id
	runs        map[string]*modelRun       // by id
	agents      map[string]bool
	searches    map[string]modelSearch // by name
}

type modelRun struct {
	deployment string
	tags       []string
	progress   orchestration.Progress
	leased     bool
	token      [2]uint64
}

// script is a random sequence of commands together with a model of what they do.
type script struct {
	m      *machine
	random *rand.Rand
	model  model
	logs   []*raft.Log // all entries, to be replayed
}

func TestRandomCommandsAgreeWithANaiveModel(t *testing.T) {
	t.Parallel()
	for _, seed := range seeds(t) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			s := newScript(t, seed)
			for i := range 400 {
				s.step()
				if i%100 == 99 {
					s.compare()
				}
			}
			s.compare()
			s.replayInOtherBatches()
		})
	}
}

func newScript(t *testing.T, seed uint64) *script {
	s := &script{m: newMachine(t), random: rand.New(rand.NewPCG(seed, 1)), model: model{
		flows: map[string]string{}, queues: map[string]*row.WorkQueue{}, deployments: map[string]*row.Deployment{},
		runs: map[string]*modelRun{}, agents: map[string]bool{}, searches: map[string]modelSearch{}}}
	s.do(leaderEpoch(1))
	return s
}

// do applies one command as one entry, keeping the entry.
func (s *script) do(c *command.Envelope) *command.Result {
	s.m.t.Helper()
	log := s.m.log(s.m.envelope(c))
	s.logs = append(s.logs, log)
	answer := s.m.fsm.Apply(log).(*command.EntryResult)
	if answer.Err != nil {
		s.m.t.Fatal(answer.Err)
	}
	r, err := command.DecodeResult(answer.Batches[0].Results[0])
	if err != nil {
		s.m.t.Fatal(err)
	}
	return r
}

func pick[V any](s *script, from map[string]V) string {
	if len(from) == 0 || s.random.IntN(20) == 0 {
		return "no-such-id-at-all" // unknown ids are part of life
	}
	// The order of a map is not the seed's: choose by rank.
	best, chosen := uint64(0), ""
	for id := range from {
		h := uint64(14695981039346656037)
		for i := range len(id) {
			h = (h ^ uint64(id[i])) * 1099511628211
		}
		h *= s.salt()
		if chosen == "" || h > best || h == best && id > chosen {
			best, chosen = h, id
		}
	}
	return chosen
}

func (s *script) salt() uint64 { return s.m.seed*2654435761 | 1 }

var tagSets = [][]string{nil, {"a"}, {"b"}, {"a", "b"}}

func (s *script) step() {
	m := s.m
	switch s.random.IntN(13) {
	case 0:
		name := fmt.Sprintf("flow-%d", s.random.IntN(4))
		r := s.do(&command.Envelope{Command: &command.Envelope_CreateFlow{CreateFlow: &command.CreateFlow{Id: m.id(), Name: name}}})
		if id, known := s.model.flows[name]; known == r.Created || known && id != string(r.Id) {
			m.t.Fatalf("flow %q: known %t, answer %v", name, known, r)
		}
		s.model.flows[name] = string(r.Id)
	case 1:
		s.putDeployment()
	case 2:
		s.queue()
	case 3:
		id := m.id()
		s.do(&command.Envelope{Command: &command.Envelope_RegisterAgent{RegisterAgent: &command.RegisterAgent{Id: id, Name: "a", Hostname: "h"}}})
		s.model.agents[string(id)] = true
	case 4, 5, 6:
		s.createRun()
	case 7, 8:
		s.claimOne()
	case 9, 10:
		s.setState()
	case 11:
		s.expireOne()
	case 12:
		s.search()
	}
}

func (s *script) putDeployment() {
	flow := pick(s, s.model.flows)
	id := s.m.id()
	d := &row.Deployment{Id: id, FlowId: []byte(s.model.flows[flow]), Tags: tagSets[s.random.IntN(len(tagSets))]}
	r := s.do(&command.Envelope{Command: &command.Envelope_PutDeployment{PutDeployment: &command.PutDeployment{Id: id, Name: fmt.Sprintf("%x", id), FlowId: d.FlowId, Tags: d.Tags}}})
	if _, known := s.model.flows[flow]; known != (r.Code == command.Result_OK) {
		s.m.t.Fatalf("deployment of flow %q: %v", flow, r)
	}
	if r.Code == command.Result_OK {
		s.model.deployments[string(id)] = d
	}
}

func (s *script) queue() {
	var limit *int32
	if s.random.IntN(2) == 0 {
		n := int32(s.random.IntN(3))
		limit = &n
	}
	tags := tagSets[s.random.IntN(len(tagSets))]
	filter := &row.QueueFilter{HasTags: len(tags) > 0, Tags: tags}
	id := pick(s, s.model.queues)
	if q, known := s.model.queues[id]; known {
		q.Filter, q.ConcurrencyLimit, q.IsPaused = filter, limit, s.random.IntN(4) == 0
		s.do(&command.Envelope{Command: &command.Envelope_UpdateWorkQueue{UpdateWorkQueue: &command.UpdateWorkQueue{Id: q.Id, HasFilter: true, Filter: filter,
			HasConcurrencyLimit: true, ConcurrencyLimit: limit, HasIsPaused: true, IsPaused: q.IsPaused}}})
		return
	}
	q := &row.WorkQueue{Id: s.m.id(), Filter: filter, ConcurrencyLimit: limit}
	s.do(&command.Envelope{Command: &command.Envelope_CreateWorkQueue{CreateWorkQueue: &command.CreateWorkQueue{Id: q.Id, Name: fmt.Sprintf("%x", q.Id), Filter: filter, ConcurrencyLimit: limit}}})
	s.model.queues[string(q.Id)] = q
}

func (s *script) createRun() {
	deployment := pick(s, s.model.deployments)
	d, known := s.model.deployments[deployment]
	types := []row.StateType{row.StateType_SCHEDULED, row.StateType_SCHEDULED, row.StateType_PENDING, row.StateType_RUNNING}
	t := types[s.random.IntN(len(types))]
	id := s.m.id()
	r := s.do(&command.Envelope{Command: &command.Envelope_CreateFlowRun{CreateFlowRun: &command.CreateFlowRun{Id: id, Name: "n", DeploymentId: []byte(deployment), FromDeployment: true,
		State: &command.ProposedState{Type: t}}}})
	if known != r.Created {
		s.m.t.Fatalf("run of deployment %x: %v", deployment, r)
	}
	if known {
		run := &modelRun{deployment: deployment, tags: d.Tags}
		run.take(t, "", s.m.stamp, s.m.stamp)
		s.model.runs[string(id)] = run
	}
}

// take is the naive bookkeeping: only what the comparison looks at.
func (r *modelRun) take(t row.StateType, name string, at, scheduled int64) {
	if name == "" {
		name = orchestration.DefaultName(t)
	}
	if r.progress.State != nil {
		at = max(at, r.progress.State.Timestamp+1)
	}
	r.progress = r.progress.Record(&row.State{Type: t, Name: name, Timestamp: at, Details: &row.StateDetails{ScheduledTime: scheduled}})
	if t != row.StateType_PENDING && t != row.StateType_RUNNING {
		r.leased = false
	}
}

func (s *script) occupied(q *row.WorkQueue) int {
	n := 0
	for _, r := range s.model.runs {
		t := r.progress.State.Type
		if (t == row.StateType_PENDING || t == row.StateType_RUNNING) && orchestration.Matches(q.Filter, &row.FlowRun{DeploymentId: []byte(r.deployment), Tags: r.tags}) {
			n++
		}
	}
	return n
}

func (s *script) claimOne() {
	runID, queueID, agentID := pick(s, s.model.runs), pick(s, s.model.queues), pick(s, s.model.agents)
	run, q := s.model.runs[runID], s.model.queues[queueID]
	want := run != nil && q != nil && s.model.agents[agentID] && run.progress.State.Type == row.StateType_SCHEDULED && !q.IsPaused &&
		orchestration.Matches(q.Filter, &row.FlowRun{DeploymentId: []byte(run.deployment), Tags: run.tags}) && orchestration.HasRoom(q, s.occupied(q))
	r := s.do(&command.Envelope{Command: &command.Envelope_ClaimRuns{ClaimRuns: &command.ClaimRuns{Ttl: 12_000_000, Wishes: []*command.ClaimRuns_Wish{{
		ClaimId: s.m.id(), AgentId: []byte(agentID), Picks: []*command.ClaimRuns_Pick{{FlowRunId: []byte(runID), WorkQueueId: []byte(queueID)}}}}}}})
	if want != (len(r.Grants) == 1) {
		s.m.t.Fatalf("claim of %x from %x: model says %t, machine granted %v", runID, queueID, want, r.Grants)
	}
	if want {
		run.take(row.StateType_PENDING, "", s.m.stamp, 0)
		run.leased, run.token = true, [2]uint64{r.Grants[0].TokenIndex, uint64(r.Grants[0].TokenOrdinal)}
	}
}

func (s *script) setState() {
	id := pick(s, s.model.runs)
	run := s.model.runs[id]
	t := row.StateType(1 + s.random.IntN(6))
	set := &command.SetState{Id: []byte(id), State: &command.ProposedState{Type: t}, Force: s.random.IntN(8) == 0}
	facts := orchestration.Run{}
	if run != nil {
		facts.State, facts.RunCount, facts.HasLease = run.progress.State, run.progress.RunCount, run.leased
		switch s.random.IntN(3) {
		case 0: // the owner, or who was it
			set.HasToken, set.TokenIndex, set.TokenOrdinal = true, run.token[0], uint32(run.token[1])
			facts.TokenShown, facts.TokenIsGood = true, run.leased
		case 1:
			set.HasToken, set.TokenIndex = true, 1
			facts.TokenShown = true
		}
	}
	r := s.do(&command.Envelope{Command: &command.Envelope_SetFlowRunState{SetFlowRunState: set}})
	if run == nil {
		if r.Code != command.Result_NOT_FOUND {
			s.m.t.Fatalf("an unknown run answered %v", r)
		}
		return
	}
	at := max(s.m.stamp, run.progress.State.Timestamp+1)
	want := orchestration.DecideFlowRun(facts, orchestration.Proposal{State: &row.State{Type: t, Timestamp: at}, Force: set.Force})
	if int(want.Status) != int(r.State.GetStatus()) || want.Reason != r.State.GetReason() {
		s.m.t.Fatalf("set %s on %s: model says %v %q, machine %v", t, run.progress.State.Name, want.Status, want.Reason, r.State)
	}
	if want.Status == orchestration.Accept {
		run.take(t, "", s.m.stamp, at)
	}
}

func (s *script) expireOne() {
	id := pick(s, s.model.runs)
	run := s.model.runs[id]
	x := &command.ExpireLeases_Expired{FlowRunId: []byte(id), Reason: "silent"}
	if run != nil {
		x.TokenIndex, x.TokenOrdinal = run.token[0], uint32(run.token[1])
	}
	r := s.do(&command.Envelope{Command: &command.Envelope_ExpireLeases{ExpireLeases: &command.ExpireLeases{Expired: []*command.ExpireLeases_Expired{x}}}})
	want := run != nil && run.leased
	if want != (r.Count == 1) {
		s.m.t.Fatalf("expiry of %x: model says %t, machine %v", id, want, r)
	}
	if !want {
		return
	}
	if run.progress.State.Type == row.StateType_PENDING {
		run.take(row.StateType_SCHEDULED, "", s.m.stamp, run.progress.ExpectedStartTime)
	} else {
		run.take(row.StateType_FAILED, orchestration.NameCrashed, s.m.stamp, 0)
	}
}

// compare reads everything back.
func (s *script) compare() {
	t := s.m.t
	t.Helper()
	v := s.m.view()
	if err := v.Verify(); err != nil {
		t.Fatal(err)
	}
	s.compareSearches(v)
	s.compareHistory(v)
	counts := map[row.StateType]int64{}
	for id, want := range s.model.runs {
		got, err := v.FlowRun(api.ID([]byte(id)))
		if err != nil || got == nil {
			t.Fatalf("run %x: %v, %v", id, got, err)
		}
		p := want.progress
		if got.State.Type != p.State.Type || got.State.Name != p.State.Name || got.State.Timestamp != p.State.Timestamp || got.RunCount != p.RunCount ||
			got.ExpectedStartTime != p.ExpectedStartTime || got.NextScheduledStartTime != p.NextScheduledStartTime || got.StartTime != p.StartTime ||
			got.EndTime != p.EndTime || got.TotalRunTime != p.TotalRunTime || (got.Lease != nil) != want.leased {
			t.Fatalf("run %x is %v, the model says %+v, leased %t", id, got, p, want.leased)
		}
		counts[got.State.Type]++
	}
	for st, want := range counts {
		if n, err := v.CountFlowRuns(st); n != want || err != nil {
			t.Fatalf("%d runs are %s by the counter, %d by the model (%v)", n, st, want, err)
		}
	}
	for id, q := range s.model.queues {
		if n, err := v.SlotsInUse(api.ID([]byte(id))); n != s.occupied(q) || err != nil {
			t.Fatalf("queue %x has %d slots in use, the model says %d (%v)", id, n, s.occupied(q), err)
		}
	}
}

// replayInOtherBatches applies the same log to a fresh machine in random batches: the state must be the same.
func (s *script) replayInOtherBatches() {
	want, err := s.m.view().Hash()
	if err != nil {
		s.m.t.Fatal(err)
	}
	other := newMachine(s.m.t)
	for rest := s.logs; len(rest) > 0; {
		n := min(1+s.random.IntN(20), len(rest))
		other.fsm.ApplyBatch(rest[:n])
		rest = rest[n:]
	}
	got, err := other.view().Hash()
	if err != nil || got != want || got == (state.Hash{}) {
		s.m.t.Fatalf("replayed in other batches the hash is %s, not %s (%v)", got, want, err)
	}
	if err := other.view().Verify(); err != nil {
		s.m.t.Fatal(err)
	}
}
