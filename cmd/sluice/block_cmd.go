package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

func newBlockCommand(a *app) *cobra.Command {
	return group("block", "Manage blocks: named settings with a type",
		`Manage blocks, which are named settings of a type, the block spec. Storages are blocks too; "sluice storage create" asks for
what they need.`,
		"  sluice block ls\n  sluice block inspect my-files",
		newBlockList(a), newBlockInspect(a), newBlockCreate(a), newBlockEdit(a), newBlockDelete(a))
}

// title names a block with its spec.
func blockTitle(b api.Block) string {
	if b.BlockSpec == nil {
		return b.Name
	}
	return b.BlockSpec.Name + "/" + b.Name
}

func allBlocks(ctx context.Context, c *client.Client) ([]api.Block, error) {
	return client.Each(func(page api.Page) ([]api.Block, error) {
		return c.FilterBlocks(ctx, api.BlockFilterRequest{Page: page})
	})
}

func blockNames(ctx context.Context, c *client.Client) ([]string, error) {
	blocks, err := c.FilterBlocks(ctx, api.BlockFilterRequest{})
	var names []string
	for _, b := range blocks {
		names = append(names, b.Name)
	}
	return names, err
}

// findBlock returns the block of a name, SPEC/NAME, id or unique prefix of an id.
func findBlock(ctx context.Context, c *client.Client, ref string) (*api.Block, error) {
	blocks, err := allBlocks(ctx, c)
	if err != nil {
		return nil, err
	}
	if id, err := api.ParseID(ref); err == nil {
		ref = id.String()
	}
	var all []candidate
	for i := range blocks {
		if blockTitle(blocks[i]) == ref {
			return &blocks[i], nil
		}
		all = append(all, candidate{blocks[i].ID, blocks[i].Name})
	}
	chosen, err := choose("block", ref, "sluice block ls", all)
	if err != nil {
		return nil, err
	}
	for i := range blocks {
		if blocks[i].ID == chosen.id {
			return &blocks[i], nil
		}
	}
	return nil, notFoundf("sluice block ls", "there is no block '%s'", ref)
}

func onBlock(a *app, command *cobra.Command, do func(context.Context, *client.Client, *api.Block) error) *cobra.Command {
	command.Args = cobra.ExactArgs(1)
	command.ValidArgsFunction = completeNames(a, blockNames)
	command.RunE = func(command *cobra.Command, args []string) error {
		c, err := a.connect(0)
		if err != nil {
			return err
		}
		block, err := findBlock(command.Context(), c, args[0])
		if err != nil {
			return err
		}
		return do(command.Context(), c, block)
	}
	return command
}

func newBlockList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List blocks",
		Long:    "List blocks by their spec and name.",
		Example: "  sluice block ls",
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			c, err := a.connect(0)
			if err != nil {
				return err
			}
			blocks, err := allBlocks(command.Context(), c)
			if err != nil {
				return err
			}
			spec := func(b api.Block) api.BlockSpec {
				if b.BlockSpec == nil {
					return api.BlockSpec{}
				}
				return *b.BlockSpec
			}
			return printList(a, list[api.Block]{
				title: "Blocks",
				columns: []column[api.Block]{
					{header: "ID", right: true, sgr: sgrCyan, cell: func(b api.Block, _ bool) string { return b.ID.String() }},
					{header: "Spec", fold: true, cell: func(b api.Block, _ bool) string { return spec(b).Name }},
					{header: "Version", cell: func(b api.Block, _ bool) string { return spec(b).Version }},
					{header: "Name", fold: true, sgr: sgrGreen, cell: func(b api.Block, _ bool) string { return b.Name }},
				},
				items: blocks,
				id:    func(b api.Block) string { return b.ID.String() },
				name:  blockTitle,
			})
		},
	}
}

func newBlockInspect(a *app) *cobra.Command {
	return onBlock(a, &cobra.Command{
		Use:     "inspect BLOCK",
		Short:   "Show a block as JSON",
		Long:    "Show a block and its spec as JSON, or in the format of -o. Secrets are shown to roles that need them.",
		Example: "  sluice block inspect my-files",
	}, func(_ context.Context, _ *client.Client, b *api.Block) error {
		return a.printObject(b, b.ID.String(), blockTitle(*b))
	})
}

