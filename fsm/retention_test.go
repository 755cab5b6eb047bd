package fsm

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/orchestration"
	"github.com/sluice-dev/sluice/fsm/row"
)

const (
	second = int64(1_000_000)
	anHour = 3600 * second
)

// days is a bound of that many days, in µs.
func days(n int64) *int64 { return new24(n) }

func new24(n int64) *int64 {
	n *= 24 * anHour
	return &n
}

func count(n int64) *int64 { return &n }

func (m *machine) setRetention(c *command.SetRetention) {
	m.t.Helper()
	m.one(&command.Envelope{Command: &command.Envelope_SetRetention{SetRetention: c}})
}

// later lets time pass as in a cluster that runs: the leader notes it every hour.
func (m *machine) later(d int64) {
	m.t.Helper()
	for d > 0 {
		step := min(d, 12*anHour)
		m.stamp += step
		d -= step
		m.one(&command.Envelope{Command: &command.Envelope_NoteRetentionTime{NoteRetentionTime: &command.NoteRetentionTime{}}})
	}
}

// prune repeats a command as the leader does, and returns how many commands that took and how many rows went.
func (m *machine) prune(c *command.Prune) (commands int, rows map[string]int64) {
	m.t.Helper()
	rows = map[string]int64{}
	if c.Rows == 0 {
		c.Rows = 500
	}
	for {
		commands++
		done := m.one(&command.Envelope{Command: &command.Envelope_Prune{Prune: c}}).Pruned
		for _, n := range done.Removed {
			rows[n.Table] += n.Rows
		}
		if !done.More {
			return commands, rows
		}
		c.AfterTime, c.AfterId, c.Kept = done.AfterTime, done.AfterId, c.Kept+int64(done.Kept)
		if commands > 100_000 {
			m.t.Fatal("pruning does not end")
		}
	}
}

// finishedRun makes a run of a deployment (nil: of the flow alone) that has finished, with task runs and lines of log.
func (m *machine) finishedRun(flow, deployment []byte, tasks, logs int) []byte {
	m.t.Helper()
	id := m.unfinishedRun(flow, deployment, tasks, logs)
	m.set(id, row.StateType_COMPLETED)
	return id
}

func (m *machine) unfinishedRun(flow, deployment []byte, tasks, logs int) []byte {
	m.t.Helper()
	id := m.id()
	m.one(&command.Envelope{Command: &command.Envelope_CreateFlowRun{CreateFlowRun: &command.CreateFlowRun{
		Id: id, Name: "r", FlowId: flow, DeploymentId: deployment, State: &command.ProposedState{Type: row.StateType_RUNNING}}}})
	for i := range tasks {
		task := m.id()
		m.one(&command.Envelope{Command: &command.Envelope_CreateTaskRun{CreateTaskRun: &command.CreateTaskRun{
			Id: task, Name: "t", FlowRunId: id, TaskKey: "t", DynamicKey: fmt.Sprint(i)}}})
		key := "key " + fmt.Sprint(i)
		m.one(&command.Envelope{Command: &command.Envelope_SetTaskRunState{SetTaskRunState: &command.SetState{Id: task,
			State: &command.ProposedState{Type: row.StateType_COMPLETED, Details: &row.StateDetails{CacheKey: &key}}}}})
	}
	for i := range logs {
		m.writeLog(id, fmt.Sprintf("line %d", i))
	}
	return id
}

func (m *machine) set(run []byte, t row.StateType) {
	m.t.Helper()
	r := m.one(&command.Envelope{Command: &command.Envelope_SetFlowRunState{SetFlowRunState: &command.SetState{Id: run,
		State: &command.ProposedState{Type: t}, Force: true, ReplaceTerminal: true}}})
	if r.State.Status != command.StateResult_ACCEPT {
		m.t.Fatalf("state %s: %v", t, r.State)
	}
}

func (m *machine) writeLog(run []byte, text string) {
	m.t.Helper()
	m.seed++
	m.one(&command.Envelope{Command: &command.Envelope_WriteLogs{WriteLogs: &command.WriteLogs{Producer: []byte("p"), Sequence: m.seed, Quota: 1 << 20,
		Runs: []*command.WriteLogs_Run{{FlowRunId: run, Logs: []*row.Log{{Name: "n", Level: 20, Message: text, Timestamp: m.stamp}}}}}}})
}

