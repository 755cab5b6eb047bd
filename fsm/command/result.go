package command

import "errors"

// EntryResult is what applying one entry answers to Raft's caller, batch by batch in the entry's order.
type EntryResult struct {
	Batches []BatchResult
	// Err is set when the state machine did not apply the entry: it has halted (ErrHalted). Nothing was changed.
	Err error
}

// BatchResult holds the encoded Result of each command of a batch. Replayed says the batch had been applied before and
// the stored results are repeated.
type BatchResult struct {
	Results  [][]byte
	Replayed bool
}

// ErrHalted is returned by a state machine that met an entry it must not skip: unknown, malformed or too new. The node
// stays up for diagnosis but applies nothing more.
var ErrHalted = errors.New("state machine halted")
