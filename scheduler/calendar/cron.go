package calendar

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-dev/sluice/api"
)

// cronHorizonDays bounds the search for an expression that never fires, like "0 0 31 2 *".
const cronHorizonDays = 50 * 366

// cron is an expression of five fields (minute, hour, day of month, month, day of week) and, optionally, a sixth of
// seconds at the end. Each set is a bit mask.
type cron struct {
	second, minute, hour, dayOfMonth, month, dayOfWeek uint64

	lastDay    bool      // L in the day of month
	nth        [7]uint64 // per weekday: bits 1–5 the first to fifth of the month, bit 6 the last
	anyDay     bool      // the day of month is a star
	anyWeekday bool      // the day of week is a star
	hasNth     bool
	or         bool // days join by OR when neither is a star
}

// cronField is the range of a field, its names, and the least value names count from.
type cronField struct {
	low, high int
	names     []string
	firstName int
}

var (
	monthNames   = []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}
	weekdayNames = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}
	cronAliases  = map[string]string{
		"@midnight": "0 0 * * *", "@hourly": "0 * * * *", "@daily": "0 0 * * *", "@weekly": "0 0 * * 0",
		"@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *",
	}
	cronFields = [6]cronField{{high: 59}, {high: 23}, {low: 1, high: 31}, {low: 1, high: 12, names: monthNames, firstName: 1},
		{high: 7, names: weekdayNames}, {high: 59}}
)

const nthLast = 6

func (p *Parser) compileCron(spec api.CronSchedule) (*Schedule, error) {
	zone, err := p.loadZone(spec.Timezone)
	if err != nil {
		return nil, err
	}
	rule, err := parseCron(spec.Cron, spec.DayOr)
	if err != nil {
		return nil, &InvalidError{Field: "cron", Reason: fmt.Sprintf(`Invalid cron string: "%s"`, spec.Cron)}
	}
	return &Schedule{spec: api.Schedule{Cron: &spec}, zone: zone, dates: wallDates{rule: rule, zone: zone}}, nil
}

func parseCron(expression string, dayOr bool) (*cron, error) {
	text := strings.ToLower(strings.TrimSpace(expression))
	if full, ok := cronAliases[text]; ok {
		text = full
	}
	fields := strings.Fields(text)
	if len(fields) != 5 && len(fields) != 6 {
		return nil, fmt.Errorf("%d fields", len(fields))
	}
	c := &cron{second: 1, or: dayOr}
	sets := [6]*uint64{&c.minute, &c.hour, &c.dayOfMonth, &c.month, &c.dayOfWeek, &c.second}
	var stars [6]bool
	for i, field := range fields {
		*sets[i] = 0
		for _, item := range strings.Split(field, ",") {
			if err := c.parseItem(i, item, sets[i], &stars[i]); err != nil {
				return nil, fmt.Errorf("field %d: %w", i+1, err)
			}
		}
	}
	if c.hasNth && (c.dayOfWeek != 0 || stars[4]) {
		return nil, fmt.Errorf("field 5 mixes weekdays with nth weekdays")
	}
	// All days written out count as a star only if the other field of days has one.
	c.anyDay = stars[2] || c.dayOfMonth == 0xfffffffe && strings.Contains(fields[4], "*")
	c.anyWeekday = stars[4] || c.dayOfWeek == 0x7f && strings.Contains(fields[2], "*")
	return c, nil
}

// parseItem adds one of the comma-separated parts of a field to its set.
func (c *cron) parseItem(field int, item string, set *uint64, star *bool) error {
	f := cronFields[field]
	switch {
	case item == "*":
		*star = true
		*set |= mask(f.low, f.high, 1)
		if field == 4 {
			*set &= 0x7f
		}
		return nil
	case item == "l" && field == 2:
		c.lastDay = true
		return nil
	}
	nth := 0
	if field == 4 {
		var err error
		if item, nth, err = splitNth(item); err != nil {
			return err
		}
	}
	low, high, step, err := f.parseRange(item, field)
	if err != nil {
		return err
	}
	for v := low; v <= high; v += step {
		switch {
		case nth != 0:
			c.hasNth = true
			c.nth[v%7] |= 1 << nth
		case field == 4:
			*set |= 1 << (v % 7)
		default:
			*set |= 1 << v
		}
	}
	return nil
}

