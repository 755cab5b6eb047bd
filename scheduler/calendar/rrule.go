package calendar

import (
	"errors"
	"math"
	"slices"
	"time"

	"github.com/sluice-dev/sluice/api"
)

type frequency int

const (
	yearly frequency = iota
	monthly
	weekly
	daily
	hourly
	minutely
	secondly
)

const (
	// rruleHorizonDays bounds the search for the next date: the calendar repeats after 400 years.
	rruleHorizonDays = 146097
	// rruleSteps bounds how many days and periods one search looks at, against rules made to be slow.
	rruleSteps = 2_000_000
)

// rrule is an iCalendar recurrence rule on the wall clock. The library in common use walks from DTSTART and can be made to
// hang or panic; this one jumps to the period asked for.
type rrule struct {
	freq     frequency
	interval int64
	start    int64 // wall time of DTSTART
	until    int64 // last wall time allowed
	wkst     int   // first day of the week, Sunday is 0

	months, monthDays, yearDays, weekNumbers, positions []int // negative ones count from the end
	weekdays                                            []nthWeekday
	hours, minutes, seconds                             []int // sorted; empty: any
	times                                               []int // seconds of the day, sorted; daily and longer only
	except                                              []int64
}

// nthWeekday is a weekday, the n-th of its month or year when n is not 0.
type nthWeekday struct{ n, weekday int }

func (p *Parser) compileRRule(spec api.RRuleSchedule, anchor time.Time) (*Schedule, error) {
	zone, err := p.loadZone(&spec.Timezone)
	if err != nil {
		return nil, err
	}
	rule, ruleZone, err := p.parseRRule(spec.RRule, zone, anchor)
	if err != nil {
		return nil, &InvalidError{Field: "rrule", Reason: `Invalid rrule string: "` + spec.RRule + `": ` + err.Error()}
	}
	return &Schedule{spec: api.Schedule{RRule: &spec}, zone: ruleZone, dates: wallDates{rule: rule, zone: ruleZone}}, nil
}

// limitCount turns COUNT into the wall time of the last occurrence.
func (r *rrule) limitCount(count int) error {
	from, last := r.start, r.start-1
	steps := rruleSteps
	for range count {
		at, ok := r.nextListed(from, &steps)
		if !ok {
			break
		}
		last, from = at, at+1
	}
	if steps <= 0 {
		return errors.New("COUNT is too large for dates that lie so far apart: use UNTIL")
	}
	r.until = min(r.until, last)
	return nil
}

func (r *rrule) next(from int64) (int64, bool) {
	steps := rruleSteps
	for {
		at, ok := r.nextListed(from, &steps)
		if !ok || !slices.Contains(r.except, at) {
			return at, ok
		}
		from = at + 1
	}
}

// nextListed is next before exceptions.
func (r *rrule) nextListed(from int64, steps *int) (int64, bool) {
	from = max(from, r.start)
	var at int64
	var ok bool
	if r.freq <= daily {
		at, ok = r.nextByDay(from, steps)
	} else {
		at, ok = r.nextByTime(from, steps)
	}
	if !ok || at > r.until {
		return 0, false
	}
	return at, true
}

// nextByDay searches rules whose period is a day or longer.
func (r *rrule) nextByDay(from int64, steps *int) (int64, bool) {
	firstDay := floorDiv(from, day)
	period := r.roundUp(r.periodOf(firstDay))
	for ; *steps > 0; period += r.interval {
		first, end := r.daysOf(period)
		if first*day > r.until || first > firstDay+rruleHorizonDays {
			return 0, false
		}
		*steps--
		if len(r.positions) > 0 {
			*steps -= int(end - first)
			if at, ok := r.positioned(r.matching(first, end), r.times, from); ok {
				return at, true
			}
			continue
		}
		for d := max(first, firstDay); d < end; d++ {
			*steps--
			if !r.matchesDay(d) {
				continue
			}
			for _, t := range r.times {
				if at := d*day + int64(t); at >= from {
					return at, true
				}
			}
		}
	}
	return 0, false
}

// roundUp returns the first period, counted from DTSTART's, that is not before p and that the interval selects.
func (r *rrule) roundUp(p int64) int64 {
	if p <= 0 {
		return 0
	}
	return (p + r.interval - 1) / r.interval * r.interval
}

// periodOf is the number of the period that a day lies in, DTSTART's being 0.
func (r *rrule) periodOf(d int64) int64 {
	year, month, _ := civil(d)
	startDay := floorDiv(r.start, day)
	startYear, startMonth, _ := civil(startDay)
	switch r.freq {
	case yearly:
		return int64(year - startYear)
	case monthly:
		return int64(year-startYear)*12 + int64(month-startMonth)
	case weekly:
		return (r.weekStart(d) - r.weekStart(startDay)) / 7
	default:
		return d - startDay
	}
}

// daysOf returns the days [first, end) of a period.
func (r *rrule) daysOf(period int64) (first, end int64) {
	startDay := floorDiv(r.start, day)
	year, month, _ := civil(startDay)
	switch r.freq {
	case yearly:
		return dayNumber(year+int(period), 1, 1), dayNumber(year+int(period)+1, 1, 1)
	case monthly:
		m := month + time.Month(period)
		return dayNumber(year, m, 1), dayNumber(year, m+1, 1)
	case weekly:
		first = r.weekStart(startDay) + 7*period
		return first, first + 7
	default:
		return startDay + period, startDay + period + 1
	}
}

func (r *rrule) weekStart(d int64) int64 { return d - int64((weekday(d)-r.wkst+7)%7) }

