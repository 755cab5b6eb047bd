//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

// interval is how often the scheduled deployment fires.
const interval = 2 * time.Second

func TestAServerThatIsKilledAgainAndAgainLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	kills := 60
	if long() {
		kills = 600
	}
	seed := seeded(t)
	s := startServer(t)
	patient := connect(t, s, -1)
	d := &story{t: t, dir: t.TempDir(), api: connect(t, s, 0), url: s.apiURL(), changed: make(chan struct{}), up: make(chan struct{})}
	close(d.up)
	d.starts = filepath.Join(d.dir, "starts")

	// What the tutorial has when the first flow runs: deployments, a queue, an agent; and a schedule.
	note := "echo $SLUICE_FLOW_RUN_ID >> " + d.starts
	noted := deploy(t, patient, "noted", []string{"served"}, "sh", "-c", note)
	d.deployment = noted.deployment
	d.python = deployPython(t, s, "leo", fmt.Sprintf(strings.Replace(notingFlow, "leonardo_dicapriflow", "leo", 1), "leo", "none"))
	d.block = must[[]api.BlockSpec](t)(patient.FilterBlockSpecs(t.Context(), api.BlockSpecFilterRequest{}))[0].ID
	blob := must[[]byte](t)(json.Marshal([]string{"sh", "-c", note}))
	scheduled := must[*api.Deployment](t)(patient.CreateDeployment(t.Context(), api.DeploymentCreate{Name: "scheduled", FlowID: noted.flow, Tags: []string{"scheduled"},
		FlowData: api.DataDocument{Encoding: api.EncodingCommand, Blob: string(blob)}, Catchup: api.CatchupAll,
		Schedule: &api.Schedule{Interval: &api.IntervalSchedule{Interval: api.Duration(interval)}}}))
	served := must[*api.WorkQueue](t)(patient.CreateWorkQueue(t.Context(), api.WorkQueueCreate{Name: "served",
		Filter: &api.QueueFilter{DeploymentIDs: []api.ID{noted.deployment, d.python, scheduled.ID}}}))
	worker := newClient(t, s)
	worker.env["E2E_STARTS"] = d.starts
	agent := worker.startAgent(served.ID.String(), "--name", "the-agent")

	var users []*user
	var working sync.WaitGroup
	for _, name := range []string{"arthur", "ford", "trillian"} {
		u := d.newUser(name, seed)
		users = append(users, u)
		working.Go(u.work)
	}
	typist := d.newUser("marvin", seed)
	users = append(users, typist)
	typistShell := newClient(t, s)
	working.Go(func() { typist.typing(typistShell) })
	finish := sync.OnceFunc(func() {
		d.mu.Lock()
		d.ended = true
		d.mu.Unlock()
		working.Wait()
	})
	t.Cleanup(finish) // a failing test must not leave users behind that use it

	for i := range kills {
		d.kill(s, seed, i)
		if agent.exited() {
			t.Fatalf("the agent ended with exit code %d after %d kills", agent.code, i+1)
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	finish()
	t.Logf("%d kills, %d requests acknowledged", d.deaths, d.acks)
	v := &verification{t: t, story: d, api: patient}
	executed := v.runs(users)
	v.schedule(scheduled.ID, time.Now())
	if err := patient.SetScheduleActive(t.Context(), scheduled.ID, false); err != nil {
		t.Fatal(err)
	}
	executed = append(executed, v.schedule(scheduled.ID, time.Now())...) // with what was made since
	v.started(executed)
	v.users(users)
	if agent.exited() {
		t.Errorf("the agent ended with exit code %d", agent.code)
	}
	agent.signal(syscall.SIGTERM)
	if code := agent.wait(); code != 0 {
		t.Errorf("the agent, told to stop, ended with exit code %d", code)
	}
	// What was read may come from memory: a clean restart must show the same.
	s.signal(syscall.SIGTERM)
	if code := s.wait(); code != 0 {
		t.Errorf("the server, told to stop, ended with exit code %d", code)
	}
	s.restart()
	v.runs(users)
	v.started(executed)
	v.users(users)
}

// kill kills the server at the next seeded point and brings it back.
func (u *story) kill(s *server, seed *rand.Rand, number int) {
	u.t.Helper()
	// Close together, to hit what has just been written, or far enough for the agent to have come back and runs to be under way.
	more, delay := 1+seed.IntN(40), time.Duration(seed.IntN(15_000))*time.Microsecond
	if seed.IntN(3) == 0 {
		more, delay = 1+seed.IntN(400), time.Duration(seed.IntN(300_000))*time.Microsecond
	}
	u.waitAcks(more)
	<-time.After(delay) // a part of the point, not a wait for something
	u.dies()
	if seed.IntN(6) == 0 { // some are told to stop, in the middle of it all
		s.signal(syscall.SIGTERM)
		if code := s.wait(); code != 0 {
			u.t.Errorf("the server, told to stop while it is used, ended with exit code %d\n%s", code, s.output())
		}
	} else {
		s.kill9()
	}
	// Some deaths come while the node reads what the one before has left.
	for seed.IntN(4) == 0 {
		s.begin()
		<-time.After(time.Duration(seed.IntN(150_000)) * time.Microsecond)
		u.dies()
		s.kill9()
	}
	begin := time.Now()
	s.restart()
	u.t.Logf("kill %d: after %d more answers and %s; ready again after %s", number+1, more, delay, time.Since(begin).Round(time.Millisecond))
	u.mu.Lock()
	close(u.up)
	u.mu.Unlock()
}

// dies says that requests may fail from now on.
func (u *story) dies() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.deaths++
	select {
	case <-u.up:
		u.up = make(chan struct{})
	default: // it was not there yet
	}
}