func (m *machine) newFlow() []byte {
	m.t.Helper()
	id := m.id()
	return m.one(&command.Envelope{Command: &command.Envelope_CreateFlow{CreateFlow: &command.CreateFlow{Id: id, Name: fmt.Sprintf("flow %x", id)}}}).Id
}

func (m *machine) newDeployment(flow []byte, own *row.Retention) []byte {
	m.t.Helper()
	id := m.id()
	return m.one(&command.Envelope{Command: &command.Envelope_PutDeployment{PutDeployment: &command.PutDeployment{Id: id, Name: fmt.Sprintf("%x", id), FlowId: flow,
		HasRetention: true, Retention: own, ParametersJson: []byte("{}")}}}).Id
}

// rowsLeft counts the rows of each table, and verifies the state.
func (m *machine) rowsLeft() map[string]int64 {
	m.t.Helper()
	v := m.view()
	defer v.Close()
	if err := v.Verify(); err != nil {
		m.t.Fatal(err)
	}
	counts, hash, err := v.Census()
	if err != nil {
		m.t.Fatal(err)
	}
	if stored, err := v.Hash(); err != nil || stored != hash {
		m.t.Fatalf("hash %s, the rows say %s (%v)", stored, hash, err)
	}
	return counts
}

func (m *machine) has(run []byte) bool {
	m.t.Helper()
	v := m.view()
	defer v.Close()
	r, err := v.FlowRun(id16(run))
	if err != nil {
		m.t.Fatal(err)
	}
	return r != nil
}

func TestOldRunsGoWithAllThatBelongsToThem(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.do(leaderEpoch(1))
	flow := m.newFlow()
	before := m.rowsLeft()
	m.setRetention(&command.SetRetention{RunsMaxAge: days(90)})
	old := m.finishedRun(flow, nil, 5, 20)
	m.later(90*24*anHour - anHour)
	young := m.finishedRun(flow, nil, 2, 3)
	if _, rows := m.prune(&command.Prune{Before: m.stamp}); len(rows) != 0 || !m.has(old) {
		t.Fatalf("a run that is not 90 days old lost %v", rows)
	}
	m.later(2 * anHour)
	_, rows := m.prune(&command.Prune{Before: m.stamp})
	if m.has(old) || !m.has(young) {
		t.Fatalf("old there: %t, young there: %t, want only the young one", m.has(old), m.has(young))
	}
	want := map[string]int64{"flow_run": 1, "flow_run_state": 2, "task_run": 5, "task_run_state": 10, "log_segment": 20, "log_producer": 1, "log_usage": 1}
	for table, n := range want {
		if rows[table] != n {
			t.Errorf("%d rows of %s went, want %d (of %v)", rows[table], table, n, rows)
		}
	}
	m.set(young, row.StateType_COMPLETED)
	m.later(91 * 24 * anHour)
	m.prune(&command.Prune{Before: m.stamp})
	after := m.rowsLeft()
	delete(after, "retention_policy")
	if fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("with all runs gone %v is left, want %v", after, before)
	}
}

func TestAChunkIsBoundedWhateverARunHas(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.do(leaderEpoch(1))
	flow := m.newFlow()
	m.setRetention(&command.SetRetention{RunsMaxAge: days(1)})
	m.finishedRun(flow, nil, 100, 300)
	m.later(2 * 24 * anHour)
	c := &command.Prune{Before: m.stamp, Rows: 50}
	total := int64(0)
	for more, n := true, 0; more; n++ {
		done := m.one(&command.Envelope{Command: &command.Envelope_Prune{Prune: c}}).Pruned
		rows := int64(0)
		for _, r := range done.Removed {
			rows += r.Rows
		}
		// A task run goes whole: its row, states and cache entry.
		if rows > 50+10 || rows == 0 && done.More {
			t.Fatalf("chunk %d removed %d rows, want at most 60 and at least one", n, rows)
		}
		total += rows
		more = done.More
		c.AfterTime, c.AfterId = done.AfterTime, done.AfterId
		m.rowsLeft()
	}
	if left := m.rowsLeft(); left["flow_run"]+left["task_run"]+left["log_segment"] != 0 || total < 600 {
		t.Errorf("%d rows went, left is %v", total, left)
	}
}

