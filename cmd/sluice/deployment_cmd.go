package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

func newDeploymentCommand(a *app) *cobra.Command {
	return group("deployment", "Create, inspect and run deployments",
		"A deployment is a flow with what is needed to run it without its author: code, parameters, tags, schedule, flow runner.",
		"  sluice deployment create leo_deployment.py\n  sluice deployment run leonardo_dicapriflow/leonardo-deployment --watch",
		newDeploymentCreate(a), newDeploymentList(a), onWeb(a, newDeploymentInspect(a), deploymentPage), newDeploymentRun(a), newDeploymentExecute(a),
		newDeploymentSwitch(a, true), newDeploymentSwitch(a, false), newDeploymentDelete(a),
		newDeploymentApply(a), newDeploymentPlan(a), newDeploymentEdit(a), newScheduleCommand(a), newDeploymentBackfill(a))
}

// deploymentArgument completes the names of deployments for the only argument.
func deploymentArgument(a *app, command *cobra.Command) *cobra.Command {
	command.Args = cobra.ExactArgs(1)
	command.ValidArgsFunction = completeNames(a, deploymentNames)
	return command
}

// onDeployment connects and resolves the deployment of a command.
func onDeployment(a *app, do func(ctx context.Context, c *client.Client, deployment *namedDeployment) error) func(*cobra.Command, []string) error {
	return func(command *cobra.Command, args []string) error {
		c, err := a.connect(0)
		if err != nil {
			return err
		}
		deployment, err := findDeployment(command.Context(), c, args[0])
		if err != nil {
			return err
		}
		return do(command.Context(), c, deployment)
	}
}

func newDeploymentList(a *app) *cobra.Command {
	var flows, tags []string
	var byCreated bool
	command := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List deployments",
		Long:    "List deployments with the names of their flows.",
		Example: "  sluice deployment ls\n  sluice deployment ls --flow-name leonardo_dicapriflow -o name",
		Args:    cobra.NoArgs,
	}
	command.Flags().StringArrayVar(&flows, "flow-name", nil, "only deployments of this flow (repeatable)")
	command.Flags().StringArrayVarP(&tags, "tag", "t", nil, "only deployments with this tag (repeatable: with all of them)")
	command.Flags().BoolVar(&byCreated, "by-created", false, "the newest first, instead of by name")
	command.RunE = func(command *cobra.Command, _ []string) error {
		c, err := a.connect(0)
		if err != nil {
			return err
		}
		var filters api.Filters
		if len(flows) > 0 {
			filters.Flows = &api.FlowFilter{Name: &api.NameAny{Any: flows}}
		}
		if len(tags) > 0 {
			filters.Deployments = &api.DeploymentFilter{Tags: &api.TagsAll{All: tags}}
		}
		deployments, err := allDeployments(command.Context(), c, filters)
		if err != nil {
			return err
		}
		if byCreated {
			slices.SortStableFunc(deployments, func(x, y namedDeployment) int { return y.Created.Compare(x.Created.Time) })
		}
		return printList(a, deploymentList(deployments))
	}
	return command
}

func deploymentList(deployments []namedDeployment) list[namedDeployment] {
	return list[namedDeployment]{
		title: "Deployments",
		columns: []column[namedDeployment]{
			{header: "Name", fold: true, sgr: sgrBlue, cell: func(d namedDeployment, _ bool) string { return d.title() }},
			{header: "ID", sgr: sgrCyan, cell: func(d namedDeployment, _ bool) string { return d.ID.String() }},
		},
		items: deployments,
		id:    func(d namedDeployment) string { return d.ID.String() },
		name:  namedDeployment.title,
	}
}

func newDeploymentInspect(a *app) *cobra.Command {
	return deploymentArgument(a, &cobra.Command{
		Use:     "inspect DEPLOYMENT",
		Short:   "Show a deployment as JSON",
		Long:    "Show everything about a deployment as JSON, or in the format of -o.",
		Example: "  sluice deployment inspect 'leonardo_dicapriflow/leonardo-deployment'",
		RunE: onDeployment(a, func(_ context.Context, _ *client.Client, d *namedDeployment) error {
			return a.printObject(d.Deployment, d.ID.String(), d.title())
		}),
	})
}

func newDeploymentDelete(a *app) *cobra.Command {
	return deploymentArgument(a, &cobra.Command{
		Use:     "delete DEPLOYMENT",
		Short:   "Delete a deployment",
		Long:    "Delete a deployment and its runs that have not begun. Runs that have begun stay.",
		Example: "  sluice deployment delete leonardo_dicapriflow/leonardo-deployment",
		RunE: onDeployment(a, func(ctx context.Context, c *client.Client, d *namedDeployment) error {
			if err := c.DeleteDeployment(ctx, d.ID); err != nil {
				return fmt.Errorf("delete deployment '%s': %w", d.title(), err)
			}
			return a.printDone(d.Deployment, d.ID.String(), d.title(), fmt.Sprintf("Deleted deployment '%s'.", d.title()))
		}),
	})
}

func newDeploymentSwitch(a *app, active bool) *cobra.Command {
	command := &cobra.Command{
		Use:     "pause DEPLOYMENT",
		Short:   "Stop making runs by a deployment's schedule",
		Long:    "Stop making runs by a deployment's schedule. Scheduled runs that have not begun are deleted.",
		Example: "  sluice deployment pause my-flow/nightly",
	}
	sentence := "Paused the schedule of deployment '%s'."
	if active {
		command = &cobra.Command{
			Use:     "resume DEPLOYMENT",
			Short:   "Make runs by a deployment's schedule again",
			Long:    "Make runs by a deployment's schedule again.",
			Example: "  sluice deployment resume my-flow/nightly",
		}
		sentence = "Resumed the schedule of deployment '%s'."
	}
	command.RunE = onDeployment(a, func(ctx context.Context, c *client.Client, d *namedDeployment) error {
		if err := c.SetScheduleActive(ctx, d.ID, active); err != nil {
			return fmt.Errorf("change the schedule of deployment '%s': %w", d.title(), err)
		}
		if a.structured() {
			changed, err := c.Deployment(ctx, d.ID)
			if err != nil {
				return err
			}
			d.Deployment = *changed
		}
		return a.printDone(d.Deployment, d.ID.String(), d.title(), fmt.Sprintf(sentence, d.title()))
	})
	return deploymentArgument(a, command)
}
