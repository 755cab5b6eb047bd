package httpapi

import (
	"slices"

	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/http/internal/body"
)

// filters are the four criteria most lists take. Which index answers which is in DESIGN.md.
type filters struct {
	flows       *flowFilter
	flowRuns    *flowRunFilter
	taskRuns    *taskRunFilter
	deployments *deploymentFilter
}

type flowFilter struct {
	id   idCriterion
	name textCriterion
	tags tagCriterion
}

func (f *flowFilter) matches(r *row.Flow) bool {
	return f.id.matches(r.Id) && f.name.matches(&r.Name) && f.tags.matches(r.Tags)
}

type flowRunFilter struct {
	id           idCriterion
	name         textCriterion
	tags         tagCriterion
	deploymentID idCriterion
	state        stateCriterion
	flowVersion  textCriterion
	start        timeCriterion
	expected     timeCriterion
	next         timeCriterion
	parent       idCriterion
	runnerType   textCriterion
	workQueueID  idCriterion // ours: the queue of the last claim
	parameters   parameterCriterion
}

func (f *flowRunFilter) matches(r *row.FlowRun) bool {
	var runner *string
	if r.FlowRunner != nil {
		runner = r.FlowRunner.Type
	}
	return f.state.matches(r.State) && f.id.matches(r.Id) && f.name.matches(&r.Name) && f.deploymentID.matches(r.DeploymentId) &&
		f.tags.matches(r.Tags) && f.flowVersion.matches(r.FlowVersion) && f.start.matches(r.StartTime) &&
		f.expected.matches(r.ExpectedStartTime) && f.next.matches(r.NextScheduledStartTime) && f.parent.matches(r.ParentTaskRunId) &&
		f.runnerType.matches(runner) && f.workQueueID.matches(r.WorkQueueId) && f.parameters.matches(r.ParametersJson)
}

type taskRunFilter struct {
	id      idCriterion
	name    textCriterion
	tags    tagCriterion
	state   stateCriterion
	start   timeCriterion
	subflow *bool // whether some flow run has the task run for its parent
}

// matches looks at the row alone; subflow needs the view.
func (f *taskRunFilter) matches(r *row.TaskRun) bool {
	return f.id.matches(r.Id) && f.name.matches(&r.Name) && f.tags.matches(r.Tags) && f.state.matches(r.State) && f.start.matches(r.StartTime)
}

type deploymentFilter struct {
	id     idCriterion
	name   textCriterion
	active *bool
	tags   tagCriterion
}

func (f *deploymentFilter) matches(r *row.Deployment) bool {
	return f.id.matches(r.Id) && f.name.matches(&r.Name) && (f.active == nil || *f.active == r.IsScheduleActive) && f.tags.matches(r.Tags)
}

var flowFilterSpec = body.Strict(
	body.Nullable("id", idAnySpec.Kind(), func(v *flowFilter) *idCriterion { return &v.id }),
	body.Nullable("name", textAnySpec.Kind(), func(v *flowFilter) *textCriterion { return &v.name }),
	body.Nullable("tags", tagsSpec.Kind(), func(v *flowFilter) *tagCriterion { return &v.tags }),
)

var flowRunFilterSpec = body.Strict(
	body.Nullable("id", idAnyNotSpec.Kind(), func(v *flowRunFilter) *idCriterion { return &v.id }),
	body.Nullable("name", textAnySpec.Kind(), func(v *flowRunFilter) *textCriterion { return &v.name }),
	body.Nullable("tags", tagsSpec.Kind(), func(v *flowRunFilter) *tagCriterion { return &v.tags }),
	body.Nullable("deployment_id", idAnyNullSpec.Kind(), func(v *flowRunFilter) *idCriterion { return &v.deploymentID }),
	body.Nullable("state", stateFilterSpec.Kind(), func(v *flowRunFilter) *stateCriterion { return &v.state }),
	body.Nullable("flow_version", textAnySpec.Kind(), func(v *flowRunFilter) *textCriterion { return &v.flowVersion }),
	body.Nullable("start_time", timeRangeNullSpec.Kind(), func(v *flowRunFilter) *timeCriterion { return &v.start }),
	body.Nullable("expected_start_time", timeRangeSpec.Kind(), func(v *flowRunFilter) *timeCriterion { return &v.expected }),
	body.Nullable("next_scheduled_start_time", timeRangeSpec.Kind(), func(v *flowRunFilter) *timeCriterion { return &v.next }),
	body.Nullable("parent_task_run_id", idAnyNullSpec.Kind(), func(v *flowRunFilter) *idCriterion { return &v.parent }),
	body.Nullable("flow_runner_type", textAnySpec.Kind(), func(v *flowRunFilter) *textCriterion { return &v.runnerType }),
	body.Nullable("work_queue_id", idAnyNullSpec.Kind(), func(v *flowRunFilter) *idCriterion { return &v.workQueueID }).Ours(),
	body.Nullable("parameters", parametersSpec.Kind(), func(v *flowRunFilter) *parameterCriterion { return &v.parameters }).Ours(),
)

