package state

import (
	"slices"

	"github.com/sluice-dev/sluice/fsm/row"
)

// Numbers of tables and indexes are part of the stored format: append, never reuse.
const (
	idxFlowName           = 1
	idxRunDue             = 2
	idxRunIdempotency     = 3
	idxRunLeased          = 4
	idxRunDeployment      = 5
	idxRunFlow            = 6
	idxRunStateType       = 7
	idxRunParentTask      = 8
	idxRunName            = 9
	idxRunExpectedStart   = 10
	idxFlowRunStateID     = 11
	idxTaskRunFlowRun     = 12
	idxTaskRunDynamicKey  = 13
	idxTaskRunStateID     = 14
	idxDeploymentName     = 15
	idxDeploymentSchedule = 16
	idxWorkQueueName      = 17
	idxBlockSpecName      = 18
	idxBlockName          = 19
	idxLimitTag           = 20
	idxSlotRun            = 21
	idxClaimCreated       = 22
	idxRunDeploymentDue   = 23
	idxTaskRunRunning     = 24
	idxJobActive          = 70
	idxOutcomeCreated     = 71
	idxDeploymentGated    = 60
	idxRunDeadline        = 61

	idxAuditObject = 40
	idxTokenHash   = 41
	idxTokenName   = 42

	idxRunFinished     = 100
	idxLogsNewest      = 101
	idxCacheExpiration = 102
	idxWebhookName     = 103
	idxDeliveryID      = 104
	idxDeliveryWaiting = 105
	idxDeliveryEnded   = 106
)

// Of lists, by what they are asked for.
const (
	idxRunDeploymentTime = 80
	idxRunFlowTime       = 81
	idxRunTypeTime       = 82
	idxRunTagTime        = 83
	idxRunQueueTime      = 84
	idxRunStateName      = 85
	idxRunEndTime        = 86
	idxRunStartTime      = 87
	idxTaskRunTypeTime   = 88
	idxTaskRunTagTime    = 89

	idxRunDeploymentStateName = 145
	idxRunFlowStateName       = 146
)

// Of charts over time.
const (
	idxFlowRunTimeline      = 50
	idxTaskRunTimeline      = 51
	idxTaskRunExpectedStart = 52
)

// Counters kept beside the flow runs.
const (
	countRunsByState      = 1  // state type
	countRunsByDeployment = 2  // deployment, state type
	countRunsByFlow       = 3  // flow, state type
	countRunsByQueue      = 10 // queue of the last claim, state type
	countRunsByStateName  = 11 // state type, state name; without states that have their type's name
	countRunsByTag        = 12 // tag, state type
	countTaskRunsByState  = 13 // state type
	countTaskRunsByTag    = 14 // tag, state type

	// Of states that do not have their type's name.
	countRunsByDeploymentStateName = 30 // deployment, state type, state name
	countRunsByFlowStateName       = 31 // flow, state type, state name

	// Of each deployment, and of none.
	countRunsFinished = 100
	countRunsWithLogs = 101
	// Of each webhook.
	countDeliveriesWaiting = 102
	countDeliveriesEnded   = 103
	countWebhooks          = 104
)

// appendTypeTime appends what ends the keys of the time indexes.
func appendTypeTime(dst []byte, s *row.State, expected int64, id []byte) []byte {
	return appendID(appendTime(append(dst, byte(s.GetType())), expected), id)
}

// defaultNames are the names of states whose proposers gave none, by type. Part of the stored format.
var defaultNames = [...]string{row.StateType_SCHEDULED: "Scheduled", row.StateType_PENDING: "Pending", row.StateType_RUNNING: "Running",
	row.StateType_COMPLETED: "Completed", row.StateType_FAILED: "Failed", row.StateType_CANCELLED: "Cancelled"}

// DefaultStateName returns the name of states of that type that were given none, "" for a type that does not exist.
func DefaultStateName(t row.StateType) string {
	if t < 0 || int(t) >= len(defaultNames) {
		return ""
	}
	return defaultNames[t]
}

// named reports whether a state has a name of its own.
func named(s *row.State) bool { return s != nil && s.Name != DefaultStateName(s.Type) }

