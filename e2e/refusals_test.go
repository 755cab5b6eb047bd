//go:build linux

package e2e

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/cluster/link"
)

// flag returns the value of one of the server's flags, the last one given.
func (s *server) flag(name string) string {
	s.t.Helper()
	for at := len(s.flags) - 2; at >= 0; at-- {
		if s.flags[at] == name {
			return s.flags[at+1]
		}
	}
	s.t.Fatalf("the server has no flag %s", name)
	return ""
}

// says waits until /readyz of a node that is not ready tells all these things.
func (s *server) says(parts ...string) {
	s.t.Helper()
	eventually(s.t, "the node says "+strings.Join(parts, ", "), func() error {
		err := ready(s.t.Context(), s.address)
		if err == nil {
			return errors.New("it is ready")
		}
		for _, part := range parts {
			if !strings.Contains(err.Error(), part) {
				return fmt.Errorf("it says %w", err)
			}
		}
		return nil
	})
}

// clusterOf asks a node for its cluster.
func clusterOf(t *testing.T, s *server) *api.Cluster {
	t.Helper()
	return must[*api.Cluster](t)(connect(t, s, 0).Cluster(t.Context()))
}

func TestTwoClustersNeverMerge(t *testing.T) {
	t.Parallel()
	a, b := startServer(t), startServer(t)
	idA, idB := clusterOf(t, a).ClusterID, clusterOf(t, b).ClusterID
	if idA == idB || idA == "" {
		t.Fatalf("clusters %q and %q", idA, idB)
	}
	t.Run("a node that is told to join both joins neither and names both", func(t *testing.T) {
		t.Parallel()
		x := newServer(t, "--insecure", "--join", a.flag("--internal-addr")+","+b.flag("--internal-addr"))
		x.begin()
		x.says("the addresses to join lead to two clusters", idA, idB, a.flag("--internal-addr"), b.flag("--internal-addr"), "correct --join")
		x.waitFor("lead to two clusters")
	})
	t.Run("a member of one that is told to join the other stays, and both sides name both", func(t *testing.T) {
		t.Parallel()
		c := startServer(t)
		id := clusterOf(t, c).ClusterID
		c.stop()
		c.flags = append(c.flags, "--insecure", "--join", a.flag("--internal-addr"))
		c.begin()
		c.waitReady()
		if now := clusterOf(t, c); now.ClusterID != id || len(now.Members) != 1 {
			t.Errorf("it is in cluster %+v now", now)
		}
		c.waitFor("an address to join is not of this node's cluster.*belongs to cluster (" + id + ".*" + idA + "|" + idA + ".*" + id + ")")
		a.waitFor("internal connection refused.*belongs to cluster " + id)
		if n := len(clusterOf(t, a).Members); n != 1 {
			t.Errorf("the other cluster has %d members", n)
		}
	})
	t.Run("gossip of one is refused by the other, which names both", func(t *testing.T) {
		t.Parallel()
		config := memberlist.DefaultLANConfig()
		config.Name, config.BindAddr, config.BindPort, config.Label, config.LogOutput = "e2e", "127.0.0.1", 0, "sluice", io.Discard
		config.Delegate = foreignGossip(idB)
		list := must[*memberlist.Memberlist](t)(memberlist.Create(config))
		defer func() { _ = list.Shutdown() }()
		_, _ = list.Join([]string{a.flag("--gossip-addr")}) // the refusal is the node's to tell
		a.waitFor("belongs to cluster " + idB + ", this node to " + idA)
	})
	t.Run("another name is another cluster", func(t *testing.T) {
		t.Parallel()
		x := newServer(t, "--insecure", "--cluster-name", "other", "--join", a.flag("--internal-addr"))
		x.begin()
		x.says(`belongs to a cluster named "other"`, `to one named "sluice"`)
		a.waitFor(`belongs to a cluster named .*other`)
	})
}

// foreignGossip is the metadata of a node of another cluster.
type foreignGossip string

func (f foreignGossip) NodeMeta(int) []byte {
	meta, _ := json.Marshal(map[string]string{"id": "e2e", "c": string(f), "r": "127.0.0.1:1"})
	return meta
}
func (foreignGossip) NotifyMsg([]byte)                {}
func (foreignGossip) GetBroadcasts(int, int) [][]byte { return nil }
func (foreignGossip) LocalState(bool) []byte          { return nil }
func (foreignGossip) MergeRemoteState([]byte, bool)   {}

// nodeFiles writes the TLS files of a node and returns the flags that use them.
func nodeFiles(t *testing.T, signer, trusted *link.Authority, name string, valid time.Duration) []string {
	t.Helper()
	dir := t.TempDir()
	ca, _ := trusted.PEM()
	cert, key, err := signer.Issue(name, time.Now(), valid)
	if err != nil {
		t.Fatal(err)
	}
	var flags []string
	for flag, content := range map[string][]byte{"--tls-ca": ca, "--tls-cert": cert, "--tls-key": key} {
		file := filepath.Join(dir, flag[2:]+".pem")
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		flags = append(flags, flag, file)
	}
	return flags
}

