package cluster

import (
	"maps"
	"slices"
	"strings"
)

// CommonGossipKeys is the name under which marks of a node's keys of gossip, in their order, are among what should be the same.
const CommonGossipKeys = "--gossip-key-file"

// common is what this node tells of the settings that should be the same on all nodes.
func (n *Node) common() map[string]string {
	all := maps.Clone(n.cfg.Common)
	if marks := n.gossip.keyMarks(); marks != nil {
		if all == nil {
			all = map[string]string{}
		}
		all[CommonGossipKeys] = strings.Join(marks, ",")
	}
	return all
}

// Common is what this node tells of the settings that should be the same on all nodes, by name.
func (n *Node) Common() map[string]string { return n.common() }

// differing returns the names of the settings that both know and that differ, sorted.
func differing(a, b map[string]string) (names []string) {
	for name, v := range a {
		if w, known := b[name]; known && w != v {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// disagrees lists the settings in which this node differs from another member, as far as it has heard of them.
func (n *Node) disagrees() []string {
	own, all := n.common(), map[string]bool{}
	for _, s := range n.servers() {
		if id := string(s.ID); id != n.id {
			for _, name := range differing(own, n.met.of(id).Common) {
				all[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(all))
}
