package fsm

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/kv"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
)

// Restoration says what becomes of a snapshot's state when an operator makes it the state of this cluster.
type Restoration struct {
	// ClusterID, Lineage and Incarnation are the running cluster's; the snapshot's own are united with them.
	ClusterID   string
	Lineage     []string
	Incarnation uint32
	// ClusterVersion is the running cluster's. The state is raised to it; one above it is refused.
	ClusterVersion uint64
	// Now is the time of the restore.
	Now time.Time
	// SkipMissed cancels the runs that fell due between the snapshot and now, and makes none for fire times in between.
	SkipMissed bool
	// Seed is 16 fresh bytes from which ids derive.
	Seed []byte
}

// Gap is what a snapshot's state says of the time since.
type Gap struct {
	// Since is the state's own time; what fell due after it fell into the gap.
	Since time.Time
	// Due counts the scheduled runs that fell due in the gap, Schedules the active schedules that go on from it.
	Due, Schedules int
	// Leased counts the runs that were being executed.
	Leased int
}

// Restored is what PrepareRestore did.
type Restored struct {
	Incarnation uint32 `json:"incarnation"`
	Ended       int    `json:"ended"`   // executions whose lease is void
	Skipped     int    `json:"skipped"` // runs that were cancelled because they fell into the gap
}

// InspectGap looks at a snapshot's state before it is restored.
func InspectGap(r kv.Reader, now time.Time) (Gap, error) {
	v := state.NewView(r, 0, nil)
	last, err := v.LastTime()
	if err != nil {
		return Gap{}, err
	}
	g := Gap{Since: time.UnixMicro(last)}
	err = errors.Join(
		v.ScheduledFlowRuns(last+1, now.UnixMicro()+1, func(*row.FlowRun) (bool, error) { g.Due++; return true, nil }),
		v.EachActiveSchedule(func(*row.Deployment) (bool, error) { g.Schedules++; return true, nil }),
		v.LeasedFlowRuns(func(*row.FlowRun) (bool, error) { g.Leased++; return true, nil }))
	if err != nil {
		return Gap{}, fmt.Errorf("look at the snapshot's state: %w", err)
	}
	return g, nil
}

// CheckRestore refuses a snapshot's state that a cluster of that version must not be given.
func CheckRestore(r kv.Reader, clusterVersion uint64) error {
	v := state.NewView(r, 0, nil)
	version, err := v.ClusterVersion()
	if err != nil {
		return err
	}
	if version > clusterVersion {
		return fmt.Errorf("%w: the snapshot is of a cluster of version %d, this cluster has version %d: upgrade every node first, which raises it",
			ErrVersion, version, clusterVersion)
	}
	return v.CheckSchema()
}

// restoreChunk is how many runs one batch changes.
const restoreChunk = 200

// PrepareRestore rewrites a snapshot's state, in a database that nobody else uses, into one that this cluster can go on from: no
// lease of it is valid any more, no session and no claim is remembered, no leader's epoch is under way, and it has a new
// incarnation. Its caller makes it durable; after an error the database is of no use.
func PrepareRestore(store kv.Store, c Restoration) (Restored, error) {
	p := &preparation{store: store, c: c}
	for _, step := range []func() error{p.identify, p.buildIndexes, p.voidLeases, p.skipMissed, p.forgetClaims} {
		if err := step(); err != nil {
			return Restored{}, fmt.Errorf("prepare the snapshot's state: %w", err)
		}
	}
	return p.done, nil
}

type preparation struct {
	store  kv.Store
	c      Restoration
	since  int64  // the state's own time in the snapshot, µs
	now    int64  // of everything that is written, µs
	chunks uint32 // batches so far: each derives its own ids
	taken  string // when the snapshot was taken, for people
	done   Restored
}

// write commits what fn does as one batch.
func (p *preparation) write(fn func(a *applier) error) error {
	b := p.store.NewBatch()
	defer b.Close()
	p.chunks++
	a := &applier{tx: state.NewTx(b), cache: &cache{}, now: p.now, env: &command.Envelope{Actor: "restore", Seed: command.DeriveID(p.c.Seed, p.chunks)}}
	err := fn(a)
	if err == nil {
		err = a.tx.Flush()
	}
	if err == nil {
		err = p.store.Commit(b, false)
	}
	return err
}

func (p *preparation) view() *state.View { return state.NewView(p.store, 0, nil) }

