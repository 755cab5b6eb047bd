//go:build linux

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

// story is users who go on doing what the tutorial shows while the server is killed under them. Each user has things of its own,
// so that what a user was told is all that may be there; what a user was not told (the answer got lost) may be there or not, once.
type story struct {
	t          *testing.T
	dir        string
	api        *client.Client // asks once
	url        string
	deployment api.ID // of the command that notes its start; served by an agent
	python     api.ID // of a Python flow that does so too
	starts     string // the file where it is noted
	block      api.ID // block spec

	mu      sync.Mutex // guards what follows
	changed chan struct{}
	acks    int           // requests that were acknowledged
	deaths  int           // how often the server was killed
	up      chan struct{} // closed while the server is there
	ended   bool          // no new work is begun
}

// user is one of them. Only its own goroutine touches it, and the test after that has ended.
type user struct {
	*story
	name    string
	rand    *rand.Rand
	counter int

	runs        []api.ID                  // executed by the agent
	maybeRuns   []string                  // names of runs of which the user was not told
	toldRuns    map[string]bool           // names of runs made by the command line of which it was told
	deployments map[string]*belief        // by name: the number in the parameters
	ids         map[string]api.ID         // of deployments and queues, by kind and name
	values      map[string]*belief        // of the built-in store, by key
	limits      map[string]*belief        // concurrency limits, by queue
	lives       []*life                   // runs whose states the user reports
	blocks      map[string]api.ID         // by name; the nil id is one of which the user was not told
	loose       map[string]map[string]int // log lines without producer, by run: how often they are there at most (told: exactly once)
}

// belief is what a number that only its owner writes can be.
type belief struct{ told, tried int } // told ≤ number ≤ tried; told 0: it may not be there

// life is a run that is reported by its user, as a script does.
type life struct {
	id     api.ID
	states []api.ID // told, in order
	lines  int      // logged, numbered from 0
	tasks  map[string]api.ID
}

func (u *story) gate() (up <-chan struct{}, deaths int, ended bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.up, u.deaths, u.ended
}

// attempt does one request when the server is there, and reports whether it was acknowledged. A failure is a defect unless the
// server was killed meanwhile.
func (u *user) attempt(what string, request func(ctx context.Context) error) bool {
	up, deaths, _ := u.gate() // up belongs to the time between two deaths
	select {
	case <-up:
	case <-u.t.Context().Done():
		return false
	}
	err := request(u.t.Context())
	u.mu.Lock()
	defer u.mu.Unlock()
	if err == nil {
		u.acks++
		close(u.changed)
		u.changed = make(chan struct{})
		return true
	}
	if u.deaths == deaths && u.t.Context().Err() == nil {
		u.t.Errorf("%s: %s failed while the server lived: %v", u.name, what, err)
	}
	return false
}

// insist repeats a request that is harmless to repeat until it is acknowledged.
func (u *user) insist(what string, request func(ctx context.Context) error) bool {
	for !u.attempt(what, request) {
		if u.t.Failed() || u.t.Context().Err() != nil {
			return false
		}
	}
	return true
}

func (u *user) next(what string) string {
	u.counter++
	return fmt.Sprintf("%s-%s-%d", u.name, what, u.counter)
}

// work does things until the tutorial has ended.
func (u *user) work() {
	actions := []func(){u.runIt, u.runIt, u.runIt, u.live, u.live, u.deploy, u.makeQueue, u.limitQueue, u.store, u.store, u.makeBlock, u.look}
	for {
		if _, _, ended := u.gate(); ended || u.t.Failed() || u.t.Context().Err() != nil {
			return
		}
		actions[u.rand.IntN(len(actions))]()
	}
}

// runIt asks for a run of a deployment and insists until it has one.
func (u *user) runIt() {
	if u.waiting() >= 4 {
		return // the agent shall not lag behind
	}
	deployment := u.deployment
	if u.rand.IntN(6) == 0 {
		deployment = u.python
	}
	name, state, key := u.next("run"), api.NewState(api.Scheduled, ""), api.NewID().String()
	var ids []api.ID
	if u.insist("run the deployment", func(ctx context.Context) error {
		r, err := u.api.RunDeployment(ctx, deployment, api.DeploymentFlowRunCreate{Name: &name, State: &state, IdempotencyKey: &key})
		if err == nil {
			ids = append(ids, r.ID)
		}
		return err
	}) {
		u.runs = append(u.runs, ids[0])
	}
}

