package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

func newFlowRunCommand(a *app) *cobra.Command {
	return group("flow-run", "See, watch, cancel, retry and delete flow runs",
		"See flow runs, follow their states and logs, learn why one waits, cancel, retry or delete one or many.",
		"  sluice flow-run ls\n  sluice flow-run logs -f tan-lion\n  sluice flow-run explain tan-lion",
		newRunList(a), onWeb(a, newRunInspect(a), runPage), newFlowRunEdit(a), newRunLogs(a), newRunWatch(a), newRunExplain(a), newRunCancel(a), newRunRetry(a),
		newRunRerun(a), newRunDelete(a), newRunSetState(a), newRunHistory(a), newRunGraph(a))
}

// runArgument completes the names of flow runs for the only argument.
func runArgument(a *app, command *cobra.Command) *cobra.Command {
	command.Args = cobra.ExactArgs(1)
	command.ValidArgsFunction = completeNames(a, flowRunNames)
	return command
}

// onRun connects and resolves the flow run of a command.
func onRun(a *app, do func(ctx context.Context, c *client.Client, run *api.FlowRun) error) func(*cobra.Command, []string) error {
	return func(command *cobra.Command, args []string) error {
		c, err := a.connect(0)
		if err != nil {
			return err
		}
		run, err := findFlowRun(command.Context(), c, args[0])
		if err != nil {
			return err
		}
		return do(command.Context(), c, run)
	}
}

func newRunList(a *app) *cobra.Command {
	var selection runSelection
	var limit int
	command := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List flow runs, the newest first",
		Long:    "List flow runs, the newest first. States are given by type (RUNNING) or by name (Late).",
		Example: "  sluice flow-run ls --state Late --limit 50\n  sluice flow-run ls --flow-name leonardo_dicapriflow -o json",
		Args:    cobra.NoArgs,
	}
	selection.registerCriteria(a, command)
	command.Flags().IntVar(&limit, "limit", 15, "how many at most")
	command.RunE = func(command *cobra.Command, _ []string) error {
		if limit < 0 {
			return usagef("--limit is %d; it must not be negative", limit)
		}
		if err := selection.check(); err != nil {
			return err
		}
		c, err := a.connect(0)
		if err != nil {
			return err
		}
		ctx := command.Context()
		filter := api.FilterRequest{Sort: api.SortIDDesc}
		if filter.Filters, err = selection.filters(ctx, a, c); err != nil {
			return err
		}
		found, err := newestRuns(ctx, c, filter, limit)
		if err != nil {
			return err
		}
		var ids []api.ID
		for _, run := range found {
			ids = append(ids, run.FlowID)
		}
		var names map[api.ID]string
		if !a.structured() && !a.quiet {
			if names, err = flowNames(ctx, c, ids); err != nil {
				return err
			}
		}
		return printList(a, runList(a, found, names))
	}
	return command
}

func stateNames() []string {
	var names []string
	for _, t := range api.StateTypes {
		names = append(names, t.DefaultName())
	}
	return names
}

// namedStates are the states with a name of their own within a type.
var namedStates = []string{
	api.NameLate, api.NameAwaitingRetry, api.NameNotReady, api.NameRetrying, api.NameRerunning, api.NameCancelling, api.NameCached, api.NameCrashed, api.NameTimedOut,
}

// stateFilter matches types and names: a default name means its type, so that "Running" finds what is Retrying too. A state
// that no run can be in is refused, as an empty list would look like an answer.
func stateFilter(states []string) (*api.StateFilter, error) {
	var filter api.StateFilter
	for _, state := range states {
		if t := api.StateType(strings.ToUpper(state)); t.Valid() {
			if filter.Type == nil {
				filter.Type = &api.StateTypeAny{}
			}
			filter.Type.Any = append(filter.Type.Any, t)
			continue
		}
		named := slices.IndexFunc(namedStates, func(name string) bool { return strings.EqualFold(name, state) })
		if named < 0 {
			return nil, usagef("--state is '%s'; it is one of %s, %s", state, strings.Join(stateNames(), ", "), strings.Join(namedStates, ", "))
		}
		if filter.Name == nil {
			filter.Name = &api.NameAny{}
		}
		filter.Name.Any = append(filter.Name.Any, namedStates[named])
	}
	if filter == (api.StateFilter{}) {
		return nil, nil
	}
	return &filter, nil
}

