package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

func newScheduleCommand(a *app) *cobra.Command {
	return group("schedule", "The schedules of a deployment",
		"A deployment may have several schedules; each makes runs by itself. Pausing the deployment pauses all of them.",
		"  sluice deployment schedule create my-flow/nightly --cron '0 3 * * *' --timezone Europe/Berlin\n  sluice deployment schedule ls my-flow/nightly",
		newScheduleCreate(a), newScheduleList(a), newScheduleSwitch(a, false), newScheduleSwitch(a, true), newScheduleDelete(a), newScheduleClear(a))
}

// scheduleFlags describe a schedule on the command line.
type scheduleFlags struct {
	cron, rrule, timezone, anchor string
	interval                      time.Duration
	dayAnd                        bool
}

func (f *scheduleFlags) schedule() (*api.Schedule, error) {
	var zone *string
	if f.timezone != "" {
		zone = &f.timezone
	}
	switch {
	case f.cron != "":
		return &api.Schedule{Cron: &api.CronSchedule{Cron: f.cron, Timezone: zone, DayOr: !f.dayAnd}}, nil
	case f.rrule != "":
		s := &api.RRuleSchedule{RRule: f.rrule, Timezone: "UTC"}
		if zone != nil {
			s.Timezone = *zone
		}
		return &api.Schedule{RRule: s}, nil
	case f.interval > 0:
		s := &api.IntervalSchedule{Interval: api.Duration(f.interval), Timezone: zone}
		if f.anchor != "" {
			at, err := api.ParseTime(f.anchor)
			if err != nil {
				return nil, usagef("--anchor-date is '%s'; it is a time like 2026-11-23T09:30:00+01:00", f.anchor)
			}
			s.AnchorDate = &api.ZonedTime{Time: at}
		}
		return &api.Schedule{Interval: s}, nil
	}
	return nil, usagef("say when: --cron '0 9 * * *', --interval 2h or --rrule 'FREQ=DAILY'")
}

func newScheduleCreate(a *app) *cobra.Command {
	var given scheduleFlags
	paused, name := false, ""
	command := deploymentArgument(a, &cobra.Command{
		Use:     "create DEPLOYMENT",
		Short:   "Add a schedule to a deployment",
		Long:    "Add a schedule to a deployment. The first one is the schedule that Orion's clients see.",
		Example: "  sluice deployment schedule create my-flow/nightly --cron '0 3 * * *' --timezone Europe/Berlin\n  sluice deployment schedule create my-flow/nightly --interval 2h",
	})
	flags := command.Flags()
	flags.StringVar(&given.cron, "cron", "", "cron expression: minute hour day month weekday")
	flags.DurationVar(&given.interval, "interval", 0, "time between runs, like 15m or 24h")
	flags.StringVar(&given.rrule, "rrule", "", "iCalendar rule, like FREQ=WEEKLY;BYDAY=MO")
	flags.StringVar(&given.timezone, "timezone", "", "time zone, like Europe/Berlin (default UTC)")
	flags.StringVar(&given.anchor, "anchor-date", "", "with --interval: a time that all runs lie whole intervals away from")
	flags.BoolVar(&given.dayAnd, "day-and", false, "with --cron: day of month and weekday must both match")
	flags.StringVar(&name, "name", "", "what it is called, unique in the deployment")
	flags.BoolVar(&paused, "paused", false, "make no runs until it is resumed")
	command.MarkFlagsMutuallyExclusive("cron", "interval", "rrule")
	command.RunE = onDeployment(a, func(ctx context.Context, c *client.Client, d *namedDeployment) error {
		schedule, err := given.schedule()
		if err != nil {
			return err
		}
		active := !paused
		entry, err := c.CreateSchedule(ctx, d.ID, api.ScheduleCreate{Name: name, Schedule: *schedule, Active: &active})
		if err != nil {
			return fmt.Errorf("add a schedule to deployment '%s': %w", d.title(), err)
		}
		return a.printDone(entry, entry.ID.String(), entry.ID.String(), fmt.Sprintf("Added schedule %s to deployment '%s'.", entry.ID, d.title()))
	})
	return command
}

func newScheduleList(a *app) *cobra.Command {
	return deploymentArgument(a, &cobra.Command{
		Use:     "ls DEPLOYMENT",
		Aliases: []string{"list"},
		Short:   "List the schedules of a deployment",
		Long:    "List the schedules of a deployment with their next fire times.\nSchedules are known by their ids; the first one has the deployment's.",
		Example: "  sluice deployment schedule ls my-flow/nightly",
		RunE: onDeployment(a, func(ctx context.Context, c *client.Client, d *namedDeployment) error {
			entries, err := c.Schedules(ctx, d.ID)
			if err != nil {
				return fmt.Errorf("list the schedules of deployment '%s': %w", d.title(), err)
			}
			return printList(a, list[api.ScheduleEntry]{
				title: "Schedules",
				columns: []column[api.ScheduleEntry]{
					{header: "ID", sgr: sgrCyan, cell: func(e api.ScheduleEntry, _ bool) string { return e.ID.String() }},
					{header: "Name", sgr: sgrGreen, cell: func(e api.ScheduleEntry, _ bool) string { return e.Name }},
					{header: "Schedule", fold: true, sgr: sgrBlue, cell: func(e api.ScheduleEntry, _ bool) string { return describeSchedule(e.Schedule) }},
					{header: "State", cell: func(e api.ScheduleEntry, _ bool) string { return switchState(e.Active, d.IsScheduleActive) }},
					{header: "Next", fold: true, cell: func(e api.ScheduleEntry, people bool) string {
						if len(e.Next) == 0 || !e.Active || !d.IsScheduleActive {
							return ""
						}
						return a.moment(e.Next[0], people)
					}},
				},
				items: entries,
				id:    func(e api.ScheduleEntry) string { return e.ID.String() },
				name:  func(e api.ScheduleEntry) string { return e.ID.String() },
			})
		}),
	})
}

