package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/cluster"
	"github.com/sluice-dev/sluice/cmd/sluice/node"
)

func newClusterRecover(a *app) *cobra.Command {
	var dir string
	var yes, force, dryRun bool
	command := &cobra.Command{
		Use:   "recover",
		Short: "Make a cluster of one of a survivor, after a quorum is lost",
		Long: `Make a cluster of one of the node whose data directory is on this machine. It is the last resort: for a cluster of which so
many nodes are lost for good that the others are no majority. As long as the missing nodes, or their disks, may come back,
start them instead.

The node's server must be stopped. Of several survivors recover the one with the highest last entry, which --dry-run shows,
and wipe the data directories of the others. What this node never received is lost. Entries whose fate only the lost nodes
knew are kept: their writers were told nothing, or that the outcome is unknown.

The recovered cluster has a new id, so that a lost node that comes back cannot mix its log with it. Start the node with its
usual command line, then the others with theirs and empty data directories: they join.`,
		Example: "  sluice cluster recover --data-dir /var/lib/sluice --dry-run\n  sluice cluster recover --data-dir /var/lib/sluice",
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if dir == "" {
				dir = filepath.Join(a.home(), "data")
			}
			return recoverCluster(command.Context(), a, dir, yes, force, dryRun)
		},
	}
	flags := command.Flags()
	flags.StringVar(&dir, "data-dir", "", "directory of the node's data (default "+filepath.Join("$SLUICE_HOME", "data")+")")
	flags.BoolVar(&yes, "yes", false, "do not ask")
	flags.BoolVar(&dryRun, "dry-run", false, "say what would be done, and change nothing")
	flags.BoolVar(&force, "force", false, "recover although other members answer: if they are a majority, there will be two clusters with different states")
	return command
}

// errDryRun ends a recovery after its plan.
var errDryRun = errors.New("dry run")

func recoverCluster(ctx context.Context, a *app, dir string, yes, force, dryRun bool) error {
	logger, err := a.logger()
	if err != nil {
		return err
	}
	done, err := node.Recover(ctx, dir, logger, func(r cluster.Recovery) error {
		a.note("This is node %s of cluster %s. The other members are:", r.NodeID, r.ClusterID)
		for _, m := range r.Lost {
			a.note("  %s at %s", m.ID, m.Addr)
		}
		a.note("The state has every entry up to %d; the log ends at %d, term %d.", r.Applied, r.Last, r.Term)
		if r.Last > r.Applied {
			a.note("Entries %d to %d are in doubt, with %d writes: whether a majority had them cannot be known. They are kept.", r.Applied+1, r.Last, r.CommandsInDoubt)
		}
		switch {
		case dryRun:
			return errDryRun
		case len(r.Answering) > 0 && !force:
			var at []string
			for _, m := range r.Answering {
				at = append(at, m.Addr)
			}
			return &failure{code: exitConflict, err: fmt.Errorf("other members answer, at %s", strings.Join(at, ", ")),
				hint: "start this node and let them elect a leader; if something else listens there, or they are to be wiped, stop them or add --force"}
		case yes:
			return nil
		}
		ask := &prompter{ctx: ctx, app: a, lines: bufio.NewReader(a.in)}
		answer, err := ask.line("Are these members lost for good? Then type the first 8 characters of this node's id: ")
		if err != nil {
			return err
		}
		if answer != r.NodeID[:8] {
			return &failure{code: exitError, err: errors.New("nothing was changed")}
		}
		return nil
	})
	switch {
	case errors.Is(err, errDryRun):
		return a.printDone(done, done.NodeID, done.NodeID, "Nothing was changed")
	case errors.Is(err, cluster.ErrDataDirInUse), errors.Is(err, cluster.ErrNothingToRecover):
		return &failure{code: exitConflict, err: err}
	case err != nil:
		return err
	}
	return a.printDone(done, done.NewClusterID, done.NewClusterID, fmt.Sprintf("Node %s is now cluster %s of one, at index %d. Start it with its usual command line, "+
		"then the others with empty data directories.", done.NodeID, done.NewClusterID, done.NewIndex))
}
