package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

func newSearchCommand(a *app) *cobra.Command {
	return group("saved-search", "Keep named filters for the web interface",
		"Saved searches are named filters that the web interface offers. The server keeps them as they are.",
		"  sluice saved-search ls\n  sluice saved-search inspect failures",
		newSearchSet(a), newSearchList(a), newSearchInspect(a), newSearchDelete(a))
}

func newSearchSet(a *app) *cobra.Command {
	var filters string
	command := &cobra.Command{
		Use:   "set NAME",
		Short: "Store a search under a name, or replace it",
		Long: `Store a search under a name; one that has the name already gets the new filters. --filters is a JSON list of objects with
object, property, type, operation and value.`,
		Example: `  sluice saved-search set failures --filters '[{"object":"flow_run","property":"state","type":"state","operation":"is","value":"FAILED"}]'`,
		Args:    cobra.ExactArgs(1),
	}
	command.Flags().StringVar(&filters, "filters", "[]", "the criteria, a JSON list")
	command.RunE = func(command *cobra.Command, args []string) error {
		search := api.SavedSearchCreate{Name: args[0]}
		if err := json.Unmarshal([]byte(filters), &search.Filters); err != nil {
			return usagef("--filters is no JSON list of criteria: %v", err)
		}
		c, err := a.connect(0)
		if err != nil {
			return err
		}
		stored, err := c.PutSavedSearch(command.Context(), search)
		if err != nil {
			return fmt.Errorf("store saved search '%s': %w", args[0], err)
		}
		return a.printDone(stored, stored.ID.String(), stored.Name, "Stored saved search "+short(stored.Name, stored.ID))
	}
	return command
}

func allSearches(ctx context.Context, c *client.Client) ([]api.SavedSearch, error) {
	return client.Each(func(page api.Page) ([]api.SavedSearch, error) { return c.FilterSavedSearches(ctx, page) })
}

func newSearchList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List saved searches by name",
		Long:    "List the saved searches by name, with the number of their criteria.",
		Example: "  sluice saved-search ls\n  sluice saved-search ls -o json",
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			c, err := a.connect(0)
			if err != nil {
				return err
			}
			searches, err := allSearches(command.Context(), c)
			if err != nil {
				return fmt.Errorf("list saved searches: %w", err)
			}
			return printList(a, list[api.SavedSearch]{
				title: "Saved Searches",
				columns: []column[api.SavedSearch]{
					{header: "ID", right: true, sgr: sgrCyan, cell: func(s api.SavedSearch, _ bool) string { return s.ID.String() }},
					{header: "Name", fold: true, sgr: sgrGreen, cell: func(s api.SavedSearch, _ bool) string { return s.Name }},
					{header: "Criteria", right: true, cell: func(s api.SavedSearch, _ bool) string { return strconv.Itoa(len(s.Filters)) }},
				},
				items: searches,
				id:    func(s api.SavedSearch) string { return s.ID.String() },
				name:  func(s api.SavedSearch) string { return s.Name },
			})
		},
	}
}

// onSearch connects and resolves the saved search of a command.
func onSearch(a *app, do func(ctx context.Context, c *client.Client, search *api.SavedSearch) error) func(*cobra.Command, []string) error {
	return func(command *cobra.Command, args []string) error {
		c, err := a.connect(0)
		if err != nil {
			return err
		}
		searches, err := allSearches(command.Context(), c)
		if err != nil {
			return err
		}
		var known []candidate
		for _, s := range searches {
			known = append(known, candidate{s.ID, s.Name})
		}
		chosen, err := choose("saved search", args[0], "sluice saved-search ls", known)
		if err != nil {
			return err
		}
		search, err := c.SavedSearch(command.Context(), chosen.id)
		if err != nil {
			return fmt.Errorf("read saved search '%s': %w", chosen.name, err)
		}
		return do(command.Context(), c, search)
	}
}

func newSearchInspect(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "inspect SEARCH",
		Short:   "Show a saved search",
		Long:    "Show a saved search with its criteria.",
		Example: "  sluice saved-search inspect failures",
		Args:    cobra.ExactArgs(1),
		RunE: onSearch(a, func(_ context.Context, _ *client.Client, search *api.SavedSearch) error {
			return a.printObject(search, search.ID.String(), search.Name)
		}),
	}
}

func newSearchDelete(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "delete SEARCH",
		Short:   "Delete a saved search",
		Long:    "Delete a saved search. What it finds stays.",
		Example: "  sluice saved-search delete failures",
		Args:    cobra.ExactArgs(1),
		RunE: onSearch(a, func(ctx context.Context, c *client.Client, search *api.SavedSearch) error {
			if err := c.DeleteSavedSearch(ctx, search.ID); err != nil {
				return fmt.Errorf("delete saved search '%s': %w", search.Name, err)
			}
			return a.printDone(search, search.ID.String(), search.Name, "Deleted saved search "+short(search.Name, search.ID))
		}),
	}
}
