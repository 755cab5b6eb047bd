package orchestration

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/sluice-dev/sluice/fsm/row"
)

// Names of states that policies give.
const (
	NameSkipped  = "Skipped"  // CANCELLED: a run that must not wait found the limit full
	NameTimedOut = "TimedOut" // FAILED: ran too long; CANCELLED: waited too long
)

// Priorities: 1 goes first.
const (
	DefaultPriority  = 500
	BackfillPriority = 900
	LowestPriority   = 1000
)

// StopGrace is how long, in µs, the owner of a run has to stop it after the run timeout, until it is taken from it.
const StopGrace = 60_000_000

// Gate is a limit of a deployment that its runs must pass to start: the concurrency limit, or the one place that overlap
// leaves to scheduled runs.
type Gate struct {
	ID       [16]byte // of the limit: its slots carry it
	Limit    int
	Conflict row.Policy_Conflict
	Overlap  bool // only runs made by schedules pass it
}

// Gates returns the gates of a deployment.
func Gates(deploymentID []byte, p *row.Policy) []Gate {
	if p == nil {
		return nil
	}
	var gates []Gate
	if p.ConcurrencyLimit != nil {
		g := Gate{Limit: int(*p.ConcurrencyLimit), Conflict: p.OnConflict}
		copy(g.ID[:], deploymentID)
		gates = append(gates, g)
	}
	if p.Overlap != row.Policy_OVERLAP_ALLOW {
		g := Gate{ID: OverlapID(deploymentID), Limit: 1, Overlap: true}
		switch p.Overlap {
		case row.Policy_OVERLAP_SKIP:
			g.Conflict = row.Policy_SKIP
		case row.Policy_OVERLAP_CANCEL_RUNNING:
			g.Conflict = row.Policy_CANCEL_RUNNING
		}
		gates = append(gates, g)
	}
	return gates
}

// OverlapID is the id of the limit that overlap is: a deployment's id with its version nibble changed, which is nobody's id.
func OverlapID(deploymentID []byte) (id [16]byte) {
	copy(id[:], deploymentID)
	id[6] = id[6]&0x0f | 0xf0
	return id
}

// Concerns reports whether a run must pass the gate.
func (g Gate) Concerns(run *row.FlowRun) bool { return !g.Overlap || run.AutoScheduled }

// HoldsGate reports whether a run occupies a place in the gates of its deployment: it is under way. A run that was created
// Pending and that nobody has taken is not.
func HoldsGate(run *row.FlowRun) bool {
	switch run.GetState().GetType() {
	case row.StateType_RUNNING:
		return true
	case row.StateType_PENDING:
		return run.State.Timestamp != run.Created
	}
	return false
}

// Waiting orders runs as they start: by priority, then by expected start time, then by id.
func Waiting(a, b *row.FlowRun) int {
	return cmp.Or(cmp.Compare(PriorityOf(a), PriorityOf(b)), cmp.Compare(a.ExpectedStartTime, b.ExpectedStartTime), bytes.Compare(a.Id, b.Id))
}

// Newest orders runs by expected start time, then by id, the newest first.
func Newest(a, b *row.FlowRun) int {
	return cmp.Or(cmp.Compare(b.ExpectedStartTime, a.ExpectedStartTime), bytes.Compare(b.Id, a.Id))
}

// PriorityOf a run: 1 goes first.
func PriorityOf(run *row.FlowRun) int32 {
	if p := run.GetPolicy().GetPriority(); p != 0 {
		return p
	}
	return DefaultPriority
}

// Resolution says what to do about a gate at which due runs wait.
type Resolution struct {
	Skip   []*row.FlowRun // waiting ones that must not wait
	Cancel []*row.FlowRun // holders that make room
}

// Resolve decides about a gate. holders are the runs that occupy it, due those that are due and must pass it; the order of
// both is free.
func Resolve(g Gate, holders, due []*row.FlowRun) Resolution {
	var r Resolution
	room := g.Limit - len(holders)
	switch g.Conflict {
	case row.Policy_SKIP:
		if room <= 0 {
			r.Skip = due
		}
	case row.Policy_CANCEL_RUNNING:
		// The newest win: of those that wait, no more stay than can run at a time.
		due = slices.Clone(due)
		slices.SortFunc(due, Newest)
		if len(due) > g.Limit {
			r.Skip, due = due[g.Limit:], due[:g.Limit]
		}
		var alive []*row.FlowRun
		for _, h := range holders {
			if h.State.GetName() == NameCancelling {
				room++
			} else {
				alive = append(alive, h)
			}
		}
		slices.SortFunc(alive, func(a, b *row.FlowRun) int {
			return cmp.Or(cmp.Compare(a.State.Timestamp, b.State.Timestamp), bytes.Compare(a.Id, b.Id))
		})
		r.Cancel = alive[:min(len(alive), max(0, len(due)-room))]
	}
	return r
}

// Deadline is when a run that took the state s must have left it, in µs; 0: never. due is its next scheduled start,
// before the deadline of the state it had, of type old.
func Deadline(p *row.RunPolicy, s *row.State, due, before int64, old row.StateType) int64 {
	switch {
	case p == nil || TerminalType(s.Type):
		return 0
	case s.Type == row.StateType_SCHEDULED && p.QueueTimeout > 0:
		return later(due, p.QueueTimeout)
	case s.Type == row.StateType_PENDING && old == row.StateType_SCHEDULED:
		return before // waiting goes on until the run runs
	case s.Type == row.StateType_RUNNING && old == row.StateType_RUNNING:
		return before
	case s.Type == row.StateType_RUNNING && p.RunTimeout > 0:
		return later(s.Timestamp, p.RunTimeout)
	}
	return 0
}

func later(t, d int64) int64 { return t + min(d, int64(maxDelaySeconds)*1e6) }

// CrashRetry is when a run that has just crashed is tried again; ok is false when it is not. least is the least delay.
func CrashRetry(run *row.FlowRun, least int64) (at int64, ok bool) {
	p := run.GetPolicy()
	if p.GetCrashRetries() <= run.CrashRetries || len(run.DeploymentId) == 0 {
		return 0, false
	}
	return later(run.State.Timestamp, max(p.CrashDelay, least)), true
}
