package main

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/sluice-dev/sluice/api/client"
)

func TestRemovingDeadNodesIsAskedForWithCare(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, args, want string }{
		{"a restart must not look like a death", "--remove-dead-after 30s", "--remove-dead-after is 30s; it is at least 1m0s"},
		{"time does not run backwards", "--remove-dead-after -1h", "--remove-dead-after is -1h0m0s"},
		{"somebody has to be left", "--remove-dead-after 24h --min-voters 0", "--min-voters is 0; it is at least 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newShell(t, "")
			got := s.run(append([]string{"server", "start", "--data-dir", t.TempDir(), "--http-addr", "127.0.0.1:0", "--internal-addr", "127.0.0.1:0", "--gossip-addr", ""},
				strings.Fields(c.args)...)...)
			if got.code != exitUsage || !strings.Contains(got.err, c.want) {
				t.Errorf("exit %d: %s", got.code, got.err)
			}
		})
	}
}

// reserveAddresses returns loopback addresses below the ports of outgoing connections.
func reserveAddresses(t *testing.T, count int) (addrs []string) {
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

func TestADeadNodeIsTakenOutWhenAskedFor(t *testing.T) {
	t.Parallel()
	var unasked serverOptions
	unasked.registerCluster(pflag.NewFlagSet("server", pflag.ContinueOnError))
	if m := unasked.Membership; m.RemoveDeadAfter != 0 || m.MinVoters != 3 {
		t.Errorf("unasked, the leader does %+v", m)
	}

	addrs := reserveAddresses(t, 3)
	base := t.TempDir()
	servers := make([]*server, len(addrs))
	started := make(chan error, len(addrs))
	for i, addr := range addrs {
		o := serverOptions{DataDir: filepath.Join(base, fmt.Sprint(i)), HTTPAddr: "127.0.0.1:0", Auth: authOff, DiskLowWater: 1 << 20, Logger: slog.New(slog.DiscardHandler)}
		flags := pflag.NewFlagSet("server", pflag.ContinueOnError)
		o.registerCluster(flags)
		if err := flags.Parse([]string{"--internal-addr", addr, "--gossip-addr", "127.0.0.1:0", "--bootstrap-expect", "3", "--join", strings.Join(addrs, ","), "--insecure",
			"--drain-delay", "0s", "--remove-dead-after", "1s", "--min-voters", "2"}); err != nil {
			t.Fatal(err)
		}
		go func() {
			s, err := startServer(context.WithoutCancel(t.Context()), o)
			servers[i] = s
			started <- err
		}()
	}
	for range servers {
		if err := <-started; err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		for _, s := range servers[1:] {
			if err := s.end(); err != nil {
				t.Error(err)
			}
		}
	})
	c, err := client.New(client.Config{Addresses: []string{servers[1].apiURL()}})
	if err != nil {
		t.Fatal(err)
	}
	members := func() int {
		view, err := c.Cluster(t.Context())
		if err != nil {
			return 0 // while nobody leads
		}
		return len(view.Members)
	}
	if n := members(); n != 3 {
		t.Fatalf("%d members", n)
	}
	if err := servers[0].end(); err != nil { // to be stopped is not to leave
		t.Fatal(err)
	}
	tick := time.NewTicker(20 * time.Millisecond) // nobody is told of members that go
	defer tick.Stop()
	for deadline := time.After(time.Minute); members() != 2; {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("the dead node is still a member")
		}
	}
}
