package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

func newWebhookCommand(a *app) *cobra.Command {
	return group("webhook", "Tell other services of flow runs' states",
		`A webhook is an address that gets a signed message whenever a flow run takes a state that its filter wants. Messages wait
in a replicated outbox until the receiver takes them: at least once, in order for each run.`,
		"  sluice webhook create --state-type FAILED --tag prod alerts https://example.org/hook\n  sluice webhook deliveries alerts",
		newWebhookCreate(a), newWebhookList(a), newWebhookInspect(a), newWebhookEdit(a), newWebhookSwitch(a, true), newWebhookSwitch(a, false),
		newWebhookDelete(a), newWebhookDeliveries(a), newWebhookTest(a), newWebhookRedeliver(a))
}

func webhookCandidates(ctx context.Context, c *client.Client) ([]candidate, error) {
	all, err := c.Webhooks(ctx)
	var out []candidate
	for _, w := range all {
		out = append(out, candidate{w.ID, w.Name})
	}
	return out, err
}

// onWebhook connects and resolves the webhook of a command.
func onWebhook(a *app, do func(ctx context.Context, c *client.Client, w *api.Webhook, args []string) error) func(*cobra.Command, []string) error {
	return func(command *cobra.Command, args []string) error {
		c, err := a.connect(0)
		if err != nil {
			return err
		}
		all, err := webhookCandidates(command.Context(), c)
		if err != nil {
			return err
		}
		chosen, err := choose("webhook", args[0], "sluice webhook ls", all)
		if err != nil {
			return err
		}
		w, err := c.Webhook(command.Context(), chosen.id)
		if err != nil {
			return err
		}
		return do(command.Context(), c, w, args[1:])
	}
}

func webhookNames(ctx context.Context, c *client.Client) ([]string, error) {
	all, err := c.Webhooks(ctx)
	var names []string
	for _, w := range all {
		names = append(names, w.Name)
	}
	return names, err
}

func webhookArgument(a *app, command *cobra.Command) *cobra.Command {
	command.Args = cobra.ExactArgs(1)
	command.ValidArgsFunction = completeNames(a, webhookNames)
	return command
}

// webhookFilterFlags are the criteria of a webhook.
type webhookFilterFlags struct{ types, names, tags, deployments, flows []string }

func (f *webhookFilterFlags) register(a *app, command *cobra.Command) {
	flags := command.Flags()
	flags.StringArrayVar(&f.types, "state-type", nil, "tell only states of this type (repeatable: of any)")
	flags.StringArrayVar(&f.names, "state-name", nil, "tell only states of this name, like Crashed or Late (repeatable: of any)")
	flags.StringArrayVarP(&f.tags, "tag", "t", nil, "tell only of runs with this tag (repeatable: with all of them)")
	flags.StringArrayVarP(&f.deployments, "deployment", "d", nil, "tell only of runs of this deployment (name or id, repeatable: of any)")
	flags.StringArrayVar(&f.flows, "flow", nil, "tell only of runs of this flow (name, repeatable: of any)")
	completeWords(command, "state-type", "SCHEDULED", "PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED")
	completeWords(command, "state-name", "Late", "Crashed", "Cancelling", "AwaitingRetry", "TimedOut")
	// It fails only for a flag that does not exist; the command tree test completes every flag.
	_ = command.RegisterFlagCompletionFunc("deployment", completeNames(a, deploymentNames))
}

func (f *webhookFilterFlags) given() bool {
	return len(f.types)+len(f.names)+len(f.tags)+len(f.deployments)+len(f.flows) > 0
}

