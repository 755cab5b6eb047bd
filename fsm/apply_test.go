package fsm

import (
	"errors"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
	"github.com/sluice-dev/sluice/fsm/watch"
)

func TestABatchOfASessionIsAppliedOnce(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	create := m.envelope(&command.Envelope{Command: &command.Envelope_CreateFlowRun{CreateFlowRun: &command.CreateFlowRun{Id: m.id(), Name: "n", FlowId: m.flow("f")}}})
	data, err := command.Encode(create)
	if err != nil {
		t.Fatal(err)
	}
	apply := func(seq uint64) command.BatchResult {
		m.index++
		entry := command.AppendEntry(nil, command.Entry{Stamp: m.stamp, Batches: []command.Batch{{Session: command.SessionID{1}, Seq: seq, Commands: [][]byte{data}}}})
		answer := m.fsm.Apply(&raft.Log{Index: m.index, Term: 1, Type: raft.LogCommand, Data: entry}).(*command.EntryResult)
		if answer.Err != nil {
			t.Fatal(answer.Err)
		}
		return answer.Batches[0]
	}
	first, second := apply(1), apply(1)
	if first.Replayed || !second.Replayed || string(first.Results[0]) != string(second.Results[0]) {
		t.Fatalf("first %+v, second %+v", first, second)
	}
	if n, err := m.view().CountFlowRuns(row.StateType_PENDING); n != 1 || err != nil {
		t.Fatalf("%d runs, %v", n, err)
	}
}

func TestWhatMustNotBeSkippedHaltsTheMachine(t *testing.T) {
	t.Parallel()
	newer, err := command.Encode(&command.Envelope{Command: &command.Envelope_DeleteBlob{DeleteBlob: &command.DeleteBlob{}}})
	if err != nil {
		t.Fatal(err)
	}
	unknown := protowire.AppendTag(nil, 1, protowire.VarintType)
	unknown = protowire.AppendVarint(unknown, 1)
	unknown = protowire.AppendTag(unknown, 999, protowire.BytesType)
	unknown = protowire.AppendBytes(unknown, []byte("x"))
	entry := func(commands ...[]byte) []byte {
		return command.AppendEntry(nil, command.Entry{Stamp: 1, Batches: []command.Batch{{Commands: commands}}})
	}
	tooNew := entry(newer)
	tooNew[0] = command.EntryVersion + 1
	for fact, data := range map[string][]byte{
		"an entry of a newer format": tooNew,
		"bytes that are no entry":    []byte("what is this supposed to be?"),
		"a command not known":        entry(unknown),
		"a command that is garbage":  entry([]byte{0xFF, 0xFF}),
		"no command at all":          entry(nil),
	} {
		t.Run(fact, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			flow := m.log(m.envelope(&command.Envelope{Command: &command.Envelope_CreateFlow{CreateFlow: &command.CreateFlow{Id: m.id(), Name: "before"}}}))
			bad := &raft.Log{Index: m.index + 1, Term: 1, Type: raft.LogCommand, Data: data}
			answers := m.fsm.ApplyBatch([]*raft.Log{flow, bad})
			if before, err := answers[0].(*command.EntryResult).Err, answers[1].(*command.EntryResult).Err; before != nil || !errors.Is(err, command.ErrHalted) {
				t.Fatalf("answered %v and %v", before, err)
			}
			if m.fsm.Halted() == nil || m.fsm.AppliedIndex() != 1 {
				t.Fatalf("halted %v at %d", m.fsm.Halted(), m.fsm.AppliedIndex())
			}
			if f, err := m.view().FlowByName("before"); f == nil || err != nil {
				t.Fatal("what came before the bad entry was not applied")
			}
			flow.Index = 3
			if err := m.fsm.Apply(flow).(*command.EntryResult).Err; !errors.Is(err, command.ErrHalted) {
				t.Fatalf("a halted machine applied: %v", err)
			}
			if err := m.fsm.WaitApplied(t.Context(), 3); !errors.Is(err, command.ErrHalted) {
				t.Fatalf("waiting ended with %v", err)
			}
		})
	}
}

