package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm"
	"github.com/sluice-dev/sluice/fsm/command"
)

// upgradable is one of three nodes that are restarted as other releases.
type upgradable struct {
	dir, addr string
	join      []string
	versions  command.Versions
	release   string
	keys      string // file of its secret keys; "": its own
	alone     bool   // it is a cluster by itself
	node      *Node  // nil while down
}

func (u *upgradable) start(t *testing.T) error {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	expect := 3
	if u.alone {
		expect = 1
	}
	u.node, err = Start(t.Context(), Config{Secrets: SecretKeys{File: u.keys}, DataDir: u.dir, Listener: listener.(*net.TCPListener), InternalAddr: u.addr, BootstrapExpect: expect, Join: u.join, GossipAddr: "127.0.0.1:0",
		Name: filepath.Base(u.dir), Version: u.release, Versions: u.versions, DiskLowWater: 1 << 20, Logger: slog.New(slog.DiscardHandler)})
	return err
}

func (u *upgradable) stop(t *testing.T) {
	t.Helper()
	if u.node == nil {
		return
	}
	if err := u.node.Stop(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
	u.node = nil
}

// reservePorts returns loopback addresses below the ports of outgoing connections, which a node finds free again after its restart.
func reservePorts(t *testing.T, count int) (addrs []string) {
	t.Helper()
	for range 500 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 11000+rand.IntN(20000)))
		if err != nil {
			continue
		}
		defer l.Close()
		if addrs = append(addrs, l.Addr().String()); len(addrs) == count {
			return addrs
		}
	}
	t.Fatal("no free ports")
	return nil
}

// propose writes through a node as its API does, in spite of elections.
func (u *upgradable) propose(t *testing.T, e *command.Envelope) (result *command.Result, err error) {
	t.Helper()
	seed := api.NewID()
	e.Seed, e.Actor = seed[:], "test"
	waitFor(t, "a write is answered", func() bool {
		var results []*command.Result
		results, _, err = propose(t.Context(), u.node.cluster, u.node.cluster.Propose, []*command.Envelope{e})
		if err == nil {
			result = results[0]
		}
		kind := api.KindOf(err)
		return kind != api.KindUnavailable && kind != api.KindUnknownOutcome
	})
	return result, err
}

func flow(name string, version uint32) *command.Envelope {
	id := api.NewID()
	return &command.Envelope{Version: version, Command: &command.Envelope_CreateFlow{CreateFlow: &command.CreateFlow{Id: id[:], Name: name}}}
}

