package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

func newAgentList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List agents",
		Long:    "List the agents that were heard from in the last day, with what each executes.",
		Example: "  sluice agent ls\n  sluice agent ls -o jsonl",
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			c, err := a.connect(0)
			if err != nil {
				return err
			}
			agents, err := c.FilterAgents(command.Context())
			if err != nil {
				return err
			}
			return printList(a, agentList(agents, time.Now()))
		},
	}
}

func agentList(agents []api.Agent, now time.Time) list[api.Agent] {
	return list[api.Agent]{
		title: "Agents",
		columns: []column[api.Agent]{
			{header: "ID", right: true, sgr: sgrCyan, cell: func(g api.Agent, _ bool) string { return g.ID.String() }},
			{header: "Name", fold: true, sgr: sgrGreen, cell: func(g api.Agent, _ bool) string { return g.Name }},
			{header: "State", cell: func(g api.Agent, _ bool) string {
				if g.Live {
					return "live"
				}
				return "silent"
			}},
			{header: "Last Seen", sgr: sgrYellow, cell: func(g api.Agent, people bool) string {
				switch {
				case g.LastSeen == nil:
					return "never"
				case people:
					return since(g.LastSeen.Time, now)
				}
				return g.LastSeen.String()
			}},
			{header: "Queues", cell: func(g api.Agent, _ bool) string { return strconv.Itoa(len(g.WorkQueueIDs)) }},
			{header: "Runs", sgr: sgrBlue, cell: func(g api.Agent, _ bool) string { return strconv.Itoa(len(g.FlowRuns)) }},
			{header: "Version", cell: func(g api.Agent, _ bool) string { return g.Version }},
		},
		items: agents,
		id:    func(g api.Agent) string { return g.ID.String() },
		name:  func(g api.Agent) string { return g.Name },
	}
}

// findAgent returns the agent of a name, id or unique prefix of an id.
func findAgent(ctx context.Context, c *client.Client, ref string) (*api.Agent, error) {
	agents, err := c.FilterAgents(ctx)
	if err != nil {
		return nil, err
	}
	var all []candidate
	for _, g := range agents {
		all = append(all, candidate{g.ID, g.Name})
	}
	if id, err := api.ParseID(ref); err == nil {
		ref = id.String()
	}
	chosen, err := choose("agent", ref, "sluice agent ls", all)
	if err != nil {
		return nil, err
	}
	for i := range agents {
		if agents[i].ID == chosen.id {
			return &agents[i], nil
		}
	}
	return nil, notFoundf("sluice agent ls", "there is no agent '%s'", ref)
}

func agentNames(ctx context.Context, c *client.Client) ([]string, error) {
	agents, err := c.FilterAgents(ctx)
	var names []string
	for _, g := range agents {
		names = append(names, g.Name)
	}
	return names, err
}

func newAgentInspect(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "inspect AGENT",
		Short:             "Show an agent as JSON",
		Long:              "Show everything about an agent as JSON, or in the format of -o: its queues and the flow runs it executes.",
		Example:           "  sluice agent inspect worker-1",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeNames(a, agentNames),
		RunE: onAgent(a, func(_ context.Context, _ *client.Client, g *api.Agent) error {
			return a.printObject(g, g.ID.String(), g.Name)
		}),
	}
}

func onAgent(a *app, do func(context.Context, *client.Client, *api.Agent) error) func(*cobra.Command, []string) error {
	return func(command *cobra.Command, args []string) error {
		c, err := a.connect(0)
		if err != nil {
			return err
		}
		g, err := findAgent(command.Context(), c, args[0])
		if err != nil {
			return err
		}
		return do(command.Context(), c, g)
	}
}

func newAgentForget(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "forget AGENT",
		Short: "Remove an agent that is gone from the list",
		Long: `Remove an agent that is gone from the list; agents that stop do it themselves, and those that were killed are forgotten after
a day. One that lives registers again. An agent that holds leases is refused: they end when it has been silent for some seconds.`,
		Example:           "  sluice agent forget worker-1",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeNames(a, agentNames),
		RunE: onAgent(a, func(ctx context.Context, c *client.Client, g *api.Agent) error {
			if len(g.FlowRuns) > 0 {
				var runs []string
				for _, id := range g.FlowRuns {
					runs = append(runs, id.String())
				}
				return &failure{code: exitConflict, hint: "sluice flow-run cancel " + runs[0], err: fmt.Errorf("agent '%s' executes %s", g.Name, strings.Join(runs, ", "))}
			}
			if err := c.DeleteAgent(ctx, g.ID); err != nil {
				return fmt.Errorf("forget agent '%s': %w", g.Name, err)
			}
			return a.printDone(g, g.ID.String(), g.Name, "Forgot agent "+short(g.Name, g.ID))
		}),
	}
}