func indexKey(number byte) []byte   { return prefix(kindIndex, number) }
func counterKey(number byte) []byte { return prefix(kindCounter, number) }

var flows = &table[row.Flow, *row.Flow]{
	number: 1, name: "flow",
	key: func(dst []byte, r *row.Flow) []byte { return appendID(dst, r.Id) },
	indexes: []index[*row.Flow]{
		{idxFlowName, "name", true, first, func(r *row.Flow, add func([]byte)) { add(appendText(indexKey(idxFlowName), r.Name)) }},
	},
}

var flowRuns = &table[row.FlowRun, *row.FlowRun]{
	number: 2, name: "flow_run",
	key: func(dst []byte, r *row.FlowRun) []byte { return appendID(dst, r.Id) },
	indexes: []index[*row.FlowRun]{
		// Only what waits for its time: type SCHEDULED with a time.
		{idxRunDue, "due", false, first, func(r *row.FlowRun, add func([]byte)) {
			if r.GetState().GetType() == row.StateType_SCHEDULED && r.NextScheduledStartTime != 0 {
				add(appendID(appendTime(indexKey(idxRunDue), r.NextScheduledStartTime), r.Id))
			}
		}},
		{idxRunIdempotency, "idempotency", true, first, func(r *row.FlowRun, add func([]byte)) {
			if r.IdempotencyKey != nil {
				add(appendText(appendID(indexKey(idxRunIdempotency), r.FlowId), *r.IdempotencyKey))
			}
		}},
		{idxRunLeased, "leased", false, first, func(r *row.FlowRun, add func([]byte)) {
			if r.Lease != nil {
				add(appendID(indexKey(idxRunLeased), r.Id))
			}
		}},
		{idxRunDeployment, "deployment", false, first, func(r *row.FlowRun, add func([]byte)) {
			if len(r.DeploymentId) != 0 {
				add(appendID(appendID(indexKey(idxRunDeployment), r.DeploymentId), r.Id))
			}
		}},
		{idxRunDeploymentDue, "deployment_due", false, first, func(r *row.FlowRun, add func([]byte)) {
			if len(r.DeploymentId) != 0 && r.GetState().GetType() == row.StateType_SCHEDULED {
				add(appendID(appendTime(appendID(indexKey(idxRunDeploymentDue), r.DeploymentId), r.NextScheduledStartTime), r.Id))
			}
		}},
		{idxRunFlow, "flow", false, first, func(r *row.FlowRun, add func([]byte)) {
			add(appendID(appendID(indexKey(idxRunFlow), r.FlowId), r.Id))
		}},
		{idxRunStateType, "state_type", false, first, func(r *row.FlowRun, add func([]byte)) {
			add(appendID(append(indexKey(idxRunStateType), byte(r.GetState().GetType())), r.Id))
		}},
		{idxRunParentTask, "parent_task_run", false, first, func(r *row.FlowRun, add func([]byte)) {
			if len(r.ParentTaskRunId) != 0 {
				add(appendID(appendID(indexKey(idxRunParentTask), r.ParentTaskRunId), r.Id))
			}
		}},
		{idxRunName, "name", false, first, func(r *row.FlowRun, add func([]byte)) {
			add(appendID(appendText(indexKey(idxRunName), r.Name), r.Id))
		}},
		{idxRunDeadline, "deadline", false, first, func(r *row.FlowRun, add func([]byte)) {
			if r.Deadline != 0 {
				add(appendID(appendTime(indexKey(idxRunDeadline), r.Deadline), r.Id))
			}
		}},
		{idxRunExpectedStart, "expected_start", false, first, func(r *row.FlowRun, add func([]byte)) {
			add(appendID(appendTime(indexKey(idxRunExpectedStart), r.ExpectedStartTime), r.Id))
		}},
		// By the time of the final state, which every finished run has: one that never started has no end time.
		{idxRunFinished, "finished", false, first, func(r *row.FlowRun, add func([]byte)) {
			if finished(r) {
				add(appendID(appendTime(appendID(indexKey(idxRunFinished), r.DeploymentId), r.GetState().GetTimestamp()), r.Id))
			}
		}},
		// What lists of the UI are driven by: (what is asked for, state type, expected start, id). See query_runs.go.
		{idxRunDeploymentTime, "deployment_time", false, first, func(r *row.FlowRun, add func([]byte)) {
			if len(r.DeploymentId) != 0 {
				add(appendTypeTime(appendID(indexKey(idxRunDeploymentTime), r.DeploymentId), r.State, r.ExpectedStartTime, r.Id))
			}
		}},
		{idxRunFlowTime, "flow_time", false, first, func(r *row.FlowRun, add func([]byte)) {
			add(appendTypeTime(appendID(indexKey(idxRunFlowTime), r.FlowId), r.State, r.ExpectedStartTime, r.Id))
		}},
		{idxRunTypeTime, "state_type_time", false, first, func(r *row.FlowRun, add func([]byte)) {
			add(appendTypeTime(indexKey(idxRunTypeTime), r.State, r.ExpectedStartTime, r.Id))
		}},
		{idxRunTagTime, "tag_time", false, first, func(r *row.FlowRun, add func([]byte)) {
			for i, tag := range r.Tags {
				if !slices.Contains(r.Tags[:i], tag) {
					add(appendTypeTime(appendText(indexKey(idxRunTagTime), tag), r.State, r.ExpectedStartTime, r.Id))
				}
			}
		}},
		{idxRunQueueTime, "queue_time", false, first, func(r *row.FlowRun, add func([]byte)) {
			if len(r.WorkQueueId) != 0 {
				add(appendTypeTime(appendID(indexKey(idxRunQueueTime), r.WorkQueueId), r.State, r.ExpectedStartTime, r.Id))
			}
		}},
		// Only states with another name than their type's: Late, Crashed, AwaitingRetry and the like. They are few.
		{idxRunStateName, "state_name", false, first, func(r *row.FlowRun, add func([]byte)) {
			if named(r.State) {
				add(appendTypeTime(appendText(indexKey(idxRunStateName), r.State.Name), r.State, r.ExpectedStartTime, r.Id))
			}
		}},
		{idxRunDeploymentStateName, "deployment_state_name", false, first, func(r *row.FlowRun, add func([]byte)) {
			if named(r.State) && len(r.DeploymentId) != 0 {
				add(appendTypeTime(appendText(appendID(indexKey(idxRunDeploymentStateName), r.DeploymentId), r.State.Name), r.State, r.ExpectedStartTime, r.Id))
			}
		}},
		{idxRunFlowStateName, "flow_state_name", false, first, func(r *row.FlowRun, add func([]byte)) {
			if named(r.State) {
				add(appendTypeTime(appendText(appendID(indexKey(idxRunFlowStateName), r.FlowId), r.State.Name), r.State, r.ExpectedStartTime, r.Id))
			}
		}},
		{idxRunEndTime, "end_time", false, first, func(r *row.FlowRun, add func([]byte)) {
			add(appendID(appendTime(indexKey(idxRunEndTime), r.EndTime), r.Id))
		}},
		{idxRunStartTime, "start_time", false, first, func(r *row.FlowRun, add func([]byte)) {
			if r.StartTime != 0 {
				add(appendID(appendTime(indexKey(idxRunStartTime), r.StartTime), r.Id))
			}
		}},
	},
	counted: []counter[*row.FlowRun]{
		{idxRunFinished, func(r *row.FlowRun, add func([]byte)) {
			if finished(r) {
				add(appendID(counterKey(countRunsFinished), r.DeploymentId))
			}
		}},
		{idxRunQueueTime, func(r *row.FlowRun, add func([]byte)) {
			if len(r.WorkQueueId) != 0 {
				add(append(appendID(counterKey(countRunsByQueue), r.WorkQueueId), byte(r.GetState().GetType())))
			}
		}},
		{idxRunStateName, func(r *row.FlowRun, add func([]byte)) {
			if named(r.State) {
				add(appendText(append(counterKey(countRunsByStateName), byte(r.State.Type)), r.State.Name))
			}
		}},
		{idxRunDeploymentStateName, func(r *row.FlowRun, add func([]byte)) {
			if named(r.State) && len(r.DeploymentId) != 0 {
				add(appendText(append(appendID(counterKey(countRunsByDeploymentStateName), r.DeploymentId), byte(r.State.Type)), r.State.Name))
			}
		}},
		{idxRunFlowStateName, func(r *row.FlowRun, add func([]byte)) {
			if named(r.State) {
				add(appendText(append(appendID(counterKey(countRunsByFlowStateName), r.FlowId), byte(r.State.Type)), r.State.Name))
			}
		}},
		{idxRunTagTime, func(r *row.FlowRun, add func([]byte)) {
			for i, tag := range r.Tags {
				if !slices.Contains(r.Tags[:i], tag) {
					add(append(appendText(counterKey(countRunsByTag), tag), byte(r.GetState().GetType())))
				}
			}
		}},
	},
	counters: func(r *row.FlowRun, add func([]byte)) {
		stateType := byte(r.GetState().GetType())
		add(append(counterKey(countRunsByState), stateType))
		if len(r.DeploymentId) != 0 {
			add(append(appendID(counterKey(countRunsByDeployment), r.DeploymentId), stateType))
		}
		add(append(appendID(counterKey(countRunsByFlow), r.FlowId), stateType))
	},
	timeline: &timeline[*row.FlowRun]{idxFlowRunTimeline, "timeline", first, func(r *row.FlowRun) runFacts {
		return runFacts{expected: r.ExpectedStartTime, start: r.StartTime, runTime: r.TotalRunTime, since: r.GetState().GetTimestamp(),
			kind: r.GetState().GetType(), name: r.GetState().GetName()}
	}},
}

