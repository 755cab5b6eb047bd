package api

import "encoding/json"

// Policy says what becomes of a deployment's runs. In requests, what is absent is the default, or stays in an update. See
// docs/policies.md.
type Policy struct {
	ConcurrencyLimit *int      `json:"concurrency_limit,omitempty"` // runs under way at a time; null: any number
	OnConflict       Conflict  `json:"on_conflict,omitempty"`       // what a due run does when the limit is reached
	Overlap          Overlap   `json:"overlap,omitempty"`           // what a scheduled run does while another one is under way
	DST              *DST      `json:"dst,omitempty"`
	OnCrash          *OnCrash  `json:"on_crash,omitempty"`
	QueueTimeout     *Duration `json:"queue_timeout_seconds,omitempty"` // from being due to Running; null: none
	RunTimeout       *Duration `json:"run_timeout_seconds,omitempty"`   // from Running to the end; null: none
	Priority         *int      `json:"priority,omitempty"`              // 1 goes first
}

// Conflict says what a due run does when the concurrency limit of its deployment is reached.
type Conflict string

// The choices. ConflictQueue is the default.
const (
	ConflictQueue  Conflict = "queue"          // it waits
	ConflictSkip   Conflict = "skip"           // it is cancelled, state name Skipped
	ConflictCancel Conflict = "cancel-running" // the oldest run is cancelled, and the new one waits for its place
)

// Overlap says what a scheduled run does while another scheduled run of the deployment is under way.
type Overlap string

// The choices. OverlapAllow is the default.
const (
	OverlapAllow  Overlap = "allow"
	OverlapQueue  Overlap = "queue"
	OverlapSkip   Overlap = "skip"
	OverlapCancel Overlap = "cancel-running"
)

// DST says what happens to local times that do not exist, or exist twice, when clocks change.
type DST struct {
	Skipped  string `json:"skipped"`  // "shift" behind the gap (default) or "skip"
	Repeated string `json:"repeated"` // "last" (default), "first" or "both"
}

// OnCrash says how often a run that crashed is tried again.
type OnCrash struct {
	Retries int      `json:"retries"`
	Delay   Duration `json:"delay_seconds"`
}

// Priorities of runs.
const (
	DefaultPriority  = 500
	BackfillPriority = 900
	LowestPriority   = 1000
)

func (p *Policy) appendJSON(b []byte) []byte {
	b = appendJSONField(b, "concurrency_limit", p.ConcurrencyLimit)
	b = appendStringField(b, "on_conflict", string(p.OnConflict))
	b = appendStringField(b, "overlap", string(p.Overlap))
	b = appendJSONField(b, "dst", p.DST)
	b = appendJSONField(b, "on_crash", p.OnCrash)
	b = appendJSONField(b, "queue_timeout_seconds", p.QueueTimeout)
	b = appendJSONField(b, "run_timeout_seconds", p.RunTimeout)
	return appendJSONField(b, "priority", p.Priority)
}

// appendJSONField appends a small value that has no encoder of its own.
func appendJSONField(b []byte, name string, v any) []byte {
	encoded, err := json.Marshal(v)
	if err != nil {
		encoded = nil // cannot happen: numbers, texts and times only
	}
	return appendRawField(b, name, encoded, "null")
}

// RunPolicy is what a run keeps of its deployment's policy; absent fields of a request are the deployment's.
type RunPolicy struct {
	Priority     *int      `json:"priority,omitempty"`
	QueueTimeout *Duration `json:"queue_timeout_seconds,omitempty"`
	RunTimeout   *Duration `json:"run_timeout_seconds,omitempty"`
}

// FlowRunPolicy is what policies say of a flow run.
type FlowRunPolicy struct {
	Priority        int       `json:"priority"` // 1 goes first
	QueueTimeout    *Duration `json:"queue_timeout_seconds"`
	RunTimeout      *Duration `json:"run_timeout_seconds"`
	CrashRetries    int       `json:"crash_retries"` // used, of CrashRetriesMax
	CrashRetriesMax int       `json:"crash_retries_max"`
	Deadline        *Time     `json:"deadline"`    // when the current state must be over
	ScheduleID      *ID       `json:"schedule_id"` // the further schedule that made it; null: the first one, or none
	Backfill        bool      `json:"backfill"`
}

func (p *FlowRunPolicy) appendJSON(b []byte) []byte {
	b = appendIntField(b, "priority", p.Priority)
	b = appendJSONField(b, "queue_timeout_seconds", p.QueueTimeout)
	b = appendJSONField(b, "run_timeout_seconds", p.RunTimeout)
	b = appendIntField(b, "crash_retries", p.CrashRetries)
	b = appendIntField(b, "crash_retries_max", p.CrashRetriesMax)
	b = appendTimePtrField(b, "deadline", p.Deadline)
	b = appendIDPtrField(b, "schedule_id", p.ScheduleID)
	return appendBoolField(b, "backfill", p.Backfill)
}

