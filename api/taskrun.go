package api

import "encoding/json"

// TaskRunPolicy says how often a task run is retried.
type TaskRunPolicy struct {
	MaxRetries        int      `json:"max_retries"`
	RetryDelaySeconds Duration `json:"retry_delay_seconds"`
}

// TaskInput is one upstream of a task run: another task run (ID), a parameter (Name) or a constant (Type).
type TaskInput struct {
	InputType string  `json:"input_type"`
	ID        *ID     `json:"id,omitempty"`
	Name      *string `json:"name,omitempty"`
	Type      *string `json:"type,omitempty"`
}

// The input types of TaskInput.
const (
	InputTaskRun   = "task_run"
	InputParameter = "parameter"
	InputConstant  = "constant"
)

// TaskRun is one execution of a task inside a flow run.
type TaskRun struct {
	ID                      ID              `json:"id"`
	Created                 Time            `json:"created"`
	Updated                 Time            `json:"updated"`
	Name                    string          `json:"name"`
	FlowRunID               ID              `json:"flow_run_id"`
	TaskKey                 string          `json:"task_key"`
	DynamicKey              string          `json:"dynamic_key"`
	CacheKey                *string         `json:"cache_key"`
	CacheExpiration         *Time           `json:"cache_expiration"`
	TaskVersion             *string         `json:"task_version"`
	EmpiricalPolicy         TaskRunPolicy   `json:"empirical_policy"`
	Tags                    []string        `json:"tags"`
	StateID                 *ID             `json:"state_id"`
	TaskInputs              json.RawMessage `json:"task_inputs"` // map[string][]TaskInput
	StateType               *StateType      `json:"state_type"`
	RunCount                int             `json:"run_count"`
	ExpectedStartTime       *Time           `json:"expected_start_time"`
	NextScheduledStartTime  *Time           `json:"next_scheduled_start_time"`
	StartTime               *Time           `json:"start_time"`
	EndTime                 *Time           `json:"end_time"`
	TotalRunTime            Duration        `json:"total_run_time"`
	EstimatedRunTime        Duration        `json:"estimated_run_time"`
	EstimatedStartTimeDelta Duration        `json:"estimated_start_time_delta"`
	State                   *State          `json:"state"`
}

// TaskRunCreate is the body of POST /task_runs/.
type TaskRunCreate struct {
	FlowRunID       ID              `json:"flow_run_id"`
	TaskKey         string          `json:"task_key"`
	DynamicKey      string          `json:"dynamic_key"`
	Name            *string         `json:"name,omitempty"`
	CacheKey        *string         `json:"cache_key,omitempty"`
	CacheExpiration *Time           `json:"cache_expiration,omitempty"`
	TaskVersion     *string         `json:"task_version,omitempty"`
	EmpiricalPolicy *TaskRunPolicy  `json:"empirical_policy,omitempty"`
	Tags            []string        `json:"tags,omitzero"`
	TaskInputs      json.RawMessage `json:"task_inputs,omitempty"`
	State           *StateCreate    `json:"state,omitempty"`
}

// ParseTaskInputs decodes the free-form task_inputs of a task run.
func ParseTaskInputs(raw json.RawMessage) (map[string][]TaskInput, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	var inputs map[string][]TaskInput
	err := json.Unmarshal(raw, &inputs)
	return inputs, err
}

// AppendJSON appends the task run's JSON to b.
func (r *TaskRun) AppendJSON(b []byte) []byte {
	b = append(b, '{')
	b = appendIDField(b, "id", r.ID)
	b = appendTimeField(b, "created", r.Created)
	b = appendTimeField(b, "updated", r.Updated)
	b = appendStringField(b, "name", r.Name)
	b = appendIDField(b, "flow_run_id", r.FlowRunID)
	b = appendStringField(b, "task_key", r.TaskKey)
	b = appendStringField(b, "dynamic_key", r.DynamicKey)
	b = appendStringPtrField(b, "cache_key", r.CacheKey)
	b = appendTimePtrField(b, "cache_expiration", r.CacheExpiration)
	b = appendStringPtrField(b, "task_version", r.TaskVersion)
	b = append(appendKey(b, "empirical_policy"), '{')
	b = appendIntField(b, "max_retries", r.EmpiricalPolicy.MaxRetries)
	b = appendDurationField(b, "retry_delay_seconds", r.EmpiricalPolicy.RetryDelaySeconds)
	b = append(b, '}')
	b = appendStringsField(b, "tags", r.Tags)
	b = appendIDPtrField(b, "state_id", r.StateID)
	b = appendRawField(b, "task_inputs", r.TaskInputs, "{}")
	b = appendStringPtrField(b, "state_type", (*string)(r.StateType))
	b = appendIntField(b, "run_count", r.RunCount)
	b = appendTimePtrField(b, "expected_start_time", r.ExpectedStartTime)
	b = appendTimePtrField(b, "next_scheduled_start_time", r.NextScheduledStartTime)
	b = appendTimePtrField(b, "start_time", r.StartTime)
	b = appendTimePtrField(b, "end_time", r.EndTime)
	b = appendDurationField(b, "total_run_time", r.TotalRunTime)
	b = appendDurationField(b, "estimated_run_time", r.EstimatedRunTime)
	b = appendDurationField(b, "estimated_start_time_delta", r.EstimatedStartTimeDelta)
	b = appendStateField(b, "state", r.State)
	return append(b, '}')
}

// MarshalJSON encodes the task run.
func (r TaskRun) MarshalJSON() ([]byte, error) { return r.AppendJSON(make([]byte, 0, 2048)), nil }
