package bench

import (
	"slices"
	"time"
)

// samples are durations of one kind.
type samples []time.Duration

// quantile returns the q-quantile (0 to 1), 0 without samples. It sorts s.
func (s samples) quantile(q float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	slices.Sort(s)
	return s[min(int(q*float64(len(s))), len(s)-1)]
}
