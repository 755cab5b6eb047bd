package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

func newEventCommand(a *app) *cobra.Command {
	return group("event", "Follow what happens",
		"Follow the changes of runs, deployments, work queues, agents and jobs as they happen.",
		"  sluice event stream\n  sluice event stream --topic flow_run,job -o jsonl",
		newEventStream(a))
}

var eventTopics = []string{api.EventFlowRun, api.EventTaskRun, api.EventDeployment, api.EventWorkQueue, api.EventAgent, api.EventJob}

func newEventStream(a *app) *cobra.Command {
	var wanted client.EventQuery
	var run, deployment, from string
	command := &cobra.Command{
		Use:   "stream",
		Short: "Follow what changes, until Ctrl-C",
		Long: `Follow what changes from now on, until Ctrl-C. When a node goes away the stream goes on at another one, without a gap. With
-o jsonl each event is one line of JSON with its id; --from that id goes on behind it, later and at any node.`,
		Example: "  sluice event stream --topic flow_run,task_run --run tan-lion\n  sluice event stream --deployment etl/nightly -o jsonl",
		Args:    cobra.NoArgs,
	}
	flags := command.Flags()
	flags.StringSliceVar(&wanted.Topics, "topic", []string{api.EventFlowRun}, "kinds of objects: "+strings.Join(eventTopics, ", "))
	flags.StringVar(&run, "run", "", "only this flow run and its task runs (name or id)")
	flags.StringVarP(&deployment, "deployment", "d", "", "only this deployment and its flow runs (name or id)")
	flags.StringVar(&from, "from", "", "the id of an event, to go on behind it")
	flags.BoolVar(&wanted.Deleted, "deleted", false, "also what is deleted")
	completeWords(command, "topic", eventTopics...)
	// It fails only for a flag that does not exist; the command tree test completes every flag.
	_ = command.RegisterFlagCompletionFunc("deployment", completeNames(a, deploymentNames))
	command.RunE = func(command *cobra.Command, _ []string) error {
		for _, topic := range wanted.Topics {
			if !slices.Contains(eventTopics, topic) {
				return usagef("--topic is '%s'; it is one of %s", topic, strings.Join(eventTopics, ", "))
			}
		}
		return a.streamEvents(command.Context(), wanted, run, deployment, from)
	}
	return command
}

// shownEvent is an event in the output of programs.
type shownEvent struct {
	ID   string          `json:"id"`
	Kind string          `json:"kind"`
	Data json.RawMessage `json:"data"`
}

func (a *app) streamEvents(ctx context.Context, wanted client.EventQuery, run, deployment, from string) error {
	quick, err := a.connect(0)
	if err != nil {
		return err
	}
	if run != "" {
		found, err := findFlowRun(ctx, quick, run)
		if err != nil {
			return err
		}
		wanted.FlowRunID = &found.ID
	}
	if deployment != "" {
		found, err := findDeployment(ctx, quick, deployment)
		if err != nil {
			return err
		}
		wanted.DeploymentID = &found.ID
	}
	// Whether there is a server is said at once; one that goes away later is waited for.
	if err := quick.Health(ctx); err != nil {
		return err
	}
	c, err := a.connect(watchPatience)
	if err != nil {
		return err
	}
	defer c.Close()
	err = c.StreamEvents(ctx, wanted, from, func(e client.Event) error { return a.showEvent(e) })
	if ctx.Err() != nil {
		return interrupted(err)
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("follow the events: %w", err)
	}
	return nil
}

func (a *app) showEvent(e client.Event) error {
	if a.structured() || a.output == formatJSONL {
		return a.printJSONLine(shownEvent{e.ID, e.Kind, e.Data})
	}
	if e.Kind == api.EventReset {
		a.note("events were missed: what was listed before may be out of date")
		return nil
	}
	var data struct {
		ID        api.ID   `json:"id"`
		Name      string   `json:"name"`
		StateName string   `json:"state_name"`
		Action    string   `json:"action"`
		Status    string   `json:"status"`
		Done      int64    `json:"done"`
		Total     int64    `json:"total"`
		Timestamp api.Time `json:"timestamp"`
		Deleted   bool     `json:"deleted"`
	}
	if err := json.Unmarshal(e.Data, &data); err != nil {
		return fmt.Errorf("decode event: %w", err)
	}
	what, name := data.StateName, data.Name
	switch {
	case data.Deleted:
		what = "deleted"
	case e.Kind == api.EventJob:
		name, what = data.Action, fmt.Sprintf("%s, %d of %d", data.Status, data.Done, data.Total)
	case what == "":
		what = "changed"
	}
	when := data.Timestamp.String()
	if a.outTTY {
		when = data.Timestamp.Local().Format(time.TimeOnly)
	}
	fmt.Fprintf(a.out, "%s\t%s\t%s\t%s\t%s\n", when, e.Kind, data.ID, strings.Map(printable, name), what)
	return nil
}
