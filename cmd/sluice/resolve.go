package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

const (
	// minPrefix is the fewest characters of an id that are tried as its prefix; fewer would meet names by accident.
	minPrefix = 4
	// prefixWindow is how many of the newest flow runs are searched for a prefix of an id.
	prefixWindow = 2000
	// maxCandidates bounds the lists inside errors.
	maxCandidates = 20
)

// candidate is an object that a reference may mean.
type candidate struct {
	id   api.ID
	name string
}

func (c candidate) String() string { return c.name + "  " + c.id.String() }

// idPrefix returns ref as hexadecimal digits, "" if it cannot begin an id.
func idPrefix(ref string) string {
	digits := strings.ToLower(strings.ReplaceAll(ref, "-", ""))
	if len(digits) < minPrefix || len(digits) > 32 || strings.Trim(digits, "0123456789abcdef") != "" {
		return ""
	}
	return digits
}

func hasPrefix(id api.ID, prefix string) bool {
	return prefix != "" && strings.HasPrefix(strings.ReplaceAll(id.String(), "-", ""), prefix)
}

// choose picks the one candidate that has the name or, if none has it, an id with the prefix. all is what exists.
func choose(what, ref, listCommand string, all []candidate) (candidate, error) {
	var matches []candidate
	for _, c := range all {
		if c.name == ref {
			matches = append(matches, c)
		}
	}
	if prefix := idPrefix(ref); len(matches) == 0 && prefix != "" {
		for _, c := range all {
			if hasPrefix(c.id, prefix) {
				matches = append(matches, c)
			}
		}
	}
	switch len(matches) {
	case 1:
		return matches[0], nil
	case 0:
		hint := "there is none yet; see " + listCommand
		if len(all) > 0 {
			var names []string
			for _, c := range all[:min(len(all), maxCandidates)] {
				names = append(names, c.name)
			}
			hint = fmt.Sprintf("one of these: %s", strings.Join(names, ", "))
			if len(all) > maxCandidates {
				hint += ", ...; all of them with " + listCommand
			}
		}
		return candidate{}, notFoundf(hint, "there is no %s '%s'", what, ref)
	}
	return candidate{}, ambiguous(what, ref, matches)
}

func ambiguous(what, ref string, matches []candidate) error {
	var lines []string
	for _, c := range matches[:min(len(matches), maxCandidates)] {
		lines = append(lines, c.String())
	}
	if len(matches) > maxCandidates {
		lines = append(lines, "...")
	}
	err := usagef("'%s' means %d %ss:\n%s", ref, len(matches), what, strings.Join(lines, "\n"))
	err.hint = "one of their ids, or more of it"
	return err
}

// findWorkQueue returns the queue of a name, id or unique prefix of an id.
func findWorkQueue(ctx context.Context, c *client.Client, ref string) (*api.WorkQueue, error) {
	if id, err := api.ParseID(ref); err == nil {
		queue, err := c.WorkQueue(ctx, id)
		if !api.IsNotFound(err) {
			return queue, err
		}
	} else if queue, err := c.WorkQueueByName(ctx, ref); !api.IsNotFound(err) {
		return queue, err
	}
	queues, err := client.Each(func(page api.Page) ([]api.WorkQueue, error) { return c.FilterWorkQueues(ctx, page) })
	if err != nil {
		return nil, err
	}
	var all []candidate
	for _, queue := range queues {
		all = append(all, candidate{queue.ID, queue.Name})
	}
	chosen, err := choose("work queue", ref, "sluice work-queue ls", all)
	if err != nil {
		return nil, err
	}
	for i := range queues {
		if queues[i].ID == chosen.id {
			return &queues[i], nil
		}
	}
	return c.WorkQueue(ctx, chosen.id)
}

// namedDeployment is a deployment with its flow's name.
type namedDeployment struct {
	api.Deployment
	flow string
}

// title returns flow/deployment.
func (d namedDeployment) title() string { return d.flow + "/" + d.Name }

