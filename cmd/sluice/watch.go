package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

// watchPatience is how long a command that follows a run waits for a server that went away.
const watchPatience = 2 * time.Minute

// logFlags select lines of a run's log.
type logFlags struct {
	follow, reverse bool
	head, tail      int
	search, regex   string
	level, task     string
	since, until    string
	timestamps      bool
}

func (f *logFlags) register(command *cobra.Command) {
	flags := command.Flags()
	flags.BoolVarP(&f.follow, "follow", "f", false, "go on until the run has ended")
	flags.IntVarP(&f.tail, "tail", "n", -1, "only the last of them (default all)")
	flags.IntVar(&f.head, "head", -1, "only the first of them (default all)")
	flags.BoolVar(&f.reverse, "reverse", false, "the last one first")
	flags.StringVar(&f.search, "search", "", "only lines that contain this text, regardless of case")
	flags.StringVar(&f.regex, "regex", "", "only lines that match this regular expression")
	flags.StringVar(&f.level, "level", "", "only lines of this level or graver: debug, info, warning, error, critical, or a number")
	flags.StringVar(&f.task, "task", "", "only lines of this task run: its name, id or unique prefix of it")
	flags.StringVar(&f.since, "since", "", "only lines from this time on, or from that long ago, like 90s or 2h")
	flags.StringVar(&f.until, "until", "", "only lines up to this time, or up to that long ago")
	flags.BoolVar(&f.timestamps, "timestamps", true, "begin each line with its time; its form is that of --time-format")
	completeWords(command, "level", "debug", "info", "warning", "error", "critical")
	for _, other := range []string{"head", "reverse", "until"} {
		command.MarkFlagsMutuallyExclusive("follow", other)
	}
	command.MarkFlagsMutuallyExclusive("head", "tail")
}

// wanted is the selection as the server takes it.
func (f *logFlags) wanted(now time.Time) (client.LogSearch, error) {
	w := client.LogSearch{Text: f.search, Regex: f.regex, Reverse: f.reverse != (f.tail >= 0)}
	levels := map[string]int{"": 0, "debug": 10, "info": 20, "warning": 30, "warn": 30, "error": 40, "critical": 50}
	level, known := levels[strings.ToLower(f.level)]
	if !known {
		var err error
		if level, err = strconv.Atoi(f.level); err != nil || level < 0 {
			return w, usagef("--level is '%s'; it is debug, info, warning, error, critical or a number", f.level)
		}
	}
	w.Level = level
	var err error
	if w.Since, err = momentOf("since", f.since, now); err != nil {
		return w, err
	}
	w.Until, err = momentOf("until", f.until, now)
	return w, err
}

// momentOf reads a time, or how long ago it was.
func momentOf(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil {
		return now.Add(-ago), nil
	}
	t, err := api.ParseTime(text)
	if err != nil {
		return t, usagef("--%s is '%s'; it is a time like 2026-11-23T09:30:00+01:00, or a duration like 2h", flag, text)
	}
	return t, nil
}

func newRunLogs(a *app) *cobra.Command {
	var given logFlags
	command := runArgument(a, &cobra.Command{
		Use:   "logs RUN",
		Short: "Show and search the logs of a flow run",
		Long: `Show the logs of a flow run and its task runs in the order in which the server accepted them. With -f the command goes on
until the run has ended. Times are local; in plain output they are whole and in UTC. With -o jsonl each log is one line of JSON.`,
		Example: "  sluice flow-run logs tan-lion --tail 20\n  sluice flow-run logs tan-lion --level error --search timeout --since 2h\n  sluice flow-run logs -f tan-lion",
	})
	given.register(command)
	command.RunE = onRun(a, func(ctx context.Context, c *client.Client, run *api.FlowRun) error {
		wanted, err := given.wanted(time.Now())
		if err != nil {
			return err
		}
		if given.task != "" {
			if wanted.TaskRunID, err = taskOf(ctx, c, run, given.task); err != nil {
				return err
			}
		}
		if given.follow {
			keeps, err := keeping(wanted)
			if err != nil {
				return err
			}
			return a.followRun(ctx, run, following{logs: true, tail: given.tail, keeps: keeps, untimed: !given.timestamps})
		}
		return a.showLogs(ctx, c, run, given, wanted)
	})
	return command
}