func TestWhatRetentionMustKeepStays(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.do(leaderEpoch(1))
	flow := m.newFlow()
	m.setRetention(&command.SetRetention{RunsMaxAge: days(1), LogsMaxAge: days(1)})

	running := m.unfinishedRun(flow, nil, 1, 1)
	parent := m.finishedRun(flow, nil, 0, 1)
	task, child := m.id(), m.id()
	m.one(&command.Envelope{Command: &command.Envelope_CreateTaskRun{CreateTaskRun: &command.CreateTaskRun{Id: task, Name: "t", FlowRunId: parent, TaskKey: "t", DynamicKey: "0"}}})
	m.one(&command.Envelope{Command: &command.Envelope_CreateFlowRun{CreateFlowRun: &command.CreateFlowRun{Id: child, Name: "c", FlowId: flow, ParentTaskRunId: task,
		State: &command.ProposedState{Type: row.StateType_RUNNING}}}})
	runningParent := m.unfinishedRun(flow, nil, 0, 0)
	task2, doneChild := m.id(), m.id()
	m.one(&command.Envelope{Command: &command.Envelope_CreateTaskRun{CreateTaskRun: &command.CreateTaskRun{Id: task2, Name: "t", FlowRunId: runningParent, TaskKey: "t", DynamicKey: "0"}}})
	m.one(&command.Envelope{Command: &command.Envelope_CreateFlowRun{CreateFlowRun: &command.CreateFlowRun{Id: doneChild, Name: "c", FlowId: flow, ParentTaskRunId: task2,
		State: &command.ProposedState{Type: row.StateType_COMPLETED}}}})
	plain := m.finishedRun(flow, nil, 1, 1)
	rerun := m.finishedRun(flow, nil, 0, 0)
	m.later(2 * 24 * anHour)
	m.set(rerun, row.StateType_SCHEDULED)
	m.prune(&command.Prune{Before: m.stamp})
	m.prune(&command.Prune{What: command.Prune_LOGS, Before: m.stamp})
	for name, run := range map[string][]byte{"a running run": running, "a parent whose subflow runs": parent, "a running subflow": child,
		"a running parent": runningParent, "a subflow whose parent runs": doneChild, "a run that was set to run again": rerun} {
		if !m.has(run) {
			t.Errorf("%s is gone", name)
		}
	}
	if m.has(plain) {
		t.Error("a finished run without relatives is still there")
	}
	if left := m.rowsLeft(); left["log_segment"] != 1 {
		t.Errorf("%d batches of log are left, want that of the running run: those of a finished one go by their own rule", left["log_segment"])
	}
	// Once the family has finished, it goes.
	m.set(child, row.StateType_COMPLETED)
	m.set(runningParent, row.StateType_FAILED)
	m.later(2 * 24 * anHour)
	m.prune(&command.Prune{Before: m.stamp})
	for _, run := range [][]byte{parent, child, runningParent, doneChild} {
		if m.has(run) {
			t.Errorf("%x of a finished family is still there", run)
		}
	}
}

func TestTheNewestRunsOfADeploymentAreKeptByCount(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.do(leaderEpoch(1))
	flow := m.newFlow()
	m.setRetention(&command.SetRetention{RunsMaxCount: count(3)})
	own := m.newDeployment(flow, &row.Retention{Runs: &row.RetentionRule{MaxCount: count(5)}})
	forEver := m.newDeployment(flow, &row.Retention{Runs: &row.RetentionRule{MaxCount: count(0)}})
	inherits := m.newDeployment(flow, nil)
	runs := map[string][][]byte{}
	for _, d := range [][]byte{own, forEver, inherits, nil} {
		for range 10 {
			runs[string(d)] = append(runs[string(d)], m.finishedRun(flow, d, 1, 1))
		}
		m.prune(&command.Prune{DeploymentId: d, Reason: command.Prune_COUNT, Rows: 4})
	}
	for d, want := range map[string]int{string(own): 5, string(forEver): 10, string(inherits): 3, "": 3} {
		for i, run := range runs[d] {
			if m.has(run) != (i >= 10-want) {
				t.Errorf("deployment %x: run %d of 10 is there: %t, want the newest %d", d, i, m.has(run), want)
			}
		}
	}
	m.setRetention(&command.SetRetention{MaxTotalRuns: count(12)})
	m.prune(&command.Prune{DeploymentId: own, Reason: command.Prune_TOTAL, Before: m.stamp})
	if left := m.rowsLeft(); left["flow_run"] != 16 {
		t.Errorf("%d runs are left, want the five of one deployment gone of 21", left["flow_run"])
	}
}