func (r *rrule) matching(first, end int64) (days []int64) {
	for d := first; d < end; d++ {
		if r.matchesDay(d) {
			days = append(days, d)
		}
	}
	return days
}

// positioned picks the BYSETPOS members of days × times and returns the first that is not before from.
func (r *rrule) positioned(days []int64, times []int, from int64) (int64, bool) {
	best := int64(math.MaxInt64)
	size := len(days) * len(times)
	for _, p := range r.positions {
		if p < 0 {
			p += size
		} else {
			p--
		}
		if p < 0 || p >= size {
			continue
		}
		if at := days[p/len(times)]*day + int64(times[p%len(times)]); at >= from {
			best = min(best, at)
		}
	}
	return best, best != math.MaxInt64
}

// nextByTime searches rules whose period is an hour, a minute or a second.
func (r *rrule) nextByTime(from int64, steps *int) (int64, bool) {
	unit := r.unit()
	step := r.interval * unit
	origin := floorDiv(r.start, unit) * unit
	jump := func(to int64) int64 { // to the first selected period that begins at `to` or later
		return origin + (to-origin+step-1)/step*step
	}
	p := origin
	if ahead := floorDiv(from, unit)*unit - origin; ahead > 0 {
		p = jump(origin + ahead)
	}
	limit := from + rruleHorizonDays*day
	checked := int64(math.MinInt64) // the day known to match
	for ; *steps > 0; *steps-- {
		if p > r.until || p > limit {
			return 0, false
		}
		d := floorDiv(p, day)
		if d != checked && !r.matchesDay(d) {
			p = jump((d + 1) * day)
			continue
		}
		checked = d
		h, m := int(p-d*day)/hour, int(p-d*day)%hour/60
		if !anyOrHas(r.hours, h) {
			p = jump(d*day + int64(h+1)*hour)
			continue
		}
		if r.freq >= minutely && !anyOrHas(r.minutes, m) {
			p = jump(floorDiv(p, 60)*60 + 60)
			continue
		}
		if at, ok := r.within(p, from); ok {
			return at, true
		}
		p += step
	}
	return 0, false
}

// unit is the length of an hourly, minutely or secondly period.
func (r *rrule) unit() int64 {
	switch r.freq {
	case hourly:
		return hour
	case minutely:
		return 60
	default:
		return 1
	}
}

// within returns the first occurrence in the period that begins at p, not before from.
func (r *rrule) within(p, from int64) (int64, bool) {
	minutes, seconds := r.minutes, r.seconds
	switch r.freq {
	case minutely:
		minutes = []int{0}
	case secondly:
		if !anyOrHas(r.seconds, int(p-floorDiv(p, 60)*60)) {
			return 0, false
		}
		minutes, seconds = []int{0}, []int{0}
	}
	if len(r.positions) > 0 {
		var times []int
		for _, m := range minutes {
			for _, s := range seconds {
				times = append(times, m*60+s)
			}
		}
		offset := p - floorDiv(p, day)*day
		for i := range times {
			times[i] += int(offset)
		}
		return r.positioned([]int64{floorDiv(p, day)}, times, from)
	}
	for _, m := range minutes {
		for _, s := range seconds {
			if at := p + int64(m*60+s); at >= from {
				return at, true
			}
		}
	}
	return 0, false
}

func (r *rrule) matchesDay(d int64) bool {
	year, month, dayOfMonth := civil(d)
	if !anyOrHas(r.months, int(month)) {
		return false
	}
	if len(r.monthDays) > 0 && !hasFromEnd(r.monthDays, dayOfMonth, daysIn(year, month)) {
		return false
	}
	if len(r.yearDays) > 0 && !hasFromEnd(r.yearDays, int(d-dayNumber(year, 1, 1))+1, int(dayNumber(year+1, 1, 1)-dayNumber(year, 1, 1))) {
		return false
	}
	if len(r.weekNumbers) > 0 {
		n, weeks := r.weekNumber(d)
		if !hasFromEnd(r.weekNumbers, n, weeks) {
			return false
		}
	}
	return len(r.weekdays) == 0 || r.matchesWeekday(d, year, month, dayOfMonth)
}

func (r *rrule) matchesWeekday(d int64, year int, month time.Month, dayOfMonth int) bool {
	wd := weekday(d)
	for _, w := range r.weekdays {
		if w.weekday != wd {
			continue
		}
		if w.n == 0 || r.freq > monthly {
			return true
		}
		position, length := dayOfMonth, daysIn(year, month)
		if r.freq == yearly && len(r.months) == 0 {
			first := dayNumber(year, 1, 1)
			position, length = int(d-first)+1, int(dayNumber(year+1, 1, 1)-first)
		}
		if w.n > 0 && (position+6)/7 == w.n || w.n < 0 && (length-position)/7+1 == -w.n {
			return true
		}
	}
	return false
}

// weekNumber is the number of the week that a day lies in and how many weeks its year has. Week 1 is the first with at
// least four days in the year.
func (r *rrule) weekNumber(d int64) (n, weeks int) {
	start := r.weekStart(d)
	year, _, _ := civil(start + 3)
	first := r.weekStart(dayNumber(year, 1, 4))
	following := r.weekStart(dayNumber(year+1, 1, 4))
	return int(start-first)/7 + 1, int(following-first) / 7
}

func anyOrHas(set []int, v int) bool { return len(set) == 0 || slices.Contains(set, v) }

// hasFromEnd reports whether the set has position v, or, counted backwards, the same place among length.
func hasFromEnd(set []int, v, length int) bool {
	return slices.Contains(set, v) || slices.Contains(set, v-length-1)
}
