package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

func newTaskRunCommand(a *app) *cobra.Command {
	return group("task-run", "See task runs and their logs",
		"Task runs are the steps of a flow run.",
		"  sluice task-run ls --flow-run tan-lion\n  sluice task-run logs hello-2e5e-0",
		newTaskRunList(a), onWeb(a, newTaskRunInspect(a), taskRunPage), newTaskRunLogs(a), newTaskRunDelete(a))
}

func newTaskRunList(a *app) *cobra.Command {
	var flowRun string
	var states, tags []string
	var limit int
	command := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List task runs, the newest first",
		Long:    "List task runs, the newest first. States are given by type (RUNNING) or by name (Cached).",
		Example: "  sluice task-run ls --flow-run tan-lion\n  sluice task-run ls --state Failed --limit 50",
		Args:    cobra.NoArgs,
	}
	flags := command.Flags()
	flags.StringVar(&flowRun, "flow-run", "", "only those of this flow run (name or id)")
	flags.StringArrayVar(&states, "state", nil, "only those in this state (repeatable: any)")
	flags.StringArrayVarP(&tags, "tag", "t", nil, "only those with this tag (repeatable: with all of them)")
	flags.IntVar(&limit, "limit", 15, "how many at most")
	completeWords(command, "state", append(stateNames(), namedStates...)...)
	// It fails only for a flag that does not exist; the command tree test completes every flag.
	_ = command.RegisterFlagCompletionFunc("flow-run", completeNames(a, flowRunNames))
	command.RunE = func(command *cobra.Command, _ []string) error {
		if limit < 0 || limit > api.MaxPage {
			return usagef("--limit is %d; it must be from 0 to %d", limit, api.MaxPage)
		}
		state, err := stateFilter(states)
		if err != nil {
			return err
		}
		c, err := a.connect(0)
		if err != nil {
			return err
		}
		filter := api.FilterRequest{Page: api.Page{Limit: &limit}, Sort: api.SortIDDesc}
		filter.TaskRuns = &api.TaskRunFilter{State: state}
		if len(tags) > 0 {
			filter.TaskRuns.Tags = &api.TagsAll{All: tags}
		}
		if flowRun != "" {
			run, err := findFlowRun(command.Context(), c, flowRun)
			if err != nil {
				return err
			}
			filter.FlowRuns = &api.FlowRunFilter{ID: &api.IDAnyNot{Any: []api.ID{run.ID}}}
		}
		runs, err := c.FilterTaskRuns(command.Context(), filter)
		if err != nil {
			return fmt.Errorf("list task runs: %w", err)
		}
		return printList(a, taskRunList(a, runs))
	}
	return command
}

func taskRunList(a *app, runs []api.TaskRun) list[api.TaskRun] {
	return list[api.TaskRun]{
		title: "Task Runs",
		columns: []column[api.TaskRun]{
			{header: "ID", right: true, sgr: sgrCyan, cell: func(r api.TaskRun, _ bool) string { return r.ID.String() }},
			{header: "Name", fold: true, sgr: sgrGreen, cell: func(r api.TaskRun, _ bool) string { return r.Name }},
			{header: "Flow Run ID", sgr: sgrBlue, cell: func(r api.TaskRun, _ bool) string { return r.FlowRunID.String() }},
			{header: "State", cell: func(r api.TaskRun, _ bool) string {
				if r.State == nil {
					return ""
				}
				return r.State.Name
			}},
			{header: "When", fold: true, sgr: sgrYellow, cell: func(r api.TaskRun, people bool) string {
				when := r.Updated
				if r.State != nil {
					when = r.State.Timestamp
				}
				return a.moment(when, people)
			}},
		},
		items: runs,
		id:    func(r api.TaskRun) string { return r.ID.String() },
		name:  func(r api.TaskRun) string { return r.Name },
	}
}

