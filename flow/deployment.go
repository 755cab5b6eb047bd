package flow

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sluice-dev/sluice/api"
)

// Deployment describes a deployment of a flow, for Main.
type Deployment struct {
	flow string
	body deploymentBody
	err  error

	schedules []api.ScheduleCreate
}

// deploymentBody is a deployment as `describe` prints it and `sluice deployment create` reads it.
type deploymentBody struct {
	Flow       string          `json:"flow"`
	Name       string          `json:"name"`
	Parameters json.RawMessage `json:"parameters"`
	Tags       []string        `json:"tags"`
	Schedule   *api.Schedule   `json:"schedule"`
	// Schedules are all of them where there are several, or the one has a name.
	Schedules    []api.ScheduleCreate `json:"schedules,omitempty"`
	Catchup      api.Catchup          `json:"catchup,omitempty"`
	CatchupLimit *int                 `json:"catchup_limit,omitempty"`
	FlowRunner   *flowRunner          `json:"flow_runner,omitempty"`
}

type flowRunner struct {
	Type   string            `json:"type"`
	Config map[string]runEnv `json:"config"`
}

type runEnv = map[string]string

// DeploymentOption is an option of Deployment.
type DeploymentOption func(*Deployment)

// Deployment describes a deployment of the flow: its name, and the parameters its runs get unless told otherwise.
func (f *Flow[I, O]) Deployment(name string, parameters I, options ...DeploymentOption) Deployment {
	d := Deployment{flow: f.flow.Name, body: deploymentBody{Flow: f.flow.Name, Name: name, Tags: []string{}}}
	d.body.Parameters, d.err = json.Marshal(parameters)
	if d.err == nil && (len(d.body.Parameters) == 0 || d.body.Parameters[0] != '{') {
		d.body.Parameters, d.err = json.Marshal(map[string]json.RawMessage{"input": d.body.Parameters})
	}
	for _, o := range options {
		o(&d)
	}
	switch {
	case len(d.schedules) == 1 && d.schedules[0].Name == "":
		d.body.Schedule = &d.schedules[0].Schedule
	case len(d.schedules) > 0:
		d.body.Schedules = d.schedules
	}
	return d
}

// DeployTags marks a deployment and its runs; work queues choose by tags.
func DeployTags(tags ...string) DeploymentOption {
	return func(d *Deployment) { d.body.Tags = append(d.body.Tags, tags...) }
}

// schedule adds a schedule.
func (d *Deployment) schedule(s api.Schedule) {
	d.schedules = append(d.schedules, api.ScheduleCreate{Schedule: s})
}

// Scheduled gives the schedule that the option makes a name, by which it can be paused: Scheduled("nightly", Cron("0 3 * * *", "")).
// A deployment may have several schedules, each an option; each makes runs by itself.
func Scheduled(name string, option DeploymentOption) DeploymentOption {
	return func(d *Deployment) {
		before := len(d.schedules)
		option(d)
		for i := before; i < len(d.schedules); i++ {
			d.schedules[i].Name = name
		}
	}
}

// Every runs a deployment at a regular interval. Whole days are counted in local time of the zone ("" is UTC).
func Every(interval time.Duration, zone string) DeploymentOption {
	return func(d *Deployment) {
		d.schedule(api.Schedule{Interval: &api.IntervalSchedule{Interval: api.Duration(interval), Timezone: zoneOf(zone)}})
	}
}

// Cron runs a deployment when a cron expression matches in a time zone ("" is UTC).
func Cron(expression, zone string) DeploymentOption {
	return func(d *Deployment) {
		d.schedule(api.Schedule{Cron: &api.CronSchedule{Cron: expression, Timezone: zoneOf(zone), DayOr: true}})
	}
}

// RRule runs a deployment by an iCalendar rule, like FREQ=WEEKLY;BYDAY=MO, in a time zone ("" is UTC).
func RRule(rule, zone string) DeploymentOption {
	return func(d *Deployment) {
		if zone == "" {
			zone = "UTC"
		}
		d.schedule(api.Schedule{RRule: &api.RRuleSchedule{RRule: rule, Timezone: zone}})
	}
}

func zoneOf(name string) *string {
	if name == "" {
		return nil
	}
	return &name
}

// CatchUp says what becomes of times that were missed: api.CatchupSkip (default), api.CatchupLatest, or api.CatchupAll, of which
// at most limit are made up (0: 100).
func CatchUp(policy api.Catchup, limit int) DeploymentOption {
	return func(d *Deployment) {
		d.body.Catchup = policy
		if limit > 0 {
			d.body.CatchupLimit = &limit
		}
	}
}

// Env sets environment variables of the processes that execute the deployment's runs.
func Env(variables map[string]string) DeploymentOption {
	return func(d *Deployment) {
		d.body.FlowRunner = &flowRunner{Type: "subprocess", Config: map[string]runEnv{"env": maps.Clone(variables)}}
	}
}

func (d Deployment) add(p *program) error {
	if d.err != nil {
		return fmt.Errorf("parameters of deployment %q: %w", d.body.Name, d.err)
	}
	if slices.ContainsFunc(p.deployments, func(o Deployment) bool { return o.flow == d.flow && o.body.Name == d.body.Name }) {
		return fmt.Errorf("flow %q has two deployments called %q", d.flow, d.body.Name)
	}
	p.deployments = append(p.deployments, d)
	return nil
}