// waiting returns how many of the last runs have not ended.
func (u *user) waiting() int {
	recent := u.runs[max(0, len(u.runs)-6):]
	if len(recent) == 0 {
		return 0
	}
	open := 0
	u.attempt("count runs", func(ctx context.Context) error {
		var err error
		open, err = u.api.CountFlowRuns(ctx, api.Filters{FlowRuns: &api.FlowRunFilter{ID: &api.IDAnyNot{Any: recent},
			State: &api.StateFilter{Type: &api.StateTypeAny{Any: []api.StateType{api.Scheduled, api.Pending, api.Running}}}}})
		return err
	})
	return open
}

// live reports a whole run, as a script does: Running, task runs, log lines, Completed.
func (u *user) live() {
	l := &life{tasks: map[string]api.ID{}}
	key, state := api.NewID().String(), api.NewState(api.Pending, "")
	var flow api.ID
	if !u.insist("make a flow", func(ctx context.Context) error {
		f, err := u.api.CreateFlow(ctx, api.FlowCreate{Name: u.name + "-script"})
		if err == nil {
			flow = f.ID
		}
		return err
	}) || !u.insist("make a run", func(ctx context.Context) error {
		r, err := u.api.CreateFlowRun(ctx, api.FlowRunCreate{FlowID: flow, State: &state, IdempotencyKey: &key})
		if err == nil {
			l.id = r.ID
		}
		return err
	}) {
		return
	}
	u.lives = append(u.lives, l)
	producer, sequence := api.NewID(), uint64(0)
	u.report(l, api.Running)
	for i := range u.rand.IntN(4) {
		task := fmt.Sprint(i)
		pending := api.NewState(api.Pending, "")
		u.insist("make a task run", func(ctx context.Context) error {
			r, err := u.api.CreateTaskRun(ctx, api.TaskRunCreate{FlowRunID: l.id, TaskKey: "log_message", DynamicKey: task, State: &pending})
			if err == nil {
				if known, ok := l.tasks[task]; ok && known != r.ID {
					u.t.Errorf("task run %s of run %s was %s and is %s", task, l.id, known, r.ID)
				}
				l.tasks[task] = r.ID
			}
			return err
		})
		var lines []api.LogCreate
		for range 1 + u.rand.IntN(20) {
			lines = append(lines, api.LogCreate{Name: "sluice.flow_runs", Level: 20, Message: fmt.Sprintf("line %d", l.lines), Timestamp: timestamp(l.lines), FlowRunID: l.id})
			l.lines++
		}
		sequence++
		u.insist("log", func(ctx context.Context) error { return u.api.CreateLogs(ctx, producer, sequence, lines) })
		// Orion's clients send lines without saying how to recognise them again: told means there, once.
		text := u.next("loose")
		if u.loose[l.id.String()] == nil {
			u.loose[l.id.String()] = map[string]int{}
		}
		told := u.attempt("log as Orion does", func(ctx context.Context) error {
			return u.api.CreateLogs(ctx, api.ID{}, 0, []api.LogCreate{{Name: "prefect.flow_runs", Level: 20, Message: text, Timestamp: timestamp(l.lines), FlowRunID: l.id}})
		})
		u.loose[l.id.String()][text] = map[bool]int{true: 1, false: -1}[told]
	}
	u.report(l, api.Completed)
}

