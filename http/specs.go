package httpapi

import (
	"math"

	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/http/internal/body"
)

// What request bodies may hold. Bodies that become a command are decoded into it directly.

var texts = body.List(body.Text)
var ids = body.List(body.UUIDBytes)

var stateTypeKind = body.Enum(
	[]string{"SCHEDULED", "PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED"},
	[]row.StateType{row.StateType_SCHEDULED, row.StateType_PENDING, row.StateType_RUNNING, row.StateType_COMPLETED, row.StateType_FAILED, row.StateType_CANCELLED},
)

var dataSpec = body.Strict(
	body.Required("encoding", body.Text, func(v *row.Data) *string { return &v.Encoding }),
	body.Required("blob", body.Blob, func(v *row.Data) *string { return &v.Blob }),
)

// details keeps the offset a scheduled time came with: answers show it.
type details struct {
	row       row.StateDetails
	scheduled body.Moment
}

var detailsSpec = body.Strict(
	body.Nullable("flow_run_id", body.UUIDBytes, func(v *details) *[]byte { return &v.row.FlowRunId }),
	body.Nullable("task_run_id", body.UUIDBytes, func(v *details) *[]byte { return &v.row.TaskRunId }),
	body.Nullable("child_flow_run_id", body.UUIDBytes, func(v *details) *[]byte { return &v.row.ChildFlowRunId }),
	body.Nullable("scheduled_time", body.MomentOf, func(v *details) *body.Moment { return &v.scheduled }),
	body.Nullable("cache_key", body.TextRef, func(v *details) **string { return &v.row.CacheKey }),
	body.Nullable("cache_expiration", body.Time, func(v *details) *int64 { return &v.row.CacheExpiration }),
)

func detailsKind(d *body.Decoder, n int) (*row.StateDetails, bool) {
	v, ok := detailsSpec.Ref()(d, n)
	v.row.ScheduledTime, v.row.ScheduledOffset = v.scheduled.Micros, v.scheduled.Offset
	return &v.row, ok
}

var stateSpec = body.Strict(
	body.Required("type", stateTypeKind, func(v *command.ProposedState) *row.StateType { return &v.Type }),
	body.Nullable("name", body.Text, func(v *command.ProposedState) *string { return &v.Name }),
	body.Nullable("message", body.ProseRef, func(v *command.ProposedState) **string { return &v.Message }),
	body.Nullable("data", dataSpec.Ref(), func(v *command.ProposedState) **row.Data { return &v.Data }),
	body.Optional("state_details", detailsKind, func(v *command.ProposedState) **row.StateDetails { return &v.Details }),
)

var setStateSpec = body.Parameters(
	body.Required("state", stateSpec.Ref(), func(v *command.SetState) **command.ProposedState { return &v.State }),
	body.Optional("force", body.Bool, func(v *command.SetState) *bool { return &v.Force }),
	body.Optional("replace_terminal", body.Bool, func(v *command.SetState) *bool { return &v.ReplaceTerminal }).Ours(),
)

var flowRunnerSpec = body.Strict(
	body.Nullable("type", body.TextRef, func(v *row.FlowRunner) **string { return &v.Type }),
	body.Nullable("config", body.RawObject, func(v *row.FlowRunner) *[]byte { return &v.ConfigJson }),
).Check(noMask)

var createFlowSpec = body.Strict(
	body.Required("name", body.Name, func(v *command.CreateFlow) *string { return &v.Name }),
	body.Optional("tags", texts, func(v *command.CreateFlow) *[]string { return &v.Tags }),
)

var updateFlowSpec = body.Strict(
	body.Optional("tags", texts, func(v *command.UpdateFlow) *[]string { return &v.Tags }).
		Marked(func(v *command.UpdateFlow) *bool { return &v.HasTags }),
)

