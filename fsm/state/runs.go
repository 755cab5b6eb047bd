package state

import (
	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/row"
)

// FlowRun returns a flow run by id.
func (v *View) FlowRun(id api.ID) (*row.FlowRun, error) { return flowRuns.get(v.r, flowRunKey(id[:])) }

func flowRunKey(id []byte) []byte { return appendID(prefix(kindRow, flowRuns.number), id) }
func taskRunKey(id []byte) []byte { return appendID(prefix(kindRow, taskRuns.number), id) }

// FlowRunByIdempotencyKey returns the run a client created under that key of its own.
func (v *View) FlowRunByIdempotencyKey(flowID api.ID, key string) (*row.FlowRun, error) {
	return flowRuns.byIndex(v.r, appendText(appendID(indexKey(idxRunIdempotency), flowID[:]), key))
}

// EachFlowRun walks all flow runs by id, newest first when reverse is set.
func (v *View) EachFlowRun(reverse bool, fn func(*row.FlowRun) (bool, error)) error {
	return flowRuns.each(v.r, prefix(kindRow, flowRuns.number), reverse, fn)
}

// RunWalk says which flow runs a walk by id hands out, and from where: all, or those of one deployment, flow or state type.
type RunWalk struct {
	Deployment, Flow *api.ID
	StateType        row.StateType // NONE: any
	// After is the id that the walk goes on behind; nil is the beginning.
	After   *api.ID
	Reverse bool
}

// WalkFlowRuns walks flow runs by id from a place on. It costs what it hands out.
func (v *View) WalkFlowRuns(w RunWalk, fn func(*row.FlowRun) (bool, error)) error {
	under := prefix(kindRow, flowRuns.number)
	switch {
	case w.Deployment != nil:
		under = appendID(indexKey(idxRunDeployment), w.Deployment[:])
	case w.Flow != nil:
		under = appendID(indexKey(idxRunFlow), w.Flow[:])
	case w.StateType != row.StateType_STATE_TYPE_NONE:
		under = append(indexKey(idxRunStateType), byte(w.StateType))
	}
	lower, upper := placed(under, w.After, w.Reverse)
	if under[1] == kindRow {
		return walk(v.r, lower, upper, w.Reverse, func(_, value []byte) (bool, error) {
			r, err := flowRuns.decode(value)
			if err != nil {
				return false, err
			}
			return fn(r)
		})
	}
	return flowRuns.eachByIndex(v.r, lower, upper, w.Reverse, fn)
}

// placed returns the bounds of a walk over keys that are `under` and an id, from behind that id on.
func placed(under []byte, behind *api.ID, reverse bool) (lower, upper []byte) {
	lower, upper = under, after(under)
	switch {
	case behind == nil:
	case reverse:
		upper = appendID(append([]byte(nil), under...), behind[:])
	default:
		lower = append(appendID(append([]byte(nil), under...), behind[:]), 0)
	}
	return lower, upper
}

// FlowRunsOfDeployment walks the flow runs of one deployment by id.
func (v *View) FlowRunsOfDeployment(id api.ID, reverse bool, fn func(*row.FlowRun) (bool, error)) error {
	under := appendID(indexKey(idxRunDeployment), id[:])
	return flowRuns.eachByIndex(v.r, under, after(under), reverse, fn)
}

// FlowRunsOfFlow walks the flow runs of one flow by id.
func (v *View) FlowRunsOfFlow(id api.ID, reverse bool, fn func(*row.FlowRun) (bool, error)) error {
	under := appendID(indexKey(idxRunFlow), id[:])
	return flowRuns.eachByIndex(v.r, under, after(under), reverse, fn)
}

// FlowRunsByState walks the flow runs whose current state is of that type, by id.
func (v *View) FlowRunsByState(t row.StateType, reverse bool, fn func(*row.FlowRun) (bool, error)) error {
	under := append(indexKey(idxRunStateType), byte(t))
	return flowRuns.eachByIndex(v.r, under, after(under), reverse, fn)
}

