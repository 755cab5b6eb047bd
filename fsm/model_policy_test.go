package fsm

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/orchestration"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
)

// policyScript is a random sequence of commands on runs of deployments with policies. What each is to do is reckoned from the
// runs alone as they were before it: no slots, no indexes.
type policyScript struct {
	*script
	flow, queueID, agent []byte
	ids                  [][]byte // of the deployments
	policies             []*row.Policy
	order                []api.ID // runs as they were made
	runs                 map[api.ID]*row.FlowRun
	until                map[api.ID]int64 // when a run must have gone on, 0: never
	draining             bool
}

func TestRandomCommandsKeepThePoliciesOfDeployments(t *testing.T) {
	t.Parallel()
	for _, seed := range seeds(t) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			s := &policyScript{script: newScript(t, seed), runs: map[api.ID]*row.FlowRun{}, until: map[api.ID]int64{}}
			s.flow, s.queueID, s.agent = s.m.id(), s.m.id(), s.m.id()
			s.do(&command.Envelope{Command: &command.Envelope_CreateFlow{CreateFlow: &command.CreateFlow{Id: s.flow, Name: "f"}}})
			s.do(&command.Envelope{Command: &command.Envelope_CreateWorkQueue{CreateWorkQueue: &command.CreateWorkQueue{Id: s.queueID, Name: "q", Filter: &row.QueueFilter{}}}})
			s.do(&command.Envelope{Command: &command.Envelope_RegisterAgent{RegisterAgent: &command.RegisterAgent{Id: s.agent, Name: "a", Hostname: "h"}}})
			for i := range 3 {
				s.ids, s.policies = append(s.ids, s.m.id()), append(s.policies, nil)
				s.putPolicy(i)
			}
			for range 300 {
				s.policyStep()
			}
			v := s.m.view()
			if err := v.Verify(); err != nil {
				t.Fatal(err)
			}
			s.replayInOtherBatches()
		})
	}
}

func (s *policyScript) randomPolicy() *row.Policy {
	random := s.random
	p := &row.Policy{OnConflict: row.Policy_Conflict(random.IntN(3)), Overlap: row.Policy_Overlap(random.IntN(4)),
		Run: &row.RunPolicy{Priority: int32(random.IntN(3)), QueueTimeout: int64(random.IntN(2) * 40e6), RunTimeout: int64(random.IntN(2) * 30e6),
			CrashRetries: int32(random.IntN(3)), CrashDelay: int64(random.IntN(10)) * 1e6}}
	if random.IntN(4) > 0 {
		n := int32(1 + random.IntN(3))
		p.ConcurrencyLimit = &n
	}
	return p
}

func (s *policyScript) putPolicy(i int) {
	p := s.randomPolicy()
	s.policies[i] = p
	s.apply(false, &command.Envelope{Command: &command.Envelope_PutDeployment{PutDeployment: &command.PutDeployment{Id: s.ids[i], Name: fmt.Sprint(i), FlowId: s.flow,
		ScheduleJson: []byte(`{"interval":3600}`), IsScheduleActive: true, HasPolicy: true, Policy: p}}})
}

// patchPolicy changes some parts of a policy: runs that are due stay, those to come are made anew by the scheduler.
func (s *policyScript) patchPolicy(i int) {
	random, wished, p := s.random, s.randomPolicy(), proto.Clone(s.policies[i]).(*row.Policy)
	c := &command.PatchDeployment{Id: s.ids[i], Policy: wished, HasTags: random.IntN(4) == 0, Tags: []string{fmt.Sprint(random.IntN(3))}}
	for _, part := range []struct {
		has *bool
		set func()
	}{
		{&c.HasConcurrencyLimit, func() { p.ConcurrencyLimit = wished.ConcurrencyLimit }},
		{&c.HasOnConflict, func() { p.OnConflict = wished.OnConflict }},
		{&c.HasOverlap, func() { p.Overlap = wished.Overlap }},
		{&c.HasOnCrash, func() { p.Run.CrashRetries, p.Run.CrashDelay = wished.Run.CrashRetries, wished.Run.CrashDelay }},
		{&c.HasQueueTimeout, func() { p.Run.QueueTimeout = wished.Run.QueueTimeout }},
		{&c.HasRunTimeout, func() { p.Run.RunTimeout = wished.Run.RunTimeout }},
		{&c.HasPriority, func() { p.Run.Priority = wished.Run.Priority }},
	} {
		if *part.has = random.IntN(3) == 0; *part.has {
			part.set()
		}
	}
	s.policies[i] = p
	before := s.machineDeployment(i).Revision
	s.apply(false, &command.Envelope{Command: &command.Envelope_PatchDeployment{PatchDeployment: c}})
	d := s.machineDeployment(i)
	if d.Revision == before {
		return // nothing was changed
	}
	for _, id := range s.order {
		if r := s.runs[id]; bytes.Equal(r.DeploymentId, s.ids[i]) && s.remade(r) {
			s.m.t.Fatalf("with another policy %v, made from the old one, is still there", r)
		}
	}
}

