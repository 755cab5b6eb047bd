package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

func newWorkQueueCommand(a *app) *cobra.Command {
	return group("work-queue", "Create and manage work queues",
		"Work queues collect the flow runs that their filters match; agents claim runs from them.",
		"  sluice work-queue create --tag tutorial tutorial_queue\n  sluice work-queue ls",
		newQueueCreate(a), newQueueEdit(a), newQueueList(a), onWeb(a, newQueueInspect(a), queuePage), newQueueSwitch(a, true), newQueueSwitch(a, false),
		newQueueDelete(a), newQueuePreview(a), newQueueReadRuns(a), newQueueSlots(a), newQueueSetLimit(a), newQueueClearLimit(a))
}

// queueArgument completes the names of queues for the only argument.
func queueArgument(a *app, command *cobra.Command) *cobra.Command {
	command.Args = cobra.ExactArgs(1)
	command.ValidArgsFunction = completeNames(a, workQueueNames)
	return command
}

// onQueue connects and resolves the queue of a command.
func onQueue(a *app, do func(ctx context.Context, c *client.Client, queue *api.WorkQueue, args []string) error) func(*cobra.Command, []string) error {
	return func(command *cobra.Command, args []string) error {
		c, err := a.connect(0)
		if err != nil {
			return err
		}
		queue, err := findWorkQueue(command.Context(), c, args[0])
		if err != nil {
			return err
		}
		return do(command.Context(), c, queue, args[1:])
	}
}

// filterFlags are the criteria of a queue.
type filterFlags struct {
	tags, deployments, runners []string
}

func (f *filterFlags) register(a *app, command *cobra.Command) {
	flags := command.Flags()
	flags.StringArrayVarP(&f.tags, "tag", "t", nil, "serve only runs with this tag (repeatable: with all of them)")
	flags.StringArrayVarP(&f.deployments, "deployment", "d", nil, "serve only runs of this deployment (name or id, repeatable: of any)")
	flags.StringArrayVar(&f.runners, "flow-runner", nil, "serve only runs with this type of flow runner (repeatable: any)")
	completeWords(command, "flow-runner", "universal", "subprocess", "docker", "kubernetes")
	// It fails only for a flag that does not exist; the command tree test completes every flag.
	_ = command.RegisterFlagCompletionFunc("deployment", completeNames(a, deploymentNames))
}

// apply sets the criteria that were given.
func (f *filterFlags) apply(ctx context.Context, c *client.Client, filter *api.QueueFilter) error {
	if len(f.tags) > 0 {
		filter.Tags = f.tags
	}
	if len(f.runners) > 0 {
		filter.FlowRunnerTypes = f.runners
	}
	if len(f.deployments) > 0 {
		filter.DeploymentIDs = nil
	}
	for _, ref := range f.deployments {
		deployment, err := findDeployment(ctx, c, ref)
		if err != nil {
			return err
		}
		filter.DeploymentIDs = append(filter.DeploymentIDs, deployment.ID)
	}
	return nil
}

func newQueueCreate(a *app) *cobra.Command {
	var filter filterFlags
	var description string
	var limit int
	var paused bool
	command := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a work queue",
		Long: `Create a work queue. Without criteria it serves the runs of every deployment. With -q the command prints the
bare id, for scripts.`,
		Example: "  sluice work-queue create --tag tutorial tutorial_queue\n  sluice work-queue create -q -t dev -d my-flow/nightly nightly",
		Args:    cobra.ExactArgs(1),
	}
	filter.register(a, command)
	command.Flags().StringVar(&description, "description", "", "what the queue is for")
	command.Flags().IntVar(&limit, "concurrency-limit", 0, "how many of its runs may be executed at once (default no limit)")
	command.Flags().BoolVar(&paused, "paused", false, "create it paused")
	command.RunE = func(command *cobra.Command, args []string) error {
		body := api.WorkQueueCreate{Name: args[0], Filter: &api.QueueFilter{}, Description: description, IsPaused: paused}
		if command.Flags().Changed("concurrency-limit") {
			if limit < 0 {
				return usagef("--concurrency-limit is %d; it must not be negative", limit)
			}
			body.ConcurrencyLimit = &limit
		}
		c, err := a.connect(0)
		if err != nil {
			return err
		}
		if err := filter.apply(command.Context(), c, body.Filter); err != nil {
			return err
		}
		queue, err := c.CreateWorkQueue(command.Context(), body)
		if err != nil {
			return otherwise(fmt.Errorf("create work queue '%s': %w", args[0], err), "sluice work-queue edit "+shellWord(args[0])+" changes it")
		}
		return a.printDone(queue, queue.ID.String(), queue.Name, "Created work queue "+short(queue.Name, queue.ID))
	}
	return command
}

