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

// newRunHistory also counts task runs: both histories are alike.
func newRunHistory(a *app) *cobra.Command {
	var last, step time.Duration
	var tasks bool
	command := &cobra.Command{
		Use:   "history",
		Short: "Count the flow runs of each interval of time by state",
		Long: `Count the flow runs that were to start in each interval of the last hours, by the state they are in now. Intervals without
runs are left out, except in -o json.`,
		Example: "  sluice flow-run history --last 24h --every 1h\n  sluice flow-run history --task-runs -o json",
		Args:    cobra.NoArgs,
	}
	flags := command.Flags()
	flags.DurationVar(&last, "last", 24*time.Hour, "how far to look back")
	flags.DurationVar(&step, "every", time.Hour, "length of an interval, at least 1s")
	flags.BoolVar(&tasks, "task-runs", false, "count task runs")
	command.RunE = func(command *cobra.Command, _ []string) error {
		if step < time.Second || last < step {
			return usagef("--every is %s and --last %s; an interval has at least 1s, and at least one must fit", step, last)
		}
		const most = 500
		if last/step >= most {
			return usagef("%s has more than %d intervals of %s; use a longer --every", last, most, step)
		}
		c, err := a.connect(0)
		if err != nil {
			return err
		}
		// Whole intervals, so that the same moment lies in the same interval whenever it is asked for; the last one is under way.
		end := time.Now().Truncate(step).Add(step)
		request := api.HistoryRequest{HistoryStart: api.At(end.Add(-last)), HistoryEnd: api.At(end), HistoryIntervalSeconds: api.Duration(step)}
		ask := c.FlowRunHistory
		if tasks {
			ask = c.TaskRunHistory
		}
		intervals, err := ask(command.Context(), request)
		if err != nil {
			return fmt.Errorf("read the history: %w", err)
		}
		return printHistory(a, intervals)
	}
	return command
}

func printHistory(a *app, intervals []api.HistoryInterval) error {
	l := list[api.HistoryInterval]{
		title: "Runs",
		columns: []column[api.HistoryInterval]{
			{header: "From", sgr: sgrCyan, cell: func(h api.HistoryInterval, people bool) string {
				if people {
					return h.IntervalStart.Local().Format("2006-01-02 15:04:05")
				}
				return h.IntervalStart.String()
			}},
			{header: "Runs", right: true, cell: func(h api.HistoryInterval, _ bool) string {
				n := 0
				for _, s := range h.States {
					n += s.CountRuns
				}
				return strconv.Itoa(n)
			}},
			{header: "States", fold: true, sgr: sgrGreen, cell: func(h api.HistoryInterval, _ bool) string {
				var parts []string
				for _, s := range h.States {
					parts = append(parts, fmt.Sprintf("%s %d", s.StateName, s.CountRuns))
				}
				return strings.Join(parts, ", ")
			}},
		},
		items: intervals,
		id:    func(h api.HistoryInterval) string { return h.IntervalStart.String() },
		name:  func(h api.HistoryInterval) string { return h.IntervalStart.String() },
	}
	if !a.structured() {
		l.items = nil
		for _, h := range intervals {
			if len(h.States) > 0 {
				l.items = append(l.items, h)
			}
		}
	}
	return printList(a, l)
}

func newRunGraph(a *app) *cobra.Command {
	command := runArgument(a, &cobra.Command{
		Use:     "graph RUN",
		Short:   "Show which task runs of a flow run depend on which",
		Long:    "Show the task runs of a flow run in the order they were made, each with the task runs whose results it took.",
		Example: "  sluice flow-run graph tan-lion",
	})
	command.RunE = onRun(a, func(ctx context.Context, c *client.Client, run *api.FlowRun) error {
		nodes, err := c.FlowRunGraph(ctx, run.ID)
		if err != nil {
			return fmt.Errorf("read the graph of flow run '%s': %w", run.Name, err)
		}
		if a.structured() {
			return a.printDocument(a.output, nodes)
		}
		printer := a.newLogPrinter(c, run)
		names := map[api.ID]string{}
		for _, n := range nodes {
			if names[n.ID], err = printer.taskRun(ctx, n.ID); err != nil {
				return err
			}
		}
		var ordered []api.GraphNode
		for i := len(nodes) - 1; i >= 0; i-- {
			ordered = append(ordered, nodes[i])
		}
		return printList(a, list[api.GraphNode]{
			title: "Task Runs",
			columns: []column[api.GraphNode]{
				{header: "ID", sgr: sgrCyan, cell: func(n api.GraphNode, _ bool) string { return n.ID.String() }},
				{header: "Name", fold: true, sgr: sgrGreen, cell: func(n api.GraphNode, _ bool) string { return names[n.ID] }},
				{header: "State", cell: func(n api.GraphNode, _ bool) string {
					if n.State == nil {
						return ""
					}
					return n.State.Name
				}},
				{header: "After", fold: true, sgr: sgrBlue, cell: func(n api.GraphNode, _ bool) string {
					var after []string
					for _, up := range n.UpstreamDependencies {
						name := names[*up.ID]
						if name == "" {
							name = up.ID.String()
						}
						after = append(after, name)
					}
					return strings.Join(after, ", ")
				}},
			},
			items: ordered,
			id:    func(n api.GraphNode) string { return n.ID.String() },
			name:  func(n api.GraphNode) string { return names[n.ID] },
		})
	})
	return command
}
