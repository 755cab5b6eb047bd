package scheduler

import (
	"time"

	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/scheduler/calendar"
)

const (
	// futureBudget is how many runs are kept made ahead of time, over all deployments.
	futureBudget = 200_000
	// perDeployment is how many of them one deployment gets at most.
	perDeployment = 100
	// horizon is how far ahead runs are made; the next one is made however far it lies.
	horizon = 100 * 24 * time.Hour
	// failoverGrace is for how long a fire time is not called missed: a change of leaders must cost no run, whatever the
	// deployment's catch-up policy.
	failoverGrace = time.Minute
	// defaultCatchupLimit bounds catch-up `all` where the deployment says nothing.
	defaultCatchupLimit = 100
	// maxCatchup bounds it in any case.
	maxCatchup = 10_000
)

// share is how many future runs each of n scheduled deployments gets.
func share(n int) int {
	if n == 0 {
		return perDeployment
	}
	return min(perDeployment, max(1, futureBudget/n))
}

// timetable is what planning needs of a deployment.
type timetable struct {
	revision uint64
	schedule *calendar.Schedule
	since    time.Time // when the revision began
	nextFire int64     // µs; fire times before it were made; 0: none since the revision began
	catchup  row.Deployment_Catchup
	limit    int
}

// plan is what to make of a schedule now.
type plan struct {
	fires    []*command.ScheduleRuns_Fire // without ids and names
	nextFire int64                        // the first fire time after them; never when the schedule has ended
	again    time.Time                    // when to plan anew; zero: not before the deployment changes
}

// materialize plans the runs of a schedule: fire times that nobody made in time, by the catch-up policy, and future ones up
// to ahead in number. Pure: the same arguments give the same plan.
func (t timetable) materialize(now time.Time, ahead int) plan {
	from := t.since
	if t.nextFire == never {
		return plan{nextFire: never}
	}
	if t.nextFire != 0 {
		from = time.UnixMicro(t.nextFire)
	}
	dates := t.missed(from, now)
	future, made := t.future(from, now, ahead)
	dates = append(dates, future...)

	p := plan{nextFire: t.nextFire}
	for _, d := range dates {
		_, offset := d.Zone()
		p.fires = append(p.fires, &command.ScheduleRuns_Fire{Time: d.UnixMicro(), Offset: int32(offset)})
	}
	coming := append(made, future...)
	switch {
	case len(future) > 0:
		p.nextFire = t.following(future[len(future)-1])
	case len(made) == 0: // ended: what was missed is all that is left
		p.nextFire = t.following(maxTime(now, from))
	}
	if len(coming) > 0 {
		p.again = coming[(len(coming)-1)/2] // of two the first, so that one is left
	}
	return p
}

// missed returns the fire times in [from, now) that are still to be made.
func (t timetable) missed(from, now time.Time) []time.Time {
	if !from.Before(now) {
		return nil
	}
	end := now.Add(-time.Microsecond)
	recent := maxTime(from, now.Add(-failoverGrace))
	dates := t.schedule.Dates(maxCatchup, recent, end)
	want := 0
	switch t.catchup {
	case row.Deployment_LATEST:
		want = 1
	case row.Deployment_ALL:
		if want = t.limit; want <= 0 {
			want = defaultCatchupLimit
		}
		want = min(want, maxCatchup)
	}
	if len(dates) >= want {
		return dates
	}
	// The newest ones, found by looking further and further back: a schedule may fire often and the gap be long.
	for back := failoverGrace; ; back *= 4 {
		start := maxTime(from, now.Add(-back))
		dates = t.schedule.Dates(4*maxCatchup, start, end)
		if len(dates) >= want || !start.After(from) || back > 100*horizon {
			return dates[max(0, len(dates)-want):]
		}
	}
}

// future returns the fire times from now on that are to be made, and those that were made already.
func (t timetable) future(from, now time.Time, ahead int) (dates, made []time.Time) {
	start := maxTime(from, now)
	if from.After(now) {
		made = t.schedule.Dates(ahead, now, from.Add(-time.Microsecond))
	}
	if len(made) >= ahead {
		return nil, made
	}
	dates = t.schedule.Dates(ahead-len(made), start, now.Add(horizon))
	if len(dates)+len(made) == 0 {
		if next, ok := t.schedule.Next(start.Add(-time.Microsecond)); ok {
			dates = []time.Time{next}
		}
	}
	return dates, made
}

// following is the fire time after d in µs, never when there is none.
func (t timetable) following(d time.Time) int64 {
	next, ok := t.schedule.Next(d)
	if !ok {
		return never
	}
	return next.UnixMicro()
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
