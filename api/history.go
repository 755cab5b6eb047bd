package api

import "encoding/json"

// HistoryRequest is the body of POST /flow_runs/history and /task_runs/history.
type HistoryRequest struct {
	HistoryStart           Time     `json:"history_start"`
	HistoryEnd             Time     `json:"history_end"`
	HistoryIntervalSeconds Duration `json:"history_interval_seconds"`
	Filters
}

// HistoryInterval counts the runs expected to start in [IntervalStart, IntervalEnd).
type HistoryInterval struct {
	IntervalStart Time           `json:"interval_start"`
	IntervalEnd   Time           `json:"interval_end"`
	States        []HistoryState `json:"states"`
}

// HistoryState counts the runs of an interval that are now in one state. The sums count only positive values.
type HistoryState struct {
	StateType            StateType `json:"state_type"`
	StateName            string    `json:"state_name"`
	CountRuns            int       `json:"count_runs"`
	SumEstimatedRunTime  Duration  `json:"sum_estimated_run_time"`
	SumEstimatedLateness Duration  `json:"sum_estimated_lateness"`
}

// MarshalJSON encodes the interval; an empty one has an empty list.
func (h HistoryInterval) MarshalJSON() ([]byte, error) {
	type plain HistoryInterval
	if h.States == nil {
		h.States = []HistoryState{}
	}
	return json.Marshal(plain(h))
}

// SimpleFlowRun is one dot of the UI's run history.
type SimpleFlowRun struct {
	ID        ID        `json:"id"`
	StateType StateType `json:"state_type"`
	Timestamp Time      `json:"timestamp"`
	Duration  Duration  `json:"duration"`
	Lateness  Duration  `json:"lateness"`
}

// GraphNode is one task run in the answer of GET /flow_runs/{id}/graph.
type GraphNode struct {
	ID                   ID          `json:"id"`
	UpstreamDependencies []TaskInput `json:"upstream_dependencies"`
	State                *State      `json:"state"`
	ExpectedStartTime    *Time       `json:"expected_start_time"`
	StartTime            *Time       `json:"start_time"`
	EndTime              *Time       `json:"end_time"`
	TotalRunTime         Duration    `json:"total_run_time"`
	EstimatedRunTime     Duration    `json:"estimated_run_time"`
}

// MarshalJSON encodes the node; without upstreams the list is empty, not null.
func (n GraphNode) MarshalJSON() ([]byte, error) {
	type plain GraphNode
	if n.UpstreamDependencies == nil {
		n.UpstreamDependencies = []TaskInput{}
	}
	return json.Marshal(plain(n))
}
