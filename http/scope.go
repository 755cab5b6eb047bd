package httpapi

import (
	"encoding/json"
	"net/http"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/state"
)

// The process of a flow run may write about its own run and the subflow runs below it, and nothing else.

// scope finds the flow runs that a request writes about; ok is false when it does something that no flow run may do.
type scope func(x *exchange, view *state.View) (runs []api.ID, ok bool, err error)

// deepest bounds how far below its own run a process may write.
const deepest = 64

// stayInScope refuses what the process of a flow run may not write about.
func (s *Server) stayInScope(x *exchange) error {
	if x.who.flowRun == nil || x.route.scope == nil {
		return nil
	}
	// What it writes about may have been made through another node a moment ago.
	allowed, err := s.readUntil(x, func(view *state.View) (bool, error) {
		runs, ok, err := x.route.scope(x, view)
		for _, run := range runs {
			if !ok || err != nil {
				break
			}
			ok, err = below(view, run, *x.who.flowRun)
		}
		return ok, err
	})
	if err != nil || allowed {
		return err
	}
	s.metrics.refused.WithLabelValues(refusedScope).Inc()
	return &failure{
		status: http.StatusForbidden, kind: api.KindForbidden, detail: "The process of a flow run may write about its own run and its subflow runs only.",
		hint: "To do more from a flow, give its flow runner a token of its own: SLUICE_API_KEY in the environment of the flow runner.",
	}
}

// below reports whether a run is the one or a subflow run below it. A run that does not exist is nobody's: its absence is what the
// handler says.
func below(view *state.View, run, own api.ID) (bool, error) {
	for range deepest {
		if run == own {
			return true, nil
		}
		r, err := view.FlowRun(run)
		if r == nil || len(r.ParentTaskRunId) == 0 || err != nil {
			return false, err
		}
		parent, err := view.TaskRun(idOf(r.ParentTaskRunId))
		if parent == nil || err != nil {
			return false, err
		}
		run = idOf(parent.FlowRunId)
	}
	return false, nil
}

func inScope(of scope) func(*route) { return func(rt *route) { rt.scope = of } }

func flowRunOfPath(x *exchange, _ *state.View) ([]api.ID, bool, error) {
	id, err := x.pathID("id")
	return []api.ID{id}, true, err
}

func taskRunOfPath(x *exchange, view *state.View) ([]api.ID, bool, error) {
	id, err := x.pathID("id")
	if err != nil {
		return nil, true, err
	}
	return flowRunOfTask(view, id)
}

func flowRunOfTask(view *state.View, id api.ID) ([]api.ID, bool, error) {
	task, err := view.TaskRun(id)
	if task == nil || err != nil {
		return nil, false, err
	}
	return []api.ID{idOf(task.FlowRunId)}, true, nil
}

// What is malformed in these bodies the handler tells.

func flowRunOfTaskBody(x *exchange, _ *state.View) ([]api.ID, bool, error) {
	var in struct {
		FlowRunID api.ID `json:"flow_run_id"`
	}
	if json.Unmarshal(x.data, &in) != nil {
		return nil, true, nil
	}
	return []api.ID{in.FlowRunID}, true, nil
}

func flowRunsOfLogs(x *exchange, _ *state.View) (runs []api.ID, ok bool, err error) {
	var in []struct {
		FlowRunID api.ID `json:"flow_run_id"`
	}
	if json.Unmarshal(x.data, &in) != nil {
		return nil, true, nil
	}
	for i, line := range in {
		if i == 0 || line.FlowRunID != in[i-1].FlowRunID {
			runs = append(runs, line.FlowRunID)
		}
	}
	return runs, true, nil
}

// subflowRun is a new flow run: of no deployment, whose runs others start, and below the caller's.
func subflowRun(x *exchange, view *state.View) ([]api.ID, bool, error) {
	var in struct {
		DeploymentID    *api.ID `json:"deployment_id"`
		ParentTaskRunID *api.ID `json:"parent_task_run_id"`
	}
	if json.Unmarshal(x.data, &in) != nil {
		return nil, true, nil
	}
	if in.DeploymentID != nil || in.ParentTaskRunID == nil {
		return nil, false, nil
	}
	return flowRunOfTask(view, *in.ParentTaskRunID)
}

func flowRunsOfLeases(x *exchange, _ *state.View) (runs []api.ID, ok bool, err error) {
	var in struct {
		Leases []struct {
			FlowRunID api.ID `json:"flow_run_id"`
		} `json:"leases"`
	}
	if json.Unmarshal(x.data, &in) != nil {
		return nil, true, nil
	}
	for _, l := range in.Leases {
		runs = append(runs, l.FlowRunID)
	}
	return runs, true, nil
}
