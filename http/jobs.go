package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
	"github.com/sluice-dev/sluice/http/internal/body"
)

// jobFilter is a filter together with its text, which the job keeps.
type jobFilter struct {
	raw []byte
	filters
}

var jobFilterSpec = body.Strict(filterFields(nil)...)

func jobFilterKind(d *body.Decoder, n int) (jobFilter, bool) {
	raw, ok := body.RawObject(d, n)
	if !ok {
		return jobFilter{}, false
	}
	q, ok := jobFilterSpec.Kind()(d, n)
	return jobFilter{raw, q.filters}, ok
}

// restrictsNothing reports whether the filter means all flow runs.
func (f *filters) restrictsNothing() bool {
	return f.flows == nil && f.taskRuns == nil && f.deployments == nil && f.flowRuns.asks() == 0
}

type jobRequest struct {
	command.CreateJob
	filter jobFilter
	state  *jobState
	all    bool
	dryRun bool
}

type jobState struct {
	kind row.StateType
	name string
}

// jobActions are the API's words, by stored number.
var jobActions = [...]api.JobAction{"", api.JobCancel, api.JobRetry, api.JobDelete, api.JobSetState, api.JobForgetDeployment, api.JobForgetFlow}

var jobStatuses = [...]api.JobStatus{api.JobRunning, api.JobCompleted, api.JobCancelled, api.JobFailed}

var jobSpec = body.Strict(
	body.Required("action", body.Enum([]string{"cancel", "retry", "delete", "set_state"},
		[]row.Job_Action{row.Job_CANCEL, row.Job_RETRY, row.Job_DELETE, row.Job_SET_STATE}), func(v *jobRequest) *row.Job_Action { return &v.Action }),
	body.Nullable("filter", jobFilterKind, func(v *jobRequest) *jobFilter { return &v.filter }),
	body.Optional("all", body.Bool, func(v *jobRequest) *bool { return &v.all }),
	body.Nullable("message", body.TextUpTo(longestJobMessage), func(v *jobRequest) *string { return &v.Message }),
	body.Nullable("state", body.Strict(
		body.Required("type", stateTypeKind, func(v *jobState) *row.StateType { return &v.kind }),
		body.Nullable("name", body.TextUpTo(longestOwner), func(v *jobState) *string { return &v.name }),
	).Ref(), func(v *jobRequest) **jobState { return &v.state }),
	body.Optional("force", body.Bool, func(v *jobRequest) *bool { return &v.Force }),
	body.Optional("dry_run", body.Bool, func(v *jobRequest) *bool { return &v.dryRun }),
).Check(func(d *body.Decoder, v *jobRequest) bool {
	switch {
	case v.Action == row.Job_SET_STATE && v.state == nil:
		d.FailAt("state", "field required: which state to set", "value_error.missing")
		return false
	case v.Action != row.Job_SET_STATE && v.state != nil:
		d.FailAt("state", "only the action set_state takes a state", "value_error")
		return false
	case v.filter.restrictsNothing() && !v.all:
		d.FailAt("filter", `no criterion: name at least one, or say "all": true when every flow run is meant`, "value_error")
		return false
	}
	return true
})

const (
	// longestJobMessage bounds what is written into each of many states.
	longestJobMessage = 2000
	// largestFilter bounds what a job keeps.
	largestFilter = 256 << 10
	jobSample     = 10
)

// createJob makes a job of a filter, or says what it would come to.
func createJob(_ *Server, x *exchange) error {
	in := &jobRequest{}
	if err := decode(x, jobSpec, in); err != nil {
		return err
	}
	if len(in.filter.raw) > largestFilter {
		return &failure{
			status: http.StatusRequestEntityTooLarge, kind: api.KindTooLarge, detail: "The filter of a job may have at most 256 KiB.",
			hint: "Name fewer ids, or make several jobs.",
		}
	}
	count, sample, err := x.previewJob(in)
	if err != nil {
		return err
	}
	if in.dryRun {
		preview := api.JobPreview{Action: jobActions[in.Action], Count: count, Sample: []api.FlowRun{}}
		for _, r := range sample {
			preview.Sample = append(preview.Sample, *x.showFlowRun(r, x.now()))
		}
		if x.out, err = appendJSON(x.out, preview); err != nil {
			return err
		}
		return x.send(http.StatusOK)
	}
	c := &in.CreateJob
	c.Id, c.FilterJson, c.Total = newID(), in.filter.raw, count
	if len(c.FilterJson) == 0 {
		c.FilterJson = []byte("{}")
	}
	if in.state != nil {
		c.StateType, c.StateName = in.state.kind, in.state.name
	}
	e := x.envelope()
	e.Command = &command.Envelope_CreateJob{CreateJob: c}
	return x.proposeObject(e, missing.job, "", func(view *state.View, r *command.Result) error {
		return x.answerJob(created(r), view, idOf(r.Id))
	})
}

