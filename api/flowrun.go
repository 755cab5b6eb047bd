package api

import "encoding/json"

// FlowRunnerSettings says where and how a flow run is executed. Both fields are null when unset.
type FlowRunnerSettings struct {
	Type   *string         `json:"type"`
	Config json.RawMessage `json:"config"`
}

// FlowRun is one execution of a flow.
type FlowRun struct {
	ID                      ID                 `json:"id"`
	Created                 Time               `json:"created"`
	Updated                 Time               `json:"updated"`
	Name                    string             `json:"name"`
	FlowID                  ID                 `json:"flow_id"`
	StateID                 *ID                `json:"state_id"`
	DeploymentID            *ID                `json:"deployment_id"`
	FlowVersion             *string            `json:"flow_version"`
	Parameters              json.RawMessage    `json:"parameters"`
	IdempotencyKey          *string            `json:"idempotency_key"`
	Context                 json.RawMessage    `json:"context"`
	EmpiricalPolicy         json.RawMessage    `json:"empirical_policy"`
	EmpiricalConfig         json.RawMessage    `json:"empirical_config"`
	Tags                    []string           `json:"tags"`
	ParentTaskRunID         *ID                `json:"parent_task_run_id"`
	StateType               *StateType         `json:"state_type"`
	RunCount                int                `json:"run_count"`
	ExpectedStartTime       *Time              `json:"expected_start_time"`
	NextScheduledStartTime  *Time              `json:"next_scheduled_start_time"`
	StartTime               *Time              `json:"start_time"`
	EndTime                 *Time              `json:"end_time"`
	TotalRunTime            Duration           `json:"total_run_time"`
	EstimatedRunTime        Duration           `json:"estimated_run_time"`
	EstimatedStartTimeDelta Duration           `json:"estimated_start_time_delta"`
	AutoScheduled           bool               `json:"auto_scheduled"`
	FlowRunner              FlowRunnerSettings `json:"flow_runner"`
	State                   *State             `json:"state"`
	*FlowRunNative
}

// FlowRunNative holds what Sluice adds to a FlowRun.
type FlowRunNative struct {
	StateName   *string `json:"state_name"`
	WorkQueueID *ID     `json:"work_queue_id"` // the queue it was claimed from
	AgentID     *ID     `json:"agent_id"`
	AgentName   *string `json:"agent_name"`
	LeaseOwner  *string `json:"lease_owner"` // who executes it, as text; null when nobody holds a lease
	Actor       *string `json:"actor"`       // who wrote the current state
	Retries     int     `json:"retries"`     // how often somebody had it tried again
	RerunOf     *ID     `json:"rerun_of"`    // the run that this one repeats
	FlowRunPolicy
}

// FlowRunCreate is the body of POST /flow_runs/.
type FlowRunCreate struct {
	Name            *string             `json:"name,omitempty"`
	FlowID          ID                  `json:"flow_id"`
	DeploymentID    *ID                 `json:"deployment_id,omitempty"`
	FlowVersion     *string             `json:"flow_version,omitempty"`
	Parameters      json.RawMessage     `json:"parameters,omitempty"`
	IdempotencyKey  *string             `json:"idempotency_key,omitempty"`
	Context         json.RawMessage     `json:"context,omitempty"`
	Tags            []string            `json:"tags,omitzero"`
	ParentTaskRunID *ID                 `json:"parent_task_run_id,omitempty"`
	FlowRunner      *FlowRunnerSettings `json:"flow_runner,omitempty"`
	State           *StateCreate        `json:"state,omitempty"`
}

// FlowRunUpdate is the body of PATCH /flow_runs/{id}; absent fields stay.
type FlowRunUpdate struct {
	FlowVersion Optional[string]             `json:"flow_version,omitzero"`
	Parameters  json.RawMessage              `json:"parameters,omitempty"`
	Name        Optional[string]             `json:"name,omitzero"`
	FlowRunner  Optional[FlowRunnerSettings] `json:"flow_runner,omitzero"`
}

// AppendJSON appends the flow run's JSON to b.
func (r *FlowRun) AppendJSON(b []byte) []byte {
	b = append(b, '{')
	b = appendIDField(b, "id", r.ID)
	b = appendTimeField(b, "created", r.Created)
	b = appendTimeField(b, "updated", r.Updated)
	b = appendStringField(b, "name", r.Name)
	b = appendIDField(b, "flow_id", r.FlowID)
	b = appendIDPtrField(b, "state_id", r.StateID)
	b = appendIDPtrField(b, "deployment_id", r.DeploymentID)
	b = appendStringPtrField(b, "flow_version", r.FlowVersion)
	b = appendRawField(b, "parameters", r.Parameters, "{}")
	b = appendStringPtrField(b, "idempotency_key", r.IdempotencyKey)
	b = appendRawField(b, "context", r.Context, "{}")
	b = appendRawField(b, "empirical_policy", r.EmpiricalPolicy, "{}")
	b = appendRawField(b, "empirical_config", r.EmpiricalConfig, "{}")
	b = appendStringsField(b, "tags", r.Tags)
	b = appendIDPtrField(b, "parent_task_run_id", r.ParentTaskRunID)
	b = appendStringPtrField(b, "state_type", (*string)(r.StateType))
	b = appendIntField(b, "run_count", r.RunCount)
	b = appendTimePtrField(b, "expected_start_time", r.ExpectedStartTime)
	b = appendTimePtrField(b, "next_scheduled_start_time", r.NextScheduledStartTime)
	b = appendTimePtrField(b, "start_time", r.StartTime)
	b = appendTimePtrField(b, "end_time", r.EndTime)
	b = appendDurationField(b, "total_run_time", r.TotalRunTime)
	b = appendDurationField(b, "estimated_run_time", r.EstimatedRunTime)
	b = appendDurationField(b, "estimated_start_time_delta", r.EstimatedStartTimeDelta)
	b = appendBoolField(b, "auto_scheduled", r.AutoScheduled)
	b = appendKey(b, "flow_runner")
	b = r.FlowRunner.appendJSON(b)
	b = appendStateField(b, "state", r.State)
	if n := r.FlowRunNative; n != nil {
		b = appendStringPtrField(b, "state_name", n.StateName)
		b = appendIDPtrField(b, "work_queue_id", n.WorkQueueID)
		b = appendIDPtrField(b, "agent_id", n.AgentID)
		b = appendStringPtrField(b, "agent_name", n.AgentName)
		b = appendStringPtrField(b, "lease_owner", n.LeaseOwner)
		b = appendStringPtrField(b, "actor", n.Actor)
		b = appendIntField(b, "retries", n.Retries)
		b = appendIDPtrField(b, "rerun_of", n.RerunOf)
		b = n.FlowRunPolicy.appendJSON(b)
	}
	return append(b, '}')
}

// MarshalJSON encodes the flow run.
func (r FlowRun) MarshalJSON() ([]byte, error) { return r.AppendJSON(make([]byte, 0, 2048)), nil }

func (f FlowRunnerSettings) appendJSON(b []byte) []byte {
	b = append(b, '{')
	b = appendStringPtrField(b, "type", f.Type)
	b = appendRawField(b, "config", f.Config, "null")
	return append(b, '}')
}
