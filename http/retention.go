package httpapi

import (
	"math"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/orchestration"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
	"github.com/sluice-dev/sluice/http/internal/body"
)

// ageRef takes how long something is kept, in µs; 0 is for ever.
func ageRef(d *body.Decoder, n int) (*int64, bool) {
	text, ok := body.Text(d, n)
	if !ok {
		return nil, false
	}
	age, err := api.ParseAge(text)
	if err != nil {
		d.Fail(err.Error(), "value_error.age", "")
		return nil, false
	}
	us := int64(age) / 1000
	return &us, true
}

// countRef takes a bound on a number; 0 is none.
func countRef(d *body.Decoder, n int) (*int64, bool) {
	v, ok := body.IntBetween(0, math.MaxInt32)(d, n)
	return &v, ok
}

var retentionRuleSpec = body.Strict(
	body.Nullable("max_age", ageRef, func(v *row.RetentionRule) **int64 { return &v.MaxAge }),
	body.Nullable("max_count", countRef, func(v *row.RetentionRule) **int64 { return &v.MaxCount }),
)

var deploymentRetentionSpec = body.Strict(
	body.Nullable("runs", retentionRuleSpec.Ref(), func(v *row.Retention) **row.RetentionRule { return &v.Runs }),
	body.Nullable("logs", retentionRuleSpec.Ref(), func(v *row.Retention) **row.RetentionRule { return &v.Logs }),
)

// retentionUpdate is the body of PATCH /retention.
type retentionUpdate struct {
	runs   retentionRuns
	logs   row.RetentionRule
	resume bool
}

type retentionRuns struct {
	rule  row.RetentionRule
	total *int64
}

var retentionRunsSpec = body.Strict(
	body.Nullable("max_age", ageRef, func(v *retentionRuns) **int64 { return &v.rule.MaxAge }),
	body.Nullable("max_count", countRef, func(v *retentionRuns) **int64 { return &v.rule.MaxCount }),
	body.Nullable("max_total", countRef, func(v *retentionRuns) **int64 { return &v.total }),
)

var retentionUpdateSpec = body.Strict(
	body.Nullable("runs", retentionRunsSpec.Kind(), func(v *retentionUpdate) *retentionRuns { return &v.runs }),
	body.Nullable("logs", retentionRuleSpec.Kind(), func(v *retentionUpdate) *row.RetentionRule { return &v.logs }),
	body.Optional("resume", body.Bool, func(v *retentionUpdate) *bool { return &v.resume }),
)

var readRetention = reads(func(x *exchange, view *state.View) error { return x.answerRetention(view) })

func (x *exchange) answerRetention(view *state.View) error {
	p, err := view.RetentionPolicy()
	if err != nil {
		return err
	}
	if p == nil {
		return notFound("The cluster has no rules of retention yet: its first leader stores them.")
	}
	if x.out, err = appendJSON(x.out, retentionObject(p, x.now())); err != nil {
		return err
	}
	return x.send(200)
}

func retentionObject(p *row.RetentionPolicy, now int64) (r api.Retention) {
	rules := orchestration.RetentionOf(p, nil)
	r.Runs.MaxAge, r.Runs.MaxCount, r.Runs.MaxTotal = ageOf(rules.Runs.MaxAge), rules.Runs.MaxCount, p.MaxTotalRuns
	r.Logs.MaxAge, r.Logs.MaxCount = ageOf(rules.Logs.MaxAge), rules.Logs.MaxCount
	r.Updated = timeOf(p.Updated)
	if p.HeldUntil > now {
		gap := durationOf(p.HeldGap)
		r.HeldUntil, r.HeldGap = timeRef(p.HeldUntil), &gap
	}
	return r
}

func ageOf(us int64) api.Age { return api.Age(us * 1000) }

func updateRetention(_ *Server, x *exchange) error {
	in := retentionUpdate{}
	if err := decode(x, retentionUpdateSpec, &in); err != nil {
		return err
	}
	e := x.envelope()
	e.Command = &command.Envelope_SetRetention{SetRetention: &command.SetRetention{RunsMaxAge: in.runs.rule.MaxAge, RunsMaxCount: in.runs.rule.MaxCount,
		MaxTotalRuns: in.runs.total, LogsMaxAge: in.logs.MaxAge, LogsMaxCount: in.logs.MaxCount, EndHold: in.resume}}
	return x.proposeObject(e, "", "", func(view *state.View, _ *command.Result) error { return x.answerRetention(view) })
}

