package engine

import (
	"context"
	"io"
	"log/slog"
)

type contextKey int

const (
	recorderKey contextKey = iota
	flowRunKey
	taskRunKey
)

// Connection is what flows report through.
type Connection struct {
	Recorder Recorder
	// Fakes replaces the functions of flows and tasks in tests: nil, and a nil result, replace none.
	Fakes func(d *Definition) func(ctx context.Context, in any) (any, error)
	// Console shows the lines of runs; nil for nowhere. An agent passes its processes' output on as lines of the run, so it would have
	// each twice.
	Console io.Writer
	// Level is the lowest that runs log; slog.LevelInfo unless said.
	Level slog.Level
	// Killed says that an agent kills this process when its patience is over: a flow that was told to end takes the time it needs.
	Killed bool
}

// Connect returns a context in which flows are recorded.
func Connect(ctx context.Context, c Connection) context.Context {
	inner := connection{Recorder: c.Recorder, fakes: c.Fakes, level: c.Level, killed: c.Killed}
	if c.Console != nil {
		inner.console = &console{to: c.Console}
	}
	return context.WithValue(ctx, recorderKey, inner)
}

type connection struct {
	Recorder
	fakes   func(d *Definition) func(ctx context.Context, in any) (any, error)
	console *console
	level   slog.Level
	killed  bool
}

func (c connection) call(d *Definition) func(ctx context.Context, in any) (any, error) {
	if c.fakes != nil {
		if f := c.fakes(d); f != nil {
			return f
		}
	}
	return d.Call
}

// connected returns what ctx records to.
func connected(ctx context.Context) (connection, bool) {
	c, ok := ctx.Value(recorderKey).(connection)
	return c, ok
}

// FlowRunOf returns the flow run that ctx belongs to, nil outside of one.
func FlowRunOf(ctx context.Context) *FlowRun {
	r, _ := ctx.Value(flowRunKey).(*FlowRun)
	return r
}

// TaskRunOf returns the task run that ctx belongs to, nil outside of one.
func TaskRunOf(ctx context.Context) *TaskRun {
	r, _ := ctx.Value(taskRunKey).(*TaskRun)
	return r
}
