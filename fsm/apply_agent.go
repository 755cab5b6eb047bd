package fsm

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/orchestration"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/watch"
)

func (a *applier) registerAgent(c *command.RegisterAgent) (*command.Result, error) {
	agent := &row.Agent{Id: c.Id, Created: a.now, Updated: a.now, Name: c.Name, Hostname: c.Hostname, Pid: c.Pid, Version: c.Version, WorkQueueIds: c.WorkQueueIds}
	e, err := a.tx.EditAgent(c.Id)
	if err != nil {
		return nil, err
	}
	result := ok(c.Id)
	if e == nil {
		e, result = a.tx.NewAgent(agent), created(c.Id)
	} else {
		agent.Created, agent.Draining = e.Row.Created, e.Row.Draining
		e.Row = agent
	}
	a.emit(watch.Event{Topic: watch.TopicAgent, Agent: agent})
	return result, e.Save()
}

// drainAgent lets an agent claim nothing, or again. What it executes stays its own.
func (a *applier) drainAgent(c *command.DrainAgent) (*command.Result, error) {
	e, err := a.tx.EditAgent(c.Id)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return notFound("Agent"), nil
	}
	if (e.Row.Draining != 0) == c.Draining {
		return ok(c.Id), nil
	}
	e.Row.Draining, e.Row.Updated = 0, a.now
	if c.Draining {
		e.Row.Draining = a.now
	}
	a.emit(watch.Event{Topic: watch.TopicAgent, Agent: e.Row})
	return ok(c.Id), e.Save()
}

func (a *applier) deleteAgent(id []byte) (*command.Result, error) {
	e, err := a.tx.EditAgent(id)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return notFound("Agent"), nil
	}
	a.emit(watch.Event{Topic: watch.TopicAgent, Agent: e.Row, Deleted: true})
	return ok(id), e.Delete()
}

// claimRuns grants what still holds of the wishes. A claim that was granted before keeps exactly its grants.
func (a *applier) claimRuns(c *command.ClaimRuns) (*command.Result, error) {
	result := &command.Result{}
	conflicts, err := a.conflictsOf(c)
	if err != nil {
		return nil, err
	}
	for _, id := range conflicts[row.Policy_CANCEL_RUNNING] {
		if _, err := a.resolve(id); err != nil { // else an older run would be started only to be cancelled
			return nil, err
		}
	}
	for _, wish := range c.Wishes {
		known, err := a.tx.EditClaim(wish.ClaimId)
		if err != nil {
			return nil, err
		}
		if known != nil {
			continue
		}
		agent, err := a.tx.Agent(id16(wish.AgentId))
		if err != nil {
			return nil, err
		}
		if agent == nil || agent.Draining != 0 {
			continue
		}
		claim := &row.Claim{ClaimId: wish.ClaimId, AgentId: wish.AgentId, Created: a.now}
		for _, pick := range wish.Picks { // of the same deployment, the first ones take its last places
			grant, err := a.grant(wish.ClaimId, agent, pick, c.Ttl)
			if err != nil {
				return nil, err
			}
			if grant != nil {
				claim.Grants = append(claim.Grants, grant)
				result.Grants = append(result.Grants, grant)
			}
		}
		if len(claim.Grants) == 0 {
			continue
		}
		if err := a.tx.NewClaim(claim).Save(); err != nil {
			return nil, err
		}
	}
	for _, id := range conflicts[row.Policy_SKIP] {
		if _, err := a.resolve(id); err != nil {
			return nil, err
		}
	}
	return result, nil
}

// conflictsOf returns the deployments of the runs wished for whose runs must not wait, by how that is decided.
func (a *applier) conflictsOf(c *command.ClaimRuns) (map[row.Policy_Conflict][][]byte, error) {
	var by map[row.Policy_Conflict][][]byte
	seen := map[string]bool{}
	for _, wish := range c.Wishes {
		for _, pick := range wish.Picks {
			run, err := a.tx.FlowRun(id16(pick.FlowRunId))
			if err != nil {
				return nil, err
			}
			if run == nil || seen[string(run.DeploymentId)] {
				continue
			}
			seen[string(run.DeploymentId)] = true
			p, err := a.policyOf(run.DeploymentId)
			if err != nil {
				return nil, err
			}
			for _, g := range orchestration.Gates(run.DeploymentId, p) {
				if g.Conflict != row.Policy_QUEUE {
					if by == nil {
						by = map[row.Policy_Conflict][][]byte{}
					}
					by[g.Conflict] = append(by[g.Conflict], run.DeploymentId)
				}
			}
		}
	}
	return by, nil
}