func TestLogsGoBeforeTheirRunsWhenTheirRuleSaysSo(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.do(leaderEpoch(1))
	flow := m.newFlow()
	m.setRetention(&command.SetRetention{RunsMaxAge: days(90), LogsMaxAge: days(7)})
	run, deleted := m.finishedRun(flow, nil, 0, 10), m.finishedRun(flow, nil, 0, 10)
	m.one(&command.Envelope{Command: &command.Envelope_DeleteFlowRun{DeleteFlowRun: &command.Delete{Id: deleted}}})
	if left := m.rowsLeft(); left["log_segment"] != 20 {
		t.Fatalf("%d batches are left after a run was deleted, want all: Orion's logs stay", left["log_segment"])
	}
	m.later(6 * 24 * anHour)
	m.writeLog(run, "a late line")
	m.later(30 * anHour)
	m.prune(&command.Prune{What: command.Prune_LOGS, Before: m.stamp})
	if left := m.rowsLeft(); left["log_segment"] != 11 {
		t.Errorf("%d batches are left, want those of the run with a young line: 11", left["log_segment"])
	}
	m.later(7 * 24 * anHour)
	m.prune(&command.Prune{What: command.Prune_LOGS, Before: m.stamp, Rows: 3})
	if left := m.rowsLeft(); left["log_segment"] != 0 || left["log_usage"] != 0 || !m.has(run) {
		t.Errorf("left is %v, want the run without its logs", left)
	}
}

func TestAJumpOfTheTimeHoldsRetentionBack(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.do(leaderEpoch(1))
	flow := m.newFlow()
	m.setRetention(&command.SetRetention{RunsMaxAge: days(90)})
	run := m.finishedRun(flow, nil, 0, 0)
	note := func() {
		m.one(&command.Envelope{Command: &command.Envelope_NoteRetentionTime{NoteRetentionTime: &command.NoteRetentionTime{}}})
	}
	m.stamp += 365 * 24 * anHour
	m.prune(&command.Prune{Before: m.stamp})
	if !m.has(run) {
		t.Fatal("a jump of a year that nobody has noted yet took a run")
	}
	note()
	m.stamp += 20 * anHour
	note()
	m.prune(&command.Prune{Before: m.stamp})
	if !m.has(run) {
		t.Fatal("a run went for its age within a day of the jump")
	}
	m.stamp += 5 * anHour
	note()
	m.prune(&command.Prune{Before: m.stamp})
	if m.has(run) {
		t.Fatal("the run is still there a day after the jump")
	}

	run = m.finishedRun(flow, nil, 0, 0)
	m.stamp += 365 * 24 * anHour
	note()
	m.setRetention(&command.SetRetention{EndHold: true})
	m.prune(&command.Prune{Before: m.stamp})
	if m.has(run) {
		t.Error("the run is still there although an operator said that the time is right")
	}
}