func nodeAuthority(t *testing.T, cluster string) *link.Authority {
	t.Helper()
	return must[*link.Authority](t)(link.NewAuthority(cluster, time.Now(), time.Hour))
}

func TestANodeWithoutTheRightCertificateIsRefused(t *testing.T) {
	t.Parallel()
	ca, other := nodeAuthority(t, "sluice"), nodeAuthority(t, "sluice")
	key := filepath.Join(t.TempDir(), "gossip.key")
	if err := os.WriteFile(key, []byte("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a := startServer(t, append(nodeFiles(t, ca, ca, "a", time.Hour), "--gossip-key-file", key)...)
	at := a.flag("--internal-addr")
	join := func(t *testing.T, flags ...string) *server {
		x := newServer(t, append([]string{"--join", at}, flags...)...)
		x.begin()
		return x
	}
	t.Run("of another authority", func(t *testing.T) {
		t.Parallel()
		x := join(t, append(nodeFiles(t, other, other, "x", time.Hour), "--gossip-key-file", key)...)
		x.says("certificate signed by unknown authority")
		a.waitFor("internal connection refused.*(certificate|bad certificate|unknown certificate authority)")
	})
	t.Run("in plain text", func(t *testing.T) {
		t.Parallel()
		x := join(t, "--insecure")
		x.says("if it uses TLS, this node must too")
		a.waitFor("internal connection refused.*first record does not look like a TLS handshake")
	})
	t.Run("with TLS at a cluster in plain text", func(t *testing.T) {
		t.Parallel()
		plain := startServer(t)
		x := newServer(t, append(nodeFiles(t, ca, ca, "x", time.Hour), "--gossip-key-file", key, "--join", plain.flag("--internal-addr"))...)
		x.begin()
		x.says("if it runs with --insecure, one of the two is wrong")
		plain.waitFor("internal connection refused.*uses TLS where this one does not")
	})
	t.Run("that has expired, or is for another cluster", func(t *testing.T) {
		t.Parallel()
		for want, flags := range map[string][]string{
			"certificate has expired or is not yet valid":                nodeFiles(t, ca, ca, "x", -time.Minute),
			"certificate is valid for server.other, not server.sluice":   nodeFiles(t, nodeAuthority(t, "other"), ca, "x", time.Hour),
			"would be refused by other nodes: x509: certificate signed ": nodeFiles(t, other, ca, "x", time.Hour),
		} {
			x := join(t, append(flags, "--gossip-key-file", key)...)
			if code := x.wait(); code == 0 {
				t.Errorf("it started, and should say %q", want)
			}
			contains(t, x.output(), want)
		}
		// One that does not look at its own certificate is refused by the cluster.
		for want, pair := range map[string][]string{
			"certificate has expired or is not yet valid":              nodeFiles(t, ca, ca, "x", -time.Minute),
			"certificate is valid for server.other, not server.sluice": nodeFiles(t, reissued(t, ca, "other"), ca, "x", time.Hour),
		} {
			files := map[string]string{}
			for i := 0; i < len(pair); i += 2 {
				files[pair[i]] = pair[i+1]
			}
			cert := must[tls.Certificate](t)(tls.LoadX509KeyPair(files["--tls-cert"], files["--tls-key"]))
			conn, err := tls.Dial("tcp", at, &tls.Config{Certificates: []tls.Certificate{cert}, InsecureSkipVerify: true})
			if err == nil {
				_, err = conn.Read(make([]byte, 1))
				_ = conn.Close()
			}
			if err == nil {
				t.Error("the cluster took it")
			}
			a.waitFor("internal connection refused.*" + want)
		}
	})
	t.Run("with another gossip key", func(t *testing.T) {
		t.Parallel()
		wrong := filepath.Join(t.TempDir(), "gossip.key")
		if err := os.WriteFile(wrong, []byte("AAAyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		x := join(t, append(nodeFiles(t, ca, ca, "x", time.Hour), "--gossip-key-file", wrong)...)
		x.says("another gossip key", "--gossip-key-file")
		if n := len(clusterOf(t, a).Members); n != 1 {
			t.Errorf("the cluster has %d members", n)
		}
	})
}

// reissued is the authority under the name of another cluster.
func reissued(t *testing.T, a *link.Authority, cluster string) *link.Authority {
	t.Helper()
	ca, _ := a.PEM()
	_, key := a.PEM()
	return must[*link.Authority](t)(link.ReadAuthority(cluster, ca, key))
}

func TestACorruptDataDirectoryIsRefused(t *testing.T) {
	t.Parallel()
	flip := func(t *testing.T, file string, from, to int64) {
		t.Helper()
		f := must[*os.File](t)(os.OpenFile(file, os.O_RDWR, 0))
		defer func() { _ = f.Close() }()
		info := must[os.FileInfo](t)(f.Stat())
		for at := from; at < min(to, info.Size()); at++ {
			b := make([]byte, 1)
			_, err := f.ReadAt(b, at)
			if err == nil {
				_, err = f.WriteAt([]byte{^b[0]}, at)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	one := func(t *testing.T, pattern string) string {
		t.Helper()
		found := must[[]string](t)(filepath.Glob(pattern))
		if len(found) == 0 {
			t.Fatalf("there is no %s", pattern)
		}
		return found[len(found)-1]
	}
	for name, c := range map[string]struct {
		damage func(t *testing.T, dir string)
		want   []string
	}{
		"the log's file": {func(t *testing.T, dir string) { flip(t, filepath.Join(dir, "raft.db"), 0, 64<<10) }, []string{"raft.db", "try:"}},
		"the state's list of files": {func(t *testing.T, dir string) {
			flip(t, one(t, filepath.Join(dir, "state", "db-*", "MANIFEST-*")), 0, 4096)
		},
			[]string{"state", "try:"}},
		"the state's pointer": {func(t *testing.T, dir string) { flip(t, filepath.Join(dir, "state", "CURRENT"), 0, 4096) }, []string{"CURRENT", "try:"}},
		"the node's identity": {func(t *testing.T, dir string) { flip(t, filepath.Join(dir, "node.json"), 0, 8) }, []string{"node.json", "restore the file from a copy"}},
		"the node's id":       {func(t *testing.T, dir string) { flip(t, filepath.Join(dir, "node.json"), 24, 28) }, []string{"node.json"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, "--raft-log-bytes", strconv.Itoa(4<<20))
			conn := connect(t, s, 0)
			flow := must[*api.Flow](t)(conn.CreateFlow(t.Context(), api.FlowCreate{Name: "script"})).ID
			name := "kept"
			must[*api.FlowRun](t)(conn.CreateFlowRun(t.Context(), api.FlowRunCreate{FlowID: flow, Name: &name}))
			s.stop()
			c.damage(t, s.dataDir)
			s.begin()
			if code := s.wait(); code == 0 || code == -1 {
				t.Errorf("it ended with exit code %d", code)
			}
			contains(t, s.output(), c.want...)
			if strings.Contains(s.output(), "goroutine ") {
				t.Error("it panicked")
			}
		})
	}
}

// clockBinary is the binary with a clock that a file sets.
func clockBinary(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "sluice")
	p := newShell(t)
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPATH", "GOFLAGS", "GOPROXY", "HOME"} {
		if value := os.Getenv(name); value != "" {
			p.env[name] = value
		}
	}
	p.dir = built.root
	if r := p.exec("", "go", "build", "-trimpath", "-ldflags", "-X main.clockFileVariable=SLUICE_TEST_CLOCK_FILE", "-o", binary, "./cmd/sluice"); r.code != 0 {
		t.Fatalf("build the binary: %s", r)
	}
	return binary
}

func TestAClockThatIsAnHourOff(t *testing.T) {
	t.Parallel()
	binary := clockBinary(t)
	set := func(s *server, ahead string) {
		t.Helper()
		file := s.shell.env["SLUICE_TEST_CLOCK_FILE"]
		if err := os.WriteFile(file+".new", []byte(ahead), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	start := func(s *server, ahead string) {
		s.shell.env["SLUICE_TEST_CLOCK_FILE"] = filepath.Join(t.TempDir(), "clock")
		set(s, ahead)
		s.attach(s.shell.launch(launch{program: binary, args: s.flags}))
	}
	c := newNodes(t, 3, "--insecure")
	for _, s := range c.all {
		start(s, "0s")
	}
	for _, s := range c.all {
		s.waitReady()
	}
	joiner := newServer(t, "--insecure", "--join", c.addressOf(0))
	start(joiner, "-1h")
	joiner.says("the clock of node", "1h0m0s behind the leader's", "set the machine's clock", "it joins then by itself")
	joiner.waitFor("was not joined.*1h0m0s behind the leader's")
	set(joiner, "0s")
	joiner.waitReady()

	lead := c.leader()
	set(lead, "1h")
	conn := c.connect(c.all...)
	queue(t, conn, "written meanwhile", 0)
	lead.waitFor("gives up leadership.*1h0m0s ahead of a majority")
	lead.says("this node's clock", "1h0m0s ahead of the leader's", "set the machine's clock")
	c.leadsNot(lead)
	now := c.leader()
	now.waitFor("the clock of a member is wrong.*1h0m0s ahead of")
	shell := newClient(t, now)
	contains(t, shell.run("cluster", "status").stdout, "clock is 1h0m0s ahead of the leader's")
	queue(t, conn, "written afterwards", 0)
	set(lead, "0s")
	lead.waitReady()
}