// keeping selects the lines of a stream as the server selects those it has.
func keeping(w client.LogSearch) (func(*api.Log) bool, error) {
	var pattern *regexp.Regexp
	if w.Regex != "" {
		var err error
		if pattern, err = regexp.Compile(w.Regex); err != nil {
			return nil, usagef("--regex: %w", err)
		}
	}
	text := strings.ToLower(w.Text)
	return func(l *api.Log) bool {
		return l.Level >= w.Level && !l.Timestamp.Before(w.Since) && (w.TaskRunID == nil || l.TaskRunID != nil && *l.TaskRunID == *w.TaskRunID) &&
			(text == "" || strings.Contains(strings.ToLower(l.Message), text)) && (pattern == nil || pattern.MatchString(l.Message))
	}, nil
}

// taskOf is the task run of a flow run with that name, id or unique prefix of an id.
func taskOf(ctx context.Context, c *client.Client, run *api.FlowRun, ref string) (*api.ID, error) {
	tasks, err := client.Each(func(page api.Page) ([]api.TaskRun, error) {
		return c.FilterTaskRuns(ctx, api.FilterRequest{Page: page, Filters: api.Filters{FlowRuns: &api.FlowRunFilter{ID: &api.IDAnyNot{Any: []api.ID{run.ID}}}}})
	})
	if err != nil {
		return nil, fmt.Errorf("list the task runs of flow run '%s': %w", run.Name, err)
	}
	var all []candidate
	for _, t := range tasks {
		all = append(all, candidate{t.ID, t.Name})
	}
	chosen, err := choose("task run", ref, "sluice task-run ls --flow-run "+run.ID.String(), all)
	return &chosen.id, err
}

// showLogs prints the lines that are selected, page by page where their order allows.
func (a *app) showLogs(ctx context.Context, c *client.Client, run *api.FlowRun, given logFlags, wanted client.LogSearch) error {
	most := given.head
	if given.tail >= 0 {
		most = given.tail
	}
	printer := a.newLogPrinter(c, run)
	printer.untimed = !given.timestamps
	logs := []api.Log{}
	lines := false
	switch a.output {
	case "", formatTable, formatPlain, formatJSONL:
		lines = true
	case formatName:
		return usagef("logs have no names; use -o jsonl")
	}
	// The last lines are read from the end, and shown the other way round unless that is wanted.
	turn := given.tail >= 0 && !given.reverse
	for shown := 0; most < 0 || shown < most; {
		if wanted.Limit = api.MaxPage; most >= 0 {
			wanted.Limit = min(wanted.Limit, most-shown)
		}
		page, err := c.SearchLogs(ctx, run.ID, wanted)
		if err != nil {
			return fmt.Errorf("read the logs of flow run '%s': %w", run.Name, err)
		}
		shown += len(page.Logs)
		if !lines || turn {
			logs = append(logs, page.Logs...)
		} else {
			for i := range page.Logs {
				if err := printer.log(ctx, &page.Logs[i]); err != nil {
					return err
				}
			}
		}
		if page.NextCursor == nil {
			break
		}
		wanted.Cursor = *page.NextCursor
	}
	if turn {
		slices.Reverse(logs)
	}
	if !lines {
		return a.printDocument(a.output, logs)
	}
	for i := range logs {
		if err := printer.log(ctx, &logs[i]); err != nil {
			return err
		}
	}
	return nil
}

// runLogs reads the logs of a run, the last of them if tail is not negative.
func runLogs(ctx context.Context, c *client.Client, run api.ID, tail int) ([]api.Log, error) {
	filter := &api.LogFilter{FlowRunID: &api.IDAny{Any: []api.ID{run}}}
	if tail < 0 {
		return client.Each(func(page api.Page) ([]api.Log, error) {
			return c.FilterLogs(ctx, api.LogFilterRequest{Logs: filter, Page: page, Sort: api.SortTimestampAsc})
		})
	}
	var logs []api.Log
	for len(logs) < tail {
		limit := min(api.MaxPage, tail-len(logs))
		part, err := c.FilterLogs(ctx, api.LogFilterRequest{
			Logs: filter, Page: api.Page{Limit: &limit, Offset: len(logs)}, Sort: api.SortTimestampDesc,
		})
		if err != nil {
			return nil, err
		}
		logs = append(logs, part...)
		if len(part) < limit {
			break
		}
	}
	for i, j := 0, len(logs)-1; i < j; i, j = i+1, j-1 {
		logs[i], logs[j] = logs[j], logs[i]
	}
	return logs, nil
}

