package fsm

import (
	"log/slog"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/kv/pebblekv"
	"github.com/sluice-dev/sluice/fsm/row"
)

// BenchmarkLives is what the state machine does for `sluice bench lives`: the commands of whole lives of flow runs, 64 lives side by side,
// in entries of 16 commands, on Pebble on disk. One operation is a life. Other load on the machine shows least in the processor's time.
func BenchmarkLives(b *testing.B) {
	const abreast, perEntry = 64, 16
	store, err := pebblekv.Open(b.TempDir(), pebblekv.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = store.Close() })
	m := openMachine(b, store)
	flow := m.flow("life")
	propose := func(t row.StateType) *command.ProposedState { return &command.ProposedState{Type: t} }
	var logs []*raft.Log
	var entry []*command.Envelope
	flush := func() {
		if len(entry) > 0 {
			logs = append(logs, m.log(entry...))
			m.stamp -= 990_000 // hundredths of a second apart
			entry = nil
		}
	}
	add := func(e *command.Envelope) {
		if entry = append(entry, m.envelope(e)); len(entry) == perEntry {
			flush()
		}
	}
	for made := 0; made < b.N; made += abreast {
		runs, tasks := make([][]byte, min(abreast, b.N-made)), make([][]byte, abreast)
		each := func(build func(run, task []byte) *command.Envelope) {
			for i, run := range runs {
				add(build(run, tasks[i]))
			}
			flush()
		}
		set := func(t row.StateType) {
			each(func(run, _ []byte) *command.Envelope {
				return &command.Envelope{Command: &command.Envelope_SetFlowRunState{SetFlowRunState: &command.SetState{Id: run, State: propose(t)}}}
			})
		}
		setTask := func(t row.StateType) {
			each(func(_, task []byte) *command.Envelope {
				return &command.Envelope{Command: &command.Envelope_SetTaskRunState{SetTaskRunState: &command.SetState{Id: task, State: propose(t)}}}
			})
		}
		for i := range runs {
			runs[i], tasks[i] = m.id(), m.id()
		}
		each(func(run, _ []byte) *command.Envelope {
			return &command.Envelope{Command: &command.Envelope_CreateFlowRun{CreateFlowRun: &command.CreateFlowRun{Id: run, Name: "life", FlowId: flow,
				ParametersJson: []byte(`{"name":"Leo"}`), Tags: []string{"bench"}, State: propose(row.StateType_SCHEDULED)}}}
		})
		set(row.StateType_PENDING)
		set(row.StateType_RUNNING)
		each(func(run, task []byte) *command.Envelope {
			return &command.Envelope{Command: &command.Envelope_CreateTaskRun{CreateTaskRun: &command.CreateTaskRun{Id: task, Name: "task", FlowRunId: run,
				TaskKey: "k", DynamicKey: strconv.Itoa(made), State: propose(row.StateType_PENDING)}}}
		})
		setTask(row.StateType_RUNNING)
		each(func(run, _ []byte) *command.Envelope {
			return &command.Envelope{Command: &command.Envelope_WriteLogs{WriteLogs: &command.WriteLogs{Quota: 1 << 20, Runs: []*command.WriteLogs_Run{{FlowRunId: run,
				Logs: []*row.Log{{Name: "flow", Level: 20, Message: "the first line of two"}, {Name: "flow", Level: 20, Message: "and the second"}}}}}}}
		})
		setTask(row.StateType_COMPLETED)
		set(row.StateType_COMPLETED)
	}
	flush()
	answers := make([]any, 0, len(logs))
	before := processorTime(b)
	b.ResetTimer()
	for len(logs) > 0 {
		n := min(4, len(logs))
		answers = append(answers, m.fsm.ApplyBatch(logs[:n])...)
		logs = logs[n:]
	}
	b.StopTimer()
	b.ReportMetric(float64((processorTime(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
	for _, answer := range answers {
		entry := answer.(*command.EntryResult)
		if entry.Err != nil {
			b.Fatal(entry.Err)
		}
		for _, data := range entry.Batches[0].Results {
			if r, err := command.DecodeResult(data); err != nil || r.Code != command.Result_OK {
				b.Fatal(r, err)
			}
		}
	}
}

// processorTime is what this process has used.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
