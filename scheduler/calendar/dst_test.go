package calendar

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
)

// Around every change of the clocks that any zone makes from 2020 to 2032, a schedule fires when the policy says: reckoned here
// by looking at what the wall shows every quarter of an hour.
func TestEveryZoneFollowsItsPolicyWhenClocksChange(t *testing.T) {
	t.Parallel()
	const step = 15 // minutes
	cron := fmt.Sprintf("*/%d * * * *", step)
	checked := 0
	for _, name := range zoneNames(t) {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		plain, err := Compile(api.Schedule{Cron: &api.CronSchedule{Cron: cron, Timezone: &name, DayOr: true}})
		if err != nil {
			t.Fatal(err)
		}
		for at := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC); ; {
			_, at = at.In(zone).ZoneBounds()
			if at.IsZero() || at.Year() > 2032 {
				break
			}
			shown, start, end := onTheWall(zone, at), at.Add(-3*time.Hour), at.Add(3*time.Hour)
			for _, policy := range []DST{{}, {Repeated: RepeatedFirst}, {Repeated: RepeatedBoth}, {SkipMissing: true},
				{SkipMissing: true, Repeated: RepeatedFirst}, {SkipMissing: true, Repeated: RepeatedBoth}} {
				want := byTheWall(shown, zone, at, start, end, step, policy)
				got := plain.WithDST(policy).Dates(1000, start, end)
				unix := make([]int64, len(got))
				for i, d := range got {
					unix[i] = d.Unix()
				}
				if !slices.Equal(unix, want) {
					t.Fatalf("%s at %v with %+v: fires at %v, want %v", name, at.In(zone), policy, unix, want)
				}
				checked++
			}
		}
	}
	if checked < 10_000 {
		t.Errorf("only %d changes were looked at", checked)
	}
}

// onTheWall says at which moments a wall time is shown, in quarters of an hour around a change of the clocks.
func onTheWall(zone *time.Location, at time.Time) map[int64][]int64 {
	shown := map[int64][]int64{}
	for m := at.Add(-8 * time.Hour).Truncate(15 * time.Minute); m.Before(at.Add(8 * time.Hour)); m = m.Add(15 * time.Minute) {
		shown[wallOf(m, zone)] = append(shown[wallOf(m, zone)], m.Unix())
	}
	return shown
}

// byTheWall finds the moments in [start, end] by what the wall shows around a change of the clocks at that moment.
func byTheWall(shown map[int64][]int64, zone *time.Location, at, start, end time.Time, step int64, policy DST) []int64 {
	_, before := at.Add(-time.Second).In(zone).Zone()
	found := map[int64]bool{}
	first := floorDiv(wallOf(at.Add(-6*time.Hour), zone), step*60) * step * 60
	for w := first; w < wallOf(at.Add(6*time.Hour), zone); w += step * 60 {
		moments := shown[w]
		switch {
		case len(moments) == 0 && policy.SkipMissing:
		case len(moments) == 0:
			found[w-int64(before)] = true
		case policy.Repeated == RepeatedLast:
			found[moments[len(moments)-1]] = true
		default:
			found[moments[0]] = true
			if policy.Repeated == RepeatedBoth {
				found[moments[len(moments)-1]] = true
			}
		}
	}
	maps.DeleteFunc(found, func(m int64, _ bool) bool { return m < start.Unix() || m > end.Unix() })
	return slices.Sorted(maps.Keys(found))
}

// An interval of days meets each change of the clocks of 2025 to 2027 in every zone, at the first quarter that is missing or repeated.
func TestAnIntervalOfDaysFollowsItsPolicyInEveryZone(t *testing.T) {
	t.Parallel()
	checked := 0
	for _, name := range zoneNames(t) {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		for at := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC); ; {
			_, at = at.In(zone).ZoneBounds()
			if at.IsZero() || at.Year() > 2027 {
				break
			}
			before := offsetAt(at.Unix()-1, zone)
			wall := -floorDiv(-min(at.Unix()+before, wallOf(at, zone)), 15*60) * 15 * 60
			anchor := time.Unix(wall-7*day-before, 0).In(zone)
			daily, err := Compile(api.Schedule{Interval: &api.IntervalSchedule{Interval: api.Duration(24 * time.Hour), Timezone: &name, AnchorDate: &api.ZonedTime{Time: anchor}}})
			if err != nil {
				t.Fatal(err)
			}
			moments := onTheWall(zone, at)[wall]
			for _, policy := range []DST{{}, {Repeated: RepeatedFirst}, {Repeated: RepeatedBoth}, {SkipMissing: true}} {
				var want, got []int64
				switch {
				case len(moments) == 0 && policy.SkipMissing:
				case len(moments) == 0:
					want = []int64{wall - before}
				case policy.Repeated == RepeatedLast:
					want = moments[len(moments)-1:]
				default:
					want = moments[:1]
				}
				for _, d := range daily.WithDST(policy).Dates(9, at.Add(-8*time.Hour), at.Add(8*time.Hour)) {
					got = append(got, d.Unix())
				}
				if !slices.Equal(got, want) {
					t.Fatalf("%s at %v with %+v: fires at %v, want %v", name, at.In(zone), policy, got, want)
				}
				checked++
			}
		}
	}
	if checked < 2000 {
		t.Errorf("only %d changes were looked at", checked)
	}
}

func TestAnIntervalOfDaysFollowsItsPolicy(t *testing.T) {
	t.Parallel()
	zone := "Europe/Berlin"
	berlin, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	anchor := &api.ZonedTime{Time: time.Date(2026, 3, 1, 2, 30, 0, 0, berlin)}
	daily, err := Compile(api.Schedule{Interval: &api.IntervalSchedule{Interval: api.Duration(24 * time.Hour), Timezone: &zone, AnchorDate: anchor}})
	if err != nil {
		t.Fatal(err)
	}
	on := func(s *Schedule, month time.Month, day int) string {
		var all string
		for _, d := range s.Dates(9, time.Date(2026, month, day, 0, 0, 0, 0, berlin), time.Date(2026, month, day, 12, 0, 0, 0, berlin)) {
			all += d.Format("15:04 MST ")
		}
		return all
	}
	for _, test := range []struct {
		policy         DST
		spring, autumn string
	}{
		{DST{}, "03:30 CEST ", "02:30 CET "},
		{DST{SkipMissing: true}, "", "02:30 CET "},
		{DST{Repeated: RepeatedFirst}, "03:30 CEST ", "02:30 CEST "},
		{DST{SkipMissing: true, Repeated: RepeatedBoth}, "", "02:30 CEST "},
	} {
		s := daily.WithDST(test.policy)
		if spring, autumn := on(s, time.March, 29), on(s, time.October, 25); spring != test.spring || autumn != test.autumn {
			t.Errorf("%+v: %q in spring and %q in autumn, want %q and %q", test.policy, spring, autumn, test.spring, test.autumn)
		}
	}
}
