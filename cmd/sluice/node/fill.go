package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sluice-dev/sluice/bench/dataset"
	"github.com/sluice-dev/sluice/cluster"
	"github.com/sluice-dev/sluice/fsm"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/kv/pebblekv"
	"github.com/sluice-dev/sluice/fsm/snapshot"
)

// fillBatch is how many commands reach the store at once.
const fillBatch = 1000

// fixedClock stands still.
type fixedClock time.Time

func (c fixedClock) Now() time.Time { return time.Time(c) }

// Fill makes the data directory of a single node and fills its state with a data set, each command at its own time, through the state
// machine but not through a log: the node starts from the state as after a snapshot. The directory must not be one of a node.
func Fill(ctx context.Context, dir, version string, c dataset.Config, log *slog.Logger, progress func(commands int)) (commands int, err error) {
	if _, err := os.Stat(filepath.Join(dir, "node.json")); err == nil {
		return 0, fmt.Errorf("%s is a node's data directory already: choose an empty one", dir)
	}
	if err := found(ctx, dir, version, fixedClock(c.Until.Add(-c.Span-time.Hour)), log); err != nil {
		return 0, err
	}
	data, err := cluster.OpenDataDir(dir)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, data.Close()) }()
	lock := new(sync.Mutex)
	holder, err := snapshot.Open(snapshot.Config{DataDir: dir, KV: pebblekv.Options{Logger: log}, ApplyLock: lock, Logger: log})
	if err != nil {
		return 0, fmt.Errorf("open the state: %w", err)
	}
	defer func() { err = errors.Join(err, holder.Current().Sync(), holder.Close()) }()
	machine, err := fsm.New(stateStorage{holder}, lock, log)
	if err != nil {
		return 0, fmt.Errorf("open the state machine: %w", err)
	}
	defer func() { err = errors.Join(err, machine.Close()) }()
	meta, err := snapshot.ReadMeta(holder.Current())
	if err != nil {
		return 0, err
	}
	index, term := meta.Last()
	return fill(ctx, machine, index, term, c, progress)
}

// found founds a cluster of one node at the time of the clock.
func found(ctx context.Context, dir, version string, clock cluster.Clock, log *slog.Logger) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	n, err := Start(ctx, Config{DataDir: dir, Listener: listener.(*net.TCPListener), InternalAddr: "127.0.0.1:0", BootstrapExpect: 1, Version: version, Clock: clock, Logger: log})
	if err != nil {
		return err
	}
	return errors.Join(n.WaitReady(ctx), n.Stop(ctx))
}

// fill applies the data set after the entry index; making and applying it go on side by side.
func fill(ctx context.Context, machine *fsm.FSM, index, term uint64, c dataset.Config, progress func(int)) (int, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	batches := make(chan []*raft.Log, 4)
	go func() {
		defer close(batches)
		var batch []*raft.Log
		hand := func() error {
			select {
			case batches <- batch:
				batch = nil
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		err := c.Each(func(s dataset.Step) error {
			data, err := command.Encode(s.Command)
			if err != nil {
				return err
			}
			index++
			entry := command.Entry{Stamp: s.At.UnixMicro(), Batches: []command.Batch{{Commands: [][]byte{data}}}}
			batch = append(batch, &raft.Log{Index: index, Term: term, Type: raft.LogCommand, Data: command.AppendEntry(nil, entry)})
			if len(batch) < fillBatch {
				return nil
			}
			return hand()
		})
		if err == nil && len(batch) > 0 {
			err = hand()
		}
		if err != nil {
			cancel(err)
		}
	}()
	commands := 0
	var failure error
	for batch := range batches {
		if failure != nil {
			continue // the other side is about to stop
		}
		for i, answer := range machine.ApplyBatch(batch) {
			if err := checkApplied(answer); err != nil {
				failure = fmt.Errorf("command %d: %w", commands+i, err)
				cancel(failure)
				break
			}
		}
		commands += len(batch)
		if progress != nil && commands%(100*fillBatch) == 0 {
			progress(commands)
		}
	}
	return commands, errors.Join(failure, context.Cause(ctx))
}

// checkApplied returns an error unless the command was applied to what it names.
func checkApplied(answer any) error {
	r, ok := answer.(*command.EntryResult)
	switch {
	case !ok:
		return errors.New("it was not applied")
	case r.Err != nil:
		return r.Err
	}
	result, err := command.DecodeResult(r.Batches[0].Results[0])
	if err != nil {
		return err
	}
	if result.Code != command.Result_OK {
		return fmt.Errorf("it was refused: %v", result)
	}
	// A state that is refused is as in life: the subflows of a run that was cancelled are cancelled too.
	return nil
}