// FlowRunsByName walks the flow runs of that name, by id.
func (v *View) FlowRunsByName(name string, fn func(*row.FlowRun) (bool, error)) error {
	under := appendText(indexKey(idxRunName), name)
	return flowRuns.eachByIndex(v.r, under, after(under), false, fn)
}

// FlowRunsByExpectedStart walks all flow runs by expected start time.
func (v *View) FlowRunsByExpectedStart(reverse bool, fn func(*row.FlowRun) (bool, error)) error {
	under := indexKey(idxRunExpectedStart)
	return flowRuns.eachByIndex(v.r, under, after(under), reverse, fn)
}

// FlowRunsOfTaskRun walks the subflow runs that a task run stands for.
func (v *View) FlowRunsOfTaskRun(id api.ID, fn func(*row.FlowRun) (bool, error)) error {
	under := appendID(indexKey(idxRunParentTask), id[:])
	return flowRuns.eachByIndex(v.r, under, after(under), false, fn)
}

// ScheduledFlowRuns walks the SCHEDULED flow runs whose time lies in [from, until) (µs), by time, then id.
func (v *View) ScheduledFlowRuns(from, until int64, fn func(*row.FlowRun) (bool, error)) error {
	under := indexKey(idxRunDue)
	return flowRuns.eachByIndex(v.r, appendTime(append([]byte(nil), under...), from), appendTime(under, until), false, fn)
}

// ScheduledFlowRunsOfDeployment walks the SCHEDULED flow runs of one deployment by time, then id.
func (v *View) ScheduledFlowRunsOfDeployment(id api.ID, reverse bool, fn func(*row.FlowRun) (bool, error)) error {
	under := appendID(indexKey(idxRunDeploymentDue), id[:])
	return flowRuns.eachByIndex(v.r, under, after(under), reverse, fn)
}

// LeasedFlowRuns walks the flow runs that somebody holds a lease on, by id.
func (v *View) LeasedFlowRuns(fn func(*row.FlowRun) (bool, error)) error {
	under := indexKey(idxRunLeased)
	return flowRuns.eachByIndex(v.r, under, after(under), false, fn)
}

// CountFlowRuns returns how many flow runs there are in a state of that type.
func (v *View) CountFlowRuns(t row.StateType) (int64, error) {
	return v.count(append(counterKey(countRunsByState), byte(t)))
}

// CountFlowRunsOfDeployment returns how many runs of a deployment are in a state of that type.
func (v *View) CountFlowRunsOfDeployment(id api.ID, t row.StateType) (int64, error) {
	return v.count(append(appendID(counterKey(countRunsByDeployment), id[:]), byte(t)))
}

// CountFlowRunsOfFlow returns how many runs of a flow are in a state of that type.
func (v *View) CountFlowRunsOfFlow(id api.ID, t row.StateType) (int64, error) {
	return v.count(append(appendID(counterKey(countRunsByFlow), id[:]), byte(t)))
}

// FlowRunState returns a state of any flow run by the state's id.
func (v *View) FlowRunState(id api.ID) (*row.State, error) {
	return flowRunStates.byIndex(v.r, appendID(indexKey(idxFlowRunStateID), id[:]))
}

// FlowRunStateAt returns the state a flow run took at that time, which identifies it.
func (v *View) FlowRunStateAt(flowRunID api.ID, timestamp int64) (*row.State, error) {
	return flowRunStates.get(v.r, appendTime(appendID(prefix(kindRow, flowRunStates.number), flowRunID[:]), timestamp))
}

// FlowRunStates returns all states of a flow run, oldest first.
func (v *View) FlowRunStates(flowRunID api.ID) ([]*row.State, error) {
	var all []*row.State
	err := flowRunStates.each(v.r, appendID(prefix(kindRow, flowRunStates.number), flowRunID[:]), false, collect(&all))
	return all, err
}