// remade says whether a run goes when its deployment is patched: a schedule made it, and it is not due yet.
func (s *policyScript) remade(r *row.FlowRun) bool {
	return r.AutoScheduled && r.State.Type == row.StateType_SCHEDULED && r.State.Name != orchestration.NameAwaitingRetry && r.NextScheduledStartTime > s.m.stamp
}

func (s *policyScript) machineDeployment(i int) *row.Deployment {
	d, err := s.m.view().Deployment(api.ID(s.ids[i]))
	if err != nil || d == nil {
		s.m.t.Fatal(d, err)
	}
	return d
}

// markLate proposes to rename some runs.
func (s *policyScript) markLate() {
	before := s.m.stamp - int64(s.random.IntN(10))*1e6
	was, late := map[api.ID]*row.FlowRun{}, 0
	c := &command.MarkLate{Before: before}
	for _, id := range s.order {
		if s.random.IntN(2) == 0 {
			c.FlowRunIds, was[id] = append(c.FlowRunIds, id[:]), s.runs[id]
		}
	}
	r := s.apply(false, &command.Envelope{Command: &command.Envelope_MarkLate{MarkLate: c}})
	for id, old := range was {
		want := old.State.Name
		if old.State.Type == row.StateType_SCHEDULED && want == "Scheduled" && old.NextScheduledStartTime <= before {
			want = "Late"
			late++
		}
		if now := s.runs[id]; now.State.Name != want || now.State.Type != old.State.Type || now.NextScheduledStartTime != old.NextScheduledStartTime || now.Deadline != old.Deadline {
			s.m.t.Fatalf("late at %d: %v became %v, want %s", before, old, now, want)
		}
	}
	if int(r.Count) != late {
		s.m.t.Fatalf("%d runs became late, the model says %d", r.Count, late)
	}
}

// drain lets the agent claim nothing, or again.
func (s *policyScript) drain() {
	s.draining = !s.draining
	s.apply(false, &command.Envelope{Command: &command.Envelope_DrainAgent{DrainAgent: &command.DrainAgent{Id: s.agent, Draining: s.draining}}})
}

func (s *policyScript) anyRun() *row.FlowRun {
	if len(s.order) == 0 {
		return nil
	}
	// Recent ones more often: the old ones have ended.
	i := len(s.order) - 1 - s.random.IntN(min(len(s.order), 15))
	return s.runs[s.order[i]]
}