// newestRuns reads up to limit runs, page by page.
func newestRuns(ctx context.Context, c *client.Client, filter api.FilterRequest, limit int) ([]api.FlowRun, error) {
	var found []api.FlowRun
	for len(found) < limit {
		page := min(api.MaxPage, limit-len(found))
		filter.Page = api.Page{Limit: &page, Offset: len(found)}
		part, err := c.FilterFlowRuns(ctx, filter)
		if err != nil {
			return nil, err
		}
		found = append(found, part...)
		if len(part) < page {
			break
		}
	}
	return found, nil
}

func runList(a *app, runs []api.FlowRun, flows map[api.ID]string) list[api.FlowRun] {
	return list[api.FlowRun]{
		title: "Flow Runs",
		columns: []column[api.FlowRun]{
			{header: "ID", right: true, sgr: sgrCyan, cell: func(r api.FlowRun, _ bool) string { return r.ID.String() }},
			{header: "Flow", fold: true, sgr: sgrBlue, cell: func(r api.FlowRun, _ bool) string { return flows[r.FlowID] }},
			{header: "Name", fold: true, sgr: sgrGreen, cell: func(r api.FlowRun, _ bool) string { return r.Name }},
			{header: "State", cell: func(r api.FlowRun, _ bool) string {
				if r.State == nil {
					return ""
				}
				return r.State.Name
			}},
			{header: "When", fold: true, sgr: sgrYellow, cell: func(r api.FlowRun, people bool) string {
				when := r.Updated
				if r.State != nil {
					when = r.State.Timestamp
					if r.State.Type == api.Scheduled && r.NextScheduledStartTime != nil {
						when = *r.NextScheduledStartTime
					}
				}
				return a.moment(when, people)
			}},
		},
		items: runs,
		id:    func(r api.FlowRun) string { return r.ID.String() },
		name:  func(r api.FlowRun) string { return r.Name },
	}
}

func newRunInspect(a *app) *cobra.Command {
	return runArgument(a, &cobra.Command{
		Use:     "inspect RUN",
		Short:   "Show a flow run as JSON",
		Long:    "Show everything about a flow run as JSON, or in the format of -o; without -o also, on stderr, why it waits.",
		Example: "  sluice flow-run inspect tan-lion",
		RunE: onRun(a, func(ctx context.Context, c *client.Client, run *api.FlowRun) error {
			if err := a.printObject(run, run.ID.String(), run.Name); err != nil || a.quiet || a.structured() {
				return err
			}
			// For people, beside the object: why nothing happens.
			if explanation, err := c.ExplainFlowRun(ctx, run.ID); err == nil && explanation.Waiting {
				a.noteWhy(explanation)
			}
			return nil
		}),
	})
}

func newRunExplain(a *app) *cobra.Command {
	return runArgument(a, &cobra.Command{
		Use:     "explain RUN",
		Short:   "Say why a flow run is where it is",
		Long:    "Say why a flow run waits or who executes it, and what would change that.",
		Example: "  sluice flow-run explain tan-lion",
		RunE: onRun(a, func(ctx context.Context, c *client.Client, run *api.FlowRun) error {
			explanation, err := c.ExplainFlowRun(ctx, run.ID)
			if err != nil {
				return fmt.Errorf("explain flow run '%s': %w", run.Name, err)
			}
			var b strings.Builder
			fmt.Fprintf(&b, "Flow run %s is %s.", short(run.Name, run.ID), explanation.StateName)
			sameAsReason := len(explanation.Reasons) == 1 && explanation.Reasons[0].Message == explanation.Summary
			if explanation.Summary != "" && !sameAsReason {
				b.WriteString("\n" + explanation.Summary)
			}
			for _, reason := range explanation.Reasons {
				fmt.Fprintf(&b, "\n  - %s", reason.Message)
				if reason.Unblock != "" {
					fmt.Fprintf(&b, "\n    to unblock: %s", reason.Unblock)
				}
				if reason.Command != "" && !strings.Contains(reason.Unblock, reason.Command) {
					fmt.Fprintf(&b, "\n    try: %s", reason.Command)
				}
			}
			return a.printDone(explanation, run.ID.String(), run.Name, b.String())
		}),
	})
}

// noteWhy tells people why a run waits and the next command to type.
func (a *app) noteWhy(e *api.Explanation) {
	a.note("waiting: %s", e.Summary)
	if len(e.Reasons) > 0 && e.Reasons[0].Command != "" {
		a.note("try: %s", e.Reasons[0].Command)
	}
}