func finished(r *row.FlowRun) bool {
	switch r.GetState().GetType() {
	case row.StateType_COMPLETED, row.StateType_FAILED, row.StateType_CANCELLED:
		return true
	default:
		return false
	}
}

var flowRunStates = &table[row.State, *row.State]{
	number: 3, name: "flow_run_state",
	key: func(dst []byte, r *row.State) []byte {
		return appendTime(appendID(dst, r.GetDetails().GetFlowRunId()), r.Timestamp)
	},
	indexes: []index[*row.State]{
		{idxFlowRunStateID, "id", true, first, func(r *row.State, add func([]byte)) { add(appendID(indexKey(idxFlowRunStateID), r.Id)) }},
	},
}

var taskRuns = &table[row.TaskRun, *row.TaskRun]{
	number: 4, name: "task_run",
	key: func(dst []byte, r *row.TaskRun) []byte { return appendID(dst, r.Id) },
	indexes: []index[*row.TaskRun]{
		{idxTaskRunFlowRun, "flow_run", false, first, func(r *row.TaskRun, add func([]byte)) {
			add(appendID(appendID(indexKey(idxTaskRunFlowRun), r.FlowRunId), r.Id))
		}},
		{idxTaskRunDynamicKey, "dynamic_key", true, first, func(r *row.TaskRun, add func([]byte)) {
			add(appendText(appendText(appendID(indexKey(idxTaskRunDynamicKey), r.FlowRunId), r.TaskKey), r.DynamicKey))
		}},
		{idxTaskRunRunning, "running", false, first, func(r *row.TaskRun, add func([]byte)) {
			if r.GetState().GetType() == row.StateType_RUNNING {
				add(appendID(indexKey(idxTaskRunRunning), r.Id))
			}
		}},
		{idxTaskRunExpectedStart, "expected_start", false, first, func(r *row.TaskRun, add func([]byte)) {
			add(appendID(appendTime(indexKey(idxTaskRunExpectedStart), r.ExpectedStartTime), r.Id))
		}},
		{idxTaskRunTypeTime, "state_type_time", false, first, func(r *row.TaskRun, add func([]byte)) {
			add(appendTypeTime(indexKey(idxTaskRunTypeTime), r.State, r.ExpectedStartTime, r.Id))
		}},
		{idxTaskRunTagTime, "tag_time", false, first, func(r *row.TaskRun, add func([]byte)) {
			for i, tag := range r.Tags {
				if !slices.Contains(r.Tags[:i], tag) {
					add(appendTypeTime(appendText(indexKey(idxTaskRunTagTime), tag), r.State, r.ExpectedStartTime, r.Id))
				}
			}
		}},
	},
	counted: []counter[*row.TaskRun]{
		{idxTaskRunTypeTime, func(r *row.TaskRun, add func([]byte)) {
			add(append(counterKey(countTaskRunsByState), byte(r.GetState().GetType())))
		}},
		{idxTaskRunTagTime, func(r *row.TaskRun, add func([]byte)) {
			for i, tag := range r.Tags {
				if !slices.Contains(r.Tags[:i], tag) {
					add(append(appendText(counterKey(countTaskRunsByTag), tag), byte(r.GetState().GetType())))
				}
			}
		}},
	},
	timeline: &timeline[*row.TaskRun]{idxTaskRunTimeline, "timeline", first, func(r *row.TaskRun) runFacts {
		return runFacts{expected: r.ExpectedStartTime, start: r.StartTime, runTime: r.TotalRunTime, since: r.GetState().GetTimestamp(),
			kind: r.GetState().GetType(), name: r.GetState().GetName()}
	}},
}

