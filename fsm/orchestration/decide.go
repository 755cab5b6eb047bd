// Package orchestration holds the rules by which a proposed state becomes a run's state. Everything here is a pure
// function of its arguments; times are µs since the epoch.
package orchestration

import (
	"cmp"
	"slices"

	"github.com/sluice-dev/sluice/fsm/row"
)

// Names of states that are finer than their type.
const (
	NameLate          = "Late"
	NameAwaitingRetry = "AwaitingRetry"
	NameRetrying      = "Retrying"
	NameRerunning     = "Rerunning"
	NameCached        = "Cached"
	NameCrashed       = "Crashed"
	NameCancelling    = "Cancelling"
)

// Reasons given to the reporter of a state that was not taken.
const (
	ReasonTerminal   = "This run has already terminated."
	ReasonTooEarly   = "Scheduled time is in the future"
	ReasonCached     = "Retrieved state from cache"
	ReasonRetrying   = "Retrying"
	ReasonPending    = "This run is already pending: another agent or process has taken it."
	ReasonCancelling = "This run is being cancelled."
	ReasonLeaseLost  = "The lease on this flow run was lost."
	ReasonOwned      = "This run is executed by another owner that holds its lease."
)

// slotRetrySeconds is how long a task run waits before it asks again for a slot of a full tag limit.
const slotRetrySeconds = 30

// Status of a decision, as Orion answers it.
type Status int

// Statuses: on Accept the proposed state is written, on Reject the substitute, on Wait and Abort nothing.
const (
	Accept Status = iota
	Reject
	Wait
	Abort
)

// Decision is the answer to a proposal. State is what is to be written (Accept, Reject).
type Decision struct {
	Status       Status
	Reason       string
	DelaySeconds int64 // Wait
	State        *row.State
}

// Run is what the rules look at of a flow run or a task run.
type Run struct {
	State       *row.State // current; nil before the first
	RunCount    int32
	RunsBefore  int32   // task runs: of RunCount, in earlier attempts of the flow run
	MaxRetries  int32   // task runs
	RetryDelay  float64 // seconds; task runs
	HasLease    bool    // flow runs: somebody holds a lease
	TokenIsGood bool    // the reporter showed the current lease's token
	TokenShown  bool    // the reporter showed a token, good or not
}

// Limit is the state of one tag limit at the moment of a proposal.
type Limit struct {
	Tag   string
	Limit int
	InUse int
	Holds bool // the run itself holds one of the slots in use
}

// TerminalType reports whether no run leaves a state of that type by itself.
func TerminalType(t row.StateType) bool {
	return t == row.StateType_COMPLETED || t == row.StateType_FAILED || t == row.StateType_CANCELLED
}

// Proposal is a state somebody wants a run to take.
type Proposal struct {
	State *row.State // with type, name, message, data, details; id and timestamp already filled in
	Force bool
	// ReplaceTerminal lets a forced state replace a terminal one.
	ReplaceTerminal bool
}

// DecideFlowRun applies the rules for flow runs.
func DecideFlowRun(run Run, p Proposal) Decision {
	if d, done := fence(run); done {
		return d
	}
	current, proposed := run.State.GetType(), p.State.Type
	if TerminalType(current) && !(p.Force && p.ReplaceTerminal) {
		return abort(ReasonTerminal)
	}
	if p.Force {
		return accept(p.State)
	}
	if run.State.GetName() == NameCancelling && !TerminalType(proposed) {
		return abort(ReasonCancelling)
	}
	if run.HasLease && !run.TokenIsGood && (proposed == row.StateType_PENDING || proposed == row.StateType_RUNNING) {
		return abort(ReasonOwned)
	}
	if current == row.StateType_PENDING && proposed == row.StateType_PENDING && !run.TokenIsGood {
		return abort(ReasonPending)
	}
	if current == row.StateType_SCHEDULED {
		if d, wait := tooEarly(run.State, p.State.Timestamp); wait {
			return d
		}
	}
	return accept(p.State)
}