// findTaskRun returns the task run of an id, or of a name that only one has.
func findTaskRun(ctx context.Context, c *client.Client, ref string) (*api.TaskRun, error) {
	if id, err := api.ParseID(ref); err == nil {
		run, err := c.TaskRun(ctx, id)
		if api.IsNotFound(err) {
			return nil, notFoundf("sluice task-run ls", "there is no task run '%s'", ref)
		}
		return run, err
	}
	runs, err := c.FilterTaskRuns(ctx, api.FilterRequest{Filters: api.Filters{TaskRuns: &api.TaskRunFilter{Name: &api.NameAny{Any: []string{ref}}}}})
	if err != nil {
		return nil, err
	}
	switch len(runs) {
	case 0:
		return nil, notFoundf("sluice task-run ls --flow-run RUN", "there is no task run '%s'", ref)
	case 1:
		return &runs[0], nil
	}
	var matches []candidate
	for _, r := range runs {
		matches = append(matches, candidate{r.ID, r.Name})
	}
	return nil, ambiguous("task run", ref, matches)
}

func onTaskRun(a *app, do func(ctx context.Context, c *client.Client, run *api.TaskRun) error) func(*cobra.Command, []string) error {
	return func(command *cobra.Command, args []string) error {
		c, err := a.connect(0)
		if err != nil {
			return err
		}
		run, err := findTaskRun(command.Context(), c, args[0])
		if err != nil {
			return err
		}
		return do(command.Context(), c, run)
	}
}

func newTaskRunInspect(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "inspect TASK_RUN",
		Short:   "Show a task run",
		Long:    "Show a task run, named by its id or by a name that only one has.",
		Example: "  sluice task-run inspect hello-2e5e-0",
		Args:    cobra.ExactArgs(1),
		RunE: onTaskRun(a, func(_ context.Context, _ *client.Client, run *api.TaskRun) error {
			return a.printObject(run, run.ID.String(), run.Name)
		}),
	}
}

func newTaskRunLogs(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "logs TASK_RUN",
		Short:   "Show the logs of a task run",
		Long:    "Show the logs of a task run in the order of their times.",
		Example: "  sluice task-run logs hello-2e5e-0",
		Args:    cobra.ExactArgs(1),
		RunE: onTaskRun(a, func(ctx context.Context, c *client.Client, run *api.TaskRun) error {
			filter := &api.LogFilter{FlowRunID: &api.IDAny{Any: []api.ID{run.FlowRunID}}, TaskRunID: &api.IDAny{Any: []api.ID{run.ID}}}
			logs, err := client.Each(func(page api.Page) ([]api.Log, error) {
				return c.FilterLogs(ctx, api.LogFilterRequest{Logs: filter, Page: page, Sort: api.SortTimestampAsc})
			})
			if err != nil {
				return fmt.Errorf("read the logs of task run '%s': %w", run.Name, err)
			}
			printer := a.newLogPrinter(c, &api.FlowRun{ID: run.FlowRunID})
			printer.taskRuns[run.ID] = run.Name
			switch a.output {
			case "", formatTable, formatPlain, formatJSONL:
				for i := range logs {
					if err := printer.log(ctx, &logs[i]); err != nil {
						return err
					}
				}
				return nil
			case formatName:
				return usagef("logs have no names; use -o jsonl")
			}
			if logs == nil {
				logs = []api.Log{}
			}
			return a.printDocument(a.output, logs)
		}),
	}
}

func newTaskRunDelete(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "delete TASK_RUN",
		Short:   "Delete a task run",
		Long:    "Delete a task run with its states. A subflow run that it stood for stays.",
		Example: "  sluice task-run delete hello-2e5e-0",
		Args:    cobra.ExactArgs(1),
		RunE: onTaskRun(a, func(ctx context.Context, c *client.Client, run *api.TaskRun) error {
			if err := c.DeleteTaskRun(ctx, run.ID); err != nil {
				return fmt.Errorf("delete task run '%s': %w", run.Name, err)
			}
			return a.printDone(run, run.ID.String(), run.Name, "Deleted task run "+short(run.Name, run.ID))
		}),
	}
}
