package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

// runSelection says which flow runs a command is about, by criteria.
type runSelection struct {
	flows, deployments, states, tags []string
	types                            []string // more states, until check
	filter                           string
	all                              bool
}

// registerCriteria adds the criteria that a list takes.
func (s *runSelection) registerCriteria(a *app, command *cobra.Command) {
	flags := command.Flags()
	flags.StringArrayVar(&s.flows, "flow-name", nil, "only runs of this flow (repeatable)")
	flags.StringArrayVarP(&s.deployments, "deployment", "d", nil, "only runs of this deployment (name or id, repeatable)")
	flags.StringArrayVar(&s.states, "state", nil, "only runs in this state, by type or name (repeatable)")
	flags.StringArrayVar(&s.types, "state-type", nil, "the same as --state")
	flags.StringArrayVarP(&s.tags, "tag", "t", nil, "only runs with this tag (repeatable: with all of them)")
	// It fails only for a flag that does not exist; the command tree test completes every flag.
	_ = command.RegisterFlagCompletionFunc("deployment", completeNames(a, deploymentNames))
	completeWords(command, "state-type", stateNames()...)
	completeWords(command, "state", append(stateNames(), namedStates...)...)
}

// register adds what a command takes that changes many runs.
func (s *runSelection) register(a *app, command *cobra.Command) {
	s.registerCriteria(a, command)
	command.Flags().StringVar(&s.filter, "filter", "", "filter as a JSON object of the API, @FILE or - for stdin")
	command.Flags().BoolVar(&s.all, "all", false, "all flow runs there are")
}

// given reports whether there is any criterion.
func (s *runSelection) given() bool {
	return s.all || s.filter != "" || len(s.flows)+len(s.deployments)+len(s.states)+len(s.types)+len(s.tags) > 0
}

// check finds what is wrong before a server is asked.
func (s *runSelection) check() error {
	s.states, s.types = append(s.states, s.types...), nil
	criteria := len(s.flows)+len(s.deployments)+len(s.states)+len(s.tags) > 0
	switch {
	case s.all && (criteria || s.filter != ""):
		return usagef("--all means every flow run there is; leave it out to select by criteria")
	case s.filter != "" && criteria:
		return usagef("--filter says all there is to say; leave the other criteria out, or write them into it")
	}
	_, err := stateFilter(s.states)
	return err
}

// filters are the criteria as the API takes them.
func (s *runSelection) filters(ctx context.Context, a *app, c *client.Client) (filters api.Filters, err error) {
	if s.filter != "" {
		return filters, s.readFilter(a, &filters)
	}
	if len(s.flows) > 0 {
		filters.Flows = &api.FlowFilter{Name: &api.NameAny{Any: s.flows}}
	}
	runs := &api.FlowRunFilter{}
	if runs.State, err = stateFilter(s.states); err != nil {
		return filters, err
	}
	for _, ref := range s.deployments {
		deployment, err := findDeployment(ctx, c, ref)
		if err != nil {
			return filters, err
		}
		if runs.DeploymentID == nil {
			runs.DeploymentID = &api.IDAnyNull{}
		}
		runs.DeploymentID.Any = append(runs.DeploymentID.Any, deployment.ID)
	}
	if len(s.tags) > 0 {
		runs.Tags = &api.TagsAll{All: s.tags}
	}
	if *runs != (api.FlowRunFilter{}) {
		filters.FlowRuns = runs
	}
	return filters, nil
}

func (s *runSelection) readFilter(a *app, into *api.Filters) error {
	content := []byte(s.filter)
	var err error
	if s.filter == "-" {
		content, err = io.ReadAll(a.in)
	} else if path, found := strings.CutPrefix(s.filter, "@"); found {
		content, err = os.ReadFile(path)
	}
	if err != nil {
		return fmt.Errorf("read --filter: %w", err)
	}
	decoder := json.NewDecoder(strings.NewReader(string(content)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return usagef(`--filter is no filter: %w; it is like {"flow_runs": {"state": {"name": {"any_": ["Late"]}}}}`, err)
	}
	return nil
}
