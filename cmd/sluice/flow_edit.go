package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

func newFlowEdit(a *app) *cobra.Command {
	var tags, add, remove []string
	command := &cobra.Command{
		Use:   "edit FLOW",
		Short: "Change the tags of a flow",
		Long:  "Change the tags of a flow: replace them all with --tag, or add and remove some.",
		Example: `  sluice flow edit leonardo_dicapriflow --tag tutorial --tag art
  sluice flow edit leonardo_dicapriflow --add-tag nightly --remove-tag art`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeNames(a, flowNameList),
	}
	flags := command.Flags()
	flags.StringArrayVarP(&tags, "tag", "t", nil, "the tags from now on (repeatable; '' is none)")
	flags.StringArrayVar(&add, "add-tag", nil, "a tag to add (repeatable)")
	flags.StringArrayVar(&remove, "remove-tag", nil, "a tag to remove (repeatable)")
	command.MarkFlagsMutuallyExclusive("tag", "add-tag")
	command.MarkFlagsMutuallyExclusive("tag", "remove-tag")
	command.MarkFlagsOneRequired("tag", "add-tag", "remove-tag")
	command.RunE = func(command *cobra.Command, args []string) error {
		return onFlow(a, func(ctx context.Context, c *client.Client, flow *api.Flow) error {
			wanted := slices.DeleteFunc(slices.Clone(tags), func(tag string) bool { return tag == "" })
			if !command.Flags().Changed("tag") {
				wanted = slices.DeleteFunc(slices.Clone(flow.Tags), func(tag string) bool { return slices.Contains(remove, tag) })
				for _, tag := range add {
					if !slices.Contains(wanted, tag) {
						wanted = append(wanted, tag)
					}
				}
			}
			if err := c.UpdateFlow(ctx, flow.ID, wanted); err != nil {
				return fmt.Errorf("change flow '%s': %w", flow.Name, err)
			}
			changed, err := c.Flow(ctx, flow.ID)
			if err != nil {
				return fmt.Errorf("read flow '%s': %w", flow.Name, err)
			}
			return a.printDone(changed, flow.ID.String(), flow.Name, fmt.Sprintf("Changed flow '%s'.", flow.Name))
		})(command, args)
	}
	return command
}

func newFlowRunEdit(a *app) *cobra.Command {
	var name, parameters string
	command := &cobra.Command{
		Use:               "edit FLOW_RUN",
		Short:             "Change the name or the parameters of a flow run",
		Long:              "Change the name of a flow run, or the parameters it will have when it is executed (again).\nParameters are replaced as a whole.",
		Example:           "  sluice flow-run edit tan-lion --name the-first\n  sluice flow-run edit tan-lion --params '{\"name\": \"Leo\"}'",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeNames(a, flowRunNames),
	}
	command.Flags().StringVar(&name, "name", "", "what it is called from now on")
	command.Flags().StringVar(&parameters, "params", "", "its parameters from now on, a JSON object")
	command.MarkFlagsOneRequired("name", "params")
	command.RunE = func(command *cobra.Command, args []string) error {
		update := api.FlowRunUpdate{}
		if command.Flags().Changed("name") {
			if name == "" {
				return usagef("--name is empty")
			}
			update.Name = api.Some(name)
		}
		if command.Flags().Changed("params") {
			var object map[string]json.RawMessage
			if err := json.Unmarshal([]byte(parameters), &object); err != nil || object == nil {
				return usagef("--params is not a JSON object: %s", parameters)
			}
			update.Parameters = json.RawMessage(parameters)
		}
		c, err := a.connect(0)
		if err != nil {
			return err
		}
		ctx := command.Context()
		run, err := findFlowRun(ctx, c, args[0])
		if err != nil {
			return err
		}
		if err := c.UpdateFlowRun(ctx, run.ID, update); err != nil {
			return fmt.Errorf("change flow run '%s': %w", run.Name, err)
		}
		changed, err := c.FlowRun(ctx, run.ID)
		if err != nil {
			return fmt.Errorf("read flow run '%s': %w", run.Name, err)
		}
		return a.printDone(changed, run.ID.String(), changed.Name, fmt.Sprintf("Changed flow run %s.", short(changed.Name, run.ID)))
	}
	return command
}
