package httpapi

import (
	"net/http"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/state"
	"github.com/sluice-dev/sluice/http/internal/body"
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

// Bodies are read as the handlers read them: an id that is spelled otherwise must not pass here unseen. What is malformed the handler
// tells, and does nothing.

type subject struct{ flowRun [16]byte }

var subjectSpec = body.Parameters(
	body.Required("flow_run_id", body.UUID, func(v *subject) *[16]byte { return &v.flowRun }),
)

func flowRunOfTaskBody(x *exchange, _ *state.View) ([]api.ID, bool, error) {
	var in subject
	if subjectSpec.Decode(x.data, &in) != nil {
		return nil, true, nil
	}
	return []api.ID{in.flowRun}, true, nil
}

func flowRunsOfLogs(x *exchange, _ *state.View) (runs []api.ID, ok bool, err error) {
	in, findings := body.DecodeList(subjectSpec.Kind(), x.data)
	if findings != nil {
		return nil, true, nil
	}
	return distinct(in), true, nil
}

// distinct leaves out what stands beside its like: the lines of a batch are mostly of one run.
func distinct(in []subject) (runs []api.ID) {
	for i, s := range in {
		if i == 0 || s != in[i-1] {
			runs = append(runs, s.flowRun)
		}
	}
	return runs
}

type parentage struct{ deployment, parentTask []byte }

var parentageSpec = body.Parameters(
	body.Nullable("deployment_id", body.UUIDBytes, func(v *parentage) *[]byte { return &v.deployment }),
	body.Nullable("parent_task_run_id", body.UUIDBytes, func(v *parentage) *[]byte { return &v.parentTask }),
)

// subflowRun is a new flow run: of no deployment, whose runs others start, and below the caller's.
func subflowRun(x *exchange, view *state.View) ([]api.ID, bool, error) {
	var in parentage
	if parentageSpec.Decode(x.data, &in) != nil {
		return nil, true, nil
	}
	if len(in.deployment) != 0 || len(in.parentTask) == 0 {
		return nil, false, nil
	}
	return flowRunOfTask(view, idOf(in.parentTask))
}

type renewed struct{ leases []subject }

var renewedSpec = body.Parameters(
	body.Required("leases", body.List(subjectSpec.Kind()), func(v *renewed) *[]subject { return &v.leases }),
)

func flowRunsOfLeases(x *exchange, _ *state.View) (runs []api.ID, ok bool, err error) {
	var in renewed
	if renewedSpec.Decode(x.data, &in) != nil {
		return nil, true, nil
	}
	return distinct(in.leases), true, nil
}
