package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

func newArtifactCommand(a *app) *cobra.Command {
	return group("artifact", "Look at what flow runs show", `Artifacts are tables, texts in Markdown and links that flow runs show to people: flow.Artifact in Go,
sluice.artifacts in Python. Those of one key are versions of one thing. They live as long as their runs.`,
		"  sluice artifact ls --run tan-lion\n  sluice artifact inspect report",
		newArtifactCreate(a), newArtifactList(a), newArtifactInspect(a))
}

func newArtifactCreate(a *app) *cobra.Command {
	var run, kind, description, text string
	command := &cobra.Command{
		Use:   "create KEY",
		Short: "Show something with a flow run",
		Long: `Show something with a flow run: a table (a JSON list of objects), a text in Markdown, or a link. In a command that Sluice runs,
--run is the run itself.`,
		Example: `  sluice artifact create report --type markdown --data '# 3 pages'
  sluice artifact create dashboard --type link --data https://grafana.example/d/1 --run tan-lion`,
		Args: cobra.ExactArgs(1),
	}
	flags := command.Flags()
	flags.StringVar(&run, "run", "", "the flow run, by name or id (default $SLUICE_FLOW_RUN_ID)")
	flags.StringVar(&kind, "type", string(api.ArtifactMarkdown), "table, markdown or link")
	flags.StringVar(&text, "data", "", "what is shown: a JSON list, a text, or an address")
	flags.StringVar(&description, "description", "", "a sentence about it")
	completeWords(command, "type", "table", "markdown", "link")
	command.RunE = func(command *cobra.Command, args []string) error {
		body := api.ArtifactCreate{Key: args[0], Type: api.ArtifactType(kind), Description: description, Data: json.RawMessage(text)}
		var shown any
		switch body.Type {
		case api.ArtifactTable:
			if !json.Valid(body.Data) {
				return usagef("--data of a table is a JSON list of objects")
			}
		case api.ArtifactMarkdown:
			shown = text
		case api.ArtifactLink:
			shown = map[string]string{"url": text, "text": text}
		default:
			return usagef("--type is %q; it is one of table, markdown, link", kind)
		}
		if shown != nil {
			var err error
			if body.Data, err = json.Marshal(shown); err != nil {
				return err
			}
		}
		c, err := a.connect(0)
		if err != nil {
			return err
		}
		name := firstOf(run, a.environment["SLUICE_FLOW_RUN_ID"])
		if name == "" {
			return usagef("--run names the flow run; without it the command has to be part of one")
		}
		found, err := findFlowRun(command.Context(), c, name)
		if err != nil {
			return err
		}
		body.FlowRunID = found.ID
		made, err := c.CreateArtifact(command.Context(), body)
		if err != nil {
			return fmt.Errorf("create artifact '%s': %w", body.Key, err)
		}
		return a.printDone(made, made.ID.String(), made.Key, "Created artifact "+short(made.Key, made.ID))
	}
	return command
}

func newArtifactList(a *app) *cobra.Command {
	var run, key string
	command := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List artifacts, the newest first",
		Long:    "List artifacts, the newest first: of a run, of a key, or all. inspect shows what is in one.",
		Example: "  sluice artifact ls --run tan-lion\n  sluice artifact ls --key report -o json",
		Args:    cobra.NoArgs,
	}
	command.Flags().StringVar(&run, "run", "", "only those of this flow run, by name or id")
	command.Flags().StringVar(&key, "key", "", "only those of this key")
	command.RunE = func(command *cobra.Command, _ []string) error {
		ctx := command.Context()
		c, err := a.connect(0)
		if err != nil {
			return err
		}
		filter := api.ArtifactFilter{Key: key, WithData: a.structured()}
		if run != "" {
			found, err := findFlowRun(ctx, c, run)
			if err != nil {
				return err
			}
			filter.FlowRunID = &found.ID
		}
		artifacts, err := client.Each(func(page api.Page) ([]api.Artifact, error) {
			filter.Page = page
			return c.FilterArtifacts(ctx, filter)
		})
		if err != nil {
			return fmt.Errorf("list artifacts: %w", err)
		}
		return printList(a, list[api.Artifact]{
			title: "Artifacts",
			columns: []column[api.Artifact]{
				{header: "Key", fold: true, sgr: sgrGreen, cell: func(r api.Artifact, _ bool) string { return r.Key }},
				{header: "Type", cell: func(r api.Artifact, _ bool) string { return string(r.Type) }},
				{header: "Created", cell: func(r api.Artifact, people bool) string { return a.moment(r.Created, people) }},
				{header: "Bytes", right: true, cell: func(r api.Artifact, _ bool) string { return fmt.Sprint(r.Size) }},
				{header: "Description", fold: true, cell: func(r api.Artifact, _ bool) string { return r.Description }},
				{header: "ID", sgr: sgrCyan, cell: func(r api.Artifact, _ bool) string { return r.ID.String() }},
			},
			items: artifacts,
			id:    func(r api.Artifact) string { return r.ID.String() },
			name:  func(r api.Artifact) string { return r.Key },
		})
	}
	return command
}

func newArtifactInspect(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "inspect KEY|ID",
		Short:   "Show an artifact with its data",
		Long:    "Show an artifact with its data: the newest of a key, or the one of an id.",
		Example: "  sluice artifact inspect report\n  sluice artifact inspect report -o template={{.data}}",
		Args:    cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			c, err := a.connect(0)
			if err != nil {
				return err
			}
			artifact, err := findArtifact(command.Context(), c, args[0])
			if err != nil {
				return err
			}
			return a.printObject(artifact, artifact.ID.String(), artifact.Key)
		},
	}
}

func findArtifact(ctx context.Context, c *client.Client, ref string) (*api.Artifact, error) {
	if id, err := api.ParseID(ref); err == nil {
		artifact, err := c.Artifact(ctx, id)
		if err == nil || !api.IsNotFound(err) {
			return artifact, err
		}
	}
	artifact, err := c.LatestArtifact(ctx, ref)
	if api.IsNotFound(err) {
		return nil, notFoundf("sluice artifact ls", "there is no artifact '%s'", ref)
	}
	return artifact, err
}
