package fsm

import (
	"errors"
	"fmt"

	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
)

// sessionLife is how long a silent session is remembered, in µs: no node repeats a batch for longer than its caller waits.
const sessionLife = 10 * 60 * 1_000_000

func (a *applier) leaderEpoch(c *command.LeaderEpoch) (*command.Result, error) {
	id, err := a.tx.ClusterID()
	if err != nil {
		return nil, err
	}
	if id == "" && c.ClusterId != "" {
		a.system = true
		// A cluster begins at the lowest version that its founder supports.
		if err := errors.Join(a.tx.SetClusterID(c.ClusterId), a.tx.SetClusterVersion(max(1, uint64(c.ClusterVersion)))); err != nil {
			return nil, err
		}
	}
	if err := a.supports(); err != nil {
		return nil, err
	}
	if err := a.tx.InitSchema(); err != nil {
		return nil, err
	}
	// Each start of a node begins a session, and before long an epoch: here the sessions of former lives end.
	if err := a.tx.PurgeSessions(a.now - sessionLife); err != nil {
		return nil, err
	}
	if err := a.tx.AddReign(&row.Reign{Epoch: a.index, Term: c.Term, NodeId: c.NodeId, NodeName: c.NodeName, Since: a.now}); err != nil {
		return nil, err
	}
	return &command.Result{}, a.tx.SetEpoch(a.index, c.Term)
}

// supports refuses to go on in a cluster version that this binary does not know.
func (a *applier) supports() error {
	version, err := a.tx.ClusterVersion()
	if err == nil && !a.supported.Contains(version) {
		err = fmt.Errorf("%w: the cluster is raised to version %d, this binary supports %s", command.ErrUnknownCommand, version, a.supported)
	}
	return err
}

// raiseVersion makes what the version adds count from here on.
func (a *applier) raiseVersion(version uint64) (*command.Result, error) {
	now, err := a.tx.ClusterVersion()
	if err != nil || version <= now {
		return &command.Result{}, err
	}
	a.system = true
	if err := a.tx.SetClusterVersion(version); err != nil {
		return nil, err
	}
	if err := a.supports(); err != nil {
		return nil, err
	}
	return &command.Result{Created: true}, a.tx.InitSchema()
}

// checkpoint notes the hash of the state at this entry.
func (a *applier) checkpoint() (*command.Result, error) {
	a.system = true
	_, err := a.tx.SetCheckpoint(a.index)
	return &command.Result{}, err
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
