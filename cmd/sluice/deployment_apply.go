package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/agent/program"
	"github.com/sluice-dev/sluice/api"
)

// specFiles are the files that apply and plan read: arguments and -f mean the same.
func specFiles(command *cobra.Command, files *[]string) {
	command.Flags().StringArrayVarP(files, "file", "f", nil, "file with specifications, or - for the standard input (repeatable)")
	command.ValidArgsFunction = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return []string{"py", "yaml", "yml", "json"}, cobra.ShellCompDirectiveFilterFileExt
	}
}

func (a *app) specsOf(ctx context.Context, files []string) ([]spec, error) {
	if len(files) == 0 {
		return nil, usagef("name a file with specifications, or -f - for the standard input")
	}
	var all []spec
	for _, path := range files {
		specs, err := a.loadSpecs(ctx, path)
		if err != nil {
			return nil, fmt.Errorf("load deployment specifications: %w", err)
		}
		all = append(all, specs...)
	}
	if len(all) == 0 {
		return nil, &failure{code: exitError, err: fmt.Errorf("%s describes no deployment", strings.Join(files, ", ")),
			hint: "make at least one DeploymentSpec(name=..., flow_location=...) in it"}
	}
	return all, nil
}

func newDeploymentApply(a *app) *cobra.Command {
	var files []string
	var revision string
	command := &cobra.Command{
		Use:   "apply [FILE...]",
		Short: "Make deployments be as specifications say",
		Long: `Make deployments be as Python, YAML or JSON files say. Applying what is there already changes nothing; a
deployment that is not
in the files stays. With --if-revision a change is refused when somebody else changed the deployment since the plan.`,
		Example: `  sluice deployment apply deployments.yaml
  cat deployment.json | sluice deployment apply -f -
  sluice deployment apply nightly.yaml --if-revision 1042`,
	}
	specFiles(command, &files)
	command.Flags().StringVar(&revision, "if-revision", "", "the revision that the one deployment must have, as plan shows it; 0: it must be new")
	command.RunE = func(command *cobra.Command, args []string) error {
		specs, err := a.specsOf(command.Context(), append(args, files...))
		if err != nil {
			return err
		}
		if revision != "" && len(specs) != 1 {
			return usagef("--if-revision is for one deployment; the files describe %d", len(specs))
		}
		return a.makeDeployments(command.Context(), specs, revision)
	}
	return command
}

// planned is the plan of one deployment with its name, for people and programs.
type planned struct {
	Name string `json:"name"`
	api.DeploymentPlan
}

func newDeploymentPlan(a *app) *cobra.Command {
	var files []string
	check := false
	command := &cobra.Command{
		Use:   "plan [FILE...]",
		Short: "Say what applying specifications would change",
		Long: `Say what "sluice deployment apply" would create or change, field by field, with the next fire times. Nothing is changed. The
revision is for apply --if-revision.`,
		Example: "  sluice deployment plan deployments.yaml\n  sluice deployment plan --check deployments.yaml || echo not up to date",
	}
	specFiles(command, &files)
	command.Flags().BoolVar(&check, "check", false, "exit with 1 when there is something to change")
	command.RunE = func(command *cobra.Command, args []string) error {
		ctx := command.Context()
		specs, err := a.specsOf(ctx, append(args, files...))
		if err != nil {
			return err
		}
		c, err := a.connect(0)
		if err != nil {
			return err
		}
		creator := &deploymentCreator{app: a, client: c}
		plans := []planned{}
		different := 0
		for i := range specs {
			plan, err := creator.plan(ctx, &specs[i])
			if err != nil {
				return err
			}
			if plan.Action != api.PlanUnchanged {
				different++
			}
			plans = append(plans, *plan)
		}
		if a.structured() || a.quiet {
			err = printList(a, list[planned]{items: plans, id: func(p planned) string { return p.Name }, name: func(p planned) string { return p.Name }})
		} else {
			for _, p := range plans {
				a.printPlan(p)
			}
		}
		if err == nil && check && different > 0 {
			err = &failure{code: exitError, err: fmt.Errorf("%d of %d deployments are not as specified", different, len(plans)), hint: "run `sluice deployment apply`"}
		}
		return err
	}
	return command
}

