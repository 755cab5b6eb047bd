package calendar

import (
	"archive/zip"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
)

// zoneNames are all zones of Go's own database.
func zoneNames(t *testing.T) []string {
	t.Helper()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	archive, err := zip.OpenReader(filepath.Join(strings.TrimSpace(string(root)), "lib", "time", "zoneinfo.zip"))
	if err != nil {
		t.Skipf("Go was installed without its zone database: %v", err)
	}
	defer archive.Close()
	var names []string
	for _, f := range archive.File {
		if !strings.HasSuffix(f.Name, "/") {
			names = append(names, f.Name)
		}
	}
	if len(names) < 400 {
		t.Fatalf("only %d zones found", len(names))
	}
	return names
}

// transitions of a zone in 2026.
func transitions(zone *time.Location) (all []time.Time) {
	t := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for {
		_, end := t.In(zone).ZoneBounds()
		if end.IsZero() || end.Year() > 2026 {
			return all
		}
		all, t = append(all, end), end
	}
}

func TestEveryZoneFiresEachWallTimeOnceADay(t *testing.T) {
	t.Parallel()
	for _, name := range zoneNames(t) {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, transition := range transitions(zone) {
			_, before := transition.Add(-1).In(zone).Zone()
			_, after := transition.In(zone).Zone()
			year, month, dayOfMonth := transition.In(zone).Date()
			for minute := 0; minute < 24*60; minute += 15 {
				cron := fmt.Sprintf("%d %d * * *", minute%60, minute/60)
				s, err := Compile(api.Schedule{Cron: &api.CronSchedule{Cron: cron, Timezone: &name, DayOr: true}})
				if err != nil {
					t.Fatal(err)
				}
				from := time.Date(year, month, dayOfMonth-3, 12, 0, 0, 0, time.UTC)
				dates := s.Dates(100, from, from.AddDate(0, 0, 6))
				seen := map[string]int{}
				for i, d := range dates {
					shown, meant := d.Hour()*60+d.Minute(), d
					if shown != minute { // moved behind the gap, perhaps over midnight: in Greenland the clock jumps there
						meant = d.In(time.FixedZone("", before))
					}
					seen[meant.Format(time.DateOnly)]++
					moved := max(0, after-before) / 60
					if shown != minute && (shown != (minute+moved)%1440 || d.Before(transition) || d.Sub(transition) > 3*time.Hour) {
						t.Errorf("%s %q: fires at %v", name, cron, d)
					}
					if i > 0 && !d.After(dates[i-1]) {
						t.Errorf("%s %q: %v after %v", name, cron, d, dates[i-1])
					}
				}
				for n := -1; n <= 1; n++ {
					date := time.Date(year, month, dayOfMonth+n, 0, 0, 0, 0, time.UTC).Format(time.DateOnly)
					if seen[date] != 1 {
						t.Errorf("%s %q: %d dates on %s, want 1: %v", name, cron, seen[date], date, dates)
					}
				}
			}
		}
	}
}

// naiveCron finds dates by looking at every minute of the wall; a wall time is written as the same time in UTC.
func naiveCron(t *testing.T, c *cron, zone *time.Location, start, end time.Time) map[int64]bool {
	t.Helper()
	found := map[int64]bool{}
	for wall := start.UTC().Add(-30 * time.Hour).Truncate(time.Minute); wall.Before(end.Add(30 * time.Hour)); wall = wall.Add(time.Minute) {
		month, dayOfMonth, wd := wall.Month(), wall.Day(), int(wall.Weekday())
		day, weekday := c.dayOfMonth>>dayOfMonth&1 == 1, c.dayOfWeek>>wd&1 == 1
		matchesDay := day && weekday
		switch {
		case c.anyDay && c.anyWeekday:
			matchesDay = true
		case c.anyDay:
			matchesDay = weekday
		case c.anyWeekday:
			matchesDay = day
		case c.or:
			matchesDay = day || weekday
		}
		if !matchesDay || c.month>>month&1 == 0 || c.hour>>wall.Hour()&1 == 0 || c.minute>>wall.Minute()&1 == 0 {
			continue
		}
		// All moments at which the zone shows this wall time; none in a gap.
		var moment int64
		for offset := -16 * hour; offset <= 16*hour; offset += 900 {
			candidate := wall.Add(time.Duration(offset) * time.Second)
			if candidate.In(zone).Format("2006-01-02 15:04") == wall.Format("2006-01-02 15:04") {
				moment = max(moment, candidate.Unix())
			}
		}
		if moment == 0 {
			_, before := time.Unix(wall.Unix()-day26, 0).In(zone).Zone()
			moment = wall.Unix() - int64(before)
		}
		if at := time.Unix(moment, 0); !at.Before(start) && !at.After(end) {
			found[moment] = true
		}
	}
	return found
}