// DecideTaskRun applies the rules for task runs. cached is the newest valid state stored under the proposal's cache key,
// nil when there is none; limits are those whose tag the run carries. Both are looked at only for RUNNING.
func DecideTaskRun(run Run, p Proposal, cached *row.State, limits []Limit) Decision {
	if d, done := fence(run); done {
		return d
	}
	if p.Force {
		if TerminalType(run.State.GetType()) && !p.ReplaceTerminal {
			return abort(ReasonTerminal)
		}
		return accept(p.State)
	}
	current, proposed := run.State.GetType(), p.State.Type
	if proposed == row.StateType_RUNNING && p.State.GetDetails().GetCacheKey() != "" && cached != nil {
		return Decision{Status: Reject, Reason: ReasonCached, State: fromCache(cached, p.State)}
	}
	if proposed == row.StateType_RUNNING {
		if d, blocked := takeSlots(limits); blocked {
			return d
		}
	}
	if TerminalType(current) {
		return abort(ReasonTerminal)
	}
	if current == row.StateType_SCHEDULED {
		if d, wait := tooEarly(run.State, p.State.Timestamp); wait {
			return d
		}
	}
	if current == row.StateType_RUNNING && proposed == row.StateType_FAILED && run.RunCount-run.RunsBefore <= run.MaxRetries {
		return Decision{Status: Reject, Reason: ReasonRetrying, State: awaitRetry(run, p.State)}
	}
	if proposed == row.StateType_RUNNING && run.RunCount > 0 {
		p.State.Name = NameRerunning
		if run.State.GetName() == NameAwaitingRetry {
			p.State.Name = NameRetrying
		}
	}
	return accept(p.State)
}

// fence refuses whoever shows a token that is not the lease's: it was the owner once.
func fence(run Run) (Decision, bool) {
	if !run.TokenShown || run.TokenIsGood {
		return Decision{}, false
	}
	if TerminalType(run.State.GetType()) {
		// The lease ended with the run: a report repeated because its answer got lost reads the same as in Orion.
		return abort(ReasonTerminal), true
	}
	return abort(ReasonLeaseLost), true
}

// tooEarly rounds the delay up, so that nothing starts before its time.
func tooEarly(current *row.State, now int64) (Decision, bool) {
	delay := current.GetDetails().GetScheduledTime() - now
	if delay <= 0 {
		return Decision{}, false
	}
	const second = 1_000_000
	return Decision{Status: Wait, Reason: ReasonTooEarly, DelaySeconds: (delay + second - 1) / second}, true
}

func takeSlots(limits []Limit) (Decision, bool) {
	slices.SortFunc(limits, func(a, b Limit) int { return cmp.Compare(a.Tag, b.Tag) })
	for _, l := range limits {
		if l.Limit == 0 {
			return abort(`The concurrency limit on tag "` + l.Tag + `" is 0 and will deadlock if the task tries to run again.`), true
		}
	}
	for _, l := range limits {
		if !l.Holds && l.InUse >= l.Limit {
			return Decision{Status: Wait, DelaySeconds: slotRetrySeconds,
				Reason: "Concurrency limit for the " + l.Tag + " tag has been reached"}, true
		}
	}
	return Decision{}, false
}

// fromCache is the cached state taken over: its content, the proposal's identity and time.
func fromCache(cached, proposed *row.State) *row.State {
	details := &row.StateDetails{
		FlowRunId: proposed.GetDetails().GetFlowRunId(), TaskRunId: proposed.GetDetails().GetTaskRunId(),
		ChildFlowRunId: cached.GetDetails().GetChildFlowRunId(), CacheKey: cached.GetDetails().CacheKey,
		CacheExpiration: cached.GetDetails().GetCacheExpiration(),
	}
	return &row.State{Id: proposed.Id, Type: row.StateType_COMPLETED, Name: NameCached, Timestamp: proposed.Timestamp,
		Message: cached.Message, Data: cached.Data, Details: details, Actor: proposed.Actor}
}

func awaitRetry(run Run, failed *row.State) *row.State {
	details := &row.StateDetails{
		FlowRunId: failed.GetDetails().GetFlowRunId(), TaskRunId: failed.GetDetails().GetTaskRunId(),
		ScheduledTime: failed.Timestamp + delayMicros(run.RetryDelay),
	}
	return &row.State{Id: failed.Id, Type: row.StateType_SCHEDULED, Name: NameAwaitingRetry, Timestamp: failed.Timestamp,
		Message: failed.Message, Data: failed.Data, Details: details, Actor: failed.Actor}
}

// maxDelaySeconds bounds a delay: ten years.
const maxDelaySeconds = 10 * 365 * 24 * 3600

// delayMicros turns seconds into µs. Out of bounds (or no number at all) it takes the nearest bound: what a conversion makes of
// such a number differs between processors, and replicas must agree.
func delayMicros(seconds float64) int64 {
	if !(seconds > 0) {
		return 0
	}
	return int64(min(seconds, maxDelaySeconds) * 1e6)
}

func accept(s *row.State) Decision { return Decision{Status: Accept, State: s} }
func abort(reason string) Decision { return Decision{Status: Abort, Reason: reason} }
