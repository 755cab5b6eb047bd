package state

import (
	"bytes"

	"github.com/sluice-dev/sluice/fsm/row"
)

// NewOutcome makes an outcome, to be saved.
func (tx *Tx) NewOutcome(r *row.Outcome) *OutcomeEdit { return insert(tx, outcomes, r) }

// EditOutcome loads what the ordinal-th command under a key came to; nil when nothing is kept.
func (tx *Tx) EditOutcome(key []byte, ordinal uint32) (*OutcomeEdit, error) {
	return edit(tx, outcomes, appendOutcome(prefix(kindRow, outcomes.number), key, ordinal))
}

// CountOutcomes returns how many outcomes are kept, with this transaction's own changes.
func (tx *Tx) CountOutcomes() (int64, error) { return tx.counted(counterKey(countOutcomes)) }

// DropOldOutcomes forgets the oldest outcomes: those from before the given time (µs), and as many as there are over most. It
// forgets a few at a time, so that no command takes long.
func (tx *Tx) DropOldOutcomes(before, most int64) error {
	const few = 8
	n, err := tx.CountOutcomes()
	if err != nil {
		return err
	}
	var old [][]byte
	under := indexKey(idxOutcomeCreated)
	err = walk(tx.batch, under, after(under), false, func(key, rowKey []byte) (bool, error) {
		expired := bytes.Compare(key, appendTime(indexKey(idxOutcomeCreated), before)) < 0
		if !expired && n-int64(len(old)) <= most {
			return false, nil
		}
		old = append(old, bytes.Clone(rowKey))
		return len(old) < few, nil
	})
	for _, key := range old {
		if err != nil {
			break
		}
		var e *OutcomeEdit
		if e, err = edit(tx, outcomes, key); err == nil {
			err = e.Delete()
		}
	}
	return err
}
