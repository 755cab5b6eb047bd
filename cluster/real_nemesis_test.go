package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/uuid"
	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/kv/pebblekv"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/snapshot"
	"github.com/sluice-dev/sluice/fsm/state"
	"github.com/sluice-dev/sluice/internal/history"
)

// realState is a member's state as the product has it, on a disk in memory that can lose what was not synced.
type realState struct {
	mu      sync.RWMutex // held for reading while a view is open
	fs      *vfs.MemFS
	holder  *snapshot.Holder
	machine *fsm.FSM // nil while down
}

func (s *realState) open() (StateMachine, raft.SnapshotStore, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lock := new(sync.Mutex)
	quiet := slog.New(slog.DiscardHandler)
	var err error
	if s.holder, err = snapshot.Open(snapshot.Config{DataDir: "data", KV: pebblekv.Options{FS: s.fs, Logger: quiet}, ApplyLock: lock}); err != nil {
		return nil, nil, err
	}
	if s.machine, err = fsm.New(holderStorage{s.holder}, lock, quiet); err != nil {
		return nil, nil, err
	}
	return s.machine, snapshot.NewStore(s.holder), nil
}

func (s *realState) close(crash bool, r *rand.Rand) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	after := s.fs
	if crash {
		after = s.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: r.IntN(101), RNG: r})
	}
	err := errors.Join(s.machine.Close(), s.holder.Close())
	s.fs, s.machine, s.holder = after, nil, nil
	return err
}

// read gives a view of the state as it is now, unless the member is down.
func (s *realState) read(f func(*state.View) error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.machine == nil {
		return errors.New("down")
	}
	v, err := s.machine.View()
	if err != nil {
		return err
	}
	defer v.Close()
	return f(v)
}

// realNemesis is a cluster with the product's state under faults, with what leaders, agents and users do.
type realNemesis struct {
	*fleet
	seed   uint64
	states map[string]*realState // by member
	log    *history.Log
	made   chan struct{} // closed once the fleet is here
	stop   chan struct{}
	work   sync.WaitGroup
	acks   atomic.Int64
	grants chan *row.Grant

	flow, queue []byte
	agents      [][]byte
	deployments [][]byte
	first       int64 // fire time

	mu       sync.Mutex // guards what follows
	hashes   map[uint64]state.Hash
	compared int
	running  map[string][]*row.Grant // accepted Running, by run
	ended    map[string]bool         // accepted Completed
}

// second is the time between two fires, in µs.
const second = 1_000_000

// TestNemesisOfRuns works on the product's state machine: leaders make and hand out scheduled runs, agents execute them, users rename
// runs and race for leases, while links and nodes fail.
func TestNemesisOfRuns(t *testing.T) {
	t.Parallel()
	eachSeed(t, func(t *testing.T, seed uint64, size int) {
		n := &realNemesis{seed: seed, states: map[string]*realState{}, log: history.NewLog(), made: make(chan struct{}), stop: make(chan struct{}), grants: make(chan *row.Grant, 1024),
			first: time.Now().Add(-time.Hour).Unix() * second, hashes: map[uint64]state.Hash{}, running: map[string][]*row.Grant{}, ended: map[string]bool{}}
		n.fleet = newFleetOf(t, size, func(c *Config) {
			c.LeaderHold = 400 * time.Millisecond
			c.EncodeEpoch = func(term uint64, node, cluster string) []byte {
				return encodeReal(t, &command.Envelope{Command: &command.Envelope_LeaderEpoch{LeaderEpoch: &command.LeaderEpoch{Term: term, NodeId: node, ClusterId: cluster}}})
			}
			id := c.DataDir.NodeID()
			c.Lead = func(ctx context.Context, e Epoch) error { n.lead(ctx, id, e); return nil }
		}, func(m *member) stateOf {
			s := &realState{fs: vfs.NewCrashableMem()}
			n.states[m.id] = s
			return s
		})
		close(n.made)
		n.prepare()
		n.faults = rand.New(rand.NewPCG(seed, 1))
		for i := range 2 {
			n.worker(uint64(30+i), n.agent)
			n.worker(uint64(40+i), n.reader)
		}
		clients := []*history.Client{n.log.Client(), n.log.Client(), n.log.Client()}
		for i, c := range clients {
			n.worker(uint64(50+i), func(r *rand.Rand, i int) { n.register(c, r, i) })
		}
		n.worker(60, n.race)
		rng := rand.New(rand.NewPCG(seed, 0))
		n.rage(rng, 12, pacer(rng, &n.acks))
		// On a machine with little time for us all faults may be over before the first run is.
		until(t, "a run was executed to its end and states were compared", func() bool {
			n.mu.Lock()
			defer n.mu.Unlock()
			return len(n.ended) > 0 && n.compared > 0
		})
		close(n.stop)
		n.work.Wait()
		n.check()
	})
}