func (x *exchange) previewJob(in *jobRequest) (count int64, sample []*row.FlowRun, err error) {
	view, err := x.view()
	if err != nil {
		return 0, nil, err
	}
	defer view.Close()
	m := newMatcher(x, view, in.filter.filters)
	if count, err = m.countFlowRuns(); err != nil || !in.dryRun {
		return count, nil, err
	}
	q := &query{filters: in.filter.filters, page: page{limit: jobSample}, sort: "ID_DESC"}
	sample, err = newMatcher(x, view, in.filter.filters).listFlowRuns(q)
	return count, sample, err
}

func (x *exchange) answerJob(status int, view *state.View, id api.ID) error {
	job, err := view.Job(id)
	switch {
	case err != nil:
		return err
	case job == nil:
		return notFound(missing.job)
	}
	if x.out, err = appendJSON(x.out, jobObject(job)); err != nil {
		return err
	}
	return x.send(status)
}

func jobObject(r *row.Job) api.Job {
	j := api.Job{
		ID: idOf(r.Id), Created: timeOf(r.Created), Updated: timeOf(r.Updated), Finished: timeRef(r.Finished), Actor: textRef(r.Actor),
		Message: textRef(r.Message), Force: r.Force, Total: r.Total, LookedAt: r.LookedAt, Done: r.Done, Refused: r.Refused,
		Refusals: []api.JobRefusal{}, Error: textRef(r.Error),
	}
	if int(r.Action) < len(jobActions) {
		j.Action = jobActions[r.Action]
	}
	if int(r.Status) < len(jobStatuses) {
		j.Status = jobStatuses[r.Status]
	}
	if len(r.FilterJson) > 0 {
		j.Filter = json.RawMessage(r.FilterJson)
	}
	if r.Action == row.Job_SET_STATE {
		j.State = &api.JobState{Type: stateTypeOf(r.StateType), Name: textRef(r.StateName)}
	}
	for _, refusal := range r.Refusals {
		j.Refusals = append(j.Refusals, api.JobRefusal{FlowRunID: idOf(refusal.FlowRunId), Name: refusal.Name, Reason: refusal.Reason})
	}
	return j
}

var readJob = readsOne(func(x *exchange, view *state.View, id api.ID) error { return x.answerJob(200, view, id) })

// filterJobs lists jobs, the newest first.
func filterJobs(_ *Server, x *exchange) error {
	p := newPage()
	if err := decode(x, pageSpec, &p); err != nil {
		return err
	}
	if err := p.check(); err != nil {
		return err
	}
	view, err := x.view()
	if err != nil {
		return err
	}
	defer view.Close()
	var jobs []*row.Job
	if x.byCursor() {
		err := view.EachJob(true, func(j *row.Job) (bool, error) {
			jobs = append(jobs, j)
			return true, nil
		})
		if err == nil {
			jobs, err = pageByCursor(x, listJobs, &p, jobs, func(j *row.Job) api.ID { return idOf(j.Id) })
		}
		if err != nil {
			return err
		}
		return list(x, jobs, func(b []byte, j *row.Job) ([]byte, error) { return appendJSON(b, jobObject(j)) })
	}
	if err := view.EachJob(true, func(j *row.Job) (bool, error) { return takeFrom(&p, &jobs, j), nil }); err != nil {
		return err
	}
	return list(x, jobs, func(b []byte, j *row.Job) ([]byte, error) { return appendJSON(b, jobObject(j)) })
}

func cancelJob(_ *Server, x *exchange) error {
	id, err := x.pathID("id")
	if err != nil {
		return err
	}
	e := x.envelope()
	e.Command = &command.Envelope_CancelJob{CancelJob: &command.CancelJob{Id: id[:]}}
	return x.proposeObject(e, missing.job, "This job cannot be cancelled.", func(view *state.View, _ *command.Result) error {
		return x.answerJob(200, view, id)
	})
}

// Candidates is the answer of ChooseRuns.
type Candidates struct {
	Runs     []*row.FlowRun
	To       api.ID // up to here everything was looked at
	LookedAt int64
	Done     bool
}

// ErrBadFilter says that the text of a filter cannot be read.
var ErrBadFilter = errors.New("no filter of flow runs")

// ChooseRuns finds, by id, the next flow runs behind `after` (nil: from the first) that match a filter as POST /jobs takes it and were
// created at `before` (µs) or earlier: at most `most`, after looking at about `rows` of them. ErrBadFilter: the text is no filter.
func ChooseRuns(ctx context.Context, view *state.View, filter []byte, after *api.ID, before int64, most, rows int) (Candidates, error) {
	var q query
	if findings := jobFilterSpec.Decode(filter, &q); findings != nil {
		return Candidates{}, fmt.Errorf("%w: %s", ErrBadFilter, summary(findings))
	}
	m := &matcher{ctx: ctx, view: view, filters: q.filters,
		flowsSeen: map[api.ID]bool{}, deploymentsSeen: map[api.ID]bool{}, runs: map[api.ID]bool{}}
	return m.runsFrom(runPlace{after: after, most: most, rows: rows, before: before})
}
