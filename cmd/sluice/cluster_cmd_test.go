package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/sluice-dev/sluice/api"
)

func TestClusterStatusSaysWhatItKnows(t *testing.T) {
	t.Parallel()
	three := func(alive ...bool) []api.ClusterMember {
		var all []api.ClusterMember
		for i, up := range alive {
			name := "n" + string(rune('1'+i))
			all = append(all, api.ClusterMember{ID: "id-" + name, Name: name, Voter: true, Alive: up})
		}
		return all
	}
	for name, c := range map[string]struct {
		in      api.Cluster
		want    []string
		absent  string
		trouble string
	}{
		"a node without a cluster": {api.Cluster{NodeID: "id-n1", Problems: []string{"2 of 3 nodes are here to found the cluster"}, Quorum: 1, LossesLeft: -1},
			[]string{"Cluster:  none yet\n", "2 of 3 nodes are here"}, "quorum", "this node belongs to no cluster yet"},
		"a leader that has just died": {api.Cluster{ClusterID: "c", Leader: "id-n1", Term: 2, Members: three(false, true, true), Quorum: 2},
			[]string{"Leader:   n1 (id-n1), term 2, which does not answer: another is being elected\n"}, "none", "the cluster stops when one more node fails"},
		"two of three are down": {api.Cluster{ClusterID: "c", Term: 2, Members: three(true, false, false), Quorum: 2, LossesLeft: -1},
			[]string{"Leader:   none is known", "start 1 of the nodes that are down"}, "elected", "the cluster has lost its quorum"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			err := showCluster(&app{process: process{out: &out}, output: formatPlain}, &c.in)
			for _, w := range c.want {
				if !strings.Contains(out.String(), w) {
					t.Errorf("%q is not in\n%s", w, out.String())
				}
			}
			if strings.Contains(out.String(), c.absent) {
				t.Errorf("%q is in\n%s", c.absent, out.String())
			}
			if err == nil || err.Error() != c.trouble || judge(err).hint == "" || judge(err).code != exitError {
				t.Errorf("ends with %v", err)
			}
		})
	}
}

func TestClockOffsetsHaveNoNegativeZero(t *testing.T) {
	t.Parallel()
	for offset, want := range map[float64]string{-0.0001: "0.000s ±0.001", 0: "0.000s ±0.001", -0.25: "-0.250s ±0.001", 1.5: "+1.500s ±0.001"} {
		if got := offsetText(offset, 0.001); got != want {
			t.Errorf("%v: %q", offset, got)
		}
	}
}
