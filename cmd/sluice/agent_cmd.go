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
			return printList(a, agentList(a, agents))
		},
	}
}

func agentList(a *app, agents []api.Agent) list[api.Agent] {
	return list[api.Agent]{
		title: "Agents",
		columns: []column[api.Agent]{
			{header: "ID", right: true, sgr: sgrCyan, cell: func(g api.Agent, _ bool) string { return g.ID.String() }},
			{header: "Name", fold: true, sgr: sgrGreen, cell: func(g api.Agent, _ bool) string { return g.Name }},
			{header: "State", cell: func(g api.Agent, _ bool) string { return agentState(&g) }},
			{header: "Last Seen", fold: true, sgr: sgrYellow, cell: func(g api.Agent, people bool) string {
				if g.LastSeen == nil {
					return "never"
				}
				return a.moment(*g.LastSeen, people)
			}},
			{header: "Queues", wide: true, cell: func(g api.Agent, _ bool) string { return strconv.Itoa(len(g.WorkQueueIDs)) }},
			{header: "Runs", sgr: sgrBlue, cell: func(g api.Agent, _ bool) string { return strconv.Itoa(len(g.FlowRuns)) }},
			{header: "Version", wide: true, cell: func(g api.Agent, _ bool) string { return g.Version }},
		},
		items: agents,
		id:    func(g api.Agent) string { return g.ID.String() },
		name:  func(g api.Agent) string { return g.Name },
	}
}

// agentState says in one word what is to be expected of an agent.
func agentState(g *api.Agent) string {
	switch {
	case g.Draining && len(g.FlowRuns) > 0:
		return "draining"
	case g.Draining:
		return "drained"
	case g.Live:
		return "live"
	}
	return "silent"
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

func newAgentDrain(a *app) *cobra.Command {
	var wait bool
	var timeout time.Duration
	command := &cobra.Command{
		Use:   "drain AGENT",
		Short: "Have an agent claim nothing more and finish what it executes",
		Long: `Have an agent claim no more flow runs and finish those it executes. It goes on living, drained, also when the server is
restarted, until it is called back with undrain, or stopped. --wait returns when it executes nothing any more: then its
machine can be worked on.`,
		Example:           "  sluice agent drain worker-1\n  sluice agent drain worker-1 --wait --timeout 10m",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeNames(a, agentNames),
		RunE: onAgent(a, func(ctx context.Context, c *client.Client, g *api.Agent) error {
			g, err := c.DrainAgent(ctx, g.ID)
			if err != nil {
				return fmt.Errorf("drain the agent: %w", err)
			}
			if wait && len(g.FlowRuns) > 0 {
				a.note("Agent %s claims nothing more; waiting for %s to end", short(g.Name, g.ID), flowRuns(len(g.FlowRuns)))
				if g, err = a.awaitDrained(ctx, c, g, timeout); err != nil {
					return err
				}
			}
			if n := len(g.FlowRuns); n > 0 {
				return a.printDone(g, g.ID.String(), g.Name, fmt.Sprintf("Draining agent %s: it claims nothing more, and finishes %s", short(g.Name, g.ID), flowRuns(n)))
			}
			return a.printDone(g, g.ID.String(), g.Name, fmt.Sprintf("Drained agent %s: it executes nothing and claims nothing", short(g.Name, g.ID)))
		}),
	}
	command.Flags().BoolVarP(&wait, "wait", "w", false, "return when the agent executes nothing any more")
	command.Flags().DurationVar(&timeout, "timeout", 0, "how long to wait at most; 0 is as long as it takes (exit code 124 when the time is over)")
	return command
}

// awaitDrained returns when an agent executes nothing any more, or is gone.
func (a *app) awaitDrained(ctx context.Context, c *client.Client, g *api.Agent, timeout time.Duration) (*api.Agent, error) {
	var over <-chan time.Time
	if timeout > 0 {
		over = time.After(timeout)
	}
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-over:
			return nil, &failure{code: exitTimeout, hint: "sluice agent drain " + g.ID.String() + " --wait",
				err: fmt.Errorf("agent '%s' still executes %s after %s", g.Name, flowRuns(len(g.FlowRuns)), timeout)}
		case <-time.After(drainPoll): // runs of an agent have no event of their own
		}
		agents, err := c.FilterAgents(ctx)
		if err != nil {
			return nil, fmt.Errorf("look what the agent executes: %w", err)
		}
		gone := *g
		gone.FlowRuns = nil
		found := &gone
		for i := range agents {
			if agents[i].ID == g.ID {
				found = &agents[i]
			}
		}
		if g = found; len(g.FlowRuns) == 0 {
			return g, nil
		}
	}
}

// drainPoll is how often a command that waits looks what an agent executes.
const drainPoll = time.Second

func flowRuns(n int) string {
	if n == 1 {
		return "1 flow run"
	}
	return strconv.Itoa(n) + " flow runs"
}

func newAgentUndrain(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "undrain AGENT",
		Short:             "Let a drained agent claim flow runs again",
		Long:              "Let an agent that was drained claim flow runs again.",
		Example:           "  sluice agent undrain worker-1",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeNames(a, agentNames),
		RunE: onAgent(a, func(ctx context.Context, c *client.Client, g *api.Agent) error {
			g, err := c.UndrainAgent(ctx, g.ID)
			if err != nil {
				return fmt.Errorf("call the agent back: %w", err)
			}
			return a.printDone(g, g.ID.String(), g.Name, fmt.Sprintf("Agent %s claims flow runs again", short(g.Name, g.ID)))
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
		Long: `Remove an agent that is gone from the list; agents that stop do it themselves, and those that were killed are forgotten
after a day. One that lives registers again. An agent that holds leases is refused: they end when it has been silent for
some seconds.`,
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