var taskRunStates = &table[row.State, *row.State]{
	number: 5, name: "task_run_state",
	key: func(dst []byte, r *row.State) []byte {
		return appendTime(appendID(dst, r.GetDetails().GetTaskRunId()), r.Timestamp)
	},
	indexes: []index[*row.State]{
		{idxTaskRunStateID, "id", true, first, func(r *row.State, add func([]byte)) { add(appendID(indexKey(idxTaskRunStateID), r.Id)) }},
	},
}

var deployments = &table[row.Deployment, *row.Deployment]{
	number: 6, name: "deployment",
	key: func(dst []byte, r *row.Deployment) []byte { return appendID(dst, r.Id) },
	indexes: []index[*row.Deployment]{
		{idxDeploymentName, "name", true, first, func(r *row.Deployment, add func([]byte)) {
			add(appendText(appendID(indexKey(idxDeploymentName), r.FlowId), r.Name))
		}},
		{idxDeploymentSchedule, "active_schedule", false, first, func(r *row.Deployment, add func([]byte)) {
			if hasActiveSchedule(r) {
				add(appendID(indexKey(idxDeploymentSchedule), r.Id))
			}
		}},
		{idxDeploymentGated, "gated", false, first, func(r *row.Deployment, add func([]byte)) {
			if isGated(r) {
				add(appendID(indexKey(idxDeploymentGated), r.Id))
			}
		}},
	},
}

