package fsm

import (
	"testing"

	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
)

func TestTheLastTwentyLeadersAreRemembered(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	var last uint64
	for term := uint64(1); term <= 23; term++ {
		m.one(&command.Envelope{Command: &command.Envelope_LeaderEpoch{LeaderEpoch: &command.LeaderEpoch{Term: term, NodeId: "id", NodeName: "north", ClusterId: "c1"}}})
		last = m.index
	}
	var terms []uint64
	if err := m.view().EachReign(func(r *row.Reign) (bool, error) {
		if len(terms) == 0 && (r.Epoch != last || r.NodeName != "north" || r.NodeId != "id" || r.Since == 0) {
			t.Errorf("the newest leader is %v, its entry was %d", r, last)
		}
		terms = append(terms, r.Term)
		return true, nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(terms) != 20 || terms[0] != 23 || terms[19] != 4 {
		t.Fatalf("the terms of the remembered leaders are %v", terms)
	}
}
