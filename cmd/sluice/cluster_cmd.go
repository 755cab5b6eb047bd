package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

func newClusterCommand(a *app) *cobra.Command {
	tls := group("tls", "Make certificates for the nodes", "Make the certificates with which nodes trust each other.", "  sluice cluster tls init node1 node2 node3",
		newTLSInit(a))
	return group("cluster", "Look after the nodes of the cluster",
		"Nodes form a cluster, of which any minority may fail. These commands show its nodes and change who belongs to it.",
		"  sluice cluster members\n  sluice cluster status",
		newClusterMembers(a), newClusterStatus(a), newClusterHealth(a), newClusterTransfer(a), newClusterRemove(a), newClusterLeave(a), newClusterRecover(a), tls)
}

func newClusterMembers(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "members",
		Aliases: []string{"ls"},
		Short:   "List the nodes of the cluster",
		Long:    "List the nodes of the cluster as the node that answers sees them. A node that does not answer it within a second is not alive.",
		Example: "  sluice cluster members\n  sluice cluster members -o jsonl",
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			c, err := a.connect(0)
			if err != nil {
				return err
			}
			defer c.Close()
			cluster, err := c.Cluster(command.Context())
			if err != nil {
				return fmt.Errorf("list the nodes: %w", err)
			}
			if len(cluster.Members) == 0 {
				return &failure{code: exitUnreachable, err: fmt.Errorf("this node belongs to no cluster: %s", strings.Join(cluster.Problems, "; ")),
					hint: "ask a node that does: --api http://HOST:PORT/api"}
			}
			return printList(a, memberList(cluster.Members))
		},
	}
}

func memberList(members []api.ClusterMember) list[api.ClusterMember] {
	return list[api.ClusterMember]{
		title: "Nodes",
		columns: []column[api.ClusterMember]{
			{header: "ID", right: true, sgr: sgrCyan, cell: func(m api.ClusterMember, _ bool) string { return m.ID }},
			{header: "Name", fold: true, sgr: sgrGreen, cell: func(m api.ClusterMember, _ bool) string { return m.Name }},
			{header: "Role", sgr: sgrBlue, cell: func(m api.ClusterMember, _ bool) string { return memberRole(m) }},
			{header: "Alive", cell: func(m api.ClusterMember, _ bool) string { return strconv.FormatBool(m.Alive) }},
			{header: "Address", cell: func(m api.ClusterMember, _ bool) string { return m.Address }},
			{header: "API", cell: func(m api.ClusterMember, _ bool) string { return m.HTTPAddress }},
			{header: "Version", cell: func(m api.ClusterMember, _ bool) string { return m.Version }},
			{header: "Supports", cell: func(m api.ClusterMember, _ bool) string { return versionRange(m.Supports) }},
			{header: "Applied", right: true, cell: func(m api.ClusterMember, _ bool) string { return appliedText(m) }},
			{header: "Problem", fold: true, sgr: sgrRed, cell: func(m api.ClusterMember, _ bool) string { return m.Problem }},
		},
		items: members,
		id:    func(m api.ClusterMember) string { return m.ID },
		name:  memberName,
	}
}

// appliedText is what a member has applied, "" of one that does not say.
func appliedText(m api.ClusterMember) string {
	if !m.Alive {
		return ""
	}
	return strconv.FormatUint(m.AppliedIndex, 10)
}

func memberRole(m api.ClusterMember) string {
	switch {
	case m.Halted != "":
		return "halted"
	case m.Diverged:
		return "diverged"
	case m.Leader:
		return "leader"
	case m.Voter:
		return "voter"
	}
	return "non-voter"
}

// versionRange names the cluster versions that a node supports, "" for one that did not say.
func versionRange(v api.VersionRange) string {
	switch {
	case v == api.VersionRange{}:
		return ""
	case v.Min == v.Max:
		return strconv.FormatUint(v.Min, 10)
	}
	return fmt.Sprintf("%d-%d", v.Min, v.Max)
}

