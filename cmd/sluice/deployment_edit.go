package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

// unset is what takes a policy back to its default.
const unset = "none"

func newDeploymentEdit(a *app) *cobra.Command {
	var limit, conflict, overlap, skipped, repeated, queueTimeout, runTimeout, priority, catchup, revision string
	var retries int
	var delay time.Duration
	var tags []string
	var keep retentionFlags
	command := deploymentArgument(a, &cobra.Command{
		Use:   "edit DEPLOYMENT",
		Short: "Change the policies, retention and tags of a deployment",
		Long: `Change some fields of a deployment and leave the others. What a specification file says comes back when the file is applied
again. The policies are explained in docs/policies.md.`,
		Example: `  sluice deployment edit my-flow/nightly --concurrency-limit 1 --on-conflict skip
  sluice deployment edit my-flow/nightly --crash-retries 2 --crash-delay 1m --run-timeout 2h
  sluice deployment edit my-flow/nightly --concurrency-limit none
  sluice deployment edit my-flow/nightly --retention-runs-age 30d --retention-logs-count 100`,
	})
	flags := command.Flags()
	flags.StringVar(&limit, "concurrency-limit", "", "runs under way at a time, or none")
	flags.StringVar(&conflict, "on-conflict", "", "what a due run does at the limit: queue, skip or cancel-running")
	flags.StringVar(&overlap, "overlap", "", "what a scheduled run does beside another: allow, queue, skip or cancel-running")
	flags.StringVar(&skipped, "dst-skipped", "", "local times that clocks skip: shift or skip")
	flags.StringVar(&repeated, "dst-repeated", "", "local times that clocks repeat: last, first or both")
	flags.IntVar(&retries, "crash-retries", 0, "how often a run that crashed is tried again")
	flags.DurationVar(&delay, "crash-delay", 0, "with --crash-retries: how long after the crash")
	flags.StringVar(&queueTimeout, "queue-timeout", "", "cancel runs that have not started so long after being due, like 30m, or none")
	flags.StringVar(&runTimeout, "run-timeout", "", "stop runs that take longer, like 2h, or none")
	flags.StringVar(&priority, "priority", "", "1 (first) to 1000, or none for 500")
	flags.StringVar(&catchup, "catchup", "", "fire times that were missed: skip, latest or all")
	flags.StringArrayVarP(&tags, "tag", "t", nil, "the tags from now on (repeatable)")
	flags.StringVar(&revision, "if-revision", "", "refuse unless the deployment has this revision")
	keep.add(flags)
	command.RunE = func(command *cobra.Command, args []string) error {
		changes := 0
		command.Flags().Visit(func(f *pflag.Flag) {
			if command.InheritedFlags().Lookup(f.Name) == nil {
				changes++
			}
		})
		if changes == 0 || changes == 1 && revision != "" {
			return usagef("nothing to change: give at least one flag")
		}
		patch := api.DeploymentPatch{OnConflict: api.Conflict(conflict), Overlap: api.Overlap(overlap), Catchup: api.Catchup(catchup), Tags: tags}
		var err error
		if patch.ConcurrencyLimit, err = numberOrNone("concurrency-limit", limit); err != nil {
			return err
		}
		if patch.Priority, err = numberOrNone("priority", priority); err != nil {
			return err
		}
		if patch.QueueTimeout, err = spanOrNone("queue-timeout", queueTimeout); err != nil {
			return err
		}
		if patch.RunTimeout, err = spanOrNone("run-timeout", runTimeout); err != nil {
			return err
		}
		if revision != "" {
			patch.IfRevision = &revision
		}
		given := command.Flags().Changed
		if given("crash-delay") && !given("crash-retries") {
			return usagef("--crash-delay goes with --crash-retries")
		}
		if given("crash-retries") {
			patch.OnCrash = api.Some(api.OnCrash{Retries: retries, Delay: api.Duration(delay)})
		}
		return onDeployment(a, func(ctx context.Context, c *client.Client, d *namedDeployment) error {
			if given("dst-skipped") || given("dst-repeated") {
				patch.DST = api.Some(dstOver(d.Deployment, skipped, repeated))
			}
			var err error
			if patch.Retention, err = keep.over(d.Deployment, given); err != nil {
				return err
			}
			changed, err := c.PatchDeployment(ctx, d.ID, patch)
			if err != nil {
				return fmt.Errorf("change deployment '%s': %w", d.title(), err)
			}
			return a.printDone(changed, d.ID.String(), d.title(), fmt.Sprintf("Changed deployment '%s'.", d.title()))
		})(command, args)
	}
	return command
}

// dstOver is a deployment's rule for changing clocks with what was given of it.
func dstOver(d api.Deployment, skipped, repeated string) api.DST {
	dst := api.DST{Skipped: "shift", Repeated: "last"}
	if d.DeploymentNative != nil && d.DST != nil {
		dst = *d.DST
	}
	if skipped != "" {
		dst.Skipped = skipped
	}
	if repeated != "" {
		dst.Repeated = repeated
	}
	return dst
}

func numberOrNone(flag, text string) (api.Optional[int], error) {
	switch text {
	case "":
		return api.Optional[int]{}, nil
	case unset:
		return api.Null[int](), nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return api.Optional[int]{}, usagef("--%s is '%s'; it is a number or none", flag, text)
	}
	return api.Some(n), nil
}

func spanOrNone(flag, text string) (api.Optional[api.Duration], error) {
	switch text {
	case "":
		return api.Optional[api.Duration]{}, nil
	case unset:
		return api.Null[api.Duration](), nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return api.Optional[api.Duration]{}, usagef("--%s is '%s'; it is a time like 30m or 2h, or none", flag, text)
	}
	return api.Some(api.Duration(d)), nil
}
