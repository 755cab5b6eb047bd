package scheduler

import (
	"archive/zip"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/scheduler/calendar"
)

// Leaders change while the clocks do, in every zone: carrying out their plans makes each fire time that the policy names once, and no
// other. What it names is reckoned by looking at what the wall shows every quarter of an hour.
func TestPlansFollowTheClocksOfEveryZoneThroughChangesOfLeaders(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	checked := 0
	for _, name := range zoneNames(t) {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		for at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC); ; {
			_, at = at.In(zone).ZoneBounds()
			if at.IsZero() || at.Year() > 2026 {
				break
			}
			for _, skipped := range []row.Policy_Skipped{row.Policy_SHIFT, row.Policy_SKIP_TIME} {
				for _, repeated := range []row.Policy_Repeated{row.Policy_LAST, row.Policy_FIRST, row.Policy_BOTH} {
					p := &row.Policy{DstSkipped: skipped, DstRepeated: repeated}
					want := onTheWall(zone, at, p)
					got := planned(t, random, name, at, dstOf(p))
					if !slices.Equal(got, want) {
						t.Fatalf("%s at %v, %v: made %v, want %v", name, at.In(zone), p, got, want)
					}
					checked++
				}
			}
		}
	}
	t.Logf("%d changes of the clocks", checked)
	if checked < 1000 {
		t.Errorf("only %d changes were looked at", checked)
	}
}

const (
	zoneStep   = 15 * 60 // seconds
	aroundZone = 5 * time.Hour
)

// onTheWall are the moments around a change of the clocks at which a schedule of every quarter fires.
func onTheWall(zone *time.Location, at time.Time, p *row.Policy) []int64 {
	offset := func(unix int64) int64 { _, o := time.Unix(unix, 0).In(zone).Zone(); return int64(o) }
	shown := map[int64][]int64{} // moments by what the wall shows
	begin, end := at.Add(-2*aroundZone).Unix(), at.Add(2*aroundZone).Unix()
	first := begin - begin%zoneStep
	for m := first; m < end; m += zoneStep {
		shown[m+offset(m)] = append(shown[m+offset(m)], m)
	}
	found := map[int64]bool{}
	for wall := first + offset(first); wall < end+offset(end); wall += zoneStep {
		switch moments := shown[wall]; {
		case len(moments) == 0 && p.DstSkipped == row.Policy_SKIP_TIME:
		case len(moments) == 0:
			found[wall-offset(at.Unix()-1)] = true
		default:
			if p.DstRepeated != row.Policy_FIRST {
				found[moments[len(moments)-1]] = true
			}
			if p.DstRepeated != row.Policy_LAST {
				found[moments[0]] = true
			}
		}
	}
	from, to := at.Add(-aroundZone).Unix(), at.Add(aroundZone).Unix()
	maps.DeleteFunc(found, func(m int64, _ bool) bool { return m < from || m > to })
	return slices.Sorted(maps.Keys(found))
}

// planned is what leaders make who plan at random moments around a change of the clocks, some of whose plans were not carried out or
// are made again.
func planned(t *testing.T, random *rand.Rand, zone string, at time.Time, dst calendar.DST) (made []int64) {
	t.Helper()
	raw := fmt.Sprintf(`{"cron":"*/15 * * * *","timezone":%q,"day_or":true}`, zone)
	parsed, err := calendar.Parse(json.RawMessage(raw))
	if err != nil {
		t.Fatal(err)
	}
	now, end := at.Add(-2*aroundZone), at.Add(aroundZone)
	table := timetable{schedule: parsed.WithDST(dst), since: now, catchup: row.Deployment_ALL}
	keys := map[string]bool{}
	for ; now.Before(end); now = now.Add(time.Duration(1 + random.Int64N(int64(5*time.Hour)))) {
		if random.IntN(4) == 0 {
			continue // no leader just now
		}
		p := table.materialize(now, 1+random.IntN(12))
		for _, fire := range p.fires {
			// As the state machine does: one run of a key.
			if key := command.FireKey([]byte("0123456789abcdef"), nil, fire); !keys[key] {
				keys[key] = true
				made = append(made, fire.Time/1e6)
			}
		}
		if random.IntN(4) > 0 { // else the next leader does not know of it
			table.nextFire = p.nextFire
		}
	}
	for _, fire := range table.materialize(end.Add(time.Second), 1).fires {
		if key := command.FireKey([]byte("0123456789abcdef"), nil, fire); !keys[key] {
			keys[key] = true
			made = append(made, fire.Time/1e6)
		}
	}
	made = slices.DeleteFunc(made, func(m int64) bool { return m < at.Add(-aroundZone).Unix() || m > end.Unix() })
	slices.Sort(made)
	return made
}

// zoneNames are all zones of Go's own database, which is the one that is embedded.
func zoneNames(t *testing.T) (names []string) {
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
	for _, f := range archive.File {
		if !strings.HasSuffix(f.Name, "/") {
			names = append(names, f.Name)
		}
	}
	return names
}