// versionLine says the cluster's version and what keeps it from rising.
func versionLine(cluster *api.Cluster) string {
	next, silent := uint64(0), false
	for _, m := range cluster.Members {
		next = max(next, m.Supports.Max)
		silent = silent || !m.Alive
	}
	text := strconv.FormatUint(cluster.ClusterVersion, 10)
	if next <= cluster.ClusterVersion {
		if silent {
			return text
		}
		return text + ", the newest that the nodes support"
	}
	var holders []string
	for _, m := range cluster.Members {
		switch {
		case !m.Alive:
			holders = append(holders, "node "+memberName(m)+" does not answer")
		case m.Supports.Max < next:
			holders = append(holders, fmt.Sprintf("node %s (sluice %s) supports %s", memberName(m), m.Version, versionRange(m.Supports)))
		}
	}
	if len(holders) == 0 {
		return fmt.Sprintf("%s, about to become %d", text, next)
	}
	return fmt.Sprintf("%s; it becomes %d when every node supports that: %s", text, next, strings.Join(holders, ", "))
}

func memberName(m api.ClusterMember) string {
	if m.Name != "" {
		return m.Name
	}
	return m.ID
}

func newClusterStatus(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Say how well the cluster is",
		Long: `Say how well the cluster is: who leads, how many nodes may fail before it stops accepting writes, and what is wrong.
With -o wide, the last 20 leaders follow. It ends with code 1 when no leader is known or no further node may fail.`,
		Example: "  sluice cluster status\n  sluice cluster status -o wide\n  sluice cluster status -o json",
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			c, err := a.connect(0)
			if err != nil {
				return err
			}
			defer c.Close()
			cluster, err := c.Cluster(command.Context())
			if err != nil {
				return fmt.Errorf("ask for the cluster: %w", err)
			}
			return showCluster(a, cluster)
		},
	}
}

func showCluster(a *app, cluster *api.Cluster) error {
	if a.structured() || a.quiet {
		if err := a.printObject(cluster, cluster.ClusterID, cluster.ClusterID); err != nil {
			return err
		}
		return clusterTrouble(cluster)
	}
	if cluster.ClusterID == "" {
		a.say("Cluster:  none yet")
		for _, p := range cluster.Problems {
			a.say("Problem:  node %s, which answers: %s", cluster.NodeID, p)
		}
		return clusterTrouble(cluster)
	}
	leader, silent := "none is known", ""
	for _, m := range cluster.Members {
		if m.ID == cluster.Leader {
			leader = memberName(m) + " (" + m.ID + ")"
			if !m.Alive {
				silent = ", which does not answer: another is being elected"
			}
		}
	}
	a.say("Cluster:  %s", cluster.ClusterID)
	a.say("Leader:   %s, term %d%s", leader, cluster.Term, silent)
	a.say("Version:  %s", versionLine(cluster))
	a.say("Nodes:    %d, of which %d must agree", len(cluster.Members), cluster.Quorum)
	switch {
	case cluster.LossesLeft < 0:
		a.say("Failures: a quorum is lost; start %d of the nodes that are down", -cluster.LossesLeft)
	default:
		a.say("Failures: %d more may fail", cluster.LossesLeft)
	}
	for _, m := range cluster.Members {
		if !m.Alive || m.Problem != "" {
			a.say("Problem:  node %s at %s: %s", memberName(m), m.Address, m.Problem)
		}
	}
	for _, p := range cluster.Problems {
		a.say("Problem:  node %s, which answers: %s", cluster.NodeID, p)
	}
	if a.output == formatWide && len(cluster.Leaders) > 0 {
		a.say("")
		if err := printList(a, leaderList(a, cluster.Leaders)); err != nil {
			return err
		}
	}
	return clusterTrouble(cluster)
}

func leaderList(a *app, leaders []api.ClusterLeader) list[api.ClusterLeader] {
	return list[api.ClusterLeader]{
		title: "Leaders",
		columns: []column[api.ClusterLeader]{
			{header: "Name", fold: true, sgr: sgrGreen, cell: func(l api.ClusterLeader, _ bool) string { return cmp.Or(l.Name, l.ID) }},
			{header: "Term", right: true, cell: func(l api.ClusterLeader, _ bool) string { return strconv.FormatUint(l.Term, 10) }},
			{header: "Since", cell: func(l api.ClusterLeader, people bool) string { return a.moment(api.At(l.Since), people) }},
			{header: "From entry", right: true, cell: func(l api.ClusterLeader, _ bool) string { return strconv.FormatUint(l.Epoch, 10) }},
		},
		items: leaders,
		id:    func(l api.ClusterLeader) string { return l.ID },
		name:  func(l api.ClusterLeader) string { return cmp.Or(l.Name, l.ID) },
	}
}