// retentionObjectOf is what a deployment says of its own.
func retentionObjectOf(r *row.Retention) *api.DeploymentRetention {
	if r == nil {
		return nil
	}
	rule := func(r *row.RetentionRule) *api.RetentionRule {
		if r == nil {
			return nil
		}
		out := &api.RetentionRule{MaxCount: r.MaxCount}
		if r.MaxAge != nil {
			age := ageOf(*r.MaxAge)
			out.MaxAge = &age
		}
		return out
	}
	return &api.DeploymentRetention{Runs: rule(r.Runs), Logs: rule(r.Logs)}
}

const (
	// previewLimit bounds how many runs a preview counts, previewDeployments how many deployments it lists.
	previewLimit       = 200_000
	previewDeployments = 1000
)

var previewRetention = reads(func(x *exchange, view *state.View) error {
	policy, err := view.RetentionPolicy()
	if err != nil {
		return err
	}
	p := preview{view: view, policy: policy, now: x.now(), left: previewLimit}
	p.out.Time, p.out.Held, p.out.Deployments = timeOf(p.now), orchestration.RetentionHeld(policy, p.now), []api.RetentionEstimate{}
	if err := view.DeploymentsWithHistory(p.deployment); err != nil {
		return err
	}
	if err := p.total(); err != nil {
		return err
	}
	if x.out, err = appendJSON(x.out, p.out); err != nil {
		return err
	}
	return x.send(200)
})

// preview counts what would go.
type preview struct {
	view   *state.View
	policy *row.RetentionPolicy
	now    int64
	left   int64 // runs that may still be counted
	out    api.RetentionPreview
}

func (p *preview) deployment(id api.ID) (more bool, err error) {
	if p.left <= 0 {
		p.out.Limited = true
		return false, nil
	}
	d, err := p.view.Deployment(id)
	if err != nil {
		return false, err
	}
	rules := orchestration.RetentionOf(p.policy, d)
	runs, oldest, err := p.count(id, rules.Runs, 0, p.view.FinishedRuns, p.view.CountFinishedRuns)
	if err != nil {
		return false, err
	}
	logs, _, err := p.count(id, rules.Logs, orchestration.LogsAge(0), p.view.RunsWithLogs, p.view.CountRunsWithLogs)
	if err != nil {
		return false, err
	}
	p.out.Runs += runs
	p.out.Logs += logs
	if runs+logs == 0 {
		return true, nil
	}
	if len(p.out.Deployments) == previewDeployments {
		p.out.Limited = true
		return true, nil
	}
	e := api.RetentionEstimate{Runs: runs, Logs: logs, Oldest: timeRef(oldest)}
	e.Rules.Runs = api.RetentionBounds{MaxAge: ageOf(rules.Runs.MaxAge), MaxCount: rules.Runs.MaxCount}
	e.Rules.Logs = api.RetentionBounds{MaxAge: ageOf(rules.Logs.MaxAge), MaxCount: rules.Logs.MaxCount}
	if !id.IsNil() {
		e.DeploymentID = &id
	}
	if d != nil {
		flow, err := p.view.Flow(idOf(d.FlowId))
		if err != nil {
			return false, err
		}
		e.Name = flow.GetName() + "/" + d.Name
	}
	p.out.Deployments = append(p.out.Deployments, e)
	return true, nil
}

// count returns how many runs a rule no longer keeps, and when the oldest of all finished. As if the time were not in doubt.
func (p *preview) count(id api.ID, rule orchestration.Rule, shift int64, walk func(api.ID, int64, api.ID, func(int64, api.ID) (bool, error)) error,
	count func(api.ID) (int64, error)) (gone, oldest int64, err error) {
	all, err := count(id)
	if err != nil {
		return 0, 0, err
	}
	excess := int64(0)
	if rule.MaxCount > 0 {
		excess = max(0, all-rule.MaxCount)
	}
	err = walk(id, 0, api.ID{}, func(at int64, _ api.ID) (bool, error) {
		if oldest == 0 {
			oldest = at
		}
		if gone >= excess && (rule.MaxAge <= 0 || at+shift >= p.now-rule.MaxAge) {
			return false, nil
		}
		gone++
		p.left--
		p.out.Limited = p.out.Limited || p.left <= 0
		return p.left > 0, nil
	})
	return gone, oldest, err
}

// total adds what goes for the bound on all runs of the cluster.
func (p *preview) total() error {
	if p.policy.GetMaxTotalRuns() <= 0 {
		return nil
	}
	all := -p.policy.MaxTotalRuns
	for _, t := range []row.StateType{row.StateType_COMPLETED, row.StateType_FAILED, row.StateType_CANCELLED} {
		n, err := p.view.CountFlowRuns(t)
		if err != nil {
			return err
		}
		all += n
	}
	if all > p.out.Runs {
		p.out.Total = all - p.out.Runs
		p.out.Runs = all
	}
	return nil
}
