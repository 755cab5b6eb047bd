package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
	"github.com/sluice-dev/sluice/cmd/sluice/node"
	"github.com/sluice-dev/sluice/fsm/snapshot"
)

func newSnapshotCommand(a *app) *cobra.Command {
	return group("snapshot", "Save and restore the whole state",
		"A snapshot is one file with the whole state of a cluster: flows, deployments, queues, runs, logs, stored values, settings.",
		"  sluice snapshot save backup.sluice\n  sluice snapshot inspect backup.sluice", newSnapshotSave(a), newSnapshotInspect(a), newSnapshotRestore(a))
}

func newSnapshotSave(a *app) *cobra.Command {
	var force, stale bool
	command := &cobra.Command{
		Use:   "save FILE",
		Short: "Save the whole state to a file",
		Long: `Save the whole state of the cluster to FILE, or with - to standard output, while everything goes on. Any node serves for it.
The snapshot has everything that was acknowledged before the command began. It is verified while it is written, and FILE
appears only when it is complete.`,
		Example: "  sluice snapshot save backup.sluice\n  sluice snapshot save - | gzip > backup.sluice.gz",
		Args:    cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			c, err := a.connect(0)
			if err != nil {
				return err
			}
			defer c.Close()
			return saveSnapshot(command.Context(), a, c, args[0], force, stale)
		},
	}
	command.Flags().BoolVar(&force, "force", false, "replace FILE if it exists")
	command.Flags().BoolVar(&stale, "stale", false, "take the node's state as it is, also when the cluster has no leader: the newest writes may be missing")
	return command
}

func saveSnapshot(ctx context.Context, a *app, c *client.Client, path string, force, stale bool) error {
	if path == "-" && a.outTTY {
		return usagef("a snapshot is no text for a terminal: sluice snapshot save - > FILE")
	}
	if path != "-" && !force {
		if _, err := os.Lstat(path); err == nil {
			return &failure{code: exitConflict, err: fmt.Errorf("%s exists already", path), hint: "another name, or --force to replace it"}
		}
	}
	stream, size, err := c.SaveSnapshot(ctx, stale)
	if err != nil {
		return fmt.Errorf("save a snapshot: %w", err)
	}
	defer stream.Close()
	progress := a.progress("saved", size)
	in := io.TeeReader(stream, progress)
	var header snapshot.Header
	if path == "-" {
		header, err = snapshot.Check(io.TeeReader(in, a.out))
	} else {
		err = node.WriteDurably(path, force, func(w io.Writer) (err error) {
			header, err = snapshot.Check(io.TeeReader(in, w))
			return err
		})
	}
	progress.end()
	switch {
	case errors.Is(err, os.ErrExist):
		return &failure{code: exitConflict, err: fmt.Errorf("%s exists already", path), hint: "another name, or --force to replace it"}
	case err != nil:
		return fmt.Errorf("save a snapshot: %w", err)
	case path == "-":
		a.note("Saved the state at index %d (%s, verified)", header.Index, byteCount(header.Bytes))
		return nil
	}
	sentence := fmt.Sprintf("Saved the state of cluster %s at index %d to %s (%s, verified)", header.ClusterID, header.Index, path, byteCount(header.Bytes))
	return a.printDone(node.SnapshotInfo(header), path, path, sentence)
}

// snapshotReport is what inspect prints.
type snapshotReport struct {
	api.SnapshotInfo
	PebbleFormat uint64           `json:"pebble_format"`
	Files        int              `json:"files"`
	Verified     string           `json:"verified"` // "checksums", or "everything": each object was read
	Objects      map[string]int64 `json:"objects,omitempty"`
	StateHash    string           `json:"state_hash,omitempty"`
}

func newSnapshotInspect(a *app) *cobra.Command {
	var quick bool
	command := &cobra.Command{
		Use:   "inspect FILE",
		Short: "Verify a snapshot and say what is in it",
		Long: `Verify a snapshot and say what is in it, without a server. All of it is read: the checksums of the file, then, from a copy in
the directory for temporary files (TMPDIR), every object; together they must have the hash that is noted in the state.`,
		Example: "  sluice snapshot inspect backup.sluice\n  sluice snapshot inspect backup.sluice -o json",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			report, err := inspectSnapshot(args[0], quick)
			if err != nil {
				return err
			}
			return showSnapshot(a, report)
		},
	}
	command.Flags().BoolVar(&quick, "quick", false, "verify the checksums only, without a copy")
	return command
}