// isGated reports whether a deployment limits how many of its runs are under way.
func isGated(r *row.Deployment) bool {
	return r.Policy != nil && r.Policy.ConcurrencyLimit != nil || r.GetPolicy().GetOverlap() != row.Policy_OVERLAP_ALLOW
}

func hasActiveSchedule(r *row.Deployment) bool {
	if !r.IsScheduleActive {
		return false
	}
	return len(r.ScheduleJson) != 0 && !r.SchedulePaused || slices.ContainsFunc(r.Schedules, func(s *row.DeploymentSchedule) bool { return s.Active })
}

var workQueues = &table[row.WorkQueue, *row.WorkQueue]{
	number: 7, name: "work_queue",
	key: func(dst []byte, r *row.WorkQueue) []byte { return appendID(dst, r.Id) },
	indexes: []index[*row.WorkQueue]{
		{idxWorkQueueName, "name", true, first, func(r *row.WorkQueue, add func([]byte)) {
			add(appendText(indexKey(idxWorkQueueName), r.Name))
		}},
	},
}

var agents = &table[row.Agent, *row.Agent]{
	number: 8, name: "agent",
	key: func(dst []byte, r *row.Agent) []byte { return appendID(dst, r.Id) },
}

var blockSpecs = &table[row.BlockSpec, *row.BlockSpec]{
	number: 9, name: "block_spec",
	key: func(dst []byte, r *row.BlockSpec) []byte { return appendID(dst, r.Id) },
	indexes: []index[*row.BlockSpec]{
		{idxBlockSpecName, "name", true, first, func(r *row.BlockSpec, add func([]byte)) {
			add(appendText(appendText(indexKey(idxBlockSpecName), r.Name), r.Version))
		}},
	},
}