// clusterTrouble makes scripts notice. A cluster of one may never lose a node, and that is no trouble.
func clusterTrouble(cluster *api.Cluster) error {
	text := ""
	switch {
	case cluster.ClusterID == "":
		text = "this node belongs to no cluster yet"
	case cluster.LossesLeft < 0:
		text = "the cluster has lost its quorum"
	case cluster.Leader == "":
		text = "the cluster has no leader"
	case cluster.LossesLeft == 0 && len(cluster.Members) > 2:
		text = "the cluster stops when one more node fails"
	default:
		return nil
	}
	return &failure{code: exitError, err: errors.New(text), hint: "sluice cluster health says what to do"}
}

// findMember returns the node of a name, id or unique prefix of an id.
func findMember(ctx context.Context, c *client.Client, ref string) (*api.ClusterMember, error) {
	cluster, err := c.Cluster(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for node '%s': %w", ref, err)
	}
	var all []candidate
	for _, m := range cluster.Members {
		id, err := api.ParseID(m.ID)
		if err != nil {
			return nil, fmt.Errorf("node id %q: %w", m.ID, err)
		}
		all = append(all, candidate{id, memberName(m)})
	}
	chosen, err := choose("node", ref, "sluice cluster members", all)
	if err != nil {
		return nil, err
	}
	for i, m := range cluster.Members {
		if m.ID == chosen.id.String() {
			return &cluster.Members[i], nil
		}
	}
	return nil, fmt.Errorf("node '%s' is not among the nodes", ref)
}

func newClusterTransfer(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "transfer-leadership [NODE]",
		Short: "Make another node lead",
		Long: `Make another node lead, by name or id, or the one that is closest behind the leader. A leader that is stopped with SIGTERM
does this by itself.`,
		Example: "  sluice cluster transfer-leadership\n  sluice cluster transfer-leadership node2",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			c, err := a.connect(0)
			if err != nil {
				return err
			}
			defer c.Close()
			to := &api.ClusterMember{Name: "another node"}
			if len(args) > 0 {
				if to, err = findMember(command.Context(), c, args[0]); err != nil {
					return err
				}
				if to.Leader {
					return a.printDone(to, to.ID, memberName(*to), memberName(*to)+" leads already")
				}
			}
			if err := c.TransferLeadership(command.Context(), to.ID); err != nil {
				return err
			}
			return a.printDone(to, to.ID, memberName(*to), "Leadership goes to "+memberName(*to))
		},
	}
}

func newClusterRemove(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "remove NODE",
		Short: "Take a node out of the cluster",
		Long: `Take a node out of the cluster for good, by name or id: one whose disk is lost, or that will not come back. It is refused when
the nodes that are left and answer would be no quorum. A node that still runs joins again when it is started with --join.`,
		Example: "  sluice cluster remove node3\n  sluice cluster remove 3461754d",
		Args:    cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			c, err := a.connect(0)
			if err != nil {
				return err
			}
			defer c.Close()
			member, err := findMember(command.Context(), c, args[0])
			if err != nil {
				return err
			}
			if err := c.RemoveMember(command.Context(), member.ID); err != nil {
				return err
			}
			return a.printDone(member, member.ID, memberName(*member), fmt.Sprintf("Removed node '%s' (%s)", memberName(*member), member.ID))
		},
	}
}

func newClusterLeave(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "leave",
		Short: "Have the node at --api leave the cluster and stop",
		Long: `Have the node at --api, a single address, leave its cluster for good and stop. Stopping a node with SIGTERM is not leaving:
its place is kept, and it takes it again when it is started.`,
		Example: "  sluice cluster leave --api http://node3:4200/api",
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			c, err := a.connect(0)
			if err != nil {
				return err
			}
			defer c.Close()
			if addresses := c.Addresses(); len(addresses) != 1 {
				return usagef("leave is for one node, but the API has %d addresses: name one with --api", len(addresses))
			}
			cluster, err := c.Cluster(command.Context())
			if err != nil {
				return err
			}
			if err := c.LeaveCluster(command.Context()); err != nil {
				return err
			}
			return a.printDone(cluster, cluster.NodeID, cluster.NodeID, fmt.Sprintf("Node %s has left the cluster and stops", cluster.NodeID))
		},
	}
}