func inspectSnapshot(path string, quick bool) (*snapshotReport, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, usagef("open the snapshot: %w", err)
	}
	defer file.Close()
	var header snapshot.Header
	report := &snapshotReport{Verified: "checksums"}
	if quick {
		header, err = snapshot.Check(bufio.NewReaderSize(file, 1<<20))
	} else {
		report.Verified = "everything"
		header, report.Objects, report.StateHash, err = node.ExamineSnapshot(bufio.NewReaderSize(file, 1<<20))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	report.SnapshotInfo, report.PebbleFormat, report.Files = node.SnapshotInfo(header), header.PebbleFormat, header.Files
	return report, nil
}

func showSnapshot(a *app, r *snapshotReport) error {
	if a.structured() || a.quiet {
		return a.printObject(r, r.ClusterID, r.ClusterID)
	}
	a.say("Cluster:     %s (%s)", r.ClusterID, r.ClusterName)
	a.say("Taken:       %s by node %s, sluice %s", r.Time, r.NodeID, r.Version)
	a.say("State:       index %d, term %d, incarnation %d, of %s", r.Index, r.Term, r.Incarnation, r.StateTime)
	a.say("Versions:    cluster %d, schema %d, tables %d", r.ClusterVersion, r.Schema, r.PebbleFormat)
	a.say("Size:        %s in %d files", byteCount(r.Bytes), r.Files)
	a.say("Verified:    %s", r.Verified)
	for _, name := range node.ObjectNames {
		if n := r.Objects[name]; n > 0 {
			a.say("  %-22s %d", name, n)
		}
	}
	return nil
}

func newSnapshotRestore(a *app) *cobra.Command {
	var missed string
	var yes, foreign bool
	command := &cobra.Command{
		Use:   "restore FILE",
		Short: "Replace the state of the running cluster by a snapshot",
		Long: `Replace the whole state of the running cluster by a snapshot, on all its nodes, while they run. Any node serves for it. The
file is verified here and by the cluster before anything is changed. Everything written since the snapshot is lost. Members,
certificates and the cluster's id stay as they are.

Runs that were being executed when the snapshot was taken count as crashed, those that an agent had taken and not begun wait
again; agents stop what they are executing now and take up work of the restored state.

Between the snapshot and now, scheduled runs fell due. They may have run already, in the state that is lost. --missed says
what becomes of them. There is no default, because either may be wrong; without it the command asks, or refuses:

    skip  they are cancelled, and schedules go on from now
    run   they run now, and schedules catch up as their deployments say (catchup)

A snapshot of another cluster is refused, unless the running one is empty, as it is after a disaster, or --foreign is given.`,
		Example: "  sluice snapshot restore backup.sluice --missed skip\n  sluice snapshot restore backup.sluice --missed run --yes",
		Args:    cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			switch missed {
			case "", api.MissedSkip, api.MissedRun:
			default:
				return usagef("--missed is %q; it is skip or run", missed)
			}
			c, err := a.connect(0)
			if err != nil {
				return err
			}
			defer c.Close()
			return restoreSnapshot(command.Context(), a, c, args[0], missed, yes, foreign)
		},
	}
	command.Flags().StringVar(&missed, "missed", "", "what becomes of scheduled runs that fell due since: skip or run")
	command.Flags().BoolVar(&yes, "yes", false, "do not ask")
	command.Flags().BoolVar(&foreign, "foreign", false, "allow the snapshot of another cluster to replace a state")
	completeWords(command, "missed", api.MissedSkip, api.MissedRun)
	return command
}

func restoreSnapshot(ctx context.Context, a *app, c *client.Client, path, missed string, yes, foreign bool) error {
	report, err := inspectSnapshot(path, true)
	if err != nil {
		return err
	}
	progress := a.progress("sent", report.Bytes)
	staged, err := c.StageSnapshot(ctx, report.Bytes, foreign, func() (io.ReadCloser, error) {
		file, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("open the snapshot: %w", err)
		}
		progress.reset()
		return readCloser{io.TeeReader(file, progress), file}, nil
	})
	progress.end()
	if err != nil {
		return fmt.Errorf("send the snapshot: %w", err)
	}
	missed, err = confirmRestore(ctx, a, staged, missed, yes)
	if err != nil {
		return errors.Join(err, c.DiscardSnapshot(context.WithoutCancel(ctx), staged.ID))
	}
	restored, err := c.RestoreSnapshot(ctx, staged.ID, missed)
	if err != nil {
		return settleRestore(ctx, c, staged, err)
	}
	return a.printDone(restored, fmt.Sprint(restored.Index), fmt.Sprint(restored.Index),
		fmt.Sprintf("Restored the state of %s at index %d, incarnation %d; executions ended: %d, missed runs skipped: %d", staged.Snapshot.StateTime, restored.Index,
			restored.Incarnation, restored.Ended, restored.Skipped))
}