// report proposes a state until the run has it.
func (u *user) report(l *life, wanted api.StateType) {
	for {
		var result *api.OrchestrationResult
		if u.attempt("set state "+string(wanted), func(ctx context.Context) (err error) {
			result, err = u.api.SetFlowRunState(ctx, l.id, api.SetState{State: api.NewState(wanted, "")}, "")
			return err
		}) {
			if result.Status != api.Accept {
				u.t.Errorf("%s of run %s is answered %s %s", wanted, l.id, result.Status, result.Reason())
				return
			}
			l.states = append(l.states, result.State.ID)
			return
		}
		// It may have been done: only the run tells.
		var r *api.FlowRun
		if !u.insist("read the run", func(ctx context.Context) (err error) {
			r, err = u.api.FlowRun(ctx, l.id)
			return err
		}) {
			return
		}
		if *r.StateType == wanted {
			l.states = append(l.states, *r.StateID)
			return
		}
	}
}

// deploy makes or changes one of the user's deployments.
func (u *user) deploy() {
	name := fmt.Sprintf("%s-deployment-%d", u.name, u.rand.IntN(3))
	b := believe(u.deployments, name)
	var flow *api.Flow
	if !u.insist("make a flow", func(ctx context.Context) (err error) {
		flow, err = u.api.CreateFlow(ctx, api.FlowCreate{Name: u.name + "-flow"})
		return err
	}) {
		return
	}
	u.check("flow", u.name, flow.ID)
	b.tried++
	number := b.tried
	var d *api.Deployment
	if u.attempt("make a deployment", func(ctx context.Context) (err error) {
		d, err = u.api.CreateDeployment(ctx, api.DeploymentCreate{Name: name, FlowID: flow.ID, Tags: []string{"unserved"},
			Parameters: json.RawMessage(fmt.Sprintf(`{"number":%d}`, number)), FlowData: api.DataDocument{Encoding: api.EncodingCommand, Blob: `["true"]`}})
		return err
	}) {
		b.told = number
		u.check("deployment", name, d.ID)
	}
}

// check keeps the id of a named thing, which may never change.
func (u *user) check(kind, name string, id api.ID) {
	if known, ok := u.ids[kind+" "+name]; ok && known != id {
		u.t.Errorf("%s %s had the id %s and has %s", kind, name, known, id)
	}
	u.ids[kind+" "+name] = id
}

func believe(beliefs map[string]*belief, name string) *belief {
	if beliefs[name] == nil {
		beliefs[name] = &belief{}
	}
	return beliefs[name]
}

func (u *user) makeQueue() {
	name := u.next("queue")
	var q *api.WorkQueue
	if u.attempt("make a queue", func(ctx context.Context) (err error) {
		q, err = u.api.CreateWorkQueue(ctx, api.WorkQueueCreate{Name: name, Filter: &api.QueueFilter{Tags: []string{"nothing has this"}}})
		return err
	}) {
		u.check("queue", name, q.ID)
	}
}

