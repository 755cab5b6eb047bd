package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

func newDeploymentBackfill(a *app) *cobra.Command {
	var from, to, schedule string
	var limit, priority int
	var dry bool
	command := deploymentArgument(a, &cobra.Command{
		Use:   "backfill DEPLOYMENT",
		Short: "Make the runs of past fire times that have none",
		Long: `Make the runs that a deployment's schedule would have made between two times. A fire time that has a run is left alone, so
repeating a backfill makes nothing twice. The runs carry the tag backfill, wait behind others (priority 900), and are under
the deployment's concurrency limit. The schedule itself is not moved, and may be paused.`,
		Example: `  sluice deployment backfill my-flow/nightly --from 2026-11-01 --to 2026-11-08 --dry-run
  sluice deployment backfill my-flow/nightly --from 2026-11-01 --to 2026-11-08 --limit 500`,
	})
	flags := command.Flags()
	flags.StringVar(&from, "from", "", "first time, like 2026-11-01 or 2026-11-01T06:00:00+01:00; UTC without offset")
	flags.StringVar(&to, "to", "", "last time (default now)")
	flags.StringVar(&schedule, "schedule", "", "id of the schedule (default the first one)")
	flags.IntVar(&limit, "limit", 100, "make at most this many runs, the oldest first (up to 10000)")
	flags.IntVar(&priority, "priority", api.BackfillPriority, "priority of the runs, 1 goes first")
	flags.BoolVar(&dry, "dry-run", false, "only say what would be made")
	command.RunE = onDeployment(a, func(ctx context.Context, c *client.Client, d *namedDeployment) error {
		body := api.Backfill{Limit: &limit, Priority: &priority, DryRun: dry, EndTime: api.Time{Time: time.Now()}}
		if from == "" {
			return usagef("--from is missing: the first time, like 2026-11-01")
		}
		var err error
		if body.StartTime, err = timeFlag("from", from); err != nil {
			return err
		}
		if to != "" {
			if body.EndTime, err = timeFlag("to", to); err != nil {
				return err
			}
		}
		if body.EndTime.Before(body.StartTime.Time) {
			return usagef("--to (now, when it is left out) is before --from: the range ends before it begins")
		}
		if schedule != "" {
			id, err := api.ParseID(schedule)
			if err != nil {
				return usagef("--schedule is '%s'; it is an id that `sluice deployment schedule ls` shows", schedule)
			}
			body.ScheduleID = &id
		}
		done, err := c.Backfill(ctx, d.ID, body)
		if schedule == "" && api.IsNotFound(err) {
			return notFoundf("sluice deployment schedule create "+shellWord(d.title())+" --cron '0 3 * * *'", "deployment '%s' has no schedule to say when it would have run", d.title())
		}
		if err != nil {
			return fmt.Errorf("backfill deployment '%s': %w", d.title(), err)
		}
		return a.printBackfill(d, done)
	})
	return command
}

// timeFlag reads a time or a date.
func timeFlag(flag, text string) (api.Time, error) {
	if t, err := time.Parse(time.DateOnly, text); err == nil {
		return api.Time{Time: t}, nil
	}
	t, err := api.ParseTime(text)
	if err != nil {
		return api.Time{}, usagef("--%s is '%s'; it is a time like 2026-11-01 or 2026-11-01T06:00:00+01:00", flag, text)
	}
	return api.Time{Time: t}, nil
}

func (a *app) printBackfill(d *namedDeployment, done *api.Backfilled) error {
	if a.structured() {
		return a.printObject(done, d.ID.String(), d.title())
	}
	err := printList(a, list[api.BackfilledAt]{
		title: "Backfill",
		columns: []column[api.BackfilledAt]{
			{header: "Scheduled Time", sgr: sgrCyan, cell: func(r api.BackfilledAt, _ bool) string { return a.moment(r.ScheduledTime, false) }},
			{header: "Run", sgr: sgrBlue, cell: func(r api.BackfilledAt, _ bool) string {
				if r.FlowRunID == nil {
					return "would be made"
				}
				return r.FlowRunID.String()
			}},
			{header: "State", cell: func(r api.BackfilledAt, _ bool) string {
				if r.Existing {
					return r.State
				}
				return "new"
			}},
		},
		items: done.Runs,
		id: func(r api.BackfilledAt) string {
			if r.FlowRunID == nil {
				return ""
			}
			return r.FlowRunID.String()
		},
		name: func(r api.BackfilledAt) string { return r.ScheduledTime.String() },
	})
	if err != nil {
		return err
	}
	verb := "Made"
	if done.DryRun {
		verb = "Would make"
	}
	a.say("%s %d runs; %d fire times in the range, %d had runs already.", verb, done.Created, done.Matched, done.Existing)
	if done.Remaining > 0 {
		a.note("%d fire times are beyond --limit: repeat with a higher one, or from a later time.", done.Remaining)
	}
	return nil
}
