package scheduler

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/kv"
	"github.com/sluice-dev/sluice/fsm/kv/pebblekv"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
)

// memory is a state in memory that is never replaced.
type memory struct{ kv.Store }

func (m memory) Current() kv.Store                         { return m.Store }
func (m memory) Acquire() (store kv.Store, release func()) { return m.Store, func() {} }
func (m memory) Snapshot() (raft.FSMSnapshot, error)       { return nil, errors.ErrUnsupported }
func (m memory) Restore(io.ReadCloser) error               { return errors.ErrUnsupported }
func (m memory) OnInstall(func(kv.Store))                  {}

// rig is the real state machine on an in-memory store, with the log in the test's hands and time faked by synctest.
type rig struct {
	t        *testing.T
	machine  *fsm.FSM
	clock    Clock
	elapsed  func() time.Duration // nil: the bubble's
	leaseTTL time.Duration        // of the next epoch; 0: the default
	log      *slog.Logger         // of the next epoch
	services *Services
	observed observed
	deliver  Deliverer // of the first epoch

	mu     sync.Mutex // guards what follows
	index  uint64
	term   uint64
	epoch  uint64
	ahead  time.Duration                 // of the bubble's clock: what entries are stamped with
	faults func(*command.Envelope) fault // asked for each leader-made proposal; may be nil
	// around is called for each leader-made proposal and has it applied; may be nil.
	around func(e *command.Envelope, apply func())
}

// fault is what goes wrong with a proposal.
type fault int

const (
	none      fault = iota
	refused         // it surely did not happen
	unknown         // it happened, but the proposer is told that nobody knows
	unwelcome       // the node refuses such writes for now
)

var errFault = errors.New("injected fault")

type realClock struct{}

func (realClock) Now() time.Time { return time.Now() }

// observed counts what the Observer is told.
type observed struct {
	mu        sync.Mutex
	claimable []time.Duration
	claimed   []time.Duration
	expired   int
	made      int
	jumps     []time.Duration
	held      bool
}

func (o *observed) WebhookAttempt(string, time.Duration) {}

func (o *observed) RetentionSwept(held bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.held = held
}

func (o *observed) Claimable(d time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.claimable = append(o.claimable, d)
}

func (o *observed) Claimed(d time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.claimed = append(o.claimed, d)
}

func (o *observed) LeaseExpired() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.expired++
}

func (o *observed) ClockJumped(by time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.jumps = append(o.jumps, by)
}

func (o *observed) RunsMade(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.made += n
}

// within runs fn with a rig in a bubble of fake time that begins at 2000-01-01 00:00 UTC.
func within(t *testing.T, fn func(*rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		store, err := pebblekv.Open("", pebblekv.Options{FS: vfs.NewMem(), Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		machine, err := fsm.New(memory{store}, new(sync.Mutex), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer machine.Close()
		r := &rig{t: t, machine: machine, clock: realClock{}, index: machine.AppliedIndex()}
		defer r.stop()
		fn(r)
	})
}

// apply applies commands as one entry.
func (r *rig) apply(commands ...*command.Envelope) ([]*command.Result, uint64) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	var batch command.Batch
	for _, c := range commands {
		if len(c.Seed) == 0 {
			seed := api.NewID()
			c.Seed = seed[:]
		}
		data, err := command.Encode(c)
		if err != nil {
			r.t.Error(err)
		}
		batch.Commands = append(batch.Commands, data)
	}
	r.index++
	entry := command.AppendEntry(nil, command.Entry{Stamp: time.Now().Add(r.ahead).UnixMicro(), Batches: []command.Batch{batch}})
	answer := r.machine.Apply(&raft.Log{Index: r.index, Term: 1, Type: raft.LogCommand, Data: entry}).(*command.EntryResult)
	if answer.Err != nil {
		r.t.Error(answer.Err)
		return nil, r.index
	}
	results := make([]*command.Result, len(commands))
	for i, data := range answer.Batches[0].Results {
		var err error
		if results[i], err = command.DecodeResult(data); err != nil {
			r.t.Error(err)
		}
	}
	return results, r.index
}

// do applies one command that must succeed.
func (r *rig) do(c *command.Envelope) *command.Result {
	r.t.Helper()
	results, _ := r.apply(c)
	if len(results) != 1 || results[0].Code != command.Result_OK {
		r.t.Fatalf("%T: %v", c.Command, results)
	}
	return results[0]
}

// leader is a Proposer of one epoch.
type leader struct {
	rig  *rig
	term uint64
}

func (l leader) Propose(ctx context.Context, commands ...*command.Envelope) ([]*command.Result, uint64, error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	l.rig.mu.Lock()
	over, happens, around := l.term != l.rig.term, none, l.rig.around
	if l.rig.faults != nil {
		happens = l.rig.faults(commands[0])
	}
	l.rig.mu.Unlock()
	if over {
		return nil, 0, errors.New("not the leader any more")
	}
	switch happens {
	case refused:
		return nil, 0, errFault
	case unwelcome:
		return nil, 0, fmt.Errorf("%w: injected", ErrUnwelcome)
	}
	var results []*command.Result
	var index uint64
	apply := func() { results, index = l.rig.apply(commands...) }
	if around != nil {
		around(commands[0], apply)
	} else {
		apply()
	}
	if happens == unknown {
		return nil, 0, errFault
	}
	return results, index, nil
}

// inject decides what goes wrong from now on; nil: nothing.
func (r *rig) inject(faults func(*command.Envelope) fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = faults
}

// interpose has fn called with every proposal from now on, which it must apply; nil: nothing.
func (r *rig) interpose(fn func(e *command.Envelope, apply func())) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.around = fn
}

