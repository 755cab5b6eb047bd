package main

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/api"
)

func newClusterHealth(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "health",
		Short: "Judge the cluster: healthy, degraded or down, and why",
		Long: `Judge the cluster as the node that answers sees it: healthy, degraded or down, with every reason and what to do about it.
The node asks all members about quorum, lag, disks, clocks, halts, versions and certificates. It also answers when there is
no leader or it is cut off; then ask another node, too.

It ends with code 0 when the cluster is healthy, 1 when it is degraded, and 6 when it is down or no node answers.`,
		Example: "  sluice cluster health\n  sluice cluster health -o json\n  sluice cluster health --api http://node3:4200/api",
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			c, err := a.connect(0)
			if err != nil {
				return err
			}
			defer c.Close()
			health, err := c.ClusterHealth(command.Context())
			if err != nil {
				return fmt.Errorf("ask for the cluster's health: %w", err)
			}
			return showHealth(a, health)
		},
	}
}

func showHealth(a *app, h *api.ClusterHealth) error {
	if a.structured() || a.quiet {
		if err := a.printObject(h, h.Status, h.Status); err != nil {
			return err
		}
		return healthVerdict(h)
	}
	leader := "none is known"
	for _, m := range h.Members {
		if m.Leader {
			leader = cmp.Or(m.Name, m.ID) + " (" + m.ID + ")"
		}
	}
	a.say("Health:   %s, as node %s sees it", a.verdict(h.Status), cmp.Or(h.NodeName, h.NodeID))
	a.say("Cluster:  %s", cmp.Or(h.ClusterID, "none yet"))
	a.say("Leader:   %s, term %d", leader, h.Term)
	if h.ClusterID != "" {
		a.say("Quorum:   %d of %d voters are well, %d must agree: %s", h.VotersLive, h.Voters, h.Quorum, margin(h.LossesLeft))
	}
	for _, r := range h.Reasons {
		about := r.Text
		if r.Member != "" {
			about = "node " + r.Member + ": " + about
		}
		a.say("%s %s", pad(strings.ToUpper(r.Status[:1])+r.Status[1:]+":", 9), about)
		if r.Try != "" {
			a.say("          try: %s", r.Try)
		}
	}
	a.say("")
	if err := printList(a, healthList(h.Members)); err != nil {
		return err
	}
	return healthVerdict(h)
}

// offsetText is a clock's offset in seconds; nothing is neither before nor behind.
func offsetText(offset, uncertainty float64) string {
	if math.Abs(offset) < 0.0005 {
		return fmt.Sprintf("0.000s ±%.3f", uncertainty)
	}
	return fmt.Sprintf("%+.3fs ±%.3f", offset, uncertainty)
}

func pad(s string, width int) string { return s + strings.Repeat(" ", max(0, width-len(s))) }

func margin(left int) string {
	switch {
	case left < 0:
		return fmt.Sprintf("%d too few", -left)
	case left == 0:
		return "none may fail"
	}
	return fmt.Sprintf("%d more may fail", left)
}

// verdict is the status, in colour where there are colours.
func (a *app) verdict(status string) string {
	colour := map[string]string{api.ClusterHealthy: sgrGreen, api.ClusterDegraded: sgrYellow, api.ClusterDown: sgrRed}[status]
	if colour == "" || !a.colored() {
		return status
	}
	return style(colour, status)
}

func healthList(members []api.MemberHealth) list[api.MemberHealth] {
	known := func(m api.MemberHealth, text string) string {
		if !m.Alive {
			return ""
		}
		return text
	}
	return list[api.MemberHealth]{
		title: "Nodes",
		columns: []column[api.MemberHealth]{
			{header: "Name", fold: true, sgr: sgrGreen, cell: func(m api.MemberHealth, _ bool) string { return cmp.Or(m.Name, m.ID) }},
			{header: "Role", sgr: sgrBlue, cell: func(m api.MemberHealth, _ bool) string {
				return memberRole(api.ClusterMember{Leader: m.Leader, Voter: m.Voter})
			}},
			{header: "Alive", cell: func(m api.MemberHealth, _ bool) string { return strconv.FormatBool(m.Alive) }},
			{header: "Lag", right: true, cell: func(m api.MemberHealth, _ bool) string { return known(m, strconv.FormatUint(m.Lag, 10)) }},
			{header: "Clock", right: true, cell: func(m api.MemberHealth, _ bool) string {
				if m.ClockOffset == nil || m.ClockError == nil {
					return ""
				}
				return offsetText(m.ClockOffset.Seconds(), m.ClockError.Seconds())
			}},
			{header: "Disk free", right: true, cell: func(m api.MemberHealth, _ bool) string {
				if m.DiskFree == nil {
					return ""
				}
				return fmt.Sprintf("%d MiB", *m.DiskFree>>20)
			}},
			{header: "Certificate", cell: func(m api.MemberHealth, _ bool) string {
				if m.Certificate == nil {
					return ""
				}
				return m.Certificate.Format(time.DateOnly)
			}},
			{header: "Snapshot", wide: true, right: true, cell: func(m api.MemberHealth, _ bool) string {
				if m.Snapshot == nil {
					return ""
				}
				return fmt.Sprintf("%d, %d MiB", m.Snapshot.Index, m.Snapshot.Bytes>>20)
			}},
			{header: "Log from", wide: true, right: true, cell: func(m api.MemberHealth, _ bool) string {
				if m.Snapshot == nil {
					return ""
				}
				return strconv.FormatUint(m.Snapshot.LogFirst, 10)
			}},
			{header: "Version", cell: func(m api.MemberHealth, _ bool) string { return m.Version }},
		},
		items: members,
		id:    func(m api.MemberHealth) string { return m.ID },
		name:  func(m api.MemberHealth) string { return cmp.Or(m.Name, m.ID) },
	}
}

// healthVerdict ends the command with the code of the status.
func healthVerdict(h *api.ClusterHealth) error {
	var reasons []string
	for _, r := range h.Reasons {
		reasons = append(reasons, r.Code)
	}
	switch h.Status {
	case api.ClusterHealthy:
		return nil
	case api.ClusterDown:
		return &failure{code: exitUnreachable, err: errors.New("the cluster is down: " + strings.Join(reasons, ", ")), hint: h.Reasons[0].Try}
	}
	return &failure{code: exitError, err: errors.New("the cluster is degraded: " + strings.Join(reasons, ", ")), hint: "each reason above says what to do"}
}