// grant makes one due run Pending under the agent's lease, or returns nil when it cannot be had.
func (a *applier) grant(claimID []byte, agent *row.Agent, pick *command.ClaimRuns_Pick, ttl int64) (*row.Grant, error) {
	e, err := a.tx.EditFlowRun(pick.FlowRunId)
	if err != nil || e == nil {
		return nil, err
	}
	run := e.Row
	if run.State.GetType() != row.StateType_SCHEDULED || run.NextScheduledStartTime > a.now {
		return nil, nil
	}
	queues, err := a.workQueues()
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(queues, func(q *row.WorkQueue) bool { return string(q.Id) == string(pick.WorkQueueId) })
	if i < 0 || queues[i].IsPaused || !orchestration.Matches(queues[i].Filter, run) {
		return nil, nil
	}
	// A deployment with many runs goes before they do.
	if d, err := a.tx.Deployment(id16(run.DeploymentId)); err != nil || d == nil {
		return nil, err
	}
	inUse, err := a.tx.SlotsInUse(id16(pick.WorkQueueId))
	if err != nil {
		return nil, err
	}
	if !orchestration.HasRoom(queues[i], inUse) {
		return nil, nil
	}
	if g, err := a.closedGate(run); g != nil || err != nil {
		return nil, err
	}
	lease := &row.Lease{TokenIndex: a.index, TokenOrdinal: a.nextPlace(), Kind: row.Lease_AGENT, OwnerId: agent.Id,
		Owner: "agent '" + agent.Name + "' on " + agent.Hostname, Granted: a.now, Ttl: ttl, WorkQueueId: pick.WorkQueueId, ClaimId: claimID}
	run.Lease, run.WorkQueueId, run.AgentId, run.AgentName = lease, pick.WorkQueueId, agent.Id, agent.Name
	if err := a.recordFlowRunState(e, a.newState(&command.ProposedState{Type: row.StateType_PENDING}, run.State.Timestamp)); err != nil {
		return nil, err
	}
	return &row.Grant{FlowRunId: run.Id, WorkQueueId: pick.WorkQueueId, TokenIndex: lease.TokenIndex, TokenOrdinal: lease.TokenOrdinal}, nil
}

func (a *applier) purgeClaims(c *command.PurgeClaims) (*command.Result, error) {
	ids, err := a.tx.OldClaims(c.Before, int(c.Limit))
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		e, err := a.tx.EditClaim(id)
		if err != nil {
			return nil, err
		}
		if err := e.Delete(); err != nil {
			return nil, err
		}
	}
	return &command.Result{Count: int32(len(ids))}, nil
}

// startLease gives a run to a process that no agent started.
func (a *applier) startLease(c *command.StartLease) (*command.Result, error) {
	e, err := a.tx.EditFlowRun(c.FlowRunId)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return notFound("Flow run"), nil
	}
	run := e.Row
	if !orchestration.HoldsQueueSlot(run.State.GetType()) {
		return failed(command.Result_TERMINAL, "the flow run is "+run.State.GetName()+": only a Pending or Running one is executed"), nil
	}
	if run.Lease != nil {
		if run.Lease.Kind == row.Lease_PROCESS && len(c.OwnerId) != 0 && string(run.Lease.OwnerId) == string(c.OwnerId) {
			return leased(run), nil
		}
		return failed(command.Result_LEASED, "the flow run is executed by "+run.Lease.Owner), nil
	}
	run.Lease = &row.Lease{TokenIndex: a.index, TokenOrdinal: a.nextPlace(), Kind: row.Lease_PROCESS, OwnerId: c.OwnerId, Owner: c.Owner, Granted: a.now, Ttl: c.Ttl}
	run.Updated = a.now
	if err := e.Save(); err != nil {
		return nil, err
	}
	a.emit(watch.Event{Topic: watch.TopicFlowRun, FlowRun: run})
	return leased(run), nil
}

func leased(run *row.FlowRun) *command.Result {
	return &command.Result{Id: run.Id, Grants: []*row.Grant{{FlowRunId: run.Id, TokenIndex: run.Lease.TokenIndex, TokenOrdinal: run.Lease.TokenOrdinal}}}
}

