// Package scheduler is what only the leader does: it makes runs from schedules, hands due runs to agents, watches leases and
// marks late runs. Every service keeps no truth of its own: it is rebuilt from the replicated state when an epoch begins,
// follows the events of the state machine, and changes something only by commands that carry the epoch. See DESIGN.md.
package scheduler

import (
	"context"
	"errors"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
	"github.com/sluice-dev/sluice/fsm/watch"
)

// View is one consistent moment of the replicated state; *state.View is one. Rows that do not exist are nil.
type View interface {
	// Index is the log index of the newest entry in the view.
	Index() uint64
	// LastTime is the state's own time in µs.
	LastTime() (int64, error)

	EachActiveSchedule(fn func(*row.Deployment) (more bool, err error)) error
	// EachGatedDeployment walks the deployments that limit how many of their runs are under way.
	EachGatedDeployment(fn func(*row.Deployment) (more bool, err error)) error
	WorkQueue(id api.ID) (*row.WorkQueue, error)
	EachWorkQueue(fn func(*row.WorkQueue) (more bool, err error)) error
	Agent(id api.ID) (*row.Agent, error)
	EachAgent(fn func(*row.Agent) (more bool, err error)) error
	Claim(id api.ID) (*row.Claim, error)
	FlowRun(id api.ID) (*row.FlowRun, error)
	// ScheduledFlowRuns walks the SCHEDULED runs whose time lies in [from, until) µs, by time.
	ScheduledFlowRuns(from, until int64, fn func(*row.FlowRun) (more bool, err error)) error
	// FlowRunsByDeadline walks the runs that have a deadline, by deadline.
	FlowRunsByDeadline(fn func(*row.FlowRun) (more bool, err error)) error
	LeasedFlowRuns(fn func(*row.FlowRun) (more bool, err error)) error
	// WalkFlowRuns walks flow runs by id.
	WalkFlowRuns(w state.RunWalk, fn func(*row.FlowRun) (more bool, err error)) error
	TaskRunsOfFlowRun(id api.ID, reverse bool, fn func(*row.TaskRun) (more bool, err error)) error
	// EachActiveJob walks the jobs that are not finished.
	EachActiveJob(fn func(*row.Job) (more bool, err error)) error
	// SlotsInUse is how many runs occupy a work queue or another limit.
	SlotsInUse(limitID api.ID) (int, error)

	Deployment(id api.ID) (*row.Deployment, error)
	RetentionPolicy() (*row.RetentionPolicy, error)
	// DeploymentsWithHistory walks the deployments that have finished runs or logs, the nil id for none.
	DeploymentsWithHistory(fn func(api.ID) (more bool, err error)) error
	// FinishedRuns walks a deployment's finished runs by when they finished (µs), after a time and id (nil: from the first).
	FinishedRuns(deploymentID api.ID, afterTime int64, afterID api.ID, fn func(finished int64, id api.ID) (more bool, err error)) error
	// RunsWithLogs walks a deployment's runs that have logs by the hour in which their newest line came.
	RunsWithLogs(deploymentID api.ID, afterTime int64, afterID api.ID, fn func(newest int64, id api.ID) (more bool, err error)) error
	CountFinishedRuns(deploymentID api.ID) (int64, error)
	CountRunsWithLogs(deploymentID api.ID) (int64, error)
	CountFlowRuns(t row.StateType) (int64, error)
	EachWebhook(fn func(*row.Webhook) (more bool, err error)) error
	// WaitingDeliveries walks what waits in the outbox for a webhook, the oldest first.
	WaitingDeliveries(webhookID api.ID, fn func(*row.Delivery) (more bool, err error)) error
	// ExpiredCacheEntries reports whether an entry of the task cache expired before that time.
	ExpiredCacheEntries(before int64) (bool, error)

	Close() error
}

// Wanted is what a job asks for: at most Most of the runs behind After, by id, that match its filter and were created before, having
// looked at about Rows of them.
type Wanted struct {
	Filter        []byte
	After         *api.ID
	CreatedBefore int64
	Most, Rows    int
}

// Choice is the answer: everything up to To was looked at. Done says that no run lies behind it.
type Choice struct {
	Runs     []*row.FlowRun
	To       []byte
	LookedAt int64
	Done     bool
}

// RunChooser finds the runs of a job, where filters are understood. ErrBadFilter in its chain says that trying again is useless.
type RunChooser func(ctx context.Context, view View, wanted Wanted) (Choice, error)

// ErrBadFilter says that a job's filter cannot be read.
var ErrBadFilter = errors.New("the filter cannot be read")

// ErrUnwelcome is in the chain of a Proposer's error when the node refuses this kind of write for now, such as on a full
// disk. Services try again after a while and say so only once.
var ErrUnwelcome = errors.New("writes are refused for now")

// Proposer orders the commands of one epoch. It fails once the epoch is over, and never forwards: a service that outlived
// its epoch must not reach the next leader.
type Proposer interface {
	Propose(ctx context.Context, commands ...*command.Envelope) (results []*command.Result, index uint64, err error)
}

// Events is the event buffer of this node; *watch.Buffer is one.
type Events interface {
	Subscribe(topics watch.Topic) *watch.Subscription
}

// Clock tells the time. Readings carry the monotonic clock where there is one: deadlines are compared by it.
type Clock interface {
	Now() time.Time
}

// Observer is told what happened, for metrics. Calls are short and come from several goroutines.
type Observer interface {
	// Claimable says that a run was offered to the queues this long after it was due.
	Claimable(lateness time.Duration)
	// Claimed says that a run was granted this long after it was due.
	Claimed(lateness time.Duration)
	// LeaseExpired says that a lease ran out.
	LeaseExpired()
	// ClockJumped says that the wall clock moved by that much at once.
	ClockJumped(by time.Duration)
	// RunsMade says how many runs were made from schedules.
	RunsMade(n int)
	// RetentionSwept says that retention has looked at everything that might go, and whether it holds back for a jump of the time.
	RetentionSwept(held bool)
	// WebhookAttempt says what came of an attempt to deliver a message, and how long it took.
	WebhookAttempt(outcome string, took time.Duration)
}

// noObserver is used when none is configured.
type noObserver struct{}

func (noObserver) Claimable(time.Duration)   {}
func (noObserver) Claimed(time.Duration)     {}
func (noObserver) LeaseExpired()             {}
func (noObserver) ClockJumped(time.Duration) {}
func (noObserver) RunsMade(int)              {}

func (noObserver) RetentionSwept(bool)                  {}
func (noObserver) WebhookAttempt(string, time.Duration) {}

// Epoch is one leader's reign.
type Epoch struct {
	// Index is the log index of the epoch's command: every command of the services carries it.
	Index uint64
	// Proposer is bound to the epoch.
	Proposer Proposer
}

// id16 reads an id of a row.
func id16(b []byte) (id api.ID) {
	copy(id[:], b)
	return id
}
