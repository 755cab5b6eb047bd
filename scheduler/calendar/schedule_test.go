package calendar

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
)

func mustParse(t testing.TB, raw string) *Schedule {
	t.Helper()
	s, err := Parse(json.RawMessage(raw))
	if err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return s
}

func at(t testing.TB, text string) time.Time {
	t.Helper()
	parsed, err := api.ParseTime(text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func texts(dates []time.Time) string {
	all := make([]string, len(dates))
	for i, d := range dates {
		all[i] = d.Format("2006-01-02T15:04:05.999999-07:00")
	}
	return strings.Join(all, " ")
}

func TestDates(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, schedule, start, want string }{
		{"an interval includes its start", `{"interval":3600}`, "2026-11-23T00:00:00", "2026-11-23T00:00:00+00:00 2026-11-23T01:00:00+00:00 2026-11-23T02:00:00+00:00"},
		{"an interval starts between dates", `{"interval":20}`, "2026-11-23T00:29:01.5", "2026-11-23T00:29:20+00:00 2026-11-23T00:29:40+00:00 2026-11-23T00:30:00+00:00"},
		{"an interval below a second", `{"interval":0.25}`, "2026-11-23T00:00:00.1", "2026-11-23T00:00:00.25+00:00 2026-11-23T00:00:00.5+00:00 2026-11-23T00:00:00.75+00:00"},
		{"an anchor in the future does not stop earlier dates", `{"interval":3600,"anchor_date":"2030-01-01T00:10:00+00:00"}`, "2026-01-01T00:00:00", "2026-01-01T00:10:00+00:00 2026-01-01T01:10:00+00:00 2026-01-01T02:10:00+00:00"},
		{"the anchor's offset stays", `{"interval":86400,"anchor_date":"2026-01-01T00:00:00-05:00"}`, "2026-03-07T12:00:00", "2026-03-08T00:00:00-05:00 2026-03-09T00:00:00-05:00 2026-03-10T00:00:00-05:00"},
		{"whole days keep the clock hour", `{"interval":86400,"timezone":"America/New_York"}`, "2026-03-07T00:00:00", "2026-03-07T00:00:00-05:00 2026-03-08T00:00:00-05:00 2026-03-09T00:00:00-04:00"},
		{"hours are absolute", `{"interval":43200,"timezone":"America/New_York"}`, "2026-03-08T00:00:00-05:00", "2026-03-08T00:00:00-05:00 2026-03-08T13:00:00-04:00 2026-03-09T01:00:00-04:00"},
		{"anchor and timezone together", `{"interval":86400,"timezone":"Europe/Berlin","anchor_date":"2026-01-01T08:00:00+00:00"}`, "2026-07-01T00:00:00", "2026-07-01T09:00:00+02:00 2026-07-02T09:00:00+02:00 2026-07-03T09:00:00+02:00"},
		{"a day lost entirely by its zone is not doubled", `{"interval":86400,"timezone":"Pacific/Apia","anchor_date":"2011-12-28T12:00:00-10:00"}`, "2011-12-29T12:00:00-10:00", "2011-12-29T12:00:00-10:00 2011-12-31T12:00:00+14:00 2012-01-01T12:00:00+14:00"},
		{"far before the anchor", `{"interval":90000}`, "1000-01-01T00:00:00", "1000-01-01T03:00:00+00:00 1000-01-02T04:00:00+00:00 1000-01-03T05:00:00+00:00"},

		{"working days in New York", `{"cron":"30 9 * * 1-5","timezone":"America/New_York"}`, "2026-11-20T15:00:00", "2026-11-23T09:30:00-05:00 2026-11-24T09:30:00-05:00 2026-11-25T09:30:00-05:00"},
		{"a cron includes its start", `{"cron":"*/5 * * * *"}`, "2026-11-23T00:05:00", "2026-11-23T00:05:00+00:00 2026-11-23T00:10:00+00:00 2026-11-23T00:15:00+00:00"},
		{"the sixth field is seconds", `{"cron":"* * * * * */30"}`, "2026-11-23T00:00:01", "2026-11-23T00:00:30+00:00 2026-11-23T00:01:00+00:00 2026-11-23T00:01:30+00:00"},
		{"names and ranges to Sunday", `{"cron":"0 0 * JAN-mar fri-sun"}`, "2026-12-01T00:00:00", "2027-01-01T00:00:00+00:00 2027-01-02T00:00:00+00:00 2027-01-03T00:00:00+00:00"},
		{"@weekly", `{"cron":"@weekly"}`, "2026-11-23T00:00:00", "2026-11-29T00:00:00+00:00 2026-12-06T00:00:00+00:00 2026-12-13T00:00:00+00:00"},
		{"7 is Sunday", `{"cron":"0 0 * * 7"}`, "2026-11-23T00:00:00", "2026-11-29T00:00:00+00:00 2026-12-06T00:00:00+00:00 2026-12-13T00:00:00+00:00"},
		{"L is the last day", `{"cron":"0 12 L * *"}`, "2028-01-01T00:00:00", "2028-01-31T12:00:00+00:00 2028-02-29T12:00:00+00:00 2028-03-31T12:00:00+00:00"},
		{"the second Monday", `{"cron":"0 0 * * mon#2"}`, "2026-01-01T00:00:00", "2026-01-12T00:00:00+00:00 2026-02-09T00:00:00+00:00 2026-03-09T00:00:00+00:00"},
		{"the last Friday", `{"cron":"0 0 * * L5"}`, "2026-01-01T00:00:00", "2026-01-30T00:00:00+00:00 2026-02-27T00:00:00+00:00 2026-03-27T00:00:00+00:00"},
		{"days join by OR", `{"cron":"0 0 13 * 5"}`, "2026-11-01T00:00:00", "2026-11-06T00:00:00+00:00 2026-11-13T00:00:00+00:00 2026-11-20T00:00:00+00:00"},
		{"days join by AND", `{"cron":"0 0 13 * 5","day_or":false}`, "2026-01-01T00:00:00", "2026-02-13T00:00:00+00:00 2026-03-13T00:00:00+00:00 2026-11-13T00:00:00+00:00"},
		{"a leap day", `{"cron":"0 0 29 2 *"}`, "2026-01-01T00:00:00", "2028-02-29T00:00:00+00:00 2032-02-29T00:00:00+00:00 2036-02-29T00:00:00+00:00"},
		{"February 31 never comes", `{"cron":"0 0 31 2 *"}`, "2026-01-01T00:00:00", ""},
		{"a wall time in the gap is moved behind it", `{"cron":"30 2 * * *","timezone":"America/New_York"}`, "2026-03-07T12:00:00Z", "2026-03-08T03:30:00-04:00 2026-03-09T02:30:00-04:00 2026-03-10T02:30:00-04:00"},
		{"a repeated wall time fires once", `{"cron":"30 1 * * *","timezone":"America/New_York"}`, "2026-10-31T12:00:00Z", "2026-11-01T01:30:00-05:00 2026-11-02T01:30:00-05:00 2026-11-03T01:30:00-05:00"},
		{"dates moved behind a gap keep their order", `{"cron":"0,30 * * * *","timezone":"America/New_York"}`, "2026-03-08T06:30:00Z", "2026-03-08T01:30:00-05:00 2026-03-08T03:00:00-04:00 2026-03-08T03:30:00-04:00"},
		{"later wall times may come before moved ones", `{"cron":"0,20,35 2 * * *","timezone":"Australia/Lord_Howe"}`, "2026-10-03T12:00:00Z", "2026-10-04T02:30:00+11:00 2026-10-04T02:35:00+11:00 2026-10-04T02:50:00+11:00"},
		{"a start behind a moved date", `{"cron":"30 2 * * *","timezone":"America/New_York"}`, "2026-03-08T07:10:00Z", "2026-03-08T03:30:00-04:00 2026-03-09T02:30:00-04:00 2026-03-10T02:30:00-04:00"},
		{"a start in the first of two equal hours", `{"cron":"0 1 * * *","timezone":"America/New_York"}`, "2026-11-01T05:30:00Z", "2026-11-01T01:00:00-05:00 2026-11-02T01:00:00-05:00 2026-11-03T01:00:00-05:00"},

		{"an rrule with a start", `{"rrule":"DTSTART:20260101T000000\nRRULE:FREQ=DAILY"}`, "2026-11-23T00:00:01", "2026-11-24T00:00:00+00:00 2026-11-25T00:00:00+00:00 2026-11-26T00:00:00+00:00"},
		{"an rrule's start is local", `{"rrule":"DTSTART:20260101T090000\nRRULE:FREQ=DAILY","timezone":"America/New_York"}`, "2026-03-07T00:00:00", "2026-03-07T09:00:00-05:00 2026-03-08T09:00:00-04:00 2026-03-09T09:00:00-04:00"},
		{"an rrule ends by COUNT", `{"rrule":"DTSTART:20260101T000000\nRRULE:FREQ=DAILY;COUNT=5"}`, "2026-01-04T00:00:00", "2026-01-04T00:00:00+00:00 2026-01-05T00:00:00+00:00"},
		{"an rrule ends by UNTIL, included", `{"rrule":"DTSTART:20260101T000000\nRRULE:FREQ=WEEKLY;UNTIL=20260115T000000Z"}`, "2025-01-01T00:00:00", "2026-01-01T00:00:00+00:00 2026-01-08T00:00:00+00:00 2026-01-15T00:00:00+00:00"},
		{"every other week counts from WKST", `{"rrule":"DTSTART:19970805T090000\nRRULE:FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=SU"}`, "1997-08-06T00:00:00", "1997-08-17T09:00:00+00:00 1997-08-19T09:00:00+00:00 1997-08-31T09:00:00+00:00"},
		{"the last working day of the month", `{"rrule":"DTSTART:20260101T090000\nRRULE:FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1"}`, "2026-01-01T00:00:00", "2026-01-30T09:00:00+00:00 2026-02-27T09:00:00+00:00 2026-03-31T09:00:00+00:00"},
		{"the first Friday 13th", `{"rrule":"DTSTART:20260101T090000\nRRULE:FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13"}`, "2026-01-01T00:00:00", "2026-02-13T09:00:00+00:00 2026-03-13T09:00:00+00:00 2026-11-13T09:00:00+00:00"},
		{"the 20th Monday of the year", `{"rrule":"DTSTART:19970519T090000\nRRULE:FREQ=YEARLY;BYDAY=20MO"}`, "1997-01-01T00:00:00", "1997-05-19T09:00:00+00:00 1998-05-18T09:00:00+00:00 1999-05-17T09:00:00+00:00"},
		{"the Monday of week 20", `{"rrule":"DTSTART:19970512T090000\nRRULE:FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO"}`, "1997-01-01T00:00:00", "1997-05-12T09:00:00+00:00 1998-05-11T09:00:00+00:00 1999-05-17T09:00:00+00:00"},
		{"days of the year", `{"rrule":"DTSTART:19970101T090000\nRRULE:FREQ=YEARLY;INTERVAL=3;BYYEARDAY=1,100,200"}`, "1997-05-01T00:00:00", "1997-07-19T09:00:00+00:00 2000-01-01T09:00:00+00:00 2000-04-09T09:00:00+00:00"},
		{"the second last day of the month", `{"rrule":"DTSTART:20260101T090000\nRRULE:FREQ=MONTHLY;BYMONTHDAY=-2"}`, "2026-01-01T00:00:00", "2026-01-30T09:00:00+00:00 2026-02-27T09:00:00+00:00 2026-03-30T09:00:00+00:00"},
		{"every 90 minutes", `{"rrule":"DTSTART:19970902T090000\nRRULE:FREQ=MINUTELY;INTERVAL=90"}`, "2026-01-01T00:00:00", "2026-01-01T00:00:00+00:00 2026-01-01T01:30:00+00:00 2026-01-01T03:00:00+00:00"},
		{"every 20 minutes in the morning", `{"rrule":"DTSTART:19970902T090000\nRRULE:FREQ=MINUTELY;INTERVAL=20;BYHOUR=9,10"}`, "2026-01-01T10:30:00", "2026-01-01T10:40:00+00:00 2026-01-02T09:00:00+00:00 2026-01-02T09:20:00+00:00"},
		{"exceptions are left out", `{"rrule":"DTSTART:20260101T090000\nRRULE:FREQ=DAILY\nEXDATE:20260102T090000,20260104T090000Z"}`, "2026-01-01T00:00:00", "2026-01-01T09:00:00+00:00 2026-01-03T09:00:00+00:00 2026-01-05T09:00:00+00:00"},
		{"a start with its own zone", `{"rrule":"DTSTART;TZID=America/New_York:20260101T090000\nRRULE:FREQ=DAILY"}`, "2026-01-02T00:00:00", "2026-01-02T09:00:00-05:00 2026-01-03T09:00:00-05:00 2026-01-04T09:00:00-05:00"},
		{"February 30 never comes", `{"rrule":"DTSTART:20260101T090000\nRRULE:FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30"}`, "2026-01-01T00:00:00", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			start := at(t, test.start)
			s := mustParse(t, test.schedule)
			if got := texts(s.Dates(3, start, start.AddDate(100, 0, 0))); got != test.want {
				t.Errorf("dates\n got %s\nwant %s", got, test.want)
			}
			next, ok := s.Next(start.Add(-1))
			if first, _, _ := strings.Cut(test.want, " "); ok != (first != "") || ok && texts([]time.Time{next}) != first {
				t.Errorf("next: got %v %v, want %s", next, ok, first)
			}
		})
	}
}

