package httpapi

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
	"github.com/sluice-dev/sluice/http/internal/body"
)

var registerSpec = body.Strict(
	body.Required("id", body.UUIDBytes, func(v *command.RegisterAgent) *[]byte { return &v.Id }),
	body.Required("name", body.TextUpTo(longestOwner), func(v *command.RegisterAgent) *string { return &v.Name }),
	body.Optional("hostname", body.TextUpTo(longestOwner), func(v *command.RegisterAgent) *string { return &v.Hostname }),
	body.Optional("pid", body.Int, func(v *command.RegisterAgent) *int64 { return &v.Pid }),
	body.Optional("version", body.Text, func(v *command.RegisterAgent) *string { return &v.Version }),
	body.Nullable("work_queue_ids", ids, func(v *command.RegisterAgent) *[][]byte { return &v.WorkQueueIds }),
)

func registerAgent(s *Server, x *exchange) error {
	c := &command.RegisterAgent{}
	if err := decode(x, registerSpec, c); err != nil {
		return err
	}
	e := x.envelope()
	e.Command = &command.Envelope_RegisterAgent{RegisterAgent: c}
	r, _, err := x.propose(e)
	if err != nil {
		return err
	}
	if err := outcome(r, missing.agent, ""); err != nil {
		return err
	}
	x.out, err = appendJSON(x.out, api.AgentRegistered{
		ID: idOf(c.Id), Name: c.Name, TTLSeconds: api.Duration(s.leaseTTL), HeartbeatSeconds: api.Duration(s.heartbeat()),
	})
	if err != nil {
		return err
	}
	return x.send(created(r))
}

// heartbeat is how often owners are to renew: often enough that one lost message ends nothing.
func (s *Server) heartbeat() time.Duration { return s.leaseTTL / 3 }

func deleteAgent(_ *Server, x *exchange) error {
	return x.delete(missing.agent, func(e *command.Envelope, d *command.Delete) {
		e.Command = &command.Envelope_DeleteAgent{DeleteAgent: d}
	})
}

// filterAgents lists all agents by name.
func filterAgents(s *Server, x *exchange) error {
	p := newPage()
	if err := decode(x, pageSpec, &p); err != nil {
		return err
	}
	if err := p.check(); err != nil {
		return err
	}
	presence, err := s.claims.Presence(x.ctx)
	if err != nil {
		return err
	}
	view, err := x.view()
	if err != nil {
		return err
	}
	defer view.Close()
	agents, err := agentObjects(view, presence, nil)
	if err != nil {
		return err
	}
	slices.SortStableFunc(agents, func(a, b api.Agent) int { return cmp.Compare(a.Name, b.Name) })
	if x.byCursor() {
		page, err := pageByCursor(x, listAgents, &p, agents, func(a api.Agent) api.ID { return a.ID })
		if err != nil {
			return err
		}
		return list(x, page, func(b []byte, a api.Agent) ([]byte, error) { return appendJSON(b, a) })
	}
	return list(x, cut(&p, agents), func(b []byte, a api.Agent) ([]byte, error) { return appendJSON(b, a) })
}

