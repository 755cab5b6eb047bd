package scheduler

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/scheduler/calendar"
)

func TestShareOfTheBudget(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]int{0: 100, 1: 100, 2000: 100, 4000: 50, 100_000: 2, 200_000: 1, 1_000_000: 1} {
		if got := share(n); got != want {
			t.Errorf("of %d deployments each gets %d, want %d", n, got, want)
		}
	}
}

// Carrying out the plans at the times they ask for makes every fire time once, before it is due.
func TestPlansCoverEveryFireTime(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for _, raw := range []string{
		`{"interval":20}`, `{"interval":0.5}`, `{"interval":90000,"timezone":"Europe/Berlin"}`, `{"cron":"0 0 1 * *"}`, `{"cron":"0 12 29 2 *"}`,
		`{"cron":"*/15 9-17 * * mon-fri","timezone":"America/New_York"}`, `{"rrule":"DTSTART:20260101T000000\nRRULE:FREQ=YEARLY"}`,
		`{"rrule":"DTSTART:20260228T000000\nRRULE:FREQ=HOURLY;COUNT=120"}`,
	} {
		t.Run(raw, func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 1))
			schedule, err := calendar.Parse(json.RawMessage(raw))
			if err != nil {
				t.Fatal(err)
			}
			since := time.Date(2026, 3, 1, 10, 0, 0, 1000, time.UTC)
			now, table := since, timetable{schedule: schedule, since: since}
			var made []int64
			for range 60 {
				p := table.materialize(now, 1+random.IntN(100))
				for _, fire := range p.fires {
					if fire.Time < now.UnixMicro() {
						t.Fatalf("%v is made at %v", time.UnixMicro(fire.Time).UTC(), now)
					}
					made = append(made, fire.Time)
				}
				table.nextFire = p.nextFire
				if p.again.IsZero() {
					break
				}
				// Sometimes somebody else looks earlier.
				now = now.Add(time.Duration(random.Int64N(int64(p.again.Sub(now)) + 1)))
				if random.IntN(3) > 0 {
					now = p.again
				}
			}
			if len(made) == 0 {
				t.Fatal("nothing was made")
			}
			want := schedule.Dates(len(made), since, time.Date(2500, 1, 1, 0, 0, 0, 0, time.UTC))
			if len(want) != len(made) {
				t.Fatalf("%d made, %d wanted", len(made), len(want))
			}
			for i, at := range made {
				if at != want[i].UnixMicro() {
					t.Fatalf("fire time %d is %v, want %v", i, time.UnixMicro(at).UTC(), want[i])
				}
			}
		})
	}
}

func TestCatchUp(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 10, 30, 30, 0, time.UTC)
	for name, test := range map[string]struct {
		raw     string
		away    time.Duration
		catchup row.Deployment_Catchup
		limit   int
		want    []time.Duration // before now
	}{
		"skip makes nothing old":                              {`{"interval":3600}`, 10 * time.Hour, row.Deployment_SKIP, 0, nil},
		"skip makes what a change of leaders delayed":         {`{"interval":20}`, 10 * time.Hour, row.Deployment_SKIP, 0, []time.Duration{50 * time.Second, 30 * time.Second, 10 * time.Second}},
		"skip makes nothing from before":                      {`{"interval":20}`, 35 * time.Second, row.Deployment_SKIP, 0, []time.Duration{30 * time.Second, 10 * time.Second}},
		"latest makes one":                                    {`{"interval":3600}`, 10 * time.Hour, row.Deployment_LATEST, 0, []time.Duration{30*time.Minute + 30*time.Second}},
		"latest makes one of a rare schedule":                 {`{"cron":"0 0 1 1 *"}`, 100 * 24 * time.Hour, row.Deployment_LATEST, 0, []time.Duration{now.Sub(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))}},
		"all makes the newest up to the limit":                {`{"interval":3600}`, 10 * time.Hour, row.Deployment_ALL, 2, []time.Duration{90*time.Minute + 30*time.Second, 30*time.Minute + 30*time.Second}},
		"all makes what there is":                             {`{"interval":3600}`, 91 * time.Minute, row.Deployment_ALL, 0, []time.Duration{90*time.Minute + 30*time.Second, 30*time.Minute + 30*time.Second}},
		"a schedule that ended while nobody led is caught up": {`{"rrule":"DTSTART:20260301T090000\nRRULE:FREQ=HOURLY;COUNT=1"}`, 10 * time.Hour, row.Deployment_LATEST, 0, []time.Duration{90*time.Minute + 30*time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			schedule, err := calendar.Parse(json.RawMessage(test.raw))
			if err != nil {
				t.Fatal(err)
			}
			p := timetable{schedule: schedule, nextFire: now.Add(-test.away).UnixMicro(), catchup: test.catchup, limit: test.limit}.materialize(now, 1)
			var missed []time.Duration
			for _, fire := range p.fires {
				if before := now.Sub(time.UnixMicro(fire.Time)); before > 0 {
					missed = append(missed, before)
				}
			}
			if len(missed) != len(test.want) {
				t.Fatalf("made %v before now, want %v", missed, test.want)
			}
			for i, d := range missed {
				if d != test.want[i] {
					t.Fatalf("made %v before now, want %v", missed, test.want)
				}
			}
		})
	}
}