func (u *user) limitQueue() {
	var names []string
	for name := range u.ids {
		if strings.HasPrefix(name, "queue ") {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return
	}
	slices.Sort(names) // a seed must choose the same
	name := names[u.rand.IntN(len(names))]
	b := believe(u.limits, name)
	b.tried++
	number := b.tried
	if u.attempt("limit a queue", func(ctx context.Context) error {
		return u.api.UpdateWorkQueue(ctx, u.ids[name], api.WorkQueueUpdate{ConcurrencyLimit: api.Some(number)})
	}) {
		b.told = number
	}
}

// store writes a value that no single log entry holds, as the code of a flow can be.
func (u *user) store() {
	key := fmt.Sprintf("%s-key-%d", u.name, u.rand.IntN(4))
	b := believe(u.values, key)
	b.tried++
	number := b.tried
	if u.attempt("store a value", func(ctx context.Context) error { return u.api.PutValue(ctx, key, value(number)) }) {
		b.told = number
	}
}

// value is a text that says its number at both ends; some are larger than what goes into one entry of the log.
func value(number int) string {
	return fmt.Sprintf("%d:%s:%d", number, strings.Repeat("x", number%5*40_000), number)
}

func (u *user) makeBlock() {
	name := u.next("block")
	u.blocks[name] = api.ID{}
	u.attempt("make a block", func(ctx context.Context) error {
		b, err := u.api.CreateBlock(ctx, api.BlockCreate{Name: name, BlockSpecID: u.block, Data: json.RawMessage(`{"storage_path":"/nowhere"}`)})
		if err == nil {
			u.blocks[name] = b.ID
		}
		return err
	})
}

// look reads what the pages of a UI read; reads must work whenever the server is there.
func (u *user) look() {
	u.attempt("list runs", func(ctx context.Context) error {
		_, err := u.api.FilterFlowRuns(ctx, api.FilterRequest{})
		return err
	})
}

// typing is the user who does all this on the command line.
func (u *user) typing(shell *shell) {
	shell.write("typed.py", fmt.Sprintf(notingFlow, "typed-flow", "typed-flow"))
	// Spelled out, as a user's home has it: what is typed must not depend on a harness that may fail the test in this goroutine.
	sluice := func(ctx context.Context, args ...string) (string, error) {
		command := exec.CommandContext(ctx, built.binary, args...)
		command.Dir, command.Env = shell.dir, shell.environ()
		var out, errs bytes.Buffer
		command.Stdout, command.Stderr = &out, &errs
		if err := command.Run(); err != nil {
			return "", fmt.Errorf("sluice %s: %w\n%s%s", strings.Join(args, " "), err, out.String(), errs.String())
		}
		return strings.TrimSpace(out.String()), nil
	}
	actions := []func(){
		func() { // deployment create
			b := believe(u.deployments, "typed")
			b.tried++
			number := b.tried
			shell.write("typed.yaml", fmt.Sprintf("name: typed\nflow_location: ./typed.py\ntags: [unserved]\nparameters: {number: %d}\n", number))
			if u.attempt("deployment create", func(ctx context.Context) error {
				_, err := sluice(ctx, "deployment", "create", "typed.yaml")
				return err
			}) {
				b.told = number
			}
		},
		func() { // deployment run
			name := u.next("typed")
			u.maybeRuns = append(u.maybeRuns, name)
			u.toldRuns[name] = u.attempt("deployment run", func(ctx context.Context) error {
				_, err := sluice(ctx, "deployment", "run", "noted/noted", "--name", name)
				return err
			})
		},
		func() { // work-queue create
			name := u.next("queue")
			var id api.ID
			if u.attempt("work-queue create", func(ctx context.Context) error {
				text, err := sluice(ctx, "work-queue", "create", "-q", "--tag", "nothing has this", name)
				if err == nil {
					id, err = api.ParseID(text)
				}
				return err
			}) {
				u.check("queue", name, id)
			}
		},
		func() {
			u.attempt("flow-run ls", func(ctx context.Context) error {
				_, err := sluice(ctx, "flow-run", "ls")
				return err
			})
		},
	}
	for {
		if _, _, ended := u.gate(); ended || u.t.Failed() || u.t.Context().Err() != nil {
			return
		}
		actions[u.rand.IntN(len(actions))]()
	}
}

// notingFlow is the tutorial's flow with what it is called and what it does before greeting.
const notingFlow = `from sluice import flow, task, get_run_logger
import os


@task
def log_message(name):
    get_run_logger().info(f"Hello {name}!")


@flow(name=%q)
def leonardo_dicapriflow(name: str = "Leo", number: int = 0):
    with open(os.environ.get("E2E_STARTS", os.devnull), "a") as file:
        file.write(os.environ.get("SLUICE_FLOW_RUN_ID", %q) + "\n")
    log_message(name)
`

// timestamp is the time of a run's n-th log line.
func timestamp(n int) api.Time {
	return api.At(time.Date(2026, time.November, 23, 0, 0, 0, 0, time.UTC).Add(time.Duration(n) * time.Millisecond))
}

func (u *story) newUser(name string, seed *rand.Rand) *user {
	return &user{story: u, name: name, rand: rand.New(rand.NewPCG(seed.Uint64(), seed.Uint64())), toldRuns: map[string]bool{},
		deployments: map[string]*belief{}, ids: map[string]api.ID{}, values: map[string]*belief{}, limits: map[string]*belief{},
		blocks: map[string]api.ID{}, loose: map[string]map[string]int{}}
}
