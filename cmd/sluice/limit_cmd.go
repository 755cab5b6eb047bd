package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

func newLimitCommand(a *app) *cobra.Command {
	return group("concurrency-limit", "Bound how many task runs with a tag run at once",
		"A concurrency limit bounds how many task runs with its tag are running at once, over all flows.",
		"  sluice concurrency-limit create database 2\n  sluice concurrency-limit ls",
		newLimitCreate(a), newLimitList(a), newLimitInspect(a), newLimitDelete(a))
}

func newLimitCreate(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "create TAG LIMIT",
		Short:   "Create or change the limit of a tag",
		Long:    "Create the limit of a tag, or change it. Task runs that are running already count. 0 lets none run: they fail.",
		Example: "  sluice concurrency-limit create database 2",
		Args:    cobra.ExactArgs(2),
		RunE: func(command *cobra.Command, args []string) error {
			limit, err := strconv.Atoi(args[1])
			if err != nil || limit < 0 {
				return usagef("the limit is '%s'; it must be a number from 0 on", args[1])
			}
			c, err := a.connect(0)
			if err != nil {
				return err
			}
			stored, err := c.PutConcurrencyLimit(command.Context(), api.ConcurrencyLimitCreate{Tag: args[0], ConcurrencyLimit: limit})
			if err != nil {
				return fmt.Errorf("set the limit of tag '%s': %w", args[0], err)
			}
			return a.printDone(stored, stored.ID.String(), stored.Tag, fmt.Sprintf("Concurrency limit of %d set on tag '%s'", limit, stored.Tag))
		},
	}
}

func newLimitList(a *app) *cobra.Command {
	var limit, offset int
	command := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List the limits by tag",
		Long:    "List the concurrency limits by tag, with how many task runs hold a place.",
		Example: "  sluice concurrency-limit ls\n  sluice concurrency-limit ls -o json",
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			c, err := a.connect(0)
			if err != nil {
				return err
			}
			limits, err := client.Each(func(page api.Page) ([]api.ConcurrencyLimit, error) {
				return c.FilterConcurrencyLimits(command.Context(), page)
			})
			if err != nil {
				return fmt.Errorf("list concurrency limits: %w", err)
			}
			limits = limits[min(max(offset, 0), len(limits)):]
			if limit >= 0 {
				limits = limits[:min(limit, len(limits))]
			}
			return printList(a, list[api.ConcurrencyLimit]{
				title: "Concurrency Limits",
				columns: []column[api.ConcurrencyLimit]{
					{header: "Tag", fold: true, sgr: sgrGreen, cell: func(l api.ConcurrencyLimit, _ bool) string { return l.Tag }},
					{header: "ID", sgr: sgrCyan, cell: func(l api.ConcurrencyLimit, _ bool) string { return l.ID.String() }},
					{header: "Concurrency Limit", right: true, cell: func(l api.ConcurrencyLimit, _ bool) string { return strconv.Itoa(l.ConcurrencyLimit) }},
					{header: "Active Task Runs", right: true, sgr: sgrYellow, cell: func(l api.ConcurrencyLimit, _ bool) string { return strconv.Itoa(len(l.ActiveSlots)) }},
				},
				items: limits,
				id:    func(l api.ConcurrencyLimit) string { return l.ID.String() },
				name:  func(l api.ConcurrencyLimit) string { return l.Tag },
			})
		},
	}
	command.Flags().IntVar(&limit, "limit", -1, "how many at most (default all)")
	command.Flags().IntVar(&offset, "offset", 0, "how many to leave out at the beginning")
	return command
}

func newLimitInspect(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "inspect TAG",
		Short:   "Show the limit of a tag and who holds its places",
		Long:    "Show the limit of a tag with the ids of the task runs that hold its places.",
		Example: "  sluice concurrency-limit inspect database",
		Args:    cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			c, err := a.connect(0)
			if err != nil {
				return err
			}
			limit, err := c.ConcurrencyLimitByTag(command.Context(), args[0])
			if err != nil {
				return limitMissing(args[0], "read", err)
			}
			return a.printObject(limit, limit.ID.String(), limit.Tag)
		},
	}
}

func limitMissing(tag, verb string, err error) error {
	if api.IsNotFound(err) {
		return notFoundf("sluice concurrency-limit ls", "the tag '%s' has no concurrency limit", tag)
	}
	return fmt.Errorf("%s the limit of tag '%s': %w", verb, tag, err)
}

func newLimitDelete(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "delete TAG",
		Short:   "Remove the limit of a tag",
		Long:    "Remove the limit of a tag. Task runs that wait for a place find out when they ask next, within 30 seconds.",
		Example: "  sluice concurrency-limit delete database",
		Args:    cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			c, err := a.connect(0)
			if err != nil {
				return err
			}
			limit, err := c.ConcurrencyLimitByTag(command.Context(), args[0])
			if err == nil {
				err = c.DeleteConcurrencyLimitByTag(command.Context(), args[0])
			}
			if err != nil {
				return limitMissing(args[0], "delete", err)
			}
			return a.printDone(limit, limit.ID.String(), limit.Tag, fmt.Sprintf("Deleted the concurrency limit of tag '%s'", limit.Tag))
		},
	}
}