func (s *policyScript) policyStep() {
	m, random := s.m, s.random
	i := random.IntN(len(s.ids))
	run := s.anyRun()
	switch n := random.IntN(20); {
	case n == 0:
		if random.IntN(3) == 0 {
			s.putPolicy(i)
		}
	case n <= 2:
		proposed := &command.ProposedState{Type: row.StateType(row.StateType_SCHEDULED), Details: &row.StateDetails{ScheduledTime: m.stamp + int64(random.IntN(12)-6)*1e6}}
		if random.IntN(5) == 0 {
			proposed = &command.ProposedState{Type: []row.StateType{row.StateType_PENDING, row.StateType_RUNNING}[random.IntN(2)]}
		}
		id := m.id()
		want := proposed.Type != row.StateType_RUNNING || s.mayStart(s.ids[i], false)
		r := s.apply(false, &command.Envelope{Command: &command.Envelope_CreateFlowRun{CreateFlowRun: &command.CreateFlowRun{Id: id, Name: "n", DeploymentId: s.ids[i], FromDeployment: true,
			State: proposed}}}, id)
		if r.Created != want {
			m.t.Fatalf("a run made %s: the model says %t, the machine %v", proposed.Type, want, r)
		}
	case n <= 4:
		s.fire(i)
	case n == 16:
		if random.IntN(3) == 0 || s.draining {
			s.drain()
		}
	case n == 17:
		s.patchPolicy(i)
	case run == nil:
	case n == 18:
		s.markLate()
	case n <= 7:
		// Where newer runs win, a claim makes room first.
		d, fate := slices.IndexFunc(s.ids, func(id []byte) bool { return bytes.Equal(id, run.DeploymentId) }), map[string]string(nil)
		if p := s.policies[d]; p.ConcurrencyLimit != nil && p.OnConflict == row.Policy_CANCEL_RUNNING || p.Overlap == row.Policy_OVERLAP_CANCEL_RUNNING {
			fate = s.fates(d)
		}
		want := !s.draining && run.State.Type == row.StateType_SCHEDULED && fate[string(run.Id)] == "" && run.NextScheduledStartTime <= m.stamp+1e6 &&
			s.mayStartAfter(fate, run.DeploymentId, run.AutoScheduled)
		r := s.apply(false, &command.Envelope{Command: &command.Envelope_ClaimRuns{ClaimRuns: &command.ClaimRuns{Ttl: 12_000_000, Wishes: []*command.ClaimRuns_Wish{{
			ClaimId: m.id(), AgentId: s.agent, Picks: []*command.ClaimRuns_Pick{{FlowRunId: run.Id, WorkQueueId: s.queueID}}}}}}})
		if want != (len(r.Grants) == 1) {
			m.t.Fatalf("claim of %v: the model says %t, the machine %v", run, want, r)
		}
	case n <= 10:
		set := &command.SetState{Id: run.Id, Force: random.IntN(30) == 0, State: &command.ProposedState{
			Type: []row.StateType{row.StateType_RUNNING, row.StateType_RUNNING, row.StateType_COMPLETED, row.StateType_FAILED, row.StateType_PENDING}[random.IntN(5)]}}
		if set.State.Type == row.StateType_FAILED && random.IntN(3) > 0 {
			set.State.Name = orchestration.NameCrashed
		}
		if l := run.Lease; l != nil && random.IntN(5) > 0 {
			set.HasToken, set.TokenIndex, set.TokenOrdinal = true, l.TokenIndex, l.TokenOrdinal
		}
		s.apply(set.Force, &command.Envelope{Command: &command.Envelope_SetFlowRunState{SetFlowRunState: set}})
	case n == 11:
		if l := run.Lease; l != nil {
			s.apply(false, &command.Envelope{Command: &command.Envelope_ExpireLeases{ExpireLeases: &command.ExpireLeases{Expired: []*command.ExpireLeases_Expired{{
				FlowRunId: run.Id, TokenIndex: l.TokenIndex, TokenOrdinal: l.TokenOrdinal, Reason: "silent"}}}}})
		}
	case n == 12:
		m.stamp += int64(random.IntN(25)) * 1e6
	case n == 13:
		s.enforce()
	default:
		s.resolveConflicts(i)
	}
}

func (s *policyScript) fire(i int) {
	v := s.m.view()
	d, err := v.Deployment(api.ID(s.ids[i]))
	if err != nil || d == nil {
		s.m.t.Fatal(d, err)
	}
	id, at := s.m.id(), s.m.stamp+int64(s.random.IntN(4_000_000))
	s.apply(false, &command.Envelope{Command: &command.Envelope_ScheduleRuns{ScheduleRuns: &command.ScheduleRuns{DeploymentId: s.ids[i], ScheduleRevision: d.ScheduleRevision,
		Advance: true, NextFire: at + 1, Fires: []*command.ScheduleRuns_Fire{{Time: at, FlowRunId: id, Name: "auto"}}}}}, id)
	if s.runs[api.ID(id)] == nil {
		s.m.t.Fatal("a fire time made no run")
	}
}

// underWay says whether a run has begun and not ended: one made Pending that nobody took has not begun.
func underWay(r *row.FlowRun) bool {
	t := r.GetState().GetType()
	return t == row.StateType_RUNNING || t == row.StateType_PENDING && r.State.Timestamp != r.Created
}

