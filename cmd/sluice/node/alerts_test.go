package node

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
	"github.com/sluice-dev/sluice/cluster/link"
	"github.com/sluice-dev/sluice/internal/promtest"
)

// slowLog is the real log file on a disk that is slow or hangs.
type slowLog struct {
	*raftboltdb.BoltStore
	delay atomic.Int64 // time.Duration of each append; negative: until release
	hung  chan struct{}
}

func (l *slowLog) StoreLogs(logs []*raft.Log) error {
	if d := time.Duration(l.delay.Load()); d < 0 {
		<-l.hung
	} else if d > 0 {
		time.Sleep(d) // the fault itself
	}
	return l.BoltStore.StoreLogs(logs)
}

// release ends all faults.
func (l *slowLog) release() {
	if l.delay.Swap(0) < 0 {
		close(l.hung)
	}
}

// wrongClock is ahead by a fixed time.
type wrongClock time.Duration

func (c wrongClock) Now() time.Time { return time.Now().Add(time.Duration(c)) }

// faulty are three nodes with faults to switch on.
type faulty struct {
	nodes []*Node
	logs  []*slowLog
}

// startFaulty starts three nodes over TLS, whose certificates end in two days. The last one's clock is wrong, and its disk is near its
// low-water mark.
func startFaulty(t *testing.T) *faulty {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	authority, err := link.NewAuthority("sluice", time.Now(), 365*24*time.Hour)
	must(err)
	var internal []string
	for range 3 {
		internal = append(internal, reserve(t))
	}
	f := &faulty{}
	var all sync.WaitGroup
	var mu sync.Mutex
	for i := range 3 {
		dir := t.TempDir()
		bolt, err := raftboltdb.NewBoltStore(filepath.Join(dir, "log.db"))
		must(err)
		log := &slowLog{BoltStore: bolt, hung: make(chan struct{})}
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		must(err)
		cert, key, err := authority.Issue("node", time.Now(), 48*time.Hour)
		must(err)
		caPEM, _ := authority.PEM()
		files := link.Files{CA: filepath.Join(dir, "ca.pem"), Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
		for name, content := range map[string][]byte{files.CA: caPEM, files.Cert: cert, files.Key: key} {
			must(os.WriteFile(name, content, 0o600))
		}
		c := Config{DataDir: dir, Name: fmt.Sprintf("node%d", i+1), Listener: listener.(*net.TCPListener), InternalAddr: internal[i], GossipAddr: "127.0.0.1:0", BootstrapExpect: 3, Join: internal,
			TLS: &files, Version: "test", DiskLowWater: 1 << 20, Logger: slog.New(slog.DiscardHandler), LogBackend: log}
		if i == 0 {
			c.Snapshots = SnapshotSchedule{Dir: filepath.Join(dir, "snapshots"), Interval: 3 * time.Second, Keep: 2}
		}
		if i == 2 {
			c.Clock = wrongClock(10 * time.Second)
			guard, err := newDiskGuard(dir, 0, c.Logger)
			must(err)
			c.DiskLowWater = guard.left.Load() / 2 * 3
		}
		all.Go(func() {
			n, err := Start(t.Context(), c)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			f.nodes, f.logs = append(f.nodes, n), append(f.logs, log)
		})
	}
	all.Wait()
	t.Cleanup(func() {
		for i, n := range f.nodes {
			f.logs[i].release()
			if err := n.Stop(context.WithoutCancel(t.Context())); err != nil {
				t.Log(err) // some of them are broken on purpose
			}
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	for _, n := range f.nodes {
		must(n.WaitReady(t.Context()))
	}
	return f
}

// reserve finds an address that nothing listens on, below the ports of outgoing connections.
func reserve(t *testing.T) string {
	t.Helper()
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", 12000+rand.IntN(18000))
		l, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return address
	}
	t.Fatal("no free port")
	return ""
}

func (f *faulty) leads(t *testing.T) int {
	t.Helper()
	lead := -1
	waitFor(t, "a node leads", func() bool {
		for i, n := range f.nodes {
			if n.cluster.Status().Leading {
				lead = i
			}
		}
		return lead >= 0
	})
	return lead
}

// TestAlertsOfFaultyNodes has a real Prometheus watch real nodes whose disks and clocks are doubles that fail.
func TestAlertsOfFaultyNodes(t *testing.T) {
	t.Parallel()
	f := startFaulty(t)
	lead := f.leads(t)
	var targets []string
	for _, n := range f.nodes {
		targets = append(targets, n.Addr())
	}
	prometheus := promtest.Start(t, map[string][]string{"sluice": targets})
	alerts := prometheus.Fires("SluiceClockSkew", "SluiceDiskFilling", "SluiceDiskRefusesWrites", "SluiceCertificateExpires")
	for _, a := range alerts["SluiceClockSkew"] {
		if a.Labels["member"] == "" || a.Labels["severity"] != "warning" || !strings.Contains(a.Annotations["runbook_url"], "docs/operate/runbook.md#clock-skew") || strings.Contains(a.Annotations["description"], "no value") {
			t.Errorf("the alert says %+v", a)
		}
	}
	prometheus.Quiet("SluiceClockSkew", "SluiceDiskFilling", "SluiceDiskRefusesWrites", "SluiceCertificateExpires")

	slow := (lead + 1) % 3
	f.logs[slow].delay.Store(int64(5 * time.Second))
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	for i := range 4 {
		c, err := client.New(client.Config{Addresses: []string{"http://" + f.nodes[lead].Addr() + "/api"}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		load.Go(func() {
			for j := 0; ctx.Err() == nil; j++ {
				if _, err := c.CreateFlow(ctx, api.FlowCreate{Name: fmt.Sprintf("flow-%d-%d", i, j)}); err != nil && ctx.Err() == nil {
					t.Logf("a write failed: %v", err) // the leader may change under so slow a follower
				}
			}
		})
	}
	prometheus.Fires("SluiceSlowFsync", "SluiceFollowerLag")
	f.logs[slow].delay.Store(-1)
	prometheus.Fires("SluiceLogStuck")
	stop()
	load.Wait()
	f.logs[slow].release()

	// A command that no node knows halts all of them.
	poison := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 1)
	poison = protowire.AppendBytes(protowire.AppendTag(poison, 999, protowire.BytesType), []byte("x"))
	lead = f.leads(t)
	if _, _, err := f.nodes[lead].cluster.Propose(t.Context(), [][]byte{poison}); err == nil {
		t.Error("a command that nobody knows was applied")
	}
	prometheus.Fires("SluiceNodeHalted", "SluiceNoLeader", "SluiceSnapshotOld") // nor can a snapshot be taken
}
