package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/bench"
)

// withNodes starts servers of this binary in a temporary directory, runs measure, and ends them.
func (a *app) withNodes(ctx context.Context, size int, measure func(*bench.Nodes) error) error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	dir, err := os.MkdirTemp("", "sluice-bench-")
	if err != nil {
		return fmt.Errorf("make a directory for the servers: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	nodes, err := bench.NewNodes(ctx, program, dir, size)
	if err != nil {
		return err
	}
	defer nodes.Close()
	return measure(nodes)
}

func newBenchClusterCommand(a *app) *cobra.Command {
	var callers, size int
	var duration time.Duration
	command := &cobra.Command{
		Use:   "cluster",
		Short: "Whole lives of flow runs per second through three nodes",
		Long: `Start three servers of this binary in a temporary directory, load them with whole lives of flow runs (see sluice bench
lives) from callers that are spread over all of them, and stop them. Whatever is acknowledged is on two disks.`,
		Example: "  sluice bench cluster\n  sluice bench cluster --nodes 5 --callers 128",
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return a.withNodes(command.Context(), size, func(nodes *bench.Nodes) error {
				result, err := bench.Lives(command.Context(), bench.LivesConfig{Hosts: nodes.Hosts(), Callers: callers, Duration: duration, Progress: func(n int64) {
					a.note("%d lives", n)
				}})
				if err != nil {
					return err
				}
				return a.printBench(map[string]any{"nodes": size, "callers": callers, "lives": result})
			})
		},
	}
	command.Flags().IntVar(&size, "nodes", 3, "how many servers")
	command.Flags().IntVar(&callers, "callers", 64, "how many callers send requests at once")
	command.Flags().DurationVar(&duration, "duration", 20*time.Second, "how long")
	return command
}

func newBenchFailoverCommand(a *app) *cobra.Command {
	var kills, stops int
	command := &cobra.Command{
		Use:   "failover",
		Short: "How long no write is accepted when the leader is lost",
		Long: `Start three servers of this binary in a temporary directory and take the leader away again and again while the other two
are written to: first with SIGKILL, measured until a write sent after it is answered, then with SIGTERM, measured as the
longest time between two answers. Each time the server is started again.`,
		Example: "  sluice bench failover\n  sluice bench failover --kills 30 --stops 10 -o json",
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return a.withNodes(command.Context(), 3, func(nodes *bench.Nodes) error {
				result, err := bench.Failover(command.Context(), nodes, bench.FailoverConfig{Kills: kills, Stops: stops, Progress: func(signal string, down time.Duration) {
					a.note("%s: %s", signal, down.Round(time.Millisecond))
				}})
				if err != nil {
					return err
				}
				return a.printBench(map[string]any{"failover": result})
			})
		},
	}
	command.Flags().IntVar(&kills, "kills", 30, "how often the leader is killed with SIGKILL")
	command.Flags().IntVar(&stops, "stops", 10, "how often it is told to stop with SIGTERM")
	return command
}

func newBenchSchedulesCommand(a *app) *cobra.Command {
	c := bench.SchedulesConfig{Progress: a.note}
	command := &cobra.Command{
		Use:   "schedules",
		Short: "Missed, doubled and late runs of schedules while the leader is killed",
		Long: `Start three servers of this binary in a temporary directory, make deployments that are all due at the same moments,
claim and complete their runs, kill the leader meanwhile and start it again. Then every fire time of every deployment is
compared with what was stored and handed out. Exits with 1 when one was missed, doubled or not completed.`,
		Example: "  sluice bench schedules\n  sluice bench schedules --deployments 1000 --kills 3",
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if c.Deployments < 1 || c.Interval < time.Second || c.Duration < c.Interval || c.Kills < 0 {
				return usagef("there must be a deployment, an interval of a second or more, and a duration of at least one interval")
			}
			if c.Seed == 0 {
				c.Seed = rand.Uint64()
			}
			a.note("seed %d", c.Seed)
			return a.withNodes(command.Context(), 3, func(nodes *bench.Nodes) error {
				result, err := bench.Schedules(command.Context(), nodes, c)
				if err != nil {
					return err
				}
				if err := a.printBench(map[string]any{"schedules": result, "seed": c.Seed}); err != nil {
					return err
				}
				if result.Missed+result.Doubled+result.Unfinished > 0 {
					return fmt.Errorf("of %d fire times %d were missed, %d doubled, %d not completed", result.Fires, result.Missed, result.Doubled, result.Unfinished)
				}
				return nil
			})
		},
	}
	flags := command.Flags()
	flags.IntVar(&c.Deployments, "deployments", 500, "how many deployments")
	flags.DurationVar(&c.Interval, "interval", 5*time.Second, "the interval of their schedules")
	flags.DurationVar(&c.Duration, "duration", time.Minute, "how long")
	flags.IntVar(&c.Kills, "kills", 1, "how often the leader is killed")
	flags.Uint64Var(&c.Seed, "seed", 0, "seed of the moments of the kills (0: another each time)")
	return command
}
