package node

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-dev/sluice/fsm/kv/pebblekv"
	"github.com/sluice-dev/sluice/fsm/snapshot"
	httpapi "github.com/sluice-dev/sluice/http"
)

// aSnapshot returns the bytes of a small snapshot.
func aSnapshot(t *testing.T) []byte {
	t.Helper()
	h, err := snapshot.Open(snapshot.Config{DataDir: "data", KV: pebblekv.Options{FS: vfs.NewMem()}, ApplyLock: new(sync.Mutex)})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := h.Reposition(7, 1, raft.Configuration{}, nil); err != nil {
		t.Fatal(err)
	}
	_, rc, err := snapshot.NewStore(h).Open("live")
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	b, err := io.ReadAll(rc)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// schedule is a schedule whose time and source of snapshots are a test's.
type schedule struct {
	*scheduledSnapshots
	clock  atomic.Int64 // Unix seconds
	source atomic.Pointer[[]byte]

	registry *prometheus.Registry
}

// metric is a value as /metrics shows it.
func (s *schedule) metric(t *testing.T, name string) float64 {
	t.Helper()
	families, err := s.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue() + f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

func newSchedule(t *testing.T, dir, id string, keep int) *schedule {
	s := &schedule{registry: prometheus.NewRegistry()}
	s.clock.Store(1_700_000_000)
	good := aSnapshot(t)
	s.source.Store(&good)
	s.scheduledSnapshots = newScheduledSnapshots(SnapshotSchedule{Dir: dir, Interval: time.Hour, Keep: keep}, id, nil,
		func() time.Time { return time.Unix(s.clock.Load(), 0) }, s.registry, slog.New(slog.DiscardHandler))
	s.save = func(context.Context) (httpapi.SavedSnapshot, error) {
		b := *s.source.Load()
		if b == nil {
			return httpapi.SavedSnapshot{}, errors.New("no leader")
		}
		return httpapi.SavedSnapshot{Stream: io.NopCloser(bytes.NewReader(b)), Bytes: int64(len(b))}, nil
	}
	return s
}

func (s *schedule) names(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(s.c.Dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestANodeKeepsItsNewestSnapshots(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, other := newSchedule(t, dir, "one", 3), newSchedule(t, dir, "two", 3)
	if _, _, err := other.take(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".sluice-one-20200101T000000Z.sluice.1.tmp"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		s.clock.Add(3600)
		if _, _, err := s.take(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	own, err := s.files()
	if err != nil || len(own) != 3 || !s.stamp(own[2]).Equal(time.Unix(s.clock.Load(), 0)) || len(s.names(t)) != 4 {
		t.Errorf("kept %v of %v, %v", own, s.names(t), err)
	}
	if got := s.metric(t, "sluice_snapshot_scheduled_last_success_timestamp_seconds"); got != float64(s.clock.Load()) {
		t.Errorf("the last success was at %v, want %d", got, s.clock.Load())
	}
	// What cannot be saved costs none of those that are kept.
	good := *s.source.Load()
	for what, bad := range map[string][]byte{"cut short": good[:len(good)-1], "no leader": nil} {
		s.source.Store(&bad)
		s.clock.Add(3600)
		if _, _, err := s.take(t.Context()); err == nil {
			t.Errorf("%s: saved", what)
		}
		if now, err := s.files(); err != nil || len(now) != 3 || now[0] != own[0] || len(s.names(t)) != 4 {
			t.Errorf("%s: kept %v of %v, %v", what, now, s.names(t), err)
		}
	}
	again := newSchedule(t, dir, "one", 3)
	again.clock.Store(s.clock.Load())
	if err := again.start(); err != nil {
		t.Fatal(err)
	}
	defer again.stop()
	if again.taken.Load() != s.taken.Load() {
		t.Errorf("after a restart the last success was at %d, want %d", again.taken.Load(), s.taken.Load())
	}
}

func TestSnapshotsOfAClockThatWasAheadGiveWay(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newSchedule(t, dir, "one", 2)
	right := s.clock.Load()
	for range 2 {
		s.clock.Add(365 * 24 * 3600)
		if _, _, err := s.take(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	s.clock.Store(right)
	restarted := newSchedule(t, dir, "one", 2)
	if err := restarted.start(); err != nil {
		t.Fatal(err)
	}
	defer restarted.stop()
	if at := restarted.taken.Load(); at != 0 {
		t.Errorf("after a restart the newest is said to be of %s", time.Unix(at, 0).UTC())
	}
	for range 2 {
		s.clock.Add(3600)
		path, _, err := s.take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path); err != nil {
			t.Errorf("what was just saved is gone: %v", err)
		}
	}
	if names := s.names(t); len(names) != 2 || s.stamp(names[1]).Unix() != s.clock.Load() {
		t.Errorf("kept %v", names)
	}
}

func TestAFailedSnapshotIsCountedAndTriedAgain(t *testing.T) {
	t.Parallel()
	s := newSchedule(t, t.TempDir(), "one", 2)
	s.c.Interval = time.Second
	good := *s.source.Load()
	asked := make(chan struct{}, 100)
	save := s.save
	s.save = func(ctx context.Context) (httpapi.SavedSnapshot, error) {
		asked <- struct{}{}
		return save(ctx)
	}
	var none []byte
	s.source.Store(&none)
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
	<-asked
	<-asked
	s.source.Store(&good)
	<-asked
	<-asked
	s.stop()
	if n := s.metric(t, "sluice_snapshot_scheduled_failures_total"); n < 1 {
		t.Errorf("%v failures are counted", n)
	}
	if names, err := s.files(); err != nil || len(names) == 0 || s.metric(t, "sluice_snapshot_scheduled_last_bytes") != float64(len(good)) {
		t.Errorf("saved %v, %v, size %v", names, err, s.metric(t, "sluice_snapshot_scheduled_last_bytes"))
	}
}

func TestASnapshotDirectoryThatCannotBeUsedIsRefusedAtTheStart(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := newSchedule(t, filepath.Join(file, "snapshots"), "one", 2).start(); err == nil {
		t.Error("it was accepted")
	}
}