// busy are the runs of a deployment that are under way, all or those that schedules made.
func (s *policyScript) busy(deployment []byte, scheduled bool) (all []*row.FlowRun) {
	for _, id := range s.order {
		if r := s.runs[id]; bytes.Equal(r.DeploymentId, deployment) && underWay(r) && (r.AutoScheduled || !scheduled) {
			all = append(all, r)
		}
	}
	return all
}

func (s *policyScript) policyOf(deployment []byte) *row.Policy {
	return s.policies[slices.IndexFunc(s.ids, func(id []byte) bool { return bytes.Equal(id, deployment) })]
}

func (s *policyScript) mayStart(deployment []byte, scheduled bool) bool {
	return s.mayStartAfter(nil, deployment, scheduled)
}

// mayStartAfter says whether a run may start once others have met their fate.
func (s *policyScript) mayStartAfter(fate map[string]string, deployment []byte, scheduled bool) bool {
	p := s.policyOf(deployment)
	busy := func(scheduled bool) int {
		return len(slices.DeleteFunc(s.busy(deployment, scheduled), func(r *row.FlowRun) bool { return fate[string(r.Id)] == "CANCELLED Cancelled" }))
	}
	if p.ConcurrencyLimit != nil && busy(false) >= int(*p.ConcurrencyLimit) {
		return false
	}
	return !scheduled || p.Overlap == row.Policy_OVERLAP_ALLOW || busy(true) == 0
}

// apply applies a command, reads all runs again and looks at what changed. made may have come to be.
func (s *policyScript) apply(forced bool, c *command.Envelope, made ...[]byte) *command.Result {
	t := s.m.t
	t.Helper()
	r := s.do(c)
	v, err := s.m.fsm.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	for _, id := range made {
		s.order = append(s.order, api.ID(id))
	}
	began := map[string]bool{} // deployments of which a run began
	kept := s.order[:0]
	for _, id := range s.order {
		before := s.runs[id]
		now, err := v.FlowRun(id)
		if err != nil {
			t.Fatal(err)
		}
		if now == nil {
			// Those that a schedule made and that wait go with a change of their deployment.
			if before != nil && (c.GetPutDeployment() == nil || !before.AutoScheduled || before.State.Type != row.StateType_SCHEDULED) && (c.GetPatchDeployment() == nil || !s.remade(before)) {
				t.Fatalf("%T removed the run %v", c.Command, before)
			}
			delete(s.runs, id)
			continue
		}
		kept, s.runs[id] = append(kept, id), now
		s.checkChange(c, before, now)
		if !underWay(before) && underWay(now) {
			began[string(now.DeploymentId)] = true
			if now.AutoScheduled {
				began["scheduled "+string(now.DeploymentId)] = true
			}
		}
	}
	s.order = kept
	for i, id := range s.ids {
		if s.policies[i] != nil {
			s.checkPlaces(c, v, id, began[string(id)] && !forced, began["scheduled "+string(id)] && !forced)
		}
	}
	return r
}

// checkPlaces holds the slots of a deployment against its runs. Policies change, so that more runs may be under way than the limit:
// but then none begins.
func (s *policyScript) checkPlaces(c *command.Envelope, v *state.View, deployment []byte, began, scheduledBegan bool) {
	p, t := s.policyOf(deployment), s.m.t
	t.Helper()
	check := func(limitID api.ID, holders []*row.FlowRun, limit int, began bool) {
		var want []api.ID
		for _, r := range holders {
			want = append(want, api.ID(r.Id))
		}
		slices.SortFunc(want, func(a, b api.ID) int { return bytes.Compare(a[:], b[:]) })
		got, err := v.Slots(limitID)
		n, err2 := v.SlotsInUse(limitID)
		if err != nil || err2 != nil || !slices.Equal(got, want) || n != len(want) {
			t.Fatalf("after %T the places are held by %v (counted %d), under way are %v (%v, %v)", c.Command, got, n, want, err, err2)
		}
		if began && len(want) > limit {
			t.Fatalf("%T let a run begin: %d are under way, the limit is %d", c.Command, len(want), limit)
		}
	}
	if p.ConcurrencyLimit != nil {
		check(api.ID(deployment), s.busy(deployment, false), int(*p.ConcurrencyLimit), began)
	}
	if p.Overlap != row.Policy_OVERLAP_ALLOW {
		check(orchestration.OverlapID(deployment), s.busy(deployment, true), 1, scheduledBegan)
	}
}

