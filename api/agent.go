package api

// Names of headers; their meaning is in docs/native-api.md.
const (
	HeaderRequestID    = "X-Request-Id"
	HeaderIndex        = "X-Sluice-Index"
	HeaderMinIndex     = "X-Sluice-Min-Index"
	HeaderLease        = "X-Sluice-Lease"
	HeaderLogProducer  = "X-Sluice-Log-Producer"
	HeaderLogSequence  = "X-Sluice-Log-Sequence"
	HeaderOrionVersion = "X-PREFECT-API-VERSION"
	// HeaderIdempotencyKey names a request; its repetition with the same key is not done again, and answered with HeaderReplayed.
	HeaderIdempotencyKey = "Idempotency-Key"
	HeaderReplayed       = "Idempotency-Replayed"
	HeaderNextCursor     = "X-Sluice-Next-Cursor"
)

// AgentRegister is the body of POST /agents/.
type AgentRegister struct {
	ID           ID     `json:"id"`
	Name         string `json:"name"`
	Hostname     string `json:"hostname"`
	PID          int    `json:"pid"`
	Version      string `json:"version"`
	WorkQueueIDs []ID   `json:"work_queue_ids"`
}

// AgentRegistered is the answer to AgentRegister.
type AgentRegistered struct {
	ID               ID       `json:"id"`
	Name             string   `json:"name"`
	TTLSeconds       Duration `json:"ttl_seconds"`
	HeartbeatSeconds Duration `json:"heartbeat_seconds"`
}

// Agent is one agent process as the server knows it.
type Agent struct {
	ID           ID     `json:"id"`
	Name         string `json:"name"`
	Hostname     string `json:"hostname"`
	Version      string `json:"version"`
	WorkQueueIDs []ID   `json:"work_queue_ids"`
	LastSeen     *Time  `json:"last_seen"`
	Live         bool   `json:"live"`
	// Draining: it claims nothing until it is called back.
	Draining bool `json:"draining"`
	FlowRuns []ID `json:"flow_runs"` // whose leases it holds
}

// Claim is the body of POST /agents/{id}/claim. Repeating a ClaimID returns the same grants.
type Claim struct {
	WorkQueueIDs []ID     `json:"work_queue_ids"`
	Limit        int      `json:"limit"`
	WaitSeconds  Duration `json:"wait_seconds"`
	ClaimID      ID       `json:"claim_id"`
}

// Claimed is the answer to Claim.
type Claimed struct {
	Grants        []Grant `json:"grants"`
	MissingQueues []ID    `json:"missing_queues"`
	// Draining: the agent is to claim nothing until a heartbeat says otherwise.
	Draining bool `json:"draining"`
}

// Grant is one claimed flow run with the lease that lets its holder execute it. The run is Pending already.
type Grant struct {
	FlowRun     FlowRun     `json:"flow_run"`
	Deployment  *Deployment `json:"deployment"`
	Token       string      `json:"token"`
	WorkQueueID ID          `json:"work_queue_id"`
	TTLSeconds  Duration    `json:"ttl_seconds"`
}

// HeldLease names a lease by its run and token.
type HeldLease struct {
	FlowRunID ID     `json:"flow_run_id"`
	Token     string `json:"token"`
	// Cancelling: the holder knows that the run is being cancelled and need not be told again.
	Cancelling bool `json:"cancelling,omitzero"`
}

// Heartbeat is the body of POST /agents/{id}/heartbeat and of POST /leases/renew.
type Heartbeat struct {
	Leases []HeldLease `json:"leases"`
	// WaitSeconds is how long the answer may take when there is nothing to tell: what happens meanwhile is told at once.
	WaitSeconds Duration `json:"wait_seconds,omitzero"`
	// Draining is what the agent knows of itself.
	Draining bool `json:"draining,omitzero"`
}

// HeartbeatAnswer answers both; HeartbeatSeconds is zero from /leases/renew.
type HeartbeatAnswer struct {
	Lost             []LostLease `json:"lost"`
	Cancelling       []ID        `json:"cancelling"`
	Draining         bool        `json:"draining,omitzero"`
	HeartbeatSeconds Duration    `json:"heartbeat_seconds,omitzero"`
}

// LostLease says that a lease is no longer held: stop the process and report nothing.
type LostLease struct {
	FlowRunID ID     `json:"flow_run_id"`
	Reason    string `json:"reason"`
}

// LeaseRequest is the body of POST /flow_runs/{id}/lease.
type LeaseRequest struct {
	Owner string `json:"owner"`
}

// Lease is the answer to LeaseRequest.
type Lease struct {
	Token        string   `json:"token"`
	TTLSeconds   Duration `json:"ttl_seconds"`
	RenewSeconds Duration `json:"renew_seconds"`
}

// Cancel is the body of POST /flow_runs/{id}/cancel.
type Cancel struct {
	Message *string `json:"message,omitempty"`
}

// CancelAnswer says whether the run is cancelled or its owner was told to stop.
type CancelAnswer struct {
	Status string `json:"status"`
}

// The values of CancelAnswer.Status.
const (
	StatusCancelled  = "CANCELLED"
	StatusCancelling = "CANCELLING"
)

