package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/api"
)

func newRetentionCommand(a *app) *cobra.Command {
	return group("retention", "Show and change how long finished runs and logs are kept",
		`Finished flow runs go, with their task runs, states and logs, when they are older than a bound or more than a bound.
Logs may go before their runs. A deployment may have rules of its own ("retention" in its specification); what it says
nothing about follows the cluster's rules, which these commands show and change.`,
		"  sluice retention show\n  sluice retention set --runs-max-age 30d --logs-max-age 7d\n  sluice retention preview",
		newRetentionShow(a), newRetentionSet(a), newRetentionPreview(a), newRetentionResume(a))
}

func newRetentionShow(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "show",
		Short:   "Show the cluster's rules",
		Long:    "Show how long the cluster keeps finished runs and logs of deployments that say nothing else.",
		Example: "  sluice retention show\n  sluice retention show -o json",
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			c, err := a.connect(0)
			if err != nil {
				return err
			}
			rules, err := c.Retention(command.Context())
			if err != nil {
				return err
			}
			return a.showRetention(rules)
		},
	}
}

func (a *app) showRetention(r *api.Retention) error {
	if a.structured() {
		return a.printObject(r, "retention", "retention")
	}
	fmt.Fprintf(a.out, "runs  max age %s, max count %s of each deployment, max total %s\n", r.Runs.MaxAge, bound(r.Runs.MaxCount), bound(r.Runs.MaxTotal))
	fmt.Fprintf(a.out, "logs  max age %s, max count %s of each deployment\n", r.Logs.MaxAge, bound(r.Logs.MaxCount))
	if r.HeldUntil != nil {
		fmt.Fprintf(a.out, "\nNothing is removed for its age until %s, because the cluster's time has jumped.\nIf its clocks are right: sluice retention resume\n",
			r.HeldUntil.Local().Format("2006-01-02 15:04 MST"))
	}
	return nil
}

// bound is a bound on a number for people.
func bound(n int64) string {
	if n == 0 {
		return "none"
	}
	return strconv.FormatInt(n, 10)
}

func newRetentionSet(a *app) *cobra.Command {
	var runsAge, logsAge, runsCount, logsCount, total string
	command := &cobra.Command{
		Use:   "set",
		Short: "Change the cluster's rules",
		Long: `Change the cluster's rules; what is not given stays. Ages are like 90d, 36h or 1d12h; "forever" is no bound on the age,
"none" or 0 no bound on a number. What the new rules no longer keep begins to go within a minute:
'sluice retention preview' says how much that is.`,
		Example: "  sluice retention set --runs-max-age 30d --logs-max-age 7d\n  sluice retention set --runs-max-count 1000\n  sluice retention set --runs-max-age forever --max-total-runs 1000000",
		Args:    cobra.NoArgs,
	}
	flags := command.Flags()
	flags.StringVar(&runsAge, "runs-max-age", "", "how long finished runs are kept")
	flags.StringVar(&runsCount, "runs-max-count", "", "how many finished runs of each deployment are kept")
	flags.StringVar(&total, "max-total-runs", "", "how many finished runs the cluster keeps, whatever deployments say")
	flags.StringVar(&logsAge, "logs-max-age", "", "how long logs of finished runs are kept; never longer than the runs")
	flags.StringVar(&logsCount, "logs-max-count", "", "of how many runs of each deployment logs are kept")
	command.RunE = func(command *cobra.Command, _ []string) error {
		age := func(name, text string) (*api.Age, error) {
			if !flags.Changed(name) {
				return nil, nil
			}
			v, err := api.ParseAge(text)
			if err != nil {
				return nil, usagef("--%s is '%s'; %w", name, text, err)
			}
			return &v, nil
		}
		count := func(name, text string) (*int64, error) {
			if !flags.Changed(name) {
				return nil, nil
			}
			if strings.EqualFold(text, "none") {
				return new(int64), nil
			}
			v, err := strconv.ParseInt(text, 10, 32)
			if err != nil || v < 0 {
				return nil, usagef("--%s is '%s'; it is a number from 0 on, or none", name, text)
			}
			return &v, nil
		}
		update := api.RetentionUpdate{Runs: &api.RetentionRunsUpdate{}, Logs: &api.RetentionRule{}}
		var err error
		if update.Runs.MaxAge, err = age("runs-max-age", runsAge); err != nil {
			return err
		}
		if update.Runs.MaxCount, err = count("runs-max-count", runsCount); err != nil {
			return err
		}
		if update.Runs.MaxTotal, err = count("max-total-runs", total); err != nil {
			return err
		}
		if update.Logs.MaxAge, err = age("logs-max-age", logsAge); err != nil {
			return err
		}
		if update.Logs.MaxCount, err = count("logs-max-count", logsCount); err != nil {
			return err
		}
		if *update.Runs == (api.RetentionRunsUpdate{}) && *update.Logs == (api.RetentionRule{}) {
			return usagef("nothing to change: give at least one flag")
		}
		return a.changeRetention(command, update)
	}
	return command
}