// TaskRun returns a task run by id.
func (v *View) TaskRun(id api.ID) (*row.TaskRun, error) { return taskRuns.get(v.r, taskRunKey(id[:])) }

// EachTaskRun walks all task runs by id, newest first when reverse is set.
func (v *View) EachTaskRun(reverse bool, fn func(*row.TaskRun) (bool, error)) error {
	return taskRuns.each(v.r, prefix(kindRow, taskRuns.number), reverse, fn)
}

// TaskRunsOfFlowRun walks the task runs of a flow run by id.
func (v *View) TaskRunsOfFlowRun(id api.ID, reverse bool, fn func(*row.TaskRun) (bool, error)) error {
	under := appendID(indexKey(idxTaskRunFlowRun), id[:])
	return taskRuns.eachByIndex(v.r, under, after(under), reverse, fn)
}

// TaskRunWalk says which task runs a walk by id hands out, and from where: all, or those of one flow run.
type TaskRunWalk struct {
	FlowRun *api.ID
	// After is the id that the walk goes on behind; nil is the beginning.
	After   *api.ID
	Reverse bool
}

// WalkTaskRuns walks task runs by id from a place on.
func (v *View) WalkTaskRuns(w TaskRunWalk, fn func(*row.TaskRun) (bool, error)) error {
	if w.FlowRun != nil {
		lower, upper := placed(appendID(indexKey(idxTaskRunFlowRun), w.FlowRun[:]), w.After, w.Reverse)
		return taskRuns.eachByIndex(v.r, lower, upper, w.Reverse, fn)
	}
	lower, upper := placed(prefix(kindRow, taskRuns.number), w.After, w.Reverse)
	return walk(v.r, lower, upper, w.Reverse, func(_, value []byte) (bool, error) {
		r, err := taskRuns.decode(value)
		if err != nil {
			return false, err
		}
		return fn(r)
	})
}

// EachRunningTaskRun walks the task runs whose current state is of type RUNNING, by id. While the index for them is being
// built, that means looking at all task runs.
func (v *View) EachRunningTaskRun(fn func(*row.TaskRun) (bool, error)) error {
	s, err := v.IndexState(idxTaskRunRunning)
	if err != nil {
		return err
	}
	if s != IndexReady {
		return v.EachTaskRun(false, func(r *row.TaskRun) (bool, error) {
			if r.GetState().GetType() != row.StateType_RUNNING {
				return true, nil
			}
			return fn(r)
		})
	}
	under := indexKey(idxTaskRunRunning)
	return taskRuns.eachByIndex(v.r, under, after(under), false, fn)
}

// TaskRunState returns a state of any task run by the state's id.
func (v *View) TaskRunState(id api.ID) (*row.State, error) {
	return taskRunStates.byIndex(v.r, appendID(indexKey(idxTaskRunStateID), id[:]))
}

// TaskRunStateAt returns the state a task run took at that time, which identifies it.
func (v *View) TaskRunStateAt(taskRunID api.ID, timestamp int64) (*row.State, error) {
	return taskRunStates.get(v.r, appendTime(appendID(prefix(kindRow, taskRunStates.number), taskRunID[:]), timestamp))
}

// TaskRunStates returns all states of a task run, oldest first.
func (v *View) TaskRunStates(taskRunID api.ID) ([]*row.State, error) {
	var all []*row.State
	err := taskRunStates.each(v.r, appendID(prefix(kindRow, taskRunStates.number), taskRunID[:]), false, collect(&all))
	return all, err
}

func collect[R any](into *[]R) func(R) (bool, error) {
	return func(r R) (bool, error) {
		*into = append(*into, r)
		return true, nil
	}
}

// TaskRunByDynamicKey returns the task run that a flow run made under that key.
func (v *View) TaskRunByDynamicKey(flowRunID []byte, taskKey, dynamicKey string) (*row.TaskRun, error) {
	return taskRuns.byIndex(v.r, appendText(appendText(appendID(indexKey(idxTaskRunDynamicKey), flowRunID), taskKey), dynamicKey))
}
