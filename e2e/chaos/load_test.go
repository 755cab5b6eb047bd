//go:build linux

package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
	"github.com/sluice-dev/sluice/internal/history"
)

// load is what users do meanwhile, and what they were told.
type load struct {
	system  *system
	seed    uint64
	patient *client.Client // tries all nodes until the context ends
	history *history.Log
	calls   *tally

	flow      api.ID // of the runs that nobody executes
	scheduled []scheduled
	quick     api.ID // the deployment whose runs users ask for
	logged    api.ID // the run that lines are written for
	begins    string // file where executed runs note that they began and ended

	stop chan struct{}
	work sync.WaitGroup

	mu     sync.Mutex         // guards what follows
	claims map[string]verdict // what is known of each run, by its name
	lines  map[string]verdict // of each log line
}

// scheduled is a deployment with a schedule.
type scheduled struct {
	id       api.ID
	name     string
	interval time.Duration
}

// tally counts the verdicts of all writes.
type tally struct{ count [4]atomic.Int64 }

func (t *tally) String() string {
	return fmt.Sprintf("%d acknowledged, %d refused, %d not done, %d unknown", t.count[done].Load(), t.count[refused].Load(), t.count[notDone].Load(), t.count[unknown].Load())
}

// attemptTime bounds one attempt of a user. Longer than a node holds a write that finds no leader.
const attemptTime = 8 * time.Second

func newLoad(ctx context.Context, s *system, seed uint64, deployments int) (*load, error) {
	l := &load{system: s, seed: seed, patient: s.connect(-1, attemptTime, s.nodes...), history: history.NewLog(), calls: &tally{},
		begins: filepath.Join(s.dir, "begins.txt"), stop: make(chan struct{}), claims: map[string]verdict{}, lines: map[string]verdict{}}
	r := rand.New(rand.NewPCG(seed, 100))
	command := func(seconds float64) api.DataDocument {
		script := fmt.Sprintf(`echo "begin $SLUICE_FLOW_RUN_ID $SLUICE_LEASE_TOKEN $CHAOS_AGENT" >> %[1]s; sleep %.2[2]f; echo "end $SLUICE_FLOW_RUN_ID $SLUICE_LEASE_TOKEN $CHAOS_AGENT" >> %[1]s`, l.begins, seconds)
		blob, err := json.Marshal([]string{"sh", "-c", script})
		if err != nil {
			panic(err) // two strings
		}
		return api.DataDocument{Encoding: api.EncodingCommand, Blob: string(blob)}
	}
	flow, err := l.patient.CreateFlow(ctx, api.FlowCreate{Name: "inert"})
	if err != nil {
		return nil, err
	}
	l.flow = flow.ID
	if flow, err = l.patient.CreateFlow(ctx, api.FlowCreate{Name: "ticking"}); err != nil {
		return nil, err
	}
	var ids []api.ID
	for i := range deployments {
		interval := time.Duration(1+r.IntN(5)) * time.Second
		d, err := l.patient.CreateDeployment(ctx, api.DeploymentCreate{Name: fmt.Sprintf("every-%s-%d", interval, i), FlowID: flow.ID, FlowData: command(r.Float64() / 2),
			Schedule: &api.Schedule{Interval: &api.IntervalSchedule{Interval: api.Duration(interval)}},
			Catchup:  []api.Catchup{api.CatchupAll, api.CatchupSkip, api.CatchupLatest}[i%3]})
		if err != nil {
			return nil, err
		}
		l.scheduled = append(l.scheduled, scheduled{d.ID, d.Name, interval})
		ids = append(ids, d.ID)
	}
	quick, err := l.patient.CreateDeployment(ctx, api.DeploymentCreate{Name: "quick", FlowID: flow.ID, FlowData: command(0.3)})
	if err != nil {
		return nil, err
	}
	l.quick = quick.ID
	run, err := l.inertRun(ctx, "logged")
	if err != nil {
		return nil, err
	}
	l.logged = run.ID
	// Two queues, so that a run may be had from either.
	for _, name := range []string{"all", "also-all"} {
		if _, err := l.patient.CreateWorkQueue(ctx, api.WorkQueueCreate{Name: name, Filter: &api.QueueFilter{DeploymentIDs: append(ids, l.quick)}}); err != nil {
			return nil, err
		}
	}
	for _, a := range s.agents {
		a.args = []string{"agent", "start", "--name", a.name, "all", "also-all"}
	}
	return l, nil
}