func switchState(active, deployment bool) string {
	switch {
	case !deployment:
		return "deployment paused"
	case !active:
		return "paused"
	}
	return "active"
}

func describeSchedule(s api.Schedule) string {
	zone := func(z *string) string {
		if z == nil {
			return ""
		}
		return " (" + *z + ")"
	}
	switch {
	case s.Cron != nil:
		return "cron " + s.Cron.Cron + zone(s.Cron.Timezone)
	case s.Interval != nil:
		return "every " + s.Interval.Interval.Std().String() + zone(s.Interval.Timezone)
	case s.RRule != nil:
		return "rrule " + s.RRule.RRule + zone(&s.RRule.Timezone)
	}
	return ""
}

// onSchedule connects and resolves the deployment and the schedule of a command.
func onSchedule(a *app, do func(ctx context.Context, c *client.Client, d *namedDeployment, e api.ScheduleEntry) error) func(*cobra.Command, []string) error {
	return func(command *cobra.Command, args []string) error {
		ref := args[1]
		return onDeployment(a, func(ctx context.Context, c *client.Client, d *namedDeployment) error {
			entries, err := c.Schedules(ctx, d.ID)
			if err != nil {
				return err
			}
			var all []candidate
			for _, e := range entries {
				name := e.Name
				if name == "" {
					name = describeSchedule(e.Schedule)
				}
				all = append(all, candidate{e.ID, name})
			}
			chosen, err := choose("schedule", ref, "sluice deployment schedule ls "+d.title(), all)
			if err != nil {
				return err
			}
			for _, e := range entries {
				if e.ID == chosen.id {
					return do(ctx, c, d, e)
				}
			}
			return nil
		})(command, args[:1])
	}
}

func scheduleArguments(a *app, command *cobra.Command) *cobra.Command {
	command.Args = cobra.ExactArgs(2)
	command.ValidArgsFunction = completeNames(a, deploymentNames)
	return command
}

func newScheduleSwitch(a *app, active bool) *cobra.Command {
	command := &cobra.Command{
		Use:     "pause DEPLOYMENT SCHEDULE",
		Short:   "Stop making runs by one schedule",
		Long:    "Stop making runs by one schedule. Those it made that have not begun are deleted.",
		Example: "  sluice deployment schedule pause my-flow/nightly 0192f3a1",
	}
	sentence := "Paused schedule %s of deployment '%s'."
	if active {
		command = &cobra.Command{
			Use:     "resume DEPLOYMENT SCHEDULE",
			Short:   "Make runs by one schedule again",
			Long:    "Make runs by one schedule again.",
			Example: "  sluice deployment schedule resume my-flow/nightly 0192f3a1",
		}
		sentence = "Resumed schedule %s of deployment '%s'."
	}
	command.RunE = onSchedule(a, func(ctx context.Context, c *client.Client, d *namedDeployment, e api.ScheduleEntry) error {
		now, err := c.UpdateSchedule(ctx, d.ID, e.ID, api.ScheduleUpdate{Active: &active})
		if err != nil {
			return fmt.Errorf("change schedule %s: %w", e.ID, err)
		}
		return a.printDone(now, e.ID.String(), e.ID.String(), fmt.Sprintf(sentence, e.ID, d.title()))
	})
	return scheduleArguments(a, command)
}

func newScheduleDelete(a *app) *cobra.Command {
	return scheduleArguments(a, &cobra.Command{
		Use:     "delete DEPLOYMENT SCHEDULE",
		Short:   "Delete a schedule",
		Long:    "Delete a schedule and the runs it made that have not begun.",
		Example: "  sluice deployment schedule delete my-flow/nightly 0192f3a1",
		RunE: onSchedule(a, func(ctx context.Context, c *client.Client, d *namedDeployment, e api.ScheduleEntry) error {
			if err := c.DeleteSchedule(ctx, d.ID, e.ID); err != nil {
				return fmt.Errorf("delete schedule %s: %w", e.ID, err)
			}
			return a.printDone(e, e.ID.String(), e.ID.String(), fmt.Sprintf("Deleted schedule %s of deployment '%s'.", e.ID, d.title()))
		}),
	})
}

func newScheduleClear(a *app) *cobra.Command {
	return deploymentArgument(a, &cobra.Command{
		Use:     "clear DEPLOYMENT",
		Short:   "Delete all schedules of a deployment",
		Long:    "Delete all schedules of a deployment and the runs they made that have not begun.",
		Example: "  sluice deployment schedule clear my-flow/nightly",
		RunE: onDeployment(a, func(ctx context.Context, c *client.Client, d *namedDeployment) error {
			if err := c.ClearSchedules(ctx, d.ID); err != nil {
				return fmt.Errorf("delete the schedules of deployment '%s': %w", d.title(), err)
			}
			return a.printDone(d.Deployment, d.ID.String(), d.title(), fmt.Sprintf("Deleted all schedules of deployment '%s'.", d.title()))
		}),
	})
}