// waitAcks waits until so many more requests were acknowledged.
func (u *story) waitAcks(more int) {
	u.t.Helper()
	timeout := time.After(patience)
	u.mu.Lock()
	wanted := u.acks + more
	u.mu.Unlock()
	for {
		u.mu.Lock()
		reached, changed := u.acks >= wanted, u.changed
		u.mu.Unlock()
		if reached {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			u.t.Fatalf("%d requests were not acknowledged within %s", more, patience)
		}
	}
}

// verification compares what the server has with what the users were told.
type verification struct {
	*story
	t   *testing.T
	api *client.Client
}

// runs checks the runs that the agent has executed and returns them.
func (v *verification) runs(users []*user) []api.ID {
	v.t.Helper()
	var all []api.ID
	for _, u := range users {
		all = append(all, u.runs...)
		for _, name := range u.maybeRuns {
			found := v.runsNamed(name)
			if told := u.toldRuns[name]; len(found) > 1 || told && len(found) == 0 {
				v.t.Errorf("there are %d runs named %s; told: %v", len(found), name, told)
			}
			all = append(all, found...)
		}
	}
	for _, id := range all {
		v.life(id)
	}
	v.t.Logf("%d runs were executed for users", len(all))
	return all
}

func (v *verification) life(id api.ID) {
	v.t.Helper()
	watchUntil(v.t, v.api, id, "ended", patience, func(s api.State) bool { return s.Type.Terminal() })
	checkLife(v.t, v.api, id)
}

func (v *verification) runsNamed(name string) []api.ID {
	v.t.Helper()
	var ids []api.ID
	for _, r := range must[[]api.FlowRun](v.t)(v.api.FilterFlowRuns(v.t.Context(), api.FilterRequest{Filters: api.Filters{
		FlowRuns: &api.FlowRunFilter{Name: &api.NameAny{Any: []string{name}}}}})) {
		ids = append(ids, r.ID)
	}
	return ids
}

// schedule checks that each fire time has exactly one run, which was executed.
func (v *verification) schedule(deployment api.ID, until time.Time) []api.ID {
	v.t.Helper()
	runs, err := client.Each(func(page api.Page) ([]api.FlowRun, error) {
		return v.api.FilterFlowRuns(v.t.Context(), api.FilterRequest{Page: page, Sort: api.SortExpectedStartTimeAsc, Filters: api.Filters{
			FlowRuns: &api.FlowRunFilter{DeploymentID: &api.IDAnyNull{Any: []api.ID{deployment}}}}})
	})
	if err != nil {
		v.t.Fatal(err)
	}
	var ids []api.ID
	var before time.Time
	for _, r := range runs {
		fire := r.ExpectedStartTime.Time
		if fire.After(until) {
			break // deleted, or about to be, with the schedule
		}
		if !before.IsZero() && fire.Sub(before) != interval {
			v.t.Errorf("the schedule has a run at %s and the next at %s", before, fire)
		}
		before = fire
		v.life(r.ID)
		ids = append(ids, r.ID)
	}
	if before.IsZero() || until.Sub(before) > 2*interval {
		v.t.Errorf("the schedule's last run is of %s; it was stopped at %s", before, until)
	}
	v.t.Logf("%d runs were scheduled", len(ids))
	return ids
}

// started checks that each run's process was started once, and no other.
func (v *verification) started(runs []api.ID) {
	v.t.Helper()
	count := map[string]int{}
	for _, id := range linesOf(v.t, v.starts) {
		count[id]++
	}
	for _, id := range runs {
		if n := count[id.String()]; n != 1 {
			v.t.Errorf("flow run %s was started %d times", id, n)
		}
		delete(count, id.String())
	}
	for id, n := range count {
		v.t.Errorf("run %s, which nobody has asked for, was started %d times", id, n)
	}
}

