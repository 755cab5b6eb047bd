package cluster

import (
	"errors"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/sluice-dev/sluice/cluster/logstore"
)

// Every error of Propose and its variants is one of the first two, so that a caller knows whether to say "failed" or
// "unknown". The others are wrapped inside and say why.
var (
	// ErrNotDone is returned when the commands were certainly not applied and never will be by this call.
	ErrNotDone = errors.New("not done")
	// ErrUnknownOutcome is returned when the commands may have been applied or may still be.
	ErrUnknownOutcome = errors.New("outcome unknown")

	// ErrNoLeader says that no leader that this node can reach was known for the time a request may wait.
	ErrNoLeader = errors.New("no leader")
	// ErrNotLeader says that this node is not, or no longer, the leader, or the epoch is over.
	ErrNotLeader = errors.New("not the leader")
	// ErrStopped says that the node is shutting down or was never started.
	ErrStopped = errors.New("node is stopped")
	// ErrHalted says that the state machine met an entry it must not skip; the node applies nothing more.
	ErrHalted = errors.New("state machine has halted")
	// ErrOverloaded says that too many commands wait already.
	ErrOverloaded = errors.New("too many commands are waiting")
	// ErrRefused says that a change of the membership is not allowed as things are.
	ErrRefused = errors.New("refused")
	// ErrUnfit says that this node should not lead: its clock is not the majority's.
	ErrUnfit = errors.New("this node must not lead")
	// ErrTooLarge says that one call carries more bytes than its lane admits.
	ErrTooLarge = errors.New("commands are too large")
)

func notDone(cause error) error {
	if errors.Is(cause, ErrNotDone) {
		return cause
	}
	return fmt.Errorf("%w: %w", ErrNotDone, cause)
}

func unknown(cause error) error {
	if errors.Is(cause, ErrUnknownOutcome) {
		return cause
	}
	return unknownOutcome{cause}
}

// unknownOutcome is ErrUnknownOutcome and whatever its cause is but ErrNotDone: that the last attempt was not done says nothing of
// those before.
type unknownOutcome struct{ cause error }

func (e unknownOutcome) Error() string { return ErrUnknownOutcome.Error() + ": " + e.cause.Error() }

func (e unknownOutcome) Is(target error) bool {
	return target == ErrUnknownOutcome || target != ErrNotDone && errors.Is(e.cause, target)
}

func (e unknownOutcome) As(target any) bool { return errors.As(e.cause, target) }

// certainty sorts what raft answered to an append.
type certainty int

const (
	notAppended   certainty = iota // not in the log and retrying is free
	refused                        // not in the log because of the disk; retrying at once would not help
	maybeAppended                  // may be committed
)

// classify says what is known about an entry whose future failed with err.
func classify(err error) certainty {
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrEnqueueTimeout),
		errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return notAppended
	case errors.Is(err, logstore.ErrNotStored), errors.Is(err, logstore.ErrGap):
		return refused
	default:
		// ErrLeadershipLost, ErrRaftShutdown and ErrAbortedByRestore come after the entry was stored: if the restore fails then, or the
		// leader, it is committed all the same. A latched write may still succeed.
		return maybeAppended
	}
}