func TestACommandOfAnEarlierEpochIsRefused(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	d := m.deployment(m.flow("f"), "d")
	run := m.run(d, scheduledNow)
	m.one(leaderEpoch(1))
	old := m.index
	m.one(leaderEpoch(2))
	late := func(epoch uint64) *command.Result {
		return m.do(&command.Envelope{Epoch: epoch, Command: &command.Envelope_MarkLate{MarkLate: &command.MarkLate{FlowRunIds: [][]byte{run}, Before: m.stamp}}})[0]
	}
	if r := late(old); r.Code != command.Result_STALE_EPOCH || m.flowRun(run).State.Name != "Scheduled" {
		t.Fatalf("the old leader was answered %v", r)
	}
	if r := late(m.index); r.Code == command.Result_OK {
		t.Fatal("an epoch that never was is no epoch")
	}
	epoch, err := m.view().Epoch()
	if err != nil {
		t.Fatal(err)
	}
	if r := late(epoch); r.Code != command.Result_OK || m.flowRun(run).State.Name != "Late" {
		t.Fatalf("the leader was answered %v", r)
	}
}

func TestTimeNeverRunsBackwards(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	flow := m.flow("f")
	create := func() []byte {
		return m.one(&command.Envelope{Command: &command.Envelope_CreateFlowRun{CreateFlowRun: &command.CreateFlowRun{Id: m.id(), Name: "n", FlowId: flow}}}).Id
	}
	run := create()
	m.stamp -= 3600 * 1_000_000 // the next leader's clock is an hour slow
	m.report(run, row.StateType_RUNNING, nil)
	m.report(run, row.StateType_COMPLETED, nil)
	states, err := m.view().FlowRunStates(api.ID(run))
	if err != nil || len(states) != 3 {
		t.Fatalf("%v, %v", states, err)
	}
	for i := 1; i < len(states); i++ {
		if states[i].Timestamp <= states[i-1].Timestamp {
			t.Fatalf("state %s comes at %d, after %d", states[i].Name, states[i].Timestamp, states[i-1].Timestamp)
		}
	}
	if r := m.flowRun(run); r.TotalRunTime < 0 {
		t.Fatalf("ran for %d µs", r.TotalRunTime)
	}
}

func (m *machine) schedule(deployment []byte, revision uint64, times ...int64) *command.Result {
	c := &command.ScheduleRuns{DeploymentId: deployment, ScheduleRevision: revision, Advance: true}
	for _, at := range times {
		c.Fires = append(c.Fires, &command.ScheduleRuns_Fire{Time: at, Offset: -5 * 3600, FlowRunId: m.id(), Name: "auto"})
		c.NextFire = at + 1
	}
	return m.do(&command.Envelope{Command: &command.Envelope_ScheduleRuns{ScheduleRuns: c}})[0]
}