const day26 = 26 * hour

func TestCronAgainstEveryMinute(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	zones := []string{"UTC", "America/New_York", "Australia/Lord_Howe", "Europe/Berlin", "Antarctica/Troll", "Asia/Kathmandu"}
	for range 60 {
		name := zones[random.IntN(len(zones))]
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Date(2026, 1, 1+random.IntN(365), random.IntN(24), random.IntN(60), 0, 0, time.UTC)
		if all := transitions(zone); len(all) > 0 && random.IntN(3) > 0 {
			start = all[random.IntN(len(all))].Add(-time.Duration(random.IntN(2000)) * time.Minute)
		}
		end := start.Add(72 * time.Hour)
		expression := strings.Join([]string{randomField(random, 0, 59), randomField(random, 0, 23), randomField(random, 1, 31),
			randomField(random, 1, 12), randomField(random, 0, 7)}, " ")
		spec := api.CronSchedule{Cron: expression, Timezone: &name, DayOr: random.IntN(2) == 0}
		s, err := Compile(api.Schedule{Cron: &spec})
		if err != nil {
			t.Fatalf("%q: %v", expression, err)
		}
		c, err := parseCron(expression, spec.DayOr)
		if err != nil {
			t.Fatal(err)
		}
		want := naiveCron(t, c, zone, start, end)
		got := s.Dates(1_000_000, start, end)
		for _, d := range got {
			if !want[d.Unix()] {
				t.Errorf("%q in %s from %v: %v is wrong", expression, name, start, d)
			}
			delete(want, d.Unix())
		}
		for missing := range want {
			t.Errorf("%q in %s from %v: %v is missing", expression, name, start, time.Unix(missing, 0).In(zone))
		}
		if t.Failed() {
			t.FailNow()
		}
	}
}

func randomField(random *rand.Rand, low, high int) string {
	a := low + random.IntN(high-low+1)
	b := a + random.IntN(high-a+1)
	switch random.IntN(6) {
	case 0:
		return fmt.Sprint(a)
	case 1:
		return fmt.Sprintf("%d-%d", a, b)
	case 2:
		return fmt.Sprintf("*/%d", 1+random.IntN(10))
	case 3:
		return fmt.Sprintf("%d,%d", a, b)
	default:
		return "*"
	}
}

// The same rule written as cron and as rrule fires at the same dates.
func TestRRuleAgainstCron(t *testing.T) {
	t.Parallel()
	zone := "America/New_York"
	for cron, rule := range map[string]string{
		"30 9 * * 1-5":      "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR;BYHOUR=9;BYMINUTE=30;BYSECOND=0",
		"0 0 1 * *":         "FREQ=MONTHLY;BYMONTHDAY=1;BYHOUR=0;BYMINUTE=0;BYSECOND=0",
		"0 0 L * *":         "FREQ=MONTHLY;BYMONTHDAY=-1;BYHOUR=0;BYMINUTE=0;BYSECOND=0",
		"30 2 * * *":        "FREQ=DAILY;BYHOUR=2;BYMINUTE=30;BYSECOND=0",
		"*/10 1-3 * 3,11 *": "FREQ=MINUTELY;INTERVAL=10;BYHOUR=1,2,3;BYMONTH=3,11",
		"0 12 29 2 *":       "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;BYHOUR=12;BYMINUTE=0;BYSECOND=0",
		"15 * * * mon#2":    "FREQ=MONTHLY;BYDAY=2MO;BYHOUR=0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23;BYMINUTE=15;BYSECOND=0",
		"0 5 * * L3":        "FREQ=MONTHLY;BYDAY=-1WE;BYHOUR=5;BYMINUTE=0;BYSECOND=0",
		"* * * * * 7":       "FREQ=SECONDLY;BYSECOND=7",
		"0 * * * *":         "FREQ=HOURLY;BYMINUTE=0;BYSECOND=0",
	} {
		t.Run(cron, func(t *testing.T) {
			t.Parallel()
			a, err := Compile(api.Schedule{Cron: &api.CronSchedule{Cron: cron, Timezone: &zone, DayOr: true}})
			if err != nil {
				t.Fatal(err)
			}
			b, err := Compile(api.Schedule{RRule: &api.RRuleSchedule{RRule: "DTSTART:20200101T000000\nRRULE:" + rule, Timezone: zone}})
			if err != nil {
				t.Fatal(err)
			}
			start := time.Date(2026, 3, 7, 0, 0, 0, 0, time.UTC)
			want, got := a.Dates(3000, start, start.AddDate(40, 0, 0)), b.Dates(3000, start, start.AddDate(40, 0, 0))
			if texts(got) != texts(want) {
				t.Errorf("%s differs from %s: %d and %d dates", rule, cron, len(got), len(want))
			}
		})
	}
}
