package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

// argumentNames offer what the first argument of a command may name, by the word that stands for it in the command's use.
var argumentNames = map[string]func(context.Context, *client.Client) ([]string, error){
	"TASK_RUN": taskRunNames,
	"TAG":      limitTags,
	"JOB":      jobIDs,
	"SEARCH":   searchNames,
	"TOKEN":    tokenNames,
	"NODE":     nodeNames,
}

// completeArguments has the shell complete the arguments of commands that name something and say nothing of it themselves.
func completeArguments(a *app, command *cobra.Command) {
	if words := strings.Fields(command.Use); len(words) > 1 && command.ValidArgsFunction == nil && command.Annotations[namesNew] == "" {
		if names := argumentNames[strings.Trim(words[1], "[].")]; names != nil {
			command.ValidArgsFunction = completeNames(a, names)
		}
	}
	for _, child := range command.Commands() {
		completeArguments(a, child)
	}
}

// namesNew marks commands whose arguments name what does not exist yet.
const namesNew = "names-new"

func taskRunNames(ctx context.Context, c *client.Client) ([]string, error) {
	runs, err := c.FilterTaskRuns(ctx, api.FilterRequest{})
	var names []string
	for _, run := range runs {
		names = append(names, run.Name)
	}
	return names, err
}

func limitTags(ctx context.Context, c *client.Client) ([]string, error) {
	limits, err := c.FilterConcurrencyLimits(ctx, api.Page{})
	var tags []string
	for _, limit := range limits {
		tags = append(tags, limit.Tag)
	}
	return tags, err
}

// jobIDs are described to the shell by what the jobs do.
func jobIDs(ctx context.Context, c *client.Client) ([]string, error) {
	jobs, err := c.FilterJobs(ctx, api.Page{})
	var ids []string
	for _, job := range jobs {
		ids = append(ids, cobra.CompletionWithDesc(job.ID.String(), string(job.Action)+", "+string(job.Status)))
	}
	return ids, err
}

func searchNames(ctx context.Context, c *client.Client) ([]string, error) {
	searches, err := c.FilterSavedSearches(ctx, api.Page{})
	var names []string
	for _, search := range searches {
		names = append(names, search.Name)
	}
	return names, err
}

func tokenNames(ctx context.Context, c *client.Client) ([]string, error) {
	tokens, err := c.FilterTokens(ctx, api.TokenFilterRequest{})
	var names []string
	for _, token := range tokens {
		names = append(names, token.Name)
	}
	return names, err
}

func nodeNames(ctx context.Context, c *client.Client) ([]string, error) {
	cluster, err := c.Cluster(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, member := range cluster.Members {
		names = append(names, member.Name)
	}
	return names, nil
}