// flag is a criterion of one boolean operator.
type flag struct{ value *bool }

func flagSpec(operator string) body.Kind[flag] {
	return body.Strict(body.Nullable(operator, body.BoolRef, func(v *flag) **bool { return &v.value })).Kind()
}

func flagOf(kind body.Kind[flag]) body.Kind[*bool] {
	return func(d *body.Decoder, n int) (*bool, bool) {
		v, ok := kind(d, n)
		return v.value, ok
	}
}

var taskRunFilterSpec = body.Strict(
	body.Nullable("id", idAnySpec.Kind(), func(v *taskRunFilter) *idCriterion { return &v.id }),
	body.Nullable("name", textAnySpec.Kind(), func(v *taskRunFilter) *textCriterion { return &v.name }),
	body.Nullable("tags", tagsSpec.Kind(), func(v *taskRunFilter) *tagCriterion { return &v.tags }),
	body.Nullable("state", stateFilterSpec.Kind(), func(v *taskRunFilter) *stateCriterion { return &v.state }),
	body.Nullable("start_time", timeRangeNullSpec.Kind(), func(v *taskRunFilter) *timeCriterion { return &v.start }),
	body.Nullable("subflow_runs", flagOf(flagSpec("exists_")), func(v *taskRunFilter) **bool { return &v.subflow }),
)

var deploymentFilterSpec = body.Strict(
	body.Nullable("id", idAnySpec.Kind(), func(v *deploymentFilter) *idCriterion { return &v.id }),
	body.Nullable("name", textAnySpec.Kind(), func(v *deploymentFilter) *textCriterion { return &v.name }),
	body.Nullable("is_schedule_active", flagOf(flagSpec("eq_")), func(v *deploymentFilter) **bool { return &v.active }),
	body.Nullable("tags", tagsSpec.Kind(), func(v *deploymentFilter) *tagCriterion { return &v.tags }),
)

// query is the body of /filter and /count.
type query struct {
	filters
	page
	sort string
}

// filterFields are the filters between what an endpoint takes before them and after them: findings come in this order.
func filterFields(before []body.Field[query], after ...body.Field[query]) []body.Field[query] {
	return slices.Concat(before, []body.Field[query]{
		body.Optional("flows", flowFilterSpec.Ref(), func(v *query) **flowFilter { return &v.flows }),
		body.Optional("flow_runs", flowRunFilterSpec.Ref(), func(v *query) **flowRunFilter { return &v.flowRuns }),
		body.Optional("task_runs", taskRunFilterSpec.Ref(), func(v *query) **taskRunFilter { return &v.taskRuns }),
		body.Optional("deployments", deploymentFilterSpec.Ref(), func(v *query) **deploymentFilter { return &v.deployments }),
	}, after)
}

func sortField(sorts ...string) body.Field[query] {
	return body.Optional("sort", body.Words(sorts...), func(v *query) *string { return &v.sort })
}

var (
	limitField  = body.Optional("limit", body.Int, func(v *query) *int64 { return &v.limit })
	offsetField = body.Optional("offset", offset, func(v *query) *int64 { return &v.offset })
)

// runListSpec is the body of a list of runs.
func runListSpec(sorts ...string) *body.Object[query] {
	return body.Parameters(filterFields([]body.Field[query]{limitField, sortField(sorts...), offsetField})...)
}

// namedListSpec is the body of a list of flows or deployments.
func namedListSpec(sort body.Field[query]) *body.Object[query] {
	return body.Parameters(filterFields([]body.Field[query]{limitField, offsetField}, sort)...)
}

var (
	countSpec            = body.Parameters(filterFields(nil)...)
	flowsQuerySpec       = namedListSpec(sortField("CREATED_DESC", "UPDATED_DESC", "NAME_ASC", "NAME_DESC"))
	deploymentsQuerySpec = namedListSpec(sortField("NAME_ASC").Ours())
	flowRunsQuerySpec    = runListSpec(flowRunSorts...)
	taskRunsQuerySpec    = runListSpec("ID_DESC", "EXPECTED_START_TIME_ASC", "EXPECTED_START_TIME_DESC", "NEXT_SCHEDULED_START_TIME_ASC", "END_TIME_DESC")
)

var flowRunSorts = []string{
	"ID_DESC", "EXPECTED_START_TIME_ASC", "EXPECTED_START_TIME_DESC", "NAME_ASC", "NAME_DESC", "NEXT_SCHEDULED_START_TIME_ASC", "END_TIME_DESC",
}

// query decodes the body of a /filter.
func (x *exchange) query(spec *body.Object[query], sort string) (*query, error) {
	q := &query{page: newPage(), sort: sort}
	if err := decode(x, spec, q); err != nil {
		return nil, err
	}
	return q, q.check()
}