func (a *app) changeRetention(command *cobra.Command, update api.RetentionUpdate) error {
	c, err := a.connect(0)
	if err != nil {
		return err
	}
	rules, err := c.UpdateRetention(command.Context(), update)
	if err != nil {
		return fmt.Errorf("change the rules of retention: %w", err)
	}
	return a.showRetention(rules)
}

func newRetentionResume(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "resume",
		Short: "Say that the clocks are right after the cluster's time has jumped",
		Long: `When the cluster's time jumps by more than a day, because no node ran or because a clock is wrong, nothing is removed
for its age for a day. This command ends that at once. Look at the clocks first: with a wrong one everything looks old.`,
		Example: "  sluice retention resume",
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return a.changeRetention(command, api.RetentionUpdate{Resume: true})
		},
	}
}

func newRetentionPreview(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "preview",
		Short: "Show what would be removed now",
		Long: `Show how many finished runs would be removed now, and how many would lose their logs, by deployment. Nothing is changed.
Runs that must stay for now, because a run they belong to has not finished, are counted.`,
		Example: "  sluice retention preview\n  sluice retention preview -o json",
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			c, err := a.connect(0)
			if err != nil {
				return err
			}
			p, err := c.RetentionPreview(command.Context())
			if err != nil {
				return err
			}
			if a.structured() {
				return a.printObject(p, "retention", "retention")
			}
			number := func(header string, of func(api.RetentionEstimate) int64) column[api.RetentionEstimate] {
				return column[api.RetentionEstimate]{header: header, right: true, cell: func(e api.RetentionEstimate, _ bool) string { return strconv.FormatInt(of(e), 10) }}
			}
			caption := fmt.Sprintf("%d runs, and the logs of %d runs", p.Runs, p.Logs)
			if p.Total > 0 {
				caption += fmt.Sprintf("; %d of the runs for the bound on all of them", p.Total)
			}
			if p.Limited {
				caption += "; there is more than was counted"
			}
			if p.Held {
				caption += "; what is too old stays for now, see sluice retention show"
			}
			return printList(a, list[api.RetentionEstimate]{
				title:   "Would be removed",
				caption: caption,
				columns: []column[api.RetentionEstimate]{
					{header: "Deployment", fold: true, sgr: sgrGreen, cell: func(e api.RetentionEstimate, _ bool) string { return estimateName(e) }},
					number("Runs", func(e api.RetentionEstimate) int64 { return e.Runs }),
					number("Logs Of", func(e api.RetentionEstimate) int64 { return e.Logs }),
					{header: "Rules", cell: func(e api.RetentionEstimate, _ bool) string {
						return fmt.Sprintf("runs %s, %s; logs %s, %s", e.Rules.Runs.MaxAge, bound(e.Rules.Runs.MaxCount), e.Rules.Logs.MaxAge, bound(e.Rules.Logs.MaxCount))
					}},
				},
				items: p.Deployments,
				id:    estimateName,
				name:  estimateName,
			})
		},
	}
}

func estimateName(e api.RetentionEstimate) string {
	switch {
	case e.Name != "":
		return e.Name
	case e.DeploymentID != nil:
		return e.DeploymentID.String()
	}
	return "(no deployment)"
}