var createFlowRunSpec = body.Strict(
	body.Nullable("name", body.Text, func(v *command.CreateFlowRun) *string { return &v.Name }),
	body.Required("flow_id", body.UUIDBytes, func(v *command.CreateFlowRun) *[]byte { return &v.FlowId }),
	body.Nullable("deployment_id", body.UUIDBytes, func(v *command.CreateFlowRun) *[]byte { return &v.DeploymentId }),
	body.Nullable("flow_version", body.TextRef, func(v *command.CreateFlowRun) **string { return &v.FlowVersion }),
	body.Optional("parameters", body.RawObject, func(v *command.CreateFlowRun) *[]byte { return &v.ParametersJson }),
	body.Nullable("idempotency_key", body.TextRef, func(v *command.CreateFlowRun) **string { return &v.IdempotencyKey }),
	body.Optional("context", body.RawObject, func(v *command.CreateFlowRun) *[]byte { return &v.ContextJson }),
	body.Optional("tags", texts, func(v *command.CreateFlowRun) *[]string { return &v.Tags }),
	body.Nullable("parent_task_run_id", body.UUIDBytes, func(v *command.CreateFlowRun) *[]byte { return &v.ParentTaskRunId }),
	body.Nullable("flow_runner", flowRunnerSpec.Ref(), func(v *command.CreateFlowRun) **row.FlowRunner { return &v.FlowRunner }),
	body.Nullable("state", stateSpec.Ref(), func(v *command.CreateFlowRun) **command.ProposedState { return &v.State }),
)

// orionDeploymentFlowRunSpec is what Orion's clients may send.
var orionDeploymentFlowRunSpec = body.Strict(deploymentFlowRunFields()...)

var deploymentFlowRunSpec = body.Strict(deploymentFlowRunFields(runPolicyFields(policyOfRun)...)...)

func deploymentFlowRunFields(more ...body.Field[command.CreateFlowRun]) []body.Field[command.CreateFlowRun] {
	return append([]body.Field[command.CreateFlowRun]{
		body.Nullable("name", body.Text, func(v *command.CreateFlowRun) *string { return &v.Name }),
		body.Optional("parameters", body.RawObject, func(v *command.CreateFlowRun) *[]byte { return &v.ParametersJson }),
		body.Nullable("idempotency_key", body.TextRef, func(v *command.CreateFlowRun) **string { return &v.IdempotencyKey }),
		body.Optional("context", body.RawObject, func(v *command.CreateFlowRun) *[]byte { return &v.ContextJson }),
		body.Optional("tags", texts, func(v *command.CreateFlowRun) *[]string { return &v.Tags }),
		body.Nullable("flow_runner", flowRunnerSpec.Ref(), func(v *command.CreateFlowRun) **row.FlowRunner { return &v.FlowRunner }),
		body.Nullable("state", stateSpec.Ref(), func(v *command.CreateFlowRun) **command.ProposedState { return &v.State }),
	}, more...)
}

var updateFlowRunSpec = body.Strict(
	body.Nullable("flow_version", body.TextRef, func(v *command.UpdateFlowRun) **string { return &v.FlowVersion }).
		Marked(func(v *command.UpdateFlowRun) *bool { return &v.HasFlowVersion }),
	body.Optional("parameters", body.RawObject, func(v *command.UpdateFlowRun) *[]byte { return &v.ParametersJson }).
		Marked(func(v *command.UpdateFlowRun) *bool { return &v.HasParameters }),
	body.Optional("name", body.Text, func(v *command.UpdateFlowRun) *string { return &v.Name }).
		Marked(func(v *command.UpdateFlowRun) *bool { return &v.HasName }),
	body.Nullable("flow_runner", flowRunnerSpec.Ref(), func(v *command.UpdateFlowRun) **row.FlowRunner { return &v.FlowRunner }).
		Marked(func(v *command.UpdateFlowRun) *bool { return &v.HasFlowRunner }),
)

// longestDelay is ten years in seconds: what is longer means never, and its time cannot be reckoned with.
const longestDelay = 10 * 365 * 24 * 60 * 60

// taskPolicy is the retry policy of a task run.
type taskPolicy struct {
	retries int32
	delay   float64
}

var taskPolicySpec = body.Strict(
	body.Optional("max_retries", body.Int32, func(v *taskPolicy) *int32 { return &v.retries }),
	body.Optional("retry_delay_seconds", body.FloatBetween(0, longestDelay), func(v *taskPolicy) *float64 { return &v.delay }),
)

type taskRunCreate struct {
	command command.CreateTaskRun
	policy  taskPolicy
}

