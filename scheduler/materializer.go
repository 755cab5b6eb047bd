package scheduler

import (
	"bytes"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/scheduler/calendar"
)

const (
	// topUpLead is how long before its runs run out a deployment is looked at again after a change of leaders, when it is
	// not known how close its fire times are.
	topUpLead = time.Minute
	// firesPerProposal bounds the runs made by one proposal, deploymentsPerRound the schedules planned at a time.
	firesPerProposal    = 500
	deploymentsPerRound = 500
	// morePause is when a schedule that got only a part of its future runs is looked at again.
	morePause = time.Second
)

// materializer makes runs from the schedules of deployments ahead of time. The truth is next_fire of the deployment's row;
// the heap only says which deployment to look at next.
type materializer struct {
	core *core

	mu      sync.Mutex // guards what follows
	changed map[api.ID]*row.Deployment
	wake    signal

	// For the loop alone, once it runs:
	parser  calendar.Parser
	entries map[scheduleKey]*scheduled
	further map[api.ID][]api.ID // by deployment: its further schedules in entries
	queue   wakeQueue
}

// scheduleKey names one schedule of a deployment; the first one has the nil id.
type scheduleKey struct{ deployment, schedule api.ID }

// scheduled is an active schedule.
type scheduled struct {
	key     scheduleKey
	row     scheduleRow
	parsed  *calendar.Schedule // once needed
	at      time.Time          // when to plan it
	place   int                // in the queue; -1: nothing to plan before it changes
	pending plan
	ahead   int // future runs it may have by now; grows to its share
}

// scheduleRow is what is kept of a deployment's row: not its code and parameters.
type scheduleRow struct {
	json     []byte
	revision uint64
	nextFire int64
	anchor   int64
	since    int64
	catchup  row.Deployment_Catchup
	limit    int
	dst      calendar.DST
}

func newMaterializer(c *core) *materializer {
	return &materializer{core: c, changed: map[api.ID]*row.Deployment{}, wake: newSignal(), entries: map[scheduleKey]*scheduled{}, further: map[api.ID][]api.ID{}}
}