// agentObjects makes the objects of all agents, or of the one with the id.
func agentObjects(view *state.View, presence Presence, only *api.ID) ([]api.Agent, error) {
	held := map[api.ID][]api.ID{}
	err := view.LeasedFlowRuns(func(r *row.FlowRun) (bool, error) {
		if r.Lease.GetKind() == row.Lease_AGENT {
			owner := idOf(r.Lease.OwnerId)
			held[owner] = append(held[owner], idOf(r.Id))
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	agents := []api.Agent{}
	err = view.EachAgent(func(a *row.Agent) (bool, error) {
		id := idOf(a.Id)
		if only != nil && id != *only {
			return true, nil
		}
		seen := presence.Agents[id]
		agents = append(agents, api.Agent{
			ID: id, Name: a.Name, Hostname: a.Hostname, Version: a.Version, WorkQueueIDs: idsOf(a.WorkQueueIds),
			LastSeen: api.TimeAt(seen.LastSeen), Live: seen.Live, Draining: a.Draining != 0, FlowRuns: append([]api.ID{}, held[id]...),
		})
		return true, nil
	})
	return agents, err
}

func drainAgent(_ *Server, x *exchange) error   { return x.setDraining(true) }
func undrainAgent(_ *Server, x *exchange) error { return x.setDraining(false) }

// setDraining has an agent claim nothing, or again, and answers it.
func (x *exchange) setDraining(draining bool) error {
	id, err := x.pathID("id")
	if err != nil {
		return err
	}
	e := x.envelope()
	e.Command = &command.Envelope_DrainAgent{DrainAgent: &command.DrainAgent{Id: id[:], Draining: draining}}
	return x.proposeObject(e, missing.agent, "", func(view *state.View, _ *command.Result) error {
		// Who was heard from is told when the leader says so in time; the agent drains in any case.
		presence, err := x.server.claims.Presence(x.ctx)
		if err != nil {
			presence = Presence{}
		}
		agents, err := agentObjects(view, presence, &id)
		if err != nil {
			return err
		}
		if len(agents) == 0 {
			return notFound(missing.agent)
		}
		if x.out, err = appendJSON(x.out, agents[0]); err != nil {
			return err
		}
		return x.send(200)
	})
}

type claimRequest struct {
	queues  [][]byte
	limit   int64
	wait    int64 // µs
	claimID [16]byte
}

const (
	longestWait = 30 * time.Second
	mostGrants  = 1000
	// drainedClaim bounds how long a claim that waited when the node began to drain looks for what it was granted.
	drainedClaim = 5 * time.Second
)

var claimSpec = body.Strict(
	body.Required("work_queue_ids", ids, func(v *claimRequest) *[][]byte { return &v.queues }),
	body.Required("limit", body.IntBetween(1, mostGrants), func(v *claimRequest) *int64 { return &v.limit }),
	body.Optional("wait_seconds", waitKind, func(v *claimRequest) *int64 { return &v.wait }),
	body.Required("claim_id", body.UUID, func(v *claimRequest) *[16]byte { return &v.claimID }),
)

func waitKind(d *body.Decoder, n int) (int64, bool) {
	v, ok := body.Duration(d, n)
	if ok && (v < 0 || v > longestWait.Microseconds()) {
		d.Fail("ensure this value is between 0 and 30", "value_error.number", "")
		return 0, false
	}
	return v, ok
}

// claimRuns waits for work. The runs it answers are Pending already, under leases of the agent.
func claimRuns(s *Server, x *exchange) error {
	id, err := x.pathID("id")
	if err != nil {
		return err
	}
	var in claimRequest
	if err := decode(x, claimSpec, &in); err != nil {
		return err
	}
	known, lost, draining, err := x.knownQueues(id, in.queues)
	if err != nil {
		return err
	}
	if len(known) == 0 {
		return queuesGone()
	}
	ctx, cancel := context.WithTimeout(x.r.Context(), longestWait+ordinary)
	defer cancel()
	defer context.AfterFunc(s.patience(), cancel)()
	if draining {
		in.wait -= x.whileDraining(ctx, id, time.Duration(in.wait)*time.Microsecond).Microseconds()
		in.wait = max(0, in.wait)
	}
	demand := Demand{AgentID: id, ClaimID: in.claimID, Queues: known, Limit: int(in.limit), Wait: time.Duration(in.wait) * time.Microsecond}
	granted, err := s.claims.Claim(ctx, demand)
	if err != nil && s.isDraining() && errors.Is(err, context.Canceled) {
		// Asked again with its id, the claim answers what was granted meanwhile, if anything was.
		again, cancel := context.WithTimeout(x.r.Context(), drainedClaim)
		defer cancel()
		demand.Wait = 0
		granted, err = s.claims.Claim(again, demand)
	}
	if err != nil && s.isDraining() && errors.Is(err, context.DeadlineExceeded) {
		// Whatever was granted meanwhile is answered to the repetition of this claim on another node.
		return &failure{status: 503, kind: api.KindUnknownOutcome, detail: "This node is shutting down.", hint: "Repeat the claim with the same claim_id.", retryAfter: 1}
	}
	if err != nil {
		return err
	}
	if len(granted.Grants) == 0 && len(granted.Missing) >= len(known) && !granted.Draining {
		return queuesGone()
	}
	return x.answerGrants(granted, append(lost, granted.Missing...))
}

func queuesGone() error {
	return &failure{status: 404, kind: api.KindNotFound, detail: missing.workQueue, hint: "Create the work queue, or start the agent with another one."}
}

// whileDraining waits until something about the agent changes, or for as long as it may, and returns how long that took: one that
// claims although it drains is not to do so in a circle.
func (x *exchange) whileDraining(ctx context.Context, agentID api.ID, longest time.Duration) time.Duration {
	began := time.Now()
	change := x.server.news.wait(agentID, nil, nil)
	defer x.server.news.leave(change)
	over := time.NewTimer(longest)
	defer over.Stop()
	select {
	case <-change.woken:
	case <-over.C:
	case <-ctx.Done():
	}
	return time.Since(began)
}

// knownQueues sorts the queues of a claim into existing and missing ones, and says whether the agent drains.
func (x *exchange) knownQueues(agentID api.ID, queues [][]byte) (known, lost []api.ID, draining bool, err error) {
	ctx, cancel := context.WithTimeout(x.r.Context(), ordinary)
	defer cancel()
	look := func(c Consistency) (agent *row.Agent, err error) {
		known, lost = nil, nil
		least, err := x.minIndex()
		if err != nil {
			return nil, err
		}
		view, _, err := x.server.reader.View(ctx, c, least)
		if err != nil {
			return nil, err
		}
		defer view.Close()
		for _, id := range queues {
			q, err := view.WorkQueue(idOf(id))
			if err != nil {
				return nil, err
			}
			if q == nil {
				lost = append(lost, idOf(id))
			} else {
				known = append(known, idOf(id))
			}
		}
		return view.Agent(agentID)
	}
	agent, err := look(Stale)
	if err == nil && (agent == nil || len(lost) > 0) {
		agent, err = look(Linearizable) // this node may only be behind
	}
	if err == nil && agent == nil {
		err = &failure{status: 404, kind: api.KindNotFound, detail: missing.agent, hint: "Register the agent again with POST /api/agents/."}
	}
	return known, lost, agent.GetDraining() != 0, err
}

func (x *exchange) answerGrants(granted Granted, lost []api.ID) error {
	answer := api.Claimed{Grants: []api.Grant{}, MissingQueues: append([]api.ID{}, lost...), Draining: granted.Draining}
	if len(granted.Grants) > 0 {
		view, err := x.written(granted.Index)
		if err != nil {
			return err
		}
		defer view.Close()
		// The claim may have waited long. What was granted to a token that is over ends with its lease, as that of an agent that died.
		if err := x.recheck(); err != nil {
			return err
		}
		x.at(granted.Index)
		for _, g := range granted.Grants {
			grant, err := x.grant(view, g)
			if err != nil {
				return err
			}
			if grant != nil {
				answer.Grants = append(answer.Grants, *grant)
			}
		}
	}
	var err error
	if x.out, err = appendJSON(x.out, answer); err != nil {
		return err
	}
	return x.send(200)
}

// grant completes a grant with what its holder needs; nil when the run is gone.
func (x *exchange) grant(view *state.View, g *row.Grant) (*api.Grant, error) {
	run, err := view.FlowRun(idOf(g.FlowRunId))
	if err != nil || run == nil {
		return nil, err
	}
	grant := &api.Grant{
		FlowRun: *x.showFlowRun(run, x.now()), Token: Token{g.TokenIndex, g.TokenOrdinal}.String(),
		WorkQueueID: idOf(g.WorkQueueId), TTLSeconds: api.Duration(x.server.leaseTTL),
	}
	if len(run.DeploymentId) > 0 {
		d, err := view.Deployment(idOf(run.DeploymentId))
		if err != nil || d == nil {
			return grant, err
		}
		if grant.Deployment, err = x.showDeployment(d); err != nil {
			return nil, err
		}
	}
	return grant, nil
}
