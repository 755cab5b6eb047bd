package httpapi

import (
	"crypto/sha256"
	"maps"
	"slices"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/orchestration"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
	"github.com/sluice-dev/sluice/http/internal/body"
)

// longestOwner bounds, in bytes, the names under which owners of runs are spoken of in states and errors.
const longestOwner = 500

type leaseRequest struct{ owner string }

var leaseSpec = body.Strict(
	body.Required("owner", body.TextUpTo(longestOwner), func(v *leaseRequest) *string { return &v.owner }),
)

// startLease gives a run to a process that no agent started.
func startLease(s *Server, x *exchange) error {
	id, err := x.pathID("id")
	if err != nil {
		return err
	}
	var in leaseRequest
	if err := decode(x, leaseSpec, &in); err != nil {
		return err
	}
	if in.owner == "" {
		return invalid("owner is empty.", "Say which process runs this, for people: program, host and pid.")
	}
	// The same process asking again is known by how it names itself.
	ownerID := sha256.Sum256([]byte(in.owner))
	e := x.envelope()
	e.Command = &command.Envelope_StartLease{StartLease: &command.StartLease{
		FlowRunId: id[:], Owner: in.owner, OwnerId: ownerID[:16], Ttl: s.leaseTTL.Microseconds(),
	}}
	r, _, err := x.propose(e)
	if err != nil {
		return err
	}
	if err := outcome(r, missing.flowRun, ""); err != nil {
		return err
	}
	if len(r.Grants) == 0 {
		return &api.Error{Kind: api.KindInternal, Message: "the lease command answered no grant"}
	}
	g := r.Grants[0]
	x.out, err = appendJSON(x.out, api.Lease{
		Token: Token{g.TokenIndex, g.TokenOrdinal}.String(), TTLSeconds: api.Duration(s.leaseTTL), RenewSeconds: api.Duration(s.heartbeat()),
	})
	if err != nil {
		return err
	}
	return x.send(201)
}

type heldLease struct {
	flowRunID  [16]byte
	token      string
	cancelling bool
}

type heartbeat struct {
	leases   []heldLease
	wait     int64 // µs
	draining bool
}

var heartbeatSpec = body.Strict(
	body.Nullable("leases", body.List(body.Strict(
		body.Required("flow_run_id", body.UUID, func(v *heldLease) *[16]byte { return &v.flowRunID }),
		body.Required("token", body.Text, func(v *heldLease) *string { return &v.token }),
		body.Optional("cancelling", body.Bool, func(v *heldLease) *bool { return &v.cancelling }),
	).Kind()), func(v *heartbeat) *[]heldLease { return &v.leases }),
	body.Optional("wait_seconds", waitKind, func(v *heartbeat) *int64 { return &v.wait }),
	body.Optional("draining", body.Bool, func(v *heartbeat) *bool { return &v.draining }),
)

func agentHeartbeat(s *Server, x *exchange) error {
	id, err := x.pathID("id")
	if err != nil {
		return err
	}
	return x.renew(id, api.Duration(s.heartbeat()))
}

func renewLeases(_ *Server, x *exchange) error { return x.renew(api.ID{}, 0) }

// renew keeps leases alive. If the sender may wait and there is nothing to tell, it waits for that.
func (x *exchange) renew(agentID api.ID, next api.Duration) error {
	var in heartbeat
	if err := decode(x, heartbeatSpec, &in); err != nil {
		return err
	}
	leases, runs, known := make([]HeldLease, len(in.leases)), make([]api.ID, len(in.leases)), map[api.ID]bool{}
	for i, l := range in.leases {
		leases[i], runs[i] = HeldLease{FlowRunID: l.flowRunID, Token: ParseToken(l.token)}, l.flowRunID
		if l.cancelling {
			known[l.flowRunID] = true
		}
	}
	answer := api.HeartbeatAnswer{Lost: []api.LostLease{}, Cancelling: []api.ID{}, HeartbeatSeconds: next}
	tell := func(cancelling []api.ID, lost []LostLease) {
		for _, id := range cancelling {
			if !slices.Contains(answer.Cancelling, id) {
				answer.Cancelling = append(answer.Cancelling, id)
			}
		}
		for _, l := range lost {
			if !slices.ContainsFunc(answer.Lost, func(known api.LostLease) bool { return known.FlowRunID == l.FlowRunID }) {
				answer.Lost = append(answer.Lost, api.LostLease{FlowRunID: l.FlowRunID, Reason: l.Reason})
			}
		}
	}
	patience := x.server.patience()
	var meanwhile *listener
	if in.wait > 0 {
		// Listen first and read then: nothing falls between.
		meanwhile = x.server.news.wait(agentID, runs, maps.Clone(known))
		defer x.server.news.leave(meanwhile)
	}
	defer x.until(ordinary)()
	renewed, err := x.server.claims.Renew(x.ctx, agentID, leases)
	if err != nil {
		return err
	}
	tell(renewed.Cancelling, renewed.Lost)
	urgent, err := x.newsOf(agentID, leases, known, &answer)
	if err != nil {
		return err
	}
	if meanwhile != nil && !urgent && answer.Draining == in.draining {
		over := time.NewTimer(time.Duration(in.wait) * time.Microsecond)
		defer over.Stop()
		select {
		case <-meanwhile.woken:
			defer x.until(ordinary)()
			if answer.Draining, err = x.draining(agentID); err != nil {
				return err
			}
		case <-over.C:
		case <-patience.Done():
		case <-x.r.Context().Done():
			return x.r.Context().Err()
		}
		tell(x.server.news.leave(meanwhile))
	}
	if x.out, err = appendJSON(x.out, answer); err != nil {
		return err
	}
	return x.send(200)
}