// plan asks what creating a deployment would change. Code is compared, not written.
func (d *deploymentCreator) plan(ctx context.Context, s *spec) (*planned, error) {
	if s.Error != nil {
		return nil, s.Error
	}
	flow, err := d.client.FlowByName(ctx, s.FlowName)
	if api.IsNotFound(err) {
		flow, err = &api.Flow{ID: api.NewID(), Name: s.FlowName}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for flow '%s': %w", s.FlowName, err)
	}
	existing, err := d.client.DeploymentByName(ctx, flow.Name, s.Name)
	if api.IsNotFound(err) {
		existing, err = nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for deployment '%s': %w", s.Name, err)
	}
	document, err := d.plannedCode(ctx, s, existing)
	if err != nil {
		return nil, err
	}
	body := bodyOf(s, flow.ID, document)
	if existing != nil {
		body.IsScheduleActive = &existing.IsScheduleActive
		if existing.Schedule != nil && sameSchedule(existing.Schedule, body.Schedule) {
			body.Schedule = existing.Schedule // defaults that the server filled in are no change
		}
		if native := existing.DeploymentNative; native != nil {
			body.Schedules = slices.Clone(body.Schedules)
			for i := range body.Schedules {
				for _, s := range native.Schedules {
					if s.Name == body.Schedules[i].Name && sameSchedule(&s.Schedule, &body.Schedules[i].Schedule) {
						body.Schedules[i].Schedule = s.Schedule
					}
				}
			}
		}
	}
	plan, err := d.client.PlanDeployment(ctx, body)
	if err != nil {
		return nil, fmt.Errorf("plan deployment '%s': %w", s.Name, err)
	}
	return &planned{flow.Name + "/" + s.Name, *plan}, nil
}

// newCode stands in a plan for code that is not stored yet.
var newCode = api.DataDocument{Encoding: api.EncodingStore, Blob: "(new code)"}

func (d *deploymentCreator) plannedCode(ctx context.Context, s *spec, existing *api.Deployment) (api.DataDocument, error) {
	if s.Command != nil {
		return d.code(ctx, s, existing)
	}
	store, err := d.openStore(ctx, s.FlowStorage)
	if err != nil {
		return api.DataDocument{}, err
	}
	var file []byte
	var arguments []string
	switch {
	case s.Program != nil:
		file = s.Program.file
	case s.Script != nil:
		file, arguments = s.Script.file, s.Script.arguments
	}
	if file != nil {
		if existing != nil && existing.FlowData.Encoding == api.EncodingProgram {
			old, err := program.Parse(existing.FlowData)
			if err == nil && old.SHA256 == program.Hash(file) && slices.Equal(old.Arguments, arguments) && store.refers(old.Code) {
				return existing.FlowData, nil
			}
		}
		return newCode, nil
	}
	data, err := flowDocument(s)
	if err != nil {
		return api.DataDocument{}, err
	}
	if existing != nil && store.holds(ctx, existing.FlowData, data) {
		return existing.FlowData, nil
	}
	return newCode, nil
}

func (a *app) printPlan(p planned) {
	signs := map[string]string{api.PlanCreate: "+", api.PlanUpdate: "~", api.PlanUnchanged: "="}
	fmt.Fprintf(a.out, "%s %s (%s, revision %s)\n", signs[p.Action], p.Name, p.Action, p.Revision)
	if p.Action == api.PlanUpdate {
		for _, c := range p.Changes {
			if c.Field == "schedules" && a.printPlannedSchedules(c) {
				continue
			}
			fmt.Fprintf(a.out, "    %s: %s -> %s\n", c.Field, shorten(c.From), shorten(c.To))
		}
		if p.Replaced > 0 {
			fmt.Fprintf(a.out, "    %d waiting scheduled runs are made anew\n", p.Replaced)
		}
	}
	if len(p.Next) > 0 && p.Action != api.PlanUnchanged {
		var times []string
		for _, t := range p.Next {
			times = append(times, t.String())
		}
		fmt.Fprintf(a.out, "    next: %s\n", strings.Join(times, ", "))
	}
}

// printPlannedSchedules tells which schedules go and which come. It reports whether it could.
func (a *app) printPlannedSchedules(c api.PlannedChange) bool {
	var from, to []api.ScheduleCreate
	if json.Unmarshal(c.From, &from) != nil || json.Unmarshal(c.To, &to) != nil {
		return false
	}
	describe := func(s api.ScheduleCreate) string {
		text := describeSchedule(s.Schedule)
		if s.Name != "" {
			text = "'" + s.Name + "' " + text
		}
		if s.Active != nil && !*s.Active {
			text += ", paused"
		}
		return text
	}
	tell := func(sign string, list, other []api.ScheduleCreate) {
		for _, s := range list {
			if !slices.ContainsFunc(other, func(o api.ScheduleCreate) bool { return describe(o) == describe(s) }) {
				fmt.Fprintf(a.out, "    schedules: %s %s\n", sign, describe(s))
			}
		}
	}
	tell("-", from, to)
	tell("+", to, from)
	return true
}

// shorten keeps a value to what fits a line.
func shorten(value json.RawMessage) string {
	const most = 80
	if runes := []rune(string(value)); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return string(value)
}
