package httpapi

import (
	"strconv"
	"strings"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
)

// String is the token as clients hold it.
func (t Token) String() string {
	return strconv.FormatUint(t.Index, 36) + "-" + strconv.FormatUint(uint64(t.Ordinal), 36)
}

// ParseToken reads what String wrote. A text that is no token is the token of no lease.
func ParseToken(s string) Token {
	index, ordinal, _ := strings.Cut(s, "-")
	i, err1 := strconv.ParseUint(index, 36, 64)
	o, err2 := strconv.ParseUint(ordinal, 36, 32)
	if err1 != nil || err2 != nil {
		return Token{}
	}
	return Token{Index: i, Ordinal: uint32(o)}
}

// setState decodes a proposal for the run that the path names, with the lease it is made under.
func (x *exchange) setState() (*command.SetState, error) {
	id, err := x.pathID("id")
	if err != nil {
		return nil, err
	}
	c := &command.SetState{}
	if err := decode(x, setStateSpec, c); err != nil {
		return nil, err
	}
	c.Id = id[:]
	if x.lease != "" {
		t := ParseToken(x.lease)
		c.HasToken, c.TokenIndex, c.TokenOrdinal = true, t.Index, t.Ordinal
	}
	return c, nil
}

// setsState is the handler of set_state for one kind of run: fill puts it into its command, stateAt reads back what was written.
func setsState(
	notFoundText string, fill func(*command.Envelope, *command.SetState), stateAt func(view *state.View, id api.ID, timestamp int64) (*row.State, error),
) handler {
	return func(_ *Server, x *exchange) error {
		c, err := x.setState()
		if err != nil {
			return err
		}
		e := x.envelope()
		fill(e, c)
		return x.proposeObject(e, notFoundText, "", func(view *state.View, r *command.Result) error {
			if r.State == nil {
				r.State = &command.StateResult{Status: command.StateResult_ABORT}
			}
			if c := e.GetSetTaskRunState(); c != nil && !x.strict && r.State.Status == command.StateResult_WAIT && c.State.Type == row.StateType_RUNNING {
				delay, err := x.server.slotTurns.delay(view, idOf(c.Id), x.server.now(), r.State.DelaySeconds)
				if err != nil {
					return err
				}
				r.State.DelaySeconds = delay
			}
			var s *row.State
			if wrote(r.State) {
				if s, err = stateAt(view, idOf(c.Id), r.State.Timestamp); err != nil {
					return err
				}
			}
			return x.answerDecision(r.State, s)
		})
	}
}

// readsStates is the handler that lists the states of the run a query parameter names.
func readsStates(parameter string, statesOf func(*state.View, api.ID) ([]*row.State, error)) handler {
	return func(_ *Server, x *exchange) error {
		id, err := x.queryID(parameter)
		if err != nil {
			return err
		}
		return reads(func(x *exchange, view *state.View) error {
			states, err := statesOf(view, id)
			return x.answerStates(states, err)
		})(x.server, x)
	}
}

// wrote reports whether the decision wrote a state.
func wrote(r *command.StateResult) bool {
	return r.Status == command.StateResult_ACCEPT || r.Status == command.StateResult_REJECT
}

// answerDecision answers set_state; s is the state that was written, nil on WAIT and ABORT.
func (x *exchange) answerDecision(r *command.StateResult, s *row.State) error {
	answer := api.OrchestrationResult{State: stateObject(s, x.strict)}
	switch r.Status {
	case command.StateResult_ACCEPT:
		answer.Status, answer.Details.Type = api.Accept, api.AcceptDetails
	case command.StateResult_REJECT:
		answer.Status, answer.Details.Type = api.Reject, api.RejectDetails
	case command.StateResult_WAIT:
		answer.Status, answer.Details.Type = api.Wait, api.WaitDetails
		answer.Details.DelaySeconds = int(r.DelaySeconds)
	default:
		answer.Status, answer.Details.Type = api.Abort, api.AbortDetails
	}
	if r.Reason != "" {
		answer.Details.Reason = &r.Reason
	}
	status := 200
	if wrote(r) {
		status = 201
	}
	return x.object(status, &answer)
}

func (x *exchange) answerState(s *row.State, err error) error {
	switch {
	case err != nil:
		return err
	case s == nil:
		return notFound(missing.runState)
	}
	return x.object(200, stateObject(s, x.strict))
}

func (x *exchange) answerStates(states []*row.State, err error) error {
	if err != nil {
		return err
	}
	return list(x, states, func(b []byte, s *row.State) ([]byte, error) {
		return stateObject(s, x.strict).AppendJSON(b), nil
	})
}

// list answers rows as a JSON list.
func list[R any](x *exchange, rows []R, appendRow func([]byte, R) ([]byte, error)) error {
	x.out = append(x.out, '[')
	for i, r := range rows {
		if i > 0 {
			x.out = append(x.out, ',')
		}
		out, err := appendRow(x.out, r)
		if err != nil {
			return err
		}
		x.out = out
	}
	x.out = append(x.out, ']')
	return x.send(200)
}