// Explanation is the answer of GET /flow_runs/{id}/explain.
type Explanation struct {
	FlowRunID ID            `json:"flow_run_id"`
	StateType StateType     `json:"state_type"`
	StateName string        `json:"state_name"`
	Waiting   bool          `json:"waiting"`
	Summary   string        `json:"summary"`
	Reasons   []ExplainItem `json:"reasons"`
}

// ExplainItem is one reason why a run is where it is, and what would change that.
type ExplainItem struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Unblock string `json:"unblock"`
	// Command is the next command to type, "" when there is none.
	Command string `json:"command,omitempty"`

	// What the message tells, for programs; each where the code has it.

	// Due is when the time of a run comes that is not due or waits for another attempt.
	Due *Time `json:"due,omitempty"`
	// WorkQueueID and WorkQueueName are the queue that would serve the run.
	WorkQueueID   *ID    `json:"work_queue_id,omitempty"`
	WorkQueueName string `json:"work_queue_name,omitempty"`
	// Limit is the limit that is full.
	Limit *ExplainLimit `json:"limit,omitempty"`
	// Agents are the names of agents: those that are busy, drained or ready.
	Agents []string `json:"agents,omitempty"`
	// LastSeen is when the owner of a run was last heard of.
	LastSeen *Time `json:"last_seen,omitempty"`
}

// ExplainLimit is a limit, and who occupies it.
type ExplainLimit struct {
	// Kind is one of the kinds of limits below.
	Kind  string `json:"kind"`
	Name  string `json:"name"` // of the queue, the deployment or the tag
	Limit int    `json:"limit"`
	InUse int    `json:"in_use"`
	// Holders are some of those who occupy it.
	Holders []ExplainHolder `json:"holders"`
	// TaskRun is the one that waits for a limit on a tag.
	TaskRun *ExplainHolder `json:"task_run,omitempty"`
}

// ExplainHolder is a run that occupies a slot, or waits for one: a flow run, of a limit on a tag a task run.
type ExplainHolder struct {
	ID   ID     `json:"id"`
	Name string `json:"name"`
}

// The kinds of ExplainLimit.
const (
	LimitWorkQueue  = "work_queue"
	LimitDeployment = "deployment"
	LimitOverlap    = "overlap" // of the runs that schedules make
	LimitTag        = "tag"
)

// The codes of ExplainItem.
const (
	ExplainNotDue                 = "not_due"
	ExplainPendingWithoutSchedule = "pending_without_schedule"
	ExplainNoDeployment           = "no_deployment"
	ExplainNoQueueMatches         = "no_queue_matches"
	ExplainQueuePaused            = "queue_paused"
	ExplainQueueFull              = "queue_full"
	ExplainNoLiveAgent            = "no_live_agent"
	ExplainAgentsFull             = "agents_full"
	ExplainAgentsDrained          = "agents_drained"
	ExplainTagLimitFull           = "tag_limit_full"
	ExplainDeploymentFull         = "deployment_full"
	ExplainReady                  = "ready"
	ExplainOwned                  = "owned"
	ExplainOwnerWithoutExpiry     = "owner_without_expiry"
	ExplainRetryScheduled         = "retry_scheduled"
	ExplainTerminal               = "terminal"
)

// FlowRunEvent is the data of an event of GET /events?topic=flow_run.
type FlowRunEvent struct {
	ID           ID        `json:"id"`
	Name         string    `json:"name"`
	FlowID       ID        `json:"flow_id"`
	DeploymentID *ID       `json:"deployment_id"`
	StateType    StateType `json:"state_type"`
	StateName    string    `json:"state_name"`
	Timestamp    Time      `json:"timestamp"`
	Deleted      bool      `json:"deleted,omitempty"`
}

// TaskRunEvent is the data of an event of the topic task_run.
type TaskRunEvent struct {
	ID        ID        `json:"id"`
	Name      string    `json:"name"`
	FlowRunID ID        `json:"flow_run_id"`
	StateType StateType `json:"state_type"`
	StateName string    `json:"state_name"`
	Timestamp Time      `json:"timestamp"`
	Deleted   bool      `json:"deleted,omitempty"`
}

// JobEvent is the data of an event of the topic job.
type JobEvent struct {
	ID        ID        `json:"id"`
	Action    JobAction `json:"action"`
	Status    JobStatus `json:"status"`
	Total     int64     `json:"total"`
	Done      int64     `json:"done"`
	Refused   int64     `json:"refused"`
	Timestamp Time      `json:"timestamp"`
}

// LogsEvent is the data of the event logs: a flow run has log lines that it did not have before.
type LogsEvent struct {
	FlowRunID ID   `json:"flow_run_id"`
	Lines     int  `json:"lines"`
	Timestamp Time `json:"timestamp"`
}

// ObjectEvent is the data of an event of the topics deployment, work_queue and agent: which object changed.
type ObjectEvent struct {
	ID        ID     `json:"id"`
	Name      string `json:"name"`
	Timestamp Time   `json:"timestamp"`
	Deleted   bool   `json:"deleted,omitempty"`
}

// Kinds of server-sent events.
const (
	EventLog        = "log"
	EventState      = "state"
	EventEnd        = "end"
	EventFlowRun    = "flow_run"
	EventTaskRun    = "task_run"
	EventDeployment = "deployment"
	EventWorkQueue  = "work_queue"
	EventAgent      = "agent"
	EventJob        = "job"
	EventLogs       = "logs"
	EventReset      = "reset"
)
