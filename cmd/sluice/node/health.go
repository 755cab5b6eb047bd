package node

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/cluster"
)

const (
	// clockLimit is how far a member's clock may be from the leader's before it counts as wrong.
	clockLimit = time.Second
	// certificateLimit is how long before its end a certificate should be replaced.
	certificateLimit = 14 * 24 * time.Hour
	// reportTimeout bounds the question how a member is.
	reportTimeout = 2 * time.Second
)

// Health implements httpapi.Cluster: it asks every member of the configuration how it is.
func (m members) Health(ctx context.Context) api.ClusterHealth {
	s := m.node.cluster.Status()
	h := api.ClusterHealth{ClusterID: s.ClusterID, NodeID: s.NodeID, NodeName: m.node.config.Name, Leader: s.Leader.ID, Term: s.Term, Members: []api.MemberHealth{}}
	// A leader that was not heard of lately is a memory.
	if s.State == "follower" && time.Since(s.LastContact) > silenceLimit {
		h.Leader = ""
	}
	for _, r := range m.node.cluster.Roll(ctx) {
		one := api.MemberHealth{ID: r.ID, Name: r.Name, Address: r.Address, HTTPAddress: r.HTTPAddr, Version: r.Version, Voter: r.Voter,
			Leader: r.ID == h.Leader, Alive: r.Alive, LastIndex: r.Last, AppliedIndex: r.Applied, Problems: []string{}, SecretKeys: []string{}, MissingKeys: []string{}, Settings: map[string]string{}}
		if !r.Alive {
			one.Error = r.Problem
		} else if r.Problem != "" {
			one.Problems = append(one.Problems, r.Problem)
		}
		h.Members = append(h.Members, one)
	}
	slices.SortStableFunc(h.Members, func(a, b api.MemberHealth) int { return cmp.Compare(memberName(&a), memberName(&b)) })
	if len(h.Members) == 0 { // it belongs to no cluster yet
		h.Members = append(h.Members, api.MemberHealth{ID: s.NodeID, Name: m.node.config.Name, Version: m.node.config.Version, Alive: true, Problems: s.Problems,
			SecretKeys: []string{}, MissingKeys: []string{}, Settings: map[string]string{}})
	}
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	var all sync.WaitGroup
	for i := range h.Members {
		if one := &h.Members[i]; one.Alive {
			all.Go(func() { m.node.complete(ctx, one) })
		}
	}
	all.Wait()
	judge(&h, time.Now())
	return h
}

// complete asks a member for its report and adds what it says.
func (n *Node) complete(ctx context.Context, m *api.MemberHealth) {
	asked, began := n.config.Clock.Now(), time.Now()
	answer := n.report()
	if m.ID != n.cluster.ID() {
		data, err := n.cluster.AskMember(ctx, m.ID, methodReport, nil)
		if err == nil {
			answer = report{}
			err = json.Unmarshal(data, &answer)
		}
		if err != nil {
			m.Problems = append(m.Problems, unreported+err.Error())
			return
		}
		took := time.Since(began)
		ahead, uncertain := api.Duration(time.UnixMicro(answer.Now).Sub(asked.Add(took/2))), api.Duration(took/2)
		m.ClockOffset, m.ClockError = &ahead, &uncertain
	} else {
		m.ClockOffset, m.ClockError = new(api.Duration), new(api.Duration)
	}
	m.Version, m.LastIndex, m.AppliedIndex, m.Halted = answer.Version, max(m.LastIndex, answer.Last), answer.Applied, answer.Halted
	m.HTTPS = answer.HTTPS
	m.SecretKeys, m.MissingKeys = append(m.SecretKeys, answer.SecretKeys...), append(m.MissingKeys, answer.MissingKeys...)
	maps.Copy(m.Settings, answer.Settings)
	for _, p := range answer.Problems {
		if !slices.Contains(m.Problems, p) {
			m.Problems = append(m.Problems, p)
		}
	}
	if d := answer.Disk; d != nil {
		m.DiskFree, m.DiskSize, m.DiskLowWater, m.DiskRefuses = &d.Free, &d.Size, &d.LowWater, d.Refuses
	}
	m.Snapshot = answer.Snapshot
	if !answer.Certificate.IsZero() {
		end := answer.Certificate.UTC()
		m.Certificate = &end
	}
}

