package bench

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// histogram is a histogram of Prometheus: by upper bound in seconds, how many were at most that.
type histogram map[float64]float64

// claimable sums what the running nodes counted from due to claimable.
func (n *Nodes) claimable(ctx context.Context) (histogram, error) {
	sum := histogram{}
	for _, s := range n.all {
		if s.process == nil {
			continue
		}
		text, err := fetch(ctx, "http://"+s.host+"/metrics")
		if err != nil {
			return nil, fmt.Errorf("read the metrics of %s: %w", s.host, err)
		}
		one, err := parseHistogram(text, "sluice_scheduler_claimable_lateness_seconds")
		if err != nil {
			return nil, err
		}
		sum.add(one, nil)
	}
	return sum, nil
}

// parseHistogram reads a histogram without labels from Prometheus' text format.
func parseHistogram(text, name string) (histogram, error) {
	h := histogram{}
	for line := range strings.Lines(text) {
		rest, found := strings.CutPrefix(line, name+`_bucket{le="`)
		if !found {
			continue
		}
		le, count, _ := strings.Cut(strings.TrimSpace(rest), `"} `)
		bound, err1 := strconv.ParseFloat(le, 64)
		n, err2 := strconv.ParseFloat(count, 64)
		if err1 != nil || err2 != nil {
			return nil, fmt.Errorf("metric %q is no bucket of a histogram", line)
		}
		h[bound] = n
	}
	if len(h) == 0 {
		return nil, fmt.Errorf("there is no histogram %s", name)
	}
	return h, nil
}

// add adds what was counted from one reading to a later one.
func (h histogram) add(later, earlier histogram) {
	for bound, n := range later {
		h[bound] += n - earlier[bound]
	}
}

// bound is the upper bound, in ms, of the bucket that holds the q-quantile; -1 when it has none.
func (h histogram) bound(q float64) float64 {
	total := h[math.Inf(1)]
	for _, bound := range slices.Sorted(maps.Keys(h)) {
		if !math.IsInf(bound, 1) && h[bound] >= q*total {
			return bound * 1000
		}
	}
	return -1
}
