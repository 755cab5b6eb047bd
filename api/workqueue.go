package api

import "encoding/json"

// QueueFilter says which runs a work queue serves. Null restricts nothing.
type QueueFilter struct {
	Tags            []string `json:"tags"`
	DeploymentIDs   []ID     `json:"deployment_ids"`
	FlowRunnerTypes []string `json:"flow_runner_types"`
}

// WorkQueue is a saved filter from which agents claim runs.
type WorkQueue struct {
	ID               ID          `json:"id"`
	Created          Time        `json:"created"`
	Updated          Time        `json:"updated"`
	Filter           QueueFilter `json:"filter"`
	Name             string      `json:"name"`
	Description      string      `json:"description"`
	IsPaused         bool        `json:"is_paused"`
	ConcurrencyLimit *int        `json:"concurrency_limit"`
	*WorkQueueNative
}

// WorkQueueNative holds what Sluice adds to a WorkQueue.
type WorkQueueNative struct {
	SlotsInUse int `json:"slots_in_use"`
}

// WorkQueueCreate is the body of POST /work_queues/.
type WorkQueueCreate struct {
	Filter           *QueueFilter `json:"filter,omitempty"`
	Name             string       `json:"name"`
	Description      string       `json:"description,omitempty"`
	IsPaused         bool         `json:"is_paused,omitempty"`
	ConcurrencyLimit *int         `json:"concurrency_limit,omitempty"`
}

// WorkQueueUpdate is the body of PATCH /work_queues/{id}; absent fields stay, the filter is replaced whole.
type WorkQueueUpdate struct {
	Filter           Optional[QueueFilter] `json:"filter,omitzero"`
	Name             Optional[string]      `json:"name,omitzero"`
	Description      Optional[string]      `json:"description,omitzero"`
	IsPaused         Optional[bool]        `json:"is_paused,omitzero"`
	ConcurrencyLimit Optional[int]         `json:"concurrency_limit,omitzero"`
}

// GetRuns is the body of POST /work_queues/{id}/get_runs.
type GetRuns struct {
	Limit           *int  `json:"limit,omitempty"`
	ScheduledBefore *Time `json:"scheduled_before,omitempty"`
	AgentID         *ID   `json:"agent_id,omitempty"`
}

// AppendJSON appends the queue's JSON to b.
func (q *WorkQueue) AppendJSON(b []byte) []byte {
	b = append(b, '{')
	b = appendIDField(b, "id", q.ID)
	b = appendTimeField(b, "created", q.Created)
	b = appendTimeField(b, "updated", q.Updated)
	b = append(appendKey(b, "filter"), '{')
	b = appendNullableStringsField(b, "tags", q.Filter.Tags)
	if q.Filter.DeploymentIDs == nil {
		b = appendRawField(b, "deployment_ids", nil, "null")
	} else {
		b = appendIDsField(b, "deployment_ids", q.Filter.DeploymentIDs)
	}
	b = appendNullableStringsField(b, "flow_runner_types", q.Filter.FlowRunnerTypes)
	b = append(b, '}')
	b = appendStringField(b, "name", q.Name)
	b = appendStringField(b, "description", q.Description)
	b = appendBoolField(b, "is_paused", q.IsPaused)
	if q.ConcurrencyLimit == nil {
		b = appendRawField(b, "concurrency_limit", nil, "null")
	} else {
		b = appendIntField(b, "concurrency_limit", *q.ConcurrencyLimit)
	}
	if q.WorkQueueNative != nil {
		b = appendIntField(b, "slots_in_use", q.SlotsInUse)
	}
	return append(b, '}')
}

// MarshalJSON encodes the queue.
func (q WorkQueue) MarshalJSON() ([]byte, error) { return q.AppendJSON(make([]byte, 0, 512)), nil }

// ConcurrencyLimit bounds how many task runs with a tag are running.
type ConcurrencyLimit struct {
	ID               ID     `json:"id"`
	Created          Time   `json:"created"`
	Updated          Time   `json:"updated"`
	Tag              string `json:"tag"`
	ConcurrencyLimit int    `json:"concurrency_limit"`
	ActiveSlots      []ID   `json:"active_slots"`
}

// ConcurrencyLimitCreate is the body of POST /concurrency_limits/.
type ConcurrencyLimitCreate struct {
	Tag              string `json:"tag"`
	ConcurrencyLimit int    `json:"concurrency_limit"`
}

// MarshalJSON encodes the limit; without slots the list is empty, not null.
func (l ConcurrencyLimit) MarshalJSON() ([]byte, error) {
	type plain ConcurrencyLimit
	if l.ActiveSlots == nil {
		l.ActiveSlots = []ID{}
	}
	return json.Marshal(plain(l))
}

// QueueSlots is the answer of GET /work_queues/{id}/slots: who occupies a work queue, whether it has a limit or not.
type QueueSlots struct {
	WorkQueueID      ID          `json:"work_queue_id"`
	ConcurrencyLimit *int        `json:"concurrency_limit"`
	InUse            int         `json:"in_use"`
	Slots            []QueueSlot `json:"slots"`
	NextCursor       *string     `json:"next_cursor"` // where the list goes on; null at its end
}

// QueueSlot is one slot of a work queue and the flow run that holds it.
type QueueSlot struct {
	FlowRunID    ID        `json:"flow_run_id"`
	FlowRunName  string    `json:"flow_run_name"`
	DeploymentID *ID       `json:"deployment_id"`
	StateType    StateType `json:"state_type"`
	StateName    string    `json:"state_name"`
	Since        Time      `json:"since"`
	AgentID      *ID       `json:"agent_id"`
	AgentName    *string   `json:"agent_name"`
	LeaseOwner   *string   `json:"lease_owner"`
}