func TestARollingUpgradeARefusedDowngradeAndAPoisonedNode(t *testing.T) {
	t.Parallel()
	old, next := command.Supported(), command.Versions{Min: command.MinVersion, Max: command.MaxVersion + 1}
	addrs := reservePorts(t, 3)
	base := t.TempDir()
	var nodes []*upgradable
	for i := range 3 {
		nodes = append(nodes, &upgradable{dir: filepath.Join(base, fmt.Sprint("n", i+1)), addr: addrs[i], join: addrs, versions: old, release: "1.0"})
	}
	t.Cleanup(func() {
		for _, u := range nodes {
			u.stop(t)
		}
	})
	for _, u := range nodes {
		if err := u.start(t); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := nodes[0].propose(t, flow("old", 0)); err != nil {
		t.Fatal(err)
	}
	// What needs the next version is refused, with the names of those who hold it back, until the last node was upgraded.
	for i, u := range nodes {
		u.stop(t)
		u.versions, u.release = next, "2.0"
		if err := u.start(t); err != nil {
			t.Fatal(err)
		}
		if i == 2 {
			break
		}
		if _, err := u.propose(t, flow(fmt.Sprint("mixed-", i), 0)); err != nil {
			t.Fatalf("an ordinary write among mixed releases: %v", err)
		}
		_, err := u.propose(t, flow("new", 2))
		known, ok := errors.AsType[*api.Error](err)
		want := "the cluster version is too low: version 2 is needed, the cluster is at version 1: node n"
		if !ok || known.Kind != api.KindConflict || !strings.Contains(known.Message, want) ||
			strings.Count(known.Message, "(sluice 1.0) supports 1") != 2-i || !strings.Contains(known.Message, "node n3 (") {
			t.Errorf("after %d of 3: %v", i+1, err)
		}
	}
	for _, u := range nodes {
		waitFor(t, "the cluster version is raised", func() bool { return u.node.fsm.ClusterVersion() == 2 }) // no event tells
		if r, err := u.propose(t, flow("new "+u.node.config.Name, 2)); err != nil || r.Code != command.Result_OK {
			t.Errorf("what needs the next version, on %s: %v, %v", u.node.config.Name, r, err)
		}
	}
	described := members{nodes[0].node}.Describe(t.Context())
	if described.ClusterVersion != 2 {
		t.Errorf("described as %+v", described)
	}
	for _, m := range described.Members {
		if m.Supports != (api.VersionRange{Min: 1, Max: 2}) || m.Version != "2.0" {
			t.Errorf("member %+v", m)
		}
	}

	// Back to the old release: refused, and nothing is changed.
	u := nodes[2]
	u.stop(t)
	u.versions, u.release = old, "1.0"
	err := u.start(t)
	want := "open the state: the cluster version is not supported: the state belongs to a cluster of version 2, this binary supports 1: " +
		"start it with the release that the other nodes run, or a newer one; there is no way back to an older one"
	if err == nil || err.Error() != want || !errors.Is(err, fsm.ErrVersion) {
		t.Errorf("a downgrade: %v\nwant %s", err, want)
	}
	u.node = nil
	u.versions, u.release = next, "2.0"
	if err := u.start(t); err != nil {
		t.Fatal(err)
	}

	// An entry that only one node cannot apply, as if it alone were too old for it.
	waitFor(t, "the restarted node knows the cluster version", func() bool { return u.node.fsm.ClusterVersion() == 2 })
	u.stop(t)
	for _, healthy := range nodes[:2] {
		healthy.stop(t)
		healthy.versions = command.Versions{Min: 1, Max: 3}
		if err := healthy.start(t); err != nil {
			t.Fatal(err)
		}
	}
	if err := u.start(t); err != nil {
		t.Fatal(err)
	}
	// Past the gate, which lets nobody propose this.
	waitFor(t, "the poisoned entry is in the log", func() bool {
		_, _, err := nodes[0].node.cluster.Propose(t.Context(), [][]byte{encodeOwn(flow("poison", 3))})
		return err == nil
	})
	halted := func(when string) {
		t.Helper()
		waitFor(t, when+" the node halts", func() bool { return u.node.fsm.Halt() != nil })
		h := u.node.fsm.Halt()
		status, text := u.get(t, "/readyz")
		want := fmt.Sprintf("[-] state: entry %d was not applied (unknown_command): ", h.Index)
		if status != http.StatusServiceUnavailable || !strings.Contains(text, want) ||
			!strings.Contains(text, "it needs cluster version 3, this binary supports 1 to 2; start this node with the release that the other nodes run, which applies the entry") {
			t.Errorf("%s: %d %s", when, status, text)
		}
		// The cluster hears of it from the state machine, a moment later.
		waitFor(t, when+" the metrics say it", func() bool {
			_, text := u.get(t, "/metrics")
			return strings.Contains(text, `sluice_node_halted{reason="unknown_command"} 1`)
		})
		waitFor(t, when+" the others know", func() bool {
			for _, m := range (members{nodes[0].node}).Describe(t.Context()).Members {
				if m.Name == "n3" {
					return m.Alive && strings.Contains(m.Halted, "unknown_command") && m.Problem != ""
				}
			}
			return false
		})
	}
	halted("at once")
	if _, err := nodes[1].propose(t, flow("the others go on", 2)); err != nil {
		t.Error(err)
	}
	u.stop(t)
	if err := u.start(t); err != nil {
		t.Fatalf("a halted node stays up for diagnosis: %v", err)
	}
	halted("after a restart")
	// The remedy that it names works.
	u.stop(t)
	u.versions, u.release = command.Versions{Min: 1, Max: 3}, "3.0"
	if err := u.start(t); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the upgraded node applies what it halted at", func() bool { return u.node.fsm.ClusterVersion() == 3 && u.node.fsm.Halt() == nil })
}

func (u *upgradable) get(t *testing.T, path string) (int, string) {
	t.Helper()
	response, err := http.Get("http://" + u.node.Addr() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}
