package api

import "encoding/json"

// JobAction is what a job does to each of its flow runs.
type JobAction string

// The actions. The last two are what the deletion of a deployment or flow with many runs leaves to a job.
const (
	JobCancel           JobAction = "cancel"
	JobRetry            JobAction = "retry"
	JobDelete           JobAction = "delete"
	JobSetState         JobAction = "set_state"
	JobForgetDeployment JobAction = "forget_deployment"
	JobForgetFlow       JobAction = "forget_flow"
)

// JobStatus says whether a job goes on.
type JobStatus string

// The statuses of jobs; all but JobRunning are final.
const (
	JobRunning   JobStatus = "running"
	JobCompleted JobStatus = "completed"
	JobCancelled JobStatus = "cancelled"
	JobFailed    JobStatus = "failed"
)

// JobCreate is the body of POST /jobs. Its runs are those that match the filter when their turn comes and were created before the
// job. Without any criterion All must say that all runs are meant.
type JobCreate struct {
	Action JobAction `json:"action"`
	Filter Filters   `json:"filter"`
	All    bool      `json:"all,omitempty"`
	// Message is kept in the states that the job writes.
	Message *string `json:"message,omitempty"`
	// State is what set_state sets.
	State *JobState `json:"state,omitempty"`
	// Force sets a state against the rules, also in place of a terminal one, and deletes runs that are being executed.
	Force bool `json:"force,omitempty"`
	// DryRun only counts; the answer is a JobPreview.
	DryRun bool `json:"dry_run,omitempty"`
}

// JobState is a state for many runs.
type JobState struct {
	Type StateType `json:"type"`
	Name *string   `json:"name,omitempty"`
}

// JobPreview is the answer to a JobCreate with DryRun: how many runs match now, and the first of them.
type JobPreview struct {
	Action JobAction `json:"action"`
	Count  int64     `json:"count"`
	Sample []FlowRun `json:"sample"`
}

// Job changes many flow runs in the background.
type Job struct {
	ID       ID        `json:"id"`
	Created  Time      `json:"created"`
	Updated  Time      `json:"updated"`
	Finished *Time     `json:"finished"`
	Action   JobAction `json:"action"`
	Status   JobStatus `json:"status"`
	Actor    *string   `json:"actor"`
	Filter   any       `json:"filter"` // as it was sent
	Message  *string   `json:"message"`
	State    *JobState `json:"state"`
	Force    bool      `json:"force"`
	// Total is how many runs matched when the job was made, an estimate of what it will come to.
	Total    int64 `json:"total"`
	LookedAt int64 `json:"looked_at"` // rows, matching or not
	Done     int64 `json:"done"`
	Refused  int64 `json:"refused"`
	// Refusals are the first of those that were refused, at most 100.
	Refusals []JobRefusal `json:"refusals"`
	Error    *string      `json:"error"` // why a failed one could not go on
}

// JobRefusal says why a job did nothing to a run.
type JobRefusal struct {
	FlowRunID ID     `json:"flow_run_id"`
	Name      string `json:"name"`
	Reason    string `json:"reason"`
}

// FlowRunRetry is the body of POST /flow_runs/{id}/retry.
type FlowRunRetry struct {
	Message       *string `json:"message,omitempty"`
	ScheduledTime *Time   `json:"scheduled_time,omitempty"` // now, without
}

// FlowRunRerun is the body of POST /flow_runs/{id}/rerun.
type FlowRunRerun struct {
	Name           *string         `json:"name,omitempty"`
	Parameters     json.RawMessage `json:"parameters,omitempty"` // in place of those of the same name
	IdempotencyKey *string         `json:"idempotency_key,omitempty"`
	ScheduledTime  *Time           `json:"scheduled_time,omitempty"` // now, without
}
