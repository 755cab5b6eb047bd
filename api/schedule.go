package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// Schedule says when a deployment runs. Exactly one of the three is set.
type Schedule struct {
	Interval *IntervalSchedule
	Cron     *CronSchedule
	RRule    *RRuleSchedule
}

// IntervalSchedule fires at anchor + k·interval, whole days counted in local time of the time zone.
type IntervalSchedule struct {
	Interval   Duration   `json:"interval"`
	Timezone   *string    `json:"timezone"`
	AnchorDate *ZonedTime `json:"anchor_date"` // null in a request means DefaultAnchor
}

// CronSchedule fires when the cron expression matches in the time zone (UTC if null).
type CronSchedule struct {
	Cron     string  `json:"cron"`
	Timezone *string `json:"timezone"`
	DayOr    bool    `json:"day_or"` // false: day of month and day of week must both match
}

// RRuleSchedule fires by an iCalendar rule.
type RRuleSchedule struct {
	RRule    string `json:"rrule"`
	Timezone string `json:"timezone"`
}

// DefaultAnchor is the anchor of an interval schedule that was given none.
func DefaultAnchor(zone *time.Location) time.Time {
	return time.Date(2020, time.January, 1, 0, 0, 0, 0, zone)
}

// MarshalJSON encodes the schedule in the form of its kind.
func (s Schedule) MarshalJSON() ([]byte, error) {
	switch {
	case s.Interval != nil:
		return json.Marshal(s.Interval)
	case s.Cron != nil:
		return json.Marshal(s.Cron)
	case s.RRule != nil:
		return json.Marshal(s.RRule)
	}
	return []byte("null"), nil
}

// UnmarshalJSON takes the kind from the fields. Fields of another kind are refused.
func (s *Schedule) UnmarshalJSON(data []byte) error {
	var kind struct {
		Interval json.RawMessage `json:"interval"`
		Cron     json.RawMessage `json:"cron"`
		RRule    json.RawMessage `json:"rrule"`
	}
	if err := json.Unmarshal(data, &kind); err != nil {
		return err
	}
	*s = Schedule{}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	switch {
	case kind.Interval != nil:
		s.Interval = &IntervalSchedule{}
		return decodeSchedule(decoder, s.Interval)
	case kind.Cron != nil:
		s.Cron = &CronSchedule{DayOr: true}
		return decodeSchedule(decoder, s.Cron)
	case kind.RRule != nil:
		s.RRule = &RRuleSchedule{Timezone: "UTC"}
		return decodeSchedule(decoder, s.RRule)
	}
	return fmt.Errorf("a schedule needs one of interval, cron and rrule")
}

func decodeSchedule(decoder *json.Decoder, kind any) error {
	if err := decoder.Decode(kind); err != nil {
		return fmt.Errorf("decode schedule: %w", err)
	}
	return nil
}