func (f *webhookFilterFlags) filter(ctx context.Context, c *client.Client) (*api.WebhookFilter, error) {
	out := &api.WebhookFilter{StateNames: f.names, Tags: f.tags}
	for _, t := range f.types {
		out.StateTypes = append(out.StateTypes, api.StateType(t))
	}
	for _, ref := range f.deployments {
		d, err := findDeployment(ctx, c, ref)
		if err != nil {
			return nil, err
		}
		out.DeploymentIDs = append(out.DeploymentIDs, d.ID)
	}
	for _, name := range f.flows {
		flow, err := c.FlowByName(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("find the flow '%s': %w", name, err)
		}
		out.FlowIDs = append(out.FlowIDs, flow.ID)
	}
	return out, nil
}

func newWebhookCreate(a *app) *cobra.Command {
	var filter webhookFilterFlags
	var secret string
	var paused bool
	command := &cobra.Command{
		Use:   "create NAME URL",
		Short: "Create a webhook",
		Long: `Create a webhook. Without criteria it is told every state of every flow run. The secret with which receivers verify the
messages is shown once, by this command: docs/webhooks.md has the few lines that verify.`,
		Example: "  sluice webhook create --state-type FAILED --tag prod alerts https://example.org/hook\n  sluice webhook create all http://127.0.0.1:9000/ -o json",
		Args:    cobra.ExactArgs(2),
	}
	filter.register(a, command)
	command.Flags().StringVar(&secret, "secret", "", "whsec_ and 24 to 64 bytes in base64 (default a new one)")
	command.Flags().BoolVar(&paused, "paused", false, "create it paused")
	command.RunE = func(command *cobra.Command, args []string) error {
		c, err := a.connect(0)
		if err != nil {
			return err
		}
		wanted, err := filter.filter(command.Context(), c)
		if err != nil {
			return err
		}
		w, err := c.CreateWebhook(command.Context(), api.WebhookCreate{Name: args[0], URL: args[1], Secret: secret, Filter: wanted, Paused: paused})
		if err != nil {
			return fmt.Errorf("create webhook '%s': %w", args[0], err)
		}
		return a.printDone(w, w.ID.String(), w.Name, "Created webhook "+short(w.Name, w.ID)+"\nIts secret, which is not shown again: "+w.Secret)
	}
	return command
}

func newWebhookList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List webhooks",
		Long:    "List webhooks by name, with how many messages wait.",
		Example: "  sluice webhook ls\n  sluice webhook ls -o json",
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			c, err := a.connect(0)
			if err != nil {
				return err
			}
			all, err := c.Webhooks(command.Context())
			if err != nil {
				return err
			}
			return printList(a, list[api.Webhook]{
				title: "Webhooks",
				columns: []column[api.Webhook]{
					{header: "ID", sgr: sgrCyan, cell: func(w api.Webhook, _ bool) string { return w.ID.String() }},
					{header: "Name", fold: true, sgr: sgrGreen, cell: func(w api.Webhook, _ bool) string { return w.Name }},
					{header: "URL", fold: true, cell: func(w api.Webhook, _ bool) string { return w.URL }},
					{header: "State", cell: func(w api.Webhook, _ bool) string {
						switch {
						case w.Paused:
							return "paused"
						case w.LastError != nil:
							return "failing"
						}
						return "active"
					}},
					{header: "Waiting", right: true, cell: func(w api.Webhook, _ bool) string { return strconv.FormatInt(w.Waiting, 10) }},
					{header: "Dropped", right: true, cell: func(w api.Webhook, _ bool) string { return strconv.FormatUint(w.Dropped, 10) }},
				},
				items: all,
				id:    func(w api.Webhook) string { return w.ID.String() },
				name:  func(w api.Webhook) string { return w.Name },
			})
		},
	}
}

func newWebhookInspect(a *app) *cobra.Command {
	command := webhookArgument(a, &cobra.Command{
		Use:     "inspect WEBHOOK",
		Short:   "Show a webhook as JSON",
		Long:    "Show everything about a webhook as JSON, or in the format of -o: its filter, what waits, what was\ndropped and why the last attempt failed.",
		Example: "  sluice webhook inspect alerts",
	})
	command.RunE = onWebhook(a, func(_ context.Context, _ *client.Client, w *api.Webhook, _ []string) error {
		return a.printObject(w, w.ID.String(), w.Name)
	})
	return command
}

