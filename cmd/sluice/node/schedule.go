package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-dev/sluice/fsm/snapshot"
	httpapi "github.com/sluice-dev/sluice/http"
)

// SnapshotSchedule says where a node regularly saves its state. Every node that has one does so by itself: no leader needs to be asked
// for it, and the files lie on several machines.
type SnapshotSchedule struct {
	// Dir takes the files; "" is no schedule. Nodes may share it: a node replaces and counts only its own files.
	Dir string
	// Interval is the time from one snapshot to the next, Keep how many of this node's are kept.
	Interval time.Duration
	Keep     int
}

// scheduledSnapshots saves the state to a directory, again and again.
type scheduledSnapshots struct {
	c     SnapshotSchedule
	save  func(ctx context.Context) (httpapi.SavedSnapshot, error)
	id    string // of the node: part of the files' names
	now   func() time.Time
	log   *slog.Logger
	end   context.CancelFunc
	work  sync.WaitGroup
	taken atomic.Int64 // when the newest good snapshot was taken, Unix seconds; 0: there is none

	failures prometheus.Counter
	size     prometheus.Gauge
	duration prometheus.Gauge
}

const (
	// snapshotTries is how often a failed snapshot is tried within an interval, firstTry how long after the start the first one is due at
	// the earliest: a node that starts has other things to do.
	snapshotTries = 10
	firstTry      = 5 * time.Second
	// saveTimeout bounds the wait for the cluster before a snapshot begins.
	saveTimeout = 30 * time.Second
	// stampFormat orders names by time.
	stampFormat = "20060102T150405Z"
	fileSuffix  = ".sluice"
)

func newScheduledSnapshots(c SnapshotSchedule, id string, s *snapshots, now func() time.Time, registry prometheus.Registerer, log *slog.Logger) *scheduledSnapshots {
	x := &scheduledSnapshots{c: c, id: id, now: now, log: log,
		save: func(ctx context.Context) (httpapi.SavedSnapshot, error) { return s.Save(ctx, httpapi.Linearizable) },
		failures: prometheus.NewCounter(prometheus.CounterOpts{Name: "sluice_snapshot_scheduled_failures_total",
			Help: "Scheduled snapshots that could not be saved."}),
		size: prometheus.NewGauge(prometheus.GaugeOpts{Name: "sluice_snapshot_scheduled_last_bytes", Help: "Size of the last scheduled snapshot."}),
		duration: prometheus.NewGauge(prometheus.GaugeOpts{Name: "sluice_snapshot_scheduled_last_duration_seconds",
			Help: "How long the last scheduled snapshot took to save and verify."}),
	}
	registry.MustRegister(x.failures, x.size, x.duration,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "sluice_snapshot_scheduled_last_success_timestamp_seconds",
			Help: "When the newest scheduled snapshot in the directory was taken, Unix time; 0: there is none."}, func() float64 { return float64(x.taken.Load()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "sluice_snapshot_scheduled_interval_seconds",
			Help: "The time that is to lie between scheduled snapshots."}, func() float64 { return c.Interval.Seconds() }))
	return x
}

// start makes the directory, so that a wrong one is an error at once, and begins.
func (x *scheduledSnapshots) start() error {
	if err := os.MkdirAll(x.c.Dir, 0o700); err != nil {
		return fmt.Errorf("make the directory of scheduled snapshots: %w", err)
	}
	files, err := x.files()
	if err != nil {
		return err
	}
	if len(files) > 0 {
		// One from a time to come says nothing of its age: the next is due at once.
		if newest := x.stamp(files[len(files)-1]); !newest.After(x.now()) {
			x.taken.Store(newest.Unix())
		}
	}
	ctx, end := context.WithCancel(context.Background())
	x.end = end
	x.work.Go(func() { x.loop(ctx) })
	return nil
}

// stop ends what is being saved and returns when nothing runs any more.
func (x *scheduledSnapshots) stop() {
	if x.end != nil {
		x.end()
	}
	x.work.Wait()
}

