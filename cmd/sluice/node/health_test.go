package node

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/cluster"
)

func TestTheVerdictOnACluster(t *testing.T) {
	t.Parallel()
	now := time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)
	pointer := func(v int64) *int64 { return &v }
	offset := func(d time.Duration) *api.Duration { v := api.Duration(d); return &v }
	end := func(d time.Duration) *time.Time { v := now.Add(d); return &v }
	// three voters that are well; a leads and answers
	three := func(change func(h *api.ClusterHealth)) api.ClusterHealth {
		h := api.ClusterHealth{NodeID: "a", Leader: "a", Term: 3}
		for _, id := range []string{"a", "b", "c"} {
			h.Members = append(h.Members, api.MemberHealth{ID: id, Name: "node-" + id, Voter: true, Alive: true, Leader: id == "a", Version: "1", HTTPAddress: "127.0.0.1:4200",
				LastIndex: 5000, AppliedIndex: 4999, ClockOffset: offset(0), ClockError: offset(time.Millisecond), DiskFree: pointer(1 << 40), DiskSize: pointer(1 << 41), DiskLowWater: pointer(256 << 20)})
		}
		change(&h)
		return h
	}
	for name, c := range map[string]struct {
		in      func(h *api.ClusterHealth)
		status  string
		reasons []string // code and member
		left    int
	}{
		"three that are well":  {func(*api.ClusterHealth) {}, api.ClusterHealthy, nil, 1},
		"one that is alone":    {func(h *api.ClusterHealth) { h.Members = h.Members[:1] }, api.ClusterHealthy, nil, 0},
		"two":                  {func(h *api.ClusterHealth) { h.Members = h.Members[:2] }, api.ClusterDegraded, []string{"quorum_margin "}, 0},
		"one of three is dead": {func(h *api.ClusterHealth) { h.Members[2].Alive = false }, api.ClusterDegraded, []string{"quorum_margin ", "member_down node-c"}, 0},
		"a member without a vote is dead": {func(h *api.ClusterHealth) {
			h.Members = append(h.Members, api.MemberHealth{ID: "d"})
		}, api.ClusterDegraded, []string{"member_down d"}, 1},
		"two of three are dead": {func(h *api.ClusterHealth) {
			h.Leader, h.Members[0].Leader, h.Members[1].Alive, h.Members[2].Alive = "", false, false, false
			h.Members[0].Problems = []string{cluster.NoLeaderKnown}
		}, api.ClusterDown, []string{"quorum_lost ", "no_leader ", "member_down node-b", "member_down node-c"}, -1},
		"there is no leader though all live": {func(h *api.ClusterHealth) {
			h.Leader, h.Members[0].Leader = "", false
			for i := range h.Members {
				h.Members[i].Problems = []string{cluster.NoLeaderKnown}
			}
		}, api.ClusterDown, []string{"no_leader "}, 1},
		"a node without cluster": {func(h *api.ClusterHealth) {
			h.Leader = ""
			h.Members = []api.MemberHealth{{ID: "a", Alive: true, Problems: []string{"waits for 2 others", cluster.NoLeaderKnown}}}
		}, api.ClusterDown, []string{"no_leader ", "problem a"}, -1},
		"one has halted": {func(h *api.ClusterHealth) {
			h.Members[1].Halted, h.Members[1].Problems = "entry 7: unknown command", []string{"entry 7: unknown command"}
		}, api.ClusterDegraded, []string{"quorum_margin ", "halted node-b"}, 0},
		"one names a problem": {func(h *api.ClusterHealth) {
			h.Members[1].Problems = []string{"the raft log cannot be written: no space"}
		},
			api.ClusterDegraded, []string{"quorum_margin ", "problem node-b"}, 0},
		"one is too old to say how it is": {func(h *api.ClusterHealth) { h.Members[1].Problems = []string{unreported + "unknown method"} },
			api.ClusterDegraded, []string{"problem node-b"}, 1},
		"one lags":           {func(h *api.ClusterHealth) { h.Members[1].LastIndex, h.Members[1].AppliedIndex = 3999, 3999 }, api.ClusterDegraded, []string{"lag node-b"}, 1},
		"one lags a little":  {func(h *api.ClusterHealth) { h.Members[1].LastIndex, h.Members[1].AppliedIndex = 4000, 4000 }, api.ClusterHealthy, nil, 1},
		"one applies slowly": {func(h *api.ClusterHealth) { h.Members[1].AppliedIndex = 3999 }, api.ClusterDegraded, []string{"apply_lag node-b"}, 1},
		"a disk refuses logs": {func(h *api.ClusterHealth) {
			*h.Members[1].DiskFree, h.Members[1].DiskRefuses = 255<<20, "logs and stored values"
		}, api.ClusterDegraded, []string{"disk node-b"}, 1},
		"a disk fills":                {func(h *api.ClusterHealth) { *h.Members[1].DiskFree = 511 << 20 }, api.ClusterDegraded, []string{"disk node-b"}, 1},
		"a follower's clock is ahead": {func(h *api.ClusterHealth) { h.Members[1].ClockOffset = offset(1002 * time.Millisecond) }, api.ClusterDegraded, []string{"clock node-b"}, 1},
		"a follower's clock may be right": {func(h *api.ClusterHealth) {
			h.Members[1].ClockOffset, h.Members[1].ClockError = offset(1500*time.Millisecond), offset(500*time.Millisecond)
		}, api.ClusterHealthy, nil, 1},
		"the asked follower's clock is wrong": {func(h *api.ClusterHealth) {
			h.NodeID = "b"
			h.Members[0].ClockOffset, h.Members[2].ClockOffset = offset(time.Hour), offset(time.Hour)
		}, api.ClusterDegraded, []string{"clock node-b"}, 1},
		"a certificate is valid for long": {func(h *api.ClusterHealth) { h.Members[1].Certificate = end(15 * 24 * time.Hour) }, api.ClusterHealthy, nil, 1},
		"a certificate ends soon":         {func(h *api.ClusterHealth) { h.Members[1].Certificate = end(13 * 24 * time.Hour) }, api.ClusterDegraded, []string{"certificate node-b"}, 1},
		"a certificate has ended":         {func(h *api.ClusterHealth) { h.Members[1].Certificate = end(-time.Second) }, api.ClusterDegraded, []string{"certificate node-b"}, 1},
		"one lacks a key that encrypts something": {func(h *api.ClusterHealth) {
			h.Members[0].SecretKeys, h.Members[1].SecretKeys, h.Members[2].SecretKeys = []string{"k1", "k2"}, []string{"k2"}, []string{"k1", "k2"}
			h.Members[1].MissingKeys = []string{"k1"}
		}, api.ClusterDegraded, []string{"secrets node-b"}, 1},
		"one lacks a key that others have": {func(h *api.ClusterHealth) {
			h.Members[0].SecretKeys, h.Members[1].SecretKeys, h.Members[2].SecretKeys = []string{"k1", "k2"}, []string{"k2"}, []string{"k1", "k2"}
		}, api.ClusterDegraded, []string{"secrets node-b"}, 1},
		"no key is on all": {func(h *api.ClusterHealth) {
			h.Members[0].SecretKeys, h.Members[1].SecretKeys, h.Members[2].SecretKeys = []string{"k1"}, []string{"k2"}, []string{"k1"}
		}, api.ClusterDegraded, []string{"secrets "}, 1},
		"one asks for no tokens": {func(h *api.ClusterHealth) {
			for i := range h.Members {
				h.Members[i].Settings = map[string]string{settingAuth: []string{"on", "off", "on"}[i]}
			}
		}, api.ClusterDegraded, []string{"settings "}, 1},
		"one has other gossip keys and one does not say": {func(h *api.ClusterHealth) {
			h.Members[0].Settings, h.Members[1].Settings = map[string]string{cluster.CommonGossipKeys: "a,b"}, map[string]string{cluster.CommonGossipKeys: "b"}
		}, api.ClusterDegraded, []string{"settings "}, 1},
		"all have the same settings": {func(h *api.ClusterHealth) {
			for i := range h.Members {
				h.Members[i].SecretKeys = []string{"k1"}
				h.Members[i].Settings = map[string]string{settingAuth: "on", cluster.CommonGossipKeys: "a"}
			}
		}, api.ClusterHealthy, nil, 1},
		"versions are mixed": {func(h *api.ClusterHealth) { h.Members[1].Version = "2" }, api.ClusterDegraded, []string{"versions "}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := three(c.in)
			judge(&h, now)
			var reasons []string
			for _, r := range h.Reasons {
				reasons = append(reasons, r.Code+" "+r.Member)
				if r.Text == "" || r.Try == "" {
					t.Errorf("%+v does not say what it is and what to do", r)
				}
			}
			if h.Status != c.status || !slices.Equal(reasons, c.reasons) || h.LossesLeft != c.left {
				t.Errorf("%s, %d may fail, %q; want %s, %d, %q\n%+v", h.Status, h.LossesLeft, reasons, c.status, c.left, c.reasons, h.Reasons)
			}
		})
	}
}

func TestALostQuorumIsToStartTheNodesThatAreDown(t *testing.T) {
	t.Parallel()
	h := api.ClusterHealth{NodeID: "a", Members: []api.MemberHealth{
		{ID: "a", Name: "n1", Voter: true, Alive: true},
		{ID: "b", Name: "n2", Voter: true, HTTPAddress: "10.0.0.2:4200"},
		{ID: "c", Name: "n3", Voter: true, HTTPAddress: "10.0.0.3:4200"},
	}}
	judge(&h, time.Now())
	for _, r := range h.Reasons {
		switch {
		case r.Code == "quorum_lost" && !strings.HasPrefix(r.Try, "start n2, n3; "), r.Code == "member_down" && r.Try != "start it":
			t.Errorf("%s: try %q", r.Code, r.Try)
		}
	}
	if h.LossesLeft >= 0 || h.Reasons[0].Code != "quorum_lost" {
		t.Errorf("got %+v", h.Reasons)
	}
}