// Whatever is asked for, nothing goes that the rules keep: the decision is the state machine's.
func TestRandomPruningAgreesWithANaiveRule(t *testing.T) {
	t.Parallel()
	for _, seed := range seeds(t) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 7))
			m := newMachine(t)
			m.do(leaderEpoch(1))
			flow := m.newFlow()
			m.setRetention(&command.SetRetention{RunsMaxAge: days(10), RunsMaxCount: count(30)})
			deployments := [][]byte{nil, m.newDeployment(flow, nil),
				m.newDeployment(flow, &row.Retention{Runs: &row.RetentionRule{MaxAge: days(2)}}),
				m.newDeployment(flow, &row.Retention{Runs: &row.RetentionRule{MaxAge: days(0), MaxCount: count(4)}}),
				m.newDeployment(flow, &row.Retention{Runs: &row.RetentionRule{MaxAge: days(0), MaxCount: count(0)}})}
			type made struct {
				id       []byte
				finished int64 // 0: not
			}
			runs := map[int][]made{}
			for range 60 {
				d := random.IntN(len(deployments))
				switch random.IntN(4) {
				case 0:
					runs[d] = append(runs[d], made{m.unfinishedRun(flow, deployments[d], random.IntN(2), random.IntN(2)), 0})
				case 1, 2:
					id := m.finishedRun(flow, deployments[d], random.IntN(3), random.IntN(3))
					runs[d] = append(runs[d], made{id, m.stamp})
				default:
					m.later(random.Int64N(40) * anHour)
				}
				for i, id := range deployments {
					c := &command.Prune{DeploymentId: id, Before: m.stamp + random.Int64N(1000*anHour), Rows: 1 + random.Int32N(20)}
					if random.IntN(2) == 0 {
						c.Reason = command.Prune_COUNT
					}
					m.prune(c)
					own := []orchestration.Rule{{MaxAge: *days(10), MaxCount: 30}, {MaxAge: *days(10), MaxCount: 30}, {MaxAge: *days(2), MaxCount: 30}, {MaxCount: 4}, {}}[i]
					var keep []made
					newer := 0
					for j := len(runs[i]) - 1; j >= 0; j-- {
						r := runs[i][j]
						goes := r.finished != 0 && (c.Reason == command.Prune_AGE && own.MaxAge > 0 && m.stamp-r.finished > own.MaxAge ||
							c.Reason == command.Prune_COUNT && own.MaxCount > 0 && int64(newer) >= own.MaxCount)
						if r.finished != 0 {
							newer++
						}
						if m.has(r.id) == goes {
							t.Fatalf("deployment %d, %s: a run that finished %d h ago with %d newer ones is there: %t", i, c.Reason, (m.stamp-r.finished)/anHour, newer-1, goes)
						}
						if !goes {
							keep = append([]made{r}, keep...)
						}
					}
					runs[i] = keep
				}
			}
			m.rowsLeft()
		})
	}
}

func TestExpiredEntriesOfTheTaskCacheGo(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.do(leaderEpoch(1))
	run := m.unfinishedRun(m.newFlow(), nil, 0, 0)
	for i := range 10 {
		task, key := m.id(), fmt.Sprint("key ", i)
		m.one(&command.Envelope{Command: &command.Envelope_CreateTaskRun{CreateTaskRun: &command.CreateTaskRun{Id: task, Name: "t", FlowRunId: run, TaskKey: "t", DynamicKey: fmt.Sprint(i)}}})
		details := &row.StateDetails{CacheKey: &key}
		if i%2 == 0 {
			details.CacheExpiration = m.stamp + int64(i+1)*anHour
		}
		m.one(&command.Envelope{Command: &command.Envelope_SetTaskRunState{SetTaskRunState: &command.SetState{Id: task,
			State: &command.ProposedState{Type: row.StateType_COMPLETED, Details: details}}}})
	}
	m.stamp += 4 * anHour
	r := m.one(&command.Envelope{Command: &command.Envelope_PruneCache{PruneCache: &command.PruneCache{Before: m.stamp + 1000*anHour, Limit: 100}}})
	if left := m.rowsLeft(); left["cache_entry"] != 8 || r.Count != 2 {
		t.Errorf("%d went and %d are left, want the two that have expired gone of ten", r.Count, left["cache_entry"])
	}
	m.one(&command.Envelope{Command: &command.Envelope_DeleteFlowRun{DeleteFlowRun: &command.Delete{Id: run}}})
	if left := m.rowsLeft(); left["cache_entry"] != 0 {
		t.Errorf("%d entries are left of task runs that are gone", left["cache_entry"])
	}
}

func TestADeploymentKeepsItsRulesWhenAClientThatKnowsNonePutsIt(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.do(leaderEpoch(1))
	flow := m.newFlow()
	put := func(c *command.PutDeployment) *row.Deployment {
		c.Id, c.Name, c.FlowId, c.ParametersJson = m.id(), "d", flow, []byte("{}")
		id := m.one(&command.Envelope{Command: &command.Envelope_PutDeployment{PutDeployment: c}}).Id
		v := m.view()
		defer v.Close()
		d, err := v.Deployment(api.ID(id))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	own := &row.Retention{Runs: &row.RetentionRule{MaxCount: count(7)}}
	put(&command.PutDeployment{HasRetention: true, Retention: own})
	if d := put(&command.PutDeployment{}); d.Retention.GetRuns().GetMaxCount() != 7 {
		t.Errorf("an Orion client's put left the rules %v", d.Retention)
	}
	if d := put(&command.PutDeployment{HasRetention: true}); d.Retention != nil {
		t.Errorf("a native put without rules left %v", d.Retention)
	}
}
