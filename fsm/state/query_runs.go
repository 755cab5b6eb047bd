package state

import (
	"github.com/sluice-dev/sluice/fsm/row"
)

// FlowRunsByExpectedStartBetween walks the flow runs whose expected start time lies in [from, until] (µs), by that time, then id.
func (v *View) FlowRunsByExpectedStartBetween(from, until int64, reverse bool, fn func(*row.FlowRun) (bool, error)) error {
	under := indexKey(idxRunExpectedStart)
	lower := appendTime(append([]byte(nil), under...), from)
	upper := after(appendTime(under, until))
	return flowRuns.eachByIndex(v.r, lower, upper, reverse, fn)
}
