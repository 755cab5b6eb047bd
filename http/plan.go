package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"google.golang.org/protobuf/proto"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
)

// planDeployment says what putting a deployment would change, and changes nothing.
func planDeployment(_ *Server, x *exchange) error {
	c := &command.PutDeployment{}
	if err := decode(x, putDeploymentSpec, c); err != nil {
		return err
	}
	if err := nameSchedules(c); err != nil {
		return err
	}
	c.HasFlowRunner, c.HasRetention, c.HasPolicy, c.Policy = c.FlowRunner != nil, true, true, plainPolicy(c.Policy)
	view, err := x.view()
	if err != nil {
		return err
	}
	defer view.Close()
	stored, err := view.DeploymentByName(idOf(c.FlowId), c.Name)
	if err != nil {
		return err
	}
	next := c.Over(stored)
	if err := x.fitDeployment(next); err != nil {
		return err
	}
	plan, err := x.plan(view, stored, next)
	if err != nil {
		return err
	}
	if c.IfRevision != nil && strconv.FormatUint(*c.IfRevision, 10) != plan.Revision {
		return conflict(revisionConflict, fmt.Sprintf("Its revision is %s. Plan again without if_revision.", plan.Revision))
	}
	if err := x.showChanges(plan.Changes); err != nil {
		return fmt.Errorf("mask a plan's secrets: %w", err)
	}
	if x.out, err = appendJSON(x.out, plan); err != nil {
		return err
	}
	return x.send(200)
}

func (x *exchange) plan(view *state.View, stored, next *row.Deployment) (*api.DeploymentPlan, error) {
	p := &api.DeploymentPlan{Action: api.PlanCreate, Revision: strconv.FormatUint(stored.GetRevision(), 10), Changes: []api.PlannedChange{}, Next: []api.Time{}}
	schedule, err := compiled(next, nil)
	if err != nil {
		return nil, err
	}
	if schedule != nil && next.IsScheduleActive {
		p.Next = nextTimes(schedule, x.now())
	}
	if stored != nil {
		p.Action, p.DeploymentID = api.PlanUnchanged, idRef(stored.Id)
		if !proto.Equal(stored, next) {
			p.Action = api.PlanUpdate
		}
	}
	if p.Changes, err = changes(stored, next); err != nil || p.Action != api.PlanUpdate {
		return p, err
	}
	err = view.ScheduledFlowRunsOfDeployment(idOf(stored.Id), false, func(r *row.FlowRun) (bool, error) {
		if r.AutoScheduled {
			p.Replaced++
		}
		return true, nil
	})
	return p, err
}

// untold are fields of a deployment that a put does not set.
var untold = []string{"id", "created", "updated", "revision", "schedules", "name", "flow_id"}

// changes compares two deployments field by field, as answers show them. stored may be nil.
func changes(stored, next *row.Deployment) ([]api.PlannedChange, error) {
	before, err := members(stored)
	if err != nil {
		return nil, err
	}
	after, err := members(next)
	if err != nil {
		return nil, err
	}
	list := []api.PlannedChange{}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		from := before[name]
		if from == nil {
			from = json.RawMessage("null")
		}
		if !slices.Contains(untold, name) && !bytes.Equal(from, after[name]) {
			list = append(list, api.PlannedChange{Field: name, From: from, To: after[name]})
		}
	}
	from, to, err := plannedSchedules(stored, next)
	if err == nil && from != nil {
		list = append(list, api.PlannedChange{Field: "schedules", From: from, To: to})
	}
	return list, err
}

// plannedSchedules are the schedules before and after, without what the server makes of them; nil when their change is that of
// the field schedule, or there is none.
func plannedSchedules(stored, next *row.Deployment) (from, to json.RawMessage, err error) {
	simple := func(d *row.Deployment) ([]api.ScheduleCreate, error) {
		if d == nil {
			return []api.ScheduleCreate{}, nil
		}
		entries, err := scheduleEntries(d)
		list := []api.ScheduleCreate{}
		for _, e := range entries {
			list = append(list, api.ScheduleCreate{Name: e.Name, Schedule: e.Schedule, Active: &e.Active})
		}
		return list, err
	}
	before, err := simple(stored)
	if err != nil {
		return nil, nil, err
	}
	after, err := simple(next)
	if err != nil {
		return nil, nil, err
	}
	plain := func(list []api.ScheduleCreate) bool {
		return len(list) == 0 || len(list) == 1 && list[0].Name == "" && *list[0].Active
	}
	if plain(before) && plain(after) {
		return nil, nil, nil
	}
	if from, err = json.Marshal(before); err != nil {
		return nil, nil, err
	}
	if to, err = json.Marshal(after); err != nil {
		return nil, nil, err
	}
	if bytes.Equal(from, to) {
		return nil, nil, nil
	}
	return from, to, nil
}

func members(d *row.Deployment) (map[string]json.RawMessage, error) {
	m := map[string]json.RawMessage{}
	if d == nil {
		return m, nil
	}
	object, err := deploymentObject(d, false)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(object.AppendJSON(nil), &m); err != nil {
		return nil, fmt.Errorf("read a deployment's members: %w", err)
	}
	return m, nil
}