// judge fills in what follows from the members: margin, lag, reasons and the verdict. Clocks are compared with the leader's, which
// stamps everything, or with the asked node's while there is none.
func judge(h *api.ClusterHealth, now time.Time) {
	h.Reasons = []api.HealthReason{}
	say := func(code, status string, m *api.MemberHealth, try, format string, args ...any) {
		r := api.HealthReason{Code: code, Status: status, Text: fmt.Sprintf(format, args...), Try: try}
		if m != nil {
			r.Member = memberName(m)
		}
		h.Reasons = append(h.Reasons, r)
	}
	var newest uint64
	var reference api.Duration
	versions := map[string]bool{}
	for i := range h.Members {
		m := &h.Members[i]
		newest = max(newest, m.LastIndex)
		if m.Voter {
			h.Voters++
			if m.Alive && m.Halted == "" && !troubled(m) {
				h.VotersLive++
			}
		}
		if m.Leader && m.ClockOffset != nil {
			reference = *m.ClockOffset
		}
		if m.Alive {
			versions[m.Version] = true
		}
	}
	h.Quorum = h.Voters/2 + 1
	h.LossesLeft = h.VotersLive - h.Quorum
	judgeQuorum(h, say)
	for i := range h.Members {
		judgeMember(&h.Members[i], h, newest, reference, now, say)
	}
	judgeKeys(h, say)
	judgeSettings(h, say)
	if len(versions) > 1 {
		names := make([]string, 0, len(versions))
		for v := range versions {
			names = append(names, v)
		}
		slices.Sort(names)
		say("versions", api.ClusterDegraded, nil, "sluice cluster members", "the nodes run different versions: %s; finish the upgrade", strings.Join(names, ", "))
	}
	h.Status = api.ClusterHealthy
	for _, r := range h.Reasons {
		if r.Status == api.ClusterDown {
			h.Status = api.ClusterDown
		} else if h.Status == api.ClusterHealthy {
			h.Status = api.ClusterDegraded
		}
	}
	slices.SortStableFunc(h.Reasons, func(a, b api.HealthReason) int { return -cmp.Compare(a.Status, b.Status) }) // down before degraded
}

type sayer func(code, status string, m *api.MemberHealth, try, format string, args ...any)

func judgeQuorum(h *api.ClusterHealth, say sayer) {
	here := cmp.Or(h.NodeName, h.NodeID)
	own := slices.ContainsFunc(h.Members, func(m api.MemberHealth) bool { return m.ID == h.NodeID && m.HTTPS })
	elsewhere := "sluice cluster health --api " + scheme(own) + "ANOTHER_NODE:4200/api"
	var down []string
	for _, m := range h.Members {
		if at := httpAddress(&m); m.ID != h.NodeID && at != "" {
			elsewhere = "sluice cluster health --api " + scheme(m.HTTPS || own && !m.Alive) + at + "/api"
		}
		if m.Voter && !m.Alive {
			down = append(down, memberName(&m))
		}
	}
	restart := elsewhere
	if len(down) > 0 {
		restart = "start " + strings.Join(down, ", ") + "; or if they run, " + elsewhere + "; if they are lost for good, sluice cluster recover"
	}
	switch {
	case h.Leader == "" && h.Voters == 0:
		say("no_leader", api.ClusterDown, nil, "sluice cluster members", "node %s belongs to no cluster yet", here)
	case h.LossesLeft < 0:
		say("quorum_lost", api.ClusterDown, nil, restart, "node %s reaches %d of %d voters and %d must agree: the others are down, or this node is cut off from them", here, h.VotersLive, h.Voters, h.Quorum)
	case h.Leader == "":
		say("no_leader", api.ClusterDown, nil, elsewhere, "node %s knows no leader", here)
	case h.LossesLeft == 0 && h.Voters == 2:
		say("quorum_margin", api.ClusterDegraded, nil, "sluice server start --join ADDRESSES, on a third machine", "2 voters must both live: a third would let one fail")
	case h.LossesLeft == 0 && h.Voters > 2:
		say("quorum_margin", api.ClusterDegraded, nil, "sluice cluster members", "%d of %d voters are well: nothing is accepted any more when one more fails", h.VotersLive, h.Voters)
	}
	if h.Leader == "" && h.LossesLeft < 0 && h.Voters > 0 {
		say("no_leader", api.ClusterDown, nil, elsewhere, "node %s knows no leader", here)
	}
}