// checkChange looks at what a command did to one run, and notes until when the run may stay as it is.
func (s *policyScript) checkChange(c *command.Envelope, before, now *row.FlowRun) {
	t := s.m.t
	t.Helper()
	id, p, old := api.ID(now.Id), now.GetPolicy(), before.GetState()
	if now.CrashRetries > p.GetCrashRetries() {
		t.Fatalf("%T: %d retries after crashes, the policy grants %d: %v", c.Command, now.CrashRetries, p.GetCrashRetries(), now)
	}
	if n := now.CrashRetries - before.GetCrashRetries(); n != 0 && (n != 1 || now.State.Name != orchestration.NameAwaitingRetry ||
		now.NextScheduledStartTime < old.GetTimestamp()+p.GetCrashDelay()) {
		t.Fatalf("%T: %d retries more: %v", c.Command, n, now)
	}
	if bytes.Equal(old.GetId(), now.State.Id) {
		return
	}
	if now.State.Name == orchestration.NameCrashed && now.CrashRetries < p.GetCrashRetries() {
		if set := c.GetSetFlowRunState(); set == nil || !set.Force || set.HasToken { // an owner's word is a crash, forced or not
			t.Fatalf("%T: the run stays crashed after %d of %d retries: %v", c.Command, now.CrashRetries, p.GetCrashRetries(), now)
		}
	}
	if now.State.Name == orchestration.NameSkipped && (now.State.Type != row.StateType_CANCELLED || underWay(before)) {
		t.Fatalf("%T skipped %v, which was %v", c.Command, now, old)
	}
	switch wasRunning := old.GetType() == row.StateType_RUNNING; {
	case now.State.Type == row.StateType_SCHEDULED && p.GetQueueTimeout() > 0:
		s.until[id] = now.NextScheduledStartTime + p.QueueTimeout
	case now.State.Type == row.StateType_PENDING && old.GetType() == row.StateType_SCHEDULED, wasRunning && now.State.Type == row.StateType_RUNNING && !now.TimingOut:
	case now.State.Type == row.StateType_RUNNING && now.TimingOut && !before.TimingOut:
		s.until[id] = now.State.Timestamp + 60e6 // to stop
	case now.State.Type == row.StateType_RUNNING && now.TimingOut:
	case now.State.Type == row.StateType_RUNNING && p.GetRunTimeout() > 0:
		s.until[id] = now.State.Timestamp + p.RunTimeout
	default:
		s.until[id] = 0
	}
}

// enforce proposes the end of every run there is: those end whose time is over, once.
func (s *policyScript) enforce() {
	t := s.m.t
	at := s.m.stamp + int64(s.random.IntN(4)-2)*1e6
	was, over := map[api.ID]*row.FlowRun{}, map[api.ID]bool{}
	c := &command.EnforceDeadlines{Before: at}
	for _, id := range s.order {
		was[id], over[id] = s.runs[id], s.until[id] != 0 && s.until[id] <= min(at, s.m.stamp+1e6)
		c.FlowRunIds = append(c.FlowRunIds, id[:])
	}
	r := s.apply(false, &command.Envelope{Command: &command.Envelope_EnforceDeadlines{EnforceDeadlines: c}})
	ended := 0
	for id, before := range was {
		now, want := s.runs[id].State, before.State.Type.String()+" "+before.State.Name
		if over[id] {
			ended++
			stopping := before.State.Name == orchestration.NameCancelling
			switch {
			case before.State.Type != row.StateType_RUNNING:
				want = "CANCELLED TimedOut"
			case before.Lease != nil && !stopping:
				want = "RUNNING Cancelling"
			case stopping && !before.TimingOut:
				want = "CANCELLED Cancelled"
			default:
				want = "FAILED TimedOut"
			}
		}
		if got := now.Type.String() + " " + now.Name; got != want {
			t.Fatalf("at %d, with time until %d, %v became %s, want %s", at, s.until[id], before, got, want)
		}
	}
	if int(r.Count) != ended {
		t.Fatalf("%d deadlines were enforced, want %d", r.Count, ended)
	}
	if again := s.apply(false, &command.Envelope{Command: &command.Envelope_EnforceDeadlines{EnforceDeadlines: c}}); again.Count != 0 {
		t.Fatalf("%d deadlines were enforced twice", again.Count)
	}
}

