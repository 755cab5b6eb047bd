package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sluice-dev/sluice/api"
)

// The forms of times. "" is relative in tables and raw otherwise.
const (
	timeRelative = "relative"
	timeISO      = "iso" // local, with the offset
	timeRaw      = "raw" // as the API has it: UTC, with microseconds
)

var timeFormats = []string{timeRelative, timeISO, timeRaw}

func (a *app) checkTimeFormat() error {
	if a.timeFormat == "" || slices.Contains(timeFormats, a.timeFormat) {
		return nil
	}
	return usagef("--time-format is %q; it is one of %s", a.timeFormat, strings.Join(timeFormats, ", "))
}

// moment writes a time into a cell.
func (a *app) moment(t api.Time, people bool) string {
	format := a.timeFormat
	if format == "" && people {
		format = timeRelative
	}
	return a.momentAs(format, t)
}

// stamp writes a time of a record, which is to be exact for people too unless they ask for another form.
func (a *app) stamp(t api.Time) string {
	if a.timeFormat == "" {
		return t.UTC().Format(time.RFC3339)
	}
	return a.momentAs(a.timeFormat, t)
}

func (a *app) momentAs(format string, t api.Time) string {
	switch format {
	case timeRelative:
		return since(t.Time, time.Now())
	case timeISO:
		return t.Local().Format(time.RFC3339)
	}
	return t.String()
}

// since says how far away a time is, for people.
func since(t, now time.Time) string {
	d := now.Sub(t)
	ahead := d < 0
	if ahead {
		d = -d
	}
	units := []struct {
		size time.Duration
		name string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"}}
	phrase := "now"
	for _, unit := range units {
		if n := int(d / unit.size); n > 0 {
			phrase = fmt.Sprintf("%d %ss", n, unit.name)
			if n == 1 {
				phrase = strings.TrimSuffix(phrase, "s")
			}
			break
		}
	}
	switch {
	case phrase == "now":
		return phrase
	case ahead:
		return "in " + phrase
	}
	return phrase + " ago"
}