func (r *rig) deleteAgent(id api.ID) {
	r.t.Helper()
	r.do(&command.Envelope{Command: &command.Envelope_DeleteAgent{DeleteAgent: &command.Delete{Id: id[:]}}})
}

func (r *rig) drain(id api.ID, draining bool) {
	r.t.Helper()
	r.do(&command.Envelope{Command: &command.Envelope_DrainAgent{DrainAgent: &command.DrainAgent{Id: id[:], Draining: draining}}})
}

// randomly is a source of faults: of eight proposals one is refused and one ends in doubt.
func randomly(seed, n uint64) func(*command.Envelope) fault {
	random := rand.New(rand.NewPCG(seed, n+1000))
	return func(*command.Envelope) fault { return fault(max(0, random.IntN(8)-5)) }
}

// start begins a new epoch.
func (r *rig) start() {
	r.t.Helper()
	r.services = nil
	if err := r.lead(); err != nil {
		r.t.Fatal(err)
	}
}

// lead tries to begin a new epoch on the node of the last one.
func (r *rig) lead() error {
	r.t.Helper()
	r.mu.Lock()
	r.term++
	term := r.term
	r.mu.Unlock()
	_, index := r.apply(&command.Envelope{Command: &command.Envelope_LeaderEpoch{LeaderEpoch: &command.LeaderEpoch{Term: term, NodeId: "n1", ClusterId: "c"}}})
	if r.services == nil {
		services, err := New(Config{View: func() (View, error) { return r.machine.View() }, Events: r.machine.Events(), Clock: r.clock, Elapsed: r.elapsed,
			Observer: &r.observed, Deliver: r.deliver, LeaseTTL: r.leaseTTL, ChooseRuns: chooseByPrefix, Logger: r.log})
		if err != nil {
			r.t.Fatal(err)
		}
		r.services = services
	}
	if err := r.services.Start(r.t.Context(), Epoch{Index: index, Proposer: leader{r, term}}); err != nil {
		return err
	}
	r.epoch = index
	synctest.Wait()
	return nil
}

// stop ends the epoch; nothing leads afterwards.
func (r *rig) stop() {
	if r.services != nil {
		r.services.Stop()
	}
}

// pass lets time pass, and then everything come to rest.
func (r *rig) pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func (r *rig) view() *state.View {
	r.t.Helper()
	v, err := r.machine.View()
	if err != nil {
		r.t.Fatal(err)
	}
	return v
}

func (r *rig) flowRun(id api.ID) *row.FlowRun {
	r.t.Helper()
	v := r.view()
	defer v.Close()
	run, err := v.FlowRun(id)
	if err != nil {
		r.t.Fatal(err)
	}
	return run
}

