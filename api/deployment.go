package api

import "encoding/json"

// Deployment is a flow with what is needed to run it without its author: code, parameters, tags, schedule, flow runner.
type Deployment struct {
	ID               ID                 `json:"id"`
	Created          Time               `json:"created"`
	Updated          Time               `json:"updated"`
	Name             string             `json:"name"`
	FlowID           ID                 `json:"flow_id"`
	FlowData         DataDocument       `json:"flow_data"`
	Schedule         *Schedule          `json:"schedule"`
	IsScheduleActive bool               `json:"is_schedule_active"`
	Parameters       json.RawMessage    `json:"parameters"`
	Tags             []string           `json:"tags"`
	FlowRunner       FlowRunnerSettings `json:"flow_runner"`
	*DeploymentNative
}

// DeploymentNative holds what Sluice adds to a Deployment.
type DeploymentNative struct {
	Catchup         Catchup         `json:"catchup"`
	CatchupLimit    int             `json:"catchup_limit"`    // runs made up at most, for CatchupAll
	ParameterSchema json.RawMessage `json:"parameter_schema"` // JSON Schema or null
	Entrypoint      *string         `json:"entrypoint"`       // where the code came from; shown only
	// Retention is what differs from the cluster's, null for nothing.
	Retention *DeploymentRetention `json:"retention"`
	Policy
	Schedules []ScheduleEntry `json:"schedules"` // all of them, the first one too
	Revision  string          `json:"revision"`  // changes with the deployment; see if_revision
}

// Catchup says what happens to fires that were missed while no leader could make them.
type Catchup string

// The catch-up policies. CatchupSkip is the default.
const (
	CatchupSkip   Catchup = "skip"
	CatchupLatest Catchup = "latest"
	CatchupAll    Catchup = "all"
)

// DefaultCatchupLimit bounds CatchupAll when the deployment names no limit.
const DefaultCatchupLimit = 100

// DeploymentCreate is the body of POST /deployments/. The deployment of that flow and name is replaced if there is one;
// its flow runner only if one is sent.
type DeploymentCreate struct {
	Name             string               `json:"name"`
	FlowID           ID                   `json:"flow_id"`
	FlowData         DataDocument         `json:"flow_data"`
	Schedule         *Schedule            `json:"schedule,omitempty"`
	IsScheduleActive *bool                `json:"is_schedule_active,omitempty"`
	Tags             []string             `json:"tags,omitzero"`
	Parameters       json.RawMessage      `json:"parameters,omitempty"`
	FlowRunner       *FlowRunnerSettings  `json:"flow_runner,omitempty"`
	Catchup          Catchup              `json:"catchup,omitempty"`
	CatchupLimit     *int                 `json:"catchup_limit,omitempty"`
	ParameterSchema  json.RawMessage      `json:"parameter_schema,omitempty"`
	Entrypoint       *string              `json:"entrypoint,omitempty"`
	Retention        *DeploymentRetention `json:"retention,omitempty"`
	Policy
	// Schedules are all that the deployment is to have, instead of Schedule and those it has; nil leaves the further ones alone.
	Schedules  []ScheduleCreate `json:"schedules,omitzero"`
	IfRevision *string          `json:"if_revision,omitempty"` // refused when the stored one has another; "0": there must be none
}

// DeploymentFlowRunCreate is the body of POST /deployments/{id}/create_flow_run.
type DeploymentFlowRunCreate struct {
	Name           *string             `json:"name,omitempty"`
	Parameters     json.RawMessage     `json:"parameters,omitempty"` // laid over the deployment's, key by key
	Context        json.RawMessage     `json:"context,omitempty"`
	Tags           []string            `json:"tags,omitzero"` // added to the deployment's
	IdempotencyKey *string             `json:"idempotency_key,omitempty"`
	FlowRunner     *FlowRunnerSettings `json:"flow_runner,omitempty"`
	State          *StateCreate        `json:"state,omitempty"`
	RunPolicy
}

// DeploymentSchedule is the body of POST /deployments/{id}/schedule.
type DeploymentSchedule struct {
	StartTime *Time `json:"start_time,omitempty"`
	EndTime   *Time `json:"end_time,omitempty"`
	MaxRuns   *int  `json:"max_runs,omitempty"`
}

// AppendJSON appends the deployment's JSON to b.
func (d *Deployment) AppendJSON(b []byte) []byte {
	b = append(b, '{')
	b = appendIDField(b, "id", d.ID)
	b = appendTimeField(b, "created", d.Created)
	b = appendTimeField(b, "updated", d.Updated)
	b = appendStringField(b, "name", d.Name)
	b = appendIDField(b, "flow_id", d.FlowID)
	b = appendKey(b, "flow_data")
	b = d.FlowData.appendJSON(b)
	b = appendRawField(b, "schedule", d.scheduleJSON(), "null")
	b = appendBoolField(b, "is_schedule_active", d.IsScheduleActive)
	b = appendRawField(b, "parameters", d.Parameters, "{}")
	b = appendStringsField(b, "tags", d.Tags)
	b = appendKey(b, "flow_runner")
	b = d.FlowRunner.appendJSON(b)
	if n := d.DeploymentNative; n != nil {
		b = appendStringField(b, "catchup", string(n.Catchup))
		b = appendIntField(b, "catchup_limit", n.CatchupLimit)
		b = appendRawField(b, "parameter_schema", n.ParameterSchema, "null")
		b = appendStringPtrField(b, "entrypoint", n.Entrypoint)
		b = appendRawField(b, "retention", n.retentionJSON(), "null")
		b = n.Policy.appendJSON(b)
		b = appendJSONField(b, "schedules", n.Schedules)
		b = appendStringField(b, "revision", n.Revision)
	}
	return append(b, '}')
}

func (n *DeploymentNative) retentionJSON() json.RawMessage {
	if n.Retention == nil {
		return nil
	}
	encoded, err := json.Marshal(n.Retention)
	if err != nil {
		return nil // cannot happen: it holds only ages and numbers
	}
	return encoded
}

func (d *Deployment) scheduleJSON() json.RawMessage {
	if d.Schedule == nil {
		return nil
	}
	encoded, err := json.Marshal(d.Schedule)
	if err != nil {
		return nil // cannot happen: a schedule holds only strings, numbers and times
	}
	return encoded
}

// MarshalJSON encodes the deployment.
func (d Deployment) MarshalJSON() ([]byte, error) { return d.AppendJSON(make([]byte, 0, 1024)), nil }