func newRunWatch(a *app) *cobra.Command {
	var noLogs bool
	var timeout, interval time.Duration
	command := runArgument(a, &cobra.Command{
		Use:   "watch RUN",
		Short: "Follow a flow run until it ends",
		Long: `Follow the states and logs of a flow run until it ends. The exit code says how it ended: 0 Completed, 10 Failed,
11 Crashed, 12 Cancelled; 124 when --timeout was over before. Ctrl-C stops watching, not the run.`,
		Example: "  sluice flow-run watch tan-lion --timeout 10m",
	})
	command.Flags().BoolVar(&noLogs, "no-logs", false, "only states")
	command.Flags().DurationVar(&timeout, "timeout", 0, "stop watching after this time, like 90s or 10m (default never)")
	watchInterval(command, &interval)
	command.PreRunE = func(*cobra.Command, []string) error { return checkInterval(interval) }
	command.RunE = onRun(a, func(ctx context.Context, _ *client.Client, run *api.FlowRun) error {
		return a.followRun(ctx, run, following{logs: !noLogs, states: true, tail: -1, timeout: timeout, interval: interval})
	})
	return command
}

func checkInterval(interval time.Duration) error {
	if interval <= 0 {
		return usagef("--watch-interval is %s; it must be more than 0", interval)
	}
	return nil
}

// watchInterval adds the flag of commands that watch a run.
func watchInterval(command *cobra.Command, interval *time.Duration) {
	command.Flags().DurationVar(interval, "watch-interval", waitBeforeWhy, "how often to look why a run waits that is watched; states and logs are told as they come")
}

// following says what followRun prints and how long it goes on.
type following struct {
	logs, states bool
	tail         int
	timeout      time.Duration
	// keeps selects log lines; nil: all.
	keeps func(*api.Log) bool
	// untimed lines do not begin with their time.
	untimed bool
	// interval is how often it is looked why the run waits; 0: usually.
	interval time.Duration
}

// waitBeforeWhy is how long a run that is watched may wait before it is said why, and between two looks.
const waitBeforeWhy = 5 * time.Second

// explainWhileItWaits tells on stderr why a run waits, and again when the reason changes, until the returned function is called or
// the run has an owner. Nothing else tells that an agent is missing: no event says that nothing happens.
func (a *app) explainWhileItWaits(ctx context.Context, c *client.Client, id api.ID, interval time.Duration) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(interval)
		defer tick.Stop()
		told := ""
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			e, err := c.ExplainFlowRun(ctx, id)
			if err != nil {
				continue // the stream says what is wrong
			}
			code := ""
			if len(e.Reasons) > 0 {
				code = e.Reasons[0].Code
			}
			if e.Waiting && code != told {
				a.noteWhy(e)
			}
			told = code
		}
	}()
	return func() { cancel(); <-done }
}

// errWatchTimeout ends the watching, not the run.
var errWatchTimeout = errors.New("the time given for watching is over")

