package httpapi

import (
	"math"
	"strconv"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/http/internal/body"
)

// minTime and maxTime bound index walks.
const (
	minTime = math.MinInt64
	maxTime = math.MaxInt64
)

// page selects a part of a list.
type page struct {
	limit, offset int64
	skipped       int64
}

func newPage() page { return page{limit: api.MaxPage} }

// check refuses limits out of range, in Orion's words.
func (p *page) check() error {
	switch {
	case p.limit > api.MaxPage:
		return badLimit("Invalid limit: must be less than or equal to " + strconv.Itoa(api.MaxPage) + ".")
	case p.limit < 0:
		return badLimit("Invalid limit: must be greater than or equal to 0.")
	}
	return nil
}

func badLimit(detail string) error { return invalid(detail, "") }

// want is how many rows of a sorted list must be known to answer the page.
func (p *page) want() int {
	if p.offset > math.MaxInt32 {
		return math.MaxInt32
	}
	return int(p.limit + p.offset)
}

// takeFrom adds r to rows if it lies on page p; it reports whether more may follow.
func takeFrom[R any](p *page, rows *[]R, r R) bool {
	if p.limit == 0 {
		return false
	}
	if p.skipped < p.offset {
		p.skipped++
		return true
	}
	*rows = append(*rows, r)
	return int64(len(*rows)) < p.limit
}

// cut returns the part of a whole sorted list that lies on the page.
func cut[R any](p *page, rows []R) []R {
	if p.offset >= int64(len(rows)) {
		return nil
	}
	rows = rows[p.offset:]
	return rows[:min(p.limit, int64(len(rows)))]
}

var pageSpec = body.Parameters(
	body.Optional("limit", body.Int, func(v *page) *int64 { return &v.limit }),
	body.Optional("offset", offset, func(v *page) *int64 { return &v.offset }),
)

var offset = body.IntBetween(0, math.MaxInt64)