// findDeployment returns the deployment of flow/name, id, unique prefix of an id, or a name that only one has.
func findDeployment(ctx context.Context, c *client.Client, ref string) (*namedDeployment, error) {
	var deployment *api.Deployment
	var err error
	if flow, name, found := strings.Cut(ref, "/"); found {
		if deployment, err = c.DeploymentByName(ctx, flow, name); err == nil {
			return &namedDeployment{*deployment, flow}, nil
		}
	} else if id, parseErr := api.ParseID(ref); parseErr == nil {
		deployment, err = c.Deployment(ctx, id)
	}
	if err != nil && !api.IsNotFound(err) {
		return nil, err
	}
	if deployment != nil {
		flow, err := c.Flow(ctx, deployment.FlowID)
		if err != nil {
			return nil, err
		}
		return &namedDeployment{*deployment, flow.Name}, nil
	}
	deployments, err := allDeployments(ctx, c, api.Filters{})
	if err != nil {
		return nil, err
	}
	var byTitle, byName []candidate
	for _, d := range deployments {
		byTitle = append(byTitle, candidate{d.ID, d.title()})
		if d.Name == ref {
			byName = append(byName, candidate{d.ID, d.title()})
		}
	}
	var chosen candidate
	switch len(byName) {
	case 0:
		chosen, err = choose("deployment", ref, "sluice deployment ls", byTitle)
	case 1:
		chosen = byName[0]
	default:
		err = ambiguous("deployment", ref, byName)
	}
	if err != nil {
		return nil, err
	}
	for i := range deployments {
		if deployments[i].ID == chosen.id {
			return &deployments[i], nil
		}
	}
	return nil, notFoundf("", "there is no deployment '%s'", ref)
}

// allDeployments lists deployments with the names of their flows.
func allDeployments(ctx context.Context, c *client.Client, filters api.Filters) ([]namedDeployment, error) {
	deployments, err := client.Each(func(page api.Page) ([]api.Deployment, error) {
		return c.FilterDeployments(ctx, api.FilterRequest{Filters: filters, Page: page})
	})
	if err != nil {
		return nil, err
	}
	var ids []api.ID
	for _, d := range deployments {
		ids = append(ids, d.FlowID)
	}
	names, err := flowNames(ctx, c, ids)
	if err != nil {
		return nil, err
	}
	named := make([]namedDeployment, len(deployments))
	for i, d := range deployments {
		named[i] = namedDeployment{d, names[d.FlowID]}
	}
	return named, nil
}

// flowNames reads the names of flows.
func flowNames(ctx context.Context, c *client.Client, ids []api.ID) (map[api.ID]string, error) {
	names := map[api.ID]string{}
	var distinct []api.ID
	for _, id := range ids {
		if _, seen := names[id]; !seen {
			names[id] = ""
			distinct = append(distinct, id)
		}
	}
	for len(distinct) > 0 {
		part := distinct[:min(len(distinct), api.MaxPage)]
		distinct = distinct[len(part):]
		flows, err := c.FilterFlows(ctx, api.FilterRequest{Filters: api.Filters{Flows: &api.FlowFilter{ID: &api.IDAny{Any: part}}}})
		if err != nil {
			return nil, err
		}
		for _, flow := range flows {
			names[flow.ID] = flow.Name
		}
	}
	return names, nil
}