// followRun prints what happens to a run until it ends. With states, the result is how the run ended.
func (a *app) followRun(ctx context.Context, run *api.FlowRun, f following) error {
	watchCtx := ctx
	if f.timeout > 0 {
		var cancel context.CancelFunc
		watchCtx, cancel = context.WithTimeoutCause(ctx, f.timeout, errWatchTimeout)
		defer cancel()
	}
	c, err := a.connect(watchPatience)
	if err != nil {
		return err
	}
	defer c.Close()
	printer := a.newLogPrinter(c, run)
	printer.untimed = f.untimed
	skip := 0
	if f.tail >= 0 {
		logs, err := runLogs(watchCtx, c, run.ID, -1)
		if err != nil {
			return err
		}
		if f.keeps != nil {
			logs = slices.DeleteFunc(logs, func(l api.Log) bool { return !f.keeps(&l) })
		}
		skip = max(0, len(logs)-f.tail)
	}
	var last *api.State
	if f.states && !a.structured() && !a.quiet {
		explained := a.explainWhileItWaits(watchCtx, c, run.ID, cmp.Or(f.interval, waitBeforeWhy))
		defer explained()
	}
	err = c.StreamFlowRun(watchCtx, run.ID, f.logs, "", func(event client.Event) error {
		switch event.Kind {
		case api.EventLog:
			var log api.Log
			if err := json.Unmarshal(event.Data, &log); err != nil {
				return fmt.Errorf("decode log: %w", err)
			}
			if f.keeps != nil && !f.keeps(&log) {
				return nil
			}
			if skip > 0 {
				skip--
				return nil
			}
			return printer.log(watchCtx, &log)
		case api.EventState, api.EventEnd:
			var state api.State
			if err := json.Unmarshal(event.Data, &state); err != nil {
				return fmt.Errorf("decode state: %w", err)
			}
			known := last != nil && last.ID == state.ID // the end repeats the last state
			last = &state
			if f.states && !known {
				return printer.state(&state)
			}
		}
		return nil
	})
	switch {
	case errors.Is(err, errWatchTimeout):
		a.note("%s", reattach(run))
		return &failure{code: exitTimeout, err: fmt.Errorf("flow run %s had not ended after %s", short(run.Name, run.ID), f.timeout)}
	case err != nil && ctx.Err() != nil:
		a.note("\n%s", reattach(run))
		return interrupted(err)
	case err != nil:
		return fmt.Errorf("follow flow run '%s': %w", run.Name, err)
	}
	if f.states && last != nil {
		return ended(last)
	}
	return nil
}

func reattach(run *api.FlowRun) string {
	return fmt.Sprintf("The flow run goes on. Watch it again: sluice flow-run watch %s\nCancel it:                          sluice flow-run cancel %s",
		run.ID, run.ID)
}

// logPrinter writes logs and states of one run in the form that flows log on a terminal.
type logPrinter struct {
	app      *app
	client   *client.Client
	run      *api.FlowRun
	taskRuns map[api.ID]string
	untimed  bool // lines do not begin with their time
}

func (a *app) newLogPrinter(c *client.Client, run *api.FlowRun) *logPrinter {
	return &logPrinter{app: a, client: c, run: run, taskRuns: map[api.ID]string{}}
}

func (p *logPrinter) log(ctx context.Context, log *api.Log) error {
	if p.app.structured() {
		return p.app.printJSONLine(log)
	}
	subject := fmt.Sprintf("Flow run '%s'", p.run.Name)
	if log.TaskRunID != nil {
		name, err := p.taskRun(ctx, *log.TaskRunID)
		if err != nil {
			return err
		}
		subject = fmt.Sprintf("Task run '%s'", name)
	}
	p.line(log.Timestamp, api.LevelName(log.Level), subject, log.Message)
	return nil
}

func (p *logPrinter) state(state *api.State) error {
	if p.app.structured() {
		return p.app.printJSONLine(state)
	}
	message := "State: " + state.Name
	if state.Message != nil && *state.Message != "" {
		message += " - " + *state.Message
	}
	p.line(state.Timestamp, "STATE", fmt.Sprintf("Flow run '%s'", p.run.Name), message)
	return nil
}

func (p *logPrinter) line(at api.Time, level, subject, message string) {
	when := p.app.momentAs(p.app.timeFormat, at) + " | "
	switch {
	case p.untimed:
		when = ""
	case p.app.format() == formatTable && p.app.timeFormat == "":
		when = at.Local().Format("15:04:05.000") + " | "
	}
	fmt.Fprintf(p.app.out, "%s%-7s | %s - %s\n", when, level, subject, message)
}

// taskRun returns the name of a task run, reading all of the flow run's when it meets a new one.
func (p *logPrinter) taskRun(ctx context.Context, id api.ID) (string, error) {
	if name, known := p.taskRuns[id]; known {
		return name, nil
	}
	runs, err := client.Each(func(page api.Page) ([]api.TaskRun, error) {
		return p.client.FilterTaskRuns(ctx, api.FilterRequest{
			Filters: api.Filters{FlowRuns: &api.FlowRunFilter{ID: &api.IDAnyNot{Any: []api.ID{p.run.ID}}}}, Page: page,
		})
	})
	if err != nil {
		return "", fmt.Errorf("read the names of task runs: %w", err)
	}
	for _, run := range runs {
		p.taskRuns[run.ID] = run.Name
	}
	if _, known := p.taskRuns[id]; !known {
		p.taskRuns[id] = id.String() // deleted, or a log of something that never was a task run
	}
	return p.taskRuns[id], nil
}
