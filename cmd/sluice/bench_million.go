package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/bench"
	"github.com/sluice-dev/sluice/bench/dataset"
)

// leastRuns is the least number of runs of which a hundredth has everything that the queries name.
const leastRuns = 100_000

func newBenchMillionCommand(a *app) *cobra.Command {
	c := bench.MillionConfig{Progress: a.note}
	var runs int
	var dir string
	command := &cobra.Command{
		Use:   "million",
		Short: "What a million stored runs cost",
		Long: `Measure servers with 10,000, 100,000 and 1,000,000 stored flow runs: start, memory, every query of the UI,
the scheduler, the command
line; then a server with many schedules, one with many long polls, and one under a flood of logs. What misses its
target is named at the end.

The data is made first, in --dir, and used again when it is there: the first million takes minutes.`,
		Example: "  sluice bench million --dir /tmp/million\n  sluice bench million --runs 100000 --schedules 0 --polls 0 --load 0s\n  sluice bench million --runs 0 --polls 0 --load 0s",
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if runs != 0 && runs < leastRuns {
				return usagef("--runs must be at least %d, or 0 to leave the stored runs out", leastRuns)
			}
			program, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find this program: %w", err)
			}
			c.Binary = program
			if c.Dir, err = os.MkdirTemp("", "sluice-bench-"); err != nil {
				return fmt.Errorf("make a directory for the servers: %w", err)
			}
			defer func() { _ = os.RemoveAll(c.Dir) }()
			if dir == "" {
				dir = filepath.Join(c.Dir, "data")
			}
			sizes := []int{runs / 100, runs / 10, runs}
			if runs == 0 {
				sizes = nil
			}
			for _, n := range sizes {
				p, err := a.prepareData(command.Context(), dir, n)
				if err != nil {
					return err
				}
				c.Sizes = append(c.Sizes, p)
			}
			result, err := bench.Million(command.Context(), c)
			if err != nil {
				return err
			}
			return a.printBench(map[string]any{"million": result})
		},
	}
	flags := command.Flags()
	flags.IntVar(&runs, "runs", 1_000_000, "the largest number of stored runs; a tenth and a hundredth of it come before (0: none)")
	flags.StringVar(&dir, "dir", "", "where the data is, or is to be made (default: a temporary directory)")
	flags.IntVar(&c.Schedules, "schedules", 100_000, "how many active schedules (0: none)")
	flags.IntVar(&c.Polls, "polls", 10_000, "how many waiting claims (0: none); the limit of open files must allow for them")
	flags.DurationVar(&c.Load, "load", 8*time.Second, "how long each load of lives lasts (0: none)")
	return command
}

func newBenchQueryCommand(a *app) *cobra.Command {
	var times int
	var until string
	command := &cobra.Command{
		Use:   "query",
		Short: "Every query of the UI",
		Long: `Send every query that the pages of the UI make to the cluster in use, one after the other from one caller.
Its data must be that of
sluice bench seed --data-dir. The load client shows no token: start the server with --auth off.`,
		Example: "  sluice bench query\n  sluice bench query --until 2026-01-31T12:00:00Z -o json",
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			end := time.Now()
			if until != "" {
				var err error
				if end, err = time.Parse(time.RFC3339, until); err != nil {
					return usagef("--until %q is no time such as 2026-01-31T12:00:00Z", until)
				}
			}
			if times < 1 {
				return usagef("--times must be at least 1")
			}
			address, _ := a.settings.lookup(settingAPIURL)
			if err := a.checkServer(command.Context()); err != nil {
				return err
			}
			results, err := bench.Queries(command.Context(), bench.HostOf(address), end, times, 10*time.Second)
			if err != nil {
				return err
			}
			return a.printBench(map[string]any{"queries": results})
		},
	}
	command.Flags().IntVar(&times, "times", 200, "how often each is sent")
	command.Flags().StringVar(&until, "until", "", "the end of the data (default now)")
	return command
}

// prepareData makes a data set below dir, or takes the one that is there. What says that it is complete is a file beside it.
func (a *app) prepareData(ctx context.Context, dir string, runs int) (bench.Prepared, error) {
	p := bench.Prepared{Dir: filepath.Join(dir, fmt.Sprint(runs)), Runs: runs}
	done := p.Dir + ".json"
	if text, err := os.ReadFile(done); err == nil {
		return p, json.Unmarshal(text, &p.Until)
	}
	if err := os.RemoveAll(p.Dir); err != nil {
		return p, fmt.Errorf("remove what is not complete: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return p, fmt.Errorf("make a directory for the data: %w", err)
	}
	a.note("making %d runs", runs)
	p.Until = time.Now().UTC().Truncate(time.Second)
	// Less than the 90 days after which finished runs go.
	if _, err := a.fillDirectory(ctx, p.Dir, dataset.Config{Runs: runs, Seed: 1, Until: p.Until, Span: 80 * 24 * time.Hour}); err != nil {
		return p, err
	}
	text, err := json.Marshal(p.Until)
	if err == nil {
		err = os.WriteFile(done, text, 0o600)
	}
	return p, err
}
