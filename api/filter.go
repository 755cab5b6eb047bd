package api

// Page selects a part of a list. A nil limit is the server's default of 200.
type Page struct {
	Limit  *int `json:"limit,omitempty"`
	Offset int  `json:"offset,omitempty"`
}

// MaxPage is the largest limit the API accepts, and the default.
const MaxPage = 200

// Filters are the four criteria that most lists take; they are joined by AND, and a criterion on another kind of object
// demands that a related object matches.
type Filters struct {
	Flows       *FlowFilter       `json:"flows,omitempty"`
	FlowRuns    *FlowRunFilter    `json:"flow_runs,omitempty"`
	TaskRuns    *TaskRunFilter    `json:"task_runs,omitempty"`
	Deployments *DeploymentFilter `json:"deployments,omitempty"`
}

// FilterRequest is the body of POST /{flows,flow_runs,task_runs,deployments}/filter and, without page and sort, of /count.
type FilterRequest struct {
	Filters
	Page
	Sort string `json:"sort,omitempty"`
}

// The sort orders. Which of them a list takes is said in its constants' prefix; ID_DESC is the default of runs.
const (
	SortIDDesc                    = "ID_DESC"
	SortExpectedStartTimeAsc      = "EXPECTED_START_TIME_ASC"
	SortExpectedStartTimeDesc     = "EXPECTED_START_TIME_DESC"
	SortNameAsc                   = "NAME_ASC"  // flows and flow runs
	SortNameDesc                  = "NAME_DESC" // flows and flow runs
	SortNextScheduledStartTimeAsc = "NEXT_SCHEDULED_START_TIME_ASC"
	SortEndTimeDesc               = "END_TIME_DESC"
	SortCreatedDesc               = "CREATED_DESC" // flows
	SortUpdatedDesc               = "UPDATED_DESC" // flows
	SortTimestampAsc              = "TIMESTAMP_ASC"
	SortTimestampDesc             = "TIMESTAMP_DESC"
	SortLevelAsc                  = "LEVEL_ASC"
	SortLevelDesc                 = "LEVEL_DESC"
	SortFlowRunIDAsc              = "FLOW_RUN_ID_ASC"
	SortFlowRunIDDesc             = "FLOW_RUN_ID_DESC"
	SortTaskRunIDAsc              = "TASK_RUN_ID_ASC"
	SortTaskRunIDDesc             = "TASK_RUN_ID_DESC"
)

// In all criteria a nil list restricts nothing; an empty Any matches nothing, an empty All restricts nothing.
type (
	// IDAny matches any of the ids.
	IDAny struct {
		Any []ID `json:"any_,omitzero"`
	}
	// IDAnyNot matches any of the ids and none of the others.
	IDAnyNot struct {
		Any    []ID `json:"any_,omitzero"`
		NotAny []ID `json:"not_any_,omitzero"`
	}
	// IDAnyNull matches any of the ids, or whether there is one.
	IDAnyNull struct {
		Any    []ID  `json:"any_,omitzero"`
		IsNull *bool `json:"is_null_,omitempty"`
	}
	// NameAny matches any of the texts exactly.
	NameAny struct {
		Any []string `json:"any_,omitzero"`
	}
	// TagsAll matches objects that have all the tags, or whether there are any tags.
	TagsAll struct {
		All    []string `json:"all_,omitzero"`
		IsNull *bool    `json:"is_null_,omitempty"`
	}
	// StateTypeAny matches any of the types.
	StateTypeAny struct {
		Any []StateType `json:"any_,omitzero"`
	}
	// StateFilter matches the current state.
	StateFilter struct {
		Type *StateTypeAny `json:"type,omitempty"`
		Name *NameAny      `json:"name,omitempty"`
	}
	// TimeRange matches After ≤ t ≤ Before; no time matches neither.
	TimeRange struct {
		Before *Time `json:"before_,omitempty"`
		After  *Time `json:"after_,omitempty"`
	}
	// TimeRangeNull is TimeRange, or whether there is a time.
	TimeRangeNull struct {
		Before *Time `json:"before_,omitempty"`
		After  *Time `json:"after_,omitempty"`
		IsNull *bool `json:"is_null_,omitempty"`
	}
	// Exists matches whether something exists.
	Exists struct {
		Exists *bool `json:"exists_,omitempty"`
	}
	// BoolEq matches a flag.
	BoolEq struct {
		Eq *bool `json:"eq_,omitempty"`
	}
	// IntRange matches Ge ≤ n ≤ Le.
	IntRange struct {
		Ge *int `json:"ge_,omitempty"`
		Le *int `json:"le_,omitempty"`
	}
)

// FlowFilter selects flows.
type FlowFilter struct {
	ID   *IDAny   `json:"id,omitempty"`
	Name *NameAny `json:"name,omitempty"`
	Tags *TagsAll `json:"tags,omitempty"`
}

// FlowRunFilter selects flow runs.
type FlowRunFilter struct {
	ID                     *IDAnyNot      `json:"id,omitempty"`
	Name                   *NameAny       `json:"name,omitempty"`
	Tags                   *TagsAll       `json:"tags,omitempty"`
	DeploymentID           *IDAnyNull     `json:"deployment_id,omitempty"`
	State                  *StateFilter   `json:"state,omitempty"`
	FlowVersion            *NameAny       `json:"flow_version,omitempty"`
	StartTime              *TimeRangeNull `json:"start_time,omitempty"`
	ExpectedStartTime      *TimeRange     `json:"expected_start_time,omitempty"`
	NextScheduledStartTime *TimeRange     `json:"next_scheduled_start_time,omitempty"`
	ParentTaskRunID        *IDAnyNull     `json:"parent_task_run_id,omitempty"`
	FlowRunnerType         *NameAny       `json:"flow_runner_type,omitempty"`
	Parameters             *ParametersAny `json:"parameters,omitempty"`
}

// ParametersAny selects runs by parameters of theirs: by name, the texts of which the value has one. The text of a value that is no
// string is its JSON.
type ParametersAny struct {
	Any map[string][]string `json:"any_,omitempty"`
}

// TaskRunFilter selects task runs.
type TaskRunFilter struct {
	ID          *IDAny         `json:"id,omitempty"`
	Name        *NameAny       `json:"name,omitempty"`
	Tags        *TagsAll       `json:"tags,omitempty"`
	State       *StateFilter   `json:"state,omitempty"`
	StartTime   *TimeRangeNull `json:"start_time,omitempty"`
	SubflowRuns *Exists        `json:"subflow_runs,omitempty"`
}

// DeploymentFilter selects deployments.
type DeploymentFilter struct {
	ID               *IDAny   `json:"id,omitempty"`
	Name             *NameAny `json:"name,omitempty"`
	IsScheduleActive *BoolEq  `json:"is_schedule_active,omitempty"`
	Tags             *TagsAll `json:"tags,omitempty"`
}

// LogFilter selects logs.
type LogFilter struct {
	Level     *IntRange  `json:"level,omitempty"`
	Timestamp *TimeRange `json:"timestamp,omitempty"`
	FlowRunID *IDAny     `json:"flow_run_id,omitempty"`
	TaskRunID *IDAny     `json:"task_run_id,omitempty"`
}

// LogFilterRequest is the body of POST /logs/filter.
type LogFilterRequest struct {
	Logs *LogFilter `json:"logs,omitempty"`
	Page
	Sort string `json:"sort,omitempty"`
}
