package orchestration

import "github.com/sluice-dev/sluice/fsm/row"

// Progress is what a run keeps of the states it went through.
type Progress struct {
	State                  *row.State
	RunCount               int32
	ExpectedStartTime      int64
	NextScheduledStartTime int64
	StartTime              int64
	EndTime                int64
	TotalRunTime           int64
}

// Record returns the progress after the run took the state, which it did: rules were asked before.
func (p Progress) Record(s *row.State) Progress {
	old := p.State
	terminal := TerminalType(s.Type)
	entersRunning := s.Type == row.StateType_RUNNING && s.Name != NameCancelling
	if s.Type == row.StateType_RUNNING && p.StartTime == 0 {
		p.StartTime = s.Timestamp
	}
	if TerminalType(old.GetType()) && !terminal {
		p.EndTime = 0
	}
	if terminal && p.StartTime != 0 && p.EndTime == 0 {
		p.EndTime = s.Timestamp
	}
	if entersRunning {
		p.RunCount++
	}
	if old.GetType() == row.StateType_RUNNING {
		p.TotalRunTime += s.Timestamp - old.Timestamp
	}
	if p.ExpectedStartTime == 0 {
		p.ExpectedStartTime = s.Timestamp
		if s.Type == row.StateType_SCHEDULED {
			p.ExpectedStartTime = s.GetDetails().GetScheduledTime()
		}
	}
	if old.GetType() == row.StateType_SCHEDULED {
		p.NextScheduledStartTime = 0
	}
	if s.Type == row.StateType_SCHEDULED {
		p.NextScheduledStartTime = s.GetDetails().GetScheduledTime()
	}
	p.State = s
	return p
}

// DefaultName returns the name of a state of that type when the proposer gave none.
func DefaultName(t row.StateType) string {
	switch t {
	case row.StateType_SCHEDULED:
		return "Scheduled"
	case row.StateType_PENDING:
		return "Pending"
	case row.StateType_RUNNING:
		return "Running"
	case row.StateType_COMPLETED:
		return "Completed"
	case row.StateType_FAILED:
		return "Failed"
	case row.StateType_CANCELLED:
		return "Cancelled"
	default:
		return ""
	}
}

// HoldsQueueSlot reports whether a flow run in a state of that type occupies a place in the queues that match it.
func HoldsQueueSlot(t row.StateType) bool {
	return t == row.StateType_PENDING || t == row.StateType_RUNNING
}

// HoldsTagSlot reports whether a task run in a state of that type occupies a place in the limits of its tags.
func HoldsTagSlot(t row.StateType) bool { return t == row.StateType_RUNNING }
