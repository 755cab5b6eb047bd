package calendar

import (
	"fmt"
	"iter"
	"time"

	"github.com/sluice-dev/sluice/api"
)

// interval is anchor + k·(days in local time, then rest in absolute time) for every whole k, also negative.
type interval struct {
	zone        *time.Location
	anchor      time.Time
	wall        int64 // of the anchor, seconds
	nanos       int64 // of the anchor, below its second
	days        int64
	rest        time.Duration
	stepSeconds float64
	dst         DST
}

// maxDistance bounds, in seconds, how far from the anchor dates are computed: 10,000 years.
const maxDistance = 10_000 * 366 * day

func (p *Parser) compileInterval(spec api.IntervalSchedule) (*Schedule, error) {
	step := spec.Interval.Std()
	if step <= 0 {
		return nil, &InvalidError{Field: "interval", Reason: "The interval must be positive"}
	}
	if step < time.Millisecond {
		return nil, &InvalidError{Field: "interval", Reason: fmt.Sprintf("The interval of %v is too short: one millisecond is the least", step)}
	}
	zone, err := p.loadZone(spec.Timezone)
	if err != nil {
		return nil, err
	}
	if spec.AnchorDate == nil || spec.AnchorDate.IsZero() {
		spec.AnchorDate = &api.ZonedTime{Time: api.DefaultAnchor(zone)}
	}
	anchor := spec.AnchorDate.Time
	if spec.Timezone == nil {
		zone = anchor.Location()
	}
	anchor = anchor.In(zone)
	rule := interval{zone: zone, anchor: anchor, wall: wallOf(anchor, zone), nanos: int64(anchor.Nanosecond()),
		days: int64(step / (day * time.Second)), rest: step % (day * time.Second), stepSeconds: step.Seconds()}
	return &Schedule{spec: api.Schedule{Interval: &spec}, zone: zone, dates: rule}, nil
}

func (i interval) from(start time.Time) iter.Seq[time.Time] {
	return func(yield func(time.Time) bool) {
		distance := float64(start.Unix()-i.anchor.Unix()) + float64(start.Nanosecond()-i.anchor.Nanosecond())/1e9
		if distance > maxDistance || distance < -maxDistance {
			return
		}
		// An estimate: rounding and DST shift it by less than two steps or two days.
		k := int64(distance/i.stepSeconds) - 2
		if i.days > 0 {
			k--
		}
		var last time.Time
		for ; float64(k)*i.stepSeconds <= 2*maxDistance; k++ {
			at, ok := i.at(k)
			if !ok || at.Before(start) || !last.IsZero() && !at.After(last) {
				continue
			}
			last = at
			if !yield(at) {
				return
			}
		}
	}
}

// at is the k-th date; false when its day has no such time and the schedule skips that.
func (i interval) at(k int64) (time.Time, bool) {
	unix, nanos := i.anchor.Unix(), i.nanos
	if i.days > 0 && k != 0 {
		early, late, gap := moments(i.wall+k*i.days*day, i.zone)
		if gap && i.dst.SkipMissing {
			return time.Time{}, false
		}
		if unix = late; i.dst.Repeated != RepeatedLast {
			unix = early // an interval of days fires once a day
		}
	}
	// In µs: as one Duration it would overflow after 292 years.
	micros := k * int64(i.rest/time.Microsecond)
	return time.Unix(unix+micros/1e6, nanos+micros%1e6*1e3).In(i.zone), true
}