func TestDatesEndsWithItsEnd(t *testing.T) {
	t.Parallel()
	s := mustParse(t, `{"interval":60}`)
	start := at(t, "2026-01-01T00:00:00")
	if got := len(s.Dates(100, start, start.Add(2*time.Minute))); got != 3 {
		t.Errorf("%d dates from 00:00 to 00:02, both included; want 3", got)
	}
	if got := s.Dates(0, start, start.Add(time.Hour)); got != nil {
		t.Errorf("no dates wanted, got %v", got)
	}
	if got := s.Dates(5, start, start.Add(-time.Second)); got != nil {
		t.Errorf("an end before the start gave %v", got)
	}
}

func TestWrongSchedulesSayWhy(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		`{"interval":0}`:                                    "The interval must be positive",
		`{"interval":-5}`:                                   "The interval must be positive",
		`{"cron":"x"}`:                                      `Invalid cron string: "x"`,
		`{"cron":"H * * * *"}`:                              `Invalid cron string: "H * * * *"`,
		`{"cron":"60 * * * *"}`:                             `Invalid cron string: "60 * * * *"`,
		`{"cron":"* * 0 * *"}`:                              `Invalid cron string: "* * 0 * *"`,
		`{"cron":"*/0 * * * *"}`:                            `Invalid cron string: "*/0 * * * *"`,
		`{"cron":"5-1 * * * *"}`:                            `Invalid cron string: "5-1 * * * *"`,
		`{"cron":"* * * * mon#6"}`:                          `Invalid cron string: "* * * * mon#6"`,
		`{"cron":"* * * * * * *"}`:                          `Invalid cron string: "* * * * * * *"`,
		`{"cron":"@reboot"}`:                                `Invalid cron string: "@reboot"`,
		`{"cron":"-5 * * * *"}`:                             `Invalid cron string: "-5 * * * *"`,
		`{"cron":""}`:                                       `Invalid cron string: ""`,
		`{"cron":"* * * * *","timezone":"Mars/Base"}`:       `Invalid timezone: "Mars/Base"`,
		`{"interval":60,"timezone":"Local"}`:                `Invalid timezone: "Local"`,
		`{"rrule":"FREQ=DAILY","timezone":"../etc/passwd"}`: `Invalid timezone: "../etc/passwd"`,
		`{"rrule":"garbage"}`:                               `Invalid rrule string: "garbage"`,
		`{"rrule":"FREQ=HOURLY;BYHOUR=25"}`:                 `"25" is not a number from 0 to 23`,
		`{"rrule":"DTSTART:20260101T000000\nFREQ=HOURLY;INTERVAL=2;BYHOUR=1"}`: "INTERVAL never meets",
		`{"rrule":"FREQ=DAILY;COUNT=0"}`:                                       `"0" is not a number`,
		`{"rrule":"FREQ=DAILY;INTERVAL=99999999999999999999"}`:                 "is not a number",
		`{"interval":60,"cron":"* * * * *"}`:                                   "cron",
		`{}`:                                                                   "one of interval, cron and rrule",
	} {
		t.Run(raw, func(t *testing.T) {
			t.Parallel()
			_, err := Parse(json.RawMessage(raw))
			if _, ok := IsInvalid(err); !ok || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want one with %q", err, want)
			}
		})
	}
}