// findFlowRun returns the run of an id, a name that only one has, or a prefix of an id that only one of the newest has.
func findFlowRun(ctx context.Context, c *client.Client, ref string) (*api.FlowRun, error) {
	if id, err := api.ParseID(ref); err == nil {
		run, err := c.FlowRun(ctx, id)
		if api.IsNotFound(err) {
			return nil, notFoundf("sluice flow-run ls", "there is no flow run '%s'", ref)
		}
		return run, err
	}
	runs, err := c.FilterFlowRuns(ctx, api.FilterRequest{
		Filters: api.Filters{FlowRuns: &api.FlowRunFilter{Name: &api.NameAny{Any: []string{ref}}}},
	})
	if err != nil {
		return nil, err
	}
	hint := "sluice flow-run ls"
	if prefix := idPrefix(ref); len(runs) == 0 && prefix != "" {
		hint = fmt.Sprintf("a whole id; only the newest %d runs are searched for the beginning of one", prefixWindow)
		limit := api.MaxPage
		for offset := 0; offset < prefixWindow; offset += limit {
			page, err := c.FilterFlowRuns(ctx, api.FilterRequest{Page: api.Page{Limit: &limit, Offset: offset}})
			if err != nil {
				return nil, err
			}
			for _, run := range page {
				if hasPrefix(run.ID, prefix) {
					runs = append(runs, run)
				}
			}
			if len(page) < limit {
				break
			}
		}
	}
	switch len(runs) {
	case 0:
		return nil, notFoundf(hint, "there is no flow run '%s'", ref)
	case 1:
		return &runs[0], nil
	}
	var matches []candidate
	for _, run := range runs {
		matches = append(matches, candidate{run.ID, run.Name})
	}
	return nil, ambiguous("flow run", ref, matches)
}

// findStorage returns the storage block of a name, id or unique prefix of an id.
func findStorage(ctx context.Context, c *client.Client, ref string) (*api.Block, error) {
	blocks, err := storageBlocks(ctx, c)
	if err != nil {
		return nil, err
	}
	if id, err := api.ParseID(ref); err == nil {
		ref = id.String()
	}
	var all []candidate
	for _, block := range blocks {
		all = append(all, candidate{block.ID, block.Name})
	}
	chosen, err := choose("storage", ref, "sluice storage ls", all)
	if err != nil {
		return nil, err
	}
	for i := range blocks {
		if blocks[i].ID == chosen.id {
			return &blocks[i], nil
		}
	}
	return nil, notFoundf("", "there is no storage '%s'", ref)
}

func storageBlocks(ctx context.Context, c *client.Client) ([]api.Block, error) {
	kind := api.BlockTypeStorage
	return client.Each(func(page api.Page) ([]api.Block, error) {
		return c.FilterBlocks(ctx, api.BlockFilterRequest{BlockSpecType: &kind, Page: page})
	})
}

// completionTime bounds how long the shell waits for names from the API.
const completionTime = 250 * time.Millisecond

// completeNames completes one argument with names from the API; without a server it offers nothing.
func completeNames(a *app, names func(context.Context, *client.Client) ([]string, error)) cobra.CompletionFunc {
	return func(command *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		const directive = cobra.ShellCompDirectiveNoFileComp
		if len(args) > 0 || a.loadSettings(command) != nil {
			return nil, directive
		}
		c, err := a.connect(0)
		if err != nil {
			return nil, directive
		}
		ctx, cancel := context.WithTimeout(command.Context(), completionTime)
		defer cancel()
		offered, err := names(ctx, c)
		if err != nil {
			return nil, directive
		}
		return offered, directive
	}
}

func workQueueNames(ctx context.Context, c *client.Client) ([]string, error) {
	queues, err := c.FilterWorkQueues(ctx, api.Page{})
	var names []string
	for _, queue := range queues {
		names = append(names, queue.Name)
	}
	return names, err
}

func deploymentNames(ctx context.Context, c *client.Client) ([]string, error) {
	deployments, err := allDeployments(ctx, c, api.Filters{})
	var names []string
	for _, d := range deployments {
		names = append(names, d.title())
	}
	return names, err
}

func flowRunNames(ctx context.Context, c *client.Client) ([]string, error) {
	runs, err := c.FilterFlowRuns(ctx, api.FilterRequest{})
	var names []string
	for _, run := range runs {
		names = append(names, run.Name)
	}
	return names, err
}

func storageNames(ctx context.Context, c *client.Client) ([]string, error) {
	blocks, err := storageBlocks(ctx, c)
	var names []string
	for _, block := range blocks {
		names = append(names, block.Name)
	}
	return names, err
}
