//go:build linux

package e2e

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
)

// TestNodesThatStartAtOnceFormOneCluster starts three nodes for the first time at the same moment, again and again. How long each
// formation takes is printed, for docs/performance.md.
func TestNodesThatStartAtOnceFormOneCluster(t *testing.T) {
	t.Parallel()
	times := 3
	if long() {
		times = 20
	}
	for i := range times {
		// One after the other: the machine's load would be measured otherwise.
		t.Run(fmt.Sprint("formation ", i+1), func(t *testing.T) {
			c := newNodes(t, 3, "--insecure")
			began := time.Now()
			c.start()
			t.Logf("formed and ready within %s", time.Since(began).Round(time.Millisecond))
			c.checkOne()
			for _, s := range c.all {
				s.signal(syscall.SIGTERM)
			}
			for _, s := range c.all {
				if code := s.wait(); code != 0 {
					t.Errorf("a node ended with exit code %d\n%s", code, s.output())
				}
			}
		})
	}
}

// checkOne checks that all nodes are voters of one cluster under one leader.
func (c *nodes) checkOne() {
	c.t.Helper()
	eventually(c.t, "all nodes tell of one cluster with one leader", func() error {
		var first *api.Cluster
		for _, s := range c.all {
			told, err := connect(c.t, s, 0).Cluster(c.t.Context())
			if err != nil {
				return err
			}
			if first == nil {
				first = told
			}
			voters := 0
			for _, m := range told.Members {
				if m.Voter {
					voters++
				}
			}
			if told.ClusterID == "" || told.ClusterID != first.ClusterID {
				c.t.Fatalf("%s is in cluster %q, %s in %q", s.address, told.ClusterID, c.all[0].address, first.ClusterID)
			}
			if told.Leader == "" || told.Leader != first.Leader || voters != len(c.all) || len(told.Members) != len(c.all) {
				return fmt.Errorf("%s tells %+v, %s tells %+v", s.address, told, c.all[0].address, first)
			}
		}
		return nil
	})
}
