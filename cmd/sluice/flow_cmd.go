package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

func newFlowCommand(a *app) *cobra.Command {
	return group("flow", "See flows, tag and delete them",
		"A flow is known by its name; deployments and flow runs belong to it. It is made by its first run or deployment.",
		"  sluice flow ls\n  sluice flow inspect leonardo_dicapriflow",
		newFlowList(a), onWeb(a, newFlowInspect(a), flowPage), newFlowEdit(a), newFlowDelete(a))
}

func flowNameList(ctx context.Context, c *client.Client) ([]string, error) {
	flows, err := c.FilterFlows(ctx, api.FilterRequest{Sort: api.SortNameAsc})
	var names []string
	for _, f := range flows {
		names = append(names, f.Name)
	}
	return names, err
}

func newFlowList(a *app) *cobra.Command {
	var tags []string
	command := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List flows by name",
		Long:    "List flows by name.",
		Example: "  sluice flow ls\n  sluice flow ls --tag tutorial -o json",
		Args:    cobra.NoArgs,
	}
	command.Flags().StringArrayVarP(&tags, "tag", "t", nil, "only flows with this tag (repeatable: with all of them)")
	command.RunE = func(command *cobra.Command, _ []string) error {
		c, err := a.connect(0)
		if err != nil {
			return err
		}
		filter := api.FilterRequest{Sort: api.SortNameAsc}
		if len(tags) > 0 {
			filter.Flows = &api.FlowFilter{Tags: &api.TagsAll{All: tags}}
		}
		flows, err := client.Each(func(page api.Page) ([]api.Flow, error) {
			filter.Page = page
			return c.FilterFlows(command.Context(), filter)
		})
		if err != nil {
			return fmt.Errorf("list flows: %w", err)
		}
		return printList(a, list[api.Flow]{
			title: "Flows",
			columns: []column[api.Flow]{
				{header: "ID", right: true, sgr: sgrCyan, cell: func(f api.Flow, _ bool) string { return f.ID.String() }},
				{header: "Name", fold: true, sgr: sgrGreen, cell: func(f api.Flow, _ bool) string { return f.Name }},
				{header: "Tags", fold: true, cell: func(f api.Flow, _ bool) string { return strings.Join(f.Tags, ", ") }},
			},
			items: flows,
			id:    func(f api.Flow) string { return f.ID.String() },
			name:  func(f api.Flow) string { return f.Name },
		})
	}
	return command
}

// findFlow returns the flow of a name, an id or a unique prefix of an id.
func findFlow(ctx context.Context, c *client.Client, ref string) (*api.Flow, error) {
	flow, err := c.FlowByName(ctx, ref)
	if id, bad := api.ParseID(ref); bad == nil && api.IsNotFound(err) {
		flow, err = c.Flow(ctx, id)
	}
	if !api.IsNotFound(err) {
		return flow, err
	}
	flows, err := client.Each(func(page api.Page) ([]api.Flow, error) {
		return c.FilterFlows(ctx, api.FilterRequest{Page: page, Sort: api.SortNameAsc})
	})
	if err != nil {
		return nil, fmt.Errorf("list flows: %w", err)
	}
	var all []candidate
	for _, f := range flows {
		all = append(all, candidate{f.ID, f.Name})
	}
	chosen, err := choose("flow", ref, "sluice flow ls", all)
	if err != nil {
		return nil, err
	}
	return c.Flow(ctx, chosen.id)
}

func onFlow(a *app, do func(ctx context.Context, c *client.Client, flow *api.Flow) error) func(*cobra.Command, []string) error {
	return func(command *cobra.Command, args []string) error {
		c, err := a.connect(0)
		if err != nil {
			return err
		}
		flow, err := findFlow(command.Context(), c, args[0])
		if err != nil {
			return err
		}
		return do(command.Context(), c, flow)
	}
}

func newFlowInspect(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "inspect FLOW",
		Short:             "Show a flow",
		Long:              "Show a flow, named by its name or id.",
		Example:           "  sluice flow inspect leonardo_dicapriflow",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeNames(a, flowNameList),
		RunE: onFlow(a, func(_ context.Context, _ *client.Client, flow *api.Flow) error {
			return a.printObject(flow, flow.ID.String(), flow.Name)
		}),
	}
}

func newFlowDelete(a *app) *cobra.Command {
	var yes bool
	command := &cobra.Command{
		Use:   "delete FLOW",
		Short: "Delete a flow with its deployments and runs",
		Long: `Delete a flow with all of its deployments and flow runs. The command says how many runs there are and asks, unless -y is
given. Runs that are being executed lose their record; cancel them first.`,
		Example:           "  sluice flow delete leonardo_dicapriflow -y",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeNames(a, flowNameList),
	}
	command.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	command.RunE = onFlow(a, func(ctx context.Context, c *client.Client, flow *api.Flow) error {
		if err := confirmFlow(ctx, a, c, flow, yes); err != nil {
			return err
		}
		if err := c.DeleteFlow(ctx, flow.ID); err != nil {
			return fmt.Errorf("delete flow '%s': %w", flow.Name, err)
		}
		return a.printDone(flow, flow.ID.String(), flow.Name, "Deleted flow "+short(flow.Name, flow.ID))
	})
	return command
}

func confirmFlow(ctx context.Context, a *app, c *client.Client, flow *api.Flow, yes bool) error {
	if yes {
		return nil
	}
	runs, err := c.CountFlowRuns(ctx, api.Filters{Flows: &api.FlowFilter{ID: &api.IDAny{Any: []api.ID{flow.ID}}}})
	if err != nil {
		return fmt.Errorf("count the runs of flow '%s': %w", flow.Name, err)
	}
	if !a.inTTY {
		return &failure{code: exitUsage, err: fmt.Errorf("flow '%s' has %d runs, and nobody can be asked", flow.Name, runs), hint: "sluice flow delete " + shellWord(flow.Name) + " -y"}
	}
	ask := &prompter{ctx: ctx, app: a, lines: bufio.NewReader(a.in)}
	answer, err := ask.line(fmt.Sprintf("Delete flow '%s' with its deployments and %d runs? [y/N]: ", flow.Name, runs))
	if err != nil {
		return err
	}
	if answer = strings.ToLower(answer); answer != "y" && answer != "yes" {
		return &failure{code: exitError, err: errors.New("nothing was changed")}
	}
	return nil
}