// inertRun makes a run that no queue matches, in the state Pending.
func (l *load) inertRun(ctx context.Context, name string) (*api.FlowRun, error) {
	key := api.NewID().String()
	return l.patient.CreateFlowRun(ctx, api.FlowRunCreate{Name: &name, FlowID: l.flow, IdempotencyKey: &key})
}

// start starts the users.
func (l *load) start(ctx context.Context) {
	slots := make([]*slot, 4)
	for i := range slots {
		slots[i] = &slot{load: l, number: i, runs: i < 2}
	}
	for i := range 5 {
		l.user(ctx, uint64(i), func(u *user) { u.register(ctx, slots[u.random.IntN(len(slots))]) })
	}
	for i, n := range l.system.nodes {
		l.user(ctx, uint64(20+i), func(u *user) { u.create(ctx, u.at[n.number]) })
	}
	for i := range 2 {
		l.user(ctx, uint64(40+i), func(u *user) { u.race(ctx) })
	}
	l.user(ctx, 50, func(u *user) { u.quickRun(ctx) })
	l.user(ctx, 51, func(u *user) { u.log(ctx) })
}

// end lets the users finish what they are at.
func (l *load) end() {
	close(l.stop)
	l.work.Wait()
}

// user is one sequence of requests.
type user struct {
	*load
	name   string
	random *rand.Rand
	ops    *history.Client
	at     []*client.Client // one client per node, which tries once
	number int              // of what it made
	batch  uint64           // of lines
}

func (l *load) user(ctx context.Context, number uint64, act func(*user)) {
	u := &user{load: l, name: fmt.Sprint("u", number), random: rand.New(rand.NewPCG(l.seed, 200+number)), ops: l.history.Client()}
	for _, n := range l.system.nodes {
		u.at = append(u.at, l.system.connect(0, attemptTime, n))
	}
	l.work.Go(func() {
		for {
			select {
			case <-l.stop:
				return
			case <-ctx.Done():
				return
			case <-time.After(time.Duration(5+u.random.IntN(40)) * time.Millisecond): // as fast as users go
			}
			act(u)
		}
	})
}

// next returns a name that was never used before.
func (u *user) next() string {
	u.number++
	return fmt.Sprint(u.name, "-", u.number)
}

func (u *user) anywhere() *client.Client { return u.at[u.random.IntN(len(u.at))] }

// write makes one attempt and counts its verdict.
func (u *user) write(ctx context.Context, what string, f func(context.Context) error) verdict {
	v, err := try(ctx, f)
	u.calls.count[v].Add(1)
	if err != nil {
		u.system.note("%s %s: %s: %v", u.name, what, [...]string{"done", "refused", "not done", "unknown"}[v], err)
	}
	return v
}

// slot is a place whose register is replaced by a new one after some operations, so that the order of each can be searched for.
type slot struct {
	load   *load
	number int
	runs   bool // registers are names of runs, else values of the built-in store

	mu   sync.Mutex // guards what follows
	key  string
	id   api.ID
	left int
	made int
}

// registerLife is how many operations a register sees.
const registerLife = 120

// current returns the slot's register.
func (s *slot) current(ctx context.Context) (string, api.ID, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left == 0 {
		s.made++
		key := fmt.Sprintf("register-%d-%d", s.number, s.made)
		if s.runs {
			run, err := s.load.inertRun(ctx, key)
			if err != nil {
				s.load.system.note("no new register: %v", err)
				return "", api.ID{}, false
			}
			s.id = run.ID
		}
		s.key, s.left = key, registerLife
	}
	s.left--
	return s.key, s.id, true
}