func newWebhookEdit(a *app) *cobra.Command {
	var filter webhookFilterFlags
	var name, address string
	var newSecret bool
	command := webhookArgument(a, &cobra.Command{
		Use:     "edit WEBHOOK",
		Short:   "Change a webhook's name, address, criteria or secret",
		Long:    "Change a webhook. Criteria that are given replace all of its criteria.",
		Example: "  sluice webhook edit alerts --url https://example.org/other\n  sluice webhook edit alerts --new-secret",
	})
	filter.register(a, command)
	command.Flags().StringVar(&name, "name", "", "new name")
	command.Flags().StringVar(&address, "url", "", "new address")
	command.Flags().BoolVar(&newSecret, "new-secret", false, "sign with a new secret from now on, and show it")
	command.RunE = onWebhook(a, func(ctx context.Context, c *client.Client, w *api.Webhook, _ []string) error {
		update := api.WebhookUpdate{NewSecret: newSecret}
		if name != "" {
			update.Name = &name
		}
		if address != "" {
			update.URL = &address
		}
		if filter.given() {
			var err error
			if update.Filter, err = filter.filter(ctx, c); err != nil {
				return err
			}
		}
		if update == (api.WebhookUpdate{}) {
			return usagef("nothing to change: give at least one flag")
		}
		changed, err := c.UpdateWebhook(ctx, w.ID, update)
		if err != nil {
			return fmt.Errorf("change webhook '%s': %w", w.Name, err)
		}
		sentence := "Updated webhook " + changed.ID.String()
		if changed.Secret != "" {
			sentence += "\nIts secret, which is not shown again: " + changed.Secret
		}
		return a.printDone(changed, changed.ID.String(), changed.Name, sentence)
	})
	return command
}

func newWebhookSwitch(a *app, pause bool) *cobra.Command {
	command := &cobra.Command{
		Use:     "resume WEBHOOK",
		Short:   "Let a paused webhook deliver again",
		Long:    "Let a paused webhook deliver again, beginning with what waited when it was paused.",
		Example: "  sluice webhook resume alerts",
	}
	sentence := "Resumed webhook %s"
	if pause {
		command = &cobra.Command{
			Use:     "pause WEBHOOK",
			Short:   "Stop a webhook",
			Long:    "Stop a webhook. What waits stays; states that runs take meanwhile are not told, not even later.",
			Example: "  sluice webhook pause alerts",
		}
		sentence = "Paused webhook %s"
	}
	command.RunE = onWebhook(a, func(ctx context.Context, c *client.Client, w *api.Webhook, _ []string) error {
		changed, err := c.UpdateWebhook(ctx, w.ID, api.WebhookUpdate{Paused: &pause})
		if err != nil {
			return fmt.Errorf("change webhook '%s': %w", w.Name, err)
		}
		return a.printDone(changed, changed.ID.String(), changed.Name, fmt.Sprintf(sentence, w.ID))
	})
	return webhookArgument(a, command)
}

func newWebhookDelete(a *app) *cobra.Command {
	command := webhookArgument(a, &cobra.Command{
		Use:     "delete WEBHOOK",
		Short:   "Delete a webhook",
		Long:    "Delete a webhook with what waits for it and its log.",
		Example: "  sluice webhook delete alerts",
	})
	command.RunE = onWebhook(a, func(ctx context.Context, c *client.Client, w *api.Webhook, _ []string) error {
		if err := c.DeleteWebhook(ctx, w.ID); err != nil {
			return fmt.Errorf("delete webhook '%s': %w", w.Name, err)
		}
		return a.printDone(w, w.ID.String(), w.Name, fmt.Sprintf("Deleted webhook %s", w.ID))
	})
	return command
}

