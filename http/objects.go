package httpapi

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/row"
)

// Rows become objects of the API here, and nowhere else. With strict set, an object has no field Orion does not know.

// idOf reads a stored id, the nil id when empty.
func idOf(b []byte) (id api.ID) {
	copy(id[:], b)
	return id
}

func idRef(b []byte) *api.ID {
	if len(b) == 0 {
		return nil
	}
	id := idOf(b)
	return &id
}

func idsOf(list [][]byte) []api.ID {
	ids := make([]api.ID, len(list))
	for i, b := range list {
		ids[i] = idOf(b)
	}
	return ids
}

func timeOf(us int64) api.Time { return api.Time{Time: time.UnixMicro(us).UTC()} }

func timeRef(us int64) *api.Time {
	if us == 0 {
		return nil
	}
	t := timeOf(us)
	return &t
}

// zonedRef is the time us, nil for 0, as it is written so many seconds east of Greenwich.
func zonedRef(us int64, offset int32) *api.ZonedTime {
	if us == 0 {
		return nil
	}
	t := timeOf(us).Time
	if offset != 0 {
		t = t.In(time.FixedZone("", int(offset)))
	}
	return &api.ZonedTime{Time: t}
}

func durationOf(us int64) api.Duration { return api.Duration(us * 1000) }