// DeploymentPatch is the body of PATCH /deployments/{id}; absent fields stay, null takes back to the default.
type DeploymentPatch struct {
	Schedule         Optional[Schedule]            `json:"schedule,omitzero"`
	IsScheduleActive *bool                         `json:"is_schedule_active,omitempty"`
	Parameters       json.RawMessage               `json:"parameters,omitempty"`
	Tags             []string                      `json:"tags,omitzero"`
	FlowRunner       Optional[FlowRunnerSettings]  `json:"flow_runner,omitzero"`
	Catchup          Catchup                       `json:"catchup,omitempty"`
	CatchupLimit     Optional[int]                 `json:"catchup_limit,omitzero"`
	ConcurrencyLimit Optional[int]                 `json:"concurrency_limit,omitzero"`
	OnConflict       Conflict                      `json:"on_conflict,omitempty"`
	Overlap          Overlap                       `json:"overlap,omitempty"`
	DST              Optional[DST]                 `json:"dst,omitzero"`
	OnCrash          Optional[OnCrash]             `json:"on_crash,omitzero"`
	QueueTimeout     Optional[Duration]            `json:"queue_timeout_seconds,omitzero"`
	RunTimeout       Optional[Duration]            `json:"run_timeout_seconds,omitzero"`
	Priority         Optional[int]                 `json:"priority,omitzero"`
	Retention        Optional[DeploymentRetention] `json:"retention,omitzero"` // null: as the cluster's
	IfRevision       *string                       `json:"if_revision,omitempty"`
}

// ScheduleEntry is one schedule of a deployment. The first one has the deployment's id: it is what Orion's clients see.
type ScheduleEntry struct {
	ID       ID       `json:"id"`
	Name     string   `json:"name,omitempty"`
	Schedule Schedule `json:"schedule"`
	Active   bool     `json:"active"`
	Next     []Time   `json:"next,omitempty"` // fire times to come, whether it is active or not
}

// ScheduleCreate is the body of POST /deployments/{id}/schedules.
type ScheduleCreate struct {
	Name     string   `json:"name,omitempty"`
	Schedule Schedule `json:"schedule"`
	Active   *bool    `json:"active,omitempty"`
}

// ScheduleUpdate is the body of PATCH /deployments/{id}/schedules/{schedule}.
type ScheduleUpdate struct {
	Name     *string   `json:"name,omitempty"`
	Schedule *Schedule `json:"schedule,omitempty"`
	Active   *bool     `json:"active,omitempty"`
}

// Backfill is the body of POST /deployments/{id}/backfill: runs of the fire times from StartTime to EndTime.
type Backfill struct {
	StartTime  Time `json:"start_time"`
	EndTime    Time `json:"end_time"`
	ScheduleID *ID  `json:"schedule_id,omitempty"` // default: the first schedule
	Limit      *int `json:"limit,omitempty"`       // default 100
	Priority   *int `json:"priority,omitempty"`    // default 900
	DryRun     bool `json:"dry_run,omitempty"`
}

// Backfilled is the answer to Backfill.
type Backfilled struct {
	Matched   int            `json:"matched"`   // fire times in the range
	Existing  int            `json:"existing"`  // of the first Limit, those that had runs
	Created   int            `json:"created"`   // runs made, or to be made by a dry run
	Remaining int            `json:"remaining"` // fire times beyond Limit
	DryRun    bool           `json:"dry_run"`
	Runs      []BackfilledAt `json:"runs"`
}

// BackfilledAt is one fire time of a backfill.
type BackfilledAt struct {
	ScheduledTime Time   `json:"scheduled_time"`
	FlowRunID     *ID    `json:"flow_run_id"` // null: it would be made
	Existing      bool   `json:"existing"`
	State         string `json:"state,omitempty"` // of a run that existed
}

// DeploymentPlan says what putting a deployment would change.
type DeploymentPlan struct {
	Action       string          `json:"action"` // create, update or unchanged
	DeploymentID *ID             `json:"deployment_id"`
	Revision     string          `json:"revision"` // for if_revision: "0" when there is none
	Changes      []PlannedChange `json:"changes"`
	Replaced     int             `json:"replaced_runs"` // waiting scheduled runs that would be made anew
	Next         []Time          `json:"next"`          // fire times to come
}

// PlannedChange is one field that would change.
type PlannedChange struct {
	Field string          `json:"field"`
	From  json.RawMessage `json:"from"`
	To    json.RawMessage `json:"to"`
}

// The actions of a DeploymentPlan.
const (
	PlanCreate    = "create"
	PlanUpdate    = "update"
	PlanUnchanged = "unchanged"
)
