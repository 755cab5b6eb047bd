package httpapi

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
)

// flowRunGraph lists the task runs of a flow run with the task runs whose results they took, newest first.
var flowRunGraph = readsOne(func(x *exchange, view *state.View, id api.ID) error {
	run, err := view.FlowRun(id)
	switch {
	case err != nil:
		return err
	case run == nil:
		return notFound(missing.flowRun)
	}
	var tasks []*row.TaskRun
	err = view.TaskRunsOfFlowRun(id, true, func(t *row.TaskRun) (bool, error) {
		tasks = append(tasks, t)
		return true, x.ctx.Err()
	})
	if err != nil {
		return err
	}
	now := x.now()
	return list(x, tasks, func(b []byte, t *row.TaskRun) ([]byte, error) {
		upstream, err := upstreamOf(t)
		if err != nil {
			return b, err
		}
		return appendJSON(b, api.GraphNode{
			ID: idOf(t.Id), UpstreamDependencies: upstream, State: stateObject(t.State, x.strict), ExpectedStartTime: timeRef(t.ExpectedStartTime),
			StartTime: timeRef(t.StartTime), EndTime: timeRef(t.EndTime), TotalRunTime: durationOf(t.TotalRunTime),
			EstimatedRunTime: taskProgress(t, now).estimatedRunTime(),
		})
	})
})

// upstreamOf returns the task runs among the inputs of a task run, each once. Parameters and constants have no node.
func upstreamOf(t *row.TaskRun) (upstream []api.TaskInput, err error) {
	if len(t.TaskInputsJson) == 0 {
		return nil, nil
	}
	var inputs map[string][]api.TaskInput
	if err := json.Unmarshal(t.TaskInputsJson, &inputs); err != nil {
		return nil, err
	}
	seen := map[api.ID]bool{}
	for _, name := range slices.Sorted(maps.Keys(inputs)) {
		for _, in := range inputs[name] {
			if in.InputType != api.InputTaskRun || in.ID == nil || seen[*in.ID] {
				continue
			}
			seen[*in.ID] = true
			upstream = append(upstream, api.TaskInput{InputType: in.InputType, ID: in.ID})
		}
	}
	return upstream, nil
}
