package fsm

import (
	"bytes"
	"fmt"

	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
)

// maxArtifacts bounds what a flow run may show: a loop that shows something each time is a mistake.
const maxArtifacts = 1000

func (a *applier) createArtifact(c *command.CreateArtifact) (*command.Result, error) {
	made := c.Artifact
	run, err := a.tx.FlowRun(id16(made.FlowRunId))
	if err != nil {
		return nil, err
	}
	if run == nil {
		return notFound("Flow run"), nil
	}
	if len(made.TaskRunId) != 0 {
		task, err := a.tx.TaskRun(id16(made.TaskRunId))
		if err != nil {
			return nil, err
		}
		if task == nil || !bytes.Equal(task.FlowRunId, made.FlowRunId) {
			return conflict("task_run_id names no task run of the flow run"), nil
		}
	}
	n, err := a.tx.CountArtifactsOfRun(id16(made.FlowRunId), maxArtifacts)
	if err != nil {
		return nil, err
	}
	if n >= maxArtifacts {
		return failed(command.Result_INVALID, fmt.Sprintf("the flow run has %d artifacts, which is the most there may be", n)), nil
	}
	stored := &row.Artifact{Id: made.Id, Created: a.now, Key: made.Key, Type: made.Type, Description: made.Description, DataJson: made.DataJson,
		FlowRunId: made.FlowRunId, TaskRunId: made.TaskRunId}
	return saved(a.tx.NewArtifact(stored).Save(), created(made.Id), "an artifact with this id exists")
}