// newsOf completes an answer by what this node knows, and reports whether there is something in it that must not wait. That a
// run's process has ended it by itself may.
func (x *exchange) newsOf(agentID api.ID, leases []HeldLease, known map[api.ID]bool, answer *api.HeartbeatAnswer) (urgent bool, err error) {
	view, _, err := x.server.reader.View(x.ctx, Stale, 0)
	if err != nil {
		return false, err
	}
	defer view.Close()
	if answer.Draining, err = drainingIn(view, agentID); err != nil {
		return false, err
	}
	for _, l := range leases {
		run, err := view.FlowRun(l.FlowRunID)
		if err != nil {
			return false, err
		}
		if run == nil || run.Lease == nil || run.Lease.TokenIndex != l.Token.Index || run.Lease.TokenOrdinal != l.Token.Ordinal {
			continue
		}
		// The leader's own look may be a moment older than this one.
		if run.GetState().GetName() == orchestration.NameCancelling && !slices.Contains(answer.Cancelling, l.FlowRunID) {
			answer.Cancelling = append(answer.Cancelling, l.FlowRunID)
		}
	}
	for _, id := range answer.Cancelling {
		urgent = urgent || !known[id]
	}
	for _, l := range answer.Lost {
		run, err := view.FlowRun(l.FlowRunID)
		if err != nil {
			return false, err
		}
		state := run.GetState()
		byItself := terminal(state.GetType()) && state.GetType() != row.StateType_CANCELLED && state.GetName() != orchestration.NameCrashed
		urgent = urgent || !byItself && !known[l.FlowRunID]
	}
	return urgent, nil
}

// draining reports whether an agent is to claim nothing.
func (x *exchange) draining(agentID api.ID) (bool, error) {
	view, _, err := x.server.reader.View(x.ctx, Stale, 0)
	if err != nil {
		return false, err
	}
	defer view.Close()
	return drainingIn(view, agentID)
}

func drainingIn(view *state.View, agentID api.ID) (bool, error) {
	if agentID.IsNil() {
		return false, nil
	}
	agent, err := view.Agent(agentID)
	return agent.GetDraining() != 0, err
}

type cancelRequest struct{ message string }

var cancelSpec = body.Parameters(
	body.Optional("message", body.Text, func(v *cancelRequest) *string { return &v.message }),
)

// cancelFlowRun ends a run that nobody executes, or tells its owner to.
func cancelFlowRun(_ *Server, x *exchange) error {
	id, err := x.pathID("id")
	if err != nil {
		return err
	}
	var in cancelRequest
	if err := decode(x, cancelSpec, &in); err != nil {
		return err
	}
	e := x.envelope()
	e.Command = &command.Envelope_CancelFlowRun{CancelFlowRun: &command.CancelFlowRun{Id: id[:], Message: in.message}}
	return x.proposeObject(e, missing.flowRun, "", func(view *state.View, r *command.Result) error {
		s, err := view.FlowRunStateAt(id, r.State.GetTimestamp())
		if err != nil {
			return err
		}
		status, answer := 202, api.CancelAnswer{Status: api.StatusCancelling}
		if s.GetType() == row.StateType_CANCELLED {
			status, answer.Status = 200, api.StatusCancelled
		}
		if x.out, err = appendJSON(x.out, answer); err != nil {
			return err
		}
		return x.send(status)
	})
}

// ago says how long ago t was, for people.
func ago(now, t time.Time) string {
	d := now.Sub(t).Round(time.Second)
	if d < time.Second {
		return "just now"
	}
	return d.String() + " ago"
}
