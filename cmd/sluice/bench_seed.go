package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/bench"
	"github.com/sluice-dev/sluice/bench/dataset"
	"github.com/sluice-dev/sluice/cmd/sluice/node"
)

func newBenchSeedCommand(a *app) *cobra.Command {
	var callers, days int
	var runs int64
	var dir, until string
	var seed uint64
	command := &cobra.Command{
		Use:   "seed",
		Short: "Store many flow runs",
		Long: `Store many flow runs, to measure a server with much in it.

With --data-dir, make the data directory of a new single node: flows, deployments, queues, and runs with four states
each, task
runs and logs, spread over the last days, through the state machine as if it had happened then. The same seed and end make
the same objects. Start a server with that directory afterwards. A million runs take a few minutes.

Without it, store runs that have completed in the cluster in use, one request each. The runs stay. The load client
shows no token: start
the server with --auth off.`,
		Example: "  sluice bench seed --data-dir /tmp/million --runs 1000000\n  sluice bench seed --runs 100000",
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			begin := time.Now()
			if runs < 1 || days < 1 || callers < 1 {
				return usagef("--runs, --days and --callers must be at least 1")
			}
			if dir == "" {
				address, _ := a.settings.lookup(settingAPIURL)
				if err := a.checkServer(command.Context()); err != nil {
					return err
				}
				if err := bench.Seed(command.Context(), bench.HostOf(address), callers, runs, func(n int64) { a.note("%d runs", n) }); err != nil {
					return err
				}
				return a.printBench(map[string]any{"runs": runs, "seconds": time.Since(begin).Seconds()})
			}
			c := dataset.Config{Runs: int(runs), Seed: seed, Until: begin.UTC().Truncate(time.Second), Span: time.Duration(days) * 24 * time.Hour}
			if until != "" {
				at, err := time.Parse(time.RFC3339, until)
				if err != nil {
					return usagef("--until %q is no time such as 2026-01-31T12:00:00Z", until)
				}
				c.Until = at
			}
			commands, err := a.fillDirectory(command.Context(), dir, c)
			if err != nil {
				return err
			}
			return a.printBench(map[string]any{"runs": runs, "commands": commands, "seed": seed, "until": c.Until, "seconds": time.Since(begin).Seconds()})
		},
	}
	flags := command.Flags()
	flags.Int64Var(&runs, "runs", 100_000, "how many")
	flags.IntVar(&callers, "callers", 64, "how many callers send requests at once, without --data-dir")
	flags.StringVar(&dir, "data-dir", "", "make this data directory instead of asking a server")
	flags.IntVar(&days, "days", 90, "how many days the runs are spread over, with --data-dir")
	flags.Uint64Var(&seed, "seed", 1, "seed of everything random, with --data-dir")
	flags.StringVar(&until, "until", "", "the end of those days, like 2026-01-31T12:00:00Z (default now)")
	return command
}

// fillDirectory makes a data directory with a data set in it.
func (a *app) fillDirectory(ctx context.Context, dir string, c dataset.Config) (commands int, err error) {
	return node.Fill(ctx, dir, buildVersion, c, slog.New(slog.DiscardHandler), func(n int) {
		if n%1_000_000 == 0 {
			a.note("%d commands", n)
		}
	})
}
