package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

func newBlockSpecCommand(a *app) *cobra.Command {
	return group("block-spec", "Manage block specs: the types of blocks",
		"Manage block specs, the types of blocks, each with a version and a JSON Schema of the blocks' data.",
		"  sluice block-spec ls\n  sluice block-spec inspect 'Local Storage'",
		newBlockSpecList(a), newBlockSpecInspect(a), newBlockSpecCreate(a), newBlockSpecDelete(a))
}

func specTitle(s api.BlockSpec) string { return s.Name + "/" + s.Version }

func allBlockSpecs(ctx context.Context, c *client.Client) ([]api.BlockSpec, error) {
	return client.Each(func(page api.Page) ([]api.BlockSpec, error) {
		return c.FilterBlockSpecs(ctx, api.BlockSpecFilterRequest{Page: page})
	})
}

func blockSpecNames(ctx context.Context, c *client.Client) ([]string, error) {
	specs, err := c.FilterBlockSpecs(ctx, api.BlockSpecFilterRequest{})
	var names []string
	for _, s := range specs {
		names = append(names, s.Name)
	}
	return slices.Compact(names), err
}

// findBlockSpec returns the spec of NAME/VERSION, an id, a unique prefix of an id, or the newest of a name.
func findBlockSpec(ctx context.Context, c *client.Client, ref string) (*api.BlockSpec, error) {
	specs, err := allBlockSpecs(ctx, c)
	if err != nil {
		return nil, err
	}
	if id, err := api.ParseID(ref); err == nil {
		ref = id.String()
	}
	var newest *api.BlockSpec
	var all []candidate
	for i := range specs {
		s := &specs[i]
		if specTitle(*s) == ref {
			return s, nil
		}
		if s.Name == ref && (newest == nil || s.Version > newest.Version) {
			newest = s
		}
		all = append(all, candidate{s.ID, specTitle(*s)})
	}
	if newest != nil {
		return newest, nil
	}
	chosen, err := choose("block spec", ref, "sluice block-spec ls", all)
	if err != nil {
		return nil, err
	}
	for i := range specs {
		if specs[i].ID == chosen.id {
			return &specs[i], nil
		}
	}
	return nil, notFoundf("sluice block-spec ls", "there is no block spec '%s'", ref)
}

func newBlockSpecList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List block specs",
		Long:    "List block specs by name.",
		Example: "  sluice block-spec ls",
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			c, err := a.connect(0)
			if err != nil {
				return err
			}
			specs, err := allBlockSpecs(command.Context(), c)
			if err != nil {
				return err
			}
			return printList(a, list[api.BlockSpec]{
				title: "Block Specs",
				columns: []column[api.BlockSpec]{
					{header: "ID", right: true, sgr: sgrCyan, cell: func(s api.BlockSpec, _ bool) string { return s.ID.String() }},
					{header: "Name", fold: true, sgr: sgrGreen, cell: func(s api.BlockSpec, _ bool) string { return s.Name }},
					{header: "Version", cell: func(s api.BlockSpec, _ bool) string { return s.Version }},
					{header: "Type", cell: func(s api.BlockSpec, _ bool) string { return text(s.Type) }},
				},
				items: specs,
				id:    func(s api.BlockSpec) string { return s.ID.String() },
				name:  specTitle,
			})
		},
	}
}

func onBlockSpec(a *app, command *cobra.Command, do func(context.Context, *client.Client, *api.BlockSpec) error) *cobra.Command {
	command.Args = cobra.ExactArgs(1)
	command.ValidArgsFunction = completeNames(a, blockSpecNames)
	command.RunE = func(command *cobra.Command, args []string) error {
		c, err := a.connect(0)
		if err != nil {
			return err
		}
		spec, err := findBlockSpec(command.Context(), c, args[0])
		if err != nil {
			return err
		}
		return do(command.Context(), c, spec)
	}
	return command
}

func newBlockSpecInspect(a *app) *cobra.Command {
	return onBlockSpec(a, &cobra.Command{
		Use:     "inspect SPEC",
		Short:   "Show a block spec as JSON",
		Long:    "Show a block spec as JSON, or in the format of -o: the newest of a name, or the one of NAME/VERSION.",
		Example: "  sluice block-spec inspect 'Local Storage'",
	}, func(_ context.Context, _ *client.Client, s *api.BlockSpec) error {
		return a.printObject(s, s.ID.String(), specTitle(*s))
	})
}

func newBlockSpecCreate(a *app) *cobra.Command {
	var version, kind, fields string
	command := &cobra.Command{
		Use:     "create NAME",
		Short:   "Create a block spec",
		Long:    "Create a block spec. --fields is a JSON Schema of its blocks' data, @FILE, or - for the standard input.",
		Example: `  sluice block-spec create Database --version 1.0 --fields '{"properties":{"url":{"type":"string"}}}'`,
		Args:    cobra.ExactArgs(1),
	}
	command.Flags().StringVar(&version, "version", "1.0", "its version")
	command.Flags().StringVar(&kind, "type", "", "what its blocks serve as, such as STORAGE")
	command.Flags().StringVar(&fields, "fields", "{}", "JSON Schema of the data")
	command.RunE = func(command *cobra.Command, args []string) error {
		object, err := a.objectOf("fields", fields)
		if err != nil {
			return err
		}
		c, err := a.connect(0)
		if err != nil {
			return err
		}
		body := api.BlockSpecCreate{Name: args[0], Version: version, Fields: object}
		if kind != "" {
			body.Type = &kind
		}
		spec, err := c.CreateBlockSpec(command.Context(), body)
		if err != nil {
			return fmt.Errorf("create block spec '%s': %w", args[0], err)
		}
		return a.printDone(spec, spec.ID.String(), specTitle(*spec), "Created block spec "+short(specTitle(*spec), spec.ID))
	}
	return command
}

func newBlockSpecDelete(a *app) *cobra.Command {
	var yes bool
	command := onBlockSpec(a, &cobra.Command{
		Use:     "delete SPEC",
		Short:   "Delete a block spec with its blocks",
		Long:    "Delete a block spec with all of its blocks, which needs --yes.",
		Example: "  sluice block-spec delete Database/1.0 --yes",
	}, func(ctx context.Context, c *client.Client, s *api.BlockSpec) error {
		if !yes {
			return usagef("this deletes all blocks of %s too; confirm with --yes", specTitle(*s))
		}
		if err := c.DeleteBlockSpec(ctx, s.ID); err != nil {
			return fmt.Errorf("delete block spec '%s': %w", specTitle(*s), err)
		}
		return a.printDone(s, s.ID.String(), specTitle(*s), "Deleted block spec "+short(specTitle(*s), s.ID))
	})
	command.Flags().BoolVarP(&yes, "yes", "y", false, "delete its blocks too")
	return command
}