func (x *scheduledSnapshots) loop(ctx context.Context) {
	// The next one is due an interval after the last, also over restarts.
	wait := min(x.c.Interval, max(firstTry, time.Unix(x.taken.Load(), 0).Add(x.c.Interval).Sub(x.now())))
	for {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		began := time.Now()
		wait = x.c.Interval
		path, h, err := x.take(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			x.failures.Inc()
			wait = max(x.c.Interval/snapshotTries, time.Second)
			x.log.Error("a scheduled snapshot could not be saved", "dir", x.c.Dir, "error", err, "again_in", wait)
		default:
			x.size.Set(float64(h.Bytes))
			x.duration.Set(time.Since(began).Seconds())
			x.log.Info("scheduled snapshot saved", "file", path, "index", h.Index, "bytes", h.Bytes)
		}
	}
}

// take saves one snapshot, verified, and then removes those that are too many.
func (x *scheduledSnapshots) take(ctx context.Context) (path string, h snapshot.Header, err error) {
	bounded, cancel := context.WithTimeout(ctx, saveTimeout)
	saved, err := x.save(bounded)
	cancel()
	if err != nil {
		return "", h, err
	}
	defer saved.Stream.Close()
	stop := context.AfterFunc(ctx, func() { _ = saved.Stream.Close() }) // ends the reading
	defer stop()
	now := x.now().UTC()
	path = filepath.Join(x.c.Dir, x.prefix()+now.Format(stampFormat)+fileSuffix)
	err = WriteDurably(path, true, func(w io.Writer) (err error) {
		h, err = snapshot.Check(io.TeeReader(saved.Stream, w))
		return err
	})
	if err == nil {
		err = x.verify(path, h)
	}
	if err != nil {
		return "", h, err
	}
	x.taken.Store(now.Unix())
	return path, h, x.prune()
}

// verify reads what is on the disk: what was written there may not be what was sent.
func (x *scheduledSnapshots) verify(path string, want snapshot.Header) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	h, err := snapshot.Check(f)
	if err = errors.Join(err, f.Close()); err == nil && (h.Index != want.Index || h.Bytes != want.Bytes) {
		err = fmt.Errorf("%s is of index %d with %d bytes, written was %d with %d", path, h.Index, h.Bytes, want.Index, want.Bytes)
	}
	if err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// prune removes the oldest of this node's snapshots beyond those that are kept, and what a process left that was killed while writing.
func (x *scheduledSnapshots) prune() error {
	files, err := x.files()
	if err != nil {
		return err
	}
	left, err := filepath.Glob(filepath.Join(x.c.Dir, "."+x.prefix()+"*.tmp"))
	if err != nil {
		return err
	}
	for _, name := range files[:max(0, len(files)-x.c.Keep)] {
		left = append(left, filepath.Join(x.c.Dir, name))
	}
	var errs []error
	for _, path := range left {
		if err := os.Remove(path); err != nil {
			errs = append(errs, fmt.Errorf("remove an old snapshot: %w", err))
		}
	}
	return errors.Join(errs...)
}

func (x *scheduledSnapshots) prefix() string { return "sluice-" + x.id + "-" }

func (x *scheduledSnapshots) stamp(name string) time.Time {
	t, _ := time.Parse(stampFormat, strings.TrimSuffix(strings.TrimPrefix(name, x.prefix()), fileSuffix)) // zero for other names
	return t
}

// files lists this node's snapshots, the oldest first. Those that bear a time to come are the oldest: the clock was ahead when they were
// taken. Else they would stand in the place of all new ones until their time has come.
func (x *scheduledSnapshots) files() ([]string, error) {
	entries, err := os.ReadDir(x.c.Dir)
	if err != nil {
		return nil, fmt.Errorf("look into the directory of scheduled snapshots: %w", err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), x.prefix()) && strings.HasSuffix(e.Name(), fileSuffix) && !x.stamp(e.Name()).IsZero() {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	now := x.now().UTC().Format(stampFormat)
	ahead := slices.IndexFunc(names, func(name string) bool { return strings.TrimPrefix(name, x.prefix()) > now+fileSuffix })
	if ahead < 0 {
		return names, nil
	}
	return slices.Concat(names[ahead:], names[:ahead]), nil
}
