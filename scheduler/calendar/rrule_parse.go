package calendar

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	maxRRuleCount    = 10_000
	maxRRuleInterval = 1_000_000
	maxRRuleDates    = 1_000           // exceptions
	lastWall         = 253_402_300_799 // 9999-12-31 23:59:59
)

var (
	frequencies   = []string{"YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY", "SECONDLY"}
	rruleWeekdays = []string{"SU", "MO", "TU", "WE", "TH", "FR", "SA"}
)

// parseRRule reads [DTSTART line] RRULE line [EXDATE lines]. Without DTSTART the rule begins at anchor, to the second. A
// DTSTART with TZID brings its own zone.
func (p *Parser) parseRRule(text string, zone *time.Location, anchor time.Time) (*rrule, *time.Location, error) {
	r := &rrule{interval: 1, until: lastWall, wkst: 1, freq: -1}
	var rule string
	var except []string
	hasStart := false
	for _, line := range strings.Fields(strings.ToUpper(strings.ReplaceAll(text, "\r", ""))) {
		name, value, named := strings.Cut(line, ":")
		if !named {
			name, value = "RRULE", line
		}
		name, parameters, _ := strings.Cut(name, ";")
		switch {
		case name == "RRULE" && rule == "":
			rule = value
		case name == "DTSTART" && !hasStart:
			hasStart = true
			if tzid, found := strings.CutPrefix(parameters, "TZID="); found {
				var err error
				if zone, err = p.zoneIgnoringCase(text, tzid); err != nil {
					return nil, nil, err
				}
			}
			start, err := rruleTime(value, zone)
			if err != nil {
				return nil, nil, err
			}
			r.start = start
		case name == "EXDATE":
			except = append(except, strings.Split(value, ",")...)
		default:
			return nil, nil, fmt.Errorf("%s is not supported: one RRULE, with DTSTART and EXDATE, is", name)
		}
	}
	if rule == "" {
		return nil, nil, errors.New("there is no rule in it")
	}
	if !hasStart {
		r.start = wallOf(anchor, zone)
	}
	if len(except) > maxRRuleDates {
		return nil, nil, fmt.Errorf("%d exceptions, at most %d are allowed", len(except), maxRRuleDates)
	}
	for _, e := range except {
		at, err := rruleTime(e, zone)
		if err != nil {
			return nil, nil, err
		}
		r.except = append(r.except, at)
	}
	if err := r.parseParts(rule, zone); err != nil {
		return nil, nil, err
	}
	return r, zone, nil
}

// zoneIgnoringCase finds the zone in the text as it was written: only the rest of a rule ignores case.
func (p *Parser) zoneIgnoringCase(text, upper string) (*time.Location, error) {
	at := strings.Index(strings.ToUpper(text), "TZID="+upper)
	name := text
	if at >= 0 && len(strings.ToUpper(text)) == len(text) {
		name = text[at+len("TZID=") : at+len("TZID=")+len(upper)]
	}
	return p.loadZone(&name)
}

func (r *rrule) parseParts(rule string, zone *time.Location) error {
	count := 0
	seen := map[string]bool{}
	for _, part := range strings.Split(strings.TrimSuffix(rule, ";"), ";") {
		key, value, _ := strings.Cut(part, "=")
		if value == "" || seen[key] {
			return fmt.Errorf("%q is not NAME=VALUE, once", part)
		}
		seen[key] = true
		var err error
		switch key {
		case "FREQ":
			r.freq = frequency(slices.Index(frequencies, value))
		case "INTERVAL":
			var n int
			n, err = boundedInt(value, 1, maxRRuleInterval, false)
			r.interval = int64(n)
		case "COUNT":
			count, err = boundedInt(value, 1, maxRRuleCount, false)
		case "UNTIL":
			r.until, err = rruleTime(value, zone)
		case "WKST":
			if r.wkst = slices.Index(rruleWeekdays, value); r.wkst < 0 {
				err = errors.New("not a weekday")
			}
		case "BYDAY", "BYWEEKDAY":
			r.weekdays, err = parseWeekdays(value)
		case "BYMONTH":
			r.months, err = intList(value, 1, 12, false)
		case "BYMONTHDAY":
			r.monthDays, err = intList(value, 1, 31, true)
		case "BYYEARDAY":
			r.yearDays, err = intList(value, 1, 366, true)
		case "BYWEEKNO":
			r.weekNumbers, err = intList(value, 1, 53, true)
		case "BYSETPOS":
			r.positions, err = intList(value, 1, 366, true)
		case "BYHOUR":
			r.hours, err = intList(value, 0, 23, false)
		case "BYMINUTE":
			r.minutes, err = intList(value, 0, 59, false)
		case "BYSECOND":
			r.seconds, err = intList(value, 0, 59, false)
		default:
			err = errors.New("unknown part of a rule")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", part, err)
		}
	}
	if r.freq < 0 {
		return errors.New("FREQ must be one of " + strings.Join(frequencies, ", "))
	}
	r.fillDefaults()
	if err := r.checkReachable(); err != nil {
		return err
	}
	if count > 0 {
		return r.limitCount(count)
	}
	return nil
}