// objectOf reads a JSON object from a flag: its text, @FILE, or - for the standard input.
func (a *app) objectOf(flag, text string) (json.RawMessage, error) {
	data, err := a.requestBody(flag, text, true)
	if err != nil {
		return nil, err
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(data, &object); err != nil || object == nil {
		return nil, usagef("--%s is no JSON object: %s", flag, data)
	}
	return data, nil
}

func newBlockCreate(a *app) *cobra.Command {
	var spec, data string
	command := &cobra.Command{
		Use:     "create NAME",
		Short:   "Create a block",
		Long:    "Create a block of a spec, of its newest version unless the spec is given as NAME/VERSION.\n--data is a JSON object, @FILE, or - for the standard input.",
		Example: `  sluice block create my-files --spec 'Local Storage' --data '{"storage_path":"/flows"}'`,
		Args:    cobra.ExactArgs(1),
	}
	command.Flags().StringVar(&spec, "spec", "", "block spec, as NAME, NAME/VERSION or id")
	command.Flags().StringVarP(&data, "data", "d", "{}", "what the block holds")
	// It fails only for a flag that does not exist; the command tree test completes every flag.
	_ = command.RegisterFlagCompletionFunc("spec", completeNames(a, blockSpecNames))
	command.RunE = func(command *cobra.Command, args []string) error {
		if spec == "" {
			return usagef("--spec is missing; \"sluice block-spec ls\" lists them")
		}
		object, err := a.objectOf("data", data)
		if err != nil {
			return err
		}
		c, err := a.connect(0)
		if err != nil {
			return err
		}
		found, err := findBlockSpec(command.Context(), c, spec)
		if err != nil {
			return err
		}
		block, err := c.CreateBlock(command.Context(), api.BlockCreate{Name: args[0], Data: object, BlockSpecID: found.ID})
		if err != nil {
			return otherwise(fmt.Errorf("create block '%s': %w", args[0], err), "sluice block edit "+shellWord(args[0])+" changes it")
		}
		return a.printDone(block, block.ID.String(), blockTitle(*block), "Created block "+short(block.Name, block.ID))
	}
	return command
}

func newBlockEdit(a *app) *cobra.Command {
	var name, data string
	command := &cobra.Command{
		Use:     "edit BLOCK",
		Short:   "Change a block's name or data",
		Long:    "Change a block's name, or replace all of its data by a JSON object, @FILE, or - for the standard input.",
		Example: `  sluice block edit my-files --data '{"storage_path":"/other"}'`,
	}
	command.Flags().StringVar(&name, "name", "", "new name")
	command.Flags().StringVarP(&data, "data", "d", "", "new data")
	return onBlock(a, command, func(ctx context.Context, c *client.Client, b *api.Block) error {
		var update api.BlockUpdate
		if command.Flags().Changed("name") {
			update.Name = api.Some(name)
		}
		if command.Flags().Changed("data") {
			object, err := a.objectOf("data", data)
			if err != nil {
				return err
			}
			update.Data = object
		}
		if !command.Flags().Changed("name") && update.Data == nil {
			return usagef("nothing to change: give --name or --data")
		}
		if err := c.UpdateBlock(ctx, b.ID, update); err != nil {
			return fmt.Errorf("change block '%s': %w", b.Name, err)
		}
		changed, err := c.Block(ctx, b.ID)
		if err != nil {
			return err
		}
		return a.printDone(changed, b.ID.String(), blockTitle(*changed), "Updated block "+short(changed.Name, b.ID))
	})
}

func newBlockDelete(a *app) *cobra.Command {
	return onBlock(a, &cobra.Command{
		Use:     "delete BLOCK",
		Short:   "Delete a block",
		Long:    "Delete a block. Flow code and results in a storage stay where they are, but nothing finds them any more.",
		Example: "  sluice block delete my-files",
	}, func(ctx context.Context, c *client.Client, b *api.Block) error {
		if err := c.DeleteBlock(ctx, b.ID); err != nil {
			return fmt.Errorf("delete block '%s': %w", b.Name, err)
		}
		return a.printDone(b, b.ID.String(), blockTitle(*b), "Deleted block "+short(b.Name, b.ID))
	})
}