func judgeMember(m *api.MemberHealth, h *api.ClusterHealth, newest uint64, reference api.Duration, now time.Time, say sayer) {
	if !m.Alive {
		try := "start it, or sluice cluster remove " + memberName(m) + " if it is lost"
		if h.LossesLeft < 0 { // nobody can be removed without a quorum
			try = "start it"
		}
		say("member_down", api.ClusterDegraded, m, try, "it does not answer: %s", m.Error)
		return
	}
	if m.Halted != "" {
		say("halted", api.ClusterDegraded, m, "sluice debug bundle, then install the version that the message asks for", "%s", m.Halted)
	}
	for _, p := range m.Problems {
		// What the whole cluster is told of above is not repeated for each.
		if p == m.Halted || h.Leader == "" && p == cluster.NoLeaderKnown {
			continue
		}
		say("problem", api.ClusterDegraded, m, readyTry(m), "%s", p)
	}
	if newest > m.LastIndex {
		m.Lag = newest - m.LastIndex
	}
	if m.Lag > lagLimit {
		say("lag", api.ClusterDegraded, m, "sluice cluster health, until it has caught up", "its log is %d entries behind", m.Lag)
	}
	if behind := behind(m.AppliedIndex, m.LastIndex); m.Halted == "" && behind > lagLimit {
		say("apply_lag", api.ClusterDegraded, m, "sluice cluster health, until it has caught up", "its state is %d entries behind its log", behind)
	}
	if m.DiskFree != nil && m.DiskLowWater != nil {
		switch {
		case m.DiskRefuses != "":
			say("disk", api.ClusterDegraded, m, "free some space there", "its disk is nearly full, %d MiB are free: it refuses %s", *m.DiskFree>>20, m.DiskRefuses)
		case *m.DiskFree < 2**m.DiskLowWater:
			say("disk", api.ClusterDegraded, m, "free some space there", "its disk fills, %d MiB are free: below %d MiB it refuses logs", *m.DiskFree>>20, *m.DiskLowWater>>20)
		}
	}
	if m.ClockOffset != nil && m.ClockError != nil {
		off := (*m.ClockOffset - reference).Std()
		if off.Abs()-m.ClockError.Std() > clockLimit {
			direction := "ahead of"
			if off < 0 {
				direction = "behind"
			}
			say("clock", api.ClusterDegraded, m, "check time synchronisation (timedatectl, chronyc tracking) on both machines", "its clock is %s %s the leader's", off.Abs().Round(time.Millisecond), direction)
		}
	}
	if m.Certificate != nil {
		try := "sluice cluster tls init makes a new one"
		switch left := m.Certificate.Sub(now); {
		case left <= 0:
			say("certificate", api.ClusterDegraded, m, try, "its certificate ended on %s: no node can connect to it", m.Certificate.Format(time.RFC3339))
		case left < certificateLimit:
			say("certificate", api.ClusterDegraded, m, try, "its certificate ends on %s, in %d days", m.Certificate.Format(time.RFC3339), int(left.Hours()/24))
		}
	}
}