func (v *verification) users(users []*user) {
	v.t.Helper()
	blocks := map[string][]api.ID{}
	all, err := client.Each(func(page api.Page) ([]api.Block, error) {
		return v.api.FilterBlocks(v.t.Context(), api.BlockFilterRequest{Page: page})
	})
	if err != nil {
		v.t.Fatal(err)
	}
	for _, b := range all {
		blocks[b.Name] = append(blocks[b.Name], b.ID)
	}
	for _, u := range users {
		v.things(u)
		v.blocksOf(u, blocks)
		for _, l := range u.lives {
			v.reported(u, l)
		}
	}
}

// things checks what has a name: deployments, queues, stored values.
func (v *verification) things(u *user) {
	v.t.Helper()
	ctx := v.t.Context()
	for name, b := range u.deployments {
		flow := u.name + "-flow"
		if name == "typed" {
			flow = "typed-flow"
		}
		d, err := v.api.DeploymentByName(ctx, flow, name)
		number := 0
		if err == nil {
			var parameters struct {
				Number int `json:"number"`
			}
			if err := json.Unmarshal(d.Parameters, &parameters); err != nil {
				v.t.Error(err)
			}
			number = parameters.Number
			if id, ok := u.ids["deployment "+name]; ok && id != d.ID {
				v.t.Errorf("deployment %s had the id %s and has %s", name, id, d.ID)
			}
		}
		v.believed("deployment "+name, b, number, err)
	}
	for key, b := range u.values {
		text, err := v.api.Value(ctx, key)
		number := 0
		if err == nil {
			if _, err := fmt.Sscanf(text, "%d:", &number); err != nil || text != value(number) {
				v.t.Errorf("the value of %s is damaged: %d bytes, %v", key, len(text), err)
			}
		}
		v.believed("value "+key, b, number, err)
	}
	for thing, id := range u.ids {
		name, ok := strings.CutPrefix(thing, "queue ")
		if !ok {
			continue
		}
		q, err := v.api.WorkQueueByName(ctx, name)
		if err != nil || q.ID != id {
			v.t.Errorf("work queue %s (%s) is gone or another: %v", name, id, err)
			continue
		}
		if b := u.limits[thing]; b != nil {
			number := 0
			if q.ConcurrencyLimit != nil {
				number = *q.ConcurrencyLimit
			}
			v.believed("limit of "+thing, b, number, nil)
		}
	}
}

func (v *verification) believed(what string, b *belief, number int, err error) {
	v.t.Helper()
	if api.IsNotFound(err) {
		err, number = nil, 0
	}
	if err != nil || number < b.told || number > b.tried {
		v.t.Errorf("%s is %d; its user was told of %d and has tried %d: %v", what, number, b.told, b.tried, err)
	}
}

func (v *verification) blocksOf(u *user, found map[string][]api.ID) {
	v.t.Helper()
	for name, id := range u.blocks {
		if !id.IsNil() && !slices.Equal(found[name], []api.ID{id}) || len(found[name]) > 1 {
			v.t.Errorf("block %s: told of %s, found %v", name, id, found[name])
		}
	}
}

// reported checks a run that its user has reported.
func (v *verification) reported(u *user, l *life) {
	v.t.Helper()
	var types []api.StateType
	var ids []api.ID
	for _, s := range must[[]api.State](v.t)(v.api.FlowRunStates(v.t.Context(), l.id)) {
		types, ids = append(types, s.Type), append(ids, s.ID)
	}
	if !slices.Equal(types, []api.StateType{api.Pending, api.Running, api.Completed}) || !slices.Equal(ids[1:], l.states) {
		v.t.Errorf("run %s of %s went through %v %v; told: %v", l.id, u.name, types, ids, l.states)
	}
	tasks := map[api.ID]int{}
	for _, r := range must[[]api.TaskRun](v.t)(v.api.FilterTaskRuns(v.t.Context(), api.FilterRequest{Filters: api.Filters{
		FlowRuns: &api.FlowRunFilter{ID: &api.IDAnyNot{Any: []api.ID{l.id}}}}})) {
		tasks[r.ID]++
	}
	for key, id := range l.tasks {
		if tasks[id] != 1 {
			v.t.Errorf("task run %s (%s) of run %s is there %d times", key, id, l.id, tasks[id])
		}
	}
	if len(tasks) != len(l.tasks) {
		v.t.Errorf("run %s has %d task runs, not %d", l.id, len(tasks), len(l.tasks))
	}
	lines := allLogs(v.t, v.api, l.id)
	checkCount(v.t, "log of run "+l.id.String(), numbers(v.t, lines, "line "), l.lines)
	count := map[string]int{}
	for _, line := range lines {
		count[line.Message]++
	}
	for text, told := range u.loose[l.id.String()] {
		if n := count[text]; n > 1 || told == 1 && n != 1 {
			v.t.Errorf("line %q of run %s is there %d times; told: %v", text, l.id, n, told == 1)
		}
	}
}