func textRef(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// stateTypes are the API's words, by stored number.
var stateTypes = [...]api.StateType{"", api.Scheduled, api.Pending, api.Running, api.Completed, api.Failed, api.Cancelled}

func stateTypeOf(t row.StateType) api.StateType {
	if int(t) < len(stateTypes) {
		return stateTypes[t]
	}
	return ""
}

func flowObject(r *row.Flow) *api.Flow {
	return &api.Flow{ID: idOf(r.Id), Created: timeOf(r.Created), Updated: timeOf(r.Updated), Name: r.Name, Tags: r.Tags}
}

func dataObject(d *row.Data) *api.DataDocument {
	if d == nil {
		return nil
	}
	return &api.DataDocument{Encoding: d.Encoding, Blob: d.Blob}
}

func stateObject(r *row.State, strict bool) *api.State {
	if r == nil {
		return nil
	}
	s := &api.State{
		ID: idOf(r.Id), Type: stateTypeOf(r.Type), Name: r.Name, Timestamp: timeOf(r.Timestamp), Message: r.Message, Data: dataObject(r.Data),
	}
	if d := r.Details; d != nil {
		s.StateDetails = api.StateDetails{
			FlowRunID: idRef(d.FlowRunId), TaskRunID: idRef(d.TaskRunId), ChildFlowRunID: idRef(d.ChildFlowRunId),
			ScheduledTime: zonedRef(d.ScheduledTime, d.ScheduledOffset), CacheKey: d.CacheKey, CacheExpiration: timeRef(d.CacheExpiration),
		}
	}
	if !strict {
		s.StateNative = &api.StateNative{Actor: textRef(r.Actor)}
	}
	return s
}

func flowRunnerObject(r *row.FlowRunner) api.FlowRunnerSettings {
	if r == nil {
		return api.FlowRunnerSettings{}
	}
	return api.FlowRunnerSettings{Type: r.Type, Config: json.RawMessage(r.ConfigJson)}
}

// progress holds what the times of a run derive from.
type progress struct {
	state                       *row.State
	expected, start, total, now int64
}

// estimatedRunTime counts the present state while the run is running.
func (p progress) estimatedRunTime() api.Duration {
	total := p.total
	if p.state.GetType() == row.StateType_RUNNING {
		total += max(0, p.now-p.state.Timestamp)
	}
	return durationOf(total)
}

// estimatedStartTimeDelta is how much later than expected the run started, or is already without having started.
func (p progress) estimatedStartTimeDelta() api.Duration {
	switch {
	case p.expected == 0:
		return 0
	case p.start != 0:
		return durationOf(max(0, p.start-p.expected))
	case terminal(p.state.GetType()):
		return 0
	}
	return durationOf(max(0, p.now-p.expected))
}

func terminal(t row.StateType) bool {
	return t == row.StateType_COMPLETED || t == row.StateType_FAILED || t == row.StateType_CANCELLED
}

func flowProgress(r *row.FlowRun, now int64) progress {
	return progress{state: r.State, expected: r.ExpectedStartTime, start: r.StartTime, total: r.TotalRunTime, now: now}
}

func taskProgress(r *row.TaskRun, now int64) progress {
	return progress{state: r.State, expected: r.ExpectedStartTime, start: r.StartTime, total: r.TotalRunTime, now: now}
}

func flowRunObject(r *row.FlowRun, now int64, strict bool) *api.FlowRun {
	p := flowProgress(r, now)
	run := &api.FlowRun{
		ID: idOf(r.Id), Created: timeOf(r.Created), Updated: timeOf(r.Updated), Name: r.Name, FlowID: idOf(r.FlowId),
		DeploymentID: idRef(r.DeploymentId), FlowVersion: r.FlowVersion, Parameters: json.RawMessage(r.ParametersJson),
		IdempotencyKey: r.IdempotencyKey, Context: json.RawMessage(r.ContextJson), EmpiricalPolicy: json.RawMessage(r.EmpiricalPolicyJson),
		Tags: r.Tags, ParentTaskRunID: idRef(r.ParentTaskRunId), RunCount: int(r.RunCount),
		ExpectedStartTime: timeRef(r.ExpectedStartTime), NextScheduledStartTime: timeRef(r.NextScheduledStartTime),
		StartTime: timeRef(r.StartTime), EndTime: timeRef(r.EndTime), TotalRunTime: durationOf(r.TotalRunTime),
		EstimatedRunTime: p.estimatedRunTime(), EstimatedStartTimeDelta: p.estimatedStartTimeDelta(),
		AutoScheduled: r.AutoScheduled, FlowRunner: flowRunnerObject(r.FlowRunner), State: stateObject(r.State, strict),
	}
	if run.State != nil {
		run.StateID, run.StateType = &run.State.ID, &run.State.Type
	}
	if !strict {
		n := &api.FlowRunNative{WorkQueueID: idRef(r.WorkQueueId), AgentID: idRef(r.AgentId), AgentName: textRef(r.AgentName),
			Retries: int(r.Retries), RerunOf: idRef(r.RerunOf)}
		if run.State != nil {
			n.StateName, n.Actor = &run.State.Name, run.State.Actor
		}
		if r.Lease != nil {
			n.LeaseOwner = textRef(r.Lease.Owner)
		}
		n.Priority, n.CrashRetries, n.CrashRetriesMax = *priorityRef(r.Policy), int(r.CrashRetries), int(r.Policy.GetCrashRetries())
		n.QueueTimeout, n.RunTimeout = durationRef(r.Policy.GetQueueTimeout()), durationRef(r.Policy.GetRunTimeout())
		n.Deadline, n.ScheduleID, n.Backfill = timeRef(r.Deadline), idRef(r.ScheduleId), r.Backfill
		run.FlowRunNative = n
	}
	return run
}

func taskRunObject(r *row.TaskRun, now int64, strict bool) *api.TaskRun {
	p := taskProgress(r, now)
	run := &api.TaskRun{
		ID: idOf(r.Id), Created: timeOf(r.Created), Updated: timeOf(r.Updated), Name: r.Name, FlowRunID: idOf(r.FlowRunId),
		TaskKey: r.TaskKey, DynamicKey: r.DynamicKey, CacheKey: r.CacheKey, CacheExpiration: timeRef(r.CacheExpiration),
		TaskVersion:     r.TaskVersion,
		EmpiricalPolicy: api.TaskRunPolicy{MaxRetries: int(r.MaxRetries), RetryDelaySeconds: api.Seconds(r.RetryDelaySeconds)},
		Tags:            r.Tags, TaskInputs: json.RawMessage(r.TaskInputsJson), RunCount: int(r.RunCount),
		ExpectedStartTime: timeRef(r.ExpectedStartTime), NextScheduledStartTime: timeRef(r.NextScheduledStartTime),
		StartTime: timeRef(r.StartTime), EndTime: timeRef(r.EndTime), TotalRunTime: durationOf(r.TotalRunTime),
		EstimatedRunTime: p.estimatedRunTime(), EstimatedStartTimeDelta: p.estimatedStartTimeDelta(), State: stateObject(r.State, strict),
	}
	if run.State != nil {
		run.StateID, run.StateType = &run.State.ID, &run.State.Type
	}
	return run
}

var catchups = [...]api.Catchup{api.CatchupSkip, api.CatchupLatest, api.CatchupAll}

func deploymentObject(r *row.Deployment, strict bool) (*api.Deployment, error) {
	d := &api.Deployment{
		ID: idOf(r.Id), Created: timeOf(r.Created), Updated: timeOf(r.Updated), Name: r.Name, FlowID: idOf(r.FlowId),
		IsScheduleActive: r.IsScheduleActive, Parameters: json.RawMessage(r.ParametersJson), Tags: r.Tags, FlowRunner: flowRunnerObject(r.FlowRunner),
	}
	if data := dataObject(r.FlowData); data != nil {
		d.FlowData = *data
	}
	if len(r.ScheduleJson) > 0 && !bytes.Equal(r.ScheduleJson, []byte("null")) {
		d.Schedule = new(api.Schedule)
		if err := json.Unmarshal(r.ScheduleJson, d.Schedule); err != nil {
			return nil, err
		}
	}
	if !strict {
		n := &api.DeploymentNative{
			CatchupLimit: int(r.CatchupLimit), ParameterSchema: json.RawMessage(r.ParameterSchemaJson), Entrypoint: textRef(r.Entrypoint),
			Retention: retentionObjectOf(r.Retention),
		}
		if int(r.Catchup) < len(catchups) {
			n.Catchup = catchups[r.Catchup]
		}
		if n.CatchupLimit == 0 {
			n.CatchupLimit = api.DefaultCatchupLimit
		}
		n.Policy, n.Revision = policyObject(r.Policy), strconv.FormatUint(r.Revision, 10)
		schedules, err := scheduleEntries(r)
		if err != nil {
			return nil, err
		}
		n.Schedules = schedules
		d.DeploymentNative = n
	}
	return d, nil
}

func queueFilterObject(f *row.QueueFilter) (out api.QueueFilter) {
	if f.GetHasTags() {
		out.Tags = append([]string{}, f.Tags...)
	}
	if f.GetHasDeploymentIds() {
		out.DeploymentIDs = idsOf(f.DeploymentIds)
	}
	if f.GetHasFlowRunnerTypes() {
		out.FlowRunnerTypes = append([]string{}, f.FlowRunnerTypes...)
	}
	return out
}

// workQueueObject takes how many slots are in use; strict clients are not told.
func workQueueObject(r *row.WorkQueue, slots int, strict bool) *api.WorkQueue {
	q := &api.WorkQueue{
		ID: idOf(r.Id), Created: timeOf(r.Created), Updated: timeOf(r.Updated), Filter: queueFilterObject(r.Filter), Name: r.Name,
		Description: r.Description, IsPaused: r.IsPaused,
	}
	if r.ConcurrencyLimit != nil {
		limit := int(*r.ConcurrencyLimit)
		q.ConcurrencyLimit = &limit
	}
	if !strict {
		q.WorkQueueNative = &api.WorkQueueNative{SlotsInUse: slots}
	}
	return q
}

func blockSpecObject(r *row.BlockSpec) *api.BlockSpec {
	return &api.BlockSpec{
		ID: idOf(r.Id), Created: timeOf(r.Created), Updated: timeOf(r.Updated), Name: r.Name, Version: r.Version, Type: r.Type,
		Fields: json.RawMessage(r.FieldsJson),
	}
}

// blockObject leaves created and updated null, as Orion does.
func blockObject(r *row.Block, data []byte, spec *row.BlockSpec) *api.Block {
	b := &api.Block{ID: idOf(r.Id), Name: r.Name, Data: json.RawMessage(data), BlockSpecID: idOf(r.BlockSpecId)}
	if spec != nil {
		b.BlockSpec = blockSpecObject(spec)
	}
	return b
}

func limitObject(r *row.ConcurrencyLimit, slots []api.ID) *api.ConcurrencyLimit {
	return &api.ConcurrencyLimit{
		ID: idOf(r.Id), Created: timeOf(r.Created), Updated: timeOf(r.Updated), Tag: r.Tag, ConcurrencyLimit: int(r.Limit), ActiveSlots: slots,
	}
}