// judgeKeys says which members cannot decrypt blocks, and whether no key is left with which blocks could be stored.
func judgeKeys(h *api.ClusterHealth, say sayer) {
	const try = "sluice secrets status; then add the keys that others have to this node's file (docs/operate/secrets.md)"
	var common []string
	first, some := true, false
	for i := range h.Members {
		m := &h.Members[i]
		if len(m.MissingKeys) > 0 {
			say("secrets", api.ClusterDegraded, m, try, "it cannot decrypt some secrets: it lacks the key %s", strings.Join(m.MissingKeys, " and "))
		}
		if !m.Alive {
			continue
		}
		some = some || len(m.SecretKeys) > 0
		if first {
			common, first = slices.Clone(m.SecretKeys), false
		} else {
			common = slices.DeleteFunc(common, func(id string) bool { return !slices.Contains(m.SecretKeys, id) })
		}
	}
	if some && len(common) == 0 {
		say("secrets", api.ClusterDegraded, nil, "sluice secrets status; then give all nodes the same key file", "no key that encrypts blocks is on all nodes: blocks cannot be stored")
		return
	}
	// A key that somebody lacks encrypts nothing yet: its rotation is to be finished, one way or the other.
	holders := map[string][]string{}
	for i := range h.Members {
		for _, id := range h.Members[i].SecretKeys {
			holders[id] = append(holders[id], memberName(&h.Members[i]))
		}
	}
	for i := range h.Members {
		m := &h.Members[i]
		for _, id := range slices.Sorted(maps.Keys(holders)) {
			if m.Alive && !slices.Contains(m.SecretKeys, id) && !slices.Contains(m.MissingKeys, id) {
				say("secrets", api.ClusterDegraded, m, try, "it lacks the key %s for secrets, which %s has: nothing is encrypted with it until all have it", id, strings.Join(holders[id], " and "))
			}
		}
	}
}

// settingHints says what a difference means and what to do about it, by setting.
var settingHints = map[string][2]string{
	settingAuth:           {"whoever reaches a node with off needs no token there", "restart the nodes with one --auth (SLUICE_AUTH) for all"},
	settingAuditKeep:      {"a leader with the lower number removes what the others would keep", "restart the nodes with one --audit-keep (SLUICE_AUDIT_KEEP) for all"},
	settingAuditAge:       {"a leader with the lower age removes what the others would keep", "restart the nodes with one --audit-age (SLUICE_AUDIT_AGE) for all"},
	settingWebhookPrivate: {"what webhooks reach depends on who leads", "restart the nodes with --webhook-allow-private (SLUICE_WEBHOOK_ALLOW_PRIVATE) for all or none"},
	cluster.CommonGossipKeys: {"nodes do not hear each other's gossip unless each has the key that the other sends with",
		"give all nodes the same key file (docs/operate/tls.md, new gossip key); it is read again within a second"},
}

// judgeSettings says which settings differ that should not.
func judgeSettings(h *api.ClusterHealth, say sayer) {
	values := map[string]map[string][]string{} // setting, value, members
	for i := range h.Members {
		m := &h.Members[i]
		for name, value := range m.Settings {
			if values[name] == nil {
				values[name] = map[string][]string{}
			}
			values[name][value] = append(values[name][value], memberName(m))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if len(values[name]) < 2 {
			continue
		}
		var told []string
		for _, value := range slices.Sorted(maps.Keys(values[name])) {
			told = append(told, fmt.Sprintf("%s on %s", value, strings.Join(values[name][value], ", ")))
		}
		hint := settingHints[name]
		say("settings", api.ClusterDegraded, nil, hint[1], "%s differs: %s; %s", name, strings.Join(told, "; "), hint[0])
	}
}

// troubled says whether a member cannot be counted on for a quorum: it names a problem other than having no leader.
func troubled(m *api.MemberHealth) bool {
	return slices.ContainsFunc(m.Problems, func(p string) bool { return p != cluster.NoLeaderKnown && !strings.HasPrefix(p, unreported) })
}

// unreported begins the problem of a member that answers, but does not say how it is, as older versions.
const unreported = "it does not say how it is: "

func readyTry(m *api.MemberHealth) string {
	at := httpAddress(m)
	if at == "" {
		return "look at its /readyz?verbose and log"
	}
	return "curl '" + scheme(m.HTTPS) + at + "/readyz?verbose'"
}

func scheme(https bool) string {
	if https {
		return "https://"
	}
	return "http://"
}

// httpAddress is where a member's API is asked, "" when that is unknown: a wildcard is no address, but its internal one may do.
func httpAddress(m *api.MemberHealth) string {
	host, port, err := net.SplitHostPort(m.HTTPAddress)
	if err != nil {
		return ""
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		if host, _, err = net.SplitHostPort(m.Address); err != nil {
			return ""
		}
	}
	return net.JoinHostPort(host, port)
}

func memberName(m *api.MemberHealth) string { return cmp.Or(m.Name, m.ID) }