var createTaskRunSpec = body.Strict(
	body.Nullable("name", body.Text, func(v *taskRunCreate) *string { return &v.command.Name }),
	body.Required("flow_run_id", body.UUIDBytes, func(v *taskRunCreate) *[]byte { return &v.command.FlowRunId }),
	body.Required("task_key", body.Text, func(v *taskRunCreate) *string { return &v.command.TaskKey }),
	body.Required("dynamic_key", body.Text, func(v *taskRunCreate) *string { return &v.command.DynamicKey }),
	body.Nullable("cache_key", body.TextRef, func(v *taskRunCreate) **string { return &v.command.CacheKey }),
	body.Nullable("cache_expiration", body.Time, func(v *taskRunCreate) *int64 { return &v.command.CacheExpiration }),
	body.Nullable("task_version", body.TextRef, func(v *taskRunCreate) **string { return &v.command.TaskVersion }),
	body.Optional("empirical_policy", taskPolicySpec.Kind(), func(v *taskRunCreate) *taskPolicy { return &v.policy }),
	body.Optional("tags", texts, func(v *taskRunCreate) *[]string { return &v.command.Tags }),
	body.Optional("task_inputs", taskInputsKind, func(v *taskRunCreate) *[]byte { return &v.command.TaskInputsJson }),
	body.Nullable("state", stateSpec.Ref(), func(v *taskRunCreate) **command.ProposedState { return &v.command.State }),
)

var catchupKind = body.Enum([]string{"skip", "latest", "all"}, []row.Deployment_Catchup{row.Deployment_SKIP, row.Deployment_LATEST, row.Deployment_ALL})

var putDeploymentSpec = body.Strict(putDeploymentFields(meantScheduleKind, append([]body.Field[command.PutDeployment]{
	body.Nullable("catchup", catchupKind, func(v *command.PutDeployment) *row.Deployment_Catchup { return &v.Catchup }),
	body.Nullable("catchup_limit", int32Between(1, math.MaxInt32), func(v *command.PutDeployment) *int32 { return &v.CatchupLimit }),
	body.Nullable("parameter_schema", body.RawObject, func(v *command.PutDeployment) *[]byte { return &v.ParameterSchemaJson }),
	body.Nullable("entrypoint", body.Text, func(v *command.PutDeployment) *string { return &v.Entrypoint }),
	body.Nullable("retention", deploymentRetentionSpec.Ref(), func(v *command.PutDeployment) **row.Retention { return &v.Retention }),
	body.Nullable("if_revision", revisionKind, func(v *command.PutDeployment) **uint64 { return &v.IfRevision }),
	body.Nullable("schedules", body.List(namedScheduleSpec.Ref()), func(v *command.PutDeployment) *[]*command.NamedSchedule { return &v.Schedules }).
		Filled(func(v *command.PutDeployment) *bool { return &v.HasSchedules }),
}, policyFields(policyOfPut)...)...)...).Defaults(defaultDeployment)

var namedScheduleSpec = body.Strict(
	body.Optional("name", body.TextUpTo(longestScheduleName), func(v *command.NamedSchedule) *string { return &v.Name }),
	body.Required("schedule", meantScheduleKind, func(v *command.NamedSchedule) *[]byte { return &v.ScheduleJson }),
	body.Nullable("active", boolRef, func(v *command.NamedSchedule) **bool { return &v.Active }),
)

// longestScheduleName bounds, in bytes, what a schedule is called.
const longestScheduleName = 200

func boolRef(d *body.Decoder, n int) (*bool, bool) {
	v, ok := body.Bool(d, n)
	return &v, ok
}

// patchDeploymentSpec takes what is sent; null takes a field back to its default.
var patchDeploymentSpec = body.Strict(append(patchPolicyFields(),
	body.Nullable("schedule", meantScheduleKind, func(v *command.PatchDeployment) *[]byte { return &v.ScheduleJson }).
		Marked(func(v *command.PatchDeployment) *bool { return &v.HasSchedule }),
	body.Optional("is_schedule_active", body.Bool, func(v *command.PatchDeployment) *bool { return &v.IsScheduleActive }).
		Marked(func(v *command.PatchDeployment) *bool { return &v.HasScheduleActive }),
	body.Optional("parameters", body.RawObject, func(v *command.PatchDeployment) *[]byte { return &v.ParametersJson }).
		Marked(func(v *command.PatchDeployment) *bool { return &v.HasParameters }),
	body.Optional("tags", texts, func(v *command.PatchDeployment) *[]string { return &v.Tags }).
		Marked(func(v *command.PatchDeployment) *bool { return &v.HasTags }),
	body.Nullable("flow_runner", flowRunnerSpec.Ref(), func(v *command.PatchDeployment) **row.FlowRunner { return &v.FlowRunner }).
		Marked(func(v *command.PatchDeployment) *bool { return &v.HasFlowRunner }),
	body.Nullable("catchup", catchupKind, func(v *command.PatchDeployment) *row.Deployment_Catchup { return &v.Catchup }).
		Marked(func(v *command.PatchDeployment) *bool { return &v.HasCatchup }),
	body.Nullable("catchup_limit", int32Between(1, math.MaxInt32), func(v *command.PatchDeployment) *int32 { return &v.CatchupLimit }).
		Marked(func(v *command.PatchDeployment) *bool { return &v.HasCatchupLimit }),
	body.Nullable("retention", deploymentRetentionSpec.Ref(), func(v *command.PatchDeployment) **row.Retention { return &v.Retention }).
		Marked(func(v *command.PatchDeployment) *bool { return &v.HasRetention }),
	body.Nullable("if_revision", revisionKind, func(v *command.PatchDeployment) **uint64 { return &v.IfRevision }),
)...)

