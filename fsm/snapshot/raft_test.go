package snapshot

import (
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// machine is the smallest state machine over a holder: a command "key=value" sets a key.
type machine struct {
	h    *Holder
	lock sync.Mutex

	mu      sync.Mutex
	applied uint64
	grown   chan struct{}
}

func (m *machine) Apply(l *raft.Log) any { return m.ApplyBatch([]*raft.Log{l})[0] }

func (m *machine) ApplyBatch(logs []*raft.Log) []any {
	m.lock.Lock()
	b := m.h.Current().NewBatch()
	err := func() error {
		for _, l := range logs {
			if l.Type == raft.LogConfiguration {
				if err := WriteConfiguration(b, l.Index, raft.DecodeConfiguration(l.Data)); err != nil {
					return err
				}
				continue
			}
			k, v, _ := strings.Cut(string(l.Data), "=")
			if err := b.Set([]byte("\x01"+k), []byte(v)); err != nil {
				return err
			}
		}
		last := logs[len(logs)-1]
		if err := WriteApplied(b, last.Index, last.Term); err != nil {
			return err
		}
		return m.h.Current().Commit(b, false)
	}()
	_ = b.Close()
	m.lock.Unlock()
	if err == nil {
		m.moved(logs[len(logs)-1].Index)
	}
	out := make([]any, len(logs))
	for i := range out {
		out[i] = err
	}
	return out
}

func (m *machine) Snapshot() (raft.FSMSnapshot, error) { return m.h.Snapshot() }

func (m *machine) Restore(rc io.ReadCloser) error {
	if err := m.h.Restore(rc); err != nil {
		return err
	}
	meta, err := m.h.Meta()
	if err == nil {
		m.moved(meta.Applied)
	}
	return err
}

func (m *machine) moved(index uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.applied = index
	close(m.grown)
	m.grown = make(chan struct{})
}

func (m *machine) wait(index uint64) {
	for {
		m.mu.Lock()
		applied, grown := m.applied, m.grown
		m.mu.Unlock()
		if applied >= index {
			return
		}
		<-grown
	}
}

// member is one Raft node, all in memory; what a process keeps over a restart are fs and log.
type member struct {
	t    *testing.T
	id   raft.ServerID
	fs   *vfs.MemFS
	log  *raft.InmemStore
	m    *machine
	raft *raft.Raft
	addr raft.ServerAddress
	net  *raft.InmemTransport
}

func (b *member) start() {
	b.t.Helper()
	b.m = &machine{grown: make(chan struct{})}
	h, err := Open(config(b.fs, &b.m.lock))
	if err != nil {
		b.t.Fatal(err)
	}
	b.m.h = h
	meta, err := h.Meta()
	if err != nil {
		b.t.Fatal(err)
	}
	b.m.applied = meta.Applied
	c := raft.DefaultConfig()
	c.LocalID = b.id
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = time.Second, time.Second, 500*time.Millisecond
	c.CommitTimeout = 5 * time.Millisecond
	c.NoSnapshotRestoreOnStart = true
	c.TrailingLogs = 1
	c.SnapshotThreshold = 1 << 40
	c.Logger = hclog.NewNullLogger()
	b.addr, b.net = raft.NewInmemTransport(raft.ServerAddress(b.id))
	if b.raft, err = raft.NewRaft(c, b.m, b.log, b.log, NewStore(h), b.net); err != nil {
		b.t.Fatal(err)
	}
}

func (b *member) stop() {
	b.t.Helper()
	if err := b.raft.Shutdown().Error(); err != nil {
		b.t.Error(err)
	}
	if err := b.m.h.Close(); err != nil {
		b.t.Error(err)
	}
}

func (b *member) set(key, value string) uint64 {
	b.t.Helper()
	f := b.raft.Apply([]byte(key+"="+value), 0)
	if err := f.Error(); err != nil {
		b.t.Fatal(err)
	}
	if err, _ := f.Response().(error); err != nil {
		b.t.Fatal(err)
	}
	return f.Index()
}

func TestRaftSendsInstallsAndRestarts(t *testing.T) {
	t.Parallel()
	a := &member{t: t, id: "a", fs: vfs.NewMem(), log: raft.NewInmemStore()}
	b := &member{t: t, id: "b", fs: vfs.NewMem(), log: raft.NewInmemStore()}
	a.start()
	if err := a.raft.BootstrapCluster(raft.Configuration{Servers: []raft.Server{{ID: "a", Address: a.addr}}}).Error(); err != nil {
		t.Fatal(err)
	}
	for leader := range a.raft.LeaderCh() {
		if leader {
			break
		}
	}
	for range 100 {
		a.set("k", "1")
	}
	a.set("k", "2")
	if err := a.raft.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	if first, err := a.log.FirstIndex(); err != nil || first < 50 {
		t.Fatalf("the log begins at %d after a snapshot, %v", first, err)
	}
	b.start()
	a.net.Connect(b.addr, b.net)
	b.net.Connect(a.addr, a.net)
	if err := a.raft.AddVoter("b", b.addr, 0, 0).Error(); err != nil {
		t.Fatal(err)
	}
	b.m.wait(a.set("l", "3"))
	want := map[string]string{"\x01k": "2", "\x01l": "3"}
	same := func(m *member, when string) {
		t.Helper()
		got := contents(t, m.m.h.Current())
		if len(got) != len(want) || got["\x01k"] != want["\x01k"] || got["\x01l"] != want["\x01l"] {
			t.Errorf("%s %s: holds %q", m.id, when, got)
		}
	}
	same(a, "leads")
	same(b, "received")
	if b.m.h.current.Load().name == "db-1" {
		t.Error("b never installed a snapshot")
	}
	b.stop()
	a.net.Disconnect(b.addr)
	before, err := b.log.LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	b.start()
	same(b, "restarted")
	if got := b.raft.AppliedIndex(); got == 0 || got > before {
		t.Errorf("b restarts at index %d, its log ends at %d", got, before)
	}
	if servers := b.raft.GetConfiguration().Configuration().Servers; len(servers) != 2 {
		t.Errorf("b restarts in a cluster of %v", servers)
	}
	a.net.Connect(b.addr, b.net)
	b.net.Connect(a.addr, a.net)
	want["\x01l"] = "4"
	// Leadership may have moved while b was away; either commits the next entry.
	var index uint64
	for index == 0 {
		for _, m := range []*member{a, b} {
			if f := m.raft.Apply([]byte("l=4"), 0); f.Error() == nil {
				index = f.Index()
				break
			}
		}
		if index == 0 {
			select {
			case <-a.raft.LeaderCh():
			case <-b.raft.LeaderCh():
			}
		}
	}
	a.m.wait(index)
	b.m.wait(index)
	same(a, "goes on")
	same(b, "goes on")
	a.stop()
	b.stop()
}