func newQueueEdit(a *app) *cobra.Command {
	var filter filterFlags
	var name, description string
	var clear []string
	command := queueArgument(a, &cobra.Command{
		Use:   "edit QUEUE",
		Short: "Change a work queue's name, description or criteria",
		Long: `Change a work queue. A criterion given replaces that criterion; the others stay. --clear removes one. Agents that
serve the queue are not disturbed, not even by a new name.`,
		Example: "  sluice work-queue edit tutorial_queue --name lessons --tag tutorial --tag test\n  sluice work-queue edit lessons --clear tags",
	})
	filter.register(a, command)
	command.Flags().StringVar(&name, "name", "", "new name")
	command.Flags().StringVar(&description, "description", "", "new description")
	command.Flags().StringArrayVar(&clear, "clear", nil, "remove a criterion: tags, deployments, flow-runners (repeatable)")
	completeWords(command, "clear", "tags", "deployments", "flow-runners")
	command.RunE = onQueue(a, func(ctx context.Context, c *client.Client, queue *api.WorkQueue, _ []string) error {
		var update api.WorkQueueUpdate
		if command.Flags().Changed("name") {
			update.Name = api.Some(name)
		}
		if command.Flags().Changed("description") {
			update.Description = api.Some(description)
		}
		changed := queue.Filter
		for _, criterion := range clear {
			switch criterion {
			case "tags":
				changed.Tags = nil
			case "deployments":
				changed.DeploymentIDs = nil
			case "flow-runners":
				changed.FlowRunnerTypes = nil
			default:
				return usagef("--clear is '%s'; it is one of tags, deployments, flow-runners", criterion)
			}
		}
		if err := filter.apply(ctx, c, &changed); err != nil {
			return err
		}
		if len(clear)+len(filter.tags)+len(filter.deployments)+len(filter.runners) > 0 {
			update.Filter = api.Some(changed)
		}
		if update == (api.WorkQueueUpdate{}) {
			return usagef("nothing to change: give at least one flag")
		}
		return updateQueue(ctx, a, c, queue, update, "Updated work queue %s")
	})
	return command
}

// updateQueue changes a queue and prints the sentence with its id.
func updateQueue(ctx context.Context, a *app, c *client.Client, queue *api.WorkQueue, update api.WorkQueueUpdate, sentence string) error {
	if err := c.UpdateWorkQueue(ctx, queue.ID, update); err != nil {
		return fmt.Errorf("change work queue '%s': %w", queue.Name, err)
	}
	if a.structured() {
		changed, err := c.WorkQueue(ctx, queue.ID)
		if err != nil {
			return err
		}
		queue = changed
	}
	return a.printDone(queue, queue.ID.String(), queue.Name, fmt.Sprintf(sentence, queue.ID))
}

func newQueueList(a *app) *cobra.Command {
	var verbose bool
	command := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List work queues",
		Long:    "List work queues by name. Paused ones are marked with (**).",
		Example: "  sluice work-queue ls\n  sluice work-queue ls -o jsonl",
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			c, err := a.connect(0)
			if err != nil {
				return err
			}
			queues, err := client.Each(func(page api.Page) ([]api.WorkQueue, error) {
				return c.FilterWorkQueues(command.Context(), page)
			})
			if err != nil {
				return err
			}
			return printList(a, queueList(queues, verbose))
		},
	}
	command.Flags().BoolVarP(&verbose, "verbose", "v", false, "also show the filters")
	return command
}