func TestAFireTimeMakesOneRun(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	flow := m.flow("f")
	put := func(schedule string, parameters string, keep bool) *command.Result {
		return m.one(&command.Envelope{Command: &command.Envelope_PutDeployment{PutDeployment: &command.PutDeployment{Id: m.id(), Name: "d", FlowId: flow, ScheduleJson: []byte(schedule),
			ParametersJson: []byte(parameters), IsScheduleActive: true, Tags: []string{"t"}, KeepIfEqual: keep}}})
	}
	const hourly = `{"interval":3600}`
	d := put(hourly, `{}`, true).Id
	deployment := func() *row.Deployment {
		r, err := m.view().Deployment(api.ID(d))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	runs := func() (all []*row.FlowRun) {
		err := m.view().ScheduledFlowRunsOfDeployment(api.ID(d), false, func(r *row.FlowRun) (bool, error) {
			all = append(all, r)
			return true, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	base := int64(1_800_000_000_000_000)
	first := deployment().ScheduleRevision
	if r := m.schedule(d, first, base, base+3600e6); r.Count != 2 {
		t.Fatalf("scheduled %v", r)
	}
	if r := m.schedule(d, first, base+3600e6, base+7200e6); r.Count != 1 {
		t.Fatalf("a fire time was doubled: %v", r)
	}
	if r := m.schedule(d, first, base); r.Count != 0 || deployment().NextFire != base+7200e6+1 {
		t.Fatalf("after an older plan, which made %d runs, the schedule goes on from %d", r.Count, deployment().NextFire)
	}
	all := runs()
	if len(all) != 3 || !all[0].AutoScheduled || strings.Join(all[0].Tags, " ") != "auto-scheduled t" {
		t.Fatalf("runs are %v", all)
	}
	if want := "scheduled " + api.ID(d).String() + " 2027-01-15T03:00:00-05:00"; *all[0].IdempotencyKey != want {
		t.Fatalf("key is %q, want %q", *all[0].IdempotencyKey, want)
	}
	before := deployment()
	if r := put(hourly, `{}`, true); r.Created || len(runs()) != 3 || deployment().Updated != before.Updated {
		t.Fatal("putting what is stored changed something")
	}
	manual := m.run(d, &command.ProposedState{Type: row.StateType_SCHEDULED, Details: &row.StateDetails{ScheduledTime: base}})
	put(hourly, `{"name":"Marvin"}`, true)
	if left := runs(); len(left) != 1 || string(left[0].Id) != string(manual) {
		t.Fatalf("after a change the waiting runs are %v", left)
	}
	if r := m.schedule(d, first, base); r.Code != command.Result_CONFLICT {
		t.Fatalf("a plan for the former schedule was answered %v", r)
	}
	if r := m.schedule(d, deployment().ScheduleRevision, base); r.Count != 1 {
		t.Fatalf("the new schedule was answered %v", r)
	}
	m.one(&command.Envelope{Command: &command.Envelope_DeleteDeployment{DeleteDeployment: &command.Delete{Id: d}}})
	if n := len(runs()); n != 0 {
		t.Fatalf("%d waiting runs outlived their deployment", n)
	}
	if err := m.view().Verify(); err != nil {
		t.Fatal(err)
	}
}

func TestADeploymentsRunTakesItsParametersTagsAndRunner(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	d := m.deployment(m.flow("f"), "d", "a", "b")
	id := m.one(&command.Envelope{Command: &command.Envelope_CreateFlowRun{CreateFlowRun: &command.CreateFlowRun{Id: m.id(), Name: "n", DeploymentId: d, FromDeployment: true,
		ParametersJson: []byte(`{"x":{"deep":1}}`), Tags: []string{"b", "c"}}}}).Id
	r := m.flowRun(id)
	if string(r.ParametersJson) != `{"name":"Leo","x":{"deep":1}}` || strings.Join(r.Tags, "") != "abc" || r.State.Type != row.StateType_PENDING {
		t.Fatalf("run is %v", r)
	}
}

func TestLogsAreStoredOnceInOrderAndWithinTheirQuota(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	run, producer := m.id(), m.id()
	write := func(sequence uint64, lines ...string) int32 {
		c := &command.WriteLogs{Producer: producer, Sequence: sequence, Quota: 400, Runs: []*command.WriteLogs_Run{{FlowRunId: run}}}
		for _, l := range lines {
			c.Runs[0].Logs = append(c.Runs[0].Logs, &row.Log{Message: l, Level: 20})
		}
		return m.one(&command.Envelope{Command: &command.Envelope_WriteLogs{WriteLogs: c}}).Count
	}
	stored := func() (lines []string) {
		err := m.view().LogSegments(api.ID(run), func(s *row.LogSegment) (bool, error) {
			for _, l := range s.Logs {
				lines = append(lines, l.Message)
			}
			return true, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return lines
	}
	write(1, "one", "two")
	if n := write(1, "one", "two"); n != 0 {
		t.Fatalf("a repeated batch stored %d lines", n)
	}
	write(2, "three")
	if got := strings.Join(stored(), " "); got != "one two three" {
		t.Fatalf("stored %q", got)
	}
	write(3, strings.Repeat("x", 150), "dropped")
	write(4, "dropped")
	got := stored()
	if len(got) != 4 || !strings.Contains(got[3], "quota of 400 bytes") {
		t.Fatalf("beyond the quota: %q", got)
	}
}

func TestAValueOfTheBuiltInStoreAppearsWhole(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	put := func(version []byte, ordinal, chunks uint32, data string) *command.Result {
		return m.do(&command.Envelope{Command: &command.Envelope_PutBlobChunk{PutBlobChunk: &command.PutBlobChunk{Key: "k", Version: version, Ordinal: ordinal, Chunks: chunks, Data: []byte(data)}}})[0]
	}
	read := func() string {
		data, err := m.view().BlobData("k")
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	v0, v1, v2 := blobVersion(0), blobVersion(1), blobVersion(2)
	put(v0, 0, 3, "given up")
	put(v1, 0, 2, "hello ")
	if read() != "" {
		t.Fatal("half a value is visible")
	}
	put(v1, 1, 2, "world")
	if r := put(v2, 1, 2, "late"); r.Code != command.Result_INVALID || read() != "hello world" {
		t.Fatalf("a value with a hole: %v", r)
	}
	put(v2, 0, 2, "new ")
	put(v2, 1, 2, "value")
	if read() != "new value" {
		t.Fatalf("read %q", read())
	}
	if r := put(v1, 1, 2, "slow"); r.Code != command.Result_OK || read() != "new value" {
		t.Fatalf("an upload that was overtaken: %v, and the value is %q", r, read())
	}
	if n := m.chunks("k"); n != 2 {
		t.Fatalf("%d chunks are kept of a value of two and an unfinished one", n)
	}
	m.one(&command.Envelope{Command: &command.Envelope_DeleteBlob{DeleteBlob: &command.DeleteBlob{Key: "k"}}})
	if read() != "" || m.chunks("k") != 0 {
		t.Fatal("a deleted value is still there")
	}
	if err := m.view().Verify(); err != nil {
		t.Fatal(err)
	}
}

// blobVersion returns versions in the order of their numbers, as the time makes them.
func blobVersion(n byte) []byte { return []byte{15: n} }

// chunks counts the stored pieces of a value, of whatever version.
func (m *machine) chunks(key string) (n int) {
	m.t.Helper()
	b := m.store.NewBatch()
	defer b.Close()
	tx := state.NewTx(b)
	for version := range byte(4) {
		for ordinal := range uint32(4) {
			e, err := tx.EditBlobChunk(key, blobVersion(version), ordinal)
			if err != nil {
				m.t.Fatal(err)
			}
			if e != nil {
				n++
			}
		}
	}
	return n
}

func TestEventsComeInOrderAndSayWhatChanged(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	listener := m.fsm.Events().Subscribe(watch.TopicFlowRun)
	d := m.deployment(m.flow("f"), "d")
	run := m.run(d, scheduledNow)
	m.report(run, row.StateType_RUNNING, nil)
	var last watch.Cursor
	for _, want := range []string{"Scheduled", "Running"} {
		e, err := listener.Next(t.Context())
		if err != nil || e.FlowRun.State.Name != want || !last.Before(e.Cursor) {
			t.Fatalf("got %v, %v; want %s after %v", e, err, want, last)
		}
		last = e.Cursor
	}
}

func TestAMachineGoesOnWhereItsStoreStands(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	d := m.deployment(m.flow("f"), "d")
	run := m.run(d, scheduledNow)
	again := openMachine(t, m.store)
	if again.fsm.AppliedIndex() != m.index {
		t.Fatalf("reopened at %d, was at %d", again.fsm.AppliedIndex(), m.index)
	}
	again.seed, again.stamp = m.seed, m.stamp
	again.report(run, row.StateType_RUNNING, nil)
	if again.flowRun(run).State.Type != row.StateType_RUNNING {
		t.Fatal("the reopened machine lost its state")
	}
}
