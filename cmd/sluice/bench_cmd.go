package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/bench"
)

// newBenchCommand measures a server with a load client in a process of its own.
func newBenchCommand(a *app) *cobra.Command {
	return group("bench", "Measure a server", "Measure servers and agents with a load client that speaks the API. The figures of docs/performance.md come from here.",
		"  sluice bench all", newBenchLivesCommand(a), newBenchClusterCommand(a), newBenchFailoverCommand(a), newBenchSchedulesCommand(a), newBenchSeedCommand(a), newBenchQueryCommand(a), newBenchMillionCommand(a), newBenchGoCommand(a), newBenchAllCommand(a))
}

func newBenchLivesCommand(a *app) *cobra.Command {
	var callers int
	var duration time.Duration
	command := &cobra.Command{
		Use:   "lives",
		Short: "Whole lives of flow runs per second",
		Long: `Load the cluster in use with whole lives of flow runs: create, Pending, Running, one task run with Running and Completed, two
log lines, Completed. That is eight requests a life, each sent when the one before was answered. The runs stay. The
load client shows no
token: start the server with --auth off.`,
		Example: "  sluice bench lives --callers 64 --duration 20s\n  sluice bench lives -o json",
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			address, _ := a.settings.lookup(settingAPIURL)
			if err := a.checkServer(command.Context()); err != nil {
				return err
			}
			var hosts []string
			for one := range strings.SplitSeq(address, ",") {
				hosts = append(hosts, bench.HostOf(strings.TrimSpace(one)))
			}
			result, err := bench.Lives(command.Context(), bench.LivesConfig{Hosts: hosts, Callers: callers, Duration: duration, Progress: func(n int64) {
				a.note("%d lives", n)
			}})
			if err != nil {
				return err
			}
			return a.printBench(map[string]any{"lives": result})
		},
	}
	command.Flags().IntVar(&callers, "callers", 64, "how many callers send requests at once")
	command.Flags().DurationVar(&duration, "duration", 20*time.Second, "how long")
	return command
}

func newBenchAllCommand(a *app) *cobra.Command {
	var duration time.Duration
	command := &cobra.Command{
		Use:   "all",
		Short: "Every figure of docs/performance.md",
		Long: `Start a server and an agent of this binary in a temporary directory, measure them, and stop them: memory of an idle server,
lives per second, the time from creating a run to Running for a Python flow and for a command, and thirty runs at once.`,
		Example: "  sluice bench all\n  sluice bench all -o json",
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			dir, err := os.MkdirTemp("", "sluice-bench-")
			if err != nil {
				return fmt.Errorf("make a directory for the server: %w", err)
			}
			defer func() { _ = os.RemoveAll(dir) }()
			results, err := a.benchAll(command.Context(), dir, duration)
			if err != nil {
				return err
			}
			return a.printBench(results)
		},
	}
	command.Flags().DurationVar(&duration, "duration", 20*time.Second, "how long the load of lives lasts")
	return command
}

func (a *app) benchAll(ctx context.Context, dir string, duration time.Duration) (map[string]any, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	m, err := bench.NewMachine(ctx, program, dir)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	results := map[string]any{}
	memory := func(name string) error {
		bytes, err := m.Anonymous()
		results[name] = float64(bytes>>10) / 1024
		return err
	}
	if err := memory("idle_rss_anon_mib"); err != nil {
		return nil, err
	}
	if err := prepareBench(m, dir); err != nil {
		return nil, err
	}
	for _, kind := range []string{"python", "command"} {
		id, err := m.RunCLI(dir, "deployment", "inspect", "bench-"+kind+"/bench", "-q")
		if err != nil {
			return nil, err
		}
		deployment := strings.TrimSpace(id)
		a.note("starting runs of a %s flow one after the other", kind)
		if results["start_"+kind], err = bench.Starts(ctx, m.API(), deployment, 50); err != nil {
			return nil, err
		}
		a.note("30 runs of a %s flow at once", kind)
		if results["burst_"+kind], err = bench.Burst(ctx, m.API(), deployment, 30); err != nil {
			return nil, err
		}
	}
	a.note("lives for %s", duration)
	if results["lives"], err = bench.Lives(ctx, bench.LivesConfig{Hosts: []string{bench.HostOf(m.API())}, Callers: 64, Duration: duration}); err != nil {
		return nil, err
	}
	return results, memory("loaded_rss_anon_mib")
}

// checkServer says so in the words of every command when there is no server: the load client has words of its own.
func (a *app) checkServer(ctx context.Context) error {
	c, err := a.connect(0)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Health(ctx)
}

// prepareBench makes a no-op deployment of each kind, a queue and an agent.
func prepareBench(m *bench.Machine, dir string) error {
	for name, content := range map[string]string{
		"noop.py":    "from sluice import flow\n\n\n@flow(name=\"bench-python\")\ndef noop():\n    return None\n",
		"bench.yaml": "- name: bench\n  flow_location: ./noop.py\n  tags: [bench]\n- name: bench\n  flow_name: bench-command\n  command: [\"true\"]\n  tags: [bench]\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return fmt.Errorf("write the benchmark's flows: %w", err)
		}
	}
	if _, err := m.RunCLI(dir, "deployment", "create", "bench.yaml"); err != nil {
		return err
	}
	if _, err := m.RunCLI(dir, "work-queue", "create", "bench", "--tag", "bench"); err != nil {
		return err
	}
	return m.StartAgent("bench", 16)
}

// printBench prints figures for people as indented JSON too: they are to be pasted into a document.
func (a *app) printBench(results map[string]any) error {
	encoder := json.NewEncoder(a.out)
	if a.format() != formatJSONL {
		encoder.SetIndent("", "  ")
	}
	return encoder.Encode(results)
}