// runs returns all flow runs of a deployment by expected start.
func (r *rig) runs(deployment api.ID) (all []*row.FlowRun) {
	r.t.Helper()
	v := r.view()
	defer v.Close()
	err := v.FlowRunsByExpectedStart(false, func(run *row.FlowRun) (bool, error) {
		if id16(run.DeploymentId) == deployment {
			all = append(all, run)
		}
		return true, nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return all
}

func (r *rig) flow() api.ID {
	id := api.NewID()
	return id16(r.do(&command.Envelope{Command: &command.Envelope_CreateFlow{CreateFlow: &command.CreateFlow{Id: id[:], Name: "flow-" + id.String()}}}).Id)
}

// deployment creates a deployment, changed as the test likes.
func (r *rig) deployment(change func(*command.PutDeployment)) api.ID {
	r.t.Helper()
	id, flow := api.NewID(), r.flow()
	c := &command.PutDeployment{Id: id[:], Name: "d", FlowId: flow[:], IsScheduleActive: true, Tags: []string{"tutorial"}, ParametersJson: []byte("{}")}
	if change != nil {
		change(c)
	}
	return id16(r.do(&command.Envelope{Command: &command.Envelope_PutDeployment{PutDeployment: c}}).Id)
}

func (r *rig) queue(change func(*command.CreateWorkQueue)) api.ID {
	r.t.Helper()
	id := api.NewID()
	c := &command.CreateWorkQueue{Id: id[:], Name: "q-" + id.String(), Filter: &row.QueueFilter{}}
	if change != nil {
		change(c)
	}
	r.do(&command.Envelope{Command: &command.Envelope_CreateWorkQueue{CreateWorkQueue: c}})
	return id
}

func (r *rig) updateQueue(id api.ID, change func(*command.UpdateWorkQueue)) {
	r.t.Helper()
	c := &command.UpdateWorkQueue{Id: id[:]}
	change(c)
	r.do(&command.Envelope{Command: &command.Envelope_UpdateWorkQueue{UpdateWorkQueue: c}})
}

func (r *rig) agent() api.ID {
	r.t.Helper()
	id := api.NewID()
	r.do(&command.Envelope{Command: &command.Envelope_RegisterAgent{RegisterAgent: &command.RegisterAgent{Id: id[:], Name: "a", Hostname: "h"}}})
	return id
}

// submit creates a Scheduled run of a deployment that is due after d.
func (r *rig) submit(deployment api.ID, d time.Duration) api.ID {
	r.t.Helper()
	id := api.NewID()
	c := &command.CreateFlowRun{Id: id[:], Name: "run", FromDeployment: true, State: &command.ProposedState{Type: row.StateType_SCHEDULED,
		Details: &row.StateDetails{ScheduledTime: time.Now().Add(d).UnixMicro()}}}
	if deployment.IsNil() {
		flow := r.flow()
		c.FlowId, c.FromDeployment = flow[:], false
	} else {
		c.DeploymentId = deployment[:]
	}
	r.do(&command.Envelope{Command: &command.Envelope_CreateFlowRun{CreateFlowRun: c}})
	<-time.After(time.Microsecond) // so that no two runs are due at the same time
	return id
}

// report sets a run's state as its owner does.
func (r *rig) report(run api.ID, t row.StateType) {
	r.t.Helper()
	c := &command.SetState{Id: run[:], State: &command.ProposedState{Type: t}}
	if stored := r.flowRun(run); stored.Lease != nil {
		c.HasToken, c.TokenIndex, c.TokenOrdinal = true, stored.Lease.TokenIndex, stored.Lease.TokenOrdinal
	}
	result := r.do(&command.Envelope{Command: &command.Envelope_SetFlowRunState{SetFlowRunState: c}})
	if result.State.Status != command.StateResult_ACCEPT {
		r.t.Fatalf("state %v of %s: %v", t, run, result.State)
	}
}

// pending is a Claim that runs in the background.
type pending struct {
	answer chan Granted
	err    chan error
	cancel context.CancelFunc
}

func (r *rig) claim(d Demand) *pending {
	if d.ClaimID.IsNil() {
		d.ClaimID = api.NewID()
	}
	if d.Limit == 0 {
		d.Limit = 1
	}
	ctx, cancel := context.WithCancel(r.t.Context())
	p := &pending{answer: make(chan Granted, 1), err: make(chan error, 1), cancel: cancel}
	services := r.services
	go func() {
		granted, err := services.Claim(ctx, d)
		if err != nil {
			p.err <- err
			return
		}
		p.answer <- granted
	}()
	synctest.Wait()
	return p
}

// granted returns the runs granted, or nil while the claim waits. It fails on an error.
func (p *pending) granted(t *testing.T) (ids []api.ID, answered bool) {
	t.Helper()
	synctest.Wait()
	select {
	case g := <-p.answer:
		for _, grant := range g.Grants {
			ids = append(ids, id16(grant.FlowRunId))
		}
		return ids, true
	case err := <-p.err:
		t.Fatal(err)
	default:
	}
	return nil, false
}

// want checks the runs a claim was granted; none given: the claim must still wait.
func (p *pending) want(t *testing.T, ids ...api.ID) {
	t.Helper()
	got, answered := p.granted(t)
	if answered != (len(ids) > 0) || fmt.Sprint(got) != fmt.Sprint(ids) {
		t.Fatalf("claim answered %v with %v, want %v", answered, got, ids)
	}
}

// isToldToDrain checks that a claim was answered, with nothing but that.
func (p *pending) isToldToDrain(t *testing.T) {
	t.Helper()
	synctest.Wait()
	select {
	case g := <-p.answer:
		if len(g.Grants) > 0 || !g.Draining {
			t.Fatalf("the claim was answered with %v", g)
		}
	case err := <-p.err:
		t.Fatal(err)
	default:
		t.Fatal("the claim still waits")
	}
}

// fails returns the error a claim ended with; it is an error of the test if it did not end with one.
func (p *pending) fails(t *testing.T) error {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-p.err:
		return err
	case g := <-p.answer:
		t.Fatalf("the claim was answered with %v", g)
	default:
		t.Fatal("the claim still waits")
	}
	return nil
}