// splitNth takes "mon#2" or "l5" (the last Friday) apart.
func splitNth(item string) (weekdays string, nth int, err error) {
	if before, after, found := strings.Cut(item, "#"); found {
		nth, err = number(after)
		if err != nil || nth < 1 || nth > 5 {
			return "", 0, fmt.Errorf("%q is no weekday of a month", item)
		}
		return before, nth, nil
	}
	if rest, found := strings.CutPrefix(item, "l"); found {
		return rest, nthLast, nil
	}
	return item, 0, nil
}

// parseRange reads v, a-b, a-b/s, a/s (to the field's end) and */s.
func (f cronField) parseRange(item string, field int) (low, high, step int, err error) {
	span, stepText, stepped := strings.Cut(item, "/")
	step = 1
	if stepped {
		if step, err = number(stepText); err != nil || step == 0 {
			return 0, 0, 0, fmt.Errorf("bad step in %q", item)
		}
	}
	lowText, highText, ranged := strings.Cut(span, "-")
	switch {
	case span == "*" && stepped:
		return f.low, f.high, step, nil
	case ranged && field == 2 && highText == "l":
		highText = "31"
	case !ranged && stepped:
		highText = strconv.Itoa(f.high)
	case !ranged:
		highText = lowText
	}
	if low, err = f.value(lowText); err != nil {
		return 0, 0, 0, err
	}
	if high, err = f.value(highText); err != nil {
		return 0, 0, 0, err
	}
	if field == 4 && ranged && high == 0 && low > 0 {
		high = 7 // fri-sun
	}
	if low > high {
		return 0, 0, 0, fmt.Errorf("%q runs backwards", item)
	}
	return low, high, step, nil
}

func (f cronField) value(text string) (int, error) {
	for i, name := range f.names {
		if text == name {
			return i + f.firstName, nil
		}
	}
	v, err := number(text)
	if err != nil {
		return 0, err
	}
	if v < f.low || v > f.high {
		return 0, fmt.Errorf("%d is out of range", v)
	}
	return v, nil
}

// number reads digits alone: no sign, and no more than any field can need.
func number(text string) (int, error) {
	if text == "" || len(text) > 9 || strings.Trim(text, "0123456789") != "" {
		return 0, fmt.Errorf("%q is no number", text)
	}
	return strconv.Atoi(text)
}

func mask(low, high, step int) (m uint64) {
	for v := low; v <= high; v += step {
		m |= 1 << v
	}
	return m
}

func (c *cron) next(from int64) (int64, bool) {
	d, second := floorDiv(from, day), from-floorDiv(from, day)*day
	for limit := d + cronHorizonDays; d <= limit; second = 0 {
		year, month, dayOfMonth := civil(d)
		if c.month>>month&1 == 0 {
			d = dayNumber(year, month+1, 1)
			continue
		}
		if c.matchesDay(d, year, month, dayOfMonth) {
			if at, ok := c.timeOfDay(int(second)); ok {
				return d*day + int64(at), true
			}
		}
		d++
	}
	return 0, false
}

func (c *cron) matchesDay(d int64, year int, month time.Month, dayOfMonth int) bool {
	length := daysIn(year, month)
	byDay := c.anyDay || c.dayOfMonth>>dayOfMonth&1 == 1 || c.lastDay && dayOfMonth == length
	wd := weekday(d)
	byWeekday := c.anyWeekday || c.dayOfWeek>>wd&1 == 1 || c.nth[wd]>>((dayOfMonth+6)/7)&1 == 1 ||
		c.nth[wd]>>nthLast&1 == 1 && dayOfMonth+7 > length
	if c.or && !c.anyDay && !c.anyWeekday {
		return byDay || byWeekday
	}
	return byDay && byWeekday
}

// timeOfDay returns the first second of a day, not before from, that the time fields match.
func (c *cron) timeOfDay(from int) (int, bool) {
	h, m, s := from/hour, from%hour/60, from%60
	for h, reset := lowest(c.hour, h), h; h >= 0; h = lowest(c.hour, h+1) {
		if h != reset {
			m, s = 0, 0
		}
		at := m
		for m := lowest(c.minute, m); m >= 0; m = lowest(c.minute, m+1) {
			if m != at {
				s = 0
			}
			if s := lowest(c.second, s); s >= 0 {
				return h*hour + m*60 + s, true
			}
		}
		m, s = 0, 0
	}
	return 0, false
}

// lowest returns the least member of a set that is not below from, -1 when there is none.
func lowest(set uint64, from int) int {
	if set >>= from; set == 0 {
		return -1
	}
	return from + bits.TrailingZeros64(set)
}
