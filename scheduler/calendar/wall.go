package calendar

import (
	"iter"
	"time"
)

const (
	hour = 3600
	day  = 24 * hour
)

// A wall time is what a clock on the wall shows, as seconds since 1970-01-01 00:00 on that same wall.

// wallRule yields wall times. It knows no time zone.
type wallRule interface {
	// next returns the first wall time of the rule that is not before from; false when there is none near.
	next(from int64) (int64, bool)
}

// wallDates are the dates of a wallRule in a zone.
type wallDates struct {
	rule wallRule
	zone *time.Location
	dst  DST
}

func (w wallDates) from(start time.Time) iter.Seq[time.Time] {
	return func(yield func(time.Time) bool) {
		// Times in a gap are moved behind it, and repeated ones come again, past later wall times: they wait here, in order, for their turn.
		var moved []int64
		var last int64
		begun := false
		emit := func(at int64) bool {
			t := time.Unix(at, 0)
			if begun && at <= last || t.Before(start) {
				return true
			}
			begun, last = true, at
			return yield(t.In(w.zone))
		}
		from := wallOf(start, w.zone) - w.displacement(start)
		for {
			wall, ok := w.rule.next(from)
			if !ok {
				break
			}
			early, late, gap := moments(wall, w.zone)
			switch {
			case gap && w.dst.SkipMissing:
			case gap:
				moved = append(moved, late)
			default:
				at := late
				if w.dst.Repeated != RepeatedLast {
					at = early
				}
				for len(moved) > 0 && moved[0] <= at {
					if !emit(moved[0]) {
						return
					}
					moved = moved[1:]
				}
				if !emit(at) {
					return
				}
				if w.dst.Repeated == RepeatedBoth && late != early {
					moved = append(moved, late)
				}
			}
			from = wall + 1
		}
		for _, at := range moved {
			if !emit(at) {
				return
			}
		}
	}
}

// displacement is how far before start's wall time a wall time may lie whose date is not before start.
func (w wallDates) displacement(start time.Time) int64 {
	const near = 26 * time.Hour
	local := start.In(w.zone)
	begin, end := local.ZoneBounds()
	var sum int64
	if !begin.IsZero() && start.Sub(begin) < near {
		sum += abs(offsetAt(begin.Unix(), w.zone) - offsetAt(begin.Unix()-1, w.zone))
	}
	if !end.IsZero() && end.Sub(start) < near {
		sum += abs(offsetAt(end.Unix(), w.zone) - offsetAt(end.Unix()-1, w.zone))
	}
	return sum
}

// wallOf is the wall time of t in a zone, fractions of a second cut off.
func wallOf(t time.Time, zone *time.Location) int64 { return t.Unix() + offsetAt(t.Unix(), zone) }

func offsetAt(unix int64, zone *time.Location) int64 {
	if zone == time.UTC {
		return 0
	}
	_, offset := time.Unix(unix, 0).In(zone).Zone()
	return int64(offset)
}

// moments are the moments of a wall time: one, or two when it exists twice. In a gap (true) both are the moment that lies as far
// behind the gap's end as the wall time lies behind its beginning.
func moments(wall int64, zone *time.Location) (early, late int64, gap bool) {
	// The real moment is wall-14h…wall+12h, so these are the offsets before and after any transition near it.
	before, after := offsetAt(wall-day, zone), offsetAt(wall+day, zone)
	if before == after {
		return wall - before, wall - before, false
	}
	early, late = wall-before, wall-after
	if late < early {
		early, late = late, early
	}
	isEarly, isLate := offsetAt(early, zone) == wall-early, offsetAt(late, zone) == wall-late
	switch {
	case isEarly && isLate:
		return early, late, false
	case isLate:
		return late, late, false
	case isEarly:
		return early, early, false
	}
	return wall - before, wall - before, true
}

func abs(n int64) int64 { return max(n, -n) }

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// civil returns the date of a day counted from 1970-01-01.
func civil(days int64) (year int, month time.Month, dayOfMonth int) {
	return time.Unix(days*day, 0).UTC().Date()
}

// dayNumber counts the days from 1970-01-01 to a date; month and day may be out of range.
func dayNumber(year int, month time.Month, dayOfMonth int) int64 {
	return floorDiv(time.Date(year, month, dayOfMonth, 0, 0, 0, 0, time.UTC).Unix(), day)
}

// weekday of a day counted from 1970-01-01, a Thursday. Sunday is 0.
func weekday(days int64) int { return int(((days+4)%7 + 7) % 7) }

func daysIn(year int, month time.Month) int {
	return int(dayNumber(year, month+1, 1) - dayNumber(year, month, 1))
}