func (n *realNemesis) worker(number uint64, act func(r *rand.Rand, i int)) {
	r := rand.New(rand.NewPCG(n.seed, number))
	n.work.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-n.stop:
				return
			default:
				act(r, i)
			}
		}
	})
}

func (n *realNemesis) encode(e *command.Envelope) []byte { return encodeReal(n.t, e) }

// propose orders one command at any node that is up.
func (n *realNemesis) propose(r *rand.Rand, e *command.Envelope) (*command.Result, uint64, error) {
	node := n.nodeOf(n.members[r.IntN(len(n.members))])
	if node == nil {
		return nil, 0, notDone(ErrStopped)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	results, index, err := node.Propose(ctx, [][]byte{n.encode(e)})
	if err != nil {
		return nil, 0, err
	}
	n.acks.Add(1)
	result, err := command.DecodeResult(results[0])
	if err != nil {
		n.t.Error(err)
	}
	return result, index, err
}

// must proposes until it is done. What it is used for is harmless to repeat.
func (n *realNemesis) must(e *command.Envelope) *command.Result {
	n.t.Helper()
	r := rand.New(rand.NewPCG(n.seed, 7))
	for all := testContext(n.t); ; {
		result, _, err := n.propose(r, e)
		if err == nil {
			return result
		}
		if all.Err() != nil {
			n.t.Fatal(err)
		}
	}
}

func newUUID() []byte { id := uuid.New(); return id[:] }

func (n *realNemesis) prepare() {
	n.leader()
	n.flow = n.must(&command.Envelope{Command: &command.Envelope_CreateFlow{CreateFlow: &command.CreateFlow{Id: newUUID(), Name: "f"}}}).Id
	n.queue = newUUID()
	n.must(&command.Envelope{Command: &command.Envelope_CreateWorkQueue{CreateWorkQueue: &command.CreateWorkQueue{Id: n.queue, Name: "q"}}})
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range 2 {
		id := newUUID()
		n.must(&command.Envelope{Command: &command.Envelope_RegisterAgent{RegisterAgent: &command.RegisterAgent{Id: id, Name: fmt.Sprint("a", i)}}})
		n.agents = append(n.agents, id)
		d := n.must(&command.Envelope{Command: &command.Envelope_PutDeployment{PutDeployment: &command.PutDeployment{Id: newUUID(), Name: fmt.Sprint("d", i), FlowId: n.flow,
			ScheduleJson: []byte(`{"interval":1}`), IsScheduleActive: true}}})
		n.deployments = append(n.deployments, d.Id)
	}
}

// lead does what the services of a leader do, as wrongly as a leader may: what it computes may be old when it is proposed.
func (n *realNemesis) lead(ctx context.Context, id string, epoch Epoch) {
	select {
	case <-n.made:
	case <-ctx.Done():
		return
	}
	r := rand.New(rand.NewPCG(n.seed, epoch.Number))
	var m *member
	for _, one := range n.members {
		if one.id == id {
			m = one
		}
	}
	var former []*command.Envelope
	for ctx.Err() == nil {
		var plan []*command.Envelope
		n.mu.Lock()
		agents, deployments := slices.Clone(n.agents), slices.Clone(n.deployments)
		n.mu.Unlock()
		err := n.states[id].read(func(v *state.View) error {
			var err error
			plan, err = n.plan(v, r, agents, deployments)
			return err
		})
		if err != nil {
			return // down
		}
		// A leader that is in doubt makes the same runs again, under other ids.
		again := former
		former = nil
		for _, e := range plan {
			if c := e.GetScheduleRuns(); c != nil && r.IntN(3) == 0 {
				c = proto.Clone(c).(*command.ScheduleRuns)
				for _, fire := range c.Fires {
					fire.FlowRunId = newUUID()
				}
				former = append(former, &command.Envelope{Command: &command.Envelope_ScheduleRuns{ScheduleRuns: c}})
			}
		}
		plan = append(plan, again...)
		select {
		case <-time.After(time.Duration(r.IntN(15)) * time.Millisecond): // how old the plan is when it is proposed
		case <-ctx.Done():
		}
		node := n.nodeOf(m)
		if node == nil {
			return
		}
		for _, e := range plan {
			e.Epoch = epoch.Index
			results, _, err := node.ProposeAsLeader(ctx, epoch, [][]byte{n.encode(e)})
			if err != nil {
				break
			}
			result, err := command.DecodeResult(results[0])
			if err != nil {
				n.t.Error(err)
				return
			}
			for _, g := range result.Grants {
				select {
				case n.grants <- g:
				default: // too many: this agent has died
				}
			}
		}
	}
}

func (n *realNemesis) plan(v *state.View, r *rand.Rand, agents, deployments [][]byte) (plan []*command.Envelope, err error) {
	for _, id := range deployments {
		d, err := v.Deployment(api.ID(id))
		if err != nil || d == nil {
			return nil, err
		}
		c := &command.ScheduleRuns{DeploymentId: id, ScheduleRevision: d.ScheduleRevision, NextFire: max(d.NextFire, n.first), Advance: true}
		for range 1 + r.IntN(3) {
			run := newUUID()
			c.Fires = append(c.Fires, &command.ScheduleRuns_Fire{Time: c.NextFire, FlowRunId: run, Name: fmt.Sprintf("%x", run[:4])})
			c.NextFire += second
		}
		plan = append(plan, &command.Envelope{Command: &command.Envelope_ScheduleRuns{ScheduleRuns: c}})
	}
	if len(agents) == 0 {
		return plan, nil
	}
	wish := &command.ClaimRuns_Wish{ClaimId: newUUID(), AgentId: agents[r.IntN(len(agents))]}
	err = v.ScheduledFlowRuns(0, time.Now().UnixMicro(), func(run *row.FlowRun) (bool, error) {
		wish.Picks = append(wish.Picks, &command.ClaimRuns_Pick{FlowRunId: run.Id, WorkQueueId: n.queue})
		return len(wish.Picks) < 6, nil
	})
	plan = append(plan, &command.Envelope{Command: &command.Envelope_ClaimRuns{ClaimRuns: &command.ClaimRuns{Ttl: 12 * second, Wishes: []*command.ClaimRuns_Wish{wish}}}})
	expire := &command.ExpireLeases{}
	err = errors.Join(err, v.LeasedFlowRuns(func(run *row.FlowRun) (bool, error) {
		if run.Lease.Kind == row.Lease_AGENT && r.IntN(20) == 0 {
			expire.Expired = append(expire.Expired, &command.ExpireLeases_Expired{FlowRunId: run.Id, TokenIndex: run.Lease.TokenIndex, TokenOrdinal: run.Lease.TokenOrdinal, Reason: "silent"})
		}
		return true, nil
	}))
	return append(plan, &command.Envelope{Command: &command.Envelope_ExpireLeases{ExpireLeases: expire}}), err
}

// agent executes one run, late and not always to its end.
func (n *realNemesis) agent(r *rand.Rand, _ int) {
	var g *row.Grant
	select {
	case g = <-n.grants:
	case <-time.After(5 * time.Millisecond): // nothing to do yet
		return
	}
	report := func(t row.StateType) bool {
		result, _, err := n.propose(r, &command.Envelope{Command: &command.Envelope_SetFlowRunState{SetFlowRunState: &command.SetState{Id: g.FlowRunId,
			State: &command.ProposedState{Type: t}, HasToken: true, TokenIndex: g.TokenIndex, TokenOrdinal: g.TokenOrdinal}}})
		return err == nil && result.State.GetStatus() == command.StateResult_ACCEPT
	}
	if !report(row.StateType_RUNNING) {
		return
	}
	n.mu.Lock()
	n.running[string(g.FlowRunId)] = append(n.running[string(g.FlowRunId)], g)
	n.mu.Unlock()
	if r.IntN(5) > 0 && report(row.StateType_COMPLETED) {
		n.mu.Lock()
		n.ended[string(g.FlowRunId)] = true
		n.mu.Unlock()
	}
}

// reader compares the hashes of states at equal indexes.
func (n *realNemesis) reader(r *rand.Rand, _ int) {
	_ = n.sample(n.members[r.IntN(len(n.members))]) // fails while the member is down
	time.Sleep(time.Millisecond)                    // as often as samples are wanted
}

func (n *realNemesis) sample(m *member) error {
	index, hash, err := n.states[m.id].position()
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	known, ok := n.hashes[index]
	if ok {
		n.compared++
	}
	if ok && known != hash {
		n.t.Errorf("node %s has state %s at %d, another %s", m.id, hash, index, known)
	}
	n.hashes[index] = hash
	return nil
}

// position reads index and hash in one moment. A view's index is only the least that it shows.
func (s *realState) position() (uint64, state.Hash, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.machine == nil {
		return 0, state.Hash{}, errors.New("down")
	}
	store, release := holderStorage{s.holder}.Acquire()
	defer release()
	snap := store.Snapshot()
	defer snap.Close()
	meta, err := snapshot.ReadMeta(snap)
	if err != nil {
		return 0, state.Hash{}, err
	}
	hash, err := state.NewView(snap, 0, nil).Hash()
	return meta.Applied, hash, err
}

// newRun makes a run in the state Pending.
func (n *realNemesis) newRun(r *rand.Rand, id []byte, name string) error {
	_, _, err := n.propose(r, &command.Envelope{Command: &command.Envelope_CreateFlowRun{CreateFlowRun: &command.CreateFlowRun{Id: id, Name: name, FlowId: n.flow}}})
	return err
}

// register reads or writes the name of a run; the ids of runs follow from the key, so that all clients mean the same.
func (n *realNemesis) register(c *history.Client, r *rand.Rand, i int) {
	key := fmt.Sprintf("name-%d-%d", r.IntN(2), i/30)
	id := uuid.NewSHA1(uuid.NameSpaceURL, fmt.Append(nil, n.seed, key))
	// Creating it again is refused.
	if err := n.newRun(r, id[:], key); err != nil {
		return
	}
	if r.IntN(2) == 0 {
		value := uuid.NewString()
		call := c.Begin(history.Input{Key: key, Kind: history.Write, Value: value})
		_, _, err := n.propose(r, &command.Envelope{Command: &command.Envelope_UpdateFlowRun{UpdateFlowRun: &command.UpdateFlowRun{Id: id[:], HasName: true, Name: value}}})
		settle(call, err, history.Output{})
		return
	}
	m := n.members[r.IntN(len(n.members))]
	node := n.nodeOf(m)
	if node == nil {
		return
	}
	call := c.Begin(history.Input{Key: key, Kind: history.Read})
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, err := node.Read(ctx)
	value := ""
	if err == nil {
		err = n.states[m.id].read(func(v *state.View) error {
			run, err := v.FlowRun(api.ID(id))
			if err == nil && run.GetName() != key {
				value = run.GetName()
			}
			return err
		})
	}
	if err != nil {
		call.Unknown()
		return
	}
	call.Answered(history.Output{Value: value})
}

func settle(call *history.Call, err error, o history.Output) {
	switch {
	case err == nil:
		call.Answered(o)
	case errors.Is(err, ErrNotDone):
		call.NotDone()
	default:
		call.Unknown()
	}
}

// race lets owners ask for the lease of a run at the same time.
func (n *realNemesis) race(r *rand.Rand, i int) {
	id, key := newUUID(), fmt.Sprint("lease-", i)
	if n.newRun(r, id, key) != nil {
		return
	}
	var racers sync.WaitGroup
	for owner := range 3 {
		own := rand.New(rand.NewPCG(r.Uint64(), 0))
		call := n.log.Client().Begin(history.Input{Key: key, Kind: history.Take, Value: fmt.Sprint("owner ", owner)})
		racers.Go(func() {
			result, _, err := n.propose(own, &command.Envelope{Command: &command.Envelope_StartLease{StartLease: &command.StartLease{FlowRunId: id,
				Owner: fmt.Sprint("owner ", owner), OwnerId: []byte(fmt.Sprintf("%16d", owner)), Ttl: 3600 * second}}})
			settle(call, err, history.Output{Won: err == nil && result.Code == command.Result_OK})
		})
	}
	racers.Wait()
}

// check compares the members, and what is there with what was answered.
func (n *realNemesis) check() {
	t := n.t
	t.Helper()
	last := n.must(&command.Envelope{Command: &command.Envelope_CreateFlow{CreateFlow: &command.CreateFlow{Id: newUUID(), Name: "last"}}})
	if last.Code != command.Result_OK {
		t.Fatal(last)
	}
	ctx := testContext(t)
	index, err := n.leader().node.Read(ctx)
	for err != nil && ctx.Err() == nil { // a busy machine may elect another in between
		index, err = n.leader().node.Read(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range n.members {
		if err := m.node.WaitApplied(ctx, index); err != nil {
			t.Fatalf("node %s: %v; %+v", m.id, err, m.node.Status())
		}
		if err := n.sample(m); err != nil {
			t.Error(err)
		}
		if err := n.states[m.id].read(func(v *state.View) error { return v.Verify() }); err != nil {
			t.Errorf("the state of node %s: %v", m.id, err)
		}
	}
	runs, completed := 0, 0
	err = n.states[n.members[0].id].read(func(v *state.View) error {
		for _, id := range n.deployments {
			d, err := v.Deployment(api.ID(id))
			if err != nil {
				return err
			}
			fires := map[int64]int{}
			err = v.FlowRunsOfDeployment(api.ID(id), false, func(run *row.FlowRun) (bool, error) {
				runs++
				fires[run.ExpectedStartTime]++
				states, err := v.FlowRunStates(api.ID(run.Id))
				if err != nil {
					return false, err
				}
				begun := 0
				for _, s := range states {
					if s.Type == row.StateType_RUNNING {
						begun++
					}
				}
				if told := n.running[string(run.Id)]; begun > 1 || len(told) > begun {
					t.Errorf("run %x was begun %d times, and %d were told so: %v", run.Id, begun, len(told), told)
				}
				if run.State.Type == row.StateType_COMPLETED {
					completed++
				} else if n.ended[string(run.Id)] {
					t.Errorf("run %x is %s; its agent was told that it is Completed", run.Id, run.State.Name)
				}
				return true, nil
			})
			if err != nil {
				return err
			}
			for at := n.first; at < d.NextFire; at += second {
				if fires[at] != 1 {
					t.Errorf("%d runs for the fire at %d of deployment %x", fires[at], at, id)
				}
				delete(fires, at)
			}
			if len(fires) > 0 {
				t.Errorf("deployment %x has runs at %v, after its next fire", id, fires)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	n.checkHistory(n.log)
	t.Logf("%d nodes: %d writes, %d scheduled runs, %d completed, %d operations on names and leases, %d states compared", len(n.members), n.acks.Load(), runs, completed, n.log.Len(), n.compared)
}
