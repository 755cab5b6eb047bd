package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

// serverStatus is what server status tells.
type serverStatus struct {
	Status  string `json:"status"` // ready, or leaderless: it answers and accepts no writes
	Address string `json:"address"`
	Version string `json:"version"`
	NodeID  string `json:"node_id"`
	Leader  string `json:"leader"`
	Nodes   int    `json:"nodes"`
}

const (
	statusReady      = "ready"
	statusLeaderless = "leaderless"
	// statusPause is the time between two questions of --wait.
	statusPause = 250 * time.Millisecond
)

func newServerStatus(a *app, name string) *cobra.Command {
	var wait bool
	var timeout time.Duration
	command := &cobra.Command{
		Use:   "status",
		Short: "Say whether the server answers and accepts work",
		Long: `Say whether the server that this machine is configured to use answers, and whether it knows a leader. With --wait the command
ends when it does: for scripts that start a server. It ends with 6 when there is no such server, or no leader.`,
		Example: fmt.Sprintf("  sluice %s status\n  sluice %s status --wait --timeout 1m", name, name),
		Args:    cobra.NoArgs,
	}
	command.Flags().BoolVar(&wait, "wait", false, "wait until it is ready")
	command.Flags().DurationVar(&timeout, "timeout", 2*time.Minute, "how long --wait waits")
	command.RunE = func(command *cobra.Command, _ []string) error {
		if timeout <= 0 {
			return usagef("--timeout is %s; it must be positive", timeout)
		}
		c, err := a.connect(0)
		if err != nil {
			return err
		}
		defer c.Close()
		ctx := command.Context()
		if !wait {
			status, err := askStatus(ctx, c)
			if err != nil {
				return err
			}
			return a.showStatus(status)
		}
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		for {
			status, err := askStatus(ctx, c)
			if err == nil && status.Status == statusReady {
				return a.showStatus(status)
			}
			select {
			case <-ctx.Done():
				if command.Context().Err() != nil {
					return command.Context().Err()
				}
				return &failure{code: exitTimeout, err: fmt.Errorf("the server at %s was not ready within %s: %w", c.Address(), timeout, errOr(err, errLeaderless)),
					hint: "sluice cluster health"}
			case <-time.After(statusPause):
			}
		}
	}
	return command
}

var errLeaderless = errors.New("it knows no leader")

func errOr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

func askStatus(ctx context.Context, c *client.Client) (*serverStatus, error) {
	seen, err := c.Cluster(ctx)
	if err != nil {
		return nil, err
	}
	status := &serverStatus{Status: statusReady, Address: c.Address(), NodeID: seen.NodeID, Leader: seen.Leader, Nodes: len(seen.Members)}
	for _, m := range seen.Members {
		if m.ID == seen.NodeID {
			status.Version = m.Version
		}
	}
	if seen.Leader == "" {
		status.Status = statusLeaderless
	}
	return status, nil
}

func (a *app) showStatus(s *serverStatus) error {
	sentence := fmt.Sprintf("The server at %s is ready: version %s, %d nodes", s.Address, s.Version, s.Nodes)
	if s.Nodes == 1 {
		sentence = fmt.Sprintf("The server at %s is ready: version %s, one node", s.Address, s.Version)
	}
	if s.Status == statusLeaderless {
		sentence = fmt.Sprintf("The server at %s answers, but knows no leader: it accepts no writes", s.Address)
	}
	if err := a.printDone(s, s.Status, s.Status, sentence); err != nil {
		return err
	}
	if s.Status == statusLeaderless {
		return &failure{code: exitUnreachable, err: &api.Error{Kind: api.KindUnavailable, Message: sentence, Hint: "sluice cluster health"}, silent: true}
	}
	return nil
}