func TestSpecKeepsWhatCameAndFillsDefaults(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		`{"interval":20}`: `{"interval":20.0,"timezone":null,"anchor_date":"2020-01-01T00:00:00+00:00"}`,
		`{"interval":20,"timezone":"America/New_York"}`:      `{"interval":20.0,"timezone":"America/New_York","anchor_date":"2020-01-01T00:00:00-05:00"}`,
		`{"cron":"30 9 * * 1-5"}`:                            `{"cron":"30 9 * * 1-5","timezone":null,"day_or":true}`,
		`{"rrule":"FREQ=DAILY;COUNT=5"}`:                     `{"rrule":"FREQ=DAILY;COUNT=5","timezone":"UTC"}`,
		`{"interval":1,"anchor_date":"2026-01-01 00:00-03"}`: `{"interval":1.0,"timezone":null,"anchor_date":"2026-01-01T00:00:00-03:00"}`,
	} {
		s := mustParse(t, raw)
		got, err := json.Marshal(s.Spec())
		if err != nil || string(got) != want {
			t.Errorf("%s: got %s %v, want %s", raw, got, err, want)
		}
		if again := mustParse(t, string(got)); again == nil {
			t.Errorf("%s is not accepted again", got)
		}
	}
}

func TestAnOpenRRuleBeginsAtItsAnchor(t *testing.T) {
	t.Parallel()
	created := at(t, "2026-11-23T10:20:30.75Z")
	s, err := mustParse(t, `{"rrule":"FREQ=DAILY;COUNT=2","timezone":"America/New_York"}`).Anchored(created)
	if err != nil {
		t.Fatal(err)
	}
	want := "2026-11-23T05:20:30-05:00 2026-11-24T05:20:30-05:00"
	for _, days := range []int{-30, -1, 0} {
		if got := texts(s.Dates(10, created.AddDate(0, 0, days).Truncate(time.Second), created.AddDate(1, 0, 0))); got != want {
			t.Errorf("from %d days: got %s, want %s", days, got, want)
		}
	}
}