func queueList(queues []api.WorkQueue, verbose bool) list[api.WorkQueue] {
	l := list[api.WorkQueue]{
		title:   "Work Queues",
		caption: "(**) denotes a paused queue",
		columns: []column[api.WorkQueue]{
			{header: "ID", right: true, sgr: sgrCyan, cell: func(q api.WorkQueue, _ bool) string { return q.ID.String() }},
			{header: "Name", fold: true, sgr: sgrGreen, cell: func(q api.WorkQueue, people bool) string {
				if q.IsPaused && people {
					return q.Name + " (**)"
				}
				return q.Name
			}},
			{header: "Paused", programs: true, cell: func(q api.WorkQueue, _ bool) string { return strconv.FormatBool(q.IsPaused) }},
			{header: "Concurrency Limit", sgr: sgrBlue, cell: func(q api.WorkQueue, _ bool) string {
				if q.ConcurrencyLimit == nil {
					return "None"
				}
				return strconv.Itoa(*q.ConcurrencyLimit)
			}},
		},
		items: queues,
		id:    func(q api.WorkQueue) string { return q.ID.String() },
		name:  func(q api.WorkQueue) string { return q.Name },
	}
	if verbose {
		l.columns = append(l.columns, column[api.WorkQueue]{header: "Filter", fold: true, sgr: sgrPurple,
			cell: func(q api.WorkQueue, people bool) string {
				if people {
					return filterPhrase(q.Filter)
				}
				encoded, err := json.Marshal(q.Filter)
				if err != nil {
					return err.Error()
				}
				return string(encoded)
			}})
	}
	return l
}

// filterPhrase is a filter for people.
func filterPhrase(filter api.QueueFilter) string {
	var parts []string
	add := func(name string, values []string) {
		if values != nil {
			parts = append(parts, name+" "+strings.Join(values, ", "))
		}
	}
	var deployments []string
	for _, id := range filter.DeploymentIDs {
		deployments = append(deployments, id.String())
	}
	add("tags", filter.Tags)
	add("deployments", deployments)
	add("flow runners", filter.FlowRunnerTypes)
	if parts == nil {
		return "all runs"
	}
	return strings.Join(parts, "; ")
}

func newQueueInspect(a *app) *cobra.Command {
	command := queueArgument(a, &cobra.Command{
		Use:     "inspect QUEUE",
		Short:   "Show a work queue as JSON",
		Long:    "Show everything about a work queue as JSON, or in the format of -o.",
		Example: "  sluice work-queue inspect tutorial_queue",
	})
	command.RunE = onQueue(a, func(_ context.Context, _ *client.Client, queue *api.WorkQueue, _ []string) error {
		return a.printObject(queue, queue.ID.String(), queue.Name)
	})
	return command
}

func newQueueSwitch(a *app, pause bool) *cobra.Command {
	command := &cobra.Command{
		Use:     "resume QUEUE",
		Short:   "Let a paused work queue give out runs again",
		Long:    "Let a paused work queue give out runs again.",
		Example: "  sluice work-queue resume tutorial_queue",
	}
	sentence := "Resumed work queue %s"
	if pause {
		command = &cobra.Command{
			Use:     "pause QUEUE",
			Short:   "Stop a work queue from giving out runs",
			Long:    "Stop a work queue from giving out runs. Runs that were given out go on.",
			Example: "  sluice work-queue pause tutorial_queue",
		}
		sentence = "Paused work queue %s"
	}
	command.RunE = onQueue(a, func(ctx context.Context, c *client.Client, queue *api.WorkQueue, _ []string) error {
		return updateQueue(ctx, a, c, queue, api.WorkQueueUpdate{IsPaused: api.Some(pause)}, sentence)
	})
	return queueArgument(a, command)
}

