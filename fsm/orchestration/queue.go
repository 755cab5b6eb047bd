package orchestration

import (
	"bytes"
	"slices"

	"github.com/sluice-dev/sluice/fsm/row"
)

// Matches reports whether a work queue's filter takes a flow run. Runs without a deployment match no queue.
func Matches(f *row.QueueFilter, run *row.FlowRun) bool {
	if len(run.DeploymentId) == 0 {
		return false
	}
	if f.GetHasTags() {
		for _, tag := range f.Tags {
			if !slices.Contains(run.Tags, tag) {
				return false
			}
		}
	}
	if f.GetHasDeploymentIds() && !slices.ContainsFunc(f.DeploymentIds, func(id []byte) bool { return bytes.Equal(id, run.DeploymentId) }) {
		return false
	}
	if f.GetHasFlowRunnerTypes() {
		return run.GetFlowRunner() != nil && run.FlowRunner.Type != nil && slices.Contains(f.FlowRunnerTypes, *run.FlowRunner.Type)
	}
	return true
}

// HasRoom reports whether a queue may take one more run when inUse runs occupy it. A limit of 0 takes nothing.
func HasRoom(q *row.WorkQueue, inUse int) bool {
	return q.ConcurrencyLimit == nil || inUse < int(*q.ConcurrencyLimit)
}
