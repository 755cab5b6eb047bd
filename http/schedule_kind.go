package httpapi

import (
	"encoding/json"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/http/internal/body"
	"github.com/sluice-dev/sluice/scheduler/calendar"
)

// A schedule is stored as the JSON text that answers show: defaults filled in, dates with the offset they came with.

type intervalForm struct {
	interval int64 // µs
	timezone *string
	anchor   body.Moment
	anchored bool
}

var intervalSpec = body.Strict(
	body.Required("interval", positiveDuration, func(v *intervalForm) *int64 { return &v.interval }),
	body.Nullable("timezone", body.TextRef, func(v *intervalForm) **string { return &v.timezone }),
	body.Nullable("anchor_date", body.MomentOf, func(v *intervalForm) *body.Moment { return &v.anchor }).
		Filled(func(v *intervalForm) *bool { return &v.anchored }),
)

var cronSpec = body.Strict(
	body.Required("cron", body.Text, func(v *api.CronSchedule) *string { return &v.Cron }),
	body.Nullable("timezone", body.TextRef, func(v *api.CronSchedule) **string { return &v.Timezone }),
	body.Optional("day_or", body.Bool, func(v *api.CronSchedule) *bool { return &v.DayOr }),
).Defaults(func(v *api.CronSchedule) { v.DayOr = true })

var rruleSpec = body.Strict(
	body.Required("rrule", body.Text, func(v *api.RRuleSchedule) *string { return &v.RRule }),
	body.Optional("timezone", body.Text, func(v *api.RRuleSchedule) *string { return &v.Timezone }),
).Defaults(func(v *api.RRuleSchedule) { v.Timezone = "UTC" })

// scheduleKind takes the first form that fits, in the order interval, cron, rrule. Like Orion it reports the findings of all.
var scheduleKind = body.OneOf(intervalKind, cronKind, rruleKind)

// scheduleKeys are the keys that tell which form is meant.
type scheduleKeys struct {
	interval, cron, rrule bool
	any                   struct{}
}

var scheduleKeysSpec = body.Parameters(
	body.Nullable("interval", anything, scheduleValue).Filled(func(v *scheduleKeys) *bool { return &v.interval }),
	body.Nullable("cron", anything, scheduleValue).Filled(func(v *scheduleKeys) *bool { return &v.cron }),
	body.Nullable("rrule", anything, scheduleValue).Filled(func(v *scheduleKeys) *bool { return &v.rrule }),
)

func anything(*body.Decoder, int) (struct{}, bool) { return struct{}{}, true }

func scheduleValue(v *scheduleKeys) *struct{} { return &v.any }

// meantScheduleKind is scheduleKind with the findings of the form that is meant only, where that is clear.
func meantScheduleKind(d *body.Decoder, n int) ([]byte, bool) {
	keys, ok := scheduleKeysSpec.Kind()(d, n)
	if !ok {
		return nil, false
	}
	switch (scheduleKeys{interval: keys.interval, cron: keys.cron, rrule: keys.rrule}) {
	case scheduleKeys{interval: true}:
		return intervalKind(d, n)
	case scheduleKeys{cron: true}:
		return cronKind(d, n)
	case scheduleKeys{rrule: true}:
		return rruleKind(d, n)
	}
	return scheduleKind(d, n)
}

func positiveDuration(d *body.Decoder, n int) (int64, bool) {
	v, ok := body.Duration(d, n)
	if ok && v <= 0 {
		d.Fail("The interval must be positive", "value_error", "")
		return 0, false
	}
	return v, ok
}

func intervalKind(d *body.Decoder, n int) ([]byte, bool) {
	v, ok := intervalSpec.Kind()(d, n)
	if !ok {
		return nil, false
	}
	form := &api.IntervalSchedule{Interval: durationOf(v.interval), Timezone: v.timezone}
	if v.anchored {
		zone := time.FixedZone("", int(v.anchor.Offset))
		form.AnchorDate = &api.ZonedTime{Time: time.UnixMicro(v.anchor.Micros).In(zone)}
	}
	return schedule(d, api.Schedule{Interval: form})
}

func cronKind(d *body.Decoder, n int) ([]byte, bool) {
	v, ok := cronSpec.Kind()(d, n)
	if !ok {
		return nil, false
	}
	return schedule(d, api.Schedule{Cron: &v})
}

func rruleKind(d *body.Decoder, n int) ([]byte, bool) {
	v, ok := rruleSpec.Kind()(d, n)
	if !ok {
		return nil, false
	}
	return schedule(d, api.Schedule{RRule: &v})
}

// schedule encodes s as the calendar completed it, or says what the calendar has against it.
func schedule(d *body.Decoder, s api.Schedule) ([]byte, bool) {
	compiled, err := calendar.Compile(s)
	if wrong, ok := calendar.IsInvalid(err); ok && wrong.Field != "" {
		d.FailAt(wrong.Field, wrong.Reason, "value_error")
		return nil, false
	}
	if err == nil {
		var text []byte
		if text, err = json.Marshal(compiled.Spec()); err == nil {
			return text, true
		}
	}
	d.Fail(err.Error(), "value_error", "")
	return nil, false
}