// register reads or writes a register at any node.
func (u *user) register(ctx context.Context, s *slot) {
	key, id, ok := s.current(ctx)
	if !ok {
		return
	}
	c := u.anywhere()
	if u.random.IntN(2) == 0 {
		call := u.ops.Begin(history.Input{Key: key, Kind: history.Read})
		value, err := "", error(nil)
		if s.runs {
			var run *api.FlowRun
			if run, err = c.FlowRun(ctx, id); err == nil && run.Name != key {
				value = run.Name
			}
		} else if value, err = c.Value(ctx, key); api.IsNotFound(err) {
			value, err = "", nil
		}
		if err != nil {
			call.Unknown()
			return
		}
		call.Answered(history.Output{Value: value})
		return
	}
	value := u.next()
	call := u.ops.Begin(history.Input{Key: key, Kind: history.Write, Value: value})
	settle(call, u.write(ctx, "writes "+value+" to "+key, func(ctx context.Context) error {
		if s.runs {
			return c.UpdateFlowRun(ctx, id, api.FlowRunUpdate{Name: api.Some(value)})
		}
		return c.PutValue(ctx, key, value)
	}), history.Output{})
}

// settle gives a call the answer that belongs to the verdict.
func settle(c *history.Call, v verdict, o history.Output) {
	switch v {
	case done:
		c.Answered(o)
	case notDone, refused:
		c.NotDone()
	case unknown:
		c.Unknown()
	}
}

// create makes a run at one node, with nothing by which a repetition would be recognised.
func (u *user) create(ctx context.Context, c *client.Client) {
	name := "run-" + u.next()
	state := api.NewState(api.Scheduled, "")
	far := api.ZonedTime{Time: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)}
	state.StateDetails = &api.StateDetails{ScheduledTime: &far}
	v := u.write(ctx, "creates "+name, func(ctx context.Context) error {
		_, err := c.CreateFlowRun(ctx, api.FlowRunCreate{Name: &name, FlowID: u.flow, State: &state})
		return err
	})
	u.believe(name, v)
}

func (l *load) believe(name string, v verdict) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.claims[name] = v
}

// race lets several owners ask for the lease of one run at the same time, at different nodes. One gets it.
func (u *user) race(ctx context.Context) {
	name := "race-" + u.next()
	run, err := u.inertRun(ctx, name)
	if err != nil {
		return
	}
	var racers sync.WaitGroup
	for i, c := range u.at {
		owner := fmt.Sprint(name, " at ", i)
		call := u.history.Client().Begin(history.Input{Key: name, Kind: history.Take, Value: owner})
		racers.Go(func() {
			v, err := try(ctx, func(ctx context.Context) error {
				_, err := c.LeaseFlowRun(ctx, run.ID, owner)
				return err
			})
			u.calls.count[v].Add(1)
			if v == refused {
				if api.KindOf(err) != api.KindConflict {
					u.system.problem("the lease of %s: %v", name, err)
				}
				call.Answered(history.Output{Won: false})
				return
			}
			settle(call, v, history.Output{Won: true})
		})
	}
	racers.Wait()
}

// quickRun asks for a run that agents execute, with a key, at all nodes in turn.
func (u *user) quickRun(ctx context.Context) {
	name := "quick-" + u.next()
	state := api.NewState(api.Scheduled, "")
	within, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	_, err := u.patient.RunDeployment(within, u.quick, api.DeploymentFlowRunCreate{Name: &name, State: &state, IdempotencyKey: &name})
	v := done
	if err != nil {
		v = unknown // one of its attempts may have come through
		u.system.note("%s asks for %s: %v", u.name, name, err)
	}
	u.calls.count[v].Add(1)
	u.believe(name, v)
}

// log writes numbered lines, whose repetition is recognised.
func (u *user) log(ctx context.Context) {
	u.batch++
	var lines []api.LogCreate
	var texts []string
	for range 1 + u.random.IntN(4) {
		text := "line " + u.next()
		texts = append(texts, text)
		lines = append(lines, api.LogCreate{Name: "chaos", Level: 20, Message: text, Timestamp: api.Time{Time: time.Now()}, FlowRunID: u.logged})
	}
	within, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	err := u.patient.CreateLogs(within, u.producer(), u.batch, lines)
	v := done
	if err != nil {
		v = unknown
		u.system.note("%s writes lines: %v", u.name, err)
	}
	u.calls.count[v].Add(1)
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, text := range texts {
		u.lines[text] = v
	}
}

// producer is the id under which the user's lines are numbered: a fixed one per seed and user.
func (u *user) producer() api.ID {
	var id api.ID
	copy(id[:], fmt.Sprintf("%-16s", fmt.Sprint(u.name, " lines")))
	return id
}

// names returns what is believed, sorted.
func beliefs(m map[string]verdict) []string {
	var all []string
	for name := range m {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}