// confirmRestore says what a restore means and asks what was not said on the command line.
func confirmRestore(ctx context.Context, a *app, staged *api.StagedSnapshot, missed string, yes bool) (string, error) {
	ask := &prompter{ctx: ctx, app: a, lines: bufio.NewReader(a.in)}
	info := staged.Snapshot
	a.note("The snapshot is of cluster %s (%s), as it was at %s; its checksums are right.", info.ClusterID, info.ClusterName, info.StateTime)
	switch {
	case staged.Empty:
		a.note("The running cluster is empty.")
	case staged.Foreign:
		a.note("The running cluster is another one and not empty: all it holds is replaced.")
	default:
		a.note("All that was written since is lost.")
	}
	if len(staged.MissingKeys) > 0 {
		a.note("Blocks in it are encrypted with the key %s, which the leader does not have: they cannot be read until it is added to the nodes' key files.", strings.Join(staged.MissingKeys, " and "))
	}
	if staged.Leased > 0 {
		a.note("Runs that were being executed then: %d. They end as crashed, or wait again if they had not begun.", staged.Leased)
	}
	if staged.Due > 0 {
		a.note("Scheduled runs that fell due since then: %d.", staged.Due)
		for missed == "" {
			if yes || !a.inTTY {
				return "", &failure{code: exitUsage, err: fmt.Errorf("%d scheduled runs fell due between the snapshot and now", staged.Due),
					hint: "--missed skip if they ran already or are not wanted, --missed run if they are to run now"}
			}
			answer, err := ask.line("Run them now, or skip them? [run/skip]: ")
			if err != nil {
				return "", err
			}
			if answer == api.MissedSkip || answer == api.MissedRun {
				missed = answer
			}
		}
	}
	if yes {
		return missed, nil
	}
	if !a.inTTY {
		return "", &failure{code: exitUsage, err: errors.New("this replaces the state of the running cluster, and nobody can be asked"), hint: "the same command with --yes"}
	}
	answer, err := ask.line("Replace the state of the running cluster? [y/N]: ")
	if err != nil {
		return "", err
	}
	if answer = strings.ToLower(answer); answer != "y" && answer != "yes" {
		return "", &failure{code: exitError, err: errors.New("nothing was changed")}
	}
	return missed, nil
}

// settleRestore looks whether a restore happened whose answer did not come.
func settleRestore(ctx context.Context, c *client.Client, staged *api.StagedSnapshot, err error) error {
	known, ok := errors.AsType[*api.Error](err)
	if !ok || known.Kind != api.KindUnknownOutcome && known.Kind != api.KindUnreachable && known.Kind != api.KindNotFound {
		return fmt.Errorf("restore the snapshot: %w", err)
	}
	cluster, cerr := c.Cluster(ctx)
	switch {
	case cerr != nil:
		return fmt.Errorf("restore the snapshot: %w", err)
	case cluster.Incarnation >= staged.Incarnation:
		return fmt.Errorf("the state was replaced by the snapshot (it has incarnation %d), but not all went well: %w", cluster.Incarnation, err)
	}
	return fmt.Errorf("the state was not replaced, as far as node %s knows (it has incarnation %d, not %d): %w", cluster.NodeID, cluster.Incarnation, staged.Incarnation, err)
}

type readCloser struct {
	io.Reader
	io.Closer
}

// progress shows on a terminal how far a transfer is.
type progress struct {
	a     *app
	verb  string
	total int64
	done  int64
	shown time.Time
	drawn bool
}

func (a *app) progress(verb string, total int64) *progress {
	return &progress{a: a, verb: verb, total: total, shown: time.Now()}
}

func (p *progress) reset() { p.done = 0 }

// Write counts bytes that passed.
func (p *progress) Write(b []byte) (int, error) {
	p.done += int64(len(b))
	if now := time.Now(); !p.a.quiet && p.a.outTTY && now.Sub(p.shown) > 200*time.Millisecond {
		p.shown, p.drawn = now, true
		of := ""
		if p.total > 0 {
			of = fmt.Sprintf(" of %s (%d %%)", byteCount(p.total), 100*p.done/p.total)
		}
		fmt.Fprintf(p.a.err, "\r%s %s%s   ", p.verb, byteCount(p.done), of)
	}
	return len(b), nil
}

func (p *progress) end() {
	if p.drawn {
		fmt.Fprint(p.a.err, "\r"+strings.Repeat(" ", 60)+"\r")
	}
}

// byteCount is a size for people.
func byteCount(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%.0f GiB", float64(n)/(1<<30))
	case n >= 10<<20:
		return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20))
	case n >= 10<<10:
		return fmt.Sprintf("%.0f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d bytes", n)
}
