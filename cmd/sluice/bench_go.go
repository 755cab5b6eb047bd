package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/bench"
)

func newBenchGoCommand(a *app) *cobra.Command {
	var flows string
	var served int
	command := &cobra.Command{
		Use:   "go",
		Short: "Flows of the Go SDK: starts, bursts and many tasks",
		Long: `Start a server, an agent and a program of the Go SDK in a temporary directory, measure them, and stop them: the time from
creating a run to Running and thirty runs at once, once with the agent that starts the program for each run and once with
the program serving the queue; how many runs a second it serves; and flows of 1,000 and 10,000 no-op tasks, with CPU time
and peak memory. Needs the Go toolchain and the sources: run it in the repository.`,
		Example: "  sluice bench go\n  sluice bench go --flows ./bench/goflows -o json",
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			dir, err := os.MkdirTemp("", "sluice-bench-")
			if err != nil {
				return fmt.Errorf("make a directory for the server: %w", err)
			}
			defer func() { _ = os.RemoveAll(dir) }()
			results, err := a.benchGo(command.Context(), dir, flows, served)
			if err != nil {
				return err
			}
			return a.printBench(results)
		},
	}
	command.Flags().StringVar(&flows, "flows", "./bench/goflows", "folder of the program")
	command.Flags().IntVar(&served, "served", 2000, "how many runs are created for the program that serves")
	return command
}

func (a *app) benchGo(ctx context.Context, dir, flows string, served int) (map[string]any, error) {
	program := filepath.Join(dir, "goflows")
	if err := buildGo(ctx, flows, program); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	m, err := bench.NewMachine(ctx, self, dir)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	if _, err := m.RunCLI(dir, "deployment", "create", program); err != nil {
		return nil, err
	}
	results := map[string]any{}
	for _, way := range []string{"exec", "serve"} {
		queue := "bench-" + way
		if _, err := m.RunCLI(dir, "work-queue", "create", queue, "--tag", queue); err != nil {
			return nil, err
		}
		if way == "exec" {
			err = m.StartAgent(queue, 16)
		} else {
			err = m.Serve(program, queue)
		}
		if err != nil {
			return nil, err
		}
		id, err := m.RunCLI(dir, "deployment", "inspect", "bench-go/"+way, "-q")
		if err != nil {
			return nil, err
		}
		deployment := strings.TrimSpace(id)
		a.note("starting runs of a Go flow one after the other (%s)", way)
		if results["start_go_"+way], err = bench.Starts(ctx, m.API(), deployment, 50); err != nil {
			return nil, err
		}
		a.note("30 runs of a Go flow at once (%s)", way)
		if results["burst_go_"+way], err = bench.Burst(ctx, m.API(), deployment, 30); err != nil {
			return nil, err
		}
		if way == "serve" {
			a.note("%d runs for the program that serves", served)
			burst, err := bench.Due(ctx, m.API(), deployment, served)
			if err != nil {
				return nil, err
			}
			results["served_go"] = map[string]float64{"runs": float64(served), "runs_per_second": float64(served) / burst.Seconds}
		}
	}
	for _, n := range []int{1000, 10_000} {
		a.note("%d tasks in one flow", n)
		if results[fmt.Sprintf("tasks_go_%d", n)], err = m.Tasks(program, n); err != nil {
			return nil, err
		}
	}
	return results, nil
}