func patchPolicyFields() []body.Field[command.PatchDeployment] {
	fields := policyFields(policyOfPatch)
	for i, mark := range []func(*command.PatchDeployment) *bool{
		func(v *command.PatchDeployment) *bool { return &v.HasConcurrencyLimit }, func(v *command.PatchDeployment) *bool { return &v.HasOnConflict },
		func(v *command.PatchDeployment) *bool { return &v.HasOverlap }, func(v *command.PatchDeployment) *bool { return &v.HasDst },
		func(v *command.PatchDeployment) *bool { return &v.HasOnCrash }, func(v *command.PatchDeployment) *bool { return &v.HasQueueTimeout },
		func(v *command.PatchDeployment) *bool { return &v.HasRunTimeout }, func(v *command.PatchDeployment) *bool { return &v.HasPriority },
	} {
		fields[i] = fields[i].Marked(mark)
	}
	return fields
}

// putOrionDeploymentSpec is what Orion's clients may send.
var putOrionDeploymentSpec = body.Strict(putDeploymentFields(scheduleKind)...).Defaults(defaultDeployment)

func defaultDeployment(v *command.PutDeployment) { v.IsScheduleActive = true }

func putDeploymentFields(schedule body.Kind[[]byte], more ...body.Field[command.PutDeployment]) []body.Field[command.PutDeployment] {
	return append([]body.Field[command.PutDeployment]{
		body.Required("name", body.Name, func(v *command.PutDeployment) *string { return &v.Name }),
		body.Required("flow_id", body.UUIDBytes, func(v *command.PutDeployment) *[]byte { return &v.FlowId }),
		body.Required("flow_data", dataSpec.Ref(), func(v *command.PutDeployment) **row.Data { return &v.FlowData }),
		body.Nullable("schedule", schedule, func(v *command.PutDeployment) *[]byte { return &v.ScheduleJson }),
		body.Optional("is_schedule_active", body.Bool, func(v *command.PutDeployment) *bool { return &v.IsScheduleActive }),
		body.Optional("parameters", body.RawObject, func(v *command.PutDeployment) *[]byte { return &v.ParametersJson }),
		body.Optional("tags", texts, func(v *command.PutDeployment) *[]string { return &v.Tags }),
		body.Nullable("flow_runner", flowRunnerSpec.Ref(), func(v *command.PutDeployment) **row.FlowRunner { return &v.FlowRunner }),
	}, more...)
}

func int32Between(low, high int64) body.Kind[int32] {
	kind := body.IntBetween(low, high)
	return func(d *body.Decoder, n int) (int32, bool) {
		v, ok := kind(d, n)
		return int32(v), ok
	}
}

var queueFilterSpec = body.Strict(
	body.Nullable("tags", texts, func(v *row.QueueFilter) *[]string { return &v.Tags }).Filled(func(v *row.QueueFilter) *bool { return &v.HasTags }),
	body.Nullable("deployment_ids", ids, func(v *row.QueueFilter) *[][]byte { return &v.DeploymentIds }).Filled(func(v *row.QueueFilter) *bool { return &v.HasDeploymentIds }),
	body.Nullable("flow_runner_types", texts, func(v *row.QueueFilter) *[]string { return &v.FlowRunnerTypes }).Filled(func(v *row.QueueFilter) *bool { return &v.HasFlowRunnerTypes }),
)

// queueLimit is how many runs of a queue may hold a slot.
func queueLimit(d *body.Decoder, n int) (*int32, bool) {
	v, ok := int32Between(0, math.MaxInt32)(d, n)
	return &v, ok
}