// expireLeases takes runs from owners that fell silent: what an agent had not begun waits again, what was under way has
// crashed. A lease that is no longer the named one is left alone.
func (a *applier) expireLeases(c *command.ExpireLeases) (*command.Result, error) {
	result := &command.Result{}
	for _, x := range c.Expired {
		e, err := a.tx.EditFlowRun(x.FlowRunId)
		if err != nil {
			return nil, err
		}
		if e == nil || e.Row.Lease == nil || e.Row.Lease.TokenIndex != x.TokenIndex || e.Row.Lease.TokenOrdinal != x.TokenOrdinal {
			continue
		}
		run := e.Row
		reason := x.Reason
		p := &command.ProposedState{Type: row.StateType_FAILED, Name: orchestration.NameCrashed, Message: &reason}
		switch {
		case run.TimingOut:
			p = timeoutState(run)
		case run.State.Name == orchestration.NameCancelling:
			p.Type, p.Name = row.StateType_CANCELLED, ""
		case run.State.Type == row.StateType_PENDING && run.Lease.Kind == row.Lease_AGENT:
			p.Type, p.Name = row.StateType_SCHEDULED, ""
			p.Details = &row.StateDetails{ScheduledTime: run.ExpectedStartTime}
		}
		// What an agent ran is tried again by policy, not before the agent, which cannot renew the lease either, has stopped it.
		retries, least, stopped := run.Lease.Kind == row.Lease_AGENT, run.Lease.Ttl/3, run.TimingOut
		s := a.newState(p, run.State.Timestamp)
		if err := a.recordFlowRunState(e, s); err != nil {
			return nil, err
		}
		result.Count++
		if err := a.endAbandoned(run.Id, s, stopped); err != nil {
			return nil, err
		}
		if retries && s.Name == orchestration.NameCrashed {
			if _, err := a.retryCrashed(e, least); err != nil {
				return nil, err
			}
		}
	}
	return result, nil
}

// endTaskRuns gives the end of a flow run whose process is gone to its unfinished task runs and subflow runs, so that
// nothing keeps a slot.
func (a *applier) endTaskRuns(flowRunID []byte, p *command.ProposedState) error {
	var open [][]byte
	err := a.tx.TaskRunsOfFlowRun(id16(flowRunID), false, func(t *row.TaskRun) (bool, error) {
		if !orchestration.TerminalType(t.GetState().GetType()) {
			open = append(open, t.Id)
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	for _, id := range open {
		var children [][]byte
		err := a.tx.FlowRunsOfTaskRun(id16(id), func(r *row.FlowRun) (bool, error) {
			if !orchestration.TerminalType(r.GetState().GetType()) {
				children = append(children, r.Id)
			}
			return true, nil
		})
		if err != nil {
			return err
		}
		for _, child := range children {
			e, err := a.tx.EditFlowRun(child)
			if err != nil {
				return err
			}
			if err := a.recordFlowRunState(e, a.newState(proto.Clone(p).(*command.ProposedState), e.Row.State.Timestamp)); err != nil {
				return err
			}
			if err := a.endTaskRuns(child, p); err != nil {
				return err
			}
		}
		e, err := a.tx.EditTaskRun(id)
		if err != nil {
			return err
		}
		// A subflow's end has been mirrored on it already.
		if orchestration.TerminalType(e.Row.State.GetType()) {
			continue
		}
		if err := a.recordTaskRunState(e, a.newState(proto.Clone(p).(*command.ProposedState), e.Row.State.Timestamp)); err != nil {
			return err
		}
	}
	return nil
}

// markLate renames runs whose time has come and that nobody took.
func (a *applier) markLate(c *command.MarkLate) (*command.Result, error) {
	result := &command.Result{}
	for _, id := range c.FlowRunIds {
		e, err := a.tx.EditFlowRun(id)
		if err != nil {
			return nil, err
		}
		if e == nil {
			continue
		}
		s := e.Row.State
		if s.GetType() != row.StateType_SCHEDULED || s.Name != orchestration.DefaultName(row.StateType_SCHEDULED) || e.Row.NextScheduledStartTime > c.Before {
			continue
		}
		late := a.newState(&command.ProposedState{Type: row.StateType_SCHEDULED, Name: orchestration.NameLate,
			Details: &row.StateDetails{ScheduledTime: s.Details.ScheduledTime, ScheduledOffset: s.Details.ScheduledOffset}}, s.Timestamp)
		if err := a.recordFlowRunState(e, late); err != nil {
			return nil, err
		}
		result.Count++
	}
	return result, nil
}