var blocks = &table[row.Block, *row.Block]{
	number: 10, name: "block",
	key: func(dst []byte, r *row.Block) []byte { return appendID(dst, r.Id) },
	indexes: []index[*row.Block]{
		{idxBlockName, "name", true, first, func(r *row.Block, add func([]byte)) {
			add(appendText(appendID(indexKey(idxBlockName), r.BlockSpecId), r.Name))
		}},
	},
}

var limits = &table[row.ConcurrencyLimit, *row.ConcurrencyLimit]{
	number: 11, name: "concurrency_limit",
	key: func(dst []byte, r *row.ConcurrencyLimit) []byte { return appendID(dst, r.Id) },
	indexes: []index[*row.ConcurrencyLimit]{
		{idxLimitTag, "tag", true, first, func(r *row.ConcurrencyLimit, add func([]byte)) {
			add(appendText(indexKey(idxLimitTag), r.Tag))
		}},
	},
}

var slots = &table[row.Slot, *row.Slot]{
	number: 12, name: "slot",
	key: func(dst []byte, r *row.Slot) []byte { return appendID(appendID(dst, r.LimitId), r.RunId) },
	indexes: []index[*row.Slot]{
		{idxSlotRun, "run", false, first, func(r *row.Slot, add func([]byte)) {
			add(appendID(appendID(indexKey(idxSlotRun), r.RunId), r.LimitId))
		}},
	},
	counters: func(r *row.Slot, add func([]byte)) { add(appendID(counterKey(countSlots), r.LimitId)) },
}

// countSlots counts the slots in use of one limit.
const countSlots = 4

var cacheEntries = &table[row.CacheEntry, *row.CacheEntry]{
	number: 13, name: "cache_entry",
	key: func(dst []byte, r *row.CacheEntry) []byte {
		return appendID(appendTime(appendText(dst, r.Key), r.StateTimestamp), r.StateId)
	},
	indexes: []index[*row.CacheEntry]{
		{idxCacheExpiration, "expiration", false, first, func(r *row.CacheEntry, add func([]byte)) {
			if r.Expiration != 0 {
				add(appendID(appendTime(appendText(appendTime(indexKey(idxCacheExpiration), r.Expiration), r.Key), r.StateTimestamp), r.StateId))
			}
		}},
	},
}

var logSegments = &table[row.LogSegment, *row.LogSegment]{
	number: 14, name: "log_segment",
	key: func(dst []byte, r *row.LogSegment) []byte {
		return appendUint64(appendUint64(appendID(dst, r.FlowRunId), r.Index), uint64(r.Ordinal))
	},
}

var logProducers = &table[row.LogProducer, *row.LogProducer]{
	number: 15, name: "log_producer",
	key: func(dst []byte, r *row.LogProducer) []byte { return appendID(appendID(dst, r.FlowRunId), r.Producer) },
}

var logUsages = &table[row.LogUsage, *row.LogUsage]{
	number: 19, name: "log_usage",
	key: func(dst []byte, r *row.LogUsage) []byte { return appendID(dst, r.FlowRunId) },
	indexes: []index[*row.LogUsage]{
		{idxLogsNewest, "newest", false, first, func(r *row.LogUsage, add func([]byte)) {
			add(appendID(appendTime(appendID(indexKey(idxLogsNewest), r.DeploymentId), r.Newest), r.FlowRunId))
		}},
	},
	counted: []counter[*row.LogUsage]{
		{idxLogsNewest, func(r *row.LogUsage, add func([]byte)) { add(appendID(counterKey(countRunsWithLogs), r.DeploymentId)) }},
	},
}