// fates says what is to become of the runs of a deployment whose limits are reached, by the next command.
func (s *policyScript) fates(i int) map[string]string {
	p, d := s.policies[i], s.ids[i]
	now := s.m.stamp + 1e6 // of the command
	fate := map[string]string{}
	decide := func(limit int, conflict row.Policy_Conflict, scheduled bool) {
		var due, holders []*row.FlowRun
		stopping := 0
		for _, id := range s.order {
			r := s.runs[id]
			if bytes.Equal(r.DeploymentId, d) && r.State.Type == row.StateType_SCHEDULED && r.NextScheduledStartTime <= now && (r.AutoScheduled || !scheduled) && fate[string(r.Id)] == "" {
				due = append(due, r)
			}
		}
		if len(due) == 0 {
			return
		}
		for _, r := range s.busy(d, scheduled) {
			switch {
			case fate[string(r.Id)] == "CANCELLED Cancelled": // by the first limit
			case fate[string(r.Id)] != "" || r.State.Name == orchestration.NameCancelling:
				stopping++
			default:
				holders = append(holders, r)
			}
		}
		switch conflict {
		case row.Policy_SKIP:
			if len(holders)+stopping >= limit {
				for _, r := range due {
					fate[string(r.Id)] = "CANCELLED Skipped"
				}
			}
		case row.Policy_CANCEL_RUNNING:
			newer := func(a, b *row.FlowRun) bool {
				return a.ExpectedStartTime > b.ExpectedStartTime || a.ExpectedStartTime == b.ExpectedStartTime && bytes.Compare(a.Id, b.Id) > 0
			}
			waiting := 0
			for _, r := range due {
				before := 0
				for _, other := range due {
					if newer(other, r) {
						before++
					}
				}
				if before >= limit {
					fate[string(r.Id)] = "CANCELLED Skipped"
				} else {
					waiting++
				}
			}
			// The longest under way make room, one by one, until all that wait fit in.
			for len(holders)+waiting > limit && len(holders) > 0 {
				oldest := slices.MinFunc(holders, func(a, b *row.FlowRun) int {
					if a.State.Timestamp != b.State.Timestamp {
						return int(a.State.Timestamp - b.State.Timestamp)
					}
					return bytes.Compare(a.Id, b.Id)
				})
				holders = slices.DeleteFunc(holders, func(r *row.FlowRun) bool { return r == oldest })
				fate[string(oldest.Id)] = "CANCELLED Cancelled"
				if oldest.State.Type == row.StateType_RUNNING && oldest.Lease != nil {
					fate[string(oldest.Id)] = "RUNNING Cancelling"
				}
			}
		}
	}
	if p.ConcurrencyLimit != nil {
		decide(int(*p.ConcurrencyLimit), p.OnConflict, false)
	}
	switch p.Overlap {
	case row.Policy_OVERLAP_SKIP:
		decide(1, row.Policy_SKIP, true)
	case row.Policy_OVERLAP_CANCEL_RUNNING:
		decide(1, row.Policy_CANCEL_RUNNING, true)
	}
	return fate
}

// resolveConflicts has the machine decide about the due runs of a deployment, after the model has.
func (s *policyScript) resolveConflicts(i int) {
	t, p, d, fate := s.m.t, s.policies[i], s.ids[i], s.fates(i)
	was := map[api.ID]*row.FlowRun{}
	for _, id := range s.order {
		was[id] = s.runs[id]
	}
	r := s.apply(false, &command.Envelope{Command: &command.Envelope_ResolveConflicts{ResolveConflicts: &command.ResolveConflicts{DeploymentIds: [][]byte{d}}}})
	for id, before := range was {
		want := fate[string(id[:])]
		if want == "" {
			want = before.State.Type.String() + " " + before.State.Name
		}
		if now := s.runs[id].State; now.Type.String()+" "+now.Name != want {
			t.Fatalf("with %v, %v became %s %s, the model says %s", p, before, now.Type, now.Name, want)
		}
	}
	if int(r.Count) != len(fate) {
		t.Fatalf("%d runs were decided about, the model says %d", r.Count, len(fate))
	}
}