func newQueueDelete(a *app) *cobra.Command {
	command := queueArgument(a, &cobra.Command{
		Use:     "delete QUEUE",
		Short:   "Delete a work queue",
		Long:    "Delete a work queue. The runs it matched stay; runs that were given out go on.",
		Example: "  sluice work-queue delete tutorial_queue",
	})
	command.RunE = onQueue(a, func(ctx context.Context, c *client.Client, queue *api.WorkQueue, _ []string) error {
		if err := c.DeleteWorkQueue(ctx, queue.ID); err != nil {
			return fmt.Errorf("delete work queue '%s': %w", queue.Name, err)
		}
		return a.printDone(queue, queue.ID.String(), queue.Name, fmt.Sprintf("Deleted work queue %s", queue.ID))
	})
	return command
}

func newQueueSetLimit(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "set-concurrency-limit QUEUE LIMIT",
		Short:             "Bound how many runs of a queue are executed at once",
		Long:              "Bound how many runs of a queue are executed at once. 0 gives out none.",
		Example:           "  sluice work-queue set-concurrency-limit tutorial_queue 5",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: completeNames(a, workQueueNames),
		RunE: onQueue(a, func(ctx context.Context, c *client.Client, queue *api.WorkQueue, args []string) error {
			limit, err := strconv.Atoi(args[0])
			if err != nil || limit < 0 {
				return usagef("the limit is '%s'; it must be a number from 0 on", args[0])
			}
			update := api.WorkQueueUpdate{ConcurrencyLimit: api.Some(limit)}
			return updateQueue(ctx, a, c, queue, update, "Concurrency limit of "+strconv.Itoa(limit)+" set on work queue %s")
		}),
	}
}

func newQueueClearLimit(a *app) *cobra.Command {
	command := queueArgument(a, &cobra.Command{
		Use:     "clear-concurrency-limit QUEUE",
		Short:   "Remove a queue's concurrency limit",
		Long:    "Remove a queue's concurrency limit.",
		Example: "  sluice work-queue clear-concurrency-limit tutorial_queue",
	})
	command.RunE = onQueue(a, func(ctx context.Context, c *client.Client, queue *api.WorkQueue, _ []string) error {
		update := api.WorkQueueUpdate{ConcurrencyLimit: api.Null[int]()}
		return updateQueue(ctx, a, c, queue, update, "Concurrency limits removed on work queue %s")
	})
	return command
}

func newQueuePreview(a *app) *cobra.Command {
	var hours float64
	command := queueArgument(a, &cobra.Command{
		Use:     "preview QUEUE",
		Short:   "Show the runs a work queue will give out",
		Long:    "Show the runs a work queue will give out in the next hours. Nothing is claimed. Late runs are marked with (**).",
		Example: "  sluice work-queue preview tutorial_queue --hours 12",
	})
	command.Flags().Float64Var(&hours, "hours", 1, "how far to look ahead")
	command.RunE = onQueue(a, func(ctx context.Context, c *client.Client, queue *api.WorkQueue, _ []string) error {
		now := time.Now()
		before := api.At(now.Add(time.Duration(hours * float64(time.Hour))))
		runs, err := c.WorkQueueRuns(ctx, queue.ID, api.GetRuns{ScheduledBefore: &before})
		if err != nil {
			return fmt.Errorf("preview work queue '%s': %w", queue.Name, err)
		}
		return printList(a, dueList(a, runs, now))
	})
	return command
}

func newQueueReadRuns(a *app) *cobra.Command {
	var limit int
	command := queueArgument(a, &cobra.Command{
		Use:     "read-runs QUEUE",
		Short:   "Show the runs of a work queue that are due now",
		Long:    "Show the runs a work queue would give out now, as many as its limit leaves room for. Nothing is claimed.",
		Example: "  sluice work-queue read-runs tutorial_queue",
	})
	command.Flags().IntVar(&limit, "limit", api.MaxPage, "how many at most")
	command.RunE = onQueue(a, func(ctx context.Context, c *client.Client, queue *api.WorkQueue, _ []string) error {
		runs, err := c.WorkQueueRuns(ctx, queue.ID, api.GetRuns{Limit: &limit})
		if err != nil {
			return fmt.Errorf("read the runs of work queue '%s': %w", queue.Name, err)
		}
		return printList(a, dueList(a, runs, time.Now()))
	})
	return command
}