// fillDefaults takes from DTSTART what the rule leaves open.
func (r *rrule) fillDefaults() {
	d := floorDiv(r.start, day)
	_, month, dayOfMonth := civil(d)
	if len(r.weekNumbers)+len(r.yearDays)+len(r.monthDays)+len(r.weekdays) == 0 {
		switch r.freq {
		case yearly:
			if len(r.months) == 0 {
				r.months = []int{int(month)}
			}
			r.monthDays = []int{dayOfMonth}
		case monthly:
			r.monthDays = []int{dayOfMonth}
		case weekly:
			r.weekdays = []nthWeekday{{weekday: weekday(d)}}
		}
	}
	second := int(r.start - d*day)
	if len(r.hours) == 0 && r.freq < hourly {
		r.hours = []int{second / hour}
	}
	if len(r.minutes) == 0 && r.freq < minutely {
		r.minutes = []int{second % hour / 60}
	}
	if len(r.seconds) == 0 && r.freq < secondly {
		r.seconds = []int{second % 60}
	}
	if r.freq <= daily {
		for _, h := range r.hours {
			for _, m := range r.minutes {
				for _, s := range r.seconds {
					r.times = append(r.times, h*hour+m*60+s)
				}
			}
		}
	}
}

// checkReachable refuses rules like FREQ=HOURLY;INTERVAL=2;BYHOUR=1 that begin at an even hour: no period they select has a
// time they allow.
func (r *rrule) checkReachable() error {
	if r.freq <= daily {
		return nil
	}
	unit := r.unit()
	perDay := day / unit
	step := gcd(r.interval, perDay)
	for u := (floorDiv(r.start, unit)%perDay + perDay) % step; u < perDay; u += step {
		second := int(u * unit)
		if anyOrHas(r.hours, second/hour) && (r.freq == hourly || anyOrHas(r.minutes, second%hour/60)) &&
			(r.freq != secondly || anyOrHas(r.seconds, second%60)) {
			return nil
		}
	}
	return errors.New("INTERVAL never meets the hours, minutes or seconds given")
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

func parseWeekdays(value string) ([]nthWeekday, error) {
	var all []nthWeekday
	for _, item := range strings.Split(value, ",") {
		if len(item) < 2 {
			return nil, fmt.Errorf("%q is not a weekday", item)
		}
		w := nthWeekday{weekday: slices.Index(rruleWeekdays, item[len(item)-2:])}
		if w.weekday < 0 {
			return nil, fmt.Errorf("%q is not a weekday", item)
		}
		if n := item[:len(item)-2]; n != "" {
			var err error
			if w.n, err = boundedInt(n, 1, 53, true); err != nil {
				return nil, err
			}
		}
		all = append(all, w)
	}
	return all, nil
}

// intList reads a list of numbers, sorted and unique; negative allows -high…-low too.
func intList(value string, low, high int, negative bool) ([]int, error) {
	var all []int
	for _, item := range strings.Split(value, ",") {
		n, err := boundedInt(item, low, high, negative)
		if err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

func boundedInt(text string, low, high int, negative bool) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || (n < low || n > high) && !(negative && n >= -high && n <= -low) {
		return 0, fmt.Errorf("%q is not a number from %d to %d", text, low, high)
	}
	return n, nil
}

// rruleTime reads 20260101, 20260101T083000 (wall time) or 20260101T083000Z and returns the wall time in zone.
func rruleTime(text string, zone *time.Location) (int64, error) {
	for _, layout := range []string{"20060102T150405", "20060102", "20060102T150405Z"} {
		if t, err := time.Parse(layout, text); err == nil {
			if strings.HasSuffix(text, "Z") {
				return wallOf(t, zone), nil
			}
			return t.Unix(), nil
		}
	}
	return 0, fmt.Errorf("%q is not a time like 20260101T083000", text)
}
