package fsm

import (
	"errors"
	"fmt"

	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/state"
)

// sessionLife is how long a silent session is remembered, in µs: no node repeats a batch for longer than its caller waits.
const sessionLife = 10 * 60 * 1_000_000

func (a *applier) leaderEpoch(c *command.LeaderEpoch) (*command.Result, error) {
	if err := a.tx.InitSchema(); err != nil {
		return nil, err
	}
	id, err := a.tx.ClusterID()
	if err != nil {
		return nil, err
	}
	if id == "" && c.ClusterId != "" {
		if err := a.tx.SetClusterID(c.ClusterId); err != nil {
			return nil, err
		}
	}
	// Each start of a node begins a session, and before long an epoch: here the sessions of former lives end.
	if err := a.tx.PurgeSessions(a.now - sessionLife); err != nil {
		return nil, err
	}
	return &command.Result{}, a.tx.SetEpoch(a.index, c.Term)
}

func (a *applier) buildIndex(c *command.BuildIndex) (*command.Result, error) {
	done, err := a.tx.BuildIndex(byte(c.Index), int(c.Limit))
	if errors.Is(err, state.ErrUnknownIndex) {
		return nil, fmt.Errorf("%w: %w", command.ErrUnknownCommand, err)
	}
	if err != nil {
		return nil, err
	}
	return &command.Result{Created: done}, nil
}
