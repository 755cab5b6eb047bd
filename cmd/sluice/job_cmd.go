package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

func newJobCommand(a *app) *cobra.Command {
	return group("job", "See, watch and cancel jobs that change many flow runs",
		"Commands that change many flow runs, such as \"sluice flow-run cancel --state Late\", are done by the server as jobs.",
		"  sluice job ls\n  sluice job watch 019ac000-0000-7000-8000-000000000001",
		newJobList(a), newJobInspect(a), newJobWatch(a), newJobCancel(a))
}

// onJob connects and resolves the job of a command.
func onJob(a *app, do func(ctx context.Context, c *client.Client, job *api.Job) error) func(*cobra.Command, []string) error {
	return func(command *cobra.Command, args []string) error {
		c, err := a.connect(0)
		if err != nil {
			return err
		}
		job, err := findJob(command.Context(), c, args[0])
		if err != nil {
			return err
		}
		return do(command.Context(), c, job)
	}
}

// findJob returns the job of an id or of a beginning that only one id has.
func findJob(ctx context.Context, c *client.Client, ref string) (*api.Job, error) {
	if id, err := api.ParseID(ref); err == nil {
		job, err := c.Job(ctx, id)
		if api.IsNotFound(err) {
			return nil, notFoundf("sluice job ls", "there is no job '%s'", ref)
		}
		return job, err
	}
	jobs, err := allJobs(ctx, c)
	if err != nil {
		return nil, err
	}
	var all []candidate
	for _, job := range jobs {
		all = append(all, candidate{job.ID, string(job.Action)})
	}
	chosen, err := choose("job", ref, "sluice job ls", all)
	if unknown, ok := errors.AsType[*failure](err); ok && unknown.code == exitNotFound { // what jobs do is no name of theirs
		return nil, notFoundf("sluice job ls", "there is no job '%s'", ref)
	}
	if err != nil {
		return nil, err
	}
	return c.Job(ctx, chosen.id)
}

func allJobs(ctx context.Context, c *client.Client) ([]api.Job, error) {
	return client.Each(func(page api.Page) ([]api.Job, error) { return c.FilterJobs(ctx, page) })
}

func newJobList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List jobs, the newest first",
		Long:    "List jobs, the newest first. The last 500 that have ended are kept.",
		Example: "  sluice job ls\n  sluice job ls -o jsonl",
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			c, err := a.connect(0)
			if err != nil {
				return err
			}
			jobs, err := allJobs(command.Context(), c)
			if err != nil {
				return err
			}
			return printList(a, jobList(a, jobs))
		},
	}
}

func jobList(a *app, jobs []api.Job) list[api.Job] {
	number := func(header string, n func(api.Job) int64) column[api.Job] {
		return column[api.Job]{header: header, right: true, cell: func(j api.Job, _ bool) string { return fmt.Sprint(n(j)) }}
	}
	return list[api.Job]{
		title: "Jobs",
		columns: []column[api.Job]{
			{header: "ID", right: true, sgr: sgrCyan, cell: func(j api.Job, _ bool) string { return j.ID.String() }},
			{header: "Action", sgr: sgrGreen, cell: func(j api.Job, _ bool) string { return string(j.Action) }},
			{header: "Status", cell: func(j api.Job, _ bool) string { return string(j.Status) }},
			number("Selected", func(j api.Job) int64 { return j.Total }),
			number("Done", func(j api.Job) int64 { return j.Done }),
			number("Refused", func(j api.Job) int64 { return j.Refused }),
			{header: "Created", fold: true, sgr: sgrYellow, cell: func(j api.Job, people bool) string { return a.moment(j.Created, people) }},
		},
		items: jobs,
		id:    func(j api.Job) string { return j.ID.String() },
		name:  func(j api.Job) string { return j.ID.String() },
	}
}

func newJobInspect(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "inspect JOB",
		Short:   "Show a job as JSON",
		Long:    "Show everything about a job as JSON, or in the format of -o: its filter, how far it came, what was refused.",
		Example: "  sluice job inspect 019ac000-0000-7000-8000-000000000001",
		Args:    cobra.ExactArgs(1),
		RunE: onJob(a, func(_ context.Context, _ *client.Client, job *api.Job) error {
			return a.printObject(job, job.ID.String(), job.ID.String())
		}),
	}
}

func newJobWatch(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "watch JOB",
		Short:   "Follow a job until it ends",
		Long:    "Follow the progress of a job until it ends. Ctrl-C stops watching, not the job.",
		Example: "  sluice job watch 019ac000-0000-7000-8000-000000000001",
		Args:    cobra.ExactArgs(1),
		RunE: onJob(a, func(ctx context.Context, c *client.Client, job *api.Job) error {
			return a.followJob(ctx, c, job)
		}),
	}
}

func newJobCancel(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "cancel JOB",
		Short:   "End a job where it is",
		Long:    "End a job where it is. What it has done stays.",
		Example: "  sluice job cancel 019ac000-0000-7000-8000-000000000001",
		Args:    cobra.ExactArgs(1),
		RunE: onJob(a, func(ctx context.Context, c *client.Client, job *api.Job) error {
			job, err := c.CancelJob(ctx, job.ID)
			if err != nil {
				return fmt.Errorf("cancel the job: %w", err)
			}
			return a.printDone(job, job.ID.String(), job.ID.String(), fmt.Sprintf("Cancelled job %s after %d flow runs", job.ID, job.Done+job.Refused))
		}),
	}
}

// jobLook is how often a job is looked at, at first and later on.
const (
	firstJobLook = 100 * time.Millisecond
	lastJobLook  = time.Second
)

// followJob shows a job's progress until it ends.
func (a *app) followJob(ctx context.Context, c *client.Client, job *api.Job) error {
	id := job.ID
	shown := false
	for wait := firstJobLook; job.Status == api.JobRunning; wait = min(2*wait, lastJobLook) {
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			a.note("\nThe job goes on. Follow it with `sluice job watch %s`, end it with `sluice job cancel %s`.", id, id)
			return interrupted(ctx.Err())
		}
		var err error
		if job, err = c.Job(ctx, id); err != nil {
			return fmt.Errorf("follow job %s: %w", id, err)
		}
		if a.outTTY && !a.structured() && !a.quiet {
			fmt.Fprintf(a.err, "\r%d of %d flow runs", job.Done+job.Refused, job.Total)
			shown = true
		}
	}
	if shown {
		fmt.Fprintln(a.err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d flow runs", jobPast[job.Action], job.Done)
	if job.Refused > 0 {
		fmt.Fprintf(&b, "; refused: %d", job.Refused)
	}
	for _, r := range job.Refusals {
		fmt.Fprintf(&b, "\n  %s: %s", short(r.Name, r.FlowRunID), r.Reason)
	}
	if more := job.Refused - int64(len(job.Refusals)); more > 0 {
		fmt.Fprintf(&b, "\n  and %d more", more)
	}
	if err := a.printDone(job, id.String(), id.String(), b.String()); err != nil {
		return err
	}
	switch job.Status {
	case api.JobFailed:
		text := "it says nothing about why"
		if job.Error != nil {
			text = *job.Error
		}
		return &failure{code: exitError, err: fmt.Errorf("job %s failed: %s", id, text)}
	case api.JobCancelled:
		return &failure{code: exitError, err: errors.New("the job was cancelled before its end")}
	}
	return nil
}

var jobPast = map[api.JobAction]string{api.JobCancel: "Cancelled", api.JobRetry: "Trying again", api.JobDelete: "Deleted", api.JobSetState: "Set the state of",
	api.JobForgetDeployment: "Dealt with", api.JobForgetFlow: "Deleted"}