// retentionPolicy is a table of one row.
var retentionPolicy = &table[row.RetentionPolicy, *row.RetentionPolicy]{
	number: 50, name: "retention_policy",
	key: func(dst []byte, _ *row.RetentionPolicy) []byte { return dst },
}

var claims = &table[row.Claim, *row.Claim]{
	number: 16, name: "claim",
	key: func(dst []byte, r *row.Claim) []byte { return appendID(dst, r.ClaimId) },
	indexes: []index[*row.Claim]{
		{idxClaimCreated, "created", false, first, func(r *row.Claim, add func([]byte)) {
			add(appendID(appendTime(indexKey(idxClaimCreated), r.Created), r.ClaimId))
		}},
	},
}

var blobs = &table[row.Blob, *row.Blob]{
	number: 17, name: "blob",
	key: func(dst []byte, r *row.Blob) []byte { return appendText(dst, r.Key) },
}

var blobChunks = &table[row.BlobChunk, *row.BlobChunk]{
	number: 18, name: "blob_chunk",
	key: func(dst []byte, r *row.BlobChunk) []byte {
		return appendUint64(appendID(appendText(dst, r.Key), r.Version), uint64(r.Ordinal))
	},
}

var jobs = &table[row.Job, *row.Job]{
	number: 45, name: "job",
	key: func(dst []byte, r *row.Job) []byte { return appendID(dst, r.Id) },
	indexes: []index[*row.Job]{
		{idxJobActive, "active", false, first, func(r *row.Job, add func([]byte)) {
			if r.Status == row.Job_RUNNING {
				add(appendID(indexKey(idxJobActive), r.Id))
			}
		}},
	},
	counters: func(_ *row.Job, add func([]byte)) { add(counterKey(countJobs)) },
}

// outcomes are kept by the hash of the key, so that a key of any length takes the same room.
var outcomes = &table[row.Outcome, *row.Outcome]{
	number: 46, name: "outcome",
	key: func(dst []byte, r *row.Outcome) []byte { return appendOutcome(dst, r.Key, r.Ordinal) },
	indexes: []index[*row.Outcome]{
		{idxOutcomeCreated, "created", false, first, func(r *row.Outcome, add func([]byte)) {
			add(appendOutcome(appendTime(indexKey(idxOutcomeCreated), r.Created), r.Key, r.Ordinal))
		}},
	},
	counters: func(_ *row.Outcome, add func([]byte)) { add(counterKey(countOutcomes)) },
}

func appendOutcome(dst, key []byte, ordinal uint32) []byte {
	return appendUint64(appendID(dst, key), uint64(ordinal))
}

const (
	countJobs     = 70
	countOutcomes = 71
)

// Counters of the tables below.
const (
	countAudits = 40
	countTokens = 41
)

var tokens = &table[row.Token, *row.Token]{
	number: 30, name: "token",
	key: func(dst []byte, r *row.Token) []byte { return appendID(dst, r.Id) },
	indexes: []index[*row.Token]{
		{idxTokenHash, "hash", true, first, func(r *row.Token, add func([]byte)) { add(append(indexKey(idxTokenHash), r.Hash...)) }},
		// The name of a revoked token is free again.
		{idxTokenName, "name", true, first, func(r *row.Token, add func([]byte)) {
			if r.Revoked == 0 {
				add(appendText(indexKey(idxTokenName), r.Name))
			}
		}},
	},
	counters: func(_ *row.Token, add func([]byte)) { add(counterKey(countTokens)) },
}

var audits = &table[row.Audit, *row.Audit]{
	number: 31, name: "audit",
	key: func(dst []byte, r *row.Audit) []byte {
		return appendUint64(appendUint64(dst, r.Index), uint64(r.Ordinal))
	},
	indexes: []index[*row.Audit]{
		{idxAuditObject, "object", false, first, func(r *row.Audit, add func([]byte)) {
			if len(r.ObjectId) != 0 {
				add(appendUint64(appendUint64(appendID(indexKey(idxAuditObject), r.ObjectId), r.Index), uint64(r.Ordinal)))
			}
		}},
	},
	counters: func(_ *row.Audit, add func([]byte)) { add(counterKey(countAudits)) },
}