func newWebhookDeliveries(a *app) *cobra.Command {
	limit := 50
	command := webhookArgument(a, &cobra.Command{
		Use:     "deliveries WEBHOOK",
		Short:   "List what waits for a webhook and what was delivered",
		Long:    "List what waits for a webhook, then what was delivered or given up, the newest first. The last 500 of those are kept.",
		Example: "  sluice webhook deliveries alerts --limit 10",
	})
	command.Flags().IntVar(&limit, "limit", limit, "how many at most, up to 500")
	command.RunE = onWebhook(a, func(ctx context.Context, c *client.Client, w *api.Webhook, _ []string) error {
		all, err := c.WebhookDeliveries(ctx, w.ID, limit)
		if err != nil {
			return err
		}
		return printList(a, list[api.WebhookDelivery]{
			columns: []column[api.WebhookDelivery]{
				{header: "ID", sgr: sgrCyan, cell: func(d api.WebhookDelivery, _ bool) string { return d.ID.String() }},
				{header: "Status", cell: func(d api.WebhookDelivery, _ bool) string { return d.Status }},
				{header: "Attempts", right: true, cell: func(d api.WebhookDelivery, _ bool) string { return strconv.Itoa(d.Attempts) }},
				{header: "Flow Run", fold: true, sgr: sgrGreen, cell: func(d api.WebhookDelivery, _ bool) string {
					if d.Test {
						return "(test)"
					}
					return text(d.FlowRunName)
				}},
				{header: "State", cell: func(d api.WebhookDelivery, _ bool) string { return text(d.StateName) }},
				{header: "Error", fold: true, cell: func(d api.WebhookDelivery, _ bool) string { return text(d.Error) }},
			},
			items: all,
			id:    func(d api.WebhookDelivery) string { return d.ID.String() },
			name:  func(d api.WebhookDelivery) string { return d.ID.String() },
		})
	})
	return command
}

func newWebhookTest(a *app) *cobra.Command {
	command := webhookArgument(a, &cobra.Command{
		Use:     "test WEBHOOK",
		Short:   "Send a test message",
		Long:    "Send a message that tells of no run, once. `sluice webhook deliveries` shows what came of it.",
		Example: "  sluice webhook test alerts",
	})
	command.RunE = onWebhook(a, func(ctx context.Context, c *client.Client, w *api.Webhook, _ []string) error {
		d, err := c.TestWebhook(ctx, w.ID)
		if err != nil {
			return fmt.Errorf("test webhook '%s': %w", w.Name, err)
		}
		return a.printDone(d, d.ID.String(), d.ID.String(), fmt.Sprintf("Test message %s is on its way; see: sluice webhook deliveries %s", d.ID, w.Name))
	})
	return command
}

func newWebhookRedeliver(a *app) *cobra.Command {
	command := &cobra.Command{
		Use:               "redeliver WEBHOOK DELIVERY",
		Short:             "Send a message again",
		Long:              "Send a message of the log again, under the id it had: receivers that have it already can tell.",
		Example:           "  sluice webhook redeliver alerts 0190a7b2-6f1e-7c3d-8a55-0d6a4be1f0aa",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: completeNames(a, webhookNames),
	}
	command.RunE = onWebhook(a, func(ctx context.Context, c *client.Client, w *api.Webhook, args []string) error {
		id, err := api.ParseID(args[0])
		if err != nil {
			return usagef("'%s' is not the id of a delivery; sluice webhook deliveries %s lists them", args[0], w.Name)
		}
		d, err := c.RedeliverWebhook(ctx, w.ID, id)
		if err != nil {
			if api.IsNotFound(err) {
				return notFoundf("sluice webhook deliveries "+shellWord(w.Name), "webhook '%s' has no delivery %s", w.Name, id)
			}
			return fmt.Errorf("redeliver: %w", err)
		}
		return a.printDone(d, d.ID.String(), d.ID.String(), fmt.Sprintf("Message %s waits for delivery", d.ID))
	})
	return command
}