var createWorkQueueSpec = body.Strict(
	body.Optional("filter", queueFilterSpec.Ref(), func(v *command.CreateWorkQueue) **row.QueueFilter { return &v.Filter }),
	body.Required("name", body.Name, func(v *command.CreateWorkQueue) *string { return &v.Name }),
	body.Nullable("description", body.Text, func(v *command.CreateWorkQueue) *string { return &v.Description }),
	body.Optional("is_paused", body.Bool, func(v *command.CreateWorkQueue) *bool { return &v.IsPaused }),
	body.Nullable("concurrency_limit", queueLimit, func(v *command.CreateWorkQueue) **int32 { return &v.ConcurrencyLimit }),
)

var updateWorkQueueSpec = body.Strict(
	body.Optional("filter", queueFilterSpec.Ref(), func(v *command.UpdateWorkQueue) **row.QueueFilter { return &v.Filter }).
		Marked(func(v *command.UpdateWorkQueue) *bool { return &v.HasFilter }),
	body.Optional("name", body.Name, func(v *command.UpdateWorkQueue) *string { return &v.Name }).
		Marked(func(v *command.UpdateWorkQueue) *bool { return &v.HasName }),
	body.Nullable("description", body.Text, func(v *command.UpdateWorkQueue) *string { return &v.Description }).
		Marked(func(v *command.UpdateWorkQueue) *bool { return &v.HasDescription }),
	body.Optional("is_paused", body.Bool, func(v *command.UpdateWorkQueue) *bool { return &v.IsPaused }).
		Marked(func(v *command.UpdateWorkQueue) *bool { return &v.HasIsPaused }),
	body.Nullable("concurrency_limit", queueLimit, func(v *command.UpdateWorkQueue) **int32 { return &v.ConcurrencyLimit }).
		Marked(func(v *command.UpdateWorkQueue) *bool { return &v.HasConcurrencyLimit }),
)

var createBlockSpecSpec = body.Strict(
	body.Required("name", body.Name, func(v *command.CreateBlockSpec) *string { return &v.Name }),
	body.Required("version", body.Name, func(v *command.CreateBlockSpec) *string { return &v.Version }),
	body.Nullable("type", body.TextRef, func(v *command.CreateBlockSpec) **string { return &v.Type }),
	body.Optional("fields", body.RawObject, func(v *command.CreateBlockSpec) *[]byte { return &v.FieldsJson }),
)

var createBlockBody = body.Strict(
	body.Required("name", body.Name, func(v *command.CreateBlock) *string { return &v.Name }),
	body.Optional("data", body.RawObject, func(v *command.CreateBlock) *[]byte { return &v.DataJson }),
	body.Required("block_spec_id", body.UUIDBytes, func(v *command.CreateBlock) *[]byte { return &v.BlockSpecId }),
)

var updateBlockBody = body.Strict(
	body.Nullable("name", body.Name, func(v *command.UpdateBlock) *string { return &v.Name }).
		Filled(func(v *command.UpdateBlock) *bool { return &v.HasName }),
	body.Nullable("data", body.RawObject, func(v *command.UpdateBlock) *[]byte { return &v.DataJson }).
		Filled(func(v *command.UpdateBlock) *bool { return &v.HasData }),
)

var putLimitSpec = body.Strict(
	body.Required("tag", body.Text, func(v *command.PutConcurrencyLimit) *string { return &v.Tag }),
	body.Required("concurrency_limit", int32Between(0, math.MaxInt32), func(v *command.PutConcurrencyLimit) *int32 { return &v.Limit }),
)

// logLine is one element of the body of POST /logs/.
type logLine struct {
	log       row.Log
	flowRunID [16]byte
}

var logSpec = body.Strict(
	body.Required("name", body.Text, func(v *logLine) *string { return &v.log.Name }),
	body.Required("level", body.Int32, func(v *logLine) *int32 { return &v.log.Level }),
	body.Required("message", body.Prose, func(v *logLine) *string { return &v.log.Message }),
	body.Required("timestamp", body.Time, func(v *logLine) *int64 { return &v.log.Timestamp }),
	body.Required("flow_run_id", body.UUID, func(v *logLine) *[16]byte { return &v.flowRunID }),
	body.Nullable("task_run_id", body.UUIDBytes, func(v *logLine) *[]byte { return &v.log.TaskRunId }),
)

var logKind = logSpec.Ref()
