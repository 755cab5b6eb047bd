// Package calendar computes the fire times of a deployment's schedule. It is pure: no clock, no global state; the same
// schedule and arguments give the same dates. Time zones come from the embedded database when the system has none.
//
// Daylight saving time: cron and rrule schedules fire by the wall clock, each wall time once. A wall time that does not
// exist is taken as many minutes after the gap as it lies in it (02:30 becomes 03:30); of one that exists twice the later
// is taken. WithDST changes both. Intervals count whole days in local time and the rest in absolute time.
package calendar

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"
	_ "time/tzdata" // the machine may have no zone database

	"github.com/sluice-dev/sluice/api"
)

// InvalidError says which field of a schedule is wrong. Its text is meant for the client.
type InvalidError struct {
	Field  string // "interval", "anchor_date", "cron", "timezone", "rrule"; "" for the whole
	Reason string
}

func (e *InvalidError) Error() string { return e.Reason }

// Schedule is a checked schedule. It is immutable and safe for concurrent use.
type Schedule struct {
	spec  api.Schedule
	zone  *time.Location
	dates dateSource
}

// dateSource yields the dates from start on, ascending, without duplicates. It ends when no further date is near.
type dateSource interface {
	from(start time.Time) iter.Seq[time.Time]
}

// Parse checks a schedule in Orion's JSON form. Errors about its content are *InvalidError.
func Parse(raw json.RawMessage) (*Schedule, error) { return new(Parser).Parse(raw) }

// Compile checks a decoded schedule.
func Compile(spec api.Schedule) (*Schedule, error) { return new(Parser).Compile(spec) }

// Parser remembers the time zones it has read, for whoever parses many schedules. The zero value is ready; one goroutine
// uses it.
type Parser struct {
	zones map[string]*time.Location
}

// Parse checks a schedule in Orion's JSON form.
func (p *Parser) Parse(raw json.RawMessage) (*Schedule, error) {
	var spec api.Schedule
	if err := json.Unmarshal(raw, &spec); err != nil {
		return nil, &InvalidError{Reason: err.Error()}
	}
	return p.Compile(spec)
}

// Compile checks a decoded schedule. An rrule without DTSTART begins in 2020 until Anchored is called.
func (p *Parser) Compile(spec api.Schedule) (*Schedule, error) {
	switch {
	case spec.Interval != nil:
		return p.compileInterval(*spec.Interval)
	case spec.Cron != nil:
		return p.compileCron(*spec.Cron)
	case spec.RRule != nil:
		return p.compileRRule(*spec.RRule, api.DefaultAnchor(time.UTC))
	}
	return nil, &InvalidError{Reason: "a schedule needs one of interval, cron and rrule"}
}

// Spec is the schedule as it came, with the defaults filled in.
func (s *Schedule) Spec() api.Schedule { return s.spec }

// Zone is the time zone in which the schedule is evaluated and its dates are shown.
func (s *Schedule) Zone() *time.Location { return s.zone }

// Anchored returns the schedule with its open start, if it has one, fixed to the second of at: an rrule without DTSTART
// begins when its deployment was created.
func (s *Schedule) Anchored(at time.Time) (*Schedule, error) {
	if s.spec.RRule == nil {
		return s, nil
	}
	known := Parser{zones: map[string]*time.Location{s.spec.RRule.Timezone: s.zone}}
	if s.zone.String() != s.spec.RRule.Timezone {
		known.zones = nil // DTSTART brought its own zone
	}
	return known.compileRRule(*s.spec.RRule, at)
}

// Dates returns the dates d with start ≤ d ≤ end in order, at most n.
func (s *Schedule) Dates(n int, start, end time.Time) []time.Time {
	var dates []time.Time
	if n <= 0 || end.Before(start) {
		return nil
	}
	for d := range s.dates.from(start) {
		if d.After(end) {
			break
		}
		if dates = append(dates, d); len(dates) == n {
			break
		}
	}
	return dates
}

// Next returns the first date after the given moment. ok is false when there is none: the schedule has ended or never
// fires. Cron expressions are searched for 50 years, rrules for 400.
func (s *Schedule) Next(after time.Time) (next time.Time, ok bool) {
	for d := range s.dates.from(after) {
		if d.After(after) {
			return d, true
		}
	}
	return time.Time{}, false
}

func (p *Parser) loadZone(name *string) (*time.Location, error) {
	if name == nil {
		return time.UTC, nil
	}
	if zone, ok := p.zones[*name]; ok {
		return zone, nil
	}
	// "" and "Local" mean something to the time package that they do not mean to a client.
	zone, err := time.LoadLocation(*name)
	if err != nil || *name == "" || strings.EqualFold(*name, "local") {
		return nil, &InvalidError{Field: "timezone", Reason: fmt.Sprintf("Invalid timezone: %q", *name)}
	}
	if p.zones == nil {
		p.zones = map[string]*time.Location{}
	}
	p.zones[*name] = zone
	return zone, nil
}

// IsInvalid reports whether err says that a schedule is wrong, and how.
func IsInvalid(err error) (*InvalidError, bool) {
	var invalid *InvalidError
	return invalid, errors.As(err, &invalid)
}