func (m *materializer) rebuild(v View) error {
	err := v.EachActiveSchedule(func(d *row.Deployment) (bool, error) {
		m.put(d)
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("read the schedules: %w", err)
	}
	return nil
}

func (m *materializer) observe(d *row.Deployment, deleted bool) {
	m.mu.Lock()
	if deleted {
		d = &row.Deployment{Id: d.Id}
	}
	m.changed[id16(d.Id)] = d
	m.mu.Unlock()
	m.wake.set()
}

func (m *materializer) run(ctx context.Context) error {
	return m.core.loop(ctx, m.wake, "make scheduled runs", m.runOnce)
}

// put takes over a deployment as it is now.
func (m *materializer) put(d *row.Deployment) {
	id := id16(d.Id)
	first := scheduleRow{json: d.ScheduleJson, revision: d.ScheduleRevision, nextFire: d.NextFire, anchor: d.ScheduleAnchor, since: d.ScheduleSince,
		catchup: d.Catchup, limit: int(d.CatchupLimit), dst: dstOf(d.Policy)}
	if first.since == 0 {
		first.since = d.Updated
	}
	m.putSchedule(scheduleKey{deployment: id}, first, d.IsScheduleActive && !d.SchedulePaused)
	for _, s := range m.further[id] {
		if !slices.ContainsFunc(d.Schedules, func(o *row.DeploymentSchedule) bool { return id16(o.Id) == s }) {
			m.drop(scheduleKey{id, s})
		}
	}
	delete(m.further, id)
	for _, s := range d.Schedules {
		m.further[id] = append(m.further[id], id16(s.Id))
		m.putSchedule(scheduleKey{id, id16(s.Id)}, scheduleRow{json: s.ScheduleJson, revision: s.Revision, nextFire: s.NextFire, anchor: s.Anchor,
			since: s.Since, catchup: first.catchup, limit: first.limit, dst: first.dst}, d.IsScheduleActive && s.Active)
	}
}

// dstOf is what a deployment's policy says about changing clocks.
func dstOf(p *row.Policy) calendar.DST {
	d := calendar.DST{SkipMissing: p.GetDstSkipped() == row.Policy_SKIP_TIME}
	switch p.GetDstRepeated() {
	case row.Policy_FIRST:
		d.Repeated = calendar.RepeatedFirst
	case row.Policy_BOTH:
		d.Repeated = calendar.RepeatedBoth
	}
	return d
}

func (m *materializer) drop(key scheduleKey) {
	if e := m.entries[key]; e != nil {
		m.queue.remove(e)
		delete(m.entries, key)
	}
}

// putSchedule takes over one schedule. One that is not active is dropped.
func (m *materializer) putSchedule(key scheduleKey, next scheduleRow, active bool) {
	if !active || len(next.json) == 0 {
		m.drop(key)
		return
	}
	next.json = bytes.Clone(next.json)
	e := m.entries[key]
	if e == nil {
		e = &scheduled{key: key, place: -1}
		m.entries[key] = e
	}
	if e.row.revision == next.revision && e.row.nextFire > next.nextFire {
		next.nextFire = e.row.nextFire // an event from before our own command
	}
	if e.row.anchor != next.anchor || e.row.dst != next.dst || !bytes.Equal(e.row.json, next.json) {
		e.parsed = nil
	}
	if e.row.revision != next.revision {
		e.ahead = 0 // its future runs are gone
	}
	e.row = next
	at := time.Time{} // now
	if next.nextFire == never {
		m.queue.remove(e)
		return
	}
	if next.nextFire != 0 {
		at = time.UnixMicro(next.nextFire).Add(-topUpLead)
	}
	m.queue.set(e, at)
}

// runOnce plans what is to be planned now and returns when the next deployment is.
func (m *materializer) runOnce(ctx context.Context) (time.Duration, error) {
	m.mu.Lock()
	changed := m.changed
	m.changed = map[api.ID]*row.Deployment{}
	m.mu.Unlock()
	for _, d := range changed {
		m.put(d)
	}
	now := time.UnixMicro(m.core.now())
	var due, round []*scheduled
	for len(m.queue) > 0 && len(due) < deploymentsPerRound && !m.queue[0].at.After(now) {
		e := m.queue[0]
		m.queue.remove(e)
		due = append(due, e)
	}
	more, fires := quota(len(due)), 0
	for _, e := range due {
		if fires >= firesPerProposal {
			m.queue.set(e, e.at)
		} else if m.plan(e, now, more) {
			round = append(round, e)
			fires += len(e.pending.fires)
		}
	}
	if err := m.propose(ctx, round); err != nil {
		for _, e := range round {
			m.queue.set(e, now)
		}
		return 0, err
	}
	if len(m.queue) == 0 {
		return time.Hour, nil
	}
	return untilMicros(m.queue[0].at.UnixMicro(), m.core.now()), nil
}

// quota is how many future runs more each of so many schedules gets at a time that are to be planned now. Where there are many, all get
// their next runs before any gets its whole share: otherwise the first runs of the last ones would be late.
func quota(due int) int { return max(2, firesPerProposal/max(1, due)) }

// plan works out what to make for one schedule, at most so many future runs more. It reports whether there is something to propose.
func (m *materializer) plan(e *scheduled, now time.Time, more int) bool {
	if e.parsed == nil {
		parsed, err := m.parser.Parse(e.row.json)
		if err == nil {
			parsed, err = parsed.Anchored(time.UnixMicro(e.row.anchor))
		}
		if err != nil {
			// One wrong schedule must not stop the others; it is looked at again when it changes.
			m.core.log.Error("a deployment's schedule cannot be read: no runs are made from it", "deployment_id", e.key.deployment.String(), "error", err)
			return false
		}
		e.parsed = parsed.WithDST(e.row.dst)
	}
	t := timetable{revision: e.row.revision, schedule: e.parsed, since: time.UnixMicro(e.row.since), nextFire: e.row.nextFire,
		catchup: e.row.catchup, limit: e.row.limit}
	whole := share(len(m.entries))
	e.ahead = min(whole, e.ahead+more)
	e.pending = t.materialize(now, e.ahead)
	if e.ahead < whole && !e.pending.again.IsZero() {
		e.pending.again = now.Add(morePause)
	}
	if len(e.pending.fires) > 0 || e.pending.nextFire != e.row.nextFire {
		return true
	}
	m.planned(e, now)
	return false
}

// planned puts a deployment back into the queue after its plan was carried out.
func (m *materializer) planned(e *scheduled, now time.Time) {
	e.row.nextFire = e.pending.nextFire
	if at := e.pending.again; !at.IsZero() {
		// Not at once: a plan that makes nothing must not be made in a circle.
		m.queue.set(e, maxTime(at, now.Add(time.Millisecond)))
	}
}

func (m *materializer) propose(ctx context.Context, round []*scheduled) error {
	for len(round) > 0 {
		var commands []*command.Envelope
		n, fires := 0, 0
		for n < len(round) && (n == 0 || fires+len(round[n].pending.fires) <= firesPerProposal) {
			fires += len(round[n].pending.fires)
			commands = append(commands, m.commands(round[n])...)
			n++
		}
		results, _, err := m.core.propose(ctx, commands...)
		if err != nil {
			return fmt.Errorf("propose: %w", err)
		}
		now := time.UnixMicro(m.core.now())
		for _, r := range results {
			m.core.observer.RunsMade(int(r.Count))
			switch r.Code {
			case command.Result_OK, command.Result_CONFLICT, command.Result_NOT_FOUND: // the change that refused it comes as an event
			default:
				return errors.New(r.Message)
			}
		}
		for _, e := range round[:n] {
			m.planned(e, now)
		}
		round = round[n:]
	}
	return nil
}

// commands carries out a plan, at most firesPerProposal runs in each command; the last one moves next_fire.
func (m *materializer) commands(e *scheduled) []*command.Envelope {
	fires := e.pending.fires
	for _, fire := range fires {
		id := api.NewID()
		fire.FlowRunId, fire.Name = id[:], api.RunName(rand.Uint64())
	}
	var all []*command.Envelope
	for {
		n := min(len(fires), firesPerProposal)
		c := &command.ScheduleRuns{DeploymentId: e.key.deployment[:], ScheduleRevision: e.row.revision, Fires: fires[:n]}
		if !e.key.schedule.IsNil() {
			c.ScheduleId = e.key.schedule[:]
		}
		all = append(all, &command.Envelope{Command: &command.Envelope_ScheduleRuns{ScheduleRuns: c}})
		if fires = fires[n:]; len(fires) == 0 {
			c.Advance, c.NextFire = true, e.pending.nextFire
			return all
		}
	}
}

// wakeQueue orders deployments by when to plan them.
type wakeQueue []*scheduled

func (q wakeQueue) Len() int           { return len(q) }
func (q wakeQueue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }
func (q wakeQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i, j
}

// Push and Pop are for container/heap.
func (q *wakeQueue) Push(x any) {
	e := x.(*scheduled)
	e.place = len(*q)
	*q = append(*q, e)
}

// Pop removes the last one.
func (q *wakeQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	e.place = -1
	return e
}

func (q *wakeQueue) set(e *scheduled, at time.Time) {
	e.at = at
	if e.place >= 0 {
		heap.Fix(q, e.place)
		return
	}
	heap.Push(q, e)
}

func (q *wakeQueue) remove(e *scheduled) {
	if e.place >= 0 {
		heap.Remove(q, e.place)
	}
}
