package calendar

import (
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
)

// probe looks for dates of any accepted schedule: in order, unique, within bounds, and found in finite time.
func probe(t *testing.T, s *Schedule) {
	t.Helper()
	start := time.Date(2026, 3, 8, 6, 59, 0, 0, time.UTC)
	end := start.AddDate(3, 0, 0)
	dates := s.Dates(20, start, end)
	for i, d := range dates {
		if d.Before(start) || d.After(end) || i > 0 && !d.After(dates[i-1]) {
			t.Fatalf("dates out of order or bounds: %v", dates)
		}
	}
	next, ok := s.Next(start.Add(-1))
	if len(dates) > 0 && (!ok || !next.Equal(dates[0])) {
		t.Fatalf("next is %v %v, the first date is %v", next, ok, dates[0])
	}
}

func FuzzCron(f *testing.F) {
	for _, seed := range []string{"* * * * *", "@daily", "0 0 31 2 *", "0 0 L * *", "5/10 1-l mon#2 JAN-dec fri-sun", "*/5 * * * * 3", "0 0 29 2 1", "* * * * L7"} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	zone := "America/New_York"
	f.Fuzz(func(t *testing.T, expression string, dayOr bool) {
		s, err := Compile(api.Schedule{Cron: &api.CronSchedule{Cron: expression, Timezone: &zone, DayOr: dayOr}})
		if err == nil {
			probe(t, s)
		}
	})
}

func FuzzRRule(f *testing.F) {
	for _, seed := range []string{
		"FREQ=DAILY;COUNT=5", "DTSTART:20260101T000000\nRRULE:FREQ=DAILY", "garbage", "FREQ=SECONDLY;INTERVAL=7;BYHOUR=3;BYMINUTE=0;BYSECOND=0;COUNT=10000",
		"FREQ=YEARLY;BYWEEKNO=-1,53;BYDAY=SU;WKST=SU", "FREQ=MONTHLY;BYDAY=-53MO,5FR;BYSETPOS=-1,2", "FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30",
		"FREQ=YEARLY;BYHOUR=1,2,3,4;BYMINUTE=1,2,3,4,5;BYSECOND=0,1;BYSETPOS=366,-366;COUNT=9999", "DTSTART;TZID=Asia/Tokyo:00010101T000000Z\nRRULE:FREQ=HOURLY;INTERVAL=999999\nEXDATE:20260101",
		"FREQ=MINUTELY;INTERVAL=1439;BYHOUR=3;BYMINUTE=1;BYMONTH=2;BYMONTHDAY=29;COUNT=10000",
	} {
		f.Add(seed)
	}
	anchor := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Compile(api.Schedule{RRule: &api.RRuleSchedule{RRule: text, Timezone: "America/New_York"}})
		if err != nil {
			return
		}
		if s, err = s.Anchored(anchor); err == nil {
			probe(t, s)
		}
	})
}