func newQueueSlots(a *app) *cobra.Command {
	command := queueArgument(a, &cobra.Command{
		Use:     "slots QUEUE",
		Short:   "Show which flow runs occupy a work queue",
		Long:    "Show which flow runs occupy a work queue: those of its runs that are Pending or Running, and who executes them.",
		Example: "  sluice work-queue slots tutorial_queue",
	})
	command.RunE = onQueue(a, func(ctx context.Context, c *client.Client, queue *api.WorkQueue, _ []string) error {
		var slots []api.QueueSlot
		limit, cursor := "no limit", ""
		for {
			page, err := c.QueueSlots(ctx, queue.ID, cursor)
			if err != nil {
				return fmt.Errorf("read the slots of work queue '%s': %w", queue.Name, err)
			}
			slots = append(slots, page.Slots...)
			if page.ConcurrencyLimit != nil {
				limit = fmt.Sprintf("the limit is %d", *page.ConcurrencyLimit)
			}
			if page.NextCursor == nil {
				break
			}
			cursor = *page.NextCursor
		}
		return printList(a, list[api.QueueSlot]{
			title:   "Slots of " + queue.Name,
			caption: fmt.Sprintf("%d in use; %s", len(slots), limit),
			columns: []column[api.QueueSlot]{
				{header: "Run ID", right: true, sgr: sgrCyan, cell: func(s api.QueueSlot, _ bool) string { return s.FlowRunID.String() }},
				{header: "Name", fold: true, sgr: sgrGreen, cell: func(s api.QueueSlot, _ bool) string { return s.FlowRunName }},
				{header: "State", cell: func(s api.QueueSlot, _ bool) string { return s.StateName }},
				{header: "Since", sgr: sgrYellow, cell: func(s api.QueueSlot, people bool) string { return a.moment(s.Since, people) }},
				{header: "Owner", fold: true, sgr: sgrBlue, cell: func(s api.QueueSlot, _ bool) string {
					if s.LeaseOwner == nil {
						return "no lease"
					}
					return *s.LeaseOwner
				}},
			},
			items: slots,
			id:    func(s api.QueueSlot) string { return s.FlowRunID.String() },
			name:  func(s api.QueueSlot) string { return s.FlowRunName },
		})
	})
	return command
}

// dueList shows runs by when they are to start.
func dueList(a *app, runs []api.FlowRun, now time.Time) list[api.FlowRun] {
	return list[api.FlowRun]{
		caption: "(**) denotes a late run",
		columns: []column[api.FlowRun]{
			{header: "Scheduled Start Time", right: true, sgr: sgrYellow, cell: func(r api.FlowRun, people bool) string {
				if r.NextScheduledStartTime == nil {
					return ""
				}
				if !people {
					return a.moment(*r.NextScheduledStartTime, false)
				}
				shown := a.moment(*r.NextScheduledStartTime, true)
				if a.timeFormat == "" {
					shown = r.NextScheduledStartTime.Local().Format("2006-01-02 15:04:05 MST") + " (" + shown + ")"
				}
				if r.NextScheduledStartTime.Before(now) {
					shown += " (**)"
				}
				return shown
			}},
			{header: "Run ID", sgr: sgrCyan, cell: func(r api.FlowRun, _ bool) string { return r.ID.String() }},
			{header: "Name", fold: true, sgr: sgrGreen, cell: func(r api.FlowRun, _ bool) string { return r.Name }},
			{header: "Deployment ID", sgr: sgrBlue, cell: func(r api.FlowRun, _ bool) string {
				if r.DeploymentID == nil {
					return ""
				}
				return r.DeploymentID.String()
			}},
		},
		items: runs,
		id:    func(r api.FlowRun) string { return r.ID.String() },
		name:  func(r api.FlowRun) string { return r.Name },
	}
}
