package httpapi

import (
	"crypto/sha256"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
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
	flowRunID [16]byte
	token     string
}

type heartbeat struct{ leases []heldLease }

var heartbeatSpec = body.Strict(
	body.Nullable("leases", body.List(body.Strict(
		body.Required("flow_run_id", body.UUID, func(v *heldLease) *[16]byte { return &v.flowRunID }),
		body.Required("token", body.Text, func(v *heldLease) *string { return &v.token }),
	).Kind()), func(v *heartbeat) *[]heldLease { return &v.leases }),
)

func agentHeartbeat(s *Server, x *exchange) error {
	id, err := x.pathID("id")
	if err != nil {
		return err
	}
	return x.renew(id, api.Duration(s.heartbeat()))
}

func renewLeases(_ *Server, x *exchange) error { return x.renew(api.ID{}, 0) }

func (x *exchange) renew(agentID api.ID, next api.Duration) error {
	var in heartbeat
	if err := decode(x, heartbeatSpec, &in); err != nil {
		return err
	}
	leases := make([]HeldLease, len(in.leases))
	for i, l := range in.leases {
		leases[i] = HeldLease{FlowRunID: l.flowRunID, Token: ParseToken(l.token)}
	}
	renewed, err := x.server.claims.Renew(x.ctx, agentID, leases)
	if err != nil {
		return err
	}
	answer := api.HeartbeatAnswer{Lost: []api.LostLease{}, Cancelling: append([]api.ID{}, renewed.Cancelling...), HeartbeatSeconds: next}
	for _, l := range renewed.Lost {
		answer.Lost = append(answer.Lost, api.LostLease{FlowRunID: l.FlowRunID, Reason: l.Reason})
	}
	if x.out, err = appendJSON(x.out, answer); err != nil {
		return err
	}
	return x.send(200)
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