func (p *preparation) identify() error {
	if err := CheckRestore(p.store, p.c.ClusterVersion); err != nil {
		return err
	}
	v := p.view()
	last, err1 := v.LastTime()
	id, err2 := v.ClusterID()
	lineage, err3 := v.Lineage()
	incarnation, err4 := v.Incarnation()
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return err
	}
	p.since, p.now = last, max(last, p.c.Now.UnixMicro())
	p.taken = time.UnixMicro(last).UTC().Format(time.RFC3339)
	all := slices.Concat(lineage, p.c.Lineage)
	if id != "" {
		all = append(all, id)
	}
	slices.Sort(all)
	all = slices.DeleteFunc(slices.Compact(all), func(x string) bool { return x == p.c.ClusterID })
	p.done.Incarnation = max(incarnation, p.c.Incarnation) + 1
	return p.write(func(a *applier) error {
		return errors.Join(a.tx.SetClusterID(p.c.ClusterID), a.tx.SetLineage(all), a.tx.SetIncarnation(p.done.Incarnation),
			a.tx.SetEpoch(0, 0), a.tx.SetLastTime(p.now), a.tx.ForgetSessions(), a.tx.ForgetCheckpoint(), a.tx.SetClusterVersion(p.c.ClusterVersion),
			a.tx.InitSchema())
	})
}

// buildIndexes fills what the snapshot's binary did not index: what follows relies on it.
func (p *preparation) buildIndexes() error {
	numbers, err := p.view().BuildingIndexes()
	if err != nil {
		return err
	}
	for _, number := range numbers {
		for done := false; !done; {
			err := p.write(func(a *applier) error {
				done, err = a.tx.BuildIndex(number, 10*restoreChunk)
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// voidLeases ends what was being executed at the snapshot's time, as if the owners had fallen silent: a run that an agent had not
// begun waits again, what was under way has crashed.
func (p *preparation) voidLeases() error {
	var held []*row.FlowRun
	err := p.view().LeasedFlowRuns(func(r *row.FlowRun) (bool, error) {
		held = append(held, &row.FlowRun{Id: r.Id, Lease: r.Lease})
		return true, nil
	})
	if err != nil {
		return err
	}
	reason := fmt.Sprintf("the cluster was restored from a snapshot of %s, in which this run was being executed", p.taken)
	for chunk := range slices.Chunk(held, restoreChunk) {
		c := &command.ExpireLeases{}
		for _, r := range chunk {
			c.Expired = append(c.Expired, &command.ExpireLeases_Expired{FlowRunId: r.Id, TokenIndex: r.Lease.TokenIndex,
				TokenOrdinal: r.Lease.TokenOrdinal, Reason: reason})
		}
		err := p.write(func(a *applier) error {
			result, err := a.expireLeases(c)
			p.done.Ended += int(result.GetCount())
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// skipMissed cancels the runs that were to begin between the snapshot and now, and moves schedules on to now. Runs that were due
// before wait on: they had waited when the snapshot was taken.
func (p *preparation) skipMissed() error {
	if !p.c.SkipMissed {
		return nil
	}
	var due [][]byte
	err := p.view().ScheduledFlowRuns(p.since+1, p.now+1, func(r *row.FlowRun) (bool, error) {
		due = append(due, r.Id)
		return true, nil
	})
	if err != nil {
		return err
	}
	message := fmt.Sprintf("skipped: it was due between the snapshot of %s and its restore at %s", p.taken, time.UnixMicro(p.now).UTC().Format(time.RFC3339))
	for chunk := range slices.Chunk(due, restoreChunk) {
		err := p.write(func(a *applier) error {
			for _, id := range chunk {
				if _, err := a.cancelFlowRun(&command.CancelFlowRun{Id: id, Message: message}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		p.done.Skipped += len(chunk)
	}
	var behind [][]byte
	err = p.view().EachActiveSchedule(func(d *row.Deployment) (bool, error) {
		if d.NextFire < p.now {
			behind = append(behind, d.Id)
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	for chunk := range slices.Chunk(behind, restoreChunk) {
		err := p.write(func(a *applier) error {
			for _, id := range chunk {
				e, err := a.tx.EditDeployment(id)
				if err != nil {
					return err
				}
				e.Row.NextFire = p.now
				if err := e.Save(); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// forgetClaims makes a claim that is repeated a new one: what it was granted is void.
func (p *preparation) forgetClaims() error {
	for more := true; more; {
		err := p.write(func(a *applier) error {
			result, err := a.purgeClaims(&command.PurgeClaims{Before: math.MaxInt64, Limit: restoreChunk})
			more = result.GetCount() == restoreChunk
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
