package dataset

import (
	"fmt"
	"time"

	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
)

// act is something that happens to a run.
type act byte

const (
	actLate act = iota
	actPending
	actRunning
	actTask
	actTaskRunning
	actTaskDone
	actLogs
	actEnd
)

// fate is how a run ends.
type fate byte

const (
	completed fate = iota
	failed
	crashed
	timedOut
	cancelled
)

type planned struct {
	at   time.Time
	what act
}

// life is a run under way.
type life struct {
	run, task []byte
	order     int // of its making, for runs whose next moment is the same
	tasks     int
	fate      fate
	steps     []planned
}

func (l *life) next() time.Time { return l.steps[0].at }

// lives is a heap by the next moment.
type lives []*life

func (s lives) Len() int { return len(s) }
func (s lives) Less(i, j int) bool {
	if c := s[i].next().Compare(s[j].next()); c != 0 {
		return c < 0
	}
	return s[i].order < s[j].order
}
func (s lives) Swap(i, j int) { s[i], s[j] = s[j], s[i] }
func (s *lives) Push(x any)   { *s = append(*s, x.(*life)) }
func (s *lives) Pop() any {
	old := *s
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*s = old[:len(old)-1]
	return last
}

func text(s string) *string { return &s }

// ending is the last state of a run of that fate.
func (f fate) ending() *command.ProposedState {
	switch f {
	case failed:
		return &command.ProposedState{Type: row.StateType_FAILED, Message: text("Flow run encountered an exception: ValueError: the answer was no number"),
			Data: &row.Data{Encoding: "json", Blob: `{"type":"ValueError"}`}}
	case crashed:
		return &command.ProposedState{Type: row.StateType_FAILED, Name: "Crashed", Message: text("The agent was not heard from for 12 s.")}
	case timedOut:
		return &command.ProposedState{Type: row.StateType_FAILED, Name: "TimedOut", Message: text("Flow run exceeded its timeout of 3600 seconds.")}
	case cancelled:
		return &command.ProposedState{Type: row.StateType_CANCELLED, Message: text("Cancelled by an operator.")}
	}
	return &command.ProposedState{Type: row.StateType_COMPLETED, Message: text("All states completed."), Data: &row.Data{Encoding: "json", Blob: "null"}}
}

// act gives the command of a step.
func (g *generator) act(l *life, p planned) error {
	set := func(s *command.ProposedState) error {
		return g.give(p.at, &command.Envelope{Command: &command.Envelope_SetFlowRunState{SetFlowRunState: &command.SetState{Id: l.run, State: s, Force: p.what == actLate}}})
	}
	setTask := func(s *command.ProposedState) error {
		return g.give(p.at, &command.Envelope{Command: &command.Envelope_SetTaskRunState{SetTaskRunState: &command.SetState{Id: l.task, State: s}}})
	}
	switch p.what {
	case actLate:
		return set(&command.ProposedState{Type: row.StateType_SCHEDULED, Name: "Late", Details: &row.StateDetails{ScheduledTime: p.at.Add(-15 * time.Second).UnixMicro()}})
	case actPending:
		return set(&command.ProposedState{Type: row.StateType_PENDING})
	case actRunning:
		return set(&command.ProposedState{Type: row.StateType_RUNNING})
	case actTask:
		l.task = g.id(p.at)
		l.tasks++
		name := []string{"extract", "transform", "load"}[l.tasks-1]
		return g.give(p.at, &command.Envelope{Command: &command.Envelope_CreateTaskRun{CreateTaskRun: &command.CreateTaskRun{Id: l.task, Name: fmt.Sprintf("%s-%x-0", name, l.task[12:]),
			FlowRunId: l.run, TaskKey: "dataset." + name, DynamicKey: "0", Tags: []string{name}, TaskInputsJson: []byte(`{"rows":[]}`),
			State: &command.ProposedState{Type: row.StateType_PENDING}}}})
	case actTaskRunning:
		return setTask(&command.ProposedState{Type: row.StateType_RUNNING})
	case actTaskDone:
		// From now on a subflow's states on it disturb nobody.
		g.parents[g.r.IntN(len(g.parents))] = l.task
		if l.fate == failed || l.fate == timedOut {
			return setTask(&command.ProposedState{Type: row.StateType_FAILED, Message: text("Task run encountered an exception.")})
		}
		return setTask(fate(completed).ending())
	case actLogs:
		return g.logs(l, p.at)
	}
	return set(l.fate.ending())
}

// logs gives the lines of a whole run in one batch.
func (g *generator) logs(l *life, at time.Time) error {
	lines := []*row.Log{{Name: "sluice.flow_runs", Level: 20, Message: "Starting 'ConcurrentTaskRunner'; submitted tasks will be run concurrently."}}
	for i := range 2 + g.r.IntN(4) {
		lines = append(lines, &row.Log{Name: "sluice.flow_runs", Level: 20, Message: fmt.Sprintf("Read %d rows of part %d.", g.r.IntN(100_000), i)})
	}
	if l.fate != completed {
		lines = append(lines, &row.Log{Name: "sluice.flow_runs", Level: 40, Message: "Encountered exception during execution:\nTraceback (most recent call last):\n  File \"flow.py\", line 12, in load\nValueError: the answer was no number"})
	}
	for i, line := range lines {
		line.Timestamp = at.Add(time.Duration(i-len(lines)) * 10 * time.Millisecond).UnixMicro()
		if l.task != nil && i > 0 {
			line.TaskRunId = l.task
		}
	}
	return g.give(at, &command.Envelope{Command: &command.Envelope_WriteLogs{WriteLogs: &command.WriteLogs{Runs: []*command.WriteLogs_Run{{FlowRunId: l.run, Logs: lines}}}}})
}
