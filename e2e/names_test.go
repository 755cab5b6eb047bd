//go:build linux

package e2e

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// pods are nodes that find each other by one name, which stands for the addresses of all, and whose addresses change.
type pods struct {
	*nodes
	hosts  string // what resolves the name, to be mounted over /etc/hosts
	prefix string // of their addresses
	last   int    // the last address that was given out
	at     map[*server]string
	port   string // of all internal ports
	gossip string
}

const podsName = "nodes.sluice.test"

func newPods(t *testing.T) *pods {
	t.Helper()
	if out, err := exec.Command("unshare", "-m", "true").CombinedOutput(); err != nil {
		t.Skipf("a mount namespace is not possible here: %v: %s", err, out)
	}
	p := &pods{nodes: &nodes{t: t}, hosts: filepath.Join(t.TempDir(), "hosts"), at: map[*server]string{},
		prefix: fmt.Sprintf("127.%d.%d.", 1+rand.IntN(250), rand.IntN(250))}
	_, p.port, _ = net.SplitHostPort(freeAddress(t))
	_, p.gossip, _ = net.SplitHostPort(freeAddress(t))
	return p
}

// add prepares one more node; all have the same command line but for where they listen.
func (p *pods) add() *server {
	p.t.Helper()
	s := newServer(p.t, "--insecure", "--drain-delay", "0s", "--bootstrap-expect", "3", "--join", podsName+":"+p.port)
	p.all = append(p.all, s)
	p.move(s)
	return s
}

// move gives a node that does not run another address.
func (p *pods) move(s *server) {
	p.t.Helper()
	p.last++
	p.at[s] = p.prefix + fmt.Sprint(p.last)
	text := "127.0.0.1 localhost\n"
	for _, other := range p.all {
		text += p.at[other] + " " + podsName + "\n"
	}
	if err := os.WriteFile(p.hosts, []byte(text), 0o644); err != nil { // in place: the file itself is mounted
		p.t.Fatal(err)
	}
}

// run starts nodes and waits until they are ready.
func (p *pods) run(servers ...*server) {
	p.t.Helper()
	for _, s := range servers {
		flags := append(append([]string{}, s.flags...), "--internal-addr", net.JoinHostPort(p.at[s], p.port), "--gossip-addr", net.JoinHostPort(p.at[s], p.gossip))
		s.attach(s.shell.launch(launch{program: "unshare", args: append([]string{"-m", "sh", "-c", `mount --bind "$1" /etc/hosts && shift && exec "$@"`, "sh", p.hosts,
			built.binary}, flags...)}))
	}
	for _, s := range servers {
		s.waitReady()
	}
}

func TestNodesFindEachOtherByOneNameWhateverTheirAddresses(t *testing.T) {
	t.Parallel()
	p := newPods(t)
	for range 3 {
		p.add()
	}
	p.run(p.all...)
	conn := p.connect()
	id := clusterOf(t, p.all[0]).ClusterID
	queue(t, conn, "first start", 0)

	p.all[0].kill9()
	p.run(p.all[0])
	queue(t, conn, "one was started again", 0)

	one := p.followers()[0]
	one.signal(syscall.SIGTERM)
	one.wait()
	p.move(one)
	p.run(one)
	queue(t, conn, "one has moved", 0)

	for _, s := range p.all {
		s.kill9()
	}
	for _, s := range p.all {
		p.move(s)
	}
	p.run(p.all...)
	queue(t, conn, "all have moved", 0)

	p.run(p.add(), p.add())
	eventually(t, "five nodes vote, at the addresses that they have now", func() error {
		cluster, err := connect(t, p.all[0], 0).Cluster(t.Context())
		if err != nil {
			return err
		}
		if cluster.ClusterID != id {
			t.Fatalf("cluster %s became %s", id, cluster.ClusterID)
		}
		voters := map[string]bool{}
		for _, m := range cluster.Members {
			voters[m.Address] = m.Voter && m.Alive
		}
		for _, s := range p.all {
			if !voters[net.JoinHostPort(p.at[s], p.port)] || len(voters) != 5 {
				return fmt.Errorf("voters are %v", voters)
			}
		}
		return nil
	})
	for _, s := range p.all {
		got := newClient(t, s).ok("work-queue", "ls")
		for _, name := range []string{"first start", "one was started again", "one has moved", "all have moved"} {
			if !strings.Contains(got, name) {
				t.Errorf("%q is missing at %s:\n%s", name, s.address, got)
			}
		}
	}
}
