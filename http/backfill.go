package httpapi

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
	"github.com/sluice-dev/sluice/http/internal/body"
)

type backfillRequest struct {
	start, end int64
	schedule   []byte
	limit      int64
	priority   int32
	dry        bool
}

const (
	defaultBackfill = 100
	mostBackfill    = 10_000
	// mostCounted bounds how many fire times of a range are counted.
	mostCounted = 100_000
)

var backfillSpec = body.Strict(
	body.Required("start_time", body.Time, func(v *backfillRequest) *int64 { return &v.start }),
	body.Required("end_time", body.Time, func(v *backfillRequest) *int64 { return &v.end }),
	body.Nullable("schedule_id", body.UUIDBytes, func(v *backfillRequest) *[]byte { return &v.schedule }),
	body.Nullable("limit", body.IntBetween(1, mostBackfill), func(v *backfillRequest) *int64 { return &v.limit }),
	body.Nullable("priority", priorityKind, func(v *backfillRequest) *int32 { return &v.priority }),
	body.Optional("dry_run", body.Bool, func(v *backfillRequest) *bool { return &v.dry }),
).Defaults(func(v *backfillRequest) { v.limit = defaultBackfill }).Check(func(d *body.Decoder, v *backfillRequest) bool {
	if v.end < v.start {
		d.FailAt("end_time", "end_time is before start_time", "value_error")
		return false
	}
	return true
})

// backfillDeployment makes runs of a schedule's fire times in a range of the past that have none.
func backfillDeployment(_ *Server, x *exchange) error {
	id, err := x.pathID("id")
	if err != nil {
		return err
	}
	var in backfillRequest
	if err := decode(x, backfillSpec, &in); err != nil {
		return err
	}
	if in.end > x.now() {
		return unprocessable([]body.Error{{Loc: []any{"body", "end_time"}, Msg: "end_time is in the future: the schedule makes those runs", Type: "value_error"}})
	}
	view, err := x.view()
	if err != nil {
		return err
	}
	d, err := view.Deployment(id)
	if err == nil && d == nil {
		err = notFound(missing.deployment)
	}
	if err == nil {
		err = x.fitSchedule(d)
	}
	if err != nil {
		return errors.Join(err, view.Close())
	}
	answer, fires, err := x.backfillPlan(view, d, &in)
	view.Close()
	if err != nil {
		return err
	}
	if !in.dry {
		if err := x.backfill(d, &in, answer, fires); err != nil {
			return err
		}
	}
	if x.out, err = appendJSON(x.out, answer); err != nil {
		return err
	}
	return x.send(200)
}

// backfillPlan finds the fire times and which of them have runs. fires are those to be made.
func (x *exchange) backfillPlan(view *state.View, d *row.Deployment, in *backfillRequest) (*api.Backfilled, []*command.ScheduleRuns_Fire, error) {
	if isFirst(d, in.schedule) {
		in.schedule = nil
	}
	schedule, err := compiled(d, in.schedule)
	if err != nil {
		return nil, nil, err
	}
	if schedule == nil {
		return nil, nil, &failure{status: 404, kind: api.KindNotFound, detail: missingSchedule,
			hint: "`sluice deployment schedule ls` shows the deployment's schedules."}
	}
	dates := schedule.Dates(mostCounted, time.UnixMicro(in.start), time.UnixMicro(in.end))
	answer := &api.Backfilled{Matched: len(dates), DryRun: in.dry, Runs: []api.BackfilledAt{}}
	if len(dates) > int(in.limit) {
		answer.Remaining = len(dates) - int(in.limit)
		dates = dates[:in.limit]
	}
	var fires []*command.ScheduleRuns_Fire
	for _, at := range dates {
		_, zone := at.In(schedule.Zone()).Zone()
		fire := &command.ScheduleRuns_Fire{Time: at.UnixMicro(), Offset: int32(zone)}
		run, err := view.FlowRunByIdempotencyKey(idOf(d.FlowId), command.FireKey(d.Id, in.schedule, fire))
		if err != nil {
			return nil, nil, err
		}
		shown := api.BackfilledAt{ScheduledTime: *api.TimeAt(at)}
		if run != nil {
			answer.Existing++
			shown.FlowRunID, shown.Existing, shown.State = idRef(run.Id), true, run.State.GetName()
		} else {
			fire.FlowRunId, fire.Name = newID(), api.RunName(rand.Uint64())
			fires = append(fires, fire)
			answer.Created++
			if !in.dry {
				shown.FlowRunID = idRef(fire.FlowRunId)
			}
		}
		answer.Runs = append(answer.Runs, shown)
	}
	return answer, fires, nil
}

// backfill makes the runs. That somebody else made one meanwhile is as good.
func (x *exchange) backfill(d *row.Deployment, in *backfillRequest, answer *api.Backfilled, fires []*command.ScheduleRuns_Fire) error {
	answer.Created = 0
	for part := range slices.Chunk(fires, firesPerCommand) {
		e := x.envelope()
		e.Command = &command.Envelope_BackfillRuns{BackfillRuns: &command.BackfillRuns{DeploymentId: d.Id, ScheduleId: in.schedule, Fires: part, Priority: in.priority}}
		r, _, err := x.propose(e)
		if err != nil {
			return err
		}
		if err := outcome(r, missing.deployment, "The schedule was deleted meanwhile."); err != nil {
			if answer.Created > 0 {
				return fmt.Errorf("%d runs were made, then: %w", answer.Created, err)
			}
			return err
		}
		answer.Created += int(r.Count)
		if missed := len(part) - int(r.Count); missed > 0 {
			answer.Existing += missed
		}
	}
	return nil
}
