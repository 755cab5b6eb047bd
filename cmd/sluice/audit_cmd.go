package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/api"
)

func newAuditCommand(a *app) *cobra.Command {
	return group("audit", "See who did what", "See who did what: every write leaves a record with its actor and outcome.",
		"  sluice audit ls\n  sluice audit ls --actor ci --since 24h", newAuditList(a))
}

func newAuditList(a *app) *cobra.Command {
	var filter api.AuditFilterRequest
	var object, since, until string
	command := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List audit records, newest first",
		Long: `List audit records, newest first. What agents and the processes of flow runs report about runs leaves none: it is in the
states, which name the actor.`,
		Example: "  sluice audit ls --actor ci --since 24h\n  sluice audit ls --action DELETE -o json",
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if filter.Limit < 1 {
				return usagef("--limit is %d; it is at least 1", filter.Limit)
			}
			if object != "" {
				id, err := api.ParseID(object)
				if err != nil {
					return usagef("--object is %q; it is the id of an object", object)
				}
				filter.ObjectID = &id
			}
			now := time.Now()
			var err error
			if filter.Since, err = parseMoment("since", since, now); err != nil {
				return err
			}
			if filter.Until, err = parseMoment("until", until, now); err != nil {
				return err
			}
			c, err := a.connect(0)
			if err != nil {
				return err
			}
			var records []api.AuditRecord
			for wanted := filter.Limit; len(records) < wanted; {
				filter.Limit = min(wanted-len(records), 1000)
				page, err := c.FilterAudit(command.Context(), filter)
				if err != nil {
					return err
				}
				records = append(records, page.Records...)
				if page.Next == nil {
					break
				}
				filter.Before = *page.Next
			}
			return printList(a, auditList(a, records))
		},
	}
	flags := command.Flags()
	flags.StringVar(&filter.Actor, "actor", "", "name of a token")
	flags.StringVar(&filter.Action, "action", "", "a part of method and route, like DELETE or /deployments")
	flags.StringVar(&filter.Outcome, "outcome", "", "ok, accept, reject, wait, abort, not_found, conflict, ...")
	flags.StringVar(&object, "object", "", "id of an object")
	flags.StringVar(&since, "since", "", "not before: a time ago like 24h or 7d, or a date")
	flags.StringVar(&until, "until", "", "before: a time ago or a date")
	flags.IntVar(&filter.Limit, "limit", 100, "how many at most")
	return command
}

// parseMoment reads a time ago or a date; nil for nothing.
func parseMoment(flag, text string, now time.Time) (*api.Time, error) {
	if text == "" {
		return nil, nil
	}
	if ago, err := parseSpan(text); err == nil {
		at := api.At(now.Add(-ago))
		return &at, nil
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			at := api.At(t)
			return &at, nil
		}
	}
	return nil, usagef("--%s is %q; it is a time ago like 24h or 7d, or a date like %s", flag, text, now.Format(time.DateOnly))
}

func auditList(a *app, records []api.AuditRecord) list[api.AuditRecord] {
	return list[api.AuditRecord]{
		title: "Audit records",
		columns: []column[api.AuditRecord]{
			{header: "Time", cell: func(r api.AuditRecord, _ bool) string { return a.stamp(r.Time) }},
			{header: "Actor", cell: func(r api.AuditRecord, _ bool) string { return r.Actor }},
			{header: "Action", cell: func(r api.AuditRecord, _ bool) string { return r.Action }},
			{header: "Object", cell: func(r api.AuditRecord, _ bool) string {
				if r.ObjectID != nil {
					return r.ObjectID.String()
				}
				return r.Object
			}},
			{header: "Outcome", cell: func(r api.AuditRecord, _ bool) string { return r.Outcome }},
			{header: "From", cell: func(r api.AuditRecord, _ bool) string { return r.Address }},
			{header: "Request", cell: func(r api.AuditRecord, _ bool) string { return r.RequestID }},
		},
		items: records,
		id:    func(r api.AuditRecord) string { return r.ID },
		name:  func(r api.AuditRecord) string { return r.ID },
	}
}
