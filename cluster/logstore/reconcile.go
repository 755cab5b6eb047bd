package logstore

import (
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
)

// ErrStateOlder is returned when the log does not continue where the state machine ends.
var ErrStateOlder = errors.New("the state is older than the log")

// Reconcile makes the log fit a state machine at (index, term) before raft starts. A log that ends below the state or
// disagrees with it was overtaken by a snapshot and is deleted. A log that begins above the state cannot be replayed:
// ErrStateOlder.
func (s *Store) Reconcile(index, term uint64) error {
	first, last := s.extent()
	stale := ""
	switch {
	case last == 0:
	case index > last:
		stale = fmt.Sprintf("the log ends at %d, the state at %d", last, index)
	case first > index+1:
		return fmt.Errorf("%w: the log begins at entry %d, the state ends at %d; entries between are missing. "+
			"Restore this node's data directory from a copy, or remove it and join again as a new node", ErrStateOlder, first, index)
	case index >= first:
		var l raft.Log
		if err := s.GetLog(index, &l); err != nil {
			return fmt.Errorf("read entry %d of the raft log: %w", index, err)
		}
		if l.Term != term {
			stale = fmt.Sprintf("entry %d has term %d in the log and %d in the state", index, l.Term, term)
		}
	}
	if stale != "" {
		s.log.Warn("raft log was overtaken by a snapshot and is deleted", "reason", stale, "first", first, "last", last)
		s.appends.Lock()
		err := s.deleteRange(first, last)
		s.appends.Unlock()
		if err != nil {
			return fmt.Errorf("delete the overtaken raft log: %w", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.truncated = false
	if s.last == 0 && index > 0 {
		s.next = extent{index + 1, index + 1}
	}
	return nil
}
