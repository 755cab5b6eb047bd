package state

import (
	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/row"
)

// LogSegmentsFrom walks the log batches of one flow run from the one at (index, ordinal) on, in the order they were accepted.
func (v *View) LogSegmentsFrom(flowRunID api.ID, index uint64, ordinal uint32, fn func(*row.LogSegment) (bool, error)) error {
	under := appendID(prefix(kindRow, logSegments.number), flowRunID[:])
	lower := appendUint64(appendUint64(append([]byte(nil), under...), index), uint64(ordinal))
	return walk(v.r, lower, after(under), false, func(_, value []byte) (bool, error) {
		segment, err := logSegments.decode(value)
		if err != nil {
			return false, err
		}
		return fn(segment)
	})
}
